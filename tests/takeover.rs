//! The CA of a router is taken over: its key goes to the token, numbers and revocations go on, its devices do
//! not notice.

mod support;

use std::fs;

use serde_json::Value;
use support::certmonger::{Certmonger, ISSUED};
use support::device::Device;
use support::ios::{IosCa, bare, shell};
use support::keys::TestKey;
use support::opinion::{Opinion, key_on_token, openssl, serial_of};
use support::scepclient::Scepclient;
use support::strongswan::Strongswan;
use support::{Ca, fileservers};
use tokenca::pki::{Certificate, Cipher, Hash, Name, crl};
use tokenca::scep::MessageType;

/// As in the document "Digital Certificates/PKI for IPSec VPNs": the key exported by itself, the certificate
/// from the router's file, the server configured anew.
#[test]
fn from_exported_key_and_certificate_file() {
    let old = router("-md5");
    let mut ca = bare();
    old.copy_database(&ca.state(), 6);
    put(&ca, "mycs.pub", &old.pem_public_key());
    put(&ca, "mycs.prv", &old.pem_key("-des3"));
    fs::write(ca.state().join("mycs#6101CA.cer"), old.read("ca.cer")).unwrap();

    let shown = shell(
        &ca,
        "conf t\n\
         crypto key import rsa mycs pem url nvram: cisco123\n\n\n\
         crypto ca trustpoint mycs\n revocation-check crl\n rsakeypair mycs\n\
         crypto ca certificate chain mycs\n certificate ca 01 nvram:mycs#6101CA.cer\n\
         crypto pki server mycs\n database level names\n database url nvram:\n\
         issuer-name CN = ese-ios-ca, OU = ESE, O = Cisco Systems Inc, L = Raleigh, ST = NC, C = US, EA = \
         ese-vpn-team\n\
         lifetime crl 24\n lifetime certificate 254\n lifetime ca-certificate 508\n\
         no shutdown\nyes\nend\n",
    );
    for line in [
        "% Importing public key or certificate PEM file...",
        "Source filename [mycs.pub]?",
        "Reading file from nvram:mycs.pub",
        "% Importing private key PEM file...",
        "Source filename [mycs.prv]?",
        "Reading file from nvram:mycs.prv",
        "% Key pair import succeeded.",
        "% Once you start the server, you can no longer change some of",
        "% Certificate Server enabled.",
    ] {
        assert!(shown.contains(line), "{line} is missing:\n{shown}");
    }
    story(&mut ca, &old);
    let report = ca.exec("crypto pki server mycs info takeover");
    for line in [
        "nvram:mycs.prv",
        "CA cert signed with: md5",
        "CA key: RSA 1024, mycs on usbtoken0:",
        "CRL entries: 1, of ",
        "Names known: 6, certificates known: 0",
        "the keys of 5 certificates of which subject and expiration are known",
        "\"issuer-name CN = ese-ios-ca, OU = ESE, O = Cisco Systems Inc, L = Raleigh, ST = NC, C = US, EA = \
         ese-vpn-team\" says more than the CA certificate",
        "crypto legacy rsa-1024",
        "crypto legacy des",
        "\"scep key separate\"",
        "take the old server out of service",
    ] {
        assert!(report.contains(line), "{line} is missing:\n{report}");
    }
}

/// As in "Restoring a Certificate Server from Certificate Server Backup Files": an archive of 2004.
#[test]
fn from_pkcs12_of_old() {
    let old = router("-sha1");
    let mut ca = bare();
    old.copy_database(&ca.state(), 6);
    fs::write(ca.state().join("backup.p12"), old.pkcs12()).unwrap();

    let shown = shell(
        &ca,
        "configure terminal\n\
         crypto pki import mycs pkcs12 nvram:backup.p12 cisco123\n\n\
         crypto pki server mycs\n database level names\nno shutdown\nend\n",
    );
    for line in [
        "Source filename [backup.p12]?",
        "CRYPTO_PKI: Imported PKCS12 file successfully.",
        "% Certificate Server enabled.",
    ] {
        assert!(shown.contains(line), "{line} is missing:\n{shown}");
    }
    story(&mut ca, &old);
    assert!(ca.exec("crypto pki server mycs info takeover").contains("nvram:backup.p12"));
}

