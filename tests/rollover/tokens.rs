//! A CA and its next key on several tokens.

use std::process::Command;

use tokenca::node::NextCertificate;
use tokenca::pki::{KeyKind, SignatureAlgorithm, extension, tbs};

use super::*;

stories! {

/// The CA key on one token, SCEP's on another, and the next CA key on a third: each stays where it belongs.
fn one_ca_on_three_tokens(dir: &Path) {
    let lab = Lab::with(
        dir,
        &other_tokens(dir),
        &["grant auto", "lifetime ca-certificate 100", "scep key separate on usbtoken1:", "rollover on usbtoken2:"],
    );
    let mut device = Device::new("CN=dev1, O=Example");
    device.enrol(&lab);
    let keys = |lab: &Lab| {
        let mut keys = lab.keys();
        keys.sort();
        keys
    };
    let first = ["usbtoken0:mycs", "usbtoken1:mycs.scep-decrypt", "usbtoken1:mycs.scep-sign"];
    assert_eq!(keys(&lab), first);
    lab.server().roll_over().unwrap();
    let (current, next) = (lab.certificates(), lab.next_certificates());
    let second = ["usbtoken1:mycs#2.scep-decrypt", "usbtoken1:mycs#2.scep-sign", "usbtoken2:mycs#2"];
    let mut all = [first, second].concat();
    all.sort();
    assert_eq!(keys(&lab), all);
    let then = TestKey::new();
    let shadow = device.renew(&lab, &then, &next.decrypter).certificate();
    assert!(shadow.verify_signed_by(next.ca.public_key()).is_ok());
    lab.wait_until(current.ca.not_after());
    let device = Device { subject: device.subject, key: then, certificate: shadow };
    device.renew(&lab, &TestKey::new(), &next.decrypter).certificate();

    // The configuration names the first key, and may be given again as it is.
    let again = lab.node().configuration();
    assert_eq!(lab.node().apply(again).unwrap(), Vec::<String>::new());
    // And a third, on the same token as the second.
    lab.server().roll_over().unwrap();
    assert!(lab.keys().contains(&"usbtoken2:mycs#3".to_owned()));
}

/// While the token of the next key is away the CA goes on, and the next one is offered again when it is back.
fn a_next_key_that_is_away_keeps_nobody_waiting(dir: &Path) {
    let mut lab = Lab::with(dir, &other_tokens(dir), &["grant auto", "rollover on usbtoken1:"]);
    lab.server().roll_over().unwrap();
    let next = lab.next();
    lab.stop();
    // Under another label it is another token.
    let text = lab.text.clone();
    lab.text = text.replace("label second", "label elsewhere");
    lab.start();
    lab.has_no_next();
    let report = lab.server().rollover(0).unwrap();
    assert!(matches!(&report.status, RolloverStatus::Withheld(why) if why.contains("elsewhere")), "{report:?}");
    Device::new("CN=dev1, O=Example").enrol(&lab);
    lab.wait(SECOND);
    let error = lab.server().report().unwrap().last_error.unwrap_or_default();
    assert!(error.contains("the next CA certificate is not offered"), "{error}");
    Device::new("CN=dev2, O=Example").enrol(&lab);
    // What acts goes on also when nothing can be started just then.
    let database = rusqlite::Connection::open(lab.state().join("tokenca.db")).unwrap();
    let broken = "INSERT INTO authorities (server, role, token, key_label, phase, certificate)
                  VALUES ('mycs', 'ca', 'usbtoken0', 'x', 'retired', x'3000')";
    database.execute_batch(broken).unwrap();
    lab.wait(SECOND * 61);
    let error = lab.server().report().unwrap().last_error.unwrap_or_default();
    assert!(error.contains("the next CA certificate is not offered: the database is damaged"), "{error}");
    Device::new("CN=dev3, O=Example").enrol(&lab);
    database.execute_batch("DELETE FROM authorities WHERE key_label = 'x'").unwrap();
    lab.text = text;
    lab.start();
    assert_eq!(lab.next(), next);
}

/// A certificate that another CA has issued takes over like one's own.
fn a_next_certificate_from_above_takes_over(dir: &Path) {
    let lab = Lab::new(dir, &["grant auto", "lifetime ca-certificate 100"]);
    let current = lab.ca();
    let rsa = KeyKind::Rsa { bits: 2048 };
    let usage = tokenca::node::Usage::General;
    let key = lab.node().generate_key(None, "mycs-next", rsa, usage, false).unwrap();
    let above = TestKey::new();
    let begin = current.not_after().minus(DAY * 50);
    let issue_until = |subject: &str, public_key, ca: bool, end| {
        let purpose = match ca {
            true => extension::Purpose::Authority { path_len: None, scep: true },
            false => extension::Purpose::Device,
        };
        let template = tbs::Template {
            algorithm: SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
            issuer: name("CN=above"),
            not_before: begin,
            not_after: end,
            subject: name(subject),
            key: public_key,
            extensions: vec![
                extension::basic_constraints(purpose),
                extension::key_usage(purpose.usages(rsa, None)),
                extension::authority_key_identifier(&SigningKey::public_key(&above).key_identifier()),
            ],
        };
        let body = template.finalize(&tokenca::pki::Serial::from(77)).unwrap();
        let signature = above.sign(Hash::Sha256, &body).unwrap();
        tbs::assemble(&body, template.algorithm, &signature).unwrap()
    };
    let issue = |subject: &str, public_key, ca| {
        issue_until(subject, public_key, ca, current.not_after().plus(DAY * 100))
    };
    let prepare = |certificate: Vec<u8>| {
        let (token, key_label) = ("usbtoken0".to_owned(), "mycs-next".to_owned());
        lab.server().prepare_next(NextCertificate { token, key_label, certificate }, lab.now())
    };
    let own = "CN=mycs, O=Example, C=US";
    for (certificate, why) in [
        (issue("CN=other", key.public_key.clone(), true), "it has another name"),
        (issue(own, key.public_key.clone(), false), "is not that of a CA: its basicConstraints"),
        (issue_until(own, key.public_key.clone(), true, current.not_after()), "it ends no later than that of now"),
        (issue(own, current.public_key().clone(), true), "its key is that of the CA now"),
        (issue(own, SigningKey::public_key(&TestKey::new()).clone(), true), "is not the key of the CA certificate"),
    ] {
        let error = prepare(certificate).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let certificate = issue(own, key.public_key.clone(), true);
    prepare(certificate.clone()).unwrap();
    prepare(certificate.clone()).unwrap();
    let next = lab.next();
    assert_eq!(next.der(), certificate);
    let shadow = {
        let mut device = Device::new("CN=dev1, O=Example");
        device.enrol(&lab);
        device.renew(&lab, &TestKey::new(), &next).certificate()
    };
    // The CA above has dated it earlier than it acts; what it signs begins when it does.
    assert_eq!(shadow.not_before(), current.not_after());
    lab.wait_until(current.not_after());
    assert_eq!(lab.ca(), next);
    assert!(shadow.verify_signed_by(next.public_key()).is_ok());
}

}

/// The configuration of two more tokens beside the first, which are made.
fn other_tokens(dir: &Path) -> String {
    let mut text = String::new();
    for (name, label) in [("usbtoken1", "second"), ("usbtoken2", "third")] {
        let pin = std::env::var(support::softhsm::PIN).expect("the PIN");
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", &pin])
            .output()
            .expect("softhsm2-util runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let pin = dir.join("pin.txt");
        text += &format!(
            "crypto pki token {name}\n profile softhsm2\n label {label}\n user-pin file {}\n",
            pin.display()
        );
    }
    text + TRUSTPOINT
}
