//! The files of a certificate server: `.ser`, `.crl`, `.cnm` and `.crt`, written beside the database at the
//! places that `database url` and `database level` say (S7, S8).
//!
//! The database is what the server works from; the files are for the operator's backup and for other
//! programs. A thread of its own writes them, so that a slow server delays nobody. How far each place has
//! come is kept in the database: after a crash or an outage it is brought up to date, nothing is left out.
//! As long as a place cannot be written, no certificate is issued (S11), and the place is tried again at
//! growing intervals.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::ca::Gate;
use crate::config::{DatabaseLevel, FileType};
use crate::files::{FileError, FileUrl, Files, Login};
use crate::pki::archive::ios::{self, Cnm, FileName};
use crate::pki::chain;
use crate::store::{self, Store, StoreError};

/// What is written where.
#[derive(Clone)]
pub struct Plan {
    /// The places.
    pub places: Vec<Place>,
    /// The file systems.
    pub files: Arc<Files>,
    /// Whose CRL is written; nobody's before there is a CA.
    pub authority: Option<u64>,
}

impl Plan {
    /// With the CRL of this authority.
    pub fn of(self, authority: u64) -> Self {
        Self { authority: Some(authority), ..self }
    }
}

/// A place for one kind of file.
#[derive(Clone)]
pub struct Place {
    /// The kind.
    pub what: FileType,
    /// The directory.
    pub url: FileUrl,
    /// As whom.
    pub login: Option<Login>,
    /// Whether these are copies, for everybody to read.
    pub copy: bool,
}

/// Writes the files of one server until it is dropped.
pub struct Publisher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    label: String,
    store: Arc<dyn Store>,
    gate: Arc<Gate>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    plan: Option<Plan>,
    /// Whether something may have to be written.
    wanted: bool,
    /// Whether somebody waits for it.
    urgent: bool,
    /// Until when files are still written, once no more are wanted.
    stopping: Option<Instant>,
    /// Whether the thread has ended.
    stopped: bool,
    /// Plans there have been: a round ends early when its plan is not the last.
    plans: u64,
    /// Rounds begun and ended.
    begun: u64,
    ended: u64,
    /// Whether the last round has left something for the next.
    unfinished: bool,
    failures: BTreeMap<String, Failure>,
}

/// What [`Publisher::settle`] waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Everything was tried.
    Tried,
    /// It takes longer.
    StillWriting,
}

#[derive(Clone)]
struct Failure {
    error: String,
    tries: u32,
    again: Instant,
}

/// What is tried at one time.
struct Round {
    plan: Plan,
    /// How many plans there had been.
    plans: u64,
    /// What could not be written before.
    waiting: BTreeMap<String, Failure>,
}

/// Places by their key.
type Tried = Vec<(String, Result<(), WriteError>)>;

/// How far a place was brought.
enum Progress {
    Done,
    More,
}

