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
//!
//! An RA has no intents, since another CA signs:
//!
//! ```text
//! submit ──▶ Pending ──forward──▶ Authorized ──keep_forwarded──▶ Granted
//!    └─(policy says issue)────────────▲ │└─────refuse_forwarded──▶ Denied
//!                                     └─┘ postpone
//! ```

mod authority;
mod certificate;
mod enrollment;
mod fetched;
mod forward;
mod journal;
pub mod sqlite;
mod trustpoint;

pub use crate::pki::Class;
use crate::pki::{Serial, Time};

pub use authority::{Adopted, Adoption, Authority, IssuedBy, LeftBehind, NewAuthority, Phase, Role};
pub use certificate::{
    Certificate, Crl, CrlFacts, Intent, Issued, NewIntent, Omit, Record, Revocation, SerialRule, TbsBuilder,
};
pub use enrollment::{Cost, Enrollment, NewEnrollment, Reuse, State, Submission, Submitted};
pub use fetched::{CrlOrigin, FetchedCrl};
pub use forward::{Forward, Stage};
pub use journal::JournalEntry;
pub use trustpoint::{TrustedCertificate, TrustedKind, UpperPhase, UpperRequest};

/// Servers' authorities, enrollments, certificates, CRLs and one-time passwords; beside them the
/// certificates of trustpoints, the journal, and small facts.
///
/// Calls for one server are serializable, also across processes; what returned `Ok` survives a power
/// cut. What belongs to a server is named by its label. A backend may be called from many threads.
pub trait Store: Send + Sync {
    /// Certificates under which this server acts (CA, RA signing, RA decryption), oldest first.
    fn authorities(&self, server: &str) -> Result<Vec<Authority>, StoreError>;

    /// Adds an authority whose certificate is kept already. `Conflict` if an active one has the role;
    /// the old one is retired first, in the same transaction, when `replaces` names it. `NotFound` when
    /// there is none with that number, `Conflict` when it is retired already or has another role.
    fn install(&self, authority: NewAuthority, replaces: Option<u64>) -> Result<Authority, StoreError>;

    /// Adds an authority that is to be the next in its role; its certificate is kept already. `Conflict` if the
    /// role has a next one.
    fn prepare(&self, authority: NewAuthority) -> Result<Authority, StoreError>;

    /// Adds a next authority in place of the one with this number, which is discarded. Not for CAs:
    /// `Conflict` when that is one, is no next one, or has another role; `NotFound` when there is none.
    fn replace_next(&self, authority: NewAuthority, replaces: u64) -> Result<Authority, StoreError>;

    /// Rolls a server over: every next authority becomes the active one, and what was active in its role is
    /// retired. Returns those that are active now, oldest first; `NotFound` when there is no next one.
    fn activate(&self, server: &str) -> Result<Vec<Authority>, StoreError>;

    /// Takes the next authorities back: they are discarded, what they issued is revoked unless it was, what they
    /// were to sign is abandoned, and requests that wait for them are denied. Returns them, oldest first;
    /// `NotFound` when there is none.
    fn discard_next(&self, server: &str, revocation: Revocation) -> Result<Vec<Authority>, StoreError>;

    /// What a CA has issued, so far as it is on record and kept whole.
    fn issued_by(&self, server: &str, authority: u64) -> Result<IssuedBy, StoreError>;

    /// Holders of certificates that `authority` issued in answer to enrollments, or before it was taken over,
    /// valid at `now` and not revoked, who have none of `next`: those that would be left behind. By their
    /// subjects, each once, in order; also how many there are and how many have one of `next`. At most
    /// `limit` are named.
    fn left_behind(
        &self,
        server: &str,
        authority: u64,
        next: u64,
        now: Time,
        limit: usize,
    ) -> Result<LeftBehind, StoreError>;

    /// Takes another CA over, whole or not at all: installs its authority, records what is known of its
    /// certificates, and goes on after the highest serial number and with the CRL it left. From then on a
    /// serial number up to that one counts as given out, also when nothing is known of it; when that one has
    /// more than 8 octets, and so was drawn at random, every serial number does that was not given out here.
    ///
    /// What an interrupted founding has left goes. `Conflict` when the server has or had an authority;
    /// `Corrupt` when a certificate lacks what belongs to it.
    fn adopt(&self, adoption: Adoption) -> Result<Authority, StoreError>;

