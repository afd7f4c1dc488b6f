//! Rules that concern several lines, which may come in any order.

use std::collections::BTreeMap;

use crate::pki::{Hash, Name};

use super::mode::Mode;
use super::{Configuration, KeyPair, global, server, trustpoint};

/// A rule that is broken. Of the lines that may be to blame, it is the one typed last.
pub(super) struct Broken {
    /// Lines that may be to blame.
    pub blames: Vec<Blame>,
    /// What is wrong, when none of them was typed now.
    pub reason: String,
    /// The section that it is in.
    pub section: String,
}

/// A line that may be to blame.
pub(super) struct Blame {
    /// Where it is typed.
    pub mode: Mode,
    /// Its syntax.
    pub words: &'static str,
    /// The value or word that is wrong.
    pub value: &'static str,
    /// What is wrong.
    pub reason: String,
}

/// The first rule that is broken.
pub(super) fn broken(configuration: &Configuration) -> Option<Broken> {
    weak_hash(configuration)
        .or_else(|| weak_key(configuration))
        .or_else(|| same_device(configuration))
        .or_else(|| two_selfsigned(configuration))
        .or_else(|| one_ca_twice(configuration))
}

fn weak_hash(configuration: &Configuration) -> Option<Broken> {
    configuration.servers.iter().find_map(|(label, server)| {
        let allowed = match server.hash() {
            Hash::Md5 => server.legacy().md5,
            Hash::Sha1 => server.legacy().sha1,
            Hash::Sha256 | Hash::Sha384 | Hash::Sha512 => true,
        };
        if allowed {
            return None;
        }
        let value = server.hash().name();
        let mode = Mode::Server(label.clone());
        let reason = format!("{value} is broken; to use it after all, type `crypto legacy {value}` as well");
        let stands = format!("`hash {value}` stands in this section; change it first");
        Some(Broken {
            blames: vec![
                Blame { mode: mode.clone(), words: server::HASH, value, reason: reason.clone() },
                Blame { mode, words: server::LEGACY, value, reason: stands },
            ],
            reason,
            section: format!("crypto pki server {label}"),
        })
    })
}

fn weak_key(configuration: &Configuration) -> Option<Broken> {
    configuration.trustpoints.iter().find_map(|(label, section)| {
        let legacy = configuration.servers.get(label).is_some_and(|server| server.legacy().rsa_1024);
        let bits =
            section.key.as_ref().and_then(KeyPair::least_bits).filter(|bits| *bits < 2048 && !legacy)?;
        let reason = format!(
            "RSA keys of {bits} bits are weak; to use one after all, type `crypto legacy rsa-1024` in \
             `crypto pki server {label}`"
        );
        let stands = format!("trustpoint {label} asks for an RSA key of {bits} bits; change it first");
        let trustpoint = |words| Blame {
            mode: Mode::Trustpoint(label.clone()),
            words,
            value: "bits",
            reason: reason.clone(),
        };
        let legacy = Blame {
            mode: Mode::Server(label.clone()),
            words: server::LEGACY,
            value: "rsa-1024",
            reason: stands,
        };
        Some(Broken {
            blames: vec![
                trustpoint(trustpoint::RSA_KEY_PAIR),
                trustpoint(trustpoint::RSA_KEY_PAIR_ALSO),
                legacy,
            ],
            reason,
            section: format!("crypto pki trustpoint {label}"),
        })
    })
}

/// In a URL, `usbtoken0:` is a token or a directory.
fn same_device(configuration: &Configuration) -> Option<Broken> {
    let name = configuration.directories.keys().find(|name| configuration.tokens.contains_key(*name))?;
    let reason = format!("{name}: is a token and a file system; give one of them another name");
    let blame = |words, value| Blame { mode: Mode::Global, words, value, reason: reason.clone() };
    Some(Broken {
        blames: vec![blame(global::FILE_SYSTEM, "device"), blame(global::TOKEN, "name")],
        reason: reason.clone(),
        section: format!("file system {name}:"),
    })
}

/// HTTPS has one certificate. That which is made without being asked for gives way.
fn two_selfsigned(configuration: &Configuration) -> Option<Broken> {
    let labels = configuration.selfsigned().map(|(label, _)| label);
    let mut asked_for = labels.filter(|label| !label.starts_with(Configuration::SELFSIGNED));
    let (first, second) = (asked_for.next()?, asked_for.next()?);
    let blame = |this: &str, other: &str| Blame {
        mode: Mode::Trustpoint(this.to_owned()),
        words: trustpoint::SELFSIGNED,
        value: "selfsigned",
        reason: format!("trustpoint {other} has the self-signed certificate; there is only one"),
    };
    Some(Broken {
        blames: vec![blame(first, second), blame(second, first)],
        reason: format!("trustpoint {first} has the self-signed certificate; there is only one"),
        section: format!("crypto pki trustpoint {second}"),
    })
}

/// Two servers with one name and one key are one CA that gives each serial number twice.
fn one_ca_twice(configuration: &Configuration) -> Option<Broken> {
    let ca = |label: &str| {
        let key = configuration.trustpoints.get(label).and_then(|trustpoint| trustpoint.key.as_ref());
        let name = Name::parse(&configuration.servers.get(label)?.issuer_name(label)).ok()?;
        Some((key.map_or(label, KeyPair::label).to_owned(), name.as_der().to_vec()))
    };
    let mut seen = BTreeMap::new();
    for second in configuration.servers.keys() {
        let Some(first) = ca(second).and_then(|ca| seen.insert(ca, second)) else { continue };
        let reason = format!("certificate server {first} has this name and this key already");
        let blame = |label: &String| Blame {
            mode: Mode::Server(label.clone()),
            words: "issuer-name <dn...>",
            value: "dn",
            reason: reason.clone(),
        };
        return Some(Broken {
            blames: vec![blame(first), blame(second)],
            reason: reason.clone(),
            section: format!("crypto pki server {second}"),
        });
    }
    None
}
