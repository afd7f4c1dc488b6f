//! `tokenca serve` with a token of a module, as the module wants its processes.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::super::ca::Running;
use super::super::run;
use super::TestModule;

/// It runs until this is dropped.
pub struct ModuleServer {
    pub running: Running,
    /// The state directory.
    pub state: PathBuf,
}

impl ModuleServer {
    /// With CAs that grant, by their labels and the lines of their trustpoints that say which key; the token,
    /// `usbtoken0`, has these lines besides its own.
    pub fn start(module: &TestModule, token_lines: &str, cas: &[(&str, &str)]) -> Self {
        let state = module.dir.join("state");
        DirBuilder::new().mode(0o700).create(&state).expect("a state directory");
        let mut text = format!(
            "hostname ca1\nip http server\nip http port 0\nip http bind 127.0.0.1\n\
             crypto pki token usbtoken0\n{}{token_lines}",
            module.config_lines()
        );
        for (label, key) in cas {
            text += &format!(
                "crypto pki trustpoint {label}\n {key}\n on usbtoken0:\n\
                 crypto pki server {label}\n issuer-name CN={label}\n grant auto\n no shutdown\n"
            );
        }
        fs::write(state.join("startup-config"), text).expect("a configuration");

        let log = module.dir.join("server.log");
        let mut command = module.command(PROGRAM);
        command.arg("--state").arg(&state).env_remove("TOKENCA_STATE");
        command.stderr(File::create(&log).expect("a log"));
        let running = Running::start(&mut command, || fs::read_to_string(&log).unwrap_or_default());
        Self { running, state }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.running.url.strip_prefix("http://").expect("an http URL")
    }

    /// Configures it with these lines.
    pub fn configure(&self, text: &str) {
        let file = self.state.join("lines");
        fs::write(&file, text).expect("a file");
        run(Command::new(PROGRAM).arg("--state").arg(&self.state).arg("--yes").arg("configure").arg(&file))
            .success();
    }

    /// What an exec command prints.
    pub fn exec(&self, line: &str) -> String {
        let mut program = Command::new(PROGRAM);
        run(program.arg("--state").arg(&self.state).args(line.split(' '))).success().stdout
    }

    /// What an exec command shows.
    pub fn json(&self, line: &str) -> Value {
        let mut program = Command::new(PROGRAM);
        program.arg("--state").arg(&self.state).arg("--json").args(line.split(' '));
        let shown = run(&mut program).success().stdout;
        serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{line}: {error} in {shown}"))
    }
}

impl Drop for ModuleServer {
    fn drop(&mut self) {
        let _ = self.running.child.kill();
        let _ = self.running.child.wait();
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_tokenca");
