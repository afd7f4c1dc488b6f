//! Encryption under a passphrase: PBES1 and PBES2 (RFC 8018, 6), and the schemes of PKCS#12 (RFC 7292, C).

use aes::cipher::{BlockModeDecrypt, InnerIvInit, block_padding::NoPadding};
use der::asn1::ObjectIdentifier;
use zeroize::Zeroizing;

use super::ArchiveError;
use super::kdf::{Purpose, Secret, pbkdf1, pbkdf2, pkcs12_kdf};
use crate::pki::asn1::{INTEGER, NULL, OCTET_STRING, algorithm, sequence, tlv};
use crate::pki::ber::{Element, ErrorKind, Tag};
use crate::pki::{Cipher, Hash};

/// How something is encrypted under a passphrase.
#[derive(Clone, Debug)]
pub enum Scheme {
    /// PBES1 (RFC 8018, 6.1): key and initialisation vector of 8 octets each from PBKDF1.
    Pbes1 { hash: Hash, cipher: Mode, salt: Vec<u8>, iterations: u32 },
    /// PBES2 (RFC 8018, 6.2) with PBKDF2.
    Pbes2 { prf: Hash, cipher: Mode, iv: Vec<u8>, salt: Vec<u8>, iterations: u32 },
    /// RFC 7292, C: key and initialisation vector from [`pkcs12_kdf`] with SHA-1.
    Pkcs12 { cipher: Mode, salt: Vec<u8>, iterations: u32 },
}

/// A cipher in CBC mode: one that is also written, or one of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One of ours.
    Cbc(Cipher),
    /// Triple DES whose third key is the first.
    Des2,
    /// RC2 (RFC 2268).
    Rc2 {
        /// Octets of the key.
        len: usize,
        /// Effective bits of the key.
        bits: usize,
    },
}

/// How often passphrases may be hashed, in all, for one archive.
pub struct Work(u32);

impl Work {
    /// A few seconds' worth: writers of today take some 600 000 at most.
    pub const LIMIT: u32 = 5_000_000;

    pub fn new() -> Self {
        Self(Self::LIMIT)
    }

    /// Accounts for some; refuses them when they are too many.
    pub fn spend(&mut self, iterations: u32) -> Result<(), ArchiveError> {
        let left = self.0.checked_sub(iterations);
        self.0 = left.ok_or(ArchiveError::TooManyIterations(Self::LIMIT))?;
        Ok(())
    }
}

impl Scheme {
    /// Reads an `AlgorithmIdentifier`.
    pub fn read(identifier: &Element<'_>) -> Result<Self, ArchiveError> {
        let mut fields = identifier.sequence("encryption algorithm")?;
        let oid = fields.read(Tag::OID, "encryption algorithm")?.oid("encryption algorithm")?;
        let des = Mode::Cbc(Cipher::Des);
        let rc2 = |len| Mode::Rc2 { len, bits: len * 8 };
        let mut salted = || -> Result<(Vec<u8>, u32), ArchiveError> {
            let mut parameters = fields.read(Tag::SEQUENCE, "parameters")?.sequence("parameters")?;
            let salt = parameters.read(Tag::OCTET_STRING, "salt")?.octets("salt")?.into_owned();
            Ok((salt, iteration_count(&parameters.any("iterations")?)?))
        };
        let pbes1 = |hash, cipher, (salt, iterations)| Self::Pbes1 { hash, cipher, salt, iterations };
        let pkcs12 = |cipher, (salt, iterations)| Self::Pkcs12 { cipher, salt, iterations };
        Ok(match oid {
            oid::PBE_MD5_DES => pbes1(Hash::Md5, des, salted()?),
            oid::PBE_MD5_RC2 => pbes1(Hash::Md5, rc2(8), salted()?),
            oid::PBE_SHA1_DES => pbes1(Hash::Sha1, des, salted()?),
            oid::PBE_SHA1_RC2 => pbes1(Hash::Sha1, rc2(8), salted()?),
            oid::PKCS12_DES3 => pkcs12(Mode::Cbc(Cipher::Des3), salted()?),
            oid::PKCS12_DES2 => pkcs12(Mode::Des2, salted()?),
            oid::PKCS12_RC2_128 => pkcs12(rc2(16), salted()?),
            oid::PKCS12_RC2_40 => pkcs12(rc2(5), salted()?),
            oid::PBES2 => Self::read_pbes2(&fields.read(Tag::SEQUENCE, "parameters")?)?,
            other => return Err(ArchiveError::unsupported(&other)),
        })
    }

