//! What a request of a trustpoint asks for.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use crate::config::distinguished_name;
use crate::config::grammar::{Args, Refusal};
use crate::config::line::{Line, Verb};
use crate::config::secret::Password;

use super::TrustpointSection;

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requested {
    /// `subject-name`, which reads as a name.
    pub subject_name: Option<String>,
    /// `fqdn`; the host's when absent.
    pub fqdn: Option<Fqdn>,
    /// `ip-address`; asked for when absent.
    pub ip_address: Option<RequestAddress>,
    /// `serial-number`: whether the subject has that of the host; asked for when absent.
    pub serial_number: Option<bool>,
    /// `subject-alt-name`: further DNS names.
    pub subject_alt_names: BTreeSet<String>,
    /// `usage`: what the certificate is for; `ike` when empty.
    pub usage: BTreeSet<CertificateUse>,
    /// `password`: the challenge password; asked for when absent.
    pub password: Option<Password>,
}

/// `fqdn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fqdn {
    /// No host name in requests.
    None,
    /// This one.
    Name(String),
}

/// `ip-address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestAddress {
    /// No address in requests, and no question about it.
    None,
    /// This one.
    Address(IpAddr),
    /// That of an interface of a router: kept as typed. There is none here, so that requests have no address.
    Interface(String),
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateUse {
    /// IKE.
    Ike,
    /// TLS clients.
    SslClient,
    /// TLS servers.
    SslServer,
}

impl CertificateUse {
    const ALL: [Self; 3] = [Self::Ike, Self::SslClient, Self::SslServer];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ike => "ike",
            Self::SslClient => "ssl-client",
            Self::SslServer => "ssl-server",
        }
    }
}

impl fmt::Display for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.usage.is_empty() {
            let words: Vec<_> = self.usage.iter().map(|usage| usage.word()).collect();
            writeln!(f, " usage {}", words.join(" "))?;
        }
        match self.serial_number {
            Some(true) => writeln!(f, " serial-number")?,
            Some(false) => writeln!(f, " serial-number none")?,
            None => {}
        }
        self.fqdn.iter().try_for_each(|fqdn| writeln!(f, " fqdn {fqdn}"))?;
        self.ip_address.iter().try_for_each(|address| writeln!(f, " ip-address {address}"))?;
        if let Some(password) = &self.password {
            let written = Password::written(Some(password));
            if !written.is_empty() {
                writeln!(f, "{written}")?;
            }
        }
        self.subject_name.iter().try_for_each(|name| writeln!(f, " subject-name {name}"))?;
        self.subject_alt_names.iter().try_for_each(|name| writeln!(f, " subject-alt-name {name}"))
    }
}

impl fmt::Display for Fqdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Name(name) => name,
        })
    }
}

impl fmt::Display for RequestAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Address(address) => address.fmt(f),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

