//! Tokens of the PKCS#11 modules that run without hardware, used without our own software: each makes a key
//! and signs, and OpenSSL verifies.

mod support;

use std::fs;
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::dsa::{HedgeType, SignAdditionalContext};
use cryptoki::object::{Attribute, AttributeType, MlDsaParameterSetType};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use der::pem::{LineEnding, encode_string};
use der::{Encode, Header, Length, Tag};
use sha2::{Digest, Sha256};

use support::modules::kryoptic::verifier;
use support::modules::{TestModule, own_process};
use support::{run, skipped};

#[test]
fn softhsm2() {
    own_process("softhsm2", "softhsm2", pkcs11_tool_signs);
}

#[test]
fn kryoptic() {
    own_process("kryoptic", "kryoptic", pkcs11_tool_signs);
}

#[test]
fn opencryptoki() {
    own_process("opencryptoki", "opencryptoki", pkcs11_tool_signs);
}

#[test]
fn tpm2_pkcs11() {
    own_process("tpm2_pkcs11", "tpm2-pkcs11", pkcs11_tool_signs);
}

#[test]
fn p11_kit_client() {
    own_process("p11_kit_client", "p11-kit-client", pkcs11_tool_signs);
}

/// A key pair is generated on the token and signs; the signature is one over the message and over no other.
fn pkcs11_tool_signs(module: &TestModule) {
    let file = |name: &str| module.dir.join(name);
    // By mechanism RSA-PKCS, which all have; it pads what it is given, DigestInfo and all (RFC 8017, 9.2).
    let info = [DIGEST_INFO_SHA256, Sha256::digest(MESSAGE).as_slice()].concat();
    fs::write(file("digest-info"), info).unwrap();

    let tool = || {
        let mut command = module.pkcs11_tool();
        command.args(["--login", "--pin", &module.pin, "--id", "01"]);
        command
    };
    run(tool().args(["--keypairgen", "--key-type", "rsa:2048", "--label", "k", "--usage-sign"])).success();
    run(tool().args(["--read-object", "--type", "pubkey", "--output-file"]).arg(file("public"))).success();
    let mut sign = tool();
    sign.args(["--sign", "--mechanism", "RSA-PKCS", "--input-file"]).arg(file("digest-info"));
    run(sign.arg("--output-file").arg(file("signature"))).success();

    let verify = |message: &[u8]| {
        fs::write(file("message"), message).unwrap();
        let mut openssl = Command::new("openssl");
        openssl.args(["dgst", "-sha256", "-keyform", "DER", "-verify"]).arg(file("public"));
        run(openssl.arg("-signature").arg(file("signature")).arg(file("message")))
    };
    verify(MESSAGE).success().says("Verified OK");
    verify(b"another").exited(1).says("Verification failure");
}

/// pkcs11-tool cannot say where NSS finds its token; NSS's own tool can.
#[test]
fn nss() {
    own_process("nss", "nss", |module| {
        let dir = format!("sql:{}", module.dir.display());
        let certutil = || {
            let mut command = module.command("certutil");
            command.args(["-d", &dir, "-f"]).arg(module.pin_file());
            command
        };
        let (noise, certificate) = (module.dir.join("noise"), module.dir.join("certificate"));
        fs::write(&noise, [7; 64]).unwrap();
        let self_signed =
            ["-S", "-x", "-n", "k", "-s", "CN=k", "-t", ",,", "-k", "rsa", "-g", "2048", "-Z", "SHA256"];
        run(certutil().args(self_signed).arg("-z").arg(noise)).success();
        let certificate_of_it = run(certutil().args(["-L", "-n", "k", "-a"])).success().stdout;
        fs::write(&certificate, certificate_of_it).unwrap();
        let mut openssl = Command::new("openssl");
        openssl.args(["verify", "-check_ss_sig", "-CAfile"]).arg(&certificate).arg(&certificate);
        run(&mut openssl).success().says("OK");
        run(certutil().arg("-K")).success().says(&module.label);
    });
}

