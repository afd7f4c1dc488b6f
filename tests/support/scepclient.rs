//! micromdm's `scepclient`. It speaks DES and SHA-1 whatever the CA offers.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{Ca, Ran, run};

/// A device that enrols with scepclient, in a directory with `key.pem` and `cert.pem`.
pub struct Scepclient {
    dir: tempfile::TempDir,
    url: String,
}

impl Scepclient {
    pub fn new(ca: &Ca) -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory"), url: ca.scep_url() }
    }

    /// Asks for a certificate; with one there already, renews it.
    pub fn enrol(&self, more: &[&str]) -> Ran {
        run(self.program().args(more))
    }

    /// Asks and is left alone: a client told to wait sleeps for half a minute before it asks again.
    pub fn start(&self) -> Asleep {
        let mut program = self.program();
        let log = fs::File::create(self.file("log")).expect("a file");
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Asleep(program.spawn().expect("scepclient is installed; see scripts/install-deps"))
    }

    /// A file of this device: `key.pem`, `cert.pem`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Keeps the certificate under another name: the next run starts without one.
    pub fn keep(&self, name: &str) -> PathBuf {
        fs::copy(self.file("cert.pem"), self.file(name)).expect("a certificate");
        self.file(name)
    }

    fn program(&self) -> Command {
        let mut program = Command::new("scepclient");
        program.current_dir(self.dir.path()).args(["-server-url", &self.url, "-debug"]);
        program.args(["-private-key", "key.pem", "-certificate", "cert.pem", "-cn", "dev2.example.com"]);
        program.args(["-organization", "Example", "-country", "US"]);
        program
    }
}

/// A client that waits.
pub struct Asleep(Child);

impl Drop for Asleep {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
