//! The operator's commands to one certificate server.

use crate::ca::{Ca, CaError, Meter};
use crate::config::{FileType, Grant, ServerMode};
use crate::pki::{Certificate, Hash, Name, Serial, Time, chain, crl, hex, revocation_reason};
use crate::store::{Crl, Role, StoreError};

use super::below;
use super::server::{CertServer, parse};
use super::trustpoints::ca_of;
use super::{CrlReport, NodeError, RevokedRow, ServerReport, ServerStatus};

impl CertServer {
    /// `show crypto pki server`.
    pub fn report(&self) -> Result<ServerReport, NodeError> {
        let status = self.status();
        let trouble = self.trouble();
        let database = &status.section.database;
        let authority = self.authority()?;
        let mode = status.section.mode;
        let is_ra = matches!(mode, ServerMode::Ra { .. });
        let upper = match mode {
            ServerMode::Root => None,
            _ => ca_of(self.store.as_ref(), &self.label)?.map(|above| above.ca().clone()),
        };
        let registrar = match is_ra {
            true => below::registrar(self.store.as_ref(), &self.label)?,
            false => None,
        };
        let certificate = match &authority {
            Some(authority) => Some(parse(&authority.certificate)?),
            None => upper.clone().filter(|_| is_ra),
        };
        let digest = |certificate: &Certificate, hash: Hash| hex(&hash.digest(&[certificate.der()]));
        let fingerprint = |hash: Hash| certificate.as_ref().map(|c| digest(c, hash));
        let crl = match &authority {
            Some(authority) => self.store.crl_facts(&self.label, authority.id)?,
            None => None,
        };
        Ok(ServerReport {
            label: self.label.clone(),
            status: match (&status.running, status.section.shutdown, &trouble) {
                (Some(_), _, None) => ServerStatus::Enabled,
                (Some(_), _, Some(_)) => ServerStatus::Suspended,
                (None, true, _) => ServerStatus::Disabled,
                (None, false, _) if status.waiting => ServerStatus::Waiting,
                (None, false, _) if status.without_token => ServerStatus::WaitingForToken,
                (None, false, _) => ServerStatus::CheckFailed,
            },
            last_error: trouble.or(status.last_error),
            locked: !status.section.shutdown,
            issuer_name: match is_ra {
                // As IOS has it: an RA issues nothing, and goes by its label.
                true => status.section.issuer_name(&self.label),
                false => shown_name(status.section.issuer_name(&self.label), certificate.as_ref()),
            },
            mode: below::mode_in_words(mode),
            upper_fingerprint_md5: upper.as_ref().filter(|_| !is_ra).map(|upper| digest(upper, Hash::Md5)),
            upper_fingerprint_sha256: upper.as_ref().filter(|_| !is_ra).map(|c| digest(c, Hash::Sha256)),
            ra_fingerprint_md5: registrar.as_ref().map(|registrar| digest(registrar, Hash::Md5)),
            fingerprint_md5: fingerprint(Hash::Md5),
            fingerprint_sha1: fingerprint(Hash::Sha1),
            fingerprint_sha256: fingerprint(Hash::Sha256),
            granting: match status.section.grant {
                Grant::Manual => "manual",
                Grant::Auto => "auto",
                Grant::None => "none",
                // As IOS words it.
                Grant::RaAuto => "auto for RA-authorized requests, manual otherwise",
            }
            .into(),
            last_serial: self.store.last_serial(&self.label)?,
            ca_expires: certificate.as_ref().map(Certificate::not_after),
            crl_next_update: crl.map(|crl| crl.next_update),
            storage: database.primary().into(),
            storage_by_type: database.by_type.iter().map(|(what, url)| named(*what, url)).collect(),
            published: database
                .publish
                .iter()
                .flat_map(|(what, copies)| copies.iter().map(|copy| named(*what, &copy.url)))
                .collect(),
            database_level: database.level.to_string(),
            key: authority.map_or_else(|| "-".into(), |a| format!("{} on {}:", a.key_label, a.token)),
            scep_key: status
                .running
                .map_or("-", |started| match (is_ra, started.ra.is_separate()) {
                    (true, _) => "RA key",
                    (false, true) => "separate",
                    (false, false) => "CA key",
                })
                .into(),
            pending: self.store.pending(&self.label)?,
            rollover: self.rollover(0)?,
            scep: status.around.http,
        })
    }