/// The other OpenSSL tells a right signature from a wrong one.
#[test]
fn the_verifier_can_say_no() {
    let program = match verifier() {
        Ok(program) => program,
        Err(why) => return skipped("the_verifier_can_say_no", &why),
    };
    let dir = tempfile::tempdir().unwrap();
    let openssl = |line: &str| {
        run(Command::new("openssl").args(line.split(' ')).current_dir(&dir)).success();
    };
    let verify = |line: &str| run(Command::new(&program).args(line.split(' ')).current_dir(&dir));
    fs::write(dir.path().join("content"), MESSAGE).unwrap();
    fs::write(dir.path().join("other"), b"another").unwrap();
    for name in ["a", "b"] {
        openssl(&format!("req -x509 -newkey rsa:2048 -nodes -subj /CN=same -keyout {name}.key -out {name}"));
    }
    openssl("req -new -key a.key -subj /CN=r -out request");
    openssl("dgst -sha256 -sign a.key -out signature content");
    openssl("cms -sign -binary -signer a -inkey a.key -in content -outform DER -out message");

    verify("certificate a a").success().says("is right (OpenSSL 3.6");
    verify("certificate a b").exited(1).says("is wrong (OpenSSL 3.6");
    verify("request request").success();
    verify("signature a content signature").success();
    verify("signature b content signature").exited(1);
    verify("signature a other signature").exited(1);
    verify("cms message a content").success();
    verify("cms message b content").exited(1);
    verify("cms message a other").exited(1);
    verify("certificate a missing").exited(1).says("missing");
}

/// Kryoptic's ML-DSA keys and signatures make certificates (RFC 9881) that the other OpenSSL accepts.
#[test]
fn ml_dsa() {
    own_process("ml_dsa", "kryoptic", |module| {
        let pkcs11 = Pkcs11::new(&module.library).unwrap();
        pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
        let session = pkcs11.open_rw_session(slot).unwrap();
        session.login(UserType::User, Some(&AuthPin::new(module.pin.as_str().into()))).unwrap();
        let set = Attribute::ParameterSet(MlDsaParameterSetType::ML_DSA_65.into());
        let (public, private) = session
            .generate_key_pair(
                &Mechanism::MlDsaKeyPairGen,
                &[Attribute::Token(true), Attribute::Verify(true), set],
                &[Attribute::Token(true), Attribute::Sign(true), Attribute::Sensitive(true)],
            )
            .unwrap();
        let info = session.get_attributes(public, &[AttributeType::PublicKeyInfo]).unwrap();
        let [Attribute::PublicKeyInfo(info)] = info.as_slice() else { panic!("{info:?}") };

        // id-ml-dsa-65, without parameters.
        let algorithm = tlv(Tag::Sequence, &[b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12"]);
        let time = tlv(Tag::UtcTime, &[b"261128000000Z"]);
        let name = tlv(Tag::Sequence, &[]);
        let validity = tlv(Tag::Sequence, &[&time, &time]);
        let version = b"\xa0\x03\x02\x01\x02";
        let tbs = tlv(Tag::Sequence, &[version, b"\x02\x01\x01", &algorithm, &name, &validity, &name, info]);
        let mechanism = Mechanism::MlDsa(SignAdditionalContext::new(HedgeType::Preferred, None));
        let mut signature = session.sign(&mechanism, private, &tbs).unwrap();
        let program = verifier().unwrap();
        let file = module.dir.join("certificate");
        let verify = |signature: &[u8]| {
            let certificate =
                tlv(Tag::Sequence, &[&tbs, &algorithm, &tlv(Tag::BitString, &[b"\0", signature])]);
            fs::write(&file, encode_string("CERTIFICATE", LineEnding::LF, &certificate).unwrap()).unwrap();
            run(Command::new(&program).arg("certificate").args([&file, &file]))
        };
        verify(&signature).success();
        signature[100] ^= 1;
        verify(&signature).exited(1);
    });
}

/// A value of DER.
fn tlv(tag: Tag, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let header = Header::new(tag, Length::try_from(value.len()).unwrap());
    [header.to_der().unwrap(), value].concat()
}

const MESSAGE: &[u8] = b"what is signed";

/// What precedes a SHA-256 digest in a DigestInfo, RFC 8017 section 9.2, note 1.
const DIGEST_INFO_SHA256: &[u8] = &[
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];
