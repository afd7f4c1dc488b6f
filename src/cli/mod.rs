//! The command language: one table of exec commands drives parser, `?` and the reference manual.
//!
//! [`execute`] is the one place where a command meets a [`Node`]; the server behind the command socket
//! ([`serve`]) and the program working without a server ([`client`]) both call it. A command returns a
//! value; text and JSON are two renderings of it. Lines of the configuration live in
//! [`config`](crate::config).

mod certificates;
pub mod client;
mod clock;
mod command;
mod keys;
mod peers;
mod protocol;
mod reference;
mod requests;
mod revocation;
mod server;
mod show;
mod socket;
mod startup;
mod tokens;

use std::io;
use std::ops::Deref;
use std::sync::{LazyLock, Mutex, PoisonError};

use secrecy::SecretString;

use crate::config::ConfigError;
use crate::config::grammar::{LineError, Match, Problem, Table, tokens};
use crate::node::{Node, NodeError};

use command::Messages;

pub use command::{Call, Command, Output, Run};
pub use reference::reference;
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
}

impl CommandError {
    /// What the program exits with: 2 for what is no command, 1 for what was not done.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Syntax(error) if !matches!(error.problem, Problem::Refused { .. }) => 2,
            _ => 1,
        }
    }
}

/// Runs one exec command. A `?` at its end shows what could stand there instead.
pub fn execute(
    node: &Node,
    words: &[String],
    options: Options,
    console: &mut dyn Console,
) -> Result<Output, CommandError> {
    execute_on(|| Ok(node), words, options, console)
}

/// The same on a node that is made only when the command needs one.
fn execute_on<N: Deref<Target = Node>>(
    node: impl FnOnce() -> Result<N, CommandError>,
    words: &[String],
    options: Options,
    console: &mut dyn Console,
) -> Result<Output, CommandError> {
    let line = words.join(" ");
    if let Some(help) = help(&line)? {
        return Ok(help);
    }
    let found = find(&line)?;
    let mut call = Call { line: &line, args: &found.args, options, console };
    match found.row.run {
        Run::Alone(run) => run(&mut call),
        Run::OnNode(run) => run(&*node()?, &mut call),
    }
}

/// Applies lines to the running configuration, as typed after `configure terminal`; all of them or none.
/// Returns what the operator should read.
pub fn configure(
    node: &Node,
    text: &str,
    options: Options,
    console: &mut dyn Console,
) -> Result<Output, CommandError> {
    Ok(Output::of(Messages { messages: configured(node, text, options, console)? }))
}

fn configured(
    node: &Node,
    text: &str,
    options: Options,
    console: &mut dyn Console,
) -> Result<Vec<String>, CommandError> {
    let old = node.configuration();
    let new = old.edited(text)?;
    for label in old.servers.keys().filter(|label| !new.servers.contains_key(*label)) {
        let question = format!(
            "% This will delete certificate server {label}, its database and its keys on the token.\n\
             % Are you sure you want to do this? [yes/no]: "
        );
        confirm(options, console, &question)?;
    }
    // One at a time from here on; somebody may have been faster while the question stood.
    static APPLYING: Mutex<()> = Mutex::new(());
    let _applying = APPLYING.lock().unwrap_or_else(PoisonError::into_inner);
    if node.configuration() != old {
        return Err(CommandError::Refused("the configuration has changed meanwhile; try again".into()));
    }
    Ok(node.apply(new)?)
}

/// The command that this line is, by abbreviation too.
pub fn find(line: &str) -> Result<Match<Command>, LineError> {
    tokens(line).and_then(|tokens| COMMANDS.find(&tokens, |_| true)).map_err(|problem| problem.at(line))
}

/// What may stand after the words of `line`, with its help; `unfinished` is the beginning of a word.
pub fn next(line: &str, unfinished: Option<&str>) -> Result<Vec<(String, &'static str)>, LineError> {
    tokens(line)
        .and_then(|tokens| COMMANDS.next(&tokens, unfinished, |_| true))
        .map_err(|problem| problem.at(line))
}

/// The answer to a line that ends in `?`.
fn help(line: &str) -> Result<Option<Output>, LineError> {
    let Some(line) = line.trim_end().strip_suffix('?') else { return Ok(None) };
    let (words, unfinished) = match line.rsplit_once(char::is_whitespace) {
        _ if line.is_empty() || line.ends_with(char::is_whitespace) => (line, None),
        Some((words, unfinished)) => (words, Some(unfinished)),
        None => ("", Some(line)),
    };
    Ok(Some(Output::of(command::Help::new(next(words, unfinished)?))))
}

/// Asks a yes/no question; anything but yes is a refusal.
fn confirm(options: Options, console: &mut dyn Console, question: &str) -> Result<(), CommandError> {
    if console.confirm(question, options.yes)? {
        return Ok(());
    }
    Err(CommandError::Refused("not confirmed, nothing was done; answer yes, or use --yes".into()))
}

/// The table of exec commands.
static COMMANDS: LazyLock<Table<Command>> = LazyLock::new(|| {
    let files = [
        show::COMMANDS,
        clock::COMMANDS,
        server::COMMANDS,
        requests::COMMANDS,
        revocation::COMMANDS,
        certificates::COMMANDS,
        keys::COMMANDS,
        peers::COMMANDS,
        tokens::COMMANDS,
        startup::COMMANDS,
    ];
    Table::new(files.into_iter().flatten())
});

#[cfg(test)]
mod tests;