impl Publisher {
    /// One that has nothing to do yet.
    pub fn start(label: &str, store: Arc<dyn Store>, gate: Arc<Gate>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            label: label.to_owned(),
            store,
            gate,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let thread = thread::Builder::new().name(format!("files {label}")).spawn({
            let shared = shared.clone();
            move || {
                shared.run();
                shared.state().stopped = true;
                shared.changed.notify_all();
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Writes by this plan from now on; `None` for not at all.
    pub fn plan(&self, plan: Option<Plan>) {
        let mut state = self.shared.state();
        match &plan {
            Some(plan) => state.failures.retain(|key, _| plan.places.iter().any(|place| place.key() == *key)),
            None => state.failures.clear(),
        }
        // Whatever has been waited for may have changed with it.
        state.failures.values_mut().for_each(|failure| failure.again = Instant::now());
        state.plan = plan;
        state.plans += 1;
        state.wanted = true;
        state.urgent = true;
        self.shared.tell_gate(&state);
        self.shared.changed.notify_all();
    }

    /// Writes nothing from now on, and waits for the file that is being written, [`PATIENCE`] at most: no mark is
    /// set afterwards.
    pub fn stop(&self) {
        self.plan(None);
        let writes = |state: &mut State| state.ended < state.begun;
        let waited = self.shared.changed.wait_timeout_while(self.shared.state(), PATIENCE, writes);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Something may have to be written. Cheap: what comes in quick succession is written together.
    pub fn wake(&self) {
        let mut state = self.shared.state();
        if !std::mem::replace(&mut state.wanted, true) {
            self.shared.changed.notify_all();
        }
    }

    /// Waits until everything of now was tried once, [`PATIENCE`] at most; returns what could not be written.
    pub fn settle(&self) -> Result<Settled, String> {
        let (state, settled) = self.settled(PATIENCE);
        self.shared.trouble(&state).map_or(Ok(settled), Err)
    }

    /// Waits until everything of now was tried once, but not for slow places: what an operator has done is in
    /// the files when the command is.
    pub fn hurry(&self) {
        drop(self.settled(SHORT_PATIENCE));
    }

    fn settled(&self, patience: Duration) -> (MutexGuard<'_, State>, Settled) {
        let mut state = self.shared.state();
        state.wanted = true;
        state.urgent = true;
        self.shared.changed.notify_all();
        let round = state.begun + 1;
        let waits = |state: &mut State| {
            (state.ended < round || state.unfinished) && state.stopping.is_none() && state.plan.is_some()
        };
        let waited = self.shared.changed.wait_timeout_while(state, patience, waits);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        match waited.timed_out() {
            true => (state, Settled::StillWriting),
            false => (state, Settled::Tried),
        }
    }

    /// Forgets what was written: everything is written again, now, and at places that were waited for too.
    pub fn begin_anew(&self) -> Result<(), StoreError> {
        let plan = {
            let mut state = self.shared.state();
            state.failures.values_mut().for_each(|failure| failure.again = Instant::now());
            state.plan.clone()
        };
        for place in plan.into_iter().flat_map(|plan| plan.places) {
            let beginning = match place.what {
                FileType::Cnm | FileType::Crt => Some("0"),
                _ => None,
            };
            self.shared.store.set_mark(&self.shared.scope(), &place.key(), beginning)?;
        }
        Ok(())
    }

    /// What cannot be written, in words.
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble(&self.shared.state())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.stopping = Some(Instant::now() + PATIENCE);
        self.shared.changed.notify_all();
        let runs = |state: &mut State| !state.stopped;
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, runs);
        let stopped = waited.unwrap_or_else(PoisonError::into_inner).0.stopped;
        if let Some(thread) = self.thread.take().filter(|thread| stopped || thread.is_finished()) {
            // A panic there was shown when it happened.
            let _ = thread.join();
        }
        // Else it waits for a server, and notes nothing any more when that answers.
    }
}

impl State {
    /// Whether the time for what is still to be written at the end is over.
    fn is_late(&self) -> bool {
        self.stopping.is_some_and(|until| Instant::now() >= until)
    }

    /// When the next round is due, after one that ended at `last`.
    fn next(&self, last: Option<Instant>, now: Instant) -> Option<Instant> {
        self.plan.as_ref()?;
        let again = self.failures.values().map(|failure| failure.again).min();
        let wanted = match (self.wanted, self.urgent, last) {
            (true, false, Some(last)) => Some(last + GATHER),
            (true, ..) => Some(now),
            (false, ..) => None,
        };
        again.into_iter().chain(wanted).min()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.state();
        let mut last = None;
        while state.stopping.is_none() {
            let now = Instant::now();
            let next = state.next(last, now);
            let plan = match next {
                Some(next) if next <= now => state.plan.clone(),
                _ => None,
            };
            let Some(plan) = plan else {
                let wait = next.map_or(IDLE, |next| next.saturating_duration_since(now));
                state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            };
            state = self.attempt(state, plan);
            last = Some(Instant::now());
        }
        // A process that ends, one that did a single command too, leaves its files up to date.
        while let Some(plan) = state.plan.clone().filter(|_| state.wanted && !state.is_late()) {
            state = self.attempt(state, plan);
        }
    }

    fn attempt<'s>(&'s self, mut state: MutexGuard<'s, State>, plan: Plan) -> MutexGuard<'s, State> {
        (state.wanted, state.urgent) = (false, false);
        state.begun += 1;
        let round = Round { plan, plans: state.plans, waiting: state.failures.clone() };
        drop(state);
        let (tried, unfinished) = self.round(&round);
        state = self.state();
        state.ended = state.begun;
        state.unfinished = unfinished;
        state.wanted |= unfinished;
        state.urgent |= unfinished;
        self.judge(&mut state, tried);
        self.changed.notify_all();
        state
    }

    /// Brings every place up to date that is not waiting for another try. Also returns whether there is more to
    /// be written.
    fn round(&self, round: &Round) -> (Tried, bool) {
        let now = Instant::now();
        let mut places: Vec<_> = round.plan.places.iter().collect();
        // What is fast is not kept waiting by what is not.
        places.sort_by_key(|place| place.url.is_remote());
        let due = |place: &&Place| round.waiting.get(&place.key()).is_none_or(|failure| failure.again <= now);
        let mut tried = Vec::new();
        let mut unfinished = false;
        for place in places.into_iter().filter(due) {
            // Another plan came in between: what it wants is still to be written, whoever waits.
            if !self.is_current(round) {
                return (tried, true);
            }
            match self.bring_up(round, place) {
                _ if !self.is_current(round) => return (tried, true),
                Ok(Progress::Done) => tried.push((place.key(), Ok(()))),
                Ok(Progress::More) => {
                    unfinished = true;
                    tried.push((place.key(), Ok(())));
                }
                Err(error) => tried.push((place.key(), Err(error))),
            }
        }
        if let Err(error) = self.store.set_mark(&self.scope(), FOUNDED, Some("yes")) {
            tracing::warn!(server = self.label, %error, "it could not be recorded that files are written");
        }
        (tried, unfinished)
    }

    /// Whether the plan of this round is still that of the server.
    fn is_current(&self, round: &Round) -> bool {
        let state = self.state();
        !state.is_late() && state.plans == round.plans
    }

    fn judge(&self, state: &mut State, tried: Tried) {
        for (key, result) in tried {
            let planned = state.plan.as_ref().is_some_and(|plan| plan.places.iter().any(|p| p.key() == key));
            match result {
                Err(error) if planned => {
                    let tries = state.failures.get(&key).map_or(0, |failure| failure.tries) + 1;
                    let pause = (FIRST_PAUSE * 2u32.saturating_pow(tries - 1)).min(LONGEST_PAUSE);
                    let error = chain(&error);
                    tracing::error!(
                        server = self.label,
                        place = key,
                        error,
                        again = pause.as_secs(),
                        tries,
                        "a file could not be written; no certificate is issued meanwhile"
                    );
                    state.failures.insert(key, Failure { error, tries, again: Instant::now() + pause });
                }
                _ => {
                    if state.failures.remove(&key).is_some() {
                        tracing::info!(server = self.label, place = key, "the files can be written again");
                    }
                }
            }
        }
        self.tell_gate(state);
    }

    fn tell_gate(&self, state: &State) {
        match self.trouble(state) {
            Some(trouble) => self.gate.suspend(trouble),
            None => self.gate.resume(),
        }
    }

    fn trouble(&self, state: &State) -> Option<String> {
        let all: Vec<_> = state.failures.values().map(|failure| failure.error.as_str()).collect();
        (!all.is_empty()).then(|| all.join("\n"))
    }

    fn bring_up(&self, round: &Round, place: &Place) -> Result<Progress, WriteError> {
        match place.what {
            FileType::Ser => self.serial(round, place)?,
            FileType::Crl => self.crl(round, place)?,
            FileType::Cnm | FileType::Crt => return self.certificates(round, place),
            // Written once, when the CA is made.
            FileType::P12 | FileType::Pem => {}
        }
        Ok(Progress::Done)
    }

    fn serial(&self, round: &Round, place: &Place) -> Result<(), WriteError> {
        let Some(last) = self.store.last_serial(&self.label)? else { return Ok(()) };
        self.unless_done(round, place, &last.to_string(), || {
            tracing::debug!(target: "CRYPTO_CS", "serial number {last} written.");
            let name = FileName::Ser(self.label.clone());
            self.write(&round.plan, place, &name, ios::write_ser(&last).as_bytes())
        })
    }

    fn crl(&self, round: &Round, place: &Place) -> Result<(), WriteError> {
        let Some(authority) = round.plan.authority else { return Ok(()) };
        let Some(facts) = self.store.crl_facts(&self.label, authority)? else { return Ok(()) };
        self.unless_done(round, place, &format!("{authority} {}", facts.number), || {
            let Some(crl) = self.store.crl(&self.label, authority)? else { return Ok(()) };
            let name = FileName::Crl(self.label.clone());
            let url = place.url.join(&name.to_string());
            tracing::debug!(target: "CRYPTO_CS", "Publishing {} bytes to crl file {url}", crl.der.len());
            self.write(&round.plan, place, &name, &crl.der)
        })
    }

    /// Not all of them at once where that takes long: a CRL may wait.
    fn certificates(&self, round: &Round, place: &Place) -> Result<Progress, WriteError> {
        let mut done = match self.mark(place)? {
            Some(done) => done.parse().unwrap_or(0),
            // A place that is new to a server with certificates begins with the next one, as on IOS.
            None => self.first_of(place)?,
        };
        let until = Instant::now() + SHARE;
        loop {
            let page = self.store.kept_after(&self.label, done, PAGE)?;
            if page.is_empty() {
                return Ok(Progress::Done);
            }
            let before = done;
            for (number, certificate) in &page {
                let late = done > before && Instant::now() >= until;
                if late || !self.is_current(round) {
                    break;
                }
                let (name, octets) = content(place.what, certificate);
                self.write(&round.plan, place, &name, &octets)?;
                done = *number;
            }
            if !self.is_current(round) {
                return Ok(Progress::More);
            }
            self.set_mark(place, &done.to_string())?;
            if Instant::now() >= until {
                return Ok(Progress::More);
            }
        }
    }

    fn first_of(&self, place: &Place) -> Result<u64, WriteError> {
        let founded = self.store.mark(&self.scope(), FOUNDED)?.is_some();
        let first = if founded { self.store.kept_last(&self.label)? } else { 0 };
        self.set_mark(place, &first.to_string())?;
        Ok(first)
    }

    fn unless_done(
        &self,
        round: &Round,
        place: &Place,
        state: &str,
        write: impl FnOnce() -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        if self.mark(place)?.as_deref() == Some(state) {
            return Ok(());
        }
        write()?;
        match self.is_current(round) {
            true => self.set_mark(place, state),
            // The server may be gone, and another have its name.
            false => Ok(()),
        }
    }

    fn write(&self, plan: &Plan, place: &Place, name: &FileName, octets: &[u8]) -> Result<(), WriteError> {
        let (url, login) = (place.url.join(&name.to_string()), place.login.as_ref());
        match place.copy {
            true => plan.files.publish(&url, octets, login)?,
            false => plan.files.write(&url, octets, login)?,
        }
        Ok(())
    }

    fn mark(&self, place: &Place) -> Result<Option<String>, StoreError> {
        self.store.mark(&self.scope(), &place.key())
    }

    fn set_mark(&self, place: &Place, value: &str) -> Result<(), WriteError> {
        Ok(self.store.set_mark(&self.scope(), &place.key(), Some(value))?)
    }

    fn scope(&self) -> String {
        format!("server {}", self.label)
    }
}

impl Place {
    /// Names it in the database: kind and directory.
    fn key(&self) -> String {
        format!("{} {}", self.what.extension(), self.url)
    }
}

/// Name and octets of a certificate's file.
fn content(what: FileType, certificate: &store::Certificate) -> (FileName, Vec<u8>) {
    let serial = certificate.serial.clone();
    match what {
        FileType::Crt => (FileName::Crt(serial), certificate.der.clone()),
        _ => {
            let cnm = Cnm::new(&certificate.subject, certificate.not_after);
            (FileName::Cnm(serial), cnm.write().into_bytes())
        }
    }
}

/// The kinds of files written to storage at a database level.
pub fn kinds(level: DatabaseLevel) -> &'static [FileType] {
    match level {
        DatabaseLevel::Minimum => &[FileType::Ser, FileType::Crl],
        DatabaseLevel::Names => &[FileType::Ser, FileType::Crl, FileType::Cnm],
        DatabaseLevel::Complete => &[FileType::Ser, FileType::Crl, FileType::Cnm, FileType::Crt],
    }
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Set once a server has written its files for the first time.
const FOUNDED: &str = "files founded";
/// How long a change of the configuration, or the end of the process, waits for files. A TFTP server that is
/// not there is given up a little earlier.
const PATIENCE: Duration = Duration::from_secs(12);
/// For how long certificates are written to one place before the others have their turn.
const SHARE: Duration = Duration::from_secs(5);
/// Certificates read at a time.
const PAGE: usize = 100;
/// Between the first failure and the second try; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Between tries at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Between two rounds that nobody waits for: what comes meanwhile is written together.
const GATHER: Duration = Duration::from_millis(200);
/// How long an operator waits for files that a command has changed.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);
/// Without a failure nothing is waited for but a wake.
const IDLE: Duration = Duration::from_secs(3600);
