//! Our tokens on a PIV card without USB, by Yubico's and OpenSC's modules: keys in slots, PINs that are not
//! risked, the card pulled and plugged in while signing goes on.

mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokenca::pki::archive::pem;
use tokenca::pki::{Curve, DecryptionKey, Hash, KeyKind, KeyTransport, Name, Serial, SignatureAlgorithm};
use tokenca::pki::{SigningKey, Time, extension, tbs};
use tokenca::token::{KeyUsage, PinSource, Problem, Selector, Token, TokenConfig, TokenKey};

use support::card::{Card, Hand, own_process};
use support::{run, until};

const P256: KeyKind = KeyKind::Ec(Curve::P256);
const RSA: KeyKind = KeyKind::Rsa { bits: 2048 };

#[test]
fn ykcs11_keeps_keys_in_slots() {
    own_process(
        "ykcs11_keeps_keys_in_slots",
        |_| (),
        |_| {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let token = Token::open(&ykcs11(dir.path())).expect("the card");
            assert_eq!(token.profile().name(), "ykcs11");
            assert!(token.keys().expect("a list").is_empty());

            // By the name of the slot; by any other name, in the first slot that is free.
            let signer = token.generate("piv-9c", P256, KeyUsage::SIGNATURE, false).expect("a key in 9c");
            let ca = token.generate("my cs", RSA, KeyUsage::general(RSA), false).expect("a key in 9d");
            assert_eq!((&signer.info().id[..], &ca.info().id[..]), (&[2][..], &[3][..]));
            assert_eq!((signer.info().label.as_str(), ca.info().label.as_str()), ("piv-9c", "my cs"));
            assert!(signer.info().always_authenticate && !ca.info().always_authenticate);
            for _ in 0..3 {
                signs(&signer);
                signs(&ca);
                decrypts(&ca);
            }

            // Nothing is overwritten.
            let again = token.generate("my cs", RSA, KeyUsage::general(RSA), false).unwrap_err();
            assert!(matches!(again.problem(), Problem::KeyExists { .. }), "{again}");
            let there = token.generate("piv-9d", P256, KeyUsage::SIGNATURE, false).unwrap_err();
            assert!(matches!(there.problem(), Problem::KeyExists { .. }), "{there}");
            let next = token.generate("next", P256, KeyUsage::SIGNATURE, false).expect("a key in 9a");
            assert_eq!(next.info().id, [1]);
            signs(&ca);

            // Deleted: what was in the slot cannot come back, and the slot is free.
            token.delete("next").expect("deleted");
            assert!(token.find("next").expect("an answer").is_none());
            assert!(next.sign(Hash::Sha256, b"m").is_err());
            let gone = token.delete("next").unwrap_err();
            assert!(matches!(gone.problem(), Problem::NoKey { .. }), "{gone}");
            // The card attests, and so shows, what is in the slot now; nobody takes it for a key.
            let token = Token::open(&ykcs11(dir.path())).expect("the card");
            assert_eq!(token.keys().expect("a list").len(), 2);
            assert!(token.find("piv-9a").expect("an answer").is_none());
            let other = token.generate("piv-9a", P256, KeyUsage::SIGNATURE, false).expect("it is free");
            assert_ne!(other.public_key(), next.public_key());

            // Opened again, also where nobody remembers labels.
            let mut labels: Vec<_> = token.keys().expect("a list").into_iter().map(|key| key.label).collect();
            labels.sort();
            assert_eq!(labels, ["my cs", "piv-9a", "piv-9c"]);
            drop((token, other, next));
            let token = Token::open(&ykcs11(dir.path())).expect("the card");
            assert_eq!(token.key("my cs").expect("the key").public_key(), ca.public_key());
            signs(&token.key("piv-9c").expect("the key"));
            let token = Token::open(&TokenConfig { labels: None, ..ykcs11(dir.path()) }).expect("the card");
            let found = token.key("piv-9d").expect("the key");
            assert_eq!((found.public_key(), found.info().label.as_str()), (ca.public_key(), "piv-9d"));
            decrypts(&found);
        },
    );
}

