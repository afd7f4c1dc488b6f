//! The fingerprint of a CA certificate, as it is typed to be compared.

use std::fmt;

use crate::pki::{Hash, hex};

/// The fingerprint that a certificate must have. Which digest it is follows from its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    hash: Hash,
    digest: Vec<u8>,
}

/// Why a text is no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 32 hex digits (MD5), 40 (SHA-1) or 64 (SHA-256)")]
pub struct NoFingerprint;

impl Fingerprint {
    /// Reads hex digits, with blanks or colons between them.
    pub fn parse(text: &str) -> Result<Self, NoFingerprint> {
        let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
        let digest = super::hex::octets(&digits).ok_or(NoFingerprint)?;
        let hash = [Hash::Md5, Hash::Sha1, Hash::Sha256].into_iter().find(|hash| hash.size() == digest.len());
        Ok(Self { hash: hash.ok_or(NoFingerprint)?, digest })
    }

    /// Which digest it is.
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// Whether it is that of this certificate, given in DER.
    pub fn is_of(&self, der: &[u8]) -> bool {
        self.hash.digest(&[der]) == self.digest
    }
}

impl fmt::Display for Fingerprint {
    /// Hex digits in capitals without blanks, as IOS writes it into its configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.digest).to_ascii_uppercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_length_says_which_digest_it_is() {
        let of = |text: &str| Fingerprint::parse(text).map(|typed| typed.hash());
        assert_eq!(of("12EF53FA 355CD23E 12EF53FA 355CD23E"), Ok(Hash::Md5));
        assert_eq!(of("02fd799ddd40c7a861dc53ab1e89a3ea2a729ee2"), Ok(Hash::Sha1));
        assert_eq!(of(&"ab:".repeat(32)), Ok(Hash::Sha256));
        for hostile in ["", "12", "12EF53FA", &"g".repeat(32), &"é".repeat(16), &"a".repeat(63)] {
            assert_eq!(of(hostile), Err(NoFingerprint), "{hostile}");
        }
    }

    #[test]
    fn it_is_that_of_one_certificate() {
        // RFC 1321, A.5.
        let typed = Fingerprint::parse("D41D8CD9 8F00B204 E9800998 ECF8427E").unwrap();
        assert!(typed.is_of(b"") && !typed.is_of(b"a"));
        assert_eq!(typed.to_string(), "D41D8CD98F00B204E9800998ECF8427E");
    }
}
