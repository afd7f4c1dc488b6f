//! Under which certificates a server acts.

use serde::Serialize;

use crate::pki::{Serial, Time};

use super::{Crl, Revocation};

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
    /// Whether its time is yet to come, now, or over.
    pub phase: Phase,
}

/// The life of an [`Authority`].
///
/// ```text
/// install ──────────────▶ Active ──activate or install of another──▶ Retired
/// prepare ──▶ Next ──activate──┘
///              └──discard_next or replace_next──▶ Discarded
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It takes the place of the active one when that ends. What it signs now is valid from then on.
    Next,
    /// It acts. A server has one at most in each role, as of the next ones.
    Active,
    /// Another has taken its place. It still signs CRLs for what it issued.
    Retired,
    /// It was to be the next and never acted. It is on record for the certificates that it signed, which are
    /// revoked; its key is to be deleted.
    Discarded,
}

impl Authority {
    /// Whether it acts.
    pub fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }
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

/// What a CA has issued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IssuedBy {
    /// How many certificates.
    pub count: u64,
    /// How many of them in answer to enrollments.
    pub enrolled: u64,
    /// notAfter of the one that ends last.
    pub last_end: Option<Time>,
}

/// Who follows a CA to its next certificate, and who does not yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftBehind {
    /// How many have no certificate of the next CA.
    pub missing: u64,
    /// How many have one.
    pub ready: u64,
    /// The subjects of those that have none, in the notation of IOS; not all when there are many.
    pub subjects: Vec<String>,
}

/// A CA that was another's, to be taken over.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// Its certificate, and where its key is now. The role is that of a CA.
    pub authority: NewAuthority,
    /// What is known of the certificates it issued, its own among them if it is self-signed. What stands
    /// twice is one: the octets of a certificate tell more than what was written about it, and of the rest
    /// what comes first.
    pub certificates: Vec<Adopted>,
    /// The serial number it gave out last, as far as its files say.
    pub last_serial: Serial,
    /// Its newest CRL. Authority and revision are filled in.
    pub crl: Option<Crl>,
    /// Now.
    pub now: Time,
}

/// What is known of a certificate that an adopted CA issued.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// Serial number.
    pub serial: Serial,
    /// The certificate, DER. With it everything below must be known but the revocation.
    pub der: Option<Vec<u8>>,
    /// Subject, in the notation of IOS.
    pub subject: Option<String>,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key: Option<[u8; 32]>,
    /// notBefore.
    pub not_before: Option<Time>,
    /// notAfter.
    pub not_after: Option<Time>,
    /// Whether and how it was revoked.
    pub revocation: Option<Revocation>,
}
