//! The lines of a section, but for those of enrolment, requests, keys and checking.

use std::sync::LazyLock;

use crate::config::grammar::{Args, Refusal, Table};
use crate::config::line::{Later, Line, Lines, Verb};
use crate::config::{Fingerprint, Legacy, url};
use crate::pki::Hash;

use super::{TrustpointSection, checking, enrollment, keys, request};

pub(in crate::config) use enrollment::{AUTO_ENROLL, SELFSIGNED};
pub(in crate::config) use keys::{RSA_KEY_PAIR, RSA_KEY_PAIR_ALSO};

/// Its lines.
pub static LINES: LazyLock<Lines<TrustpointSection>> = LazyLock::new(|| {
    let shown = [enrollment::LINES, request::LINES, keys::LINES, checking::LINES, SHOWN];
    let also = [enrollment::ALSO, request::ALSO, keys::ALSO, checking::ALSO];
    Lines::new(shown.into_iter().flatten(), also.into_iter().flatten())
});

/// Lines of IOS that this version does not have.
pub static LATER: LazyLock<Table<Later>> = LazyLock::new(|| Table::new(LATER_LINES));

pub(in crate::config) const HASH: &str = "hash {sha256 | sha384 | sha512 | sha1 | md5}";
pub(in crate::config) const LEGACY: &str = Legacy::SYNTAX;
pub(in crate::config) const REGENERATE: &str = "regenerate";

const SHOWN: &[Line<TrustpointSection>] = &[
    Line {
        words: "fingerprint <digits...>",
        no: Some("fingerprint"),
        about: "Accepts the CA certificate with this fingerprint without a question, and no other",
        help: &[
            ("fingerprint", "Fingerprint of the CA certificate"),
            ("<digits>", "Hex digits of SHA-256, SHA-1 or MD5; blanks may stand between them"),
        ],
        run: |trustpoint, verb, args| {
            trustpoint.fingerprint = match verb {
                Verb::Set => {
                    let typed = Fingerprint::parse(args.text("digits"));
                    Some(typed.map_err(|error| args.refuse("digits", error.to_string()))?)
                }
                _ => None,
            };
            Ok(())
        },
    },
    Line {
        words: "root {tftp <host> <file> | <url>}",
        no: Some("root"),
        about: "Reads the CA certificate from this file; by default it comes from where requests go",
        help: &[
            ("root", "Where the CA certificate is"),
            ("tftp", "On a TFTP server"),
            ("<host>", "Its name or address"),
            ("<file>", "Name of the file"),
            ("<url>", "As in http://192.0.2.1/ca.cer or nvram:root.ca"),
        ],
        run: root,
    },
    Line {
        words: REGENERATE,
        no: Some("regenerate"),
        about: "Takes a new key with each `crypto pki enroll`",
        help: &[("regenerate", "New key with each enrolment")],
        run: |trustpoint, verb, _| {
            trustpoint.regenerate = verb == Verb::Set;
            Ok(())
        },
    },
    Line {
        words: HASH,
        no: Some("hash"),
        about: "Chooses the digest of requests, sha256 by default; sha1 and md5 only with `crypto legacy`",
        help: &[
            ("hash", "Digest of requests"),
            ("sha256", "SHA-256"),
            ("sha384", "SHA-384"),
            ("sha512", "SHA-512"),
            ("sha1", "SHA-1, only with `crypto legacy sha1`"),
            ("md5", "MD5, only with `crypto legacy md5`"),
        ],
        run: |trustpoint, verb, args| {
            trustpoint.hash = Hash::ALL
                .into_iter()
                .find(|hash| verb == Verb::Set && args.has(hash.name()))
                .filter(|hash| *hash != Hash::Sha256);
            Ok(())
        },
    },
    Line {
        words: LEGACY,
        no: Some("crypto legacy"),
        about: "Allows an algorithm that is broken or weak, for CAs that know no better; not an IOS line",
        help: &[
            ("crypto", "Algorithms"),
            ("legacy", "Allow an old algorithm"),
            ("des", "Single DES in replies of the CA"),
            ("md5", "MD5 in replies of the CA and in certificates, and `hash md5`"),
            ("sha1", "SHA-1 in certificates, and `hash sha1`"),
            ("rsa-1024", "RSA keys of 1024 to 2047 bits"),
        ],
        run: |trustpoint, verb, args| {
            trustpoint.legacy.line(verb, args);
            Ok(())
        },
    },
    Line {
        words: "source interface <name>",
        no: Some("source interface"),
        about: "Kept only: the routes of the host choose the address that requests come from",
        help: &[
            ("source", "Address that requests come from"),
            ("interface", "That of an interface"),
            ("<name>", "Its name"),
        ],
        run: |trustpoint, verb, args| {
            trustpoint.source_interface = args.get("name").filter(|_| verb == Verb::Set).map(str::to_owned);
            Ok(())
        },
    },
    Line {
        words: "vrf <name>",
        no: Some("vrf"),
        about: "Kept only: the host has one table of routes",
        help: &[("vrf", "Table of routes"), ("<name>", "Its name")],
        run: |trustpoint, verb, args| {
            trustpoint.vrf = args.get("name").filter(|_| verb == Verb::Set).map(str::to_owned);
            Ok(())
        },
    },
];

fn root(trustpoint: &mut TrustpointSection, verb: Verb, args: &Args) -> Result<(), Refusal> {
    trustpoint.root = match (verb, args.get("host")) {
        (Verb::Set, Some(host)) => {
            let typed = format!("tftp://{host}/{}", args.text("file"));
            let known = crate::files::FileUrl::parse(&typed);
            known.map_err(|error| args.refuse("host", error.to_string()))?;
            Some(typed)
        }
        (Verb::Set, None) => Some(url::file(args, "url")?),
        _ => None,
    };
    Ok(())
}

const LATER_LINES: &[Later] = &[
    Later("authorization {list | username | xauth} [<rest...>]"),
    Later("auto-trigger"),
    Later("chain-validation [<rest...>]"),
    Later("crl cache [<rest...>]"),
    Later("eku request <rest...>"),
    Later("match {eku | key-usage} <rest...>"),
    Later("match certificate <map> {override | skip authorization-check} [<rest...>]"),
    Later("primary"),
    Later("query certificate"),
];