    /// `PBES2-params` (RFC 8018, A.4).
    fn read_pbes2(parameters: &Element<'_>) -> Result<Self, ArchiveError> {
        let mut fields = parameters.sequence("PBES2-params")?;
        let mut kdf = fields.read(Tag::SEQUENCE, "keyDerivationFunc")?.sequence("keyDerivationFunc")?;
        let oid = kdf.read(Tag::OID, "keyDerivationFunc")?.oid("keyDerivationFunc")?;
        if oid != oid::PBKDF2 {
            return Err(ArchiveError::unsupported(&oid));
        }
        let mut kdf = kdf.read(Tag::SEQUENCE, "PBKDF2-params")?.sequence("PBKDF2-params")?;
        let salt = kdf.read(Tag::OCTET_STRING, "salt")?.octets("salt")?.into_owned();
        let iterations = iteration_count(&kdf.any("iterationCount")?)?;
        let key_length = kdf.optional(Tag::INTEGER, "keyLength")?;
        let key_length = key_length.map(|length| length.small("keyLength")).transpose()?;
        let prf = match kdf.next("prf")? {
            None => Hash::Sha1,
            Some(prf) => {
                let oid = prf.sequence("prf")?.read(Tag::OID, "prf")?.oid("prf")?;
                let known = PRFS.into_iter().find(|(_, known)| *known == oid);
                known.ok_or(ArchiveError::unsupported(&oid))?.0
            }
        };
        let (cipher, iv) = read_cipher(&fields.read(Tag::SEQUENCE, "encryptionScheme")?, key_length)?;
        if key_length.is_some_and(|length| length as usize != cipher.key_len()) {
            return Err(parameters.error("keyLength", ErrorKind::Value).into());
        }
        Ok(Self::Pbes2 { prf, cipher, iv, salt, iterations })
    }

    /// PBES2 of today: AES-256-CBC, PBKDF2 with HMAC-SHA-256.
    pub fn modern() -> Self {
        Self::Pbes2 {
            prf: Hash::Sha256,
            cipher: Mode::Cbc(Cipher::Aes256),
            iv: random(16),
            salt: random(16),
            iterations: MODERN_ITERATIONS,
        }
    }

    /// What routers read: pbeWithSHAAnd3-KeyTripleDES-CBC.
    pub fn legacy() -> Self {
        Self::Pkcs12 { cipher: Mode::Cbc(Cipher::Des3), salt: random(8), iterations: LEGACY_ITERATIONS }
    }

    /// The `AlgorithmIdentifier` of one that is written, DER.
    ///
    /// # Panics
    /// For those that are only read.
    pub fn identifier(&self) -> Vec<u8> {
        match self {
            Self::Pkcs12 { cipher: Mode::Cbc(Cipher::Des3), salt, iterations } => {
                algorithm(oid::PKCS12_DES3, &sequence(&[&tlv(OCTET_STRING, &[salt]), &integer(*iterations)]))
            }
            Self::Pbes2 { prf: Hash::Sha256, cipher: Mode::Cbc(cipher), iv, salt, iterations } => {
                let prf = algorithm(oid::HMAC_SHA256, NULL);
                let kdf = sequence(&[&tlv(OCTET_STRING, &[salt]), &integer(*iterations), &prf]);
                let kdf = algorithm(oid::PBKDF2, &kdf);
                let encryption = algorithm(cipher.oid(), &tlv(OCTET_STRING, &[iv]));
                algorithm(oid::PBES2, &sequence(&[&kdf, &encryption]))
            }
            _ => unreachable!("made by modern() or legacy()"),
        }
    }

