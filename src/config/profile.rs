//! `crypto pki profile enrollment`: how a CA that speaks no SCEP is talked to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use super::grammar::{Args, Refusal};
use super::line::{Line, Lines, Verb};
use super::{label, url};

/// A section `crypto pki profile enrollment LABEL`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileSection {
    /// `authentication …`: how the CA certificate is got.
    pub authentication: ProfileStep,
    /// `enrollment …`: how the first certificate is got.
    pub enrollment: ProfileStep,
    /// `reenrollment …`: how the next ones are got; as the first where nothing is typed.
    pub reenrollment: ProfileStep,
    /// `parameter`, by number: what `$P1` and so on stand for.
    pub parameters: BTreeMap<u8, Parameter>,
    /// `enrollment credential`: requests are signed with the certificate of this trustpoint.
    pub credential: Option<String>,
}

/// One of the tasks of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileStep {
    /// How the CA is reached.
    pub way: Option<ProfileWay>,
    /// `command`: what is sent by HTTP, as typed: `GET /certs/cacert.der`, `POST reqtype=PKCS10&CertReq=$REQ`.
    pub command: Option<String>,
}

/// How the CA is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileWay {
    /// `url`: by HTTP, or with files.
    Url(String),
    /// `terminal`: by cut and paste.
    Terminal {
        /// Whether requests have PEM boundaries.
        pem: bool,
    },
}

/// `parameter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// `value`: this text.
    Value(String),
    /// `prompt`: what is answered to this question.
    Prompt(String),
}

impl ProfileSection {
    /// How the next certificates are got.
    pub fn again(&self) -> ProfileStep {
        ProfileStep {
            way: self.reenrollment.way.clone().or_else(|| self.enrollment.way.clone()),
            command: self.reenrollment.command.clone().or_else(|| self.enrollment.command.clone()),
        }
    }

    /// Whether certificates come by cut and paste.
    pub const fn is_by_hand(&self) -> bool {
        matches!(self.enrollment.way, Some(ProfileWay::Terminal { .. }))
    }
}

impl ProfileStep {
    fn write(&self, f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
        match &self.way {
            Some(ProfileWay::Url(url)) => writeln!(f, " {word} url {url}")?,
            Some(ProfileWay::Terminal { pem: false }) => writeln!(f, " {word} terminal")?,
            Some(ProfileWay::Terminal { pem: true }) => writeln!(f, " {word} terminal pem")?,
            None => {}
        }
        self.command.iter().try_for_each(|command| writeln!(f, " {word} command {command}"))
    }
}

impl fmt::Display for ProfileSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.authentication.write(f, "authentication")?;
        self.enrollment.write(f, "enrollment")?;
        self.credential.iter().try_for_each(|label| writeln!(f, " enrollment credential {label}"))?;
        self.reenrollment.write(f, "reenrollment")?;
        self.parameters.iter().try_for_each(|(number, parameter)| match parameter {
            Parameter::Value(value) => writeln!(f, " parameter {number} value {value}"),
            Parameter::Prompt(prompt) => writeln!(f, " parameter {number} prompt {prompt}"),
        })
    }
}

/// Its lines.
pub static LINES: LazyLock<Lines<ProfileSection>> = LazyLock::new(|| Lines::new(SHOWN, []));

pub(super) const CREDENTIAL: &str = "enrollment credential <label>";
pub(super) const TERMINAL: &str = "{authentication | enrollment | reenrollment} terminal [pem]";

