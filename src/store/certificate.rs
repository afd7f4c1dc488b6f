//! Serial numbers, intents, certificates, and what is revoked.

use bytes::Bytes;

use crate::pki::{Class, Serial, Time};

use super::Cost;

/// How serial numbers are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialRule {
    /// One more than the last of this rule, from 1, as IOS does.
    Sequential,
    /// 127 random bits, unique; drawn again when the first octet is zero, so that all have 16 octets.
    Random,
}

/// Bytes to be signed, once the serial number is known. Called at most once, within the transaction:
/// it must be quick and must not call the store. If it panics, the transaction is undone (`Unavailable`).
pub type TbsBuilder = Box<dyn FnOnce(&Serial) -> Vec<u8> + Send>;

/// An [`Intent`] to be.
pub struct NewIntent {
    /// Label of the server.
    pub server: String,
    /// Which authority will sign; `None` for the CA's own first certificate.
    pub authority: Option<u64>,
    /// How its serial number is chosen.
    pub serial: SerialRule,
    /// Makes the bytes to be signed.
    pub tbs: TbsBuilder,
    /// Now.
    pub now: Time,
}

/// What is about to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The serial number, given out for good.
    pub serial: Serial,
    /// Which authority signs.
    pub authority: Option<u64>,
    /// The enrollment it answers.
    pub enrollment: Option<u64>,
    /// TBSCertificate, DER.
    pub tbs: Vec<u8>,
}

/// A certificate just signed.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Its serial number, that of its intent.
    pub serial: Serial,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Subject, in the notation of IOS.
    pub subject: String,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key: [u8; 32],
    /// notBefore.
    pub not_before: Time,
    /// notAfter.
    pub not_after: Time,
    /// What signing has cost.
    pub cost: Cost,
    /// Now.
    pub now: Time,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Serial number.
    pub serial: Serial,
    /// Who signed it; `None` for a CA's own self-signed one.
    pub authority: Option<u64>,
    /// The enrollment it answers.
    pub enrollment: Option<u64>,
    /// As what it was granted: the class of that enrollment, which goes before it does. `None` when it answers
    /// none.
    pub class: Option<Class>,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Subject, in the notation of IOS.
    pub subject: String,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key: [u8; 32],
    /// notBefore.
    pub not_before: Time,
    /// notAfter.
    pub not_after: Time,
    /// Whether and how it was revoked.
    pub revocation: Option<Revocation>,
}

/// What is on record of a serial number: a certificate whole, or what is known of one that an adopted CA
/// gave out before it was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Serial number.
    pub serial: Serial,
    /// Who signed it; `None` for a CA's own self-signed one.
    pub authority: Option<u64>,
    /// The enrollment it answers.
    pub enrollment: Option<u64>,
    /// As what it was granted. `None` when it answers no enrollment of this database.
    pub class: Option<Class>,
    /// The certificate, DER. With it, subject, key and validity are known.
    pub der: Option<Vec<u8>>,
    /// Subject, in the notation of IOS.
    pub subject: Option<String>,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key: Option<[u8; 32]>,
    /// notBefore.
    pub not_before: Option<Time>,
    /// notAfter.
    pub not_after: Option<Time>,
    /// Whether and how it was revoked.
    pub revocation: Option<Revocation>,
}

impl Record {
    /// The certificate, when it is known whole.
    pub fn whole(self) -> Option<Certificate> {
        Some(Certificate {
            serial: self.serial,
            authority: self.authority,
            enrollment: self.enrollment,
            class: self.class,
            der: self.der?,
            subject: self.subject?,
            key: self.key?,
            not_before: self.not_before?,
            not_after: self.not_after?,
            revocation: self.revocation,
        })
    }
}

/// When and why a certificate was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// revocationDate.
    pub at: Time,
    /// CRLReason (RFC 5280, 5.3.1): 0 to 6, 8 to 10.
    pub reason: u8,
}

/// Which revoked certificates a list may leave out: those that expired before one instant and were revoked
/// no later than with one revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Omit {
    /// notAfter of what may be left out is before this. A certificate whose notAfter is unknown stays.
    pub expired_before: Time,
    /// The revision of what may be left out is not above this.
    pub revision: u64,
}

impl Omit {
    /// Every revoked certificate is listed.
    pub const NOTHING: Self = Self { expired_before: Time::from_unix(0), revision: 0 };
}

/// A CRL that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    /// Who signed it.
    pub authority: u64,
    /// cRLNumber; 0 for an adopted one without.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Time,
    /// nextUpdate.
    pub next_update: Time,
    /// How far it takes account of revocations: what [`super::Store::revoked`] returned.
    pub revision: u64,
    /// The CRL, DER.
    pub der: Bytes,
}

/// What is known of a CRL without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrlFacts {
    /// cRLNumber; 0 for an adopted one without.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Time,
    /// nextUpdate.
    pub next_update: Time,
    /// How far it takes account of revocations.
    pub revision: u64,
    /// Octets of its DER.
    pub size: u64,
}
