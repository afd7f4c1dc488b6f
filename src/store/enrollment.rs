//! Requests and what becomes of them.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::pki::{Class, Serial, Time};

use super::{Intent, NewIntent, StoreError};

/// Where an enrollment stands, by the names of IOS (S13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Just made.
    Initial,
    /// To be issued: its intent is recorded, or it is asked for at another CA.
    Authorized,
    /// Waits for the operator.
    Pending,
    /// Its certificate is kept.
    Granted,
    /// Refused by the operator.
    Denied,
    /// Cryptographically invalid; kept for the operator to see.
    Malformed,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Initial, Self::Authorized, Self::Pending, Self::Granted, Self::Denied, Self::Malformed];

    /// The word shown and stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Authorized => "authorized",
            Self::Pending => "pending",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Malformed => "malformed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for State {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        Self::ALL
            .into_iter()
            .find(|state| state.name() == text)
            .ok_or_else(|| StoreError::Corrupt(format!("state \"{text}\"")))
    }
}

/// A request for a certificate and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrollment {
    /// ReqID: counts from 1 per server and is never given again.
    pub id: u64,
    /// Where it stands.
    pub state: State,
    /// Its group.
    pub class: Class,
    /// The authority that is to sign, where that is not whichever acts when it is granted: the next one.
    pub authority: Option<u64>,
    /// SCEP transactionID octets.
    pub transaction: Vec<u8>,
    /// What makes two submissions the same request.
    pub identity: [u8; 32],
    /// The PKCS#10, DER as received.
    pub csr: Vec<u8>,
    /// SHA-256 of the SubjectPublicKeyInfo that signed the message.
    pub signer_key: [u8; 32],
    /// Subject, in the notation of IOS.
    pub subject: String,
    /// Where it came from: a peer's address, `terminal`.
    pub source: String,
    /// When it was submitted.
    pub created: Time,
    /// When it last changed.
    pub updated: Time,
    /// The serial number of its intent or certificate.
    pub serial: Option<Serial>,
    /// Why it was denied or is malformed.
    pub reason: Option<String>,
    /// What it has cost the token so far.
    pub cost: Cost,
}

/// Private-key operations spent on an enrollment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Signatures.
    pub signatures: u32,
    /// Decryptions.
    pub decryptions: u32,
    /// Microseconds spent waiting for them.
    pub micros: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.signatures = self.signatures.saturating_add(other.signatures);
        self.decryptions = self.decryptions.saturating_add(other.decryptions);
        self.micros = self.micros.saturating_add(other.micros);
    }
}

/// An [`Enrollment`] to be.
pub struct NewEnrollment {
    /// Label of the server.
    pub server: String,
    /// Its group.
    pub class: Class,
    /// The authority that is to sign, where that is not whichever acts when it is granted.
    pub authority: Option<u64>,
    /// SCEP transactionID octets.
    pub transaction: Vec<u8>,
    /// What makes two submissions the same request.
    pub identity: [u8; 32],
    /// The PKCS#10, DER as received.
    pub csr: Vec<u8>,
    /// SHA-256 of the SubjectPublicKeyInfo that signed the message.
    pub signer_key: [u8; 32],
    /// Subject, in the notation of IOS.
    pub subject: String,
    /// Where it came from.
    pub source: String,
    /// Now.
    pub now: Time,
    /// Which earlier enrollments this may be a repetition of.
    pub reuse: Reuse,
    /// The digest of the one-time password that authorizes it, to be claimed.
    pub claim: Option<[u8; 32]>,
    /// Pending enrollments beyond which no new one is taken. As many malformed ones are kept, the newest.
    pub max_pending: u64,
    /// What policy decided.
    pub submission: Submission,
    /// What it has cost the token so far.
    pub cost: Cost,
}

/// Which earlier enrollments with the same identity a submission repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// None (`scep duplicates new`).
    Never,
    /// Those not granted yet or denied, and those whose certificate is unrevoked and in the first half
    /// of its life (draft-nourse-scep-11, 2.2.1).
    UntilHalfLife,
}

/// What policy decided about a new enrollment.
pub enum Submission {
    /// It waits for the operator.
    Pend,
    /// It is issued at once: this is its intent.
    Issue(NewIntent),
    /// It is issued by another CA, which is asked from now on: a [`Forward`](super::Forward).
    Forward,
    /// It is cryptographically invalid, for this reason.
    Malformed(String),
}

/// What [`Store::submit`] did.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The enrollment, new or known.
    pub enrollment: Enrollment,
    /// The intent, when it is Authorized.
    pub intent: Option<Intent>,
    /// Whether this is a repetition.
    pub known: bool,
}
