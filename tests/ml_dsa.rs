//! ML-DSA: what OpenSSL has signed (`tests/vectors/mldsa`) is verified wherever we verify.

use std::fs;

use tokenca::pki::crl::Crl;
use tokenca::pki::ocsp::Question;
use tokenca::pki::path::{Path, Rules};
use tokenca::pki::{
    Certificate, Csr, CsrError, KeyKind, MlDsaSet, PublicKey, PublicKeyError, Serial, SignatureAlgorithm,
    Standing, Time, VerifyError,
};

/// A time at which the vectors are valid: 1 December 2026.
const NOW: Time = Time::from_unix(1_796_083_200);

#[test]
fn what_openssl_signs_is_verified() {
    for set in MlDsaSet::ALL {
        let (root, device) = (certificate(set, "root"), certificate(set, "device"));
        for certificate in [&root, &device] {
            assert_eq!(certificate.public_key().kind(), KeyKind::MlDsa(set));
            assert_eq!(certificate.signature_algorithm(), Some(SignatureAlgorithm::MlDsa(set)));
            assert_eq!(certificate.signature().len(), set.signature_size());
        }
        let rules = Rules::at(NOW);
        let path = Path::find(&device, &[], std::slice::from_ref(&root), &rules).unwrap();
        assert_eq!(path.certificates().len(), 2);

        let crl = Crl::parse(vector(set, "crl")).unwrap();
        crl.check_issuer(&root, &rules).unwrap();
        assert_eq!(crl.standing(device.serial()), Standing::Good);
        assert_ne!(crl.standing(&Serial::from(3)), Standing::Good);
        assert!(crl.check_issuer(&device, &rules).is_err());

        let question = Question::new(&device, &root, None);
        let answer = question.answer(&vector(set, "ocsp"), &rules).unwrap();
        assert_eq!(answer.standing, Some(Standing::Good));

        let request = Csr::parse(&vector(set, "request")).and_then(Csr::verify).unwrap();
        assert_eq!(request.public_key(), device.public_key());
    }
}

#[test]
fn other_signatures_are_refused() {
    for set in MlDsaSet::ALL {
        let root = certificate(set, "root");
        let good = SignatureAlgorithm::MlDsa(set);
        let key = root.public_key();
        let (tbs, signature) = (root.tbs(), root.signature());
        assert_eq!(key.verify(good, tbs, signature), Ok(()));
        assert_eq!(key.verify(good, &tbs[1..], signature), Err(VerifyError::BadSignature));
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut wrong = signature.to_vec();
            wrong[at] ^= 1;
            assert_eq!(key.verify(good, tbs, &wrong), Err(VerifyError::BadSignature), "{set:?}, {at}");
        }
        for wrong in [&signature[1..], &[signature, &[0]].concat(), &[]] {
            assert_eq!(key.verify(good, tbs, wrong), Err(VerifyError::BadSignature));
        }
        for other in MlDsaSet::ALL.into_iter().filter(|other| *other != set) {
            let algorithm = SignatureAlgorithm::MlDsa(other);
            assert_eq!(key.verify(algorithm, tbs, signature), Err(VerifyError::WrongKeyKind));
            assert!(root.verify_signed_by(certificate(other, "root").public_key()).is_err());
        }
        // By another key of the same set.
        let device = certificate(set, "device");
        assert_eq!(root.verify_signed_by(device.public_key()), Err(VerifyError::BadSignature));
    }
    let mut request = vector(MlDsaSet::MlDsa44, "request");
    *request.last_mut().unwrap() ^= 1;
    let refused = Csr::parse(&request).and_then(Csr::verify);
    assert_eq!(refused.err(), Some(CsrError::Signature(VerifyError::BadSignature)));
}

#[test]
fn keys_are_of_the_right_size_and_without_parameters() {
    for set in MlDsaSet::ALL {
        let key = certificate(set, "root").public_key().clone();
        assert_eq!(PublicKey::from_ml_dsa(set, key.key_bits()), Ok(key.clone()));
        assert_eq!(key.key_bits().len(), set.key_size());
        assert_eq!((key.rsa_modulus(), key.ec_point()), (None, None));
        assert_eq!(PublicKey::from_ml_dsa(set, &key.key_bits()[1..]), Err(PublicKeyError::Malformed));
        for other in MlDsaSet::ALL.into_iter().filter(|other| *other != set) {
            assert_eq!(PublicKey::from_ml_dsa(other, key.key_bits()), Err(PublicKeyError::Malformed));
        }
        let identifier = SignatureAlgorithm::MlDsa(set).identifier().unwrap();
        assert_eq!(identifier.parameters, None);
        let with_null = [&[0x30, 0x0d][..], &der::Encode::to_der(&set.oid()).unwrap(), &[5, 0]].concat();
        assert_eq!(SignatureAlgorithm::from_der(&with_null, None), None);
    }
}

fn certificate(set: MlDsaSet, what: &str) -> Certificate {
    Certificate::parse(&vector(set, what)).unwrap()
}

fn vector(set: MlDsaSet, what: &str) -> Vec<u8> {
    let path = format!("{}/tests/vectors/mldsa/{}-{what}.der", env!("CARGO_MANIFEST_DIR"), set.number());
    fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
