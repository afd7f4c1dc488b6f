//! Several nodes in one process, each with a state directory, a token and a listener of its own, and one clock
//! for all of them that is moved, not waited for.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokenca::config::Configuration;
use tokenca::http::{Limits, Server};
use tokenca::node::{Node, NodeError, Selection, ServerStatus};
use tokenca::pki::{Certificate, Time};
use tokenca::store::State;
use tokio::runtime::Runtime;

use super::softhsm::PIN;
use super::{run, until};

/// A clock, and where hosts live.
pub struct World {
    clock: Arc<AtomicU64>,
    runtime: Runtime,
    dir: PathBuf,
}

/// One node and its listener. What it has is on disk and on its token: it may be crashed and started again.
pub struct Host {
    name: String,
    state: PathBuf,
    address: SocketAddr,
    running: Option<(Arc<Node>, Server)>,
}

impl World {
    /// Begins now, with a token for each of these names. In a process of its own only: `dir` is that of its
    /// SoftHSM, which finds no token that is made after it was first asked.
    pub fn new(dir: &Path, tokens: &[&str]) -> Self {
        let pin = std::env::var(PIN).expect("a process of its own");
        for label in tokens {
            let mut tool = Command::new("softhsm2-util");
            tool.args(["--init-token", "--free", "--label", label, "--pin", &pin, "--so-pin", "12345678"]);
            run(&mut tool).success();
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Self {
            clock: Arc::new(AtomicU64::new(Time::now().unix())),
            runtime: runtime.expect("threads"),
            dir: dir.to_owned(),
        }
    }

    /// What time it is.
    pub fn now(&self) -> Time {
        Time::from_unix(self.clock.load(Ordering::SeqCst))
    }

    /// It is later by this.
    pub fn pass(&self, span: Duration) {
        self.clock.fetch_add(span.as_secs(), Ordering::SeqCst);
    }

    /// A host whose token has its name, with these lines after those of the token.
    pub fn host(&self, name: &str, lines: &str) -> Host {
        let state = self.dir.join(name);
        fs::DirBuilder::new().mode(0o700).create(&state).expect("a state directory");
        let text = format!(
            "hostname {name}\nip http server\nip http bind 127.0.0.1\n\
             crypto pki token usbtoken0\n profile softhsm2\n label {name}\n user-pin environment {PIN}\n{lines}"
        );
        fs::write(state.join(CONFIGURATION), text).expect("a configuration");
        let mut host = Host {
            name: name.to_owned(),
            state,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            running: None,
        };
        self.start(&mut host);
        host
    }

    /// Starts a host that is down, at the address it had.
    pub fn start(&self, host: &mut Host) {
        assert!(host.running.is_none(), "{} runs", host.name);
        let text = fs::read_to_string(host.state.join(CONFIGURATION)).expect("its configuration");
        let configuration =
            Configuration::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", host.name));
        let clock = self.clock.clone();
        let time = Arc::new(move || Time::from_unix(clock.load(Ordering::SeqCst)));
        // What ran there before may be going yet: dropped by the connection that had it last.
        let node = until("the state directory is free", || {
            match Node::start_by(host.state.clone(), configuration.clone(), time.clone()) {
                Err(NodeError::Refused(_)) => None,
                started => Some(started.expect("the node starts")),
            }
        });
        let limits = Limits { body: 65536, rate: Some(0) };
        let server = self.runtime.block_on(Server::start(host.address, limits, node.clone()));
        let server = server.unwrap_or_else(|error| panic!("{} at {}: {error}", host.name, host.address));
        host.address = server.address();
        node.set_http_address(Some(host.address));
        host.running = Some((node, server));
    }
}

impl Host {
    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.running.as_ref().unwrap_or_else(|| panic!("{} is down", self.name)).0
    }

    /// Where it answers SCEP.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// SHA-256 of the certificate of its CA of this label, hex.
    pub fn fingerprint(&self, label: &str) -> String {
        let report = self.node().server(label).and_then(|server| server.report());
        report
            .unwrap_or_else(|error| panic!("{label}: {error}"))
            .fingerprint_sha256
            .expect("it has a certificate")
    }

    /// Lines of a trustpoint that asks its server of this label: where URL and FINGERPRINT stand.
    pub fn below(&self, label: &str, lines: &str) -> String {
        let url = format!("{}/{label}", self.url());
        lines.replace("URL", &url).replace("FINGERPRINT", &self.fingerprint(label))
    }

    /// Grants what waits at its server of this label, all of it; how many that were, if any.
    pub fn grant_waiting(&self, label: &str) -> Option<usize> {
        let decided = self.node().server(label).and_then(|server| server.grant(Selection::All));
        let decided = decided.unwrap_or_else(|error| panic!("{label}: {error}"));
        assert!(decided.iter().all(|decision| decision.state == Some(State::Granted)), "{decided:?}");
        (!decided.is_empty()).then_some(decided.len())
    }

    /// Its state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Changes its configuration, now and for its next start.
    pub fn configure(&self, lines: &str) {
        let new = self.node().configuration().edited(lines);
        let new = new.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        self.node().apply(new).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let text = self.node().configuration().to_text();
        fs::write(self.state.join(CONFIGURATION), text).expect("its configuration");
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Upkeep at this time, once.
    pub fn tick(&self) {
        let node = self.node();
        node.tick(node.now());
    }

    /// Upkeep at this time until trustpoints rest, and what servers make of what those have got.
    pub fn upkeep(&self) {
        for _ in 0..2 {
            self.tick();
            assert!(self.node().settle_trustpoints(Duration::from_secs(60)), "{} does not rest", self.name);
        }
        self.tick();
    }

    /// Whether its server of this label serves.
    pub fn is_enabled(&self, label: &str) -> bool {
        let report = self.node().server(label).and_then(|server| server.report());
        report.is_ok_and(|report| report.status == ServerStatus::Enabled)
    }

    /// The certificate of its CA of this label.
    pub fn active(&self, label: &str) -> Certificate {
        let holdings = self.node().holdings(label).unwrap_or_else(|error| panic!("{label}: {error}"));
        Certificate::parse(&holdings.authorities[0]).expect("a certificate")
    }

    /// It is gone, without a chance to finish anything.
    pub fn crash(&mut self) {
        let (node, server) = self.running.take().unwrap_or_else(|| panic!("{} is down", self.name));
        drop(server);
        let gone = Arc::downgrade(&node);
        drop(node);
        // Connections may have it yet.
        until("the node is gone", || (gone.strong_count() == 0).then_some(()));
    }
}

/// After it a trustpoint asks again (`enrollment retry period`).
pub const POLL: Duration = Duration::from_secs(61);
const CONFIGURATION: &str = "startup-config";
