//! `crypto pki trustpoint`: which key a server of the same name uses, and where it is.

use std::fmt;
use std::sync::LazyLock;

use crate::pki::Name;

use super::grammar::{Args, Refusal, Table};
use super::line::{Later, Line, Lines, Verb};
use super::{device, label};

/// A section `crypto pki trustpoint LABEL`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustpointSection {
    /// The key pair.
    pub key: Option<KeyPair>,
    /// The token of a key to be generated, without the colon.
    pub on: Option<String>,
    /// `enrollment selfsigned`: its certificate is made here, for HTTPS.
    pub selfsigned: bool,
    /// `subject-name`, as typed.
    pub subject_name: Option<String>,
    /// `enrollment url`, kept for the client side.
    pub enrollment_url: Option<String>,
    /// `revocation-check`, its methods as typed, kept for the client side.
    pub revocation_check: Option<String>,
}

/// The key pair of a trustpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPair {
    /// `rsakeypair`.
    Rsa {
        /// Name of the key.
        label: String,
        /// Bits of the modulus when it has to be generated.
        bits: Option<u32>,
        /// Bits of a separate encryption key.
        encryption_bits: Option<u32>,
    },
    /// `eckeypair`.
    Ec {
        /// Name of the key.
        label: String,
    },
}

impl KeyPair {
    /// Name of the key.
    pub fn label(&self) -> &str {
        match self {
            Self::Rsa { label, .. } | Self::Ec { label } => label,
        }
    }

    /// The smallest RSA modulus asked for.
    pub fn least_bits(&self) -> Option<u32> {
        match self {
            Self::Rsa { bits, encryption_bits, .. } => [*bits, *encryption_bits].into_iter().flatten().min(),
            Self::Ec { .. } => None,
        }
    }
}

impl fmt::Display for TrustpointSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.selfsigned {
            writeln!(f, " enrollment selfsigned")?;
        }
        self.enrollment_url.iter().try_for_each(|url| writeln!(f, " enrollment url {url}"))?;
        self.subject_name.iter().try_for_each(|name| writeln!(f, " subject-name {name}"))?;
        self.revocation_check.iter().try_for_each(|methods| writeln!(f, " revocation-check {methods}"))?;
        match &self.key {
            Some(KeyPair::Rsa { label, bits, encryption_bits }) => {
                write!(f, " rsakeypair {label}")?;
                [bits, encryption_bits].into_iter().flatten().try_for_each(|bits| write!(f, " {bits}"))?;
                writeln!(f)?;
            }
            Some(KeyPair::Ec { label }) => writeln!(f, " eckeypair {label}")?,
            None => {}
        }
        self.on.iter().try_for_each(|device| writeln!(f, " on {device}:"))
    }
}

/// Its lines.
pub static LINES: LazyLock<Lines<TrustpointSection>> = LazyLock::new(|| Lines::new(SHOWN, ALSO));

/// Lines of IOS that this version does not have.
pub static LATER: LazyLock<Table<Later>> = LazyLock::new(|| Table::new(LATER_LINES));

pub(super) const SELFSIGNED: &str = "enrollment selfsigned";
pub(super) const RSA_KEY_PAIR: &str = "rsakeypair <label> [<bits:1024-8192> [<enc-bits:1024-8192>]]";
pub(super) const RSA_KEY_PAIR_ALSO: &str =
    "{rsa-key | rsa keypair} <label> [<bits:1024-8192> [<enc-bits:1024-8192>]]";

