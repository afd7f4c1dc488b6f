//! Servers below another CA: a subordinate CA, whose certificate comes from there, and an RA, whose requests go
//! there. The certificates are those of the trustpoint of the same name, which gets them.

use std::sync::Arc;

use x509_cert::ext::pkix::KeyUsages;

use crate::config::{RevocationMethod, ServerMode};
use crate::pki::{Certificate, Name, Time, chain, path};
use crate::ra::{
    Above, Coming, Elsewhere, Forwarder, Keys, Manner, NextKeys, Offer, Ra, Registrar, Responder, number_of,
};
use crate::scep::AlgorithmPolicy;
use crate::store::{Authority, NewAuthority, Phase, Role, Store, TrustedKind, UpperPhase};
use crate::token::{Priority, Token, TokenKey};
use crate::trustpoint::{CaCertificates, Upper};

use super::NodeError;
use super::rollover::NextCertificate;
use super::server::{CertServer, Status, parse};
use super::start::{Acting, Notes, Start, Started, algorithms, issuer_name, settings};
use super::trustpoints::ca_of;

/// A certificate of the trustpoint's own, with its key.
struct Own {
    certificate: Certificate,
    token: Token,
    key: TokenKey,
}

impl Start<'_> {
    /// The first certificate of a subordinate CA, once the trustpoint has it.
    pub(super) fn subordinate(&self) -> Result<Authority, NodeError> {
        let own = self.own()?;
        let above = self.above()?;
        let certificate = &own.certificate;
        check_authority(certificate)?;
        let (is, wanted) =
            (Name::from_der(certificate.subject_raw()), issuer_name(self.label, self.section)?);
        if is != wanted {
            return Err(NodeError::Refused(format!(
                "the CA above has named this CA {is}, not {wanted}\nhint: take the name over with \"issuer-name\", \
                 or have another certificate issued"
            )));
        }
        if !certificate.is_valid_at(self.now) {
            let (from, to) = (certificate.not_before(), certificate.not_after());
            return Err(NodeError::Refused(format!(
                "the certificate from the CA above is valid from {from} to {to}, not now"
            )));
        }
        above.check_issued(certificate).map_err(|error| NodeError::Refused(error.to_string()))?;
        let authority = self.store.install(
            NewAuthority {
                server: self.label.to_owned(),
                role: Role::Ca,
                token: own.token.name().to_owned(),
                key_label: own.key.info().label.clone(),
                certificate: certificate.der().to_vec(),
            },
            None,
        )?;
        tracing::info!(server = self.label, serial = %certificate.serial(),
            "the certificate of the CA has come from {}", Name::from_der(certificate.issuer_raw()));
        Ok(authority)
    }

    /// An RA.
    pub(super) fn registration(&self, transparent: bool) -> Result<Started, NodeError> {
        let subject = self.trustpoint.request.subject_name.as_deref().unwrap_or_default();
        if !Name::parse(subject).is_ok_and(|name| name.is_ios_ra()) {
            return Err(NodeError::Refused(format!(
                "an RA needs \"cn=ioscs RA\" or \"ou=ioscs RA\" in its name, by which the CA knows its request\n\
                 hint: \"subject-name cn={0}, ou=ioscs RA\" in \"crypto pki trustpoint {0}\"",
                self.label
            )));
        }
        let Some(url) = self.trustpoint.enrollment.scep_url() else {
            return Err(NodeError::Refused(format!(
                "an RA sends requests on by SCEP\nhint: \"enrollment url http://…\" in \"crypto pki trustpoint {}\" \
                 says where",
                self.label
            )));
        };
        let (above, own) = (self.above()?, self.own()?);
        // What is not needed today keeps no server from starting.
        let (next, next_trouble) = match self.coming() {
            Ok(next) => (next, None),
            Err(error) => (None, Some(chain(&error))),
        };
        if !own.key.can_decrypt() {
            return Err(NodeError::Refused(format!(
                "the key \"{}\" of the RA cannot decrypt, which SCEP needs",
                own.key.info().label
            )));
        }
        let legacy = self.trustpoint.legacy;
        let upper = Upper::new(url, self.around.files.clone())
            .identified(self.label)
            .hashing(self.trustpoint.hash())
            .allowing(AlgorithmPolicy { legacy_des: legacy.des, legacy_md5: legacy.md5 });
        let elsewhere = Arc::new(Elsewhere::new(
            self.label,
            self.store.clone(),
            settings(self.section),
            Registrar {
                certificate: own.certificate.clone(),
                key: Arc::new(own.key.clone()),
                decrypter: Arc::new(own.key.clone()),
                transparent,
            },
            Above {
                upper,
                certificates: above,
                next: next.as_ref().map(|(coming, _)| coming.clone()),
                poll_every: self.trustpoint.enrollment.retry_after(),
                without_crl: self.trustpoint.checking.revocation().contains(&RevocationMethod::None),
            },
        ));
        let next = next.map(|(coming, key)| NextKeys {
            authority: number_of(coming.certificates.ca()),
            decrypter: Responder { certificate: coming.registrar, key: Arc::new(key) },
            offer: Offer::HandedOn(elsewhere.clone()),
        });
        let keys = Keys {
            signer: Responder {
                certificate: own.certificate.clone(),
                key: Arc::new(own.key.clone().with_priority(Priority::Reply)),
            },
            decrypter: Responder { certificate: own.certificate, key: Arc::new(own.key) },
            separate: true,
            next,
            fetches: self.fetches.clone(),
        };
        let ra = Ra::new(
            elsewhere.clone(),
            self.store.clone(),
            keys,
            algorithms(self.section),
            Manner { chain: self.section.scep.include_chain, alone: false },
        )?;
        let clock = self.clock.clone();
        let forwarder = Forwarder::start(elsewhere.clone(), self.turn.clone(), move || clock.now()).map_err(
            |source| NodeError::Io { what: format!("starting a thread for {}", self.label), source },
        )?;
        let acting = Acting::Registrar { elsewhere, forwarder };
        Ok(Started { acting, ra: self.vouched(ra), next_trouble, notes: Notes::default() })
    }

    /// What comes after the CA above, once the trustpoint has a certificate of it; with the key of that.
    fn coming(&self) -> Result<Option<(Coming, TokenKey)>, NodeError> {
        let next = self.around.trustpoints.coming(self.label)?;
        Ok(next.map(|next| (Coming { certificates: next.ca, registrar: next.certificate }, next.key)))
    }

    /// The certificates of the CA above.
    pub(super) fn above(&self) -> Result<CaCertificates, NodeError> {
        let found = ca_of(self.store.as_ref(), self.label)?;
        if found.is_none() && self.trustpoint.enrollment.method.is_none() {
            return Err(NodeError::Refused(format!(
                "You must specify an enrollment URL for this CA before you can authenticate it.\n\
                 hint: \"enrollment url http://…\" or \"enrollment terminal\" in \"crypto pki trustpoint {}\"",
                self.label
            )));
        }
        found.ok_or_else(|| {
            NodeError::Waiting(format!(
                "the CA above is not known yet; \"crypto pki authenticate {0}\" gets its certificate, and so does \
                 \"fingerprint\" in \"crypto pki trustpoint {0}\" when it is the right one",
                self.label
            ))
        })
    }

    /// Certificates, DER, of the CAs above the next one of this CA; none above a root.
    pub(super) fn above_next(&self) -> Result<Vec<Vec<u8>>, NodeError> {
        if self.section.mode != ServerMode::SubCs {
            return Ok(Vec::new());
        }
        let next = self.around.trustpoints.identity(self.label, true)?;
        let ders = |ca: CaCertificates| ca.cas().map(|ca| ca.der().to_vec()).collect::<Vec<_>>();
        Ok(next.map(|next| ders(next.ca)).unwrap_or_default())
    }

    fn own(&self) -> Result<Own, NodeError> {
        let trusted = self.store.trusted(self.label)?;
        let Some(own) = trusted.into_iter().find(|trusted| trusted.kind == TrustedKind::Own) else {
            self.above()?;
            return Err(NodeError::Waiting(self.asked_for()?));
        };
        let certificate = parse(&own.der)?;
        let token = self.around.tokens.get(own.token.as_deref().or(self.trustpoint.on.as_deref()))?;
        let key = token.key(own.key_label.as_deref().unwrap_or(self.label))?;
        if key.public_key() != certificate.public_key() {
            return Err(NodeError::Refused(format!(
                "the key \"{}\" on {}: is not that of the certificate of trustpoint {}",
                key.info().label,
                token.name(),
                self.label
            )));
        }
        Ok(Own { certificate, token, key })
    }

    /// How far the certificate is.
    fn asked_for(&self) -> Result<String, NodeError> {
        let label = self.label;
        let request = self.store.requests(label)?.into_iter().find(|r| r.kind == TrustedKind::Own);
        Ok(match request.map(|request| (request.phase, request.error)) {
            None if self.trustpoint.enrollment.scep_url().is_some() => {
                "its certificate is about to be asked for".to_owned()
            }
            None => format!("its certificate is not asked for yet; \"crypto pki enroll {label}\" does it"),
            Some((UpperPhase::Making | UpperPhase::Sending, None)) => {
                "its certificate is being asked for".to_owned()
            }
            Some((UpperPhase::Making | UpperPhase::Sending, Some(error))) => {
                format!("its certificate could not be asked for yet: {error}")
            }
            Some((UpperPhase::Pending, _)) => {
                "the operator of the CA above has to grant its certificate".to_owned()
            }
            Some((UpperPhase::Manual, _)) => format!(
                "its request has to be brought to the CA above, and the certificate back with \"crypto pki import \
                 {label} certificate\""
            ),
            Some((UpperPhase::Failed, error)) => format!(
                "the CA above has not granted its certificate: {}; \"crypto pki enroll {label}\" asks again",
                error.unwrap_or_else(|| "no reason is known".to_owned())
            ),
        })
    }
}