/// The same from PEM, pasted, the key under single DES.
#[test]
fn from_pasted_pem_under_des() {
    let old = router("-md5");
    let mut ca = bare();
    old.copy_database(&ca.state(), 6);
    let (certificate, key) = (old.text("ca.pem"), old.pem_key("-des"));
    let shown = shell(
        &ca,
        &format!(
            "configure terminal\n\
             crypto ca import mycs pem usage-keys terminal cisco123\n{certificate}\n{key}quit\n\
             {certificate}\nquit\n\
             crypto pki server mycs\n database level names\nno shutdown\nend\n"
        ),
    );
    for line in [
        "% Enter PEM-formatted CA certificate.",
        "% Enter PEM-formatted encrypted private SIGNATURE key.",
        "% Enter PEM-formatted SIGNATURE certificate.",
        "% Enter PEM-formatted encrypted private ENCRYPTION key.",
        "% PEM files import succeeded.",
        "% Certificate Server enabled.",
    ] {
        assert!(shown.contains(line), "{line} is missing:\n{shown}");
    }
    story(&mut ca, &old);
}

/// Certificates of routers' CAs do not allow keyEncipherment; clients use them for SCEP all the same.
#[test]
fn clients_of_other_makers_enrol() {
    let old = router("-sha1");
    let ca = restored(&old, "grant auto\n crypto legacy des");
    Scepclient::new(&ca).enrol(&[]).success();
    let client = Certmonger::new(&ca);
    let issued = client.enrol().exited(ISSUED);
    Opinion::about(&ca).verifies(&ca, &client.keep(&issued, "auto"));
}

/// The PEM archive that the document prints, with what its server had: the certificate has long expired.
#[test]
fn the_archive_of_the_document_is_shown_and_not_enabled() {
    let vector = include_str!("vectors/ios/mycs-2004-09-02.pem");
    let pem = &vector[vector.find("-----BEGIN").unwrap()..];
    let (certificate, key) = pem.split_at(pem.find("-----BEGIN RSA").unwrap());
    let old = IosCa::of_pem(certificate, key, "-md5");
    old.revoke(&[2]);
    let ca = bare();
    put(&ca, "mycs.ser", &IosCa::ser(2));
    fs::write(ca.state().join("mycs.crl"), old.read("ca.crl")).unwrap();
    let shown = shell(
        &ca,
        &format!(
            "configure terminal\ncrypto ca import mycs pem usage-keys terminal cisco123\n{certificate}\n{key}quit\n\
             {certificate}\nquit\ncrypto pki server mycs\n database url nvram:\nno shutdown\nend\n"
        ),
    );
    assert!(shown.contains("% PEM files import succeeded."), "{shown}");
    assert!(shown.contains("the CA certificate is valid from 21:02:56 UTC Sep 2 2004"), "{shown}");
    let shown = ca.exec("show crypto pki server");
    for line in [
        "  Status: check failed\n",
        "  Issuer name: CN=mycs\n",
        "  CA cert fingerprint: F04C2B75 E0243FBC 19806219 B1D77412\n",
        "  Last certificate issued serial number: 0x2\n",
        "  CA certificate expiration timer: 21:02:56 UTC Sep 2 2007\n",
        "  Last error: the CA certificate is valid from 21:02:56 UTC Sep 2 2004 to 21:02:56 UTC Sep 2 2007, not now",
    ] {
        assert!(shown.contains(line), "{line} is missing:\n{shown}");
    }
    let refused = ca.try_cli(&["crypto", "pki", "server", "mycs", "revoke", "1"]);
    refused.exited(1).says("not now");
}

