//! Keys that are brought to a token, and keys that may leave it.

use std::process::Stdio;

use cryptoki::context::{CInitializeArgs, CInitializeFlags};
use cryptoki::error::{Error as Cryptoki, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, KeyType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use tokenca::pki::PrivateKey;

use super::*;

stories! {

/// Keys made by openssl work on the token, in each way in which they can come there: openssl verifies what
/// they sign, and they open what openssl encrypts.
fn imported_keys_work(dir: &Path) {
    for way in ["CKM_AES_KEY_WRAP_PAD", "CKM_AES_KEY_WRAP", "C_CreateObject"] {
        let token = Token::open(&with_profile(dir, &format!("[transfer]\nimport = [\"{way}\"]\n"))).unwrap();
        let names = ["rsa:2048", "ec:P-256", "rsa:1024", "rsa:4096", "ec:P-384", "ec:P-521"];
        for name in &names[..if subject().slow { 2 } else { 6 }] {
            let (name, given) = (*name, Given::new(dir, name));
            let rsa = name.starts_with("rsa");
            let key = token.import(name, &given.key, if rsa { BOTH } else { SIGN }, false);
            let Some(key) = may(&format!("import {name} by {way}"), key) else {
                assert!(token.find(name).unwrap().is_none(), "{name}");
                continue;
            };
            assert_eq!(key.info().kind, given.key.kind());
            assert_eq!(*key.public_key(), given.key.public_key().unwrap());
            assert_eq!(key.info().id.len(), 20);
            signs(&key);
            given.verifies(&key);
            if rsa {
                given.encrypts_for(&key);
            }
            // Also by whoever finds it.
            signs(&token.key(name).unwrap());
            token.delete(name).unwrap();
        }
    }
}

/// The largest keys come and go too.
fn the_largest_keys_are_imported(dir: &Path) {
    let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/keys/rsa-8192.pem");
    let given = Given::of(dir, Path::new(pem));
    let token = Token::open(&config(dir)).unwrap();
    let exportable = has("export", token.capabilities().can_export());
    let key = token.import("largest", &given.key, BOTH, exportable);
    let Some(key) = may("import rsa:8192", key) else { return };
    assert_eq!(key.info().kind, KeyKind::Rsa { bits: 8192 });
    given.verifies(&key);
    if exportable {
        given.is(&token.export("largest").unwrap());
    }
    token.delete("largest").unwrap();
}

/// Another program finds an imported key as it should be, and cannot have it.
fn imported_keys_stay(dir: &Path) {
    let token = Token::open(&config(dir)).unwrap();
    for (name, usage, shows) in [("rsa:2048", BOTH, "decrypt, sign"), ("ec:P-256", SIGN, "sign")] {
        let given = Given::new(dir, name);
        let key = token.import(name, &given.key, usage, false);
        let Some(key) = may(&format!("import {name}"), key) else { continue };
        let info = key.info();
        assert_eq!((info.sensitive, info.extractable), (Some(true), Some(false)));
        // It was outside once, and nobody claims otherwise.
        let claims = [info.always_sensitive, info.never_extractable, info.local];
        has("know what was outside", !claims.contains(&Some(true)));
        if is_softhsm() {
            let shown = pkcs11_tool(&["-l", "--pin", pin(), "-O", "--type", "privkey", "--label", name]);
            assert!(shown.contains(&format!("Usage:      {shows}\n")), "{shown}");
            assert!(shown.contains("Access:     sensitive\n"), "{shown}");
            let shown = pkcs11_tool(&["-O", "--type", "pubkey", "--label", name]);
            assert!(shown.contains(&format!("label:      {name}\n")), "{shown}");
            stays(&token, name);
        }
        let error = token.export(name).unwrap_err();
        assert!(matches!(error.problem(), Problem::NotExportable { .. }), "{error}");
        assert_eq!(error.kind(), KeyErrorKind::Refused);
        token.delete(name).unwrap();
    }
}

/// A key made exportable works like any other, cannot be read, and leaves in each way.
fn exportable_keys_leave(dir: &Path) {
    let kinds = [RSA, P256, KeyKind::Ec(Curve::P384), KeyKind::Ec(Curve::P521)];
    let token = Token::open(&config(dir)).unwrap();
    for kind in kinds {
        let key = token.generate("movable", kind, KeyUsage::general(kind), true);
        let Some(key) = may(&format!("generate exportable {kind}"), key) else { continue };
        let info = key.info();
        assert_eq!((info.sensitive, info.extractable), (Some(true), Some(true)));
        signs(&key);
        let Some(exported) = may(&format!("export {kind}"), token.export("movable")) else {
            token.delete("movable").unwrap();
            continue;
        };
        assert_eq!(exported.public_key().unwrap(), *key.public_key());
        // openssl signs with it as the token does.
        let given = Given::write(dir, &exported);
        given.verifies(&key);
        given.is(&exported);
        token.delete("movable").unwrap();

        // And back: the same key, for good this time.
        let back = token.import("movable", &exported, KeyUsage::general(kind), false).unwrap();
        assert_eq!(back.public_key(), key.public_key());
        assert!(token.export("movable").is_err());
        token.delete("movable").unwrap();
    }
    // Nor does another way lose anything.
    let token = Token::open(&with_profile(dir, "[transfer]\nexport = [\"CKM_AES_KEY_WRAP\"]\n")).unwrap();
    let offered = has("export by CKM_AES_KEY_WRAP", token.capabilities().can_export());
    let mut left = Ok(());
    for kind in kinds.into_iter().filter(|_| offered) {
        let key = token.generate("movable", kind, SIGN, true);
        let Some(key) = may(&format!("generate exportable {kind}"), key) else { continue };
        let same = |exported: PrivateKey| assert_eq!(exported.public_key().unwrap(), *key.public_key());
        left = left.and(token.export("movable").map(same));
        token.delete("movable").unwrap();
    }
    if offered {
        may("export all by CKM_AES_KEY_WRAP", left);
    }
    // Nothing that could unwrap them is left behind.
    if is_softhsm() {
        let shown = pkcs11_tool(&["-l", "--pin", pin(), "-O"]);
        assert!(!shown.contains("Secret Key"), "{shown}");
    }
}

/// Keys that were not made exportable are not given away, also to who asks the token itself.
fn generated_keys_stay(dir: &Path) {
    let token = Token::open(&config(dir)).unwrap();
    token.generate("ca", RSA, BOTH, false).unwrap();
    assert_eq!(
        token.export("ca").unwrap_err().to_string(),
        "token \"usbtoken0\": the key \"ca\" is not exportable\n\
         hint: only keys made with `exportable` can leave their token"
    );
    if is_softhsm() {
        stays(&token, "ca");
    }
    let error = token.export("nosuch").unwrap_err();
    assert!(matches!(error.problem(), Problem::NoKey { .. }), "{error}");
    token.delete("ca").unwrap();
}

/// A token that takes no keys, or gives none away, says so before anything is made.
fn what_cannot_be_is_said(dir: &Path) {
    let given = Given::new(dir, if easy() == P256 { "ec:P-256" } else { "rsa:2048" });
    let token = Token::open(&with_profile(dir, "[transfer]\nimport = []\nexport = []\n")).unwrap();
    assert!(!token.capabilities().can_import() && !token.capabilities().can_export());
    let error = token.import("mine", &given.key, SIGN, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "token \"usbtoken0\": the token offers no mechanism for keys from elsewhere\n\
         hint: `show crypto pki token usbtoken0` lists what it can do"
    );
    let error = token.generate("mine", easy(), SIGN, true).unwrap_err();
    assert!(matches!(error.problem(), Problem::NotOffered { what } if what == "keys that can leave it"));
    assert!(token.find("mine").unwrap().is_none());

    let token = Token::open(&config(dir)).unwrap();
    if easy() == P256 {
        let error = token.import("mine", &given.key, DECRYPT, false).unwrap_err();
        assert!(matches!(error.problem(), Problem::NotOffered { .. }), "{error}");
    }
    if may("import", token.import("mine", &given.key, SIGN, false)).is_none() {
        return;
    }
    let error = token.import("mine", &given.key, SIGN, false).unwrap_err();
    assert!(matches!(error.problem(), Problem::KeyExists { .. }), "{error}");
    signs(&token.key("mine").unwrap());
    token.delete("mine").unwrap();
}

}

/// A private key that openssl has in a file.
pub struct Given<'d> {
    dir: &'d Path,
    pem: PathBuf,
    pub key: PrivateKey,
}

