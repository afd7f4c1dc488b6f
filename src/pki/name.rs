//! Distinguished names: DER as X.509 carries them, text as IOS writes them.

use std::fmt;

use const_oid::db::{rfc3280, rfc4519};
use der::Encode;
use der::asn1::{Any, Ia5StringRef, ObjectIdentifier, PrintableStringRef, SetOfVec, Utf8StringRef};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};

use super::ber;

/// A distinguished name, kept as the DER it came in; never encoded anew, so that what is copied into
/// a certificate is what was asked for, to the octet.
///
/// Its text is that of IOS: most specific first, lower-case keywords, `cn=r1,ou=Lab,o=Example`,
/// `+` inside a multi-valued RDN, unstructuredName as `hostname=`, unstructuredAddress as `ipaddress=`.
/// What could disturb a terminal or a log is escaped as `\XX`. Blanks around a value, which routers have put
/// into names, are not shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Vec<u8>);

impl Name {
    /// unstructuredName (RFC 2985, 5.4.1), the `hostname=` of IOS.
    pub const UNSTRUCTURED_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.2");

    /// Takes a DER `Name` (RFC 5280, 4.1.2.4) as it is.
    pub fn from_der(der: &[u8]) -> Self {
        Self(der.to_vec())
    }

    /// Reads what an operator typed: `CN = a, OU = b+serialNumber=1, E = x@y`; keywords in any case,
    /// also dotted OIDs; `\` before a character, or two hex digits, or `"…"` to quote.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let mut rdns = Vec::new();
        for rdn in split(text, &[',', '/'])? {
            let mut pairs = SetOfVec::new();
            for pair in split(rdn, &['+'])? {
                let attribute = attribute(pair)?;
                pairs.insert(attribute).map_err(|_| NameError::Repeated(pair.trim().to_owned()))?;
            }
            rdns.push(RelativeDistinguishedName::from(pairs));
        }
        if rdns.is_empty() {
            return Err(NameError::Empty);
        }
        // Text is most specific first, DER most general first (RFC 4514, 2.1).
        rdns.reverse();
        RdnSequence::from(rdns).to_der().map(Self).map_err(|_| NameError::TooLong)
    }

    /// The DER.
    pub fn as_der(&self) -> &[u8] {
        &self.0
    }

    /// Whether it has no RDN.
    pub fn is_empty(&self) -> bool {
        self.0 == [0x30, 0] || self.0.is_empty()
    }

    /// The values of every attribute of this type, most general first.
    pub fn values(&self, oid: &ObjectIdentifier) -> Vec<String> {
        rdns(&self.0)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|(t, _)| t == oid.as_bytes())
            .map(|(_, v)| v)
            .collect()
    }

    /// Whether `other` has every attribute of this name, whatever else it has. Values are equal whatever the
    /// case of their letters and however many blanks (RFC 5280, 7.1); IOS writes some before them.
    pub fn is_within(&self, other: &Self) -> bool {
        let attributes = |name: &Self| -> Option<Vec<(Vec<u8>, String)>> {
            let all = rdns(&name.0)?.into_iter().flatten();
            Some(all.map(|(oid, value)| (oid, folded(&value))).collect())
        };
        match (attributes(self), attributes(other)) {
            (Some(these), Some(others)) => these.iter().all(|attribute| others.contains(attribute)),
            _ => false,
        }
    }

    /// Whether it is the same name as `other`: the same attributes in the same order of RDNs, values compared as
    /// [`is_within`](Self::is_within) does (RFC 5280, 7.1).
    pub fn matches(&self, other: &Self) -> bool {
        self == other || self.folded().is_some_and(|rdns| other.folded() == Some(rdns))
    }

    /// Whether `base` is this name or one above it in the tree of names: its most general RDNs are those of
    /// `base`.
    pub fn begins_with(&self, base: &Self) -> bool {
        match (self.folded(), base.folded()) {
            (Some(rdns), Some(base)) => rdns.starts_with(&base),
            _ => false,
        }
    }

    /// Its RDNs, most general first, with values that are equal where the names are.
    fn folded(&self) -> Option<Rdns> {
        let fold = |rdn: Vec<(Vec<u8>, String)>| {
            let mut rdn: Vec<_> = rdn.into_iter().map(|(oid, value)| (oid, folded(&value))).collect();
            rdn.sort();
            rdn
        };
        Some(rdns(&self.0)?.into_iter().map(fold).collect())
    }

    /// As directories have it (RFC 4514): most specific first; what is not among the keywords of that RFC as
    /// a dotted OID and the octets of the value.
    pub fn to_directory(&self) -> Option<String> {
        let mut text: Vec<String> = Vec::new();
        let mut sequence = ber::parse(&self.0, &ber::Limits::MESSAGE).ok()?.sequence("").ok()?;
        while let Some(rdn) = sequence.next("").ok()? {
            let (mut set, mut pairs) = (rdn.set("").ok()?, Vec::new());
            while let Some(pair) = set.next("").ok()? {
                let mut pair = pair.sequence("").ok()?;
                let oid = pair.any("").ok()?.oid("").ok()?;
                let value = pair.any("").ok()?;
                let key = KEYS.iter().find(|(key, known, _)| *known == oid && DIRECTORY_KEYS.contains(key));
                pairs.push(match (key, value.text()) {
                    (Some((key, ..)), Some(text)) => format!("{key}={}", directory_value(&text)),
                    _ => format!("{oid}={}", hex(value.raw())),
                });
            }
            text.push(pairs.join("+"));
        }
        text.reverse();
        Some(text.join(","))
    }

    /// Whether it calls itself a registration authority of IOS: `ioscs RA` in CN or OU (S21).
    pub fn is_ios_ra(&self) -> bool {
        [rfc4519::CN, rfc4519::OU]
            .iter()
            .flat_map(|oid| self.values(oid))
            .any(|value| folded(&value) == "ioscs ra")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(rdns) = rdns(&self.0) else { return f.write_str("<malformed name>") };
        for (i, rdn) in rdns.iter().rev().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            for (j, (oid, value)) in rdn.iter().enumerate() {
                if j > 0 {
                    f.write_str("+")?;
                }
                write_key(f, oid)?;
                write_value(f, value.trim())?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// Why a typed name is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was typed.
    #[error("the name is empty; type it as CN=ca1, O=Example, C=US")]
    Empty,
    /// A part without `=`.
    #[error("\"{0}\" is not keyword=value; type the name as CN=ca1, O=Example, C=US")]
    NotAPair(String),
    /// A keyword that we do not know.
    #[error(
        "\"{0}\" is not a known name attribute; known are CN, OU, O, L, ST, C, DC, E, UID, SN, GN, T, hostname, ipaddress, serialNumber and dotted OIDs"
    )]
    UnknownKey(String),
    /// A value that its attribute cannot have.
    #[error("\"{value}\" cannot be the value of {key}: {why}")]
    BadValue {
        /// The keyword.
        key: String,
        /// What was typed.
        value: String,
        /// The rule.
        why: &'static str,
    },
    /// The same attribute twice in one RDN.
    #[error("\"{0}\" stands twice between + signs")]
    Repeated(String),
    /// A quote is not closed or a `\` ends the text.
    #[error("a quote or \\ is not finished")]
    Unfinished,
    /// More than DER or we can take.
    #[error("the name is too long")]
    TooLong,
}

