//! A root that is never connected: its state directory is used by commands alone, and requests and certificates
//! are carried to and from the CA below it as text and as files.

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use support::Ran;
use support::opinion::openssl;
use support::softhsm::SoftHsm;

/// A state directory and a token, and no server.
struct Offline {
    token: SoftHsm,
}

impl Offline {
    /// With these sections.
    fn new(sections: &str) -> Self {
        let offline = Self { token: SoftHsm::new() };
        fs::DirBuilder::new().mode(0o700).create(offline.state()).expect("a state directory");
        fs::copy(offline.token.pin_file(), offline.state().join("pin.txt")).expect("the PIN");
        let token = "crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file pin.txt\n";
        fs::write(offline.state().join("startup-config"), format!("{token}{sections}")).expect("a file");
        offline
    }

    fn state(&self) -> PathBuf {
        self.token.dir.path().join("s")
    }

    /// Does one command, typing this.
    fn try_cli(&self, command: &str, typed: &str) -> Ran {
        let mut program = Command::new(env!("CARGO_BIN_EXE_tokenca"));
        let (name, value) = self.token.environment();
        program.arg("--state").arg(self.state()).env(name, value).env_remove("TOKENCA_STATE");
        program.args(command.split_whitespace()).stdin(Stdio::piped());
        program.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().expect("it starts");
        let _ = child.stdin.take().expect("a pipe").write_all(typed.as_bytes());
        Ran::of(command, child.wait_with_output().expect("it ends"))
    }

    #[track_caller]
    fn cli(&self, command: &str, typed: &str) -> String {
        self.try_cli(command, typed).success().stdout
    }

    fn file(&self, name: &str) -> String {
        self.state().join(name).display().to_string()
    }
}

/// What stands between these lines, both included.
#[track_caller]
fn block(text: &str, what: &str) -> String {
    let (begin, end) = (format!("-----BEGIN {what}-----"), format!("-----END {what}-----"));
    let from = text.find(&begin).unwrap_or_else(|| panic!("no {what} in {text}"));
    let to = text.find(&end).unwrap_or_else(|| panic!("no end of {what} in {text}"));
    format!("{}\n", &text[from..to + end.len()])
}

const ROOT: &str = "crypto pki server mycs\n issuer-name CN=root, O=Example\n lifetime certificate 1000\n \
                    database level complete\n no shutdown\n";

#[test]
fn requests_and_certificates_are_pasted() {
    let root = Offline::new(ROOT);
    let sub = Offline::new(
        "crypto pki trustpoint sub\n enrollment terminal pem\n rsakeypair sub 2048\n\
         crypto pki server sub\n issuer-name CN=sub CA, O=Example\n mode sub-cs\n database level complete\n \
         grant auto\n no shutdown\n",
    );
    let shown = sub.cli("show crypto pki server", "");
    assert!(shown.contains("waiting for its certificate"), "{shown}");
    assert!(shown.contains("crypto pki authenticate sub"), "{shown}");

    // The CA above: its certificate, and that it is the right one.
    let above = block(&root.cli("crypto pki export mycs pem terminal", ""), "CERTIFICATE");
    let refused = sub.try_cli("--yes crypto pki authenticate sub", &format!("{above}quit\n"));
    refused.exited(1).says("the CA certificate was not accepted");
    sub.cli("crypto pki authenticate sub", &format!("{above}quit\nyes\n"));
    assert!(sub.cli("show crypto pki server", "").contains("crypto pki enroll sub"));

    // The request there, the certificate back.
    let shown = sub.cli("--yes crypto pki enroll sub", "");
    let request = block(&shown, "CERTIFICATE REQUEST");
    assert!(sub.cli("show crypto pki server", "").contains("has to be brought to the CA above"));
    let waits = root.cli("crypto pki server mycs request pkcs10 terminal pem", &format!("{request}quit\n"));
    assert!(waits.contains("pending, reqId=1"), "{waits}");
    let listed = root.cli("--json crypto pki server mycs info requests", "");
    assert!(listed.contains("\"subordinate-ca\""), "{listed}");
    let granted = root.cli("crypto pki server mycs grant 1", "");
    let certificate = block(&granted, "CERTIFICATE");
    sub.cli("crypto pki import sub certificate", &format!("{certificate}quit\n"));
    let shown = sub.cli("show crypto pki server", "");
    assert!(shown.contains("Status: enabled"), "{shown}");

    // It issues, and OpenSSL finds the way up, with and without the lists of both.
    let (key, request) = (sub.file("r1.key"), sub.file("r1.req"));
    openssl(&[
        "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=r1", "-keyout", &key, "-out", &request,
    ])
    .success();
    let shown = sub.cli("crypto pki server sub request pkcs10 url nvram:r1.req pem", "");
    fs::write(sub.state().join("r1.pem"), block(&shown, "CERTIFICATE")).expect("a file");
    fs::write(sub.state().join("root.pem"), above).expect("a file");
    fs::write(sub.state().join("sub.pem"), certificate).expect("a file");
    for (offline, label, out) in [(&root, "mycs", "root.crl.pem"), (&sub, "sub", "sub.crl.pem")] {
        let (from, to) = (offline.file(&format!("{label}.crl")), sub.file(out));
        openssl(&["crl", "-in", &from, "-out", &to]).success();
    }
    let (root_pem, sub_pem, device) = (sub.file("root.pem"), sub.file("sub.pem"), sub.file("r1.pem"));
    let chain = ["verify", "-x509_strict", "-CAfile", &root_pem, "-untrusted", &sub_pem];
    openssl(&[&chain[..], &[&device]].concat()).success();
    let (root_crl, sub_crl) = (sub.file("root.crl.pem"), sub.file("sub.crl.pem"));
    let lists = ["-crl_check_all", "-CRLfile", &root_crl, "-CRLfile", &sub_crl, &device];
    openssl(&[&chain[..], &lists].concat()).success();
    let text = openssl(&["x509", "-in", &sub_pem, "-noout", "-text"]).success().stdout;
    assert!(text.contains("CA:TRUE") && text.contains("Certificate Sign, CRL Sign"), "{text}");
}

