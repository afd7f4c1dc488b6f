//! PKCS#11 calls as values: what a module is asked and what it answers, without pointers, so that a request
//! can be carried out here or in another process.

use cryptoki::context::Function;
use cryptoki_sys::{
    CK_ATTRIBUTE_TYPE, CK_FLAGS, CK_MECHANISM_TYPE, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID,
    CK_STATE, CK_ULONG, CK_USER_TYPE,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Octets that may be secret: wiped when dropped.
pub type Octets = Zeroizing<Vec<u8>>;
/// Attributes with their values as the module wants them.
pub type Template = Vec<(CK_ATTRIBUTE_TYPE, Octets)>;

/// A mechanism with its parameter, which holds no pointers.
#[derive(Debug, Serialize, Deserialize)]
pub struct RawMechanism {
    pub kind: CK_MECHANISM_TYPE,
    /// The parameter's structure as it lies in memory; empty for none.
    pub parameter: Vec<u8>,
}

/// Something that is done with a key of the token.
#[derive(Serialize, Deserialize)]
pub struct Operation {
    pub session: CK_SESSION_HANDLE,
    pub mechanism: RawMechanism,
    pub key: CK_OBJECT_HANDLE,
    pub data: Octets,
    /// Octets of the result at most. Given at once, since some modules carry the whole operation out to
    /// tell its length.
    pub most: usize,
    /// For keys with `CKA_ALWAYS_AUTHENTICATE`: given by `C_Login` with `CKU_CONTEXT_SPECIFIC` after the
    /// operation is begun.
    pub pin: Option<Pin>,
}

/// How `C_Login` gets a PIN.
#[derive(Serialize, Deserialize)]
pub enum Pin {
    Given(Octets),
    /// Typed at the token's own PIN pad, while the call lasts.
    AtPad,
}

/// One or a few calls that belong together.
#[derive(Serialize, Deserialize)]
pub enum Request {
    Initialize {
        reserved: Option<String>,
    },
    Finalize,
    Info,
    SlotsWithToken,
    SlotInfo {
        slot: CK_SLOT_ID,
    },
    TokenInfo {
        slot: CK_SLOT_ID,
    },
    Mechanisms {
        slot: CK_SLOT_ID,
    },
    MechanismInfo {
        slot: CK_SLOT_ID,
        kind: CK_MECHANISM_TYPE,
    },
    OpenSession {
        slot: CK_SLOT_ID,
    },
    CloseSession {
        session: CK_SESSION_HANDLE,
    },
    CloseAllSessions {
        slot: CK_SLOT_ID,
    },
    SessionState {
        session: CK_SESSION_HANDLE,
    },
    Login {
        session: CK_SESSION_HANDLE,
        user: CK_USER_TYPE,
        pin: Pin,
    },
    Logout {
        session: CK_SESSION_HANDLE,
    },
    SetPin {
        session: CK_SESSION_HANDLE,
        old: Octets,
        new: Octets,
    },
    Find {
        session: CK_SESSION_HANDLE,
        template: Template,
    },
    Attributes {
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kinds: Vec<CK_ATTRIBUTE_TYPE>,
    },
    Size {
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    },
    Create {
        session: CK_SESSION_HANDLE,
        template: Template,
    },
    Destroy {
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
    },
    GenerateKeyPair {
        session: CK_SESSION_HANDLE,
        mechanism: RawMechanism,
        public: Template,
        private: Template,
    },
    Wrap {
        session: CK_SESSION_HANDLE,
        mechanism: RawMechanism,
        with: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
    },
    Unwrap {
        session: CK_SESSION_HANDLE,
        mechanism: RawMechanism,
        with: CK_OBJECT_HANDLE,
        wrapped: Vec<u8>,
        template: Template,
    },
    Sign(Operation),
    Decrypt(Operation),
}

impl Request {
    /// Whether the call lasts until somebody has typed a PIN.
    pub fn waits_for_pad(&self) -> bool {
        match self {
            Self::Login { pin, .. } => matches!(pin, Pin::AtPad),
            Self::Sign(operation) | Self::Decrypt(operation) => matches!(operation.pin, Some(Pin::AtPad)),
            _ => false,
        }
    }

    /// The functions that it calls, in their order: [`Failure::step`] counts in them.
    pub fn functions(&self) -> &'static [Function] {
        match self {
            Self::Initialize { .. } => &[Function::Initialize],
            Self::Finalize => &[Function::Finalize],
            Self::Info => &[Function::GetInfo],
            Self::SlotsWithToken => &[Function::GetSlotList],
            Self::SlotInfo { .. } => &[Function::GetSlotInfo],
            Self::TokenInfo { .. } => &[Function::GetTokenInfo],
            Self::Mechanisms { .. } => &[Function::GetMechanismList],
            Self::MechanismInfo { .. } => &[Function::GetMechanismInfo],
            Self::OpenSession { .. } => &[Function::OpenSession],
            Self::CloseSession { .. } => &[Function::CloseSession],
            Self::CloseAllSessions { .. } => &[Function::CloseAllSessions],
            Self::SessionState { .. } => &[Function::GetSessionInfo],
            Self::Login { .. } => &[Function::Login],
            Self::Logout { .. } => &[Function::Logout],
            Self::SetPin { .. } => &[Function::SetPIN],
            Self::Find { .. } => &[Function::FindObjectsInit, Function::FindObjects],
            Self::Attributes { .. } | Self::Size { .. } => &[Function::GetAttributeValue],
            Self::Create { .. } => &[Function::CreateObject],
            Self::Destroy { .. } => &[Function::DestroyObject],
            Self::GenerateKeyPair { .. } => &[Function::GenerateKeyPair],
            Self::Wrap { .. } => &[Function::WrapKey],
            Self::Unwrap { .. } => &[Function::UnwrapKey],
            Self::Sign(_) => &[Function::SignInit, Function::Login, Function::Sign],
            Self::Decrypt(_) => &[Function::DecryptInit, Function::Login, Function::Decrypt],
        }
    }
}