/// Whatever is wrong: nothing of it is half done, and doing it right afterwards works.
#[test]
fn what_fails_leaves_nothing() {
    let (old, other) = (router("-sha1"), router("-sha1"));
    let mut ca = bare();
    old.copy_database(&ca.state(), 6);
    fs::write(ca.state().join("mycs.p12"), old.pkcs12()).unwrap();
    let import = |passphrase: &str| {
        ca.try_cli(&["--yes", "crypto", "pki", "import", "mycs", "pkcs12", "nvram:", passphrase])
    };
    let nothing = || {
        assert_eq!(key_on_token(&ca, None).trim(), "");
        assert!(!ca.exec("show running-config").contains("trustpoint"));
        assert!(!ca.exec("show crypto pki certificates").contains("Serial Number"));
    };
    import("cisco124").exited(1).says("the passphrase is wrong");
    nothing();

    // The key of one, the certificate of another.
    put(&ca, "mycs.ca", &old.text("ca.pem"));
    put(&ca, "mycs.prv", &other.pem_key("-des3"));
    let pem = ["--yes", "crypto", "pki", "import", "mycs", "pem", "url", "nvram:", "cisco123"];
    ca.try_cli(&pem).exited(1).says("there is no certificate for the private key");
    nothing();

    // There is a key of that name.
    ca.exec("crypto key generate rsa label mycs on usbtoken0");
    import("cisco123").exited(1).says("the key \"mycs\" exists already on usbtoken0:");
    assert!(!ca.exec("show running-config").contains("trustpoint"));
    ca.cli(&["--yes", "crypto", "key", "zeroize", "rsa", "mycs"]);
    nothing();

    // Without the key.
    fs::write(ca.state().join("mycs#6101CA.cer"), old.read("ca.cer")).unwrap();
    ca.configure("crypto pki certificate chain mycs\n certificate ca 01 nvram:mycs#6101CA.cer\n");
    let enable = "crypto pki server mycs\n database level names\n no shutdown\n";
    let no_key = ca.configure(enable);
    assert!(no_key.contains("its key \"mycs\" is on no configured token"), "{no_key}");
    ca.configure("crypto pki server mycs\n shutdown\n");
    assert_eq!(key_on_token(&ca, None).trim(), "", "no new key is made for an old CA");
    import("cisco123").success();

    // Files that are wrong, one after the other.
    let state = ca.state();
    let refused = |name: &str, octets: &[u8], why: &str| {
        let right = fs::read(state.join(name)).unwrap();
        fs::write(state.join(name), octets).unwrap();
        let said = ca.configure(enable);
        assert!(said.contains(why), "{why}: {said}");
        ca.configure("crypto pki server mycs\n shutdown\n");
        assert_eq!(ca.json("show crypto pki server")[0]["last_serial"], Value::Null);
        fs::write(state.join(name), right).unwrap();
    };
    refused("mycs.ser", b"last_serial = x", "last_serial = x cannot be read");
    let crl = old.read("ca.crl");
    refused("mycs.crl", &crl[..crl.len() - 1], "nvram:mycs.crl: the CRL is malformed");
    refused("mycs.crl", &other.read("ca.crl"), "its signature is not that of the CA's key");
    let stranger = IosCa::named("-sha1", " other");
    stranger.revoke(&[]);
    refused("mycs.crl", &stranger.read("ca.crl"), "it is the CRL of cn=other");
    let said = ca.configure("crypto pki server mycs\n issuer-name CN=mycs, O=Example\n no shutdown\n");
    assert!(
        said.contains("its name is cn=ese-ios-ca,ou=ESE")
            && said.contains("CN=mycs, O=Example is configured"),
        "{said}"
    );
    ca.configure("crypto pki server mycs\n shutdown\n no issuer-name\n");

    // The token is away; when it is back, the server goes on by itself.
    ca.configure("crypto pki token usbtoken0\n label elsewhere\n");
    let said = ca.configure(enable);
    assert!(said.contains("% Certificate Server mycs could not start"), "{said}");
    ca.configure("crypto pki token usbtoken0\n label tokenca\n");
    assert_eq!(ca.json("show crypto pki server")[0]["status"], "enabled");
    assert_eq!(ca.json("show crypto pki server")[0]["last_serial"], "0x6");
    ca.exec("write memory");
    ca.kill();
    ca.start();
    assert_eq!(ca.json("show crypto pki server")[0]["last_serial"], "0x6");
}

