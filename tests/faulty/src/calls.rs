//! One call from entry to return, when there is more to it than forwarding.

use std::cell::Cell;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use cryptoki_sys::*;

use crate::names::rv_name;
use crate::plan::{Action, Plan};
use crate::shared::shared;
use crate::state::{State, state};

/// A call as the caller made it.
#[derive(Default)]
pub struct Call {
    pub function: &'static str,
    pub slot: Option<CK_SLOT_ID>,
    pub session: Option<CK_SESSION_HANDLE>,
    pub object: Option<CK_OBJECT_HANDLE>,
    /// Where the answer goes.
    pub output: Option<(*mut CK_BYTE, *mut CK_ULONG)>,
}

/// What is forwarded, and to what kind of token.
pub struct Context {
    pub function: &'static str,
    pub plan: Arc<Plan>,
    pub vanished: bool,
    /// The real slot and session.
    pub slot: CK_SLOT_ID,
    pub session: CK_SESSION_HANDLE,
    /// The caller's name for the session.
    pub outer: CK_SESSION_HANDLE,
    /// The first real object of the call.
    pub object: Cell<Option<CK_OBJECT_HANDLE>>,
}

/// Calls `forward` as the plan has it, and writes the call down.
pub fn guard(call: &Call, forward: impl FnOnce(&Context) -> CK_RV) -> CK_RV {
    let number = shared().sequence().fetch_add(1, Ordering::SeqCst);
    let rv = answer(call, number, forward);
    let mut state = state();
    state.ends(call, rv);
    state.settle();
    let trace = state.trace.clone();
    drop(state);
    if let Some(mut trace) = trace {
        // One write to a file open for appending: lines of several threads and processes stay whole.
        let _ = trace.write_all(call.line(number, &rv_name(rv)).as_bytes());
    }
    rv
}

fn answer(call: &Call, number: u64, forward: impl FnOnce(&Context) -> CK_RV) -> CK_RV {
    let lies = match faults(call, number) {
        Ok(lies) => lies,
        Err(rv) => {
            // An operation ends with an error, also in the real module, which has to be asked for that.
            if call.output.is_some() && rv != CKR_BUFFER_TOO_SMALL {
                let context = state().context(call);
                if let Ok(context) = context {
                    // Otherwise its length is what there should be room for.
                    if forward(&context) == CKR_OK {
                        call.wipe();
                    }
                }
            }
            return rv;
        }
    };
    let context = state().context(call);
    let context = match context {
        Ok(context) => context,
        Err(rv) => return rv,
    };
    let rv = forward(&context);
    if rv != CKR_OK {
        return rv;
    }
    lies.iter().fold(rv, |rv, lie| call.lie(lie).unwrap_or(rv))
}

/// What the plan does before the real module is asked; returns what it does afterwards, or the answer.
fn faults(call: &Call, number: u64) -> Result<Vec<Action>, CK_RV> {
    'again: loop {
        let (plan, generation, trace) = {
            let mut state = state();
            state.refresh();
            (state.plan.clone(), shared().generation(), state.trace.clone())
        };
        if call.asks_length() {
            return Ok(Vec::new());
        }
        let note = |what: &str| {
            let Some(trace) = &trace else { return };
            let _ = (&**trace).write_all(call.line(number, what).as_bytes());
        };
        let mut lies = Vec::new();
        for action in plan.actions(call.function) {
            match action {
                Action::Return(rv) => return Err(rv),
                Action::Delay(time) => sleep(time),
                Action::Hang => {
                    note("HANG");
                    while shared().generation() == generation {
                        sleep(Duration::from_millis(1));
                    }
                    continue 'again;
                }
                Action::Abort => {
                    note("ABORT");
                    std::process::abort();
                }
                Action::Exit(code) => {
                    note("EXIT");
                    std::process::exit(code);
                }
                Action::Vanish => {}
                Action::StaleLogin | Action::NeedFinalize => state().happens(&action),
                Action::ReturnAfter(_) | Action::Corrupt | Action::WrongLength => lies.push(action),
            }
        }
        // The rules may have pulled the token.
        state().refresh();
        return Ok(lies);
    }
}

