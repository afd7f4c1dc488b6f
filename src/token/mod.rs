//! Tokens: the only code that names PKCS#11.
//!
//! A [`Token`] is one opened token of one module: found by its label, logged in once, and used by a few
//! worker threads behind one bounded queue with priorities. Its keys are [`TokenKey`]s, which are what
//! the layers above see of it, through [`SigningKey`](crate::pki::SigningKey) and
//! [`DecryptionKey`]. What providers do differently stands in
//! `pkcs11-profiles/*.toml`; what is tried when a token goes away, in `session.rs`.
//!
//! Calls block. Nobody waits without end: a full queue is refused at once, and every caller has a
//! time-out. A call that never returns from the module keeps its worker, and the process is not forked
//! after a module is loaded.

mod certificate;
mod config;
mod counters;
mod error;
mod file;
mod gate;
mod generate;
mod key;
mod mechanism;
mod module;
mod object;
mod pin;
mod profile;
mod session;
mod transfer;
mod wanted;
mod worker;
mod wrap;

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::slot::Limit;
use serde::Serialize;

use crate::pki::{DecryptionKey, KeyKind, KeyTransport, PrivateKey};

pub use certificate::TokenCertificate;
pub use config::{PinSource, Selector, TokenConfig};
pub use counters::Counters;
pub use error::{CallError, Origin, Problem, TokenError};
pub use file::TokenFile;
pub use key::TokenKey;
pub use mechanism::Capabilities;
pub use object::{KeyInfo, KeyUsage};
pub use profile::{Profile, ProfileError};
pub use worker::Priority;

use module::{Module, trim};
use pin::PinCare;
use session::{Connection, Link};
use wanted::Wanted;
use worker::Pool;

/// An opened token. Cheap to clone; its sessions are closed with the last clone and the last key.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

struct Inner {
    link: Arc<Link>,
    pool: Pool<Connection>,
}

impl Token {
    /// Loads the module unless the process has it already, finds the token and logs in.
    pub fn open(config: &TokenConfig) -> Result<Self, TokenError> {
        let fail = |problem| TokenError::new(&config.name, problem, None);
        let (module, profile) = Module::of(config).map_err(fail)?;
        let fail = |problem| TokenError::new(&config.name, problem, Some(&profile));
        let (capabilities, most) = survey(&module, config, &profile).map_err(fail)?;
        let pin = PinCare::new(&config.name, config.pin.clone(), config.lockout.clone()).map_err(fail)?;
        let sessions = config.sessions.unwrap_or_else(|| profile.sessions()).max(1);
        let link = Arc::new(Link {
            name: config.name.clone(),
            profile,
            module,
            selector: config.selector.clone(),
            pin,
            capabilities,
            counters: Default::default(),
            changes: AtomicU64::new(0),
        });
        let pool = Pool::start(&config.name, sessions.min(most), link.profile.queue(), {
            let link = Arc::clone(&link);
            move || Connection::new(Arc::clone(&link))
        });
        let token = Self(Arc::new(Inner { link, pool }));
        token.ask(Priority::Operator, token.timeout(), |connection| connection.once(|_, _| Ok(())))?;
        Ok(token)
    }

    /// The operator's name for it.
    pub fn name(&self) -> &str {
        &self.0.link.name
    }

    /// The profile in use.
    pub fn profile(&self) -> &Profile {
        &self.0.link.profile
    }

    /// The module.
    pub fn module(&self) -> &Path {
        &self.0.link.module.path
    }

