//! PKCS#12 (RFC 7292): a key and its certificates under a passphrase.
//!
//! Read: BER in any form, encryption and MAC of every age, parts that are not encrypted, an archive
//! without MAC. Not read: archives encrypted to or signed with a public key. Written: one key at most, its
//! certificates, in the form of today or in one that routers read.

use der::asn1::ObjectIdentifier;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::kdf::{Purpose, Secret, pkcs12_kdf};
use super::pbe::{LEGACY_ITERATIONS, MODERN_ITERATIONS, Scheme, Work, integer, iteration_count, random};
use super::pem::open_pkcs8;
use super::{Archive, ArchiveError, MAX_LENGTH};
use crate::pki::asn1::{self, NULL, OCTET_STRING, algorithm, context, sequence, set_of, tlv};
use crate::pki::ber::{self, Element, Limits, Tag};
use crate::pki::{Certificate, Hash, PrivateKey};

/// Reads an archive, DER or BER. Without a passphrase only one that needs none.
///
/// Several keys are refused: nobody could say which is meant. Other bags (CRLs, secrets) are passed over.
pub fn read(bytes: &[u8], passphrase: Option<&SecretString>) -> Result<Archive, ArchiveError> {
    let pfx = Pfx::read(bytes)?;
    let text = passphrase.map(|passphrase| passphrase.expose_secret());
    let mut work = Work::new();
    // Writers disagree whether an empty passphrase is one.
    let secrets = match text {
        None | Some("") => vec![Secret::none(), Secret::of("")],
        Some(text) => vec![Secret::of(text)],
    };
    let mut authenticated = false;
    let mut secret = &secrets[0];
    if let Some(mac) = &pfx.mac {
        for candidate in &secrets {
            if mac.fits(candidate, &pfx.content, &mut work)? {
                (authenticated, secret) = (true, candidate);
                break;
            }
        }
        if !authenticated && text.is_none() {
            return Err(ArchiveError::PassphraseNeeded);
        }
    }
    let mut reading = Reading { secret, work, found: Archive::default(), decrypted: false };
    match reading.contents(&pfx.content) {
        Err(ArchiveError::WrongPassphrase) if text.is_none() => return Err(ArchiveError::PassphraseNeeded),
        result => result?,
    }
    if pfx.mac.is_some() && !authenticated {
        // What is encrypted says that the passphrase is right, the MAC that something else is wrong.
        return Err(match reading.decrypted {
            true => ArchiveError::Damaged("archive"),
            false => ArchiveError::WrongPassphrase,
        });
    }
    Ok(Archive { authenticated, ..reading.found.sorted() })
}

/// Who is to read an archive that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Today's programs: PBES2 with AES-256 and HMAC-SHA-256, MAC with SHA-256.
    Modern,
    /// Routers and old programs: triple DES, MAC with SHA-1.
    Legacy,
}

/// Writes an archive.
pub fn write(archive: &Archive, form: Form, passphrase: &SecretString) -> Vec<u8> {
    let passphrase = passphrase.expose_secret();
    let scheme = || match form {
        Form::Modern => Scheme::modern(),
        Form::Legacy => Scheme::legacy(),
    };
    let mut safes = Vec::new();
    if !archive.certificates.is_empty() {
        let bags: Vec<_> = archive.certificates.iter().map(|der| certificate_bag(archive, der)).collect();
        safes.push(encrypted_safe(&scheme(), passphrase, &sequence(&[&bags.concat()])));
    }
    if let Some(key) = &archive.key {
        let bag = key_bag(archive, key, &scheme(), passphrase);
        safes.push(content_info(oid::DATA, &tlv(OCTET_STRING, &[&sequence(&[&bag])])));
    }
    let content = sequence(&[&safes.concat()]);
    let authenticated = content_info(oid::DATA, &tlv(OCTET_STRING, &[&content]));
    let mac = MacData::new(form).write(&Secret::of(passphrase), &content);
    sequence(&[&integer(3), &authenticated, &mac])
}

/// `PFX` (RFC 7292, 4), password integrity mode or none.
struct Pfx {
    /// The AuthenticatedSafe, which the MAC is over.
    content: Vec<u8>,
    mac: Option<MacData>,
}

