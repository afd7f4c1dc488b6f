//! PKCS#11 calls that failed, and what their return values mean.

use std::error::Error;
use std::fmt;

use cryptoki::context::Function;
use cryptoki::error::{Error as Cryptoki, RvError};

/// A PKCS#11 call that failed: `C_Login returned CKR_PIN_INCORRECT`.
#[derive(Debug)]
pub struct CallError(Cryptoki);

impl CallError {
    /// The function's name in the standard: `C_Login`.
    pub fn function(&self) -> String {
        match &self.0 {
            Cryptoki::Pkcs11(_, function) => format!("C_{function:?}"),
            _ => "the PKCS#11 module".into(),
        }
    }

    /// The return value's name in the standard: `CKR_PIN_INCORRECT`. In hexadecimal when it has none.
    pub fn code(&self) -> String {
        match &self.0 {
            Cryptoki::Pkcs11(RvError::VendorDefined(code) | RvError::UnknownErrorCode(code), _) => {
                format!("0x{code:08x}")
            }
            Cryptoki::Pkcs11(rv, _) => ckr(&format!("{rv:?}")),
            other => format!("something unreadable ({other})"),
        }
    }

    pub(super) fn new(error: Cryptoki) -> Self {
        Self(error)
    }

    pub(super) fn rv(&self) -> Option<RvError> {
        match self.0 {
            Cryptoki::Pkcs11(rv, _) => Some(rv),
            _ => None,
        }
    }

    /// Whether a new session may help: the session, the handle, the login or the device is gone, or the
    /// code says nothing. What the arguments or the data caused is not a loss.
    pub(super) fn is_loss(&self) -> bool {
        use RvError::*;
        match self.rv() {
            Some(rv) => matches!(
                rv,
                CryptokiNotInitialized
                    | DeviceError
                    | DeviceMemory
                    | DeviceRemoved
                    | FunctionCanceled
                    | FunctionFailed
                    | GeneralError
                    | HostMemory
                    | KeyHandleInvalid
                    | ObjectHandleInvalid
                    | OperationActive
                    | OperationNotInitialized
                    | SessionClosed
                    | SessionCount
                    | SessionHandleInvalid
                    | SlotIdInvalid
                    | TokenNotPresent
                    | TokenNotRecognized
                    | UserNotLoggedIn
                    | UnknownErrorCode(_)
                    | VendorDefined(_)
            ),
            None => true,
        }
    }

    /// Whether a failed `C_Decrypt` means that the token could not be asked. All else may be the doing of
    /// who sent the data: modules answer a wrong padding with `CKR_GENERAL_ERROR`, `CKR_FUNCTION_FAILED`
    /// and `CKR_DEVICE_ERROR` just as with the codes made for it.
    pub(super) fn is_loss_in_decryption(&self) -> bool {
        use RvError::*;
        match &self.0 {
            Cryptoki::Pkcs11(rv, Function::Decrypt) => matches!(
                rv,
                CryptokiNotInitialized
                    | DeviceRemoved
                    | KeyHandleInvalid
                    | ObjectHandleInvalid
                    | OperationNotInitialized
                    | SessionClosed
                    | SessionHandleInvalid
                    | TokenNotPresent
                    | TokenNotRecognized
                    | UserNotLoggedIn
            ),
            // C_DecryptInit and what comes before it have not seen the data.
            _ => true,
        }
    }

    /// Whether the login is missing at the operation itself, whose beginning was allowed: as with keys that
    /// want the PIN for each (PKCS#11 3.1, 4.9: `CKA_ALWAYS_AUTHENTICATE`).
    pub(super) fn wants_pin_each_time(&self) -> bool {
        matches!(self.0, Cryptoki::Pkcs11(RvError::UserNotLoggedIn, Function::Sign | Function::Decrypt))
    }

    /// Whether `C_Login` failed, and not for the PIN.
    pub(super) fn takes_no_login(&self) -> bool {
        matches!(self.0, Cryptoki::Pkcs11(_, Function::Login)) && !self.is_pin()
    }

    /// Whether the token refused this PIN.
    pub(super) fn refuses_pin(&self) -> bool {
        use RvError::*;
        matches!(self.rv(), Some(PinIncorrect | PinInvalid | PinLenRange | PinLocked))
    }

    /// Whether it is about the PIN.
    pub(super) fn is_pin(&self) -> bool {
        self.refuses_pin() || matches!(self.rv(), Some(RvError::PinExpired | RvError::UserPinNotInitialized))
    }

    /// What may help.
    pub(super) fn hint(&self, token: &str) -> Option<String> {
        use RvError::*;
        let hint = match self.rv()? {
            PinIncorrect | PinInvalid | PinLenRange => {
                "wrong PIN; it is not tried again until another one is given".into()
            }
            PinLocked => "the PIN is locked; unlock it with the security officer's PIN".into(),
            PinExpired => "the PIN must be changed first".into(),
            UserPinNotInitialized => "the token has no user PIN yet".into(),
            DeviceMemory => "the token is full; delete keys that are no longer needed".into(),
            CryptokiNotInitialized => "the module cannot be initialised; is the token away?".into(),
            TokenNotPresent | DeviceRemoved => "is the token plugged in?".into(),
            TokenWriteProtected | SessionReadOnly => "the token is write-protected".into(),
            KeyFunctionNotPermitted => {
                format!("the key was not made for this; see `show crypto pki token {token}`")
            }
            KeySizeRange => "the token cannot make or use keys of this size".into(),
            MechanismInvalid => format!("`show crypto pki token {token}` lists what it can do"),
            SessionCount => {
                "no more sessions; other programs use the token, or `sessions` is too large".into()
            }
            UserTypeInvalid => "this token wants another role for it".into(),
            _ => return None,
        };
        Some(hint)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} returned {}", self.function(), self.code())
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// `PinIncorrect` as `CKR_PIN_INCORRECT`.
fn ckr(variant: &str) -> String {
    let mut name = String::from("CKR");
    for letter in variant.chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_standard_names() {
        for (rv, name) in [
            (RvError::UserAnotherAlreadyLoggedIn, "CKR_USER_ANOTHER_ALREADY_LOGGED_IN"),
            (RvError::SessionReadWriteSoExists, "CKR_SESSION_READ_WRITE_SO_EXISTS"),
            (RvError::RandomNoRng, "CKR_RANDOM_NO_RNG"),
            (RvError::VendorDefined(0x8000_0001), "0x80000001"),
        ] {
            assert_eq!(CallError(Cryptoki::Pkcs11(rv, Function::Sign)).code(), name);
        }
    }

    #[test]
    fn bad_data_is_not_token_trouble() {
        let loss = |rv, function| CallError(Cryptoki::Pkcs11(rv, function)).is_loss_in_decryption();
        for rv in [
            RvError::GeneralError,
            RvError::FunctionFailed,
            RvError::DeviceError,
            RvError::EncryptedDataInvalid,
            RvError::EncryptedDataLenRange,
            RvError::DataInvalid,
            RvError::ArgumentsBad,
            RvError::VendorDefined(1 << 31),
        ] {
            assert!(!loss(rv, Function::Decrypt), "{rv:?}");
        }
        assert!(loss(RvError::SessionHandleInvalid, Function::Decrypt));
        assert!(loss(RvError::GeneralError, Function::DecryptInit));
    }
}
