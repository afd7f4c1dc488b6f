//! The reply to `GetNextCACert`, RFC 8894, 4.7.1: the certificates of the time after the CA's, signed by the CA
//! of now.
//!
//! Nothing but a SignedData whose content is another one without signers: it has no attributes of a pkiMessage.
//! The drafts of IOS have the certificates beside the signature instead of under it; whoever carries such a
//! reply could exchange them, so no CA is taken from there.
//!
//! An RA has no key with which a CA could be told. It hands on what its CA has signed, and puts its own next
//! certificate beside that ([`with_certificates`]): what proves it is that the next CA has issued it.

use crate::pki::ber::Limits;
use crate::pki::{Certificate, Hash, KeyError, KeyKind, SigningKey};

use super::error::DecodeError;
use super::signed::{self, SignedData};

/// The certificates of a reply, in their order.
pub struct NextCa {
    /// Those that the CA of now has signed; one at least.
    pub signed: Vec<Certificate>,
    /// Those beside the signature, that of its signer among them. Anybody on the way may have put them there.
    pub beside: Vec<Certificate>,
}

/// Writes the reply: the next CA certificate first, then the RA's or the chain; signed by the CA of now, whose
/// certificate goes with it.
pub fn encode(
    certificates: &[&[u8]],
    signer: &Certificate,
    key: &dyn SigningKey,
) -> Result<Vec<u8>, KeyError> {
    let hash = match key.public_key().kind() {
        KeyKind::Ec(curve) => curve.hash(),
        KeyKind::Rsa { .. } => Hash::Sha256,
        // The one that everybody has who verifies such signatures (RFC 9882, 3.3).
        KeyKind::MlDsa(_) => Hash::Sha512,
    };
    signed::sign(&signed::degenerate(certificates, &[]), &[], signer, key, hash)
}

/// The same reply with these certificates beside its signature.
pub fn with_certificates(reply: &[u8], certificates: &[&[u8]]) -> Result<Vec<u8>, DecodeError> {
    signed::with_certificates(reply, certificates, &Limits::REPLY)
}

/// Reads a reply that one of `trusted` has signed.
pub fn decode(input: &[u8], trusted: &[&Certificate]) -> Result<NextCa, DecodeError> {
    let data = SignedData::parse(input, &Limits::REPLY)?;
    let signer = data.trusted_signer(trusted)?;
    if data.signer.as_ref().and_then(signed::SignerInfo::digest) == Some(Hash::Md5) {
        return Err(DecodeError::Legacy("md5"));
    }
    data.verify(signer)?;
    let content = data.content.as_deref().unwrap_or_default();
    let inner = SignedData::parse(content, &Limits::REPLY)?;
    match inner.certificates.is_empty() {
        true => Err(DecodeError::NoCertificate),
        false => Ok(NextCa { signed: inner.certificates, beside: data.certificates }),
    }
}