impl CertServer {
    /// A subordinate CA whose trustpoint has got the next certificate offers it, and keeps step with it when it
    /// has rolled over. Each is done once: what it begins from is on record.
    pub(super) fn tick_subordinate(&self, status: &Status, now: Time) -> Result<(), NodeError> {
        let trustpoints = &status.around.trustpoints;
        let Some(next) = trustpoints.identity(&self.label, true)? else { return Ok(()) };
        let authorities = self.store.authorities(&self.label)?;
        let known = authorities.iter().find(|a| a.certificate == next.certificate.der());
        match known.map(|authority| authority.phase) {
            Some(Phase::Active) => {
                trustpoints.promote(&self.label)?;
                // The CAs above may be others now.
                self.restart(now)
            }
            Some(Phase::Next | Phase::Retired | Phase::Discarded) => Ok(()),
            None => self.prepare_next(
                NextCertificate {
                    token: next.key.token().name().to_owned(),
                    key_label: next.key.info().label.clone(),
                    certificate: next.certificate.der().to_vec(),
                },
                now,
            ),
        }
    }

    /// An RA whose trustpoint has another certificate, of now or of the CA's next time, starts anew with it.
    pub(super) fn tick_registrar(
        &self,
        elsewhere: &Elsewhere,
        status: &Status,
        now: Time,
    ) -> Result<(), NodeError> {
        let trustpoints = &status.around.trustpoints;
        trustpoints.promote_if_due(&self.label, now)?;
        let Some(held) = registrar(self.store.as_ref(), &self.label)? else { return Ok(()) };
        let coming = trustpoints.coming(&self.label);
        // Away with its token is not gone: then it is tried again, and told.
        let changes = match &coming {
            Ok(coming) => {
                let known = elsewhere.coming();
                coming.as_ref().map(|next| (&next.certificate, &next.ca))
                    != known.map(|known| (&known.registrar, &known.certificates))
            }
            Err(_) => false,
        };
        if changes {
            self.fetches.forget();
        }
        if held != *elsewhere.registrar() || changes {
            self.restart(now)?;
        }
        coming.map(drop)
    }
}

