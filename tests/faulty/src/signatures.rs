//! What is done with private keys: logins for each use, ECDSA signatures in the form of X9.62.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::calls::Context;
use crate::real::must;
use crate::state::{Operation, state};

/// C_SignInit.
pub unsafe fn sign_init(
    context: &Context,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    // SAFETY: the caller's arguments.
    unsafe { begins(context, mechanism, must!(C_SignInit)(session, mechanism, key)) }
}

/// C_DecryptInit.
pub unsafe fn decrypt_init(
    context: &Context,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    // SAFETY: the caller's arguments.
    unsafe { begins(context, mechanism, must!(C_DecryptInit)(session, mechanism, key)) }
}

/// # Safety
/// `mechanism` is valid if `rv` is CKR_OK.
unsafe fn begins(context: &Context, mechanism: *mut CK_MECHANISM, rv: CK_RV) -> CK_RV {
    if rv == CKR_OK {
        // SAFETY: the real module has accepted it.
        let mechanism = unsafe { (*mechanism).mechanism };
        let operation = Some(Operation { mechanism, authenticated: false });
        state().sessions.entry(context.outer).or_default().operation = operation;
    }
    rv
}

/// C_Sign.
pub unsafe fn sign(
    context: &Context,
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    len: CK_ULONG,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller's arguments.
    let ask = |out, out_len| unsafe { must!(C_Sign)(session, data, len, out, out_len) };
    // SAFETY: as above.
    unsafe { signature(context, out, out_len, ask) }
}

/// C_SignFinal.
pub unsafe fn sign_final(
    context: &Context,
    session: CK_SESSION_HANDLE,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller's arguments.
    let ask = |out, out_len| unsafe { must!(C_SignFinal)(session, out, out_len) };
    // SAFETY: as above.
    unsafe { signature(context, out, out_len, ask) }
}

/// C_Decrypt.
pub unsafe fn decrypt(
    context: &Context,
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    len: CK_ULONG,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller's arguments.
    let ask = |out, out_len| unsafe { must!(C_Decrypt)(session, data, len, out, out_len) };
    if !out.is_null() && unauthenticated(context) {
        return refuse(ask);
    }
    ask(out, out_len)
}

/// # Safety
/// `out` is null or has room for `out_len` octets.
unsafe fn signature(
    context: &Context,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
    ask: impl Fn(*mut CK_BYTE, *mut CK_ULONG) -> CK_RV,
) -> CK_RV {
    if !out.is_null() && unauthenticated(context) {
        return refuse(ask);
    }
    let ecdsa = |it: Operation| (CKM_ECDSA..=CKM_ECDSA_SHA512).contains(&it.mechanism);
    if !context.plan.traits.x962 || !operation(context).is_some_and(ecdsa) || out_len.is_null() {
        return ask(out, out_len);
    }

    let mut raw_len = 0;
    let rv = ask(null_mut(), &mut raw_len);
    if rv != CKR_OK {
        return rv;
    }
    // Each INTEGER has two octets before it and perhaps a zero, the SEQUENCE three.
    let longest = raw_len + 9;
    // SAFETY: not null.
    let room = unsafe { std::mem::replace(&mut *out_len, longest) };
    if out.is_null() {
        return CKR_OK;
    }
    if room < longest {
        return CKR_BUFFER_TOO_SMALL;
    }
    let mut raw = vec![0; raw_len as usize];
    let rv = ask(raw.as_mut_ptr(), &mut raw_len);
    if rv == CKR_OK {
        let der = x962(&raw[..raw_len as usize]);
        // SAFETY: it is no longer than the room that there is.
        unsafe {
            out.copy_from_nonoverlapping(der.as_ptr(), der.len());
            *out_len = der.len() as CK_ULONG;
        }
    }
    rv
}

fn operation(context: &Context) -> Option<Operation> {
    state().sessions.get(&context.outer).and_then(|session| session.operation)
}

fn unauthenticated(context: &Context) -> bool {
    context.plan.traits.always_authenticate.is_some()
        && operation(context).is_some_and(|it| !it.authenticated)
}

/// Ends the operation, as an error does.
fn refuse(ask: impl Fn(*mut CK_BYTE, *mut CK_ULONG) -> CK_RV) -> CK_RV {
    let mut nowhere = vec![0; 1 << 16];
    ask(nowhere.as_mut_ptr(), &mut (nowhere.len() as CK_ULONG));
    CKR_USER_NOT_LOGGED_IN
}

/// r and s, one after the other, as SEQUENCE { r INTEGER, s INTEGER }.
fn x962(raw: &[u8]) -> Vec<u8> {
    let (r, s) = raw.split_at(raw.len() / 2);
    let integers: Vec<u8> = [r, s].into_iter().flat_map(integer).collect();
    let len = integers.len() as u8;
    let header = if len < 0x80 { vec![0x30, len] } else { vec![0x30, 0x81, len] };
    [header, integers].concat()
}

fn integer(number: &[u8]) -> Vec<u8> {
    let digits = &number[number.iter().position(|octet| *octet != 0).unwrap_or(number.len() - 1)..];
    let zero: &[u8] = if digits[0] >= 0x80 { &[0] } else { &[] };
    [&[2, (zero.len() + digits.len()) as u8], zero, digits].concat()
}
