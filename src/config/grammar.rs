//! The grammar of command lines: what the words of a table mean, in the configuration and in the exec
//! commands alike.
//!
//! A syntax is written as in a command reference:
//!
//! | notation | meaning |
//! |---|---|
//! | `server` | this word, or an abbreviation that fits no other word possible there |
//! | `pki/ca` | the first word; the others are accepted for it |
//! | `<label>` | one word, whatever it is |
//! | `<hours:1-336>` | a decimal number in this range |
//! | `<dn...>` | the rest of the line |
//! | `{a \| b}` | one of these |
//! | `[a \| b]` | one of these or none. Groups beside each other come in any order |
//!
//! A word of the syntax wins over a `<label>` at the same place, as on IOS.

use std::fmt;

/// A parsed notation.
#[derive(Clone, Debug)]
pub struct Syntax {
    notation: &'static str,
    items: Vec<Item>,
}

/// What may stand at one place of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atom {
    /// A word and what is accepted for it: `pki/ca`.
    Word(&'static str),
    /// A value with a name.
    Value(&'static str, Kind),
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One word.
    Word,
    /// A decimal number from the first to the second.
    Number(u64, u64),
    /// The rest of the line.
    Rest,
}

/// A line that fits a syntax: the words by their full names, and the values.
#[derive(Clone, Debug, Default)]
pub struct Args {
    taken: Vec<Taken>,
}

#[derive(Clone, Debug)]
struct Taken {
    name: &'static str,
    // Absent for a word of the syntax.
    text: Option<String>,
    column: usize,
    // Whether it took the rest of the line.
    ends: bool,
}

/// One word of a line and the column, in characters from 0, at which it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'l> {
    /// The word.
    pub text: &'l str,
    /// The line from this word on.
    pub rest: &'l str,
    /// Its column.
    pub column: usize,
}

/// Why a line is not accepted, at which column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The word at this column fits nothing that may stand there.
    Invalid {
        /// Column of the first wrong word.
        column: usize,
        /// What would have fitted, when that is short to say.
        hint: Option<String>,
    },
    /// A word abbreviates several.
    Ambiguous {
        /// Column of that word.
        column: usize,
        /// What it could be.
        candidates: Vec<&'static str>,
    },
    /// The line could go on, and must.
    Incomplete,
    /// The words are right and what they ask for may not be.
    Refused {
        /// Column of the value that is to blame.
        column: Option<usize>,
        /// Why, and what to do.
        reason: String,
    },
}

/// A line and its [`Problem`], displayed as IOS does: the line, the caret under the first wrong word,
/// `% Invalid input detected at '^' marker.`
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LineError {
    /// The line as typed.
    pub line: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// A value that may not be, said by the code that knows the rule. [`Args::refuse`] says which value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    column: Option<usize>,
    reason: String,
}

/// Something with syntaxes: a line of a table. The index of the syntax that fitted is told back.
pub trait Row {
    /// The notations under which it is found.
    fn notations(&self) -> Vec<&'static str>;

    /// Help for the words and values of the notations: `("server", "…")`, `("<label>", "…")`.
    fn help(&self) -> &'static [(&'static str, &'static str)];
}

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

impl Args {
    /// Whether this word of the syntax was typed.
    pub fn has(&self, word: &str) -> bool {
        self.taken.iter().any(|t| t.text.is_none() && t.name == word)
    }

    /// The words of the syntax, by their full names, as typed.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        self.taken.iter().filter(|t| t.text.is_none()).map(|t| t.name)
    }

    /// The value of this name, when it was typed.
    pub fn get(&self, name: &str) -> Option<&str> {
        // A word may have the name of the value after it.
        self.taken.iter().filter(|t| t.name == name).find_map(|t| t.text.as_deref())
    }

    /// The value of this name, which the syntax makes obligatory.
    ///
    /// # Panics
    /// When the syntax does not: the first use of that row of the table tells.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("the syntax has no obligatory <{name}>"))
    }

    /// The number of this name, when it was typed.
    pub fn number(&self, name: &str) -> Option<u64> {
        // A number in its range was parsed once already, to be accepted.
        self.get(name).and_then(|text| text.parse().ok())
    }

    /// A refusal that points at this value or word.
    pub fn refuse(&self, name: &str, reason: impl Into<String>) -> Refusal {
        let column = self.taken.iter().rfind(|t| t.name == name).map(|t| t.column);
        Refusal { column, reason: reason.into() }
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self { column: None, reason }
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { column: refusal.column, reason: refusal.reason }
    }
}