pub(super) const LINES: &[Line<TrustpointSection>] = &[
    Line {
        words: "subject-name [<dn...>]",
        no: Some("subject-name"),
        about: "Names the subject of certificates; hostname=NAME of this host by default, or when no name follows",
        help: &[("subject-name", "Subject of the certificate"), ("<dn>", "As in CN=ca1, O=Example, C=US")],
        run: |trustpoint, verb, args| {
            trustpoint.request.subject_name = match (verb, args.get("dn")) {
                (Verb::Set, Some(_)) => Some(distinguished_name(args, "dn")?),
                _ => None,
            };
            Ok(())
        },
    },
    Line {
        words: "fqdn {none | <name>}",
        no: Some("fqdn"),
        about: "Puts this host name into requests instead of that of this host, or none",
        help: &[("fqdn", "Host name in requests"), ("none", "None"), ("<name>", "As in branch1.example.com")],
        run: |trustpoint, verb, args| {
            trustpoint.request.fqdn = match (verb, args.get("name")) {
                (Verb::Set, Some(_)) => Some(Fqdn::Name(host_name(args)?)),
                (Verb::Set, None) => Some(Fqdn::None),
                _ => None,
            };
            Ok(())
        },
    },
    Line {
        words: "ip-address {none | <address>}",
        no: Some("ip-address"),
        about: "Puts an address into requests, or none; `crypto pki enroll` does not ask for it then",
        help: &[
            ("ip-address", "Address in requests"),
            ("none", "None"),
            ("<address>", "IPv4 or IPv6 address; an interface is a router's, and stands for none"),
        ],
        run: ip_address,
    },
    Line {
        words: "serial-number [none]",
        no: Some("serial-number"),
        about: "Puts the serial number of this host into requests, or none; `crypto pki enroll` does not ask for \
                it then",
        help: &[("serial-number", "Serial number in requests"), ("none", "None")],
        run: |trustpoint, verb, args| {
            trustpoint.request.serial_number = (verb == Verb::Set).then(|| !args.has("none"));
            Ok(())
        },
    },
    Line {
        words: "subject-alt-name <name>",
        no: Some("subject-alt-name [<name>]"),
        about: "Puts a further DNS name into requests; several lines, several names",
        help: &[("subject-alt-name", "Further DNS name in requests"), ("<name>", "As in www.example.com")],
        run: |trustpoint, verb, args| {
            let names = &mut trustpoint.request.subject_alt_names;
            match (verb, args.get("name")) {
                (Verb::Set, _) => drop(names.insert(host_name(args)?)),
                (_, Some(name)) => drop(names.remove(name)),
                (_, None) => names.clear(),
            }
            if names.len() > MAX_NAMES {
                return Err(args.refuse("name", format!("at most {MAX_NAMES} names")));
            }
            Ok(())
        },
    },
    Line {
        words: "usage {ike [ssl-client] [ssl-server] | ssl-client [ike] [ssl-server] | ssl-server [ike] \
                [ssl-client]}",
        no: Some("usage"),
        about: "Says what the certificate is for, ike by default; ssl-client and ssl-server become extended key \
                usages of the request",
        help: &[
            ("usage", "What the certificate is for"),
            ("ike", "IKE"),
            ("ssl-client", "TLS clients"),
            ("ssl-server", "TLS servers"),
        ],
        run: |trustpoint, verb, args| {
            let typed = |usage: &CertificateUse| verb == Verb::Set && args.has(usage.word());
            trustpoint.request.usage = CertificateUse::ALL.into_iter().filter(typed).collect();
            Ok(())
        },
    },
    Line {
        words: "password {0 <password> | 6 <sealed> | 7 <hidden> | <password>}",
        no: Some("password"),
        about: "Sends this challenge password with requests; `crypto pki enroll` does not ask for it then",
        help: &[("password", "Challenge password of requests")],
        run: |trustpoint, verb, args| {
            trustpoint.request.password = match verb {
                Verb::Set => Password::of(args)?,
                _ => None,
            };
            Ok(())
        },
    },
];

pub(super) const ALSO: &[Line<TrustpointSection>] = &[Line {
    words: "ip address <address>",
    no: Some("ip address"),
    about: "`ip-address`, as it is printed in places",
    help: &[],
    run: ip_address,
}];

fn ip_address(trustpoint: &mut TrustpointSection, verb: Verb, args: &Args) -> Result<(), Refusal> {
    trustpoint.request.ip_address = match (verb, args.get("address")) {
        (Verb::Set, Some(typed)) => Some(match typed.parse() {
            Ok(address) => RequestAddress::Address(address),
            Err(_) if is_interface(typed) => RequestAddress::Interface(typed.to_owned()),
            Err(_) => return Err(args.refuse("address", "this is not an IPv4 or IPv6 address")),
        }),
        (Verb::Set, None) => Some(RequestAddress::None),
        _ => None,
    };
    Ok(())
}

/// A name as of an interface: `ethernet0`, `FastEthernet0/0`, `ethernet-0`.
fn is_interface(typed: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | ':' | '_');
    let numbered = typed.ends_with(|c: char| c.is_ascii_digit());
    typed.len() <= 64
        && numbered
        && typed.starts_with(|c: char| c.is_ascii_alphabetic())
        && typed.chars().all(good)
}

fn host_name(args: &Args) -> Result<String, Refusal> {
    let name = args.text("name");
    // RFC 6125, 6.4.3: a whole first label may be `*`.
    let parts = name.strip_prefix("*.").unwrap_or(name);
    if name.len() > 253 || !parts.split('.').all(crate::config::global::is_host_label) {
        let reason = "a host name has parts of letters, digits and hyphens, at most 63 each";
        return Err(args.refuse("name", reason));
    }
    Ok(name.to_owned())
}

/// Each makes every request longer.
const MAX_NAMES: usize = 32;
