//! A syntax, and the notation it is written in.

/// A parsed notation.
#[derive(Clone, Debug)]
pub struct Syntax {
    notation: &'static str,
    pub(super) items: Vec<Item>,
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

#[derive(Clone, Debug)]
pub(super) enum Item {
    Atom(Atom),
    Choice(Vec<Vec<Item>>),
    // Any order, each at most once. Each begins with an atom.
    Options(Vec<Vec<Item>>),
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