type Rdns = Vec<Vec<(Vec<u8>, String)>>;

/// The RDNs, each the (OID content, text) of its attributes; `None` when it is not a `Name`.
fn rdns(der: &[u8]) -> Option<Rdns> {
    let mut rdns = Vec::new();
    let mut sequence = ber::parse(der, &ber::Limits::MESSAGE).ok()?.sequence("Name").ok()?;
    while let Some(set) = sequence.next("RelativeDistinguishedName").ok()? {
        let mut set = set.set("RelativeDistinguishedName").ok()?;
        let mut rdn = Vec::new();
        while let Some(pair) = set.next("AttributeTypeAndValue").ok()? {
            let mut pair = pair.sequence("AttributeTypeAndValue").ok()?;
            let oid = pair.any("type").ok()?.content().to_vec();
            let value = pair.any("value").ok()?;
            rdn.push((oid, value.text().unwrap_or_else(|| hex(value.raw()))));
        }
        rdns.push(rdn);
    }
    Some(rdns)
}

fn folded(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("#"), |text, b| text + &format!("{b:02x}"))
}

fn write_key(f: &mut fmt::Formatter<'_>, oid: &[u8]) -> fmt::Result {
    match KEYS.iter().find(|(_, known, _)| known.as_bytes() == oid) {
        Some((key, _, _)) => write!(f, "{key}="),
        None => match ObjectIdentifier::from_bytes(oid) {
            Ok(oid) => write!(f, "{oid}="),
            Err(_) => f.write_str("?="),
        },
    }
}

