//! The SCEP client by itself: which algorithms it takes, what it believes.

mod support;

use std::sync::Arc;

use support::fakeca::{Answer, FakeCa, Party};
use support::keys::{TestKey, name};
use tokenca::pki::{Certificate, Cipher, Hash, SigningKey};
use tokenca::scep::{AlgorithmPolicy, FailInfo, MessageType, TransactionId, certs_only, client, next_ca};
use tokenca::trustpoint::{Answered, CaCertificates, ClientError, ClientRequest, Upper};

/// A device that asks a CA in memory.
struct Scene {
    ca: Arc<FakeCa>,
    upper: Upper,
    key: TestKey,
    signer: Certificate,
    transaction: TransactionId,
}

impl Scene {
    fn new() -> Self {
        let ca = Arc::new(FakeCa::new());
        let upper = Upper::new("http://192.0.2.1", ca.clone());
        let key = TestKey::new();
        let signer = key.self_signed("cn=r1");
        let transaction = client::transaction_id(&key);
        Self { ca, upper, key, signer, transaction }
    }

    fn csr(&self) -> Vec<u8> {
        client::csr(&name("cn=r1"), &self.key, Hash::Sha256, None, &[]).unwrap()
    }

    fn ask(&self, kind: MessageType, content: &[u8]) -> Result<Answered, ClientError> {
        let certificates = CaCertificates::sorted(vec![self.ca.ca.certificate.clone()]).unwrap();
        self.upper.send(&ClientRequest {
            kind,
            transaction: &self.transaction,
            content,
            signer: &self.signer,
            key: &self.key,
            decrypter: &self.key,
            to: &certificates,
            trusted: &[&certificates],
            wanted: Some(SigningKey::public_key(&self.key)),
        })
    }

    fn enrol(&self) -> Result<Answered, ClientError> {
        self.ask(MessageType::PkcsReq, &self.csr())
    }

    #[track_caller]
    fn refused(&self, answer: Answer) -> String {
        self.ca.will(answer);
        self.enrol().expect_err(&format!("{answer:?}")).to_string()
    }
}

#[test]
fn a_certificate_is_asked_for_and_comes() {
    let scene = Scene::new();
    let Answered::Issued(certificates) = scene.enrol().unwrap() else { panic!() };
    assert_eq!(certificates[0].public_key(), SigningKey::public_key(&scene.key));
    scene.ca.will(Answer::Pend);
    assert_eq!(scene.enrol().unwrap(), Answered::Pending);
    let content = client::issuer_and_subject(scene.ca.ca.certificate.subject_raw(), name("cn=r1").as_der());
    scene.ca.will(Answer::Grant);
    assert!(matches!(scene.ask(MessageType::CertPoll, &content).unwrap(), Answered::Issued(_)));
    scene.ca.will(Answer::Refuse);
    let refused = Answered::Failed { info: Some(FailInfo::BadRequest), text: Some("not you".into()) };
    assert_eq!(scene.enrol().unwrap(), refused);
    let kinds: Vec<_> = scene.ca.seen().iter().map(|seen| seen.kind).collect();
    use MessageType::{CertPoll, PkcsReq};
    assert_eq!(kinds, [PkcsReq, PkcsReq, CertPoll, PkcsReq]);
}

#[test]
fn what_is_not_the_answer_of_the_ca_is_not_believed() {
    let scene = Scene::new();
    for (answer, complaint) in [
        (Answer::OtherKey, "not for the key that was asked for"),
        (Answer::OtherCa, "not issued by the CA of the trustpoint"),
        (Answer::OtherSigner, "signed by somebody else than the CA"),
        (Answer::OtherNonce, "its recipientNonce is not that of the request"),
        (Answer::OtherTransaction, "its transactionID is not that of the request"),
        (Answer::Nothing, "holds no certificate"),
        (Answer::Noise, "the message is malformed"),
        (Answer::Status(503), "answered PKIOperation with 503"),
    ] {
        let said = scene.refused(answer);
        assert!(said.contains(complaint), "{answer:?}: {said}");
    }
}

