//! The last lines, who watches them, and which debugging is on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Debugging that can be turned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// `debug crypto pki server`: target `CRYPTO_CS`.
    Server,
    /// `debug crypto pki transactions`: target `CRYPTO_PKI`.
    Transactions,
    /// `debug crypto pki messages`: target `CRYPTO_PKI_MSG`.
    Messages,
}

/// Keeps the last lines and hands every new one to whoever watches. Never waits for a watcher.
#[derive(Default)]
pub struct Hub {
    flags: AtomicU8,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Arc<str>>,
    logged: u64,
    shown: u64,
    lost: u64,
    watchers: Vec<Watcher>,
}

struct Watcher {
    lines: SyncSender<Arc<str>>,
    lost: Arc<AtomicU64>,
}

/// What [`Hub::kept`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The last lines, oldest first.
    pub lines: Vec<Arc<str>>,
    /// Lines there have been since the start.
    pub logged: u64,
    /// Lines that were handed to watchers.
    pub shown: u64,
    /// Lines that watchers were too slow for.
    pub lost: u64,
    /// Who watches now.
    pub monitors: usize,
}

/// A terminal's view of the log (`terminal monitor`); ends when it is dropped.
pub struct Monitor {
    lines: Receiver<Arc<str>>,
    lost: Arc<AtomicU64>,
}

/// The hub of this process.
pub fn hub() -> &'static Arc<Hub> {
    static HUB: LazyLock<Arc<Hub>> = LazyLock::new(Arc::default);
    &HUB
}

impl Flag {
    /// Every flag.
    pub const ALL: [Self; 3] = [Self::Server, Self::Transactions, Self::Messages];

    /// That of events with this target.
    pub fn of(target: &str) -> Option<Self> {
        match target {
            "CRYPTO_CS" => Some(Self::Server),
            "CRYPTO_PKI" => Some(Self::Transactions),
            "CRYPTO_PKI_MSG" => Some(Self::Messages),
            _ => None,
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Server => 1,
            Self::Transactions => 2,
            Self::Messages => 4,
        }
    }
}

impl Hub {
    /// Turns debugging on or off.
    pub fn set(&self, flag: Flag, on: bool) {
        match on {
            true => self.flags.fetch_or(flag.bit(), Ordering::Relaxed),
            false => self.flags.fetch_and(!flag.bit(), Ordering::Relaxed),
        };
        // Events ask once whether they are wanted and keep the answer: that makes them free while they are not.
        tracing::callsite::rebuild_interest_cache();
    }

    /// Whether this debugging is on.
    pub fn is_on(&self, flag: Flag) -> bool {
        self.flags.load(Ordering::Relaxed) & flag.bit() != 0
    }

    /// Whether any debugging is on.
    pub fn debugs(&self) -> bool {
        self.flags.load(Ordering::Relaxed) != 0
    }

    /// Watches the lines that come from now on.
    pub fn watch(&self) -> Monitor {
        let (sender, lines) = sync_channel(MAX_WAITING);
        let lost = Arc::<AtomicU64>::default();
        self.state().watchers.push(Watcher { lines: sender, lost: lost.clone() });
        Monitor { lines, lost }
    }

    /// The last lines and how many there have been.
    pub fn kept(&self) -> Kept {
        let state = self.state();
        Kept {
            lines: state.lines.iter().cloned().collect(),
            logged: state.logged,
            shown: state.shown,
            lost: state.lost,
            monitors: state.watchers.len(),
        }
    }

    /// Forgets the last lines (`clear logging`).
    pub fn clear(&self) {
        self.state().lines.clear();
    }

    /// A new line.
    pub(super) fn push(&self, line: String) {
        let line: Arc<str> = line.into();
        let mut state = self.state();
        let State { lines, logged, shown, lost, watchers } = &mut *state;
        if lines.len() == MAX_KEPT {
            lines.pop_front();
        }
        lines.push_back(line.clone());
        *logged += 1;
        watchers.retain(|watcher| {
            match watcher.offer(&line) {
                Offer::Taken => *shown += 1,
                Offer::Lost => *lost += 1,
                Offer::Gone => return false,
            }
            true
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Offer {
    Taken,
    Lost,
    Gone,
}

impl Watcher {
    fn offer(&self, line: &Arc<str>) -> Offer {
        // What was lost is told in its place.
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > 0 && self.lines.try_send(told(lost).into()).is_ok() {
            self.lost.fetch_sub(lost, Ordering::Relaxed);
        }
        match self.lines.try_send(line.clone()) {
            Ok(()) => Offer::Taken,
            Err(TrySendError::Full(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                Offer::Lost
            }
            Err(TrySendError::Disconnected(_)) => Offer::Gone,
        }
    }
}

impl Monitor {
    /// The next line, unless none comes within `patience`.
    pub fn next(&self, patience: Duration) -> Option<Arc<str>> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                (lost > 0).then(|| told(lost).into())
            }
        }
    }
}

fn told(lost: u64) -> String {
    format!("% {lost} lines of the log were lost: this terminal is too slow")
}

/// Lines kept for `show logging`.
const MAX_KEPT: usize = 1000;
/// Lines that a slow terminal may leave waiting.
const MAX_WAITING: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_slow_terminal_loses_lines_and_is_told_how_many() {
        let hub = Hub::default();
        let (slow, quick) = (hub.watch(), hub.watch());
        for n in 0..MAX_WAITING + 7 {
            hub.push(format!("line {n}"));
            assert_eq!(quick.next(NOW).as_deref(), Some(&*format!("line {n}")));
        }
        for n in 0..MAX_WAITING {
            assert_eq!(slow.next(NOW).as_deref(), Some(&*format!("line {n}")));
            if n == 1 {
                hub.push("late".into());
            }
        }
        let told = |lost: u64| Some(told(lost));
        assert_eq!(slow.next(NOW).as_deref().map(str::to_owned), told(7));
        assert_eq!(slow.next(NOW).as_deref(), Some("late"));
        assert_eq!(slow.next(NOW), None);
        let kept = hub.kept();
        assert_eq!((kept.lines.len(), kept.lost, kept.monitors), (MAX_KEPT, 7, 2));
        assert_eq!(kept.lines.last().map(|line| &**line), Some("late"));
    }

    #[test]
    fn what_was_lost_last_is_told_when_nothing_follows() {
        let hub = Hub::default();
        let slow = hub.watch();
        (0..MAX_WAITING + 1).for_each(|n| hub.push(n.to_string()));
        (0..MAX_WAITING).for_each(|n| assert_eq!(slow.next(NOW).as_deref(), Some(&*n.to_string())));
        assert_eq!(slow.next(NOW).as_deref(), Some(&*told(1)));
        assert_eq!(slow.next(NOW), None);
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let hub = Hub::default();
        drop(hub.watch());
        hub.push("a".into());
        assert_eq!(hub.kept().monitors, 0);
        hub.clear();
        assert_eq!((hub.kept().lines.len(), hub.kept().logged), (0, 1));
    }
}
