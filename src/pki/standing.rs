//! What the issuer of a certificate has to say about it later.

use super::time::Time;

/// Whether a certificate was revoked, as its issuer says on a CRL or by OCSP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was not.
    Good,
    /// It was.
    Revoked {
        /// Since when.
        at: Time,
        /// CRLReason (RFC 5280, 5.3.1); 0, unspecified, when it is not said.
        reason: u8,
    },
}

/// A CRLReason as RFC 5280, 5.3.1 calls it.
pub const fn revocation_reason(code: u8) -> &'static str {
    match code {
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