fn write_value(f: &mut fmt::Formatter<'_>, value: &str) -> fmt::Result {
    for c in value.chars() {
        match c {
            ',' | '+' | '"' | '\\' | '=' | '<' | '>' | ';' => write!(f, "\\{c}")?,
            c if is_disturbing(c) => {
                c.encode_utf8(&mut [0; 4]).bytes().try_for_each(|b| write!(f, "\\{b:02X}"))?
            }
            c => write!(f, "{c}")?,
        }
    }
    Ok(())
}

/// A value in the notation of RFC 4514, 2.4.
fn directory_value(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut value = String::new();
    for (at, c) in text.chars().enumerate() {
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => value.extend(['\\', c]),
            ' ' if at == 0 || at == last => value.push_str("\\ "),
            '#' if at == 0 => value.push_str("\\#"),
            '\0' => value.push_str("\\00"),
            c => value.push(c),
        }
    }
    value
}

/// Control characters, and those that turn or hide text (Unicode bidi controls, zero width).
fn is_disturbing(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Splits at any of `at` that is neither quoted nor escaped; parts of blanks alone are dropped.
fn split<'a>(text: &'a str, at: &[char]) -> Result<Vec<&'a str>, NameError> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            // "/" parts the name only before another key: values such as "a/b" stay whole.
            '/' if !quoted && at.contains(&'/') && !starts_pair(&text[i + 1..]) => {}
            c if !quoted && at.contains(&c) => {
                parts.push(&text[start..i]);
                start = i + c.len_utf8();
            }
            _ => {}
        }
    }
    if quoted || escaped {
        return Err(NameError::Unfinished);
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    Ok(parts)
}

fn starts_pair(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, _)| lookup(key.trim()).is_some())
}

fn attribute(pair: &str) -> Result<AttributeTypeAndValue, NameError> {
    let (key, value) = pair.split_once('=').ok_or_else(|| NameError::NotAPair(pair.trim().to_owned()))?;
    let (key, value) = (key.trim(), unquote(value.trim())?);
    let (oid, kind) = lookup(key).ok_or_else(|| NameError::UnknownKey(key.to_owned()))?;
    let bad = |why| NameError::BadValue { key: key.to_owned(), value: value.clone(), why };
    if value.is_empty() {
        return Err(bad("it is empty"));
    }
    let value = match kind {
        Kind::Country if value.len() != 2 => return Err(bad("a country has two letters")),
        Kind::Ia5 => Any::encode_from(&Ia5StringRef::new(&value).map_err(|_| bad("only ASCII is allowed"))?),
        Kind::Country | Kind::Printable => Any::encode_from(
            &PrintableStringRef::new(&value).map_err(|_| bad("a character is not allowed there"))?,
        ),
        Kind::Directory => match PrintableStringRef::new(&value) {
            Ok(text) => Any::encode_from(&text),
            Err(_) => Any::encode_from(&Utf8StringRef::new(&value).map_err(|_| NameError::TooLong)?),
        },
    };
    Ok(AttributeTypeAndValue { oid, value: value.map_err(|_| NameError::TooLong)? })
}

