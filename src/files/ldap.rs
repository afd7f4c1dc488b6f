//! LDAP (RFC 4511): one entry of a directory is read, as whom it may be by anybody.
//!
//! A request of one form and its answer, in the bounded reader of `pki`: the crate `ldap3` would bring an
//! executor of its own, find hosts by itself, and take an answer of any length.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use url::Url;

use super::remote::{Remote, WAITING, broken, words};
use super::url::decoded;
use super::{Fault, FileError, Files, MAX_OCTETS};
use crate::pki::asn1::{INTEGER, OCTET_STRING, SEQUENCE, application, tlv};
use crate::pki::ber::{self, Element, Limits, Reader, Tag};

impl Files {
    /// The values of one attribute of one entry of a directory, by a URL of RFC 4516:
    /// `ldap://HOST[:PORT]/DN[?ATTRIBUTE[?base]]`. Without an attribute the CRL is meant (RFC 4523, 2.3).
    /// None when the entry has no such attribute; [`Fault::NotFound`] when there is no entry.
    pub fn look_up(&self, url: &str) -> Result<Vec<Vec<u8>>, FileError> {
        let fault = |fault| FileError { url: url.to_owned(), fault };
        let parsed = Url::parse(url).ok().filter(|url| url.scheme() == "ldap" && url.has_host());
        let parsed = parsed.ok_or_else(|| fault(Fault::Name("it is not ldap://HOST/DN")))?;
        let remote = Remote {
            places: &self.places,
            timeouts: self.timeouts,
            web: &self.web,
            url: &parsed,
            login: None,
        };
        look_up(&remote).map_err(fault)
    }
}

fn look_up(remote: &Remote<'_>) -> Result<Vec<Vec<u8>>, Fault> {
    let mut parts = remote.url.query().unwrap_or_default().split('?');
    let attribute = parts.next().filter(|attribute| !attribute.is_empty()).map_or(CRL.to_owned(), decoded);
    // The name of an entry finds it without a filter; one that is there can only say no.
    if parts.next().is_some_and(|scope| !matches!(scope, "" | "base")) {
        return Err(Fault::Unsupported("of a directory only single entries are read, scope base"));
    }
    let until = Instant::now() + remote.timeouts.total;
    let mut stream = remote.connect(PORT)?;
    let request = request(&remote.path()?, &attribute);
    stream.write_all(&request).map_err(|error| broken(&error))?;
    let mut left = MAX_OCTETS as usize;
    let mut values = None;
    loop {
        let octets = message(&mut stream, until, &mut left)?;
        match answer(&octets, &attribute).map_err(|error| Fault::Protocol(format!("LDAP: {error}")))? {
            Answer::Entry(found) => values = Some(found),
            Answer::Other => {}
            Answer::Done { code: SUCCESS, .. } => return values.ok_or(Fault::NotFound),
            Answer::Done { code, said } => return Err(refused(code, &said)),
        }
    }
}

/// A SearchRequest of the entry itself (RFC 4511, 4.5.1). No bind comes before it: without one, one is anonymous
/// (4.2).
fn request(dn: &str, attribute: &str) -> Vec<u8> {
    let number = |tag: u8, number: u8| tlv(tag, &[&[number]]);
    let search = tlv(
        application(3),
        &[
            &tlv(OCTET_STRING, &[dn.as_bytes()]),
            &number(ENUMERATED, 0), // baseObject
            &number(ENUMERATED, 0), // neverDerefAliases
            &number(INTEGER, 1),
            &number(INTEGER, 0),
            &number(BOOLEAN, 0),
            &tlv(PRESENT, &[b"objectClass"]),
            &tlv(SEQUENCE, &[&tlv(OCTET_STRING, &[attribute.as_bytes()])]),
        ],
    );
    tlv(SEQUENCE, &[&number(INTEGER, 1), &search])
}

/// The next LDAPMessage, whole. `left` octets may come in all.
fn message(stream: &mut TcpStream, until: Instant, left: &mut usize) -> Result<Vec<u8>, Fault> {
    let malformed = || Fault::Protocol("LDAP: this is not a message".to_owned());
    let mut octets = vec![0; 2];
    read(stream, &mut octets, until)?;
    let length = match octets[..] {
        [SEQUENCE, length @ 0..=0x7f] => usize::from(length),
        // Only definite lengths are used (RFC 4511, 5.1); of more octets than four there is no need.
        [SEQUENCE, long @ 0x81..=0x84] => {
            let mut digits = vec![0; usize::from(long & 0x7f)];
            read(stream, &mut digits, until)?;
            octets.extend_from_slice(&digits);
            digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))
        }
        _ => return Err(malformed()),
    };
    *left = left.checked_sub(length).ok_or(Fault::TooLarge(MAX_OCTETS))?;
    let start = octets.len();
    let mut done = start;
    while done < start + length {
        // In pieces: what is only announced takes no memory.
        let piece = PIECE.min(start + length - done);
        octets.resize(done + piece, 0);
        read(stream, &mut octets[done..], until)?;
        done += piece;
    }
    Ok(octets)
}

