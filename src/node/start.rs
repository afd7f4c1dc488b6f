//! Starting a certificate server: its token, its keys, its certificates, its first CRL.

use std::sync::{Arc, Mutex};

use crate::ca::{Ca, Founding, Gate, Issuer, Meter, Settings};
use crate::config::{Grant, SerialNumber, ServerMode, ServerSection, TrustpointSection};
use crate::pki::{Certificate, KeyKind, Name, Time, chain};
use crate::policy::{self, Rules};
use crate::ra::{Elsewhere, Fetches, Forwarder, Keys, Manner, Ra, Responder};
use crate::store::{Authority, Phase, Reuse, Role, SerialRule, Store};
use crate::token::{KeyUsage, Priority, Token, TokenKey};

use super::NodeError;
use super::archive::Archiving;
use super::clock::Clock;
use super::keys::note_generated;
use super::rollover::scep_label;
use super::surroundings::Surroundings;
use super::takeover::{self, Takeover};

/// A server that runs.
pub struct Started {
    /// As what it acts.
    pub acting: Acting,
    /// What answers SCEP.
    pub ra: Ra,
    /// Why the next CA certificate is not offered although there is one.
    pub next_trouble: Option<String>,
    /// What the operator should read about this start.
    pub notes: Notes,
}

/// As what a server acts.
pub enum Acting {
    /// A CA.
    Ca(Arc<Ca>),
    /// An RA.
    Registrar {
        /// The CA above.
        elsewhere: Arc<Elsewhere>,
        /// Asks it.
        forwarder: Forwarder,
    },
}

/// What is told before and after that the server is enabled.
#[derive(Default)]
pub struct Notes {
    /// Before.
    pub before: Vec<String>,
    /// After.
    pub after: Vec<String>,
}

/// Everything a start needs.
pub struct Start<'a> {
    /// Label of the server.
    pub label: &'a str,
    /// What is configured for it.
    pub section: &'a ServerSection,
    /// The trustpoint of the same name.
    pub trustpoint: &'a TrustpointSection,
    /// Tokens and file systems.
    pub around: &'a Surroundings,
    /// The database.
    pub store: &'a Arc<dyn Store>,
    /// Whether it may issue.
    pub gate: &'a Arc<Gate>,
    /// What tells the time from now on.
    pub clock: &'a Arc<Clock>,
    /// Where it is noted who asks for the next CA certificate.
    pub fetches: &'a Arc<Fetches>,
    /// Held by the one that asks the CA above.
    pub turn: &'a Arc<Mutex<()>>,
    /// Now.
    pub now: Time,
}

