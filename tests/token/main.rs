//! What every token must do: the contract of `tokenca::token`.
//!
//! Each story runs in a process of its own with a fresh SoftHSM token. Those that do not pull at SoftHSM
//! itself run on another module with `TEST_PKCS11_MODULE=PATH`, `TEST_PKCS11_LABEL` and
//! `TEST_PKCS11_PIN`, one at a time (`--test-threads 1`); they delete the keys that they make.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use secrecy::SecretString;
use tokenca::pki::{
    Curve, DecryptionKey, Hash, KeyErrorKind, KeyKind, KeyTransport, SignatureAlgorithm, SigningKey,
};
use tokenca::token::{
    KeyUsage, PinSource, Priority, Problem, Selector, Token, TokenConfig, TokenError, TokenKey,
};

#[path = "../support/softhsm.rs"]
mod softhsm;

const SIGN: KeyUsage = KeyUsage { sign: true, decrypt: false };
const DECRYPT: KeyUsage = KeyUsage { sign: false, decrypt: true };
const BOTH: KeyUsage = KeyUsage { sign: true, decrypt: true };
const P256: KeyKind = KeyKind::Ec(Curve::P256);
const RSA: KeyKind = KeyKind::Rsa { bits: 2048 };

/// Tests, each in a process of its own.
macro_rules! stories {
    ($($(#[$attribute:meta])* fn $name:ident($dir:ident: &Path) $body:block)+) => {$(
        #[test]
        $(#[$attribute])*
        fn $name() {
            let name = concat!(module_path!(), "::", stringify!($name));
            // The name of a test begins below its crate.
            let (_, name) = name.split_once("::").unwrap();
            crate::softhsm::own_process(name, |$dir: &Path| $body);
        }
    )+};
}

mod node;
mod objects;
mod transfer;

stories! {

/// Signatures of every kind of key with every digest verify, also after the token was opened again.
fn keys_sign_and_are_found_again(dir: &Path) {
    let kinds = [
        KeyKind::Rsa { bits: 2048 },
        KeyKind::Rsa { bits: 3072 },
        KeyKind::Rsa { bits: 4096 },
        P256,
        KeyKind::Ec(Curve::P384),
        KeyKind::Ec(Curve::P521),
    ];
    let label = |kind: KeyKind| format!("every {kind}");
    let token = Token::open(&config(dir)).unwrap();
    let mut public = Vec::new();
    for kind in kinds {
        let key = token.generate(&label(kind), kind, SIGN, false).unwrap();
        assert_eq!(key.info().kind, kind);
        public.push(key.public_key().clone());
        signs(&key);
    }
    assert_eq!(token.counters().generations, 6);
    drop(token);

    let token = Token::open(&config(dir)).unwrap();
    for (kind, public) in kinds.into_iter().zip(public) {
        let key = token.find(&label(kind)).unwrap().unwrap();
        assert_eq!(*key.public_key(), public);
        signs(&key);
        token.delete(&label(kind)).unwrap();
    }
}

/// Deleted keys are gone, and a key in hand says so.
fn keys_are_deleted(dir: &Path) {
    let token = Token::open(&config(dir)).unwrap();
    let key = token.generate("short-lived", P256, SIGN, false).unwrap();
    signs(&key);
    assert!(token.keys().unwrap().iter().any(|key| key.label == "short-lived"));

    token.delete("short-lived").unwrap();
    assert!(token.find("short-lived").unwrap().is_none());
    assert!(token.keys().unwrap().iter().all(|key| key.label != "short-lived"));
    let error = key.sign(Hash::Sha256, b"too late").unwrap_err();
    assert_eq!(error.kind, KeyErrorKind::Unavailable);
    assert!(error.source.to_string().contains("the key labelled \"short-lived\" is not found again"));

    // A new key of that name is another key: the old one is not mistaken for it.
    let new = token.generate("short-lived", P256, SIGN, false).unwrap();
    assert!(key.sign(Hash::Sha256, b"too late").is_err());
    signs(&new);
    token.delete("short-lived").unwrap();
}

/// Envelopes open, with the padding removed by us.
fn envelopes_open_raw(dir: &Path) {
    opens_envelopes(&Token::open(&config(dir)).unwrap(), &Hash::ALL[1..]);
}

/// Envelopes open, with the padding removed by the token.
fn envelopes_open_padded(dir: &Path) {
    // SoftHSM has no other digest.
    opens_envelopes(&Token::open(&padded(dir)).unwrap(), &[Hash::Sha1]);
}

/// Nothing that can be wrong with an envelope is told, with the padding removed by us.
fn mutations_are_not_told_raw(dir: &Path) {
    tells_nothing(&Token::open(&config(dir)).unwrap());
}

/// Nothing that can be wrong with an envelope is told, with the padding removed by the token.
fn mutations_are_not_told_padded(dir: &Path) {
    tells_nothing(&Token::open(&padded(dir)).unwrap());
}

/// Another program finds the attributes as they should be.
fn attributes_are_as_asked(dir: &Path) {
    let token = Token::open(&config(dir)).unwrap();
    let key = token.generate("ca", RSA, SIGN, false).unwrap();
    let info = key.info();
    assert_eq!(info.usage, SIGN);
    assert_eq!(info.id.len(), 20);
    let truths = [info.sensitive, info.local, info.always_sensitive, info.never_extractable];
    assert_eq!(truths, [Some(true); 4]);
    assert_eq!(info.extractable, Some(false));

    token.generate("ra", RSA, DECRYPT, false).unwrap();
    if elsewhere().is_none() {
        for (label, usage) in [("ca", "sign"), ("ra", "decrypt")] {
            let shown = pkcs11_tool(&["-l", "--pin", &pin(), "-O", "--type", "privkey", "--label", label]);
            assert!(shown.contains(&format!("Usage:      {usage}\n")), "{shown}");
            let access = "Access:     sensitive, always sensitive, never extractable, local\n";
            assert!(shown.contains(access), "{shown}");
        }
    }
    token.delete("ca").unwrap();
    token.delete("ra").unwrap();
}

/// A key for envelopes does not sign, and the other way round.
fn keys_do_only_what_they_are_for(dir: &Path) {
    let token = Token::open(&config(dir)).unwrap();
    let signer = token.generate("signer", RSA, SIGN, false).unwrap();
    let opener = token.generate("opener", RSA, DECRYPT, false).unwrap();
    assert!(!signer.can_decrypt() && opener.can_decrypt());

    let error = opener.sign(Hash::Sha256, b"no").unwrap_err();
    assert_eq!(error.kind, KeyErrorKind::Refused);
    assert_eq!(
        error.source.to_string(),
        "token \"usbtoken0\": C_SignInit returned CKR_KEY_FUNCTION_NOT_PERMITTED\n\
         hint: the key was not made for this; see `show crypto pki token usbtoken0`"
    );
    let wrapped = signer.public_key().encrypt(KeyTransport::Pkcs1v15, &[1; 16]).unwrap();
    let error = signer.unwrap_key(KeyTransport::Pkcs1v15, &wrapped, 16).unwrap_err();
    assert_eq!(error.kind, KeyErrorKind::Refused);
    let error = token.generate("ec opener", P256, DECRYPT, false).unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::Refused);
    assert!(token.find("ec opener").unwrap().is_none());
    token.delete("signer").unwrap();
    token.delete("opener").unwrap();
}

/// A key that is not what was asked for is deleted.
fn insecure_keys_are_refused(dir: &Path) {
    if elsewhere().is_some() {
        return;
    }
    // Without CKA_DECRYPT in the template, SoftHSM makes keys that decrypt.
    let profile = "[keygen]\nprivate = [\"CKA_TOKEN\", \"CKA_PRIVATE\", \"CKA_SENSITIVE\", \
                   \"CKA_EXTRACTABLE\", \"CKA_LABEL\", \"CKA_ID\", \"CKA_SIGN\"]\n";
    let token = Token::open(&with_profile(dir, profile)).unwrap();
    let error = token.generate("loose", RSA, SIGN, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "token \"usbtoken0\": the generated key \"loose\" was refused and deleted: CKA_DECRYPT is true"
    );
    assert!(token.find("loose").unwrap().is_none());
    assert!(!pkcs11_tool(&["-l", "--pin", &pin(), "-O"]).contains("loose"));
}

/// What is missing is named, with what may help.
fn what_is_missing_is_named(dir: &Path) {
    let open = |change: &dyn Fn(&mut TokenConfig)| {
        let mut config = config(dir);
        change(&mut config);
        Token::open(&config).unwrap_err().to_string()
    };
    assert_eq!(
        open(&|config| config.module = Some("/nowhere/libtoken.so".into())),
        "token \"usbtoken0\": no module at /nowhere/libtoken.so\n\
         hint: install the token's PKCS#11 library, or say `library PATH`"
    );
    let library = dir.join("libnothing.so");
    fs::write(&library, "not a library").unwrap();
    assert_eq!(
        open(&|config| config.module = Some(library.clone())),
        format!("token \"usbtoken0\": {} cannot be loaded as a PKCS#11 module", library.display())
    );
    assert_eq!(
        open(&|config| {
            config.module = None;
            config.profile = None;
        }),
        "token \"usbtoken0\": no module is configured\nhint: say `library PATH` or `profile NAME`"
    );
    assert_eq!(
        open(&|config| config.profile = Some("nosuch".into())),
        "token \"usbtoken0\": no profile \"nosuch\" is shipped; a path to another ends with .toml"
    );
    let missing = open(&|config| config.selector = Selector::label("other"));
    assert!(missing.starts_with("token \"usbtoken0\": no token with label \"other\"\nhint: tokens seen: "));
    assert!(missing.contains(&format!("\"{}\" (serial ", label())), "{missing}");

    let token = Token::open(&config(dir)).unwrap();
    assert_eq!(
        token.key("nosuch").unwrap_err().to_string(),
        "token \"usbtoken0\": no key labelled \"nosuch\"\n\
         hint: `show crypto pki token usbtoken0` lists the keys"
    );
    assert_eq!(
        token.delete("nosuch").unwrap_err().to_string(),
        "token \"usbtoken0\": no key labelled \"nosuch\"\n\
         hint: `show crypto pki token usbtoken0` lists the keys"
    );
    token.generate("taken", P256, SIGN, false).unwrap();
    assert_eq!(
        token.generate("taken", P256, SIGN, false).unwrap_err().to_string(),
        "token \"usbtoken0\": a key labelled \"taken\" is there already\n\
         hint: `crypto key zeroize` deletes \"taken\""
    );
    token.delete("taken").unwrap();
}

/// One of several tokens is found by label or serial number, and never guessed.
fn tokens_are_told_apart(dir: &Path) {
    if elsewhere().is_some() {
        return;
    }
    softhsm2_util(&["--init-token", "--free", "--label", "second", "--pin", "24680", "--so-pin", "13579"]);
    let second = TokenConfig {
        name: "usbtoken1".into(),
        selector: Selector::label("second "),
        pin: PinSource::Given("24680".into()),
        ..config(dir)
    };
    let (first, second) = (Token::open(&config(dir)).unwrap(), Token::open(&second).unwrap());
    let infos = [first.info().unwrap(), second.info().unwrap()];
    assert_eq!([&*infos[0].label, &*infos[1].label], ["tokenca", "second"]);
    assert_ne!(infos[0].serial, infos[1].serial);

    // Each has its own keys, and its own login.
    first.generate("mine", P256, SIGN, false).unwrap();
    assert!(second.find("mine").unwrap().is_none());
    signs(&second.generate("mine", P256, SIGN, false).unwrap());

    let serial = Some(infos[1].serial.clone());
    let by_serial = TokenConfig { selector: Selector { serial, ..Selector::default() }, ..config(dir) };
    assert_eq!(Token::open(&by_serial).unwrap().info().unwrap().label, "second");

    let any = TokenConfig { selector: Selector::default(), ..config(dir) };
    let error = Token::open(&any).unwrap_err();
    assert!(matches!(error.problem(), Problem::ManyTokens { seen, .. } if seen.len() == 2), "{error}");
}

/// The PIN comes from where it is said to be.
fn pins_come_from_their_source(dir: &Path) {
    let pin_of = |pin| Token::open(&TokenConfig { pin, ..config(dir) }).map(|_| ());
    if elsewhere().is_none() {
        pin_of(PinSource::File(dir.join("pin.txt"))).unwrap();
        pin_of(PinSource::Env(softhsm::PIN.into())).unwrap();
    }
    let error = pin_of(PinSource::File("/nowhere/pin".into())).unwrap_err();
    assert_eq!(error.to_string(), "token \"usbtoken0\": the PIN cannot be read from /nowhere/pin");
    let error = pin_of(PinSource::Env("TOKENCA_TEST_UNSET".into())).unwrap_err();
    assert_eq!(error.to_string(), "token \"usbtoken0\": the PIN cannot be read from $TOKENCA_TEST_UNSET");
    let error = pin_of(PinSource::Given("".into())).unwrap_err();
    assert!(matches!(error.problem(), Problem::PinLength { length: 0, .. }), "{error}");
}

/// A refused PIN is tried once, also by a program that is started again and again.
fn wrong_pin_is_tried_once(dir: &Path) {
    if elsewhere().is_some() {
        return;
    }
    let lockout = dir.join("refused-pins");
    let with = |pin: &str| TokenConfig {
        pin: PinSource::Given(SecretString::from(pin)),
        lockout: Some(lockout.clone()),
        sessions: Some(4),
        ..config(dir)
    };
    let tried = || pkcs11_tool(&["-T"]).contains("user PIN count low");

    assert!(!tried());
    assert_eq!(
        Token::open(&with("11111")).unwrap_err().to_string(),
        "token \"usbtoken0\": C_Login returned CKR_PIN_INCORRECT\n\
         hint: wrong PIN; it is not tried again until another one is given"
    );
    assert!(tried());
    // A right login clears the token's flag: it shows whether there was another try.
    Token::open(&config(dir)).unwrap();
    assert!(!tried());
    let error = Token::open(&with("11111")).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "token \"usbtoken0\": the PIN was not tried: the token has refused it before\n\
             hint: give another PIN; to have this one tried again, remove {}",
            lockout.display()
        )
    );
    assert_eq!(error.kind(), KeyErrorKind::Unavailable);
    assert!(!tried());

    // Another wrong one is tried, and then neither is.
    assert!(matches!(Token::open(&with("22222")).unwrap_err().problem(), Problem::Call(_)));
    for pin in ["11111", "22222"] {
        assert!(matches!(Token::open(&with(pin)).unwrap_err().problem(), Problem::PinRefused { .. }));
    }
    let kept = fs::read_to_string(&lockout).unwrap();
    assert!(!kept.contains("11111") && !kept.contains("22222"));

    Token::open(&with("97531")).unwrap();
    assert!(!lockout.exists());
}

