//! Requests to the next CA, and what is told of both.

use tokenca::node::Selection;
use tokenca::pki::Serial;
use tokenca::store::State;

use super::*;

stories! {

/// A request to the next CA waits in a group of its own, and gets what it asked for before the change or after.
fn requests_to_the_next_ca_wait_for_the_operator(dir: &Path) {
    let lab = Lab::new(dir, &["lifetime ca-certificate 100"]);
    lab.wait(DAY * 98);
    lab.server().roll_over().unwrap();
    let (current, next) = (lab.ca(), lab.next());
    let devices = [Device::new("CN=early, O=Example"), Device::new("CN=late, O=Example")];
    for device in &devices {
        let csr = csr(&device.subject, &device.key);
        // The same request to both: two requests.
        for to in [&next, &current, &next] {
            device.ask(&lab, MessageType::PkcsReq, &csr, &device.key, to).is_pending();
        }
    }
    let rows = lab.server().requests().unwrap();
    let listed: Vec<_> = rows.iter().map(|row| (row.id, row.rollover, row.state)).collect();
    let pending = |id, rollover| (id, rollover, State::Pending);
    assert_eq!(listed, [pending(1, true), pending(2, false), pending(3, true), pending(4, false)]);

    lab.server().grant(Selection::Range(1, 1)).unwrap();
    let shadow = devices[0].poll(&lab, &next).certificate();
    assert_eq!(shadow.not_before(), current.not_after());
    lab.wait_until(current.not_after());
    assert_eq!(lab.ca(), next);
    lab.server().grant(Selection::Range(2, 4)).unwrap();
    for certificate in [devices[0].poll(&lab, &next), devices[1].poll(&lab, &next)].map(Told::certificate) {
        assert!(certificate.verify_signed_by(next.public_key()).is_ok());
        assert!(certificate.is_valid_at(lab.now()));
    }
    // Whoever does not know the new one is told nothing that the old key would have to sign.
    let content = client::issuer_and_subject(current.subject_raw(), name("CN=early").as_der());
    let old = devices[0].ask(&lab, MessageType::CertPoll, &content, &devices[0].key, &current);
    old.is_refused(FailInfo::BadMessageCheck);
}

/// Other programs read what GetNextCACert says.
fn openssl_reads_the_next_ca_certificate(dir: &Path) {
    let lab = Lab::new(dir, &["scep key separate"]);
    lab.server().roll_over().unwrap();
    let next = lab.next_certificates();
    let answer = lab.get(Asked::NextCaCert);
    // Signed once, however often it is asked for.
    assert_eq!(lab.get(Asked::NextCaCert), answer);
    fs::write(dir.join("next.p7"), answer).unwrap();
    let path = |name: &str| dir.join(name).display().to_string();
    let ca = lab.file("ca.pem", &pem::write_certificate(lab.ca().der()));
    let time = lab.now().unix().to_string();
    openssl(&[
        "cms", "-verify", "-inform", "DER", "-in", &path("next.p7"), "-CAfile", &ca, "-purpose", "any", "-attime",
        &time, "-binary", "-out", &path("inner.p7"),
    ])
    .success();
    let inner = openssl(&["pkcs7", "-inform", "DER", "-in", &path("inner.p7"), "-print_certs"]).success().stdout;
    for certificate in [&next.ca, &next.decrypter, &next.signer] {
        assert!(inner.contains(pem::write_certificate(certificate.der()).trim()), "{inner}");
    }
}

/// The same message gets the same reply, from whichever CA it was; but none of before the change after it.
fn repeated_messages_get_no_reply_of_another_time(dir: &Path) {
    let lab = Lab::new(dir, &["grant auto", "lifetime ca-certificate 100"]);
    lab.server().roll_over().unwrap();
    let (current, next) = (lab.ca(), lab.next());
    let device = Device::new("CN=dev1, O=Example");
    let request = csr(&device.subject, &device.key);
    let to = |ca: &Certificate| device.message(MessageType::PkcsReq, &request, &device.key, ca);
    let messages = [to(&current), to(&next)];
    let ask = |message: &Vec<u8>| lab.get(Asked::PkiOperation(message.clone()));
    let replies = messages.each_ref().map(ask);
    assert_eq!(messages.each_ref().map(ask), replies);
    let issued = replies.each_ref().map(|reply| device.read(&lab, reply).certificate());
    for (certificate, ca) in issued.iter().zip([&current, &next]) {
        assert!(certificate.verify_signed_by(ca.public_key()).is_ok());
    }
    // Written anew, it is the same request still.
    assert_eq!(device.read(&lab, &ask(&to(&next))).certificate(), issued[1]);

    lab.wait_until(current.not_after());
    let again = device.read(&lab, &ask(&messages[1])).certificate();
    assert!(again.verify_signed_by(next.public_key()).is_ok() && again.is_valid_at(lab.now()));
    let late = CertRep::decode(&ask(&messages[0]), &[&next]).unwrap();
    assert_eq!(late.fail_info(), Some(FailInfo::BadMessageCheck));
}

/// GetCert and GetCRL know whose a serial number is.
fn certificates_and_lists_are_found_by_their_issuer(dir: &Path) {
    let lab = Lab::new(dir, &["grant auto"]);
    lab.server().roll_over().unwrap();
    let (current, next) = (lab.ca(), lab.next());
    let mut device = Device::new("CN=dev1, O=Example");
    let own = device.enrol(&lab);
    let shadow = device.renew(&lab, &TestKey::new(), &next).certificate();
    let ask = |kind, certificate: &Certificate| {
        let content = client::issuer_and_serial(certificate);
        device.ask(&lab, kind, &content, &device.key, &current)
    };
    for certificate in [&own, &shadow, &next] {
        assert_eq!(&ask(MessageType::GetCert, certificate).certificate(), certificate);
    }
    lab.server().revoke(shadow.serial(), 1).unwrap();
    for (certificate, ca, revoked) in
        [(&own, &current, vec![]), (&shadow, &next, vec![shadow.serial()]), (&current, &current, vec![])]
    {
        let Told::Issued(_, lists) = ask(MessageType::GetCrl, certificate) else { panic!("no list") };
        let list = crl::Crl::parse(lists[0].clone()).unwrap();
        assert!(list.verify_signed_by(ca.public_key()).is_ok());
        let listed: Vec<Serial> = list.entries().map(|entry| entry.serial).collect();
        assert_eq!(listed.iter().collect::<Vec<_>>(), revoked);
    }
    // Each has its address, and an entity tag of its own there and at the one for all.
    let tags = [Asked::Crl, Asked::CrlOf(current.key_identifier()), Asked::CrlOf(next.key_identifier())]
        .map(|asked| lab.ask(asked).cache.unwrap().etag);
    assert_eq!(tags[0], tags[1]);
    assert_ne!(tags[0], tags[2]);
    assert!(matches!(lab.ask(Asked::CrlOf(vec![7; 20])).body, Body::NotFound(_)));
    assert!(lab.server().revoke(next.serial(), 1).unwrap_err().to_string().contains("that of the CA itself"));
}

/// A certificate of the next CA is none before its time: who has it is nobody yet.
fn a_shadow_certificate_signs_nothing_before_its_time(dir: &Path) {
    let lab = Lab::new(dir, &["grant auto", "lifetime ca-certificate 100"]);
    lab.server().roll_over().unwrap();
    let (current, next) = (lab.ca(), lab.next());
    let key = TestKey::new();
    let mut device = Device::new("CN=dev1, O=Example");
    device.enrol(&lab);
    let certificate = device.renew(&lab, &key, &next).certificate();
    let early = Device { subject: device.subject, key, certificate };
    for to in [&current, &next] {
        early.renew(&lab, &TestKey::new(), to).is_refused(FailInfo::BadRequest);
    }
    lab.wait_until(current.not_after());
    early.renew(&lab, &TestKey::new(), &next).certificate();
}

/// A request by hand for the next CA.
fn requests_by_hand_may_ask_the_next_ca(dir: &Path) {
    let lab = Lab::new(dir, &["grant auto"]);
    let request = csr("CN=dev1, O=Example", &TestKey::new());
    let error = lab.server().request(&request, true, true).unwrap_err().to_string();
    assert!(error.starts_with("there is no next CA certificate yet;"), "{error}");
    lab.server().roll_over().unwrap();
    let next = lab.next();
    let granted = lab.server().request(&request, true, true).unwrap();
    let certificate = Certificate::parse(&granted.printed.unwrap().der).unwrap();
    assert!(certificate.verify_signed_by(next.public_key()).is_ok());
    assert_eq!(lab.server().requests().unwrap().len(), 1);
    let certificate = lab.server().request(&request, true, false).unwrap().printed.unwrap().der;
    assert!(Certificate::parse(&certificate).unwrap().verify_signed_by(lab.ca().public_key()).is_ok());
}

}

impl Device {
    /// Asks what has become of its request, by a message to this certificate.
    fn poll(&self, lab: &Lab, to: &Certificate) -> Told {
        let content = client::issuer_and_subject(to.subject_raw(), name(&self.subject).as_der());
        self.ask(lab, MessageType::CertPoll, &content, &self.key, to)
    }
}
