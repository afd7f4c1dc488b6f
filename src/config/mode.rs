//! Where a line is typed.

use super::Configuration;
use super::chain::Entry;
use super::pubkey::PeerKeyId;

/// Where a line is typed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Outside of every section: `(config)#`.
    Global,
    /// `crypto pki token`: `(config-token)#`.
    Token(String),
    /// `crypto pki trustpoint`: `(ca-trustpoint)#`.
    Trustpoint(String),
    /// `crypto pki profile enrollment`: `(ca-profile-enroll)#`.
    Profile(String),
    /// `crypto pki certificate map`, its name and the number of the sequence: `(ca-certificate-map)#`.
    CertificateMap(String, u16),
    /// `crypto pki server`: `(cs-server)#`.
    Server(String),
    /// `crypto key pubkey-chain rsa`: `(config-pubkey-chain)#`.
    PubkeyChain,
    /// `named-key` or `addressed-key` there: `(config-pubkey-key)#`.
    Pubkey(PeerKeyId),
    /// `key-string` there: `(config-pubkey)#`; lines of hex digits until `quit`.
    KeyString(PeerKeyId),
    /// `crypto pki certificate chain`: `(config-cert-chain)#`.
    CertificateChain(String),
    /// `certificate` there: `(config-pubkey)#`; lines of hex digits until `quit`.
    Certificate(String, Entry),
}

impl Mode {
    /// What stands in brackets in the prompt.
    pub const fn prompt(&self) -> &'static str {
        match self {
            Self::Global => "config",
            Self::Token(_) => "config-token",
            Self::Trustpoint(_) => "ca-trustpoint",
            Self::Profile(_) => "ca-profile-enroll",
            Self::CertificateMap(..) => "ca-certificate-map",
            Self::Server(_) => "cs-server",
            Self::PubkeyChain => "config-pubkey-chain",
            Self::Pubkey(_) => "config-pubkey-key",
            Self::CertificateChain(_) => "config-cert-chain",
            Self::KeyString(_) | Self::Certificate(..) => "config-pubkey",
        }
    }

    /// Whether lines are hex digits.
    pub const fn is_raw(&self) -> bool {
        matches!(self, Self::KeyString(_) | Self::Certificate(..))
    }

    /// Whether its section is there.
    pub(super) fn is_in(&self, configuration: &Configuration) -> bool {
        match self {
            Self::Global | Self::PubkeyChain | Self::CertificateChain(_) | Self::Certificate(..) => true,
            Self::Token(name) => configuration.tokens.contains_key(name),
            Self::Trustpoint(label) => configuration.trustpoints.contains_key(label),
            Self::Profile(label) => configuration.profiles.contains_key(label),
            Self::CertificateMap(name, at) => {
                configuration.certificate_maps.get(name).is_some_and(|map| map.contains_key(at))
            }
            Self::Server(label) => configuration.servers.contains_key(label),
            Self::Pubkey(id) | Self::KeyString(id) => configuration.public_keys.contains_key(id),
        }
    }

    /// Where `exit` leads.
    pub(super) fn above(&self) -> Self {
        match self {
            Self::KeyString(id) => Self::Pubkey(id.clone()),
            Self::Pubkey(_) => Self::PubkeyChain,
            Self::Certificate(label, _) => Self::CertificateChain(label.clone()),
            _ => Self::Global,
        }
    }
}
