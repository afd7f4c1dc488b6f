//! Calls of a PKCS#11 module, in the words of the crate `cryptoki`.
//!
//! `cryptoki` gives the types: attributes, mechanisms, errors. The calls are ours, since its own ask for the
//! length of each result first, which some modules answer by the whole operation; have no single-part
//! operation on keys that want the PIN each time; cannot read the token information of some modules; and
//! keep the function list to themselves, which some modules hand out once. What a call takes and gives are
//! plain values ([`request`]), so that a module may be in this process ([`library`], all the `unsafe`) or
//! in another ([`child`]).

mod child;
#[allow(unsafe_code, reason = "the calls themselves")]
mod library;
mod request;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cryptoki::context::Function;
use cryptoki::error::{Error, Result, Rv};
use cryptoki::mechanism::{Mechanism, MechanismInfo, MechanismType};
use cryptoki::object::{Attribute, AttributeType};
use cryptoki_sys::{
    CK_EFFECTIVELY_INFINITE, CK_MECHANISM_INFO, CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_SLOT_ID, CK_ULONG,
    CK_UNAVAILABLE_INFORMATION, CKF_SO_PIN_FINAL_TRY, CKF_SO_PIN_LOCKED, CKF_TOKEN_INITIALIZED,
    CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_INITIALIZED, CKF_USER_PIN_LOCKED,
    CKF_USER_PIN_TO_BE_CHANGED, CKR_GENERAL_ERROR, CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS, CKU_SO,
    CKU_USER,
};
use secrecy::{ExposeSecret, SecretString};

use child::Child;
use library::Library;
use request::{Failure, Octets, Operation, RawMechanism, Reply, Request, Template};

pub use child::{WORD as MODULE_WORD, serve as serve_module};
pub use request::{LibraryInfo, TokenInfo};

/// A loaded module. Cheap to clone.
#[derive(Clone)]
pub struct Context(Arc<Module>);

enum Module {
    Here(Box<Library>),
    Apart(Child),
}

/// A session. It is not closed when dropped: by then its number may be another session's.
pub struct Session {
    context: Context,
    id: CK_SESSION_HANDLE,
}

/// The handle of an object, which means something in its own process, and until the next `C_Finalize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectHandle(CK_OBJECT_HANDLE);

/// A slot's number. Slot numbers change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(CK_SLOT_ID);

/// Who logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// `CKU_USER`.
    User,
    /// `CKU_SO`, the security officer.
    SecurityOfficer,
}

impl Context {
    /// Loads a module into this process, for good.
    pub fn load(path: &Path) -> Result<Self> {
        Ok(Self(Arc::new(Module::Here(Box::new(Library::load(path)?)))))
    }

    /// Loads a module into a process of its own, which `program` becomes. A call that takes longer than the
    /// first of `timeouts`, or a generation of keys longer than the second, ends it.
    pub fn load_apart(program: &Path, path: &Path, timeouts: (Duration, Duration)) -> io::Result<Self> {
        Ok(Self(Arc::new(Module::Apart(Child::start(program, path, timeouts)?))))
    }

    /// `C_Initialize`, with locks of the operating system and with `reserved` in `pReserved` for modules that
    /// take their parameters there.
    pub fn initialize(&self, reserved: Option<&str>) -> Result<()> {
        self.ask(Request::Initialize { reserved: reserved.map(str::to_owned) }).map(drop)
    }

    /// `C_Finalize`. All sessions and handles are invalid after it.
    pub fn finalize(&self) -> Result<()> {
        self.ask(Request::Finalize).map(drop)
    }

    /// `C_GetInfo`.
    pub fn info(&self) -> Result<LibraryInfo> {
        match self.ask(Request::Info)? {
            Reply::Info(info) => Ok(info),
            _ => Err(odd(Function::GetInfo)),
        }
    }

    /// The slots in which a token is (`C_GetSlotList`).
    pub fn slots_with_token(&self) -> Result<Vec<Slot>> {
        let slots = self.numbers(Request::SlotsWithToken, Function::GetSlotList)?;
        Ok(slots.into_iter().map(Slot).collect())
    }