impl Problem {
    /// The column it points at; beyond every other one for what has the right words.
    pub(crate) fn reach(&self) -> usize {
        match self {
            Self::Invalid { column, .. } | Self::Ambiguous { column, .. } => *column,
            Self::Incomplete | Self::Refused { .. } => usize::MAX,
        }
    }

    /// With the line that has it.
    pub fn at(self, line: &str) -> LineError {
        // A tab would move the caret; other control characters do not get here.
        LineError { line: line.replace('\t', " ").trim_end().to_owned(), problem: self }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = &self.line;
        match &self.problem {
            Problem::Invalid { column, hint } => {
                writeln!(f, "{line}\n{:column$}^", "")?;
                write!(f, "% Invalid input detected at '^' marker.")?;
                hint.iter().try_for_each(|hint| write!(f, "\n% {hint}"))
            }
            Problem::Ambiguous { candidates, .. } => {
                write!(f, "% Ambiguous command:  \"{}\"\n% It could be: ", line.trim_start())?;
                write!(f, "{}", candidates.join(", "))
            }
            Problem::Incomplete => write!(f, "{line}\n% Incomplete command."),
            Problem::Refused { column: Some(column), reason } => {
                write!(f, "{line}\n{:column$}^\n% {reason}", "")
            }
            Problem::Refused { column: None, reason } => write!(f, "{line}\n% {reason}"),
        }
    }
}

/// The words of a line.
pub fn tokens(line: &str) -> Result<Vec<Token<'_>>, Problem> {
    if let Some(column) = line.chars().position(|c| c.is_control() && c != '\t') {
        return Err(Problem::Refused {
            column: Some(column),
            reason: "a control character cannot stand in a line".to_owned(),
        });
    }
    let mut found = Vec::new();
    let mut start = None;
    // A blank after the end finishes the last word.
    let ended = line.char_indices().chain([(line.len(), ' ')]);
    for (column, (offset, c)) in ended.enumerate() {
        match (c.is_whitespace(), start) {
            (false, None) => start = Some((column, offset)),
            (true, Some((column, from))) => {
                let rest = line[from..].trim_end();
                found.push(Token { text: &line[from..offset], rest, column });
                start = None;
            }
            _ => {}
        }
    }
    Ok(found)
}

impl Syntax {
    /// Parses a notation.
    ///
    /// # Panics
    /// When the notation is not well-formed: tables are constants, and their tests parse them all.
    pub fn new(notation: &'static str) -> Self {
        let mut rest = notation;
        let items = sequence(&mut rest);
        assert!(rest.is_empty(), "{notation}: cannot be read from \"{rest}\"");
        Self { notation, items }
    }

