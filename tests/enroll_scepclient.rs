//! micromdm's scepclient enrols, once `crypto legacy des` stands: granted at once, left pending and granted,
//! rejected, refused, renewed; with the CA's own key and with separate SCEP keys.

mod support;

use support::Ca;
use support::opinion::{Opinion, belong_together, serial_of};
use support::scepclient::Scepclient;

#[test]
fn with_the_ca_key() {
    story(&Ca::new(&["grant auto", "crypto legacy des"]));
}

#[test]
fn with_separate_scep_keys() {
    story(&Ca::new(&["grant auto", "crypto legacy des", "scep key separate"]));
}

#[test]
fn des_is_refused_unless_allowed() {
    let ca = Ca::new(&["grant auto"]);
    Scepclient::new(&ca).enrol(&[]).exited(1).says("badAlg");
}

fn story(ca: &Ca) {
    let opinion = Opinion::about(ca);

    // Granted at once.
    let client = Scepclient::new(ca);
    client.enrol(&[]).success();
    let first = client.keep("first.pem");
    opinion.approves(ca, &first);
    assert!(belong_together(&client.file("key.pem"), &first));

    // Renewed: a RenewalReq for the same key.
    client.enrol(&[]).success();
    let renewed = client.keep("renewed.pem");
    opinion.approves(ca, &renewed);
    assert_ne!(serial_of(&first), serial_of(&renewed));

    // Left pending; it sleeps, is started again, and asks again with a new message: the same request.
    ca.configure_server(&["no grant auto"]);
    let client = Scepclient::new(ca);
    let asleep = client.start();
    let id = ca.pending();
    drop(asleep);
    ca.grant(id);
    client.enrol(&[]).success();
    opinion.approves(ca, &client.file("cert.pem"));
    assert!(belong_together(&client.file("key.pem"), &client.file("cert.pem")));

    // Left pending, then rejected.
    let client = Scepclient::new(ca);
    let asleep = client.start();
    let id = ca.pending();
    drop(asleep);
    ca.reject(id);
    client.enrol(&[]).exited(1).says("badRequest");

    // Refused at once.
    ca.configure_server(&["grant none"]);
    Scepclient::new(ca).enrol(&[]).exited(1).says("badRequest");
}