impl State {
    /// What stands in the way of a call, or what it is forwarded with.
    fn context(&self, call: &Call) -> Result<Context, CK_RV> {
        let life = matches!(call.function, "C_Initialize" | "C_Finalize");
        if self.need_finalize && !life {
            return Err(CKR_GENERAL_ERROR);
        }
        let vanished = self.plan.vanished();
        if vanished && call.session.is_some() {
            return Err(CKR_DEVICE_REMOVED);
        }
        let absent = matches!(call.function, "C_GetSlotInfo" | "C_CloseAllSessions");
        if vanished && call.slot.is_some() && !absent {
            return Err(CKR_TOKEN_NOT_PRESENT);
        }
        let outer = call.session.unwrap_or_default();
        let session = self.real_session(outer).ok_or(CKR_SESSION_HANDLE_INVALID);
        let session = if call.session.is_some() { session? } else { 0 };
        let poisoned = self.sessions.get(&outer).is_some_and(|session| session.poisoned);
        if poisoned && call.session.is_some() && call.function != "C_CloseSession" {
            return Err(CKR_OPERATION_ACTIVE);
        }
        if self.stale_login && NEEDS_LOGIN.contains(&call.function) {
            return Err(CKR_USER_NOT_LOGGED_IN);
        }
        let slot = match call.slot {
            Some(slot) => slot.checked_sub(self.plan.traits.slot_offset).ok_or(CKR_SLOT_ID_INVALID)?,
            None => 0,
        };
        let (function, plan) = (call.function, self.plan.clone());
        Ok(Context { function, plan, vanished, slot, session, outer, object: Cell::new(None) })
    }

    /// Keeps account of what a call has changed.
    fn ends(&mut self, call: &Call, rv: CK_RV) {
        match (call.function, call.session) {
            ("C_Initialize", _) if rv == CKR_OK => self.initialised(),
            ("C_Finalize", _) if rv == CKR_OK => self.finalised(),
            ("C_CloseAllSessions", _) if rv == CKR_OK => self.sessions.clear(),
            ("C_CloseSession", Some(session)) if rv == CKR_OK => {
                self.sessions.remove(&session);
            }
            ("C_Sign" | "C_SignFinal" | "C_Decrypt" | "C_DecryptFinal", Some(session)) => {
                let goes_on = rv == CKR_BUFFER_TOO_SMALL || (rv == CKR_OK && call.asks_length());
                if goes_on || self.real_session(session).is_none() {
                    return;
                }
                let poison = self.plan.traits.poison && rv != CKR_OK;
                let session = self.sessions.entry(session).or_default();
                session.operation = None;
                session.poisoned |= poison;
            }
            _ => {}
        }
    }
}

impl Call {
    fn asks_length(&self) -> bool {
        self.output.is_some_and(|(out, _)| out.is_null())
    }

    /// Makes a good answer a bad one; returns what to say instead of CKR_OK.
    fn lie(&self, lie: &Action) -> Option<CK_RV> {
        if let Action::ReturnAfter(rv) = lie {
            self.wipe();
            return Some(*rv);
        }
        self.answered(|octets, len| match lie {
            Action::Corrupt => octets.iter_mut().last().into_iter().for_each(|octet| *octet ^= 1),
            Action::WrongLength => *len = len.saturating_sub(1),
            _ => {}
        });
        None
    }

    /// Nobody shall see an answer that there was not.
    fn wipe(&self) {
        self.answered(|octets, _| octets.fill(0));
    }

    /// Does something to the answer in the caller's buffer, if there is one.
    fn answered(&self, change: impl FnOnce(&mut [u8], &mut CK_ULONG)) {
        let Some((out, len)) = self.output else { return };
        if out.is_null() || len.is_null() {
            return;
        }
        // SAFETY: the caller's buffer has at least as many octets as the real module says that it wrote, and
        // both are the module's until the call returns.
        unsafe { change(std::slice::from_raw_parts_mut(out, *len as usize), &mut *len) };
    }

    fn line(&self, number: u64, rv: &str) -> String {
        let or = |handle: Option<CK_ULONG>| handle.map_or("--".to_owned(), |handle| handle.to_string());
        // A question for the length is written down as what it is.
        let length = if self.asks_length() { "?" } else { "" };
        let (session, object, process) = (or(self.session), or(self.object), std::process::id());
        format!("{number} {}{length} {session} {rv} {object} {process}\n", self.function)
    }
}

/// Functions that a stale login keeps from working.
const NEEDS_LOGIN: &[&str] = &[
    "C_SignInit",
    "C_DecryptInit",
    "C_GenerateKey",
    "C_GenerateKeyPair",
    "C_CreateObject",
    "C_CopyObject",
    "C_DestroyObject",
    "C_SetAttributeValue",
    "C_WrapKey",
    "C_UnwrapKey",
];