/// A certificate takes the place of the one that the module made for the key, and is found with it.
#[test]
fn ykcs11_keeps_certificates_beside_their_keys() {
    own_process("ykcs11_keeps_certificates_beside_their_keys", with_keys, |hand| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let token = Token::open(&ykcs11(dir.path())).expect("the card");
        let key = token.key("piv-9d").expect("a key");
        let certificates = |token: &Token| -> Vec<(Vec<u8>, Vec<u8>)> {
            let found = token.certificates().expect("a list").into_iter();
            // The third is that of the key that attests.
            found.filter(|found| found.id != [25]).map(|found| (found.id, found.der)).collect()
        };
        let before = certificates(&token);
        assert_eq!(before.iter().map(|(id, _)| &id[..]).collect::<Vec<_>>(), [[2], [3]]);
        let first = ca_certificate(&key, "CN=first");
        let second = ca_certificate(&key, "CN=second");
        for der in [&first, &first, &second] {
            token.store_certificate("mycs", &key.info().id, der).expect("stored");
            assert_eq!(certificates(&token), [before[0].clone(), (vec![3], der.clone())]);
            signs(&key);
            assert_eq!(token.key("piv-9d").expect("it is found").public_key(), key.public_key());
        }
        decrypts(&key);

        // As the card has it, and other programs.
        hand.pull();
        hand.plug();
        until("it is back", || key.sign(Hash::Sha256, b"message").ok());
        assert_eq!(certificates(&token)[1].1, second);
        drop((token, key));
        let token = Token::open(&ykcs11(dir.path())).expect("the card");
        assert_eq!(certificates(&token)[1].1, second);
        let mut tool = std::process::Command::new("yubico-piv-tool");
        let shown = run(tool.args(["--action", "read-certificate", "--slot", "9d"])).success().stdout;
        assert_eq!(pem::certificates(&shown).expect("PEM"), vec![second.clone()]);
        signs(&token.key("piv-9d").expect("it is found"));

        // What is there needs no security officer.
        let poor = Token::open(&TokenConfig { so_pin: None, ..ykcs11(dir.path()) }).expect("the card");
        poor.store_certificate("mycs", &[3], &second).expect("nothing is to be done");
        let refused = poor.store_certificate("mycs", &[3], &first).unwrap_err();
        assert!(matches!(refused.problem(), Problem::NoOfficer), "{refused}");

        // There is no place for the certificates of others; that of a key shows it, and goes with it.
        let refused = token.store_certificate("above", &[], &first).unwrap_err();
        assert!(matches!(refused.problem(), Problem::NotOffered { .. }), "{refused}");
        assert!(token.delete_certificate(&second).expect("an answer"));
        assert_eq!(certificates(&token)[1].1, second);
        token.delete("piv-9d").expect("deleted");
        assert_eq!(certificates(&token), [before[0].clone()]);
    });
}

/// A root's certificate for this key, signed by it.
fn ca_certificate(key: &TokenKey, subject: &str) -> Vec<u8> {
    let purpose = extension::Purpose::Authority { path_len: None, scep: true };
    let template = tbs::Template {
        algorithm: SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
        issuer: Name::parse(subject).expect("a name"),
        not_before: Time::now(),
        not_after: Time::now().plus(Duration::from_secs(365 * 86_400)),
        subject: Name::parse(subject).expect("a name"),
        key: key.public_key().clone(),
        extensions: vec![extension::basic_constraints(purpose)],
    };
    let body = template.finalize(&Serial::from(1)).expect("it encodes");
    let signature = key.sign(Hash::Sha256, &body).expect("a signature");
    tbs::assemble(&body, template.algorithm, &signature).expect("a certificate")
}

