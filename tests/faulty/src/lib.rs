//! A PKCS#11 module for tests. It forwards every function of v2.40 to the module named by `FAULTY_MODULE`,
//! and misbehaves as the plan in the directory `FAULTY_DIR` says: see `plan.rs` for what it can be told, and
//! `tests/support/faulty.rs` for who tells it. `C_GetInterface` is absent on purpose.
//!
//! While no plan stands, a call costs one load from memory more than without this module.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("mmap is declared for 64-bit Linux");

mod attributes;
mod calls;
mod functions;
mod names;
mod objects;
mod plan;
mod real;
mod shared;
mod signatures;
mod slots;
mod state;

use std::sync::OnceLock;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_ARGUMENTS_BAD, CKR_OK};

/// A function list that does not change and points to functions only.
struct List(CK_FUNCTION_LIST);

// SAFETY: it is written once, before it is shared.
unsafe impl Send for List {}
// SAFETY: as above.
unsafe impl Sync for List {}

/// The one symbol of a v2.40 module that is looked up by name.
///
/// # Safety
/// `list` is null or valid for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    static LIST: OnceLock<List> = OnceLock::new();
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    // The plan of now is that of the start: what was pulled before was never seen by this process.
    let ours = LIST.get_or_init(|| {
        state::start();
        List(functions::list())
    });
    // SAFETY: the caller's pointer is not null. PKCS#11 has no const; nobody writes to a function list.
    unsafe { *list = std::ptr::from_ref(&ours.0).cast_mut() };
    CKR_OK
}
