//! A PKCS#11 library in this process: the one file with `unsafe`.
//!
//! Everything here is a call through the library's function list (PKCS#11 3.1, chapter 5), or what such a
//! call needs. Safety rests on four things. The library keeps to the standard: that cannot be checked, and
//! one that is not trusted with this belongs into a process of its own. The function list is copied from
//! what the library hands out, once, and the library is never unloaded. Each pointer handed over points into
//! a value that lives until the call has returned, and each length is that value's. What the library says
//! of lengths is never believed beyond what was handed over. Several threads may call at once: `C_Initialize`
//! is given `CKF_OS_LOCKING_OK` (5.4).

use std::ffi::CString;
use std::os::raw::c_void;
use std::path::Path;
use std::ptr;

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::request::{
    Failure, LibraryInfo, Octets, Operation, Pin, RawMechanism, Reply, Request, SlotInfo, Template, TokenInfo,
};
use super::trim;

/// A loaded library. It stays loaded until the process ends, also when this is dropped: some crash when
/// they are unloaded.
pub struct Library {
    functions: CK_FUNCTION_LIST,
}

type Answer = Result<Reply, Failure>;

impl Library {
    /// Loads the library at `path`, runs its initialisers and takes its function list (2.40: newer ones
    /// begin with the same functions).
    pub fn load(path: &Path) -> Result<Self, Error> {
        // SAFETY: loading runs the library's own code: the operator named it.
        let library = unsafe { Pkcs11::new(path) }.map_err(Error::LibraryLoading)?;
        // One list, asked for once: some modules make a new connection for each that they hand out.
        let Ok(list_of) = &library.C_GetFunctionList else {
            return Err(Error::MissingSymbol("C_GetFunctionList"));
        };
        let mut list: *mut CK_FUNCTION_LIST = ptr::null_mut();
        // SAFETY: `list` takes one pointer.
        let rv = unsafe { list_of(&mut list) };
        cryptoki::error::Rv::from(rv).into_result(cryptoki::context::Function::GetFunctionList)?;
        if list.is_null() {
            return Err(Error::NullFunctionPointer);
        }
        // SAFETY: not null, and by 5.2 it points to the library's static list.
        let functions = unsafe { *list };
        std::mem::forget(library);
        Ok(Self { functions })
    }

