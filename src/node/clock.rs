//! Whether the clock of the host can be right: it is later than the build of this program and than the
//! latest time on record (S11). A CA with a wrong clock issues certificates that nobody can use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::pki::Time;
use crate::store::{Store, StoreError};

/// Tells what time it is: the host's clock, or another that a test or a simulation moves.
pub type TimeSource = Arc<dyn Fn() -> Time + Send + Sync>;

/// The clock, judged.
pub struct Clock {
    source: TimeSource,
    store: Arc<dyn Store>,
    /// Seconds of the latest time that was written down by this process.
    noted: AtomicU64,
}

/// Why the clock cannot be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Time has not been set. Cannot start the Certificate server.\n\
     hint: the clock of this host says {now}, but it was {least} before; set the clock, or type \
     `clear clock history` if a clock that was ahead has left that time behind"
)]
pub struct WrongClock {
    now: Time,
    least: Time,
}

impl Clock {
    pub(super) fn new(source: TimeSource, store: Arc<dyn Store>) -> Self {
        Self { source, store, noted: AtomicU64::new(0) }
    }

    /// What time it is.
    pub fn now(&self) -> Time {
        (self.source)()
    }

    /// Whether `now` can be the time. When it can, it is written down, once a minute at most.
    pub fn check(&self, now: Time) -> Result<Result<(), WrongClock>, StoreError> {
        let noted = Time::from_unix(self.noted.load(Ordering::Acquire));
        if now >= noted && now.since(noted) < EVERY && now >= BUILT {
            return Ok(Ok(()));
        }
        let latest = match now >= BUILT {
            true => self.store.note_time(now)?,
            // Not worth keeping, and no reason to look at what is kept.
            false => BUILT,
        };
        if now.plus(TOLERANCE) < latest || now < BUILT {
            return Ok(Err(WrongClock { now, least: latest }));
        }
        self.noted.store(now.unix(), Ordering::Release);
        Ok(Ok(()))
    }

    /// Forgets the time on record: a clock that was ahead has left one that is yet to come.
    pub fn forget(&self) -> Result<(), StoreError> {
        self.store.forget_time()?;
        self.noted.store(0, Ordering::Release);
        Ok(())
    }
}

/// When this program was built.
const BUILT: Time = Time::from_unix(seconds(env!("TOKENCA_BUILT")));
/// How often the time is written down.
const EVERY: Duration = Duration::from_secs(60);
/// What NTP may take back from a clock that was a little ahead.
const TOLERANCE: Duration = Duration::from_secs(300);

const fn seconds(text: &str) -> u64 {
    let (digits, mut value, mut at) = (text.as_bytes(), 0, 0);
    while at < digits.len() {
        value = value * 10 + (digits[at] - b'0') as u64;
        at += 1;
    }
    value
}
