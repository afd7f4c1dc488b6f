//! strongSwan enrols: granted at once, left pending and granted, rejected, renewed; with the CA's own key
//! and with separate SCEP keys.

mod support;

use support::Ca;
use support::opinion::{Opinion, belong_together};
use support::strongswan::Strongswan;

#[test]
fn with_the_ca_key() {
    story(&Ca::new(&["grant auto"]));
}

#[test]
fn with_separate_scep_keys() {
    story(&Ca::new(&["grant auto", "scep key separate"]));
}

fn story(ca: &Ca) {
    let client = Strongswan::new(ca);
    let opinion = Opinion::about(ca);
    opinion.approves_of_the_ca(ca);

    // Granted at once.
    client.enrol("auto", &[]).success();
    let text = opinion.approves(ca, &client.file("auto.pem"));
    assert!(text.contains("DNS:sw1.example.com") && text.contains("CN = sw1.example.com"), "{text}");
    assert!(belong_together(&client.file("auto.key"), &client.file("auto.pem")));

    // The same with what else strongSwan can do.
    client.enrol("des3", &["--cipher", "des3", "--digest", "sha1"]).success();
    client.enrol("pss", &["--rsa-padding", "pss", "--digest", "sha512"]).success();
    opinion.approves(ca, &client.file("pss.pem"));

    // Renewed, for a new key.
    client.renew("auto", "renewed", &[]).success();
    opinion.approves(ca, &client.file("renewed.pem"));
    assert!(belong_together(&client.file("renewed.key"), &client.file("renewed.pem")));

    // Left pending, then granted.
    ca.configure_server(&["no grant auto"]);
    let waiting = client.start("granted");
    ca.grant(ca.pending());
    waiting.end().success();
    opinion.approves(ca, &client.file("granted.pem"));

    // Left pending, then rejected.
    let waiting = client.start("rejected");
    ca.reject(ca.pending());
    waiting.end().exited(1).says("badRequest");

    // Refused at once.
    ca.configure_server(&["grant none"]);
    client.enrol("refused", &[]).exited(1).says("badRequest");
}
