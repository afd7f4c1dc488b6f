//! Rules that concern several lines, which may come in any order.

use std::collections::BTreeMap;

use crate::pki::{Hash, Name};

use super::mode::Mode;
use super::{
    Configuration, EnrollmentMethod, KeyPair, Legacy, ProfileSection, TrustpointSection, global, profile,
    server, trustpoint,
};

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
        .or_else(|| weak_request(configuration))
        .or_else(|| weak_key(configuration))
        .or_else(|| same_device(configuration))
        .or_else(|| two_selfsigned(configuration))
        .or_else(|| server_enrols_itself(configuration))
        .or_else(|| shared_key(configuration))
        .or_else(|| profile_by_hand(configuration))
        .or_else(|| one_ca_twice(configuration))
}

fn weak_hash(configuration: &Configuration) -> Option<Broken> {
    configuration.servers.iter().find_map(|(label, server)| {
        if server.legacy().allows(server.hash()) {
            return None;
        }
        let mode = Mode::Server(label.clone());
        let words = (server::HASH, server::LEGACY);
        Some(weak(server.hash(), mode, words, format!("crypto pki server {label}")))
    })
}

fn weak_request(configuration: &Configuration) -> Option<Broken> {
    configuration.trustpoints.iter().find_map(|(label, trustpoint)| {
        if allowed(configuration, label, trustpoint).allows(trustpoint.hash()) {
            return None;
        }
        let mode = Mode::Trustpoint(label.clone());
        let words = (trustpoint::HASH, trustpoint::LEGACY);
        Some(weak(trustpoint.hash(), mode, words, format!("crypto pki trustpoint {label}")))
    })
}

/// What a trustpoint or the server of its name allows.
fn allowed(configuration: &Configuration, label: &str, trustpoint: &TrustpointSection) -> Legacy {
    let server = configuration.servers.get(label).map(|server| server.legacy()).unwrap_or_default();
    trustpoint.legacy.or(server)
}

fn weak(hash: Hash, mode: Mode, (line, legacy): (&'static str, &'static str), section: String) -> Broken {
    let value = hash.name();
    let reason = format!("{value} is broken; to use it after all, type `crypto legacy {value}` as well");
    let stands = format!("`hash {value}` stands in this section; change it first");
    Broken {
        blames: vec![
            Blame { mode: mode.clone(), words: line, value, reason: reason.clone() },
            Blame { mode, words: legacy, value, reason: stands },
        ],
        reason,
        section,
    }
}

fn weak_key(configuration: &Configuration) -> Option<Broken> {
    configuration.trustpoints.iter().find_map(|(label, section)| {
        let legacy = allowed(configuration, label, section).rsa_1024;
        let bits =
            section.key.as_ref().and_then(KeyPair::least_bits).filter(|bits| *bits < 2048 && !legacy)?;
        let reason = format!(
            "RSA keys of {bits} bits are weak; to use one after all, type `crypto legacy rsa-1024` as well"
        );
        let stands = format!("trustpoint {label} asks for an RSA key of {bits} bits; change it first");
        let trustpoint = |words| Blame {
            mode: Mode::Trustpoint(label.clone()),
            words,
            value: "bits",
            reason: reason.clone(),
        };
        let legacy = |mode, words| Blame { mode, words, value: "rsa-1024", reason: stands.clone() };
        Some(Broken {
            blames: vec![
                trustpoint(trustpoint::RSA_KEY_PAIR),
                trustpoint(trustpoint::RSA_KEY_PAIR_ALSO),
                legacy(Mode::Trustpoint(label.clone()), trustpoint::LEGACY),
                legacy(Mode::Server(label.clone()), server::LEGACY),
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

/// The certificate of a server is renewed at the server's time, with what has to be made new around it.
fn server_enrols_itself(configuration: &Configuration) -> Option<Broken> {
    let label = configuration.servers.keys().find(|label| {
        configuration.trustpoints.get(*label).is_some_and(|section| section.auto_enroll.is_some())
    })?;
    let reason = format!(
        "trustpoint {label} is that of a certificate server, which renews it by itself: `auto-rollover` there"
    );
    Some(Broken {
        blames: vec![
            Blame {
                mode: Mode::Trustpoint(label.clone()),
                words: trustpoint::AUTO_ENROLL,
                value: "auto-enroll",
                reason: reason.clone(),
            },
            Blame {
                mode: Mode::Global,
                words: global::SERVER,
                value: "label",
                reason: format!("the trustpoint {label} has `auto-enroll`; take that back first"),
            },
        ],
        reason,
        section: format!("crypto pki trustpoint {label}"),
    })
}

/// A new key for one trustpoint would take the old one from the other.
fn shared_key(configuration: &Configuration) -> Option<Broken> {
    let enrols = |section: &TrustpointSection| {
        !matches!(section.enrollment.method, None | Some(EnrollmentMethod::SelfSigned))
    };
    let renews = |section: &TrustpointSection| {
        section.regenerate || section.auto_enroll.is_some_and(|auto| auto.regenerate)
    };
    let key = |section: &TrustpointSection| section.key.as_ref().map(|key| key.label().to_owned());
    let users = configuration.trustpoints.iter().filter(|(_, section)| enrols(section));
    let (this, other) =
        users.clone().filter(|(_, section)| renews(section)).find_map(|(label, section)| {
            let other = users.clone().find(|(other, used)| *other != label && key(used) == key(section));
            other.map(|(other, _)| (label, other))
        })?;
    let shared = |other: &str| {
        format!(
            "trustpoint {other} has the same key, which would be gone after a new one; give each its own by \
             `rsakeypair`"
        )
    };
    let blame = |label: &str, words, value| Blame {
        mode: Mode::Trustpoint(label.to_owned()),
        words,
        value,
        reason: shared(if label == this { other } else { this }),
    };
    Some(Broken {
        blames: vec![
            blame(this, trustpoint::REGENERATE, "regenerate"),
            blame(this, trustpoint::AUTO_ENROLL, "regenerate"),
            blame(this, trustpoint::RSA_KEY_PAIR, "label"),
            blame(other, trustpoint::RSA_KEY_PAIR, "label"),
        ],
        reason: shared(other),
        section: format!("crypto pki trustpoint {this}"),
    })
}

/// A certificate to sign requests with is for requests that are sent.
fn profile_by_hand(configuration: &Configuration) -> Option<Broken> {
    let by_hand =
        |(_, profile): &(&String, &ProfileSection)| profile.credential.is_some() && profile.is_by_hand();
    let (label, _) = configuration.profiles.iter().find(by_hand)?;
    let reason = "a request that is cut and pasted is not signed with another certificate: `enrollment terminal` \
                  and `enrollment credential` exclude each other";
    let blame =
        |words, value| Blame { mode: Mode::Profile(label.clone()), words, value, reason: reason.to_owned() };
    Some(Broken {
        blames: vec![blame(profile::TERMINAL, "terminal"), blame(profile::CREDENTIAL, "credential")],
        reason: reason.to_owned(),
        section: format!("crypto pki profile enrollment {label}"),
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