    /// Carries a request out.
    pub fn perform(&self, request: Request) -> Answer {
        match request {
            Request::Initialize { reserved } => self.initialize(reserved),
            Request::Finalize => {
                self.call(self.functions.C_Finalize, 0, |f| unsafe { f(ptr::null_mut()) })?;
                Ok(Reply::Done)
            }
            Request::Info => self.info(),
            Request::SlotsWithToken => {
                let list = |out, count: &mut CK_ULONG| {
                    self.call(self.functions.C_GetSlotList, 0, |f| unsafe { f(CK_TRUE, out, count) })
                };
                Ok(Reply::Numbers(numbers(list)?))
            }
            Request::SlotInfo { slot } => {
                let mut info = CK_SLOT_INFO::default();
                self.call(self.functions.C_GetSlotInfo, 0, |f| unsafe { f(slot, &mut info) })?;
                let (description, manufacturer) = (text(&info.slotDescription), text(&info.manufacturerID));
                Ok(Reply::Slot(SlotInfo { description, manufacturer }))
            }
            Request::TokenInfo { slot } => self.token_info(slot),
            Request::Mechanisms { slot } => {
                let list = |out, count: &mut CK_ULONG| {
                    self.call(self.functions.C_GetMechanismList, 0, |f| unsafe { f(slot, out, count) })
                };
                Ok(Reply::Numbers(numbers(list)?))
            }
            Request::MechanismInfo { slot, kind } => {
                let mut info = CK_MECHANISM_INFO::default();
                self.call(self.functions.C_GetMechanismInfo, 0, |f| unsafe { f(slot, kind, &mut info) })?;
                Ok(Reply::Mechanism { least: info.ulMinKeySize, most: info.ulMaxKeySize, flags: info.flags })
            }
            Request::OpenSession { slot } => {
                let mut session = CK_INVALID_HANDLE;
                let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
                self.call(self.functions.C_OpenSession, 0, |f| unsafe {
                    f(slot, flags, ptr::null_mut(), None, &mut session)
                })?;
                Ok(Reply::Handle(session))
            }
            Request::CloseSession { session } => {
                self.call(self.functions.C_CloseSession, 0, |f| unsafe { f(session) })?;
                Ok(Reply::Done)
            }
            Request::CloseAllSessions { slot } => {
                self.call(self.functions.C_CloseAllSessions, 0, |f| unsafe { f(slot) })?;
                Ok(Reply::Done)
            }
            Request::SessionState { session } => {
                let mut info = CK_SESSION_INFO::default();
                self.call(self.functions.C_GetSessionInfo, 0, |f| unsafe { f(session, &mut info) })?;
                Ok(Reply::State(info.state))
            }
            Request::Login { session, user, pin } => {
                self.login(0, session, user, pin)?;
                Ok(Reply::Done)
            }
            Request::Logout { session } => {
                self.call(self.functions.C_Logout, 0, |f| unsafe { f(session) })?;
                Ok(Reply::Done)
            }
            Request::SetPin { session, mut old, mut new } => {
                let (old, new) = (Buffer::of(&mut old), Buffer::of(&mut new));
                self.call(self.functions.C_SetPIN, 0, |f| unsafe {
                    f(session, old.at, old.len, new.at, new.len)
                })?;
                Ok(Reply::Done)
            }
            Request::Find { session, template } => self.find(session, template),
            Request::Attributes { session, object, kinds } => self.attributes(session, object, &kinds),
            Request::Size { session, object, kind } => {
                let size = self.size(session, object, kind)?;
                Ok(Reply::Size(size))
            }
            Request::Create { session, mut template } => {
                let (mut attributes, mut object) = (attributes(&mut template), CK_INVALID_HANDLE);
                self.call(self.functions.C_CreateObject, 0, |f| unsafe {
                    f(session, attributes.as_mut_ptr(), count(&attributes), &mut object)
                })?;
                Ok(Reply::Handle(object))
            }
            Request::Destroy { session, object } => {
                self.call(self.functions.C_DestroyObject, 0, |f| unsafe { f(session, object) })?;
                Ok(Reply::Done)
            }
            Request::GenerateKeyPair { session, mut mechanism, mut public, mut private } => {
                let mut mechanism = mechanism.as_ck();
                let (mut public, mut private) = (attributes(&mut public), attributes(&mut private));
                let (mut its_public, mut its_private) = (CK_INVALID_HANDLE, CK_INVALID_HANDLE);
                self.call(self.functions.C_GenerateKeyPair, 0, |f| unsafe {
                    f(
                        session,
                        &mut mechanism,
                        public.as_mut_ptr(),
                        count(&public),
                        private.as_mut_ptr(),
                        count(&private),
                        &mut its_public,
                        &mut its_private,
                    )
                })?;
                Ok(Reply::Pair(its_public, its_private))
            }
            Request::Wrap { session, mut mechanism, with, key } => {
                let mut mechanism = mechanism.as_ck();
                let (mut wrapped, mut length) = (vec![0; MOST_WRAPPED], MOST_WRAPPED as CK_ULONG);
                self.call(self.functions.C_WrapKey, 0, |f| unsafe {
                    f(session, &mut mechanism, with, key, wrapped.as_mut_ptr(), &mut length)
                })?;
                Ok(Reply::Octets(cut(wrapped.into(), length)))
            }
            Request::Unwrap { session, mut mechanism, with, mut wrapped, mut template } => {
                let mut mechanism = mechanism.as_ck();
                let (wrapped, mut attributes) = (Buffer::of(&mut wrapped), attributes(&mut template));
                let mut object = CK_INVALID_HANDLE;
                self.call(self.functions.C_UnwrapKey, 0, |f| unsafe {
                    f(
                        session,
                        &mut mechanism,
                        with,
                        wrapped.at,
                        wrapped.len,
                        attributes.as_mut_ptr(),
                        count(&attributes),
                        &mut object,
                    )
                })?;
                Ok(Reply::Handle(object))
            }
            Request::Sign(operation) => {
                self.operate(operation, self.functions.C_SignInit, self.functions.C_Sign)
            }
            Request::Decrypt(operation) => {
                self.operate(operation, self.functions.C_DecryptInit, self.functions.C_Decrypt)
            }
        }
    }

