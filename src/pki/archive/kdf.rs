//! Keys from passphrases: PBKDF1 and PBKDF2 (RFC 8018, 5), the derivation of PKCS#12 (RFC 7292, B) and that
//! of OpenSSL's PEM headers.

use digest::Digest;
use zeroize::Zeroizing;

use crate::pki::Hash;

/// A passphrase in the encodings that keys are derived from.
pub struct Secret {
    /// As it is.
    pub utf8: Zeroizing<Vec<u8>>,
    /// BMPString with a terminating zero (RFC 7292, B.1).
    pub bmp: Zeroizing<Vec<u8>>,
}

impl Secret {
    pub fn of(passphrase: &str) -> Self {
        // Never moved while it grows.
        let mut bmp = Zeroizing::new(Vec::with_capacity(2 * passphrase.len() + 2));
        for unit in passphrase.encode_utf16().chain([0]) {
            bmp.extend_from_slice(&unit.to_be_bytes());
        }
        Self { utf8: Zeroizing::new(passphrase.as_bytes().to_vec()), bmp }
    }

    /// No passphrase at all, which some writers tell from an empty one.
    pub fn none() -> Self {
        Self { utf8: Zeroizing::default(), bmp: Zeroizing::default() }
    }
}

/// What a key of PKCS#12 is for (RFC 7292, B.3).
#[derive(Clone, Copy)]
pub enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// RFC 7292, B.2.
pub fn pkcs12_kdf(
    hash: Hash,
    purpose: Purpose,
    bmp: &[u8],
    salt: &[u8],
    iterations: u32,
    len: usize,
) -> Zeroizing<Vec<u8>> {
    match hash {
        Hash::Md5 => pkcs12_kdf_with::<md5::Md5>(64, purpose, bmp, salt, iterations, len),
        Hash::Sha1 => pkcs12_kdf_with::<sha1::Sha1>(64, purpose, bmp, salt, iterations, len),
        Hash::Sha256 => pkcs12_kdf_with::<sha2::Sha256>(64, purpose, bmp, salt, iterations, len),
        Hash::Sha384 => pkcs12_kdf_with::<sha2::Sha384>(128, purpose, bmp, salt, iterations, len),
        Hash::Sha512 => pkcs12_kdf_with::<sha2::Sha512>(128, purpose, bmp, salt, iterations, len),
    }
}

/// `block` is the digest's own block, v in the RFC.
fn pkcs12_kdf_with<D: Digest>(
    block: usize,
    purpose: Purpose,
    bmp: &[u8],
    salt: &[u8],
    iterations: u32,
    len: usize,
) -> Zeroizing<Vec<u8>> {
    let whole = |octets: &[u8]| octets.len().div_ceil(block) * block;
    let filled = |octets: &[u8]| -> Zeroizing<Vec<u8>> {
        Zeroizing::new(octets.iter().copied().cycle().take(whole(octets)).collect())
    };
    let mut input = Zeroizing::new([filled(salt).as_slice(), &filled(bmp)].concat());
    let diversifier = vec![purpose as u8; block];
    let mut out = Zeroizing::new(Vec::with_capacity(len + 64));
    while out.len() < len {
        let mut digest = D::new().chain_update(&diversifier).chain_update(&*input).finalize();
        for _ in 1..iterations {
            digest = D::digest(&digest);
        }
        out.extend_from_slice(&digest);
        let addend: Zeroizing<Vec<u8>> = Zeroizing::new(digest.iter().copied().cycle().take(block).collect());
        for part in input.chunks_mut(block) {
            let mut carry = 1;
            for (octet, add) in part.iter_mut().zip(addend.iter()).rev() {
                carry += u16::from(*octet) + u16::from(*add);
                *octet = carry as u8;
                carry >>= 8;
            }
        }
    }
    out.truncate(len);
    out
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round: what the headers of RFC 1421 came to mean.
pub fn openssl_kdf(passphrase: &[u8], salt: &[u8], len: usize) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(len + 16));
    let mut last = Zeroizing::new(Vec::new());
    while out.len() < len {
        last = Zeroizing::new(Hash::Md5.digest(&[&last, passphrase, salt]));
        out.extend_from_slice(&last);
    }
    out.truncate(len);
    out
}

/// RFC 8018, 5.1; the first 16 octets.
pub fn pbkdf1(hash: Hash, passphrase: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<Vec<u8>> {
    let mut digest = Zeroizing::new(hash.digest(&[passphrase, salt]));
    for _ in 1..iterations {
        digest = Zeroizing::new(hash.digest(&[&digest]));
    }
    digest.truncate(16);
    digest
}

/// RFC 8018, 5.2.
pub fn pbkdf2(prf: Hash, passphrase: &[u8], salt: &[u8], iterations: u32, key: &mut [u8]) {
    match prf {
        Hash::Md5 => pbkdf2::pbkdf2_hmac::<md5::Md5>(passphrase, salt, iterations, key),
        Hash::Sha1 => pbkdf2::pbkdf2_hmac::<sha1::Sha1>(passphrase, salt, iterations, key),
        Hash::Sha256 => pbkdf2::pbkdf2_hmac::<sha2::Sha256>(passphrase, salt, iterations, key),
        Hash::Sha384 => pbkdf2::pbkdf2_hmac::<sha2::Sha384>(passphrase, salt, iterations, key),
        Hash::Sha512 => pbkdf2::pbkdf2_hmac::<sha2::Sha512>(passphrase, salt, iterations, key),
    }
}
