//! One `crypto pki server`, as the operator's commands see it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, RwLock};

use crate::ca::{Ca, CaError, Gate, Meter};
use crate::config::{ServerSection, TrustpointSection};
use crate::pki::{Certificate, Name, Time, chain};
use crate::ra::{Answer, Asked};
use crate::store::{Role, Store};

use super::NodeError;
use super::start::{Start, Started, issuer_name};
use super::tokens::Tokens;

/// One `crypto pki server`, as the operator's commands see it.
pub struct CertServer {
    pub(super) label: String,
    pub(super) store: Arc<dyn Store>,
    /// Whether its CA may issue, however often it is configured anew.
    pub(super) gate: Arc<Gate>,
    state: RwLock<Status>,
    /// Held while the server starts or stops.
    starting: Mutex<()>,
}

/// What is configured and what runs.
#[derive(Clone, Default)]
pub(super) struct Status {
    pub(super) section: ServerSection,
    pub(super) trustpoint: TrustpointSection,
    pub(super) tokens: Arc<Tokens>,
    pub(super) running: Option<Arc<Started>>,
    pub(super) last_error: Option<String>,
}

impl CertServer {
    pub(super) fn new(label: &str, store: Arc<dyn Store>) -> Self {
        Self {
            label: label.to_owned(),
            store,
            gate: Arc::default(),
            state: RwLock::default(),
            starting: Mutex::default(),
        }
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
            gate: &self.gate,
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

    pub(super) fn ca(&self) -> Result<Arc<Ca>, NodeError> {
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

    pub(super) fn authority(&self) -> Result<Option<crate::store::Authority>, NodeError> {
        let authorities = self.store.authorities(&self.label)?;
        Ok(authorities.into_iter().find(|authority| authority.role == Role::Ca && !authority.retired))
    }

    pub(super) fn status(&self) -> Status {
        self.state.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.state.write().unwrap_or_else(|poisoned| poisoned.into_inner()));
    }
}

pub(super) fn parse(der: &[u8]) -> Result<Certificate, NodeError> {
    Certificate::parse(der).map_err(|error| NodeError::Ca(CaError::Damaged(error.to_string())))
}