    /// Records an enrollment, or finds the one that this is a repetition of: same `identity`, not
    /// removed, and acceptable to `reuse`. The claim of a one-time password, the check for repetition,
    /// the limit on pending requests and, for [`Submission::Issue`], the intent, happen in the same
    /// transaction; a repetition claims nothing, adds its cost to what it repeats, and takes it over into its
    /// own `transaction`: a client that begins anew polls under the new one. Of several acceptable ones the
    /// newest is meant. An intent is for the same server, whichever it names.
    ///
    /// A password lets the identity that used it in again, should its enrollment have been removed.
    ///
    /// A malformed one claims nothing and counts as no pending one; beyond `max_pending` of them the oldest
    /// are removed.
    ///
    /// Errors: `Conflict` when the authority that is asked was discarded; `ClaimRefused` when the password is
    /// unknown, expired or used by another enrollment; `Full` when `max_pending` is reached, by those that
    /// wait or by those that another CA is asked for. Nothing is recorded then.
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

    /// The same among those that ask this authority: that name it, or, when `unnamed`, whichever acts.
    fn enrollment_to(
        &self,
        server: &str,
        transaction: &[u8],
        signer_key: &[u8; 32],
        authority: u64,
        unnamed: bool,
    ) -> Result<Option<Enrollment>, StoreError>;

    /// What a poll with this transaction identifier, signed by this key, asks `authority` about: the newest
    /// of those that ask it, else the newest of all. A device may have one transaction for its key with
    /// either of two CAs.
    fn polled(
        &self,
        server: &str,
        transaction: &[u8],
        signer_key: &[u8; 32],
        authority: u64,
        unnamed: bool,
    ) -> Result<Option<Enrollment>, StoreError> {
        match self.enrollment_to(server, transaction, signer_key, authority, unnamed)? {
            Some(found) => Ok(Some(found)),
            None => self.enrollment_of(server, transaction, signer_key),
        }
    }

    /// Enrollments with a ReqID above `after`, ascending, at most `limit`.
    fn enrollments(&self, server: &str, after: u64, limit: usize) -> Result<Vec<Enrollment>, StoreError>;

    /// How many enrollments wait for the operator.
    fn pending(&self, server: &str) -> Result<u64, StoreError>;

    /// Moves an enrollment from one state to another with a reason for the operator. `Conflict` if it is
    /// not in `from`, `NotFound` if there is none. `Conflict` also when either is Authorized or Granted:
    /// into these lead only `submit`, `intend`, `keep`, `forward` and `keep_forwarded`, out of them only `keep`,
    /// `abandon`, `keep_forwarded` and `refuse_forwarded`.
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

    /// Removes enrollments not updated since `before`, but Authorized ones unless they are to be asked for at
    /// another CA that has not answered. Returns how many.
    fn expire(&self, server: &str, before: Time) -> Result<u64, StoreError>;

    /// Has another CA asked for a Pending enrollment, which becomes Authorized. `Conflict` if it is in another
    /// state, `NotFound` if there is none.
    fn forward(&self, server: &str, id: u64, now: Time) -> Result<(), StoreError>;

    /// Enrollments that are asked for at another CA and whose next try is not after `due`, the longest due
    /// first, at most `limit`.
    fn forwards(&self, server: &str, due: Time, limit: usize) -> Result<Vec<Forward>, StoreError>;

    /// How far this enrollment has come at another CA; `None` when it is not asked for there.
    fn forward_of(&self, server: &str, id: u64) -> Result<Option<Forward>, StoreError>;

    /// Notes what a try has come to that did not end it. `Conflict` or `NotFound` when it is not asked for at
    /// another CA any more.
    fn postpone(
        &self,
        server: &str,
        id: u64,
        stage: Stage,
        next_try: Time,
        error: Option<&str>,
    ) -> Result<(), StoreError>;

