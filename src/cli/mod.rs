//! The command language: one table of exec commands drives parser, `?` and the reference manual.
//!
//! [`execute`] is the one place where a command meets a [`Node`]; the server behind the command socket
//! ([`serve`]) and the program working without a server ([`client`]) both call it. A command returns a
//! value; text and JSON are two renderings of it. Lines of the configuration live in
//! [`config`](crate::config).

mod absent;
mod access;
mod attestation;
mod audit;
mod certificates;
pub mod client;
mod clock;
mod command;
mod connection;
mod copy;
mod crls;
mod debug;
mod files;
mod filter;
mod key_files;
mod keys;
mod peers;
mod pki;
mod protocol;
mod reference;
mod requests;
mod revocation;
mod rollover;
mod script;
mod server;
mod session;
mod shell;
mod show;
mod socket;
mod source;
mod startup;
mod terminal;
mod token_trial;
mod tokens;
mod trustpoints;
mod validate;

use std::io;
use std::sync::{Arc, LazyLock};

use secrecy::SecretString;

use crate::config::ConfigError;
use crate::config::grammar::{LineError, Match, Problem, Table, Token, tokens, without_passwords};
use crate::node::{Node, NodeError};

use audit::Operator;
use source::Source;

pub use access::{Members, protect};
pub use command::{Call, Command, Output, Run};
pub use reference::reference;
pub use session::Session;
pub use socket::{Handle, SOCKET, serve};
pub use startup::STARTUP_CONFIG;

/// How a command is to be run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The answer is to be JSON: nothing else is written to standard output.
    pub json: bool,
    /// Questions are answered with yes.
    pub yes: bool,
}

/// Who typed the command.
pub trait Console {
    /// Shows text while the command still runs.
    fn say(&mut self, text: &str) -> io::Result<()>;

    /// Shows a question and waits for a line; an empty one when nobody can answer.
    fn ask(&mut self, question: &str) -> io::Result<String>;

    /// The same for a password: what is typed is not shown.
    fn ask_secret(&mut self, question: &str) -> io::Result<SecretString>;

    /// Shows what is to be pasted and takes lines until a blank one or `quit`; blank lines within a PEM block
    /// are its own. Each line ends with a newline.
    fn paste(&mut self, prompt: &str) -> io::Result<String>;

    /// Asks a yes/no question, unless `yes` is the answer anyway.
    fn confirm(&mut self, question: &str, yes: bool) -> io::Result<bool> {
        Ok(yes || is_yes(&self.ask(question)?))
    }

    /// Shows lines of the log as they come, or no longer. False when this terminal cannot.
    fn monitor(&mut self, _on: bool) -> io::Result<bool> {
        Ok(false)
    }
}

/// `y`, `ye`, `yes`.
fn is_yes(answer: &str) -> bool {
    let answer = answer.trim().to_ascii_lowercase();
    !answer.is_empty() && "yes".starts_with(&answer)
}

/// Lines that are pasted: until a blank one or `quit`, but a PEM block is taken whole.
#[derive(Default)]
struct Pasted {
    text: String,
    in_block: bool,
}

