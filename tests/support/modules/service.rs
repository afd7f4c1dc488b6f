//! A program that runs in the background for a token.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::super::until;

/// It runs until this is dropped.
pub struct Service {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Service {
    /// Starts it; what it says goes into `NAME.log` in this directory.
    pub fn start(name: &str, dir: &Path, command: &mut Command) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log).expect("a log");
        let command = command.stdin(Stdio::null()).stderr(file.try_clone().expect("the log")).stdout(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, name: name.to_owned(), log }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it does this.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut does: impl FnMut() -> bool) {
        until(&format!("{} {what}", self.name), || {
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("{}: {status}\n{}", self.name, fs::read_to_string(&self.log).unwrap_or_default());
            }
            does().then_some(())
        });
    }

    /// Waits until it takes connections on this socket.
    #[track_caller]
    pub fn listens(&mut self, socket: &Path) {
        self.until("listens", || UnixStream::connect(socket).is_ok());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
