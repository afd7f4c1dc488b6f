//! Reading what strangers send: BER, tolerant in form and bounded in work.
//!
//! Routers, phones and Java clients send indefinite lengths, constructed OCTET STRINGs and lengths with
//! leading zeros, and a signature holds over the bytes as they were sent. So nothing is normalised here:
//! every [`Element`] is a span of the input. [`parse`] walks the input once, within [`Limits`], and finds
//! every fault of structure; a [`Reader`] then steps through the contents of one element. Reading costs at
//! most the length of the input times the depth of nesting, and never panics.
//!
//! ```
//! use tokenca::pki::ber::{self, Limits, Tag};
//!
//! let element = ber::parse(&[0x30, 0x80, 0x02, 0x01, 0x05, 0x00, 0x00], &Limits::MESSAGE)?;
//! let mut fields = element.sequence("example")?;
//! assert_eq!(fields.read(Tag::INTEGER, "number")?.small("number")?, 5);
//! fields.end("example")?;
//! # Ok::<(), ber::Error>(())
//! ```

use std::borrow::Cow;
use std::fmt;

use der::asn1::ObjectIdentifier;

/// Reads `input`, which is one element and nothing more.
pub fn parse<'a>(input: &'a [u8], limits: &Limits) -> Result<Element<'a>, Error> {
    let (element, rest) = parse_prefix(input, limits)?;
    if !rest.is_empty() {
        return Err(Error { offset: element.raw.len(), what: "", kind: ErrorKind::Trailing });
    }
    Ok(element)
}

/// Reads the element at the start of `input`; also returns the octets after it. They are often a line
/// feed that a client could not resist.
pub fn parse_prefix<'a>(input: &'a [u8], limits: &Limits) -> Result<(Element<'a>, &'a [u8]), Error> {
    if input.len() > limits.length {
        return Err(Error { offset: 0, what: "", kind: ErrorKind::TooLong });
    }
    let depth = limits.depth.min(MAX_DEPTH);
    let end = walk(input, 0, depth, limits.elements, Walk::Everything)?;
    let header = Header::read(input, 0)?;
    let element = header.element(&input[..end], 0, depth);
    Ok((element, &input[end..]))
}

/// How much a stranger may ask of the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Levels of nesting; never more than 32.
    pub depth: usize,
    /// Elements in all.
    pub elements: usize,
    /// Octets in all.
    pub length: usize,
}

impl Limits {
    /// For one request: an enrolment with a 8192-bit key and a chain of certificates has some 10 KiB and
    /// 500 elements.
    pub const MESSAGE: Self = Self { depth: MAX_DEPTH, elements: 16_384, length: 256 * 1024 };

    /// For what a CA sends us: a CRL may have a hundred thousand entries, four elements each and more.
    pub const REPLY: Self = Self { depth: MAX_DEPTH, elements: 2_000_000, length: 32 * 1024 * 1024 };
}

/// Class and number of an identifier octet. Whether an element is constructed is told by the element: a
/// string may be either.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag {
    class: u8,
    number: u32,
}

impl Tag {
    /// BOOLEAN.
    pub const BOOLEAN: Self = Self::universal(1);
    /// INTEGER.
    pub const INTEGER: Self = Self::universal(2);
    /// BIT STRING.
    pub const BIT_STRING: Self = Self::universal(3);
    /// OCTET STRING.
    pub const OCTET_STRING: Self = Self::universal(4);
    /// NULL.
    pub const NULL: Self = Self::universal(5);
    /// OBJECT IDENTIFIER.
    pub const OID: Self = Self::universal(6);
    /// ENUMERATED.
    pub const ENUMERATED: Self = Self::universal(10);
    /// UTF8String.
    pub const UTF8_STRING: Self = Self::universal(12);
    /// SEQUENCE, SEQUENCE OF.
    pub const SEQUENCE: Self = Self::universal(16);
    /// SET, SET OF.
    pub const SET: Self = Self::universal(17);
    /// PrintableString.
    pub const PRINTABLE_STRING: Self = Self::universal(19);
    /// TeletexString, in practice Latin-1.
    pub const TELETEX_STRING: Self = Self::universal(20);
    /// IA5String.
    pub const IA5_STRING: Self = Self::universal(22);
    /// UTCTime.
    pub const UTC_TIME: Self = Self::universal(23);
    /// GeneralizedTime.
    pub const GENERALIZED_TIME: Self = Self::universal(24);
    /// VisibleString.
    pub const VISIBLE_STRING: Self = Self::universal(26);
    /// UniversalString, UCS-4.
    pub const UNIVERSAL_STRING: Self = Self::universal(28);
    /// BMPString, UCS-2.
    pub const BMP_STRING: Self = Self::universal(30);

