//! Revocation and the CRL.

use std::sync::PoisonError;
use std::time::Duration;

use crate::pki::crl::{CrlBuilder, CrlHeader};
use crate::pki::{Serial, SigningKey, Time};
use crate::store::{Crl, CrlFacts, Omit, Phase, Revocation};

use super::{Ca, CaError, Issuer, Meter};

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
        self.crl_of(&self.active)
    }

    /// The newest CRL without its octets.
    pub fn crl_facts(&self) -> Result<Option<CrlFacts>, CaError> {
        self.facts_of(&self.active)
    }

    /// Whether a CRL is due: there is none, a quarter of its life is left, or it lacks a revocation or that
    /// one was taken back.
    pub fn crl_is_due(&self, now: Time) -> Result<bool, CaError> {
        self.is_due(&self.active, now)
    }

    /// Makes, signs and keeps a CRL.
    pub fn issue_crl(&self, meter: &Meter, now: Time) -> Result<Crl, CaError> {
        self.issue_crl_of(&self.active, meter, now)
    }

    /// The newest CRL of one issuer.
    pub fn crl_of(&self, issuer: &Issuer) -> Result<Option<Crl>, CaError> {
        let Some(facts) = self.facts_of(issuer)? else { return Ok(None) };
        // Held while the octets are read: of many that ask at once one reads.
        let mut newest = issuer.newest();
        if newest.as_ref().is_none_or(|crl| crl.number != facts.number) {
            *newest = self.store.crl(&self.label, issuer.authority())?;
        }
        Ok(newest.clone())
    }

    /// Issues every CRL that is due. One that cannot be does not keep the others from it; the first error is
    /// returned.
    pub fn issue_due_crls(&self, meter: &Meter, now: Time) -> Result<(), CaError> {
        let mut result = Ok(());
        for issuer in self.issuers() {
            let issued = self.is_due(issuer, now).and_then(|due| match due {
                true => self.issue_crl_of(issuer, meter, now).map(drop),
                false => Ok(()),
            });
            result = result.and(issued);
        }
        result
    }

    /// Makes, signs and keeps a CRL of one issuer.
    pub fn issue_crl_of(&self, issuer: &Issuer, meter: &Meter, now: Time) -> Result<Crl, CaError> {
        let _guard = issuer.crl.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.facts_of(issuer)?;
        let crl = self.sign_crl(issuer, last, meter, now)?;
        self.store.keep_crl(&self.label, crl.clone())?;
        *issuer.newest() = Some(crl.clone());
        Ok(crl)
    }

    fn facts_of(&self, issuer: &Issuer) -> Result<Option<CrlFacts>, CaError> {
        Ok(self.store.crl_facts(&self.label, issuer.authority())?)
    }

    fn is_due(&self, issuer: &Issuer, now: Time) -> Result<bool, CaError> {
        let last = self.facts_of(issuer)?;
        if !self.owes_crls(issuer, last, now)? {
            return Ok(false);
        }
        let Some(crl) = last else { return Ok(true) };
        let life = crl.next_update.since(crl.this_update);
        Ok(self.store.revision(&self.label)? != crl.revision || now >= crl.next_update.minus(life / 4))
    }

    /// One that is retired owes CRLs until nothing that it issued is valid, and for one life of a CRL after: what
    /// was revoked last must be on one that was issued after it expired.
    fn owes_crls(&self, issuer: &Issuer, last: Option<CrlFacts>, now: Time) -> Result<bool, CaError> {
        if issuer.phase() != Phase::Retired {
            return Ok(true);
        }
        let own = issuer.certificate().not_after();
        let end = match issuer.last_end.get() {
            Some(end) => *end,
            None if now < own => own,
            // Looked up once: a certificate outlives its CA at most where another than this program issued it.
            None => {
                let issued = self.store.issued_by(&self.label, issuer.authority())?;
                *issuer.last_end.get_or_init(|| issued.last_end.map_or(own, |last| last.max(own)))
            }
        };
        Ok(now < end.plus(self.crl_life(last)))
    }

    fn sign_crl(
        &self,
        issuer: &Issuer,
        last: Option<CrlFacts>,
        meter: &Meter,
        now: Time,
    ) -> Result<Crl, CaError> {
        let this_update = this_update(last, now);
        let header = CrlHeader {
            algorithm: issuer.algorithm(&self.settings),
            issuer: issuer.name(),
            issuer_key: issuer.key_id(),
            number: last.map_or(1, |last| last.number + 1),
            this_update,
            next_update: this_update.plus(self.settings.crl_lifetime),
        };
        let mut list = CrlBuilder::new(&header)?;
        let mut failed = None;
        let omit = self.omit(last, now);
        let revision = self.store.revoked(&self.label, issuer.authority(), omit, &mut |serial, how| {
            // One that the clock put after the list itself would not be believed.
            failed = list.push(serial, how.at.min(this_update), how.reason).err().or(failed.take());
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let list = list.finalize();
        let signature = meter.signing(issuer.key.as_ref()).sign(self.settings.hash, list.tbs())?;
        issuer.key.public_key().verify(header.algorithm, list.tbs(), &signature)?;
        let CrlHeader { number, next_update, .. } = header;
        let der = list.assemble(&signature).into();
        Ok(Crl { authority: issuer.authority(), number, this_update, next_update, revision, der })
    }

    /// What has been on a CRL issued after its expiry may leave the list (RFC 5280, 3.3). Regularly one is
    /// issued within each life of a CRL, so an entry stays for that long after the expiry, and until it was
    /// on one.
    fn omit(&self, last: Option<CrlFacts>, now: Time) -> Omit {
        let Some(facts) = last else { return Omit::NOTHING };
        let expired_before = facts.this_update.min(now.minus(self.crl_life(last)));
        Omit { expired_before, revision: facts.revision }
    }

    /// How long a CRL lives, or the last one did.
    fn crl_life(&self, last: Option<CrlFacts>) -> Duration {
        let last = last.map_or(Duration::ZERO, |last| last.next_update.since(last.this_update));
        self.settings.crl_lifetime.max(last)
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
