//! The unpadding of `tokenca::pki::unpad` against the vectors of Project Wycheproof. By hand:
//! `cargo test --manifest-path tests/wycheproof/Cargo.toml`.
#![cfg(test)]

use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use rsa::{BoxedUint, RsaPrivateKey, hazmat};
use tokenca::pki::{Hash, unpad};
use wycheproof::{HashFunction, TestResult, rsa_oaep, rsa_pkcs1_decrypt};
use zeroize::Zeroizing;

#[test]
fn pkcs1_v15() {
    use rsa_pkcs1_decrypt::{TestName, TestSet};
    let mut counted = Counted::default();
    for name in [TestName::Rsa2048, TestName::Rsa3072, TestName::Rsa4096] {
        for group in TestSet::load(name).unwrap().test_groups {
            let key = RsaPrivateKey::from_pkcs8_der(&group.pkcs8).unwrap();
            for test in &group.tests {
                let Some(em) = raw(&key, &test.ct) else {
                    assert_eq!(test.result, TestResult::Invalid, "{name:?} {}", test.tc_id);
                    continue;
                };
                counted.check(
                    test.result,
                    &test.pt,
                    em.len(),
                    &format!("{name:?} {}", test.tc_id),
                    |rejected| unpad::pkcs1_v15_or(&em, rejected),
                );
            }
        }
    }
    counted.enough();
}

#[test]
fn oaep() {
    use rsa_oaep::{TestName, TestSet};
    let mut counted = Counted::default();
    for name in [
        TestName::Rsa2048Sha1Mgf1Sha1,
        TestName::Rsa2048Sha256Mgf1Sha1,
        TestName::Rsa2048Sha256Mgf1Sha256,
        TestName::Rsa2048Sha384Mgf1Sha384,
        TestName::Rsa2048Sha512Mgf1Sha512,
        TestName::Rsa3072Sha256Mgf1Sha256,
        TestName::Rsa4096Sha512Mgf1Sha1,
        TestName::RsaMisc,
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let (Some(hash), Some(mgf)) = (digest(group.hash), digest(group.mgf_hash)) else { continue };
            // The odd keys of the collection are refused as keys.
            let Ok(key) = RsaPrivateKey::from_pkcs8_der(&group.pkcs8) else { continue };
            for test in &group.tests {
                let what = format!("{name:?} {}", test.tc_id);
                let Some(em) = raw(&key, &test.ct) else {
                    assert_eq!(test.result, TestResult::Invalid, "{what}");
                    continue;
                };
                // CMS has the empty label only: what was made for another is as good as broken.
                let result = if test.label.is_empty() { test.result } else { TestResult::Invalid };
                counted.check(result, &test.pt, em.len(), &what, |rejected| {
                    unpad::oaep_or(&em, hash, mgf, rejected)
                });
            }
        }
    }
    counted.enough();
}

#[derive(Default)]
struct Counted {
    valid: usize,
    invalid: usize,
}

impl Counted {
    fn check(
        &mut self,
        result: TestResult,
        message: &[u8],
        size: usize,
        what: &str,
        unpadded: impl Fn(Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>>,
    ) {
        let valid = result == TestResult::Valid;
        // A good block has one length; a bad one has none.
        for length in 1..=size {
            let rejected = vec![0xee; length];
            let wanted = if valid && length == message.len() { message } else { &rejected };
            assert_eq!(*unpadded(Zeroizing::new(rejected.clone())), wanted, "{what}, {length} octets");
        }
        if valid { self.valid += 1 } else { self.invalid += 1 }
    }

    fn enough(&self) {
        assert!(self.valid > 50 && self.invalid > 50, "{} valid, {} invalid", self.valid, self.invalid);
        println!("{} valid, {} invalid", self.valid, self.invalid);
    }
}

/// The block, as a token's raw RSA gives it; `None` for what is no number below the modulus.
fn raw(key: &RsaPrivateKey, ciphertext: &[u8]) -> Option<Vec<u8>> {
    let size = key.size();
    if ciphertext.len() != size {
        return None;
    }
    let number = BoxedUint::from_be_slice(ciphertext, key.n().as_ref().bits_precision()).ok()?;
    if number >= *key.n().as_ref() {
        return None;
    }
    let block = hazmat::rsa_decrypt(Some(&mut rand::rng()), key, &number).ok()?;
    let octets = block.to_be_bytes();
    Some(octets[octets.len() - size..].to_vec())
}

fn digest(hash: HashFunction) -> Option<Hash> {
    Some(match hash {
        HashFunction::Sha1 => Hash::Sha1,
        HashFunction::Sha2_256 => Hash::Sha256,
        HashFunction::Sha2_384 => Hash::Sha384,
        HashFunction::Sha2_512 => Hash::Sha512,
        _ => return None,
    })
}