    /// `revoke`: marks the certificate and issues a CRL. `reason` by RFC 5280, 5.3.1.
    pub fn revoke(&self, serial: &Serial, reason: u8) -> Result<CrlReport, NodeError> {
        let (ca, now) = (self.ca()?, self.clock.now());
        if ca.issuers().any(|issuer| serial == issuer.certificate().serial()) {
            return Err(NodeError::Refused(format!(
                "certificate {serial} is that of the CA itself, which no CRL of its own can revoke"
            )));
        }
        ca.revoke(serial, reason, now).map_err(|error| self.about(serial, error, "is revoked already"))?;
        self.new_crl(&ca, serial, now)
    }

    /// `unrevoke`: takes a hold back and issues a CRL.
    pub fn unrevoke(&self, serial: &Serial) -> Result<CrlReport, NodeError> {
        let ca = self.ca()?;
        ca.unrevoke(serial).map_err(|error| self.about(serial, error, "is not on hold"))?;
        self.new_crl(&ca, serial, self.clock.now())
    }

    /// `info crl`.
    pub fn crl(&self) -> Result<CrlReport, NodeError> {
        let ca = self.ca()?;
        let crl = ca.crl()?.ok_or_else(|| NodeError::NotFound("there is no CRL yet".into()))?;
        self.crl_report(&ca, crl)
    }

    /// The CA certificate, DER, and those of the SCEP keys when they are separate.
    pub fn certificates(&self) -> Result<Vec<Vec<u8>>, NodeError> {
        let mut active: Vec<_> =
            self.store.authorities(&self.label)?.into_iter().filter(|a| a.is_active()).collect();
        active.sort_by_key(|authority| authority.role != Role::Ca);
        Ok(active.into_iter().map(|authority| authority.certificate).collect())
    }

    /// The certificate with this serial number, DER.
    pub fn certificate(&self, serial: &Serial) -> Result<Vec<u8>, NodeError> {
        match self.store.certificate(&self.label, serial)? {
            Some(certificate) => Ok(certificate.der),
            None => Err(self.unknown(serial)),
        }
    }

    /// A CRL of the key that signed the certificate with this serial number.
    fn new_crl(&self, ca: &Ca, serial: &Serial, now: Time) -> Result<CrlReport, NodeError> {
        let crl = ca
            .issuer_of(serial)
            .and_then(|issuer| ca.issue_crl_of(issuer, &Meter::new(), now))
            .map_err(|error| {
                NodeError::Refused(format!(
                    "it is recorded, but the CRL could not be issued and will be tried again: {}",
                    chain(&error)
                ))
            })?;
        self.files_are_wanted();
        self.crl_report(ca, crl)
    }

    fn crl_report(&self, ca: &Ca, crl: Crl) -> Result<CrlReport, NodeError> {
        let list = crl::Crl::parse(crl.der).map_err(|error| CaError::Damaged(error.to_string()))?;
        let row = |entry: crl::Entry| RevokedRow {
            serial: entry.serial,
            at: entry.at,
            reason: revocation_reason(entry.reason),
        };
        Ok(CrlReport {
            issuer: ca.name().to_string(),
            number: crl.number,
            this_update: crl.this_update,
            next_update: crl.next_update,
            size: list.der().len(),
            entries: list.len(),
            revoked: list.entries().take(MAX_ENTRIES_SHOWN).map(row).collect(),
        })
    }

    fn about(&self, serial: &Serial, error: CaError, conflict: &str) -> NodeError {
        match error {
            CaError::Store(StoreError::NotFound) => self.unknown(serial),
            CaError::Store(StoreError::Conflict) => {
                NodeError::Refused(format!("certificate {serial} {conflict}"))
            }
            other => other.into(),
        }
    }

    fn unknown(&self, serial: &Serial) -> NodeError {
        NodeError::NotFound(format!(
            "certificate server \"{}\" has issued no certificate {serial}",
            self.label
        ))
    }
}

/// As it is typed in the configuration, while that is the name in the certificate.
fn shown_name(typed: String, certificate: Option<&Certificate>) -> String {
    let Some(certificate) = certificate else { return typed };
    let name = Name::from_der(certificate.subject_raw());
    match Name::parse(&typed) {
        Ok(configured) if configured == name => typed,
        _ => name.to_string(),
    }
}

fn named(what: FileType, url: &str) -> (String, String) {
    (what.extension().to_owned(), url.to_owned())
}

/// Entries of a CRL that are listed.
const MAX_ENTRIES_SHOWN: usize = 1000;