/// What came of a [`Request`].
#[derive(Serialize, Deserialize)]
pub enum Reply {
    Done,
    Handle(CK_ULONG),
    Pair(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE),
    Numbers(Vec<CK_ULONG>),
    Octets(Octets),
    /// `None` for what the object lacks or does not show.
    Values(Vec<Option<Octets>>),
    Size(Option<usize>),
    State(CK_STATE),
    Info(LibraryInfo),
    Slot(SlotInfo),
    Token(TokenInfo),
    Mechanism {
        least: CK_ULONG,
        most: CK_ULONG,
        flags: CK_FLAGS,
    },
}

/// A call that did not return `CKR_OK`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// Which of [`Request::functions`].
    pub step: u8,
    pub rv: CK_RV,
}

/// `CK_INFO` (PKCS#11 3.1, 3.1), blanks and NULs at the ends removed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LibraryInfo {
    pub manufacturer: String,
    pub description: String,
    /// Of the library.
    pub version: (u8, u8),
    /// Of the standard that it follows.
    pub cryptoki: (u8, u8),
}

/// `CK_SLOT_INFO` (PKCS#11 3.1, 3.2), as far as it tells slots apart, blanks and NULs at the ends removed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SlotInfo {
    pub description: String,
    pub manufacturer: String,
}

/// `CK_TOKEN_INFO` (PKCS#11 3.1, 3.2), blanks and NULs at the ends removed. The clock is left out: modules
/// write it in forms of their own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenInfo {
    pub label: String,
    pub manufacturer: String,
    pub model: String,
    pub serial: String,
    /// `CKF_…`.
    pub flags: CK_FLAGS,
    pub max_sessions: CK_ULONG,
    pub sessions: CK_ULONG,
    /// Zero means unknown, here and below.
    pub max_pin: usize,
    pub min_pin: usize,
    pub free_public: CK_ULONG,
    pub free_private: CK_ULONG,
    pub firmware: (u8, u8),
}

impl TokenInfo {
    /// Whether a flag (`CKF_…`) is set.
    pub fn has(&self, flag: CK_FLAGS) -> bool {
        self.flags & flag != 0
    }
}
