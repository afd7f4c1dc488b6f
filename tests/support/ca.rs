//! A server under test: `tokenca serve` on a state directory and a token of its own.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::faulty::Faulty;
use super::netns::Host;
use super::softhsm::SoftHsm;
use super::{Ran, run};

/// A certificate server `mycs` whose key is on a SoftHSM token. Stopped when it is dropped; its log is shown
/// when that happens because a test fails.
pub struct Ca {
    server: Option<Running>,
    /// What the clock of its processes says, when it is not the host's.
    clock: Option<PathBuf>,
    /// Where the server runs, when that is not where the test does.
    host: Option<Host>,
    /// What is between it and its token.
    faulty: Option<Faulty>,
    /// What its processes find in their environment besides.
    environment: Vec<(String, OsString)>,
    // After the server: it must not outlive its directory.
    token: SoftHsm,
}

/// A server that answers.
pub struct Running {
    pub child: Child,
    pub url: String,
}

impl Running {
    /// Has this program serve, and waits until it answers; `log` is what it says on standard error.
    pub fn start(program: &mut Command, log: impl FnOnce() -> String) -> Self {
        program.arg("serve").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = program.spawn().expect("the server starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (line_is, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = line_is.send(line);
        });
        let ready = line.recv_timeout(READY).unwrap_or_default();
        // HTTPS may be served as well: its URL is the second.
        let Some(url) = ready.strip_prefix("ready ").and_then(|urls| urls.split_whitespace().next()) else {
            let _ = child.kill();
            let status = child.wait();
            panic!("the server is not ready: {ready:?}, {status:?}; its log:\n{}", log());
        };
        Self { child, url: url.to_owned() }
    }
}

impl Ca {
    /// With an RSA CA key and these lines in the server section.
    pub fn new(server: &[&str]) -> Self {
        Self::with_key("rsakeypair mycs 2048", server)
    }

    /// With this line in the trustpoint section, that says which key.
    pub fn with_key(key: &str, server: &[&str]) -> Self {
        Self::with_configuration(&Self::configuration(key, server))
    }

    /// The same as text.
    pub fn configuration(key: &str, server: &[&str]) -> String {
        let lines: String = server.iter().map(|line| format!(" {line}\n")).collect();
        format!(
            "hostname ca1\n\
             ip http server\n\
             ip http port 0\n\
             ip http bind 127.0.0.1\n\
             crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file pin.txt\n\
             crypto pki trustpoint mycs\n {key}\n on usbtoken0:\n\
             crypto pki server mycs\n issuer-name CN=mycs, O=Example, C=US\n database level complete\n\
             {lines} no shutdown\n"
        )
    }

    /// With a whole configuration; the token `usbtoken0` is labelled `tokenca`.
    pub fn with_configuration(text: &str) -> Self {
        Self::at(None, text)
    }

    /// The same on this host.
    pub fn at(host: Option<&Host>, text: &str) -> Self {
        Self::of(SoftHsm::new(), None, Vec::new(), host, text)
    }

    /// The same with this environment, in which there may be other tokens.
    pub fn seeing(environment: Vec<(String, OsString)>, host: Option<&Host>, text: &str) -> Self {
        Self::of(SoftHsm::new(), None, environment, host, text)
    }

    /// With the module of `tests/faulty` and lines in the token section, which may say `profile`.
    pub fn over_faulty(token_lines: &[&str], server: &[&str]) -> Self {
        let token = SoftHsm::new();
        let faulty = Faulty::over(&token);
        let lines: String = token_lines.iter().map(|line| format!(" {line}\n")).collect();
        let lines = format!(" library {}\n{lines}", faulty.library.display());
        let text = Self::configuration("rsakeypair mycs 2048", server);
        let text = text.replace(" profile softhsm2\n", &lines);
        Self::of(token, Some(faulty), Vec::new(), None, &text)
    }

    fn of(
        token: SoftHsm,
        faulty: Option<Faulty>,
        environment: Vec<(String, OsString)>,
        host: Option<&Host>,
        text: &str,
    ) -> Self {
        let mut ca = Self { server: None, clock: None, host: host.cloned(), faulty, environment, token };
        fs::DirBuilder::new().mode(0o700).create(ca.state()).expect("a state directory");
        fs::copy(ca.token.pin_file(), ca.state().join("pin.txt")).expect("the PIN");
        fs::write(ca.state().join("startup-config"), text).expect("a configuration");
        ca.start();
        ca
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.token.dir.path().join("s")
    }

    /// The token.
    pub fn token(&self) -> &SoftHsm {
        &self.token
    }

    /// The module of a server made by [`Ca::over_faulty`].
    pub fn faulty(&self) -> &Faulty {
        self.faulty.as_ref().expect("this server has such a module")
    }

