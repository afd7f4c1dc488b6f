//! What a token says of itself.

use serde::Serialize;

use super::sys;

/// What a token says of itself. `None` where it does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenInfo {
    /// Its label.
    pub label: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Who made it.
    pub manufacturer: String,
    /// Firmware, `major.minor`.
    pub firmware: String,
    /// The slot it is in now.
    pub slot: u64,
    /// What it says of its user PIN; many tokens never do.
    pub pin: PinState,
    /// Octets free for private objects.
    pub free_private: Option<usize>,
    /// Octets free for public objects.
    pub free_public: Option<usize>,
    /// Sessions that this process has open.
    pub sessions: Option<u64>,
    /// Sessions that can be open; `None` also for no limit.
    pub max_sessions: Option<u64>,
}

/// The flags of the user PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PinState {
    /// There is one.
    pub initialized: bool,
    /// It was wrong at least once since the last login.
    pub count_low: bool,
    /// One more wrong try locks it.
    pub final_try: bool,
    /// It is locked.
    pub locked: bool,
    /// It must be changed before the token works.
    pub to_be_changed: bool,
    /// It can be typed at the token, which has a PIN pad or the like.
    pub at_pad: bool,
}

impl TokenInfo {
    pub(super) fn new(slot: u64, info: &sys::TokenInfo) -> Self {
        Self {
            label: info.label.clone(),
            model: info.model.clone(),
            serial: info.serial.clone(),
            manufacturer: info.manufacturer.clone(),
            firmware: format!("{}.{}", info.firmware.0, info.firmware.1),
            slot,
            pin: PinState {
                initialized: info.user_pin_initialized(),
                count_low: info.user_pin_count_low(),
                final_try: info.user_pin_final_try(),
                locked: info.user_pin_locked(),
                to_be_changed: info.user_pin_to_be_changed(),
                at_pad: info.has_pin_pad(),
            },
            free_private: info.free_private(),
            free_public: info.free_public(),
            sessions: info.sessions(),
            max_sessions: info.max_sessions(),
        }
    }
}