impl<'d> Given<'d> {
    /// A new key: `rsa:2048`, `ec:P-256`.
    pub fn new(dir: &'d Path, name: &str) -> Self {
        let pem = dir.join("given.pem");
        let (kind, size) = name.split_once(':').unwrap();
        let (algorithm, option) = match kind {
            "rsa" => ("RSA", format!("rsa_keygen_bits:{size}")),
            _ => ("EC", format!("ec_paramgen_curve:{size}")),
        };
        let path = pem.to_str().unwrap();
        openssl(&["genpkey", "-algorithm", algorithm, "-pkeyopt", &option, "-out", path], b"");
        Self::of(dir, &pem)
    }

    fn of(dir: &'d Path, pem: &Path) -> Self {
        let path = pem.to_str().unwrap();
        let der = openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", path, "-outform", "DER"], b"");
        Self { dir, pem: pem.into(), key: PrivateKey::from_pkcs8_der(&der).unwrap() }
    }

    /// A key handed to openssl.
    fn write(dir: &'d Path, key: &PrivateKey) -> Self {
        let (der, pem) = (dir.join("exported.der"), dir.join("exported.pem"));
        fs::write(&der, &key.to_pkcs8_der()[..]).unwrap();
        openssl(
            &["pkey", "-inform", "DER", "-in", der.to_str().unwrap(), "-out", pem.to_str().unwrap()],
            b"",
        );
        Self::of(dir, &pem)
    }

