//! A worker's connection to its token, and the ladder of recovery.
//!
//! When an operation fails because its session, a handle, the login or the device is gone
//! ([`Problem::is_loss`]), these are tried in this order, until a key on the token makes a signature that
//! verifies: what modules say of sessions and tokens that are gone is not to be believed.
//!
//! 1. The session is closed, and a new one opened on the slot that the token is in by then, logged in if
//!    need be; keys are found again and their public halves compared.
//! 2. With everybody outside, the user is logged out, all sessions of the token are closed, and step 1 follows:
//!    some modules say that the user is logged in when the token no longer thinks so.
//! 3. With everybody outside, the module is initialised again ([`Gate`](super::gate::Gate)), and step 1
//!    follows; not for what a module would say after that too.
//!
//! Then the operation is tried once more. Where no step helps, the token is offline
//! ([`Health`](super::health::Health)), and nobody waits for it but one try now and then: nothing has to be
//! restarted when it is back. PIN errors end all this at once.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::object::{Attribute, ObjectClass};
use parking_lot::{RwLockReadGuard, RwLockWriteGuard};

use crate::pki::KeyErrorKind;

use super::config::Selector;
use super::counters::Cells;
use super::error::Problem;
use super::health::Health;
use super::mechanism::Capabilities;
use super::module::{self, Module};
use super::object::{self, KeyInfo};
use super::pin::{PinCare, Turn};
use super::places::Places;
use super::profile::{ContextLogin, Profile};
use super::signing;
use super::sys::{Context, Entry, ObjectHandle, Session, TokenInfo};

/// What all workers of a token share.
pub(super) struct Link {
    pub name: String,
    pub profile: Profile,
    /// Whether the profile was chosen by what the module says of itself.
    pub recognised: bool,
    pub module: Arc<Module>,
    pub selector: Selector,
    pub pin: PinCare,
    /// A token that was away for longer is not logged in to by itself.
    pub removal: Option<Duration>,
    /// The security officer's, where it is configured.
    pub officer: Option<PinCare>,
    pub places: Places,
    pub capabilities: Capabilities,
    pub counters: Cells,
    pub health: Health,
    /// Counts the times that all sessions were closed.
    pub epoch: AtomicU64,
    /// The key that was looked for last: its signature is what shows that the token works.
    pub last_key: Mutex<Option<KeyInfo>>,
    /// Keys that turned out to want the PIN each time although their attributes do not say so.
    pub strict: Mutex<HashSet<[u8; 32]>>,
    /// Counts changes of the token's objects by us: handles found before a change are not used after
    /// it, since a token may give a handle to another object.
    pub changes: AtomicU64,
}

impl Link {
    /// The token did not answer.
    pub fn is_away(&self, problem: &Problem) {
        if self.health.is_away(&problem.to_string()) {
            tracing::error!(target: "PKI-3-TOKEN_OFFLINE", "Token {} is offline: {problem}", self.name);
        }
    }

    /// The token answered, unless `problem` came before it was asked.
    fn answered(&self, problem: Option<&Problem>) {
        if problem.is_none_or(|problem| problem.kind() == KeyErrorKind::Refused)
            && let Some(away) = self.health.is_well()
        {
            tracing::info!(
                target: "PKI-6-TOKEN_ONLINE", "Token {} is back after {} s", self.name, away.as_secs()
            );
        }
    }

    /// Takes the PIN away from a token that was away for too long (`removal timeout`).
    fn expire(&self) {
        let Some(limit) = self.removal else { return };
        if self.health.outlasts(limit) {
            self.pin.take_away();
            self.health.note(format!("away for more than {} s: waits for a login", limit.as_secs()));
            tracing::warn!(
                target: "PKI-4-TOKEN_REMOVED",
                "Token {0} was away for more than {1} s: \"crypto pki token {0} login\" uses it again",
                self.name, limit.as_secs()
            );
        }
    }

