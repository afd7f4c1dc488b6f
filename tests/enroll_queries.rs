//! What is asked of a CA beside certificates for oneself: its capabilities and certificates, the CRL in four
//! ways, certificates of others.

mod support;

use std::path::Path;

use support::certmonger::pem;
use support::device::{CaCerts, Device, Reply, certificates};
use support::http::{self, Response};
use support::opinion::{openssl, serial_of};
use support::{Ca, opinion};
use tokenca::pki::Certificate;
use tokenca::scep::client::issuer_and_serial;
use tokenca::scep::{FailInfo, MessageType};

#[test]
fn capabilities_and_certificates() {
    let ca = Ca::new(&["grant auto"]);
    let get = |target: &str| http::get(ca.address(), target, &[]);
    for path in ["/scep", "/cgi-bin/pkiclient.exe", "/certsrv/mscep/mscep.dll", "/mycs/pkiclient.exe", "/"] {
        let caps = get(&format!("{path}?operation=GetCACaps")).is(200, "text/plain").text();
        for keyword in ["AES", "SHA-256", "POSTPKIOperation", "Renewal", "SCEPStandard"] {
            assert!(caps.lines().any(|line| line == keyword), "{caps}");
        }
        // Not what only `crypto legacy` allows, nor what is not done.
        assert!(!caps.contains("MD5") && !caps.contains("GetNextCACert"), "{caps}");
    }
    let certificate = get("/mycs.cer").is(200, "application/pkix-cert").body;
    for message in ["", "&message=0", "&message=1", "&message=default", "&message=mycs", "&message="] {
        let response = get(&format!("/scep?operation=GetCACert{message}"));
        assert_eq!(response.is(200, "application/x-x509-ca-cert").body, certificate);
    }
    let chain = get("/scep?operation=GetCACertChain&message=x").body;
    assert_eq!(certificates(&chain)[0].der(), certificate);
    assert_eq!(get("/scep?operation=GetNextCACert").status, 404);
    assert_eq!(get("/scep?operation=Destroy").status, 400);
    assert_eq!(get("/other.cer").status, 404);
}

#[test]
fn separate_scep_keys_are_told_with_the_ca() {
    let ca = Ca::new(&["scep key separate"]);
    let response = http::get(ca.address(), "/scep?operation=GetCACert", &[]);
    let all = certificates(&response.is(200, "application/x-x509-ca-ra-cert").body);
    let certs = CaCerts::of(&ca);
    assert_eq!(all.len(), 3);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (ca_file, ra_file) = (dir.path().join("ca.pem"), dir.path().join("ra.pem"));
    std::fs::write(&ca_file, pem("CERTIFICATE", certs.ca.der())).expect("a file");
    for ra in [&certs.decrypter, &certs.signer] {
        assert_eq!(ra.extensions().purposes(), [tokenca::pki::extension::CMC_RA]);
        ra.verify_signed_by(certs.ca.public_key()).expect("the CA has signed it");
        std::fs::write(&ra_file, pem("CERTIFICATE", ra.der())).expect("a file");
        opinion::lint_certificate(&ra_file);
        let (ca_file, ra_file) = (ca_file.display().to_string(), ra_file.display().to_string());
        openssl(&["verify", "-x509_strict", "-CAfile", &ca_file, &ra_file]).success();
    }
    // The CA key is off the wire: it can neither open envelopes nor sign replies.
    let usage = certs.ca.extensions().key_usage().expect("keyUsage");
    assert!(!usage.key_encipherment(), "{usage:?}");
}

#[test]
fn certificates_and_crls_by_message() {
    for separate in [&[][..], &["scep key separate"]] {
        let ca = Ca::new(&[&["grant auto"], separate].concat());
        let mut device = Device::new("CN=dev1, O=Example");
        let own = device.enrol(&ca, None).certificate();
        let other = Device::new("CN=dev2, O=Example").enrol(&ca, None).certificate();

        // By a device with a certificate, and by one without.
        for signer in [own.clone(), device.signer.clone()] {
            device.signer = signer;
            let get = |kind, subject: &Certificate| device.ask(&ca, kind, &issuer_and_serial(subject));
            assert_eq!(get(MessageType::GetCert, &other).certificate().der(), other.der());
            let crl = http::get(ca.address(), "/mycs.crl", &[]).body;
            assert_eq!(get(MessageType::GetCrl, &other).crl(), crl);

            // What another CA has issued is not known here.
            let foreign = device.key.self_signed("CN=foreign");
            get(MessageType::GetCert, &foreign).is_failure(FailInfo::BadCertId);
            get(MessageType::GetCrl, &foreign).is_failure(FailInfo::BadCertId);
        }
        let unknown = Device::new("CN=unknown");
        let poll: Reply = unknown.poll(&ca);
        poll.is_failure(FailInfo::BadCertId);
    }
}

#[test]
fn the_crl_as_a_file() {
    let ca = Ca::new(&["grant auto"]);
    let get = |target: &str, headers: &[&str]| http::get(ca.address(), target, headers);
    let crl = get("/mycs.crl", &[]).is(200, "application/pkix-crl");
    assert_eq!(get("/scep?operation=GetCRL", &[]).is(200, "application/pkix-crl").body, crl.body);
    assert_eq!(get("/cgi-bin/pkiclient.exe?operation=GetCRL", &[]).body, crl.body);

    // Caches ask whether theirs is still the newest, until it is not.
    let etag = crl.header("etag").expect("an ETag").to_owned();
    let known = format!("If-None-Match: {etag}");
    assert_eq!(summary(&get("/mycs.crl", &[&known])), (304, 0));
    assert!(crl.header("cache-control").is_some_and(|value| value.contains("max-age=")));
    assert!(crl.header("last-modified").is_some());
    let certificate = Device::new("CN=dev1").enrol(&ca, None).certificate();
    ca.exec(&format!("crypto pki server mycs revoke {}", certificate.serial()));
    let newer = get("/mycs.crl", &[&known]);
    assert_ne!(summary(&newer), (304, 0));
    assert_ne!(newer.header("etag"), Some(etag.as_str()));

    let cer = get("/mycs.cer", &[]);
    let known = format!("If-None-Match: {}", cer.header("etag").expect("an ETag"));
    assert_eq!(summary(&get("/mycs.cer", &[&known])), (304, 0));
}

#[test]
fn a_cdp_is_told_where_it_is_configured() {
    let ca = Ca::new(&["grant auto", "cdp-url http://crl.example.com/mycs.crl"]);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("dev.pem");
    let certificate = Device::new("CN=dev1, O=Example").enrol(&ca, None).certificate();
    std::fs::write(&file, pem("CERTIFICATE", certificate.der())).expect("a file");
    let text = opinion::Opinion::about(&ca).approves(&ca, &file);
    assert!(text.contains("URI:http://crl.example.com/mycs.crl"), "{text}");
    assert_eq!(number(&serial_of(Path::new(&file))), number(&certificate.serial().to_string()));
}

fn number(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex digits")
}

fn summary(response: &Response) -> (u16, usize) {
    (response.status, response.body.len())
}