impl Pasted {
    /// Takes a line; false when it ends the text.
    fn line(&mut self, line: &str) -> bool {
        let line = line.trim_end();
        if line == "quit" || (line.trim().is_empty() && !self.in_block) {
            return false;
        }
        match line.trim_start() {
            start if start.starts_with("-----BEGIN ") => self.in_block = true,
            end if end.starts_with("-----END ") => self.in_block = false,
            _ => {}
        }
        self.text.push_str(line);
        self.text.push('\n');
        true
    }
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It is no command.
    #[error(transparent)]
    Syntax(#[from] LineError),
    /// A line of the configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It may not be.
    #[error("% {0}")]
    Refused(String),
    /// The node could not do it.
    #[error("% {0}")]
    Node(#[from] NodeError),
    /// The operator is gone.
    #[error("% the answer could not be read: {0}")]
    Console(#[from] io::Error),
    /// The lines of the configuration that were typed could not be applied.
    #[error(transparent)]
    Apply(Box<CommandError>),
    /// A line of a script could not be done.
    #[error("line {number}:\n{error}")]
    Line {
        /// Its number, from 1.
        number: usize,
        /// Why.
        error: Box<CommandError>,
    },
    /// A script ended with an error after some of it was done.
    #[error("{error}\n% The lines up to line {applied} are applied.")]
    Partly {
        /// The last line that was applied.
        applied: usize,
        /// Why the rest was not.
        error: Box<CommandError>,
    },
}

impl CommandError {
    /// What the program exits with: 2 for what is no command, 1 for what was not done.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Syntax(error) if !matches!(error.problem, Problem::Refused { .. }) => 2,
            _ => 1,
        }
    }

    /// For a line that was typed on its own.
    fn without_number(self) -> Self {
        match self {
            Self::Apply(error) => error.without_number(),
            Self::Config(ConfigError::Line { error, .. }) => error.into(),
            error => error,
        }
    }

    /// As an error of the line `number` of a script that was applied as far as line `applied`.
    fn at_line(self, number: usize, applied: usize) -> Self {
        let error = match self {
            Self::Syntax(error) => ConfigError::Line { number, error }.into(),
            // What is applied is not the fault of the line that was to be done next.
            Self::Apply(_) | Self::Config(_) => self,
            error => Self::Line { number, error: Box::new(error) },
        };
        match applied {
            0 => error,
            applied => Self::Partly { applied, error: Box::new(error) },
        }
    }
}

/// Runs one exec command. A `?` at its end shows what could stand there instead.
pub fn execute(
    node: &Arc<Node>,
    words: &[String],
    options: Options,
    console: &mut dyn Console,
) -> Result<Output, CommandError> {
    Session::new(Source::Server(node.clone()), options, Operator::this()).line(&words.join(" "), console)
}

/// Applies lines to the running configuration, as typed after `configure terminal`; all of them or none.
/// Returns what the operator should read.
pub fn configure(
    node: &Arc<Node>,
    text: &str,
    options: Options,
    console: &mut dyn Console,
) -> Result<Output, CommandError> {
    Session::new(Source::Server(node.clone()), options, Operator::this()).script(text, console)
}

/// The command that this line is, by abbreviation too.
pub fn find(line: &str) -> Result<Match<Command>, LineError> {
    let find = |words: Vec<Token<'_>>| {
        COMMANDS.find(&words, |_| true).map_err(|problem| absent::explained(&words, problem))
    };
    tokens(line).and_then(find).map_err(|problem| problem.at(line))
}

/// Whether a line has a password, passphrase or PIN, which no history keeps.
fn holds_secret(line: &str) -> bool {
    let line = session::after_do(line).unwrap_or(line);
    if without_passwords(line) != line {
        return true;
    }
    match find(line) {
        Ok(found) => found.args.redacted(line) != line,
        // No command, but it may have meant one with a PIN: `crypto pki token usbtoken0 log 1234`.
        Err(_) => line.split_whitespace().nth(2).is_some_and(|word| "token".starts_with(word)),
    }
}

/// What may stand after the words of `line`, with its help; `unfinished` is the beginning of a word.
pub fn next(line: &str, unfinished: Option<&str>) -> Result<Vec<(String, &'static str)>, LineError> {
    tokens(line)
        .and_then(|tokens| COMMANDS.next(&tokens, unfinished, |_| true))
        .map_err(|problem| problem.at(line))
}

/// The words before a `?` at the end of a line, and the beginning of a word that it stands at.
fn question_mark(line: &str) -> Option<(&str, Option<&str>)> {
    // Ctrl-V makes it part of a word, as on IOS.
    let line = line.trim_end().strip_suffix('?').filter(|line| !line.ends_with('\u{16}'))?;
    Some(match line.rsplit_once(char::is_whitespace) {
        _ if line.is_empty() || line.ends_with(char::is_whitespace) => (line, None),
        Some((words, unfinished)) => (words, Some(unfinished)),
        None => ("", Some(line)),
    })
}

/// Asks a yes/no question, unless `yes` is the answer anyway; anything but yes is a refusal.
fn confirm(yes: bool, console: &mut dyn Console, question: &str) -> Result<(), CommandError> {
    if console.confirm(question, yes)? {
        return Ok(());
    }
    Err(CommandError::Refused("not confirmed, nothing was done; answer yes, or use --yes".into()))
}

/// The table of exec commands.
static COMMANDS: LazyLock<Table<Command>> = LazyLock::new(|| {
    let files = [
        show::COMMANDS,
        audit::COMMANDS,
        clock::COMMANDS,
        debug::COMMANDS,
        server::COMMANDS,
        requests::COMMANDS,
        revocation::COMMANDS,
        rollover::COMMANDS,
        certificates::COMMANDS,
        crls::COMMANDS,
        validate::COMMANDS,
        keys::COMMANDS,
        key_files::COMMANDS,
        pki::COMMANDS,
        peers::COMMANDS,
        tokens::COMMANDS,
        attestation::COMMANDS,
        startup::COMMANDS,
        files::COMMANDS,
        copy::COMMANDS,
        terminal::COMMANDS,
    ];
    Table::new(files.into_iter().flatten().chain(trustpoints::commands()))
});

#[cfg(test)]
mod tests;
