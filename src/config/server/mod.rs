//! `crypto pki server`: a certificate server.

mod database;
mod lines;
mod text;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::Legacy;
use crate::pki::Hash;

pub use database::{Archive, ArchiveFormat, Database, DatabaseLevel, FileType, Publish};
pub(super) use lines::{HASH, LEGACY};
pub use lines::{LATER, LINES};

/// A section `crypto pki server LABEL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSection {
    issuer_name: Option<String>,
    hash: Hash,
    legacy: Legacy,
    /// `mode`: what the server is to other CAs. Fixed once it has a certificate.
    pub mode: ServerMode,
    /// `auto-rollover`: how long before the end of its certificate the next one is made ready; never when `None`.
    pub auto_rollover: Option<Lifetime>,
    /// `rollover on`: the token on which the next CA key is generated; that of the CA key when `None`.
    pub rollover_on: Option<String>,
    /// `database …`.
    pub database: Database,
    /// `grant`.
    pub grant: Grant,
    /// `grant auto trustpoint`: requests signed with a certificate that these trustpoints trust are granted.
    pub grant_trustpoints: BTreeSet<String>,
    /// `grant auto rollover`.
    pub grant_rollover: GrantRollover,
    /// `lifetime …`.
    pub lifetime: Lifetimes,
    /// `cdp-url`: goes into certificates as typed.
    pub cdp_url: Option<String>,
    /// `serial-number`.
    pub serial_number: SerialNumber,
    /// `scep …`.
    pub scep: Scep,
    /// Whether it is shut.
    pub shutdown: bool,
}

/// What happens to requests that nothing else authorizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grant {
    /// They wait for the operator.
    #[default]
    Manual,
    /// They are granted.
    Auto,
    /// They are rejected.
    None,
    /// Those that a known RA has authorized are granted, others wait for the operator.
    RaAuto,
}

/// What a server is to other CAs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerMode {
    /// A root: it signs its own certificate.
    #[default]
    Root,
    /// A CA below another, from which its trustpoint gets its certificate.
    SubCs,
    /// A registration authority: another CA issues what is granted here.
    Ra {
        /// Whether requests go on as a device would send them, for CAs that know no RAs.
        transparent: bool,
    },
}

/// Requests of CAs and RAs below that are granted without the operator, once their first one was granted by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrantRollover {
    /// Of subordinate CAs.
    pub ca_cert: bool,
    /// Of RAs.
    pub ra_cert: bool,
}

/// How serial numbers are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SerialNumber {
    /// One more than the last, as IOS does.
    #[default]
    Sequential,
    /// Random.
    Random,
}

/// How long things live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// The CA certificate.
    pub ca_certificate: Lifetime,
    /// Certificates issued.
    pub certificate: Lifetime,
    /// From thisUpdate to nextUpdate.
    pub crl: Lifetime,
    /// A request nobody asks for.
    pub enrollment_request: Lifetime,
}

/// A time span in whole minutes, above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime {
    seconds: u64,
}

/// `scep …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scep {
    /// Whether SCEP is done with keys of its own, and where they are generated: the CA key's token when
    /// `Some(None)`, else this one.
    pub separate_key: Option<Option<String>>,
    /// Whether every request is a new one, as on IOS, instead of a repetition getting the same answer.
    pub duplicates_new: bool,
    /// Whether an answer carries the CA certificate as well.
    pub include_chain: bool,
    /// Whether GetCACert gives the CA certificate alone where others are above it.
    pub ca_alone: bool,
    /// Most requests that may wait for the operator.
    pub max_pending: u32,
}

impl ServerSection {
    /// The issuer name, as typed; `CN=LABEL` when it was not (S3).
    pub fn issuer_name(&self, label: &str) -> String {
        self.issuer_name.clone().unwrap_or_else(|| format!("CN={label}"))
    }

    /// The digest of certificates and CRLs.
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// Old algorithms allowed.
    pub const fn legacy(&self) -> Legacy {
        self.legacy
    }
}

impl Lifetime {
    /// From days; zero is made a minute.
    pub const fn days(days: u64) -> Self {
        Self::minutes(days * 24 * 60)
    }

    /// From hours; zero is made a minute.
    pub const fn hours(hours: u64) -> Self {
        Self::minutes(hours * 60)
    }

    /// From minutes; zero is made one.
    pub const fn minutes(minutes: u64) -> Self {
        Self { seconds: 60 * if minutes == 0 { 1 } else { minutes } }
    }

    /// In seconds.
    pub const fn seconds(self) -> u64 {
        self.seconds
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            issuer_name: None,
            hash: Hash::Sha256,
            legacy: Legacy::default(),
            mode: ServerMode::default(),
            auto_rollover: None,
            rollover_on: None,
            database: Database::default(),
            grant: Grant::default(),
            grant_trustpoints: BTreeSet::new(),
            grant_rollover: GrantRollover::default(),
            lifetime: Lifetimes::default(),
            cdp_url: None,
            serial_number: SerialNumber::default(),
            scep: Scep::default(),
            shutdown: true,
        }
    }
}

impl Default for Lifetimes {
    // S4.
    fn default() -> Self {
        Self {
            ca_certificate: Lifetime::days(1095),
            certificate: Lifetime::days(365),
            crl: Lifetime::hours(168),
            enrollment_request: Lifetime::hours(168),
        }
    }
}

impl Default for Scep {
    fn default() -> Self {
        Self {
            separate_key: None,
            duplicates_new: false,
            include_chain: false,
            ca_alone: false,
            max_pending: 100_000,
        }
    }
}