#[test]
fn the_best_that_the_ca_knows_is_used() {
    let scene = Scene::new();
    for (capabilities, posted, digest, cipher) in [
        ("AES\nSHA-256\nPOSTPKIOperation", true, Hash::Sha256, Cipher::Aes128),
        ("SCEPStandard\r\n", true, Hash::Sha256, Cipher::Aes128),
        ("DES3\nSHA-1\n", false, Hash::Sha1, Cipher::Des3),
        ("AES\nSHA-512\nSHA-1", false, Hash::Sha512, Cipher::Aes128),
        ("Renewal", false, Hash::Sha256, Cipher::Des3),
        ("", false, Hash::Sha256, Cipher::Des3),
    ] {
        scene.ca.says(capabilities);
        assert!(matches!(scene.enrol().unwrap(), Answered::Issued(_)), "{capabilities:?}");
        let seen = scene.ca.seen().remove(0);
        assert_eq!(
            (seen.posted, seen.digest, seen.cipher),
            (posted, digest, Some(cipher)),
            "{capabilities:?}"
        );
    }
    *scene.ca.capabilities.lock().unwrap() = None;
    assert!(scene.upper.capabilities().unwrap().is_empty());
    let upper = Upper::new("http://192.0.2.1", scene.ca.clone()).hashing(Hash::Sha512);
    assert_eq!(upper.style(&upper.capabilities().unwrap()).digest, Hash::Sha512);
}

#[test]
fn weak_algorithms_have_to_be_allowed() {
    let mut scene = Scene::new();
    scene.ca.says("Renewal");
    let strict = scene.upper.clone();
    let des = AlgorithmPolicy { legacy_des: true, legacy_md5: false };
    scene.upper = strict.clone().allowing(des);
    assert!(matches!(scene.enrol().unwrap(), Answered::Issued(_)));
    assert_eq!(scene.ca.seen()[0].cipher, Some(Cipher::Des), "who does not say DES3 knows only DES");

    scene.upper = strict.hashing(Hash::Md5);
    let error = scene.enrol().unwrap_err();
    assert!(matches!(error, ClientError::Weak("md5")), "{error}");
    assert!(error.to_string().contains("hint: `crypto legacy md5` in the trustpoint"), "{error}");
}

#[test]
fn the_next_ca_is_believed_when_the_ca_of_now_says_so() {
    let scene = Scene::new();
    let current = CaCertificates::sorted(vec![scene.ca.ca.certificate.clone()]).unwrap();
    assert_eq!(scene.upper.next_ca_certificates(&current).unwrap(), None);
    let next = successor("cn=fake, o=Test", 40);
    let der = next.certificate.der().to_vec();
    *scene.ca.next.lock().unwrap() = Some(next);
    let found = scene.upper.next_ca_certificates(&current).unwrap().unwrap();
    assert_eq!(found.ca().der(), der);
    for (next, complaint) in [
        (successor("cn=other, o=Test", 40), "it has another name"),
        (successor("cn=fake, o=Test", 1), "it ends no later than that of now"),
    ] {
        *scene.ca.next.lock().unwrap() = Some(next);
        let said = scene.upper.next_ca_certificates(&current).unwrap_err().to_string();
        assert!(said.contains(complaint), "{said}");
    }
    let own = current.ca().der();
    scene.ca.will_answer_next(next_ca::encode(&[own], current.ca(), &scene.ca.ca.key).unwrap());
    assert_eq!(scene.upper.next_ca_certificates(&current).unwrap(), None, "it is that of now");

    // An RA may sign much, and not this.
    let registrar = registrar(&scene.ca.ca, Mark::Purpose);
    let with_ra = CaCertificates::sorted(vec![current.ca().clone(), registrar.certificate.clone()]).unwrap();
    assert_eq!(with_ra.registrars(), std::slice::from_ref(&registrar.certificate));
    scene.ca.will_answer_next(next_ca::encode(&[&der], &registrar.certificate, &registrar.key).unwrap());
    let said = scene.upper.next_ca_certificates(&with_ra).unwrap_err().to_string();
    assert!(said.contains("signed by somebody else"), "{said}");
    *scene.ca.next_answer.lock().unwrap() = None;

    let stranger = CaCertificates::sorted(vec![scene.ca.stranger.certificate.clone()]).unwrap();
    let error = scene.upper.next_ca_certificates(&stranger).unwrap_err().to_string();
    assert!(error.contains("signed by somebody else"), "{error}");
    // Certificates beside the signature instead of below it.
    let bare = certs_only(&[&der]);
    assert!(next_ca::decode(&bare, &[current.ca()]).is_err());
    let mut spoilt = next_ca::encode(&[&der], current.ca(), &scene.ca.ca.key).unwrap();
    let at = spoilt.windows(4).position(|four| four == &der[100..104]).unwrap();
    spoilt[at] ^= 1;
    assert!(next_ca::decode(&spoilt, &[current.ca()]).is_err());
}

