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

use cryptoki::error::{Error, Result, Rv};
use cryptoki::mechanism::{Mechanism, MechanismInfo, MechanismType};
use cryptoki::object::{Attribute, AttributeType};
use cryptoki_sys::{
    CK_EFFECTIVELY_INFINITE, CK_MECHANISM_INFO, CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_SLOT_ID, CK_ULONG,
    CK_UNAVAILABLE_INFORMATION, CKF_PROTECTED_AUTHENTICATION_PATH, CKF_SO_PIN_FINAL_TRY, CKF_SO_PIN_LOCKED,
    CKF_TOKEN_INITIALIZED, CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_INITIALIZED,
    CKF_USER_PIN_LOCKED, CKF_USER_PIN_TO_BE_CHANGED, CKR_GENERAL_ERROR, CKS_RO_USER_FUNCTIONS,
    CKS_RW_USER_FUNCTIONS, CKU_SO, CKU_USER,
};
use secrecy::{ExposeSecret, SecretString};

use child::Child;
use library::Library;
use request::{Failure, Octets, Operation, Pin, RawMechanism, Reply, Request, Template};

pub use child::{WORD as MODULE_WORD, serve as serve_module};
pub use request::{LibraryInfo, SlotInfo, TokenInfo};

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

/// Something that is done with a key of the token.
pub struct Use<'a> {
    /// How.
    pub mechanism: &'a Mechanism<'a>,
    /// The key.
    pub key: ObjectHandle,
    /// To what.
    pub data: &'a [u8],
    /// Octets of the result at most.
    pub most: usize,
    /// For a key that wants it each time, by `C_Login` between the two calls.
    pub pin: Option<Entry<'a>>,
}

/// How a PIN gets into the token.
#[derive(Clone, Copy)]
pub enum Entry<'a> {
    /// It is given by the call.
    Given(&'a SecretString),
    /// Somebody types it at the token's own PIN pad, while the call lasts.
    AtPad,
}

/// How long somebody may take to type a PIN at a PIN pad; most give up earlier.
pub const AT_PAD: Duration = Duration::from_secs(90);

/// The value of this variant of a [`Reply`], if it is one.
macro_rules! taking {
    ($variant:ident) => {
        |reply| match reply {
            Reply::$variant(value) => Some(value),
            _ => None,
        }
    };
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

    /// Other time-outs for a module in a process of its own.
    pub fn set_timeouts(&self, timeouts: (Duration, Duration)) {
        if let Module::Apart(child) = &*self.0 {
            child.set_timeouts(timeouts);
        }
    }

    /// `C_Initialize`, with locks of the operating system and with `reserved` in `pReserved` for modules that
    /// take their parameters there.
    pub fn initialize(&self, reserved: Option<&str>) -> Result<()> {
        self.tell(Request::Initialize { reserved: reserved.map(str::to_owned) })
    }

    /// `C_Finalize`. All sessions and handles are invalid after it.
    pub fn finalize(&self) -> Result<()> {
        self.tell(Request::Finalize)
    }

    /// `C_GetInfo`.
    pub fn info(&self) -> Result<LibraryInfo> {
        self.ask(Request::Info, taking!(Info))
    }

    /// The slots in which a token is (`C_GetSlotList`).
    pub fn slots_with_token(&self) -> Result<Vec<Slot>> {
        let slots = self.ask(Request::SlotsWithToken, taking!(Numbers))?;
        Ok(slots.into_iter().map(Slot).collect())
    }

    /// `C_GetSlotInfo`.
    pub fn slot_info(&self, slot: Slot) -> Result<SlotInfo> {
        self.ask(Request::SlotInfo { slot: slot.0 }, taking!(Slot))
    }

    /// `C_GetTokenInfo`.
    pub fn token_info(&self, slot: Slot) -> Result<TokenInfo> {
        self.ask(Request::TokenInfo { slot: slot.0 }, taking!(Token))
    }

    /// The token's mechanisms by number (`C_GetMechanismList`), also those that `cryptoki` has no name for.
    pub fn mechanisms(&self, slot: Slot) -> Result<Vec<CK_ULONG>> {
        self.ask(Request::Mechanisms { slot: slot.0 }, taking!(Numbers))
    }

    /// `C_GetMechanismInfo`.
    pub fn mechanism_info(&self, slot: Slot, mechanism: MechanismType) -> Result<MechanismInfo> {
        let request = Request::MechanismInfo { slot: slot.0, kind: mechanism.into() };
        self.ask(request, |reply| match reply {
            Reply::Mechanism { least, most, flags } => {
                Some(CK_MECHANISM_INFO { ulMinKeySize: least, ulMaxKeySize: most, flags }.into())
            }
            _ => None,
        })
    }

    /// A session for reading and writing (`C_OpenSession`).
    pub fn open_session(&self, slot: Slot) -> Result<Session> {
        let id = self.ask(Request::OpenSession { slot: slot.0 }, taking!(Handle))?;
        Ok(Session { context: self.clone(), id })
    }

    /// `C_CloseAllSessions`, of this process; which logs it out, too.
    pub fn close_all_sessions(&self, slot: Slot) -> Result<()> {
        self.tell(Request::CloseAllSessions { slot: slot.0 })
    }

    /// Asks, and takes what is wanted out of the reply.
    fn ask<T>(&self, request: Request, take: impl FnOnce(Reply) -> Option<T>) -> Result<T> {
        let functions = request.functions();
        let done = match &*self.0 {
            Module::Here(library) => library.perform(request),
            Module::Apart(child) => child.perform(&request),
        };
        let last = functions[functions.len() - 1];
        // An answer to another question is the module's failure.
        let (function, rv) = match done.map(take) {
            Ok(Some(taken)) => return Ok(taken),
            Ok(None) => (last, CKR_GENERAL_ERROR),
            Err(Failure { step, rv }) => (functions.get(usize::from(step)).copied().unwrap_or(last), rv),
        };
        Err(Rv::from(rv).into_result(function).err().unwrap_or(Error::InvalidValue))
    }

    /// Asks for something that has no result.
    fn tell(&self, request: Request) -> Result<()> {
        self.ask(request, |_| Some(()))
    }
}

