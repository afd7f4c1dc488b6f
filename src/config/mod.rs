//! The configuration: IOS text to checked values and back.
//!
//! [`Configuration::parse`] reads it, its `Display` writes it, and what is written reads back to the
//! same value. Each section has a file with its values, its lines and how it writes itself. [`Editor`]
//! applies one line after the other, as in `configure terminal`. [`grammar`] is what the words of a
//! line mean; the exec commands of the layer above share it.

mod chain;
mod edit;
mod find;
mod fingerprint;
mod foreign;
mod global;
pub mod grammar;
mod hex;
mod legacy;
mod line;
mod map;
mod matching;
mod mode;
mod profile;
mod pubkey;
mod query;
mod reference;
mod rules;
mod secret;
mod server;
mod token;
mod trustpoint;
mod url;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::pki::Name;

use grammar::{Args, LineError, Refusal};

pub use chain::{CertificateChain, CertificateSource, Entry};
pub use edit::Editor;
pub use fingerprint::{Fingerprint, NoFingerprint};
pub use global::{Clock, Ftp, Http};
pub use legacy::Legacy;
pub use line::Verb;
pub use map::{Criterion, DateField, DateOperator, TextField, TextOperator};
pub use mode::Mode;
pub use profile::{Parameter, ProfileSection, ProfileStep, ProfileWay};
pub use pubkey::{Peer, PeerKey, PeerKeyId, PeerKeyUsage};
pub use query::Query;
pub use reference::{ReferenceLine, reference};
pub use secret::{Login, Password, Vault, VaultError};
pub use server::{
    Archive, ArchiveFormat, Database, DatabaseLevel, FileType, Grant, GrantRollover, Lifetime, Lifetimes,
    Publish, Scep, SerialNumber, ServerMode, ServerSection,
};
pub use token::{PinSource, TokenSection};
pub use trustpoint::{
    AutoEnroll, CertificateUse, Checking, Enrollment, EnrollmentMethod, EnrollmentUrl, Fqdn, KeyPair,
    MatchMap, Proxy, RequestAddress, Requested, RevocationMethod, TrustpointSection,
};

/// Everything configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// `hostname`.
    pub hostname: String,
    /// `ip domain name`.
    pub domain_name: Option<String>,
    /// `ip host`: addresses by host name, in lower case.
    pub hosts: BTreeMap<String, IpAddr>,
    /// `ip ftp …`.
    pub ftp: Ftp,
    /// `clock …`.
    pub clock: Clock,
    /// `ntp …`: what follows that word.
    pub ntp: BTreeSet<String>,
    /// `file system`: directories by the name of their file system, without the colon.
    pub directories: BTreeMap<String, PathBuf>,
    /// `socket group`: the group of the host that may use the command socket.
    pub socket_group: Option<String>,
    /// `ip http …`.
    pub http: Http,
    /// `crypto pki token`, by name without a colon.
    pub tokens: BTreeMap<String, TokenSection>,
    /// `crypto pki trustpoint`, by label.
    pub trustpoints: BTreeMap<String, TrustpointSection>,
    /// `crypto pki profile enrollment`, by label.
    pub profiles: BTreeMap<String, ProfileSection>,
    /// `crypto pki certificate map`: the lines of each sequence, by name and number.
    pub certificate_maps: BTreeMap<String, BTreeMap<u16, Vec<Criterion>>>,
    /// `crypto pki certificate query`: kept only, the database keeps certificates and CRLs in any case.
    pub certificate_query: bool,
    /// `crypto pki certificate chain`, by label: what is to be done with certificates of trustpoints.
    pub chains: BTreeMap<String, CertificateChain>,
    /// `crypto key pubkey-chain rsa`.
    pub public_keys: BTreeMap<PeerKeyId, PeerKey>,
    /// `crypto pki server`, by label.
    pub servers: BTreeMap<String, ServerSection>,
}

