//! Asking a responder whether a certificate is revoked: OCSP (RFC 6960), in the form that RFC 5019 gives it.
//!
//! Octets to octets: who carries them is no concern here. Own DER, as `x509-ocsp` is made for another
//! generation of the `der` crate, and as an answer is judged together with the question.

mod read;
mod request;
mod response;

pub use request::{NONCE_OCTETS, Question};
pub use response::{Answer, OcspFault};

use const_oid::db::rfc5912;
use der::asn1::ObjectIdentifier;

use super::ber::{self, Limits};
use super::certificate::Certificate;

/// Media type of a request.
pub const REQUEST_TYPE: &str = "application/ocsp-request";

/// Media type of a response.
pub const RESPONSE_TYPE: &str = "application/ocsp-response";

/// Where a certificate says that responders are: the URIs of id-ad-ocsp in authorityInfoAccess (RFC 5280,
/// 4.2.2.1).
pub fn responders(certificate: &Certificate) -> Vec<String> {
    let Some(extension) = certificate.extensions().find(&rfc5912::ID_PE_AUTHORITY_INFO_ACCESS) else {
        return Vec::new();
    };
    let read = || {
        let mut found = Vec::new();
        let mut descriptions = ber::parse(&extension.value, &Limits::MESSAGE)?.sequence("")?;
        while let Some(description) = descriptions.next("")? {
            let mut fields = description.sequence("")?;
            let method = fields.read(ber::Tag::OID, "accessMethod")?.oid("accessMethod")?;
            let location = fields.any("accessLocation")?;
            // uniformResourceIdentifier [6] IA5String.
            if method == rfc5912::ID_AD_OCSP && location.tag() == ber::Tag::context(6) {
                found.extend(String::from_utf8(location.octets("")?.into_owned()).ok());
            }
        }
        Ok::<_, ber::Error>(found)
    };
    read().unwrap_or_default()
}

const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
