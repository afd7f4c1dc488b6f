//! What the node tells an operator: values, rendered as text or JSON by the command line.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::pki::archive::pem;
use crate::pki::{KeyKind, PublicKey, Serial, Time, hex};
use crate::store::{Class, Cost, State};
use crate::token::{KeyInfo, KeyUsage};

use super::{ModuleWord, RolloverReport};

/// `show crypto pki server`.
#[derive(Clone, Debug, Serialize)]
pub struct ServerReport {
    /// Label.
    pub label: String,
    /// Whether it serves.
    pub status: ServerStatus,
    /// Why it does not, or the last thing that failed.
    pub last_error: Option<String>,
    /// Whether the configuration is locked (the server is not shut).
    pub locked: bool,
    /// Issuer name: as typed, else of the CA certificate in the notation of IOS.
    pub issuer_name: String,
    /// What it is to other CAs: `root`, `sub-cs`, `ra` or `ra transparent`.
    pub mode: &'static str,
    /// MD5 of the certificate of the CA above, hex; absent for a root, and before it is known.
    pub upper_fingerprint_md5: Option<String>,
    /// SHA-256 of the certificate of the CA above, hex.
    pub upper_fingerprint_sha256: Option<String>,
    /// MD5 of the certificate of an RA, hex. The CA certificate is that of the CA above then.
    pub ra_fingerprint_md5: Option<String>,
    /// MD5 of the CA certificate, 32 hex digits; absent before there is one.
    pub fingerprint_md5: Option<String>,
    /// SHA-1 of the CA certificate, hex.
    pub fingerprint_sha1: Option<String>,
    /// SHA-256 of the CA certificate, hex.
    pub fingerprint_sha256: Option<String>,
    /// What happens to requests that nothing authorizes, in words of IOS.
    pub granting: String,
    /// Serial number given out last.
    #[serde(serialize_with = "text_option")]
    pub last_serial: Option<Serial>,
    /// notAfter of the CA certificate.
    #[serde(serialize_with = "text_option")]
    pub ca_expires: Option<Time>,
    /// nextUpdate of the newest CRL.
    #[serde(serialize_with = "text_option")]
    pub crl_next_update: Option<Time>,
    /// Where files go that have no place of their own: `nvram:` and the like.
    pub storage: String,
    /// Types of files with a place of their own, and that place.
    pub storage_by_type: Vec<(String, String)>,
    /// Types of files and where copies of them go.
    pub published: Vec<(String, String)>,
    /// `minimum`, `names` or `complete`.
    pub database_level: String,
    /// Where the CA key is: token and label.
    pub key: String,
    /// Whether SCEP has keys of its own, and why.
    pub scep_key: String,
    /// Requests that wait for the operator.
    pub pending: u64,
    /// The next CA certificate.
    pub rollover: RolloverReport,
    /// Whether devices can reach it: without HTTP requests come by hand only.
    pub scep: bool,
}

/// Whether a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerStatus {
    /// It issues certificates.
    Enabled,
    /// It is shut.
    Disabled,
    /// It should serve and cannot; `last_error` says why.
    CheckFailed,
    /// Its certificate has not come yet from the CA above; `last_error` says what it waits for.
    Waiting,
    /// Its token is away or locked; `last_error` says which and why. What is stored is served.
    WaitingForToken,
    /// It runs and issues nothing, because a file cannot be written; `last_error` says which.
    Suspended,
}

/// A line of `info requests`.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRow {
    /// ReqID.
    pub id: u64,
    /// Group.
    pub class: Class,
    /// Whether a certificate of the next CA was asked for.
    pub rollover: bool,
    /// State.
    pub state: State,
    /// MD5 fingerprint of the PKCS#10, 32 hex digits; see [`crate::pki::Csr::fingerprint`].
    pub fingerprint: String,
    /// SHA-256 fingerprint of the PKCS#10, hex.
    pub fingerprint_sha256: String,
    /// Subject, in the notation of IOS.
    pub subject: String,
    /// SCEP transactionID.
    pub transaction: String,
    /// Where it came from.
    pub source: String,
    /// When it came.
    #[serde(serialize_with = "text")]
    pub created: Time,
    /// Serial number of its certificate.
    #[serde(serialize_with = "text_option")]
    pub serial: Option<Serial>,
    /// Why it was denied.
    pub reason: Option<String>,
    /// What it has cost the token.
    pub cost: Cost,
}

/// Which requests a command means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All that the command applies to.
    All,
    /// ReqIDs from the first to the last, both included.
    Range(u64, u64),
}

/// What became of one request selected.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    /// ReqID.
    pub id: u64,
    /// Its state now.
    pub state: Option<State>,
    /// Serial number of its certificate, when granted.
    #[serde(serialize_with = "text_option")]
    pub serial: Option<Serial>,
    /// Why the command did not apply to it.
    pub error: Option<String>,
    /// The certificate, for the operator to carry to the device.
    pub printed: Option<Printed>,
}

/// A certificate to be printed.
#[derive(Clone, Debug)]
pub struct Printed {
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Whether with the lines of PEM about its base64.
    pub pem: bool,
}

impl Decision {
    /// It is in this state now.
    pub(super) fn is(id: u64, state: State) -> Self {
        Self { id, state: Some(state), serial: None, error: None, printed: None }
    }

    /// It is in this state still, because of this error.
    pub(super) fn failed(id: u64, state: State, error: String) -> Self {
        Self { error: Some(error), ..Self::is(id, state) }
    }

