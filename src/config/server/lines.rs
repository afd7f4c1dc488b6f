//! The lines of a section.

use std::sync::LazyLock;

use super::{
    Grant, GrantRollover, Lifetime, Lifetimes, Scep, SerialNumber, ServerMode, ServerSection, database,
};
use crate::config::grammar::{Args, Refusal, Table};
use crate::config::line::{Later, Line, Lines, Verb};
use crate::config::{Legacy, device, distinguished_name, label};
use crate::pki::Hash;

/// Its lines.
pub static LINES: LazyLock<Lines<ServerSection>> =
    LazyLock::new(|| Lines::new(SHOWN.iter().chain(database::LINES), []));

/// Lines of IOS that this version does not have.
pub static LATER: LazyLock<Table<Later>> = LazyLock::new(|| Table::new(LATER_LINES));

pub(in crate::config) const HASH: &str = "hash {sha256 | sha384 | sha512 | sha1 | md5}";
pub(in crate::config) const LEGACY: &str = Legacy::SYNTAX;

const SHOWN: &[Line<ServerSection>] = &[
    Line {
        words: "issuer-name <dn...>",
        no: Some("issuer-name"),
        about: "Names the CA; cn=LABEL by default. Not changed once the CA certificate exists",
        help: &[("issuer-name", "Name of the CA"), ("<dn>", "As in CN=ca1, O=Example, C=US")],
        run: issuer_name,
    },
    Line {
        words: "grant {auto | none | ra-auto}",
        no: Some("grant"),
        about: "Grants or rejects requests without the operator; by default they wait for a grant by hand",
        help: &[
            ("grant", "What happens to requests"),
            ("auto", "Grant every request: for tests and closed networks"),
            ("none", "Reject every request"),
            ("ra-auto", "Grant what a known RA has authorized"),
        ],
        run: |server, verb, args| {
            server.grant = match verb {
                Verb::Set if args.has("auto") => Grant::Auto,
                Verb::Set if args.has("ra-auto") => Grant::RaAuto,
                Verb::Set => Grant::None,
                Verb::No | Verb::Default => Grant::Manual,
            };
            Ok(())
        },
    },
    Line {
        words: "grant auto rollover {ca-cert | ra-cert}",
        no: Some("grant auto rollover [ca-cert | ra-cert]"),
        about: "Grants later requests of subordinate CAs or RAs; their first one is always granted by hand",
        help: &[
            ("grant", "What happens to requests"),
            ("auto", "Grant without the operator"),
            ("rollover", "The next certificates of CAs and RAs below"),
            ("ca-cert", "Of subordinate CAs"),
            ("ra-cert", "Of RAs"),
        ],
        run: grant_rollover,
    },
    Line {
        words: "grant auto trustpoint <label>",
        no: Some("grant auto trustpoint [<label>]"),
        about: "Grants requests that are signed with a certificate of the CA which this trustpoint trusts",
        help: &[
            ("grant", "What happens to requests"),
            ("auto", "Grant without the operator"),
            ("trustpoint", "To devices that hold a certificate of another CA"),
        ],
        run: |server, verb, args| {
            match (verb, args.get("label")) {
                (Verb::Set, _) => {
                    server.grant_trustpoints.insert(label(args, "label")?);
                }
                (_, Some(label)) => {
                    server.grant_trustpoints.remove(label);
                }
                (_, None) => server.grant_trustpoints.clear(),
            }
            Ok(())
        },
    },
    Line {
        words: "mode {sub-cs | ra [transparent]}",
        no: Some("mode"),
        about: "Makes the server a CA below another, or a registration authority for another; its trustpoint says \
                where that is. Not changed once the server has a certificate",
        help: &[
            ("mode", "What the server is to other CAs"),
            ("sub-cs", "A CA below another"),
            ("ra", "A registration authority: another CA issues"),
            ("transparent", "For a CA that knows no RAs"),
        ],
        run: |server, verb, args| {
            server.mode = match verb {
                Verb::Set if args.has("sub-cs") => ServerMode::SubCs,
                Verb::Set => ServerMode::Ra { transparent: args.has("transparent") },
                Verb::No | Verb::Default => ServerMode::Root,
            };
            Ok(())
        },
    },
    Line {
        words: "auto-rollover [<days:0-1825>]",
        no: Some("auto-rollover"),
        about: "Makes the next CA certificate and its key so many days, 30 by default, before this one ends",
        help: &[
            ("auto-rollover", "Follow this CA certificate with another"),
            ("<days>", "Days before its end"),
        ],
        run: |server, verb, args| {
            let days = args.number("days").unwrap_or(DEFAULT_OVERLAP);
            server.auto_rollover = (verb == Verb::Set).then(|| Lifetime::days(days));
            Ok(())
        },
    },
    Line {
        words: "rollover on <device>",
        no: Some("rollover on"),
        about: "Generates the next CA key on this token instead of that of the CA key; not an IOS line",
        help: &[("rollover", "The next CA certificate"), ("on", "Where its key is made")],
        run: |server, verb, args| {
            server.rollover_on = match verb {
                Verb::Set => Some(device(args, "device")?),
                Verb::No | Verb::Default => None,
            };
            Ok(())
        },
    },
    Line {
        words: "lifetime {ca-certificate | certificate} <days:0-7305> [<hours:0-23> [<minutes:0-59>]]",
        no: Some("lifetime {ca-certificate | certificate}"),
        about: "Says how long certificates are valid: the CA's 1095 days, others' 365 days by default",
        help: &[
            ("lifetime", "How long things live"),
            ("ca-certificate", "The CA certificate"),
            ("certificate", "Certificates issued"),
            ("<days>", "Days"),
            ("<hours>", "Hours"),
            ("<minutes>", "Minutes"),
        ],
        run: lifetime,
    },
    Line {
        words: "lifetime crl <hours:1-336>",
        no: Some("lifetime crl"),
        about: "Says how long a CRL is valid, 168 hours by default",
        help: &[("lifetime", "How long things live"), ("crl", "A CRL"), ("<hours>", "Hours")],
        run: |server, verb, args| {
            let hours = args.number("hours").filter(|_| verb == Verb::Set);
            server.lifetime.crl = hours.map_or(Lifetimes::default().crl, Lifetime::hours);
            Ok(())
        },
    },
    Line {
        words: "lifetime enrollment-request/enrollment-requests <hours:1-1000>",
        no: Some("lifetime enrollment-request/enrollment-requests"),
        about: "Says how long a request is kept when nobody asks for it, 168 hours by default",
        help: &[
            ("lifetime", "How long things live"),
            ("enrollment-request", "A request nobody asks for"),
            ("<hours>", "Hours"),
        ],
        run: |server, verb, args| {
            let hours = args.number("hours").filter(|_| verb == Verb::Set);
            let default = Lifetimes::default().enrollment_request;
            server.lifetime.enrollment_request = hours.map_or(default, Lifetime::hours);
            Ok(())
        },
    },
    Line {
        words: HASH,
        no: Some("hash"),
        about: "Chooses the digest of certificates and CRLs, sha256 by default; sha1 and md5 only with \
                `crypto legacy`",
        help: &[
            ("hash", "Digest of certificates and CRLs"),
            ("sha256", "SHA-256"),
            ("sha384", "SHA-384"),
            ("sha512", "SHA-512"),
            ("sha1", "SHA-1, only with `crypto legacy sha1`"),
            ("md5", "MD5, only with `crypto legacy md5`"),
        ],
        run: hash,
    },
    Line {
        words: "cdp-url <url>",
        no: Some("cdp-url"),
        about: "Puts a CRL distribution point into certificates from now on",
        help: &[("cdp-url", "CRL distribution point"), ("<url>", "As in http://ca1.example.com/mycs.crl")],
        run: |server, verb, args| {
            server.cdp_url = match verb {
                Verb::Set => Some(url(args)?),
                _ => None,
            };
            Ok(())
        },
    },
    Line {
        words: "serial-number {sequential | random}",
        no: Some("serial-number"),
        about: "Says how serial numbers are chosen, sequential by default; not an IOS line",
        help: &[
            ("serial-number", "How serial numbers are chosen"),
            ("sequential", "One more than the last"),
            ("random", "Random, 127 bits"),
        ],
        run: |server, verb, args| {
            server.serial_number = match verb {
                Verb::Set if args.has("random") => SerialNumber::Random,
                _ => SerialNumber::Sequential,
            };
            Ok(())
        },
    },
    Line {
        words: "scep key separate [on <device>]",
        no: Some("scep key separate"),
        about: "Does SCEP with keys of its own instead of the CA's; not an IOS line",
        help: &[("scep", "How SCEP is done"), ("key", "With which keys"), ("separate", "Of its own")],
        run: |server, verb, args| {
            server.scep.separate_key = match verb {
                Verb::Set if args.has("on") => Some(Some(device(args, "device")?)),
                Verb::Set => Some(None),
                Verb::No | Verb::Default => None,
            };
            Ok(())
        },
    },
    Line {
        words: "scep duplicates new",
        no: Some("scep duplicates"),
        about: "Takes every request as a new one, as IOS does; by default a repetition gets the same answer",
        help: &[
            ("scep", "How SCEP is done"),
            ("duplicates", "What a repeated request is"),
            ("new", "A new request"),
        ],
        run: |server, verb, _| {
            server.scep.duplicates_new = verb == Verb::Set;
            Ok(())
        },
    },
    Line {
        words: "scep include-chain",
        no: Some("scep include-chain"),
        about: "Sends the CA certificate along with a certificate granted; not an IOS line",
        help: &[("scep", "How SCEP is done"), ("include-chain", "Send the CA certificate along")],
        run: |server, verb, _| {
            server.scep.include_chain = verb == Verb::Set;
            Ok(())
        },
    },
    Line {
        words: "scep ca-certificate alone",
        no: Some("scep ca-certificate"),
        about: "Gives clients the CA certificate without those above it, for such as take two for those of an RA; \
                not an IOS line",
        help: &[
            ("scep", "How SCEP is done"),
            ("ca-certificate", "What clients get as the CA certificate"),
            ("alone", "That of the CA alone, also of a subordinate one"),
        ],
        run: |server, verb, _| {
            server.scep.ca_alone = verb == Verb::Set;
            Ok(())
        },
    },
    Line {
        words: "scep max-pending <count:1-10000000>",
        no: Some("scep max-pending"),
        about: "Lets at most so many requests wait, 100000 by default; not an IOS line",
        help: &[
            ("scep", "How SCEP is done"),
            ("max-pending", "Most requests that may wait"),
            ("<count>", "Requests"),
        ],
        run: |server, verb, args| {
            let count = args.number("count").and_then(|count| u32::try_from(count).ok());
            let typed = count.filter(|_| verb == Verb::Set);
            server.scep.max_pending = typed.unwrap_or(Scep::default().max_pending);
            Ok(())
        },
    },
    Line {
        words: LEGACY,
        no: Some("crypto legacy"),
        about: "Allows an algorithm that is broken or weak, for devices that know no better; not an IOS line",
        help: &[
            ("crypto", "Algorithms"),
            ("legacy", "Allow an old algorithm"),
            ("des", "Single DES in requests and their answers"),
            ("md5", "MD5 in requests, their answers and certificates"),
            ("sha1", "SHA-1 in certificates and CRLs"),
            ("rsa-1024", "RSA keys of 1024 to 2047 bits"),
        ],
        run: |server, verb, args| {
            server.legacy.line(verb, args);
            Ok(())
        },
    },
    Line {
        words: "shutdown",
        no: Some("shutdown"),
        about: "Stops the server, which is the default; `no shutdown` starts it, and creates the CA first",
        help: &[("shutdown", "Stop the server")],
        run: |server, verb, _| {
            server.shutdown = verb != Verb::No;
            Ok(())
        },
    },
];

