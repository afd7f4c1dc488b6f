//! All functions of v2.40, made by one macro, and the list of them.

use std::ffi::c_void;

use cryptoki_sys::*;

use crate::calls::{Call, guard};
use crate::real::real;
use crate::state::plain;
use crate::{attributes, objects, signatures, slots};

type Session = CK_SESSION_HANDLE;
type Object = CK_OBJECT_HANDLE;
type Number = CK_ULONG;
type Octets = *mut CK_BYTE;
type Mechanism = *mut CK_MECHANISM;
type Template = *mut CK_ATTRIBUTE;

/// Functions by their arguments, and what these are: `slot` and `session` the handle that comes in, `objects`
/// handles that come in, `gives` those that go out, `templates` of objects with the length, `output` where
/// octets go with their length, `via` a function that forwards in a way of its own.
macro_rules! functions {
    ($($name:ident($($arg:ident: $type:ty),*)
        $(slot $slot:ident)?
        $(session $session:ident)?
        $(objects $first:ident $(, $object:ident)*)?
        $(templates $($template:ident $count:ident),+)?
        $(gives $($new:ident),+)?
        $(output $out:ident $out_len:ident)?
        $(via $special:path)?;)*
    ) => {
        $(#[allow(non_snake_case, clippy::too_many_arguments)]
        unsafe extern "C" fn $name($($arg: $type),*) -> CK_RV {
            let Some(function) = real().$name else { return CKR_FUNCTION_NOT_SUPPORTED };
            // Whether the module is initialised is known in any case.
            if plain() && !matches!(stringify!($name), "C_Initialize" | "C_Finalize") {
                // SAFETY: the caller's arguments, for the same function.
                return unsafe { function($($arg),*) };
            }
            let call = Call {
                function: stringify!($name),
                $(slot: Some($slot),)?
                $(session: Some($session),)?
                $(object: Some($first),)?
                $(output: Some(($out, $out_len)),)?
                ..Call::default()
            };
            guard(&call, |context| {
                let _ = context;
                $(let $slot = context.slot;)?
                $(let $session = context.session;)?
                $(let $first = context.object($first);
                $(let $object = context.object($object);)*)?
                $($(
                    // SAFETY: the caller's template and its length.
                    let refused = unsafe { attributes::refused(context, $template, $count) };
                    if let Some(rv) = refused {
                        return rv;
                    }
                )+)?
                // SAFETY: the caller's arguments, with handles that the real module knows.
                let rv = unsafe { forward!([$($special)?] function, context, $($arg),*) };
                $(if rv == CKR_OK {
                    // SAFETY: the real module has written there.
                    $(unsafe { context.give($new) };)+
                })?
                rv
            })
        })*

        /// The functions that the real module has.
        pub fn list() -> CK_FUNCTION_LIST {
            CK_FUNCTION_LIST {
                version: CK_VERSION { major: 2, minor: 40 },
                C_GetFunctionList: Some(crate::C_GetFunctionList),
                $($name: real().$name.map(|_| $name as unsafe extern "C" fn($($type),*) -> CK_RV)),*
            }
        }
    };
}

macro_rules! forward {
    ([] $function:ident, $context:ident, $($arg:ident),*) => { $function($($arg),*) };
    ([$special:path] $function:ident, $context:ident, $($arg:ident),*) => { $special($context, $($arg),*) };
}