#[test]
fn an_ra_puts_its_next_certificate_beside_what_the_ca_has_signed() {
    let scene = Scene::new();
    let now = registrar(&scene.ca.ca, Mark::Name);
    let direct = CaCertificates::sorted(vec![scene.ca.ca.certificate.clone()]).unwrap();
    let current = CaCertificates::sorted(vec![direct.ca().clone(), now.certificate.clone()]).unwrap();
    assert_eq!(current.registrars(), std::slice::from_ref(&now.certificate));
    let next = successor("cn=fake, o=Test", 40);
    let signed = next_ca::encode(&[next.certificate.der()], direct.ca(), &scene.ca.ca.key).unwrap();
    let offers = |beside: &[&Certificate], current: &CaCertificates| {
        let beside: Vec<_> = beside.iter().map(|certificate| certificate.der()).collect();
        scene.ca.will_answer_next(next_ca::with_certificates(&signed, &beside).unwrap());
        scene.upper.next_ca_certificates(current).unwrap().expect("a next CA")
    };
    let own = registrar(&next, Mark::Name).certificate;
    let found = offers(&[&own], &current);
    assert_eq!((found.ca(), found.registrars()), (&next.certificate, std::slice::from_ref(&own)));
    assert_eq!(found.recipient().unwrap(), &own);

    // Whatever the form of the answer.
    let (oid, explicit) = signed[4..].split_at(11);
    let indefinite = [&[0x30, 0x80], oid, &[0xa0, 0x80, 0x30, 0x80], &explicit[8..], &[0; 6]].concat();
    scene.ca.will_answer_next(next_ca::with_certificates(&indefinite, &[own.der()]).unwrap());
    assert_eq!(scene.upper.next_ca_certificates(&current).unwrap(), Some(found));
    next_ca::with_certificates(next.certificate.der(), &[own.der()]).unwrap_err();

    // What anybody might put there: an RA that is not marked as one, one of another name, one that the next
    // CA has not issued, another CA, which has issued an RA as well; and any RA for who has asked none.
    let other = successor("cn=fake, o=Test", 50);
    let others = [
        registrar(&next, Mark::None).certificate,
        registrar(&next, Mark::Purpose).certificate,
        now.certificate.clone(),
        registrar(&other, Mark::Name).certificate,
        other.certificate,
    ];
    let found = offers(&others.iter().collect::<Vec<_>>(), &current);
    assert_eq!((found.ca(), found.registrars()), (&next.certificate, &[][..]));
    let all: Vec<_> = others.iter().chain([&own]).collect();
    assert_eq!(offers(&all, &current).registrars(), std::slice::from_ref(&own));
    assert_eq!(offers(&[&own], &direct).registrars(), []);

    // Only beside it: the next CA must be signed.
    let bare = next_ca::encode(&[], direct.ca(), &scene.ca.ca.key).unwrap();
    scene.ca.will_answer_next(next_ca::with_certificates(&bare, &[next.certificate.der()]).unwrap());
    scene.upper.next_ca_certificates(&current).unwrap_err();

    // What the CA has signed of its own RAs gives way to the RA that answers.
    let signed_with = registrar(&next, Mark::Purpose).certificate;
    let both = [next.certificate.der(), signed_with.der()];
    let signed = next_ca::encode(&both, direct.ca(), &scene.ca.ca.key).unwrap();
    scene.ca.will_answer_next(signed.clone());
    let found = scene.upper.next_ca_certificates(&current).unwrap().unwrap();
    assert_eq!(found.registrars(), [signed_with]);
    scene.ca.will_answer_next(next_ca::with_certificates(&signed, &[own.der()]).unwrap());
    let found = scene.upper.next_ca_certificates(&current).unwrap().unwrap();
    assert_eq!(found.registrars(), [own]);
}

/// A CA certificate for the time after, of so many years from now.
fn successor(subject: &str, years: u64) -> Party {
    let now = tokenca::pki::Time::now();
    Party::root(subject, (now, now.plus(std::time::Duration::from_secs(years * 365 * 86_400))))
}

/// What makes a certificate that of an RA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Purpose,
    Microsoft,
    Name,
    /// By its purpose; keyUsage cannot be read.
    Broken,
    /// By its purpose, signed over SHA-1.
    Weak,
    None,
}