    /// `[number]`, the context-specific class.
    pub const fn context(number: u32) -> Self {
        Self { class: 2, number }
    }

    /// `[APPLICATION number]`.
    pub const fn application(number: u32) -> Self {
        Self { class: 1, number }
    }

    const fn universal(number: u32) -> Self {
        Self { class: 0, number }
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = ["universal", "application", "context", "private"][usize::from(self.class & 3)];
        write!(f, "[{class} {}]", self.number)
    }
}

/// One tag, length and value, as spans of the input.
#[derive(Clone, Copy)]
pub struct Element<'a> {
    tag: Tag,
    constructed: bool,
    indefinite: bool,
    raw: &'a [u8],
    content: &'a [u8],
    offset: usize,
    depth: usize,
}

impl<'a> Element<'a> {
    /// Its tag.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// Whether the contents are elements.
    pub fn is_constructed(&self) -> bool {
        self.constructed
    }

    /// Whether the length was the indefinite form.
    pub fn is_indefinite(&self) -> bool {
        self.indefinite
    }

    /// All of it as received: identifier, length, contents, end-of-contents if there is one.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The contents as received, without end-of-contents.
    pub fn content(&self) -> &'a [u8] {
        self.content
    }

    /// Where it starts in the input of [`parse`].
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Steps into any constructed element, whatever its tag.
    pub fn reader(&self, what: &'static str) -> Result<Reader<'a>, Error> {
        if !self.constructed {
            return Err(self.error(what, ErrorKind::Primitive));
        }
        let Some(depth) = self.depth.checked_sub(1) else { return Err(self.error(what, ErrorKind::TooDeep)) };
        let header = self.raw.len() - self.content.len() - if self.indefinite { 2 } else { 0 };
        Ok(Reader { rest: self.content, offset: self.offset + header, depth })
    }

    /// Steps into a SEQUENCE.
    pub fn sequence(&self, what: &'static str) -> Result<Reader<'a>, Error> {
        self.tagged(Tag::SEQUENCE, what)?.reader(what)
    }

    /// Steps into a SET.
    pub fn set(&self, what: &'static str) -> Result<Reader<'a>, Error> {
        self.tagged(Tag::SET, what)?.reader(what)
    }

    /// The one element inside an explicit tag.
    pub fn explicit(&self, what: &'static str) -> Result<Element<'a>, Error> {
        let mut reader = self.reader(what)?;
        let inner = reader.any(what)?;
        reader.end(what)?;
        Ok(inner)
    }

    /// This element, if it has `tag`.
    pub fn tagged(self, tag: Tag, what: &'static str) -> Result<Self, Error> {
        if self.tag == tag { Ok(self) } else { Err(self.error(what, ErrorKind::Tag(tag))) }
    }

    /// The octets of an OCTET STRING or of any other string, whatever its tag: borrowed when primitive,
    /// put together when the sender cut it in pieces (X.690, 8.7.3).
    pub fn octets(&self, what: &'static str) -> Result<Cow<'a, [u8]>, Error> {
        if !self.constructed {
            return Ok(Cow::Borrowed(self.content));
        }
        let mut whole = Vec::new();
        self.pieces(&mut whole, what)?;
        Ok(Cow::Owned(whole))
    }

    /// The octets of a BIT STRING of whole octets. Unused bits are refused.
    pub fn bits(&self, what: &'static str) -> Result<&'a [u8], Error> {
        match self.primitive(Tag::BIT_STRING, what)? {
            [0, bits @ ..] => Ok(bits),
            _ => Err(self.error(what, ErrorKind::Value)),
        }
    }

    /// The content octets of an INTEGER: two's complement, big-endian, maybe with needless leading octets;
    /// at least one and at most 1024.
    pub fn integer(&self, what: &'static str) -> Result<&'a [u8], Error> {
        match self.primitive(Tag::INTEGER, what)? {
            content if (1..=MAX_INTEGER).contains(&content.len()) => Ok(content),
            _ => Err(self.error(what, ErrorKind::Value)),
        }
    }

    /// A small non-negative INTEGER, such as a version.
    pub fn small(&self, what: &'static str) -> Result<u32, Error> {
        let content = self.integer(what)?;
        let digits = content.iter().position(|b| *b != 0).map_or(&content[..0], |at| &content[at..]);
        if content[0] & 0x80 != 0 || digits.len() > 4 {
            return Err(self.error(what, ErrorKind::Value));
        }
        Ok(digits.iter().fold(0, |n, b| n << 8 | u32::from(*b)))
    }

    /// A BOOLEAN; every octet but zero is true (X.690, 8.2.2).
    pub fn boolean(&self, what: &'static str) -> Result<bool, Error> {
        match self.primitive(Tag::BOOLEAN, what)? {
            [octet] => Ok(*octet != 0),
            _ => Err(self.error(what, ErrorKind::Value)),
        }
    }

    /// An OBJECT IDENTIFIER, of at most 39 octets.
    pub fn oid(&self, what: &'static str) -> Result<ObjectIdentifier, Error> {
        let content = self.primitive(Tag::OID, what)?;
        ObjectIdentifier::from_bytes(content).map_err(|_| self.error(what, ErrorKind::Value))
    }

    /// The text of any of the string types of a `DirectoryString`, or of an IA5String. The octet strings
    /// among them are read as UTF-8, else as Latin-1. `None` for other types and for broken UCS-2.
    pub fn text(&self) -> Option<String> {
        let octets = self.octets("string").ok()?;
        match self.tag {
            Tag::UTF8_STRING
            | Tag::PRINTABLE_STRING
            | Tag::TELETEX_STRING
            | Tag::IA5_STRING
            | Tag::VISIBLE_STRING => Some(match std::str::from_utf8(&octets) {
                Ok(text) => text.to_owned(),
                Err(_) => octets.iter().map(|b| char::from(*b)).collect(),
            }),
            Tag::BMP_STRING => {
                let (units, []) = octets.as_chunks::<2>() else { return None };
                char::decode_utf16(units.iter().map(|b| u16::from_be_bytes(*b)))
                    .collect::<Result<_, _>>()
                    .ok()
            }
            Tag::UNIVERSAL_STRING => {
                let (units, []) = octets.as_chunks::<4>() else { return None };
                units.iter().map(|b| char::from_u32(u32::from_be_bytes(*b))).collect()
            }
            _ => None,
        }
    }

    /// The same element with definite lengths of the shortest form throughout; what strict DER parsers need
    /// of an `AlgorithmIdentifier`. Strings cut in pieces stay so, and SETs keep their order.
    pub fn to_definite(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.raw.len());
        self.write_definite(&mut out);
        out
    }

    /// An error about this element.
    pub fn error(&self, what: &'static str, kind: ErrorKind) -> Error {
        Error { offset: self.offset, what, kind }
    }

    fn primitive(&self, tag: Tag, what: &'static str) -> Result<&'a [u8], Error> {
        let element = self.tagged(tag, what)?;
        if element.constructed { Err(self.error(what, ErrorKind::Constructed)) } else { Ok(self.content) }
    }

    fn pieces(&self, whole: &mut Vec<u8>, what: &'static str) -> Result<(), Error> {
        let mut reader = self.reader(what)?;
        while let Some(piece) = reader.next(what)? {
            let piece = piece.tagged(Tag::OCTET_STRING, what)?;
            if piece.constructed {
                piece.pieces(whole, what)?
            } else {
                whole.extend_from_slice(piece.content)
            }
        }
        Ok(())
    }

    fn write_definite(&self, out: &mut Vec<u8>) {
        let inner = self.reader("").map(|mut reader| {
            let mut inner = Vec::new();
            while let Ok(Some(element)) = reader.next("") {
                element.write_definite(&mut inner);
            }
            inner
        });
        let content = inner.as_deref().unwrap_or(self.content);
        // A high tag number keeps its octets; the first octet of a header is always there.
        let identifier = if self.raw[0] & 0x1f == 0x1f {
            1 + self.raw[1..].iter().take_while(|b| **b & 0x80 != 0).count() + 1
        } else {
            1
        };
        out.extend_from_slice(&self.raw[..identifier]);
        match content.len() {
            len @ 0..0x80 => out.push(len as u8),
            len => {
                let octets = len.to_be_bytes();
                let digits = &octets[octets.iter().take_while(|b| **b == 0).count()..];
                out.push(0x80 | digits.len() as u8);
                out.extend_from_slice(digits);
            }
        }
        out.extend_from_slice(content);
    }
}

impl fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}, {} octets", self.tag, self.offset, self.raw.len())
    }
}

/// Steps through the contents of a constructed element.
#[derive(Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// The next element; `None` at the end.
    pub fn next(&mut self, what: &'static str) -> Result<Option<Element<'a>>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let at = |e: Error| Error { offset: e.offset + self.offset, what, kind: e.kind };
        let header = Header::read(self.rest, 0).map_err(at)?;
        let end = match header.length {
            Some(length) => header.content + length,
            // The number of elements was bounded by `parse`.
            None => walk(self.rest, 0, self.depth, usize::MAX, Walk::Indefinite).map_err(at)?,
        };
        let element = header.element(&self.rest[..end], self.offset, self.depth);
        self.rest = &self.rest[end..];
        self.offset += end;
        Ok(Some(element))
    }

    /// The next element, whatever it is.
    pub fn any(&mut self, what: &'static str) -> Result<Element<'a>, Error> {
        let missing = Error { offset: self.offset, what, kind: ErrorKind::Missing };
        self.next(what)?.ok_or(missing)
    }

    /// The next element, which has `tag`.
    pub fn read(&mut self, tag: Tag, what: &'static str) -> Result<Element<'a>, Error> {
        self.any(what)?.tagged(tag, what)
    }

    /// The next element if it has `tag`; else nothing is consumed.
    pub fn optional(&mut self, tag: Tag, what: &'static str) -> Result<Option<Element<'a>>, Error> {
        match Header::read(self.rest, 0) {
            Ok(header) if header.tag == tag => self.next(what),
            _ => Ok(None),
        }
    }

    /// Nothing may be left.
    pub fn end(&self, what: &'static str) -> Result<(), Error> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error { offset: self.offset, what, kind: ErrorKind::Trailing })
    }
}

/// What is wrong, with which field, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// Octets from the start of the input.
    pub offset: usize,
    /// The field being read; empty when it was only structure.
    pub what: &'static str,
    /// What is wrong.
    pub kind: ErrorKind,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.what.is_empty() {
            write!(f, "{}: ", self.what)?;
        }
        write!(f, "{} at offset {}", self.kind, self.offset)
    }
}

/// What can be wrong with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// The input ends within it.
    #[error("the data ends too early")]
    Truncated,
    /// More octets than the limit.
    #[error("the data is too long")]
    TooLong,
    /// Nested deeper than the limit.
    #[error("the data is nested too deep")]
    TooDeep,
    /// More elements than the limit.
    #[error("the data has too many elements")]
    TooMany,
    /// A length of more octets than fit, of a reserved form, or indefinite on a primitive.
    #[error("the length is invalid")]
    Length,
    /// A tag number above 2^28, or end-of-contents where none belongs.
    #[error("the tag is invalid")]
    InvalidTag,
    /// Another tag was expected.
    #[error("not a {0:?}")]
    Tag(Tag),
    /// It should have been constructed.
    #[error("should be constructed")]
    Primitive,
    /// It should have been primitive.
    #[error("should be primitive")]
    Constructed,
    /// A field is not there.
    #[error("missing")]
    Missing,
    /// Something follows the last field.
    #[error("something follows the end")]
    Trailing,
    /// The contents do not fit the type.
    #[error("the value is invalid")]
    Value,
}

/// Identifier and length octets, read at `start` of some input.
struct Header {
    tag: Tag,
    constructed: bool,
    /// Where the contents start.
    content: usize,
    /// `None` for the indefinite form.
    length: Option<usize>,
}

impl Header {
    /// Refuses what reaches beyond `input`.
    fn read(input: &[u8], start: usize) -> Result<Self, Error> {
        let fail = |kind| Error { offset: start, what: "", kind };
        let mut at = start;
        let mut octet = || {
            let octet = input.get(at).copied().ok_or(fail(ErrorKind::Truncated));
            at += 1;
            octet
        };
        let first = octet()?;
        let mut tag = Tag { class: first >> 6, number: u32::from(first & 0x1f) };
        if tag.number == 0x1f {
            tag.number = 0;
            loop {
                let next = octet()?;
                // Four octets of seven bits: no protocol here has more than two.
                if tag.number >= 1 << 21 {
                    return Err(fail(ErrorKind::InvalidTag));
                }
                tag.number = tag.number << 7 | u32::from(next & 0x7f);
                if next & 0x80 == 0 {
                    break;
                }
            }
        }
        let constructed = first & 0x20 != 0;
        let length = match octet()? {
            0x80 if constructed => None,
            short @ 0..0x80 => Some(usize::from(short)),
            0x80 | 0xff => return Err(fail(ErrorKind::Length)),
            long => {
                let mut length = 0usize;
                for _ in 0..long & 0x7f {
                    // Leading zeros are allowed in BER, as many as there are.
                    if length >= 1 << 24 {
                        return Err(fail(ErrorKind::Length));
                    }
                    length = length << 8 | usize::from(octet()?);
                }
                Some(length)
            }
        };
        if length.is_some_and(|length| length > input.len() - at) {
            return Err(fail(ErrorKind::Truncated));
        }
        Ok(Self { tag, constructed, content: at, length })
    }

    /// The element whose whole span is `raw`.
    fn element<'a>(&self, raw: &'a [u8], offset: usize, depth: usize) -> Element<'a> {
        let end = raw.len() - if self.length.is_none() { 2 } else { 0 };
        Element {
            tag: self.tag,
            constructed: self.constructed,
            indefinite: self.length.is_none(),
            raw,
            content: &raw[self.content..end],
            offset,
            depth,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Walk {
    /// Into every constructed element.
    Everything,
    /// Only as far as needed to find the end: over definite lengths without a look.
    Indefinite,
}

/// The end of the element at `start`. No recursion, and each octet is looked at once.
fn walk(input: &[u8], start: usize, depth: usize, elements: usize, mode: Walk) -> Result<usize, Error> {
    // Where each open element ends and whether it is closed by end-of-contents instead; an indefinite one
    // has the end of the one around it.
    let mut open = [(0usize, false); MAX_DEPTH];
    let mut level = 0;
    let mut at = start;
    let mut seen = 0usize;
    loop {
        while level > 0 && !open[level - 1].1 && open[level - 1].0 == at {
            level -= 1;
        }
        if level == 0 && seen > 0 {
            return Ok(at);
        }
        let (end, indefinite) = if level == 0 { (input.len(), false) } else { open[level - 1] };
        let fail = |kind| Error { offset: at, what: "", kind };
        let header = Header::read(&input[..end], at)?;
        seen += 1;
        if seen > elements {
            return Err(fail(ErrorKind::TooMany));
        }
        if header.tag == Tag::universal(0) {
            // Just two zero octets: `00 81 00` would say the same, but nobody sends it.
            if !indefinite || input.get(at..at + 2) != Some(&[0, 0]) {
                return Err(fail(ErrorKind::InvalidTag));
            }
            at = header.content;
            level -= 1;
            continue;
        }
        let descend = header.constructed && (mode == Walk::Everything || header.length.is_none());
        if !descend {
            // Checked by `Header::read`: a primitive has a length and it is within `end`.
            at = header.content + header.length.unwrap_or(0);
            continue;
        }
        if level == depth {
            return Err(fail(ErrorKind::TooDeep));
        }
        open[level] = (header.length.map_or(end, |length| header.content + length), header.length.is_none());
        level += 1;
        at = header.content;
    }
}

const MAX_DEPTH: usize = 32;
/// Octets of an INTEGER: an 8192-bit modulus with its sign octet does not fit in fewer than 1025, but
/// those are read by the key parser; what is read here are versions and serial numbers.
const MAX_INTEGER: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(input: &[u8]) -> ErrorKind {
        parse(input, &Limits::MESSAGE).unwrap_err().kind
    }

    #[test]
    fn definite_and_indefinite_read_alike() {
        let definite = [0x30, 6, 2, 1, 5, 4, 1, 9];
        let indefinite = [0x30, 0x80, 2, 1, 5, 0x24, 0x80, 4, 0, 4, 0x82, 0, 1, 9, 0, 0, 0, 0];
        for input in [&definite[..], &indefinite[..]] {
            let mut fields = parse(input, &Limits::MESSAGE).unwrap().sequence("s").unwrap();
            assert_eq!(fields.read(Tag::INTEGER, "i").unwrap().small("i").unwrap(), 5);
            assert_eq!(*fields.any("o").unwrap().octets("o").unwrap(), [9]);
            fields.end("s").unwrap();
        }
        assert_eq!(
            parse(&indefinite, &Limits::MESSAGE).unwrap().to_definite(),
            [0x30, 10, 2, 1, 5, 0x24, 5, 4, 0, 4, 1, 9]
        );
    }

    #[test]
    fn raw_is_what_was_received() {
        let input = [0x30, 0x80, 0x31, 0x81, 0, 0x31, 0x80, 0, 0, 0, 0];
        let mut fields = parse(&input, &Limits::MESSAGE).unwrap().sequence("s").unwrap();
        let set = fields.read(Tag::SET, "empty").unwrap();
        assert_eq!((set.raw(), set.offset()), (&input[2..5], 2));
        let set = fields.read(Tag::SET, "indefinite").unwrap();
        assert_eq!((set.raw(), set.content(), set.offset()), (&input[5..9], &[][..], 5));
    }

    #[test]
    fn errors_say_where_and_what() {
        let input = [0x30, 6, 2, 1, 5, 4, 1, 9];
        let mut fields = parse(&input, &Limits::MESSAGE).unwrap().sequence("s").unwrap();
        fields.any("version").unwrap();
        let error = fields.read(Tag::OID, "type").unwrap_err();
        assert_eq!(error.to_string(), "type: not a [universal 6] at offset 5");
        let error = fields.read(Tag::OID, "values").unwrap_err();
        assert_eq!(error.to_string(), "values: missing at offset 8");
    }

    #[test]
    fn nesting_is_bounded() {
        for header in [&[0x30, 0x80][..], &[0xbf, 0x81, 0x01, 0x80]] {
            assert_eq!(fails(&header.repeat(50_000)), ErrorKind::TooDeep);
        }
        let mut definite = vec![];
        for _ in 0..33 {
            let mut outer = vec![0x30, definite.len() as u8];
            outer.append(&mut definite);
            definite = outer;
        }
        assert_eq!(fails(&definite), ErrorKind::TooDeep);
        assert!(parse(&definite[2..], &Limits::MESSAGE).is_ok());
    }

    #[test]
    fn lengths_are_bounded() {
        assert_eq!(fails(&[4, 0x84, 0x7f, 0xff, 0xff, 0xff, 0]), ErrorKind::Truncated);
        assert_eq!(fails(&[4, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), ErrorKind::Length);
        assert_eq!(fails(&[4, 0x80, 0, 0]), ErrorKind::Length);
        assert_eq!(fails(&[4, 0xff]), ErrorKind::Length);
        assert_eq!(fails(&vec![0; Limits::MESSAGE.length + 1]), ErrorKind::TooLong);
        let leading_zeros = [&[4, 0xfe][..], &[0; 125], &[1, 7]].concat();
        assert_eq!(parse(&leading_zeros, &Limits::MESSAGE).unwrap().content(), [7]);
    }

    #[test]
    fn elements_are_bounded() {
        let many = [&[0x30, 0x80][..], &[5, 0].repeat(20_000), &[0, 0]].concat();
        assert_eq!(fails(&many), ErrorKind::TooMany);
    }

    #[test]
    fn odd_structure_is_refused() {
        assert_eq!(fails(&[]), ErrorKind::Truncated);
        assert_eq!(fails(&[0, 0]), ErrorKind::InvalidTag);
        assert_eq!(fails(&[0x30, 2, 0, 0]), ErrorKind::InvalidTag);
        assert_eq!(fails(&[0x30, 0x80, 0x20, 0x80, 0, 0]), ErrorKind::InvalidTag);
        assert_eq!(fails(&[0x30, 0x80, 0, 1, 0]), ErrorKind::InvalidTag);
        assert_eq!(fails(&[0x30, 0x80, 0, 0x81, 0]), ErrorKind::InvalidTag);
        assert_eq!(fails(&[0x30, 0x80, 0x1f, 0, 0]), ErrorKind::InvalidTag);
        assert_eq!(fails(&[0x30, 3, 4, 2, 0]), ErrorKind::Truncated);
        assert_eq!(fails(&[5, 0, 0]), ErrorKind::Trailing);
        assert_eq!(fails(&[0x1f, 0xff, 0xff, 0xff, 0xff, 0x7f, 0]), ErrorKind::InvalidTag);
        // An indefinite length may not borrow its end from outside the definite one around it.
        assert_eq!(fails(&[0x30, 0x80, 0x30, 2, 0x30, 0x80, 0, 0, 0, 0]), ErrorKind::Truncated);
    }

    #[test]
    fn strings_of_every_kind_are_text() {
        let text = |input: &[u8]| parse(input, &Limits::MESSAGE).unwrap().text();
        assert_eq!(text(&[19, 2, b'a', b'b']).unwrap(), "ab");
        assert_eq!(text(&[20, 1, 0xe4]).unwrap(), "ä");
        assert_eq!(text(&[12, 2, 0xc3, 0xa4]).unwrap(), "ä");
        assert_eq!(text(&[30, 2, 0, 0xe4]).unwrap(), "ä");
        assert_eq!(text(&[28, 4, 0, 0, 0, 0xe4]).unwrap(), "ä");
        assert_eq!(text(&[30, 1, 0]), None);
        assert_eq!(text(&[2, 1, 0]), None);
    }

    #[test]
    fn integers() {
        let small = |input: &[u8]| parse(input, &Limits::MESSAGE).unwrap().small("n").ok();
        assert_eq!(small(&[2, 5, 0, 0, 0, 0, 2]), Some(2));
        assert_eq!(small(&[2, 1, 0]), Some(0));
        assert_eq!(small(&[2, 1, 0xff]), None);
        assert_eq!(small(&[2, 0]), None);
        let long = [&[2, 0x82, 4, 1][..], &[1; 1025]].concat();
        assert!(parse(&long, &Limits::MESSAGE).unwrap().integer("n").is_err());
    }
}
