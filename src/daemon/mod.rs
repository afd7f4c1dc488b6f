//! Wiring: ordered start and stop of one server process.
//!
//! Start: log, configuration, node (state directory, database, tokens, certificate servers), HTTP, command
//! socket, then the line `ready URL` on standard output. Stop, on SIGTERM or SIGINT: no new connections,
//! those that are served get a little time, then the node goes.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::{self, SOCKET, STARTUP_CONFIG};
use crate::config::{ConfigError, Configuration, Http};
use crate::http::{Limits, Server};
use crate::log;
use crate::node::{Node, NodeError};
use crate::pki::Time;

/// Runs the server on the state directory `state` until it is told to stop. The configuration is that of
/// `config`, else `startup-config` in the state directory; without either it is empty.
pub fn run(state: PathBuf, config: Option<PathBuf>) -> Result<(), DaemonError> {
    log::setup();
    let configuration = read_configuration(&state, config)?;
    let node = Node::start(state, configuration)?;
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
        let _ = changed.send(configuration.http.clone());
    });
    let mut settings = node.configuration().http;
    let mut http = listen(&settings, node).await?;
    let socket = node.state().join(SOCKET);
    let commands = cli::serve(node.clone(), &socket)
        .map_err(|source| DaemonError::Io { what: format!("listening on {}", socket.display()), source })?;
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
            Some(wanted) = changes.recv() => {
                match &http {
                    // Connections are kept as long as the address is.
                    Some(server) if place(&wanted) == place(&settings) => server.set_limits(limits(&wanted)),
                    None if wanted == settings => {}
                    _ => {
                        drop(http.take());
                        http = listen(&wanted, node).await.unwrap_or_else(|error| {
                            tracing::error!(%error, "HTTP is not served");
                            None
                        });
                    }
                }
                settings = wanted;
            }
        }
    }
    tracing::info!("stopping");
    upkeep.abort();
    // Commands that run may finish; none comes after them.
    tokio::task::block_in_place(|| drop(commands));
    Ok(())
}

/// Upkeep every few seconds, one at a time; beside everything else, as a token may keep it waiting.
async fn upkeep(node: Arc<Node>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let node = node.clone();
        if let Err(panic) = tokio::task::spawn_blocking(move || node.tick(Time::now())).await {
            tracing::error!(%panic, "upkeep failed");
        }
    }
}

/// Where HTTP is to be served, when it is.
fn place(settings: &Http) -> Option<(Option<IpAddr>, u16)> {
    settings.server.then_some((settings.bind, settings.port))
}

fn limits(settings: &Http) -> Limits {
    Limits { body: settings.max_body, rate: settings.rate_limit }
}

/// Listens as configured, and tells the node where.
async fn listen(settings: &Http, node: &Arc<Node>) -> Result<Option<Server>, DaemonError> {
    node.set_http_address(None);
    if !settings.server {
        return Ok(None);
    }
    // [::] takes IPv4 as well on Linux, unless the host has no IPv6.
    let addresses: &[IpAddr] = match settings.bind {
        Some(address) => &[address],
        None => &[IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)],
    };
    let mut last = None;
    for address in addresses {
        let address = SocketAddr::new(*address, settings.port);
        match Server::start(address, limits(settings), node.clone()).await {
            Ok(server) => {
                node.set_http_address(Some(server.address()));
                tracing::info!(address = %server.address(), "HTTP is served");
                return Ok(Some(server));
            }
            Err(source) => last = Some(DaemonError::Listen { address, source }),
        }
    }
    Err(last.expect("at least one address was tried"))
}

fn announce(node: &Node) {
    let line = match node.http_address() {
        Some(address) => format!("ready http://{address}\n"),
        None => "ready\n".into(),
    };
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
        Ok(text) => Configuration::parse(&text)
            .map_err(|error| DaemonError::Config { path: path.display().to_string(), error }),
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
    #[error("cannot listen on {address}: {source}\nhint: see \"ip http port\" and \"ip http bind\"")]
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
