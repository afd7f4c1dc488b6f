//! `crypto pki token`: how a token is found and unlocked.

use std::fmt;
use std::sync::LazyLock;

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
    /// Where the PIN comes from.
    pub user_pin: Option<PinSource>,
    /// Most sessions open at once, instead of the profile's.
    pub sessions: Option<u32>,
}

/// Where a PIN comes from. The configuration never holds the PIN itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// The first line of this file; a relative path starts at the state directory.
    File(String),
    /// This environment variable.
    Environment(String),
    /// The operator is asked at start.
    Prompt,
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
        match &self.user_pin {
            Some(PinSource::File(path)) => writeln!(f, " user-pin file {path}")?,
            Some(PinSource::Environment(name)) => writeln!(f, " user-pin environment {name}")?,
            Some(PinSource::Prompt) => writeln!(f, " user-pin prompt")?,
            None => {}
        }
        self.sessions.iter().try_for_each(|sessions| writeln!(f, " sessions {sessions}"))
    }
}

/// Its lines.
pub static LINES: LazyLock<Lines<TokenSection>> = LazyLock::new(|| Lines::new(SHOWN, []));

const SHOWN: &[Line<TokenSection>] = &[
    Line {
        words: "profile <profile>",
        no: Some("profile"),
        about: "Says of which family the token is: softhsm2, yubikey and so on",
        help: &[("profile", "Family of the token"), ("<profile>", "Name of a profile")],
        run: |token, verb, args| {
            token.profile = args.get("profile").filter(|_| verb == Verb::Set).map(str::to_owned);
            Ok(())
        },
    },
    Line {
        words: "library <path...>",
        no: Some("library"),
        about: "Loads this PKCS#11 module instead of the profile's",
        help: &[("library", "PKCS#11 module"), ("<path>", "File, as in /usr/lib/softhsm/libsofthsm2.so")],
        run: |token, verb, args| {
            token.library = args.get("path").filter(|_| verb == Verb::Set).map(str::to_owned);
            Ok(())
        },
    },
    Line {
        words: "label <text...>",
        no: Some("label"),
        about: "Uses the token with this label",
        help: &[("label", "Label of the token"), ("<text>", "Label, as the token shows it")],
        run: |token, verb, args| {
            token.label = args.get("text").filter(|_| verb == Verb::Set).map(str::to_owned);
            Ok(())
        },
    },
    Line {
        words: "serial <text>",
        no: Some("serial"),
        about: "Uses the token with this serial number",
        help: &[("serial", "Serial number of the token"), ("<text>", "Serial number, as the token shows it")],
        run: |token, verb, args| {
            token.serial = args.get("text").filter(|_| verb == Verb::Set).map(str::to_owned);
            Ok(())
        },
    },
    Line {
        words: "user-pin {file <path...> | environment <variable> | prompt}",
        no: Some("user-pin"),
        about: "Says where the user PIN comes from; a relative path starts at the state directory",
        help: &[
            ("user-pin", "Where the user PIN comes from"),
            ("file", "First line of a file"),
            ("<path>", "File"),
            ("environment", "An environment variable"),
            ("<variable>", "Name of the variable"),
            ("prompt", "Ask at start"),
        ],
        run: |token, verb, args| {
            token.user_pin = match verb {
                Verb::Set if args.has("prompt") => Some(PinSource::Prompt),
                Verb::Set if args.has("file") => Some(PinSource::File(args.text("path").to_owned())),
                Verb::Set => Some(PinSource::Environment(args.text("variable").to_owned())),
                Verb::No | Verb::Default => None,
            };
            Ok(())
        },
    },
    Line {
        words: "sessions <count:1-64>",
        no: Some("sessions"),
        about: "Opens at most so many sessions, instead of the profile's number",
        help: &[("sessions", "Most sessions at once"), ("<count>", "Sessions")],
        run: |token, verb, args| {
            let count = args.number("count").and_then(|count| u32::try_from(count).ok());
            token.sessions = count.filter(|_| verb == Verb::Set);
            Ok(())
        },
    },
];
