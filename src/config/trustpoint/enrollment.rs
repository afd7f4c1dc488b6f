//! `enrollment …` and `auto-enroll`: how certificates are got.

use std::fmt;
use std::time::Duration;

use crate::config::grammar::{Args, Refusal};
use crate::config::line::{Line, Verb};
use crate::config::{label, url};

use super::TrustpointSection;

/// `enrollment …` of a trustpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrollment {
    /// How certificates are got; of several lines the last one counts.
    pub method: Option<EnrollmentMethod>,
    /// `enrollment mode ra`: an RA stands before the CA, also where nothing marks its certificate as that of one.
    /// Those that are marked are found out in any case.
    pub registrar: bool,
    /// `enrollment retry period`: minutes between two tries.
    pub retry_period: u32,
    /// `enrollment retry count`: how often a request is sent again.
    pub retry_count: u32,
    /// `enrollment http-proxy`: HTTP goes through it.
    pub proxy: Option<Proxy>,
    /// `enrollment credential`: requests are signed with the certificate of this trustpoint.
    pub credential: Option<String>,
}

/// How certificates are got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrollmentMethod {
    /// `enrollment url`.
    Url {
        /// Where the CA is, or the files are.
        url: EnrollmentUrl,
        /// Whether requests in files have PEM boundaries.
        pem: bool,
    },
    /// `enrollment terminal`: requests are shown, certificates are pasted.
    Terminal {
        /// Whether requests have PEM boundaries.
        pem: bool,
    },
    /// `enrollment selfsigned`: the certificate is made here, for HTTPS.
    SelfSigned,
    /// `enrollment profile`: as the profile of this name says.
    Profile(String),
}

/// What `enrollment url` means, by its scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrollmentUrl {
    /// `http://` and `https://`: a CA that speaks SCEP.
    Scep(String),
    /// Everything else: files beside each other, which begin with this URL.
    Files(String),
}

/// `enrollment http-proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// `auto-enroll`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AutoEnroll {
    /// Renews after so many percent of the certificate's life, 10 to 100; shortly before its end when absent.
    pub percent: Option<u8>,
    /// Whether each renewal takes a new key.
    pub regenerate: bool,
}

impl Enrollment {
    /// Time between two tries.
    pub fn retry_after(&self) -> Duration {
        Duration::from_secs(60 * u64::from(self.retry_period))
    }

    /// Where SCEP is spoken, when it is.
    pub fn scep_url(&self) -> Option<&str> {
        match &self.method {
            Some(EnrollmentMethod::Url { url: EnrollmentUrl::Scep(url), .. }) => Some(url),
            _ => None,
        }
    }

    /// Whether an operator has to carry requests and certificates: by paste or as files.
    pub fn is_by_hand(&self) -> bool {
        matches!(
            &self.method,
            Some(
                EnrollmentMethod::Terminal { .. }
                    | EnrollmentMethod::Url { url: EnrollmentUrl::Files(_), .. }
            )
        )
    }
}

impl EnrollmentUrl {
    /// As typed.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Scep(url) | Self::Files(url) => url,
        }
    }
}

impl Default for Enrollment {
    // As IOS has it: a minute, ten times.
    fn default() -> Self {
        Self {
            method: None,
            registrar: false,
            retry_period: 1,
            retry_count: 10,
            proxy: None,
            credential: None,
        }
    }
}

impl fmt::Display for Enrollment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        if self.retry_count != default.retry_count {
            writeln!(f, " enrollment retry count {}", self.retry_count)?;
        }
        if self.retry_period != default.retry_period {
            writeln!(f, " enrollment retry period {}", self.retry_period)?;
        }
        if self.registrar {
            writeln!(f, " enrollment mode ra")?;
        }
        self.method.iter().try_for_each(|method| writeln!(f, " enrollment {method}"))?;
        self.credential.iter().try_for_each(|label| writeln!(f, " enrollment credential {label}"))?;
        match &self.proxy {
            Some(Proxy { host, port }) => writeln!(f, " enrollment http-proxy {host} {port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for EnrollmentMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pem = |pem: &bool| if *pem { " pem" } else { "" };
        match self {
            Self::Url { url, pem: boundaries } => write!(f, "url {}{}", url.as_str(), pem(boundaries)),
            Self::Terminal { pem: boundaries } => write!(f, "terminal{}", pem(boundaries)),
            Self::SelfSigned => f.write_str("selfsigned"),
            Self::Profile(label) => write!(f, "profile {label}"),
        }
    }
}

