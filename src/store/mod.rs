//! The database: what must survive a power cut.
//!
//! [`Store`] speaks in verbs of the domain; each call is one transaction. [`sqlite`] is the backend for
//! one machine. The module knows rows and bytes; it never looks inside a certificate.
//!
//! The life of an issued certificate, so that a reader of the store can explain any moment of a crash:
//!
//! ```text
//! submit ──▶ Pending ──intend──▶ Authorized ──keep──▶ Granted
//!    │          └────advance───▶ Denied
//!    └─(policy says issue: with its intent, in one transaction)─▶ Authorized ──keep──▶ Granted
//! ```
//!
//! `intend` fixes serial number and bytes to be signed before the key is used; `keep` stores the
//! certificate before anybody is told. What is found Authorized at start is finished by signing the
//! same bytes again.

pub mod sqlite;

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

pub use crate::pki::Class;
use crate::pki::{Serial, Time};

/// Servers' authorities, enrollments, certificates, CRLs and one-time passwords.
///
/// Calls for one server are serializable, also across processes; what returned `Ok` survives a power
/// cut. Every method names the server by its label. A backend may be called from many threads.
pub trait Store: Send + Sync {
    /// Certificates under which this server acts (CA, RA signing, RA decryption), oldest first.
    fn authorities(&self, server: &str) -> Result<Vec<Authority>, StoreError>;

    /// Adds an authority whose certificate is kept already. `Conflict` if an active one has the role;
    /// the old one is retired first, in the same transaction, when `replaces` names it. `NotFound` when
    /// there is none with that number, `Conflict` when it is retired already or has another role.
    fn install(&self, authority: NewAuthority, replaces: Option<u64>) -> Result<Authority, StoreError>;

    /// Records an enrollment, or finds the one that this is a repetition of: same `identity`, not
    /// removed, and acceptable to `reuse`. The claim of a one-time password, the check for repetition,
    /// the limit on pending requests and, for [`Submission::Issue`], the intent, happen in the same
    /// transaction; a repetition claims nothing, adds its cost to what it repeats, and takes it over into its
    /// own `transaction`: a client that begins anew polls under the new one. Of several acceptable ones the
    /// newest is meant. An intent is for the same server, whichever it names.
    ///
    /// A password lets the identity that used it in again, should its enrollment have been removed.
    ///
    /// Errors: `ClaimRefused` when the password is unknown, expired or used by another enrollment;
    /// `Full` when `max_pending` is reached. Nothing is recorded then.
    fn submit(&self, new: NewEnrollment) -> Result<Submitted, StoreError>;

    /// The enrollment with this ReqID.
    fn enrollment(&self, server: &str, id: u64) -> Result<Option<Enrollment>, StoreError>;

    /// The newest enrollment with this transaction identifier that was made by this key
    /// (SHA-256 of its SubjectPublicKeyInfo).
    fn enrollment_of(
        &self,
        server: &str,
        transaction: &[u8],
        signer_key: &[u8; 32],
    ) -> Result<Option<Enrollment>, StoreError>;

    /// Enrollments with a ReqID above `after`, ascending, at most `limit`.
    fn enrollments(&self, server: &str, after: u64, limit: usize) -> Result<Vec<Enrollment>, StoreError>;

    /// How many enrollments wait for the operator.
    fn pending(&self, server: &str) -> Result<u64, StoreError>;

    /// Moves an enrollment from one state to another with a reason for the operator. `Conflict` if it is
    /// not in `from`, `NotFound` if there is none. `Conflict` also when either is Authorized or Granted:
    /// into these lead only `submit`, `intend` and `keep`, out of them only `keep` and `abandon`.
    fn advance(
        &self,
        server: &str,
        id: u64,
        from: State,
        to: State,
        reason: Option<&str>,
        now: Time,
    ) -> Result<(), StoreError>;

    /// Removes an enrollment, whatever its state but Authorized (`Conflict`); its certificate stays.
    /// `NotFound` if there is none.
    fn remove(&self, server: &str, id: u64) -> Result<(), StoreError>;

