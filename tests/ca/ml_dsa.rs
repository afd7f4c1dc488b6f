//! A CA with an ML-DSA key, and one that comes to it: certificates, CRLs and the reply that tells of a next CA.

use super::*;
use support::keys::MlDsaTestKey;
use tokenca::pki::path::{Path, Rules as PathRules};
use tokenca::pki::{Certificate, KeyKind, MlDsaSet, SignatureAlgorithm, Standing, crl};
use tokenca::scep::next_ca;
use tokenca::store::Phase;

#[test]
fn it_issues_and_revokes() {
    for set in MlDsaSet::ALL {
        let key: Arc<dyn SigningKey> = Arc::new(MlDsaTestKey::new(set));
        // What is configured for keys that take a digest changes nothing.
        let settings = Settings { hash: Hash::Sha1, ..settings() };
        let lab = Lab { settings, ..Lab::empty() };
        found(&lab, &key);
        let ca = open(&lab, &key, None);
        let root = ca.certificate();
        assert_eq!(root.public_key().kind(), KeyKind::MlDsa(set));
        let usage = root.extensions().key_usage().unwrap();
        assert!(usage.key_cert_sign() && usage.crl_sign() && usage.digital_signature());
        assert!(!usage.key_encipherment());

        let device = issued(ca.issue(approved("CN=r1"), application("CN=r1"), &Meter::new(), NOW));
        let own = request_of(&MlDsaTestKey::new(set));
        let odd = issued(ca.issue(own, application("CN=r2"), &Meter::new(), NOW));
        let usage = odd.extensions().key_usage().unwrap();
        assert!(usage.digital_signature() && !usage.key_encipherment() && !usage.key_agreement());
        let scep_key = TestKey::new();
        let place = ("usbtoken0", "mycs.scep-sign");
        let registrar =
            ca.certify_scep_key(ca.active(), Role::RaSign, &scep_key, place, &Meter::new(), NOW).unwrap();
        let registrar = Certificate::parse(&registrar.certificate).unwrap();

        let rules = PathRules::at(NOW);
        for certificate in [&device, &odd, &registrar] {
            assert_eq!(certificate.signature_algorithm(), Some(SignatureAlgorithm::MlDsa(set)));
            let path = Path::find(certificate, &[], std::slice::from_ref(root), &rules).unwrap();
            assert_eq!(path.certificates().len(), 2);
        }
        // What was issued is known when it comes back.
        assert!(ca.issued(&device).unwrap().is_some_and(|ours| !ours.revoked));

        ca.revoke(device.serial(), 1, NOW).unwrap();
        let list = crl::Crl::parse(ca.issue_crl(&Meter::new(), NOW).unwrap().der).unwrap();
        list.check_issuer(root, &rules).unwrap();
        assert_eq!(list.signature_algorithm(), Some(SignatureAlgorithm::MlDsa(set)));
        assert_eq!(list.standing(device.serial()), Standing::Revoked { at: NOW, reason: 1 });
        assert_eq!(list.standing(odd.serial()), Standing::Good);
    }
}

#[test]
fn ca_keys_of_other_kinds_follow_and_go_before() {
    let rsa: Arc<dyn SigningKey> = CA_KEY.clone();
    let ml_dsa: Arc<dyn SigningKey> = Arc::new(MlDsaTestKey::new(MlDsaSet::MlDsa65));
    for (acting, coming) in [(&rsa, &ml_dsa), (&ml_dsa, &rsa)] {
        let lab = Lab::empty();
        found(&lab, acting);
        let next = open(&lab, acting, None)
            .make_next(coming.as_ref(), false, None, &|_| Ok(()), &Meter::new(), NOW)
            .unwrap();
        lab.store
            .prepare(NewAuthority {
                server: LABEL.into(),
                role: Role::Ca,
                token: "usbtoken0".into(),
                key_label: "mycs#2".into(),
                certificate: next.der.clone(),
            })
            .unwrap();
        let ca = open(&lab, acting, Some(coming));
        let certificate = ca.next().unwrap().certificate();
        assert_eq!(certificate.public_key(), coming.public_key());
        assert!(certificate.verify_signed_by(coming.public_key()).is_ok());

        // Clients of the CA of now believe the next one by its signature.
        let reply = next_ca::encode(&[&next.der], ca.certificate(), acting.as_ref()).unwrap();
        let told = next_ca::decode(&reply, &[ca.certificate()]).unwrap();
        assert_eq!(told.signed, std::slice::from_ref(certificate));
        let mut changed = reply.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(next_ca::decode(&changed, &[ca.certificate()]).is_err());
    }
}

fn found(lab: &Lab, key: &Arc<dyn SigningKey>) {
    let founding = Founding {
        label: LABEL,
        name: &name(CA_NAME),
        place: ("usbtoken0", "mycs"),
        key: key.clone(),
        scep: false,
    };
    founding.found(lab.store.as_ref(), &lab.settings, &Meter::new(), NOW).expect("a CA");
}

fn open(lab: &Lab, key: &Arc<dyn SigningKey>, next: Option<&Arc<dyn SigningKey>>) -> Ca {
    let authorities = lab.store.authorities(LABEL).expect("authorities");
    let find = |phase| authorities.iter().find(|a| a.phase == phase && a.role == Role::Ca).expect("one");
    let (store, gate) = (lab.store.clone(), lab.gate.clone());
    let ca =
        Ca::open(LABEL, store, find(Phase::Active), key.clone(), lab.settings.clone(), gate).expect("a CA");
    match next {
        Some(next) => ca.with(tokenca::ca::Issuer::open(find(Phase::Next), next.clone()).expect("its key")),
        None => ca,
    }
}

/// Granted: a request of a device with this key.
fn request_of(key: &MlDsaTestKey) -> policy::Approved {
    let csr = client::csr(&name("CN=r2"), key, Hash::Sha256, None, &[]).expect("a PKCS#10");
    let csr = Csr::parse(&csr).and_then(Csr::verify).expect("of its own key");
    policy::operator_grants(csr, &settings().rules).expect("nothing is wrong with it")
}
