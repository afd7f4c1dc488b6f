//! One `crypto pki server`, as the operator's commands see it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, RwLock};

use secrecy::{ExposeSecret, SecretString};

use crate::ca::{Ca, CaError, Meter};
use crate::config::{DatabaseLevel, Grant, ServerSection, TrustpointSection};
use crate::pki::{Certificate, Hash, Name, Serial, Time, chain};
use crate::ra::{Answer, Asked, challenge_digest};
use crate::store::{Crl, Enrollment, Password, Role, State, Store, StoreError};

use super::report::hex;
use super::start::{Start, Started, issuer_name};
use super::tokens::Tokens;
use super::{CrlReport, Decision, NodeError, RequestRow, RevokedRow, Selection, ServerReport, ServerStatus};

/// One `crypto pki server`, as the operator's commands see it.
pub struct CertServer {
    label: String,
    store: Arc<dyn Store>,
    state: RwLock<Status>,
    /// Held while the server starts or stops.
    starting: Mutex<()>,
}

/// What is configured and what runs.
#[derive(Clone, Default)]
struct Status {
    section: ServerSection,
    trustpoint: TrustpointSection,
    tokens: Arc<Tokens>,
    running: Option<Arc<Started>>,
    last_error: Option<String>,
}

impl CertServer {
    pub(super) fn new(label: &str, store: Arc<dyn Store>) -> Self {
        Self { label: label.to_owned(), store, state: RwLock::default(), starting: Mutex::default() }
    }

    /// Its label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Refuses what may not change once there is a CA certificate.
    pub(super) fn check_change(
        &self,
        section: &ServerSection,
        trustpoint: Option<&TrustpointSection>,
    ) -> Result<(), NodeError> {
        let name = issuer_name(&self.label, section)?;
        let Some(authority) = self.authority()? else { return Ok(()) };
        let certificate = parse(&authority.certificate)?;
        let fixed = |what: &str, is: &str| {
            NodeError::Refused(format!(
                "{what} cannot be changed after the CA certificate was made: it is {is}; \
                 delete the server (\"no crypto pki server {}\") to start anew",
                self.label
            ))
        };
        if name.as_der() != certificate.subject_raw() {
            return Err(fixed("the issuer name", &Name::from_der(certificate.subject_raw()).to_string()));
        }
        let Some(trustpoint) = trustpoint else { return Ok(()) };
        if trustpoint.key.as_ref().is_some_and(|key| key.label() != authority.key_label) {
            return Err(fixed("the key", &authority.key_label));
        }
        if trustpoint.on.as_ref().is_some_and(|on| *on != authority.token) {
            return Err(fixed("the token of the key", &authority.token));
        }
        Ok(())
    }

    /// Takes a new configuration; starts, restarts or stops by it. Returns what the operator should read.
    pub(super) fn configure(
        &self,
        section: ServerSection,
        trustpoint: TrustpointSection,
        tokens: Arc<Tokens>,
        now: Time,
    ) -> Vec<String> {
        let before = self.status();
        let unchanged = before.section == section
            && before.trustpoint == trustpoint
            && before.tokens.same_as(&tokens)
            && before.running.is_some();
        if unchanged {
            return Vec::new();
        }
        let was_running = before.running.is_some();
        self.change(|status| {
            status.section = section;
            status.trustpoint = trustpoint;
            status.tokens = tokens;
        });
        match (self.status().section.shutdown, was_running) {
            (true, false) => Vec::new(),
            (true, true) => {
                self.change(|status| {
                    status.running = None;
                    status.last_error = None;
                });
                vec![format!("% Certificate Server {} disabled.", self.label)]
            }
            (false, _) => match self.start(now) {
                Ok(()) if was_running => Vec::new(),
                Ok(()) => vec![format!("% Certificate Server {} enabled.", self.label)],
                Err(error) => vec![format!("% Certificate Server {} could not start: {error}", self.label)],
            },
        }
    }

    /// Starts, or starts anew by what is configured now. What runs goes on until the new one is ready.
    fn start(&self, now: Time) -> Result<(), String> {
        let _starting = self.starting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let status = self.status();
        let start = Start {
            label: &self.label,
            section: &status.section,
            trustpoint: &status.trustpoint,
            tokens: &status.tokens,
            store: &self.store,
            now,
        };
        let result = start.run();
        self.change(|status| match &result {
            Ok(_) => status.last_error = None,
            Err(error) => {
                status.last_error = Some(chain(error));
                status.running = None;
            }
        });
        let started = result.map_err(|error| chain(&error))?;
        self.change(|status| status.running = Some(Arc::new(started)));
        Ok(())
    }