    /// As it was written.
    pub fn notation(&self) -> &'static str {
        self.notation
    }

    /// Every word and value in it, in order.
    pub fn atoms(&self) -> Vec<Atom> {
        fn collect(items: &[Item], out: &mut Vec<Atom>) {
            for item in items {
                match item {
                    Item::Atom(atom) => out.push(*atom),
                    Item::Choice(several) | Item::Options(several) => {
                        several.iter().for_each(|items| collect(items, out));
                    }
                }
            }
        }
        let mut out = Vec::new();
        collect(&self.items, &mut out);
        out
    }

    /// A line of this syntax: `choose(n)` is a number below n, `value` makes values up.
    #[cfg(test)]
    pub(crate) fn generate(
        &self,
        choose: &mut dyn FnMut(usize) -> usize,
        value: &mut dyn FnMut(&str, Kind) -> String,
    ) -> String {
        // `value` needs `choose` too: the walk is made first.
        let mut rest = vec![Frame::Sequence(&self.items)];
        let mut atoms = Vec::new();
        loop {
            let mut steps = Vec::new();
            let ends = expand(rest, &mut steps);
            if steps.is_empty() || ends && choose(3) == 0 {
                break;
            }
            let (atom, next) = steps.swap_remove(choose(steps.len()));
            atoms.push(atom);
            rest = next;
        }
        let words = atoms.into_iter().map(|atom| match atom {
            Atom::Word(names) => names.split('/').next().unwrap().to_owned(),
            Atom::Value(name, kind) => value(name, kind),
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

impl Atom {
    /// As help shows it: `server`, `<1-336>`, `<label>`.
    pub fn shown(self) -> String {
        match self {
            Self::Word(_) => self.name().to_owned(),
            Self::Value(_, Kind::Number(min, max)) => format!("<{min}-{max}>"),
            Self::Value(name, _) => format!("<{}>", name),
        }
    }

    /// The word, or the name of the value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Word(names) => names.split('/').next().unwrap_or(names),
            Self::Value(name, _) => name,
        }
    }
}

/// The help of an atom in a row: its own, else that of words which many rows share.
pub fn help_of<R: Row>(row: &R, atom: Atom) -> Option<&'static str> {
    let key = match atom {
        Atom::Word(_) => atom.name().to_owned(),
        Atom::Value(name, _) => format!("<{}>", name),
    };
    row.help().iter().chain(SHARED_HELP).find(|(name, _)| *name == key).map(|(_, help)| *help)
}

#[derive(Clone, Debug)]
enum Item {
    Atom(Atom),
    Choice(Vec<Vec<Item>>),
    // Any order, each at most once. Each begins with an atom.
    Options(Vec<Vec<Item>>),
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

fn sequence(rest: &mut &'static str) -> Vec<Item> {
    let mut items = Vec::new();
    loop {
        *rest = rest.trim_start();
        match rest.chars().next() {
            None | Some('|' | '}' | ']') => return items,
            Some('{') => {
                let choice = alternatives(rest, '}');
                items.push(Item::Choice(choice));
            }
            Some('[') => {
                // `[a | b]` is a choice that may be left out: one group.
                let mut several = alternatives(rest, ']');
                let group = match several.len() {
                    1 => several.remove(0),
                    _ => vec![Item::Choice(several)],
                };
                match items.last_mut() {
                    Some(Item::Options(groups)) => groups.push(group),
                    _ => items.push(Item::Options(vec![group])),
                }
            }
            Some('<') => {
                let end = rest.find('>').expect("a value ends with >");
                items.push(Item::Atom(value(&rest[1..end])));
                *rest = &rest[end + 1..];
            }
            Some(_) => {
                let end = rest.find([' ', '|', '}', ']']).unwrap_or(rest.len());
                items.push(Item::Atom(Atom::Word(&rest[..end])));
                *rest = &rest[end..];
            }
        }
    }
}

fn alternatives(rest: &mut &'static str, close: char) -> Vec<Vec<Item>> {
    let mut several = Vec::new();
    loop {
        *rest = &rest[1..]; // the bracket or the bar, one octet
        several.push(sequence(rest));
        match rest.chars().next() {
            Some('|') => {}
            Some(c) if c == close => {
                *rest = &rest[1..];
                return several;
            }
            _ => panic!("{close} is missing before \"{rest}\""),
        }
    }
}

fn value(text: &'static str) -> Atom {
    if let Some(name) = text.strip_suffix("...") {
        return Atom::Value(name, Kind::Rest);
    }
    let Some((name, range)) = text.split_once(':') else { return Atom::Value(text, Kind::Word) };
    let bounds = range.split_once('-').and_then(|(min, max)| Some((min.parse().ok()?, max.parse().ok()?)));
    let (min, max) = bounds.unwrap_or_else(|| panic!("<{text}>: a range is two numbers"));
    Atom::Value(name, Kind::Number(min, max))
}

/// Help for words that stand in many lines with one meaning.
const SHARED_HELP: &[(&str, &str)] = &[
    ("crypto", "Keys, certificates and tokens"),
    ("pki", "Public key infrastructure"),
    ("ip", "Internet protocol"),
    ("http", "HTTP server"),
    ("key", "Key pairs"),
    ("server", "Certificate server"),
    ("show", "Show what runs"),
    ("on", "On this token"),
    ("all", "All of them"),
    ("<label>", "Name, letters, digits, dot, hyphen and underscore"),
    ("<device>", "Token, as in usbtoken0:"),
];

#[cfg(test)]
mod tests {
    use super::*;

