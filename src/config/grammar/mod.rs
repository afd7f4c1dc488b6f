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

mod problem;
mod syntax;
mod table;

pub use problem::{LineError, Problem, Refusal, without_passwords};
pub use syntax::{Atom, Kind, Syntax};
pub use table::{Match, Table};

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

/// Something with syntaxes: a line of a table. The index of the syntax that fitted is told back.
pub trait Row {
    /// The notations under which it is found.
    fn notations(&self) -> Vec<&'static str>;

    /// Help for the words and values of the notations: `("server", "…")`, `("<label>", "…")`.
    fn help(&self) -> &'static [(&'static str, &'static str)];
}

impl Token<'_> {
    /// Whether it is this word or its beginning, of at least `least` octets.
    pub fn abbreviates(&self, word: &str, least: usize) -> bool {
        let text = self.text;
        text.len() >= least && word.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text))
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

    /// The column of the last word of the syntax that begins at this column or before.
    pub(in crate::config) fn last_word_to(&self, column: usize) -> Option<usize> {
        self.taken.iter().filter(|t| t.text.is_none()).map(|t| t.column).filter(|at| *at <= column).max()
    }

    /// The line of these values without its secrets: passwords, passphrases, challenges, PINs.
    pub fn redacted(&self, line: &str) -> String {
        let mut chars: Vec<char> = line.chars().collect();
        for taken in self.taken.iter().filter(|taken| SECRET.contains(&taken.name)) {
            let length = taken.text.as_ref().map_or(0, |text| text.chars().count());
            let end = chars.len().min(taken.column + length);
            if let Some(secret) = chars.get_mut(taken.column..end) {
                secret.fill('*');
            }
        }
        chars.into_iter().collect()
    }

    /// A refusal that points at this value or word.
    pub fn refuse(&self, name: &str, reason: impl Into<String>) -> Refusal {
        let column = self.taken.iter().rfind(|t| t.name == name).map(|t| t.column);
        Refusal { column, reason: reason.into() }
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
    Ok(words(line))
}

/// What stands between blanks, whatever it is.
fn words(line: &str) -> Vec<Token<'_>> {
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
    found
}

/// The help of an atom in a row: its own, else that of words which many rows share.
pub fn help_of<R: Row>(row: &R, atom: Atom) -> Option<&'static str> {
    let key = match atom {
        Atom::Word(_) => atom.name().to_owned(),
        Atom::Value(name, _) => format!("<{}>", name),
    };
    row.help().iter().chain(SHARED_HELP).find(|(name, _)| *name == key).map(|(_, help)| *help)
}

/// Values that are not shown again.
const SECRET: &[&str] =
    &["password", "passphrase", "challenge", "pin", "new-pin", "hidden", "sealed", "secret"];

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
    ("username", "User"),
    ("<username>", "Name of the user"),
    ("password", "Password"),
    ("0", "The password follows in clear"),
    ("6", "The password follows as it is shown, sealed on this host"),
    ("7", "The password follows as IOS shows it"),
    ("<password>", "Password in clear"),
    ("<sealed>", "Password, sealed"),
    ("<hidden>", "Password, hidden"),
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
    fn secrets_are_not_shown_again() {
        static ROWS: &[Line] = &[Line("export <label> {aes | 3des} <passphrase>")];
        let line = " exp  é aes pass";
        let found = Table::new(ROWS).find(&tokens(line).unwrap(), |_| true).unwrap();
        assert_eq!(found.args.redacted(line), " exp  é aes ****");
        assert_eq!(found.args.redacted(""), "");
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
