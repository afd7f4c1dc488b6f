//! What the operator says about a token.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use secrecy::SecretString;

/// How to reach one token: `crypto pki token NAME` as values.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// What the operator calls it (`usbtoken0`); every error begins with it.
    pub name: String,
    /// A shipped profile by name (`softhsm2`), or a path that ends with `.toml`. `None`: the one that
    /// recognises the module, else `generic`.
    pub profile: Option<String>,
    /// The PKCS#11 library. `None`: the first existing one that the profile names.
    pub module: Option<PathBuf>,
    /// Which of the module's tokens.
    pub selector: Selector,
    /// Where the user PIN comes from.
    pub pin: PinSource,
    /// Logged-in sessions, each with a thread. `None`: as the profile says.
    pub sessions: Option<usize>,
    /// What a module takes in `pReserved` of `C_Initialize`. `None`: as the profile says.
    pub parameters: Option<String>,
    /// The program, this one, that runs the module in a process of its own
    /// ([`serve_module`](super::serve_module)). `None`: the module is in this process.
    pub apart: Option<PathBuf>,
    /// Where the security officer's PIN comes from, for tokens that make keys for nobody else.
    pub so_pin: Option<PinSource>,
    /// The file that remembers refused PINs over restarts, created with mode 0600. `None`: they are
    /// remembered while the token is open.
    pub lockout: Option<PathBuf>,
    /// The file that remembers which key has which label on tokens whose keys have fixed places
    /// (`[keygen.slots]` of the profile). `None`: until the token is closed.
    pub labels: Option<PathBuf>,
    /// When nobody logs in by itself any more.
    pub caution: Caution,
    /// Set when somebody was asked at the PIN pad in vain ([`PinSource::PinPad`]): opening the token once more
    /// asks nobody then.
    pub asked_in_vain: Arc<AtomicBool>,
}

/// When only an operator's [`Token::login`](super::Token::login) logs in. By default never: each PIN that the
/// source has is tried once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caution {
    /// After so many refused PINs in a row.
    pub max_refused: Option<u32>,
    /// After the token was away for longer.
    pub removal: Option<Duration>,
}

impl TokenConfig {
    /// The token of this name, found by `selector`; everything else as the profile that recognises the
    /// module says.
    pub fn new(name: impl Into<String>, selector: Selector, pin: PinSource) -> Self {
        Self {
            name: name.into(),
            profile: None,
            module: None,
            selector,
            pin,
            sessions: None,
            parameters: None,
            apart: None,
            so_pin: None,
            lockout: None,
            labels: None,
            caution: Caution::default(),
            asked_in_vain: Arc::default(),
        }
    }
}

/// Which of a module's tokens is meant. Everything given must match, spaces and NULs at either end
/// aside; with nothing given, the module must have exactly one initialised token. The same as the path of a
/// PKCS#11 URI (RFC 7512).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The token's label.
    pub label: Option<String>,
    /// The token's serial number. Two slots of one card may share it, and TPMs have all zeros.
    pub serial: Option<String>,
    /// The slot number. For tokens whose information cannot be read; slot numbers change.
    pub slot: Option<u64>,
    /// Who made the token.
    pub manufacturer: Option<String>,
    /// The token's model.
    pub model: Option<String>,
    /// What the slot is, as the name of a reader.
    pub slot_description: Option<String>,
    /// Who made the slot.
    pub slot_manufacturer: Option<String>,
    /// What the module is.
    pub library_description: Option<String>,
    /// Who made the module.
    pub library_manufacturer: Option<String>,
    /// The module's version, major and minor.
    pub library_version: Option<(u8, u8)>,
}

impl Selector {
    /// By label alone.
    pub fn label(label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..Self::default() }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = [
            ("label", &self.label),
            ("serial", &self.serial),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("slot description", &self.slot_description),
            ("slot manufacturer", &self.slot_manufacturer),
            ("library description", &self.library_description),
            ("library manufacturer", &self.library_manufacturer),
        ];
        let texts = texts.iter().filter_map(|(name, text)| Some(format!("{name} \"{}\"", text.as_ref()?)));
        let slot = self.slot.map(|slot| format!("slot {slot}"));
        let version = self.library_version.map(|(major, minor)| format!("library version {major}.{minor}"));
        f.write_str(&texts.chain(slot).chain(version).collect::<Vec<_>>().join(" and "))
    }
}

/// Where the user PIN comes from.
#[derive(Clone, Debug)]
pub enum PinSource {
    /// The first line of a file, read at each login.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A credential that systemd hands to the service: the first line of this file in
    /// `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// Asked on the terminal at the first login, then kept in memory.
    Prompt,
    /// Typed at the token's own PIN pad (`CKF_PROTECTED_AUTHENTICATION_PATH`): once when the token is opened first,
    /// and once for each [`Token::login`](super::Token::login). Nobody is asked at other times.
    PinPad,
    /// As given.
    Given(SecretString),
}