    /// Removes enrollments not updated since `before`, but Authorized ones. Returns how many.
    fn expire(&self, server: &str, before: Time) -> Result<u64, StoreError>;

    /// Fixes a serial number and the bytes that will be signed under it. With `enrollment`, moves that
    /// enrollment from the given state to Authorized in the same transaction; `Conflict` if it is not in
    /// that state, or if that is Authorized or Granted, and `NotFound` if there is none. `NotFound` also
    /// when the authority does not exist.
    fn intend(&self, new: NewIntent, enrollment: Option<(u64, State)>) -> Result<Intent, StoreError>;

    /// Stores the certificate of an intent and moves its enrollment, if any, to Granted. When it is
    /// stored already, the stored one is returned and `certificate` is dropped: whoever was first wins,
    /// and everybody hands out the same. Its cost is added either way. `NotFound` when the serial number
    /// was never given out, `Conflict` when its intent was abandoned.
    fn keep(&self, server: &str, certificate: Issued) -> Result<Certificate, StoreError>;

    /// Intents without a certificate, oldest first: what a crash or a lost token has left.
    fn unfinished(&self, server: &str) -> Result<Vec<Intent>, StoreError>;

    /// Gives an intent up: its serial number stays used, its enrollment goes back to Pending. `NotFound`
    /// when there is none, `Conflict` when it was given up before or its certificate is kept.
    fn abandon(&self, server: &str, serial: &Serial, now: Time) -> Result<(), StoreError>;

    /// The certificate with this serial number. Intents are not certificates.
    fn certificate(&self, server: &str, serial: &Serial) -> Result<Option<Certificate>, StoreError>;

    /// Certificates issued after the one with serial number `after` (all when `None`), in the order in which
    /// serial numbers were given out, at most `limit`. A serial number that was never given out stands for
    /// the next lower one.
    fn certificates(
        &self,
        server: &str,
        after: Option<&Serial>,
        limit: usize,
    ) -> Result<Vec<Certificate>, StoreError>;

    /// The serial number given out last, intents included.
    fn last_serial(&self, server: &str) -> Result<Option<Serial>, StoreError>;

    /// Marks a certificate revoked. `Conflict` if it is, `NotFound` if it does not exist.
    fn revoke(&self, server: &str, serial: &Serial, revocation: Revocation) -> Result<(), StoreError>;

    /// Takes a revocation back. `Conflict` unless it is a hold (reason 6).
    fn unrevoke(&self, server: &str, serial: &Serial) -> Result<(), StoreError>;

    /// Calls `each` with every revoked certificate of `authority` that expires after `unexpired_at`, by
    /// ascending serial number. A consistent snapshot, streamed.
    fn revoked(
        &self,
        server: &str,
        authority: u64,
        unexpired_at: Time,
        each: &mut dyn FnMut(&Serial, Revocation),
    ) -> Result<(), StoreError>;

    /// The newest CRL of `authority`, the only one that is kept.
    fn crl(&self, server: &str, authority: u64) -> Result<Option<Crl>, StoreError>;

    /// Stores a CRL. `Conflict` unless its number is above that of the newest; `NotFound` when the
    /// authority does not exist.
    fn keep_crl(&self, server: &str, crl: Crl) -> Result<(), StoreError>;

    /// Adds a one-time password. One without a subject replaces the server's other live one without a
    /// subject (S15): neither used nor expired when the new one was created. `Conflict` when the digest is
    /// on record.
    fn add_password(&self, server: &str, password: Password) -> Result<(), StoreError>;

    /// The one-time password whose digest this is, used or not, expired or not.
    fn password(&self, server: &str, digest: &[u8; 32]) -> Result<Option<Password>, StoreError>;

    /// Whether any one-time password is on record.
    fn has_passwords(&self, server: &str) -> Result<bool, StoreError>;

    /// Forgets passwords that expired before `before`.
    fn expire_passwords(&self, server: &str, before: Time) -> Result<u64, StoreError>;