    /// `C_GetTokenInfo`.
    pub fn token_info(&self, slot: Slot) -> Result<TokenInfo> {
        match self.ask(Request::TokenInfo { slot: slot.0 })? {
            Reply::Token(info) => Ok(info),
            _ => Err(odd(Function::GetTokenInfo)),
        }
    }

    /// The token's mechanisms by number (`C_GetMechanismList`), also those that `cryptoki` has no name for.
    pub fn mechanisms(&self, slot: Slot) -> Result<Vec<CK_ULONG>> {
        self.numbers(Request::Mechanisms { slot: slot.0 }, Function::GetMechanismList)
    }

    /// `C_GetMechanismInfo`.
    pub fn mechanism_info(&self, slot: Slot, mechanism: MechanismType) -> Result<MechanismInfo> {
        match self.ask(Request::MechanismInfo { slot: slot.0, kind: mechanism.into() })? {
            Reply::Mechanism { least, most, flags } => {
                Ok(CK_MECHANISM_INFO { ulMinKeySize: least, ulMaxKeySize: most, flags }.into())
            }
            _ => Err(odd(Function::GetMechanismInfo)),
        }
    }

    /// A session for reading and writing (`C_OpenSession`).
    pub fn open_session(&self, slot: Slot) -> Result<Session> {
        let id = self.handle(Request::OpenSession { slot: slot.0 }, Function::OpenSession)?;
        Ok(Session { context: self.clone(), id })
    }

    /// `C_CloseAllSessions`, of this process; which logs it out, too.
    pub fn close_all_sessions(&self, slot: Slot) -> Result<()> {
        self.ask(Request::CloseAllSessions { slot: slot.0 }).map(drop)
    }

    fn ask(&self, request: Request) -> Result<Reply> {
        let functions = request.functions();
        let done = match &*self.0 {
            Module::Here(library) => library.perform(request),
            Module::Apart(child) => child.perform(&request),
        };
        done.map_err(|Failure { step, rv }| {
            let function = functions.get(usize::from(step)).copied().unwrap_or(functions[0]);
            Rv::from(rv).into_result(function).err().unwrap_or_else(|| odd(function))
        })
    }

    fn handle(&self, request: Request, function: Function) -> Result<CK_ULONG> {
        match self.ask(request)? {
            Reply::Handle(handle) => Ok(handle),
            _ => Err(odd(function)),
        }
    }

    fn numbers(&self, request: Request, function: Function) -> Result<Vec<CK_ULONG>> {
        match self.ask(request)? {
            Reply::Numbers(numbers) => Ok(numbers),
            _ => Err(odd(function)),
        }
    }

    fn octets(&self, request: Request, function: Function) -> Result<Octets> {
        match self.ask(request)? {
            Reply::Octets(octets) => Ok(octets),
            _ => Err(odd(function)),
        }
    }
}

impl Session {
    /// `C_CloseSession`.
    pub fn close(self) -> Result<()> {
        self.context.ask(Request::CloseSession { session: self.id }).map(drop)
    }

    /// Whether the module says that the user is logged in (`C_GetSessionInfo`). Many say so long after the
    /// token is gone.
    pub fn is_logged_in(&self) -> Result<bool> {
        match self.context.ask(Request::SessionState { session: self.id })? {
            Reply::State(state) => Ok([CKS_RW_USER_FUNCTIONS, CKS_RO_USER_FUNCTIONS].contains(&state)),
            _ => Err(odd(Function::GetSessionInfo)),
        }
    }

    /// `C_Login`; without a PIN by what the token has of its own, such as a key pad.
    pub fn login(&self, user: User, pin: Option<&SecretString>) -> Result<()> {
        let user = match user {
            User::User => CKU_USER,
            User::SecurityOfficer => CKU_SO,
        };
        self.context.ask(Request::Login { session: self.id, user, pin: pin.map(exposed) }).map(drop)
    }

    /// `C_Logout`, of this process.
    pub fn logout(&self) -> Result<()> {
        self.context.ask(Request::Logout { session: self.id }).map(drop)
    }

    /// `C_SetPIN`: changes the PIN of who is logged in, or of the user when nobody is.
    pub fn set_pin(&self, old: &SecretString, new: &SecretString) -> Result<()> {
        let (old, new) = (exposed(old), exposed(new));
        self.context.ask(Request::SetPin { session: self.id, old, new }).map(drop)
    }

