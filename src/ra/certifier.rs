//! What stands behind a registration: the CA of this server, or one elsewhere.

use bytes::Bytes;

use crate::ca::{Application, Ca, CaError, Meter, Ours, Outcome, Settings};
use crate::pki::{Certificate, Serial, Time};
use crate::policy::{Approved, Examined, Rules};
use crate::store;

use super::told::Refused;

/// Where requests go that were decided about. What is asked for is recorded before anybody is told, and the same
/// request gets the same answer.
pub trait Certifier: Send + Sync {
    /// Label of the server.
    fn label(&self) -> &str;

    /// What is configured.
    fn settings(&self) -> &Settings;

    /// By which rules requests to this authority of the store, that which acts when `None`, are judged.
    fn rules(&self, authority: Option<u64>) -> Result<Rules, CaError>;

    /// Certificates of CAs: of that which issues, then of those above it, so far as they are known. Never empty.
    fn certificates(&self) -> &[Certificate];

    /// Certificates of CAs from that which issued this one on.
    fn chain(&self, certificate: &store::Certificate) -> Vec<Certificate>;

    /// Whether the CA issued this certificate.
    fn issued(&self, certificate: &Certificate, now: Time) -> Result<Option<Ours>, CaError>;

    /// Has an approved request issued; or finds what became of it when it is a repetition.
    fn issue(
        &self,
        approved: Approved,
        application: Application,
        meter: &Meter,
        now: Time,
    ) -> Result<Outcome, CaError>;

    /// Records a request that waits for the operator; or finds what became of it when it is a repetition.
    fn pend(
        &self,
        examined: &Examined,
        application: Application,
        meter: &Meter,
        now: Time,
    ) -> Result<Outcome, CaError>;

    /// Keeps a request that is cryptographically invalid, for the operator to see. Returns its ReqID.
    fn keep_malformed(&self, csr: &[u8], source: &str, reason: &str, now: Time) -> Result<u64, CaError>;

    /// What became of the newest request of this transaction that was made by this key, to this authority where
    /// the poll is not to whichever acts. `None` when there is none.
    fn poll(
        &self,
        transaction: &[u8],
        signer_key: &[u8; 32],
        authority: Option<u64>,
        meter: &Meter,
        now: Time,
    ) -> Result<Option<Outcome>, CaError>;

    /// The operator grants a pending request.
    fn grant(&self, id: u64, meter: &Meter, now: Time) -> Result<Outcome, CaError>;

    /// The operator refuses a pending request.
    fn reject(&self, id: u64, now: Time) -> Result<(), CaError>;

    /// A certificate by issuer, an encoded name, and serial number.
    fn certificate_of(&self, issuer: &[u8], serial: &Serial) -> Result<Option<store::Certificate>, CaError>;

    /// The newest CRL of the CA, or of the one of its keys with this identifier.
    fn crl(&self, key: Option<&[u8]>, now: Time) -> Result<Option<Listed>, Refused>;

    /// The CRL on which the certificate with this issuer, an encoded name, and serial number would be.
    fn crl_for(&self, issuer: &[u8], serial: &Serial, now: Time) -> Result<Option<Bytes>, Refused>;
}

/// A CRL, and what caches are told of it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Which key of the CA has signed it: its authority in the store.
    pub authority: u64,
    /// The CRL, DER.
    pub der: Bytes,
    /// cRLNumber; 0 for one without.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Time,
    /// nextUpdate.
    pub next_update: Time,
}

impl From<store::Crl> for Listed {
    fn from(crl: store::Crl) -> Self {
        let store::Crl { authority, der, number, this_update, next_update, .. } = crl;
        Self { authority, der, number, this_update, next_update }
    }
}

impl Certifier for Ca {
    fn label(&self) -> &str {
        self.label()
    }

    fn settings(&self) -> &Settings {
        self.settings()
    }

    fn rules(&self, authority: Option<u64>) -> Result<Rules, CaError> {
        self.rules(authority)
    }

    fn certificates(&self) -> &[Certificate] {
        self.certificates()
    }

    fn chain(&self, certificate: &store::Certificate) -> Vec<Certificate> {
        let mut chain = self.certificates().to_vec();
        if let Ok(issuer) = self.issuer(certificate.authority) {
            chain[0] = issuer.certificate().clone();
        }
        chain
    }

    fn issued(&self, certificate: &Certificate, _: Time) -> Result<Option<Ours>, CaError> {
        self.issued(certificate)
    }

    fn issue(
        &self,
        approved: Approved,
        application: Application,
        meter: &Meter,
        now: Time,
    ) -> Result<Outcome, CaError> {
        self.issue(approved, application, meter, now)
    }

    fn pend(
        &self,
        examined: &Examined,
        application: Application,
        meter: &Meter,
        now: Time,
    ) -> Result<Outcome, CaError> {
        self.pend(examined, application, meter, now)
    }

    fn keep_malformed(&self, csr: &[u8], source: &str, reason: &str, now: Time) -> Result<u64, CaError> {
        self.keep_malformed(csr, source, reason, now)
    }

    fn poll(
        &self,
        transaction: &[u8],
        signer_key: &[u8; 32],
        authority: Option<u64>,
        meter: &Meter,
        now: Time,
    ) -> Result<Option<Outcome>, CaError> {
        self.poll(transaction, signer_key, authority, meter, now)
    }

    fn grant(&self, id: u64, meter: &Meter, now: Time) -> Result<Outcome, CaError> {
        self.grant(id, meter, now).map(Outcome::Issued)
    }

    fn reject(&self, id: u64, now: Time) -> Result<(), CaError> {
        self.reject(id, now)
    }

    fn certificate_of(&self, issuer: &[u8], serial: &Serial) -> Result<Option<store::Certificate>, CaError> {
        if !self.is_named(issuer) {
            return Ok(None);
        }
        self.certificate_with(serial)
    }

    fn crl(&self, key: Option<&[u8]>, _: Time) -> Result<Option<Listed>, Refused> {
        let issuer = match key {
            None => Some(self.active()),
            Some(key) => self.issuers().find(|issuer| issuer.key_id() == key),
        };
        let Some(issuer) = issuer else { return Ok(None) };
        Ok(self.crl_of(issuer)?.map(Listed::from))
    }

    fn crl_for(&self, issuer: &[u8], serial: &Serial, _: Time) -> Result<Option<Bytes>, Refused> {
        if !self.is_named(issuer) {
            return Ok(None);
        }
        Ok(self.crl_of(self.issuer_of(serial)?)?.map(|crl| crl.der))
    }
}
