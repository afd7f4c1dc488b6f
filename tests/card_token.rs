//! Our tokens on a PIV card without USB, by Yubico's and OpenSC's modules: keys in slots, PINs that are not
//! risked, the card pulled and plugged in while signing goes on.

mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokenca::pki::{Curve, DecryptionKey, Hash, KeyKind, KeyTransport, SignatureAlgorithm, SigningKey};
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
        pulled(&Token::open(&ykcs11(dir.path())).expect("the card"), hand);
    });
}

#[test]
fn opensc_uses_the_keys_that_ykcs11_made() {
    own_process("opensc_uses_the_keys_that_ykcs11_made", with_keys, |hand| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let apart = Some(env!("CARGO_BIN_EXE_tokenca").into());
        let config =
            TokenConfig { profile: Some("opensc-piv".into()), module: None, apart, ..ykcs11(dir.path()) };
        let token = Token::open(&config).expect("the card");
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

        // While no call is under way: C_Sign may never return when the card is pulled.
        hand.pull();
        assert!(signer.sign(Hash::Sha256, b"message").is_err());
        hand.plug();
        until("it is back", || signer.sign(Hash::Sha256, b"message").ok());
        decrypts(&decrypter);
    });
}

/// Keys in 9c and 9d are used without pause; the card is pulled and plugged in; nothing is restarted.
fn pulled(token: &Token, hand: &mut Hand) {
    let keys = ["piv-9c", "piv-9d"].map(|label| token.key(label).expect("a key"));
    let (stop, done) = (AtomicBool::new(false), keys.each_ref().map(|_| AtomicUsize::new(0)));
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
    decrypts(&token.key("piv-9d").expect("the same key"));
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

/// An EC key in 9c and an RSA key in 9d.
fn with_keys(card: &Card) {
    for (kind, id) in [("EC:prime256v1", "02"), ("rsa:2048", "03")] {
        let login = ["--login", "--login-type", "so", "--so-pin", Card::MANAGEMENT_KEY];
        let mut tool = card.command("pkcs11-tool");
        tool.arg("--module").arg(support::card::ykcs11()).args(["--slot-index", "0"]).args(login);
        run(tool.args(["--keypairgen", "--key-type", kind, "--id", id])).success();
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
