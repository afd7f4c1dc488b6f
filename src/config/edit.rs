//! `configure terminal`: one line after the other, each in the mode that the lines before it led to.

use std::collections::BTreeMap;

use super::find::{Found, find, next};
use super::foreign::LeftOut;
use super::grammar::{Args, LineError, Problem, Refusal, Token, tokens, without_passwords};
use super::mode::Mode;
use super::query::{self, Query};
use super::{ConfigError, Configuration, chain, pubkey, rules};

/// A configuration being typed.
#[derive(Clone)]
pub struct Editor {
    pub(super) configuration: Configuration,
    pub(super) mode: Mode,
    // Hex digits of the key or certificate being typed.
    hex: String,
    ended: bool,
    number: usize,
    // Lines so far; a number may be given to several.
    steps: usize,
    notes: Vec<String>,
    left_out: Option<LeftOut>,
    // By mode, syntax and words of the syntax.
    typed: BTreeMap<(Mode, &'static str, Vec<&'static str>), Typed>,
    before: Option<Box<Before>>,
}

/// How things were before the last line.
#[derive(Clone)]
struct Before {
    configuration: Configuration,
    mode: Mode,
    notes: usize,
}

/// A line that may turn out to be wrong when all lines are there.
#[derive(Clone)]
struct Typed {
    number: usize,
    // How many lines came before it.
    order: usize,
    line: String,
    // Whether it was no more than the `no` form.
    no: bool,
    args: Args,
}

impl Editor {
    /// At the start of `configure terminal`.
    pub fn new(configuration: Configuration) -> Self {
        Self {
            configuration,
            mode: Mode::Global,
            hex: String::new(),
            ended: false,
            number: 0,
            steps: 0,
            notes: Vec::new(),
            left_out: None,
            typed: BTreeMap::new(),
            before: None,
        }
    }

