//! `crypto pki token`: how a token is found and unlocked.

use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;

use crate::token::{Selector, TokenUri, UriError};

use super::grammar::{Args, Refusal};
use super::line::{Line, Lines, Verb};

/// A section `crypto pki token NAME`. What is absent is found out from the token itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSection {
    /// The token family, a file of `pkcs11-profiles/`.
    pub profile: Option<String>,
    /// PKCS#11 module file, instead of the profile's.
    pub library: Option<String>,
    /// Token label.
    pub label: Option<String>,
    /// Token serial number.
    pub serial: Option<String>,
    /// All of that as a PKCS#11 URI, instead of `label`, `serial` and `slot`; `library` and `user_pin` are
    /// preferred to what it says.
    pub uri: Option<TokenUri>,
    /// Where the PIN comes from.
    pub user_pin: Option<PinSource>,
    /// Slot number, for tokens whose information cannot be read.
    pub slot: Option<u64>,
    /// Where the security officer's PIN comes from.
    pub so_pin: Option<PinSource>,
    /// What the module is initialised with, instead of the profile's.
    pub parameters: Option<String>,
    /// The module runs in a process of its own.
    pub isolated: bool,
    /// Most sessions open at once, instead of the profile's.
    pub sessions: Option<u32>,
    /// Refused PINs in a row after which only an operator's is tried.
    pub max_retries: Option<u32>,
    /// Seconds after which a token that was away waits for an operator's login.
    pub removal_timeout: Option<u32>,
}

impl TokenSection {
    /// Which of the module's tokens is meant, by its lines or by its URI.
    pub fn selector(&self) -> Selector {
        let lines = || Selector {
            label: self.label.clone(),
            serial: self.serial.clone(),
            slot: self.slot,
            ..Selector::default()
        };
        self.uri.as_ref().map_or_else(lines, |uri| uri.selector().clone())
    }

    /// The PKCS#11 module, unless that is the profile's.
    pub fn module(&self) -> Option<PathBuf> {
        let named = || self.uri.as_ref().and_then(TokenUri::module).map(Into::into);
        self.library.as_ref().map(Into::into).or_else(named)
    }

    /// Where the user PIN comes from.
    pub fn pin_source(&self) -> PinSource {
        let named = || self.uri.as_ref().and_then(TokenUri::pin_file);
        let file = || named().map(|path| PinSource::File(path.to_owned()));
        self.user_pin.clone().or_else(file).unwrap_or(PinSource::Prompt)
    }
}

/// Where a PIN comes from. The configuration never holds the PIN itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// The first line of this file; a relative path starts at the state directory.
    File(String),
    /// This environment variable.
    Environment(String),
    /// A credential that systemd hands to the service.
    Credential(String),
    /// The operator is asked at start.
    Prompt,
    /// Typed at the token's own PIN pad.
    PinPad,
}

impl PinSource {
    /// As typed after `user-pin` or `so-pin`; `None` for `no`.
    fn typed(verb: Verb, args: &Args) -> Option<Self> {
        match verb {
            Verb::Set if args.has("prompt") => Some(Self::Prompt),
            Verb::Set if args.has("pin-pad") => Some(Self::PinPad),
            Verb::Set if args.has("file") => Some(Self::File(args.text("path").to_owned())),
            Verb::Set if args.has("credential") => Some(Self::Credential(args.text("name").to_owned())),
            Verb::Set => Some(Self::Environment(args.text("variable").to_owned())),
            Verb::No | Verb::Default => None,
        }
    }
}

impl fmt::Display for PinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {path}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::Prompt => f.write_str("prompt"),
            Self::PinPad => f.write_str("pin-pad"),
        }
    }
}