/// A backup without the last number and the CRL: only when the operator says so, and far from what was issued.
#[test]
fn what_is_missing_is_asked_for() {
    let old = router("-sha1");
    let ca = bare();
    fs::write(ca.state().join("mycs.p12"), old.pkcs12()).unwrap();
    put(&ca, "2A.cnm", &IosCa::cnm("hostname=r42"));
    ca.cli(&["--yes", "crypto", "pki", "import", "mycs", "pkcs12", "nvram:", "cisco123"]);
    let shown = shell(&ca, "configure terminal\ncrypto pki server mycs\nno shutdown\nno\nend\n");
    for line in [
        "% nvram:mycs.ser was not found: the last serial number is not known. The highest one seen is 0x2A;",
        "% to be safe, numbers would go on after 0x1002A.",
        "% nvram:mycs.crl was not found: every certificate that was revoked would be valid again.",
        "% not confirmed, nothing was done",
    ] {
        assert!(shown.contains(line), "{line} is missing:\n{shown}");
    }
    let shown = shell(&ca, "configure terminal\ncrypto pki server mycs\nno shutdown\nyes\nend\n");
    assert!(shown.contains("% Certificate Server enabled."), "{shown}");
    ca.configure_server(&["grant auto"]);
    let issued = Device::new("CN=new").enrol(&ca, None).certificate();
    assert_eq!(issued.serial().to_string(), "0x1002B");
    let report = ca.exec("crypto pki server mycs info takeover");
    assert!(
        report.contains("numbers go on far above 0x2A") && report.contains("nothing is revoked"),
        "{report}"
    );
}

/// From a server of files that lists nothing: names and certificates are asked for one by one, and those that are
/// not the CA's are left.
#[test]
fn from_a_server_that_lists_nothing() {
    let (old, other) = (router("-sha1"), router("-sha1"));
    let server = fileservers::http("127.0.0.1", None);
    let root = server.root();
    old.copy_database(&root, 6);
    fs::remove_file(root.join("5.cnm")).unwrap();
    for (ca, name) in [(&old, "2.crt"), (&other, "4.crt")] {
        let pem = ca.file("r2.cisco.com.pem").display().to_string();
        openssl(&["x509", "-in", &pem, "-outform", "DER", "-out", &root.join(name).display().to_string()])
            .success();
    }
    let ca = bare();
    fs::write(ca.state().join("mycs.p12"), old.pkcs12()).unwrap();
    ca.cli(&["--yes", "crypto", "pki", "import", "mycs", "pkcs12", "nvram:", "cisco123"]);
    ca.configure(&format!(
        "crypto pki server mycs\n database url {}\n database level complete\n no shutdown\n",
        server.url("http", "")
    ));
    let report = ca.json("crypto pki server mycs info takeover");
    assert_eq!((report["last_serial"].as_str(), report["names"].as_u64()), (Some("0x6"), Some(5)));
    assert_eq!(report["certificates"].as_u64(), Some(1), "{report}");
    assert!(
        report["files"][0].as_str().unwrap().contains("/4.crt: its signature is not that of the CA's key")
    );
    assert!(
        report["unknown"][0].as_str().unwrap().contains("who holds 1 of the 0x6 serial numbers"),
        "{report}"
    );
    // What is known whole can be printed again.
    let pem = ca.exec("crypto pki server mycs certificate 2");
    assert_eq!(pem.trim(), old.text("r2.cisco.com.pem").trim());
}

/// A server that took the CA of `old` over, with these lines.
fn restored(old: &IosCa, lines: &str) -> Ca {
    let ca = bare();
    old.copy_database(&ca.state(), 6);
    fs::write(ca.state().join("mycs.p12"), old.pkcs12()).unwrap();
    ca.cli(&["--yes", "crypto", "pki", "import", "mycs", "pkcs12", "nvram:", "cisco123"]);
    ca.configure(&format!("crypto pki server mycs\n {lines}\n no shutdown\n"));
    ca
}

/// A router that has issued numbers 2 to 6 and revoked 3.
fn router(digest: &'static str) -> IosCa {
    let old = IosCa::new(digest);
    old.issue(2, "r2.cisco.com");
    old.revoke(&[3]);
    old
}