/// Many threads sign at once.
fn threads_sign_at_once(dir: &Path) {
    let token = Token::open(&config(dir)).unwrap();
    let keys = [token.generate("rsa", RSA, SIGN, false).unwrap(), token.generate("ec", P256, SIGN, false).unwrap()];
    let before = token.counters().signatures;
    thread::scope(|scope| {
        for number in 0..8 {
            let key = keys[number % 2].with_priority([Priority::Reply, Priority::Issue][number / 4]);
            scope.spawn(move || {
                for round in 0..50 {
                    let message = format!("thread {number}, round {round}");
                    let signature = key.sign(Hash::Sha256, message.as_bytes()).unwrap();
                    let algorithm = SignatureAlgorithm::for_key(key.info().kind, Hash::Sha256);
                    key.public_key().verify(algorithm, message.as_bytes(), &signature).unwrap();
                }
            });
        }
    });
    assert_eq!(token.counters().signatures - before, 400);
    token.delete("rsa").unwrap();
    token.delete("ec").unwrap();
}

/// Keys are generated from several threads, and while others sign.
fn threads_generate_at_once(dir: &Path) {
    let token = Token::open(&config(dir)).unwrap();
    thread::scope(|scope| {
        for number in 0..4 {
            let token = token.clone();
            scope.spawn(move || {
                for round in 0..5 {
                    let label = format!("{number}/{round}");
                    signs(&token.generate(&label, P256, SIGN, false).unwrap());
                    token.delete(&label).unwrap();
                }
            });
        }
    });
}