impl Pfx {
    fn read(bytes: &[u8]) -> Result<Self, ArchiveError> {
        if bytes.len() > MAX_LENGTH {
            return Err(ArchiveError::TooLong(MAX_LENGTH));
        }
        // Files have been padded and ended with a line feed.
        let (pfx, _) = ber::parse_prefix(bytes, &LIMITS)?;
        let mut fields = pfx.sequence("PFX")?;
        fields.read(Tag::INTEGER, "version")?.small("version")?;
        let (kind, content) = content_of(&fields.read(Tag::SEQUENCE, "authSafe")?)?;
        if kind != oid::DATA {
            // SignedData: integrity by a public key.
            return Err(ArchiveError::unsupported(&kind));
        }
        let content = content.tagged(Tag::OCTET_STRING, "authSafe")?.octets("authSafe")?.into_owned();
        let mac = fields.next("macData")?.map(|mac| MacData::read(&mac)).transpose()?;
        Ok(Self { content, mac })
    }
}

/// `MacData` (RFC 7292, 4).
struct MacData {
    hash: Hash,
    digest: Vec<u8>,
    salt: Vec<u8>,
    iterations: u32,
}

impl MacData {
    fn new(form: Form) -> Self {
        let (hash, salt, iterations) = match form {
            Form::Modern => (Hash::Sha256, random(16), MODERN_ITERATIONS),
            Form::Legacy => (Hash::Sha1, random(8), LEGACY_ITERATIONS),
        };
        Self { hash, digest: Vec::new(), salt, iterations }
    }

    fn read(mac: &Element<'_>) -> Result<Self, ArchiveError> {
        let mut fields = mac.sequence("macData")?;
        let mut info = fields.read(Tag::SEQUENCE, "mac")?.sequence("mac")?;
        let mut algorithm = info.read(Tag::SEQUENCE, "digestAlgorithm")?.sequence("digestAlgorithm")?;
        let oid = algorithm.read(Tag::OID, "digestAlgorithm")?.oid("digestAlgorithm")?;
        let hash = Hash::from_oid(&oid).ok_or(ArchiveError::unsupported(&oid))?;
        let digest = info.read(Tag::OCTET_STRING, "digest")?.octets("digest")?.into_owned();
        let salt = fields.read(Tag::OCTET_STRING, "macSalt")?.octets("macSalt")?.into_owned();
        let iterations = fields.next("iterations")?.map_or(Ok(1), |element| iteration_count(&element))?;
        Ok(Self { hash, digest, salt, iterations })
    }

    fn fits(&self, secret: &Secret, content: &[u8], work: &mut Work) -> Result<bool, ArchiveError> {
        work.spend(self.iterations)?;
        Ok(bool::from(self.compute(secret, content)[..].ct_eq(&self.digest)))
    }

    fn write(&self, secret: &Secret, content: &[u8]) -> Vec<u8> {
        let digest = tlv(OCTET_STRING, &[&self.compute(secret, content)]);
        let info = sequence(&[&algorithm(self.hash.oid(), NULL), &digest]);
        sequence(&[&info, &tlv(OCTET_STRING, &[&self.salt]), &integer(self.iterations)])
    }

    fn compute(&self, secret: &Secret, content: &[u8]) -> Vec<u8> {
        let (hash, len) = (self.hash, self.hash.size());
        let key = pkcs12_kdf(hash, Purpose::Mac, &secret.bmp, &self.salt, self.iterations, len);
        macro_rules! hmac {
            ($digest:ty) => {
                // HMAC takes keys of any length.
                Hmac::<$digest>::new_from_slice(&key)
                    .expect("HMAC takes a key of any length")
                    .chain_update(content)
                    .finalize()
                    .into_bytes()
                    .to_vec()
            };
        }
        match hash {
            Hash::Md5 => hmac!(md5::Md5),
            Hash::Sha1 => hmac!(sha1::Sha1),
            Hash::Sha256 => hmac!(sha2::Sha256),
            Hash::Sha384 => hmac!(sha2::Sha384),
            Hash::Sha512 => hmac!(sha2::Sha512),
        }
    }
}

/// An archive on its way out of its layers.
struct Reading<'a> {
    secret: &'a Secret,
    work: Work,
    found: Archive,
    /// Whether the passphrase has opened anything.
    decrypted: bool,
}