impl fmt::Display for TokenSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = [
            ("profile", &self.profile),
            ("library", &self.library),
            ("label", &self.label),
            ("serial", &self.serial),
        ];
        for (word, text) in texts {
            text.iter().try_for_each(|text| writeln!(f, " {word} {text}"))?;
        }
        self.slot.iter().try_for_each(|slot| writeln!(f, " slot {slot}"))?;
        self.uri.iter().try_for_each(|uri| writeln!(f, " uri {uri}"))?;
        self.user_pin.iter().try_for_each(|pin| writeln!(f, " user-pin {pin}"))?;
        self.so_pin.iter().try_for_each(|pin| writeln!(f, " so-pin {pin}"))?;
        self.parameters.iter().try_for_each(|text| writeln!(f, " parameters {text}"))?;
        if self.isolated {
            writeln!(f, " module isolated")?;
        }
        self.sessions.iter().try_for_each(|sessions| writeln!(f, " sessions {sessions}"))?;
        self.max_retries.iter().try_for_each(|most| writeln!(f, " max-retries {most}"))?;
        self.removal_timeout.iter().try_for_each(|seconds| writeln!(f, " removal timeout {seconds}"))
    }
}

/// What a line sets; `None` when it is taken back.
fn text(verb: Verb, args: &Args, word: &str) -> Option<String> {
    args.get(word).filter(|_| verb == Verb::Set).map(str::to_owned)
}

/// The same for what a URI says too.
fn without_uri(token: &TokenSection, verb: Verb, args: &Args, word: &str) -> Result<Option<String>, Refusal> {
    if verb == Verb::Set && token.uri.is_some() {
        return Err(args.refuse(word, "`uri` says already which token it is: `no uri` first"));
    }
    Ok(text(verb, args, word))
}

fn number(verb: Verb, args: &Args, word: &str) -> Option<u32> {
    args.number(word).filter(|_| verb == Verb::Set).and_then(|number| u32::try_from(number).ok())
}

/// Its lines.
pub static LINES: LazyLock<Lines<TokenSection>> = LazyLock::new(|| Lines::new(SHOWN, []));

const USER_PIN_HELP: &[(&str, &str)] = &[
    ("user-pin", "Where the user PIN comes from"),
    FILE,
    PATH,
    ENVIRONMENT,
    VARIABLE,
    CREDENTIAL,
    NAME,
    ("prompt", "Ask at start"),
    ("pin-pad", "Typed at the token, at the start and for `login`"),
];
const SO_PIN_HELP: &[(&str, &str)] = &[
    ("so-pin", "Where the security officer's PIN comes from"),
    FILE,
    PATH,
    ENVIRONMENT,
    VARIABLE,
    CREDENTIAL,
    NAME,
];
const FILE: (&str, &str) = ("file", "First line of a file");
const PATH: (&str, &str) = ("<path>", "File");
const ENVIRONMENT: (&str, &str) = ("environment", "An environment variable");
const VARIABLE: (&str, &str) = ("<variable>", "Name of the variable");
const CREDENTIAL: (&str, &str) = ("credential", "A credential that systemd hands to the service");
const NAME: (&str, &str) = ("<name>", "Name of the credential");

/// Octets of a URI.
const MAX_URI: usize = 1024;