const LATER_LINES: &[Later] =
    &[Later("eku <rest...>"), Later("grant auto tp-list <rest...>"), Later("redundancy")];

fn grant_rollover(server: &mut ServerSection, verb: Verb, args: &Args) -> Result<(), Refusal> {
    let GrantRollover { ca_cert, ra_cert } = &mut server.grant_rollover;
    // `no grant auto rollover` alone takes both back.
    let both = !args.has("ca-cert") && !args.has("ra-cert");
    for (word, granted) in [("ca-cert", ca_cert), ("ra-cert", ra_cert)] {
        if both || args.has(word) {
            *granted = verb == Verb::Set;
        }
    }
    Ok(())
}

fn issuer_name(server: &mut ServerSection, verb: Verb, args: &Args) -> Result<(), Refusal> {
    server.issuer_name = match verb {
        Verb::Set => Some(distinguished_name(args, "dn")?),
        _ => None,
    };
    Ok(())
}

fn lifetime(server: &mut ServerSection, verb: Verb, args: &Args) -> Result<(), Refusal> {
    let (typed, default) = if args.has("ca-certificate") {
        (&mut server.lifetime.ca_certificate, Lifetimes::default().ca_certificate)
    } else {
        (&mut server.lifetime.certificate, Lifetimes::default().certificate)
    };
    if verb != Verb::Set {
        *typed = default;
        return Ok(());
    }
    let number = |name| args.number(name).unwrap_or(0);
    let minutes = (number("days") * 24 + number("hours")) * 60 + number("minutes");
    if minutes == 0 {
        return Err(args.refuse("days", "a certificate must live for a minute at least"));
    }
    *typed = Lifetime::minutes(minutes);
    Ok(())
}

fn hash(server: &mut ServerSection, verb: Verb, args: &Args) -> Result<(), Refusal> {
    let typed = Hash::ALL.into_iter().find(|hash| verb == Verb::Set && args.has(hash.name()));
    let hash = typed.unwrap_or(Hash::Sha256);
    server.hash = hash;
    Ok(())
}

fn url(args: &Args) -> Result<String, Refusal> {
    let url = args.text("url");
    // RFC 5280, 4.2.1.13: an IA5String.
    let scheme = ["http://", "https://", "ldap://", "ftp://"].iter().any(|s| url.starts_with(s));
    if !scheme || !url.is_ascii() {
        return Err(args.refuse("url", "a distribution point is an http, https, ldap or ftp URL in ASCII"));
    }
    Ok(url.to_owned())
}

/// Days of overlap that `auto-rollover` alone means, as on IOS.
const DEFAULT_OVERLAP: u64 = 30;
