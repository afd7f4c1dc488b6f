//! What becomes of callers, devices and certificates when a token fails, and that nothing has to be restarted
//! when it no longer does: `tokenca::token`, and a server, over the module of `tests/faulty`.
//!
//! After a failure the token is tried again in its own time, so these stories wait for what must come, with a
//! deadline.

mod always;
mod apart;
mod away;
mod enrol;
mod hang;
mod load;
mod lost;
mod pad;
mod pin;
mod scene;
mod server_load;
#[path = "../support/mod.rs"]
mod support;
mod wrong;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokenca::pki::{
    Curve, DecryptionKey, Hash, KeyError, KeyErrorKind, KeyKind, KeyTransport, SignatureAlgorithm, SigningKey,
};
use tokenca::token::{KeyUsage, PinSource, Selector, Token, TokenConfig, TokenKey};

use support::faulty::{Call, Faulty, Rule};
use support::softhsm;

/// Tests, each in a process of its own.
macro_rules! stories {
    ($($(#[$attribute:meta])* fn $name:ident($faulty:ident: &Faulty) $body:block)+) => {$(
        #[test]
        $(#[$attribute])*
        fn $name() {
            let name = concat!(module_path!(), "::", stringify!($name));
            // The name of a test begins below its crate.
            let (_, name) = name.split_once("::").unwrap();
            crate::support::faulty::own_process(name, |$faulty: &Faulty| $body);
        }
    )+};
}
use stories;

/// An opened token behind the module, and its module.
struct Lab<'f> {
    faulty: &'f Faulty,
    token: Token,
}

impl<'f> Lab<'f> {
    /// With one session, so that it is known which calls come after each other.
    fn new(faulty: &'f Faulty) -> Self {
        Self::with(faulty, config(faulty, ""))
    }

    fn with(faulty: &'f Faulty, config: TokenConfig) -> Self {
        Self { faulty, token: Token::open(&config).expect("nothing is planned yet") }
    }

    /// A new P-256 key.
    fn ec(&self, label: &str) -> TokenKey {
        self.token.generate(label, P256, SIGN, false).expect("a key")
    }

    /// A new RSA key that signs and decrypts.
    fn rsa(&self, label: &str) -> TokenKey {
        self.token.generate(label, KeyKind::Rsa { bits: 2048 }, BOTH, false).expect("a key")
    }

    /// The calls that `action` makes.
    fn calls_of<T>(&self, action: impl FnOnce() -> T) -> (T, Vec<Call>) {
        let before = self.faulty.calls().len();
        let done = action();
        (done, self.faulty.calls().split_off(before))
    }

    /// Waits until the key signs again. Nobody has to do anything for it.
    #[track_caller]
    fn comes_back(&self, key: &TokenKey) {
        let started = Instant::now();
        while let Err(error) = sign(key) {
            assert!(started.elapsed() < PATIENCE, "it stays away: {error:?}, {:?}", self.token.state());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The token with this text of a profile before what SoftHSM needs.
fn config(faulty: &Faulty, profile: &str) -> TokenConfig {
    let path = faulty.dir.join("profile.toml");
    let text = match profile.contains("timeout") {
        true => format!("keygen_timeout = 20\n{profile}"),
        false => format!("keygen_timeout = 20\ntimeout = 10\n{profile}"),
    };
    fs::write(&path, format!("{text}\n[keygen]\nserialize = true\n")).expect("a file");
    let pin = PinSource::Given(pin().into());
    TokenConfig {
        profile: Some(path.to_str().expect("it is text").into()),
        module: Some(faulty.library.clone()),
        sessions: Some(1),
        ..TokenConfig::new("usbtoken0", Selector::label("tokenca"), pin)
    }
}

/// The same with the module in a process of its own.
fn isolated(faulty: &Faulty, profile: &str) -> TokenConfig {
    TokenConfig { apart: Some(PathBuf::from(env!("CARGO_BIN_EXE_tokenca"))), ..config(faulty, profile) }
}

/// The PIN of the real token.
fn pin() -> String {
    std::env::var(softhsm::PIN).expect("the PIN")
}

/// Signs; what comes must verify, whatever the token is told to do.
fn sign(key: &TokenKey) -> Result<(), KeyError> {
    let signature = key.sign(Hash::Sha256, MESSAGE)?;
    let algorithm = SignatureAlgorithm::for_key(key.info().kind, Hash::Sha256);
    key.public_key().verify(algorithm, MESSAGE, &signature).expect("no wrong signature leaves the token");
    Ok(())
}

/// Opens an envelope; what comes must be what was put in.
fn open(key: &TokenKey) -> Result<(), KeyError> {
    let wrapped = key.public_key().encrypt(KeyTransport::Pkcs1v15, CONTENT_KEY).expect("it fits");
    let opened = key.unwrap_key(KeyTransport::Pkcs1v15, &wrapped, CONTENT_KEY.len())?;
    assert_eq!(*opened, CONTENT_KEY, "no wrong key leaves the token");
    Ok(())
}

/// The operation must fail as one for which the token is not there, with these words.
#[track_caller]
fn unavailable(result: Result<(), KeyError>, words: &str) {
    let error = result.expect_err("it fails");
    assert_eq!(error.kind, KeyErrorKind::Unavailable, "{error:?}");
    assert!(error.source.to_string().contains(words), "{}", error.source);
}

/// Calls, one a line, for who reads why a test failed.
fn lines(calls: &[Call]) -> String {
    let handle = |handle: Option<u64>| handle.map_or("--".to_owned(), |handle| handle.to_string());
    let line = |call: &Call| {
        let (session, object) = (handle(call.session), handle(call.object));
        format!("{} {} session {session} object {object}: {}\n", call.number, call.function, call.rv)
    };
    calls.iter().map(line).collect()
}

/// Calls of a function that have ended.
fn count(calls: &[Call], function: &str) -> usize {
    calls.iter().filter(|call| call.is(function)).count()
}

/// No session is used after the calls that ended it and all others, and no object that was not looked at in the
/// session in which it is used.
#[track_caller]
fn no_old_handles(calls: &[Call]) {
    let mut calls = calls.to_vec();
    calls.sort_by_key(|call| call.number);
    let (mut used, mut dead, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    for call in &calls {
        if let Some(session) = call.session {
            assert!(!dead.contains(&session), "{call:?} uses a session of before:\n{}", lines(&calls));
            used.push(session);
        }
        match (call.function.as_str(), call.session, call.object) {
            ("C_Finalize" | "C_CloseAllSessions", ..) => dead.append(&mut used),
            ("C_GetAttributeValue" | "C_GetAttributeValue?", Some(session), Some(object)) => {
                seen.push((session, object));
            }
            ("C_SignInit" | "C_DecryptInit", Some(session), Some(object)) => {
                let known = seen.contains(&(session, object));
                assert!(known, "{call:?} uses an object of before:\n{}", lines(&calls));
            }
            _ => {}
        }
    }
}

const P256: KeyKind = KeyKind::Ec(Curve::P256);
const SIGN: KeyUsage = KeyUsage { sign: true, decrypt: false };
const BOTH: KeyUsage = KeyUsage { sign: true, decrypt: true };
const MESSAGE: &[u8] = b"what is signed";
const CONTENT_KEY: &[u8; 16] = b"an AES-128 key..";
/// How long a token may take to be back. Tries come after 1, 2, 4 … seconds, and the machine does other things.
const PATIENCE: Duration = Duration::from_secs(60);