    /// The mode for the next line.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// What stands in brackets in the prompt.
    pub fn prompt(&self) -> &'static str {
        self.mode.prompt()
    }

    /// The configuration so far; [`Editor::finish`] checks it.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Whether the last line left the configuration: `end`, Ctrl-Z, or `exit` outside of every section.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Applies one line. A line that does not belong to the section leaves it when it is one of a mode
    /// above. Returns the question that IOS asks after it; [`Editor::undo`] if the answer is no.
    /// Passwords are not in the error.
    pub fn line(&mut self, text: &str) -> Result<Option<Query>, LineError> {
        if self.mode.is_raw() && is_hex(text) {
            self.before = None;
            return self.step(text).map(|()| None);
        }
        let before = Box::new(Before {
            configuration: self.configuration.clone(),
            mode: self.mode.clone(),
            notes: self.notes.len(),
        });
        if let Err(error) = self.step(text) {
            self.configuration = before.configuration;
            // Hex digits that were ended are gone, good or not.
            if !before.mode.is_raw() {
                self.mode = before.mode;
            }
            return Err(error);
        }
        self.note(query::notes(&before.configuration, &self.configuration));
        let query = query::query(&before.configuration, &self.configuration);
        self.before = Some(before);
        Ok(query)
    }

    /// Applies lines up to the first that is wrong, with every question answered by yes. Of what is to be
    /// shown, only what was left out is kept.
    pub(super) fn lines(&mut self, text: &str) -> Result<(), ConfigError> {
        self.before = None;
        for line in text.lines() {
            self.step(line).map_err(|error| ConfigError::Line { number: self.number, error })?;
        }
        Ok(())
    }

    /// Says which number the next line has, where not every line is one for this editor.
    pub fn at_line(&mut self, number: usize) {
        self.number = number.saturating_sub(1);
    }

    /// Goes on from another configuration: in the same section, if it is there and `stay` says so.
    pub fn rebase(&mut self, configuration: Configuration, stay: bool) {
        if !stay || !self.mode.is_in(&configuration) {
            self.mode = Mode::Global;
        }
        self.configuration = configuration;
        self.before = None;
    }

    /// Takes the last line back, as if it had not been typed.
    pub fn undo(&mut self) {
        if let Some(before) = self.before.take() {
            self.configuration = before.configuration;
            self.mode = before.mode;
            self.notes.truncate(before.notes);
            self.ended = false;
        }
    }

    /// What is to be shown after the lines since the last call.
    pub fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Whether the sections agree with each other. A line typed is told to be wrong by its number.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.mode.is_raw() {
            return Err(ConfigError::Whole("the hex digits have no end; end them with `quit`".into()));
        }
        let Some(broken) = rules::broken(&self.configuration) else { return Ok(()) };
        let to_blame = self.typed.iter().filter_map(|((mode, words, _), typed)| {
            let blame = broken.blames.iter().find(|blame| blame.mode == *mode && blame.words == *words)?;
            let about_it = typed.no || typed.args.has(blame.value) || typed.args.get(blame.value).is_some();
            about_it.then_some((typed, blame))
        });
        Err(match to_blame.max_by_key(|(typed, _)| typed.order) {
            Some((typed, blame)) => {
                let problem = Problem::from(typed.args.refuse(blame.value, blame.reason.as_str()));
                ConfigError::Line { number: typed.number, error: problem.at(&typed.line) }
            }
            None => ConfigError::Whole(format!("{}: {}", broken.section, broken.reason)),
        })
    }

    /// The configuration, when [`Editor::check`] finds nothing.
    pub fn finish(self) -> Result<Configuration, ConfigError> {
        self.check()?;
        Ok(self.configuration)
    }

    /// What may stand after these words of a line, for `?`. `unfinished` is the beginning of a word.
    pub fn next(
        &self,
        text: &str,
        unfinished: Option<&str>,
    ) -> Result<Vec<(String, &'static str)>, LineError> {
        let help = || {
            let words = tokens(text)?;
            let Some(mut found) = next(&self.mode, &words, unfinished)? else {
                return Ok(RAW_HELP.map(owned).to_vec());
            };
            if words.is_empty() {
                let control = CONTROL.iter().filter(|(word, _)| word.starts_with(unfinished.unwrap_or("")));
                found.extend(control.map(|help| owned(*help)));
                found.sort();
            }
            Ok(found)
        };
        help().map_err(|problem: Problem| problem.at(&without_passwords(text)))
    }

    pub(super) fn leave(&mut self, mode: &Mode) {
        if self.mode == *mode {
            self.mode = Mode::Global;
        }
    }

    /// From now on lines are hex digits.
    pub(super) fn type_hex(&mut self, mode: Mode) {
        self.hex.clear();
        self.mode = mode;
    }

    fn leave_out(&mut self, left_out: LeftOut) {
        self.mode = Mode::Global;
        self.note([left_out.note()]);
        self.left_out = Some(left_out);
    }

    /// What was said once already is not said again.
    fn note(&mut self, notes: impl IntoIterator<Item = String>) {
        for note in notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    fn end(&mut self) {
        self.mode = Mode::Global;
        self.left_out = None;
        self.ended = true;
    }

    /// Applies one line; one that is wrong may have been done in part.
    fn step(&mut self, text: &str) -> Result<(), LineError> {
        self.number += 1;
        self.steps += 1;
        self.ended = false;
        // A byte order mark, as some editors put before the first line.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // Ctrl-Z after a line does the line and ends; Ctrl-V lets a `?` be typed on IOS.
        let (line, ended) = text.split_once(CTRL_Z).map_or((text, false), |(line, _)| (line, true));
        let line = line.replace(CTRL_V, "");
        self.apply(&line).map_err(|problem| problem.at(&without_passwords(&line)))?;
        if ended {
            self.end();
        }
        Ok(())
    }

    fn apply(&mut self, line: &str) -> Result<(), Problem> {
        if let Some(left_out) = &mut self.left_out {
            if left_out.takes(line) {
                return Ok(());
            }
            self.left_out = None;
        }
        if line.trim_start().starts_with('!') {
            return Ok(());
        }
        if let Some(banner) = LeftOut::of_banner(line) {
            self.leave_out(banner);
            return Ok(());
        }
        let words = tokens(line)?;
        match &words[..] {
            [] => Ok(()),
            _ if self.mode.is_raw() => self.raw(&words),
            [only] if only.abbreviates("end", 3) => {
                self.end();
                Ok(())
            }
            [only] if only.abbreviates("exit", 2) => {
                self.ended = self.mode == Mode::Global;
                self.mode = self.mode.above();
                Ok(())
            }
            _ => self.words(line, &words),
        }
    }

    /// A line of hex digits, or `quit` after the last.
    fn raw(&mut self, words: &[Token<'_>]) -> Result<(), Problem> {
        let (digits, quit) = match words {
            [digits @ .., last] if last.text.eq_ignore_ascii_case("quit") => (digits, true),
            digits => (digits, false),
        };
        if let Some(wrong) = digits.iter().find(|word| !word.text.bytes().all(|b| b.is_ascii_hexdigit())) {
            let reason = "this is not hex; `quit` ends the hex digits".to_owned();
            return Err(Problem::Refused { column: Some(wrong.column), reason });
        }
        digits.iter().for_each(|word| self.hex.push_str(word.text));
        if self.hex.len() > MAX_HEX {
            self.hex.truncate(MAX_HEX);
            return Err(Refusal::from("these are more hex digits than a key or certificate has").into());
        }
        if !quit {
            return Ok(());
        }
        let above = self.mode.above();
        let mode = std::mem::replace(&mut self.mode, above);
        let hex = std::mem::take(&mut self.hex);
        let taken = match &mode {
            Mode::KeyString(id) => pubkey::take(&mut self.configuration, id, &hex),
            Mode::Certificate(label, entry) => chain::take(&mut self.configuration, label, entry, &hex),
            _ => Ok(()),
        };
        Ok(taken?)
    }

    fn words(&mut self, line: &str, words: &[Token<'_>]) -> Result<(), Problem> {
        match find(&self.mode, words)? {
            Found::Line { mode, line: found } => {
                self.mode = mode.clone();
                found.run(self)?;
                let key = (mode, found.syntax, found.args.words().collect());
                let line = without_passwords(line);
                let typed =
                    Typed { number: self.number, order: self.steps, line, no: found.no, args: found.args };
                self.typed.insert(key, typed);
            }
            Found::Nothing => {}
            Found::LeftOut(left_out) => self.leave_out(left_out),
        }
        Ok(())
    }
}

fn is_hex(line: &str) -> bool {
    line.bytes().all(|b| b.is_ascii_hexdigit() || b == b' ')
}

fn owned((word, help): (&str, &'static str)) -> (String, &'static str) {
    (word.to_owned(), help)
}

const CTRL_V: char = '\u{16}';
const CTRL_Z: char = '\u{1a}';
/// Hex digits of a certificate with very many names.
const MAX_HEX: usize = 1 << 17;

const CONTROL: &[(&str, &str)] = &[
    ("default", "Set to its default"),
    ("end", "Leave the configuration"),
    ("exit", "Leave this section"),
    ("no", "Take back"),
];

const RAW_HELP: [(&str, &str); 2] = [("quit", "End of the hex digits"), ("<hex>", "Hex digits, in DER")];