    /// The objects that have all these attributes (`C_FindObjects`).
    pub fn find_objects(&self, template: &[Attribute]) -> Result<Vec<ObjectHandle>> {
        let request = Request::Find { session: self.id, template: raw(template) };
        let found = self.context.numbers(request, Function::FindObjects)?;
        Ok(found.into_iter().map(ObjectHandle).collect())
    }

    /// Attribute values, those left out that the object lacks or does not show (`C_GetAttributeValue`).
    pub fn attributes(&self, object: ObjectHandle, wanted: &[AttributeType]) -> Result<Vec<Attribute>> {
        let kinds: Vec<_> = wanted.iter().map(|kind| (*kind).into()).collect();
        let request = Request::Attributes { session: self.id, object: object.0, kinds: kinds.clone() };
        let Reply::Values(values) = self.context.ask(request)? else {
            return Err(odd(Function::GetAttributeValue));
        };
        let found = kinds.into_iter().zip(values).filter_map(|(kind, value)| Some((kind, value?)));
        Ok(found.filter_map(|(kind, mut value)| library::typed(kind, &mut value)).collect())
    }

    /// Octets that an attribute has; `None` for one that the object lacks.
    pub fn size(&self, object: ObjectHandle, attribute: AttributeType) -> Result<Option<usize>> {
        let request = Request::Size { session: self.id, object: object.0, kind: attribute.into() };
        match self.context.ask(request)? {
            Reply::Size(size) => Ok(size),
            _ => Err(odd(Function::GetAttributeValue)),
        }
    }

    /// `C_CreateObject`.
    pub fn create_object(&self, template: &[Attribute]) -> Result<ObjectHandle> {
        let request = Request::Create { session: self.id, template: raw(template) };
        self.context.handle(request, Function::CreateObject).map(ObjectHandle)
    }

    /// `C_DestroyObject`.
    pub fn destroy_object(&self, object: ObjectHandle) -> Result<()> {
        self.context.ask(Request::Destroy { session: self.id, object: object.0 }).map(drop)
    }

    /// `C_GenerateKeyPair`: the public key and the private one.
    pub fn generate_key_pair(
        &self,
        mechanism: &Mechanism<'_>,
        public: &[Attribute],
        private: &[Attribute],
    ) -> Result<(ObjectHandle, ObjectHandle)> {
        let request = Request::GenerateKeyPair {
            session: self.id,
            mechanism: plain(mechanism)?,
            public: raw(public),
            private: raw(private),
        };
        match self.context.ask(request)? {
            Reply::Pair(public, private) => Ok((ObjectHandle(public), ObjectHandle(private))),
            _ => Err(odd(Function::GenerateKeyPair)),
        }
    }

    /// `C_WrapKey`.
    pub fn wrap_key(
        &self,
        mechanism: &Mechanism<'_>,
        with: ObjectHandle,
        key: ObjectHandle,
    ) -> Result<Octets> {
        let mechanism = plain(mechanism)?;
        let request = Request::Wrap { session: self.id, mechanism, with: with.0, key: key.0 };
        self.context.octets(request, Function::WrapKey)
    }

    /// `C_UnwrapKey`.
    pub fn unwrap_key(
        &self,
        mechanism: &Mechanism<'_>,
        with: ObjectHandle,
        wrapped: &[u8],
        template: &[Attribute],
    ) -> Result<ObjectHandle> {
        let request = Request::Unwrap {
            session: self.id,
            mechanism: plain(mechanism)?,
            with: with.0,
            wrapped: wrapped.to_vec(),
            template: raw(template),
        };
        self.context.handle(request, Function::UnwrapKey).map(ObjectHandle)
    }

    /// `C_SignInit` and `C_Sign` of `data` with `key`, whose signatures have `most` octets at most; between
    /// the two `C_Login` with `pin` for a key that wants it each time.
    pub fn sign(
        &self,
        mechanism: &Mechanism<'_>,
        key: ObjectHandle,
        data: &[u8],
        most: usize,
        pin: Option<&SecretString>,
    ) -> Result<Octets> {
        let operation = self.operation(mechanism, key, data, most, pin)?;
        self.context.octets(Request::Sign(operation), Function::Sign)
    }

