//! One trustpoint at work: what its steps share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use secrecy::SecretString;

use crate::config::{Parameter, Vault};
use crate::files::{FileUrl, Files};
use crate::pki::Time;
use crate::store::{Store, TrustedCertificate, TrustedKind, UpperRequest};
use crate::token::TokenKey;
use crate::trustpoint::profile::{Task, Values};
use crate::trustpoint::{ClientError, Proxied, Transport, Upper};

use super::super::NodeError;
use super::super::clock::Clock;
use super::super::tokens::Tokens;
use super::held::{Held, OwnCertificate, goes_on};
use super::making::Answers;
use super::wanted::{Method, Wanted};

/// One trustpoint, as it was configured when the work began.
pub struct Work {
    /// What it is to do.
    pub wanted: Wanted,
    /// What it has.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<Clock>,
    /// Where its keys are.
    pub tokens: Arc<Tokens>,
    /// The way to its CA.
    pub files: Arc<Files>,
    /// Opens its password.
    pub vault: Arc<Vault>,
    /// Every trustpoint and server: what they need stays.
    pub labels: Arc<Vec<String>>,
    /// Set when the node ends: what a slow CA answers afterwards is not written down any more.
    pub stopping: Arc<AtomicBool>,
}

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The node, a token or the database.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The CA.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl WorkError {
    /// Whether the same may succeed later without anybody doing something here.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Node(NodeError::Token(error)) => error.kind() != crate::pki::KeyErrorKind::Refused,
            Self::Node(NodeError::Store(_) | NodeError::Io { .. }) => true,
            Self::Node(_) => false,
            Self::Client(error) => error.is_temporary(),
        }
    }
}

impl Work {
    /// The name of the trustpoint.
    pub fn label(&self) -> &str {
        &self.wanted.label
    }

    /// What time it is.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// What it has now.
    pub fn held(&self) -> Result<Held, NodeError> {
        Held::of(self.store.as_ref(), self.label())
    }

    /// Refuses to ask for certificates where that cannot begin with what is held.
    pub fn ready(&self, held: &Held) -> Result<(), NodeError> {
        let trustpoint = self.label();
        if held.ca.is_none() {
            return Err(NodeError::Refused(format!(
                "You must authenticate the Certificate Authority before you can enroll with it\nhint: `crypto pki \
                 authenticate {trustpoint}`"
            )));
        }
        if let Method::None = self.wanted.method {
            return Err(NodeError::Refused(format!(
                "trustpoint {trustpoint} does not say how to enrol\nhint: `enrollment url` or `enrollment terminal`"
            )));
        }
        match held.requests.iter().find(|request| goes_on(request.phase)) {
            Some(request) => Err(NodeError::Refused(format!(
                "trustpoint {trustpoint} has asked for a certificate already, at {}\nhint: `no crypto pki enroll \
                 {trustpoint}` takes it back",
                request.began
            ))),
            None => Ok(()),
        }
    }

    /// The CA as this method reaches it, where that is SCEP.
    pub fn upper(&self, method: &Method) -> Result<Upper, NodeError> {
        let Method::Scep(url) = method else {
            return Err(NodeError::Refused(format!(
                "trustpoint {} has no SCEP server\nhint: `enrollment url http://…` names one",
                self.label()
            )));
        };
        let upper = Upper::new(url, self.transport());
        Ok(upper.identified(self.label()).hashing(self.wanted.hash).allowing(self.wanted.allowed))
    }

    /// The way to the CA.
    pub fn transport(&self) -> Arc<dyn Transport> {
        match self.wanted.proxy.clone() {
            Some((host, port)) => Arc::new(Proxied { files: self.files.clone(), host, port }),
            None => self.files.clone(),
        }
    }

    /// How a certificate of this kind is got: as the first one, or as the next ones are.
    pub fn method(&self, held: &Held, kind: TrustedKind) -> &Method {
        match self.before(held, kind) {
            Some(_) => &self.wanted.again,
            None => &self.wanted.method,
        }
    }

    /// Asks by a command of an enrolment profile what `ask` says.
    pub fn by_command<T>(
        &self,
        method: &Method,
        answers: &Answers,
        request: Option<&[u8]>,
        ask: impl FnOnce(&Task<'_>, &dyn Transport) -> Result<T, ClientError>,
    ) -> Result<T, WorkError> {
        let Method::Command { url, command, parameters } = method else {
            return Err(NodeError::Refused("there is no command to send".into()).into());
        };
        let value = |(number, parameter): (&u8, &Parameter)| match parameter {
            Parameter::Value(value) => Some((*number, SecretString::from(value.clone()))),
            Parameter::Prompt(_) => answers.parameters.get(number).map(|value| (*number, value.clone())),
        };
        let parameters = parameters.iter().filter_map(value).collect();
        let fqdn = self.wanted.request.fqdn.as_deref().unwrap_or(self.label());
        let values = Values { parameters: &parameters, request, pem: false, fqdn };
        Ok(ask(&Task { url, command, values: &values }, self.transport().as_ref())?)
    }

    /// The key with this label on this token.
    pub fn key(&self, token: &str, label: &str) -> Result<TokenKey, NodeError> {
        Ok(self.tokens.get(Some(token))?.key(label)?)
    }

    /// The key of one of its certificates.
    pub fn key_of(&self, own: &OwnCertificate) -> Result<TokenKey, NodeError> {
        let (token, label) = match &own.key {
            Some((token, label)) => (Some(token.as_str()), label.as_str()),
            None => (self.wanted.key.token.as_deref(), self.wanted.key.label.as_str()),
        };
        let missing = || NodeError::NotFound(format!("there is no key \"{label}\" for its certificate"));
        let (_, key) = self.tokens.find_key(token, label)?.ok_or_else(missing)?;
        match key.public_key() == own.certificate.public_key() {
            true => Ok(key),
            false => Err(NodeError::Refused(format!("the key \"{label}\" is not that of its certificate"))),
        }
    }

    /// The file beside the others of this trustpoint that ends so.
    pub fn file(&self, url: &str, ending: &str) -> Result<FileUrl, NodeError> {
        let whole =
            url.ends_with(['/', ':']) || url.split_once("://").is_some_and(|(_, rest)| !rest.contains('/'));
        let slash = if url.ends_with(['/', ':']) { "" } else { "/" };
        let name = match whole {
            true => {
                format!("{url}{slash}{}{ending}", self.wanted.request.fqdn.as_deref().unwrap_or(self.label()))
            }
            false => format!("{url}{ending}"),
        };
        FileUrl::parse(&name).map_err(|error| NodeError::Refused(error.to_string()))
    }

    /// Replaces a request by another state of it.
    pub fn advance(&self, old: &UpperRequest, new: UpperRequest) -> Result<UpperRequest, NodeError> {
        self.check_running()?;
        self.store.advance_request(old, &new)?;
        Ok(new)
    }

    /// Ends a request with what came of it.
    pub fn finish(&self, request: &UpperRequest, certificate: TrustedCertificate) -> Result<(), NodeError> {
        self.check_running()?;
        Ok(self.store.finish_request(request, vec![certificate])?)
    }

    fn check_running(&self) -> Result<(), NodeError> {
        match self.stopping.load(Ordering::Acquire) {
            true => Err(NodeError::Refused("this process is ending".into())),
            false => Ok(()),
        }
    }
}