const SHOWN: &[Line<TokenSection>] = &[
    Line {
        words: "profile <profile>",
        no: Some("profile"),
        about: "Says of which family the token is: softhsm2, yubikey and so on",
        help: &[("profile", "Family of the token"), ("<profile>", "Name of a profile")],
        run: |token, verb, args| {
            token.profile = text(verb, args, "profile");
            Ok(())
        },
    },
    Line {
        words: "library <path...>",
        no: Some("library"),
        about: "Loads this PKCS#11 module instead of the profile's",
        help: &[("library", "PKCS#11 module"), ("<path>", "File, as in /usr/lib/softhsm/libsofthsm2.so")],
        run: |token, verb, args| {
            token.library = text(verb, args, "path");
            Ok(())
        },
    },
    Line {
        words: "label <text...>",
        no: Some("label"),
        about: "Uses the token with this label",
        help: &[("label", "Label of the token"), ("<text>", "Label, as the token shows it")],
        run: |token, verb, args| {
            token.label = without_uri(token, verb, args, "text")?;
            Ok(())
        },
    },
    Line {
        words: "serial <text>",
        no: Some("serial"),
        about: "Uses the token with this serial number",
        help: &[("serial", "Serial number of the token"), ("<text>", "Serial number, as the token shows it")],
        run: |token, verb, args| {
            token.serial = without_uri(token, verb, args, "text")?;
            Ok(())
        },
    },
    Line {
        words: "slot <number:0-4294967295>",
        no: Some("slot"),
        about: "Uses the token in this slot; slot numbers change, labels do not",
        help: &[("slot", "Slot"), ("<number>", "Number of the slot")],
        run: |token, verb, args| {
            let number = without_uri(token, verb, args, "number")?;
            token.slot = number.and(args.number("number"));
            Ok(())
        },
    },
    Line {
        words: "uri <uri>",
        no: Some("uri"),
        about: "Uses the token that this PKCS#11 URI names, by the module and with the PIN file that it may name",
        help: &[
            ("uri", "PKCS#11 URI of the token (RFC 7512)"),
            ("<uri>", "As pkcs11:token=ca;serial=1234; Ctrl-V before a question mark"),
        ],
        run: |token, verb, args| {
            if verb != Verb::Set {
                token.uri = None;
                return Ok(());
            }
            let parts = [
                ("label", token.label.is_some()),
                ("serial", token.serial.is_some()),
                ("slot", token.slot.is_some()),
            ];
            if let Some((word, _)) = parts.iter().find(|(_, there)| *there) {
                let reason = format!("`{word}` says already which token it is: `no {word}` first");
                return Err(args.refuse("uri", reason));
            }
            let typed = args.text("uri");
            if typed.len() > MAX_URI {
                return Err(args.refuse("uri", format!("a URI has at most {MAX_URI} octets")));
            }
            let uri = typed.parse().map_err(|error: UriError| args.refuse("uri", error.to_string()))?;
            token.uri = Some(uri);
            Ok(())
        },
    },
    Line {
        words: "user-pin {file <path...> | environment <variable> | credential <name> | prompt | pin-pad}",
        no: Some("user-pin"),
        about: "Says where the user PIN comes from; a relative path starts at the state directory",
        help: USER_PIN_HELP,
        run: |token, verb, args| {
            token.user_pin = PinSource::typed(verb, args);
            Ok(())
        },
    },
    Line {
        words: "so-pin {file <path...> | environment <variable> | credential <name>}",
        no: Some("so-pin"),
        about: "Says where the security officer's PIN comes from, for tokens that make keys for nobody else",
        help: SO_PIN_HELP,
        run: |token, verb, args| {
            token.so_pin = PinSource::typed(verb, args);
            Ok(())
        },
    },
    Line {
        words: "parameters <text...>",
        no: Some("parameters"),
        about: "Gives this text to the module when it is initialised",
        help: &[("parameters", "What the module is initialised with"), ("<text>", "As the module wants it")],
        run: |token, verb, args| {
            token.parameters = text(verb, args, "text");
            Ok(())
        },
    },
    Line {
        words: "module isolated",
        no: Some("module"),
        about: "Runs the module in a process of its own, which may crash or hang",
        help: &[("module", "PKCS#11 module"), ("isolated", "In a process of its own")],
        run: |token, verb, _| {
            token.isolated = verb == Verb::Set;
            Ok(())
        },
    },
    Line {
        words: "sessions <count:1-64>",
        no: Some("sessions"),
        about: "Opens at most so many sessions, instead of the profile's number",
        help: &[("sessions", "Most sessions at once"), ("<count>", "Sessions")],
        run: |token, verb, args| {
            token.sessions = number(verb, args, "count");
            Ok(())
        },
    },
    Line {
        words: "max-retries <count:1-15>",
        no: Some("max-retries"),
        about: "Tries no further PIN after so many were refused in a row, but one that an operator gives with \
                `login`; a PIN that was refused is not tried again in any case",
        help: &[("max-retries", "Most refused PINs in a row"), ("<count>", "Refused PINs")],
        run: |token, verb, args| {
            token.max_retries = number(verb, args, "count");
            Ok(())
        },
    },
    Line {
        words: "removal timeout <seconds:0-86400>",
        no: Some("removal timeout"),
        about: "Does not log in by itself to a token that is back after it was away for longer, as seen by its \
                use: `crypto pki token NAME login` does",
        help: &[
            ("removal", "When the token was away"),
            ("timeout", "For longer than this"),
            ("<seconds>", "Seconds"),
        ],
        run: |token, verb, args| {
            token.removal_timeout = number(verb, args, "seconds");
            Ok(())
        },
    },
];
