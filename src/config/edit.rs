//! `configure terminal`: one line after the other, each in the mode that the lines before it led to.

use std::collections::BTreeMap;

use super::foreign::LeftOut;
use super::grammar::{Args, LineError, Problem, Refusal, Row, Token, tokens, without_passwords};
use super::line::{Line, Lines, Verb};
use super::mode::Mode;
use super::query::{self, Query};
use super::{ConfigError, Configuration, chain, global, pubkey, rules, server, token, trustpoint};

/// A configuration being typed.
#[derive(Clone)]
pub struct Editor {
    pub(super) configuration: Configuration,
    pub(super) mode: Mode,
    // Hex digits of the key or certificate being typed.
    hex: String,
    ended: bool,
    number: usize,
    notes: Vec<String>,
    left_out: Option<LeftOut>,
    // By mode, syntax and words of the syntax.
    typed: BTreeMap<(Mode, &'static str, Vec<&'static str>), Remembered>,
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
struct Remembered {
    number: usize,
    line: String,
    // Whether it was no more than the `no` form.
    no: bool,
    args: Args,
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
        Self {
            configuration,
            mode: Mode::Global,
            hex: String::new(),
            ended: false,
            number: 0,
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
        self.number += 1;
        self.ended = false;
        if self.mode.is_raw() && self.hex_line(text) {
            self.before = None;
            return Ok(None);
        }
        // A byte order mark, as some editors put before the first line.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // Ctrl-Z after a line does the line and ends; Ctrl-V lets a `?` be typed on IOS.
        let (line, ended) = text.split_once(CTRL_Z).map_or((text, false), |(line, _)| (line, true));
        let line = line.replace(CTRL_V, "");
        let before = Box::new(Before {
            configuration: self.configuration.clone(),
            mode: self.mode.clone(),
            notes: self.notes.len(),
        });
        if let Err(problem) = self.apply(&line) {
            self.configuration = before.configuration;
            // Hex digits that were ended are gone, good or not.
            if !before.mode.is_raw() {
                self.mode = before.mode;
            }
            return Err(problem.at(&without_passwords(&line)));
        }
        if ended {
            self.end();
        }
        self.notes.extend(query::notes(&before.configuration, &self.configuration));
        let query = query::query(&before.configuration, &self.configuration);
        self.before = Some(before);
        Ok(query)
    }

