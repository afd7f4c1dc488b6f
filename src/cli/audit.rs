//! Who did what: commands that change something are told to the log and kept in the journal of the database,
//! without their secrets.

use std::fmt;
use std::os::unix::net::UnixStream;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Uid, User};
use serde::Serialize;

use super::{Call, Command, CommandError, Output, Run};
use crate::config::grammar::{LineError, Problem, without_passwords};
use crate::config::{ConfigError, Mode};
use crate::node::Node;
use crate::pki::Time;
use crate::store::JournalEntry;

pub const COMMANDS: &[Command] = &[
    Command {
        words: "show archive log config all",
        about: "Shows the journal: every command that changed something, or tried to, who gave it and when",
        help: &[
            ("archive", "What is kept of the past"),
            ("log", "Commands"),
            ("config", "Those that changed something"),
            ("all", "Every entry"),
        ],
        run: Run::OnNode(|node, _| shown(node, 0, u64::MAX)),
    },
    Command {
        words: "show archive log config <first:1-4294967295> [<last:1-4294967295>]",
        about: "Shows the entries of the journal with these numbers",
        help: &[
            ("archive", "What is kept of the past"),
            ("log", "Commands"),
            ("config", "Those that changed something"),
            ("<first>", "Number of the first entry"),
            ("<last>", "Number of the last entry"),
        ],
        run: Run::OnNode(|node, call| {
            let number = |name| call.args.number(name);
            shown(node, number("first").unwrap_or(0), number("last").unwrap_or(u64::MAX))
        }),
    },
];

/// Who gives commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Number of the user, when it is known.
    pub uid: Option<u32>,
    /// Name of the user.
    pub name: String,
}

impl Operator {
    /// Whoever is at the other end.
    pub fn of(stream: &UnixStream) -> Self {
        match getsockopt(stream, PeerCredentials) {
            Ok(credentials) => Self::numbered(Uid::from_raw(credentials.uid())),
            Err(_) => Self { uid: None, name: "unknown".into() },
        }
    }

    /// Whom this process belongs to.
    pub fn this() -> Self {
        Self::numbered(Uid::current())
    }

    fn numbered(uid: Uid) -> Self {
        let user = User::from_uid(uid).ok().flatten();
        Self { uid: Some(uid.as_raw()), name: user.map_or_else(|| uid.to_string(), |user| user.name) }
    }

    /// Records what was done and what came of it. `command` has no secrets; its lines are commands.
    pub fn did(&self, node: &Node, command: String, outcome: String) {
        for line in command.lines() {
            tracing::info!(target: "PARSER-5-CFGLOG_LOGGEDCMD", "User:{}  logged command:{line}", self.name);
        }
        let (uid, user) = (self.uid, self.name.clone());
        let entry = JournalEntry { number: 0, at: Time::now(), uid, user, command, outcome };
        if let Err(error) = node.record(entry) {
            tracing::error!(%error, "a command is not in the journal");
        }
    }
}

/// Whether a command is recorded: all are but those that only show something.
pub fn is_recorded(command: &Command) -> bool {
    !READING.iter().any(|words| command.words.starts_with(words))
}

const READING: &[&str] = &[
    "show ",
    "dir",
    "more",
    "debug ",
    "undebug ",
    "no debug ",
    "clear logging",
    "crypto pki/ca server <label> info",
    "crypto pki/ca server <label> certificate",
];

/// The line of a command without its secrets.
pub fn redacted(call: &Call<'_>) -> String {
    let line = call.args.redacted(call.line);
    // Word by word: of these, only a URL tells by itself that it has a password.
    let words: Vec<_> = line.split_whitespace().map(without_passwords).collect();
    shortened(&words.join(" "))
}

/// Stars that do not tell how many letters were there.
fn shortened(line: &str) -> String {
    let mut short = line.trim().to_owned();
    while short.contains("**") {
        short = short.replace("**", "*");
    }
    short
}

/// Lines of the configuration that wait to be applied.
#[derive(Default)]
pub struct Lines(Vec<(Option<String>, Option<String>)>);

impl Lines {
    /// Adds a line that led from one mode to the other.
    pub fn add(&mut self, from: &Mode, to: &Mode, line: &str) {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c.is_control());
        let section = section(to);
        if from.is_raw() || line.is_empty() || line.starts_with('!') {
            return;
        }
        match (from == to, &section) {
            // Leaves a section: the next line shows where it is.
            (false, None) if line.len() <= 4 && !line.contains(' ') => {}
            (false, Some(_)) => self.0.push((section, None)),
            _ => self.0.push((section, Some(shortened(&without_passwords(line))))),
        }
    }

    /// The lines as text, each behind the line of its section; forgets them.
    pub fn take(&mut self) -> String {
        let mut text = String::new();
        let mut current = None;
        for (section, line) in self.0.drain(..) {
            if section != current {
                section.iter().for_each(|section| text += &format!("{section}\n"));
            }
            let indent = if section.is_some() { " " } else { "" };
            line.iter().for_each(|line| text += &format!("{indent}{line}\n"));
            current = section;
        }
        text
    }
}