fn read(stream: &mut TcpStream, octets: &mut [u8], until: Instant) -> Result<(), Fault> {
    if Instant::now() >= until {
        return Err(Fault::TimedOut(WAITING));
    }
    stream.read_exact(octets).map_err(|error| broken(&error))
}

/// What a message of the server says.
enum Answer {
    /// The values of the attribute.
    Entry(Vec<Vec<u8>>),
    /// The end.
    Done { code: u8, said: String },
    /// Nothing that is asked for, such as a place to ask as well.
    Other,
}

fn answer(octets: &[u8], attribute: &str) -> Result<Answer, ber::Error> {
    let mut fields = ber::parse(octets, &LIMITS)?.sequence("LDAPMessage")?;
    fields.read(Tag::INTEGER, "messageID")?;
    let operation = fields.any("protocolOp")?;
    match operation.tag() {
        tag if tag == Tag::application(4) => Ok(Answer::Entry(entry(&operation, attribute)?)),
        tag if tag == Tag::application(19) => Ok(Answer::Other),
        // SearchResultDone, or what is said before the connection is closed (4.4).
        tag if tag == Tag::application(5) || tag == Tag::application(24) => {
            let mut result = operation.reader("LDAPResult")?;
            let code = result.read(Tag::ENUMERATED, "resultCode")?;
            result.read(Tag::OCTET_STRING, "matchedDN")?;
            let said = result.read(Tag::OCTET_STRING, "diagnosticMessage")?.octets("diagnosticMessage")?;
            Ok(Answer::Done { code: code.content().last().copied().unwrap_or(u8::MAX), said: words(&said) })
        }
        _ => Err(operation.error("protocolOp", ber::ErrorKind::Value)),
    }
}

/// The values of an attribute of a SearchResultEntry, whatever options it came with.
fn entry(entry: &Element<'_>, attribute: &str) -> Result<Vec<Vec<u8>>, ber::Error> {
    let mut fields = entry.reader("SearchResultEntry")?;
    fields.read(Tag::OCTET_STRING, "objectName")?;
    let mut attributes = fields.read(Tag::SEQUENCE, "attributes")?.sequence("attributes")?;
    let kind =
        |text: &[u8]| text.split(|octet| *octet == b';').next().unwrap_or_default().to_ascii_lowercase();
    let mut values = Vec::new();
    while let Some(found) = attributes.next("attribute")? {
        let mut fields = found.sequence("attribute")?;
        let name = fields.read(Tag::OCTET_STRING, "type")?;
        if kind(name.content()) == kind(attribute.as_bytes()) {
            let mut set: Reader<'_> = fields.read(Tag::SET, "vals")?.set("vals")?;
            while let Some(value) = set.next("value")? {
                values.push(value.content().to_vec());
            }
        }
    }
    Ok(values)
}

/// LDAPResult, resultCode (RFC 4511, 4.1.9).
fn refused(code: u8, said: &str) -> Fault {
    let said = if said.is_empty() { format!("result {code}") } else { format!("result {code}, {said}") };
    match code {
        32 | 34 => Fault::NotFound,
        // strongerAuthRequired, inappropriateAuthentication, insufficientAccessRights.
        8 | 48 | 50 => Fault::Denied(said),
        // timeLimitExceeded, adminLimitExceeded, busy, unavailable, unwillingToPerform.
        3 | 11 | 51..=53 => Fault::Server { said, temporary: true },
        _ => Fault::Server { said, temporary: false },
    }
}

const PORT: u16 = 389;
/// CRLs are not text: they are asked for as they are (RFC 4523, 2.3).
const CRL: &str = "certificateRevocationList;binary";
const SUCCESS: u8 = 0;
const BOOLEAN: u8 = 0x01;
const ENUMERATED: u8 = 0x0a;
/// The filter `present`, `[7]`.
const PRESENT: u8 = 0x87;
/// Octets that memory is taken for at once.
const PIECE: usize = 1 << 16;
/// One entry with one attribute: few elements, of which one may be a long CRL.
const LIMITS: Limits = Limits { depth: 16, elements: 4096, length: MAX_OCTETS as usize + 16 };
