//! `crypto pki certificate map`: which certificates of peers are meant.

use std::fmt;
use std::sync::LazyLock;

use crate::pki::Time;

use super::Editor;
use super::grammar::{Args, Refusal};
use super::line::{Line, Lines, Verb};
use super::mode::Mode;

/// A line of a certificate map. A certificate fits a sequence when it fits all of its lines, and a map when it
/// fits one of its sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// About a name or a serial number. Texts are compared without regard to case.
    Text {
        /// What is compared.
        field: TextField,
        /// How.
        operator: TextOperator,
        /// With what, as typed.
        value: String,
    },
    /// About a time.
    Date {
        /// What is compared.
        field: DateField,
        /// How.
        operator: DateOperator,
        /// With what.
        value: Time,
    },
}

/// A field that is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextField {
    /// A subjectAltName.
    AltSubjectName,
    /// The issuer.
    IssuerName,
    /// Any name: of subject, issuer, subjectAltName and unstructuredName.
    Name,
    /// The serial number, in hex.
    SerialNumber,
    /// The subject.
    SubjectName,
    /// The unstructuredName of the subject, `hostname=` of IOS.
    UnstructuredSubjectName,
}

/// How text is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextOperator {
    /// `co`: the field contains it.
    Contains,
    /// `eq`: the field is it.
    Equal,
    /// `nc`: the field does not contain it.
    NotContains,
    /// `ne`: the field is something else.
    NotEqual,
}

/// A field that is a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateField {
    /// notAfter.
    ExpiresOn,
    /// notBefore.
    ValidStart,
}

/// How times are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateOperator {
    /// `eq`: at this time.
    Equal,
    /// `ge`: at this time or later.
    GreaterOrEqual,
    /// `lt`: before this time.
    Less,
    /// `ne`: at another time.
    NotEqual,
}

impl TextField {
    const ALL: [Self; 6] = [
        Self::AltSubjectName,
        Self::IssuerName,
        Self::Name,
        Self::SerialNumber,
        Self::SubjectName,
        Self::UnstructuredSubjectName,
    ];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::AltSubjectName => "alt-subject-name",
            Self::IssuerName => "issuer-name",
            Self::Name => "name",
            Self::SerialNumber => "serial-number",
            Self::SubjectName => "subject-name",
            Self::UnstructuredSubjectName => "unstructured-subject-name",
        }
    }
}

impl TextOperator {
    const ALL: [Self; 4] = [Self::Contains, Self::Equal, Self::NotContains, Self::NotEqual];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Contains => "co",
            Self::Equal => "eq",
            Self::NotContains => "nc",
            Self::NotEqual => "ne",
        }
    }
}

impl DateField {
    const ALL: [Self; 2] = [Self::ExpiresOn, Self::ValidStart];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ExpiresOn => "expires-on",
            Self::ValidStart => "valid-start",
        }
    }
}

impl DateOperator {
    const ALL: [Self; 4] = [Self::Equal, Self::GreaterOrEqual, Self::Less, Self::NotEqual];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Equal => "eq",
            Self::GreaterOrEqual => "ge",
            Self::Less => "lt",
            Self::NotEqual => "ne",
        }
    }
}

impl Criterion {
    /// Whether it compares what `other` compares, in the same way.
    fn is_like(&self, field: &str, operator: &str) -> bool {
        match self {
            Self::Text { field: f, operator: o, .. } => (f.word(), o.word()) == (field, operator),
            Self::Date { field: f, operator: o, .. } => (f.word(), o.word()) == (field, operator),
        }
    }
}

impl fmt::Display for Criterion {
    /// Its line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { field, operator, value } => {
                write!(f, "{} {} {value}", field.word(), operator.word())
            }
            Self::Date { field, operator, value } => {
                let date = value.to_string();
                // `19:44:57 UTC Oct 14 2026`, as times are shown, is typed with the date first.
                let (clock, date) = date.split_once(" UTC ").unwrap_or(("00:00:00", &date));
                write!(f, "{} {} {date} {clock}", field.word(), operator.word())
            }
        }
    }
}

/// The lines of the section.
pub static LINES: LazyLock<Lines<Editor>> = LazyLock::new(|| Lines::new(SHOWN, []));

