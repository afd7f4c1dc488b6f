//! certmonger enrols: granted at once, left pending and granted, rejected, refused, renewed; with the CA's
//! own key and with separate SCEP keys.

mod support;

use support::Ca;
use support::certmonger::{Certmonger, ISSUED, REJECTED, WAIT};
use support::opinion::Opinion;
use tokenca::pki::{Certificate, SigningKey};
use tokenca::scep::MessageType;

#[test]
fn with_the_ca_key() {
    story(&Ca::new(&["grant auto"]));
}

#[test]
fn with_separate_scep_keys() {
    story(&Ca::new(&["grant auto", "scep key separate"]));
}

fn story(ca: &Ca) {
    let opinion = Opinion::about(ca);

    // Granted at once.
    let mut client = Certmonger::new(ca);
    let issued = client.enrol().exited(ISSUED);
    let file = client.keep(&issued, "auto");
    opinion.approves(ca, &file);

    // Renewed twice: as the drafts have it, and as the RFC has it.
    for kind in [MessageType::PkcsReq, MessageType::RenewalReq] {
        let old = read(&file);
        let (renewed, new) = client.renew(kind, old);
        let file = client.keep(&renewed.exited(ISSUED), "renewed");
        assert_eq!(read(&file).public_key(), new.public_key());
        opinion.approves(ca, &file);
    }

    // Left pending, then granted.
    ca.configure_server(&["no grant auto"]);
    let client = Certmonger::new(ca);
    client.enrol().exited(WAIT);
    client.poll().exited(WAIT);
    ca.grant(ca.pending());
    let issued = client.poll().exited(ISSUED);
    opinion.approves(ca, &client.keep(&issued, "granted"));

    // Left pending, then rejected.
    let client = Certmonger::new(ca);
    client.enrol().exited(WAIT);
    ca.reject(ca.pending());
    client.poll().exited(REJECTED);

    // Refused at once.
    ca.configure_server(&["grant none"]);
    Certmonger::new(ca).enrol().exited(REJECTED);
}

fn read(file: &std::path::Path) -> Certificate {
    let der = support::opinion::der_of(file);
    Certificate::parse(&der).expect("a certificate")
}
