//! strongSwan's `pki`, in a directory with keys and certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::netns::Host;
use super::{Ca, Ran, run};

/// A device that enrols with strongSwan.
pub struct Strongswan {
    dir: tempfile::TempDir,
    /// Where it runs, when that is not where the test does.
    host: Option<Host>,
    dn: String,
    san: String,
    url: String,
    encrypt: String,
    verify: String,
    /// The CA certificate, when it is neither of these.
    other: Option<String>,
}

impl Strongswan {
    /// Fetches the certificates of the CA with `pki --scepca`.
    pub fn new(ca: &Ca) -> Self {
        Self::named(ca, DN, SAN, None)
    }

    /// The same for a device of this name and this DNS name, on this host.
    pub fn named(ca: &Ca, dn: &str, san: &str, host: Option<&Host>) -> Self {
        Self::with(ca.scep_url(), dn, san, host)
    }

    /// The same of whatever answers SCEP at this URL.
    pub fn at(url: &str) -> Self {
        Self::with(url.to_owned(), DN, SAN, None)
    }

    fn with(url: String, dn: &str, san: &str, host: Option<&Host>) -> Self {
        let mut device = Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
            host: host.cloned(),
            dn: dn.to_owned(),
            san: san.to_owned(),
            url,
            encrypt: "ca.pem".to_owned(),
            verify: "ca.pem".to_owned(),
            other: None,
        };
        let mut pki = device.pki(&["--scepca", "--url", &device.url, "--outform", "pem", "--force"]);
        run(pki.args(["--caout", "ca.pem", "--raout", "ra.pem"])).success();
        if device.file("ra.pem").exists() {
            (device.encrypt, device.verify) = ra_files(device.dir.path());
            device.other = Some("ca.pem".to_owned());
        } else if let Some(lowest) = lowest_ca(device.dir.path()) {
            (device.encrypt, device.verify) = (lowest.clone(), lowest);
            device.other = Some("ca.pem".to_owned());
        }
        device
    }

    /// A file of this device.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Generates a key pair.
    pub fn key(&self, name: &str) {
        let generated = run(&mut self.pki(&["--gen", "--type", "rsa", "--size", "2048", "--outform", "pem"]));
        fs::write(self.file(&format!("{name}.key")), generated.success().stdout).expect("a key");
    }

    /// Generates a P-256 key pair and a request for it, `NAME.req` (DER): `pki --scep` has RSA keys only.
    pub fn ec_request(&self, name: &str) {
        let generated =
            run(&mut self.pki(&["--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem"]));
        let key = format!("{name}.key");
        fs::write(self.file(&key), generated.success().stdout).expect("a key");
        let request = ["--req", "--type", "ecdsa", "--in", &key, "--dn", &self.dn, "--san", &self.san];
        let request = self.pki(&request).output().expect("pki is installed");
        fs::write(self.file(&format!("{name}.req")), request.stdout).expect("a request");
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
        self.start_with(name, &["--interval", "1", "--maxpolltime", "60"])
    }

    /// The same for a key that there is, with these arguments.
    pub fn start_with(&self, name: &str, more: &[&str]) -> Waiting<'_> {
        let mut request = self.request(name, more);
        request.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Waiting { client: self, name: name.to_owned(), child: request.spawn().expect("pki is installed") }
    }

    /// Renews the certificate of `old` for the key `new`.
    pub fn renew(&self, old: &str, new: &str, more: &[&str]) -> Ran {
        let (certificate, key) = (format!("{old}.pem"), format!("{old}.key"));
        self.enrol(new, &[&["--cert", &certificate, "--key", &key], more].concat())
    }

    fn request(&self, name: &str, more: &[&str]) -> Command {
        let mut request = self.pki(&["--scep", "--url", &self.url, "--outform", "pem"]);
        request.args(["--in", &format!("{name}.key"), "--dn", &self.dn, "--san", &self.san]);
        request.args(["--cacert-enc", &self.encrypt, "--cacert-sig", &self.verify]);
        request.args(self.other.iter().flat_map(|ca| ["--cacert", ca])).args(more);
        request
    }

    fn pki(&self, args: &[&str]) -> Command {
        let mut pki = self.host.as_ref().map_or_else(|| Command::new("pki"), |host| host.command("pki"));
        pki.current_dir(self.dir.path()).args(args);
        pki
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

/// The name that a device asks for when none is given.
pub const DN: &str = "C=US, O=Example, CN=sw1.example.com";
/// The DNS name.
pub const SAN: &str = "sw1.example.com";

/// Of several CA certificates `ca*.pem`, of which `ca.pem` is the root's: that of the CA below.
fn lowest_ca(dir: &Path) -> Option<String> {
    let entries = fs::read_dir(dir).expect("its own directory");
    let mut names =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("its own name"));
    names.find(|name| name.starts_with("ca") && name.ends_with(".pem") && name != "ca.pem")
}

/// Of the RA certificates `ra*.pem`: that for encryption, that for signatures.
fn ra_files(dir: &Path) -> (String, String) {
    let entries = fs::read_dir(dir).expect("its own directory");
    let names =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("its own name"));
    let ras: Vec<String> = names.filter(|name| name.starts_with("ra") && name.ends_with(".pem")).collect();
    if let [only] = &ras[..] {
        return (only.clone(), only.clone());
    }
    let with = |usage: &str| {
        let has = |name: &&String| super::opinion::text_of(&dir.join(name)).contains(usage);
        ras.iter().find(has).unwrap_or_else(|| panic!("no RA certificate with {usage}")).clone()
    };
    (with("Key Encipherment"), with("Digital Signature"))
}
