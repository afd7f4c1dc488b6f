//! Revocation and the CRL.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use crate::pki::crl::{CrlBuilder, CrlHeader};
use crate::pki::{Serial, SigningKey, Time};
use crate::store::{Crl, CrlFacts, Omit, Revocation};

use super::{Ca, CaError, Meter};

impl Ca {
    /// Marks a certificate revoked; the CRL that says so is the next one. `reason` is a CRLReason that a
    /// full CRL may carry (RFC 5280, 5.3.1): 0 to 6, 9 or 10.
    pub fn revoke(&self, serial: &Serial, reason: u8, now: Time) -> Result<(), CaError> {
        if !matches!(reason, 0..=6 | 9 | 10) {
            return Err(CaError::Reason(reason));
        }
        Ok(self.store.revoke(&self.label, serial, Revocation { at: now, reason })?)
    }

    /// Takes a hold back; the CRL that says so is the next one.
    pub fn unrevoke(&self, serial: &Serial) -> Result<(), CaError> {
        Ok(self.store.unrevoke(&self.label, serial)?)
    }

    /// The newest CRL. Its octets are read once, however often it is asked for.
    pub fn crl(&self) -> Result<Option<Crl>, CaError> {
        let Some(facts) = self.crl_facts()? else { return Ok(None) };
        // Held while the octets are read: of many that ask at once one reads.
        let mut newest = self.newest();
        if newest.as_ref().is_none_or(|crl| crl.number != facts.number) {
            *newest = self.store.crl(&self.label, self.authority)?;
        }
        Ok(newest.clone())
    }

    /// The newest CRL without its octets.
    pub fn crl_facts(&self) -> Result<Option<CrlFacts>, CaError> {
        Ok(self.store.crl_facts(&self.label, self.authority)?)
    }

    /// Whether a CRL is due: there is none, a quarter of its life is left, or it lacks a revocation or that
    /// one was taken back.
    pub fn crl_is_due(&self, now: Time) -> Result<bool, CaError> {
        let Some(crl) = self.crl_facts()? else { return Ok(true) };
        let life = crl.next_update.since(crl.this_update);
        Ok(self.store.revision(&self.label)? != crl.revision || now >= crl.next_update.minus(life / 4))
    }

    /// Makes, signs and keeps a CRL.
    pub fn issue_crl(&self, meter: &Meter, now: Time) -> Result<Crl, CaError> {
        let _guard = self.crl.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.crl_facts()?;
        let crl = self.sign_crl(last, meter, now)?;
        self.store.keep_crl(&self.label, crl.clone())?;
        *self.newest() = Some(crl.clone());
        Ok(crl)
    }

    fn sign_crl(&self, last: Option<CrlFacts>, meter: &Meter, now: Time) -> Result<Crl, CaError> {
        let this_update = this_update(last, now);
        let header = CrlHeader {
            algorithm: self.algorithm(),
            issuer: &self.name,
            issuer_key: &self.key_id,
            number: last.map_or(1, |last| last.number + 1),
            this_update,
            next_update: this_update.plus(self.settings.crl_lifetime),
        };
        let mut list = CrlBuilder::new(&header)?;
        let mut failed = None;
        let omit = self.omit(last, now);
        let revision = self.store.revoked(&self.label, self.authority, omit, &mut |serial, how| {
            // One that the clock put after the list itself would not be believed.
            failed = list.push(serial, how.at.min(this_update), how.reason).err().or(failed.take());
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let list = list.finalize();
        let signature = meter.signing(self.key.as_ref()).sign(self.settings.hash, list.tbs())?;
        self.key.public_key().verify(header.algorithm, list.tbs(), &signature)?;
        let CrlHeader { number, next_update, .. } = header;
        let der = list.assemble(&signature).into();
        Ok(Crl { authority: self.authority, number, this_update, next_update, revision, der })
    }

    /// What has been on a CRL issued after its expiry may leave the list (RFC 5280, 3.3). Regularly one is
    /// issued within each life of a CRL, so an entry stays for that long after the expiry, and until it was
    /// on one.
    fn omit(&self, last: Option<CrlFacts>, now: Time) -> Omit {
        let Some(last) = last else { return Omit::NOTHING };
        let life = self.settings.crl_lifetime.max(last.next_update.since(last.this_update));
        Omit { expired_before: last.this_update.min(now.minus(life)), revision: last.revision }
    }

    fn newest(&self) -> MutexGuard<'_, Option<Crl>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Now; but when the clock went back a little, not before the last CRL, which relying parties would prefer.
fn this_update(last: Option<CrlFacts>, now: Time) -> Time {
    match last {
        Some(last) if last.this_update.since(now) <= STEP => last.this_update.max(now),
        _ => now,
    }
}

/// By how much a clock may be set back without anything being wrong.
const STEP: Duration = Duration::from_secs(3600);
