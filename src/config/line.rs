//! A kind of configuration line: its words, its `no` form, its help, and what it does to its section.

use super::grammar::{Args, Match, Problem, Refusal, Row, Table, Token};

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
            [first, tail @ ..] if first.abbreviates("default", 3) => (Self::Default, tail),
            _ => (Self::Set, tokens),
        }
    }
}

impl<S> Row for Line<S> {
    fn notations(&self) -> Vec<&'static str> {
        [self.words].into_iter().chain(self.no).collect()
    }

    fn help(&self) -> &'static [(&'static str, &'static str)] {
        self.help
    }
}

/// The lines of a mode.
pub struct Lines<S: 'static> {
    /// Those that help and the reference show.
    pub shown: Table<Line<S>>,
    /// Other spellings, and lines of IOS that are refused with a reason.
    pub hidden: Table<Line<S>>,
}

impl<S> Lines<S> {
    /// Of these lines.
    pub fn new(
        shown: impl IntoIterator<Item = &'static Line<S>>,
        hidden: impl IntoIterator<Item = &'static Line<S>>,
    ) -> Self {
        Self { shown: Table::new(shown), hidden: Table::new(hidden) }
    }

    /// The line that was typed, among those that are shown or not.
    pub(super) fn find(&self, also: bool, tokens: &[Token<'_>]) -> Result<(Verb, Match<Line<S>>), Problem> {
        let table = if also { &self.hidden } else { &self.shown };
        let (verb, words) = Verb::split(tokens);
        let found = table.find(words, |notation| verb != Verb::Set || notation == 0)?;
        if verb != Verb::Set && found.row.no.is_none() {
            return Err(Refusal::from("this line has no `no` form").into());
        }
        Ok((verb, found))
    }

    /// What may stand after these words.
    pub(super) fn next(
        &self,
        words: &[Token<'_>],
        unfinished: Option<&str>,
    ) -> Result<Vec<(String, &'static str)>, Problem> {
        let (verb, tail) = Verb::split(words);
        self.shown.next(tail, unfinished, |notation| verb != Verb::Set || notation == 0)
    }
}

/// A line of IOS that this version does not have: its syntax.
pub struct Later(pub &'static str);

impl Row for Later {
    fn notations(&self) -> Vec<&'static str> {
        vec![self.0]
    }

    fn help(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
}