/// Takes quotes and escapes away.
fn unquote(text: &str) -> Result<String, NameError> {
    let mut out = Vec::new();
    let mut bytes = text.bytes().peekable();
    while let Some(b) = bytes.next() {
        match b {
            b'"' => {}
            b'\\' => {
                let next = bytes.next().ok_or(NameError::Unfinished)?;
                let digit = |b: u8| (b as char).to_digit(16);
                match (digit(next), bytes.peek().copied().and_then(digit)) {
                    (Some(high), Some(low)) => {
                        bytes.next();
                        out.push((high << 4 | low) as u8);
                    }
                    _ => out.push(next),
                }
            }
            b => out.push(b),
        }
    }
    String::from_utf8(out).map_err(|_| NameError::Unfinished)
}

/// Which string type a value is written in.
#[derive(Clone, Copy)]
enum Kind {
    /// PrintableString when it can be, else UTF8String (RFC 5280, 4.1.2.4).
    Directory,
    /// PrintableString.
    Printable,
    /// PrintableString of two letters.
    Country,
    /// IA5String.
    Ia5,
}

fn lookup(key: &str) -> Option<(ObjectIdentifier, Kind)> {
    let alias = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(key)).map_or(key, |(_, key)| key);
    KEYS.iter()
        .find(|(known, _, _)| known.eq_ignore_ascii_case(alias))
        .map(|(_, oid, kind)| (*oid, *kind))
        .or_else(|| key.parse().ok().map(|oid| (oid, Kind::Directory)))
}

const PKCS9_UNSTRUCTURED_ADDRESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.8");

const KEYS: [(&str, ObjectIdentifier, Kind); 17] = [
    ("cn", rfc4519::CN, Kind::Directory),
    ("ou", rfc4519::OU, Kind::Directory),
    ("o", rfc4519::O, Kind::Directory),
    ("l", rfc4519::L, Kind::Directory),
    ("st", rfc4519::ST, Kind::Directory),
    ("c", rfc4519::C, Kind::Country),
    ("dc", rfc4519::DC, Kind::Ia5),
    ("ea", rfc3280::EMAIL_ADDRESS, Kind::Ia5),
    ("hostname", Name::UNSTRUCTURED_NAME, Kind::Ia5),
    ("ipaddress", PKCS9_UNSTRUCTURED_ADDRESS, Kind::Printable),
    ("serialNumber", rfc4519::SERIAL_NUMBER, Kind::Printable),
    ("uid", rfc4519::UID, Kind::Directory),
    ("sn", rfc4519::SN, Kind::Directory),
    ("gn", rfc4519::GIVEN_NAME, Kind::Directory),
    ("t", rfc4519::TITLE, Kind::Directory),
    ("street", rfc4519::STREET, Kind::Directory),
    ("dnQualifier", rfc4519::DN_QUALIFIER, Kind::Printable),
];

/// The keywords of RFC 4514, 3.
const DIRECTORY_KEYS: [&str; 9] = ["cn", "l", "st", "o", "ou", "c", "street", "dc", "uid"];