/// With the queue full, further requests are refused at once.
fn full_queue_is_busy(dir: &Path) {
    let token = Token::open(&with_profile(dir, "sessions = 1\nqueue = 1\n")).unwrap();
    let key = token.generate("one", KeyKind::Rsa { bits: 4096 }, SIGN, false).unwrap();
    let (busy, good, start) = (AtomicUsize::new(0), AtomicUsize::new(0), Barrier::new(8));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                // One is served and one waits: with eight, somebody must be refused.
                while busy.load(Ordering::Relaxed) == 0 {
                    match key.sign(Hash::Sha256, b"me first") {
                        Ok(_) => good.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            assert_eq!(error.kind, KeyErrorKind::Busy, "{}", error.source);
                            assert_eq!(error.source.to_string(), "token \"usbtoken0\": the queue is full");
                            busy.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
    });
    assert!(good.load(Ordering::Relaxed) > 0);
    token.delete("one").unwrap();
}

/// Somebody else in the process logs everybody out: the next signature logs in again.
fn lost_login_is_recovered(dir: &Path) {
    // Not every module is the same one when it is asked for its functions again.
    if elsewhere().is_some() {
        return;
    }
    let token = Token::open(&config(dir)).unwrap();
    let key = token.generate("logged out", RSA, BOTH, false).unwrap();
    let module = Pkcs11::new(module()).unwrap();
    for _ in 0..3 {
        let slot = cryptoki::slot::Slot::try_from(token.info().unwrap().slot).unwrap();
        module.open_ro_session(slot).unwrap().logout().unwrap();
        signs(&key);
        let wrapped = key.public_key().encrypt(KeyTransport::Pkcs1v15, &[3; 16]).unwrap();
        module.open_ro_session(slot).unwrap().logout().unwrap();
        assert_eq!(*key.unwrap_key(KeyTransport::Pkcs1v15, &wrapped, 16).unwrap(), [3; 16]);
    }
    token.delete("logged out").unwrap();
}

