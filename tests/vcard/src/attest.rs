//! Attestation as on a YubiKey: the key in slot f9 signs, for each key that was made on the card, a certificate
//! that says so. The applet does not do that, so it is done here, by what was seen of its commands.
//!
//! Instruction, subject and extensions are those of [Yubico's PIV attestation]. f9 has a key and a certificate
//! when the card is made, by a root whose certificate is in `root.pem` beside what the card remembers.
//!
//! [Yubico's PIV attestation]: https://developers.yubico.com/PIV/Introduction/PIV_attestation.html

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey};
use rand_core::{OsRng, RngCore};
use x509_cert::Certificate;
use x509_cert::TbsCertificate;
use x509_cert::der::asn1::{BitString, ObjectIdentifier, OctetString, UtcTime};
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{Decode, Encode, EncodePem};
use x509_cert::ext::Extension;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

use crate::tlv;

/// The slot of the key that attests the others.
pub const SLOT: u8 = 0xf9;
/// The data object with its certificate.
pub const OBJECT: [u8; 3] = [0x5f, 0xff, 0x01];

/// What attests the keys of a card.
pub struct Attester {
    dir: PathBuf,
    key: SigningKey,
    certificate: Certificate,
}

impl Attester {
    /// That of the card whose memory is in `dir`; made the first time.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let (key, certificate) = (dir.join("f9.key"), dir.join("f9.der"));
        // Written last.
        if !certificate.exists() {
            let root = SigningKey::random(&mut OsRng);
            let f9 = SigningKey::random(&mut OsRng);
            let root_name = name("CN=Test PIV Root CA");
            let root_of = certificate_of(&root, &root_name, &root_name, spki(&root), vec![ca()]);
            let f9_of =
                certificate_of(&root, &root_name, &name("CN=Test PIV Attestation"), spki(&f9), vec![ca()]);
            fs::write(dir.join("root.pem"), root_of.to_pem(LineEnding::LF).map_err(io::Error::other)?)?;
            fs::write(&key, f9.to_pkcs8_der().map_err(io::Error::other)?.as_bytes())?;
            fs::write(&certificate, f9_of.to_der().map_err(io::Error::other)?)?;
        }
        Ok(Self {
            key: SigningKey::from_pkcs8_der(&fs::read(&key)?).map_err(io::Error::other)?,
            certificate: Certificate::from_der(&fs::read(&certificate)?).map_err(io::Error::other)?,
            dir: dir.to_owned(),
        })
    }

    /// A key was made in this slot; `template` is the answer to the command, NIST SP 800-73-4, part 2, 3.3.2.
    pub fn made(&self, slot: u8, template: &[u8]) -> io::Result<()> {
        fs::write(self.file(slot), public_key(template).ok_or(io::ErrorKind::InvalidData)?)
    }

    /// What is in this slot was not made here.
    pub fn forget(&self, slot: u8) -> io::Result<()> {
        match fs::remove_file(self.file(slot)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The certificate that attests the key in this slot; `None` when it was not made here.
    pub fn attest(&self, slot: u8) -> Option<Vec<u8>> {
        let key = SubjectPublicKeyInfoOwned::from_der(&fs::read(self.file(slot)).ok()?).ok()?;
        // 9c wants the PIN each time, 9e never; none wants a touch.
        let pin = match slot {
            0x9c => 3,
            0x9e => 1,
            _ => 2,
        };
        let extensions =
            vec![yubico(3, &VERSION), yubico(7, &SERIAL), yubico(8, &[pin, 1]), yubico(9, &[FORM_FACTOR])];
        let (issuer, subject) =
            (&self.certificate.tbs_certificate.subject, format!("CN=Test PIV Attestation {slot:02x}"));
        certificate_of(&self.key, issuer, &name(&subject), key, extensions).to_der().ok()
    }

    /// The data object with the certificate of f9, as GET DATA answers it.
    pub fn object(&self) -> Vec<u8> {
        let certificate = self.certificate.to_der().expect("it was DER");
        let parts = [tlv::of(&[0x70], &certificate), tlv::of(&[0x71], &[0]), tlv::of(&[0xfe], &[])];
        tlv::of(&[0x53], &parts.concat())
    }

    fn file(&self, slot: u8) -> PathBuf {
        self.dir.join(format!("made-{slot:02x}.der"))
    }
}

/// The public key in the answer to GENERATE ASYMMETRIC KEY PAIR.
fn public_key(template: &[u8]) -> Option<Vec<u8>> {
    let template = tlv::find(&[0x7f, 0x49], template)?;
    if let Some(point) = tlv::find(&[0x86], template) {
        let spki = match point.len() {
            65 => p256::PublicKey::from_sec1_bytes(point).ok()?.to_public_key_der(),
            _ => p384::PublicKey::from_sec1_bytes(point).ok()?.to_public_key_der(),
        };
        return Some(spki.ok()?.into_vec());
    }
    let number = |tag| Some(rsa::BigUint::from_bytes_be(tlv::find(&[tag], template)?));
    let key = rsa::RsaPublicKey::new(number(0x81)?, number(0x82)?).ok()?;
    Some(key.to_public_key_der().ok()?.into_vec())
}

fn certificate_of(
    issuer_key: &SigningKey,
    issuer: &Name,
    subject: &Name,
    key: SubjectPublicKeyInfoOwned,
    extensions: Vec<Extension>,
) -> Certificate {
    let algorithm = AlgorithmIdentifierOwned { oid: ECDSA_SHA256, parameters: None };
    let at =
        |seconds| Time::UtcTime(UtcTime::from_unix_duration(Duration::from_secs(seconds)).expect("in range"));
    let mut serial = [0; 16];
    OsRng.fill_bytes(&mut serial);
    // Positive, without a zero in front.
    serial[0] = serial[0] & 0x7f | 0x40;
    let tbs = TbsCertificate {
        version: x509_cert::Version::V3,
        serial_number: SerialNumber::new(&serial).expect("16 octets"),
        signature: algorithm.clone(),
        issuer: issuer.clone(),
        validity: Validity { not_before: at(BEGIN), not_after: at(END) },
        subject: subject.clone(),
        subject_public_key_info: key,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(extensions),
    };
    let signature: DerSignature = issuer_key.sign(&tbs.to_der().expect("it encodes"));
    let signature = BitString::from_bytes(signature.as_bytes()).expect("it is short");
    Certificate { tbs_certificate: tbs, signature_algorithm: algorithm, signature }
}

fn spki(key: &SigningKey) -> SubjectPublicKeyInfoOwned {
    SubjectPublicKeyInfoOwned::from_key(*key.verifying_key()).expect("it encodes")
}

fn name(text: &str) -> Name {
    Name::from_str(text).expect("a name")
}

/// basicConstraints with cA, critical.
fn ca() -> Extension {
    let value = OctetString::new([0x30, 3, 1, 1, 0xff]).expect("it is short");
    Extension { extn_id: BASIC_CONSTRAINTS, critical: true, extn_value: value }
}

/// One of Yubico's: the octets stand in the extension as they are.
fn yubico(number: u32, value: &[u8]) -> Extension {
    let extn_id = YUBICO_PIV.push_arc(number).expect("a short one");
    Extension { extn_id, critical: false, extn_value: OctetString::new(value).expect("it is short") }
}

const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const YUBICO_PIV: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3");
/// As the applet says.
const VERSION: [u8; 3] = [6, 6, 6];
/// The same, an INTEGER.
const SERIAL: [u8; 5] = [2, 3, 0x52, 0xf7, 0x43];
/// A keychain with USB-A.
const FORM_FACTOR: u8 = 1;
/// 2020 and 2049.
const BEGIN: u64 = 1_577_836_800;
const END: u64 = 2_493_072_000;
