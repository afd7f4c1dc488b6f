//! Rules that concern several lines, which may come in any order.

use crate::pki::Hash;

use super::mode::Mode;
use super::{Configuration, KeyPair, global, server, trustpoint};

/// A rule that is broken. The first of the lines that was typed is to blame.
pub(super) struct Broken {
    /// Mode, syntax and value of the lines that may be to blame.
    pub lines: Vec<(Mode, &'static str, &'static str)>,
    /// What is wrong, when one of them was typed.
    pub reason: String,
    /// The section they belong to.
    pub section: String,
}

/// The first rule that is broken.
pub(super) fn broken(configuration: &Configuration) -> Option<Broken> {
    weak_hash(configuration).or_else(|| weak_key(configuration)).or_else(|| same_device(configuration))
}

fn weak_hash(configuration: &Configuration) -> Option<Broken> {
    configuration.servers.iter().find_map(|(label, server)| {
        let allowed = match server.hash() {
            Hash::Md5 => server.legacy().md5,
            Hash::Sha1 => server.legacy().sha1,
            Hash::Sha256 | Hash::Sha384 | Hash::Sha512 => true,
        };
        let name = server.hash().name();
        let mode = Mode::Server(label.clone());
        (!allowed).then(|| Broken {
            lines: vec![(mode.clone(), server::HASH, name), (mode, server::LEGACY, name)],
            reason: format!("{name} is broken; to use it after all, type `crypto legacy {name}` as well"),
            section: format!("crypto pki server {label}"),
        })
    })
}

fn weak_key(configuration: &Configuration) -> Option<Broken> {
    configuration.trustpoints.iter().find_map(|(label, section)| {
        let legacy = configuration.servers.get(label).is_some_and(|server| server.legacy().rsa_1024);
        let bits =
            section.key.as_ref().and_then(KeyPair::least_bits).filter(|bits| *bits < 2048 && !legacy)?;
        let trustpoint = Mode::Trustpoint(label.clone());
        let lines = vec![
            (trustpoint.clone(), trustpoint::RSA_KEY_PAIR, "bits"),
            (trustpoint, trustpoint::RSA_KEY_PAIR_ALSO, "bits"),
            (Mode::Server(label.clone()), server::LEGACY, "rsa-1024"),
        ];
        Some(Broken {
            lines,
            reason: format!(
                "RSA keys of {bits} bits are weak; to use one after all, type `crypto legacy rsa-1024` in \
                 `crypto pki server {label}`"
            ),
            section: format!("crypto pki trustpoint {label}"),
        })
    })
}

/// In a URL, `usbtoken0:` is a token or a directory.
fn same_device(configuration: &Configuration) -> Option<Broken> {
    let name = configuration.directories.keys().find(|name| configuration.tokens.contains_key(*name))?;
    Some(Broken {
        lines: vec![(Mode::Global, global::FILE_SYSTEM, "device"), (Mode::Global, global::TOKEN, "name")],
        reason: format!("{name}: is a token and a file system; give one of them another name"),
        section: format!("file system {name}:"),
    })
}