    /// What time brings; see `Node::tick`.
    pub(super) fn tick(&self, now: Time) {
        let status = self.status();
        if status.section.shutdown {
            return;
        }
        let result = match &status.running {
            None => self.start(now),
            Some(started) => self.upkeep(&started.ca, &status.section, now).map_err(|error| chain(&error)),
        };
        if let Err(error) = result {
            tracing::warn!(server = self.label, %error, "upkeep failed; it is tried again");
            self.change(|status| status.last_error = Some(error));
        }
    }

    fn upkeep(&self, ca: &Ca, section: &ServerSection, now: Time) -> Result<(), CaError> {
        ca.recover(&Meter::new(), now)?;
        if ca.crl_is_due(now)? {
            ca.issue_crl(&Meter::new(), now)?;
        }
        let before = now.minus(section.lifetime.enrollment_request.duration());
        self.store.expire(&self.label, before)?;
        self.store.expire_passwords(&self.label, before)?;
        Ok(())
    }

    /// Deletes everything of the server: its data and its keys.
    pub(super) fn delete(&self, tokens: &Tokens) -> Result<(), NodeError> {
        let _starting = self.starting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.change(|status| status.running = None);
        for authority in self.store.authorities(&self.label)? {
            let token = tokens.get(Some(&authority.token))?;
            if token.find(&authority.key_label)?.is_some() {
                token.delete(&authority.key_label)?;
            }
        }
        Ok(self.store.delete_server(&self.label)?)
    }

    /// Whether a key is one of this server's.
    pub(super) fn needs_key(&self, label: &str) -> Result<bool, NodeError> {
        Ok(self.store.authorities(&self.label)?.iter().any(|authority| authority.key_label == label))
    }

    /// Answers a SCEP or HTTP request.
    pub fn answer(&self, asked: Asked, peer: IpAddr, now: Time) -> Answer {
        match self.status().running {
            Some(started) => started.ra.answer(asked, peer, now),
            None => Answer::busy(),
        }
    }

    /// `show crypto pki server`.
    pub fn report(&self) -> Result<ServerReport, NodeError> {
        let status = self.status();
        let authority = self.authority()?;
        let certificate = authority.as_ref().map(|a| parse(&a.certificate)).transpose()?;
        let fingerprint = |hash: Hash| certificate.as_ref().map(|c| hex(&hash.digest(&[c.der()])));
        let crl = match &authority {
            Some(authority) => self.store.crl(&self.label, authority.id)?,
            None => None,
        };
        Ok(ServerReport {
            label: self.label.clone(),
            status: match (&status.running, status.section.shutdown) {
                (Some(_), _) => ServerStatus::Enabled,
                (None, true) => ServerStatus::Disabled,
                (None, false) => ServerStatus::CheckFailed,
            },
            last_error: status.last_error,
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
            storage: status.section.database_url().into(),
            database_level: match status.section.database_level {
                DatabaseLevel::Minimum => "minimum",
                DatabaseLevel::Names => "names",
                DatabaseLevel::Complete => "complete",
            }
            .into(),
            key: authority.map_or_else(|| "-".into(), |a| format!("{} on {}:", a.key_label, a.token)),
            scep_key: status.running.map_or("-", |started| started.ra.keys_in_words()).into(),
            pending: self.store.pending(&self.label)?,
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
        let (mut entries, mut revoked) = (0, Vec::new());
        self.store.revoked(&self.label, crl.authority, crl.this_update, &mut |serial, revocation| {
            if revocation.at > crl.this_update {
                return;
            }
            entries += 1;
            if revoked.len() < MAX_ENTRIES_SHOWN {
                revoked.push(RevokedRow {
                    serial: serial.clone(),
                    at: revocation.at,
                    reason: reason_name(revocation.reason),
                });
            }
        })?;
        Ok(CrlReport {
            issuer: ca.name().to_string(),
            number: crl.number,
            this_update: crl.this_update,
            next_update: crl.next_update,
            size: crl.der.len(),
            entries,
            revoked,
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

    fn ca(&self) -> Result<Arc<Ca>, NodeError> {
        let status = self.status();
        status.running.map(|started| started.ca.clone()).ok_or_else(|| {
            let why = match (status.section.shutdown, status.last_error) {
                (true, _) => "it is shut; start it with \"no shutdown\"".to_owned(),
                (false, Some(error)) => error,
                (false, None) => "it has not started yet".to_owned(),
            };
            NodeError::Refused(format!("certificate server \"{}\" is not enabled: {why}", self.label))
        })
    }

    fn authority(&self) -> Result<Option<crate::store::Authority>, NodeError> {
        let authorities = self.store.authorities(&self.label)?;
        Ok(authorities.into_iter().find(|authority| authority.role == Role::Ca && !authority.retired))
    }

    fn status(&self) -> Status {
        self.state.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.state.write().unwrap_or_else(|poisoned| poisoned.into_inner()));
    }
}

fn parse(der: &[u8]) -> Result<Certificate, NodeError> {
    Certificate::parse(der).map_err(|error| NodeError::Ca(CaError::Damaged(error.to_string())))
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
