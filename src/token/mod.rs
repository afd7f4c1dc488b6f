//! Tokens: the only code that names PKCS#11.
//!
//! A [`Token`] is one opened token of one module: found by its label, logged in once, and used by a few
//! worker threads behind one bounded queue with priorities. Its keys are [`TokenKey`]s, which are what
//! the layers above see of it, through [`SigningKey`](crate::pki::SigningKey) and
//! [`DecryptionKey`]. What providers do differently stands in
//! `pkcs11-profiles/*.toml`; what is tried when a token goes away, in `session.rs`.
//!
//! Calls block. Nobody waits without end: a full queue is refused at once, and every caller has a
//! time-out. A call that never returns from the module keeps its thread and nobody else's, and the process
//! is not forked after a module is loaded.

mod attestation;
mod call;
mod certificate;
mod config;
mod copies;
mod counters;
mod durable;
mod envelope;
mod error;
mod file;
mod gate;
mod generate;
mod health;
mod info;
mod key;
mod mechanism;
mod module;
mod object;
mod opening;
mod pace;
mod pin;
mod pin_file;
mod places;
mod profile;
mod refused;
mod session;
mod signing;
mod sys;
mod transfer;
mod trial;
mod trial_report;
mod uri;
mod wanted;
mod worker;
mod wrap;

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki::object::{Attribute, ObjectClass};
use secrecy::SecretString;

use crate::pki::{DecryptionKey, KeyKind, KeyTransport, PrivateKey};

pub use attestation::{Attestation, Doubt, PinPolicy, Statement, TouchPolicy};
pub use call::CallError;
pub use certificate::TokenCertificate;
pub use config::{Caution, PinSource, Selector, TokenConfig};
pub use copies::Place;
pub use counters::Counters;
pub use error::{Origin, Problem, TokenError};
pub use file::TokenFile;
pub use health::{TokenEvent, TokenState};
pub use info::{PinState, TokenInfo};
pub use key::TokenKey;
pub use mechanism::Capabilities;
pub use object::{KeyInfo, KeyUsage};
pub use profile::{Profile, ProfileError};
pub use sys::{MODULE_WORD, serve_module};
pub use trial_report::{Attempt, KeyTrial, Speed, Trial, TrialKeys};
pub use uri::{TokenUri, UriError};
pub use worker::Priority;

