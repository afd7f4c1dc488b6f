//! Opening envelopes without becoming an oracle.
//!
//! With `CKM_RSA_X_509` the token only exponentiates and the padding is removed here in
//! constant time, so nothing about the padding is visible outside and every failure is the token's.
//! Without it the token removes the padding. Then a failed `C_Decrypt` and a key of the wrong length are
//! both answered by the random key made beforehand, and the session is replaced after the answer whatever
//! it was; how long the module itself takes over a bad padding is its own affair. A key of its own for
//! envelopes is the answer for such tokens.

use std::time::Instant;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::pki::unpad;
use crate::pki::{KeyTransport, PublicKey};

use super::error::Problem;
use super::mechanism::DecryptWith;
use super::object::KeyInfo;
use super::session::{Link, Open};
use super::sys::{ObjectHandle, Use};

/// A secret, and the envelope that has it for this key.
pub(super) fn envelope(
    key: &KeyInfo,
    transport: KeyTransport,
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), Problem> {
    let secret = random(16)?;
    let wrapped = key.public_key.encrypt(transport, &secret);
    let wrapped = wrapped.ok_or_else(|| Problem::NotOffered { what: format!("{transport:?} envelopes") })?;
    Ok((secret, wrapped))
}

/// Opens an envelope by this mechanism with the key with this handle: what comes out. Its error is told,
/// unlike that of an envelope that somebody has sent.
pub(super) fn try_envelope(
    link: &Link,
    open: &Open,
    key: &KeyInfo,
    handle: ObjectHandle,
    (plan, transport): (DecryptWith, KeyTransport),
    wrapped: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let not_offered = || Problem::NotOffered { what: format!("{plan:?} decryption") };
    let (mechanism, size) = (plan.mechanism().ok_or_else(not_offered)?, wrapped.len());
    let block = link.with_key(key, |pin| {
        open.session.decrypt(&Use { mechanism: &mechanism, key: handle, data: wrapped, most: size, pin })
    })?;
    Ok(select(plan, transport, Some(block), size, true, random(16)?))
}

/// The token's answer to the ciphertext; `None` where it says that the data are wrong.
pub(super) fn decrypt(
    link: &Link,
    open: &mut Open,
    key: &KeyInfo,
    plan: DecryptWith,
    ciphertext: &[u8],
) -> Result<Option<Zeroizing<Vec<u8>>>, Problem> {
    let not_offered = || Problem::NotOffered { what: format!("{plan:?} decryption") };
    let mechanism = plan.mechanism().ok_or_else(not_offered)?;
    let handle = open.handle(link, key)?;
    let start = Instant::now();
    let most = ciphertext.len();
    let result = link.with_key(key, |pin| {
        open.session.decrypt(&Use { mechanism: &mechanism, key: handle, data: ciphertext, most, pin })
    });
    link.counters.decryptions.add_since(start);
    match result {
        Ok(block) => Ok(Some(block)),
        // Every number below the modulus has a raw result: a failure there is the token's.
        Err(Problem::Call(call)) if plan != DecryptWith::Raw && !call.is_loss_in_decryption() => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// The key in the token's answer, or `rejected`.
pub(super) fn select(
    plan: DecryptWith,
    transport: KeyTransport,
    block: Option<Zeroizing<Vec<u8>>>,
    size: usize,
    fits: bool,
    rejected: Zeroizing<Vec<u8>>,
) -> Zeroizing<Vec<u8>> {
    match plan {
        DecryptWith::Raw => {
            let mut em = Zeroizing::new(vec![0; size]);
            if let Some(block) = block.filter(|block| fits && block.len() <= size) {
                em[size - block.len()..].copy_from_slice(&block);
            }
            match transport {
                KeyTransport::Pkcs1v15 => unpad::pkcs1_v15_or(&em, rejected),
                KeyTransport::Oaep { hash, mgf } => unpad::oaep_or(&em, hash, mgf, rejected),
            }
        }
        DecryptWith::Padded(_) => {
            let len = rejected.len();
            let good = Choice::from(u8::from(fits))
                & Choice::from(u8::from(block.is_some()))
                & block.as_ref().map_or(0, |block| block.len()).ct_eq(&len);
            let mut key = Zeroizing::new(vec![0; len]);
            for (to, from) in key.iter_mut().zip(block.iter().flat_map(|block| block.iter())) {
                *to = *from;
            }
            let mut out = rejected;
            for (out, octet) in out.iter_mut().zip(key.iter()) {
                *out = u8::conditional_select(out, octet, good);
            }
            out
        }
    }
}

/// Whether a ciphertext as long as the modulus n is above 1 and below n - 1. What is not has no honest
/// sender, and some modules refuse it: that must not look like a token in trouble.
pub(super) fn is_usual(ciphertext: &[u8], key: &PublicKey) -> bool {
    let Some([modulus @ .., last]) = key.rsa_modulus() else { return false };
    let Some((low, high)) = ciphertext.split_last() else { return false };
    // n is odd, so n - 1 differs in the last octet alone.
    let below = (high, *low) < (modulus, last.saturating_sub(1));
    below && (*low > 1 || high.iter().any(|octet| *octet != 0))
}

pub(super) fn random(len: usize) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let mut octets = Zeroizing::new(vec![0; len]);
    getrandom::fill(&mut octets).map_err(Problem::NoRandomness)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_answers_are_selected_or_replaced() {
        let plan = DecryptWith::Padded(KeyTransport::Pkcs1v15);
        let pick = |block: Option<&[u8]>, fits| {
            let block = block.map(|block| Zeroizing::new(block.to_vec()));
            select(plan, KeyTransport::Pkcs1v15, block, 256, fits, Zeroizing::new(vec![9; 4])).to_vec()
        };
        assert_eq!(pick(Some(&[1, 2, 3, 4]), true), [1, 2, 3, 4]);
        assert_eq!(pick(Some(&[1, 2, 3, 4]), false), [9; 4]);
        assert_eq!(pick(Some(&[1, 2, 3]), true), [9; 4]);
        assert_eq!(pick(Some(&[1, 2, 3, 4, 5]), true), [9; 4]);
        assert_eq!(pick(None, true), [9; 4]);
    }

    #[test]
    fn unusual_ciphertexts_are_known() {
        let mut modulus = [0xaa; 64];
        modulus[63] = 0x55;
        let key = PublicKey::from_rsa_parts(&modulus, &[1, 0, 1]).unwrap();
        let ending = |mut number: [u8; 64], last| {
            number[63] = last;
            is_usual(&number, &key)
        };
        assert!(!ending([0; 64], 0) && !ending([0; 64], 1) && ending([0; 64], 2));
        assert!(ending(modulus, 0x53) && !ending(modulus, 0x54) && !ending(modulus, 0x55));
        assert!(ending([0x99; 64], 0xff) && !ending([0xff; 64], 0));
    }
}