impl Start<'_> {
    /// Starts the server: makes what is missing, finishes what was interrupted.
    pub fn run(&self) -> Result<Started, NodeError> {
        if let ServerMode::Ra { transparent } = self.section.mode {
            return self.registration(transparent);
        }
        let authorities = self.store.authorities(self.label)?;
        let active = |role| authorities.iter().find(|a| a.role == role && a.is_active());
        let meter = Meter::new();
        let settings = settings(self.section);
        let mut notes = Notes::default();
        let authority = match active(Role::Ca) {
            Some(authority) => authority.clone(),
            None if self.section.mode == ServerMode::SubCs => self.subordinate()?,
            None => self.first(&settings, &meter, &mut notes)?,
        };
        let key = self.key_of(&authority)?;
        let taken_over = takeover::report(self.store.as_ref(), self.label)?.is_some();
        let (store, gate) = (self.store.clone(), self.gate.clone());
        let mut ca = Ca::open(self.label, store, &authority, Arc::new(key.clone()), settings, gate)?;
        if self.section.mode == ServerMode::SubCs {
            ca = ca.below(self.above()?.cas().cloned());
        }
        if let Some(why) = takeover::out_of_date(ca.certificate(), self.now).filter(|_| taken_over) {
            return Err(NodeError::Refused(why));
        }
        let ca = self.with_others(ca, &authorities)?;
        if let Err(error) = ca.recover(&meter, self.now) {
            // Upkeep tries again, and tells it where everybody looks.
            tracing::warn!(server = self.label, error = %chain(&error), "what was begun could not be finished");
        }
        let mut keys = match self.scep_place(&authority.token, &key, ca.active()) {
            Some(place) => self.separate_keys(&ca, &authority, &place, &meter)?,
            None => {
                let certificate = usable_for_scep(ca.certificate(), taken_over)?;
                let signer = Arc::new(key.clone().with_priority(Priority::Reply));
                Keys {
                    signer: Responder { certificate: certificate.clone(), key: signer },
                    decrypter: Responder { certificate, key: Arc::new(key) },
                    separate: false,
                    next: None,
                    fetches: self.fetches.clone(),
                }
            }
        };
        if ca.crl_is_due(self.now)? {
            ca.issue_crl(&meter, self.now)?;
        }
        // What is not needed today keeps no server from starting.
        if let Err(error) = ca.issue_due_crls(&meter, self.now) {
            tracing::warn!(server = self.label, error = %chain(&error), "a CRL could not be issued");
        }
        let next_trouble = match self.next_keys(&ca, &authorities, &meter) {
            Ok(next) => {
                keys.next = next;
                None
            }
            Err(error) => Some(chain(&error)),
        };
        let ca = Arc::new(ca);
        let ra = Ra::new(
            ca.clone(),
            self.store.clone(),
            keys,
            algorithms(self.section),
            Manner { chain: self.section.scep.include_chain, alone: self.section.scep.ca_alone },
        )?;
        Ok(Started { acting: Acting::Ca(ca), ra: self.vouched(ra), next_trouble, notes })
    }

    /// The key of an authority, and its copy where the trustpoint names one.
    fn key_of(&self, authority: &Authority) -> Result<TokenKey, NodeError> {
        let mut places = vec![authority.token.as_str()];
        places.extend(self.trustpoint.copy.as_deref().filter(|copy| *copy != authority.token));
        self.around.tokens.key_on(&places, &authority.key_label)
    }

    /// Asks the trustpoints of `grant auto trustpoint` about holders of other CAs' certificates.
    pub(super) fn vouched(&self, ra: Ra) -> Ra {
        let trustpoints = self.section.grant_trustpoints.clone();
        if trustpoints.is_empty() {
            return ra;
        }
        let peers = self.around.peers.clone();
        ra.vouched_by(Box::new(move |certificates, now| peers.vouch(&trustpoints, certificates, now)))
    }

    /// The CA of a server that has none yet: an old one that is taken over, or a new one.
    fn first(&self, settings: &Settings, meter: &Meter, notes: &mut Notes) -> Result<Authority, NodeError> {
        let login = self.around.login(self.section.database.login.as_ref())?;
        let takeover = Takeover {
            label: self.label,
            section: self.section,
            trustpoint: self.trustpoint,
            tokens: &self.around.tokens,
            files: &self.around.files,
            login: login.as_ref(),
            store: self.store,
            now: self.now,
        };
        match takeover.run()? {
            Some(taken) => {
                notes.after.push(format!(
                    "% The CA was taken over; \"crypto pki server {} info takeover\" says what that means.",
                    self.label
                ));
                Ok(taken)
            }
            None => self.found(&takeover, settings, meter, notes),
        }
    }

    /// A new CA: its key, generated unless it was made beforehand, and its certificate.
    fn found(
        &self,
        takeover: &Takeover<'_>,
        settings: &Settings,
        meter: &Meter,
        notes: &mut Notes,
    ) -> Result<Authority, NodeError> {
        let token = self.around.tokens.get(self.trustpoint.on.as_deref())?;
        let (label, kind) = match &self.trustpoint.key {
            Some(key) => (key.label(), key.kind()),
            None => (self.label, KeyKind::Rsa { bits: DEFAULT_RSA_BITS }),
        };
        let key = match token.find(label)? {
            Some(key) => {
                takeover.check_new(&key)?;
                key
            }
            None => {
                let decrypt = kind.encrypts() && self.section.scep.separate_key.is_none();
                tracing::debug!(target: "CRYPTO_CS", "key '{label}' does not exist; generated automatically");
                self.generate(&token, label, kind, KeyUsage { sign: true, decrypt })?
            }
        };
        let name = issuer_name(self.label, self.section)?;
        let founding = Founding {
            label: self.label,
            name: &name,
            place: (token.name(), label),
            scep: self.separate(token.name(), &key).is_none(),
            key: Arc::new(key.clone()),
        };
        let store = self.store.as_ref();
        let certificate = founding.certificate(store, settings, meter, self.now)?;
        let database = &self.section.database;
        let archiving = Archiving {
            label: self.label,
            name: self.label,
            database,
            around: self.around,
            store,
            now: self.now,
        };
        notes.before = archiving.run(&key, &certificate)?;
        Ok(founding.install(store, certificate)?)
    }

    fn generate(
        &self,
        token: &Token,
        label: &str,
        kind: KeyKind,
        usage: KeyUsage,
    ) -> Result<TokenKey, NodeError> {
        let key = token.generate(label, kind, usage, false)?;
        note_generated(self.store.as_ref(), key.public_key(), self.now);
        Ok(key)
    }

    /// Where SCEP's own keys are, when it has its own: configured, or because the CA key cannot decrypt.
    /// `token` is where the CA key was made.
    fn separate(&self, token: &str, key: &TokenKey) -> Option<String> {
        match &self.section.scep.separate_key {
            Some(on) => Some(on.clone().unwrap_or_else(|| token.to_owned())),
            None => (!key.can_decrypt()).then(|| token.to_owned()),
        }
    }

    /// Where SCEP's own keys are, also because the CA above did not grant what SCEP needs.
    pub(super) fn scep_place(&self, token: &str, key: &TokenKey, issuer: &Issuer) -> Option<String> {
        self.separate(token, key).or_else(|| self.granted_without_scep(token, issuer))
    }

    /// A CA above need not grant keyEncipherment: then SCEP has keys of its own, as when the key cannot decrypt.
    fn granted_without_scep(&self, token: &str, issuer: &Issuer) -> Option<String> {
        let usage = issuer.certificate().extensions().key_usage();
        let lacks = usage.is_some_and(|usage| !usage.key_encipherment());
        (self.section.mode == ServerMode::SubCs && lacks).then(|| token.to_owned())
    }

    /// A key for one of the roles in SCEP beside a CA's, and its certificate by that CA: found, or made. One that
    /// is on another token than configured now is replaced.
    pub(super) fn scep_key(
        &self,
        ca: &Ca,
        issuer: &Issuer,
        role: Role,
        authority: &Authority,
        place: &str,
        meter: &Meter,
    ) -> Result<(Certificate, TokenKey), NodeError> {
        let (what, usage) = match role {
            Role::RaDecrypt => ("decrypt", KeyUsage::ENCRYPTION),
            Role::RaSign | Role::Ca => ("sign", KeyUsage::SIGNATURE),
        };
        let known = self.store.authorities(self.label)?;
        let known = known.into_iter().find(|a| a.role == role && a.phase == issuer.phase());
        // The next one stays where it was made: it is on the way already.
        let known = known.filter(|known| known.token == place || known.phase == Phase::Next);
        let certified = known.is_some();
        let (place, label) = match known {
            Some(known) => (known.token, known.key_label),
            None => (place.to_owned(), scep_label(self.label, &authority.key_label, what)),
        };
        let mut places = vec![place.as_str()];
        let both = [self.trustpoint.on.as_deref(), self.trustpoint.copy.as_deref()];
        if both.contains(&Some(&place)) {
            // Beside the CA's, it may have a copy as that has.
            places.extend(both.into_iter().flatten().filter(|other| *other != place));
        }
        let key = match self.around.tokens.key_on(&places, &label) {
            Ok(key) => key,
            // Nowhere; or it cannot be known whether it is there.
            Err(_) => {
                let asked = if certified { &places[..] } else { &places[..1] };
                for place in asked {
                    self.around.tokens.get(Some(place))?.find(&label)?;
                }
                let token = self.around.tokens.get(Some(&place))?;
                self.generate(&token, &label, KeyKind::Rsa { bits: DEFAULT_RSA_BITS }, usage)?
            }
        };
        if role == Role::RaDecrypt && !key.can_decrypt() {
            return Err(NodeError::Refused(format!(
                "token \"{}\" cannot decrypt, which SCEP needs; put SCEP's keys on another token with \
                 \"scep key separate on DEVICE:\"",
                place
            )));
        }
        let place = (place.as_str(), label.as_str());
        let certified = ca.certify_scep_key(issuer, role, &key, place, meter, self.now)?;
        Ok((super::server::parse(&certified.certificate)?, key))
    }

    fn separate_keys(
        &self,
        ca: &Ca,
        authority: &Authority,
        place: &str,
        meter: &Meter,
    ) -> Result<Keys, NodeError> {
        let signer = self.scep_key(ca, ca.active(), Role::RaSign, authority, place, meter)?;
        let decrypter = self.scep_key(ca, ca.active(), Role::RaDecrypt, authority, place, meter)?;
        // Whoever has come as far as a reply is served before whoever only begins.
        let signing = Arc::new(signer.1.with_priority(Priority::Reply));
        Ok(Keys {
            signer: Responder { certificate: signer.0, key: signing },
            decrypter: Responder { certificate: decrypter.0, key: Arc::new(decrypter.1) },
            separate: true,
            next: None,
            fetches: self.fetches.clone(),
        })
    }
}

