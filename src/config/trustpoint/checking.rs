//! How certificates of peers are checked: revocation, and maps that match them.

use std::fmt;

use crate::config::check_label;
use crate::config::grammar::{Args, Refusal};
use crate::config::line::{Line, Verb};

use super::TrustpointSection;

/// How peers' certificates are checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checking {
    /// `revocation-check`, in order; [`Checking::revocation`] knows the default.
    pub typed: Vec<RevocationMethod>,
    /// `crl query`: the LDAP server that has the CRL when certificates do not say where it is.
    pub crl_query: Option<String>,
    /// `ocsp url`: the responder, whatever certificates say.
    pub ocsp_url: Option<String>,
    /// `ocsp disable-nonce`: requests have no nonce, for responders that give prepared answers.
    pub ocsp_without_nonce: bool,
    /// `match certificate`, in order: what is done otherwise with certificates that a map matches.
    pub matches: Vec<MatchMap>,
}

/// A way to find out whether a certificate is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationMethod {
    /// By the CRL.
    Crl,
    /// By OCSP.
    Ocsp,
    /// Not at all: what could not be found out passes.
    None,
}

/// `match certificate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchMap {
    /// The `crypto pki certificate map`.
    pub map: String,
    /// `allow expired-certificate`: what it matches passes after its end.
    pub allow_expired: bool,
    /// `skip revocation-check`: what it matches passes unasked.
    pub skip_revocation: bool,
}

impl Checking {
    /// The ways to find out about revocation, in order: the CRL alone unless others were typed.
    pub fn revocation(&self) -> &[RevocationMethod] {
        if self.typed.is_empty() { &[RevocationMethod::Crl] } else { &self.typed }
    }
}

impl RevocationMethod {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Crl => "crl",
            Self::Ocsp => "ocsp",
            Self::None => "none",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Crl, Self::Ocsp, Self::None].into_iter().find(|method| method.word() == word)
    }
}

