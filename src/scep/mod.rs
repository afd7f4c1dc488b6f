//! The Simple Certificate Enrolment Protocol, RFC 8894: octets to messages and back, in both directions.
//!
//! Pure: keys are asked through [`SigningKey`](crate::pki::SigningKey) and
//! [`DecryptionKey`](crate::pki::DecryptionKey), nothing is stored, nothing is decided but which
//! algorithms are taken. A request goes
//! [`PkiMessage::decode`] → [`PkiMessage::verify`] → [`Signed::open`] → [`Request`]; a reply is an
//! [`Outcome`], [`Sealed`] and then signed by [`encode`]. What is read is read tolerantly and kept as it
//! came; what is written is DER.

mod attributes;
mod capabilities;
mod cert_rep;
mod certificate_id;
pub mod client;
mod enveloped;
mod error;
pub mod next_ca;
pub mod operation;
mod pki_message;
mod signed;

pub use crate::pki::Cipher;
pub use attributes::{FailInfo, MessageType, PkiStatus, TransactionId};
pub use capabilities::Capabilities;
pub use cert_rep::{CertRep, Issued, Outcome, Sealed, encode};
pub use enveloped::{Envelope, OpenError, Recipient, seal};
pub use error::DecodeError;
pub use pki_message::{AlgorithmPolicy, Facts, PkiMessage, Rejected, Request, Signed};
pub use signed::SignedData;

/// A degenerate SignedData with these certificates, in this order (RFC 8894, 3.4).
pub fn certs_only(certificates: &[&[u8]]) -> Vec<u8> {
    signed::degenerate(certificates, &[])
}

/// Content-Type of a pkiMessage.
pub const PKI_MESSAGE: &str = "application/x-pki-message";
/// Content-Type of GetCACert with one certificate.
pub const CA_CERT: &str = "application/x-x509-ca-cert";
/// Content-Type of GetCACert with several.
pub const CA_RA_CERT: &str = "application/x-x509-ca-ra-cert";
/// Content-Type of GetNextCACert.
pub const NEXT_CA_CERT: &str = "application/x-x509-next-ca-cert";
/// Content-Type of GetCACertChain.
pub const CA_CERT_CHAIN: &str = "application/x-x509-ca-ra-cert-chain";
