//! Fresh tokens of the PKCS#11 modules that run without hardware, each in a directory and with services of its own.
//!
//! What a process must have to see such a token belongs to that process: its environment, and for one module its
//! namespaces. A server under test is started by [`TestModule::command`]; a test that uses a token in its own
//! process runs itself again in a child with [`own_process`].

pub mod kryoptic;
mod nss;
mod opencryptoki;
mod p11kit;
pub mod server;
pub mod service;
mod softhsm;
mod tpm2;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use service::Service;

use super::softhsm::PIN;
use super::{Ran, run, skipped};

/// The names of the modules.
pub const NAMES: [&str; 6] = ["softhsm2", "kryoptic", "nss", "opencryptoki", "tpm2-pkcs11", "p11-kit-client"];

/// A module with an initialised token that nobody else uses. The token and its services are gone when this is
/// dropped.
#[derive(Serialize, Deserialize)]
pub struct TestModule {
    /// One of [`NAMES`].
    #[serde(skip)]
    pub name: &'static str,
    /// The module.
    pub library: PathBuf,
    /// The token's label.
    pub label: String,
    /// The token's slot, where some callers cannot select by label.
    pub slot: Option<u64>,
    /// The user PIN; also in `pin.txt`.
    pub pin: String,
    /// The security officer's PIN, where there is one; also in `so-pin.txt`.
    pub so_pin: Option<String>,
    /// The string for `CK_C_INITIALIZE_ARGS.pReserved`, where the module wants one.
    pub parameters: Option<String>,
    /// What a process needs to see the token.
    pub environment: Vec<(String, OsString)>,
    /// Everything lies here.
    pub dir: PathBuf,
    /// The process whose namespaces hold the token, where it is not seen from outside.
    #[serde(skip)]
    within: Option<u32>,
    /// What runs for the token, in the order in which it ends.
    #[serde(skip)]
    services: Vec<Service>,
    /// `dir`, where this is what removes it.
    #[serde(skip)]
    kept: Option<TempDir>,
}

impl TestModule {
    /// A fresh token of this module, or what this machine lacks for one. What is there and does not work fails the
    /// test.
    pub fn start(name: &str) -> Result<Self, String> {
        let module = Self::new(name);
        match module.name {
            "softhsm2" => softhsm::start(module),
            "kryoptic" => kryoptic::start(module),
            "nss" => nss::start(module),
            "opencryptoki" => opencryptoki::start(module),
            "tpm2-pkcs11" => tpm2::start(module),
            "p11-kit-client" => p11kit::start(module),
            _ => unreachable!("a name without a module"),
        }
    }

