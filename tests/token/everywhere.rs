//! The contract with each module, and what each of them lacks.

use std::path::Path;
use std::time::Instant;

use super::subject::{Lack, Subject};
use super::support::modules::{TestModule, own_process};
use super::{objects, transfer};

/// A story with SoftHSM, in a process of its own.
pub fn softhsm_alone(test: &str, story: fn(&Path)) {
    own_process(test, "softhsm2", |module| {
        Subject::is(module, false, false, SOFTHSM2);
        story(&module.dir);
    });
}

#[test]
fn softhsm2_isolated() {
    every_story("softhsm2_isolated", "softhsm2", SOFTHSM2);
}

#[test]
fn kryoptic() {
    every_story("kryoptic", "kryoptic", KRYOPTIC);
}

#[test]
fn nss() {
    every_story("nss", "nss", NSS);
}

#[test]
fn opencryptoki() {
    every_story("opencryptoki", "opencryptoki", OPENCRYPTOKI);
}

#[test]
fn tpm2_pkcs11() {
    every_story("tpm2_pkcs11", "tpm2-pkcs11", TPM2_PKCS11);
}

#[test]
fn p11_kit_client() {
    every_story("p11_kit_client", "p11-kit-client", P11_KIT_CLIENT);
}

#[test]
fn kryoptic_isolated() {
    isolated("kryoptic_isolated", "kryoptic", KRYOPTIC);
}

#[test]
fn nss_isolated() {
    isolated("nss_isolated", "nss", NSS);
}

#[test]
fn opencryptoki_isolated() {
    isolated("opencryptoki_isolated", "opencryptoki", OPENCRYPTOKI);
}

#[test]
fn tpm2_pkcs11_isolated() {
    isolated("tpm2_pkcs11_isolated", "tpm2-pkcs11", TPM2_PKCS11);
}

#[test]
fn p11_kit_client_isolated() {
    isolated("p11_kit_client_isolated", "p11-kit-client", P11_KIT_CLIENT);
}

/// Tells all stories of a fresh token of this module, one after the other.
fn every_story(test: &str, module: &str, lacks: &'static [Lack]) {
    own_process(&format!("everywhere::{test}"), module, |module| {
        let isolated = test.ends_with("_isolated");
        let subject = Subject::is(module, isolated, is_slow(module), lacks);
        tell(module, |_| true);
        subject.all_lacks_were_met();
    });
}

/// Tells some stories of a fresh token of this module in a process of its own.
fn isolated(test: &str, module: &str, lacks: &'static [Lack]) {
    own_process(&format!("everywhere::{test}"), module, |module| {
        Subject::is(module, true, is_slow(module), lacks);
        let told = tell(module, |story| ISOLATED.contains(&story));
        assert_eq!(told, ISOLATED.len(), "each has the name of a story");
    });
}

/// Tells those of all stories that are wanted; how many.
fn tell(module: &TestModule, wanted: impl Fn(&str) -> bool) -> usize {
    let start = Instant::now();
    let stories = [super::STORIES, objects::STORIES, transfer::STORIES].concat();
    let mut told = 0;
    for (name, story) in stories.into_iter().filter(|(name, _)| wanted(name)) {
        told += 1;
        println!("{name}");
        let start = Instant::now();
        story(&module.dir);
        println!("  {:.1} s", start.elapsed().as_secs_f32());
    }
    println!("{}: {:.1} s", module.name, start.elapsed().as_secs_f32());
    told
}

fn is_slow(module: &TestModule) -> bool {
    ["nss", "tpm2-pkcs11"].contains(&module.name)
}

/// Quick stories of keys, signatures, envelopes and objects, and of keys that come and go.
const ISOLATED: [&str; 9] = [
    "ml_dsa_keys_sign_and_are_found_again",
    "keys_are_deleted",
    "envelopes_open_raw",
    "threads_sign_at_once",
    "certificates_are_kept",
    "files_are_kept",
    "exportable_keys_leave",
    "what_cannot_be_is_said",
    "generated_keys_stay",
];

const SOFTHSM2: &[Lack] = &[
    ("generate ML-DSA*", NO_ML_DSA),
    ("padded OAEP sha256", NO_OAEP),
    ("padded OAEP sha384", NO_OAEP),
    ("padded OAEP sha512", NO_OAEP),
    ("padded OAEP of two digests", NO_OAEP),
];

