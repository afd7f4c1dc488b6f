//! How a private key travels between this process and a token: encrypted under an AES key that exists for
//! that one journey.

use aes_kw::{IV_LEN, KeyInit, KwAes256, KwpAes256};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use zeroize::{Zeroize, Zeroizing};

use crate::pki::Cipher;

use super::error::Problem;
use super::profile::Way;
use super::session::Open;
use super::sys::ObjectHandle;

/// An AES-256 key that this process and the token both have. Gone from both when dropped.
pub(super) struct WrappingKey<'o> {
    open: &'o Open,
    object: ObjectHandle,
    value: Zeroizing<[u8; 32]>,
    /// For `CKM_AES_CBC_PAD`.
    iv: [u8; 16],
}

/// Attributes with a secret among them, wiped when dropped.
pub(super) struct SecretTemplate(pub Vec<Attribute>);

impl<'o> WrappingKey<'o> {
    /// A new key, on the token in a session object.
    //
    // Sent to the token and not generated there: what a generated key wraps could not be opened here, for
    // nobody can read it. And made here, of our own randomness, for each journey anew: whoever knew it
    // could open what it wraps, so it is no caller's choice, and a session object that is destroyed with
    // this value leaves nobody anything to unwrap with later. That it passes through the module in the
    // clear loses nothing: so would the private key, which this process has before or after it anyway.
    pub fn new(open: &'o Open) -> Result<Self, Problem> {
        let (mut value, mut iv) = (Zeroizing::new([0; 32]), [0; 16]);
        getrandom::fill(&mut *value).map_err(Problem::NoRandomness)?;
        getrandom::fill(&mut iv).map_err(Problem::NoRandomness)?;
        let template = SecretTemplate(vec![
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Wrap(true),
            Attribute::Unwrap(true),
            Attribute::Value(value.to_vec()),
        ]);
        let object = open.session.create_object(&template.0)?;
        Ok(Self { open, object, value, iv })
    }

    /// Encrypts a private key for the token and has it opened there. `None` where `way` does not wrap.
    pub fn send(
        &self,
        way: Way,
        pkcs8: &[u8],
        template: &[Attribute],
    ) -> Result<Option<ObjectHandle>, Problem> {
        let Some((mechanism, sealed)) = self.mechanism(way).zip(self.seal(way, pkcs8)) else {
            return Ok(None);
        };
        Ok(Some(self.open.session.unwrap_key(&mechanism, self.object, &sealed, template)?))
    }

    /// Has a private key of the token encrypted there and opens it: its PKCS#8, which fewer than [`BLOCK`]
    /// zeros may follow.
    pub fn receive(&self, way: Way, key: ObjectHandle) -> Result<Option<Zeroizing<Vec<u8>>>, Problem> {
        let Some(mechanism) = self.mechanism(way) else { return Ok(None) };
        let sealed = self.open.session.wrap_key(&mechanism, self.object, key)?;
        let (function, length) = ("C_WrapKey", sealed.len());
        let wrong = Problem::BadOutput { function, length, what: "key wrapped in this way" };
        self.unseal(way, &sealed).map(Some).ok_or(wrong)
    }

    fn mechanism(&self, way: Way) -> Option<Mechanism<'static>> {
        match way {
            Way::AesKeyWrapPad => Some(Mechanism::AesKeyWrapPad),
            Way::AesKeyWrap => Some(Mechanism::AesKeyWrap),
            Way::AesCbcPad => Some(Mechanism::AesCbcPad(self.iv)),
            Way::CreateObject => None,
        }
    }

    fn seal(&self, way: Way, plain: &[u8]) -> Option<Vec<u8>> {
        let whole = plain.len().next_multiple_of(BLOCK);
        let mut buffer = vec![0; whole + IV_LEN];
        let length = match way {
            Way::AesKeyWrapPad => self.kwp().wrap_key(plain, &mut buffer).ok()?.len(),
            Way::AesKeyWrap => {
                // Filled with zeros: PKCS#11 2.40, 2.14.3.
                let mut padded = Zeroizing::new(vec![0; whole]);
                padded[..plain.len()].copy_from_slice(plain);
                self.kw().wrap_key(&padded, &mut buffer).ok()?.len()
            }
            Way::AesCbcPad => return Some(Cipher::Aes256.encrypt(&*self.value, &self.iv, plain)),
            Way::CreateObject => return None,
        };
        buffer.truncate(length);
        Some(buffer)
    }

    fn unseal(&self, way: Way, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut buffer = Zeroizing::new(vec![0; sealed.len()]);
        let length = match way {
            Way::AesKeyWrapPad => match self.kwp().unwrap_key(sealed, &mut buffer).map(<[u8]>::len) {
                Ok(length) => length,
                // CKM_AES_KEY_WRAP_PAD is RFC 5649 in most tokens and, by the letter of PKCS#11 3.0, RFC 3394
                // with the padding of PKCS#7 in others.
                Err(_) => unpadded(self.kw().unwrap_key(sealed, &mut buffer).ok()?)?,
            },
            Way::AesKeyWrap => self.kw().unwrap_key(sealed, &mut buffer).ok()?.len(),
            Way::AesCbcPad => return Cipher::Aes256.decrypt(&*self.value, &self.iv, sealed),
            Way::CreateObject => return None,
        };
        buffer.truncate(length);
        Some(buffer)
    }

    fn kw(&self) -> KwAes256 {
        KeyInit::new((&*self.value).into())
    }

    fn kwp(&self) -> KwpAes256 {
        KeyInit::new((&*self.value).into())
    }
}

impl Drop for WrappingKey<'_> {
    fn drop(&mut self) {
        // It ends with the session in any case.
        let _ = self.open.session.destroy_object(self.object);
    }
}

impl Drop for SecretTemplate {
    fn drop(&mut self) {
        for attribute in &mut self.0 {
            if let Attribute::Value(octets)
            | Attribute::PrivateExponent(octets)
            | Attribute::Prime1(octets)
            | Attribute::Prime2(octets)
            | Attribute::Exponent1(octets)
            | Attribute::Exponent2(octets)
            | Attribute::Coefficient(octets) = attribute
            {
                octets.zeroize();
            }
        }
    }
}

/// The length without the padding of PKCS#7 in blocks of eight.
fn unpadded(plain: &[u8]) -> Option<usize> {
    let pad = usize::from(*plain.last()?);
    let length = plain.len().checked_sub(pad).filter(|_| (1..=BLOCK).contains(&pad))?;
    plain[length..].iter().all(|octet| usize::from(*octet) == pad).then_some(length)
}

/// Octets of a block of AES key wrap.
pub(super) const BLOCK: usize = 8;