/// A key that the card has made is attested, one that was brought to it is not.
#[test]
fn ykcs11_shows_what_the_card_attests() {
    own_process("ykcs11_shows_what_the_card_attests", with_brought_key, |hand| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let token = Token::open(&ykcs11(dir.path())).expect("the card");
        let brought = token.key("piv-9a").expect("the key that was brought");
        signs(&brought);
        assert_eq!(token.attestation("piv-9a").expect("an answer"), None);
        assert_eq!(brought.info().local, Some(false));

        for (label, kind, pin) in
            [("piv-9c", P256, "asked for at each use"), ("my cs", RSA, "asked for once in a session")]
        {
            token.generate(label, kind, KeyUsage::general(kind), false).expect("a key");
            attested(&token, label, pin, &hand.root());
        }
        hand.pull();
        hand.plug();
        until("it is back", || token.key("my cs").ok());
        attested(&token, "my cs", "asked for once in a session", &hand.root());
        let missing = token.attestation("another").unwrap_err();
        assert!(matches!(missing.problem(), Problem::NoKey { .. }), "{missing}");
        // Neither the attestations nor the key that makes them are in anybody's way.
        let mut labels: Vec<_> = token.keys().expect("a list").into_iter().map(|key| key.label).collect();
        labels.sort();
        assert_eq!(labels, ["my cs", "piv-9a", "piv-9c"]);
        let ids: Vec<_> = token.certificates().expect("a list").into_iter().map(|found| found.id).collect();
        assert_eq!(ids, [[1], [2], [3], [25]]);
    });
}

/// The card attests the key with this label, and OpenSSL believes it.
fn attested(token: &Token, label: &str, pin: &str, root: &Path) {
    let found = token.attestation(label).expect("an answer").expect("an attestation");
    assert_eq!(found.doubts, [], "{label}");
    let said = found.statement;
    assert_eq!((said.firmware.as_deref(), said.serial), (Some("6.6.6"), Some(5_437_251)));
    assert_eq!(said.pin.expect("a policy").to_string(), pin);
    assert_eq!(said.touch.expect("a policy").to_string(), "never");
    assert_eq!(said.form_factor.as_deref(), Some("USB-A keychain"));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str, der: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, pem::write_certificate(der)).expect("a file");
        path
    };
    let (certificate, issuer) = (file("key", &found.certificate), file("f9", &found.chain[0]));
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["verify", "-CAfile"]).arg(root).arg("-untrusted").arg(issuer).arg(certificate);
    run(&mut openssl).success();
}

/// With the module in a process of its own, which sees the card as this one does.
#[test]
fn ykcs11_isolated_makes_keys_and_uses_them() {
    own_process(
        "ykcs11_isolated_makes_keys_and_uses_them",
        |_| (),
        |_| {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let apart = Some(env!("CARGO_BIN_EXE_tokenca").into());
            let token = Token::open(&TokenConfig { apart, ..ykcs11(dir.path()) }).expect("the card");
            assert!(token.is_isolated());
            let signer = token.generate("piv-9c", P256, KeyUsage::SIGNATURE, false).expect("a key in 9c");
            let ca = token.generate("my cs", RSA, KeyUsage::general(RSA), false).expect("a key in 9d");
            // One wants the PIN each time.
            for _ in 0..2 {
                signs(&signer);
                signs(&ca);
                decrypts(&ca);
            }
        },
    );
}