    /// Runs an operation with a key, with the PIN where the key wants it each time
    /// (`CKA_ALWAYS_AUTHENTICATE`). A key that does not say so is known by its refusal of the operation
    /// itself, and gets it from the next time on; unless the token does not take the login, as then it was the
    /// user's own that had been lost.
    pub fn with_key<T>(
        &self,
        key: &KeyInfo,
        operate: impl Fn(Option<Entry<'_>>) -> cryptoki::error::Result<T>,
    ) -> Result<T, Problem> {
        let fingerprint = || key.public_key.fingerprint();
        if self.wants_pin(key) {
            match self.pin.for_operation(|pin| operate(Some(pin))) {
                Err(problem) if problem.takes_no_login() && self.strict_keys().remove(&fingerprint()) => {}
                done => return done,
            }
        }
        let problem = match operate(None) {
            Ok(done) => return Ok(done),
            Err(error) => Problem::from(error),
        };
        if problem.wants_pin_each_time() && self.profile.context_login() == ContextLogin::Auto {
            self.strict_keys().insert(fingerprint());
            if self.pin.is_typed() {
                // Whoever asks next waits for as long as that takes.
                return Err(Problem::PinPadWaits);
            }
        }
        Err(problem)
    }

    /// Whether the PIN is given for each use of this key.
    pub fn wants_pin(&self, key: &KeyInfo) -> bool {
        match self.profile.context_login() {
            ContextLogin::Never => false,
            ContextLogin::Always => true,
            ContextLogin::Auto => key.always_authenticate || self.is_strict(key),
        }
    }

    fn is_strict(&self, key: &KeyInfo) -> bool {
        let known = self.strict_keys();
        // Most tokens have none, and this is asked for each operation.
        !known.is_empty() && known.contains(&key.public_key.fingerprint())
    }

    fn strict_keys(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.strict.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs out and closes all sessions, with everybody outside. Whether that was possible.
    fn forget_sessions(&self) -> bool {
        let quiet = self.module.quietly(|context| {
            // Sessions of before are nobody's from here on, whatever the module says.
            self.epoch.fetch_add(1, Ordering::AcqRel);
            let slot = module::find_token(context, &self.selector, &self.profile)?;
            // Some take the user for logged in, with or without sessions, until he is logged out.
            if let Ok(session) = context.open_session(slot) {
                let _ = session.logout();
            }
            Ok::<_, Problem>(context.close_all_sessions(slot)?)
        });
        matches!(quiet, Some(Ok(())))
    }

    /// The key with this label is gone: that it does not sign is no sign of a token in trouble.
    pub fn forget(&self, label: &str) {
        let mut last = self.last_key.lock().unwrap_or_else(PoisonError::into_inner);
        last.take_if(|key| key.label == label);
    }

    /// Held while a key is made or deleted: nobody else does, or looks for keys, in the whole module.
    /// Keys that were found before are used all the same. `None` where the profile needs none of this.
    /// [`Problem::Changing`] shortly before the caller stops waiting.
    pub fn change_objects(&self, open: &Open) -> Result<Option<RwLockWriteGuard<'_, ()>>, Problem> {
        let wait = || self.module.objects.try_write_until(open.until).ok_or(Problem::Changing);
        self.profile.keygen().serialize.then(wait).transpose()
    }

    /// Held while keys are looked for. [`Problem::Changing`] shortly before the caller stops waiting.
    pub fn read_objects(&self, open: &Open) -> Result<Option<RwLockReadGuard<'_, ()>>, Problem> {
        let wait = || self.module.objects.try_read_until(open.until).ok_or(Problem::Changing);
        self.profile.keygen().serialize.then(wait).transpose()
    }
}

/// One worker's session, opened when it is needed.
pub(super) struct Connection {
    pub link: Arc<Link>,
    open: Option<Open>,
    /// Who stands at the token's PIN pad, if it has one.
    turn: Option<Turn>,
    /// When whoever waits for the job of now must have heard of it.
    until: Instant,
}

/// An open, logged-in session, and the handles of keys found through it. Finding a key costs more than
/// a P-256 signature, so handles are kept.
pub(super) struct Open {
    pub context: Context,
    pub session: Session,
    handles: HashMap<[u8; 32], ObjectHandle>,
    changes: u64,
    /// As of the connection.
    until: Instant,
    /// The module's generation and the token's epoch in which it was opened. Its number, and those of its
    /// handles, may mean something else in another.
    era: (u64, u64),
}

impl Connection {
    pub fn new(link: Arc<Link>) -> Self {
        Self { link, open: None, turn: None, until: Instant::now() }
    }

    /// The caller of the job that begins stops waiting at `expires`.
    pub fn expires(&mut self, expires: Instant) {
        self.until = expires - LAST_WORDS;
    }

    /// Runs `action` while somebody stands at the token's PIN pad.
    pub fn in_turn_of<T>(&mut self, turn: Turn, action: impl FnOnce(&mut Self) -> T) -> T {
        self.turn = Some(turn);
        let done = action(self);
        self.turn = None;
        done
    }