/// The token goes away and comes back: requests wait meanwhile, and nobody restarts anything.
fn unplugged_token_comes_back(dir: &Path) {
    if elsewhere().is_some() {
        return;
    }
    let token = Token::open(&config(dir)).unwrap();
    let key = token.generate("here and there", RSA, BOTH, false).unwrap();
    let wrapped = key.public_key().encrypt(KeyTransport::Pkcs1v15, &[3; 16]).unwrap();
    for _ in 0..2 {
        softhsm::unplug(dir);
        for _ in 0..3 {
            let error = key.sign(Hash::Sha256, b"anybody there?").unwrap_err();
            assert_eq!(error.kind, KeyErrorKind::Unavailable, "{}", error.source);
            let error = key.unwrap_key(KeyTransport::Pkcs1v15, &wrapped, 16).unwrap_err();
            assert_eq!(error.kind, KeyErrorKind::Unavailable, "{}", error.source);
            assert!(token.find("here and there").is_err());
        }
        softhsm::plug(dir);
        // The module is not initialised again at every request.
        let back = Instant::now();
        while let Err(error) = key.self_test() {
            assert!(back.elapsed() < Duration::from_secs(30), "{error}");
            thread::sleep(Duration::from_millis(50));
        }
        signs(&key);
        assert_eq!(*key.unwrap_key(KeyTransport::Pkcs1v15, &wrapped, 16).unwrap(), [3; 16]);
    }
}

}

