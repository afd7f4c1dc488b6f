//! Who is inside a module: `C_Finalize` needs everybody outside, and makes every handle invalid.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counts the threads inside a module, and its initialisations.
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    inside: usize,
    /// Somebody wants to be alone; nobody enters.
    closing: bool,
    generation: u64,
    /// Before this, being alone is refused.
    earliest: Instant,
    delay: Duration,
}

impl Gate {
    pub fn new() -> Self {
        let state =
            State { inside: 0, closing: false, generation: 0, earliest: Instant::now(), delay: FIRST_DELAY };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Goes inside, after whoever is alone. The pass must be gone before [`Gate::alone`] is called by the
    /// same thread.
    pub fn enter(&self) -> Pass<'_> {
        let state = self.lock();
        let mut state =
            self.changed.wait_while(state, |state| state.closing).unwrap_or_else(PoisonError::into_inner);
        state.inside += 1;
        Pass { gate: self, generation: state.generation }
    }

    /// Runs `action` with nobody inside, which ends a generation, unless `seen` has ended already.
    ///
    /// Not more often than once per delay, which doubles until [`Gate::well`]; nor when somebody stays
    /// inside too long. Then, the answer is `None`.
    pub fn alone<T>(&self, seen: u64, action: impl FnOnce() -> T) -> Option<T> {
        let state = self.lock();
        if state.closing || state.generation != seen || Instant::now() < state.earliest {
            return None;
        }
        let (_reopen, mut state) = self.emptied(state);
        state.earliest = Instant::now() + state.delay;
        state.delay = (2 * state.delay).min(LAST_DELAY);
        if state.inside > 0 {
            return None;
        }
        state.generation += 1;
        drop(state);
        Some(action())
    }

    /// Runs `action` with nobody inside, which ends nothing. `None` when somebody else is alone, or
    /// somebody stays inside too long.
    pub fn quietly<T>(&self, action: impl FnOnce() -> T) -> Option<T> {
        let state = self.lock();
        if state.closing {
            return None;
        }
        let (_reopen, state) = self.emptied(state);
        if state.inside > 0 {
            return None;
        }
        drop(state);
        Some(action())
    }

    /// Lets nobody in and waits until everybody is outside, or somebody stays too long.
    //
    // Opening takes the lock: the state must be let go first, and is, being the later of the two.
    fn emptied<'g>(&'g self, mut state: MutexGuard<'g, State>) -> (Reopen<'g>, MutexGuard<'g, State>) {
        state.closing = true;
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.inside > 0)
            .unwrap_or_else(PoisonError::into_inner);
        (Reopen(self), state)
    }

    /// What is inside works: the next [`Gate::alone`] need not wait.
    pub fn well(&self) {
        let mut state = self.lock();
        state.delay = FIRST_DELAY;
        state.earliest = Instant::now();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Being inside.
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    /// Handles of another generation are invalid, and may be somebody else's by now.
    pub generation: u64,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.gate.lock().inside -= 1;
        self.gate.changed.notify_all();
    }
}

/// Opens the gate again, also when the action panics.
struct Reopen<'a>(&'a Gate);

impl Drop for Reopen<'_> {
    fn drop(&mut self) {
        self.0.lock().closing = false;
        self.0.changed.notify_all();
    }
}

/// Several tokens of one module must not take turns at ending each other's sessions.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LAST_DELAY: Duration = Duration::from_secs(10);
/// How long the others may take to come out. A generation of a large key takes longer; then it is not
/// the module that is gone.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn nobody_is_inside_with_who_is_alone() {
        let gate = Gate::new();
        let alone = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let _pass = gate.enter();
                        assert!(!alone.load(Ordering::SeqCst));
                    }
                });
            }
            for generation in 0..10 {
                let ran = gate.alone(generation, || {
                    alone.store(true, Ordering::SeqCst);
                    thread::yield_now();
                    alone.store(false, Ordering::SeqCst);
                });
                assert!(ran.is_some());
                gate.well();
            }
        });
        assert_eq!(gate.enter().generation, 10);
    }

    #[test]
    fn who_stays_inside_is_not_waited_for_without_end() {
        let gate = Gate::new();
        let pass = gate.enter();
        assert_eq!(gate.alone(0, || 1), None);
        assert_eq!(gate.quietly(|| 2), None);
        assert_eq!(gate.enter().generation, 0, "others go on");
        drop(pass);
        assert_eq!(gate.quietly(|| 3), Some(3));
    }

    #[test]
    fn once_per_generation_and_delay() {
        let gate = Gate::new();
        assert_eq!(gate.alone(0, || 1), Some(1));
        gate.well();
        assert_eq!(gate.alone(0, || 2), None, "another did it already");
        assert_eq!(gate.alone(1, || 3), Some(3));
        assert_eq!(gate.alone(2, || 4), None, "too soon");
        gate.well();
        assert_eq!(gate.alone(2, || 5), Some(5));
    }
}
