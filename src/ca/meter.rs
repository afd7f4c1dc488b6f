//! What a request costs the token.

use std::cell::Cell;
use std::time::Instant;

use zeroize::Zeroizing;

use crate::pki::{DecryptionKey, Hash, KeyError, KeyTransport, SigningKey};
use crate::store::Cost;

/// Counts the private-key operations made through it, and the time waited for them. One per request.
#[derive(Debug, Default)]
pub struct Meter(Cell<Cost>);

impl Meter {
    /// A meter at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was counted since the last `take`; the meter is at zero then.
    pub fn take(&self) -> Cost {
        self.0.take()
    }

    /// Signs with `key`.
    pub fn sign(&self, key: &dyn SigningKey, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.timed(Cost { signatures: 1, ..Cost::default() }, || key.sign(hash, message))
    }

    /// Unwraps with `key`.
    pub fn unwrap_key(
        &self,
        key: &dyn DecryptionKey,
        transport: KeyTransport,
        wrapped: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.timed(Cost { decryptions: 1, ..Cost::default() }, || key.unwrap_key(transport, wrapped, len))
    }

    fn timed<T>(&self, mut cost: Cost, operation: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = operation();
        cost.micros = start.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
        let mut sum = self.0.get();
        sum += cost;
        self.0.set(sum);
        result
    }
}
