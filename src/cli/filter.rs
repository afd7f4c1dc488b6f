//! Output filters: `show … | include X`.

use regex_lite::Regex;

use super::command::Help;
use super::{CommandError, Output};

/// What follows the bar.
#[derive(Debug)]
pub struct Filter {
    verb: Verb,
    pattern: Regex,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Begin,
    Count,
    Exclude,
    Include,
    Section,
}

impl Filter {
    /// The command of a line and the filter behind it. Only what shows something has one: elsewhere a bar may
    /// be part of a value.
    pub fn split(line: &str) -> Result<(&str, Option<Self>), CommandError> {
        let Some((command, filter)) = split(line) else { return Ok((line, None)) };
        let (verb, pattern) = filter.trim().split_once(char::is_whitespace).unwrap_or((filter.trim(), ""));
        let found = find(verb)?;
        let typed = pattern.trim();
        if typed.is_empty() {
            return Err(refused(
                "what is to be looked for is missing, as in show running-config | include hostname",
            ));
        }
        let pattern = Regex::new(typed)
            .map_err(|error| refused(&format!("\"{typed}\" is no regular expression: {error}")))?;
        Ok((command, Some(Self { verb: found, pattern })))
    }

    /// What `?` shows behind a bar.
    pub fn help(line: &str) -> Option<Help> {
        let (_, filter) = split(line)?;
        let words = filter.trim_start();
        let words = match words.contains(char::is_whitespace) {
            true => vec![("<text>".to_owned(), "Regular expression")],
            false => {
                VERBS.iter().filter(|verb| verb.1.starts_with(words)).map(|v| (v.1.to_owned(), v.2)).collect()
            }
        };
        Some(Help::new(words))
    }

    /// The part of the output that passes.
    pub fn apply(&self, output: &Output) -> Output {
        let text = output.render(false);
        let mut filtered = Output::text(self.lines(&text));
        filtered.failed = output.failed;
        filtered
    }

    fn lines(&self, text: &str) -> String {
        let fits = |line: &&str| self.pattern.is_match(line);
        let lines: Vec<_> = match self.verb {
            Verb::Include => text.lines().filter(fits).collect(),
            Verb::Exclude => text.lines().filter(|line| !fits(line)).collect(),
            Verb::Begin => text.lines().skip_while(|line| !fits(line)).collect(),
            Verb::Section => self.sections(text),
            Verb::Count => {
                return format!(
                    "Number of lines which match regexp = {}\n",
                    text.lines().filter(fits).count()
                );
            }
        };
        lines.into_iter().fold(String::new(), |all, line| all + line + "\n")
    }

    /// Lines that fit, each with the lines that are indented below it.
    fn sections<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut of: Option<usize> = None;
        let wanted = |line: &&str| {
            let indent = line.len() - line.trim_start().len();
            if of.is_none_or(|head| indent <= head) {
                of = self.pattern.is_match(line).then_some(indent);
            }
            of.is_some()
        };
        text.lines().filter(wanted).collect()
    }
}

/// Before and behind the bar.
fn split(line: &str) -> Option<(&str, &str)> {
    let first = line.split_whitespace().next()?;
    let shows = SHOWING.iter().any(|(word, least)| first.len() >= *least && word.starts_with(first));
    let at = line.match_indices('|').map(|(at, _)| at).find(|at| line[..*at].ends_with(char::is_whitespace));
    at.filter(|_| shows).map(|at| (line[..at].trim_end(), &line[at + 1..]))
}

fn find(verb: &str) -> Result<Verb, CommandError> {
    let fits: Vec<_> = VERBS.iter().filter(|v| !verb.is_empty() && v.1.starts_with(verb)).collect();
    match fits[..] {
        [(found, ..)] => Ok(*found),
        _ => Err(refused("a filter is begin, count, exclude, include or section")),
    }
}

fn refused(why: &str) -> CommandError {
    CommandError::Refused(why.to_owned())
}

/// The commands that show something, and how short they may be typed.
const SHOWING: &[(&str, usize)] = &[("show", 2), ("more", 2), ("dir", 3)];

const VERBS: &[(Verb, &str, &str)] = &[
    (Verb::Begin, "begin", "Begin with the first line that matches"),
    (Verb::Count, "count", "Count the lines that match"),
    (Verb::Exclude, "exclude", "Leave out lines that match"),
    (Verb::Include, "include", "Show lines that match"),
    (Verb::Section, "section", "Show lines that match, with what is indented below them"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "hostname a\n!\ncrypto pki server x\n grant auto\n lifetime crl 24\n!\nend\n";

    fn through(filter: &str) -> String {
        let line = format!("show run | {filter}");
        let (command, filter) = Filter::split(&line).unwrap();
        assert_eq!(command, "show run");
        filter.unwrap().lines(TEXT)
    }

    #[test]
    fn lines_are_chosen() {
        assert_eq!(through("include ^host|grant"), "hostname a\n grant auto\n");
        assert_eq!(through("i crl"), " lifetime crl 24\n");
        assert_eq!(through("exc ^!|crl|auto|end"), "hostname a\ncrypto pki server x\n");
        assert_eq!(through("begin lifetime"), " lifetime crl 24\n!\nend\n");
        assert_eq!(through("section server"), "crypto pki server x\n grant auto\n lifetime crl 24\n");
        assert_eq!(through("count ^!"), "Number of lines which match regexp = 2\n");
        assert_eq!(through("include nothing"), "");
    }

    #[test]
    fn a_bar_elsewhere_is_a_bar() {
        for line in ["issuer-name CN=a | b", "show run", "show a|b", ""] {
            assert!(Filter::split(line).unwrap().1.is_none(), "{line}");
        }
        for (line, why) in [
            ("show run |", "a filter is begin"),
            ("show run | x a", "a filter is begin"),
            ("show run | include", "is missing"),
            ("show run | include a(", "regular expression"),
        ] {
            assert!(Filter::split(line).unwrap_err().to_string().contains(why), "{line}");
        }
        assert!(Filter::help("show run | i").unwrap().to_string().starts_with("  include  Show"));
        assert!(Filter::help("show run | ").unwrap().to_string().contains("section"));
        assert!(Filter::help("show run").is_none());
    }
}
