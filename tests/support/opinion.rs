//! What other programs think of what we issue: OpenSSL, pkilint, pkcs11-tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Ca, Ran, http, run};

/// The certificate and CRL of a CA in files, and questions about what it issued.
pub struct Opinion {
    dir: tempfile::TempDir,
}

impl Opinion {
    /// Fetches the certificate by `/mycs.cer`.
    pub fn about(ca: &Ca) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let certificate = http::get(ca.address(), "/mycs.cer", &[]).is(200, "application/pkix-cert");
        let opinion = Self { dir };
        fs::write(opinion.file("ca.der"), certificate.body).expect("the CA certificate");
        openssl(&["x509", "-in", opinion.text("ca.der").as_str(), "-out", opinion.text("ca.pem").as_str()])
            .success();
        opinion
    }

    /// The CA certificate, PEM.
    pub fn ca_pem(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// The certificate in this file (PEM) is one of the CA's: OpenSSL verifies it strictly, and against the
    /// CRL of now; pkilint finds nothing. What it says, as OpenSSL shows it.
    #[track_caller]
    pub fn approves(&self, ca: &Ca, certificate: &Path) -> String {
        self.fetch_crl(ca);
        self.verify(certificate, &["-x509_strict"]).success().says(": OK");
        lint_certificate(certificate);
        text_of(certificate)
    }

    /// OpenSSL verifies the certificate in this file (PEM), and against the CRL of now; without what is demanded
    /// of certificates of today.
    #[track_caller]
    pub fn verifies(&self, ca: &Ca, certificate: &Path) {
        self.fetch_crl(ca);
        self.verify(certificate, &[]).success().says(": OK");
    }

    /// The certificate in this file is revoked by the CRL of now.
    #[track_caller]
    pub fn says_revoked(&self, ca: &Ca, certificate: &Path) {
        self.fetch_crl(ca);
        let ran = self.verify(certificate, &[]);
        assert_ne!(ran.code, Some(0));
        ran.says("certificate revoked");
    }

    /// OpenSSL and pkilint find nothing wrong with CA certificate and CRL.
    pub fn approves_of_the_ca(&self, ca: &Ca) {
        self.fetch_crl(ca);
        let (pem, crl) = (self.text("ca.pem"), self.text("crl.pem"));
        openssl(&["verify", "-x509_strict", "-check_ss_sig", "-CAfile", &pem, &pem]).success();
        openssl(&["crl", "-in", &crl, "-CAfile", &pem, "-noout"]).success().says("verify OK");
        lint_certificate(&self.file("ca.pem"));
        lint_crl(&self.file("crl.pem"));
    }

    fn verify(&self, certificate: &Path, more: &[&str]) -> Ran {
        let (ca, crl, certificate) =
            (self.text("ca.pem"), self.text("crl.pem"), certificate.display().to_string());
        let rest = ["-crl_check", "-CRLfile", &crl, "-CAfile", &ca, "-purpose", "any", &certificate];
        openssl(&[&["verify"], more, &rest].concat())
    }

    fn fetch_crl(&self, ca: &Ca) {
        let crl = http::get(ca.address(), "/mycs.crl", &[]).is(200, "application/pkix-crl");
        fs::write(self.file("crl.der"), crl.body).expect("the CRL");
        openssl(&["crl", "-in", self.text("crl.der").as_str(), "-out", self.text("crl.pem").as_str()])
            .success();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }
}

/// Runs `openssl`.
pub fn openssl(args: &[&str]) -> Ran {
    run(Command::new("openssl").args(args))
}

/// The certificate in this file in words, with its serial number as `serial=`.
pub fn text_of(certificate: &Path) -> String {
    let file = certificate.display().to_string();
    openssl(&["x509", "-in", &file, "-noout", "-serial", "-text"]).success().stdout
}

/// The certificate in this file (PEM), DER.
pub fn der_of(certificate: &Path) -> Vec<u8> {
    let out = certificate.with_extension("der");
    let (from, to) = (certificate.display().to_string(), out.display().to_string());
    openssl(&["x509", "-in", &from, "-outform", "DER", "-out", &to]).success();
    fs::read(out).expect("what openssl wrote")
}

/// The serial number of the certificate in this file, as commands take it: `0x1F`.
pub fn serial_of(certificate: &Path) -> String {
    let text = text_of(certificate);
    let serial = text.lines().find_map(|line| line.strip_prefix("serial="));
    format!("0x{}", serial.expect("openssl shows the serial number"))
}

/// Whether the key in this file (PEM) is that of the certificate.
pub fn belong_together(key: &Path, certificate: &Path) -> bool {
    let (key, certificate) = (key.display().to_string(), certificate.display().to_string());
    let of_key = openssl(&["pkey", "-in", &key, "-pubout"]).success().stdout;
    of_key == openssl(&["x509", "-in", &certificate, "-noout", "-pubkey"]).success().stdout
}

/// pkilint finds nothing in this certificate that deserves a warning.
#[track_caller]
pub fn lint_certificate(certificate: &Path) {
    lint("lint_pkix_cert", &["-s", "WARNING"], certificate);
}

/// pkilint finds nothing in this CRL.
#[track_caller]
pub fn lint_crl(crl: &Path) {
    lint("lint_crl", &["-t", "CRL", "-p", "PKIX"], crl);
}

#[track_caller]
fn lint(program: &str, args: &[&str], file: &Path) {
    // target/tmp is Cargo's; scripts/install-deps puts pkilint beside it.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp has a parent");
    let program = target.join("tools/venv/bin").join(program);
    run(Command::new(program).arg("lint").args(args).arg(file)).success();
}

/// What pkcs11-tool, told the PIN, says about the private key of this label, or all of them.
pub fn key_on_token(ca: &Ca, label: Option<&str>) -> String {
    let mut tool = pkcs11_tool(ca);
    let all = run(tool.args(["--list-objects", "--type", "privkey"])).success().stdout;
    let Some(label) = label else { return all };
    // Its own --label selects nothing when it lists, and the order is anybody's guess.
    let is_it = |key: &&str| {
        key.lines().any(|line| line.trim().strip_prefix("label:").is_some_and(|name| name.trim() == label))
    };
    let key = all.split("Private Key Object").find(is_it);
    key.unwrap_or_else(|| panic!("no private key {label} among\n{all}")).to_owned()
}

/// `pkcs11-tool`, logged in to the token of the CA.
pub fn pkcs11_tool(ca: &Ca) -> Command {
    let module = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"]
        .into_iter()
        .chain(["/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"])
        .find(|path| Path::new(path).exists())
        .expect("SoftHSM is installed");
    let (name, value) = ca.token().environment();
    let mut tool = Command::new("pkcs11-tool");
    tool.env(name, value).args(["--module", module, "--token-label", &ca.token().label, "--login"]);
    tool.args(["--pin", &ca.token().pin]);
    tool
}
