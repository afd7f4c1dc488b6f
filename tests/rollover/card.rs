//! A CA whose keys are on a PIV card rolls over.

use super::support::card::{Card, own_process, ykcs11};
use super::*;

/// The next key gets a slot that is free, and takes over there; devices have a chain that OpenSSL accepts all along.
#[test]
fn a_ca_on_a_card_rolls_over() {
    own_process(
        "card::a_ca_on_a_card_rolls_over",
        |_| (),
        |hand| {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let mut lab = on_card(dir.path());
            let current = lab.ca();
            let mut device = Device::new("CN=dev1, O=Example");
            device.enrol(&lab);
            lab.openssl_accepts(&device.certificate, &current, lab.now());

            lab.server().roll_over().expect("the next certificate");
            let next = lab.next();
            assert_eq!(slots(&lab), ["piv-82 piv-9d#2"]);
            assert_eq!(lab.ca(), current);
            let (now, then) = (TestKey::new(), TestKey::new());
            let renewed = device.renew(&lab, &now, &current).certificate();
            lab.openssl_accepts(&renewed, &current, lab.now());
            let shadow = device.renew(&lab, &then, &next).certificate();
            lab.openssl_verifies(&shadow, &next, current.not_after(), &[]);

            // Neither a pulled card nor a start takes the next key away.
            hand.pull();
            hand.plug();
            lab.start();
            assert_eq!(lab.next(), next);
            lab.wait_until(current.not_after());
            assert_eq!(lab.ca(), next);
            lab.openssl_accepts(&shadow, &next, lab.now());
            device = Device { subject: device.subject, key: then, certificate: shadow };
            let again = device.renew(&lab, &TestKey::new(), &next).certificate();
            lab.openssl_accepts(&again, &next, lab.now());
            Device::new("CN=dev2, O=Example").enrol(&lab);

            // The third is beside them.
            lab.server().roll_over().expect("the next certificate");
            assert_eq!(slots(&lab), ["piv-82 piv-9d#2", "piv-83 piv-9d#3"]);
        },
    );
}

/// An RSA key in 9d does everything.
fn on_card(dir: &Path) -> Lab {
    let trustpoint = "crypto pki trustpoint mycs\n rsakeypair piv-9d 2048\n on usbtoken0:\n";
    let mut lab = Lab::stopped(dir, trustpoint, &["grant auto", "lifetime ca-certificate 100"]);
    fs::write(dir.join("pin.txt"), Card::PIN).expect("the PIN");
    fs::write(dir.join("management-key.txt"), Card::MANAGEMENT_KEY).expect("the PIN of the security officer");
    let softhsm = " profile softhsm2\n label tokenca\n";
    assert!(lab.text.contains(softhsm), "{}", lab.text);
    let card = format!(
        " profile ykcs11\n library {}\n so-pin file {}\n",
        ykcs11().display(),
        dir.join("management-key.txt").display()
    );
    lab.text = lab.text.replace(softhsm, &card);
    lab.start();
    lab
}

/// The slots that got a label.
fn slots(lab: &Lab) -> Vec<String> {
    let labels = fs::read_to_string(lab.state().join("usbtoken0.labels")).expect("labels of the keys");
    labels.lines().filter(|line| line.starts_with("piv-")).map(str::to_owned).collect()
}