const SHOWN: &[Line<Editor>] = &[
    Line {
        words: "{alt-subject-name | issuer-name | name | serial-number | subject-name | \
                unstructured-subject-name} {co | eq | nc | ne} <value...>",
        no: Some(
            "{alt-subject-name | issuer-name | name | serial-number | subject-name | \
             unstructured-subject-name} {co | eq | nc | ne}",
        ),
        about: "Means certificates in which the field contains the value or not, or is it or not; of several lines \
                all must fit, of several sequences one",
        help: &[
            ("alt-subject-name", "A subjectAltName"),
            ("issuer-name", "Name of the issuer"),
            ("name", "Any name"),
            ("serial-number", "Serial number, in hex"),
            ("subject-name", "Name of the subject"),
            ("unstructured-subject-name", "The unstructuredName of the subject"),
            ("co", "Contains"),
            ("eq", "Is"),
            ("nc", "Does not contain"),
            ("ne", "Is not"),
            ("<value>", "Text, in any case, as in ou=ESE"),
        ],
        run: text,
    },
    Line {
        words: "{expires-on | valid-start} {eq | ge | lt | ne} <date...>",
        no: Some("{expires-on | valid-start} {eq | ge | lt | ne}"),
        about: "Means certificates that end, or begin, at a time, before it or not, in UTC",
        help: &[
            ("expires-on", "End of the certificate"),
            ("valid-start", "Beginning of the certificate"),
            ("eq", "Is"),
            ("ge", "Is this or later"),
            ("lt", "Is before"),
            ("ne", "Is not"),
            ("<date>", "As in Oct 14 2026 19:44:57, or 14 10 2026 19:44:57; without a time, midnight"),
        ],
        run: date,
    },
];

fn text(editor: &mut Editor, verb: Verb, args: &Args) -> Result<(), Refusal> {
    let field = TextField::ALL.into_iter().find(|field| args.has(field.word()));
    let operator = TextOperator::ALL.into_iter().find(|operator| args.has(operator.word()));
    let (Some(field), Some(operator)) = (field, operator) else { return Ok(()) };
    let value = args.get("value").map(|value| {
        let value = value.to_owned();
        Criterion::Text { field, operator, value }
    });
    change(editor, verb, args, (field.word(), operator.word()), value)
}

fn date(editor: &mut Editor, verb: Verb, args: &Args) -> Result<(), Refusal> {
    let field = DateField::ALL.into_iter().find(|field| args.has(field.word()));
    let operator = DateOperator::ALL.into_iter().find(|operator| args.has(operator.word()));
    let (Some(field), Some(operator)) = (field, operator) else { return Ok(()) };
    let value = match args.get("date") {
        Some(typed) => {
            let value = time(typed).ok_or_else(|| {
                args.refuse("date", "a date is Oct 14 2026 or 14 10 2026, and may have a time as 19:44:57")
            })?;
            Some(Criterion::Date { field, operator, value })
        }
        None => None,
    };
    change(editor, verb, args, (field.word(), operator.word()), value)
}

/// Adds a line, or takes back that line, or all that are like it.
fn change(
    editor: &mut Editor,
    verb: Verb,
    args: &Args,
    (field, operator): (&str, &str),
    criterion: Option<Criterion>,
) -> Result<(), Refusal> {
    let Mode::CertificateMap(name, sequence) = &editor.mode else {
        return Err("this line belongs to a certificate map".into());
    };
    let map = editor.configuration.certificate_maps.entry(name.clone()).or_default();
    let lines = map.entry(*sequence).or_default();
    match (verb, criterion) {
        (Verb::Set, Some(criterion)) => {
            if !lines.contains(&criterion) {
                lines.push(criterion);
            }
            if lines.len() > MAX_LINES {
                return Err(args.refuse(operator, format!("a sequence has at most {MAX_LINES} lines")));
            }
        }
        (_, Some(criterion)) => lines.retain(|known| *known != criterion),
        (_, None) => lines.retain(|known| !known.is_like(field, operator)),
    }
    Ok(())
}

/// `Oct 14 2026 19:44:57` or `14 10 2026 19:44:57`, in UTC.
fn time(typed: &str) -> Option<Time> {
    let words: Vec<_> = typed.split_whitespace().collect();
    let ([first, second, year], clock) = words.split_first_chunk()?;
    let month_of = |word: &str| {
        let named = Time::MONTHS.iter().position(|month| month.eq_ignore_ascii_case(word))?;
        u8::try_from(named + 1).ok()
    };
    let (day, month) = match month_of(first) {
        Some(month) => (second.parse().ok()?, month),
        None => (first.parse().ok()?, second.parse().ok()?),
    };
    let clock = match clock {
        [] => [0, 0, 0],
        [clock] => {
            let parts: Option<Vec<u8>> = clock.split(':').map(|part| part.parse().ok()).collect();
            parts?.try_into().ok()?
        }
        _ => return None,
    };
    Time::from_calendar(year.parse().ok()?, month, day, clock)
}

/// Each is compared with every certificate.
const MAX_LINES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_typed_in_two_ways() {
        let at = |typed| time(typed).map(Time::unix);
        assert_eq!(at("Oct 14 2026 19:44:57"), Some(1_792_007_097));
        assert_eq!(at("14 10 2026 19:44:57"), at("oct 14 2026 19:44:57"));
        assert_eq!(at("Jan 1 1970"), Some(0));
        for hostile in ["", "Oct", "Oct 14", "Oct 32 2026", "31 2 2026", "Oct 14 2026 25:00:00", "1 1 1969"] {
            assert_eq!(at(hostile), None, "{hostile}");
        }
        for hostile in ["Oct 14 2026 19:44", "Oct 14 2026 1:2:3:4", "14 Oct 2026 x", "Oct 14 99999", "é é é"]
        {
            assert_eq!(at(hostile), None, "{hostile}");
        }
    }
}
