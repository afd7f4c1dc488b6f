//! Which certificates a CA takes for its own.

use super::*;
use tokenca::ca::Ours;
use tokenca::ra::{Asked, Body, Keys, Manner, Ra, Responder};
use tokenca::scep::client::{Parties, Style};
use tokenca::scep::{AlgorithmPolicy, CertRep, FailInfo, MessageType, PkiStatus};

#[test]
fn its_own_are_those_on_record_octet_for_octet() {
    let lab = Lab::founded(settings());
    let certificate = lab.issue("CN=r1", NOW);
    let serial = certificate.serial().clone();
    let (ca, ours) = (lab.ca(), |revoked| {
        Some(Ours { serial: serial.clone(), revoked, class: tokenca::pki::Class::Router })
    });
    assert_eq!(ca.issued(&certificate).unwrap(), ours(false));
    ca.revoke(&serial, 1, NOW).unwrap();
    assert_eq!(ca.issued(&certificate).unwrap(), ours(true));
    // With the CA's own signature even, but not what is on record; and one that is not on record at all.
    assert_eq!(ca.issued(&before(2, &CA_KEY, Hash::Sha256)).unwrap(), None);
    assert_eq!(ca.issued(&before(77, &CA_KEY, Hash::Sha256)).unwrap(), None);
    assert_eq!(ca.issued(&DEVICE_KEY.self_signed("CN=r1")).unwrap(), None);
}

#[test]
fn those_of_a_ca_taken_over_are_known_by_record_or_signature() {
    let known = before(5, &CA_KEY, Hash::Sha256);
    let lab = Lab::adopted(10, vec![whole(&known), number(6)], None);
    let ca = lab.ca();
    assert_eq!(yes(&ca, &known), Some(false));
    // Known by its number, or by nothing.
    let (six, seven) = (before(6, &CA_KEY, Hash::Sha256), before(7, &CA_KEY, Hash::Sha256));
    assert_eq!(yes(&ca, &six), Some(false));
    assert_eq!(yes(&ca, &seven), Some(false));
    for certificate in [&six, &seven] {
        ca.revoke(certificate.serial(), 1, NOW).unwrap();
        assert_eq!(yes(&ca, certificate), Some(true));
    }
    // Another than the one that is known whole, one of another key, one that was never issued.
    let twin = before(5, &CA_KEY, Hash::Sha384);
    for stranger in [twin, before(8, &DEVICE_KEY, Hash::Sha256), before(11, &CA_KEY, Hash::Sha256)] {
        assert_eq!(yes(&ca, &stranger), None, "{stranger:?}");
    }
    // What is intended here is not issued yet, and not when its intent was given up.
    lab.issue("CN=r1", NOW);
    assert_eq!(yes(&ca, &before(11, &CA_KEY, Hash::Sha256)), None);
}

#[test]
fn a_weak_digest_needs_the_operators_word() {
    let mut lab = Lab::adopted(10, vec![whole(&before(5, &CA_KEY, Hash::Md5))], None);
    let (known, md5, sha1) =
        (before(5, &CA_KEY, Hash::Md5), before(6, &CA_KEY, Hash::Md5), before(7, &CA_KEY, Hash::Sha1));
    // On record as it is, no digest matters.
    assert_eq!(yes(&lab.ca(), &known), Some(false));
    assert_eq!(yes(&lab.ca(), &md5), None);
    assert_eq!(yes(&lab.ca(), &sha1), None);
    lab.settings.rules.md5 = true;
    assert_eq!(yes(&lab.ca(), &md5), Some(false));
    assert_eq!(yes(&lab.ca(), &sha1), Some(false));
    assert_eq!(yes(&lab.ca(), &before(6, &DEVICE_KEY, Hash::Md5)), None);
}

#[test]
fn a_device_of_a_ca_taken_over_renews() {
    let lab = Lab::adopted(10, Vec::new(), None);
    let ca = Arc::new(lab.ca());
    let own = || ca.certificate().clone();
    let keys = Keys {
        signer: Responder { certificate: own(), key: CA_KEY.clone() },
        decrypter: Responder { certificate: own(), key: CA_KEY.clone() },
        separate: false,
        next: None,
        fetches: Arc::default(),
    };
    let ra = Ra::new(ca.clone(), lab.store.clone(), keys, AlgorithmPolicy::default(), Manner::default());
    let ra = ra.expect("an RA");
    let new = TestKey::new();
    let renew = |signer: &Certificate| {
        let parties = Parties { ca: ca.certificate(), signer, key: DEVICE_KEY.as_ref() };
        let csr = client::csr(&name("CN=old"), &new, Hash::Sha256, None, &[]).expect("a PKCS#10");
        let transaction = client::transaction_id(&new);
        let message =
            client::message(MessageType::RenewalReq, &transaction, &csr, &parties, Style::default());
        let message = message.expect("the key signs").expect("the CA decrypts");
        let answer = ra.answer(Asked::PkiOperation(message.octets), [192, 0, 2, 1].into(), NOW);
        let Body::Ok { octets, .. } = answer.body else { panic!("{:?}", answer.body) };
        let reply = CertRep::decode(&octets, &[ca.certificate()]).expect("a CertRep");
        match reply.status() {
            PkiStatus::Success => {
                let mut issued = reply.open(signer, DEVICE_KEY.as_ref()).expect("it is for us");
                Ok(issued.certificates.remove(0))
            }
            _ => Err(reply.fail_info().expect("a FAILURE says why")),
        }
    };
    let renewed = renew(&before(7, &CA_KEY, Hash::Sha256)).expect("renewed without asking");
    assert_eq!(renewed.serial(), &Serial::from(11));
    assert_eq!(renewed.public_key(), new.public_key());
    assert_eq!(renewed.subject_raw(), name("CN=old").as_der());

    assert_eq!(renew(&before(12, &CA_KEY, Hash::Sha256)), Err(FailInfo::BadMessageCheck), "never issued");
    let forged = before(8, &TestKey::new(), Hash::Sha256);
    assert_eq!(renew(&forged), Err(FailInfo::BadMessageCheck), "not signed by the CA");
    assert_eq!(renew(&before(8, &CA_KEY, Hash::Sha1)), Err(FailInfo::BadMessageCheck), "a weak digest");
    ca.revoke(&Serial::from(9), 1, NOW).expect("it may have been issued");
    assert_eq!(renew(&before(9, &CA_KEY, Hash::Sha256)), Err(FailInfo::BadRequest), "revoked");
}

/// Whether it is revoked, when it is the CA's.
fn yes(ca: &Ca, certificate: &Certificate) -> Option<bool> {
    ca.issued(certificate).expect("an answer").map(|ours| ours.revoked)
}