/// A CA certificate made while SCEP had keys of its own does not allow keyEncipherment; clients refuse it.
/// Neither do those of routers, which use them for SCEP all the same, as their devices know.
pub(super) fn usable_for_scep(certificate: &Certificate, taken_over: bool) -> Result<Certificate, NodeError> {
    match certificate.extensions().key_usage() {
        Some(usage) if !usage.key_encipherment() && !taken_over => Err(NodeError::Refused(
            "the CA certificate was made for \"scep key separate\" and cannot serve SCEP itself; configure it again".into(),
        )),
        _ => Ok(certificate.clone()),
    }
}

/// The issuer name configured, or `cn=LABEL`.
pub fn issuer_name(label: &str, section: &ServerSection) -> Result<Name, NodeError> {
    Name::parse(&section.issuer_name(label)).map_err(|error| NodeError::Refused(error.to_string()))
}

/// What the CA needs of a section.
pub fn settings(section: &ServerSection) -> Settings {
    Settings {
        hash: section.hash(),
        ca_lifetime: section.lifetime.ca_certificate.duration(),
        certificate_lifetime: section.lifetime.certificate.duration(),
        crl_lifetime: section.lifetime.crl.duration(),
        cdp: section.cdp_url.clone(),
        serial: match section.serial_number {
            SerialNumber::Sequential => SerialRule::Sequential,
            SerialNumber::Random => SerialRule::Random,
        },
        reuse: if section.scep.duplicates_new { Reuse::Never } else { Reuse::UntilHalfLife },
        max_pending: u64::from(section.scep.max_pending),
        rules: Rules {
            grant: match section.grant {
                Grant::Manual => policy::Grant::Manual,
                Grant::Auto => policy::Grant::Auto,
                Grant::None => policy::Grant::None,
                Grant::RaAuto => policy::Grant::RaAuto,
            },
            rollover_ca: section.grant_rollover.ca_cert,
            rollover_ra: section.grant_rollover.ra_cert,
            // Its certificate says.
            path_len: None,
            rsa_1024: section.legacy().rsa_1024,
            md5: section.legacy().md5,
        },
    }
}

pub(super) fn algorithms(section: &ServerSection) -> crate::scep::AlgorithmPolicy {
    crate::scep::AlgorithmPolicy { legacy_des: section.legacy().des, legacy_md5: section.legacy().md5 }
}

pub(super) const DEFAULT_RSA_BITS: usize = 2048;
