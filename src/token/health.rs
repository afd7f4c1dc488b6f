//! Whether a token answers: outages, when it is tried again, and what happened to it lately.
//!
//! A token that stayed away through all of [`session`](super::session)'s ladder is offline. Who asks then is
//! refused at once, but for one try when it is due: after a second, two, four, up to a minute. Each try is a
//! whole ladder, with a real signature at its end, and the first that succeeds ends the outage.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::pki::Time;

use super::error::Problem;

/// What is known of one token.
pub(super) struct Health {
    state: Mutex<State>,
    /// An outage began, or nobody wants to know any more.
    changed: Condvar,
}

struct State {
    outage: Option<Outage>,
    outages: u64,
    events: VecDeque<TokenEvent>,
    closed: bool,
}

struct Outage {
    since: Time,
    began: Instant,
    why: String,
    /// When the next try is due.
    next: Instant,
    delay: Duration,
    /// It was told that it lasts too long.
    outlasted: bool,
}

/// Something that happened to a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEvent {
    /// When.
    pub at: Time,
    /// What, in a sentence without a period.
    pub what: String,
}

/// Whether a token answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenState {
    /// Since when it does not; `None` while it does.
    pub offline_since: Option<Time>,
    /// Why it does not.
    pub why: Option<String>,
    /// When it is tried next by itself.
    pub next: Option<Time>,
    /// Whether only an operator's [`Token::login`](super::Token::login) logs in.
    pub logged_out: bool,
    /// Outages since it was opened.
    pub outages: u64,
    /// The last events, oldest first.
    pub events: Vec<TokenEvent>,
}

impl Health {
    pub fn new() -> Self {
        let state = State { outage: None, outages: 0, events: VecDeque::new(), closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Lets a request through, or says that the token is offline. Whoever is let through during an outage
    /// makes the try that is due.
    pub fn admit(&self) -> Result<(), Problem> {
        let mut state = self.lock();
        let Some(outage) = &mut state.outage else { return Ok(()) };
        let now = Instant::now();
        if now < outage.next {
            let (since, why) = (outage.since, outage.why.clone());
            return Err(Problem::Offline { since, why, next: outage.next - now });
        }
        outage.next = now + outage.delay;
        Ok(())
    }

    /// It does not answer, for this reason. Whether that is news.
    pub fn is_away(&self, why: &str) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        match &mut state.outage {
            Some(outage) => {
                // Slow tries must not follow each other without a pause.
                outage.delay = (2 * outage.delay).min(LAST_DELAY);
                outage.next = now + outage.delay;
                why.clone_into(&mut outage.why);
                false
            }
            None => {
                let (since, next) = (Time::now(), now + FIRST_DELAY);
                let why = why.to_owned();
                state.note(format!("offline: {why}"));
                state.outage =
                    Some(Outage { since, began: now, why, next, delay: FIRST_DELAY, outlasted: false });
                state.outages += 1;
                self.changed.notify_all();
                true
            }
        }
    }

    /// Whether it is away for longer than this; told once for each outage.
    pub fn outlasts(&self, limit: Duration) -> bool {
        let mut state = self.lock();
        let Some(outage) = state.outage.as_mut().filter(|outage| !outage.outlasted) else { return false };
        outage.outlasted = outage.began.elapsed() > limit;
        outage.outlasted
    }

    /// A try came to nothing before the token was asked: the next one is later.
    pub fn postpone(&self, problem: &Problem) {
        let mut state = self.lock();
        let now = Instant::now();
        if let Some(outage) = state.outage.as_mut().filter(|outage| outage.next <= now) {
            tracing::debug!(%problem, "a try is put off");
            outage.delay = (2 * outage.delay).min(LAST_DELAY);
            outage.next = now + outage.delay;
        }
    }

    /// It answered. How long it had not, if it had not.
    pub fn is_well(&self) -> Option<Duration> {
        let mut state = self.lock();
        let away = state.outage.take()?.began.elapsed();
        state.note(format!("back after {} s", away.as_secs()));
        Some(away)
    }

    /// Writes down what happened.
    pub fn note(&self, what: impl Into<String>) {
        self.lock().note(what.into());
    }

    /// Whether there is an outage.
    pub fn is_offline(&self) -> bool {
        self.lock().outage.is_some()
    }

    /// How it is.
    pub fn state(&self) -> TokenState {
        let state = self.lock();
        let outage = state.outage.as_ref();
        TokenState {
            offline_since: outage.map(|outage| outage.since),
            why: outage.map(|outage| outage.why.clone()),
            next: outage
                .map(|outage| Time::now().plus(outage.next.saturating_duration_since(Instant::now()))),
            logged_out: false,
            outages: state.outages,
            events: state.events.iter().cloned().collect(),
        }
    }

    /// Waits until a try is due; `false` when nobody wants to know any more.
    pub fn wait_for_try(&self) -> bool {
        let mut state = self.lock();
        loop {
            if state.closed {
                return false;
            }
            let now = Instant::now();
            state = match state.outage.as_ref().map(|outage| outage.next) {
                Some(next) if next <= now => return true,
                Some(next) => {
                    let waited = self.changed.wait_timeout(state, next - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Ends [`Health::wait_for_try`].
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, what: String) {
        if self.events.len() == MOST_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(TokenEvent { at: Time::now(), what });
    }
}

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LAST_DELAY: Duration = Duration::from_secs(60);
/// Events that are kept.
const MOST_EVENTS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_try_at_a_time_during_an_outage() {
        let health = Health::new();
        assert!(health.admit().is_ok() && health.admit().is_ok());
        assert!(health.is_away("C_Sign returned CKR_DEVICE_REMOVED"));
        assert!(matches!(health.admit(), Err(Problem::Offline { .. })));
        assert!(health.wait_for_try());
        assert!(health.admit().is_ok(), "one try");
        assert!(matches!(health.admit(), Err(Problem::Offline { .. })), "and no second");
        assert!(!health.is_away("C_OpenSession returned CKR_TOKEN_NOT_PRESENT"), "no news");
        assert!(health.is_well().is_some());
        assert!(health.admit().is_ok() && health.is_well().is_none());

        let state = health.state();
        assert_eq!((state.offline_since, state.outages), (None, 1));
        assert_eq!(state.events[0].what, "offline: C_Sign returned CKR_DEVICE_REMOVED");
        assert_eq!(state.events[1].what, "back after 1 s");
    }

    #[test]
    fn an_outage_is_too_long_once() {
        let health = Health::new();
        assert!(!health.outlasts(Duration::ZERO));
        health.is_away("gone");
        assert!(!health.outlasts(Duration::from_secs(3600)));
        assert!(health.outlasts(Duration::ZERO) && !health.outlasts(Duration::ZERO));
        health.is_well();
        health.is_away("gone again");
        assert!(health.outlasts(Duration::ZERO));
    }

    #[test]
    fn only_the_last_events_are_kept() {
        let health = Health::new();
        (0..100).for_each(|number| health.note(number.to_string()));
        let events = health.state().events;
        assert_eq!((events.len(), events[0].what.as_str()), (MOST_EVENTS, "68"));
    }

    #[test]
    fn waiting_ends() {
        let health = Health::new();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| health.wait_for_try());
            health.is_away("gone");
            assert!(waiting.join().unwrap(), "after the first delay");
            health.is_well();
            let waiting = scope.spawn(|| health.wait_for_try());
            health.close();
            assert!(!waiting.join().unwrap());
        });
    }
}