impl fmt::Display for AutoEnroll {
    /// Its line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("auto-enroll")?;
        self.percent.iter().try_for_each(|percent| write!(f, " {percent}"))?;
        f.write_str(if self.regenerate { " regenerate" } else { "" })
    }
}

pub(in crate::config) const SELFSIGNED: &str = "enrollment selfsigned";
pub(in crate::config) const AUTO_ENROLL: &str = "auto-enroll [<percent:10-100>] [regenerate]";

pub(super) const LINES: &[Line<TrustpointSection>] = &[
    Line {
        words: "enrollment [mode ra] [retry period <minutes:1-60>] [retry count <times:1-100>] url <url> [pem]",
        no: Some("enrollment url"),
        about: "Enrols with the CA at this URL: by SCEP when it is http or https, else with files beside it, \
                which an operator carries: .ca, .req, .crt, or -sign and -encr before them",
        help: URL_HELP,
        run: enrollment_url,
    },
    Line {
        words: "enrollment mode ra",
        no: Some("enrollment mode [ra]"),
        about: "Says that an RA stands before the CA. Needed where nothing marks the certificate of the RA as one; then \
                every certificate that comes with that of the CA and is from it counts as an RA's",
        help: &[("enrollment", ENROLLMENT), ("mode", "What stands before the CA"), ("ra", "An RA")],
        run: |trustpoint, verb, _| {
            trustpoint.enrollment.registrar = verb == Verb::Set;
            Ok(())
        },
    },
    Line {
        words: "enrollment retry {period <minutes:1-60> | count <times:1-100>}",
        no: Some("enrollment retry {period | count}"),
        about: "Says after how many minutes a request is sent again, 1 by default, and how often, 10 by default",
        help: &[
            ("enrollment", ENROLLMENT),
            ("retry", "What is done while there is no certificate"),
            ("period", "Time between two tries"),
            ("count", "How often to try again"),
            ("<minutes>", "Minutes"),
            ("<times>", "Times"),
        ],
        run: |trustpoint, verb, args| {
            let typed = |name| args.number(name).filter(|_| verb == Verb::Set);
            retry(&mut trustpoint.enrollment, args, typed("minutes"), typed("times"));
            Ok(())
        },
    },
    Line {
        words: "enrollment terminal [pem]",
        no: Some("enrollment terminal"),
        about: "Enrols by cut and paste: requests are shown, certificates are pasted",
        help: &[
            ("enrollment", ENROLLMENT),
            ("terminal", "By cut and paste"),
            ("pem", "Requests with PEM boundaries"),
        ],
        run: |trustpoint, verb, args| {
            let method = EnrollmentMethod::Terminal { pem: args.has("pem") };
            set(trustpoint, verb, method, |known| matches!(known, EnrollmentMethod::Terminal { .. }));
            Ok(())
        },
    },
    Line {
        words: SELFSIGNED,
        no: Some("enrollment selfsigned"),
        about: "Has the certificate with which HTTPS is served: self-signed, its key on a token, made when it is \
                missing",
        help: &[("enrollment", ENROLLMENT), ("selfsigned", "By itself, for `ip http secure-server`")],
        run: |trustpoint, verb, _| {
            let selfsigned = |known: &EnrollmentMethod| *known == EnrollmentMethod::SelfSigned;
            set(trustpoint, verb, EnrollmentMethod::SelfSigned, selfsigned);
            Ok(())
        },
    },
    Line {
        words: "enrollment profile <label>",
        no: Some("enrollment profile"),
        about: "Enrols as a `crypto pki profile enrollment` says",
        help: &[("enrollment", ENROLLMENT), ("profile", "As a profile says")],
        run: |trustpoint, verb, args| {
            let name = if verb == Verb::Set { label(args, "label")? } else { String::new() };
            let profile = |known: &EnrollmentMethod| matches!(known, EnrollmentMethod::Profile(_));
            set(trustpoint, verb, EnrollmentMethod::Profile(name), profile);
            Ok(())
        },
    },
    Line {
        words: "enrollment http-proxy <host> <port:1-65535>",
        no: Some("enrollment http-proxy"),
        about: "Reaches the CA through an HTTP proxy",
        help: &[
            ("enrollment", ENROLLMENT),
            ("http-proxy", "Through a proxy"),
            ("<host>", "Its name or address"),
            ("<port>", "Its port"),
        ],
        run: |trustpoint, verb, args| {
            trustpoint.enrollment.proxy = match verb {
                Verb::Set => Some(proxy(args)?),
                _ => None,
            };
            Ok(())
        },
    },
    Line {
        words: "enrollment credential <label>",
        no: Some("enrollment credential"),
        about: "Signs requests with the certificate that another trustpoint has",
        help: &[("enrollment", ENROLLMENT), ("credential", "With a certificate of another trustpoint")],
        run: |trustpoint, verb, args| {
            trustpoint.enrollment.credential = match verb {
                Verb::Set => Some(label(args, "label")?),
                _ => None,
            };
            Ok(())
        },
    },
    Line {
        words: AUTO_ENROLL,
        no: Some("auto-enroll"),
        about: "Asks for a certificate, and for the next one after so many percent of its life, without the \
                operator; the CA must be authenticated",
        help: &[
            ("auto-enroll", "Enrol without the operator"),
            ("<percent>", "Percent of the certificate's life"),
            ("regenerate", "With a new key each time"),
        ],
        run: |trustpoint, verb, args| {
            let percent = args.number("percent").and_then(|percent| u8::try_from(percent).ok());
            let auto = AutoEnroll { percent, regenerate: args.has("regenerate") };
            trustpoint.auto_enroll = (verb == Verb::Set).then_some(auto);
            Ok(())
        },
    },
];

