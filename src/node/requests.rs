//! Enrollment requests of one certificate server, as an operator handles them, and one-time passwords.

use secrecy::{ExposeSecret, SecretString};

use crate::ca::{CaError, Meter, Outcome};
use crate::pki::{Csr, Hash, Name, chain, hex};
use crate::ra::{ByHand, challenge_digest};
use crate::store::{self, Enrollment, Password, State};

use super::report::Printed;
use super::server::CertServer;
use super::start::Acting;
use super::{Decision, NodeError, RequestRow, Selection};

impl CertServer {
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

    /// `request pkcs10`: brings a request by hand. `pem` says how its certificate is to be printed, `next` that
    /// it is to be one of the next CA.
    pub fn request(&self, der: &[u8], pem: bool, next: bool) -> Result<Decision, NodeError> {
        let source = if pem { TERMINAL_PEM } else { TERMINAL };
        self.check_clock(self.clock.now())?;
        let started = self.started()?;
        if next && self.ca()?.next().is_none() {
            return Err(NodeError::NotFound(format!(
                "there is no next CA certificate yet; \"crypto pki server {} rollover\" makes it",
                self.label
            )));
        }
        let taken = started.ra.enroll_by_hand(der, source, next, self.clock.now());
        let taken = taken.map_err(|refused| NodeError::Refused(chain(&refused)))?;
        self.files_are_wanted();
        Ok(match taken {
            ByHand::Taken(Outcome::Issued(certificate)) => granted(certificate, source),
            ByHand::Taken(Outcome::Pending(id)) => Decision::is(id, State::Pending),
            ByHand::Taken(Outcome::Denied(id)) => Decision::is(id, State::Denied),
            ByHand::Malformed { id, reason } => Decision::failed(id, State::Malformed, reason),
        })
    }

    /// `grant`: signs and keeps the certificates of the pending requests selected.
    pub fn grant(&self, selection: Selection) -> Result<Vec<Decision>, NodeError> {
        let started = self.started()?;
        let now = self.clock.now();
        self.check_clock(now)?;
        let decided = self.decide(selection, &[State::Pending], |enrollment| {
            let id = enrollment.id;
            Ok(match started.ra.certifier().grant(id, &Meter::new(), now)? {
                Outcome::Issued(certificate) => granted(certificate, &enrollment.source),
                // The CA above has been asked and has not answered yet.
                Outcome::Pending(id) => Decision::is(id, State::Authorized),
                Outcome::Denied(id) => {
                    let denied = self.store.enrollment(&self.label, id)?;
                    let reason = denied.and_then(|enrollment| enrollment.reason).unwrap_or_default();
                    Decision::failed(id, State::Denied, reason)
                }
            })
        });
        self.files_are_wanted();
        decided
    }

    /// `reject`: pending requests become denied.
    pub fn reject(&self, selection: Selection) -> Result<Vec<Decision>, NodeError> {
        let started = self.started()?;
        let now = self.clock.now();
        // Of an RA those as well for which the CA above was asked and has not answered.
        let states: &[_] = match (&started.acting, selection) {
            (Acting::Registrar { .. }, Selection::Range(..)) => &[State::Pending, State::Authorized],
            _ => &[State::Pending],
        };
        self.decide(selection, states, |enrollment| {
            started.ra.certifier().reject(enrollment.id, now)?;
            Ok(Decision::is(enrollment.id, State::Denied))
        })
    }

    /// `remove`: requests are forgotten, their certificates are not.
    pub fn remove(&self, selection: Selection) -> Result<Vec<Decision>, NodeError> {
        self.decide(selection, &State::ALL, |enrollment| {
            self.store.remove(&self.label, enrollment.id)?;
            Ok(Decision::removed(enrollment.id))
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
        let now = self.clock.now();
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

    fn decide(
        &self,
        selection: Selection,
        only: &[State],
        mut act: impl FnMut(&Enrollment) -> Result<Decision, CaError>,
    ) -> Result<Vec<Decision>, NodeError> {
        let mut decisions = Vec::new();
        self.each_enrollment(selection, |enrollment| {
            let state = enrollment.state;
            if !only.contains(&state) {
                if selection != Selection::All {
                    let error = format!("it is {state}, not pending");
                    decisions.push(Decision::failed(enrollment.id, state, error));
                }
                return Ok(());
            }
            let decision = act(&enrollment);
            decisions.push(decision.unwrap_or_else(|e| Decision::failed(enrollment.id, state, chain(&e))));
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
}

/// A request that was granted; with its certificate if it has been brought by hand.
fn granted(certificate: store::Certificate, source: &str) -> Decision {
    let printed = match source {
        TERMINAL => Some(Printed { der: certificate.der, pem: false }),
        TERMINAL_PEM => Some(Printed { der: certificate.der, pem: true }),
        _ => None,
    };
    let decision = Decision::is(certificate.enrollment.unwrap_or_default(), State::Granted);
    Decision { serial: Some(certificate.serial), printed, ..decision }
}

fn row(enrollment: Enrollment) -> RequestRow {
    RequestRow {
        id: enrollment.id,
        class: enrollment.class,
        rollover: enrollment.authority.is_some(),
        state: enrollment.state,
        fingerprint: hex(&Csr::fingerprint(&enrollment.csr, Hash::Md5)),
        fingerprint_sha256: hex(&Csr::fingerprint(&enrollment.csr, Hash::Sha256)),
        subject: enrollment.subject,
        transaction: String::from_utf8_lossy(&enrollment.transaction).escape_debug().to_string(),
        source: enrollment.source,
        created: enrollment.created,
        serial: enrollment.serial,
        reason: enrollment.reason,
        cost: enrollment.cost,
    }
}

/// Where a request came from that was brought by hand.
const TERMINAL: &str = "terminal";
/// The same, when its certificate is to be printed in PEM.
const TERMINAL_PEM: &str = "terminal, pem";
/// Enrollments read at a time.
const PAGE: usize = 1000;
