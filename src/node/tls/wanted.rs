//! What the configuration says about the certificate of HTTPS, and whether one still meets it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::SockaddrStorage;

use crate::config::{Configuration, EnrollmentMethod, KeyPair, RevocationMethod, TrustpointSection};
use crate::pki::{Certificate, KeyKind, Name, PublicKey, Time, extension};
use crate::token::Token;

use super::super::NodeError;
use super::super::tokens::Tokens;

/// What is configured.
#[derive(Clone)]
pub struct Wanted {
    /// Name of the trustpoint.
    pub trustpoint: String,
    /// Subject and issuer, as typed.
    pub subject: String,
    /// Label of the key pair.
    pub key_label: String,
    /// Its kind; `None` for the best that the token can.
    pub kind: Option<KeyKind>,
    /// DNS names of this host.
    pub dns: Vec<String>,
    on: Option<String>,
    tokens: Arc<Tokens>,
    bind: Option<IpAddr>,
}

impl Wanted {
    /// By the self-signed trustpoint; `None` without one.
    pub fn of(configuration: &Configuration, tokens: &Arc<Tokens>) -> Option<Self> {
        let (trustpoint, section) = configuration.selfsigned().next()?;
        let fqdn = configuration.fqdn();
        let mut dns = vec![fqdn.clone(), configuration.hostname.clone()];
        dns.dedup();
        Some(Self {
            trustpoint: trustpoint.to_owned(),
            subject: section.request.subject_name.clone().unwrap_or_else(|| format!("hostname={fqdn}")),
            key_label: section.key.as_ref().map_or(trustpoint, KeyPair::label).to_owned(),
            kind: section.key.as_ref().map(KeyPair::kind),
            dns,
            on: section.on.clone(),
            tokens: tokens.clone(),
            bind: configuration.http.bind.filter(|address| !address.is_unspecified()),
        })
    }

    /// Whether the certificate of the one is that of the other.
    pub fn same_as(&self, other: &Self) -> bool {
        // Every field is named: one that is forgotten here would not take effect.
        let Self { trustpoint, subject, key_label, kind, dns, on, tokens, bind } = self;
        *trustpoint == other.trustpoint
            && *subject == other.subject
            && *key_label == other.key_label
            && *kind == other.kind
            && *dns == other.dns
            && *on == other.on
            && tokens.same_as(&other.tokens)
            && *bind == other.bind
    }

    /// The token named, else the one that has the key already, else the first.
    pub fn token(&self, kept: Option<&str>) -> Result<Token, NodeError> {
        let names = self.tokens.names();
        let kept = kept.filter(|kept| names.contains(kept));
        self.tokens.get(self.on.as_deref().or(kept).or(names.first().copied()))
    }

    /// Whether a certificate still says what it should, of this key.
    pub fn is_met_by(&self, certificate: &Certificate, key: &PublicKey, now: Time) -> bool {
        let subject = Name::parse(&self.subject);
        let subject = subject.is_ok_and(|name| name.as_der() == certificate.subject_raw());
        let names = certificate.extensions().subject_alt_name();
        let names = names.and_then(|names| extension::hosts(names).ok()).is_some_and(|(dns, addresses)| {
            // Addresses of interfaces come and go; a certificate that others have pinned does not.
            dns == self.dns && self.bind.is_none_or(|bind| addresses.contains(&octets(bind)))
        });
        subject && names && certificate.public_key() == key && !ends_soon(certificate, now)
    }

    /// The addresses at which this host can be reached, 4 or 16 octets each.
    pub fn addresses(&self) -> Vec<Vec<u8>> {
        if let Some(bind) = self.bind {
            return vec![octets(bind)];
        }
        let interfaces = nix::ifaddrs::getifaddrs().map_err(|error| {
            tracing::warn!(%error, "the addresses of this host are not known");
        });
        let interfaces = interfaces.into_iter().flatten();
        let mut addresses: Vec<_> =
            interfaces.filter_map(|interface| ip(interface.address?)).map(octets).collect();
        addresses.sort();
        addresses.dedup();
        addresses.truncate(MAX_ADDRESSES);
        addresses
    }
}

/// The lines that IOS puts into the section that it adds.
pub fn add(section: &mut TrustpointSection, number: u32) {
    if !section.is_selfsigned() {
        section.enrollment.method = Some(EnrollmentMethod::SelfSigned);
        section.request.subject_name.get_or_insert(format!("cn=IOS-Self-Signed-Certificate-{number}"));
        if section.checking.typed.is_empty() {
            section.checking.typed.push(RevocationMethod::None);
        }
    }
}

/// Whether it is time for the next one.
pub fn ends_soon(certificate: &Certificate, now: Time) -> bool {
    now >= certificate.not_after().minus(RENEWED_BEFORE)
}

/// An address at which others reach this host by itself, without a zone.
fn ip(address: SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| v4.ip()).filter(|v4| !v4.is_link_local());
    let v6 = address.as_sockaddr_in6().map(|v6| v6.ip()).filter(|v6| !v6.is_unicast_link_local());
    v4.map(IpAddr::V4).or(v6.map(IpAddr::V6))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Bits of an RSA key when nobody says how many.
pub const DEFAULT_RSA_BITS: usize = 2048;
const RENEWED_BEFORE: Duration = Duration::from_secs(30 * 86_400);
/// A host with more addresses than these is configured with `ip http bind`.
const MAX_ADDRESSES: usize = 64;