    /// A secret of this database, made on first use: the key under which challenges are digested.
    fn secret(&self, name: &str) -> Result<zeroize::Zeroizing<[u8; 32]>, StoreError>;

    /// Deletes everything of a server. Its serial numbers go with it.
    fn delete_server(&self, server: &str) -> Result<(), StoreError>;
}

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

/// Where an enrollment stands, by the names of IOS (S13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Just made.
    Initial,
    /// To be issued; its intent is recorded.
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
    /// Pending enrollments beyond which no new one is taken.
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

/// How serial numbers are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialRule {
    /// One more than the last of this rule, from 1, as IOS does.
    Sequential,
    /// 127 random bits, unique; drawn again when the first octet is zero, so that all have 16 octets.
    Random,
}

/// Bytes to be signed, once the serial number is known. Called at most once, within the transaction:
/// it must be quick and must not call the store. If it panics, the transaction is undone (`Unavailable`).
pub type TbsBuilder = Box<dyn FnOnce(&Serial) -> Vec<u8> + Send>;

/// An [`Intent`] to be.
pub struct NewIntent {
    /// Label of the server.
    pub server: String,
    /// Which authority will sign; `None` for the CA's own first certificate.
    pub authority: Option<u64>,
    /// How its serial number is chosen.
    pub serial: SerialRule,
    /// Makes the bytes to be signed.
    pub tbs: TbsBuilder,
    /// Now.
    pub now: Time,
}

/// What is about to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The serial number, given out for good.
    pub serial: Serial,
    /// Which authority signs.
    pub authority: Option<u64>,
    /// The enrollment it answers.
    pub enrollment: Option<u64>,
    /// TBSCertificate, DER.
    pub tbs: Vec<u8>,
}

/// A certificate just signed.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Its serial number, that of its intent.
    pub serial: Serial,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Subject, in the notation of IOS.
    pub subject: String,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key: [u8; 32],
    /// notBefore.
    pub not_before: Time,
    /// notAfter.
    pub not_after: Time,
    /// What signing has cost.
    pub cost: Cost,
    /// Now.
    pub now: Time,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Serial number.
    pub serial: Serial,
    /// Who signed it; `None` for a CA's own self-signed one.
    pub authority: Option<u64>,
    /// The enrollment it answers.
    pub enrollment: Option<u64>,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Subject, in the notation of IOS.
    pub subject: String,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key: [u8; 32],
    /// notBefore.
    pub not_before: Time,
    /// notAfter.
    pub not_after: Time,
    /// Whether and how it was revoked.
    pub revocation: Option<Revocation>,
}

/// When and why a certificate was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// revocationDate.
    pub at: Time,
    /// CRLReason (RFC 5280, 5.3.1): 0 to 6, 8 to 10.
    pub reason: u8,
}

/// A CRL that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    /// Who signed it.
    pub authority: u64,
    /// cRLNumber.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Time,
    /// nextUpdate.
    pub next_update: Time,
    /// The CRL, DER.
    pub der: Vec<u8>,
}

/// A one-time password: never itself, only a keyed digest of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Password {
    /// HMAC-SHA-256 under [`Store::secret`].
    pub digest: [u8; 32],
    /// The subject it is bound to, in the notation of IOS.
    pub subject: Option<String>,
    /// When it was made.
    pub created: Time,
    /// When it stops being valid.
    pub expires: Time,
    /// The identity of the enrollment that used it.
    pub used_by: Option<[u8; 32]>,
}

/// Why the store did not do it. After an error nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The stored state is not the one assumed.
    #[error("it has changed meanwhile")]
    Conflict,
    /// There is no such thing.
    #[error("there is no such entry")]
    NotFound,
    /// The one-time password is unknown, expired or used.
    #[error("the one-time password is not valid")]
    ClaimRefused,
    /// Too many requests are pending.
    #[error("too many requests are pending")]
    Full,
    /// The database holds what it should not.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// The database cannot be used now: disk full, file gone, lock.
    #[error("the database cannot be used: {what}")]
    Unavailable {
        /// Which call on what.
        what: String,
        /// What the backend said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