    /// What the token can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.link.capabilities
    }

    /// Logged-in sessions that serve, each with a thread.
    pub fn sessions(&self) -> usize {
        self.0.pool.workers()
    }

    /// How much it was asked.
    pub fn counters(&self) -> Counters {
        self.0.link.counters.read(self.0.pool.waiting())
    }

    /// The private key with this label. More than one is an error.
    pub fn find(&self, label: &str) -> Result<Option<TokenKey>, TokenError> {
        let wanted = label.to_owned();
        let found = self.ask(Priority::Operator, self.timeout(), move |connection| {
            connection.run(|link, open| {
                let _guard = link.read_objects();
                let mut template = PRIVATE_KEYS.to_vec();
                template.push(Attribute::Label(wanted.as_bytes().to_vec()));
                match open.session.find_objects(&template)?[..] {
                    [] => Ok(None),
                    [handle] => object::read(&open.session, handle, &link.profile),
                    ref several => Err(Problem::ManyKeys { label: wanted.clone(), count: several.len() }),
                }
            })
        })?;
        Ok(found.map(|info| TokenKey::new(self.clone(), info)))
    }

    /// The private key with this label; [`Problem::NoKey`] when there is none.
    pub fn key(&self, label: &str) -> Result<TokenKey, TokenError> {
        self.find(label)?.ok_or_else(|| self.error(Problem::NoKey { label: label.into() }))
    }

    /// Generates a key on the token: it cannot be read, and unless it is `exportable` it cannot be wrapped
    /// either and stays there. Everything is read back, and the key is tried; it is deleted again when
    /// anything is not as it should be.
    ///
    /// Takes from milliseconds to minutes. [`Problem::KeyExists`] when the label is taken.
    pub fn generate(
        &self,
        label: &str,
        kind: KeyKind,
        usage: KeyUsage,
        exportable: bool,
    ) -> Result<TokenKey, TokenError> {
        let origin = Origin::Generated;
        let wanted = Wanted { label: label.into(), kind, usage, exportable, origin };
        self.make(wanted, generate::generate)
    }

    /// Brings a key to the token, where it is from then on like a generated one: it cannot be read, and
    /// cannot leave again unless it is `exportable`. Everything is read back, and the key is tried; it is
    /// deleted again when anything is not as it should be.
    ///
    /// [`Problem::KeyExists`] when the label is taken, [`Problem::NotOffered`] when the token takes no keys.
    pub fn import(
        &self,
        label: &str,
        key: &PrivateKey,
        usage: KeyUsage,
        exportable: bool,
    ) -> Result<TokenKey, TokenError> {
        let origin = Origin::Imported;
        let wanted = Wanted { label: label.into(), kind: key.kind(), usage, exportable, origin };
        let key = key.clone();
        self.make(wanted, move |connection, wanted| transfer::import(connection, wanted, &key))
    }

    /// The private key with this label, taken from the token. [`Problem::NotExportable`] unless it was made
    /// `exportable`.
    pub fn export(&self, label: &str) -> Result<PrivateKey, TokenError> {
        let key = self.key(label)?;
        if key.info().extractable != Some(true) {
            return Err(self.error(Problem::NotExportable { label: label.into() }));
        }
        self.ask(Priority::Operator, self.timeout(), move |connection| {
            connection.run(|link, open| transfer::export(link, open, key.info()))
        })
    }

    /// Deletes the key pair with this label, for ever.
    pub fn delete(&self, label: &str) -> Result<(), TokenError> {
        let label = label.to_owned();
        self.ask(Priority::Operator, self.timeout(), move |connection| {
            connection.run(|link, open| generate::delete(link, open, &label))
        })
    }

    /// The private keys that this product could use.
    pub fn keys(&self) -> Result<Vec<KeyInfo>, TokenError> {
        self.ask(Priority::Operator, self.timeout(), |connection| {
            connection.run(|link, open| {
                let _guard = link.read_objects();
                let mut keys = Vec::new();
                for handle in open.session.find_objects(&PRIVATE_KEYS)? {
                    match object::read(&open.session, handle, &link.profile) {
                        Ok(key) => keys.extend(key),
                        // Somebody else's: no reason to hide the others.
                        Err(problem @ Problem::NoPublicKey { .. }) => {
                            tracing::warn!(token = link.name, %problem, "a key is left out");
                        }
                        Err(problem) => return Err(problem),
                    }
                }
                Ok(keys)
            })
        })
    }

    /// What the token says of itself now.
    pub fn info(&self) -> Result<TokenInfo, TokenError> {
        self.ask(Priority::Operator, self.timeout(), |connection| {
            connection.run(|link, open| {
                let slot = module::find_token(&open.context, &link.selector, &link.profile)?;
                Ok(TokenInfo::new(slot.id(), &open.context.get_token_info(slot)?))
            })
        })
    }

    /// A new key, tried before anybody has it.
    fn make(
        &self,
        wanted: Wanted,
        make: impl FnOnce(&mut Connection, &Wanted) -> Result<KeyInfo, Problem> + Send + 'static,
    ) -> Result<TokenKey, TokenError> {
        let (label, origin) = (wanted.label.clone(), wanted.origin);
        let timeout = self.0.link.profile.keygen_timeout();
        let info = self.ask(Priority::Operator, timeout, move |connection| make(connection, &wanted))?;
        let key = TokenKey::new(self.clone(), info).with_priority(Priority::Operator);
        if let Err(error) = self.try_out(&key, origin) {
            if let Err(error) = self.delete(&label) {
                tracing::error!(%error, "a key that failed its test is still there");
            }
            return Err(error);
        }
        Ok(key.with_priority(Priority::Issue))
    }

    fn try_out(&self, key: &TokenKey, origin: Origin) -> Result<(), TokenError> {
        let failed = |operation, source: Box<dyn Error + Send + Sync>| {
            let label = key.info().label.clone();
            self.error(Problem::TestFailed { origin, label, operation, source })
        };
        if key.info().usage.sign {
            key.self_test().map_err(|error| failed("signature", error.into()))?;
        }
        if key.can_decrypt() {
            let transport = KeyTransport::Pkcs1v15;
            let wrapped = key.public_key().encrypt(transport, TEST_KEY);
            let wrapped = wrapped.ok_or_else(|| failed("encryption", "the key is too small".into()))?;
            let opened = key.unwrap_key(transport, &wrapped, TEST_KEY.len());
            let opened = opened.map_err(|error| failed("decryption", error.source))?;
            if *opened != TEST_KEY {
                return Err(failed("decryption", "the result is wrong".into()));
            }
        }
        Ok(())
    }

    fn timeout(&self) -> Duration {
        self.0.link.profile.timeout()
    }

    fn ask<T: Send + 'static>(
        &self,
        priority: Priority,
        timeout: Duration,
        job: impl FnOnce(&mut Connection) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, TokenError> {
        self.ask_then(priority, timeout, job, |_| ())
    }

    fn ask_then<T: Send + 'static>(
        &self,
        priority: Priority,
        timeout: Duration,
        job: impl FnOnce(&mut Connection) -> Result<T, Problem> + Send + 'static,
        then: impl FnOnce(&mut Connection) + Send + 'static,
    ) -> Result<T, TokenError> {
        self.0.pool.run(priority, timeout, job, then).map_err(|problem| self.error(problem))
    }

    fn error(&self, problem: Problem) -> TokenError {
        self.0.link.counters.errors.add();
        TokenError::new(&self.0.link.name, problem, Some(&self.0.link.profile))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.name())
    }
}

