//! What stands outside of every section.

mod host;
mod http;

use std::sync::LazyLock;

use super::grammar::{Args, Refusal, Table};
use super::line::{Later, Line, Lines, Verb};
use super::{Editor, Mode, label};

pub use host::{Clock, Ftp};
pub(super) use host::{FILE_SYSTEM, Host};
pub use http::Http;

/// Global lines.
pub static LINES: LazyLock<Lines<Editor>> =
    LazyLock::new(|| Lines::new(SHOWN.iter().chain(http::LINES).chain(host::LINES), ALSO));

/// Lines of IOS that this version does not have.
pub static LATER: LazyLock<Table<Later>> = LazyLock::new(|| Table::new(LATER_LINES));

pub(super) const SERVER: &str = "crypto pki/ca server <label>";
pub(super) const TOKEN: &str = "crypto pki/ca token <name>";

const SHOWN: &[Line<Editor>] = &[
    Line {
        words: "hostname <name>",
        no: Some("hostname"),
        about: "Names this host: the prompt, and the default name of keys",
        help: &[("hostname", "Name of this host"), ("<name>", "Letters, digits and hyphens")],
        run: hostname,
    },
    Line {
        words: "ip domain name <name>",
        no: Some("ip domain name"),
        about: "Names the domain that completes the host name",
        help: &[
            ("domain", "Domain of this host"),
            ("name", "Its name"),
            ("<name>", "Domain name, as in example.com"),
        ],
        run: domain,
    },
    Line {
        words: TOKEN,
        no: Some("crypto pki/ca token <name>"),
        about: "Configures a token",
        help: &[("token", "Configure a token"), ("<name>", "Name of the token, as in usbtoken0")],
        run: |editor, verb, args| {
            let name = label(args, "name")?;
            if verb == Verb::Set {
                editor.configuration.tokens.entry(name.clone()).or_default();
                editor.mode = Mode::Token(name);
            } else {
                let known = editor.configuration.tokens.remove(&name);
                known.ok_or_else(|| args.refuse("name", "there is no such token"))?;
                editor.leave(&Mode::Token(name));
            }
            Ok(())
        },
    },
    Line {
        words: "crypto pki/ca trustpoint <label>",
        no: Some("crypto pki/ca trustpoint <label>"),
        about: "Configures a trustpoint; that of a server, of the same name, says which key it uses",
        help: &[("trustpoint", "Configure a trustpoint")],
        run: |editor, verb, args| {
            let name = label(args, "label")?;
            if verb == Verb::Set {
                editor.configuration.trustpoints.entry(name.clone()).or_default();
                editor.mode = Mode::Trustpoint(name);
            } else {
                let known = editor.configuration.trustpoints.remove(&name);
                known.ok_or_else(|| args.refuse("label", "there is no such trustpoint"))?;
                editor.leave(&Mode::Trustpoint(name));
            }
            Ok(())
        },
    },
    Line {
        words: "crypto pki/ca profile enrollment <label>",
        no: Some("crypto pki/ca profile enrollment <label>"),
        about: "Configures how a CA that speaks no SCEP is talked to",
        help: &[("profile", "Configure a profile"), ("enrollment", "For enrolment")],
        run: |editor, verb, args| {
            let name = label(args, "label")?;
            if verb == Verb::Set {
                editor.configuration.profiles.entry(name.clone()).or_default();
                editor.mode = Mode::Profile(name);
            } else {
                let known = editor.configuration.profiles.remove(&name);
                known.ok_or_else(|| args.refuse("label", "there is no such profile"))?;
                editor.leave(&Mode::Profile(name));
            }
            Ok(())
        },
    },
    Line {
        words: "crypto pki/ca certificate map <label> <sequence:1-65535>",
        no: Some("crypto pki/ca certificate map <label> [<sequence:1-65535>]"),
        about: "Configures which certificates of peers are meant; of several sequences, the lines of one must fit",
        help: &[
            ("certificate", "Certificates"),
            ("map", "Those that fit these lines"),
            ("<sequence>", "Number of the sequence"),
        ],
        run: certificate_map,
    },
    Line {
        words: "crypto pki/ca certificate query",
        no: Some("crypto pki/ca certificate query"),
        about: "Kept only: the database keeps certificates and CRLs in any case",
        help: &[("certificate", "Certificates"), ("query", "Ask for them instead of keeping them")],
        run: |editor, verb, _| {
            editor.configuration.certificate_query = verb == Verb::Set;
            Ok(())
        },
    },
    Line {
        words: "crypto pki/ca certificate chain <label>",
        no: Some("crypto pki/ca certificate chain <label>"),
        about: "Gives a trustpoint certificates by hand, or has it forget some",
        help: &[("certificate", "Certificates"), ("chain", "Those of a trustpoint")],
        run: |editor, verb, args| {
            let name = label(args, "label")?;
            if verb == Verb::Set {
                editor.mode = Mode::CertificateChain(name);
            } else {
                let known = editor.configuration.chains.remove(&name);
                known.ok_or_else(|| args.refuse("label", "nothing is typed of this chain"))?;
                editor.leave(&Mode::CertificateChain(name));
            }
            Ok(())
        },
    },
    Line {
        words: "crypto key pubkey-chain rsa",
        no: Some("crypto key pubkey-chain rsa"),
        about: "Configures RSA public keys of peers; `no` deletes all of them",
        help: &[("pubkey-chain", "Public keys of peers"), ("rsa", "RSA keys")],
        run: |editor, verb, _| {
            match verb {
                Verb::Set => editor.mode = Mode::PubkeyChain,
                Verb::No | Verb::Default => editor.configuration.public_keys.clear(),
            }
            Ok(())
        },
    },
    Line {
        words: SERVER,
        no: Some("crypto pki/ca server <label>"),
        about: "Configures a certificate server; `no` deletes it with its key and its database",
        help: &[("server", "Configure a certificate server")],
        run: |editor, verb, args| {
            let name = label(args, "label")?;
            if verb == Verb::Set {
                editor.configuration.servers.entry(name.clone()).or_default();
                editor.mode = Mode::Server(name);
            } else {
                let known = editor.configuration.servers.remove(&name);
                known.ok_or_else(|| args.refuse("label", "there is no such certificate server"))?;
                editor.leave(&Mode::Server(name));
            }
            Ok(())
        },
    },
];