const ALIASES: [(&str, &str); 5] =
    [("e", "ea"), ("email", "ea"), ("emailAddress", "ea"), ("unstructuredName", "hostname"), ("s", "st")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_as_ios_does() {
        for (typed, shown) in [
            ("CN=mycs, O=Example, C=US", "cn=mycs,o=Example,c=US"),
            ("cn = a b , OU= \"x, y\"", "cn=a b,ou=x\\, y"),
            ("E=a@b.c,hostname=r1.lab", "ea=a@b.c,hostname=r1.lab"),
            ("CN=r1+serialNumber=42", "cn=r1+serialNumber=42"),
            ("CN=ca/O=Example", "cn=ca,o=Example"),
            ("CN=a/b", "cn=a/b"),
            ("CN=Zürich", "cn=Zürich"),
            ("CN=\\1b[31m", "cn=\\1B[31m"),
            ("1.2.3.4=x", "1.2.3.4=x"),
        ] {
            let name = Name::parse(typed).unwrap();
            assert_eq!(name.to_string(), shown);
            assert_eq!(Name::parse(shown).unwrap(), name, "{shown}");
        }
    }

    #[test]
    fn a_name_is_within_one_that_says_more() {
        let typed = Name::parse("CN = ese-ios-ca, OU = ESE, C = US, EA = ese-vpn-team").unwrap();
        let within = |text: &str| Name::parse(text).unwrap().is_within(&typed);
        assert!(within("ou=\" ese\",cn=ESE-IOS-CA") && within("c=us"));
        assert!(!within("cn=ese-ios-ca,o=ESE") && !within("cn=ese ios ca"));
        assert!(!Name::from_der(b"x").is_within(&typed));
    }

    #[test]
    fn the_same_name_may_be_written_otherwise() {
        let same = |a: &str, b: &str| Name::parse(a).unwrap().matches(&Name::parse(b).unwrap());
        assert!(same("CN=ca1, O=Example", "cn=CA1,o=\" example\""));
        assert!(same("CN=ca1+serialNumber=1", "serialNumber=1+CN=ca1"));
        assert!(!same("CN=ca1, O=Example", "O=Example, CN=ca1"));
        assert!(!same("CN=ca1", "CN=ca1, O=Example") && !same("CN=ca1", "OU=ca1"));
        assert!(!Name::from_der(b"x").matches(&Name::from_der(b"y")));
        let below = |a: &str, b: &str| Name::parse(a).unwrap().begins_with(&Name::parse(b).unwrap());
        assert!(below("CN=r1, O=Example, C=US", "o=example,c=us") && below("C=US", "C=US"));
        assert!(!below("CN=r1, O=Example, C=US", "O=Example") && !below("C=US", "O=Example, C=US"));
    }

    #[test]
    fn der_is_most_general_first() {
        let name = Name::parse("CN=a,C=US").unwrap();
        let country = name.as_der().windows(3).position(|w| w == [0x55, 4, 6]).unwrap();
        let common = name.as_der().windows(3).position(|w| w == [0x55, 4, 3]).unwrap();
        assert!(country < common);
    }

    #[test]
    fn directories_have_a_notation_of_their_own() {
        let name = Name::parse("CN=\"ca, 1\",OU=\" x #\",EA=a@b.c,C=US").unwrap();
        let expected = r"cn=ca\, 1,ou=\ x #,1.2.840.113549.1.9.1=#16056140622e63,c=US";
        assert_eq!(name.to_directory().unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(Name::parse(" , "), Err(NameError::Empty));
        assert_eq!(Name::parse("mycs"), Err(NameError::NotAPair("mycs".into())));
        assert_eq!(Name::parse("XY=1"), Err(NameError::UnknownKey("XY".into())));
        assert_eq!(Name::parse("CN=\"a"), Err(NameError::Unfinished));
        assert!(matches!(Name::parse("C=USA"), Err(NameError::BadValue { .. })));
        assert!(matches!(Name::parse("CN="), Err(NameError::BadValue { .. })));
    }

    #[test]
    fn an_ra_of_ios_is_recognised() {
        assert!(Name::parse("CN=x, OU=ioscs RA").unwrap().is_ios_ra());
        // Names are the same however many blanks they have, and routers write some.
        assert!(Name::parse("CN=x, OU=\" ioscs  RA\"").unwrap().is_ios_ra());
        assert!(!Name::parse("CN=x, O=ioscs RA").unwrap().is_ios_ra());
    }
}
