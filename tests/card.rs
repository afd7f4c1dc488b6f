//! What Yubico's and OpenSC's modules do with a PIV card without USB: keys, PINs, and the loss of the card.

mod support;

use std::path::Path;
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

use support::card::{self, Card, Hand, own_process};
use support::{Ran, run, skipped};

/// Slots 9c, for signatures, and 9d, for decryption, as both modules number them.
const SIGNATURE: &str = "02";
const DECRYPTION: &str = "03";

#[test]
fn keys_made_with_one_module_are_used_with_both() {
    let Some(card) = start("keys_made_with_one_module_are_used_with_both") else { return };
    generate(&card, "EC:prime256v1", SIGNATURE);
    generate(&card, "rsa:2048", DECRYPTION);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str| dir.path().join(name).to_str().expect("a path of ASCII").to_owned();
    std::fs::write(file("text"), "what is signed").expect("a file");
    openssl(&["dgst", "-sha256", "-binary", "-out", &file("digest"), &file("text")]);
    for (name, module) in [("ykcs11", card::ykcs11()), ("OpenSC", card::opensc())] {
        let tool = |args: &[&str]| tool(&card, &module, args).success();
        for (id, der) in [(SIGNATURE, file("9c")), (DECRYPTION, file("9d"))] {
            tool(&["--read-object", "--type", "pubkey", "--id", id, "--output-file", &der]);
        }

        let (digest, signature) = (file("digest"), file("signature"));
        let sign = ["--login", "--pin", Card::PIN, "--sign", "--mechanism", "ECDSA", "--id", SIGNATURE];
        let files = ["--input-file", &digest, "--output-file", &signature, "--signature-format", "openssl"];
        tool(&[&sign[..], &files[..]].concat());
        let (key, text) = (file("9c"), file("text"));
        openssl(&["dgst", "-sha256", "-keyform", "DER", "-verify", &key, "-signature", &signature, &text])
            .says("Verified OK");

        let (key, secret, opened) = (file("9d"), file("secret"), file("opened"));
        let encrypt = ["pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", &key];
        openssl(&[&encrypt[..], &["-in", &text, "-out", &secret]].concat());
        let decrypt =
            ["--login", "--pin", Card::PIN, "--decrypt", "--mechanism", "RSA-PKCS", "--id", DECRYPTION];
        tool(&[&decrypt[..], &["--input-file", &secret, "--output-file", &opened]].concat());
        assert_eq!(std::fs::read(&opened).expect("it was written"), b"what is signed", "with {name}");
    }
}

#[test]
fn three_wrong_pins_lock_the_card() {
    let Some(card) = start("three_wrong_pins_lock_the_card") else { return };
    let log_in = |pin: &str| tool(&card, &card::ykcs11(), &["--login", "--pin", pin, "--list-objects"]);
    log_in(Card::PIN).success();
    for _ in 0..2 {
        log_in("654321").exited(1).says("CKR_PIN_INCORRECT");
    }
    // The right one sets the count back.
    log_in(Card::PIN).success();
    for _ in 0..3 {
        log_in("654321").exited(1);
    }
    log_in(Card::PIN).exited(1).says("CKR_PIN_LOCKED");
    let status = run(card.command("yubico-piv-tool").args(["--action", "status"]));
    status.success().says("PIN tries left:\t0");
    // Another card is not touched by that.
    let Some(other) = start("three_wrong_pins_lock_the_card") else { return };
    let list = ["--login", "--pin", Card::PIN, "--list-objects"];
    tool(&other, &card::ykcs11(), &list).success();
}

#[test]
fn ykcs11_loses_the_card_and_finds_it_again() {
    own_process("ykcs11_loses_the_card_and_finds_it_again", with_a_key, |hand| {
        pulled(&card::ykcs11(), RvError::DeviceError, hand);
    });
}

#[test]
fn opensc_loses_the_card_and_finds_it_again() {
    own_process("opensc_loses_the_card_and_finds_it_again", with_a_key, |hand| {
        pulled(&card::opensc(), RvError::DeviceRemoved, hand);
    });
}

/// Signs, loses the card and gets this error, signs again when it is back, in a new session. When pcscd has
/// crashed the module must be initialised again.
fn pulled(path: &Path, error: RvError, hand: &mut Hand) {
    let module = initialized(path);
    let (session, key) = log_in(&module);
    sign(&session, key).expect("a signature");

    hand.pull();
    match sign(&session, key) {
        Err(Error::Pkcs11(code, _)) => assert_eq!(code, error),
        other => panic!("a card that is out: {other:?}"),
    }
    assert_eq!(module.get_slots_with_token().expect("C_GetSlotList").len(), 0);

    hand.plug();
    // The slots are listed anew: without that ykcs11 says that there is no token.
    drop(session);
    let (session, key) = log_in(&module);
    sign(&session, key).expect("a signature");

    hand.restart_pcscd();
    sign(&session, key).expect_err("nothing is left of the connection");
    drop(session);
    module.finalize().expect("C_Finalize");
    let module = initialized(path);
    let (session, key) = log_in(&module);
    sign(&session, key).expect("a signature");
}

fn initialized(path: &Path) -> Pkcs11 {
    let module = Pkcs11::new(path).expect("the module loads");
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).expect("C_Initialize");
    module
}

fn log_in(module: &Pkcs11) -> (Session, ObjectHandle) {
    let slots = module.get_slots_with_token().expect("C_GetSlotList");
    let session = module.open_rw_session(*slots.first().expect("the card is in")).expect("C_OpenSession");
    session.login(UserType::User, Some(&AuthPin::from(Card::PIN))).expect("C_Login");
    let wanted = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Id(vec![1])];
    let keys = session.find_objects(&wanted).expect("C_FindObjects");
    let key = *keys.first().expect("the key is on the card");
    (session, key)
}

fn sign(session: &Session, key: ObjectHandle) -> Result<Vec<u8>, Error> {
    session.sign(&Mechanism::Ecdsa, key, &[7; 32])
}

/// A key in slot 9a, which asks for no PIN each time.
fn with_a_key(card: &Card) {
    generate(card, "EC:prime256v1", "01");
}

fn start(test: &str) -> Option<Card> {
    Card::start().map_err(|why| skipped(test, &why)).ok()
}

/// With the management key, by Yubico's module: OpenSC's makes no keys.
fn generate(card: &Card, kind: &str, id: &str) {
    let login = ["--login", "--login-type", "so", "--so-pin", Card::MANAGEMENT_KEY];
    let key = ["--keypairgen", "--key-type", kind, "--id", id];
    tool(card, &card::ykcs11(), &[login, key].concat()).success();
}

/// pkcs11-tool with the card, which is in the first of two readers.
fn tool(card: &Card, module: &Path, args: &[&str]) -> Ran {
    let mut tool = card.command("pkcs11-tool");
    run(tool.arg("--module").arg(module).args(["--slot-index", "0"]).args(args))
}

fn openssl(args: &[&str]) -> Ran {
    run(Command::new("openssl").args(args)).success()
}