/// What came of a command, in a few words and without its line.
pub fn outcome<T>(result: &Result<T, CommandError>) -> String {
    let Err(error) = result else { return "done".into() };
    let text = match error {
        CommandError::Syntax(error) | CommandError::Config(ConfigError::Line { error, .. }) => reason(error),
        CommandError::Apply(error) => return outcome::<()>(&Err(refused(error))),
        error => error.to_string(),
    };
    text.lines().next().unwrap_or_default().trim_start_matches("% ").to_owned()
}

fn refused(error: &CommandError) -> CommandError {
    CommandError::Refused(match error {
        CommandError::Syntax(error) | CommandError::Config(ConfigError::Line { error, .. }) => reason(error),
        error => error.to_string().trim_start_matches("% ").to_owned(),
    })
}

fn reason(error: &LineError) -> String {
    match &error.problem {
        Problem::Refused { reason, .. } => reason.clone(),
        _ => "no command".into(),
    }
}

/// The line that leads to a section.
fn section(mode: &Mode) -> Option<String> {
    match mode {
        Mode::Token(name) => Some(format!("crypto pki token {name}")),
        Mode::Trustpoint(label) => Some(format!("crypto pki trustpoint {label}")),
        Mode::Profile(label) => Some(format!("crypto pki profile enrollment {label}")),
        Mode::CertificateMap(name, sequence) => Some(format!("crypto pki certificate map {name} {sequence}")),
        Mode::Server(label) => Some(format!("crypto pki server {label}")),
        Mode::CertificateChain(label) | Mode::Certificate(label, _) => {
            Some(format!("crypto pki certificate chain {label}"))
        }
        Mode::PubkeyChain | Mode::Pubkey(_) | Mode::KeyString(_) => {
            Some("crypto key pubkey-chain rsa".to_owned())
        }
        Mode::Global => None,
    }
}

fn shown(node: &Node, first: u64, last: u64) -> Result<Output, CommandError> {
    let mut entries = Vec::new();
    let mut before = last.checked_add(1);
    loop {
        let page = node.journal(before, PAGE)?;
        let Some(oldest) = page.last().map(|entry| entry.number) else { break };
        entries.extend(page.into_iter().filter(|entry| entry.number >= first));
        if oldest <= first {
            break;
        }
        before = Some(oldest);
    }
    entries.reverse();
    Ok(Output::of(Journal(entries)))
}

#[derive(Serialize)]
struct Journal(Vec<JournalEntry>);

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|entry| entry.user.chars().count()).max().unwrap_or(0).max(4);
        writeln!(f, "{:>5}  {:<24}  {:<width$}  Logged command", "idx", "time", "user")?;
        for entry in &self.0 {
            let JournalEntry { number, at, user, command, outcome, .. } = entry;
            let mut lines = command.lines();
            let first = lines.next().unwrap_or_default();
            writeln!(f, "{number:>5}  {:<24}  {user:<width$}  |{first}", at.to_string())?;
            for line in lines {
                writeln!(f, "{:>5}  {:<24}  {:<width$}  |{line}", "", "", "")?;
            }
            if outcome != "done" {
                writeln!(f, "{:>5}  {:<24}  {:<width$}  % {outcome}", "", "", "")?;
            }
        }
        Ok(())
    }
}

/// Entries read at a time.
const PAGE: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Configuration, Editor};

    #[test]
    fn this_user_has_a_name() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let operator = Operator::of(&ours);
        assert_eq!(operator, Operator::this());
        assert!(operator.uid.is_some() && !operator.name.is_empty());
    }

    #[test]
    fn lines_stand_in_their_sections_without_passwords() {
        let mut editor = Editor::new(Configuration::default());
        let mut lines = Lines::default();
        for line in [
            "hostname a",
            "cr pki server x",
            " database url ftp://h/ ",
            "! a comment",
            " database archive pem password secret1",
            "exit",
            "ip domain name example.com",
            "crypto pki server x",
            "crypto pki server y",
            "end",
        ] {
            let from = editor.mode().clone();
            editor.line(line).unwrap();
            lines.add(&from, editor.mode(), line);
        }
        let text = lines.take();
        assert_eq!(
            text,
            "hostname a\ncrypto pki server x\n database url ftp://h/\n database archive pem password *\n\
             ip domain name example.com\ncrypto pki server x\ncrypto pki server y\n"
        );
        assert_eq!(lines.take(), "");
    }

    #[test]
    fn entries_are_columns() {
        let entry = |number, command: &str, outcome: &str| JournalEntry {
            number,
            at: Time::from_unix(1_792_007_097),
            uid: Some(1000),
            user: "alice".into(),
            command: command.into(),
            outcome: outcome.into(),
        };
        let journal = Journal(vec![
            entry(9, "crypto pki server x\n grant auto", "done"),
            entry(10, "crypto key zeroize rsa x", "there is no key \"x\""),
        ]);
        assert_eq!(
            journal.to_string(),
            "  idx  time                      user   Logged command\n\
             \u{20}   9  19:44:57 UTC Oct 14 2026  alice  |crypto pki server x\n\
             \u{20}                                       | grant auto\n\
             \u{20}  10  19:44:57 UTC Oct 14 2026  alice  |crypto key zeroize rsa x\n\
             \u{20}                                       % there is no key \"x\"\n"
        );
    }
}
