//! The reply to `GetNextCACert`, RFC 8894, 4.7.1: the certificates of the time after the CA's, signed by the CA
//! of now.
//!
//! Nothing but a SignedData whose content is another one without signers: it has no attributes of a pkiMessage.
//! The drafts of IOS have the certificates beside the signature instead of under it; whoever carries such a
//! reply could exchange them, so it is not taken.

use crate::pki::ber::Limits;
use crate::pki::{Certificate, Hash, KeyError, KeyKind, SigningKey};

use super::error::DecodeError;
use super::signed::{self, SignedData};

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
    };
    signed::sign(&signed::degenerate(certificates, &[]), &[], signer, key, hash)
}

/// The certificates of a reply signed by one of `trusted`, in their order; one at least.
pub fn decode(input: &[u8], trusted: &[&Certificate]) -> Result<Vec<Certificate>, DecodeError> {
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
        false => Ok(inner.certificates),
    }
}
