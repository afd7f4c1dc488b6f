//! The operator's commands to one certificate server.

use secrecy::{ExposeSecret, SecretString};

use crate::ca::{Ca, CaError, Meter};
use crate::config::{FileType, Grant};
use crate::pki::{Certificate, Hash, Name, Serial, Time, chain, crl, hex};
use crate::ra::challenge_digest;
use crate::store::{Crl, Enrollment, Password, Role, State, StoreError};

use super::server::{CertServer, parse};
use super::{CrlReport, Decision, NodeError, RequestRow, RevokedRow, Selection, ServerReport, ServerStatus};

impl CertServer {
    /// `show crypto pki server`.
    pub fn report(&self) -> Result<ServerReport, NodeError> {
        let status = self.status();
        let trouble = self.trouble();
        let database = &status.section.database;
        let authority = self.authority()?;
        let certificate = authority.as_ref().map(|a| parse(&a.certificate)).transpose()?;
        let fingerprint = |hash: Hash| certificate.as_ref().map(|c| hex(&hash.digest(&[c.der()])));
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
                (None, false, _) => ServerStatus::CheckFailed,
            },
            last_error: trouble.or(status.last_error),
            locked: !status.section.shutdown,
            issuer_name: match &certificate {
                Some(certificate) => Name::from_der(certificate.subject_raw()).to_string(),
                None => status.section.issuer_name(&self.label),
            },
            fingerprint_md5: fingerprint(Hash::Md5),
            fingerprint_sha1: fingerprint(Hash::Sha1),
            fingerprint_sha256: fingerprint(Hash::Sha256),
            granting: match status.section.grant {
                Grant::Manual => "manual",
                Grant::Auto => "auto",
                Grant::None => "none",
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
            scep_key: status.running.map_or("-", |started| started.ra.keys_in_words()).into(),
            pending: self.store.pending(&self.label)?,
            scep: status.around.http,
        })
    }

    /// `info requests`: by group, then ReqID.
    pub fn requests(&self) -> Result<Vec<RequestRow>, NodeError> {
        let mut rows = Vec::new();
        self.each_enrollment(Selection::All, |enrollment| {
            rows.push(row(enrollment));
            Ok(())
        })?;
        rows.sort_by_key(|row| (row.class, row.id));
        Ok(rows)
    }

    /// `grant`: signs and keeps the certificates of the pending requests selected.
    pub fn grant(&self, selection: Selection) -> Result<Vec<Decision>, NodeError> {
        let ca = self.ca()?;
        let now = Time::now();
        self.decide(selection, Some(State::Pending), |id| {
            let certificate = ca.grant(id, &Meter::new(), now)?;
            Ok((Some(State::Granted), Some(certificate.serial)))
        })
    }

    /// `reject`: pending requests become denied.
    pub fn reject(&self, selection: Selection) -> Result<Vec<Decision>, NodeError> {
        let ca = self.ca()?;
        let now = Time::now();
        self.decide(selection, Some(State::Pending), |id| {
            ca.reject(id, now)?;
            Ok((Some(State::Denied), None))
        })
    }

    /// `remove`: requests are forgotten, their certificates are not.
    pub fn remove(&self, selection: Selection) -> Result<Vec<Decision>, NodeError> {
        self.decide(selection, None, |id| {
            self.store.remove(&self.label, id)?;
            Ok((None, None))
        })
    }

    /// `password generate`: a new one-time password, valid for so many minutes.
    pub fn generate_password(&self, minutes: u32, subject: Option<&str>) -> Result<SecretString, NodeError> {
        let mut octets = [0u8; 16];
        getrandom::fill(&mut octets)
            .map_err(|error| NodeError::Refused(format!("the system has no randomness: {error}")))?;
        let password = SecretString::from(hex(&octets));
        let subject = subject.map(Name::parse).transpose();
        let subject = subject.map_err(|error| NodeError::Refused(error.to_string()))?;
        let now = Time::now();
        let password_record = Password {
            digest: challenge_digest(self.store.as_ref(), password.expose_secret())?,
            subject: subject.map(|name| name.to_string()),
            created: now,
            expires: now.plus(std::time::Duration::from_secs(u64::from(minutes) * 60)),
            used_by: None,
        };
        self.store.add_password(&self.label, password_record)?;
        Ok(password)
    }

    /// `revoke`: marks the certificate and issues a CRL. `reason` by RFC 5280, 5.3.1.
    pub fn revoke(&self, serial: &Serial, reason: u8) -> Result<CrlReport, NodeError> {
        let (ca, now) = (self.ca()?, Time::now());
        ca.revoke(serial, reason, now).map_err(|error| self.about(serial, error, "is revoked already"))?;
        self.new_crl(&ca, now)
    }

    /// `unrevoke`: takes a hold back and issues a CRL.
    pub fn unrevoke(&self, serial: &Serial) -> Result<CrlReport, NodeError> {
        let ca = self.ca()?;
        ca.unrevoke(serial).map_err(|error| self.about(serial, error, "is not on hold"))?;
        self.new_crl(&ca, Time::now())
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
            self.store.authorities(&self.label)?.into_iter().filter(|a| !a.retired).collect();
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

    fn new_crl(&self, ca: &Ca, now: Time) -> Result<CrlReport, NodeError> {
        let crl = ca.issue_crl(&Meter::new(), now).map_err(|error| {
            NodeError::Refused(format!(
                "it is recorded, but the CRL could not be issued and will be tried again: {}",
                chain(&error)
            ))
        })?;
        self.crl_report(ca, crl)
    }

    fn crl_report(&self, ca: &Ca, crl: Crl) -> Result<CrlReport, NodeError> {
        let list = crl::Crl::parse(crl.der).map_err(|error| CaError::Damaged(error.to_string()))?;
        let row = |entry: crl::Entry| RevokedRow {
            serial: entry.serial,
            at: entry.at,
            reason: reason_name(entry.reason),
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

    fn decide(
        &self,
        selection: Selection,
        only: Option<State>,
        mut act: impl FnMut(u64) -> Result<(Option<State>, Option<Serial>), CaError>,
    ) -> Result<Vec<Decision>, NodeError> {
        let mut decisions = Vec::new();
        self.each_enrollment(selection, |enrollment| {
            let (id, state) = (enrollment.id, enrollment.state);
            if only.is_some_and(|only| only != state) {
                if selection != Selection::All {
                    let error = Some(format!("it is {state}, not pending"));
                    decisions.push(Decision { id, state: Some(state), serial: None, error });
                }
                return Ok(());
            }
            decisions.push(match act(id) {
                Ok((state, serial)) => Decision { id, state, serial, error: None },
                Err(error) => Decision { id, state: Some(state), serial: None, error: Some(chain(&error)) },
            });
            Ok(())
        })?;
        match (selection, decisions.is_empty()) {
            (Selection::Range(first, last), true) if first == last => {
                Err(NodeError::NotFound(format!("there is no request {first}")))
            }
            (Selection::Range(first, last), true) => {
                Err(NodeError::NotFound(format!("there is no request from {first} to {last}")))
            }
            _ => Ok(decisions),
        }
    }

    fn each_enrollment(
        &self,
        selection: Selection,
        mut each: impl FnMut(Enrollment) -> Result<(), NodeError>,
    ) -> Result<(), NodeError> {
        let (first, last) = match selection {
            Selection::All => (1, u64::MAX),
            Selection::Range(first, last) => (first, last),
        };
        let mut after = first.saturating_sub(1);
        loop {
            let page = self.store.enrollments(&self.label, after, PAGE)?;
            let full = page.len() == PAGE;
            for enrollment in page {
                if enrollment.id > last {
                    return Ok(());
                }
                after = enrollment.id;
                each(enrollment)?;
            }
            if !full {
                return Ok(());
            }
        }
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

fn named(what: FileType, url: &str) -> (String, String) {
    (what.extension().to_owned(), url.to_owned())
}

fn row(enrollment: Enrollment) -> RequestRow {
    RequestRow {
        id: enrollment.id,
        class: enrollment.class,
        state: enrollment.state,
        fingerprint: hex(&Hash::Md5.digest(&[&enrollment.csr])),
        fingerprint_sha256: hex(&Hash::Sha256.digest(&[&enrollment.csr])),
        subject: enrollment.subject,
        transaction: String::from_utf8_lossy(&enrollment.transaction).escape_debug().to_string(),
        source: enrollment.source,
        created: enrollment.created,
        serial: enrollment.serial,
        reason: enrollment.reason,
        cost: enrollment.cost,
    }
}

/// CRLReason by its name (RFC 5280, 5.3.1).
fn reason_name(reason: u8) -> &'static str {
    match reason {
        1 => "keyCompromise",
        2 => "cACompromise",
        3 => "affiliationChanged",
        4 => "superseded",
        5 => "cessationOfOperation",
        6 => "certificateHold",
        8 => "removeFromCRL",
        9 => "privilegeWithdrawn",
        10 => "aACompromise",
        _ => "unspecified",
    }
}

/// Enrollments read at a time.
const PAGE: usize = 1000;
/// Entries of a CRL that are listed.
const MAX_ENTRIES_SHOWN: usize = 1000;