    fn initialize(&self, reserved: Option<String>) -> Answer {
        /// NSS has a pointer more than the standard, and reads what would lie behind.
        #[repr(C)]
        struct Arguments(CK_C_INITIALIZE_ARGS, *mut c_void);
        let reserved = reserved.and_then(|text| CString::new(text).ok());
        let mut arguments = Arguments(
            CK_C_INITIALIZE_ARGS {
                flags: CKF_OS_LOCKING_OK,
                pReserved: reserved.as_ref().map_or(ptr::null_mut(), |text| text.as_ptr() as *mut c_void),
                ..Default::default()
            },
            ptr::null_mut(),
        );
        let arguments: *mut Arguments = &mut arguments;
        self.call(self.functions.C_Initialize, 0, |f| unsafe { f(arguments.cast()) })?;
        Ok(Reply::Done)
    }

    fn info(&self) -> Answer {
        let mut info = CK_INFO::default();
        self.call(self.functions.C_GetInfo, 0, |f| unsafe { f(&mut info) })?;
        Ok(Reply::Info(LibraryInfo {
            manufacturer: text(&info.manufacturerID),
            description: text(&info.libraryDescription),
            version: (info.libraryVersion.major, info.libraryVersion.minor),
            cryptoki: (info.cryptokiVersion.major, info.cryptokiVersion.minor),
        }))
    }

    fn token_info(&self, slot: CK_SLOT_ID) -> Answer {
        let mut info = CK_TOKEN_INFO::default();
        self.call(self.functions.C_GetTokenInfo, 0, |f| unsafe { f(slot, &mut info) })?;
        Ok(Reply::Token(TokenInfo {
            label: text(&info.label),
            manufacturer: text(&info.manufacturerID),
            model: text(&info.model),
            serial: text(&info.serialNumber),
            flags: info.flags,
            max_sessions: info.ulMaxSessionCount,
            sessions: info.ulSessionCount,
            max_pin: info.ulMaxPinLen as usize,
            min_pin: info.ulMinPinLen as usize,
            free_public: info.ulFreePublicMemory,
            free_private: info.ulFreePrivateMemory,
            firmware: (info.firmwareVersion.major, info.firmwareVersion.minor),
        }))
    }

    fn login(
        &self,
        step: u8,
        session: CK_SESSION_HANDLE,
        user: CK_USER_TYPE,
        mut pin: Pin,
    ) -> Result<(), Failure> {
        let pin = match &mut pin {
            Pin::Given(pin) => Buffer::of(pin),
            // A NULL pointer: `CKF_PROTECTED_AUTHENTICATION_PATH`.
            Pin::AtPad => Buffer::NONE,
        };
        self.call(self.functions.C_Login, step, |f| unsafe { f(session, user, pin.at, pin.len) })
    }

    fn find(&self, session: CK_SESSION_HANDLE, mut template: Template) -> Answer {
        let mut template = attributes(&mut template);
        self.call(self.functions.C_FindObjectsInit, 0, |f| unsafe {
            f(session, template.as_mut_ptr(), count(&template))
        })?;
        let mut found = Vec::new();
        let all = loop {
            let (mut some, mut number) = ([CK_INVALID_HANDLE; 64], 0);
            let most = some.len() as CK_ULONG;
            let next = self.call(self.functions.C_FindObjects, 1, |f| unsafe {
                f(session, some.as_mut_ptr(), most, &mut number)
            });
            match next {
                Ok(()) if number == 0 => break Ok(Reply::Numbers(found)),
                Ok(()) => found.extend_from_slice(&some[..(number as usize).min(some.len())]),
                Err(failure) => break Err(failure),
            }
        };
        // What it says matters to nobody: the objects are there, or the other failure is told.
        let _ = self.call(self.functions.C_FindObjectsFinal, 1, |f| unsafe { f(session) });
        all
    }

    fn attributes(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kinds: &[CK_ATTRIBUTE_TYPE],
    ) -> Answer {
        let mut wanted: Template = kinds.iter().map(|kind| (*kind, vec![0; usual(*kind)].into())).collect();
        let mut asked = attributes(&mut wanted);
        let rv = self.attribute_values(session, object, &mut asked);
        let lengths: Vec<CK_ULONG> = asked.iter().map(|attribute| attribute.ulValueLen).collect();
        // Those that fit are there, whatever became of the others.
        match rv {
            CKR_OK | CKR_BUFFER_TOO_SMALL | CKR_ATTRIBUTE_SENSITIVE | CKR_ATTRIBUTE_TYPE_INVALID => {}
            rv => return Err(Failure { step: 0, rv }),
        }
        let mut values = Vec::with_capacity(kinds.len());
        for ((kind, buffer), length) in wanted.into_iter().zip(lengths) {
            values.push(match length {
                length if length <= buffer.len() as CK_ULONG => Some(cut(buffer, length)),
                CK_UNAVAILABLE_INFORMATION if rv != CKR_BUFFER_TOO_SMALL => None,
                _ => self.long_attribute(session, object, kind)?,
            });
        }
        Ok(Reply::Values(values))
    }

