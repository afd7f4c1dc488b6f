//! Wiring: ordered start and stop of one server process.
//!
//! Start: log, configuration, node (state directory, database, tokens, certificate servers), HTTP and
//! HTTPS, command socket, then the line `ready URL…` on standard output. Stop, on SIGTERM or SIGINT: no
//! new connections, those that are served get a little time, then the node goes.

mod listen;

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::{self, Members, SOCKET, STARTUP_CONFIG};
use crate::config::{ConfigError, Configuration};
use crate::log;
use crate::node::{Node, NodeError};

use listen::Listeners;

/// Runs the server on the state directory `state` until it is told to stop. The configuration is that of
/// `config`, else `startup-config` in the state directory; without either it is empty.
pub fn run(state: PathBuf, config: Option<PathBuf>) -> Result<(), DaemonError> {
    log::setup();
    let configuration = read_configuration(&state, config)?;
    let group = configuration.socket_group.clone();
    let node = Node::start(state, configuration)?;
    // An unknown group is told when the socket is made.
    let members = Members::of(group.as_deref()).unwrap_or(Members::NONE);
    cli::protect(node.state(), members).map_err(|source| DaemonError::Io {
        what: format!("protecting {}", node.state().display()),
        source,
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .map_err(|source| DaemonError::Io { what: "starting threads".into(), source })?;
    let result = runtime.block_on(serve(&node));
    // Requests that are still being answered may finish; nothing waits for ever.
    runtime.shutdown_timeout(STOP_TIMEOUT);
    result
}

async fn serve(node: &Arc<Node>) -> Result<(), DaemonError> {
    let (changed, mut changes) = mpsc::unbounded_channel();
    node.on_change(move |configuration| {
        // Nobody listens any more only while the process stops.
        let _ = changed.send((configuration.http.clone(), configuration.socket_group.clone()));
    });
    let mut listeners = Listeners::start(node.configuration().http, node).await?;
    let socket = node.state().join(SOCKET);
    let commands = cli::serve(node.clone(), &socket)
        .map_err(|source| DaemonError::Io { what: format!("listening on {}", socket.display()), source })?;
    let mut group = node.configuration().socket_group;
    share(&commands, group.as_deref());
    let on =
        |kind| signal(kind).map_err(|source| DaemonError::Io { what: "waiting for signals".into(), source });
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    // Whoever reads the line may stop us at once.
    announce(node);
    let upkeep = tokio::spawn(upkeep(node.clone()));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            Some((http, wanted)) = changes.recv() => {
                if wanted != group {
                    share(&commands, wanted.as_deref());
                    group = wanted;
                }
                listeners.change(http).await;
            }
        }
    }
    tracing::info!("stopping");
    upkeep.abort();
    // Commands that run may finish; none comes after them.
    tokio::task::block_in_place(|| drop(commands));
    Ok(())
}

/// Lets a group use the command socket. When that cannot be, it stays the owner's.
fn share(commands: &cli::Handle, group: Option<&str>) {
    if let Err(error) = commands.share(group) {
        tracing::error!(%error, "the command socket is for its owner alone");
    }
}

/// Upkeep every few seconds, one at a time; beside everything else, as a token may keep it waiting.
async fn upkeep(node: Arc<Node>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let node = node.clone();
        if let Err(panic) = tokio::task::spawn_blocking(move || node.tick(node.now())).await {
            tracing::error!(%panic, "upkeep failed");
        }
    }
}

fn announce(node: &Node) {
    let http = node.http_address().map(|address| format!(" http://{address}"));
    let https = node.https_address().map(|address| format!(" https://{address}"));
    let line = format!("ready{}{}\n", http.unwrap_or_default(), https.unwrap_or_default());
    // Whoever started us may have closed its end; that is no reason to stop.
    let mut out = io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

/// The configuration file, checked.
pub fn read_configuration(state: &Path, config: Option<PathBuf>) -> Result<Configuration, DaemonError> {
    let (path, must_exist) = match config {
        Some(path) => (path, true),
        None => (state.join(STARTUP_CONFIG), false),
    };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let (configuration, notes) = Configuration::read(&text)
                .map_err(|error| DaemonError::Config { path: path.display().to_string(), error })?;
            notes.iter().for_each(|note| tracing::warn!("{}: {note}", path.display()));
            Ok(configuration)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => Ok(Configuration::default()),
        Err(source) => Err(DaemonError::Io { what: format!("reading {}", path.display()), source }),
    }
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration file is wrong.
    #[error("{path}: {error}")]
    Config {
        /// Which file.
        path: String,
        /// What is wrong in it.
        error: ConfigError,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}\nhint: see \"ip http port\", \"ip http secure-port\" and \"ip http bind\""
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The system.
    #[error("{what}: {source}")]
    Io {
        /// Doing what.
        what: String,
        /// What it said.
        source: io::Error,
    },
}

/// Requests that wait for token and database at once; each needs a thread only while it waits.
const BLOCKING_THREADS: usize = 64;
/// How often upkeep runs.
const TICK: Duration = Duration::from_secs(5);
/// How long answers under way may take when the process stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
