//! `configure terminal`: one line after the other, each in the mode that the lines before it led to.

use super::grammar::{LineError, Problem, Row, Table, Token, tokens};
use super::line::{self, Line, Verb, abbreviates};
use super::query::{self, Query};
use super::{ConfigError, Configuration, global, server, token, trustpoint};

/// A configuration being typed.
#[derive(Clone)]
pub struct Editor {
    pub(super) configuration: Configuration,
    pub(super) mode: Mode,
    ended: bool,
    notes: Vec<String>,
    // As it was before the last line, and the mode then.
    before: Option<Box<(Configuration, Mode)>>,
}

/// Where a line is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Outside of every section: `(config)#`.
    Global,
    /// `crypto pki token`: `(config-token)#`.
    Token(String),
    /// `crypto pki trustpoint`: `(ca-trustpoint)#`.
    Trustpoint(String),
    /// `crypto pki server`: `(cs-server)#`.
    Server(String),
}

/// A kind of line, for the reference.
pub struct ReferenceLine {
    /// Its syntax.
    pub words: &'static str,
    /// What is enough after `no`.
    pub no: Option<&'static str>,
    /// What it does.
    pub about: &'static str,
    /// Help for its words.
    pub help: &'static [(&'static str, &'static str)],
}

impl Editor {
    /// At the start of `configure terminal`.
    pub fn new(configuration: Configuration) -> Self {
        Self { configuration, mode: Mode::Global, ended: false, notes: Vec::new(), before: None }
    }

