//! Under which certificates a server acts.

use serde::Serialize;

/// In what capacity a certificate acts for its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Signs certificates and CRLs.
    Ca,
    /// Signs SCEP replies when the SCEP key is separate.
    RaSign,
    /// Unwraps SCEP envelopes when the SCEP key is separate.
    RaDecrypt,
}

/// A certificate under which a server acts, and where its key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Identifies it in this database.
    pub id: u64,
    /// Capacity.
    pub role: Role,
    /// Name of the token in the configuration: `usbtoken0`.
    pub token: String,
    /// Label of the key pair on that token.
    pub key_label: String,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Whether another has taken its place. Retired ones still sign CRLs for what they issued.
    pub retired: bool,
}

/// An [`Authority`] to be.
#[derive(Clone, Debug)]
pub struct NewAuthority {
    /// Label of the server.
    pub server: String,
    /// Capacity.
    pub role: Role,
    /// Name of the token in the configuration.
    pub token: String,
    /// Label of the key pair on that token.
    pub key_label: String,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
}