    /// A value that did not fit, or none.
    fn long_attribute(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Result<Option<Octets>, Failure> {
        let Some(size) = self.size(session, object, kind)? else { return Ok(None) };
        let mut wanted: Template = vec![(kind, vec![0; size].into())];
        let mut asked = attributes(&mut wanted);
        let rv = self.attribute_values(session, object, &mut asked);
        let length = asked[0].ulValueLen;
        match rv {
            CKR_OK => Ok(wanted.pop().map(|(_, value)| cut(value, length))),
            rv => Err(Failure { step: 0, rv }),
        }
    }

    /// Octets of an attribute; `None` for one that the object lacks or does not show.
    fn size(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Result<Option<usize>, Failure> {
        let mut asked = [CK_ATTRIBUTE { type_: kind, pValue: ptr::null_mut(), ulValueLen: 0 }];
        match self.attribute_values(session, object, &mut asked) {
            CKR_OK => {
                let size = asked[0].ulValueLen;
                Ok((size != CK_UNAVAILABLE_INFORMATION).then_some(size as usize))
            }
            CKR_ATTRIBUTE_SENSITIVE | CKR_ATTRIBUTE_TYPE_INVALID => Ok(None),
            rv => Err(Failure { step: 0, rv }),
        }
    }

    fn attribute_values(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        asked: &mut [CK_ATTRIBUTE],
    ) -> CK_RV {
        let asked_count = count(asked);
        let done = self.call(self.functions.C_GetAttributeValue, 0, |f| unsafe {
            f(session, object, asked.as_mut_ptr(), asked_count)
        });
        done.map_or_else(|failure| failure.rv, |()| CKR_OK)
    }

    /// `C_SignInit` and `C_Sign`, or the same of another operation.
    fn operate(&self, operation: Operation, init: Option<Init>, last: Option<Last>) -> Answer {
        let Operation { session, mut mechanism, key, mut data, most, pin } = operation;
        let mut mechanism = mechanism.as_ck();
        self.call(init, 0, |f| unsafe { f(session, &mut mechanism, key) })?;
        if let Some(pin) = pin {
            self.login(1, session, CKU_CONTEXT_SPECIFIC, pin)?;
        }
        let (mut result, mut length) = (Zeroizing::new(vec![0; most]), most as CK_ULONG);
        let data = Buffer::of(&mut data);
        self.call(last, 2, |f| unsafe { f(session, data.at, data.len, result.as_mut_ptr(), &mut length) })?;
        Ok(Reply::Octets(cut(result, length)))
    }

    /// Calls a function that the library may lack.
    fn call<F>(&self, function: Option<F>, step: u8, call: impl FnOnce(F) -> CK_RV) -> Result<(), Failure> {
        match function.map_or(CKR_FUNCTION_NOT_SUPPORTED, call) {
            CKR_OK => Ok(()),
            rv => Err(Failure { step, rv }),
        }
    }
}

type Init = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE) -> CK_RV;
type Last =
    unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG) -> CK_RV;

/// Where octets lie, and how many. Valid as long as they are.
struct Buffer {
    at: *mut CK_BYTE,
    len: CK_ULONG,
}

impl Buffer {
    const NONE: Self = Self { at: ptr::null_mut(), len: 0 };

    fn of(octets: &mut Vec<u8>) -> Self {
        Self { at: octets.as_mut_ptr(), len: octets.len() as CK_ULONG }
    }
}

impl RawMechanism {
    /// The mechanism without its pointers; `None` for one whose parameter has some.
    pub fn of(mechanism: &Mechanism<'_>) -> Option<Self> {
        let raw = CK_MECHANISM::from(mechanism);
        let plain = match mechanism {
            Mechanism::AesCbcPad(_) | Mechanism::RsaPkcsPss(_) => true,
            // Its label may be one, and must not be.
            Mechanism::RsaPkcsOaep(_) => true,
            _ => raw.pParameter.is_null(),
        };
        if !plain {
            return None;
        }
        if raw.pParameter.is_null() {
            return Some(Self { kind: raw.mechanism, parameter: Vec::new() });
        }
        // SAFETY: it points to the parameter inside `mechanism`, of the length that is said beside.
        let parameter =
            unsafe { std::slice::from_raw_parts(raw.pParameter.cast::<u8>(), raw.ulParameterLen as usize) };
        Some(Self { kind: raw.mechanism, parameter: parameter.to_vec() })
    }

