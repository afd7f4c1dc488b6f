//! CRLs of other CAs, kept as long as they hold.

use bytes::Bytes;

use crate::pki::Time;

/// A CRL of a CA elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedCrl {
    /// Whose it is, and where it came from.
    pub origin: CrlOrigin,
    /// The CRL, DER.
    pub der: Bytes,
}

/// What is known of a [`FetchedCrl`] without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlOrigin {
    /// SHA-256 of the SubjectPublicKeyInfo with whose key it is signed.
    pub issuer_key: [u8; 32],
    /// Its issuer, in the notation of IOS.
    pub issuer: String,
    /// Where it came from: a URL.
    pub source: String,
    /// When it came.
    pub fetched: Time,
    /// thisUpdate.
    pub this_update: Time,
    /// nextUpdate.
    pub next_update: Time,
}