impl Configuration {
    /// The configuration that this text describes.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::default().edited(text)
    }

    /// This configuration after the lines of `text`, as typed after `configure terminal`. Nothing is
    /// accepted when a line is not.
    pub fn edited(&self, text: &str) -> Result<Self, ConfigError> {
        let mut editor = Editor::new(self.clone());
        editor.lines(text)?;
        editor.finish()
    }

    /// The configuration that this text describes, and what is to be told of lines left out.
    pub fn read(text: &str) -> Result<(Self, Vec<String>), ConfigError> {
        let mut editor = Editor::new(Self::default());
        editor.lines(text)?;
        let notes = editor.notes();
        Ok((editor.finish()?, notes))
    }

    /// The text that reads back to this value.
    pub fn to_text(&self) -> String {
        self.to_string()
    }

    /// The beginning of the name of the trustpoint that HTTPS has without being told.
    pub const SELFSIGNED: &'static str = "TP-self-signed-";

    /// Trustpoints with a self-signed certificate, which are not those of servers.
    pub fn selfsigned(&self) -> impl Iterator<Item = (&str, &TrustpointSection)> {
        let sections = self.trustpoints.iter().map(|(label, section)| (label.as_str(), section));
        sections.filter(|(label, section)| section.is_selfsigned() && !self.servers.contains_key(*label))
    }

    /// The sequences of certificate maps: name, number and lines.
    fn map_sequences(&self) -> impl Iterator<Item = (&str, u16, &[Criterion])> {
        let maps = self.certificate_maps.iter();
        maps.flat_map(|(name, map)| map.iter().map(move |(at, lines)| (name.as_str(), *at, lines.as_slice())))
    }

    /// Host name and domain name: the default name of keys.
    pub fn fqdn(&self) -> String {
        match &self.domain_name {
            Some(domain) => format!("{}.{domain}", self.hostname),
            None => self.hostname.clone(),
        }
    }

    /// With every password sealed: what becomes the running configuration.
    #[must_use]
    pub fn sealed(mut self, vault: &Vault) -> Self {
        let seal = |password: Password| password.sealed(vault);
        for server in self.servers.values_mut() {
            server.database = std::mem::take(&mut server.database).sealed(&seal);
        }
        for trustpoint in self.trustpoints.values_mut() {
            trustpoint.request.password = trustpoint.request.password.take().map(seal);
        }
        self.ftp.password = self.ftp.password.take().map(seal);
        self
    }
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            hostname: DEFAULT_HOSTNAME.to_owned(),
            domain_name: None,
            hosts: BTreeMap::new(),
            ftp: Ftp::default(),
            clock: Clock::default(),
            ntp: BTreeSet::new(),
            directories: BTreeMap::new(),
            socket_group: None,
            http: Http::default(),
            tokens: BTreeMap::new(),
            trustpoints: BTreeMap::new(),
            profiles: BTreeMap::new(),
            certificate_maps: BTreeMap::new(),
            certificate_query: false,
            chains: BTreeMap::new(),
            public_keys: BTreeMap::new(),
            servers: BTreeMap::new(),
        }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "hostname {}\n!", self.hostname)?;
        block(f, &self.clock)?;
        if let Some(name) = &self.domain_name {
            writeln!(f, "ip domain name {name}\n!")?;
        }
        block(f, &global::Host(self))?;
        for (name, section) in &self.tokens {
            write!(f, "crypto pki token {name}\n{section}!\n")?;
        }
        if self.certificate_query {
            writeln!(f, "crypto pki certificate query\n!")?;
        }
        for (label, section) in &self.profiles {
            write!(f, "crypto pki profile enrollment {label}\n{section}!\n")?;
        }
        // Before the servers, which take their keys from them.
        for (label, section) in &self.trustpoints {
            write!(f, "crypto pki trustpoint {label}\n{section}!\n")?;
        }
        for (name, sequence, lines) in self.map_sequences() {
            writeln!(f, "crypto pki certificate map {name} {sequence}")?;
            lines.iter().try_for_each(|line| writeln!(f, " {line}"))?;
            f.write_str("!\n")?;
        }
        for (label, section) in &self.chains {
            write!(f, "crypto pki certificate chain {label}\n{section}!\n")?;
        }
        block(f, &pubkey::Chain(self))?;
        for (label, section) in &self.servers {
            write!(f, "crypto pki server {label}\n{section}!\n")?;
        }
        writeln!(f, "{}!", self.http)?;
        let ntp: String = self.ntp.iter().map(|line| format!("ntp {line}\n")).collect();
        block(f, &ntp)?;
        f.write_str("end\n")
    }
}

/// Why a configuration was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Because of one line.
    #[error("line {number}:\n{error}")]
    Line {
        /// Its number, from 1.
        number: usize,
        /// What is wrong with it.
        error: LineError,
    },
    /// Because of all lines together.
    #[error("% {0}")]
    Whole(String),
}

/// Lines with a `!` after them, when there are any.
fn block(f: &mut fmt::Formatter<'_>, lines: &impl fmt::Display) -> fmt::Result {
    match lines.to_string() {
        lines if lines.is_empty() => Ok(()),
        lines => writeln!(f, "{lines}!"),
    }
}

const DEFAULT_HOSTNAME: &str = "tokenca";

/// A name of a section or a key: it stands in file names, URLs and object labels.
pub fn check_label(label: &str) -> Result<(), &'static str> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if label.len() > 64 || !label.chars().all(good) || !label.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        return Err(
            "a name has letters, digits, dots, hyphens and underscores, at most 64, and begins with \
                    a letter or digit",
        );
    }
    Ok(())
}

fn label(args: &Args, name: &str) -> Result<String, Refusal> {
    let label = args.text(name);
    check_label(label).map_err(|reason| args.refuse(name, reason))?;
    Ok(label.to_owned())
}

/// The distinguished name typed, which reads as one.
fn distinguished_name(args: &Args, name: &str) -> Result<String, Refusal> {
    let typed = args.text(name);
    // `issuer name CN=…`, as it is printed in places.
    let typed = typed.strip_prefix("name ").unwrap_or(typed).trim_start();
    // `issuer-name my-server` and `subject-name cat`, as they are printed there too.
    let typed = match typed.contains(['=', ',', '/']) {
        true => typed.to_owned(),
        false => format!("CN={typed}"),
    };
    Name::parse(&typed).map_err(|error| args.refuse(name, error.to_string()))?;
    Ok(typed)
}

/// The name of a token, typed with or without the colon of IOS.
pub fn device(args: &Args, name: &str) -> Result<String, Refusal> {
    let device = args.text(name).trim_end_matches(':');
    check_label(device).map_err(|reason| args.refuse(name, reason))?;
    Ok(device.to_owned())
}

#[cfg(test)]
mod tests;