    /// The mode for the next line.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// What stands in brackets in the prompt.
    pub fn prompt(&self) -> &'static str {
        match self.mode {
            Mode::Global => "config",
            Mode::Token(_) => "config-token",
            Mode::Trustpoint(_) => "ca-trustpoint",
            Mode::Server(_) => "cs-server",
        }
    }

    /// The configuration so far; [`Editor::finish`] checks it.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Whether the last line left the configuration: `end`, Ctrl-Z, or `exit` outside of every section.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Applies one line. A line that does not belong to the section leaves it when it is a global line.
    /// Returns the question that IOS asks after it; [`Editor::undo`] if the answer is no.
    pub fn line(&mut self, text: &str) -> Result<Option<Query>, LineError> {
        self.ended = false;
        let before = Box::new((self.configuration.clone(), self.mode.clone()));
        // Ctrl-Z after a line does the line and ends; Ctrl-V lets a `?` be typed on IOS.
        let (typed, ended) = text.split_once(CTRL_Z).map_or((text, false), |(typed, _)| (typed, true));
        let typed = typed.replace(CTRL_V, "");
        if !typed.trim_start().starts_with('!') {
            tokens(&typed).and_then(|words| self.words(&words)).map_err(|problem| problem.at(&typed))?;
        }
        if ended {
            self.end();
        }
        self.notes.extend(query::notes(&before.0, &self.configuration));
        let query = query::query(&before.0, &self.configuration);
        self.before = Some(before);
        Ok(query)
    }

    /// Takes the last line back, as if it had not been typed.
    pub fn undo(&mut self) {
        if let Some(before) = self.before.take() {
            (self.configuration, self.mode) = *before;
            self.ended = false;
            self.notes.clear();
        }
    }

    /// What is to be shown after the lines since the last call.
    pub fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// The configuration, when its sections agree with each other.
    pub fn finish(self) -> Result<Configuration, ConfigError> {
        self.configuration.check().map_err(ConfigError::Whole)?;
        Ok(self.configuration)
    }

    /// What may stand after these words of a line, for `?`. `unfinished` is the beginning of a word.
    pub fn next(
        &self,
        text: &str,
        unfinished: Option<&str>,
    ) -> Result<Vec<(String, &'static str)>, LineError> {
        let next = || {
            let words = tokens(text)?;
            let mut found = match self.mode {
                Mode::Global => next(&global::TABLE, &words, unfinished)?,
                Mode::Token(_) => next(&token::TABLE, &words, unfinished)?,
                Mode::Trustpoint(_) => next(&trustpoint::TABLE, &words, unfinished)?,
                Mode::Server(_) => next(&server::TABLE, &words, unfinished)?,
            };
            if words.is_empty() {
                let control = CONTROL.iter().filter(|(word, _)| word.starts_with(unfinished.unwrap_or("")));
                found.extend(control.map(|(word, help)| ((*word).to_owned(), *help)));
                found.sort();
            }
            Ok(found)
        };
        next().map_err(|problem: Problem| problem.at(text))
    }

    pub(super) fn leave(&mut self, mode: &Mode) {
        if self.mode == *mode {
            self.mode = Mode::Global;
        }
    }

    fn end(&mut self) {
        self.mode = Mode::Global;
        self.ended = true;
    }

    fn words(&mut self, words: &[Token<'_>]) -> Result<(), Problem> {
        match words {
            [] => return Ok(()),
            [only] if abbreviates(only.text, "end", 3) => {
                self.end();
                return Ok(());
            }
            [only] if abbreviates(only.text, "exit", 2) => {
                self.ended = self.mode == Mode::Global;
                self.mode = Mode::Global;
                return Ok(());
            }
            _ => {}
        }
        let here = self.section_line(words);
        match (&here, &self.mode) {
            (Err(problem), mode) if problem.reach() < usize::MAX && *mode != Mode::Global => {}
            _ => return here,
        }
        let section = std::mem::replace(&mut self.mode, Mode::Global);
        match (here, self.section_line(words)) {
            (Err(here), Err(global)) => {
                self.mode = section;
                // The one that understood more of the line has more to say about it.
                Err(if global.reach() > here.reach() { global } else { here })
            }
            (_, done) => done,
        }
    }

    fn section_line(&mut self, words: &[Token<'_>]) -> Result<(), Problem> {
        let gone = || Problem::Refused { column: None, reason: "the section is gone".to_owned() };
        let Configuration { tokens, trustpoints, servers, .. } = &mut self.configuration;
        match &self.mode {
            Mode::Global => line::run(&global::TABLE, self, words),
            Mode::Token(name) => line::run(&token::TABLE, tokens.get_mut(name).ok_or_else(gone)?, words),
            Mode::Trustpoint(label) => {
                line::run(&trustpoint::TABLE, trustpoints.get_mut(label).ok_or_else(gone)?, words)
            }
            Mode::Server(label) => line::run(&server::TABLE, servers.get_mut(label).ok_or_else(gone)?, words),
        }
    }
}

/// Every kind of line by the heading of its mode.
pub fn reference() -> Vec<(&'static str, Vec<ReferenceLine>)> {
    vec![
        ("Global lines", reference_of(&global::TABLE)),
        ("crypto pki token", reference_of(&token::TABLE)),
        ("crypto pki trustpoint", reference_of(&trustpoint::TABLE)),
        ("crypto pki server", reference_of(&server::TABLE)),
    ]
}

fn reference_of<S>(table: &Table<Line<S>>) -> Vec<ReferenceLine> {
    let line = |line: &&'static Line<S>| ReferenceLine {
        words: line.words,
        no: line.no,
        about: line.about,
        help: line.help(),
    };
    table.rows().iter().map(line).collect()
}

fn next<S>(
    table: &Table<Line<S>>,
    words: &[Token<'_>],
    unfinished: Option<&str>,
) -> Result<Vec<(String, &'static str)>, Problem> {
    let (verb, tail) = Verb::split(words);
    table.next(tail, unfinished, |notation| verb != Verb::Set || notation == 0)
}

const CTRL_V: char = '\u{16}';
const CTRL_Z: char = '\u{1a}';

const CONTROL: &[(&str, &str)] = &[
    ("default", "Set to its default"),
    ("end", "Leave the configuration"),
    ("exit", "Leave this section"),
    ("no", "Take back"),
];