    /// Encrypts with PKCS#7 padding, by one of the schemes that are written.
    pub fn encrypt(&self, passphrase: &str, plain: &[u8]) -> Vec<u8> {
        let (key, iv) = self.derive(&Secret::of(passphrase));
        match self.mode() {
            Mode::Cbc(cipher) => cipher.encrypt(&key, &iv, plain),
            _ => unreachable!("made by modern() or legacy()"),
        }
    }

    /// Decrypts a DER or BER SEQUENCE and takes the padding away. `what` it is, for errors.
    pub fn decrypt(
        &self,
        passphrase: &Secret,
        work: &mut Work,
        encrypted: &[u8],
        what: &'static str,
    ) -> Result<Zeroizing<Vec<u8>>, ArchiveError> {
        work.spend(self.cost())?;
        let (key, iv) = self.derive(passphrase);
        self.mode().open(&key, &iv, encrypted, what)
    }

    /// Rounds of hashing.
    fn cost(&self) -> u32 {
        let (iterations, times) = match self {
            Self::Pbes1 { iterations, .. } => (iterations, 1),
            Self::Pbes2 { iterations, prf, cipher, .. } => {
                (iterations, cipher.key_len().div_ceil(prf.size()))
            }
            Self::Pkcs12 { iterations, cipher, .. } => {
                (iterations, cipher.key_len().div_ceil(Hash::Sha1.size()) + 1)
            }
        };
        iterations.saturating_mul(times as u32)
    }

    fn mode(&self) -> Mode {
        let (Self::Pbes1 { cipher, .. } | Self::Pbes2 { cipher, .. } | Self::Pkcs12 { cipher, .. }) = self;
        *cipher
    }

    /// Key and initialisation vector.
    fn derive(&self, passphrase: &Secret) -> (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>) {
        match self {
            Self::Pbes1 { hash, salt, iterations, .. } => {
                let mut key = pbkdf1(*hash, &passphrase.utf8, salt, *iterations);
                let iv = Zeroizing::new(key[8..16].to_vec());
                key.truncate(8);
                (key, iv)
            }
            Self::Pbes2 { prf, cipher, iv, salt, iterations } => {
                let mut key = Zeroizing::new(vec![0; cipher.key_len()]);
                pbkdf2(*prf, &passphrase.utf8, salt, *iterations, &mut key);
                (key, Zeroizing::new(iv.clone()))
            }
            Self::Pkcs12 { cipher, salt, iterations } => {
                let derive =
                    |purpose, len| pkcs12_kdf(Hash::Sha1, purpose, &passphrase.bmp, salt, *iterations, len);
                (derive(Purpose::Key, cipher.key_len()), derive(Purpose::Iv, cipher.block_len()))
            }
        }
    }
}

impl Mode {
    fn key_len(self) -> usize {
        match self {
            Self::Cbc(cipher) => cipher.key_len(),
            Self::Des2 => 16,
            Self::Rc2 { len, .. } => len,
        }
    }

    fn block_len(self) -> usize {
        match self {
            Self::Cbc(cipher) => cipher.block_len(),
            Self::Des2 | Self::Rc2 { .. } => 8,
        }
    }