    struct Line(&'static str);

    impl Row for Line {
        fn notations(&self) -> Vec<&'static str> {
            vec![self.0]
        }
        fn help(&self) -> &'static [(&'static str, &'static str)] {
            &[("grant", "Grant requests")]
        }
    }

    static ROWS: &[Line] = &[
        Line("show crypto pki/ca server [<label>]"),
        Line("show crypto pki/ca status"),
        Line("crypto pki/ca server <label> grant {all | <ids>}"),
        Line(
            "crypto key generate rsa [general-keys] [label <label>] [modulus <bits:1024-8192>] [on <device>]",
        ),
        Line("lifetime crl <hours:1-336>"),
        Line("lifetime {ca-certificate | certificate} <days:0-7305> [<hours:0-23> [<minutes:0-59>]]"),
        Line("issuer-name <dn...>"),
    ];

    fn find(line: &str) -> Result<(&'static str, Args), String> {
        let table = Table::new(ROWS);
        let found = tokens(line).and_then(|tokens| table.find(&tokens, |_| true));
        found.map(|m| (m.row.0, m.args)).map_err(|p| p.at(line).to_string())
    }

    #[test]
    fn abbreviations_fit_one_word_or_say_which() {
        assert_eq!(find("sh cr pk se").unwrap().0, ROWS[0].0);
        assert_eq!(find("SHOW crypto ca server x").unwrap().1.text("label"), "x");
        assert_eq!(
            find(" sh cr pk s").unwrap_err(),
            "% Ambiguous command:  \"sh cr pk s\"\n% It could be: server, status"
        );
        assert_eq!(find("sh cr").unwrap_err(), "sh cr\n% Incomplete command.");
    }

    #[test]
    fn the_caret_is_under_the_first_wrong_word() {
        assert_eq!(
            find("show crypto pki severs x").unwrap_err(),
            "show crypto pki severs x\n                ^\n% Invalid input detected at '^' marker."
        );
        assert_eq!(
            find("lifetime crl 400").unwrap_err(),
            "lifetime crl 400\n             ^\n% Invalid input detected at '^' marker.\n\
             % 400 is not in the range <1-336> (hours)"
        );
        assert!(find("lifetime crl +4").is_err());
        assert!(find("lifetime crl 4 5").unwrap_err().contains("\n               ^\n"));
        assert!(find("lifetime crl \u{7}").unwrap_err().contains("control character"));
    }

    #[test]
    fn groups_come_in_any_order_once() {
        let (_, args) = find("crypto key gen rsa on usbtoken0: label ms2 modulus 2048").unwrap();
        assert_eq!((args.text("label"), args.number("bits")), ("ms2", Some(2048)));
        assert!(!args.has("general-keys"));
        assert!(find("crypto key gen rsa label a label b").is_err());
        assert_eq!(find("lifetime cert 1 2").unwrap().1.number("hours"), Some(2));
        assert!(find("lifetime c 1 2").unwrap_err().contains("ca-certificate, certificate, crl"));
    }

    #[test]
    fn the_rest_of_a_line_is_kept_as_typed() {
        let (_, args) = find("issuer-name  CN = a,  O=\"b  c\"  ").unwrap();
        assert_eq!(args.text("dn"), "CN = a,  O=\"b  c\"");
    }

    #[test]
    fn help_shows_what_may_come() {
        let table = Table::new(ROWS);
        let next = |line: &str, unfinished| {
            let words = table.next(&tokens(line).unwrap(), unfinished, |_| true).unwrap();
            words.into_iter().map(|(word, _)| word).collect::<Vec<_>>()
        };
        assert_eq!(next("crypto pki server x grant", None), ["all", "<ids>"]);
        assert_eq!(next("show crypto pki server", None), ["<label>", "<cr>"]);
        assert_eq!(next("lifetime crl", None), ["<1-336>"]);
        assert_eq!(next("lifetime", Some("ce")), ["certificate"]);
    }
}