use pin::Turn;
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
                let _guard = link.read_objects(open)?;
                let mut template = PRIVATE_KEYS.to_vec();
                let Some(name) = link.places.attribute(&wanted) else { return Ok(None) };
                template.push(name);
                match open.session.find_objects(&template)?[..] {
                    [] => Ok(None),
                    [handle] => object::read(link, &open.session, handle),
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
        let timeout = self.0.link.profile.keygen_timeout();
        self.ask(Priority::Operator, timeout, move |connection| generate::delete(connection, &label))
    }

    /// The private keys that this product could use.
    pub fn keys(&self) -> Result<Vec<KeyInfo>, TokenError> {
        self.ask(Priority::Operator, self.timeout(), |connection| {
            connection.run(|link, open| {
                let _guard = link.read_objects(open)?;
                let mut keys = Vec::new();
                for handle in open.session.find_objects(&PRIVATE_KEYS)? {
                    match object::read(link, &open.session, handle) {
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
                Ok(TokenInfo::new(slot.id(), &open.context.token_info(slot)?))
            })
        })
    }

    /// Whether it answers, and what happened to it lately.
    pub fn state(&self) -> TokenState {
        TokenState { logged_out: self.0.link.pin.waits_for_operator(), ..self.0.link.health.state() }
    }

    /// Whether the module has a process of its own.
    pub fn is_isolated(&self) -> bool {
        self.0.link.module.is_apart()
    }

    /// Whether it is known not to answer.
    pub fn is_offline(&self) -> bool {
        self.0.link.health.is_offline()
    }

    /// Finds out whether it works: the key that was used last makes a signature, after all that may help.
    /// An outage ends when it does.
    pub fn try_now(&self) -> Result<(), TokenError> {
        self.ask(Priority::Operator, self.timeout(), |connection| connection.run_now(session::probe))
    }

    /// Uses this PIN from now on, or the configured one; and finds out whether the token works with it. One that
    /// is given is tried also where somebody is logged in, and forgotten when it is refused.
    pub fn login(&self, pin: Option<SecretString>) -> Result<(), TokenError> {
        let link = &self.0.link;
        let given = pin.is_some();
        let before = link.pin.give(pin);
        let timeout = self.timeout() + link.pin.typing_takes();
        let tried = self.ask(Priority::Operator, timeout, move |connection| {
            if given {
                connection.log_out();
            }
            connection.in_turn_of(Turn::Operator, |connection| connection.run_now(session::probe))
        });
        if tried.as_ref().is_err_and(|error| given && error.problem().is_of_pin()) {
            link.pin.give_back(before);
        }
        tried
    }

    /// Ends the login, also that of operations under way, until [`Token::login`].
    pub fn logout(&self) -> Result<(), TokenError> {
        self.0.link.pin.take_away();
        self.0.link.health.note("logged out");
        tracing::info!(target: "PKI-6-TOKEN_LOGOUT", "Logged out of token {}", self.name());
        self.ask(Priority::Operator, self.timeout(), |connection| {
            connection.log_out();
            Ok(())
        })
    }

    /// Changes the user PIN on the token, and in the file that it comes from where that can be written. Whether
    /// the source has it now: else the new one is used until [`Token::logout`], and somebody must bring it to
    /// its source.
    pub fn change_pin(&self, new: SecretString) -> Result<bool, TokenError> {
        let kept = self.ask(Priority::Operator, self.timeout(), move |connection| {
            // What the session has become is found out before the one try.
            connection.run(session::probe)?;
            connection.once(|link, open| {
                let slot = module::find_token(&open.context, &link.selector, &link.profile)?;
                link.pin.change(&open.session, new, &open.context.token_info(slot)?)
            })
        })?;
        self.0.link.health.note("the PIN was changed");
        tracing::info!(target: "PKI-6-TOKEN_PIN_CHANGED", "The PIN of token {} was changed", self.name());
        Ok(kept)
    }

    /// Where the PIN comes from, unless an operator has given one.
    pub fn pin_source(&self) -> &PinSource {
        self.0.link.pin.source()
    }

    /// Tries the token again during outages, so that it is found to be back before somebody asks.
    fn attend(&self) {
        let (link, inner) = (Arc::clone(&self.0.link), Arc::downgrade(&self.0));
        let attend = move || {
            while link.health.wait_for_try() {
                let Some(token) = Weak::upgrade(&inner).map(Self) else { return };
                // What came of it is in `health`.
                let tried = token
                    .ask(Priority::Operator, token.timeout(), |connection| connection.run(session::probe));
                if let Err(error) = tried {
                    tracing::debug!(%error, "still offline");
                    // Not by a ladder that gave up: a queue or a login keeps the try from being made.
                    token.0.link.health.postpone(error.problem());
                }
            }
        };
        let thread = thread::Builder::new().name(format!("token {} away", self.name()));
        if let Err(error) = thread.spawn(attend) {
            tracing::warn!(token = self.name(), %error, "outages end at requests alone");
        }
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
        let link = &self.0.link;
        let expires = Instant::now() + timeout;
        let job = move |connection: &mut Connection| {
            connection.expires(expires);
            job(connection)
        };
        self.0.pool.run(priority, timeout, job, then).map_err(|problem| {
            if let Problem::Hung { .. } = problem {
                link.counters.hangs.add();
                link.is_away(&problem);
            }
            self.error(problem)
        })
    }

    fn error(&self, problem: Problem) -> TokenError {
        self.0.link.counters.errors.add();
        TokenError::new(&self.0.link.name, problem, Some(&self.0.link.profile))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.link.health.close();
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.name())
    }
}

const PRIVATE_KEYS: [Attribute; 2] = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(true)];
const TEST_KEY: &[u8; 16] = b"an AES-128 key..";