impl Session {
    /// `C_CloseSession`.
    pub fn close(self) -> Result<()> {
        self.context.tell(Request::CloseSession { session: self.id })
    }

    /// Whether the module says that the user is logged in (`C_GetSessionInfo`). Many say so long after the
    /// token is gone.
    pub fn is_logged_in(&self) -> Result<bool> {
        let state = self.context.ask(Request::SessionState { session: self.id }, taking!(State))?;
        Ok([CKS_RW_USER_FUNCTIONS, CKS_RO_USER_FUNCTIONS].contains(&state))
    }

    /// `C_Login`.
    pub fn login(&self, user: User, pin: Entry<'_>) -> Result<()> {
        let user = match user {
            User::User => CKU_USER,
            User::SecurityOfficer => CKU_SO,
        };
        self.context.tell(Request::Login { session: self.id, user, pin: pin.into() })
    }

    /// `C_Logout`, of this process.
    pub fn logout(&self) -> Result<()> {
        self.context.tell(Request::Logout { session: self.id })
    }

    /// `C_SetPIN`: changes the PIN of who is logged in, or of the user when nobody is.
    pub fn set_pin(&self, old: &SecretString, new: &SecretString) -> Result<()> {
        let (old, new) = (exposed(old), exposed(new));
        self.context.tell(Request::SetPin { session: self.id, old, new })
    }

    /// The objects that have all these attributes (`C_FindObjects`).
    pub fn find_objects(&self, template: &[Attribute]) -> Result<Vec<ObjectHandle>> {
        let request = Request::Find { session: self.id, template: raw(template) };
        let found = self.context.ask(request, taking!(Numbers))?;
        Ok(found.into_iter().map(ObjectHandle).collect())
    }

    /// Attribute values, those left out that the object lacks or does not show (`C_GetAttributeValue`).
    pub fn attributes(&self, object: ObjectHandle, wanted: &[AttributeType]) -> Result<Vec<Attribute>> {
        let kinds: Vec<_> = wanted.iter().map(|kind| (*kind).into()).collect();
        let request = Request::Attributes { session: self.id, object: object.0, kinds: kinds.clone() };
        let values = self.context.ask(request, taking!(Values))?;
        let found = kinds.into_iter().zip(values).filter_map(|(kind, value)| Some((kind, value?)));
        Ok(found.filter_map(|(kind, mut value)| library::typed(kind, &mut value)).collect())
    }

    /// Octets that an attribute has; `None` for one that the object lacks.
    pub fn size(&self, object: ObjectHandle, attribute: AttributeType) -> Result<Option<usize>> {
        let request = Request::Size { session: self.id, object: object.0, kind: attribute.into() };
        self.context.ask(request, taking!(Size))
    }

    /// `C_CreateObject`.
    pub fn create_object(&self, template: &[Attribute]) -> Result<ObjectHandle> {
        let request = Request::Create { session: self.id, template: raw(template) };
        self.context.ask(request, taking!(Handle)).map(ObjectHandle)
    }

    /// `C_DestroyObject`.
    pub fn destroy_object(&self, object: ObjectHandle) -> Result<()> {
        self.context.tell(Request::Destroy { session: self.id, object: object.0 })
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
        self.context.ask(request, |reply| match reply {
            Reply::Pair(public, private) => Some((ObjectHandle(public), ObjectHandle(private))),
            _ => None,
        })
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
        self.context.ask(request, taking!(Octets))
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
        self.context.ask(request, taking!(Handle)).map(ObjectHandle)
    }

    /// `C_SignInit` and `C_Sign`.
    pub fn sign(&self, what: &Use<'_>) -> Result<Octets> {
        self.context.ask(Request::Sign(self.operation(what)?), taking!(Octets))
    }

    /// `C_DecryptInit` and `C_Decrypt`.
    pub fn decrypt(&self, what: &Use<'_>) -> Result<Octets> {
        self.context.ask(Request::Decrypt(self.operation(what)?), taking!(Octets))
    }

    fn operation(&self, what: &Use<'_>) -> Result<Operation> {
        Ok(Operation {
            session: self.id,
            mechanism: plain(what.mechanism)?,
            key: what.key.0,
            data: what.data.to_vec().into(),
            most: what.most,
            pin: what.pin.map(Into::into),
        })
    }
}

impl From<Entry<'_>> for Pin {
    fn from(entry: Entry<'_>) -> Self {
        match entry {
            Entry::Given(pin) => Self::Given(exposed(pin)),
            Entry::AtPad => Self::AtPad,
        }
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

    /// Whether it has a PIN pad, or another way of its own to be unlocked.
    pub fn has_pin_pad(&self) -> bool {
        self.has(CKF_PROTECTED_AUTHENTICATION_PATH)
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

/// Without the blanks and NULs that pad the fixed fields of PKCS#11.
pub fn trim(text: &str) -> String {
    text.trim_matches([' ', '\0']).to_owned()
}
