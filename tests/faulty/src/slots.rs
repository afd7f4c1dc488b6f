//! Slots, tokens, sessions and logins.

use std::ffi::c_void;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::calls::Context;
use crate::real::{must, real};
use crate::state::state;

/// C_GetSlotList.
pub unsafe fn list(
    context: &Context,
    present: CK_BBOOL,
    slots: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    if context.vanished && present == CK_TRUE && !count.is_null() {
        // SAFETY: not null, and the caller's.
        unsafe { *count = 0 };
        return CKR_OK;
    }
    // SAFETY: the caller's arguments.
    let rv = unsafe { must!(C_GetSlotList)(present, slots, count) };
    if rv == CKR_OK && !slots.is_null() {
        // SAFETY: the real module has written so many.
        let slots = unsafe { std::slice::from_raw_parts_mut(slots, *count as usize) };
        slots.iter_mut().for_each(|slot| *slot += context.plan.traits.slot_offset);
    }
    rv
}

/// C_GetSlotInfo.
pub unsafe fn info(context: &Context, slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    // SAFETY: the caller's arguments.
    let rv = unsafe { must!(C_GetSlotInfo)(slot, info) };
    if rv == CKR_OK && context.vanished {
        // SAFETY: the real module has written it.
        unsafe { (*info).flags &= !CKF_TOKEN_PRESENT };
    }
    rv
}

/// C_GetTokenInfo.
pub unsafe fn token_info(context: &Context, slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    // SAFETY: the caller's arguments.
    let rv = unsafe { must!(C_GetTokenInfo)(slot, info) };
    if rv == CKR_OK {
        // SAFETY: the real module has written it.
        unsafe { (*info).flags |= context.plan.traits.token_flags };
    }
    rv
}

/// C_OpenSession.
pub unsafe fn open_session(
    context: &Context,
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    if context.plan.traits.no_read_only && flags & CKF_RW_SESSION == 0 {
        return CKR_FUNCTION_FAILED;
    }
    // SAFETY: the caller's arguments.
    let rv = unsafe { must!(C_OpenSession)(slot, flags, application, notify, session) };
    if rv == CKR_OK {
        // SAFETY: the real module has written it.
        unsafe { *session = state().outer_session(*session) };
    }
    rv
}

/// C_GetSessionInfo.
pub unsafe fn session_info(
    context: &Context,
    session: CK_SESSION_HANDLE,
    info: *mut CK_SESSION_INFO,
) -> CK_RV {
    // SAFETY: the caller's arguments.
    let rv = unsafe { must!(C_GetSessionInfo)(session, info) };
    if rv == CKR_OK {
        // SAFETY: the real module has written it.
        unsafe { (*info).slotID += context.plan.traits.slot_offset };
    }
    rv
}

/// C_WaitForSlotEvent.
pub unsafe fn wait(
    context: &Context,
    flags: CK_FLAGS,
    slot: *mut CK_SLOT_ID,
    reserved: *mut c_void,
) -> CK_RV {
    // SAFETY: the caller's arguments.
    let rv = unsafe { must!(C_WaitForSlotEvent)(flags, slot, reserved) };
    if rv == CKR_OK {
        // SAFETY: the real module has written it.
        unsafe { *slot += context.plan.traits.slot_offset };
    }
    rv
}

/// C_Login.
pub unsafe fn login(
    context: &Context,
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    len: CK_ULONG,
) -> CK_RV {
    let typed: &[u8] = match pin.is_null() {
        true => &[],
        // SAFETY: the caller's PIN and its length.
        false => unsafe { std::slice::from_raw_parts(pin, len as usize) },
    };
    let (mut pin, mut len, mut typed) = (pin, len, typed);
    if let (true, Some(at_pad)) = (pin.is_null(), &context.plan.traits.pad) {
        let Some(at_pad) = at_pad else { return CKR_FUNCTION_CANCELED };
        // The real module does not write to a PIN.
        (pin, len, typed) = (at_pad.as_ptr().cast_mut(), at_pad.len() as CK_ULONG, at_pad);
    }
    if let (Some((new, real)), true) = (&context.plan.traits.pin, user != CKU_SO) {
        if typed != new {
            return CKR_PIN_INCORRECT;
        }
        // The real module does not write to a PIN.
        (pin, len) = (real.as_ptr().cast_mut(), real.len() as CK_ULONG);
    }
    // SAFETY: the caller's arguments, or a PIN of the plan.
    let rv = unsafe { must!(C_Login)(session, user, pin, len) };
    let mut state = state();
    match user {
        // The key does not really ask for it.
        CKU_CONTEXT_SPECIFIC
            if rv == CKR_OPERATION_NOT_INITIALIZED && context.plan.traits.always_authenticate.is_some() =>
        {
            // Unknown where the login was before the plan.
            let right = state.pin.as_ref().is_none_or(|pin| pin == typed);
            let operation = state.sessions.get_mut(&context.outer).and_then(|it| it.operation.as_mut());
            match operation {
                None => rv,
                Some(_) if !right => CKR_PIN_INCORRECT,
                Some(operation) => {
                    operation.authenticated = true;
                    CKR_OK
                }
            }
        }
        // The real login shows private objects, as ykcs11 does.
        CKU_USER if state.stale_login => CKR_USER_ALREADY_LOGGED_IN,
        CKU_USER if rv == CKR_OK => {
            state.pin = Some(typed.to_vec());
            rv
        }
        _ => rv,
    }
}

/// C_Logout.
pub unsafe fn logout(_: &Context, session: CK_SESSION_HANDLE) -> CK_RV {
    // SAFETY: the caller's argument.
    let rv = unsafe { must!(C_Logout)(session) };
    if std::mem::take(&mut state().stale_login) { CKR_OK } else { rv }
}

/// Closes every session of the real module, as the removal of its tokens would.
pub fn close_all_sessions() {
    let (Some(list), Some(close)) = (real().C_GetSlotList, real().C_CloseAllSessions) else { return };
    let mut count = 0;
    // SAFETY: a question for the length.
    if unsafe { list(CK_FALSE, null_mut(), &mut count) } != CKR_OK {
        return;
    }
    let mut slots = vec![0; count as usize];
    // SAFETY: there is room for as many.
    if unsafe { list(CK_FALSE, slots.as_mut_ptr(), &mut count) } == CKR_OK {
        // SAFETY: the module knows which slots are valid.
        slots.iter().take(count as usize).for_each(|slot| unsafe { _ = close(*slot) });
    }
}