impl Reading<'_> {
    /// `AuthenticatedSafe`: SafeContents in data or encryptedData.
    fn contents(&mut self, authenticated_safe: &[u8]) -> Result<(), ArchiveError> {
        let mut safes = ber::parse(authenticated_safe, &LIMITS)?.sequence("authenticatedSafe")?;
        while let Some(safe) = safes.next("authenticatedSafe")? {
            let (kind, content) = content_of(&safe)?;
            match kind {
                oid::DATA => {
                    let octets = content.tagged(Tag::OCTET_STRING, "data")?.octets("data")?;
                    // Keys may be in it as they are.
                    self.safe(&Zeroizing::new(octets.into_owned()))?;
                }
                oid::ENCRYPTED_DATA => {
                    let octets = self.decrypt(&content)?;
                    self.safe(&octets)?;
                }
                // EnvelopedData: encrypted to a public key.
                other => return Err(ArchiveError::unsupported(&other)),
            }
        }
        Ok(())
    }

    /// `EncryptedData` (RFC 5652, 8).
    fn decrypt(&mut self, content: &Element<'_>) -> Result<Zeroizing<Vec<u8>>, ArchiveError> {
        let mut fields = content.sequence("encryptedData")?;
        fields.read(Tag::INTEGER, "version")?.small("version")?;
        let mut info =
            fields.read(Tag::SEQUENCE, "encryptedContentInfo")?.sequence("encryptedContentInfo")?;
        info.read(Tag::OID, "contentType")?;
        let scheme = Scheme::read(&info.read(Tag::SEQUENCE, "contentEncryptionAlgorithm")?)?;
        let encrypted = info.read(Tag::context(0), "encryptedContent")?.octets("encryptedContent")?;
        let plain = scheme.decrypt(self.secret, &mut self.work, &encrypted, "archive")?;
        self.decrypted = true;
        Ok(plain)
    }

    /// `SafeContents` (RFC 7292, 4.2).
    fn safe(&mut self, octets: &[u8]) -> Result<(), ArchiveError> {
        self.bags(&ber::parse(octets, &LIMITS)?)
    }

    fn bags(&mut self, contents: &Element<'_>) -> Result<(), ArchiveError> {
        let mut bags = contents.sequence("safeContents")?;
        while let Some(bag) = bags.next("safeBag")? {
            self.bag(&bag)?;
        }
        Ok(())
    }

    fn bag(&mut self, bag: &Element<'_>) -> Result<(), ArchiveError> {
        let mut fields = bag.sequence("safeBag")?;
        let kind = fields.read(Tag::OID, "bagId")?.oid("bagId")?;
        let value = fields.read(Tag::context(0), "bagValue")?.explicit("bagValue")?;
        let attributes = fields.optional(Tag::SET, "bagAttributes")?;
        match kind {
            oid::KEY_BAG => self.key(PrivateKey::from_pkcs8_der(value.raw())?, attributes),
            oid::SHROUDED_KEY_BAG => {
                let key = open_pkcs8(value.raw(), self.secret, &mut self.work)?;
                self.decrypted = true;
                self.key(key, attributes)
            }
            oid::CERT_BAG => {
                let mut fields = value.sequence("certBag")?;
                let kind = fields.read(Tag::OID, "certId")?.oid("certId")?;
                if kind == oid::X509_CERTIFICATE {
                    let octets = fields.read(Tag::context(0), "certValue")?.explicit("certValue")?;
                    let octets = octets.tagged(Tag::OCTET_STRING, "certValue")?.octets("certValue")?;
                    self.found.certificates.push(octets.into_owned());
                    self.label(attributes, false)?;
                }
                Ok(())
            }
            // Nested no deeper than the parser goes.
            oid::SAFE_CONTENTS_BAG => self.bags(&value),
            _ => Ok(()),
        }
    }

    fn key(&mut self, key: PrivateKey, attributes: Option<Element<'_>>) -> Result<(), ArchiveError> {
        if self.found.key.replace(key).is_some() {
            return Err(ArchiveError::SeveralKeys);
        }
        self.label(attributes, true)
    }

    /// Keeps the friendlyName (RFC 2985, 5.5.1); that of the key wins.
    fn label(&mut self, attributes: Option<Element<'_>>, of_key: bool) -> Result<(), ArchiveError> {
        let Some(attributes) = attributes else { return Ok(()) };
        let mut attributes = attributes.set("bagAttributes")?;
        while let Some(attribute) = attributes.next("bagAttribute")? {
            let mut fields = attribute.sequence("bagAttribute")?;
            let kind = fields.read(Tag::OID, "attrId")?.oid("attrId")?;
            if kind != oid::FRIENDLY_NAME || (self.found.label.is_some() && !of_key) {
                continue;
            }
            let mut values = fields.read(Tag::SET, "attrValues")?.set("attrValues")?;
            if let Some(name) = values.next("friendlyName")?.and_then(|name| name.text()) {
                self.found.label = Some(name);
            }
        }
        Ok(())
    }
}

