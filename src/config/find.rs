//! Which line it is that was typed, in a mode or in one above it.

use super::foreign::LeftOut;
use super::grammar::{Args, Problem, Refusal, Token};
use super::line::{Lines, Verb};
use super::mode::Mode;
use super::{Editor, chain, global, map, profile, pubkey, server, token, trustpoint};

/// What a line turned out to be.
pub(super) enum Found {
    /// A line of this mode.
    Line {
        /// The mode.
        mode: Mode,
        /// The line.
        line: Box<FoundLine>,
    },
    /// A line that changes nothing.
    Nothing,
    /// A line of a router.
    LeftOut(LeftOut),
}

/// A line that can be done.
pub(super) struct FoundLine {
    /// Its syntax.
    pub syntax: &'static str,
    /// Whether it is no more than the `no` form.
    pub no: bool,
    /// Its values.
    pub args: Args,
    run: Run,
}

type Run = Box<dyn Fn(&mut Editor, &Args) -> Result<(), Refusal>>;

impl FoundLine {
    /// Does it, in the mode that the editor is in now.
    pub fn run(&self, editor: &mut Editor) -> Result<(), Refusal> {
        (self.run)(editor, &self.args)
    }
}

/// The line of these words, typed in `mode`. The nearest mode that has it wins; of problems, that of the
/// mode that understood most of the line, and of equals the nearest.
pub(super) fn find(mode: &Mode, words: &[Token<'_>]) -> Result<Found, Problem> {
    let above = |mode: &Mode| (*mode != Mode::Global).then(|| mode.above());
    let mut problems = Vec::new();
    for mode in std::iter::successors(Some(mode.clone()), above) {
        match find_in(&mode, Which::Shown, words) {
            Ok(line) => return Ok(Found::Line { mode, line: Box::new(line) }),
            Err(problem) if problem.reach() == usize::MAX => return Err(problem),
            Err(problem) => problems.push((mode, problem)),
        }
    }
    let reach = problems.iter().map(|(_, problem)| problem.reach()).max().unwrap_or(0);
    problems.retain(|(_, problem)| problem.reach() == reach);
    for (mode, _) in &problems {
        if let Ok(line) = find_in(mode, Which::Also, words) {
            return Ok(Found::Line { mode: mode.clone(), line: Box::new(line) });
        }
    }
    let (verb, tail) = Verb::split(words);
    if let Some(column) = problems.iter().find_map(|(mode, _)| later(mode, tail, reach)) {
        return match verb {
            Verb::Set => Err(not_in_this_version(words, column)),
            // It is not there: nothing to take back.
            Verb::No | Verb::Default => Ok(Found::Nothing),
        };
    }
    match LeftOut::of(tail) {
        Some(left_out) => Ok(Found::LeftOut(left_out)),
        None => Err(problems.swap_remove(0).1),
    }
}

/// What may stand after these words in this mode; `None` where lines are hex digits.
pub(super) fn next(
    mode: &Mode,
    words: &[Token<'_>],
    unfinished: Option<&str>,
) -> Result<Option<Vec<(String, &'static str)>>, Problem> {
    let found = match mode {
        Mode::Global => global::LINES.next(words, unfinished),
        Mode::Token(_) => token::LINES.next(words, unfinished),
        Mode::Trustpoint(_) => trustpoint::LINES.next(words, unfinished),
        Mode::Profile(_) => profile::LINES.next(words, unfinished),
        Mode::CertificateMap(..) => map::LINES.next(words, unfinished),
        Mode::Server(_) => server::LINES.next(words, unfinished),
        Mode::PubkeyChain => pubkey::CHAIN.next(words, unfinished),
        Mode::Pubkey(_) => pubkey::LINES.next(words, unfinished),
        Mode::CertificateChain(_) => chain::LINES.next(words, unfinished),
        Mode::KeyString(_) | Mode::Certificate(..) => return Ok(None),
    };
    found.map(Some)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Shown,
    Also,
}

fn find_in(mode: &Mode, which: Which, words: &[Token<'_>]) -> Result<FoundLine, Problem> {
    match mode {
        Mode::Global => bind(&global::LINES, which, words, "", |editor, _| Some(editor)),
        Mode::PubkeyChain => bind(&pubkey::CHAIN, which, words, "", |editor, _| Some(editor)),
        Mode::Pubkey(_) => bind(&pubkey::LINES, which, words, "", |editor, _| Some(editor)),
        Mode::CertificateChain(_) => bind(&chain::LINES, which, words, "", |editor, _| Some(editor)),
        Mode::Token(name) => {
            bind(&token::LINES, which, words, name, |editor, name| editor.configuration.tokens.get_mut(name))
        }
        Mode::Trustpoint(label) => bind(&trustpoint::LINES, which, words, label, |editor, label| {
            editor.configuration.trustpoints.get_mut(label)
        }),
        Mode::Profile(label) => bind(&profile::LINES, which, words, label, |editor, label| {
            editor.configuration.profiles.get_mut(label)
        }),
        Mode::CertificateMap(..) => bind(&map::LINES, which, words, "", |editor, _| Some(editor)),
        Mode::Server(label) => bind(&server::LINES, which, words, label, |editor, label| {
            editor.configuration.servers.get_mut(label)
        }),
        Mode::KeyString(_) | Mode::Certificate(..) => Err(Problem::Incomplete),
    }
}

/// The line among `lines`, and the section of this name, where it is done.
fn bind<S>(
    lines: &Lines<S>,
    which: Which,
    words: &[Token<'_>],
    name: &str,
    section: for<'e> fn(&'e mut Editor, &str) -> Option<&'e mut S>,
) -> Result<FoundLine, Problem> {
    let (verb, found) = lines.find(which == Which::Also, words)?;
    let (row, name) = (found.row, name.to_owned());
    let run = move |editor: &mut Editor, args: &Args| {
        (row.run)(section(editor, &name).ok_or("the section is gone")?, verb, args)
    };
    Ok(FoundLine { syntax: row.words, no: found.notation > 0, args: found.args, run: Box::new(run) })
}

/// When IOS has this line in this mode and this version does not: the column of the word that makes it so,
/// at or before `reach`, from where on this version did not understand it.
fn later(mode: &Mode, words: &[Token<'_>], reach: usize) -> Option<usize> {
    let later = match mode {
        Mode::Global => &global::LATER,
        Mode::Trustpoint(_) => &trustpoint::LATER,
        Mode::Server(_) => &server::LATER,
        Mode::CertificateChain(_) => &chain::LATER,
        _ => return None,
    };
    match later.find(words, |_| true) {
        Ok(found) => Some(found.args.last_word_to(reach).unwrap_or(reach)),
        Err(Problem::Incomplete) => Some(reach),
        Err(_) => None,
    }
}

fn not_in_this_version(words: &[Token<'_>], column: usize) -> Problem {
    let word = words.iter().find(|word| word.column == column).or(words.first());
    let word = word.map(|word| word.text).unwrap_or_default();
    Problem::Refused { column: Some(column), reason: format!("`{word}` is not in this version") }
}
