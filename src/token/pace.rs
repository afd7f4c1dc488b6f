//! Waiting awake for what is due in a moment.
//!
//! To put a thread to sleep and to wake it takes up to 50 microseconds, and each job has two who wait: its
//! caller for the answer, and the worker for the next job. That is a tenth of an RSA-2048 signature in
//! software, and more than a P-256 signature. So the worker looks for another job for a moment, and the caller
//! for his answer when most of the usual time has passed, again and again, letting others run in between; but
//! only for jobs that are brief, and only while there is one at a time: with more of them, also such as
//! wait, the processors have better things to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long jobs take, and how many there are.
#[derive(Default)]
pub(super) struct Pace {
    /// Those that wait, too.
    jobs: AtomicU64,
    /// What a job takes of late, in nanoseconds.
    usual: AtomicU64,
}

impl Pace {
    /// A job comes, and is over when this is dropped.
    pub fn job(self: &Arc<Self>) -> Job {
        self.jobs.fetch_add(1, Ordering::Relaxed);
        Job(Arc::clone(self))
    }

    /// For who has handed in a job: how long he sleeps before it is worth to look.
    pub fn nap(&self) -> Duration {
        let usual = self.usual();
        // For less, a timer is too coarse.
        if (COARSE..=BRIEF).contains(&usual) { usual * 2 / 3 } else { Duration::ZERO }
    }

    /// For who has slept for that: what `answer` finds, unless that takes longer than usual.
    pub fn answer<T>(&self, answer: impl FnMut() -> Option<T>) -> Option<T> {
        self.look(self.usual().saturating_mul(3) / 2, answer)
    }

    /// For who has done a job: what `next` finds soon.
    pub fn next_job<T>(&self, next: impl FnMut() -> Option<T>) -> Option<T> {
        self.look(MOMENT, next)
    }

    fn usual(&self) -> Duration {
        Duration::from_nanos(self.usual.load(Ordering::Relaxed))
    }

    fn look<T>(&self, span: Duration, mut find: impl FnMut() -> Option<T>) -> Option<T> {
        let (start, brief) = (Instant::now(), self.usual() <= BRIEF);
        while brief && self.jobs.load(Ordering::Relaxed) <= 1 {
            if let Some(found) = find() {
                return Some(found);
            }
            if start.elapsed() >= span {
                break;
            }
            thread::yield_now();
        }
        None
    }
}

/// A job that waits or goes on.
pub(super) struct Job(Arc<Pace>);

impl Job {
    /// It is over, and took so long.
    pub fn done(self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let usual = self.0.usual.load(Ordering::Relaxed);
        // Two jobs that end at once may lose one of them, which matters little.
        self.0.usual.store(usual - usual / WEIGHT + took / WEIGHT, Ordering::Relaxed);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.0.jobs.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Jobs that take longer are waited for asleep: the wake-up is nothing beside them.
const BRIEF: Duration = Duration::from_millis(2);
/// Nobody sleeps through the first part of jobs that take less.
const COARSE: Duration = Duration::from_micros(300);
/// How long the next job may take to come, from a caller who is busy with the last one's answer.
const MOMENT: Duration = Duration::from_micros(100);
/// A new job counts for one of so many.
const WEIGHT: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brief_jobs_are_waited_for_one_at_a_time() {
        let (pace, found) = (Arc::new(Pace::default()), || Some(()));
        let one = pace.job();
        assert!(pace.answer(found).is_some());
        let two = pace.job();
        assert!(pace.answer(found).is_none());
        assert!(pace.next_job(found).is_none());
        drop(two);
        assert!(pace.answer(found).is_some());
        one.done(2 * BRIEF);
        assert!(pace.answer(found).is_some(), "one long job is not what is usual");
        (0..20).for_each(|_| pace.job().done(2 * BRIEF));
        assert!(pace.answer(found).is_none());
    }

    #[test]
    fn nobody_waits_awake_for_long_jobs() {
        let (pace, found) = (Arc::new(Pace::default()), || Some(()));
        pace.usual.store(u64::MAX / 2, Ordering::Relaxed);
        assert!(pace.answer(found).is_none());
        assert!(pace.next_job(found).is_none());
        // Not for one that takes longer than it did of late, either.
        pace.usual.store(1000, Ordering::Relaxed);
        assert!(pace.answer(|| None::<()>).is_none());
        assert!(pace.next_job(|| None::<()>).is_none());
    }
}