/// What the token can do, and how many sessions it takes. Where the token is not there, the module is
/// initialised again if an earlier token of it left it in need of that.
fn survey(
    module: &Module,
    config: &TokenConfig,
    profile: &Profile,
) -> Result<(Capabilities, usize), Problem> {
    let generation = module.generation();
    let look = || -> Result<_, Problem> {
        let (context, _pass) = module.enter();
        let slot = module::find_token(context, &config.selector, profile)?;
        let capabilities = Capabilities::read(context, slot, profile)?;
        let most = match context.get_token_info(slot).map(|info| info.max_session_count()) {
            Ok(Limit::Max(most)) => usize::try_from(most).unwrap_or(usize::MAX).max(1),
            _ => usize::MAX,
        };
        Ok((capabilities, most))
    };
    match look() {
        Err(problem) if problem.is_absence() && profile.reinitialise() => {
            match module.reinitialise(generation) {
                Some(Ok(())) => look().inspect(|_| module.well()),
                Some(Err(problem)) => Err(problem),
                None => Err(problem),
            }
        }
        other => other,
    }
}

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
}

impl TokenInfo {
    fn new(slot: u64, info: &cryptoki::slot::TokenInfo) -> Self {
        Self {
            label: trim(info.label()),
            model: trim(info.model()),
            serial: trim(info.serial_number()),
            manufacturer: trim(info.manufacturer_id()),
            firmware: info.firmware_version().to_string(),
            slot,
            pin: PinState {
                initialized: info.user_pin_initialized(),
                count_low: info.user_pin_count_low(),
                final_try: info.user_pin_final_try(),
                locked: info.user_pin_locked(),
                to_be_changed: info.user_pin_to_be_changed(),
            },
            free_private: info.free_private_memory(),
            free_public: info.free_public_memory(),
            sessions: info.session_count(),
            max_sessions: info.max_session_count().into(),
        }
    }
}

const PRIVATE_KEYS: [Attribute; 2] = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(true)];
const TEST_KEY: &[u8; 16] = b"an AES-128 key..";
