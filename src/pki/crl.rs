//! Certificate revocation lists to be signed (RFC 5280, 5).

use const_oid::db::rfc5912;
use der::asn1::{Any, AnyRef, OctetString, UintRef};
use der::{Decode, Encode, Sequence, Tag};
use spki::AlgorithmIdentifierOwned;
use x509_cert::ext::Extension;
use x509_cert::time::Time as X509Time;

use super::algorithm::SignatureAlgorithm;
use super::extension;
use super::name::Name;
use super::serial::Serial;
use super::tbs::identifier;
use super::time::Time;

/// A CRL in the making. Entries are encoded as they come, so that a list of a million costs its own
/// size and no more.
pub struct CrlBuilder {
    entries: Vec<u8>,
    count: u64,
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

impl CrlBuilder {
    /// A list of none.
    pub fn new() -> Self {
        Self { entries: Vec::new(), count: 0 }
    }

    /// Adds a revoked certificate. `reason` by RFC 5280, 5.3.1; 0 (unspecified) is left out, as it must be.
    pub fn push(&mut self, serial: &Serial, at: Time, reason: u8) -> Result<(), der::Error> {
        let extensions = match reason {
            0 => None,
            _ => Some(vec![Extension {
                extn_id: rfc5912::ID_CE_CRL_REASONS,
                critical: false,
                // ENUMERATED, one octet.
                extn_value: OctetString::new([0x0a, 1, reason])?,
            }]),
        };
        let entry = Entry { serial: UintRef::new(serial.as_be_bytes())?, at: at.to_x509(), extensions };
        entry.encode_to_vec(&mut self.entries)?;
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

    /// The TBSCertList, DER.
    pub fn finalize(self, header: &CrlHeader<'_>) -> Result<Vec<u8>, der::Error> {
        let number = UintRef::new(&header.number.to_be_bytes())?.to_der()?;
        let entries = match self.count {
            0 => None, // absent, not empty: RFC 5280, 5.1.2.6
            _ => Some(Any::new(Tag::Sequence, self.entries)?),
        };
        Tbs {
            version: 1,
            signature: identifier(header.algorithm)?,
            issuer: AnyRef::from_der(header.issuer.as_der())?,
            this_update: header.this_update.to_x509(),
            next_update: header.next_update.to_x509(),
            entries,
            extensions: vec![
                extension::authority_key_identifier(header.issuer_key),
                Extension {
                    extn_id: rfc5912::ID_CE_CRL_NUMBER,
                    critical: false,
                    extn_value: OctetString::new(number)?,
                },
            ],
        }
        .to_der()
    }
}

impl Default for CrlBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// TBSCertList, version 2.
#[derive(Sequence)]
struct Tbs<'a> {
    version: u8,
    signature: AlgorithmIdentifierOwned,
    issuer: AnyRef<'a>,
    this_update: X509Time,
    next_update: X509Time,
    #[asn1(optional = "true")]
    entries: Option<Any>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

#[derive(Sequence)]
struct Entry<'a> {
    serial: UintRef<'a>,
    at: X509Time,
    #[asn1(optional = "true")]
    extensions: Option<Vec<Extension>>,
}