#[test]
fn wrong_pins_are_tried_once() {
    own_process(
        "wrong_pins_are_tried_once",
        |_| (),
        |_| {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let with = |pin: &str| TokenConfig { pin: PinSource::Given(pin.into()), ..ykcs11(dir.path()) };
            let wrong = |pin: &str| Token::open(&with(pin)).map(drop).expect_err("a wrong PIN");
            assert!(wrong("654321").to_string().contains("CKR_PIN_INCORRECT"));
            for _ in 0..2 {
                assert!(matches!(wrong("654321").problem(), Problem::PinRefused { .. }));
            }
            assert!(matches!(wrong("12345").problem(), Problem::PinLength { length: 5, .. }));
            Token::open(&with(Card::PIN)).expect("two tries were left");

            // Where two tries were somebody else's, the last one is not risked.
            for pin in ["111111", "222222"] {
                assert!(run(&mut tool(&support::card::ykcs11(), pin, &["--list-objects"])).code != Some(0));
            }
            assert!(matches!(wrong("333333").problem(), Problem::PinLastTry));
            assert!(matches!(wrong(Card::PIN).problem(), Problem::PinLastTry));
            run(&mut tool(&support::card::ykcs11(), Card::PIN, &["--list-objects"])).success();

            // The same with the security officer's.
            let so_pin = Some(PinSource::Given("00".repeat(24).into()));
            let token = Token::open(&TokenConfig { so_pin, ..with(Card::PIN) }).expect("the card");
            let make = || token.generate("piv-9a", P256, KeyUsage::SIGNATURE, false).map(drop);
            let refused = make().expect_err("a wrong management key").to_string();
            assert!(refused.contains("as security officer: C_Login returned CKR_PIN_INCORRECT"), "{refused}");
            let refused = make().expect_err("it is not tried again").to_string();
            assert!(refused.contains("as security officer: the PIN was not tried"), "{refused}");
            assert!(dir.path().join("yubikey0.so-pin-refused").exists());
            let token = Token::open(&TokenConfig { so_pin: None, ..with(Card::PIN) }).expect("the card");
            let refused = token.generate("piv-9a", P256, KeyUsage::SIGNATURE, false).unwrap_err();
            assert!(matches!(refused.problem(), Problem::NoOfficer), "{refused}");
            assert!(token.keys().expect("a list").is_empty());
        },
    );
}

#[test]
fn ykcs11_signs_again_when_the_card_is_back() {
    own_process("ykcs11_signs_again_when_the_card_is_back", with_keys, |hand| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let token = Token::open(&ykcs11(dir.path())).expect("the card");
        let keys = ["piv-9c", "piv-9d"].map(|label| token.key(label).expect("a key"));
        pulled(keys.each_ref(), hand);
        decrypts(&token.key("piv-9d").expect("the same key"));
    });
}

#[test]
fn opensc_uses_the_keys_that_ykcs11_made() {
    own_process("opensc_uses_the_keys_that_ykcs11_made", with_keys, |hand| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let token = Token::open(&opensc(dir.path())).expect("the card");
        let (signer, decrypter) = (token.key("piv-9c").expect("9c"), token.key("piv-9d").expect("9d"));
        for _ in 0..3 {
            signs(&signer);
            decrypts(&decrypter);
        }
        // What a slot is for, OpenSC knows better.
        assert!(!decrypter.info().usage.sign && signer.info().usage.sign);
        let refused = token.generate("piv-9a", P256, KeyUsage::SIGNATURE, false).unwrap_err();
        assert!(matches!(refused.problem(), Problem::NotOffered { .. }), "{refused}");
        assert!(matches!(token.delete("piv-9c").unwrap_err().problem(), Problem::NotOffered { .. }));

        // While no call is under way.
        hand.pull();
        assert!(signer.sign(Hash::Sha256, b"message").is_err());
        hand.plug();
        until("it is back", || signer.sign(Hash::Sha256, b"message").ok());
        decrypts(&decrypter);
    });
}

/// OpenSC 0.23 locks itself for ever then: its `sc_unlock` returns with a lock held when there is no card to unlock.
/// The module's process is ended, and another one finds the card that is back.
#[test]
fn opensc_signs_again_when_the_card_was_pulled_during_a_call() {
    own_process("opensc_signs_again_when_the_card_was_pulled_during_a_call", with_keys, |hand| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let token = Token::open(&opensc(dir.path())).expect("the card");
        let key = token.key("piv-9c").expect("a key");
        for _ in 0..3 {
            pulled([&key], hand);
        }
    });
}