    /// Keeps the certificate that another CA has issued for an enrollment, which becomes Granted; SHA-256 of
    /// the SubjectPublicKeyInfo of that CA's key is `issuer`: CAs number as they like. The same certificate
    /// may answer several. `Conflict` when it is not asked for any more, or when another certificate of the
    /// same issuer has the same serial number; `NotFound` when there is no such enrollment.
    fn keep_forwarded(
        &self,
        server: &str,
        id: u64,
        issuer: &[u8; 32],
        certificate: Issued,
    ) -> Result<Certificate, StoreError>;

    /// The other CA has refused an enrollment, or the operator does not want it any more: it becomes Denied.
    /// Errors as of `postpone`.
    fn refuse_forwarded(&self, server: &str, id: u64, reason: &str, now: Time) -> Result<(), StoreError>;

    /// Fixes a serial number and the bytes that will be signed under it. With `enrollment`, moves that
    /// enrollment from the given state to Authorized in the same transaction; `Conflict` if it is not in
    /// that state, or if that is Authorized or Granted, and `NotFound` if there is none. `NotFound` also
    /// when the authority does not exist, and `Conflict` when it is discarded; so for `submit`.
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

    /// What is on record of this serial number: not of an intent, but of every one that an adopted CA may
    /// have given out, were it only the number and who signed.
    fn record(&self, server: &str, serial: &Serial) -> Result<Option<Record>, StoreError>;

    /// The certificate with this serial number, when it is known whole. Intents are not certificates.
    fn certificate(&self, server: &str, serial: &Serial) -> Result<Option<Certificate>, StoreError> {
        Ok(self.record(server, serial)?.and_then(Record::whole))
    }

    /// Certificates with this serial number that are known whole: one, or one of each other CA that has
    /// issued for this server, in any order.
    fn certificates_with(&self, server: &str, serial: &Serial) -> Result<Vec<Certificate>, StoreError>;

    /// The certificate that the enrollment with this ReqID was granted.
    fn certificate_for(&self, server: &str, id: u64) -> Result<Option<Certificate>, StoreError>;

    /// Certificates issued after the one with serial number `after` (all when `None`), in the order in which
    /// serial numbers were given out, at most `limit`. A serial number that was never given out stands for
    /// the next lower one, and one that several have for the last of them. Of an adopted CA come those known
    /// whole.
    fn certificates(
        &self,
        server: &str,
        after: Option<&Serial>,
        limit: usize,
    ) -> Result<Vec<Certificate>, StoreError>;

    /// Certificates kept after the one with number `after` in the order in which they were kept, with their
    /// numbers, which begin at 1; at most `limit`. Nothing is ever kept below a number that was seen. Those of
    /// an adopted CA have none.
    fn kept_after(
        &self,
        server: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Certificate)>, StoreError>;

    /// The number of the certificate kept last; 0 when there is none.
    fn kept_last(&self, server: &str) -> Result<u64, StoreError>;

    /// The serial number given out last, intents included. Of an adopted CA the highest.
    fn last_serial(&self, server: &str) -> Result<Option<Serial>, StoreError>;

    /// Marks a certificate revoked that has a [`record`](Self::record). One on hold may be revoked for another
    /// reason, from the time of the hold on. `Conflict` if it is revoked otherwise, `NotFound` if it does not
    /// exist.
    fn revoke(&self, server: &str, serial: &Serial, revocation: Revocation) -> Result<(), StoreError>;

    /// Takes a revocation back. `Conflict` unless it is a hold (reason 6).
    fn unrevoke(&self, server: &str, serial: &Serial) -> Result<(), StoreError>;

    /// Counts revocations and what was taken back of them: a CRL made with the same revision lacks nothing.
    fn revision(&self, server: &str) -> Result<u64, StoreError>;

    /// Calls `each` with every revoked certificate of `authority` but those that `omit` allows to be left
    /// out, by ascending serial number. A consistent snapshot, streamed; returns its revision.
    fn revoked(
        &self,
        server: &str,
        authority: u64,
        omit: Omit,
        each: &mut dyn FnMut(&Serial, Revocation),
    ) -> Result<u64, StoreError>;

    /// The newest CRL of `authority`, the only one that is kept.
    fn crl(&self, server: &str, authority: u64) -> Result<Option<Crl>, StoreError>;

    /// The same without its octets: cheap, however long it is.
    fn crl_facts(&self, server: &str, authority: u64) -> Result<Option<CrlFacts>, StoreError>;

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