    /// Decrypts a SEQUENCE and takes the padding away. The beginning tells a wrong passphrase, the end
    /// damage; only damage to the beginning cannot be told from a wrong passphrase.
    pub fn open(
        self,
        key: &[u8],
        iv: &[u8],
        encrypted: &[u8],
        what: &'static str,
    ) -> Result<Zeroizing<Vec<u8>>, ArchiveError> {
        let mut plain = self.decrypt_blocks(key, iv, encrypted).ok_or(ArchiveError::CutOff(what))?;
        let Some(length) = sequence_length(&plain) else { return Err(ArchiveError::WrongPassphrase) };
        let pad = usize::from(plain[plain.len() - 1]);
        let body = plain.len().saturating_sub(pad);
        let padded = (1..=self.block_len()).contains(&pad)
            && plain[body..].iter().all(|octet| usize::from(*octet) == pad);
        if !padded || length.is_some_and(|length| length != body) {
            return Err(ArchiveError::Damaged(what));
        }
        plain.truncate(body);
        Ok(plain)
    }

    fn decrypt_blocks(self, key: &[u8], iv: &[u8], encrypted: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Cbc(cipher) => cipher.decrypt_blocks(key, iv, encrypted),
            Self::Des2 => {
                let key = Zeroizing::new([key, key.get(..8)?].concat());
                Cipher::Des3.decrypt_blocks(&key, iv, encrypted)
            }
            Self::Rc2 { bits, .. } => {
                if encrypted.is_empty() {
                    return None;
                }
                let mut plain = Zeroizing::new(encrypted.to_vec());
                let cipher = rc2::Rc2::new_with_eff_key_len(key, bits);
                let decryptor = cbc::Decryptor::inner_iv_slice_init(cipher, iv).ok()?;
                let whole = decryptor.decrypt_padded::<NoPadding>(&mut plain).is_ok();
                whole.then_some(plain)
            }
        }
    }
}

/// `encryptionScheme` of PBES2 (RFC 8018, B.2) and its initialisation vector.
fn read_cipher(identifier: &Element<'_>, key_length: Option<u32>) -> Result<(Mode, Vec<u8>), ArchiveError> {
    let mut fields = identifier.sequence("encryptionScheme")?;
    let oid = fields.read(Tag::OID, "encryptionScheme")?.oid("encryptionScheme")?;
    let parameters = fields.any("encryptionScheme")?;
    let (mode, iv) = match Cipher::ALL.into_iter().find(|cipher| cipher.oid() == oid) {
        Some(cipher) => (Mode::Cbc(cipher), parameters.octets("iv")?),
        None if oid == oid::RC2_CBC => {
            let mut parameters = parameters.sequence("RC2-CBC-Parameter")?;
            let version = parameters.optional(Tag::INTEGER, "rc2ParameterVersion")?;
            // RFC 8018, B.2.3: 32 effective bits when the version is not there.
            let bits = match version.map(|version| version.small("rc2ParameterVersion")).transpose()? {
                None => 32,
                Some(160) => 40,
                Some(120) => 64,
                Some(58) => 128,
                Some(bits @ 256..=1024) => bits as usize,
                Some(_) => return Err(identifier.error("rc2ParameterVersion", ErrorKind::Value).into()),
            };
            // Without a length the key is as long as its effective bits.
            let len = key_length.map_or(bits / 8, |length| length as usize);
            if !(1..=128).contains(&len) {
                return Err(identifier.error("keyLength", ErrorKind::Value).into());
            }
            (Mode::Rc2 { len, bits }, parameters.read(Tag::OCTET_STRING, "iv")?.octets("iv")?)
        }
        None => return Err(ArchiveError::unsupported(&oid)),
    };
    if iv.len() != mode.block_len() {
        return Err(identifier.error("iv", ErrorKind::Value).into());
    }
    Ok((mode, iv.into_owned()))
}

