//! Finding the row of a table that a line fits, and what may stand next.

use super::syntax::{Atom, Item, Kind, Syntax};
use super::{Args, Problem, Row, Taken, Token, help_of};

/// Rows ready to be searched.
pub struct Table<R: 'static> {
    rows: Vec<&'static R>,
    // Row, and which of its notations.
    syntaxes: Vec<(usize, usize, Syntax)>,
}

/// A row that a line fits.
pub struct Match<R: 'static> {
    /// The row.
    pub row: &'static R,
    /// Which of its notations fitted.
    pub notation: usize,
    /// The values.
    pub args: Args,
}

impl<R: Row> Table<R> {
    /// A table of these rows.
    pub fn new(rows: impl IntoIterator<Item = &'static R>) -> Self {
        let rows: Vec<_> = rows.into_iter().collect();
        let syntaxes = rows.iter().enumerate().flat_map(|(row, r)| {
            let notations = r.notations().into_iter().enumerate();
            notations.map(move |(which, notation)| (row, which, Syntax::new(notation)))
        });
        let syntaxes = syntaxes.collect();
        Self { rows, syntaxes }
    }

    /// The rows.
    pub fn rows(&self) -> &[&'static R] {
        &self.rows
    }

    /// The row that these words fit, among notations that `wanted` admits.
    pub fn find(&self, tokens: &[Token<'_>], wanted: impl Fn(usize) -> bool) -> Result<Match<R>, Problem> {
        let threads = self.walk(tokens, wanted)?;
        let Some(thread) = threads.into_iter().find(|t| expand(t.rest.clone(), &mut Vec::new())) else {
            return Err(Problem::Incomplete);
        };
        let (row, notation, _) = self.syntaxes[thread.syntax];
        Ok(Match { row: self.rows[row], notation, args: thread.args })
    }

    /// What may stand after these words, with its help, sorted; a word unfinished is completed.
    /// `<cr>` stands for the end of the line.
    pub fn next(
        &self,
        tokens: &[Token<'_>],
        unfinished: Option<&str>,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<(String, &'static str)>, Problem> {
        let mut found = Vec::new();
        let mut ends = false;
        for thread in self.walk(tokens, wanted)? {
            let mut steps = Vec::new();
            ends |= expand(thread.rest, &mut steps);
            let row = self.rows[self.syntaxes[thread.syntax].0];
            found.extend(
                steps.into_iter().map(|(atom, _)| (atom.shown(), help_of(row, atom).unwrap_or_default())),
            );
        }
        if let Some(start) = unfinished {
            found.retain(|(word, _)| word.starts_with('<') || begins(word, start));
        } else if ends {
            found.push(("<cr>".to_owned(), ""));
        }
        // Words first, then values, then the end.
        found.sort_by_key(|(word, _)| (word == "<cr>", !word.starts_with(char::is_lowercase), word.clone()));
        found.dedup_by(|a, b| a.0 == b.0);
        Ok(found)
    }

    fn walk(&self, tokens: &[Token<'_>], wanted: impl Fn(usize) -> bool) -> Result<Vec<Thread<'_>>, Problem> {
        let mut threads: Vec<Thread<'_>> = self
            .syntaxes
            .iter()
            .enumerate()
            .filter(|(_, (_, which, _))| wanted(*which))
            .map(|(syntax, (_, _, s))| Thread {
                syntax,
                rest: vec![Frame::Sequence(&s.items)],
                args: Args::default(),
            })
            .collect();
        for token in tokens {
            threads = advance(threads, token)?;
            let ends = |thread: &Thread<'_>| thread.args.taken.last().is_some_and(|t| t.ends);
            if threads.iter().any(ends) {
                threads.retain(ends);
                break;
            }
        }
        Ok(threads)
    }
}

#[derive(Clone)]
enum Frame<'s> {
    Sequence(&'s [Item]),
    Options(Vec<&'s [Item]>),
}

// What remains of a syntax: the last frame comes first.
type Rest<'s> = Vec<Frame<'s>>;

struct Thread<'s> {
    syntax: usize,
    rest: Rest<'s>,
    args: Args,
}

/// Adds every atom that may come next, with what remains after it. True when nothing need come.
fn expand<'s>(mut rest: Rest<'s>, out: &mut Vec<(Atom, Rest<'s>)>) -> bool {
    match rest.pop() {
        None => true,
        Some(Frame::Sequence([])) => expand(rest, out),
        Some(Frame::Sequence([first, tail @ ..])) => {
            rest.push(Frame::Sequence(tail));
            match first {
                Item::Atom(atom) => {
                    out.push((*atom, rest));
                    false
                }
                Item::Choice(several) => several.iter().fold(false, |ends, items| {
                    let mut rest = rest.clone();
                    rest.push(Frame::Sequence(items));
                    expand(rest, out) || ends
                }),
                Item::Options(groups) => {
                    rest.push(Frame::Options(groups.iter().map(Vec::as_slice).collect()));
                    expand(rest, out)
                }
            }
        }
        Some(Frame::Options(groups)) => {
            for (i, group) in groups.iter().enumerate() {
                let others: Vec<_> =
                    groups.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, g)| *g).collect();
                let mut rest = rest.clone();
                if !others.is_empty() {
                    rest.push(Frame::Options(others));
                }
                rest.push(Frame::Sequence(group));
                expand(rest, out);
            }
            expand(rest, out)
        }
    }
}

/// Takes one word. Of what could be meant: the exact word, else the only word abbreviated, else values.
fn advance<'s>(threads: Vec<Thread<'s>>, token: &Token<'_>) -> Result<Vec<Thread<'s>>, Problem> {
    let mut steps = Vec::new();
    for thread in threads {
        let mut next = Vec::new();
        expand(thread.rest, &mut next);
        steps.extend(next.into_iter().map(|(atom, rest)| {
            let thread = Thread { syntax: thread.syntax, rest, args: thread.args.clone() };
            (atom, thread)
        }));
    }
    let exact = |atom: &Atom| matches!(atom, Atom::Word(names) if names.split('/').any(|n| n.eq_ignore_ascii_case(token.text)));
    let short =
        |atom: &Atom| matches!(atom, Atom::Word(names) if names.split('/').any(|n| begins(n, token.text)));
    let mut short_for: Vec<_> = steps.iter().map(|(a, _)| *a).filter(short).map(Atom::name).collect();
    short_for.sort_unstable();
    short_for.dedup();

    let fits: Box<dyn Fn(&Atom) -> bool> = if steps.iter().any(|(atom, _)| exact(atom)) {
        Box::new(exact)
    } else if short_for.len() > 1 {
        return Err(Problem::Ambiguous { column: token.column, candidates: short_for });
    } else if short_for.len() == 1 {
        Box::new(short)
    } else {
        Box::new(|atom| value_fits(atom, token.text))
    };
    if !steps.iter().any(|(atom, _)| fits(atom)) {
        let hint = steps.iter().find_map(|(atom, _)| range_hint(atom, token.text));
        return Err(Problem::Invalid { column: token.column, hint });
    }
    steps.retain(|(atom, _)| fits(atom));
    Ok(steps
        .into_iter()
        .map(|(atom, mut thread)| {
            thread.args.taken.push(take(atom, token));
            thread
        })
        .collect())
}

fn take(atom: Atom, token: &Token<'_>) -> Taken {
    let text = match atom {
        Atom::Word(_) => None,
        Atom::Value(_, Kind::Rest) => Some(token.rest.to_owned()),
        Atom::Value(..) => Some(token.text.to_owned()),
    };
    let ends = matches!(atom, Atom::Value(_, Kind::Rest));
    Taken { name: atom.name(), text, column: token.column, ends }
}

fn value_fits(atom: &Atom, text: &str) -> bool {
    match atom {
        Atom::Word(_) => false,
        Atom::Value(_, Kind::Number(min, max)) => {
            number(text).is_some_and(|number| (*min..=*max).contains(&number))
        }
        Atom::Value(..) => true,
    }
}

fn range_hint(atom: &Atom, text: &str) -> Option<String> {
    match atom {
        Atom::Value(name, Kind::Number(min, max)) if text.bytes().all(|b| b.is_ascii_digit()) => {
            Some(format!("{text} is not in the range <{min}-{max}> ({name})"))
        }
        _ => None,
    }
}

// Digits only: `u64::from_str` would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn begins(word: &str, start: &str) -> bool {
    word.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}
