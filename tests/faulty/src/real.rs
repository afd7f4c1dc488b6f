//! The module that is forwarded to.

use std::ptr::null_mut;
use std::sync::OnceLock;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_OK};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// The functions of the real module, which is loaded at the first call and never unloaded.
pub fn real() -> &'static CK_FUNCTION_LIST {
    static REAL: OnceLock<&CK_FUNCTION_LIST> = OnceLock::new();
    REAL.get_or_init(load)
}

/// A function of the real module that every module has.
macro_rules! must {
    ($name:ident) => {
        $crate::real::real().$name.expect(concat!("the real module has ", stringify!($name)))
    };
}
pub(crate) use must;

fn load() -> &'static CK_FUNCTION_LIST {
    let path = std::env::var_os("FAULTY_MODULE").expect("FAULTY_MODULE names the real module");
    // SAFETY: running a module's initialisers is what loading a PKCS#11 module means.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
    let library = Box::leak(Box::new(library.unwrap_or_else(|error| panic!("{path:?}: {error}"))));
    type GetFunctionList = unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV;
    // SAFETY: PKCS#11 gives this symbol this signature.
    let get = unsafe { library.get::<GetFunctionList>(b"C_GetFunctionList\0") };
    let get = get.expect("C_GetFunctionList of the real module");
    let mut list = null_mut();
    // SAFETY: the pointer is valid for the call.
    let rv = unsafe { get(&mut list) };
    assert_eq!((rv, list.is_null()), (CKR_OK, false), "C_GetFunctionList of the real module");
    // SAFETY: the list belongs to the module, which stays loaded.
    unsafe { &*list }
}