const SHOWN: &[Line<TrustpointSection>] = &[
    Line {
        words: RSA_KEY_PAIR,
        no: Some("rsakeypair"),
        about: "Uses this RSA key, generated with so many bits when it is missing",
        help: &[
            ("rsakeypair", "RSA key pair to use"),
            ("<bits>", "Bits of the modulus"),
            ("<enc-bits>", "Bits of a separate encryption key"),
        ],
        run: rsakeypair,
    },
    Line {
        words: "eckeypair <label>",
        no: Some("eckeypair"),
        about: "Uses this EC key",
        help: &[("eckeypair", "EC key pair to use")],
        run: |trustpoint, verb, args| {
            trustpoint.key = match verb {
                Verb::Set => Some(KeyPair::Ec { label: label(args, "label")? }),
                _ => trustpoint.key.take().filter(|key| matches!(key, KeyPair::Rsa { .. })),
            };
            Ok(())
        },
    },
    Line {
        words: "on <device>",
        no: Some("on"),
        about: "Generates the key on this token",
        help: &[],
        run: |trustpoint, verb, args| {
            trustpoint.on = match verb {
                Verb::Set => Some(device(args, "device")?),
                _ => None,
            };
            Ok(())
        },
    },
    Line {
        words: SELFSIGNED,
        no: Some("enrollment selfsigned"),
        about: "Has the certificate with which HTTPS is served: self-signed, its key on a token, made when it is \
                missing",
        help: &[("enrollment", "How to enrol"), ("selfsigned", "By itself, for `ip http secure-server`")],
        run: |trustpoint, verb, _| {
            trustpoint.selfsigned = verb == Verb::Set;
            Ok(())
        },
    },
    Line {
        words: "subject-name <dn...>",
        no: Some("subject-name"),
        about: "Names the subject of a self-signed certificate; hostname=NAME of this host by default",
        help: &[("subject-name", "Subject of the certificate"), ("<dn>", "As in CN=ca1, O=Example, C=US")],
        run: |trustpoint, verb, args| {
            trustpoint.subject_name = match verb {
                Verb::Set => {
                    let name = args.text("dn");
                    Name::parse(name).map_err(|error| args.refuse("dn", error.to_string()))?;
                    Some(name.to_owned())
                }
                _ => None,
            };
            Ok(())
        },
    },
    Line {
        words: "enrollment url <url>",
        no: Some("enrollment url"),
        about: "Kept for enrolment with another CA, which this version does not do",
        help: &[("enrollment", "How to enrol"), ("url", "By SCEP"), ("<url>", "As in http://192.0.2.1")],
        run: |trustpoint, verb, args| {
            trustpoint.enrollment_url = args.get("url").filter(|_| verb == Verb::Set).map(str::to_owned);
            Ok(())
        },
    },
    Line {
        words: "revocation-check {crl [ocsp] [none] | ocsp [crl] [none] | none}",
        no: Some("revocation-check"),
        about: "Kept for checking peers' certificates, which this version does not do",
        help: &[
            ("revocation-check", "How to find out about revocation, in this order"),
            ("crl", "By CRL"),
            ("ocsp", "By OCSP"),
            ("none", "Do without"),
        ],
        run: |trustpoint, verb, args| {
            trustpoint.revocation_check =
                (verb == Verb::Set).then(|| args.words().skip(1).collect::<Vec<_>>().join(" "));
            Ok(())
        },
    },
];

fn rsakeypair(trustpoint: &mut TrustpointSection, verb: Verb, args: &Args) -> Result<(), Refusal> {
    trustpoint.key = match verb {
        Verb::Set => {
            let bits = |name| args.number(name).and_then(|bits| u32::try_from(bits).ok());
            Some(KeyPair::Rsa {
                label: label(args, "label")?,
                bits: bits("bits"),
                encryption_bits: bits("enc-bits"),
            })
        }
        _ => trustpoint.key.take().filter(|key| matches!(key, KeyPair::Ec { .. })),
    };
    Ok(())
}

const ALSO: &[Line<TrustpointSection>] = &[Line {
    words: RSA_KEY_PAIR_ALSO,
    no: Some("{rsa-key | rsa keypair}"),
    about: "`rsakeypair`, as it is printed in places",
    help: &[],
    run: rsakeypair,
}];

const LATER_LINES: &[Later] = &[
    Later("authorization {list | username | xauth} [<rest...>]"),
    Later("auto-enroll [<percent>] [regenerate]"),
    Later("auto-trigger"),
    Later("chain-validation [<rest...>]"),
    Later("crl {query | best-effort | optional | cache} [<rest...>]"),
    Later("enrollment [mode ra] [retry period <minutes>] [retry count <number>] [url <url> [pem]]"),
    Later("enrollment {command | credential | http-proxy | profile | terminal} [<rest...>]"),
    Later("fingerprint <rest...>"),
    Later("fqdn <name>"),
    Later("hash {md5 | sha1 | sha256 | sha384 | sha512}"),
    Later("ip-address <address>"),
    Later("match certificate <rest...>"),
    Later("ocsp <rest...>"),
    Later("password <rest...>"),
    Later("primary"),
    Later("query <rest...>"),
    Later("regenerate"),
    Later("root <rest...>"),
    Later("serial-number [none]"),
    Later("source interface <rest...>"),
    Later("storage <device>"),
    Later("subject-alt-name <name>"),
    Later("usage <rest...>"),
    Later("vrf <name>"),
];
