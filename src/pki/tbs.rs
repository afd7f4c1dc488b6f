//! Certificates to be signed, and their assembly once they are.
//!
//! Subject, issuer and key go in as the octets they came in; only what we add is encoded here.

use der::asn1::{AnyRef, BitStringRef, UintRef};
use der::{Decode, Encode, Sequence};
use spki::AlgorithmIdentifierOwned;
use x509_cert::ext::Extension;
use x509_cert::time::Validity as X509Validity;

use super::algorithm::SignatureAlgorithm;
use super::ber;
use super::key::PublicKey;
use super::name::Name;
use super::serial::Serial;
use super::time::Time;

/// Everything a certificate says but its serial number, which the store gives.
#[derive(Clone, Debug)]
pub struct Template {
    /// With which algorithm the issuer will sign.
    pub algorithm: SignatureAlgorithm,
    /// Issuer.
    pub issuer: Name,
    /// notBefore.
    pub not_before: Time,
    /// notAfter.
    pub not_after: Time,
    /// Subject.
    pub subject: Name,
    /// The subject's key.
    pub key: PublicKey,
    /// Extensions, in this order.
    pub extensions: Vec<Extension>,
}

impl Template {
    /// The TBSCertificate (RFC 5280, 4.1) under `serial`, DER.
    pub fn finalize(&self, serial: &Serial) -> Result<Vec<u8>, der::Error> {
        Tbs {
            version: 2,
            serial: UintRef::new(serial.as_be_bytes())?,
            signature: identifier(self.algorithm)?,
            issuer: AnyRef::from_der(self.issuer.as_der())?,
            validity: X509Validity::new(self.not_before.to_x509(), self.not_after.to_x509()),
            subject: AnyRef::from_der(self.subject.as_der())?,
            key: AnyRef::from_der(self.key.spki_der())?,
            extensions: self.extensions.clone(),
        }
        .to_der()
    }
}

/// The signature algorithm that a TBSCertificate names. `None` when it is not one of ours.
pub fn algorithm_of(tbs: &[u8]) -> Option<SignatureAlgorithm> {
    let mut fields = ber::parse(tbs, &ber::Limits::MESSAGE).ok()?.sequence("TBSCertificate").ok()?;
    fields.optional(ber::Tag::context(0), "version").ok()?;
    fields.any("serialNumber").ok()?;
    SignatureAlgorithm::from_der(fields.any("signature").ok()?.raw(), None)
}

/// The signed form of a TBSCertificate or TBSCertList: it, the algorithm it names, the signature.
pub fn assemble(tbs: &[u8], algorithm: SignatureAlgorithm, signature: &[u8]) -> Result<Vec<u8>, der::Error> {
    Signed {
        tbs: AnyRef::from_der(tbs)?,
        algorithm: identifier(algorithm)?,
        signature: BitStringRef::from_bytes(signature)?,
    }
    .to_der()
}

/// TBSCertificate. Optional fields that we never write are not here.
#[derive(Sequence)]
struct Tbs<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial: UintRef<'a>,
    signature: AlgorithmIdentifierOwned,
    issuer: AnyRef<'a>,
    validity: X509Validity,
    subject: AnyRef<'a>,
    key: AnyRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

#[derive(Sequence)]
struct Signed<'a> {
    tbs: AnyRef<'a>,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitStringRef<'a>,
}

pub(super) fn identifier(algorithm: SignatureAlgorithm) -> Result<AlgorithmIdentifierOwned, der::Error> {
    algorithm.identifier().ok_or_else(|| der::ErrorKind::Failed.into())
}
