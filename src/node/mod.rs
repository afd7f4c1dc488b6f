//! The running configuration made real: tokens opened, database, servers started. What both edges,
//! the command language and HTTP, ask.

mod archive;
mod attestation;
mod below;
mod changes;
mod clock;
mod device;
mod files;
mod import;
mod keys;
mod operator;
mod publish;
mod report;
mod requests;
mod rollover;
mod server;
mod standby;
mod start;
mod surroundings;
mod takeover;
mod tls;
mod token_care;
mod tokens;
mod trustpoints;
mod validation;
mod vault;
mod vouch;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use crate::ca::CaError;
use crate::config::{Configuration, Vault};
use crate::files::Files;
use crate::pki::{PublicKey, Time, chain};
use crate::store::sqlite::Sqlite;
use crate::store::{JournalEntry, Store, StoreError};
use crate::token::TokenError;

pub use archive::EXPORTING;
pub use attestation::{AttestationReport, DeviceWord, KeyWord, ModuleWord};
pub use clock::TimeSource;
pub use import::{Held, Holdings, Import, Imported, Pair};
pub use keys::{CertificatePlace, KeyCertificate, Usage};
pub use report::{
    CrlReport, Decision, KeyReport, Printed, RequestRow, RevokedRow, Selection, ServerReport, ServerStatus,
    TokenKeyRow, TokenNote, TokenReport,
};
pub use rollover::{NextCertificate, RolloverReport, RolloverStatus};
pub use server::CertServer;
pub use takeover::{Preview, TakeoverReport};
pub use tls::{TlsIdentity, TlsReport};
pub use trustpoints::{
    Answers, Identity, Offered, OfferedRegistrar, TimerKind, TimerReport, TrustedReport, TrustpointReport,
    Trustpoints, UpperRequestReport, Verdict,
};
pub use validation::{Asked, Checked, CrlRow, Failure, How, Invalid, Requested, Validated, Validation};

use archive::Passphrases;
use clock::Clock;
use surroundings::Surroundings;
use tls::Tls;
use tokens::Tokens;
use validation::Checks;
use vouch::Peers;

/// One `tokenca`: a state directory, a configuration, and what runs by it.
pub struct Node {
    state: PathBuf,
    store: Arc<dyn Store>,
    /// Seals the passwords of the configuration.
    vault: Arc<Vault>,
    clock: Arc<Clock>,
    running: RwLock<Running>,
    /// Held while the configuration changes.
    changing: Mutex<()>,
    http: RwLock<Option<SocketAddr>>,
    tls: Tls,
    trustpoints: Trustpoints,
    on_change: Mutex<Option<Listener>>,
    /// What is remembered of CRLs and responders.
    checks: Checks,
    /// This node, as its servers ask it.
    peers: Peers,
    /// Of archives to be made, by the label of their server.
    passphrases: Arc<Passphrases>,
    /// Held as long as the node lives: one process per state directory.
    _lock: File,
}

type Listener = Box<dyn Fn(&Configuration) + Send>;

struct Running {
    configuration: Configuration,
    tokens: Arc<Tokens>,
    files: Arc<Files>,
    servers: BTreeMap<String, Arc<CertServer>>,
}

impl Node {
    /// Opens the state directory, creating it with mode 0700, and makes `configuration` real. What cannot
    /// start does not keep the rest from starting: its error is in its server's report.
    pub fn start(state: PathBuf, configuration: Configuration) -> Result<Arc<Self>, NodeError> {
        Self::start_by(state, configuration, Arc::new(Time::now))
    }