/// `ContentInfo` (RFC 5652, 3): its type and content.
fn content_of<'a>(info: &Element<'a>) -> Result<(ObjectIdentifier, Element<'a>), ArchiveError> {
    let mut fields = info.sequence("contentInfo")?;
    let kind = fields.read(Tag::OID, "contentType")?.oid("contentType")?;
    Ok((kind, fields.read(Tag::context(0), "content")?.explicit("content")?))
}

fn content_info(kind: ObjectIdentifier, content: &[u8]) -> Vec<u8> {
    sequence(&[&asn1::oid(kind), &tlv(context(0), &[content])])
}

fn encrypted_safe(scheme: &Scheme, passphrase: &str, safe: &[u8]) -> Vec<u8> {
    let encrypted = scheme.encrypt(passphrase, safe);
    // [0] IMPLICIT OCTET STRING.
    let info = sequence(&[&asn1::oid(oid::DATA), &scheme.identifier(), &tlv(0x80, &[&encrypted])]);
    content_info(oid::ENCRYPTED_DATA, &sequence(&[&integer(0), &info]))
}

fn certificate_bag(archive: &Archive, der: &[u8]) -> Vec<u8> {
    let value = tlv(context(0), &[&tlv(OCTET_STRING, &[der])]);
    let certificate = sequence(&[&asn1::oid(oid::X509_CERTIFICATE), &value]);
    let parsed = Certificate::parse(der).ok();
    let identifier = parsed.map(|certificate| certificate.public_key().key_identifier());
    // Only where it belongs to the key: a CA above it has none.
    let own = identifier.filter(|identifier| key_identifier(archive).as_ref() == Some(identifier));
    let attributes = own.map(|identifier| attributes(archive.label.as_deref(), &identifier));
    bag(oid::CERT_BAG, &certificate, attributes)
}

fn key_bag(archive: &Archive, key: &PrivateKey, scheme: &Scheme, passphrase: &str) -> Vec<u8> {
    let encrypted = tlv(OCTET_STRING, &[&scheme.encrypt(passphrase, &key.to_pkcs8_der())]);
    let shrouded = sequence(&[&scheme.identifier(), &encrypted]);
    let identifier = key_identifier(archive);
    let attributes = identifier.map(|identifier| attributes(archive.label.as_deref(), &identifier));
    bag(oid::SHROUDED_KEY_BAG, &shrouded, attributes)
}

fn bag(kind: ObjectIdentifier, value: &[u8], attributes: Option<Vec<u8>>) -> Vec<u8> {
    let value = tlv(context(0), &[value]);
    sequence(&[&asn1::oid(kind), &value, &attributes.unwrap_or_default()])
}

fn key_identifier(archive: &Archive) -> Option<Vec<u8>> {
    Some(archive.key.as_ref()?.public_key().ok()?.key_identifier())
}

/// friendlyName and localKeyID (RFC 2985, 5.5); the same for a key and its certificate.
fn attributes(label: Option<&str>, identifier: &[u8]) -> Vec<u8> {
    let attribute = |kind, value: &[u8]| sequence(&[&asn1::oid(kind), &set_of(vec![value.to_vec()])]);
    let mut attributes = vec![attribute(oid::LOCAL_KEY_ID, &tlv(OCTET_STRING, &[identifier]))];
    if let Some(label) = label {
        let units: Vec<u8> = label.encode_utf16().flat_map(u16::to_be_bytes).collect();
        // BMPString.
        attributes.push(attribute(oid::FRIENDLY_NAME, &tlv(0x1e, &[&units])));
    }
    set_of(attributes)
}

const LIMITS: Limits = Limits { depth: 32, elements: 65_536, length: MAX_LENGTH };

mod oid {
    use der::asn1::ObjectIdentifier;

    const fn oid(text: &str) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(text)
    }

    // RFC 5652.
    pub const DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.1");
    pub const ENCRYPTED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.6");
    // RFC 7292, D.
    pub const KEY_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.1");
    pub const SHROUDED_KEY_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.2");
    pub const CERT_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.3");
    pub const SAFE_CONTENTS_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.6");
    // RFC 2985.
    pub const FRIENDLY_NAME: ObjectIdentifier = oid("1.2.840.113549.1.9.20");
    pub const LOCAL_KEY_ID: ObjectIdentifier = oid("1.2.840.113549.1.9.21");
    pub const X509_CERTIFICATE: ObjectIdentifier = oid("1.2.840.113549.1.9.22.1");
}
