//! RSAES unpadding in constant time, with implicit rejection.

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::algorithm::Hash;

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

/// The last `rejected.len()` octets of the encryption block `em` when it is well formed
/// (RFC 8017, 7.1.2: `00`, masked seed, masked data block, the label empty) and holds a message of just
/// that length; else `rejected`, which the caller fills with random octets beforehand.
///
/// Time and memory depend on the lengths and the digests alone. `em` is the raw RSA result at the full
/// length of the modulus.
pub fn oaep_or(em: &[u8], hash: Hash, mgf: Hash, rejected: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let (len, size) = (rejected.len(), hash.size());
    // `00`, the seed, the digest of the label, `01` and the message; the lengths are no secret.
    if em.len() < 2 * size + len + 2 {
        return rejected;
    }
    let (first, masked) = (em[0], &em[1..]);
    let (masked_seed, masked_block) = masked.split_at(size);
    let mut seed = Zeroizing::new(masked_seed.to_vec());
    mask(&mut seed, masked_block, mgf);
    let mut block = Zeroizing::new(masked_block.to_vec());
    mask(&mut block, &seed, mgf);

    let separator = block.len() - len - 1;
    let mut good = first.ct_eq(&0) & block[..size].ct_eq(&hash.digest(&[])) & block[separator].ct_eq(&1);
    good &= block[size..separator].iter().fold(Choice::from(1), |all, octet| all & octet.ct_eq(&0));
    let mut out = rejected;
    for (out, octet) in out.iter_mut().zip(&block[separator + 1..]) {
        *out = u8::conditional_select(out, octet, good);
    }
    out
}

/// `octets` XOR MGF1 of `seed` (RFC 8017, B.2.1).
fn mask(octets: &mut [u8], seed: &[u8], hash: Hash) {
    for (counter, part) in (0u32..).zip(octets.chunks_mut(hash.size())) {
        let stream = Zeroizing::new(hash.digest(&[seed, &counter.to_be_bytes()]));
        part.iter_mut().zip(stream.iter()).for_each(|(octet, mask)| *octet ^= mask);
    }
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

    fn oaep_block(total: usize, hash: Hash, mgf: Hash, block: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut data = hash.digest(&[]);
        data.resize(total - 1 - hash.size() - 17, 0);
        data.push(1);
        data.extend([7; 16]);
        block(&mut data);
        let mut seed = vec![0x5a; hash.size()];
        mask(&mut data, &seed, mgf);
        mask(&mut seed, &data, mgf);
        [vec![0], seed, data].concat()
    }

    #[test]
    fn good_oaep_block_yields_the_key() {
        for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha512] {
            for mgf in [Hash::Sha1, Hash::Sha256] {
                let em = oaep_block(256, hash, mgf, |_| ());
                assert_eq!(*oaep_or(&em, hash, mgf, Zeroizing::new(vec![9; 16])), [7; 16]);
            }
        }
    }

    #[test]
    fn every_oaep_fault_yields_the_substitute() {
        let hash = Hash::Sha256;
        let block = |fault: fn(&mut Vec<u8>)| oaep_block(256, hash, hash, fault);
        let mut first = block(|_| ());
        first[0] = 1;
        for em in [
            first,
            block(|data| data[0] ^= 1),
            block(|data| data[40] = 1),
            block(|data| {
                let separator = data.len() - 17;
                data[separator] = 2;
            }),
            oaep_block(256, hash, Hash::Sha1, |_| ()),
            oaep_block(256, Hash::Sha1, hash, |_| ()),
            vec![0; 81],
            vec![],
        ] {
            assert_eq!(*oaep_or(&em, hash, hash, Zeroizing::new(vec![9; 16])), [9; 16]);
        }
        let wrong_length = Zeroizing::new(vec![9; 24]);
        assert_eq!(*oaep_or(&block(|_| ()), hash, hash, wrong_length), [9; 24]);
    }
}