    /// It is gone.
    pub(super) fn removed(id: u64) -> Self {
        Self { state: None, ..Self::is(id, State::Initial) }
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = pem::write_certificate(&self.der);
        let wanted = |line: &&str| self.pem || !line.starts_with('-');
        text.lines().filter(wanted).try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Serialize for Printed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&pem::write_certificate(&self.der))
    }
}

/// `info crl`.
#[derive(Clone, Debug, Serialize)]
pub struct CrlReport {
    /// Issuer name, in the notation of IOS.
    pub issuer: String,
    /// cRLNumber.
    pub number: u64,
    /// thisUpdate.
    #[serde(serialize_with = "text")]
    pub this_update: Time,
    /// nextUpdate.
    #[serde(serialize_with = "text")]
    pub next_update: Time,
    /// Octets of the CRL.
    pub size: usize,
    /// Number of entries.
    pub entries: u64,
    /// The entries, at most the first thousand.
    pub revoked: Vec<RevokedRow>,
}

/// An entry of a CRL.
#[derive(Clone, Debug, Serialize)]
pub struct RevokedRow {
    /// Serial number.
    #[serde(serialize_with = "text")]
    pub serial: Serial,
    /// revocationDate.
    #[serde(serialize_with = "text")]
    pub at: Time,
    /// CRLReason, by its name in RFC 5280.
    pub reason: &'static str,
}

/// `show crypto pki token`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TokenReport {
    /// Name in the configuration.
    pub name: String,
    /// Whether it can be used now; else why not.
    pub error: Option<String>,
    /// Its PKCS#11 URI (RFC 7512), for other programs.
    pub uri: String,
    /// Token label.
    pub label: String,
    /// Manufacturer.
    pub manufacturer: String,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Firmware version.
    pub firmware: String,
    /// Profile in use.
    pub profile: String,
    /// The family of tokens that it is for.
    pub family: String,
    /// The version that it was tested with; empty when it was written from documents alone.
    pub tested: String,
    /// Those documents.
    pub sources: Vec<String>,
    /// What cannot be done with such tokens.
    pub cannot: Vec<String>,
    /// PKCS#11 module file.
    pub module: String,
    /// Whether the module has a process of its own.
    pub isolated: bool,
    /// State of the PIN, in words.
    pub pin: String,
    /// Whether it can be typed at the token.
    pub pin_pad: bool,
    /// Where the PIN comes from, as configured.
    pub pin_source: String,
    /// Whether only `login` logs in.
    pub logged_out: bool,
    /// Since when it does not answer.
    #[serde(serialize_with = "text_option")]
    pub offline_since: Option<Time>,
    /// When it is tried next by itself.
    #[serde(serialize_with = "text_option")]
    pub next_try: Option<Time>,
    /// Outages since start.
    pub outages: u64,
    /// What happened to it lately, oldest first.
    pub events: Vec<TokenNote>,
    /// Logged-in sessions that serve.
    pub sessions: usize,
    /// Sessions that the token takes; absent where it has no limit, or does not say.
    pub max_sessions: Option<u64>,
    /// Octets free for private objects, where it says.
    pub free_private: Option<usize>,
    /// Octets free for public objects, where it says.
    pub free_public: Option<usize>,
    /// Key pairs on it.
    pub keys: usize,
    /// Their labels, kinds and uses.
    pub key_pairs: Vec<TokenKeyRow>,
    /// Signatures since start.
    pub signatures: u64,
    /// Decryptions since start.
    pub decryptions: u64,
    /// Operations that failed since start.
    pub errors: u64,
    /// Requests that wait now.
    pub waiting: u64,
    /// Recoveries by a new session since start.
    pub new_sessions: u64,
    /// Recoveries by a new login since start.
    pub new_logins: u64,
    /// Recoveries by initialising the module again since start.
    pub initialisations: u64,
    /// Signatures that did not verify since start, and were thrown away.
    pub wrong_signatures: u64,
    /// Calls that did not return in time since start.
    pub hangs: u64,
}

/// Something that happened to a token.
#[derive(Clone, Debug, Serialize)]
pub struct TokenNote {
    /// When.
    #[serde(serialize_with = "text")]
    pub at: Time,
    /// What.
    pub what: String,
}

/// A key pair on a token.
#[derive(Clone, Debug, Serialize)]
pub struct TokenKeyRow {
    /// Label.
    pub label: String,
    /// `RSA 2048` and the like.
    #[serde(serialize_with = "text")]
    pub kind: KeyKind,
    /// What it may do, in words.
    #[serde(serialize_with = "text")]
    pub usage: KeyUsage,
    /// What the module says of where it has been.
    pub module: ModuleWord,
}

impl TokenKeyRow {
    pub(super) fn of(key: KeyInfo) -> Self {
        Self { module: ModuleWord::of(&key), label: key.label, kind: key.kind, usage: key.usage }
    }
}

/// `show crypto key mypubkey`.
#[derive(Clone, Debug, Serialize)]
pub struct KeyReport {
    /// Label.
    pub name: String,
    /// `RSA 2048` and the like.
    #[serde(serialize_with = "text")]
    pub kind: KeyKind,
    /// What it may do, in words.
    #[serde(serialize_with = "text")]
    pub usage: KeyUsage,
    /// Whether it may leave the token.
    pub exportable: bool,
    /// Token name.
    pub token: String,
    /// When it was generated, where that is known.
    #[serde(serialize_with = "text_option")]
    pub generated: Option<Time>,
    /// SubjectPublicKeyInfo, hex.
    #[serde(serialize_with = "spki")]
    pub public_key: PublicKey,
}

fn spki<S: Serializer>(key: &PublicKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(key.spki_der()))
}

pub(super) fn text<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(super) fn text_option<T: std::fmt::Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}
