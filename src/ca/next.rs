//! Rollover: the CA certificate that follows, made by the CA itself.

use crate::pki::{Certificate, Serial, SignatureAlgorithm, SigningKey, Time, profile, tbs};
use crate::store::{self, Intent, Store, StoreError};

use super::issue::{intent, sign};
use super::{Ca, CaError, Meter};

impl Ca {
    /// The next certificate of a root, self-signed with `key`, which also serves SCEP when `scep`: it begins
    /// when the active one ends and lives as long as CA certificates do. Kept, and nobody's yet.
    ///
    /// `begun` is the serial number of an earlier attempt. Before anything is signed, `note` is told the one to
    /// be given as `begun` after a crash.
    pub fn make_next(
        &self,
        key: &dyn SigningKey,
        scep: bool,
        begun: Option<&Serial>,
        note: &dyn Fn(&Serial) -> Result<(), StoreError>,
        meter: &Meter,
        now: Time,
    ) -> Result<store::Certificate, CaError> {
        let fingerprint = key.public_key().fingerprint();
        if let Some(serial) = begun
            && let Some(kept) = self.store.certificate(&self.label, serial)?
            && kept.key == fingerprint
        {
            return Ok(kept);
        }
        for left in left(self.store.as_ref(), &self.label)? {
            if key_in(&left) == Some(fingerprint) {
                note(&left.serial)?;
                return Ok(self.store.keep(&self.label, sign(left, key, meter, now)?)?);
            }
            // It was to be that of another key, which was given up.
            self.store.abandon(&self.label, &left.serial, now)?;
        }
        let new = self.store.intend(self.intent_of_next(key, scep, now)?, None)?;
        note(&new.serial)?;
        Ok(self.store.keep(&self.label, sign(new, key, meter, now)?)?)
    }

    fn intent_of_next(
        &self,
        key: &dyn SigningKey,
        scep: bool,
        now: Time,
    ) -> Result<store::NewIntent, CaError> {
        // Without a gap; but when the active one has ended already, nothing is dated back.
        let begin = self.certificate().not_after().max(now);
        let key = key.public_key();
        let algorithm = SignatureAlgorithm::for_key(key.kind(), self.settings.hash);
        let validity = (begin, begin.plus(self.settings.ca_lifetime));
        let template = profile::root(self.name(), key, scep, algorithm, validity);
        intent(&self.label, None, self.settings.serial, template, now)
    }
}

/// Gives up what was to be the next certificate of the server `label` and is not signed yet.
pub fn abandon_next(store: &dyn Store, label: &str, now: Time) -> Result<(), StoreError> {
    left(store, label)?.iter().try_for_each(|intent| store.abandon(label, &intent.serial, now))
}

/// Intents of CA certificates. A CA that acts has kept its own.
fn left(store: &dyn Store, label: &str) -> Result<Vec<Intent>, StoreError> {
    let unfinished = store.unfinished(label)?;
    Ok(unfinished.into_iter().filter(|intent| intent.authority.is_none()).collect())
}

/// The fingerprint of the key that a certificate will have.
fn key_in(intent: &Intent) -> Option<[u8; 32]> {
    let algorithm = tbs::algorithm_of(&intent.tbs)?;
    // With any signature: it is not looked at.
    let unsigned = tbs::assemble(&intent.tbs, algorithm, &[0]).ok()?;
    Some(Certificate::parse(&unsigned).ok()?.public_key().fingerprint())
}
