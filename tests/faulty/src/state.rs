//! What this process knows: the plan that stands, what has been seen of the token, its sessions.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use cryptoki_sys::*;

use crate::objects::Objects;
use crate::plan::{Action, Plan, Traits};
use crate::shared::shared;
use crate::slots;

/// The generation at which nothing is to be done but forwarding.
static PLAIN: AtomicU64 = AtomicU64::new(u64::MAX);

/// Session handles have the age of the token in these bits, so that none of before is valid by chance. The real
/// module must leave them zero; SoftHSM counts from 1. At the first age, 0, handles are the real ones.
const AGE_SHIFT: u32 = 40;
const AGE_MASK: u64 = 0xffff;

#[derive(Default)]
pub struct State {
    generation: u64,
    removals: u64,
    pub plan: Arc<Plan>,
    /// How often all handles became invalid.
    age: u64,
    initialised: bool,
    pub need_finalize: bool,
    pub stale_login: bool,
    pub sessions: HashMap<CK_SESSION_HANDLE, Session>,
    pub objects: Objects,
    /// The PIN of the last login, for CKU_CONTEXT_SPECIFIC.
    pub pin: Option<Vec<u8>>,
    /// Actions without a call that have happened here.
    applied: HashSet<usize>,
    /// Where calls are written down.
    pub trace: Option<Arc<File>>,
}

#[derive(Default)]
pub struct Session {
    pub poisoned: bool,
    pub operation: Option<Operation>,
}

/// Of a private key.
#[derive(Clone, Copy)]
pub struct Operation {
    pub mechanism: CK_MECHANISM_TYPE,
    /// C_Login(CKU_CONTEXT_SPECIFIC) has happened.
    pub authenticated: bool,
}

/// Whether a call only needs to be forwarded.
#[inline]
pub fn plain() -> bool {
    shared().generation() == PLAIN.load(Ordering::Acquire)
}

pub fn state() -> MutexGuard<'static, State> {
    static STATE: OnceLock<Mutex<State>> = OnceLock::new();
    STATE.get_or_init(|| Mutex::new(State::new())).lock().expect("a panic ends the process")
}

/// Reads the plan for the first time.
pub fn start() {
    state().settle();
}

impl State {
    fn new() -> Self {
        let mut state = Self { removals: shared().removals().load(Ordering::SeqCst), ..Self::default() };
        state.load(shared().generation());
        // What the plan says about the past is not this process's past.
        (state.stale_login, state.need_finalize) = (false, false);
        state
    }

    /// Catches up with the plan and the token.
    pub fn refresh(&mut self) {
        let generation = shared().generation();
        if generation != self.generation {
            self.load(generation);
        }
        let removals = shared().removals().load(Ordering::SeqCst);
        if removals != self.removals {
            self.removals = removals;
            slots::close_all_sessions();
            self.all_is_new();
        }
    }

    /// All handles given out before are invalid.
    fn all_is_new(&mut self) {
        self.age += 1;
        self.sessions.clear();
        self.objects.all_is_new();
    }

    fn load(&mut self, generation: u64) {
        self.generation = generation;
        let Some(dir) = &shared().dir else { return };
        let text = fs::read_to_string(dir.join("plan")).unwrap_or_default();
        self.plan = Arc::new(Plan::read(&text));
        let trace = dir.join("trace").exists();
        self.trace = trace.then(|| {
            let file = File::options().append(true).create(true).open(dir.join("calls"));
            Arc::new(file.expect("the list of calls"))
        });
        let plan = self.plan.clone();
        for (number, action) in plan.at_once() {
            if self.applied.insert(number) {
                self.happens(action);
            }
        }
    }

    /// An action that changes what is so from now on.
    pub fn happens(&mut self, action: &Action) {
        match action {
            Action::StaleLogin => self.stale_login = true,
            Action::NeedFinalize => self.need_finalize = true,
            _ => {}
        }
    }

    /// Decides whether the next calls are only forwarded.
    pub fn settle(&self) {
        let plan = &self.plan;
        let plain = plan.rules.is_empty()
            && plan.traits == Traits::default()
            && self.trace.is_none()
            && self.age == 0
            && !self.need_finalize
            && !self.stale_login
            && self.sessions.values().all(|session| !session.poisoned);
        PLAIN.store(if plain { self.generation } else { u64::MAX }, Ordering::Release);
    }

    pub fn initialised(&mut self) {
        if std::mem::replace(&mut self.initialised, true) {
            self.all_is_new();
        }
    }

    pub fn finalised(&mut self) {
        self.sessions.clear();
        (self.stale_login, self.need_finalize) = (false, false);
    }

    /// The handle that a caller gets.
    pub fn outer_session(&self, real: CK_SESSION_HANDLE) -> CK_SESSION_HANDLE {
        real ^ ((self.age & AGE_MASK) << AGE_SHIFT)
    }

    /// The real handle, if the caller's is of now.
    pub fn real_session(&self, outer: CK_SESSION_HANDLE) -> Option<CK_SESSION_HANDLE> {
        let of_now = (outer >> AGE_SHIFT) & AGE_MASK == self.age & AGE_MASK;
        of_now.then(|| self.outer_session(outer))
    }
}