/// Every digest that the kind of key can sign verifies, and only for its message.
fn signs(key: &TokenKey) {
    for hash in Hash::ALL {
        if hash == Hash::Md5 && matches!(key.info().kind, KeyKind::Ec(_)) {
            continue;
        }
        let algorithm = SignatureAlgorithm::for_key(key.info().kind, hash);
        let signature =
            key.sign(hash, b"message").unwrap_or_else(|error| panic!("{hash:?}: {}", error.source));
        let public = SigningKey::public_key(key);
        public.verify(algorithm, b"message", &signature).unwrap();
        assert!(public.verify(algorithm, b"another", &signature).is_err());
    }
    // RSASSA-PSS where the token has it, in a key with room for digest and salt.
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        let room = matches!(key.info().kind, KeyKind::Rsa { bits } if bits / 8 >= 2 * hash.size() + 2);
        assert_eq!(key.can_pss(hash), room && key.token().capabilities().can_pss(), "{hash:?}");
        assert_eq!(key.sign_pss(hash, b"message").is_ok(), key.can_pss(hash));
    }
}

fn transports(digests: &[Hash]) -> Vec<KeyTransport> {
    let pairs = digests.iter().flat_map(|hash| digests.iter().map(|mgf| (*hash, *mgf)));
    let oaep = pairs.map(|(hash, mgf)| KeyTransport::Oaep { hash, mgf });
    [KeyTransport::Pkcs1v15].into_iter().chain(oaep).collect()
}

fn opens_envelopes(token: &Token, digests: &[Hash]) {
    assert!(token.capabilities().can_decrypt());
    let key = token.generate("envelopes", RSA, DECRYPT, false).unwrap();
    for transport in transports(digests) {
        for len in [8, 16, 24, 32] {
            let secret: Vec<u8> = (0..len as u8).collect();
            let wrapped = key.public_key().encrypt(transport, &secret).unwrap();
            let opened = key.unwrap_key(transport, &wrapped, len).unwrap();
            assert_eq!(*opened, secret, "{transport:?}");
        }
    }
    token.delete("envelopes").unwrap();
}