    /// Where HTTP is served: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.running().url
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.url().strip_prefix("http://").expect("an http URL")
    }

    /// Where SCEP clients go.
    pub fn scep_url(&self) -> String {
        format!("{}/scep", self.url())
    }

    /// Gives its processes from now on a clock of their own: `@2010-01-01 00:00:00`, `+400d`, or whatever else
    /// is written later to the file returned (libfaketime).
    pub fn set_clock(&mut self, time: &str) -> PathBuf {
        let clock = self.token.dir.path().join("clock");
        fs::write(&clock, time).expect("a clock");
        self.clock = Some(clock.clone());
        clock
    }

    /// The process of the server.
    pub fn pid(&self) -> u32 {
        self.running().child.id()
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The program on this state directory.
    pub fn program(&self) -> Command {
        self.program_as(Command::new(PROGRAM))
    }

    fn program_as(&self, mut program: Command) -> Command {
        let (name, value) = self.token.environment();
        program.arg("--state").arg(self.state()).env(name, value).env_remove("TOKENCA_STATE");
        program.envs(self.faulty.iter().flat_map(|faulty| faulty.environment()));
        program.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(clock) = &self.clock {
            program.env("LD_PRELOAD", faketime()).env("FAKETIME_TIMESTAMP_FILE", clock);
            // Read at each look at the clock; timers go by the host's.
            program.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        program
    }

    /// Runs an exec command, whatever comes of it.
    pub fn try_cli(&self, words: &[&str]) -> Ran {
        run(self.program().args(words))
    }

    /// Runs an exec command that must succeed; what it shows.
    pub fn cli(&self, words: &[&str]) -> String {
        self.try_cli(words).success().stdout
    }

    /// The same, words in one line.
    pub fn exec(&self, line: &str) -> String {
        self.cli(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs an exec command with `--json`.
    pub fn json(&self, line: &str) -> Value {
        let words: Vec<_> = ["--json"].into_iter().chain(line.split_whitespace()).collect();
        let text = self.cli(&words);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error} in {text}"))
    }

    /// Applies configuration lines.
    pub fn configure(&self, text: &str) -> String {
        self.typed("--yes configure -", text).success().stdout
    }

    /// Runs an exec command whose questions are answered by these lines.
    pub fn typed(&self, line: &str, answers: &str) -> Ran {
        let mut program = self.program();
        program.args(line.split_whitespace()).stdin(Stdio::piped());
        let mut child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // One that asks nothing may be gone already.
        let _ = stdin.write_all(answers.as_bytes());
        drop(stdin);
        Ran::of(&format!("{line} < {answers:?}"), child.wait_with_output().expect("it ends"))
    }

    /// Applies lines of the section of the server.
    pub fn configure_server(&self, lines: &[&str]) {
        let lines: String = lines.iter().map(|line| format!(" {line}\n")).collect();
        self.configure(&format!("crypto pki server mycs\n{lines}"));
    }

    /// Waits for the one request that is pending, and returns its ReqID.
    pub fn pending(&self) -> u64 {
        super::until("a request is pending", || {
            let rows = self.json("crypto pki server mycs info requests");
            let rows = rows.as_array().expect("a list");
            rows.iter().find(|row| row["state"] == "pending").and_then(|row| row["id"].as_u64())
        })
    }

    /// Grants the request with this ReqID.
    pub fn grant(&self, id: u64) {
        self.exec(&format!("crypto pki server mycs grant {id}"));
    }

    /// Rejects the request with this ReqID.
    pub fn reject(&self, id: u64) {
        self.exec(&format!("crypto pki server mycs reject {id}"));
    }

    /// A new one-time password.
    pub fn password(&self) -> String {
        let password = self.json("crypto pki server mycs password generate 5");
        password["password"].as_str().expect("a password").to_owned()
    }

    /// Starts the server and waits until it answers.
    pub fn start(&mut self) {
        assert!(self.server.is_none(), "the server runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.log_file()).expect("a log file");
        let program = self.host.as_ref().map_or_else(|| Command::new(PROGRAM), |host| host.command(PROGRAM));
        let mut program = self.program_as(program);
        self.server = Some(Running::start(program.stderr::<File>(log), || self.log()));
    }

    /// Ends the server as an operator does.
    pub fn stop(&mut self) {
        let server = self.server.take().expect("the server runs");
        let status = terminate(server.child);
        assert!(status.success(), "the server stopped with {status}; its log:\n{}", self.log());
    }

    /// Ends the server as a power cut does: SIGKILL.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("the server runs");
        server.child.kill().expect("it runs");
        server.child.wait().expect("it is our child");
    }

    /// Stops and starts it.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    fn running(&self) -> &Running {
        self.server.as_ref().expect("the server runs")
    }

    fn log_file(&self) -> PathBuf {
        self.token.dir.path().join("log")
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            terminate(server.child);
        }
        if std::thread::panicking() {
            eprintln!("the log of the server:\n{}", self.log());
        }
    }
}

/// libfaketime, for programs with threads.
fn faketime() -> PathBuf {
    let all = fs::read_dir("/usr/lib").expect("a system");
    let of = |dir: PathBuf| dir.join("faketime/libfaketimeMT.so.1");
    let found = all.filter_map(|entry| Some(of(entry.ok()?.path()))).find(|library| library.exists());
    found.expect("faketime is installed; see scripts/install-deps")
}

/// SIGTERM, and SIGKILL to one that does not go.
fn terminate(mut child: Child) -> ExitStatus {
    // The shell's own kill: not every machine has another.
    let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status();
    let deadline = Instant::now() + STOP;
    loop {
        match child.try_wait().expect("it is our child") {
            Some(status) => return status,
            None if Instant::now() > deadline => {
                let _ = child.kill();
                return child.wait().expect("it is our child");
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_tokenca");
/// How long a server may take to make its keys, beside all the other tests.
const READY: Duration = Duration::from_secs(60);
/// How long it may take to stop; it gives answers under way 10 seconds.
const STOP: Duration = Duration::from_secs(20);