    /// Applies lines, as many as there are, with every question answered by yes.
    pub fn lines(&mut self, text: &str) -> Result<(), ConfigError> {
        for line in text.lines() {
            self.line(line).map_err(|error| ConfigError::Line { number: self.number, error })?;
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
        Err(match to_blame.max_by_key(|(typed, _)| typed.number) {
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
        let next = || {
            let words = tokens(text)?;
            let mut found = match self.mode {
                Mode::Global => global::LINES.next(&words, unfinished)?,
                Mode::Token(_) => token::LINES.next(&words, unfinished)?,
                Mode::Trustpoint(_) => trustpoint::LINES.next(&words, unfinished)?,
                Mode::Server(_) => server::LINES.next(&words, unfinished)?,
                Mode::PubkeyChain => pubkey::CHAIN.next(&words, unfinished)?,
                Mode::Pubkey(_) => pubkey::LINES.next(&words, unfinished)?,
                Mode::CertificateChain(_) => chain::LINES.next(&words, unfinished)?,
                Mode::KeyString(_) | Mode::Certificate(..) => return Ok(RAW_HELP.map(owned).to_vec()),
            };
            if words.is_empty() {
                let control = CONTROL.iter().filter(|(word, _)| word.starts_with(unfinished.unwrap_or("")));
                found.extend(control.map(|help| owned(*help)));
                found.sort();
            }
            Ok(found)
        };
        next().map_err(|problem: Problem| problem.at(&without_passwords(text)))
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
        let note = left_out.note();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
        self.left_out = Some(left_out);
    }

    fn end(&mut self) {
        self.mode = Mode::Global;
        self.ended = true;
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

    /// Takes a line of nothing but hex digits: the usual one, for which nothing need be kept.
    fn hex_line(&mut self, line: &str) -> bool {
        let digits = line.bytes().filter(|b| !b.is_ascii_whitespace());
        if !digits.clone().all(|b| b.is_ascii_hexdigit()) || self.hex.len() + line.len() > MAX_HEX {
            return false;
        }
        self.hex.extend(digits.map(char::from));
        true
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
        let above = std::iter::successors(Some(self.mode.clone()), |mode| {
            (*mode != Mode::Global).then(|| mode.above())
        });
        let modes: Vec<_> = above.collect();
        let mut problems = Vec::new();
        for mode in &modes {
            match self.attempt(mode, Which::Shown, line, words) {
                Outcome::Done(done) => return done,
                Outcome::Unknown(problem) if problem.reach() == usize::MAX => return Err(problem),
                Outcome::Unknown(problem) => problems.push((mode, problem)),
            }
        }
        // The mode that understood most of the line has most to say about it; of equals the nearest.
        let reach = problems.iter().map(|(_, problem)| problem.reach()).max().unwrap_or(0);
        problems.retain(|(_, problem)| problem.reach() == reach);
        for (mode, _) in &problems {
            if let Outcome::Done(done) = self.attempt(mode, Which::Also, line, words) {
                return done;
            }
        }
        let (verb, tail) = Verb::split(words);
        if problems.iter().any(|(mode, _)| is_later(mode, tail)) {
            return match verb {
                Verb::Set => Err(not_in_this_version(words, reach)),
                // It is not there: nothing to take back.
                Verb::No | Verb::Default => Ok(()),
            };
        }
        if let Some(left_out) = LeftOut::of(tail) {
            self.leave_out(left_out);
            return Ok(());
        }
        Err(problems.swap_remove(0).1)
    }

    /// Finds the line among those of `mode` and does it there.
    fn attempt(&mut self, mode: &Mode, which: Which, line: &str, words: &[Token<'_>]) -> Outcome {
        macro_rules! attempt {
            ($lines:expr, $section:expr) => {
                match $lines.find(which == Which::Also, words) {
                    Err(problem) => Outcome::Unknown(problem),
                    Ok(typed) => {
                        self.mode = mode.clone();
                        let done = match $section {
                            Some(section) => typed.run(section),
                            None => Err(Refusal::from("the section is gone").into()),
                        };
                        if done.is_ok() {
                            let (syntax, no, args) = typed.into_parts();
                            let line = without_passwords(line);
                            let words = args.words().collect();
                            let remembered = Remembered { number: self.number, line, no, args };
                            self.typed.insert((mode.clone(), syntax, words), remembered);
                        }
                        Outcome::Done(done)
                    }
                }
            };
        }
        match mode {
            Mode::Global => attempt!(global::LINES, Some(&mut *self)),
            Mode::Token(name) => attempt!(token::LINES, self.configuration.tokens.get_mut(name)),
            Mode::Trustpoint(label) => {
                attempt!(trustpoint::LINES, self.configuration.trustpoints.get_mut(label))
            }
            Mode::Server(label) => attempt!(server::LINES, self.configuration.servers.get_mut(label)),
            Mode::PubkeyChain => attempt!(pubkey::CHAIN, Some(&mut *self)),
            Mode::Pubkey(_) => attempt!(pubkey::LINES, Some(&mut *self)),
            Mode::CertificateChain(_) => attempt!(chain::LINES, Some(&mut *self)),
            Mode::KeyString(_) | Mode::Certificate(..) => Outcome::Unknown(Problem::Incomplete),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Shown,
    Also,
}

enum Outcome {
    /// The line is none of these.
    Unknown(Problem),
    /// It is, and was done or refused.
    Done(Result<(), Problem>),
}

/// Whether IOS has this line in this mode and this version does not.
fn is_later(mode: &Mode, words: &[Token<'_>]) -> bool {
    let later = match mode {
        Mode::Global => &global::LATER,
        Mode::Trustpoint(_) => &trustpoint::LATER,
        Mode::Server(_) => &server::LATER,
        Mode::CertificateChain(_) => &chain::LATER,
        _ => return false,
    };
    matches!(later.find(words, |_| true), Ok(_) | Err(Problem::Incomplete))
}

fn not_in_this_version(words: &[Token<'_>], column: usize) -> Problem {
    let word = words.iter().find(|word| word.column == column).or(words.first());
    let word = word.map(|word| word.text).unwrap_or_default();
    Problem::Refused { column: Some(column), reason: format!("`{word}` is not in this version") }
}

/// Every kind of line by the heading of its mode.
pub fn reference() -> Vec<(&'static str, Vec<ReferenceLine>)> {
    vec![
        ("Global lines", reference_of(&global::LINES)),
        ("crypto pki token", reference_of(&token::LINES)),
        ("crypto pki trustpoint", reference_of(&trustpoint::LINES)),
        ("crypto pki server", reference_of(&server::LINES)),
        ("crypto pki certificate chain", reference_of(&chain::LINES)),
        ("crypto key pubkey-chain rsa", reference_of(&pubkey::CHAIN)),
        ("named-key and addressed-key", reference_of(&pubkey::LINES)),
    ]
}

fn reference_of<S>(lines: &Lines<S>) -> Vec<ReferenceLine> {
    let line = |line: &&'static Line<S>| ReferenceLine {
        words: line.words,
        no: line.no,
        about: line.about,
        help: line.help(),
    };
    lines.shown.rows().iter().map(line).collect()
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
