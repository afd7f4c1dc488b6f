//! A worker's connection to its token, and the first steps of recovery.
//!
//! What is tried when an operation fails because its session, a handle, the login or the device is gone
//! ([`Problem::is_loss`]), in this order; each step ends with the operation being tried again:
//!
//! 1. The session is closed, and a new one opened on the slot that the token is in by then, logged in if
//!    need be; the key is found again and its public half compared.
//! 2. The module is initialised again, with everybody outside, and step 1 follows. At most once a second,
//!    and once in ten while that does not help ([`Gate`](super::gate::Gate)); not for what a module would
//!    say after that too.
//!
//! Then the caller has the error, and the next request begins anew: nothing has to be restarted when the
//! token is back. A call that never returns from the module is not ended by anybody. PIN errors end all
//! this at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};

use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState};
use cryptoki::slot::TokenInfo;

use super::config::Selector;
use super::counters::Cells;
use super::error::Problem;
use super::mechanism::Capabilities;
use super::module::{self, Module};
use super::object::{self, KeyInfo};
use super::pin::PinCare;
use super::profile::Profile;

/// What all workers of a token share.
pub(super) struct Link {
    pub name: String,
    pub profile: Profile,
    pub module: Arc<Module>,
    pub selector: Selector,
    pub pin: PinCare,
    pub capabilities: Capabilities,
    pub counters: Cells,
    /// Counts changes of the token's objects by us: handles found before a change are not used after
    /// it, since a token may give a handle to another object.
    pub changes: AtomicU64,
}

impl Link {
    /// Held while a key is made or deleted: nobody else does, or looks for keys, in the whole module.
    /// Keys that were found before are used all the same. `None` where the profile needs none of this.
    pub fn change_objects(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        let wait = || self.module.objects.write().unwrap_or_else(PoisonError::into_inner);
        self.profile.keygen().serialize.then(wait)
    }

    /// Held while keys are looked for.
    pub fn read_objects(&self) -> Option<RwLockReadGuard<'_, ()>> {
        let wait = || self.module.objects.read().unwrap_or_else(PoisonError::into_inner);
        self.profile.keygen().serialize.then(wait)
    }
}

/// One worker's session, opened when it is needed.
pub(super) struct Connection {
    pub link: Arc<Link>,
    open: Option<Open>,
}

/// An open, logged-in session, and the handles of keys found through it. Finding a key costs more than
/// a P-256 signature, so handles are kept.
pub(super) struct Open {
    pub context: Pkcs11,
    pub session: Session,
    handles: HashMap<[u8; 32], ObjectHandle>,
    changes: u64,
    generation: u64,
}

impl Connection {
    pub fn new(link: Arc<Link>) -> Self {
        Self { link, open: None }
    }

    /// Runs `operation`, and again after each step of recovery.
    pub fn run<T>(
        &mut self,
        mut operation: impl FnMut(&Link, &mut Open) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let problem = match self.once(&mut operation) {
            Err(problem) if problem.is_loss() => problem,
            other => return other,
        };
        tracing::warn!(token = self.link.name, %problem, "trying again with a new session");
        let generation = self.link.module.generation();
        let problem = match self.once(&mut operation) {
            Err(problem) if problem.is_absence() && self.link.profile.reinitialise() => problem,
            other => return other,
        };
        match self.link.module.reinitialise(generation) {
            Some(Ok(())) => {
                let result = self.once(operation);
                if result.is_ok() {
                    self.link.module.well();
                }
                result
            }
            Some(Err(problem)) => Err(problem),
            None => Err(problem),
        }
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
        self.open = self.open.take().filter(|open| open.generation == pass.generation);
        let result = match &mut self.open {
            Some(open) => operation(&link, open),
            None => operation(&link, self.open.insert(Open::new(&link, context, pass.generation)?)),
        };
        if let Err(problem) = &result
            && (problem.is_loss()
                || matches!(problem, Problem::Call(_)) && link.profile.close_session_on_error())
            && let Some(open) = self.open.take()
        {
            let _ = open.session.close();
        }
        result
    }

    /// Replaces the session by a new one, opened before the old one is closed: the login goes with the
    /// last session.
    pub fn renew(&mut self) {
        let link = Arc::clone(&self.link);
        let (context, pass) = link.module.enter();
        let Some(old) = self.open.take().filter(|open| open.generation == pass.generation) else { return };
        self.open = Open::new(&link, context, pass.generation).ok();
        let _ = old.session.close();
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let (_, pass) = self.link.module.enter();
        if open.generation == pass.generation {
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
    fn new(link: &Link, context: &Pkcs11, generation: u64) -> Result<Self, Problem> {
        let changes = link.changes.load(Ordering::Acquire);
        let slot = module::find_token(context, &link.selector, &link.profile)?;
        let session = context.open_rw_session_no_drop(slot)?;
        if let Err(problem) = login(link, &session, context.get_token_info(slot).ok().as_ref()) {
            let _ = session.close();
            return Err(problem);
        }
        Ok(Self { context: context.clone(), session, handles: HashMap::new(), changes, generation })
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
        let mut template = vec![
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Token(true),
            Attribute::Label(key.label.as_bytes().to_vec()),
        ];
        if !key.id.is_empty() {
            template.push(Attribute::Id(key.id.clone()));
        }
        let _guard = link.read_objects();
        for handle in self.session.find_objects(&template)? {
            let found = object::read(&self.session, handle, &link.profile)?;
            if found.is_some_and(|found| found.public_key == key.public_key) {
                self.handles.insert(fingerprint, handle);
                return Ok(handle);
            }
        }
        Err(Problem::KeyGone { label: key.label.clone() })
    }
}

/// The login belongs to the application: one session's is everybody's.
fn login(link: &Link, session: &Session, info: Option<&TokenInfo>) -> Result<(), Problem> {
    match session.get_session_info().map(|info| info.session_state()) {
        Ok(SessionState::RwUser | SessionState::RoUser) => Ok(()),
        _ => link.pin.login(session, info),
    }
}