functions! {
    C_Initialize(arguments: *mut c_void);
    C_Finalize(reserved: *mut c_void);
    C_GetInfo(info: *mut CK_INFO);
    C_GetSlotList(present: CK_BBOOL, slots: *mut CK_SLOT_ID, count: *mut Number) via slots::list;
    C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) slot slot via slots::info;
    C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) slot slot via slots::token_info;
    C_GetMechanismList(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut Number) slot slot;
    C_GetMechanismInfo(slot: CK_SLOT_ID, mechanism: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO)
        slot slot;
    C_InitToken(slot: CK_SLOT_ID, pin: Octets, len: Number, label: Octets) slot slot;
    C_InitPIN(session: Session, pin: Octets, len: Number) session session;
    C_SetPIN(session: Session, old: Octets, old_len: Number, new: Octets, new_len: Number) session session;
    C_OpenSession(
        slot: CK_SLOT_ID, flags: CK_FLAGS, application: *mut c_void, notify: CK_NOTIFY,
        session: *mut Session
    )
        slot slot via slots::open_session;
    C_CloseSession(session: Session) session session;
    C_CloseAllSessions(slot: CK_SLOT_ID) slot slot;
    C_GetSessionInfo(session: Session, info: *mut CK_SESSION_INFO) session session via slots::session_info;
    C_GetOperationState(session: Session, saved: Octets, len: *mut Number) session session;
    C_SetOperationState(
        session: Session, saved: Octets, len: Number, encryption: Object, authentication: Object
    )
        session session objects encryption, authentication;
    C_Login(session: Session, user: CK_USER_TYPE, pin: Octets, len: Number)
        session session via slots::login;
    C_Logout(session: Session) session session via slots::logout;
    C_CreateObject(session: Session, template: Template, count: Number, new: *mut Object)
        session session templates template count gives new;
    C_CopyObject(session: Session, object: Object, template: Template, count: Number, new: *mut Object)
        session session objects object templates template count gives new;
    C_DestroyObject(session: Session, object: Object) session session objects object;
    C_GetObjectSize(session: Session, object: Object, size: *mut Number) session session objects object;
    C_GetAttributeValue(session: Session, object: Object, template: Template, count: Number)
        session session objects object via attributes::read;
    C_SetAttributeValue(session: Session, object: Object, template: Template, count: Number)
        session session objects object templates template count;
    C_FindObjectsInit(session: Session, template: Template, count: Number) session session;
    C_FindObjects(session: Session, objects: *mut Object, max: Number, count: *mut Number)
        session session via objects::find;
    C_FindObjectsFinal(session: Session) session session;
    C_EncryptInit(session: Session, mechanism: Mechanism, key: Object) session session objects key;
    C_Encrypt(session: Session, data: Octets, len: Number, out: Octets, out_len: *mut Number)
        session session output out out_len;
    C_EncryptUpdate(session: Session, data: Octets, len: Number, out: Octets, out_len: *mut Number)
        session session output out out_len;
    C_EncryptFinal(session: Session, out: Octets, out_len: *mut Number) session session output out out_len;
    C_DecryptInit(session: Session, mechanism: Mechanism, key: Object)
        session session objects key via signatures::decrypt_init;
    C_Decrypt(session: Session, data: Octets, len: Number, out: Octets, out_len: *mut Number)
        session session output out out_len via signatures::decrypt;
    C_DecryptUpdate(session: Session, data: Octets, len: Number, out: Octets, out_len: *mut Number)
        session session output out out_len;
    C_DecryptFinal(session: Session, out: Octets, out_len: *mut Number) session session output out out_len;
    C_DigestInit(session: Session, mechanism: Mechanism) session session;
    C_Digest(session: Session, data: Octets, len: Number, out: Octets, out_len: *mut Number)
        session session output out out_len;
    C_DigestUpdate(session: Session, data: Octets, len: Number) session session;
    C_DigestKey(session: Session, key: Object) session session objects key;
    C_DigestFinal(session: Session, out: Octets, out_len: *mut Number) session session output out out_len;
    C_SignInit(session: Session, mechanism: Mechanism, key: Object)
        session session objects key via signatures::sign_init;
    C_Sign(session: Session, data: Octets, len: Number, out: Octets, out_len: *mut Number)
        session session output out out_len via signatures::sign;
    C_SignUpdate(session: Session, data: Octets, len: Number) session session;
    C_SignFinal(session: Session, out: Octets, out_len: *mut Number)
        session session output out out_len via signatures::sign_final;
    C_SignRecoverInit(session: Session, mechanism: Mechanism, key: Object) session session objects key;
    C_SignRecover(session: Session, data: Octets, len: Number, out: Octets, out_len: *mut Number)
        session session output out out_len;
    C_VerifyInit(session: Session, mechanism: Mechanism, key: Object) session session objects key;
    C_Verify(session: Session, data: Octets, len: Number, signature: Octets, signature_len: Number)
        session session;
    C_VerifyUpdate(session: Session, data: Octets, len: Number) session session;
    C_VerifyFinal(session: Session, signature: Octets, len: Number) session session;
    C_VerifyRecoverInit(session: Session, mechanism: Mechanism, key: Object) session session objects key;
    C_VerifyRecover(session: Session, data: Octets, len: Number, out: Octets, out_len: *mut Number)
        session session output out out_len;
    C_DigestEncryptUpdate(session: Session, data: Octets, len: Number, out: Octets, out_len: *mut Number)
        session session output out out_len;
    C_DecryptDigestUpdate(session: Session, data: Octets, len: Number, out: Octets, out_len: *mut Number)
        session session output out out_len;
    C_SignEncryptUpdate(session: Session, data: Octets, len: Number, out: Octets, out_len: *mut Number)
        session session output out out_len;
    C_DecryptVerifyUpdate(session: Session, data: Octets, len: Number, out: Octets, out_len: *mut Number)
        session session output out out_len;
    C_GenerateKey(
        session: Session, mechanism: Mechanism, template: Template, count: Number, new: *mut Object
    )
        session session templates template count gives new;
    C_GenerateKeyPair(
        session: Session, mechanism: Mechanism, public: Template, public_count: Number, private: Template,
        private_count: Number, public_key: *mut Object, private_key: *mut Object
    )
        session session templates public public_count, private private_count gives public_key, private_key;
    C_WrapKey(
        session: Session, mechanism: Mechanism, wrapping: Object, key: Object, out: Octets,
        out_len: *mut Number
    )
        session session objects wrapping, key output out out_len;
    C_UnwrapKey(
        session: Session, mechanism: Mechanism, key: Object, wrapped: Octets, len: Number,
        template: Template, count: Number, new: *mut Object
    )
        session session objects key templates template count gives new;
    C_DeriveKey(
        session: Session, mechanism: Mechanism, key: Object, template: Template, count: Number,
        new: *mut Object
    )
        session session objects key templates template count gives new;
    C_SeedRandom(session: Session, seed: Octets, len: Number) session session;
    C_GenerateRandom(session: Session, random: Octets, len: Number) session session;
    C_GetFunctionStatus(session: Session) session session;
    C_CancelFunction(session: Session) session session;
    C_WaitForSlotEvent(flags: CK_FLAGS, slot: *mut CK_SLOT_ID, reserved: *mut c_void) via slots::wait;
}