const SHOWN: &[Line<ProfileSection>] = &[
    Line {
        words: "{authentication | enrollment | reenrollment} url <url>",
        no: Some("{authentication | enrollment | reenrollment} url"),
        about: "Reaches the CA by HTTP, or reads and writes files; the file .ca, .req or .crt beside the URL",
        help: &[
            ("authentication", "The CA certificate"),
            ("enrollment", "The first certificate"),
            ("reenrollment", "The next certificates"),
            ("url", "Where the CA is"),
            ("<url>", "As in http://192.0.2.1:81 or tftp://192.0.2.1/name"),
        ],
        run: |profile, verb, args| {
            let url = match verb {
                Verb::Set => Some(ProfileWay::Url(url::file(args, "url")?)),
                _ => None,
            };
            let step = step(profile, args);
            step.way = url.or_else(|| step.way.take().filter(|way| !matches!(way, ProfileWay::Url(_))));
            Ok(())
        },
    },
    Line {
        words: TERMINAL,
        no: Some("{authentication | enrollment | reenrollment} terminal"),
        about: "Reaches the CA by cut and paste",
        help: &[
            ("authentication", "The CA certificate"),
            ("enrollment", "The first certificate"),
            ("reenrollment", "The next certificates"),
            ("terminal", "By cut and paste"),
            ("pem", "Requests with PEM boundaries"),
        ],
        run: |profile, verb, args| {
            let step = step(profile, args);
            step.way = match verb {
                Verb::Set => Some(ProfileWay::Terminal { pem: args.has("pem") }),
                _ => step.way.take().filter(|way| !matches!(way, ProfileWay::Terminal { .. })),
            };
            Ok(())
        },
    },
    Line {
        words: "{authentication | enrollment | reenrollment} command <command...>",
        no: Some("{authentication | enrollment | reenrollment} command"),
        about: "Says what is sent by HTTP: a method, a path when it is not that of the URL, and for POST what is \
                posted. $REQ is the request, $FQDN the name of this host, $P1 to $P8 are the parameters",
        help: &[
            ("authentication", "The CA certificate"),
            ("enrollment", "The first certificate"),
            ("reenrollment", "The next certificates"),
            ("command", "What is sent by HTTP"),
            ("<command>", "As in GET /certs/cacert.der or POST reqtype=PKCS10&CertReq=$REQ"),
        ],
        run: command,
    },
    Line {
        words: CREDENTIAL,
        no: Some("enrollment credential"),
        about: "Signs requests with the certificate that another trustpoint has, and sends them by SCEP",
        help: &[
            ("enrollment", "The first certificate"),
            ("credential", "With a certificate of another trustpoint"),
        ],
        run: |profile, verb, args| {
            profile.credential = match verb {
                Verb::Set => Some(label(args, "label")?),
                _ => None,
            };
            Ok(())
        },
    },
    Line {
        words: "parameter <number:1-8> {value <value...> | prompt <prompt...>}",
        no: Some("parameter <number:1-8>"),
        about: "Says what $P1 to $P8 in commands stand for; what is secret is better asked for, by `prompt`",
        help: &[
            ("parameter", "What stands for $P1 and so on"),
            ("<number>", "Number of the parameter"),
            ("value", "This"),
            ("<value>", "Text"),
            ("prompt", "What is answered"),
            ("<prompt>", "Question"),
        ],
        run: |profile, verb, args| {
            // The grammar knows the range.
            let number = args.number("number").and_then(|number| u8::try_from(number).ok()).unwrap_or(1);
            let parameter = match (args.get("value"), args.get("prompt")) {
                (Some(value), _) => Some(Parameter::Value(value.to_owned())),
                (_, Some(prompt)) => Some(Parameter::Prompt(prompt.to_owned())),
                _ => None,
            };
            match (verb, parameter) {
                (Verb::Set, Some(parameter)) => profile.parameters.insert(number, parameter),
                _ => profile.parameters.remove(&number),
            };
            Ok(())
        },
    },
];

fn step<'p>(profile: &'p mut ProfileSection, args: &Args) -> &'p mut ProfileStep {
    match () {
        () if args.has("authentication") => &mut profile.authentication,
        () if args.has("enrollment") => &mut profile.enrollment,
        () => &mut profile.reenrollment,
    }
}

fn command(profile: &mut ProfileSection, verb: Verb, args: &Args) -> Result<(), Refusal> {
    let typed = match verb {
        Verb::Set => Some(args.text("command")),
        _ => None,
    };
    if let Some(typed) = typed {
        let (method, rest) = typed.split_once(char::is_whitespace).unwrap_or((typed, ""));
        let known = ["GET", "POST"].iter().any(|known| known.eq_ignore_ascii_case(method));
        if !known || rest.trim().is_empty() {
            return Err(args.refuse("command", "a command begins with GET or POST, and says what is sent"));
        }
    }
    step(profile, args).command = typed.map(str::to_owned);
    Ok(())
}