    /// `C_DecryptInit` and `C_Decrypt`, as [`Session::sign`].
    pub fn decrypt(
        &self,
        mechanism: &Mechanism<'_>,
        key: ObjectHandle,
        data: &[u8],
        most: usize,
        pin: Option<&SecretString>,
    ) -> Result<Octets> {
        let operation = self.operation(mechanism, key, data, most, pin)?;
        self.context.octets(Request::Decrypt(operation), Function::Decrypt)
    }

    fn operation(
        &self,
        mechanism: &Mechanism<'_>,
        key: ObjectHandle,
        data: &[u8],
        most: usize,
        pin: Option<&SecretString>,
    ) -> Result<Operation> {
        Ok(Operation {
            session: self.id,
            mechanism: plain(mechanism)?,
            key: key.0,
            data: data.to_vec().into(),
            most,
            pin: pin.map(exposed),
        })
    }
}

impl Slot {
    /// Its number.
    pub fn id(self) -> u64 {
        self.0
    }
}

impl TokenInfo {
    /// Whether it has a label, keys and PINs at all.
    pub fn is_initialized(&self) -> bool {
        self.has(CKF_TOKEN_INITIALIZED)
    }

    /// Whether it has a user PIN.
    pub fn user_pin_initialized(&self) -> bool {
        self.has(CKF_USER_PIN_INITIALIZED)
    }

    /// Whether the user PIN was wrong since the last login.
    pub fn user_pin_count_low(&self) -> bool {
        self.has(CKF_USER_PIN_COUNT_LOW)
    }

    /// Whether one more wrong user PIN locks it.
    pub fn user_pin_final_try(&self) -> bool {
        self.has(CKF_USER_PIN_FINAL_TRY)
    }

    /// Whether the user PIN is locked.
    pub fn user_pin_locked(&self) -> bool {
        self.has(CKF_USER_PIN_LOCKED)
    }

    /// Whether one more wrong PIN of the security officer locks it.
    pub fn so_pin_final_try(&self) -> bool {
        self.has(CKF_SO_PIN_FINAL_TRY)
    }

    /// Whether the PIN of the security officer is locked.
    pub fn so_pin_locked(&self) -> bool {
        self.has(CKF_SO_PIN_LOCKED)
    }

    /// Octets free for private objects, where the token says.
    pub fn free_private(&self) -> Option<usize> {
        known(self.free_private)
    }

    /// Octets free for public objects, where the token says.
    pub fn free_public(&self) -> Option<usize> {
        known(self.free_public)
    }

    /// Sessions that this process has open, where the token says.
    pub fn sessions(&self) -> Option<u64> {
        (self.sessions != CK_UNAVAILABLE_INFORMATION).then_some(self.sessions)
    }

    /// Sessions that can be open; `None` also for no limit.
    pub fn max_sessions(&self) -> Option<u64> {
        let limits = ![CK_UNAVAILABLE_INFORMATION, CK_EFFECTIVELY_INFINITE].contains(&self.max_sessions);
        limits.then_some(self.max_sessions)
    }

    /// Whether the user PIN must be changed first.
    pub fn user_pin_to_be_changed(&self) -> bool {
        self.has(CKF_USER_PIN_TO_BE_CHANGED)
    }
}

fn known(number: CK_ULONG) -> Option<usize> {
    (number != CK_UNAVAILABLE_INFORMATION).then_some(number as usize)
}

/// The value of `mechanism` that travels; refused where its parameter has pointers.
fn plain(mechanism: &Mechanism<'_>) -> Result<RawMechanism> {
    RawMechanism::of(mechanism).ok_or(Error::NotSupported)
}

fn raw(template: &[Attribute]) -> Template {
    template.iter().map(library::raw).collect()
}

fn exposed(pin: &SecretString) -> Octets {
    pin.expose_secret().as_bytes().to_vec().into()
}

/// An answer to another question.
fn odd(function: Function) -> Error {
    match Rv::from(CKR_GENERAL_ERROR).into_result(function) {
        Err(error) => error,
        Ok(()) => Error::InvalidValue,
    }
}

/// Without the blanks and NULs that pad the fixed fields of PKCS#11.
pub fn trim(text: &str) -> String {
    text.trim_matches([' ', '\0']).to_owned()
}