    /// The same by another clock than the host's: time that is moved, not waited for.
    pub fn start_by(
        state: PathBuf,
        configuration: Configuration,
        time: TimeSource,
    ) -> Result<Arc<Self>, NodeError> {
        let io = |what: String| move |source| NodeError::Io { what, source };
        let create = || fs::DirBuilder::new().recursive(true).mode(0o700).create(&state);
        create().map_err(io(format!("creating the state directory {}", state.display())))?;
        let lock = lock(&state)?;
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&state.join(DATABASE))?);
        let vault = Arc::new(vault::open(&state)?);
        let clock = Arc::new(Clock::new(time, store.clone()));
        let empty = Configuration::default();
        let files = files::of(&empty, &state, &Tokens::default(), &vault);
        let node = Arc::new(Self {
            tls: Tls::new(store.clone(), clock.clone()),
            trustpoints: Trustpoints::new(store.clone(), clock.clone(), vault.clone()),
            clock,
            store,
            vault,
            running: RwLock::new(Running {
                tokens: Arc::default(),
                files: Arc::new(files),
                configuration: empty,
                servers: BTreeMap::new(),
            }),
            changing: Mutex::default(),
            http: RwLock::default(),
            on_change: Mutex::default(),
            passphrases: Arc::default(),
            peers: Peers::default(),
            checks: Checks::default(),
            state,
            _lock: lock,
        });
        node.peers.are_of(&node);
        let mut configuration = configuration;
        let tokens = Tokens::default().changed_to(&configuration.tokens, &node.state);
        let files = files::of(&configuration, &node.state, &tokens, &node.vault);
        // A file that is gone does not keep the rest from starting.
        let chains = import::read_chains(&mut configuration, &files);
        if let Err(error) = chains.and_then(|chains| node.keep_chains(chains)) {
            tracing::error!("certificates of a chain were not taken: {error}");
        }
        for line in node.apply(configuration)? {
            tracing::info!("{line}");
        }
        Ok(node)
    }

    /// The running configuration.
    pub fn configuration(&self) -> Configuration {
        self.running().configuration.clone()
    }

    /// Makes `new` the running configuration. Refused as a whole when it changes what may not change;
    /// otherwise it takes effect, and what could not be started is told in the lines returned
    /// (`% Certificate Server enabled.` or `% …` and why).
    pub fn apply(&self, new: Configuration) -> Result<Vec<String>, NodeError> {
        self.apply_keeping(new, &BTreeSet::new())
    }

    /// The same; keys of the servers `keep_keys` stay on their tokens when the servers go.
    pub fn apply_keeping(
        &self,
        new: Configuration,
        keep_keys: &BTreeSet<String>,
    ) -> Result<Vec<String>, NodeError> {
        let _changing = self.changing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = self.now();
        let typed = new.sealed(&self.vault);
        let mut new = self.tls.complete(typed.clone())?;
        let (old, old_tokens, old_files, mut servers) = {
            let running = self.running();
            let Running { configuration, tokens, files, servers } = &*running;
            (configuration.clone(), tokens.clone(), files.clone(), servers.clone())
        };
        for (label, section) in &new.servers {
            if let Some(server) = servers.get(label) {
                let trustpoint = new.trustpoints.get(label);
                if trustpoint.is_none() && old.trustpoints.contains_key(label) {
                    server.check_without_trustpoint()?;
                }
                server.check_change(section, trustpoint)?;
            }
        }
        let tokens = Arc::new(old_tokens.changed_to(&new.tokens, &self.state));
        let files = match files::same(&old, &new) {
            true => old_files,
            false => Arc::new(files::of(&new, &self.state, &tokens, &self.vault)),
        };
        let chains = import::read_chains(&mut new, &files)?;
        // Lines are refused above. What fails below, as a token that is away, leaves what was done before it.
        self.tls.forget(&old, &typed, &new)?;
        let mut messages = Vec::new();
        for label in old.servers.keys().filter(|label| !new.servers.contains_key(*label)) {
            if let Some(server) = servers.remove(label) {
                let is_needed = |key: &PublicKey| self.is_needed(key, servers.keys());
                server.delete(&old_tokens, keep_keys.contains(label), &is_needed)?;
                self.run_without(label);
                messages.push("% Certificate Server Process stopped".to_owned());
            }
        }
        for label in old.trustpoints.keys().filter(|label| !new.trustpoints.contains_key(*label)) {
            self.forget_trustpoint(label)?;
        }
        self.keep_chains(chains)?;
        // Before the servers: some act with what their trustpoint has.
        self.trustpoints.configure(&new, &tokens, &files);
        let around = Surroundings {
            tokens: tokens.clone(),
            files: files.clone(),
            vault: self.vault.clone(),
            passphrases: self.passphrases.clone(),
            trustpoints: self.trustpoints.clone(),
            peers: self.peers.clone(),
            http: new.http.server || new.http.secure_server,
        };
        for (label, section) in &new.servers {
            let server = match servers.entry(label.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(Arc::new(CertServer::new(
                    label,
                    self.store.clone(),
                    self.clock.clone(),
                    around.clone(),
                )?)),
            };
            let trustpoint = new.trustpoints.get(label).cloned().unwrap_or_default();
            messages.extend(server.configure(section.clone(), trustpoint, around.clone(), now));
        }
        messages.extend(self.tls.configure(&new, &tokens, now));
        self.run(Running { configuration: new.clone(), tokens, files, servers });
        if let Some(listener) = &*self.listener() {
            listener(&new);
        }
        Ok(messages)
    }

    fn run(&self, new: Running) {
        // What ends here may take its time: it is waited for when others can read again.
        let before = std::mem::replace(&mut *self.running_mut(), new);
        drop(before);
    }

    /// A server that was deleted is not configured any more, whatever fails afterwards: it would be made anew.
    fn run_without(&self, label: &str) {
        let mut running = self.running_mut();
        running.configuration.servers.remove(label);
        let gone = running.servers.remove(label);
        drop(running);
        drop(gone);
    }

    /// Adds a command to the journal.
    pub fn record(&self, entry: JournalEntry) -> Result<(), NodeError> {
        Ok(self.store.add_journal(entry)?)
    }

    /// Entries of the journal with a number below `before` (all when `None`), newest first, at most `limit`.
    pub fn journal(&self, before: Option<u64>, limit: usize) -> Result<Vec<JournalEntry>, NodeError> {
        Ok(self.store.journal(before, limit)?)
    }

    /// Calls `listener` with every configuration that is applied from now on.
    pub fn on_change(&self, listener: impl Fn(&Configuration) + Send + 'static) {
        *self.listener() = Some(Box::new(listener));
    }

    /// What time brings: CRLs before they expire, requests and passwords past their life, another try for
    /// what could not start.
    pub fn tick(&self, now: Time) {
        for server in self.all_servers() {
            server.tick(now);
        }
        self.tls.tick(now);
        self.trustpoints.tick();
    }

    /// What time it is for this node.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The file systems.
    pub fn files(&self) -> Arc<Files> {
        self.running().files.clone()
    }

    /// Forgets the latest time on record: a clock that was ahead has left one that is yet to come.
    pub fn forget_time(&self) -> Result<(), NodeError> {
        self.clock.forget()?;
        self.tick(self.now());
        Ok(())
    }

    /// The state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Labels of the configured servers, in order.
    pub fn servers(&self) -> Vec<String> {
        self.running().servers.keys().cloned().collect()
    }

    /// The server of this label.
    pub fn server(&self, label: &str) -> Result<Arc<CertServer>, NodeError> {
        let running = self.running();
        running
            .servers
            .get(label)
            .cloned()
            .ok_or_else(|| NodeError::NotFound(format!("there is no certificate server \"{label}\"")))
    }

    /// Every configured token, or the one of this name.
    pub fn tokens(&self, name: Option<&str>) -> Result<Vec<TokenReport>, NodeError> {
        self.token_set().reports(name)
    }

    /// Where HTTP is served, when it is.
    pub fn http_address(&self) -> Option<SocketAddr> {
        *self.http.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Tells where HTTP is served: the listener is not the node's.
    pub fn set_http_address(&self, address: Option<SocketAddr>) {
        *self.http.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = address;
    }

    fn running(&self) -> std::sync::RwLockReadGuard<'_, Running> {
        self.running.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn running_mut(&self) -> std::sync::RwLockWriteGuard<'_, Running> {
        self.running.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What servers would share by this configuration.
    fn surroundings(&self, configuration: &Configuration) -> Surroundings {
        let tokens = self.token_set().changed_to(&configuration.tokens, &self.state);
        Surroundings {
            files: Arc::new(files::of(configuration, &self.state, &tokens, &self.vault)),
            tokens: Arc::new(tokens),
            vault: self.vault.clone(),
            passphrases: self.passphrases.clone(),
            trustpoints: self.trustpoints.clone(),
            peers: self.peers.clone(),
            http: false,
        }
    }

    fn token_set(&self) -> Arc<Tokens> {
        self.running().tokens.clone()
    }

    fn all_servers(&self) -> Vec<Arc<CertServer>> {
        self.running().servers.values().cloned().collect()
    }

    /// The one meant when none is named: with several, the first by label.
    pub fn default_server(&self) -> Option<Arc<CertServer>> {
        self.running().servers.values().next().cloned()
    }

    fn listener(&self) -> MutexGuard<'_, Option<Listener>> {
        self.on_change.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Before the lock of the state directory is given back.
        self.trustpoints.stop();
    }
}

/// Takes the lock of the state directory, or says who has it.
fn lock(state: &Path) -> Result<File, NodeError> {
    let path = state.join(LOCK);
    let open = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let io = |source| NodeError::Io { what: format!("opening {}", path.display()), source };
    let file = open.map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(NodeError::Refused(format!(
            "another tokenca works on the state directory {}; ask it through its socket, or stop it",
            state.display()
        ))),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// The database, in the state directory.
const DATABASE: &str = "tokenca.db";
/// Locked while a process works on the state directory.
const LOCK: &str = "lock";

/// Why the node did not do it. Displayed after `% ` on one line, hints on the next.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No server, token, key, request or certificate of that name.
    #[error("{0}")]
    NotFound(String),
    /// It may not be done in this state; says why.
    #[error("{0}")]
    Refused(String),
    /// It has to wait for somebody or something; says for what.
    #[error("{0}")]
    Waiting(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The CA.
    #[error("{}", chain(.0))]
    Ca(#[from] CaError),
    /// The state directory.
    #[error("{what}: {source}")]
    Io {
        /// Which file, doing what.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}