    /// The certificates of a trustpoint: those of CAs first, then by serial number.
    fn trusted(&self, trustpoint: &str) -> Result<Vec<TrustedCertificate>, StoreError>;

    /// Adds a certificate to a trustpoint, in place of the same one of the same kind: its key may be
    /// elsewhere now. CAs above each other may have certificates with the same serial number.
    fn trust(&self, certificate: TrustedCertificate) -> Result<(), StoreError>;

    /// Puts these certificates of a trustpoint in the place of all that it has of `kinds`.
    fn trust_all(
        &self,
        trustpoint: &str,
        kinds: &[TrustedKind],
        certificates: Vec<TrustedCertificate>,
    ) -> Result<(), StoreError>;

    /// What a trustpoint has that is next takes the place of what it has now, kind by kind, in one transaction.
    /// `NotFound` when there is nothing next.
    fn promote(&self, trustpoint: &str) -> Result<(), StoreError>;

    /// The requests of a trustpoint that are under way or have failed, one of a kind, by kind.
    fn requests(&self, trustpoint: &str) -> Result<Vec<UpperRequest>, StoreError>;

    /// Records a request before anything is done for it. `Conflict` when the trustpoint has one of that kind.
    fn begin_request(&self, new: UpperRequest) -> Result<(), StoreError>;

    /// Replaces `old`, which has the same trustpoint and kind. `Conflict` if the stored one is not `old`.
    fn advance_request(&self, old: &UpperRequest, new: &UpperRequest) -> Result<(), StoreError>;

    /// The end of a request: it is removed, and these certificates take the place of all that its trustpoint has
    /// of their kinds, in one transaction. `Conflict` if the stored one is not `old`.
    fn finish_request(
        &self,
        old: &UpperRequest,
        certificates: Vec<TrustedCertificate>,
    ) -> Result<(), StoreError>;

    /// Removes a request of which nothing will come. `NotFound` when there is none of that kind.
    fn cancel_request(&self, trustpoint: &str, kind: TrustedKind) -> Result<(), StoreError>;

    /// Removes one certificate of a trustpoint, or all of them and its requests. Returns how many certificates.
    fn distrust(&self, trustpoint: &str, which: Option<&TrustedCertificate>) -> Result<u64, StoreError>;

    /// The CRL of another CA that is signed with this key (SHA-256 of its SubjectPublicKeyInfo), ended or not.
    fn fetched_crl(&self, issuer_key: &[u8; 32]) -> Result<Option<FetchedCrl>, StoreError>;

    /// What CRLs of other CAs there are, by issuer.
    fn fetched_crls(&self) -> Result<Vec<CrlOrigin>, StoreError>;

    /// Keeps a CRL of another CA in place of the one of the same key. `Conflict` when that one is newer: a list
    /// that lacks what was on another already is not gone back to.
    fn keep_fetched(&self, crl: FetchedCrl) -> Result<(), StoreError>;

    /// Forgets CRLs of other CAs that ended before `before`. Returns how many.
    fn forget_fetched(&self, before: Time) -> Result<u64, StoreError>;

    /// Adds an entry to the journal, which keeps the newest 100,000.
    fn add_journal(&self, entry: JournalEntry) -> Result<(), StoreError>;

    /// Entries of the journal with a number below `before` (all when `None`), newest first, at most `limit`.
    fn journal(&self, before: Option<u64>, limit: usize) -> Result<Vec<JournalEntry>, StoreError>;

    /// A small fact that was set before. Those with the scope `server L` go with the server L.
    fn mark(&self, scope: &str, name: &str) -> Result<Option<String>, StoreError>;

    /// Sets a small fact, or forgets it.
    fn set_mark(&self, scope: &str, name: &str, value: Option<&str>) -> Result<(), StoreError>;

    /// Notes what time it is. Returns the latest time ever noted, this one included: one that is after `now`
    /// says that the clock went back. Costs a write when `now` is the latest.
    fn note_time(&self, now: Time) -> Result<Time, StoreError>;

    /// Forgets the times that were noted.
    fn forget_time(&self) -> Result<(), StoreError>;

    /// Deletes everything of a server. Its serial numbers go with it.
    fn delete_server(&self, server: &str) -> Result<(), StoreError>;
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
