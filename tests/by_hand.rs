//! Requests that an operator brings by hand (S17).

mod support;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use support::{Ca, Ran, run};

const REQUEST: &str = "crypto pki server mycs request pkcs10";

#[test]
fn pasted_requests_wait_and_their_certificates_are_printed() {
    let ca = Ca::new(&[]);
    let device = Openssl::new();
    let pem = device.request("r1");
    let pasted = paste(&ca, &format!("{REQUEST} terminal pem"), &format!("{pem}quit\n"));
    pasted
        .says("% Enter Base64 encoded or PEM formatted PKCS10 enrollment request.")
        .says("% End with a blank line or \"quit\" on a line by itself.")
        .says("% Enrollment request pending, reqId=1");

    // Base64 alone, as IOS shows a request; it ends with a blank line.
    let bare: String = device
        .request("r2")
        .lines()
        .filter(|line| !line.starts_with('-'))
        .map(|l| format!("{l}\n"))
        .collect();
    paste(&ca, &format!("{REQUEST} terminal"), &format!("{bare}\n"))
        .says("% Enrollment request pending, reqId=2");
    let rows = ca.json("crypto pki server mycs info requests");
    assert_eq!((rows[0]["subject"].as_str(), rows[0]["state"].as_str()), (Some("cn=r1"), Some("pending")));

    let granted = ca.exec("crypto pki server mycs grant all");
    let (first, second) = granted
        .trim_start_matches("% Granted certificate:\n")
        .split_once("% Granted certificate:\n")
        .expect("two certificates");
    device.accepts(&ca, "r1", first);
    assert!(!second.contains("-----"), "base64 alone was asked for: {second}");
    device.accepts(&ca, "r2", &format!("-----BEGIN CERTIFICATE-----\n{second}-----END CERTIFICATE-----\n"));
    // The request is answered once; pasted again it is the same.
    let again = paste(&ca, &format!("{REQUEST} terminal pem"), &pem).success();
    assert!(again.stdout.contains(first), "{}", again.stdout);
}

#[test]
fn requests_are_read_from_files_and_granted_at_once_when_they_may_be() {
    let ca = Ca::new(&["grant auto"]);
    let device = Openssl::new();
    fs::write(ca.state().join("r1.req"), device.request("r1")).expect("a file");
    let shown = ca.exec(&format!("{REQUEST} url nvram:r1.req pem"));
    device.accepts(&ca, "r1", shown.strip_prefix("% Granted certificate:\n").expect("granted"));
    // DER, and the URL without `url` as one manual prints it.
    device.request("r2");
    fs::write(ca.state().join("r2.der"), device.der("r2")).expect("a file");
    let shown = ca.exec(&format!("{REQUEST} nvram:r2.der pem"));
    device.accepts(&ca, "r2", shown.strip_prefix("% Granted certificate:\n").expect("granted"));
    ca.try_cli(&words(&format!("{REQUEST} url nvram:none"))).exited(1).says("nvram:none");
    // What the server keeps for itself is no file.
    ca.try_cli(&words(&format!("{REQUEST} url nvram:pin.txt"))).exited(1);
}

#[test]
fn malformed_requests_are_kept_and_never_granted() {
    let ca = Ca::new(&["grant auto"]);
    let device = Openssl::new();
    device.request("r1");
    let mut forged = device.der("r1");
    *forged.last_mut().expect("octets") ^= 1;
    fs::write(ca.state().join("forged.der"), &forged).expect("a file");
    ca.try_cli(&words(&format!("{REQUEST} url nvram:forged.der")))
        .exited(1)
        .says("% Enrollment request malformed, reqId=1");
    fs::write(ca.state().join("noise.der"), [0x30, 0x03, 0x02, 0x01, 0xff]).expect("a file");
    ca.try_cli(&words(&format!("{REQUEST} url nvram:noise.der")))
        .exited(1)
        .says("% Enrollment request malformed, reqId=2");
    paste(&ca, &format!("{REQUEST} terminal"), "(not base64)\n\n").exited(1);

    let rows = ca.json("crypto pki server mycs info requests");
    let states: Vec<_> = rows.as_array().expect("rows").iter().map(|row| row["state"].as_str()).collect();
    assert_eq!(states, [Some("malformed"), Some("malformed")]);
    assert!(rows[0]["reason"].as_str().is_some_and(|reason| reason.contains("signature")), "{rows}");
    ca.try_cli(&words("crypto pki server mycs grant 1")).exited(1).says("malformed, not pending");
    ca.exec("crypto pki server mycs grant all");
    assert_eq!(ca.json("show crypto pki server mycs")[0]["last_serial"], "0x1");
    ca.exec("crypto pki server mycs remove all");
    assert_eq!(ca.json("crypto pki server mycs info requests").as_array().map(Vec::len), Some(0));
}

/// Runs a command and types this after it.
fn paste(ca: &Ca, line: &str, text: &str) -> Ran {
    let mut program = ca.program();
    program.args(words(line)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    Ran::of(line, child.wait_with_output().expect("it ends"))
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A device whose requests and certificates are handled by openssl.
struct Openssl(tempfile::TempDir);

impl Openssl {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn openssl(&self, line: &str) -> Ran {
        run(Command::new("openssl").current_dir(self.0.path()).args(words(line)))
    }

    /// A PKCS#10 in PEM for a new key.
    fn request(&self, name: &str) -> String {
        self.openssl(&format!(
            "req -new -newkey rsa:2048 -nodes -keyout {name}.key -subj /CN={name} -out {name}.req"
        ))
        .success();
        fs::read_to_string(self.0.path().join(format!("{name}.req"))).expect("a request")
    }

    fn der(&self, name: &str) -> Vec<u8> {
        self.openssl(&format!("req -in {name}.req -outform DER -out {name}.der")).success();
        fs::read(self.0.path().join(format!("{name}.der"))).expect("a request")
    }

    /// The certificate must be of its key and of the CA.
    fn accepts(&self, ca: &Ca, name: &str, pem: &str) {
        let file = |name: &str| self.0.path().join(name);
        fs::write(file("cert.pem"), pem).expect("a file");
        let own = ca.exec("crypto pki server mycs certificate 1");
        fs::write(file("ca.pem"), own).expect("a file");
        self.openssl("verify -x509_strict -CAfile ca.pem cert.pem").success();
        let of = |line: &str| self.openssl(line).success().stdout;
        assert_eq!(of("x509 -in cert.pem -noout -pubkey"), of(&format!("pkey -in {name}.key -pubout")));
    }
}
