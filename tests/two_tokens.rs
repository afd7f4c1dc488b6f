//! One CA key on two tokens: both are used, and either may be away, also when the server starts.

mod support;

use std::fs;
use std::process::Command;

use support::opinion::Opinion;
use support::strongswan::Strongswan;
use support::{Ca, run};

#[test]
fn either_token_may_be_away() {
    let text = Ca::configuration("rsakeypair mycs 2048", &["grant auto"]);
    let (tokens, server) = text.split_at(text.find("crypto pki trustpoint").expect("a trustpoint"));
    let tokens = tokens.replace("user-pin file pin.txt", "user-pin file first.txt");
    let spare = "crypto pki token usbtoken1\n profile softhsm2\n label spare\n user-pin file pin.txt\n";
    let mut ca = Ca::with_configuration(&[&tokens, spare].concat());
    fs::copy(ca.token().pin_file(), ca.state().join("first.txt")).unwrap();
    copy_of_one_key(&ca);
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

/// The same key, labelled `mycs`, on the token `tokenca` and on another, `spare`, as a vendor's program for
/// copies would leave it.
fn copy_of_one_key(ca: &Ca) {
    let (pin, dir) = (&ca.token().pin, ca.token().dir.path());
    let program = |name: &str| {
        let (variable, conf) = ca.token().environment();
        let mut program = Command::new(name);
        program.env(variable, conf).current_dir(dir);
        program
    };
    run(program("softhsm2-util").args([
        "--init-token",
        "--free",
        "--label",
        "spare",
        "--pin",
        pin,
        "--so-pin",
        pin,
    ]))
    .success();
    run(program("openssl").args(["genrsa", "-out", "pair.pem", "2048"])).success();
    run(program("openssl").args(["pkey", "-in", "pair.pem", "-pubout", "-outform", "DER", "-out", "pub.der"]))
        .success();
    run(program("openssl")
        .args(["pkcs8", "-topk8", "-nocrypt", "-in", "pair.pem", "-outform", "DER"])
        .args(["-out", "pair.der"]))
    .success();
    for token in [ca.token().label.as_str(), "spare"] {
        for (class, file) in [("privkey", "pair.der"), ("pubkey", "pub.der")] {
            run(program("pkcs11-tool")
                .args(["--module", "/usr/lib/softhsm/libsofthsm2.so", "--token-label", token])
                .args(["--login", "--pin", pin, "--write-object", file, "--type", class, "--label", "mycs"])
                .args(["--id", "01", "--usage-sign", "--usage-decrypt"]))
            .success();
        }
    }
}
