//! Enrolment profiles: a CA that speaks no SCEP is asked by HTTP.

mod support;

use std::collections::BTreeMap;

use support::formca::FormCa;
use support::keys::{TestKey, name};
use support::{Ca, until};
use tokenca::files::{Files, Places};
use tokenca::pki::{Hash, SigningKey};
use tokenca::scep::client;
use tokenca::trustpoint::ClientError;
use tokenca::trustpoint::profile::{Task, Values};

const GET: &str = "GET /certs/cacert.der";
const POST: &str = "POST /certs/certreq.asp reqtype=PKCS10&authcode=$P1&host=$FQDN&CertReq=$REQ";

#[test]
fn a_ca_behind_a_form_issues() {
    let ca = FormCa::start();
    let files = Files::new(Places::default());
    let url = format!("http://{}", ca.address);
    let key = TestKey::new();
    let csr = client::csr(&name("cn=r1"), &key, Hash::Sha256, None, &[]).unwrap();
    let nothing = BTreeMap::new();
    let values = Values { parameters: &nothing, request: None, pem: false, fqdn: "r1.example.com" };
    let ask = |command| Task { url: &url, command, values: &values }.ca_certificates(&files);
    let authority = ask(GET).unwrap();
    assert_eq!(authority.ca().der(), ca.certificate());
    assert!(matches!(ask("GET /certs/nothing"), Err(ClientError::Status { temporary: false, .. })));
    assert!(matches!(ask("GET /certs/cacert.der?code=$REQ"), Err(ClientError::Profile(_))));

    let enroll = |code: &str, wanted: &TestKey| {
        let parameters: BTreeMap<_, _> = [(1, code.into())].into();
        let values =
            Values { parameters: &parameters, request: Some(&csr), pem: false, fqdn: "r1.example.com" };
        let task = Task { url: &url, command: POST, values: &values };
        task.enroll(&files, &authority, SigningKey::public_key(wanted))
    };
    let issued = enroll("letmein", &key).unwrap();
    assert_eq!(issued[0].public_key(), SigningKey::public_key(&key));
    assert!(ca.forms()[0].starts_with("reqtype=PKCS10&authcode=letmein&host=r1.example.com&CertReq="));
    // One code, not a field more.
    assert!(matches!(enroll("x&authcode=letmein", &key), Err(ClientError::Status { .. })));
    assert!(matches!(enroll("letmein", &TestKey::new()), Err(ClientError::OtherKey)));
}

/// A device whose trustpoint `Entrust` enrols as the profile `E` says.
fn device(ca: &FormCa, lines: &str) -> Ca {
    let url = format!("http://{}", ca.address);
    Ca::with_configuration(&format!(
        "hostname r1\nip domain name example.com\nip http server\nip http port 0\nip http bind 127.0.0.1\n\
         crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file pin.txt\n\
         crypto pki trustpoint Entrust\n enrollment profile E\n rsakeypair Entrust 2048\n on usbtoken0:\n\
         crypto pki profile enrollment E\n authentication url {url}\n authentication command {GET}\n \
         enrollment url {url}\n enrollment command {POST}\n{lines}"
    ))
}

#[test]
fn a_trustpoint_enrols_as_its_profile_says() {
    let ca = FormCa::start();
    let device = device(&ca, " parameter 1 prompt Authorization code:\n");
    let asked = device.typed("crypto pki authenticate Entrust", "yes\n").success();
    asked.says("Fingerprint SHA256:").says("Trustpoint CA certificate accepted.");
    // Parameter, password, serial number, address, and whether to send it.
    let denied = device.typed("crypto pki enroll Entrust", "guess\n\nno\nno\nyes\n").success();
    denied.says("Authorization code:").says("403");
    let granted = device.typed("crypto pki enroll Entrust", "letmein\n\nno\nno\nyes\n").success();
    granted.says("The certificate was received from the Certificate Authority.");
    let shown = device.exec("show crypto pki certificates Entrust");
    assert!(shown.contains("Subject:\n    hostname=r1.example.com\n"), "{shown}");
    assert!(ca.forms().iter().all(|form| form.contains("host=r1.example.com&")), "{:?}", ca.forms());
    assert!(
        !device.log().contains("letmein") && !device.exec("show archive log config all").contains("letmein")
    );
}

#[test]
fn a_parameter_with_a_value_needs_nobody() {
    let ca = FormCa::start();
    let fingerprint = tokenca::pki::hex(&Hash::Sha256.digest(&[&ca.certificate()]));
    let lines = format!(
        " parameter 1 value letmein\ncrypto pki trustpoint Entrust\n fingerprint {fingerprint}\n auto-enroll 80\n"
    );
    let device = device(&ca, &lines);
    until("the certificate is there", || {
        device.exec("show crypto pki certificates Entrust").contains("Certificate Usage").then_some(())
    });
    let status = device.exec("show crypto pki trustpoints Entrust status");
    assert!(status.contains("Issuing CA authenticated ....... Yes"), "{status}");
}

#[test]
fn what_a_profile_lacks_is_said() {
    let ca = FormCa::start();
    let device = device(&ca, "");
    device.typed("crypto pki authenticate Entrust", "yes\n").success();
    let lacking = device.typed("crypto pki enroll Entrust", "\nno\nno\nyes\n");
    lacking.says("$P1 has no value");
    device.configure("crypto pki trustpoint Entrust\n enrollment profile F\n");
    device.typed("crypto pki enroll Entrust", "").exited(1).says("there is no enrolment profile \"F\"");
}
