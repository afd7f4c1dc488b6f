//! The running configuration made real: tokens opened, database, servers started. What both edges,
//! the command language and HTTP, ask.

mod report;

pub use report::{
    CrlReport, Decision, KeyReport, RequestRow, Selection, ServerReport, ServerStatus, TokenReport,
};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;

use crate::config::Configuration;
use crate::pki::Serial;
use crate::store::StoreError;

/// One `tokenca`: a state directory, a configuration, and what runs by it.
pub struct Node {}

impl Node {
    /// Opens the state directory and makes `configuration` real. What cannot start does not keep the rest
    /// from starting: its error is in its server's report.
    pub fn start(state: PathBuf, configuration: Configuration) -> Result<Arc<Self>, NodeError> {
        let _ = (state, configuration);
        todo!()
    }

    /// The running configuration.
    pub fn configuration(&self) -> Configuration {
        todo!()
    }

    /// Makes `new` the running configuration. Refused as a whole when it changes what may not change;
    /// otherwise it takes effect, and what could not be started is told in the lines returned
    /// (`% Certificate Server enabled.` or `% …` and why).
    pub fn apply(&self, new: Configuration) -> Result<Vec<String>, NodeError> {
        let _ = new;
        todo!()
    }

    /// The state directory.
    pub fn state(&self) -> &std::path::Path {
        todo!()
    }

    /// Labels of the configured servers, in order.
    pub fn servers(&self) -> Vec<String> {
        todo!()
    }

    /// The server of this label.
    pub fn server(&self, label: &str) -> Result<Arc<CertServer>, NodeError> {
        let _ = label;
        todo!()
    }

    /// Every configured token, or the one of this name.
    pub fn tokens(&self, name: Option<&str>) -> Result<Vec<TokenReport>, NodeError> {
        let _ = name;
        todo!()
    }

    /// Generates a key pair on a token (`crypto key generate`).
    pub fn generate_key(
        &self,
        token: Option<&str>,
        label: &str,
        kind: crate::pki::KeyKind,
    ) -> Result<KeyReport, NodeError> {
        let _ = (token, label, kind);
        todo!()
    }

    /// Key pairs on the configured tokens (`show crypto key mypubkey`).
    pub fn keys(&self) -> Result<Vec<KeyReport>, NodeError> {
        todo!()
    }

    /// Deletes a key pair (`crypto key zeroize`), unless a server needs it.
    pub fn zeroize_key(&self, label: &str) -> Result<(), NodeError> {
        let _ = label;
        todo!()
    }

    /// Where HTTP is served, when it is.
    pub fn http_address(&self) -> Option<SocketAddr> {
        todo!()
    }
}

/// One `crypto pki server`, as the operator's commands see it.
pub struct CertServer {}

impl CertServer {
    /// `show crypto pki server`.
    pub fn report(&self) -> ServerReport {
        todo!()
    }

    /// `info requests`: by group, then ReqID.
    pub fn requests(&self) -> Result<Vec<RequestRow>, NodeError> {
        todo!()
    }

    /// `grant`: signs and keeps the certificates of the pending requests selected.
    pub fn grant(&self, selection: Selection) -> Result<Vec<Decision>, NodeError> {
        let _ = selection;
        todo!()
    }

    /// `reject`: pending requests become denied.
    pub fn reject(&self, selection: Selection) -> Result<Vec<Decision>, NodeError> {
        let _ = selection;
        todo!()
    }

    /// `remove`: requests are forgotten, their certificates are not.
    pub fn remove(&self, selection: Selection) -> Result<Vec<Decision>, NodeError> {
        let _ = selection;
        todo!()
    }

    /// `password generate`: a new one-time password, valid for so many minutes.
    pub fn generate_password(&self, minutes: u32, subject: Option<&str>) -> Result<SecretString, NodeError> {
        let _ = (minutes, subject);
        todo!()
    }

    /// `revoke`: marks the certificate and issues a CRL. `reason` by RFC 5280, 5.3.1.
    pub fn revoke(&self, serial: &Serial, reason: u8) -> Result<CrlReport, NodeError> {
        let _ = (serial, reason);
        todo!()
    }

    /// `unrevoke`: takes a hold back and issues a CRL.
    pub fn unrevoke(&self, serial: &Serial) -> Result<CrlReport, NodeError> {
        let _ = serial;
        todo!()
    }

    /// `info crl`.
    pub fn crl(&self) -> Result<CrlReport, NodeError> {
        todo!()
    }

    /// The CA certificate, DER, and those of the SCEP keys when they are separate.
    pub fn certificates(&self) -> Result<Vec<Vec<u8>>, NodeError> {
        todo!()
    }

    /// The certificate with this serial number, DER.
    pub fn certificate(&self, serial: &Serial) -> Result<Vec<u8>, NodeError> {
        let _ = serial;
        todo!()
    }
}

/// Why the node did not do it. Displayed after `% ` on one line, hints on the next.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No server, token, key, request or certificate of that name.
    #[error("{0}")]
    NotFound(String),
    /// It may not be done in this state; says why.
    #[error("{0}")]
    Refused(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token.
    #[error("{0}")]
    Token(String),
    /// The state directory.
    #[error("{what}: {source}")]
    Io {
        /// Which file, doing what.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}
