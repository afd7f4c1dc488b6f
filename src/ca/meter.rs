//! What a request costs the token.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use zeroize::Zeroizing;

use crate::pki::{DecryptionKey, Hash, KeyError, KeyTransport, PublicKey, SigningKey};
use crate::store::Cost;

/// Counts the private-key operations made through it, and the time waited for them. One per request.
#[derive(Debug, Default)]
pub struct Meter {
    signatures: AtomicU32,
    decryptions: AtomicU32,
    micros: AtomicU64,
}

impl Meter {
    /// A meter at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was counted since the last `take`; the meter is at zero then.
    pub fn take(&self) -> Cost {
        Cost {
            signatures: self.signatures.swap(0, Relaxed),
            decryptions: self.decryptions.swap(0, Relaxed),
            micros: self.micros.swap(0, Relaxed),
        }
    }

    /// `key`, counted.
    pub fn signing<'a>(&'a self, key: &'a dyn SigningKey) -> impl SigningKey + 'a {
        Metered { meter: self, key }
    }

    /// `key`, counted.
    pub fn decrypting<'a>(&'a self, key: &'a dyn DecryptionKey) -> impl DecryptionKey + 'a {
        Metered { meter: self, key }
    }

    fn timed<T>(&self, count: &AtomicU32, operation: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = operation();
        count.fetch_add(1, Relaxed);
        self.micros.fetch_add(start.elapsed().as_micros().try_into().unwrap_or(u64::MAX), Relaxed);
        result
    }
}

struct Metered<'a, K: ?Sized> {
    meter: &'a Meter,
    key: &'a K,
}

impl<'k> SigningKey for Metered<'_, dyn SigningKey + 'k> {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    fn sign(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.meter.timed(&self.meter.signatures, || self.key.sign(hash, message))
    }
}

impl<'k> DecryptionKey for Metered<'_, dyn DecryptionKey + 'k> {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    fn unwrap_key(
        &self,
        transport: KeyTransport,
        wrapped: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.meter.timed(&self.meter.decryptions, || self.key.unwrap_key(transport, wrapped, len))
    }
}