    /// Runs `operation`, and once more after a recovery that it turned out to need.
    pub fn run<T>(
        &mut self,
        operation: impl FnMut(&Link, &mut Open) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        self.link.health.admit()?;
        self.run_now(operation)
    }

    /// The same for an operator, who does not wait for the try that is due during an outage.
    pub fn run_now<T>(
        &mut self,
        mut operation: impl FnMut(&Link, &mut Open) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let link = Arc::clone(&self.link);
        link.expire();
        let problem = match self.once(&mut operation) {
            Err(problem) if problem.is_loss() => problem,
            other => {
                link.answered(other.as_ref().err());
                return other;
            }
        };
        tracing::warn!(token = link.name, %problem, "recovering");
        if let Err(problem) = self.recover(problem) {
            if problem.is_absence() {
                link.is_away(&problem);
            }
            return Err(problem);
        }
        link.answered(None);
        // A failure now is the operation's own: the token has just shown that it works.
        self.once(operation)
    }

    /// Climbs until the token works.
    fn recover(&mut self, problem: Problem) -> Result<(), Problem> {
        let link = Arc::clone(&self.link);
        let (module, what) = (&link.module, problem.to_string());
        let generation = module.generation();
        let problem = match self.once(probe) {
            Ok(()) => {
                link.counters.sessions.add();
                link.health.note(format!("a new session after {what}"));
                return Ok(());
            }
            Err(problem) if problem.is_loss() => problem,
            Err(problem) => return Err(problem),
        };
        if link.forget_sessions() && self.once(probe).is_ok() {
            link.counters.logins.add();
            link.health.note(format!("a new login after {what}"));
            return Ok(());
        }
        if !problem.is_absence() || !link.profile.reinitialise() {
            return Err(problem);
        }
        match module.reinitialise(generation) {
            Some(Ok(())) => {}
            Some(Err(problem)) => return Err(problem),
            None => return Err(problem),
        }
        self.once(probe)?;
        module.well();
        link.counters.initialisations.add();
        link.health.note(format!("the module was initialised again after {what}"));
        Ok(())
    }