const ALSO: &[Line<Editor>] = &[
    Line {
        words: "ip hostname <name>",
        no: Some("ip hostname"),
        about: "`hostname`, as it is printed in places",
        help: &[],
        run: hostname,
    },
    Line {
        words: "ip domain-name <name>",
        no: Some("ip domain-name"),
        about: "`ip domain name`, as older releases have it",
        help: &[],
        run: domain,
    },
];

const LATER_LINES: &[Later] = &[
    Later("crypto pki/ca certificate {storage | validate} [<rest...>]"),
    Later("crypto pki/ca {cert | crl | fqdn | http | identity | trustpool} [<rest...>]"),
    Later(
        "ip http {access-class | active-session-modules | client | max-connections |          secure-active-session-modules | secure-ciphersuite | secure-client-auth | secure-trustpoint |          session-module-list} [<rest...>]",
    ),
];

fn certificate_map(editor: &mut Editor, verb: Verb, args: &Args) -> Result<(), Refusal> {
    let name = label(args, "label")?;
    let sequence = args.number("sequence").and_then(|number| u16::try_from(number).ok());
    let maps = &mut editor.configuration.certificate_maps;
    let known = match (verb, sequence) {
        (Verb::Set, sequence) => {
            // The syntax makes it obligatory.
            let sequence = sequence.unwrap_or(1);
            maps.entry(name.clone()).or_default().entry(sequence).or_default();
            editor.mode = Mode::CertificateMap(name, sequence);
            return Ok(());
        }
        (_, Some(sequence)) => maps.get_mut(&name).and_then(|map| map.remove(&sequence)).is_some(),
        (_, None) => maps.remove(&name).is_some(),
    };
    maps.retain(|_, map| !map.is_empty());
    if !known {
        return Err(args.refuse("label", "there is no such certificate map"));
    }
    if !editor.mode.is_in(&editor.configuration) {
        editor.mode = Mode::Global;
    }
    Ok(())
}

fn hostname(editor: &mut Editor, verb: Verb, args: &Args) -> Result<(), Refusal> {
    editor.configuration.hostname = match verb {
        Verb::Set => host_name(args)?,
        _ => crate::config::DEFAULT_HOSTNAME.to_owned(),
    };
    Ok(())
}

fn domain(editor: &mut Editor, verb: Verb, args: &Args) -> Result<(), Refusal> {
    editor.configuration.domain_name = match verb {
        Verb::Set => Some(domain_name(args)?),
        _ => None,
    };
    Ok(())
}

fn host_name(args: &Args) -> Result<String, Refusal> {
    let name = args.text("name");
    if !is_host_label(name) {
        return Err(args.refuse("name", "a name has letters, digits and hyphens, at most 63"));
    }
    Ok(name.to_owned())
}

fn domain_name(args: &Args) -> Result<String, Refusal> {
    let name = args.text("name");
    if name.len() > 253 || !name.split('.').all(is_host_label) {
        return Err(args.refuse("name", "a name has parts of letters, digits and hyphens, at most 63 each"));
    }
    Ok(name.to_owned())
}

pub(super) fn is_host_label(part: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=63).contains(&part.len()) && part.chars().all(inner) && !part.starts_with('-')
}
