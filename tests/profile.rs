//! Enrolment profiles: a CA that speaks no SCEP is asked by HTTP.

mod support;

use std::collections::BTreeMap;

use support::formca::FormCa;
use support::keys::{TestKey, name};
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
