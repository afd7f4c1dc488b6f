//! A certificate server whose keys are on a PIV card, by Yubico's module; strongSwan enrols, OpenSSL approves.

mod support;

use std::fs;

use support::card::{Card, ykcs11};
use support::opinion::{Opinion, belong_together};
use support::strongswan::Strongswan;
use support::{Ca, skipped, until};

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