const KRYOPTIC: &[Lack] = &[
    ("import rsa:* by CKM_AES_KEY_WRAP_PAD", NO_IMPORT),
    ("import ec:* by CKM_AES_KEY_WRAP_PAD", NO_IMPORT),
    // It does not pad, and PKCS#8 has any length.
    ("export all by CKM_AES_KEY_WRAP", "C_WrapKey returned CKR_DATA_LEN_RANGE"),
];

const NSS: &[Lack] = &[
    ("generate ML-DSA*", NO_ML_DSA),
    ("true CKA_LOCAL", "it has not"),
    (
        "store certificates of two subjects under one label",
        "C_CreateObject returned CKR_ATTRIBUTE_VALUE_INVALID",
    ),
    ("keep a public file", "C_CreateObject returned CKR_ATTRIBUTE_VALUE_INVALID"),
    ("keep a private file", "C_CreateObject returned CKR_ATTRIBUTE_VALUE_INVALID"),
    ("import rsa:2048 by CKM_AES_KEY_WRAP_PAD", "C_UnwrapKey returned CKR_WRAPPED_KEY_INVALID"),
    ("import ec:P-256 by CKM_AES_KEY_WRAP_PAD", "C_UnwrapKey returned CKR_WRAPPED_KEY_INVALID"),
    ("import rsa:2048 by CKM_AES_KEY_WRAP", "CKA_UNWRAP is true"),
    ("import ec:P-256 by CKM_AES_KEY_WRAP", "C_UnwrapKey returned CKR_TEMPLATE_INCOMPLETE"),
    ("export all by CKM_AES_KEY_WRAP", "C_WrapKey returned CKR_DATA_LEN_RANGE"),
];

const OPENCRYPTOKI: &[Lack] = &[
    ("generate ML-DSA*", NO_ML_DSA),
    ("generate EC*", "the token offers no mechanism for generating EC"),
    ("generate exportable EC*", "the token offers no mechanism for generating EC"),
    ("import ec:* by CKM_AES_KEY_WRAP*", NO_IMPORT),
    ("import ec:*", "its test signature failed"),
    ("import rsa:* by CKM_AES_KEY_WRAP*", NO_IMPORT),
    // Asked, it would end the process.
    ("import rsa:8192", "the token offers no mechanism for RSA 8192 keys"),
    ("know what was outside", "it has not"),
    ("export by CKM_AES_KEY_WRAP", "it has not"),
];

const TPM2_PKCS11: &[Lack] = &[
    ("generate ML-DSA*", NO_ML_DSA),
    ("generate RSA 4096", "C_GenerateKeyPair returned CKR_ATTRIBUTE_VALUE_INVALID"),
    // Its public key is written wrongly, and it cannot sign: the one that is made is deleted.
    ("generate EC P-521", "the public key is malformed"),
    ("generate exportable*", NO_EXPORT),
    ("sign md5 by RSA*", "the token offers no mechanism for RSA"),
    ("sign * by RSASSA-PSS", "the token offers no mechanism for RSA"),
    ("padded OAEP*", NO_OAEP),
    ("import * by C_CreateObject", "C_CreateObject returned CKR_ATTRIBUTE_VALUE_INVALID"),
    ("import*", NO_IMPORT),
    ("export*", "it has not"),
    // Not in this process any more; the module counts it as in use.
    ("delete a key after padded errors", "C_DestroyObject returned CKR_FUNCTION_FAILED"),
    ("keep a public file", "C_CreateObject returned CKR_ATTRIBUTE_VALUE_INVALID"),
    ("keep an empty file", "C_CreateObject returned CKR_ATTRIBUTE_VALUE_INVALID"),
];

const P11_KIT_CLIENT: &[Lack] = &[
    ("generate ML-DSA*", NO_ML_DSA),
    ("padded OAEP sha256", NO_OAEP),
    ("padded OAEP sha384", NO_OAEP),
    ("padded OAEP sha512", NO_OAEP),
    ("padded OAEP of two digests", NO_OAEP),
    ("generate exportable*", NO_EXPORT),
    ("export*", "it has not"),
    ("import rsa:* by CKM_AES_KEY_WRAP*", NO_IMPORT),
    ("import ec:* by CKM_AES_KEY_WRAP*", NO_IMPORT),
];

const NO_ML_DSA: &str = "the token offers no mechanism for generating ML-DSA";
const NO_OAEP: &str = "the token offers no mechanism for Oaep";
const NO_IMPORT: &str = "the token offers no mechanism for keys from elsewhere";
const NO_EXPORT: &str = "the token offers no mechanism for keys that can leave it";
