//! A command, what it is called with, and what it returns.

use std::fmt;

use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;

use super::{CommandError, Console, Options, Session};
use crate::config::grammar::{Args, Problem, Refusal, Row};
use crate::node::Node;

/// One exec command.
pub struct Command {
    /// Its syntax.
    pub words: &'static str,
    /// What it does, in a sentence without full stop, for the reference.
    pub about: &'static str,
    /// Help for its words.
    pub help: &'static [(&'static str, &'static str)],
    /// Does it.
    pub run: Run,
}

/// What a command needs.
#[derive(Clone, Copy)]
pub enum Run {
    /// Nothing.
    Alone(fn(&mut Call<'_>) -> Result<Output, CommandError>),
    /// A node.
    OnNode(fn(&Node, &mut Call<'_>) -> Result<Output, CommandError>),
    /// The terminal that it is typed on.
    OnSession(fn(&mut Session, &mut Call<'_>) -> Result<Output, CommandError>),
}

/// A command as it was typed.
pub struct Call<'c> {
    /// The line.
    pub line: &'c str,
    /// Its values.
    pub args: &'c Args,
    /// How it is to be run.
    pub options: Options,
    /// Who typed it.
    pub console: &'c mut dyn Console,
}

/// What a command returns: a value that can be shown as text and as JSON.
pub struct Output {
    report: Box<dyn Report>,
    /// Whether a part of what was asked for could not be done: the program exits with 1.
    pub failed: bool,
}

impl Row for Command {
    fn notations(&self) -> Vec<&'static str> {
        vec![self.words]
    }

    fn help(&self) -> &'static [(&'static str, &'static str)] {
        self.help
    }
}

impl Call<'_> {
    /// Shows text while the command still runs; with `--json` it is left out.
    pub fn say(&mut self, text: &str) -> Result<(), CommandError> {
        if !self.options.json {
            self.console.say(text)?;
        }
        Ok(())
    }

    /// Asks a yes/no question; anything but yes is a refusal.
    pub fn confirm(&mut self, question: &str) -> Result<(), CommandError> {
        super::confirm(self.options.yes, self.console, question)
    }

    /// Asks for a password.
    pub fn ask_secret(&mut self, question: &str) -> Result<SecretString, CommandError> {
        Ok(self.console.ask_secret(question)?)
    }

    /// Lines pasted after this prompt: see [`Console::paste`].
    pub fn paste(&mut self, prompt: &str) -> Result<String, CommandError> {
        Ok(self.console.paste(prompt)?)
    }

    /// A refusal that points at this value.
    pub fn refuse(&self, name: &str, reason: impl Into<String>) -> CommandError {
        self.refused(self.args.refuse(name, reason))
    }

    /// A refusal, with the line.
    pub fn refused(&self, refusal: Refusal) -> CommandError {
        Problem::from(refusal).at(self.line).into()
    }
}

impl Output {
    /// Of a value whose `Display` is its text.
    pub fn of(value: impl Serialize + fmt::Display + Send + 'static) -> Self {
        Self { report: Box::new(value), failed: false }
    }

    /// Nothing to show.
    pub fn nothing() -> Self {
        Self::of(Messages { messages: Vec::new() })
    }

    /// This text.
    pub(super) fn text(text: String) -> Self {
        Self::of(text)
    }

    /// The messages, when it is nothing else.
    pub(super) fn messages(&self) -> Option<Vec<String>> {
        let Value::Object(mut fields) = self.value() else { return None };
        match (fields.len(), fields.remove("messages")) {
            (1, Some(messages)) => serde_json::from_value(messages).ok(),
            _ => None,
        }
    }

    /// The value, for JSON of several.
    pub(super) fn value(&self) -> Value {
        // It was a value a moment ago.
        serde_json::from_str(&self.report.json()).unwrap_or_default()
    }

    /// For standard output: text, or one JSON value. Ends with a newline unless it is empty.
    pub fn render(&self, json: bool) -> String {
        let mut text = if json { self.report.json() } else { self.report.text() };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }
}

trait Report: Send {
    fn json(&self) -> String;
    fn text(&self) -> String;
}

impl<T: Serialize + fmt::Display + Send> Report for T {
    fn json(&self) -> String {
        // Values of ours: maps with string keys and no serializer that fails.
        serde_json::to_string_pretty(self).expect("a report is JSON")
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// Lines for the operator to read.
#[derive(Serialize)]
pub struct Messages {
    pub messages: Vec<String>,
}

impl From<String> for Messages {
    fn from(message: String) -> Self {
        Self { messages: vec![message] }
    }
}

impl fmt::Display for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.messages.iter().try_for_each(|message| writeln!(f, "{message}"))
    }
}

/// What may stand at the end of a line.
#[derive(Serialize)]
pub struct Help(Vec<Word>);

#[derive(Serialize)]
struct Word {
    word: String,
    help: &'static str,
}

impl Help {
    pub fn new(words: Vec<(String, &'static str)>) -> Self {
        Self(words.into_iter().map(|(word, help)| Word { word, help }).collect())
    }
}

impl fmt::Display for Help {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|word| word.word.len()).max().unwrap_or(0);
        self.0.iter().try_for_each(|word| {
            let line = format!("  {:width$}  {}", word.word, word.help);
            writeln!(f, "{}", line.trim_end())
        })
    }
}

/// Hex digits in groups of eight, as IOS shows fingerprints and key data.
pub fn groups(hex: &str) -> String {
    let upper = hex.to_ascii_uppercase();
    let groups = upper.as_bytes().chunks(8).map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(" ")
}
