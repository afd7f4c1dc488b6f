//! A kind of configuration line: its words, its `no` form, its help, and what it does to its section.

use super::grammar::{Args, Problem, Refusal, Row, Table, Token};

/// One kind of line that edits an `S`.
pub struct Line<S: 'static> {
    /// Its syntax.
    pub words: &'static str,
    /// What is enough after `no` and `default`; the whole line is accepted there as well. Absent when the
    /// line cannot be taken back.
    pub no: Option<&'static str>,
    /// What it does, in a sentence without full stop, for the reference.
    pub about: &'static str,
    /// Help for its words.
    pub help: &'static [(&'static str, &'static str)],
    /// Does it.
    pub run: fn(&mut S, Verb, &Args) -> Result<(), Refusal>,
}

/// How a line was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// As it is.
    Set,
    /// With `no` before it.
    No,
    /// With `default` before it.
    Default,
}

impl Verb {
    /// Takes `no` or `default` from the front of a line.
    pub fn split<'t, 'l>(tokens: &'t [Token<'l>]) -> (Self, &'t [Token<'l>]) {
        match tokens {
            [first, tail @ ..] if first.text.eq_ignore_ascii_case("no") => (Self::No, tail),
            [first, tail @ ..] if abbreviates(first.text, "default", 3) => (Self::Default, tail),
            _ => (Self::Set, tokens),
        }
    }
}

/// Whether `text` is `word` or its beginning, of at least `least` octets.
pub(super) fn abbreviates(text: &str, word: &str, least: usize) -> bool {
    text.len() >= least && word.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text))
}

impl<S> Row for Line<S> {
    fn notations(&self) -> Vec<&'static str> {
        [self.words].into_iter().chain(self.no).collect()
    }

    fn help(&self) -> &'static [(&'static str, &'static str)] {
        self.help
    }
}

/// Finds the line of `table` that was typed and does it to `section`.
pub(super) fn run<S>(table: &Table<Line<S>>, section: &mut S, tokens: &[Token<'_>]) -> Result<(), Problem> {
    let (verb, words) = Verb::split(tokens);
    let found = match verb {
        Verb::Set => table.find(words, |notation| notation == 0)?,
        Verb::No | Verb::Default => {
            let found = table.find(words, |_| true)?;
            if found.row.no.is_none() {
                return Err(Refusal::from("this line has no `no` form").into());
            }
            found
        }
    };
    Ok((found.row.run)(section, verb, &found.args)?)
}
