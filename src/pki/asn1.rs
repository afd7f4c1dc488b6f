//! The little DER that the `der` crate cannot write for us: issuers and serial numbers copied octet for
//! octet, certificates in an order of our own, archives in layers of octet strings.

use der::asn1::ObjectIdentifier;

pub const INTEGER: u8 = 0x02;
pub const OCTET_STRING: u8 = 0x04;
pub const NULL: &[u8] = &[0x05, 0];
pub const UTF8_STRING: u8 = 0x0c;
pub const PRINTABLE_STRING: u8 = 0x13;
pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;

/// A context-specific, constructed tag.
pub const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// An application-wide, constructed tag.
pub const fn application(number: u8) -> u8 {
    0x60 | number
}

/// One element with the concatenation of `parts` as contents.
pub fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.extend_from_slice(&header(tag, length));
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// Identifier and length of an element with so many octets of contents; at most ten octets.
pub fn header(tag: u8, length: usize) -> Vec<u8> {
    let octets = length.to_be_bytes();
    match length {
        0..0x80 => vec![tag, length as u8],
        _ => {
            let digits = &octets[octets.iter().take_while(|octet| **octet == 0).count()..];
            [&[tag, 0x80 | digits.len() as u8], digits].concat()
        }
    }
}

/// A SEQUENCE.
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(SEQUENCE, parts)
}

/// An OBJECT IDENTIFIER.
pub fn oid(oid: ObjectIdentifier) -> Vec<u8> {
    tlv(0x06, &[oid.as_bytes()])
}

/// A SET OF in DER order (X.690, 11.6).
pub fn set_of(mut elements: Vec<Vec<u8>>) -> Vec<u8> {
    elements.sort();
    tlv(SET, &[&elements.concat()])
}

/// An AlgorithmIdentifier with these parameters, encoded.
pub fn algorithm(id: ObjectIdentifier, parameters: &[u8]) -> Vec<u8> {
    sequence(&[&oid(id), parameters])
}
