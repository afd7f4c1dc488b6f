//! Our client and a CA of another maker: micromdm's `scepserver`, which answers with single DES and SHA-1.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use support::netns::own_network;
use support::run;
use support::scepserver::ScepServer;
use support::softhsm::own_process;
use tokenca::config::Configuration;
use tokenca::node::{Answers, Node};
use tokenca::pki::archive::pem;
use tokenca::pki::{Certificate, Time};
use tokenca::store::{TrustedKind, UpperPhase};

#[test]
fn a_certificate_of_scepserver_is_got_and_renewed() {
    let name = "a_certificate_of_scepserver_is_got_and_renewed";
    own_process(name, |dir| own_network(name, |_| story(dir)));
}

fn story(dir: &Path) {
    let mut server = ScepServer::start(dir, "secret");
    let url = server.url();
    let configuration = |lines: &str| {
        let text = format!(
            "crypto pki token usbtoken0\n profile softhsm2\n label tokenca\n user-pin file {}\n\
             crypto pki trustpoint lab\n enrollment url {}\n rsakeypair lab 2048\n fqdn none\n\
             subject-name cn=gate,o=Example\n{lines}",
            dir.join("pin.txt").display(),
            url
        );
        Configuration::parse(&text).unwrap()
    };
    let start =
        |lines: &str| Node::start_by(dir.join("state"), configuration(lines), Arc::new(Time::now)).unwrap();
    let node = start(" password secret\n");
    let offered = node.authenticate("lab", None).unwrap();
    let known = std::fs::read_to_string(server.ca()).unwrap();
    let known = pem::der_of(&known, pem::CERTIFICATE).unwrap();
    assert_eq!(offered.certificates.ca().der(), &known[..]);
    node.accept(offered).unwrap();

    // What it answers with is too weak, and the operator is told what to do about it.
    let request = node.enroll("lab", Answers::default()).unwrap().remove(0);
    // Each further try would have it issue one more.
    assert_eq!(request.phase, UpperPhase::Failed);
    let error = request.error.expect("it was not granted");
    assert!(error.contains("it uses des") && error.contains("hint: `crypto legacy des`"), "{error}");
    node.apply(configuration(" password wrong\n crypto legacy des\n")).unwrap();
    assert_eq!(node.cancel_enrollment("lab").unwrap(), 1);
    let request = node.enroll("lab", Answers::default()).unwrap().remove(0);
    assert_eq!(request.phase, UpperPhase::Failed);
    assert!(request.error.unwrap().starts_with("the CA has refused the request (BadRequest)"));
    node.apply(configuration(" password secret\n crypto legacy des\n")).unwrap();
    let request = node.enroll("lab", Answers::default()).unwrap().remove(0);
    assert!(request.granted, "{request:?}");
    let own = |node: &Node| {
        let own = node.trustpoint_reports(Some("lab")).unwrap().remove(0).own;
        Certificate::parse(&own.iter().find(|own| own.kind == TrustedKind::Own).unwrap().der).unwrap()
    };
    let first = own(&node);
    let file = dir.join("own.pem");
    std::fs::write(&file, pem::write_certificate(first.der())).unwrap();
    run(std::process::Command::new("openssl").arg("verify").arg("-CAfile").arg(server.ca()).arg(&file))
        .success();

    // It goes away, and comes back: what was begun meanwhile is done then.
    server.stop();
    // It wants its challenge for renewals as well.
    let request = node.enroll("lab", Answers::default()).unwrap().remove(0);
    assert_eq!(request.phase, UpperPhase::Sending);
    assert!(request.error.unwrap().contains("the server cannot be reached"));
    drop(node);
    server.again("secret");
    let node = Node::start_by(
        dir.join("state"),
        configuration(" password secret\n crypto legacy des\n"),
        Arc::new(|| Time::now().plus(Duration::from_secs(120))),
    )
    .unwrap();
    node.tick(node.now());
    assert!(node.settle_trustpoints(Duration::from_secs(30)));
    let second = own(&node);
    assert_ne!(second, first);
    assert_eq!(second.public_key(), first.public_key());
}
