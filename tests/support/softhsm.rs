//! A throw-away SoftHSM token, and processes that see it.
//!
//! SoftHSM takes its directory from `SOFTHSM2_CONF`, which belongs to a process. A server under test is a
//! process of its own: give it [`SoftHsm::environment`]. A test that uses a token in its own process runs
//! itself again in a child with [`own_process`].

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// An initialised token in a directory of its own, gone when this is dropped.
pub struct SoftHsm {
    /// Holds the configuration, the token and the PIN.
    pub dir: TempDir,
    /// `softhsm2.conf`, which `SOFTHSM2_CONF` must name.
    pub conf: PathBuf,
    /// The token's label.
    pub label: String,
    /// The user PIN; also in `pin.txt`.
    pub pin: String,
}

impl SoftHsm {
    /// A new token labelled `tokenca`.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/softhsm/new-token");
        let (label, pin) = ("tokenca", "97531");
        let made = Command::new(script).arg(dir.path()).args([label, pin]).output();
        let made = made.expect("softhsm/new-token runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { conf: dir.path().join("softhsm2.conf"), dir, label: label.into(), pin: pin.into() }
    }

    /// What a process needs to see the token.
    pub fn environment(&self) -> (&'static str, &Path) {
        ("SOFTHSM2_CONF", &self.conf)
    }

    /// The file with the PIN.
    pub fn pin_file(&self) -> PathBuf {
        self.dir.path().join("pin.txt")
    }
}

/// As if the token in this directory were pulled out.
pub fn unplug(dir: &Path) {
    fs::rename(dir.join("tokens"), dir.join("tokens.gone")).expect("the token is plugged in");
}

/// As if it were plugged in again.
pub fn plug(dir: &Path) {
    fs::rename(dir.join("tokens.gone"), dir.join("tokens")).expect("the token is unplugged");
}

/// Runs `#[test] fn name` again in a child process with a token of its own, and `story` there.
///
/// The environment of a process that has threads cannot be changed, and a module is initialised once per
/// process, so each such test has its own. `story` is given the token's directory; the token is
/// labelled `tokenca`, its PIN is in `pin.txt` there and in the variable [`PIN`].
pub fn own_process(name: &str, story: impl FnOnce(&Path)) {
    own_process_with(name, |_| ((), Vec::new()), story);
}

/// As [`own_process`], with more in its environment. What `prepare` makes with the token lives as long as the
/// child.
pub fn own_process_with<T>(
    name: &str,
    prepare: impl FnOnce(&SoftHsm) -> (T, Vec<(&'static str, PathBuf)>),
    story: impl FnOnce(&Path),
) {
    if let Some(dir) = std::env::var_os(CHILD) {
        return story(Path::new(&dir));
    }
    let token = SoftHsm::new();
    let (_kept, environment) = prepare(&token);
    let (variable, conf) = token.environment();
    let test = std::env::current_exe().expect("the test's own path");
    let ran = Command::new(test)
        .args([name, "--exact", "--include-ignored", "--nocapture"])
        .env(variable, conf)
        .env(CHILD, token.dir.path())
        .env(PIN, &token.pin)
        .envs(environment)
        .output()
        .expect("the test runs again");
    let (stdout, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    // A name that is not found runs nothing and succeeds.
    assert!(
        ran.status.success() && stdout.contains("1 passed"),
        "{name} in its own process:\n{stdout}\n{stderr}"
    );
}

/// The environment variable with the PIN, in the child.
pub const PIN: &str = "TOKENCA_TEST_PIN";

const CHILD: &str = "TOKENCA_TEST_TOKEN_DIR";