/// These keys sign without pause; the card is pulled and plugged in; nothing is restarted.
fn pulled<const N: usize>(keys: [&TokenKey; N], hand: &mut Hand) {
    let (stop, done) = (AtomicBool::new(false), keys.map(|_| AtomicUsize::new(0)));
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        for (key, done) in keys.iter().zip(&done) {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match key.sign(Hash::Sha256, b"message") {
                        Ok(_) => done.fetch_add(1, Ordering::Relaxed),
                        // Told at once while the card is out, and the processor has other things to do.
                        Err(_) => {
                            std::thread::sleep(Duration::from_millis(10));
                            0
                        }
                    };
                }
            });
        }
        let more = |what: &str| {
            let before = done.each_ref().map(|done| done.load(Ordering::Relaxed));
            until(what, || {
                let now = done.each_ref().map(|done| done.load(Ordering::Relaxed));
                before.iter().zip(now).all(|(before, now)| now > before + 2).then_some(())
            });
        };
        more("signatures");
        hand.pull();
        until("it is noticed", || keys[0].sign(Hash::Sha256, b"message").err());
        hand.plug();
        more("signatures with the card that is back");
    });
}

fn signs(key: &TokenKey) {
    let signature = key.sign(Hash::Sha256, b"message").expect("a signature");
    let algorithm = SignatureAlgorithm::for_key(key.info().kind, Hash::Sha256);
    key.public_key().verify(algorithm, b"message", &signature).expect("it verifies");
}

/// As an envelope of SCEP wraps its key; one that is wrong is answered by a random one.
fn decrypts(key: &TokenKey) {
    let (transport, secret) = (KeyTransport::Pkcs1v15, b"an AES-128 key.!");
    let mut wrapped = key.public_key().encrypt(transport, secret).expect("an RSA key");
    let opened = key.unwrap_key(transport, &wrapped, secret.len()).expect("an answer");
    assert_eq!(opened[..], secret[..]);
    wrapped[100] ^= 1;
    let opened = key.unwrap_key(transport, &wrapped, secret.len()).expect("an answer");
    assert_ne!(opened[..], secret[..]);
}

fn ykcs11(dir: &Path) -> TokenConfig {
    let pin = PinSource::Given(Card::PIN.into());
    TokenConfig {
        module: Some(support::card::ykcs11()),
        so_pin: Some(PinSource::Given(Card::MANAGEMENT_KEY.into())),
        lockout: Some(dir.join("yubikey0.pin-refused")),
        labels: Some(dir.join("yubikey0.labels")),
        ..TokenConfig::new("yubikey0", Selector::default(), pin)
    }
}

/// By OpenSC's module, in a process of its own.
fn opensc(dir: &Path) -> TokenConfig {
    let apart = Some(env!("CARGO_BIN_EXE_tokenca").into());
    TokenConfig { profile: Some("opensc-piv".into()), module: None, apart, ..ykcs11(dir) }
}

/// An EC key in 9c and an RSA key in 9d.
fn with_keys(card: &Card) {
    for (kind, id) in [("EC:prime256v1", "02"), ("rsa:2048", "03")] {
        let login = ["--login", "--login-type", "so", "--so-pin", Card::MANAGEMENT_KEY];
        let mut tool = card.command("pkcs11-tool");
        tool.arg("--module").arg(support::card::ykcs11()).args(["--slot-index", "0"]).args(login);
        run(tool.args(["--keypairgen", "--key-type", kind, "--id", id])).success();
    }
}

/// An RSA key in 9a that OpenSSL has made, with a certificate.
fn with_brought_key(card: &Card) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "certificate"]);
    run(openssl.args(["-subj", "/CN=brought"]).current_dir(dir.path())).success();
    for (action, file) in [("import-key", "key"), ("import-certificate", "certificate")] {
        let mut tool = card.command("yubico-piv-tool");
        tool.arg(format!("--key={}", Card::MANAGEMENT_KEY)).args(["--slot", "9a", "--action", action]);
        run(tool.arg("--input").arg(file).current_dir(dir.path())).success();
    }
}

/// Ends the threads, also when something fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// pkcs11-tool in a process that sees the card.
fn tool(module: &PathBuf, pin: &str, args: &[&str]) -> std::process::Command {
    let mut tool = std::process::Command::new("pkcs11-tool");
    tool.arg("--module").arg(module).args(["--slot-index", "0", "--login", "--pin", pin]).args(args);
    tool
}
