//! certmonger's `scep-submit`, by hand: it carries messages and judges replies; its daemon would write the
//! messages, here our own client does.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokenca::pki::{Certificate, Hash, SigningKey};
use tokenca::scep::client::{self, Style};
use tokenca::scep::{Cipher, MessageType, TransactionId};

use super::device::{CaCerts, Device};
use super::keys::{TestKey, self_signed};
use super::opinion::openssl;
use super::{Ca, Ran, run};

/// A device that enrols with certmonger.
pub struct Certmonger {
    dir: tempfile::TempDir,
    url: String,
    certs: CaCerts,
    pub device: Device,
}

/// How `scep-submit` exits.
pub const ISSUED: i32 = 0;
pub const WAIT: i32 = 1;
pub const REJECTED: i32 = 2;

impl Certmonger {
    /// Fetches capabilities and certificates with `scep-submit -c` and `-C`.
    pub fn new(ca: &Ca) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = ca.scep_url();
        run(submit(&url).arg("-c")).success().says("SCEPStandard").says("AES").says("SHA-256");
        let certs = CaCerts::of(ca);
        let shown = run(submit(&url).arg("-C")).success();
        for certificate in [&certs.decrypter, &certs.ca] {
            let lines: Vec<_> = shown.stdout.lines().collect();
            assert!(lines.concat().contains(&STANDARD.encode(certificate.der())), "{}", shown.stdout);
        }
        let this = Self { device: device("CN=dev1, O=Example, C=US"), dir, url, certs };
        // The RA certificate that certmonger checks signatures with is the one that signs them.
        fs::write(this.file("ra.pem"), pem("CERTIFICATE", this.certs.signer.der())).expect("a file");
        fs::write(this.file("ca.pem"), pem("CERTIFICATE", this.certs.ca.der())).expect("a file");
        this
    }

    /// A new request.
    pub fn enrol(&self) -> Ran {
        self.pki_message(MessageType::PkcsReq, &self.device.csr(None), "-p")
    }

    /// Asks what has become of it.
    pub fn poll(&self) -> Ran {
        let content = client::issuer_and_subject(self.certs.ca.subject_raw(), self.device.subject.as_der());
        self.pki_message(MessageType::CertPoll, &content, "-g")
    }

    /// Renews as certmonger does: a PKCSReq or RenewalReq for a new key, signed with the old certificate.
    pub fn renew(&mut self, kind: MessageType, old: Certificate) -> (Ran, TestKey) {
        let new = TestKey::new();
        self.device.signer = old;
        self.device.transaction = transaction(&new);
        let csr = client::csr(&self.device.subject, &new, Hash::Sha256, None, &[]).expect("a PKCS#10");
        (self.pki_message(kind, &csr, "-p"), new)
    }

    /// The certificate in what `scep-submit` hands on, opened with OpenSSL; it goes to `name.pem`.
    pub fn keep(&self, ran: &Ran, name: &str) -> PathBuf {
        let file = |name: &str| self.file(name).display().to_string();
        fs::write(self.file("envelope.pem"), &ran.stdout).expect("a file");
        fs::write(self.file("key.pem"), self.device.key.pem()).expect("a file");
        fs::write(self.file("signer.pem"), pem("CERTIFICATE", self.device.signer.der())).expect("a file");
        let (envelope, key, signer) = (file("envelope.pem"), file("key.pem"), file("signer.pem"));
        let (inner, out) = (file("inner.der"), file(&format!("{name}.pem")));
        let args = ["-inkey", &key, "-recip", &signer, "-binary", "-out", &inner];
        openssl(&[&["cms", "-decrypt", "-inform", "PEM", "-in", &envelope], &args[..]].concat()).success();
        let printed = openssl(&["pkcs7", "-inform", "DER", "-in", &inner, "-print_certs"]).success().stdout;
        // Before it, openssl says whose it is.
        let pem = printed.split_once("-----BEGIN").expect("a certificate").1;
        fs::write(&out, format!("-----BEGIN{pem}").trim_end()).expect("a file");
        out.into()
    }

    fn pki_message(&self, kind: MessageType, content: &[u8], option: &str) -> Ran {
        let message = self.device.message(&self.certs, kind, content);
        fs::write(self.file("message.pem"), pem("PKCS7", &message.octets)).expect("a file");
        let mut submit = submit(&self.url);
        submit.args([option, "-r"]).arg(self.file("ra.pem")).arg("-N").arg(self.file("ca.pem"));
        run(submit.arg(self.file("message.pem")))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// As certmonger 0.79 makes messages: AES-256, a version 1 certificate, a decimal transactionID.
fn device(subject: &str) -> Device {
    let key = TestKey::new();
    let signer = self_signed(&key, subject, Hash::Sha256, false);
    let style = Style { cipher: Cipher::Aes256, ..Style::default() };
    Device { transaction: transaction(&key), subject: super::keys::name(subject), signer, style, key }
}

/// 77 decimal digits, made of the public key.
fn transaction(key: &TestKey) -> TransactionId {
    let digits: String = key.public_key().fingerprint().iter().map(|octet| format!("{octet:03}")).collect();
    TransactionId::new(&digits.as_bytes()[..77])
}

fn submit(url: &str) -> Command {
    let mut submit = Command::new("/usr/lib/certmonger/scep-submit");
    submit.args(["-u", url]);
    submit
}

/// RFC 7468.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: String =
        text.as_bytes().chunks(64).map(|l| String::from_utf8_lossy(l).into_owned() + "\n").collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}
