//! strongSwan's `pki`, in a directory with keys and certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Ca, Ran, run};

/// A device that enrols with strongSwan.
pub struct Strongswan {
    dir: tempfile::TempDir,
    url: String,
    encrypt: String,
    verify: String,
    /// The CA certificate, when it is neither of these.
    other: Option<String>,
}

impl Strongswan {
    /// Fetches the certificates of the CA with `pki --scepca`.
    pub fn new(ca: &Ca) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut pki = pki(dir.path(), &["--scepca", "--url", &ca.scep_url(), "--outform", "pem", "--force"]);
        run(pki.args(["--caout", "ca.pem", "--raout", "ra.pem"])).success();
        let (encrypt, verify, other) = match dir.path().join("ra.pem").exists() {
            false => ("ca.pem".into(), "ca.pem".into(), None),
            true => {
                let (encrypt, verify) = ra_files(dir.path());
                (encrypt, verify, Some("ca.pem".into()))
            }
        };
        Self { dir, url: ca.scep_url(), encrypt, verify, other }
    }

    /// A file of this device.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Generates a key pair.
    pub fn key(&self, name: &str) {
        let generated =
            run(&mut pki(self.dir.path(), &["--gen", "--type", "rsa", "--size", "2048", "--outform", "pem"]));
        fs::write(self.file(&format!("{name}.key")), generated.success().stdout).expect("a key");
    }

    /// Asks for a certificate for the key `name`, with further arguments; it goes to `name.pem`.
    pub fn enrol(&self, name: &str, more: &[&str]) -> Ran {
        if !self.file(&format!("{name}.key")).exists() {
            self.key(name);
        }
        let ran = run(&mut self.request(name, more));
        self.keep(name, ran)
    }

    /// The same, without waiting for the end: it polls each second.
    pub fn start(&self, name: &str) -> Waiting<'_> {
        self.key(name);
        let mut request = self.request(name, &["--interval", "1", "--maxpolltime", "60"]);
        request.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Waiting { client: self, name: name.to_owned(), child: request.spawn().expect("pki is installed") }
    }

    /// Renews the certificate of `old` for the key `new`.
    pub fn renew(&self, old: &str, new: &str, more: &[&str]) -> Ran {
        let (certificate, key) = (format!("{old}.pem"), format!("{old}.key"));
        self.enrol(new, &[&["--cert", &certificate, "--key", &key], more].concat())
    }

    fn request(&self, name: &str, more: &[&str]) -> Command {
        let mut request = pki(self.dir.path(), &["--scep", "--url", &self.url, "--outform", "pem"]);
        request.args(["--in", &format!("{name}.key"), "--dn", DN, "--san", SAN]);
        request.args(["--cacert-enc", &self.encrypt, "--cacert-sig", &self.verify]);
        request.args(self.other.iter().flat_map(|ca| ["--cacert", ca])).args(more);
        request
    }

    fn keep(&self, name: &str, ran: Ran) -> Ran {
        if ran.code == Some(0) {
            fs::write(self.file(&format!("{name}.pem")), &ran.stdout).expect("a certificate");
        }
        ran
    }
}

/// A request that polls.
pub struct Waiting<'a> {
    client: &'a Strongswan,
    name: String,
    child: Child,
}

impl Waiting<'_> {
    /// Waits for its end.
    pub fn end(self) -> Ran {
        let ran = Ran::of("pki --scep, polling", self.child.wait_with_output().expect("it ends"));
        self.client.keep(&self.name, ran)
    }
}

/// The name that this device asks for.
pub const DN: &str = "C=US, O=Example, CN=sw1.example.com";
/// Its DNS name.
pub const SAN: &str = "sw1.example.com";

fn pki(dir: &Path, args: &[&str]) -> Command {
    let mut pki = Command::new("pki");
    pki.current_dir(dir).args(args);
    pki
}

/// Of the RA certificates `ra*.pem`: that for encryption, that for signatures.
fn ra_files(dir: &Path) -> (String, String) {
    let entries = fs::read_dir(dir).expect("its own directory");
    let names =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("its own name"));
    let ras: Vec<String> = names.filter(|name| name.starts_with("ra") && name.ends_with(".pem")).collect();
    let with = |usage: &str| {
        let has = |name: &&String| super::opinion::text_of(&dir.join(name)).contains(usage);
        ras.iter().find(has).unwrap_or_else(|| panic!("no RA certificate with {usage}")).clone()
    };
    (with("Key Encipherment"), with("Digital Signature"))
}
