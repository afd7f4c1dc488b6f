//! The keys of one CA on two tokens: both are used, and either may be away, also when the server starts.

mod support;

use std::fs;
use std::process::Command;

use support::opinion::Opinion;
use support::strongswan::Strongswan;
use support::{Ca, run};

#[test]
fn either_token_may_be_away() {
    told("rsakeypair mycs 2048", &[("mycs", Kind::Rsa)]);
}

/// An EC key signs certificates, and SCEP has two RSA keys; all three are on both tokens.
#[test]
fn either_token_may_be_away_that_has_keys_for_scep() {
    let scep = [("mycs.scep-sign", Kind::Rsa), ("mycs.scep-decrypt", Kind::Rsa)];
    told("eckeypair mycs", &[&[("mycs", Kind::Ec)], &scep[..]].concat());
}

#[derive(Clone, Copy)]
enum Kind {
    Rsa,
    Ec,
}

/// The story of a CA with this line for its key, and of these keys on both tokens.
fn told(line: &str, keys: &[(&str, Kind)]) {
    let text = Ca::configuration(line, &["grant auto"]);
    let (tokens, server) = text.split_at(text.find("crypto pki trustpoint").expect("a trustpoint"));
    let tokens = tokens.replace("user-pin file pin.txt", "user-pin file first.txt");
    let spare = "crypto pki token usbtoken1\n profile softhsm2\n label spare\n user-pin file pin.txt\n";
    let mut ca = Ca::with_configuration(&[&tokens, spare].concat());
    fs::copy(ca.token().pin_file(), ca.state().join("first.txt")).unwrap();
    make_spare(&ca);
    for (at, (label, kind)) in keys.iter().enumerate() {
        copy_of_one_key(&ca, label, *kind, at + 1);
    }
    ca.configure(&server.replace("on usbtoken0:", "on usbtoken0: usbtoken1:"));

    let client = Strongswan::new(&ca);
    let opinion = Opinion::about(&ca);
    let signatures = |ca: &Ca| -> Vec<u64> {
        let tokens = ca.json("show crypto pki token");
        let tokens = tokens.as_array().expect("a list");
        tokens.iter().map(|token| token["signatures"].as_u64().expect("a number")).collect()
    };
    let before = signatures(&ca);
    for name in ["one", "two"] {
        client.enrol(name, &[]).success();
        opinion.approves(&ca, &client.file(&format!("{name}.pem")));
    }
    let after = signatures(&ca);
    assert!(before.iter().zip(&after).all(|(before, after)| before < after), "{before:?}, {after:?}");

    for (away, name) in [("usbtoken0", "three"), ("usbtoken1", "four")] {
        ca.exec(&format!("crypto pki token {away} logout"));
        client.enrol(name, &[]).success();
        opinion.approves(&ca, &client.file(&format!("{name}.pem")));
        ca.exec(&format!("crypto pki token {away} login"));
    }

    // The first cannot be logged in to when the server starts.
    ca.exec("write memory");
    ca.stop();
    fs::write(ca.state().join("first.txt"), "00000\n").unwrap();
    ca.start();
    let client = Strongswan::new(&ca);
    client.enrol("five", &[]).success();
    opinion.approves(&ca, &client.file("five.pem"));
}

fn program(ca: &Ca, name: &str) -> Command {
    let (variable, conf) = ca.token().environment();
    let mut program = Command::new(name);
    program.env(variable, conf).current_dir(ca.token().dir.path());
    program
}

/// Another token, `spare`.
fn make_spare(ca: &Ca) {
    let pin = &ca.token().pin;
    let mut util = program(ca, "softhsm2-util");
    util.args(["--init-token", "--free", "--label", "spare", "--pin", pin, "--so-pin", pin]);
    run(&mut util).success();
}

/// The same key on both tokens, as a vendor's program for copies would leave it.
fn copy_of_one_key(ca: &Ca, label: &str, kind: Kind, id: usize) {
    let openssl = |line: &str| run(program(ca, "openssl").args(line.split(' '))).success();
    let usage = match kind {
        Kind::Rsa => {
            openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out pair.pem");
            &["--usage-sign", "--usage-decrypt"][..]
        }
        Kind::Ec => {
            openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out pair.pem");
            &["--usage-sign"]
        }
    };
    openssl("pkey -in pair.pem -pubout -outform DER -out pub.der");
    openssl("pkcs8 -topk8 -nocrypt -in pair.pem -outform DER -out pair.der");
    for token in [ca.token().label.as_str(), "spare"] {
        for (class, file) in [("privkey", "pair.der"), ("pubkey", "pub.der")] {
            let mut tool = program(ca, "pkcs11-tool");
            tool.args(["--module", "/usr/lib/softhsm/libsofthsm2.so", "--token-label", token]);
            tool.args(["--login", "--pin", &ca.token().pin, "--write-object", file, "--type", class]);
            run(tool.args(["--label", label, "--id", &format!("{id:02}")]).args(usage)).success();
        }
    }
}
