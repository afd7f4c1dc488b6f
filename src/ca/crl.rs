//! Revocation and the CRL.

use std::sync::atomic::Ordering;

use crate::pki::crl::{CrlBuilder, CrlHeader};
use crate::pki::{Serial, SigningKey, Time, tbs};
use crate::store::{Crl, Revocation};

use super::{Ca, CaError, Meter};

impl Ca {
    /// Marks a certificate revoked; the CRL that says so is the next one. `reason` is a CRLReason that a
    /// full CRL may carry (RFC 5280, 5.3.1): 0 to 6, 9 or 10.
    pub fn revoke(&self, serial: &Serial, reason: u8, now: Time) -> Result<(), CaError> {
        if !matches!(reason, 0..=6 | 9 | 10) {
            return Err(CaError::Reason(reason));
        }
        self.store.revoke(&self.label, serial, Revocation { at: now, reason })?;
        self.crl_is_stale.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes a hold back; the CRL that says so is the next one.
    pub fn unrevoke(&self, serial: &Serial) -> Result<(), CaError> {
        self.store.unrevoke(&self.label, serial)?;
        self.crl_is_stale.store(true, Ordering::Release);
        Ok(())
    }

    /// The newest CRL.
    pub fn crl(&self) -> Result<Option<Crl>, CaError> {
        Ok(self.store.crl(&self.label, self.authority)?)
    }

    /// Whether a CRL is due: there is none, a quarter of its life is left, or it lacks a revocation.
    pub fn crl_is_due(&self, now: Time) -> Result<bool, CaError> {
        let Some(crl) = self.crl()? else { return Ok(true) };
        let life = crl.next_update.since(crl.this_update);
        Ok(self.crl_is_stale.load(Ordering::Acquire) || now >= crl.next_update.minus(life / 4))
    }

    /// Whether a revocation is younger than the newest CRL: one that a crash kept from being listed.
    pub(super) fn lacks_revocation(&self, now: Time) -> Result<bool, CaError> {
        let Some(crl) = self.crl()? else { return Ok(true) };
        let mut younger = false;
        self.store.revoked(&self.label, self.authority, now, &mut |_, revocation| {
            younger |= revocation.at >= crl.this_update;
        })?;
        Ok(younger)
    }

    /// Makes, signs and keeps a CRL.
    pub fn issue_crl(&self, meter: &Meter, now: Time) -> Result<Crl, CaError> {
        let _guard = self.crl.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let number = self.crl()?.map_or(1, |crl| crl.number + 1);
        // Cleared before the list is read: a revocation from here on makes the next CRL due again.
        let was_stale = self.crl_is_stale.swap(false, Ordering::AcqRel);
        let crl = self.sign_crl(number, meter, now);
        if crl.is_err() {
            self.crl_is_stale.fetch_or(was_stale, Ordering::AcqRel);
        }
        crl
    }

    fn sign_crl(&self, number: u64, meter: &Meter, now: Time) -> Result<Crl, CaError> {
        let mut list = CrlBuilder::new();
        let mut failed = None;
        self.store.revoked(&self.label, self.authority, now, &mut |serial, revocation| {
            if let Err(error) = list.push(serial, revocation.at, revocation.reason) {
                failed = Some(error);
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let header = CrlHeader {
            algorithm: self.algorithm(),
            issuer: &self.name,
            issuer_key: &self.key_id,
            number,
            this_update: now,
            next_update: now.plus(self.settings.crl_lifetime),
        };
        let tbs = list.finalize(&header)?;
        let signature = meter.signing(self.key.as_ref()).sign(self.settings.hash, &tbs)?;
        self.key.public_key().verify(header.algorithm, &tbs, &signature)?;
        let der = tbs::assemble(&tbs, header.algorithm, &signature)?;
        let (this_update, next_update) = (header.this_update, header.next_update);
        let crl = Crl { authority: self.authority, number, this_update, next_update, der };
        self.store.keep_crl(&self.label, crl.clone())?;
        Ok(crl)
    }
}