/// A key with a certificate of this CA that may sign and decrypt, with this mark or none.
fn registrar(ca: &Party, mark: Mark) -> Party {
    use tokenca::pki::extension::{CMC_RA, extended_key_usage};
    let (key, now) = (TestKey::new(), tokenca::pki::Time::now());
    let subject = name(if mark == Mark::Name { "cn=ra, ou=ioscs RA" } else { "cn=r7" });
    let purposes = match mark {
        Mark::Purpose | Mark::Broken | Mark::Weak => vec![CMC_RA],
        Mark::Microsoft => vec!["1.3.6.1.4.1.311.20.2.1".parse().unwrap()],
        Mark::Name | Mark::None => Vec::new(),
    };
    let mut extensions: Vec<_> = extended_key_usage(&purposes).into_iter().collect();
    if mark == Mark::Broken {
        let mut usage = tokenca::pki::extension::key_usage(Default::default());
        usage.extn_value = der::asn1::OctetString::new([5, 0]).unwrap();
        extensions.push(usage);
    }
    let hash = if mark == Mark::Weak { Hash::Sha1 } else { Hash::Sha256 };
    let template = tokenca::pki::tbs::Template {
        algorithm: tokenca::pki::SignatureAlgorithm::RsaPkcs1(hash),
        issuer: tokenca::pki::Name::from_der(ca.certificate.subject_raw()),
        not_before: now,
        not_after: now.plus(std::time::Duration::from_secs(86_400)),
        subject,
        key: SigningKey::public_key(&key).clone(),
        extensions,
    };
    Party { certificate: ca.certify(&template), key }
}

/// Whoever stands between may add the certificate of a device, his own, to what GetCACert answers.
#[test]
fn a_certificate_of_the_ca_makes_nobody_an_ra() {
    let scene = Scene::new();
    let ca = &scene.ca.ca;
    // What it may be used for is not known: for nothing.
    let broken = registrar(ca, Mark::Broken).certificate;
    let shown = CaCertificates::sorted(vec![ca.certificate.clone(), broken.clone()]).unwrap();
    assert_eq!(shown.registrars(), std::slice::from_ref(&broken));
    assert_eq!(shown.recipient().unwrap(), &ca.certificate);
    assert!(!shown.signers().any(|signer| *signer == broken));

    for mark in [Mark::Purpose, Mark::Microsoft, Mark::Name, Mark::Weak, Mark::None] {
        let party = registrar(ca, mark);
        let all = [ca.certificate.der(), party.certificate.der()];
        let shown = CaCertificates::read(&certs_only(&all)).unwrap();
        let counts = !matches!(mark, Mark::None | Mark::Weak);
        assert_eq!(shown.registrars().contains(&party.certificate), counts, "{mark:?}");
        assert_eq!(shown.unmarked().contains(&party.certificate), !counts, "{mark:?}");
        assert_eq!(shown.recipient().unwrap() == &party.certificate, counts, "{mark:?}");
        assert_eq!(shown.signers().any(|signer| *signer == party.certificate), counts, "{mark:?}");
        // `enrollment mode ra`.
        let told = shown.with_unmarked();
        assert_eq!((told.registrars().len(), told.unmarked().len()), (1, 0), "{mark:?}");
        assert_eq!(told.recipient().unwrap(), &party.certificate, "{mark:?}");
    }
    // As our own CA marks them; what devices ask for of it they do not get.
    use der::Encode;
    use tokenca::pki::extension::{CMC_RA, extended_key_usage};
    let now = tokenca::pki::Time::now();
    let wanted = [extended_key_usage(&[CMC_RA]).unwrap().to_der().unwrap()];
    for (subject, marked) in [("cn=ra, ou=ioscs RA", true), ("cn=r7", false)] {
        let csr = client::csr(&name(subject), &TestKey::new(), Hash::Sha256, None, &wanted).unwrap();
        let issued = ca.issue(&csr, (now, now));
        assert_eq!(issued.extensions().purposes() == [CMC_RA], marked, "{subject}");
    }
}