/// The certificate of the server as an RA, where it has one.
pub(super) fn registrar(store: &dyn Store, label: &str) -> Result<Option<Certificate>, NodeError> {
    let trusted = store.trusted(label)?;
    trusted.iter().find(|trusted| trusted.kind == TrustedKind::Own).map(|own| parse(&own.der)).transpose()
}

/// Refuses a certificate with which no CA can act.
pub(super) fn check_authority(certificate: &Certificate) -> Result<(), NodeError> {
    let lacks = |what: &str| {
        NodeError::Refused(format!(
            "the certificate that the CA above has granted is not that of a CA: {what}\nhint: there the request must \
             be granted as that of a subordinate CA"
        ))
    };
    if !certificate.extensions().basic_constraints().is_some_and(|constraints| constraints.ca) {
        return Err(lacks("its basicConstraints do not say so"));
    }
    for (usage, name) in [(KeyUsages::KeyCertSign, "keyCertSign"), (KeyUsages::CRLSign, "cRLSign")] {
        if !path::allows(certificate, usage) {
            return Err(lacks(&format!("its keyUsage lacks {name}")));
        }
    }
    Ok(())
}

/// What a server is called in a sentence.
pub(super) const fn mode_in_words(mode: ServerMode) -> &'static str {
    match mode {
        ServerMode::Root => "root",
        ServerMode::SubCs => "sub-cs",
        ServerMode::Ra { transparent: false } => "ra",
        ServerMode::Ra { transparent: true } => "ra transparent",
    }
}