    /// openssl, with its own public half, verifies a signature of the token.
    fn verifies(&self, key: &TokenKey) {
        let signature = self.dir.join("signature");
        fs::write(&signature, key.sign(Hash::Sha256, b"a message").unwrap()).unwrap();
        let public = self.public();
        let arguments = [
            "dgst",
            "-sha256",
            "-verify",
            public.to_str().unwrap(),
            "-signature",
            signature.to_str().unwrap(),
        ];
        assert_eq!(openssl(&arguments, b"a message"), b"Verified OK\n");
    }

    /// The token opens what openssl encrypts.
    fn encrypts_for(&self, key: &TokenKey) {
        let public = self.public();
        let arguments = ["pkeyutl", "-encrypt", "-pubin", "-inkey", public.to_str().unwrap()];
        let wrapped = openssl(&arguments, &[7; 16]);
        assert_eq!(*key.unwrap_key(KeyTransport::Pkcs1v15, &wrapped, 16).unwrap(), [7; 16]);
    }

    fn is(&self, other: &PrivateKey) {
        assert!(*self.key.to_pkcs8_der() == *other.to_pkcs8_der());
    }

    fn public(&self) -> PathBuf {
        let public = self.dir.join("public.pem");
        openssl(
            &["pkey", "-in", self.pem.to_str().unwrap(), "-pubout", "-out", public.to_str().unwrap()],
            b"",
        );
        public
    }
}

/// Whoever asks the token itself for a private key is refused it.
fn stays(token: &Token, label: &str) {
    let context = Pkcs11::new(&subject().library).unwrap();
    if subject().apart {
        context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    }
    let slot = Slot::try_from(token.info().unwrap().slot).unwrap();
    let session = context.open_rw_session(slot).unwrap();
    match session.login(UserType::User, Some(&AuthPin::new(pin().into()))) {
        Ok(()) | Err(Cryptoki::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
        Err(error) => panic!("{error}"),
    }
    let named = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(label.as_bytes().to_vec())];
    let [key] = session.find_objects(&named).unwrap()[..] else { panic!("not one key {label}") };
    for secret in [AttributeType::PrivateExponent, AttributeType::Prime1, AttributeType::Value] {
        let info = session.get_attribute_info(key, &[secret]).unwrap();
        assert!(
            matches!(info[..], [AttributeInfo::Sensitive | AttributeInfo::TypeInvalid]),
            "{secret}: {info:?}"
        );
    }
    let known = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Wrap(true),
        Attribute::Value(vec![1; 32]),
    ];
    let mine = session.create_object(&known).unwrap();
    let error = session.wrap_key(&Mechanism::AesKeyWrapPad, mine, key).unwrap_err();
    assert!(matches!(error, Cryptoki::Pkcs11(RvError::KeyUnextractable, _)), "{error}");
    // Nor can it be made so afterwards.
    assert!(session.update_attributes(key, &[Attribute::Extractable(true)]).is_err());
    assert!(session.update_attributes(key, &[Attribute::Sensitive(false)]).is_err());
}

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    // What reads no input may end before it is written.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