    /// Runs `operation` once. After a failure the session is closed where it may be the cause, or may
    /// have kept the operation active.
    pub fn once<T>(
        &mut self,
        operation: impl FnOnce(&Link, &mut Open) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let link = Arc::clone(&self.link);
        let (context, pass) = link.module.enter();
        // Not closed: its number may be another session's by now.
        let epoch = link.epoch.load(Ordering::Acquire);
        self.open = self.open.take().filter(|open| open.era == (pass.generation, epoch));
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(Open::new(&link, context, (pass.generation, epoch), &mut self.turn)?),
        };
        open.until = self.until;
        let result = operation(&link, open);
        let spoilt = |problem: &Problem| {
            let call = matches!(problem, Problem::Call(_) | Problem::NotTyped(_));
            problem.is_loss() || call && link.profile.close_session_on_error()
        };
        if result.as_ref().is_err_and(spoilt)
            && let Some(old) = self.open.take()
        {
            if link.pin.is_typed() {
                // The login goes with the last session, and nobody is there to type the PIN again.
                self.open = Open::new(&link, context, (pass.generation, epoch), &mut None).ok();
            }
            let _ = old.session.close();
        }
        result
    }

    /// Runs `operation` in a session of the security officer, with everybody outside: on tokens that let
    /// either be logged in, the user is logged out meanwhile. All sessions are opened anew afterwards.
    pub fn as_officer<T>(
        &mut self,
        operation: impl FnOnce(&Link, &Open) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let link = Arc::clone(&self.link);
        let officer = link.officer.as_ref().ok_or(Problem::NoOfficer)?;
        if link.pin.is_typed() {
            return Err(Problem::PinPadOfficer);
        }
        let until = self.until;
        let quiet = link.module.quietly(|context| {
            link.epoch.fetch_add(1, Ordering::AcqRel);
            let slot = module::find_token(context, &link.selector, &link.profile)?;
            context.close_all_sessions(slot)?;
            let session = context.open_session(slot)?;
            // What was opened before is of another era, and so is this.
            let (context, era) = (context.clone(), (0, 0));
            let open = Open { context, session, handles: HashMap::new(), changes: 0, until, era };
            let login = officer.login(&open.session, open.context.token_info(slot).ok().as_ref(), &mut None);
            let done = login
                .map_err(|problem| Problem::Officer(Box::new(problem)))
                .and_then(|()| operation(&link, &open));
            link.changes.fetch_add(1, Ordering::AcqRel);
            let _ = open.session.logout();
            let _ = open.session.close();
            done
        });
        quiet.unwrap_or(Err(Problem::NoRest))
    }

    /// Ends the login of all sessions of the token.
    pub fn log_out(&mut self) {
        let link = Arc::clone(&self.link);
        if !link.forget_sessions() {
            // Somebody stays inside: without this courtesy then. Other sessions lose their login all the same.
            let _ = self.once(|_, open| Ok(open.session.logout()?));
        }
    }

    /// Replaces the session by a new one, opened before the old one is closed: the login goes with the
    /// last session.
    pub fn renew(&mut self) {
        let link = Arc::clone(&self.link);
        let (context, pass) = link.module.enter();
        let era = (pass.generation, link.epoch.load(Ordering::Acquire));
        let Some(old) = self.open.take().filter(|open| open.era == era) else { return };
        self.open = Open::new(&link, context, era, &mut None).ok();
        let _ = old.session.close();
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let (_, pass) = self.link.module.enter();
        if open.era == (pass.generation, self.link.epoch.load(Ordering::Acquire)) {
            let _ = open.session.close();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

impl Open {
    fn new(
        link: &Link,
        context: &Context,
        era: (u64, u64),
        turn: &mut Option<Turn>,
    ) -> Result<Self, Problem> {
        let changes = link.changes.load(Ordering::Acquire);
        let slot = module::find_token(context, &link.selector, &link.profile)?;
        if link.pin.is_taken_away() {
            // Also where the module still says that somebody is logged in.
            return Err(Problem::LoggedOut);
        }
        let session = context.open_session(slot)?;
        let info = match context.token_info(slot) {
            // What it says of its PIN pad must be known.
            Err(error) if link.pin.is_typed() => Err(error.into()),
            other => Ok(other.ok()),
        };
        if let Err(problem) = info.and_then(|info| login(link, &session, info.as_ref(), turn)) {
            let _ = session.close();
            return Err(problem);
        }
        let until = Instant::now();
        Ok(Self { context: context.clone(), session, handles: HashMap::new(), changes, until, era })
    }

    /// The handle of a private key, found by label, `CKA_ID` and public key.
    pub fn handle(&mut self, link: &Link, key: &KeyInfo) -> Result<ObjectHandle, Problem> {
        let changes = link.changes.load(Ordering::Acquire);
        if self.changes != changes {
            self.handles.clear();
            self.changes = changes;
        }
        let fingerprint = key.public_key.fingerprint();
        if let Some(handle) = self.handles.get(&fingerprint) {
            return Ok(*handle);
        }
        *link.last_key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.clone());
        let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(true)];
        if !link.places.are_fixed() {
            template.push(Attribute::Label(key.label.as_bytes().to_vec()));
        }
        if !key.id.is_empty() {
            template.push(Attribute::Id(key.id.clone()));
        }
        let _guard = link.read_objects(self)?;
        for handle in self.session.find_objects(&template)? {
            let found = object::read(link, &self.session, handle)?;
            if found.is_some_and(|found| found.public_key == key.public_key) {
                self.handles.insert(fingerprint, handle);
                return Ok(handle);
            }
        }
        Err(Problem::KeyGone { label: key.label.clone() })
    }
}

/// How long before the caller stops waiting he is told why.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Shows that the token works: the key that was used last signs.
pub(super) fn probe(link: &Link, open: &mut Open) -> Result<(), Problem> {
    let last = link.last_key.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // Nobody is asked at a PIN pad to show that.
    let silent = |key: &KeyInfo| key.usage.sign && !(link.pin.is_typed() && link.wants_pin(key));
    match last.filter(silent) {
        Some(key) => signing::test_in(link, open, &key),
        // Nothing is known to be there but the token itself, which is logged in.
        None => Ok(open.session.is_logged_in().map(|_| ())?),
    }
}

/// The login belongs to the application: one session's is everybody's.
fn login(
    link: &Link,
    session: &Session,
    info: Option<&TokenInfo>,
    turn: &mut Option<Turn>,
) -> Result<(), Problem> {
    match session.is_logged_in() {
        Ok(true) => Ok(()),
        _ => link.pin.login(session, info, turn),
    }
}
