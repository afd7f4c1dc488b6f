//! How much a token was asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// A moment's sums since the token was opened. Times are spent inside the module, without waiting in the
/// queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Signatures made.
    pub signatures: u64,
    /// Time spent on them.
    pub signature_time: Duration,
    /// Content-encryption keys unwrapped, those that were replaced by random ones included.
    pub decryptions: u64,
    /// Time spent on them.
    pub decryption_time: Duration,
    /// Keys generated.
    pub generations: u64,
    /// Requests of any sort that failed, a full queue included.
    pub errors: u64,
    /// Recoveries by a new session.
    pub sessions: u64,
    /// Recoveries by a new login.
    pub logins: u64,
    /// Recoveries by initialising the module again.
    pub initialisations: u64,
    /// Signatures that did not verify, and were thrown away.
    pub wrong_signatures: u64,
    /// Calls that did not return in time.
    pub hangs: u64,
    /// Requests that wait now.
    pub waiting: u64,
}

/// Where the sums grow.
#[derive(Default)]
pub(super) struct Cells {
    pub signatures: Cell,
    pub decryptions: Cell,
    pub generations: Cell,
    pub errors: Cell,
    pub sessions: Cell,
    pub logins: Cell,
    pub initialisations: Cell,
    pub wrong_signatures: Cell,
    pub hangs: Cell,
}

impl Cells {
    pub fn read(&self, waiting: usize) -> Counters {
        Counters {
            signatures: self.signatures.count(),
            signature_time: self.signatures.time(),
            decryptions: self.decryptions.count(),
            decryption_time: self.decryptions.time(),
            generations: self.generations.count(),
            errors: self.errors.count(),
            sessions: self.sessions.count(),
            logins: self.logins.count(),
            initialisations: self.initialisations.count(),
            wrong_signatures: self.wrong_signatures.count(),
            hangs: self.hangs.count(),
            waiting: waiting as u64,
        }
    }
}

#[derive(Default)]
pub(super) struct Cell {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Cell {
    pub fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub fn add_since(&self, start: Instant) {
        self.add();
        // 2^64 ns are 584 years.
        self.nanoseconds.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn time(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }
}