    /// A program that sees the token.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self.within {
            None => Command::new(program),
            Some(process) => {
                let mut command = Command::new("/usr/bin/nsenter");
                command.args(["--mount", "--ipc", "--target", &process.to_string()]);
                // Whoever enters other mounts begins in their root.
                let here = env::current_dir().expect("a working directory");
                command.arg(format!("--wdns={}", here.display())).arg(program);
                command
            }
        };
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Writes what a process that sees the token must know of it.
    pub fn describe(&self) -> PathBuf {
        let file = self.dir.join("module.json");
        private(&file, &serde_json::to_string(self).expect("JSON"));
        file
    }

    /// The token of another process that is described in this file.
    pub fn described(name: &str, file: &Path) -> Self {
        let text = fs::read_to_string(file).expect("the module's description");
        let described = serde_json::from_str(&text).expect("as it was written");
        Self { name: known(name), ..described }
    }

    /// Ends what runs for the token, which is away then.
    pub fn leaves(&mut self) {
        self.services.clear();
    }

    /// Starts it again.
    pub fn comes_back(&mut self) {
        match self.name {
            "p11-kit-client" => p11kit::serve(self).expect("it has run before"),
            name => unimplemented!("{name} does not come back"),
        }
    }

    /// `pkcs11-tool` with this token.
    pub fn pkcs11_tool(&self) -> Command {
        let mut command = self.command("pkcs11-tool");
        command.arg("--module").arg(&self.library);
        match self.slot {
            Some(slot) => command.args(["--slot", &slot.to_string()]),
            None => command.args(["--token-label", &self.label]),
        };
        command
    }

    /// The lines inside `crypto pki token NAME`.
    pub fn config_lines(&self) -> String {
        let mut lines = format!(" library {}\n label {}\n", self.library.display(), self.label);
        lines += &format!(" user-pin file {}\n", self.pin_file().display());
        if let Some(parameters) = &self.parameters {
            lines += &format!(" parameters {parameters}\n");
        }
        if self.so_pin.is_some() {
            lines += &format!(" so-pin file {}\n", self.so_pin_file().display());
        }
        lines
    }

    /// The file with the user PIN.
    pub fn pin_file(&self) -> PathBuf {
        self.dir.join("pin.txt")
    }

    /// The file with the security officer's PIN.
    pub fn so_pin_file(&self) -> PathBuf {
        self.dir.join("so-pin.txt")
    }

    /// Nothing yet but a directory and what the token shall have.
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self {
            name: known(name),
            library: PathBuf::new(),
            label: "tokenca".into(),
            slot: None,
            // Eight digits: Kryoptic takes no shorter one, openCryptoki no longer one.
            pin: "97531864".into(),
            so_pin: Some("86420975".into()),
            parameters: None,
            environment: Vec::new(),
            dir: dir.path().to_owned(),
            within: None,
            services: Vec::new(),
            kept: Some(dir),
        }
    }

    /// Writes the files with the PINs.
    fn write_pins(&self) {
        private(&self.pin_file(), &format!("{}\n", self.pin));
        if let Some(so_pin) = &self.so_pin {
            private(&self.so_pin_file(), &format!("{so_pin}\n"));
        }
    }

    /// Initialises the token in this slot.
    fn initialise(&self, slot: &str) {
        let so_pin = self.so_pin.as_deref().unwrap_or_default();
        let tool = || {
            let mut command = self.command("pkcs11-tool");
            command.arg("--module").arg(&self.library).args(["--slot", slot, "--so-pin", so_pin]);
            command
        };
        step(tool().args(["--init-token", "--label", &self.label]));
        step(tool().args(["--login", "--login-type", "so", "--init-pin", "--pin", &self.pin]));
    }

    /// Adds a variable that every process with the token needs.
    fn variable(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.push((name.to_owned(), value.into()));
    }
}

/// Runs `#[test] fn test` again in a child process that sees a fresh token of this module, and `story` there. Where
/// the module cannot run, the test is [`skipped`].
///
/// The environment of a process that has threads cannot be changed, and a module is initialised once per process,
/// so each such test has its own. What it starts sees the token as well. The PIN is in the variable [`PIN`] too.
pub fn own_process(test: &str, module: &str, story: impl FnOnce(&TestModule)) {
    if let Some(file) = env::var_os(CHILD) {
        return story(&TestModule::described(module, Path::new(&file)));
    }
    let token = match TestModule::start(module) {
        Ok(token) => token,
        Err(why) => return skipped(test, &why),
    };
    let file = token.describe();
    let mut child = token.command(env::current_exe().expect("the test's own path"));
    child.args([test, "--exact", "--include-ignored", "--nocapture"]);
    let ran = run(child.env(CHILD, &file).env(PIN, &token.pin));
    // A name that is not found runs nothing and succeeds.
    assert!(
        ran.code == Some(0) && ran.stdout.contains("1 passed"),
        "{test} with {module}, in its own process:\n{}\n{}",
        ran.stdout,
        ran.stderr
    );
}

/// One of [`NAMES`].
fn known(name: &str) -> &'static str {
    NAMES.into_iter().find(|known| *known == name).unwrap_or_else(|| panic!("no module {name:?}"))
}

/// A file of Debian's packages, or that it is missing. A relative path begins at the libraries of this processor.
pub fn installed(path: &str) -> Result<PathBuf, String> {
    let path = Path::new("/usr/lib").join(format!("{}-linux-gnu", env::consts::ARCH)).join(path);
    if path.exists() { Ok(path) } else { Err(format!("no {}; see scripts/install-deps", path.display())) }
}

/// Runs a step of making a token, which must succeed.
#[track_caller]
fn step(command: &mut Command) -> Ran {
    run(command).success()
}

/// A file that its owner alone may read.
fn private(path: &Path, text: &str) {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("a file of one's own");
}

const CHILD: &str = "TOKENCA_TEST_MODULE";
