//! The attributes of a pkiMessage, RFC 8894, 3.2.1.

use std::fmt;

use der::asn1::ObjectIdentifier;

/// `messageType`, RFC 8894, 3.2.1.2. A PrintableString holding a decimal number, not an INTEGER. The set
/// is closed: what is not here is refused before anything else is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// 3: a reply.
    CertRep,
    /// 17: a request signed with an existing certificate.
    RenewalReq,
    /// 19: a request.
    PkcsReq,
    /// 20: a poll; GetCertInitial in the drafts.
    CertPoll,
    /// 21: a certificate by issuer and serial number.
    GetCert,
    /// 22: a CRL by issuer.
    GetCrl,
}

impl MessageType {
    const ALL: [Self; 6] =
        [Self::CertRep, Self::RenewalReq, Self::PkcsReq, Self::CertPoll, Self::GetCert, Self::GetCrl];

    /// The value of the attribute.
    pub const fn text(self) -> &'static str {
        match self {
            Self::CertRep => "3",
            Self::RenewalReq => "17",
            Self::PkcsReq => "19",
            Self::CertPoll => "20",
            Self::GetCert => "21",
            Self::GetCrl => "22",
        }
    }

    /// The type of this attribute value, if there is one: neither `019` nor ` 19` is.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.text().as_bytes() == text)
    }
}

/// `pkiStatus`, RFC 8894, 3.2.1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PkiStatus {
    /// 0.
    Success,
    /// 2.
    Failure,
    /// 3.
    Pending,
}

impl PkiStatus {
    /// The value of the attribute.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Success => "0",
            Self::Failure => "2",
            Self::Pending => "3",
        }
    }

    /// The status of this attribute value.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        [Self::Success, Self::Failure, Self::Pending].into_iter().find(|s| s.text().as_bytes() == text)
    }
}

/// `failInfo`, RFC 8894, 3.2.1.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailInfo {
    /// 0: an algorithm that is unknown or not allowed.
    BadAlg,
    /// 1: a signature, a decryption or an attribute is wrong.
    BadMessageCheck,
    /// 2: not permitted or not supported.
    BadRequest,
    /// 3: signingTime is too far off.
    BadTime,
    /// 4: no such certificate or transaction.
    BadCertId,
}

impl FailInfo {
    /// The value of the attribute.
    pub const fn text(self) -> &'static str {
        match self {
            Self::BadAlg => "0",
            Self::BadMessageCheck => "1",
            Self::BadRequest => "2",
            Self::BadTime => "3",
            Self::BadCertId => "4",
        }
    }

    /// The failInfo of this attribute value.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        [Self::BadAlg, Self::BadMessageCheck, Self::BadRequest, Self::BadTime, Self::BadCertId]
            .into_iter()
            .find(|f| f.text().as_bytes() == text)
    }
}

/// `transactionID`, RFC 8894, 3.2.1.1: octets of the client's choosing, never a name of anything of ours.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TransactionId(Vec<u8>);

impl TransactionId {
    /// Takes the octets as they are.
    pub fn new(octets: &[u8]) -> Self {
        Self(octets.to_vec())
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const fn verisign(arc: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(arc)
}

pub(super) const MESSAGE_TYPE: ObjectIdentifier = verisign("2.16.840.1.113733.1.9.2");
pub(super) const PKI_STATUS: ObjectIdentifier = verisign("2.16.840.1.113733.1.9.3");
pub(super) const FAIL_INFO: ObjectIdentifier = verisign("2.16.840.1.113733.1.9.4");
pub(super) const SENDER_NONCE: ObjectIdentifier = verisign("2.16.840.1.113733.1.9.5");
pub(super) const RECIPIENT_NONCE: ObjectIdentifier = verisign("2.16.840.1.113733.1.9.6");
pub(super) const TRANSACTION_ID: ObjectIdentifier = verisign("2.16.840.1.113733.1.9.7");
pub(super) const FAIL_INFO_TEXT: ObjectIdentifier = verisign("1.3.6.1.5.5.7.24.1");
