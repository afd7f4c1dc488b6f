//! A worker's connection to its token, and the first steps of recovery.
//!
//! An operation that fails because its session, a handle, the login or the device is gone
//! ([`Problem::is_loss`]) closes the session; a new one is opened on the slot that the token is in by
//! then, logged in if need be, the key is found again, and the operation is tried once more. That is
//! all: a module that has to be initialised again, waits that grow between tries, and calls that never
//! return are not handled. [`Connection::run`] is the place where further steps belong.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState};

use super::config::Selector;
use super::counters::Cells;
use super::error::Problem;
use super::mechanism::Capabilities;
use super::module::Module;
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

/// One worker's session, opened when it is needed.
pub(super) struct Connection {
    pub link: Arc<Link>,
    open: Option<Open>,
}

/// An open, logged-in session, and the handles of keys found through it. Finding a key costs more than
/// a P-256 signature, so handles are kept.
pub(super) struct Open {
    pub session: Session,
    handles: HashMap<[u8; 32], ObjectHandle>,
    changes: u64,
}

impl Connection {
    pub fn new(link: Arc<Link>) -> Self {
        Self { link, open: None }
    }

    /// Runs `operation`, and once more with a new session if the first was lost.
    pub fn run<T>(
        &mut self,
        mut operation: impl FnMut(&Link, &mut Open) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        match self.once(&mut operation) {
            Err(problem) if problem.is_loss() => {
                tracing::warn!(token = self.link.name, %problem, "trying once more with a new session");
                self.once(operation)
            }
            other => other,
        }
    }

    /// Runs `operation` once. After a failure the session is closed where it may be the cause, or may
    /// have kept the operation active.
    pub fn once<T>(
        &mut self,
        operation: impl FnOnce(&Link, &mut Open) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let result = match &mut self.open {
            Some(open) => operation(&self.link, open),
            None => operation(&self.link, self.open.insert(Open::new(&self.link)?)),
        };
        if let Err(problem) = &result
            && (problem.is_loss()
                || matches!(problem, Problem::Call(_)) && self.link.profile.close_session_on_error())
        {
            self.close();
        }
        result
    }

    /// Closes the session.
    pub fn close(&mut self) {
        self.open = None;
    }
}

impl Open {
    fn new(link: &Link) -> Result<Self, Problem> {
        let changes = link.changes.load(Ordering::Acquire);
        let slot = link.module.find_token(&link.selector, &link.profile)?;
        let session = link.module.context.open_rw_session(slot)?;
        // The login belongs to the application: one session's is everybody's.
        let state = session.get_session_info().map(|info| info.session_state());
        if !matches!(state, Ok(SessionState::RwUser | SessionState::RoUser)) {
            link.pin.login(&session, link.module.context.get_token_info(slot).ok().as_ref())?;
        }
        Ok(Self { session, handles: HashMap::new(), changes })
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
