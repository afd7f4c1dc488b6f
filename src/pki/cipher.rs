//! Block ciphers in CBC mode: the content encryption of RFC 8894 and its past, and that of private keys.

use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::NoPadding};
use der::asn1::ObjectIdentifier;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeLess};
use zeroize::Zeroizing;

/// A block cipher in CBC mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// DES. Only behind `crypto legacy des`.
    Des,
    /// Three-key triple DES.
    Des3,
    /// AES-128.
    Aes128,
    /// AES-192.
    Aes192,
    /// AES-256.
    Aes256,
}

impl Cipher {
    /// Every cipher, weakest first.
    pub const ALL: [Self; 5] = [Self::Des, Self::Des3, Self::Aes128, Self::Aes192, Self::Aes256];

    /// `contentEncryptionAlgorithm`.
    pub const fn oid(self) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(match self {
            Self::Des => "1.3.14.3.2.7",
            Self::Des3 => "1.2.840.113549.3.7",
            Self::Aes128 => "2.16.840.1.101.3.4.1.2",
            Self::Aes192 => "2.16.840.1.101.3.4.1.22",
            Self::Aes256 => "2.16.840.1.101.3.4.1.42",
        })
    }

    /// Octets of the key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Des => 8,
            Self::Des3 | Self::Aes192 => 24,
            Self::Aes128 => 16,
            Self::Aes256 => 32,
        }
    }

    /// Octets of a block, and of the initialisation vector.
    pub const fn block_len(self) -> usize {
        match self {
            Self::Des | Self::Des3 => 8,
            _ => 16,
        }
    }

    /// Encrypts with PKCS#7 padding (RFC 5652, 6.3). `key` and `iv` have the lengths above.
    pub fn encrypt(self, key: &[u8], iv: &[u8], plain: &[u8]) -> Vec<u8> {
        let pad = self.block_len() - plain.len() % self.block_len();
        // Never moved: `plain` may be a private key, and it is overwritten where it stands.
        let mut buffer = Vec::with_capacity(plain.len() + pad);
        buffer.extend_from_slice(plain);
        buffer.resize(plain.len() + pad, pad as u8);
        let length = buffer.len();
        macro_rules! run {
            ($cipher:ty) => {
                cbc::Encryptor::<$cipher>::new_from_slices(key, iv)
                    .expect("key and iv have the cipher's lengths")
                    .encrypt_padded::<NoPadding>(&mut buffer, length)
                    .expect("whole blocks")
            };
        }
        match self {
            Self::Des => run!(des::Des),
            Self::Des3 => run!(des::TdesEde3),
            Self::Aes128 => run!(aes::Aes128),
            Self::Aes192 => run!(aes::Aes192),
            Self::Aes256 => run!(aes::Aes256),
        };
        buffer
    }

    /// Decrypts and takes the padding away. `None` when the padding is wrong, found out in a time that
    /// depends on the length alone; `None` also for a length that no encryption has.
    pub fn decrypt(self, key: &[u8], iv: &[u8], encrypted: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut buffer = self.decrypt_blocks(key, iv, encrypted)?;
        let length = unpadded(&buffer, self.block_len());
        buffer.truncate(length.unwrap_or(0));
        length.is_some().then_some(buffer)
    }

    /// Decrypts and leaves the padding. `None` for a length that no encryption has, and for a key or
    /// initialisation vector of another length than the cipher's.
    pub fn decrypt_blocks(self, key: &[u8], iv: &[u8], encrypted: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        if encrypted.is_empty() || !encrypted.len().is_multiple_of(self.block_len()) {
            return None;
        }
        let mut buffer = Zeroizing::new(encrypted.to_vec());
        macro_rules! run {
            ($cipher:ty) => {
                cbc::Decryptor::<$cipher>::new_from_slices(key, iv)
                    .ok()?
                    .decrypt_padded::<NoPadding>(&mut buffer)
                    .is_ok()
            };
        }
        let whole = match self {
            Self::Des => run!(des::Des),
            Self::Des3 => run!(des::TdesEde3),
            Self::Aes128 => run!(aes::Aes128),
            Self::Aes192 => run!(aes::Aes192),
            Self::Aes256 => run!(aes::Aes256),
        };
        whole.then_some(buffer)
    }
}

/// The length without PKCS#7 padding, looking at the whole last block whatever it holds.
fn unpadded(buffer: &[u8], block: usize) -> Option<usize> {
    let last = &buffer[buffer.len() - block..];
    let pad = last[block - 1];
    let mut good = !pad.ct_eq(&0) & pad.ct_lt(&(block as u8 + 1));
    for (i, octet) in last.iter().rev().enumerate() {
        let within = (i as u8).ct_lt(&pad);
        good &= Choice::conditional_select(&Choice::from(1), &octet.ct_eq(&pad), within);
    }
    bool::from(good).then(|| buffer.len() - usize::from(pad))
}
