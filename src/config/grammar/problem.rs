//! Why a line is not accepted, and how that is shown.

use std::fmt;

use super::words;

/// Why a line is not accepted, at which column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The word at this column fits nothing that may stand there.
    Invalid {
        /// Column of the first wrong word.
        column: usize,
        /// What would have fitted, when that is short to say.
        hint: Option<String>,
    },
    /// A word abbreviates several.
    Ambiguous {
        /// Column of that word.
        column: usize,
        /// What it could be.
        candidates: Vec<&'static str>,
    },
    /// The line could go on, and must.
    Incomplete,
    /// The words are right and what they ask for may not be.
    Refused {
        /// Column of the value that is to blame.
        column: Option<usize>,
        /// Why, and what to do.
        reason: String,
    },
}

/// A line and its [`Problem`], displayed as IOS does: the line, the caret under the first wrong word,
/// `% Invalid input detected at '^' marker.`
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LineError {
    /// The line as typed.
    pub line: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// A value that may not be, said by the code that knows the rule. [`Args::refuse`] says which value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub(super) column: Option<usize>,
    pub(super) reason: String,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self { column: None, reason }
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { column: refusal.column, reason: refusal.reason }
    }
}

impl Problem {
    /// The column it points at; beyond every other one for what has the right words.
    pub(crate) fn reach(&self) -> usize {
        match self {
            Self::Invalid { column, .. } | Self::Ambiguous { column, .. } => *column,
            Self::Incomplete | Self::Refused { .. } => usize::MAX,
        }
    }

    /// With the line that has it.
    pub fn at(self, line: &str) -> LineError {
        // They would move the caret, or what stands above it.
        let line = line.replace(char::is_control, " ");
        LineError { line: line.trim_end().to_owned(), problem: self }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = &self.line;
        match &self.problem {
            Problem::Invalid { column, hint } => {
                writeln!(f, "{line}\n{:column$}^", "")?;
                write!(f, "% Invalid input detected at '^' marker.")?;
                hint.iter().try_for_each(|hint| write!(f, "\n% {hint}"))
            }
            Problem::Ambiguous { candidates, .. } => {
                write!(f, "% Ambiguous command:  \"{}\"\n% It could be: ", line.trim_start())?;
                write!(f, "{}", candidates.join(", "))
            }
            Problem::Incomplete => write!(f, "{line}\n% Incomplete command."),
            Problem::Refused { column: Some(column), reason } => {
                write!(f, "{line}\n{:column$}^\n% {reason}", "")
            }
            Problem::Refused { column: None, reason } => write!(f, "{line}\n% {reason}"),
        }
    }
}

/// The line with stars instead of the words after `password`, of users in URLs, and of what follows `pin-value` in
/// a PKCS#11 URI: for errors and logs.
pub fn without_passwords(line: &str) -> String {
    let mut chars: Vec<char> = line.chars().collect();
    let mut hide = |column: usize, length: usize| chars[column..column + length].fill('*');
    let mut secret = false;
    for word in words(line) {
        let length = word.text.chars().count();
        if secret && !matches!(word.text, "0" | "6" | "7") {
            hide(word.column, length);
        } else if let Some((user, _)) = word.text.rsplit_once('@')
            && let Some((scheme, user)) = user.split_once("://")
        {
            hide(word.column + scheme.chars().count() + 3, user.chars().count());
        } else if let Some((_, pin)) = word.text.split_once("pin-value=") {
            hide(word.column + length - pin.chars().count(), pin.chars().count());
        }
        secret |= word.abbreviates("password", 1);
    }
    chars.into_iter().collect()
}