    /// For a call. Valid as long as `self` is.
    fn as_ck(&mut self) -> CK_MECHANISM {
        let parameter = match self.parameter.is_empty() {
            true => ptr::null_mut(),
            false => self.parameter.as_mut_ptr().cast(),
        };
        CK_MECHANISM {
            mechanism: self.kind,
            pParameter: parameter,
            ulParameterLen: self.parameter.len() as CK_ULONG,
        }
    }
}

/// The attribute without its pointer.
pub fn raw(attribute: &Attribute) -> (CK_ATTRIBUTE_TYPE, Octets) {
    let raw = CK_ATTRIBUTE::from(attribute);
    if raw.pValue.is_null() || raw.ulValueLen == 0 {
        return (raw.type_, Octets::default());
    }
    // SAFETY: it points to the value inside `attribute`, of the length that is said beside.
    let value = unsafe { std::slice::from_raw_parts(raw.pValue.cast::<u8>(), raw.ulValueLen as usize) };
    (raw.type_, value.to_vec().into())
}

/// The attribute with this value; `None` for a value of the wrong size, or an attribute unknown here.
pub fn typed(kind: CK_ATTRIBUTE_TYPE, value: &mut Octets) -> Option<Attribute> {
    let value = Buffer::of(value);
    Attribute::try_from(CK_ATTRIBUTE { type_: kind, pValue: value.at.cast(), ulValueLen: value.len }).ok()
}

/// For a call. Valid as long as the template is.
fn attributes(template: &mut Template) -> Vec<CK_ATTRIBUTE> {
    let attribute = |(kind, value): &mut (CK_ATTRIBUTE_TYPE, Octets)| CK_ATTRIBUTE {
        type_: *kind,
        pValue: value.as_mut_ptr().cast(),
        ulValueLen: value.len() as CK_ULONG,
    };
    template.iter_mut().map(attribute).collect()
}

/// Octets that are enough for most values of this attribute.
fn usual(kind: CK_ATTRIBUTE_TYPE) -> usize {
    match kind {
        // NSS writes a number only where there is room for a number and nothing else.
        CKA_CLASS | CKA_KEY_TYPE | CKA_CERTIFICATE_TYPE | CKA_PARAMETER_SET | CKA_KEY_GEN_MECHANISM => {
            size_of::<CK_ULONG>()
        }
        _ => USUAL,
    }
}

fn count(attributes: &[CK_ATTRIBUTE]) -> CK_ULONG {
    attributes.len() as CK_ULONG
}

/// A list whose length is asked first, and which may have grown by the second call.
fn numbers(
    list: impl Fn(*mut CK_ULONG, &mut CK_ULONG) -> Result<(), Failure>,
) -> Result<Vec<CK_ULONG>, Failure> {
    for _ in 0..LIST_TRIES {
        let mut number = 0;
        list(ptr::null_mut(), &mut number)?;
        let mut all = vec![0; number as usize];
        match list(all.as_mut_ptr(), &mut number) {
            Ok(()) => {
                all.truncate(number as usize);
                return Ok(all);
            }
            Err(failure) if failure.rv == CKR_BUFFER_TOO_SMALL => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure { step: 0, rv: CKR_BUFFER_TOO_SMALL })
}

/// As much of it as the library says, and no more than there is.
fn cut(mut octets: Octets, length: CK_ULONG) -> Octets {
    octets.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    octets
}

/// A field of fixed length.
fn text(field: &[CK_UTF8CHAR]) -> String {
    trim(&String::from_utf8_lossy(field))
}

/// Octets of most attributes at most: an RSA modulus of 8192 bits has so many.
const USUAL: usize = 1024;
/// Octets of a wrapped key at most: an RSA key of 16384 bits has 9.5 KiB.
const MOST_WRAPPED: usize = 16 << 10;
/// Lists of slots grow while they are read, but not all the time.
const LIST_TRIES: usize = 5;
