//! A certificate server whose keys are on a PIV card, by Yubico's module; strongSwan enrols, OpenSSL approves.

mod support;

use std::fs;

use support::card::{Card, ykcs11};
use support::opinion::{Opinion, belong_together, openssl, text_of};
use support::strongswan::Strongswan;
use support::{Ca, run, skipped, until};

/// An RSA key in 9d is the CA's, signs and opens envelopes. The card is pulled while a device waits, and
/// plugged in again.
#[test]
fn rsa_ca_in_9d() {
    let Some(mut card) = start("rsa_ca_in_9d") else { return };
    let mut ca = serve(&card, "rsakeypair piv-9d 2048", &["grant auto"]);
    let client = Strongswan::new(&ca);
    let opinion = Opinion::about(&ca);
    opinion.approves_of_the_ca(&ca);
    client.enrol("first", &[]).success();
    opinion.approves(&ca, &client.file("first.pem"));
    assert!(belong_together(&client.file("first.key"), &client.file("first.pem")));

    // The second device has asked and polls when the card goes.
    ca.configure_server(&["no grant auto"]);
    let waiting = client.start("second");
    let id = ca.pending();
    card.pull();
    let grant = ["crypto", "pki", "server", "mycs", "grant", &id.to_string()];
    ca.try_cli(&grant).exited(1).says("token \"yubikey0\"");
    // Polls are answered by 503, which strongSwan takes for the end.
    waiting.end().exited(1);
    card.plug();
    // The same request again: it was granted, and is signed by now.
    until("the device has its certificate", || (client.enrol("second", &[]).code == Some(0)).then_some(()));
    opinion.approves(&ca, &client.file("second.pem"));

    // The key is found again.
    ca.configure_server(&["grant auto"]);
    ca.restart();
    let client = Strongswan::new(&ca);
    client.enrol("third", &[]).success();
    opinion.approves(&ca, &client.file("third.pem"));
}

/// An EC key in 9c, which wants the PIN for each signature, is the CA's; SCEP has RSA keys of its own in the
/// slots that are free.
#[test]
fn ec_ca_in_9c() {
    let Some(card) = start("ec_ca_in_9c") else { return };
    let mut ca = serve(&card, "eckeypair mycs", &["grant auto"]);
    let client = Strongswan::new(&ca);
    let opinion = Opinion::about(&ca);
    client.enrol("first", &[]).success();
    opinion.approves(&ca, &client.file("first.pem"));
    let labels = fs::read_to_string(ca.state().join("yubikey0.labels")).expect("labels of the keys");
    let slots: Vec<_> = labels.lines().filter(|line| line.starts_with("piv-")).collect();
    assert_eq!(slots.len(), 3, "{labels}");
    assert!(slots.contains(&"piv-9c mycs"), "{labels}");

    ca.restart();
    let client = Strongswan::new(&ca);
    client.enrol("second", &[]).success();
    opinion.approves(&ca, &client.file("second.pem"));
}

/// What an auditor is given: the card's word for the CA key, which OpenSSL checks.
#[test]
fn the_card_attests_the_ca_key() {
    let Some(card) = start("the_card_attests_the_ca_key") else { return };
    let ca = serve(&card, "eckeypair piv-9c", &["grant auto", "scep key separate"]);
    let shown = ca.exec("show crypto pki token yubikey0 attestation piv-9c");
    for line in [
        "Key piv-9c: EC P-256, General Purpose Key",
        "The module says: made on the token; could never be read; could never leave",
        "The device says: made on it, with this public key; signed by the key that attests",
        "Firmware: 6.6.6",
        "Serial number: 5437251",
        "PIN: asked for at each use",
        "Touch: never",
        "Form: USB-A keychain",
    ] {
        assert!(shown.contains(line), "{line}:\n{shown}");
    }
    // As it is: text between the certificates disturbs nobody.
    let file = ca.state().join("attestation.txt");
    fs::write(&file, &shown).expect("a file");
    let (file, root) = (file.display().to_string(), card.root().display().to_string());
    openssl(&["verify", "-CAfile", &root, "-untrusted", &file, &file]).success().says(": OK");
    let of_key = openssl(&["x509", "-in", &file, "-noout", "-pubkey"]).success().stdout;
    let http = support::http::get(ca.address(), "/mycs.cer", &[]).is(200, "application/pkix-cert");
    let certificate = ca.state().join("mycs.cer");
    fs::write(&certificate, http.body).expect("a file");
    let certificate = certificate.display().to_string();
    assert_eq!(of_key, openssl(&["x509", "-in", &certificate, "-noout", "-pubkey"]).success().stdout);

    let all = ca.json("show crypto pki token yubikey0 attestation");
    let keys = all["keys"].as_array().expect("a list");
    assert_eq!(keys.len(), 3, "{all}");
    for key in keys {
        assert_eq!(key["device"]["doubts"], serde_json::json!([]), "{key}");
        assert_eq!(key["device"]["serial"], 5_437_251);
        assert!(
            key["device"]["certificate"].as_str().expect("PEM").starts_with("-----BEGIN CERTIFICATE-----")
        );
        assert_eq!(key["module"]["never_extractable"], true);
    }
    ca.try_cli(&["show", "crypto", "pki", "token", "yubikey0", "attestation", "another"])
        .exited(1)
        .says("no key labelled \"another\"");
}

/// A trustpoint whose key is on the card keeps its certificate beside it; the CA's has no place there.
#[test]
fn the_certificate_of_a_trustpoint_is_beside_its_key() {
    let Some(card) = start("the_certificate_of_a_trustpoint_is_beside_its_key") else { return };
    let ca = serve(&card, "rsakeypair piv-9d 2048", &["grant auto"]);
    ca.configure(&format!(
        "crypto pki trustpoint client\n enrollment url http://{}\n rsakeypair piv-9a 2048\n on yubikey0:\n \
         storage yubikey0:\n subject-name CN=client\n revocation-check none\n",
        ca.address()
    ));
    ca.typed("crypto pki authenticate client", "yes\n").success();
    ca.typed("--yes crypto pki enroll client", "").success();
    let file = ca.state().join("client.pem");
    let text = until("the certificate is on the card", || {
        let mut tool = card.command("yubico-piv-tool");
        tool.args(["--action", "read-certificate", "--slot", "9a", "--output"]).arg(&file);
        run(&mut tool).success();
        Some(text_of(&file)).filter(|text| text.contains("CN = client"))
    });
    assert!(text.contains("Issuer: C = US, O = Example, CN = mycs"), "{text}");
    assert!(!ca.log().contains("certificates are not on their token yet"), "{}", ca.log());
}

fn serve(card: &Card, key: &str, server: &[&str]) -> Ca {
    let mut environment = card.environment();
    environment.push(("TEST_PIN".into(), Card::PIN.into()));
    environment.push(("TEST_SO_PIN".into(), Card::MANAGEMENT_KEY.into()));
    let text = Ca::configuration(key, server);
    let softhsm = " profile softhsm2\n label tokenca\n user-pin file pin.txt\n";
    let yubikey = format!(
        " profile ykcs11\n library {}\n user-pin environment TEST_PIN\n so-pin environment TEST_SO_PIN\n",
        ykcs11().display()
    );
    assert!(text.contains(softhsm), "{text}");
    let text = text.replace(softhsm, &yubikey).replace("usbtoken0", "yubikey0");
    Ca::seeing(environment, None, &text)
}

fn start(test: &str) -> Option<Card> {
    Card::start().map_err(|why| skipped(test, &why)).ok()
}
