//! RSAES-PKCS1-v1_5 unpadding in constant time, with implicit rejection.

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

/// The last `rejected.len()` octets of the encryption block `em` when it is well formed
/// (RFC 8017, 7.2.2: `00 02`, at least eight non-zero octets, `00`, the message) and holds a message of
/// just that length; else `rejected`, which the caller fills with random octets beforehand.
///
/// The time taken and the memory touched depend on the two lengths alone, never on the content.
/// `em` is the raw RSA result at the full length of the modulus.
pub fn pkcs1_v15_or(em: &[u8], rejected: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let len = rejected.len();
    // 3 for `00 02 … 00`, 8 for the least padding; the lengths are no secret.
    if em.len() < len + 11 {
        return rejected;
    }
    let separator = em.len() - len - 1;
    let mut good = em[0].ct_eq(&0) & em[1].ct_eq(&2) & em[separator].ct_eq(&0);
    good &= em[2..separator].iter().fold(Choice::from(1), |all, octet| all & !octet.ct_eq(&0));
    let mut out = rejected;
    for (out, octet) in out.iter_mut().zip(&em[separator + 1..]) {
        *out = u8::conditional_select(out, octet, good);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(total: usize, message: &[u8]) -> Vec<u8> {
        let mut em = vec![0xaa; total];
        (em[0], em[1]) = (0, 2);
        em[total - message.len() - 1] = 0;
        em[total - message.len()..].copy_from_slice(message);
        em
    }

    #[test]
    fn good_block_yields_the_key() {
        let got = pkcs1_v15_or(&block(256, &[7; 16]), Zeroizing::new(vec![9; 16]));
        assert_eq!(*got, [7; 16]);
    }

    #[test]
    fn every_fault_yields_the_substitute() {
        let good = block(256, &[7; 16]);
        let fault = |at: usize, value: u8| {
            let mut em = good.clone();
            em[at] = value;
            em
        };
        let short = block(26, &[7; 16]);
        for em in [
            fault(0, 1),
            fault(1, 1),
            fault(2, 0),
            fault(100, 0),
            fault(239, 1),
            block(256, &[7; 24]),
            short,
            vec![],
        ] {
            assert_eq!(*pkcs1_v15_or(&em, Zeroizing::new(vec![9; 16])), [9; 16]);
        }
    }
}
