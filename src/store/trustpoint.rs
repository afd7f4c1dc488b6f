//! What a trustpoint has, and what it has asked for.

use serde::Serialize;

use crate::pki::{Serial, Time};

/// A certificate of a trustpoint: of the CA it trusts, or its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedCertificate {
    /// Name of the trustpoint.
    pub trustpoint: String,
    /// Whose it is.
    pub kind: TrustedKind,
    /// Serial number.
    pub serial: Serial,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Name of the token in the configuration with its key, when the key is ours.
    pub token: Option<String>,
    /// Label of the key pair on that token.
    pub key_label: Option<String>,
}

/// Whose a certificate of a trustpoint is. Those that are next take the place of those of now in one step:
/// [`Store::promote`](super::Store::promote).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustedKind {
    /// The CA's, or that of a CA above it.
    Ca,
    /// An RA's.
    Ra,
    /// The trustpoint's own, for everything or for signatures.
    Own,
    /// Its own for encryption, where that has a key of its own.
    OwnEncryption,
    /// The next CA's, or that of a CA above it.
    NextCa,
    /// An RA's beside the next CA.
    NextRa,
    /// The trustpoint's next own.
    NextOwn,
    /// Its next for encryption.
    NextOwnEncryption,
}

impl TrustedKind {
    /// Those that belong to the trustpoint, and not to the CA.
    pub const OWN: [Self; 4] = [Self::Own, Self::OwnEncryption, Self::NextOwn, Self::NextOwnEncryption];

    /// The same of the time after.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Ca | Self::NextCa => Self::NextCa,
            Self::Ra | Self::NextRa => Self::NextRa,
            Self::Own | Self::NextOwn => Self::NextOwn,
            Self::OwnEncryption | Self::NextOwnEncryption => Self::NextOwnEncryption,
        }
    }

    /// The same of the time now.
    #[must_use]
    pub const fn now(self) -> Self {
        match self {
            Self::Ca | Self::NextCa => Self::Ca,
            Self::Ra | Self::NextRa => Self::Ra,
            Self::Own | Self::NextOwn => Self::Own,
            Self::OwnEncryption | Self::NextOwnEncryption => Self::OwnEncryption,
        }
    }

    /// Whether it is of the time after.
    pub const fn is_next(self) -> bool {
        matches!(self, Self::NextCa | Self::NextRa | Self::NextOwn | Self::NextOwnEncryption)
    }

    /// Whether it belongs to the trustpoint, and not to the CA.
    pub fn is_own(self) -> bool {
        Self::OWN.contains(&self)
    }
}

/// A request to a CA elsewhere, from before its first message to the certificate.
///
/// ```text
/// begin_request ─▶ Making ─▶ Sending ─▶ Pending ─finish_request─▶ (certificates)
///                    │          └──────────┴────▶ Failed ─▶ Sending (again)
///                    └─▶ Manual ─finish_request─▶ (certificates)
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpperRequest {
    /// Name of the trustpoint.
    pub trustpoint: String,
    /// What will become of the certificate: [`TrustedKind::is_own`] is true of it.
    pub kind: TrustedKind,
    /// How far it is.
    pub phase: UpperPhase,
    /// Name of the token in the configuration with the key to be certified.
    pub token: String,
    /// Label of that key pair.
    pub key_label: String,
    /// Whether that pair was made for this request, and goes with it when nothing comes of it.
    pub new_key: bool,
    /// The PKCS#10, DER; empty while it is being made.
    pub csr: Vec<u8>,
    /// transactionID octets of SCEP.
    pub transaction: Vec<u8>,
    /// The certificate that signs its messages, DER; empty where there are none.
    pub signer: Vec<u8>,
    /// Name of the token with the signer's key, and the label of that.
    pub signer_key: Option<(String, String)>,
    /// Tries, or polls, in this phase.
    pub tries: u32,
    /// How often it has failed as a whole.
    pub failures: u32,
    /// When it was begun.
    pub began: Time,
    /// When it is tried next.
    pub next_try: Time,
    /// What went wrong last.
    pub error: Option<String>,
}

impl UpperRequest {
    /// One that is to be made, at once, for the key with this label on this token; `new_key` when that is
    /// made for it.
    pub fn making(
        trustpoint: &str,
        kind: TrustedKind,
        (token, key_label, new_key): (String, String, bool),
        began: Time,
    ) -> Self {
        Self {
            trustpoint: trustpoint.to_owned(),
            kind,
            phase: UpperPhase::Making,
            token,
            key_label,
            new_key,
            csr: Vec::new(),
            transaction: Vec::new(),
            signer: Vec::new(),
            signer_key: None,
            tries: 0,
            failures: 0,
            began,
            next_try: began,
            error: None,
        }
    }
}

/// How far an [`UpperRequest`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpperPhase {
    /// Its key and its PKCS#10 are being made.
    Making,
    /// It is to be sent; the CA may have it and may not.
    Sending,
    /// The CA has it, and an operator there has to decide.
    Pending,
    /// An operator here carries it to the CA, and brings the certificate.
    Manual,
    /// Nothing came of it.
    Failed,
}