#[test]
fn certificates_are_sorted_whatever_their_order_and_form() {
    let now = tokenca::pki::Time::now();
    let validity = (now, now.plus(std::time::Duration::from_secs(86_400)));
    let root = support::fakeca::Party::root("cn=root", validity);
    let key = TestKey::new();
    let extensions = |ca| {
        use der::Encode;
        use tokenca::pki::extension::{Purpose, basic_constraints};
        let purpose = if ca { Purpose::Authority { path_len: None, scep: false } } else { Purpose::Device };
        vec![basic_constraints(purpose).to_der().unwrap()]
    };
    let csr = client::csr(&name("cn=sub"), &key, Hash::Sha256, None, &extensions(true)).unwrap();
    let sub = support::fakeca::Party { certificate: root.issue(&csr, validity), key };
    let registrar = TestKey::new();
    let csr = client::csr(&name("cn=ioscs RA"), &registrar, Hash::Sha256, None, &extensions(false)).unwrap();
    let registrar = sub.issue(&csr, validity);
    let stranger = root.issue(&csr, validity);

    let all = [&root.certificate, &registrar, &stranger, &sub.certificate];
    for turn in 0..all.len() {
        let mut turned = all.map(Clone::clone).to_vec();
        turned.rotate_left(turn);
        let ders: Vec<&[u8]> = turned.iter().map(Certificate::der).collect();
        let pem: String = ders.iter().map(|der| tokenca::pki::archive::pem::write_certificate(der)).collect();
        for octets in [certs_only(&ders), pem.into_bytes()] {
            let sorted = CaCertificates::read(&octets).unwrap();
            assert_eq!(sorted.ca(), &sub.certificate);
            assert_eq!(
                sorted.registrars(),
                std::slice::from_ref(&registrar),
                "only the root signed the other"
            );
        }
    }
    let sorted =
        CaCertificates::sorted(vec![registrar.clone(), root.certificate.clone(), sub.certificate.clone()]);
    let sorted = sorted.unwrap();
    assert_eq!(sorted.ca(), &sub.certificate);
    assert_eq!(sorted.chain(), std::slice::from_ref(&root.certificate));
    assert_eq!(sorted.registrars(), std::slice::from_ref(&registrar));
    assert_eq!(sorted.recipient().unwrap(), &registrar);
    // So many in whatever form: each is compared with each.
    let pem = tokenca::pki::archive::pem::write_certificate(root.certificate.der());
    assert!(CaCertificates::read(pem.repeat(16).as_bytes()).is_ok());
    let many: [Vec<u8>; 2] = [pem.repeat(17).into_bytes(), certs_only(&[root.certificate.der(); 17])];
    for octets in many {
        let said = tokenca::pki::chain(&CaCertificates::read(&octets).unwrap_err());
        assert!(said.contains("too many certificates"), "{said}");
    }
    let single = CaCertificates::read(root.certificate.der()).unwrap();
    assert_eq!((single.ca(), single.chain().len()), (&root.certificate, 0));
    assert!(matches!(CaCertificates::sorted(vec![registrar]), Err(ClientError::NoCa)));
    assert!(matches!(CaCertificates::read(b"<html></html>"), Err(ClientError::NoCertificates(_))));
}

#[test]
fn a_url_without_a_path_is_that_of_ios() {
    struct Recorder(std::sync::Mutex<Vec<String>>);
    impl tokenca::trustpoint::Transport for Recorder {
        fn exchange(
            &self,
            url: &tokenca::files::FileUrl,
            _: Option<tokenca::files::Posted<'_>>,
        ) -> Result<tokenca::files::Exchanged, tokenca::files::FileError> {
            self.0.lock().unwrap().push(url.to_string());
            Ok(tokenca::files::Exchanged {
                status: 200,
                said: "200 OK".into(),
                content_type: None,
                body: vec![],
            })
        }
    }
    let recorder = Arc::new(Recorder(std::sync::Mutex::default()));
    for (url, asked) in [
        ("http://192.0.2.1", "http://192.0.2.1/cgi-bin/pkiclient.exe?operation=GetCACaps&message=t%201"),
        ("http://192.0.2.1:80/", "http://192.0.2.1/cgi-bin/pkiclient.exe?operation=GetCACaps&message=t%201"),
        ("http://h/scep", "http://h/scep?operation=GetCACaps&message=t%201"),
        ("https://h/a/b?x=y", "https://h/a/b?x=y&operation=GetCACaps&message=t%201"),
    ] {
        Upper::new(url, recorder.clone()).identified("t 1").capabilities().unwrap();
        assert_eq!(recorder.0.lock().unwrap().pop().as_deref(), Some(asked));
    }
    for url in ["tftp://h/f", "nvram:f", "http://"] {
        assert!(
            matches!(Upper::new(url, recorder.clone()).capabilities(), Err(ClientError::Url { .. })),
            "{url}"
        );
    }
}
