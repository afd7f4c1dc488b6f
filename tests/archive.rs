//! Keys and archives that operators bring and take away: what OpenSSL and IOS wrote is read, what we write
//! OpenSSL reads.

mod support;

use std::fs;
use std::path::PathBuf;

use support::Ran;
use support::opinion::openssl;
use tokenca::pki::{Curve, KeyKind, PrivateKey, PrivateKeyError};

/// A directory of files that openssl and we write and read in turn.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs openssl with these words; `@name` is a file here.
    #[track_caller]
    fn openssl(&self, words: &str) -> Ran {
        let words: Vec<String> = words
            .split_whitespace()
            .map(|word| match word.strip_prefix('@') {
                Some(name) => self.file(name).display().to_string(),
                None => word.to_owned(),
            })
            .collect();
        openssl(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// How openssl makes a key, and what it is then.
const KEYS: [(&str, KeyKind); 5] = [
    ("RSA -pkeyopt rsa_keygen_bits:1024", KeyKind::Rsa { bits: 1024 }),
    ("RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3", KeyKind::Rsa { bits: 2048 }),
    ("EC -pkeyopt ec_paramgen_curve:P-256", KeyKind::Ec(Curve::P256)),
    ("EC -pkeyopt ec_paramgen_curve:P-384", KeyKind::Ec(Curve::P384)),
    ("EC -pkeyopt ec_paramgen_curve:P-521", KeyKind::Ec(Curve::P521)),
];

#[test]
fn keys_in_every_form() {
    let desk = Desk::new();
    for (how, kind) in KEYS {
        desk.openssl(&format!("genpkey -algorithm {how} -out @key.pem")).success();
        desk.openssl("pkcs8 -topk8 -nocrypt -in @key.pem -outform DER -out @key.p8").success();
        desk.openssl("pkey -traditional -in @key.pem -outform DER -out @key.old").success();
        desk.openssl("pkey -in @key.pem -pubout -outform DER -out @key.pub").success();

        let key = PrivateKey::from_pkcs8_der(&desk.read("key.p8")).unwrap();
        assert_eq!(key.kind(), kind, "{how}");
        assert_eq!(key.public_key().unwrap().spki_der(), desk.read("key.pub"), "{how}");
        assert_eq!(*key.to_pkcs8_der(), desk.read("key.p8"), "{how}");
        assert_eq!(*key.to_pkcs1_or_sec1_der(), desk.read("key.old"), "{how}");
        assert_eq!(format!("{key:?}"), format!("PrivateKey({kind})"));

        let read_old = match kind {
            KeyKind::Rsa { .. } => PrivateKey::from_pkcs1_der,
            KeyKind::Ec(_) => PrivateKey::from_sec1_der,
        };
        let again = read_old(&desk.read("key.old")).unwrap();
        assert_eq!(*again.to_pkcs8_der(), desk.read("key.p8"), "{how}");
    }
}

#[test]
fn a_spoiled_key_is_refused_or_the_same_key() {
    let desk = Desk::new();
    for (how, _) in [KEYS[0], KEYS[2]] {
        desk.openssl(&format!("genpkey -algorithm {how} -out @key.pem")).success();
        desk.openssl("pkcs8 -topk8 -nocrypt -in @key.pem -outform DER -out @key.p8").success();
        let good = desk.read("key.p8");
        let public = PrivateKey::from_pkcs8_der(&good).unwrap().public_key().unwrap();
        for at in 0..good.len() {
            assert!(PrivateKey::from_pkcs8_der(&good[..at]).is_err(), "{how}: cut at {at}");
            for spoil in [1, 0x80] {
                let mut spoiled = good.clone();
                spoiled[at] ^= spoil;
                if let Ok(key) = PrivateKey::from_pkcs8_der(&spoiled) {
                    assert_eq!(key.public_key().unwrap(), public, "{how}: octet {at}");
                }
            }
        }
    }
}

#[test]
fn keys_that_are_not_for_us_say_why() {
    let desk = Desk::new();
    let refused = |how: &str| {
        desk.openssl(&format!("genpkey -algorithm {how} -out @key.pem")).success();
        desk.openssl("pkcs8 -topk8 -nocrypt -in @key.pem -outform DER -out @key.p8").success();
        PrivateKey::from_pkcs8_der(&desk.read("key.p8")).unwrap_err()
    };
    assert!(matches!(refused("ED25519"), PrivateKeyError::UnknownAlgorithm(_)));
    assert_eq!(refused("EC -pkeyopt ec_paramgen_curve:secp256k1"), PrivateKeyError::UnknownCurve);
    let explicit = "EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit";
    assert_eq!(refused(explicit), PrivateKeyError::UnknownCurve);
    let primes = "RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_primes:3";
    assert_eq!(refused(primes), PrivateKeyError::MultiPrime);
}
