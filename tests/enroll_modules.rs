//! A whole server on a token of each PKCS#11 module: the keys of its CAs are made there, strongSwan enrols,
//! and OpenSSL verifies what comes of it.

mod support;

use std::fs;
use std::process::Command;

use support::modules::TestModule;
use support::modules::kryoptic::verifier;
use support::modules::server::ModuleServer;
use support::opinion::{belong_together, openssl, serial_of};
use support::strongswan::Strongswan;
use support::{http, run, skipped};

#[test]
fn softhsm2_isolated() {
    story("softhsm2_isolated", "softhsm2", " module isolated\n", &[RSA, EC]);
}

#[test]
fn kryoptic() {
    story("kryoptic", "kryoptic", "", &[RSA, EC]);
}

#[test]
fn nss() {
    story("nss", "nss", "", &[RSA, EC]);
}

#[test]
fn opencryptoki() {
    story("opencryptoki", "opencryptoki", "", &[RSA]);
}

#[test]
fn tpm2_pkcs11() {
    story("tpm2_pkcs11", "tpm2-pkcs11", "", &[RSA, EC]);
}

#[test]
fn p11_kit_client() {
    story("p11_kit_client", "p11-kit-client", "", &[RSA, EC]);
}

/// CAs with ML-DSA keys, with RSA keys for SCEP beside them. The request is OpenSSL's and comes by hand, since
/// the SCEP clients here read no such CA certificate; the opinion is that of an OpenSSL that does.
#[test]
fn kryoptic_with_ml_dsa() {
    let (module, verifier) = match (TestModule::start("kryoptic"), verifier()) {
        (Ok(module), Ok(verifier)) => (module, verifier),
        (Err(why), _) | (_, Err(why)) => return skipped("kryoptic_with_ml_dsa", &why),
    };
    let server = ModuleServer::start(&module, "", &[]);
    for set in [44, 65, 87] {
        let label = format!("pq{set}");
        server.json(&format!("crypto key generate mldsa {set} label {label} on usbtoken0:"));
        let text = format!(
            "crypto pki trustpoint {label}\n mldsakeypair {label}\n on usbtoken0:\n\
             crypto pki server {label}\n issuer-name CN={label}\n no shutdown\n"
        );
        server.configure(&text);

        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let request = server.state.join(format!("{label}.req")).display().to_string();
        let new = ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=sw1.example.com"];
        openssl(&[&new[..], &["-keyout", &path("device.key"), "-out", &request]].concat()).success();
        server.exec(&format!("crypto pki server {label} request pkcs10 url nvram:{label}.req pem"));
        let granted = server.exec(&format!("crypto pki server {label} grant all"));
        let pem = granted.find("-----BEGIN").unwrap_or_else(|| panic!("no certificate in {granted}"));
        fs::write(path("device.pem"), &granted[pem..]).expect("a file");
        for (what, kind) in [("cer", "application/pkix-cert"), ("crl", "application/pkix-crl")] {
            let got = http::get(server.address(), &format!("/{label}.{what}"), &[]).is(200, kind);
            fs::write(path(what), got.body).expect("a file");
        }
        openssl(&["x509", "-in", &path("cer"), "-out", &path("issuer.pem")]).success();
        openssl(&["crl", "-in", &path("crl"), "-inform", "DER", "-out", &path("crl.pem")]).success();
        for (kind, signed) in
            [("certificate", "device.pem"), ("certificate", "issuer.pem"), ("crl", "crl.pem")]
        {
            run(Command::new(&verifier).args([kind, &path(signed), &path("issuer.pem")])).success();
        }
        let issuer = fs::read(path("cer")).expect("the CA certificate");
        let issuer = tokenca::pki::Certificate::parse(&issuer).expect("a certificate");
        assert_eq!(issuer.public_key().kind().to_string(), format!("ML-DSA-{set}"));
    }
}

/// One server with a CA for each of these kinds of key, which grants; these lines are the token's.
fn story(test: &str, module: &str, lines: &str, keys: &[Kind]) {
    let module = match TestModule::start(module) {
        Ok(module) => module,
        Err(why) => return skipped(test, &why),
    };
    let cas: Vec<_> = keys.iter().map(|(label, key, _)| (*label, *key)).collect();
    let server = ModuleServer::start(&module, lines, &cas);
    for (label, _, signature) in keys {
        let client = Strongswan::at(&format!("{}/{label}", server.running.url));
        client.enrol("device", &[]).success();

        let device = client.file("device.pem");
        let path = |name: &str| client.file(name).display().to_string();
        let issuer =
            http::get(server.address(), &format!("/{label}.cer"), &[]).is(200, "application/pkix-cert");
        fs::write(path("issuer.der"), issuer.body).expect("the CA certificate");
        openssl(&["x509", "-in", &path("issuer.der"), "-out", &path("issuer.pem")]).success();
        let verify = ["verify", "-x509_strict", "-CAfile", &path("issuer.pem"), &path("device.pem")];
        openssl(&verify).success().says(": OK");
        openssl(&["x509", "-in", &path("device.pem"), "-noout", "-text"]).success().says(signature);
        assert!(belong_together(&client.file("device.key"), &device));

        let rows = server.json(&format!("crypto pki server {label} info requests"));
        let number =
            |serial: &str| serial.trim_start_matches("0x").trim_start_matches('0').to_ascii_lowercase();
        let serial = number(&serial_of(&device));
        let granted = rows.as_array().expect("a list").iter().any(|row| {
            row["state"] == "granted" && row["serial"].as_str().is_some_and(|is| number(is) == serial)
        });
        assert!(granted, "{serial} is not in {rows}");
    }
}

/// Label of a CA, the line of its trustpoint, and its signatures as OpenSSL calls them.
type Kind = (&'static str, &'static str, &'static str);

const RSA: Kind = ("rsaca", "rsakeypair rsaca 2048", "sha256WithRSAEncryption");
/// SCEP needs an RSA key beside it, which is made by itself.
const EC: Kind = ("ecca", "eckeypair ecca", "ecdsa-with-SHA256");
