//! micromdm's `scepserver` (Debian package `scep`): a CA of another maker. It listens on every interface, so it
//! runs only in a network of the test's own ([`super::netns`]).

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{run, until};

/// A running `scepserver`; stopped when it is dropped.
pub struct ScepServer {
    child: Child,
    dir: PathBuf,
}

impl ScepServer {
    /// A new CA with an RSA key, in `dir`, that wants this challenge and grants at once.
    pub fn start(dir: &Path, challenge: &str) -> Self {
        let dir = dir.join("scepserver");
        fs::create_dir(&dir).expect("a directory");
        let mut init = Command::new(PROGRAM);
        init.current_dir(&dir).args(["ca", "-init", "-depot", "depot", "-keySize", "2048"]);
        run(init.args(["-organization", "Lab CA", "-country", "US"])).success();
        let mut server = Self { child: Self::serve(&dir, challenge), dir };
        server.wait();
        server
    }

    /// Where SCEP is spoken.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{PORT}/scep")
    }

    /// The CA certificate, PEM.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("depot/ca.pem")
    }

    /// Ends it, as a machine that goes away.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again with what it had.
    pub fn again(&mut self, challenge: &str) {
        self.child = Self::serve(&self.dir, challenge);
        self.wait();
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn serve(dir: &Path, challenge: &str) -> Child {
        let log = File::options().create(true).append(true).open(dir.join("log")).expect("a log");
        let mut program = Command::new(PROGRAM);
        program.current_dir(dir).args(["-depot", "depot", "-port", &PORT.to_string(), "-debug"]);
        // Renewal at any time: its own default is two weeks before the end.
        program.args(["-challenge", challenge, "-allowrenew", "0"]).stdin(Stdio::null());
        program.stdout(log.try_clone().expect("a log")).stderr(log);
        program.spawn().unwrap_or_else(|error| panic!("{PROGRAM}: {error}; see scripts/install-deps"))
    }

    fn wait(&mut self) {
        let address = SocketAddr::from(([127, 0, 0, 1], PORT));
        until("scepserver listens", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("scepserver has ended with {status}:\n{}", self.log());
            }
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()
        });
    }
}

impl Drop for ScepServer {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("the log of scepserver:\n{}", self.log());
        }
    }
}

const PROGRAM: &str = "scepserver";
/// In a network of its own any port is free.
const PORT: u16 = 18080;