pub(super) const ALSO: &[Line<TrustpointSection>] = &[Line {
    words: "enrollment command [<command...>]",
    no: Some("enrollment command"),
    about: "A line of `crypto pki profile enrollment`, as it is printed in places",
    help: &[],
    run: |_, verb, args| match verb {
        Verb::Set => Err(args.refuse("command", "this line belongs to `crypto pki profile enrollment`")),
        _ => Ok(()),
    },
}];

fn enrollment_url(trustpoint: &mut TrustpointSection, verb: Verb, args: &Args) -> Result<(), Refusal> {
    let is_url = |known: &EnrollmentMethod| matches!(known, EnrollmentMethod::Url { .. });
    if verb != Verb::Set {
        trustpoint.enrollment.method = trustpoint.enrollment.method.take().filter(|known| !is_url(known));
        return Ok(());
    }
    let typed = url::file(args, "url")?;
    let scheme = typed.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let url = match scheme.as_deref() {
        Some("http" | "https") => EnrollmentUrl::Scep(typed),
        _ => EnrollmentUrl::Files(typed),
    };
    let enrollment = &mut trustpoint.enrollment;
    enrollment.method = Some(EnrollmentMethod::Url { url, pem: args.has("pem") });
    enrollment.registrar |= args.has("mode");
    if args.has("retry") {
        let (minutes, times) = (args.number("minutes"), args.number("times"));
        retry(enrollment, args, minutes, times);
    }
    Ok(())
}

/// Sets those that the line names; to their defaults where it has no number.
fn retry(enrollment: &mut Enrollment, args: &Args, minutes: Option<u64>, times: Option<u64>) {
    let default = Enrollment::default();
    let number = |typed: Option<u64>, default| typed.and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
    if args.has("period") {
        enrollment.retry_period = number(minutes, default.retry_period);
    }
    if args.has("count") {
        enrollment.retry_count = number(times, default.retry_count);
    }
}

/// Sets the method; takes it back when it is one that `same` knows.
fn set(
    trustpoint: &mut TrustpointSection,
    verb: Verb,
    method: EnrollmentMethod,
    same: fn(&EnrollmentMethod) -> bool,
) {
    let known = &mut trustpoint.enrollment.method;
    *known = match verb {
        Verb::Set => Some(method),
        Verb::No | Verb::Default => known.take().filter(|known| !same(known)),
    };
}

fn proxy(args: &Args) -> Result<Proxy, Refusal> {
    let host = args.text("host");
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if host.len() > 253 || !host.chars().all(good) {
        return Err(args.refuse("host", "a proxy is a host name or an address"));
    }
    // The grammar knows the range.
    let port = args.number("port").and_then(|port| u16::try_from(port).ok()).unwrap_or(80);
    Ok(Proxy { host: host.to_owned(), port })
}

const ENROLLMENT: &str = "How to enrol";

const URL_HELP: &[(&str, &str)] = &[
    ("enrollment", ENROLLMENT),
    ("mode", "What stands before the CA"),
    ("ra", "An RA"),
    ("retry", "What is done while there is no certificate"),
    ("period", "Time between two tries"),
    ("count", "How often to try again"),
    ("<minutes>", "Minutes"),
    ("<times>", "Times"),
    ("url", "With a CA, or with files"),
    ("<url>", "As in http://192.0.2.1, tftp://192.0.2.1/name or nvram:name"),
    ("pem", "Requests with PEM boundaries"),
];