impl fmt::Display for Checking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.typed.is_empty() {
            let words: Vec<_> = self.typed.iter().map(|method| method.word()).collect();
            writeln!(f, " revocation-check {}", words.join(" "))?;
        }
        self.crl_query.iter().try_for_each(|url| writeln!(f, " crl query {url}"))?;
        self.ocsp_url.iter().try_for_each(|url| writeln!(f, " ocsp url {url}"))?;
        if self.ocsp_without_nonce {
            writeln!(f, " ocsp disable-nonce")?;
        }
        for MatchMap { map, allow_expired, skip_revocation } in &self.matches {
            let options =
                [("allow expired-certificate", *allow_expired), ("skip revocation-check", *skip_revocation)];
            write!(f, " match certificate {map}")?;
            let mut typed = options.into_iter().filter(|(_, typed)| *typed);
            typed.try_for_each(|(words, _)| write!(f, " {words}"))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

pub(super) const LINES: &[Line<TrustpointSection>] = &[
    Line {
        words: "revocation-check {crl [ocsp] [none] | ocsp [crl] [none] | none}",
        no: Some("revocation-check"),
        about: "Says how to find out whether a certificate is revoked, crl by default; the next way is gone when \
                one fails, and `none` lets pass what could not be found out",
        help: &[
            ("revocation-check", "How to find out about revocation, in this order"),
            ("crl", "By CRL"),
            ("ocsp", "By OCSP"),
            ("none", "Do without"),
        ],
        run: |trustpoint, verb, args| {
            let typed = args.words().filter(|_| verb == Verb::Set).filter_map(RevocationMethod::of).collect();
            trustpoint.checking.typed = typed;
            Ok(())
        },
    },
    Line {
        words: "crl query <url>",
        no: Some("crl query"),
        about: "Asks this LDAP server for the CRL when certificates do not say where it is",
        help: &[
            ("crl", "CRL"),
            ("query", "Where to ask for it"),
            ("<url>", "As in ldap://ldap.example.com:389"),
        ],
        run: crl_query,
    },
    Line {
        words: "ocsp url <url>",
        no: Some("ocsp url"),
        about: "Asks this OCSP responder, whatever certificates say",
        help: &[("ocsp", "OCSP"), ("url", "Where to ask"), ("<url>", "As in http://ocsp.example.com")],
        run: |trustpoint, verb, args| {
            trustpoint.checking.ocsp_url = match verb {
                Verb::Set => Some(server(args, &["http://", "https://"], "a responder has an http URL")?),
                _ => None,
            };
            Ok(())
        },
    },
    Line {
        words: "ocsp disable-nonce",
        no: Some("ocsp disable-nonce"),
        about: "Asks without a nonce, for responders that give prepared answers",
        help: &[("ocsp", "OCSP"), ("disable-nonce", "Ask without a nonce")],
        run: |trustpoint, verb, _| {
            trustpoint.checking.ocsp_without_nonce = verb == Verb::Set;
            Ok(())
        },
    },
    Line {
        words: "match certificate <map> [allow expired-certificate] [skip revocation-check]",
        no: Some("match certificate <map>"),
        about: "Takes only certificates that this map, or that of another such line, matches; a line with `allow` or \
                `skip` turns nobody away and only excuses those that its map matches",
        help: &[
            ("match", "Which certificates are taken"),
            ("certificate", "Those that a map matches"),
            ("<map>", "Name of a `crypto pki certificate map`"),
            ("allow", "Allow what is refused else"),
            ("expired-certificate", "Certificates after their end"),
            ("skip", "Leave out"),
            ("revocation-check", "Whether it is revoked"),
        ],
        run: match_certificate,
    },
];

pub(super) const ALSO: &[Line<TrustpointSection>] = &[
    Line {
        words: "crl {best-effort | optional}",
        no: Some("crl {best-effort | optional}"),
        about: "`revocation-check crl none` and `revocation-check none`, as older releases have them",
        help: &[],
        run: |trustpoint, verb, args| {
            let optional = args.has("optional");
            trustpoint.checking.typed = match verb {
                Verb::Set if optional => vec![RevocationMethod::None],
                Verb::Set => vec![RevocationMethod::Crl, RevocationMethod::None],
                _ => Vec::new(),
            };
            Ok(())
        },
    },
    Line {
        words: "query url <url>",
        no: Some("query url"),
        about: "`crl query`, as older releases have it",
        help: &[],
        run: crl_query,
    },
];

fn crl_query(trustpoint: &mut TrustpointSection, verb: Verb, args: &Args) -> Result<(), Refusal> {
    trustpoint.checking.crl_query = match verb {
        Verb::Set => Some(server(args, &["ldap://"], "a CRL is queried at ldap://HOST[:PORT]")?),
        _ => None,
    };
    Ok(())
}

/// A URL of one of these schemes, with a host.
fn server(args: &Args, schemes: &[&str], reason: &str) -> Result<String, Refusal> {
    let typed = args.text("url");
    let parsed = url::Url::parse(typed).ok().filter(|url| url.has_host() && url.username().is_empty());
    if parsed.is_none() || !typed.is_ascii() || !schemes.iter().any(|scheme| typed.starts_with(scheme)) {
        return Err(args.refuse("url", reason));
    }
    Ok(typed.to_owned())
}

fn match_certificate(trustpoint: &mut TrustpointSection, verb: Verb, args: &Args) -> Result<(), Refusal> {
    let name = args.text("map");
    let matches = &mut trustpoint.checking.matches;
    if verb != Verb::Set {
        matches.retain(|known| known.map != name);
        return Ok(());
    }
    check_label(name).map_err(|reason| args.refuse("map", reason))?;
    let typed = MatchMap {
        map: name.to_owned(),
        allow_expired: args.has("allow"),
        skip_revocation: args.has("skip"),
    };
    match matches.iter_mut().find(|known| known.map == name) {
        Some(known) => *known = typed,
        None => matches.push(typed),
    }
    Ok(())
}