/// What must be true after it: of the numbers, the devices, the key.
fn story(ca: &mut Ca, old: &IosCa) {
    let label = "mycs";
    // Where it left off, and nothing of the key but on the token.
    let shown = ca.json("show crypto pki server");
    assert_eq!(
        (shown[0]["status"].as_str(), shown[0]["last_serial"].as_str()),
        (Some("enabled"), Some("0x6"))
    );
    let crl = ca.exec(&format!("crypto pki server {label} info crl"));
    assert!(crl.contains("Number of CRL entries: 1") && crl.contains("Serial Number: 0x03"), "{crl}");
    let key = key_on_token(ca, Some(label));
    assert!(key.contains("sensitive") && !key.contains("extractable, "), "{key}");

    // A device of today enrols.
    ca.configure(&format!("crypto pki server {label}\n grant auto\n"));
    let client = Strongswan::new(ca);
    client.enrol("new", &[]).success();
    assert_eq!(serial_of(&client.file("new.pem")), "0x07");
    let opinion = Opinion::about(ca);
    opinion.verifies(ca, &client.file("new.pem"));

    // A device of then is known by its certificate, and revoked by its number.
    let device = old.file("r2.cisco.com.pem");
    opinion.verifies(ca, &device);
    ca.exec(&format!("crypto pki server {label} revoke 0x2"));
    opinion.says_revoked(ca, &device);
    // So is one of which there is nothing but the number and the name.
    ca.exec(&format!("crypto pki server {label} revoke 5"));
    let refused = ca.try_cli(&["crypto", "pki", "server", label, "revoke", "0x20"]);
    assert_ne!(refused.code, Some(0), "a number that was never given out");
    let octets = support::http::get(ca.address(), &format!("/{label}.crl"), &[]).body;
    let list = crl::Crl::parse(octets).unwrap();
    let serials: Vec<_> = list.entries().map(|entry| entry.serial.to_u64()).collect();
    assert_eq!(serials, [Some(2), Some(3), Some(5)]);
    assert!(list.number() >= Some(1), "{:?}", list.number());
    let authority = Certificate::parse(&old.read("ca.cer")).unwrap();
    list.verify_signed_by(authority.public_key()).unwrap();

    old_devices(ca, old);

    // All of it is there after a restart.
    let before = ca.json("show crypto pki server")[0]["last_serial"].clone();
    ca.exec("write memory");
    ca.restart();
    assert_eq!(before, ca.json("show crypto pki server")[0]["last_serial"]);
}

/// Devices that know DES and MD5 and have keys of 1024 bits enrol and renew, once that is allowed.
fn old_devices(ca: &Ca, old: &IosCa) {
    let label = "mycs";
    old.issue(4, "r4.cisco.com");
    let key = || TestKey::from_pem(&old.text("r4.cisco.com.key"));
    let mut device = Device::new("hostname=r4.cisco.com");
    device.key = key();
    device.style.digest = Hash::Md5;
    device.style.cipher = Cipher::Des;
    device.signer = device.key.self_signed("hostname=r4.cisco.com");
    ca.configure(&format!(
        "crypto pki server {label}\n crypto legacy md5\n crypto legacy des\n crypto legacy rsa-1024\n hash md5\n"
    ));
    let certificate = device.enrol(ca, None).certificate();
    assert_eq!(certificate.signature_algorithm().and_then(|algorithm| algorithm.hash()), Some(Hash::Md5));

    // Renewal with the certificate that the router issued, and without the operator.
    ca.configure(&format!("crypto pki server {label}\n no grant auto\n"));
    let der = old.file("r4.cisco.com.der");
    openssl(&[
        "x509",
        "-in",
        &old.file("r4.cisco.com.pem").display().to_string(),
        "-outform",
        "DER",
        "-out",
        &der.display().to_string(),
    ])
    .success();
    device.signer = Certificate::parse(&fs::read(der).unwrap()).unwrap();
    device.subject = Name::from_der(device.signer.subject_raw());
    let renewed = device.renew(ca, MessageType::RenewalReq, &TestKey::rsa(1024)).certificate();
    assert!(renewed.serial() > certificate.serial());
}

fn put(ca: &Ca, name: &str, text: &str) {
    fs::write(ca.state().join(name), text).unwrap();
}
