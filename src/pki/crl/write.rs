//! A CRL in the making, in one piece of memory from the first entry to the signature: a list of a million
//! costs its own size and no more.

use const_oid::db::rfc5912;
use der::Encode;
use der::asn1::{OctetString, UintRef};
use x509_cert::ext::Extension;

use crate::pki::algorithm::SignatureAlgorithm;
use crate::pki::asn1::{INTEGER, SEQUENCE, context, header, tlv};
use crate::pki::extension;
use crate::pki::name::Name;
use crate::pki::serial::Serial;
use crate::pki::tbs::identifier;
use crate::pki::time::Time;

/// A CRL in the making. Entries are encoded as they come, behind a gap for what is known at the end only:
/// the lengths.
pub struct CrlBuilder {
    der: Vec<u8>,
    /// Version to nextUpdate, encoded.
    fields: Vec<u8>,
    /// crlExtensions, encoded.
    extensions: Vec<u8>,
    /// The AlgorithmIdentifier of the signature, encoded.
    algorithm: Vec<u8>,
    count: u64,
    /// The last revocationDate and its encoding: often that of the next one, too.
    date: (Time, Vec<u8>),
}

/// What a CRL says beside its entries.
#[derive(Clone, Debug)]
pub struct CrlHeader<'a> {
    /// With which algorithm the issuer will sign.
    pub algorithm: SignatureAlgorithm,
    /// Issuer.
    pub issuer: &'a Name,
    /// keyIdentifier of the issuer's key, for authorityKeyIdentifier.
    pub issuer_key: &'a [u8],
    /// cRLNumber.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Time,
    /// nextUpdate.
    pub next_update: Time,
}

/// A CRL that lacks nothing but its signature.
pub struct UnsignedCrl {
    der: Vec<u8>,
    /// Where the TBSCertList starts.
    tbs: usize,
    algorithm: Vec<u8>,
}

impl CrlBuilder {
    /// A list of none.
    pub fn new(header: &CrlHeader<'_>) -> Result<Self, der::Error> {
        let algorithm = identifier(header.algorithm)?.to_der()?;
        let fields = [
            tlv(INTEGER, &[&[1]]), // version 2
            algorithm.clone(),
            header.issuer.as_der().to_vec(),
            header.this_update.to_x509().to_der()?,
            header.next_update.to_x509().to_der()?,
        ]
        .concat();
        let number = UintRef::new(&header.number.to_be_bytes())?.to_der()?;
        let extensions = vec![
            extension::authority_key_identifier(header.issuer_key),
            Extension {
                extn_id: rfc5912::ID_CE_CRL_NUMBER,
                critical: false,
                extn_value: OctetString::new(number)?,
            },
        ];
        Ok(Self {
            der: vec![0; fields.len() + 3 * MAX_HEADER],
            fields,
            extensions: tlv(context(0), &[&extensions.to_der()?]),
            algorithm,
            count: 0,
            date: (header.this_update, header.this_update.to_x509().to_der()?),
        })
    }

    /// Adds a revoked certificate. `reason` by RFC 5280, 5.3.1; 0 (unspecified) is left out, as it must be.
    pub fn push(&mut self, serial: &Serial, at: Time, reason: u8) -> Result<(), der::Error> {
        if self.date.0 != at {
            self.date = (at, at.to_x509().to_der()?);
        }
        let serial = serial.to_der_content();
        let serial_header = header(INTEGER, serial.len());
        let extensions = match reason {
            0 => &[][..],
            _ => &[REASON, &[reason]].concat(),
        };
        let length = serial_header.len() + serial.len() + self.date.1.len() + extensions.len();
        for part in [&header(SEQUENCE, length), &serial_header, &serial, &self.date.1, extensions] {
            self.der.extend_from_slice(part);
        }
        self.count += 1;
        Ok(())
    }

    /// How many entries it has.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The list as it will be signed.
    pub fn finalize(mut self) -> UnsignedCrl {
        let gap = self.fields.len() + 3 * MAX_HEADER;
        let entries = match self.count {
            0 => Vec::new(), // absent, not empty: RFC 5280, 5.1.2.6
            _ => header(SEQUENCE, self.der.len() - gap),
        };
        self.der.extend_from_slice(&self.extensions);
        let mut tbs = gap;
        put_before(&mut self.der, &mut tbs, &entries);
        put_before(&mut self.der, &mut tbs, &self.fields);
        let length = self.der.len() - tbs;
        put_before(&mut self.der, &mut tbs, &header(SEQUENCE, length));
        UnsignedCrl { der: self.der, tbs, algorithm: self.algorithm }
    }
}

impl UnsignedCrl {
    /// The TBSCertList, DER: what is signed.
    pub fn tbs(&self) -> &[u8] {
        &self.der[self.tbs..]
    }

    /// The CRL, DER.
    pub fn assemble(mut self, signature: &[u8]) -> Vec<u8> {
        self.der.extend_from_slice(&self.algorithm);
        self.der.extend_from_slice(&tlv(BIT_STRING, &[&[0], signature]));
        let mut start = self.tbs;
        let length = self.der.len() - start;
        put_before(&mut self.der, &mut start, &header(SEQUENCE, length));
        self.der.drain(..start);
        self.der
    }
}

/// Writes `part` into the gap, so that it ends where what is there starts.
fn put_before(der: &mut [u8], start: &mut usize, part: &[u8]) {
    der[*start - part.len()..*start].copy_from_slice(part);
    *start -= part.len();
}

/// Octets of an identifier and a length at most.
const MAX_HEADER: usize = 10;

const BIT_STRING: u8 = 0x03;

/// Extensions with one reasonCode up to the last octet, the reason (RFC 5280, 5.3.1):
/// `SEQUENCE { SEQUENCE { OBJECT IDENTIFIER 2.5.29.21, OCTET STRING { ENUMERATED … } } }`.
const REASON: &[u8] = &[0x30, 12, 0x30, 10, 6, 3, 0x55, 0x1d, 0x15, 4, 3, 10, 1];