/// How long the SEQUENCE at the start says that it is, header included: `Some(None)` when it is of
/// indefinite length. `None` when there is none, or one that begins neither as a key does, with an INTEGER,
/// nor as SafeContents do, with a SEQUENCE: one wrong passphrase in a hundred thousand gets so far.
fn sequence_length(plain: &[u8]) -> Option<Option<usize>> {
    let (length, inner) = match *plain {
        [0x30, 0x80, inner, ..] => (None, inner),
        [0x30, len @ ..0x80, inner, ..] => (Some(2 + usize::from(len)), inner),
        [0x30, 0x81, len, inner, ..] => (Some(3 + usize::from(len)), inner),
        [0x30, 0x82, a, b, inner, ..] => (Some(4 + usize::from(u16::from_be_bytes([a, b]))), inner),
        [0x30, 0x83, a, b, c, inner, ..] => (Some(5 + u32::from_be_bytes([0, a, b, c]) as usize), inner),
        _ => return None,
    };
    matches!(inner, 0x02 | 0x30).then_some(length)
}

/// An iteration count; none is one.
pub fn iteration_count(element: &Element<'_>) -> Result<u32, ArchiveError> {
    let content = element.integer("iterations")?;
    let digits = content.iter().skip_while(|octet| **octet == 0).count();
    if content[0] & 0x80 == 0 && digits > 4 {
        return Err(ArchiveError::TooManyIterations(Work::LIMIT));
    }
    Ok(element.small("iterations")?.max(1))
}

/// An INTEGER, DER.
pub fn integer(value: u32) -> Vec<u8> {
    let octets = u64::from(value).to_be_bytes();
    // At least one octet, and a zero one before a top bit.
    let start = (0..7).find(|at| octets[*at] != 0 || octets[at + 1] & 0x80 != 0).unwrap_or(7);
    tlv(INTEGER, &[&octets[start..]])
}

/// Salts and initialisation vectors, from the operating system.
pub fn random(len: usize) -> Vec<u8> {
    let mut octets = vec![0; len];
    rand::fill(&mut octets[..]);
    octets
}

/// PRFs of PBKDF2 by their HMAC (RFC 8018, B.1).
const PRFS: [(Hash, ObjectIdentifier); 4] = [
    (Hash::Sha1, ObjectIdentifier::new_unwrap("1.2.840.113549.2.7")),
    (Hash::Sha256, oid::HMAC_SHA256),
    (Hash::Sha384, ObjectIdentifier::new_unwrap("1.2.840.113549.2.10")),
    (Hash::Sha512, ObjectIdentifier::new_unwrap("1.2.840.113549.2.11")),
];

/// Some tenths of a second for key, certificates and MAC together; Windows refuses archives of more than
/// 600 000 in all.
pub const MODERN_ITERATIONS: u32 = 100_000;
/// What OpenSSL wrote in the time of the routers.
pub const LEGACY_ITERATIONS: u32 = 2048;

mod oid {
    use der::asn1::ObjectIdentifier;

    const fn oid(text: &str) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(text)
    }

    // RFC 8018, A and B.
    pub const PBE_MD5_DES: ObjectIdentifier = oid("1.2.840.113549.1.5.3");
    pub const PBE_MD5_RC2: ObjectIdentifier = oid("1.2.840.113549.1.5.6");
    pub const PBE_SHA1_DES: ObjectIdentifier = oid("1.2.840.113549.1.5.10");
    pub const PBE_SHA1_RC2: ObjectIdentifier = oid("1.2.840.113549.1.5.11");
    pub const PBKDF2: ObjectIdentifier = oid("1.2.840.113549.1.5.12");
    pub const PBES2: ObjectIdentifier = oid("1.2.840.113549.1.5.13");
    pub const HMAC_SHA256: ObjectIdentifier = oid("1.2.840.113549.2.9");
    pub const RC2_CBC: ObjectIdentifier = oid("1.2.840.113549.3.2");
    // RFC 7292, C.
    pub const PKCS12_DES3: ObjectIdentifier = oid("1.2.840.113549.1.12.1.3");
    pub const PKCS12_DES2: ObjectIdentifier = oid("1.2.840.113549.1.12.1.4");
    pub const PKCS12_RC2_128: ObjectIdentifier = oid("1.2.840.113549.1.12.1.5");
    pub const PKCS12_RC2_40: ObjectIdentifier = oid("1.2.840.113549.1.12.1.6");
}
