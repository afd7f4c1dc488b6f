//! A CA with an EC key: it cannot decrypt, so RSA keys for SCEP stand beside it without being asked for.

mod support;

use support::opinion::{Opinion, key_on_token};
use support::strongswan::Strongswan;
use support::{Ca, http};

#[test]
fn a_p256_key_is_made_with_the_server() {
    story(Ca::with_key("eckeypair mycs", &["grant auto"]), "ecdsa-with-SHA256");
}

#[test]
fn a_p384_key_is_made_beforehand() {
    let whole = Ca::configuration("eckeypair mycs", &["grant auto", "hash sha384"]);
    let (token, server) = whole.split_once("crypto pki trustpoint").expect("a trustpoint");
    let ca = Ca::with_configuration(token);
    ca.exec("crypto key generate ec keysize 384 label mycs on usbtoken0:");
    ca.configure(&format!("crypto pki trustpoint{server}"));
    // What is typed in a running server is there after a restart once it is written.
    ca.exec("write memory");
    story(ca, "ecdsa-with-SHA384");
}

fn story(mut ca: Ca, algorithm: &str) {
    http::get(ca.address(), "/scep?operation=GetCACert", &[]).is(200, "application/x-x509-ca-ra-cert");
    let opinion = Opinion::about(&ca);
    opinion.approves_of_the_ca(&ca);
    assert!(key_on_token(&ca, Some("mycs")).contains("EC"));

    let client = Strongswan::new(&ca);
    client.enrol("auto", &[]).success();
    let text = opinion.approves(&ca, &client.file("auto.pem"));
    assert!(text.contains(algorithm), "{text}");

    // The SCEP keys are those of before after a restart; what clients know of the CA stays true.
    let before = http::get(ca.address(), "/scep?operation=GetCACert", &[]).body;
    ca.restart();
    assert_eq!(http::get(ca.address(), "/scep?operation=GetCACert", &[]).body, before);
    ca.configure_server(&["no grant auto"]);
    let client = Strongswan::new(&ca);
    let waiting = client.start("granted");
    ca.grant(ca.pending());
    waiting.end().success();
    opinion.approves(&ca, &client.file("granted.pem"));
}