fn tells_nothing(token: &Token) {
    let key = token.generate("envelopes", RSA, DECRYPT, false).unwrap();
    let other = token.generate("another", RSA, DECRYPT, false).unwrap();
    let secret = [5; 16];
    for transport in transports(&[Hash::Sha1]) {
        let good = key.public_key().encrypt(transport, &secret).unwrap();
        let mut flipped = good.clone();
        flipped[100] ^= 1;
        let mutations = [
            ("a bit is flipped", flipped),
            ("the last octet is missing", good[..255].to_vec()),
            ("an octet is added", [&good[..], &[0]].concat()),
            ("it is empty", Vec::new()),
            ("it is larger than the modulus", vec![0xff; 256]),
            ("it is zero", vec![0; 256]),
            ("it is one", [&[0; 255][..], &[1]].concat()),
            ("it is for another key", other.public_key().encrypt(transport, &secret).unwrap()),
            ("the key is too short", key.public_key().encrypt(transport, &secret[..8]).unwrap()),
            ("the key is too long", key.public_key().encrypt(transport, &[5; 24]).unwrap()),
            ("the key is empty", key.public_key().encrypt(transport, &[]).unwrap()),
            ("the padding is another", {
                let swapped = match transport {
                    KeyTransport::Pkcs1v15 => KeyTransport::Oaep { hash: Hash::Sha1, mgf: Hash::Sha1 },
                    KeyTransport::Oaep { .. } => KeyTransport::Pkcs1v15,
                };
                key.public_key().encrypt(swapped, &secret).unwrap()
            }),
        ];
        for (what, wrapped) in mutations {
            let before = token.counters();
            let opened = [0; 2].map(|_| key.unwrap_key(transport, &wrapped, 16).expect(what));
            assert_eq!(opened[0].len(), 16, "{transport:?}: {what}");
            assert_ne!(*opened[0], secret, "{transport:?}: {what}");
            assert_ne!(opened[0], opened[1], "{transport:?}: {what}");
            let after = token.counters();
            assert_eq!(after.decryptions - before.decryptions, 2, "{transport:?}: {what}");
            assert_eq!(after.errors, before.errors, "{transport:?}: {what}");
        }
        assert_eq!(*key.unwrap_key(transport, &good, 16).unwrap(), secret);
    }
    token.delete("envelopes").unwrap();
    token.delete("another").unwrap();
}

/// The module under test when it is not SoftHSM.
fn elsewhere() -> Option<PathBuf> {
    std::env::var_os("TEST_PKCS11_MODULE").map(PathBuf::from)
}

fn module() -> PathBuf {
    elsewhere().unwrap_or_else(|| {
        let profile = tokenca::token::Profile::named("softhsm2").unwrap();
        profile.libraries().iter().find(|path| path.exists()).expect("SoftHSM is installed").clone()
    })
}

fn label() -> String {
    std::env::var("TEST_PKCS11_LABEL").unwrap_or("tokenca".into())
}

fn pin() -> String {
    let variable = if elsewhere().is_some() { "TEST_PKCS11_PIN" } else { softhsm::PIN };
    std::env::var(variable).expect(variable)
}

fn config(_dir: &Path) -> TokenConfig {
    TokenConfig {
        name: "usbtoken0".into(),
        profile: None,
        module: Some(module()),
        selector: Selector::label(label()),
        pin: PinSource::Given(pin().into()),
        sessions: None,
        parameters: None,
        apart: None,
        so_pin: None,
        lockout: None,
        labels: None,
    }
}

fn with_profile(dir: &Path, profile: &str) -> TokenConfig {
    let path = dir.join("profile.toml");
    fs::write(&path, profile).unwrap();
    TokenConfig { profile: Some(path.to_str().unwrap().into()), ..config(dir) }
}

fn padded(dir: &Path) -> TokenConfig {
    with_profile(dir, "[mechanisms]\nraw_rsa = false\noaep = [\"sha1\"]\n")
}

fn pkcs11_tool(arguments: &[&str]) -> String {
    let output = Command::new("pkcs11-tool")
        .arg("--module")
        .arg(module())
        .args(arguments)
        .output()
        .expect("pkcs11-tool is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn softhsm2_util(arguments: &[&str]) {
    assert!(Command::new("softhsm2-util").args(arguments).output().unwrap().status.success());
}

/// A token's error reads as one, wherever it comes from.
#[test]
fn errors_have_their_source() {
    fn is_error<E: std::error::Error + Send + Sync + 'static>() {}
    is_error::<TokenError>();
}