#[test]
fn requests_and_certificates_are_files() {
    let root = Offline::new(ROOT);
    let exchange = tempfile::tempdir().expect("what is carried");
    let place = exchange.path().display().to_string();
    let sub = Offline::new(&format!(
        "file system usb: {place}\n\
         crypto pki trustpoint sub\n enrollment url usb:sub\n rsakeypair sub 2048\n\
         crypto pki server sub\n issuer-name CN=sub CA, O=Example\n mode sub-cs\n no shutdown\n"
    ));
    let above = block(&root.cli("crypto pki export mycs pem terminal", ""), "CERTIFICATE");
    fs::write(exchange.path().join("sub.ca"), &above).expect("a file");
    sub.cli("crypto pki authenticate sub", "yes\n");
    sub.cli("--yes crypto pki enroll sub", "");
    fs::copy(exchange.path().join("sub.req"), root.state().join("sub.req")).expect("the request");
    root.cli("crypto pki server mycs request pkcs10 url nvram:sub.req pem", "");
    let granted = root.cli("crypto pki server mycs grant 1", "");
    fs::write(exchange.path().join("sub.crt"), block(&granted, "CERTIFICATE")).expect("a file");
    sub.cli("crypto pki import sub certificate", "");
    let shown = sub.cli("show crypto pki server", "");
    assert!(shown.contains("Status: enabled"), "{shown}");

    // A device's certificate makes no CA.
    let other = Offline::new(
        "crypto pki trustpoint sub\n enrollment terminal pem\n rsakeypair sub 2048\n\
         crypto pki server sub\n issuer-name CN=other, O=Example\n mode sub-cs\n no shutdown\n",
    );
    other.cli("crypto pki authenticate sub", &format!("{above}quit\nyes\n"));
    other.cli("--yes crypto pki enroll sub", "");
    let (key, request) = (root.file("k.pem"), root.file("r.req"));
    openssl(&[
        "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", &key, "-out", &request,
    ])
    .success();
    root.cli("crypto pki server mycs request pkcs10 url nvram:r.req pem", "");
    let granted = root.cli("crypto pki server mycs grant 2", "");
    let pasted = format!("{}quit\n", block(&granted, "CERTIFICATE"));
    other.try_cli("crypto pki import sub certificate", &pasted).exited(1);
    assert!(other.cli("show crypto pki server", "").contains("waiting for its certificate"));
}
