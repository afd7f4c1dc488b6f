//! What every token must do: the contract of `tokenca::token`.
//!
//! Each story runs in a process of its own with a fresh SoftHSM token; in [`everywhere`] all that pull at no
//! module in particular run again with a token of each other module. What a module cannot do stands there,
//! and a story asks for it by [`may`]: a token lacks what is listed, and nothing else.

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
    Curve, DecryptionKey, Hash, KeyErrorKind, KeyKind, KeyTransport, MlDsaSet, SignatureAlgorithm, SigningKey,
};
use tokenca::token::{
    KeyUsage, PinSource, Priority, Problem, Selector, Token, TokenConfig, TokenError, TokenKey,
};

const SIGN: KeyUsage = KeyUsage { sign: true, decrypt: false };
const DECRYPT: KeyUsage = KeyUsage { sign: false, decrypt: true };
const BOTH: KeyUsage = KeyUsage { sign: true, decrypt: true };
const P256: KeyKind = KeyKind::Ec(Curve::P256);
const RSA: KeyKind = KeyKind::Rsa { bits: 2048 };

/// What is done with a token, in this directory.
type Story = (&'static str, fn(&Path));

/// Tests with SoftHSM, each in a process of its own.
macro_rules! softhsm_stories {
    ($($(#[$attribute:meta])* fn $name:ident($dir:ident: &Path) $body:block)+) => {
        mod told {
            use super::*;
            $($(#[$attribute])* pub fn $name($dir: &Path) $body)+
        }
        $(
            #[test]
            fn $name() {
                // The name of a test begins below its crate.
                let (_, name) = concat!(module_path!(), "::", stringify!($name)).split_once("::").unwrap();
                crate::everywhere::softhsm_alone(name, told::$name);
            }
        )+
    };
}

/// The same, that are told of every module as well.
macro_rules! stories {
    ($($(#[$attribute:meta])* fn $name:ident($dir:ident: &Path) $body:block)+) => {
        softhsm_stories! { $($(#[$attribute])* fn $name($dir: &Path) $body)+ }
        pub(crate) const STORIES: &[crate::Story] = &[$((stringify!($name), told::$name)),+];
    };
}

mod copies;
mod everywhere;
mod node;
mod objects;
mod only_softhsm;
mod operator;
mod profiles;
mod subject;
#[path = "../support/mod.rs"]
mod support;
mod transfer;

use subject::{
    Missing, config, easy, generate, has, is_softhsm, label, may, pin, pkcs11_tool, subject, with_profile,
};
use support::softhsm;

stories! {

/// Signatures of every kind of key with every digest verify, also after the token was opened again.
fn keys_sign_and_are_found_again(dir: &Path) {
    let sizes = [2048, 3072, 4096].map(|bits| KeyKind::Rsa { bits });
    let curves = [Curve::P256, Curve::P384, Curve::P521].map(KeyKind::Ec);
    sign_and_are_found_again(dir, &[sizes, curves].concat());
}

/// The same for ML-DSA, whose keys do nothing else and go nowhere.
fn ml_dsa_keys_sign_and_are_found_again(dir: &Path) {
    let kinds = MlDsaSet::ALL.map(KeyKind::MlDsa);
    sign_and_are_found_again(dir, &kinds);

    let token = Token::open(&config(dir)).unwrap();
    for kind in kinds {
        let offered = token.capabilities().can_generate(kind);
        for (usage, exportable, what) in [
            (DECRYPT, false, format!("decryption with {kind} keys")),
            (SIGN, true, "keys that can leave it".to_owned()),
        ] {
            let what = if offered { what } else { format!("generating {kind} keys") };
            let error = token.generate("other", kind, usage, exportable).unwrap_err();
            assert!(matches!(error.problem(), Problem::NotOffered { what: is } if *is == what), "{error}");
        }
    }
    assert!(token.find("other").unwrap().is_none());
}

/// Deleted keys are gone, and a key in hand says so.
fn keys_are_deleted(dir: &Path) {
    let token = Token::open(&config(dir)).unwrap();
    let key = token.generate("short-lived", easy(), SIGN, false).unwrap();
    signs(&key);
    assert!(token.keys().unwrap().iter().any(|key| key.label == "short-lived"));

    token.delete("short-lived").unwrap();
    assert!(token.find("short-lived").unwrap().is_none());
    assert!(token.keys().unwrap().iter().all(|key| key.label != "short-lived"));
    let error = key.sign(Hash::Sha256, b"too late").unwrap_err();
    assert_eq!(error.kind, KeyErrorKind::Unavailable);
    assert!(error.source.to_string().contains("the key labelled \"short-lived\" is not found again"));

    // A new key of that name is another key: the old one is not mistaken for it.
    let new = token.generate("short-lived", easy(), SIGN, false).unwrap();
    assert!(key.sign(Hash::Sha256, b"too late").is_err());
    signs(&new);
    token.delete("short-lived").unwrap();
}

/// Envelopes open, with the padding removed by us.
fn envelopes_open_raw(dir: &Path) {
    let token = Token::open(&raw(dir)).unwrap();
    if has("raw RSA", token.capabilities().can_decrypt()) {
        opens_envelopes(&token, "raw");
    }
}

/// Envelopes open, with the padding removed by the token.
fn envelopes_open_padded(dir: &Path) {
    opens_envelopes(&Token::open(&padded(dir)).unwrap(), "padded");
}

/// Nothing that can be wrong with an envelope is told, with the padding removed by us.
fn mutations_are_not_told_raw(dir: &Path) {
    let token = Token::open(&raw(dir)).unwrap();
    if has("raw RSA", token.capabilities().can_decrypt()) {
        tells_nothing(&token, "raw");
    }
}

/// Nothing that can be wrong with an envelope is told, with the padding removed by the token.
fn mutations_are_not_told_padded(dir: &Path) {
    tells_nothing(&Token::open(&padded(dir)).unwrap(), "padded");
}

/// Another program finds the attributes as they should be.
fn attributes_are_as_asked(dir: &Path) {
    let token = Token::open(&config(dir)).unwrap();
    let key = token.generate("ca", RSA, SIGN, false).unwrap();
    let info = key.info();
    assert_eq!(info.usage, SIGN);
    assert_eq!(info.id.len(), 20);
    assert_eq!([info.sensitive, info.always_sensitive, info.never_extractable], [Some(true); 3]);
    has("true CKA_LOCAL", info.local == Some(true));
    assert_eq!(info.extractable, Some(false));

    token.generate("ra", RSA, DECRYPT, false).unwrap();
    if is_softhsm() {
        for (label, usage) in [("ca", "sign"), ("ra", "decrypt")] {
            let shown = pkcs11_tool(&["-l", "--pin", pin(), "-O", "--type", "privkey", "--label", label]);
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
        "token \"usbtoken0\": the key \"opener\" is not for signatures\n\
         hint: `show crypto pki token usbtoken0` lists the keys"
    );
    let wrapped = signer.public_key().encrypt(KeyTransport::Pkcs1v15, &[1; 16]).unwrap();
    let opened = signer.unwrap_key(KeyTransport::Pkcs1v15, &wrapped, 16);
    assert!(opened.is_err_and(|error| error.kind == KeyErrorKind::Refused));
    let error = token.generate("ec opener", P256, DECRYPT, false).unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::Refused);
    assert!(token.find("ec opener").unwrap().is_none());
    token.delete("signer").unwrap();
    token.delete("opener").unwrap();
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
    token.generate("taken", easy(), SIGN, false).unwrap();
    assert_eq!(
        token.generate("taken", easy(), SIGN, false).unwrap_err().to_string(),
        "token \"usbtoken0\": a key labelled \"taken\" is there already\n\
         hint: `crypto key zeroize` deletes \"taken\""
    );
    token.delete("taken").unwrap();
}

/// The PIN comes from where it is said to be.
fn pins_come_from_their_source(dir: &Path) {
    let pin_of = |pin| Token::open(&TokenConfig { pin, ..config(dir) }).map(|_| ());
    pin_of(PinSource::File(dir.join("pin.txt"))).unwrap();
    pin_of(PinSource::Env(softhsm::PIN.into())).unwrap();
    let error = pin_of(PinSource::File("/nowhere/pin".into())).unwrap_err();
    assert_eq!(error.to_string(), "token \"usbtoken0\": the PIN cannot be read from /nowhere/pin");
    let error = pin_of(PinSource::Env("TOKENCA_TEST_UNSET".into())).unwrap_err();
    assert_eq!(error.to_string(), "token \"usbtoken0\": the PIN cannot be read from $TOKENCA_TEST_UNSET");
    let error = pin_of(PinSource::Given("".into())).unwrap_err();
    assert!(matches!(error.problem(), Problem::PinLength { length: 0, .. }), "{error}");
}

/// Many threads sign at once.
fn threads_sign_at_once(dir: &Path) {
    let token = Token::open(&config(dir)).unwrap();
    let keys = [("rsa", RSA), ("easy", easy())];
    let keys = keys.map(|(label, kind)| token.generate(label, kind, SIGN, false).unwrap());
    let rounds = if subject().slow { 5 } else { 50 };
    let before = token.counters().signatures;
    thread::scope(|scope| {
        for number in 0..8 {
            let key = keys[number % 2].with_priority([Priority::Reply, Priority::Issue][number / 4]);
            scope.spawn(move || {
                for round in 0..rounds {
                    let message = format!("thread {number}, round {round}");
                    let signature = key.sign(Hash::Sha256, message.as_bytes()).unwrap();
                    let algorithm = SignatureAlgorithm::for_key(key.info().kind, Hash::Sha256);
                    key.public_key().verify(algorithm, message.as_bytes(), &signature).unwrap();
                }
            });
        }
    });
    assert_eq!(token.counters().signatures - before, 8 * rounds);
    token.delete("rsa").unwrap();
    token.delete("easy").unwrap();
}

/// Keys are generated from several threads, and while others sign.
fn threads_generate_at_once(dir: &Path) {
    let token = Token::open(&config(dir)).unwrap();
    thread::scope(|scope| {
        for number in 0..4 {
            let token = token.clone();
            scope.spawn(move || {
                for round in 0..if subject().slow { 1 } else { 5 } {
                    let label = format!("{number}/{round}");
                    signs(&token.generate(&label, easy(), SIGN, false).unwrap());
                    token.delete(&label).unwrap();
                }
            });
        }
    });
}

/// With the queue full, further requests are refused at once.
fn full_queue_is_busy(dir: &Path) {
    let token = Token::open(&with_profile(dir, "sessions = 1\nqueue = 1\n")).unwrap();
    let key = token.generate("one", RSA, SIGN, false).unwrap();
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

}

/// Keys of each kind that the token has sign, also after it was opened again.
fn sign_and_are_found_again(dir: &Path, kinds: &[KeyKind]) {
    let label = |kind: KeyKind| format!("every {kind}");
    let token = Token::open(&config(dir)).unwrap();
    assert_eq!(token.profile().name(), subject().name);
    let mut made = Vec::new();
    for kind in kinds.iter().copied() {
        let Some(key) = may(&generate(kind), token.generate(&label(kind), kind, SIGN, false)) else {
            assert!(token.find(&label(kind)).unwrap().is_none(), "{kind}");
            continue;
        };
        assert_eq!(key.info().kind, kind);
        made.push((kind, key.public_key().clone()));
        signs(&key);
    }
    assert!(token.counters().generations >= made.len() as u64);
    drop(token);

    let token = Token::open(&config(dir)).unwrap();
    let listed: Vec<_> = token.keys().unwrap().into_iter().map(|key| (key.kind, key.public_key)).collect();
    for (kind, public) in made {
        let key = token.find(&label(kind)).unwrap().unwrap();
        assert_eq!(*key.public_key(), public);
        assert!(listed.contains(&(kind, public)), "{kind}");
        signs(&key);
        token.delete(&label(kind)).unwrap();
    }
}

/// Every digest that the kind of key can sign verifies, and only for its message.
fn signs(key: &TokenKey) {
    let hashes = match key.info().kind {
        KeyKind::Rsa { .. } => &Hash::ALL[..],
        // Without MD5.
        KeyKind::Ec(_) => &Hash::ALL[1..],
        // It signs the message itself.
        KeyKind::MlDsa(_) => &[Hash::Sha256],
    };
    for hash in hashes.iter().copied() {
        let algorithm = SignatureAlgorithm::for_key(key.info().kind, hash);
        let what = format!("sign {} by {}", hash.name(), key.info().kind);
        let Some(signature) = may(&what, key.sign(hash, b"message")) else { continue };
        let public = SigningKey::public_key(key);
        public.verify(algorithm, b"message", &signature).unwrap();
        assert!(public.verify(algorithm, b"another", &signature).is_err());
    }
    // RSASSA-PSS where the token has it, in a key with room for digest and salt.
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        let room = matches!(key.info().kind, KeyKind::Rsa { bits } if bits / 8 >= 2 * hash.size() + 2);
        if room {
            let what = format!("sign {} by RSASSA-PSS", hash.name());
            may(&what, key.sign_pss(hash, b"message"));
        }
        assert_eq!(key.sign_pss(hash, b"message").is_ok(), key.can_pss(hash));
    }
}

fn oaep(hash: Hash, mgf: Hash) -> KeyTransport {
    KeyTransport::Oaep { hash, mgf }
}

fn opens_envelopes(token: &Token, how: &str) {
    assert!(token.capabilities().can_decrypt());
    let key = token.generate("envelopes", RSA, DECRYPT, false).unwrap();
    let opens = |what: &str, transport| {
        for len in [8, 16, 24, 32] {
            let secret: Vec<u8> = (0..len as u8).collect();
            let wrapped = key.public_key().encrypt(transport, &secret).unwrap();
            let opened =
                key.unwrap_key(transport, &wrapped, len).map_err(|error| Missing(error.source.to_string()));
            // What the token cannot open is answered by a random key.
            let opened = opened.and_then(|opened| match *opened == secret {
                true => Ok(()),
                false => Err(Missing("another key".into())),
            });
            if may(what, opened).is_none() {
                return;
            }
        }
    };
    opens(&format!("{how} PKCS #1 v1.5"), KeyTransport::Pkcs1v15);
    for hash in &Hash::ALL[1..] {
        opens(&format!("{how} OAEP {}", hash.name()), oaep(*hash, *hash));
    }
    opens(&format!("{how} OAEP of two digests"), oaep(Hash::Sha256, Hash::Sha1));
    token.delete("envelopes").unwrap();
}

fn tells_nothing(token: &Token, how: &str) {
    let key = token.generate("envelopes", RSA, DECRYPT, false).unwrap();
    let other = token.generate("another", RSA, DECRYPT, false).unwrap();
    let secret = [5; 16];
    for transport in [KeyTransport::Pkcs1v15, oaep(Hash::Sha1, Hash::Sha1)] {
        let good = key.public_key().encrypt(transport, &secret).unwrap();
        let oaep = transport != KeyTransport::Pkcs1v15;
        if oaep && may(&format!("{how} OAEP sha1"), key.unwrap_key(transport, &good, 16)).is_none() {
            continue;
        }
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
    may(&format!("delete a key after {how} errors"), token.delete("envelopes"));
    token.delete("another").unwrap();
}

/// By this product, which removes the padding; not by the token.
fn raw(dir: &Path) -> TokenConfig {
    with_profile(dir, "[mechanisms]\npkcs1_v15 = false\noaep = []\n")
}

/// By the token.
fn padded(dir: &Path) -> TokenConfig {
    with_profile(dir, "[mechanisms]\nraw_rsa = false\n")
}

/// A token's error reads as one, wherever it comes from.
#[test]
fn errors_have_their_source() {
    fn is_error<E: std::error::Error + Send + Sync + 'static>() {}
    is_error::<TokenError>();
}
