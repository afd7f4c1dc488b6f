//! SCEP messages that nobody should send, each spoilt in one place by hand: none is taken for what it is not,
//! and no answer tells what an envelope holds. Cut and bent ones are in `scep.rs`.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use const_oid::db::{rfc5911, rfc5912};
use tokenca::pki::ber::Limits;
use tokenca::pki::{Certificate, DecryptionKey, Hash, KeyError, KeyTransport, PublicKey};
use tokenca::scep::client::{self, Parties, Style};
use tokenca::scep::{
    self, AlgorithmPolicy, CertRep, Cipher, DecodeError, FailInfo, MessageType, OpenError, Outcome,
    PkiMessage, PkiStatus, Recipient, Rejected, Request, Sealed, Signed, TransactionId, seal,
};
use zeroize::Zeroizing;

#[path = "support/forge.rs"]
mod forge;
#[path = "support/keys.rs"]
mod keys;

use forge::{Forge, MESSAGE_TYPE, NULL, SENDER_NONCE, TRANSACTION_ID, attribute, octets, of, oid};
use keys::{TestKey, name};

struct Lab {
    ca_key: TestKey,
    ca: Certificate,
    key: TestKey,
    device: Certificate,
    csr: Vec<u8>,
}

static LAB: LazyLock<Lab> = LazyLock::new(|| {
    let (ca_key, key) = (TestKey::new(), TestKey::new());
    let ca = ca_key.self_signed("cn=ca1,o=Lab");
    let device = key.self_signed("cn=r1,o=Lab");
    let csr = client::csr(&name("cn=r1,o=Lab"), &key, Hash::Sha256, Some("secret"), &[]).unwrap();
    Lab { ca_key, ca, key, device, csr }
});

impl Lab {
    fn request(&self, kind: MessageType, content: &[u8]) -> Vec<u8> {
        let parties = Parties { ca: &self.ca, signer: &self.device, key: &self.key };
        let transaction = TransactionId::new(b"hostile");
        client::message(kind, &transaction, content, &parties, Style::default()).unwrap().unwrap().octets
    }

    fn sealed(&self, content: &[u8]) -> Vec<u8> {
        seal(content, &self.ca, Cipher::Aes128, KeyTransport::Pkcs1v15).unwrap()
    }

    /// A message of this type by the device, to be spoilt.
    fn forge(&self, kind: &str, content: Vec<u8>) -> Forge<'_> {
        Forge::new(&self.key, &self.device, kind, content)
    }

    fn enroll(&self) -> Forge<'_> {
        self.forge("19", self.sealed(&self.csr))
    }

    fn open(&self, signed: &Signed) -> Result<Request, OpenError> {
        signed.open(&[Recipient { certificate: &self.ca, key: &self.ca_key }])
    }
}

fn read(message: &[u8]) -> Result<Signed, Rejected> {
    PkiMessage::decode(message, &Limits::MESSAGE)?.verify(&AlgorithmPolicy::default())
}

/// The error of a message that is not accepted, and whether it is answered with a FAILURE.
#[track_caller]
fn refused(message: &[u8]) -> (DecodeError, bool) {
    match read(message) {
        Err(Rejected { error, facts }) => (error, facts.is_some()),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn what_is_forged_well_is_accepted() {
    let lab = &*LAB;
    let signed = read(&lab.enroll().encode()).unwrap();
    let Ok(Request::Enroll { csr, .. }) = lab.open(&signed) else { panic!("not a PKCSReq") };
    assert_eq!(csr.der(), lab.csr);
}

#[test]
fn replies_changed_anywhere() {
    let lab = &*LAB;
    let signed = read(&lab.request(MessageType::PkcsReq, &lab.csr)).unwrap();
    let outcome = Outcome::Certificates(&[lab.device.der()]);
    let sealed = Sealed::seal(&outcome, &signed, KeyTransport::Pkcs1v15).unwrap();
    let reply = scep::encode(&outcome, &sealed, signed.facts(), &lab.ca, &lab.ca_key).unwrap();
    for length in 0..reply.len() {
        assert!(CertRep::decode(&reply[..length], &[&lab.ca]).is_err(), "{length}");
    }
    for at in 0..reply.len() {
        for mask in [1 << (at % 8), 0xff] {
            let mut reply = reply.clone();
            reply[at] ^= mask;
            let Ok(reply) = CertRep::decode(&reply, &[&lab.ca]) else { continue };
            assert_eq!(reply.status(), PkiStatus::Success, "{at}");
            assert_eq!(reply.recipient_nonce(), signed.facts().sender_nonce(), "{at}");
            let issued = reply.open(&lab.device, &lab.key).unwrap();
            assert!(issued.certificates.iter().eq([&lab.device]), "{at}");
        }
    }
    let other = TestKey::new().self_signed("cn=ca1,o=Lab");
    assert!(CertRep::decode(&reply, &[&other]).is_err(), "another CA of this name");
    assert!(CertRep::decode(&reply, &[]).is_err());
}

#[test]
fn attributes() {
    let lab = &*LAB;
    let missing = DecodeError::MissingAttribute;
    let content_type = of(rfc5911::ID_CONTENT_TYPE);
    for (kind, error, answered) in [
        (oid(MESSAGE_TYPE), DecodeError::UnknownMessageType(String::new()), false),
        (oid(TRANSACTION_ID), missing("transactionID"), false),
        (oid(SENDER_NONCE), missing("senderNonce"), false),
        (content_type.clone(), missing("contentType"), true),
        (of(rfc5911::ID_MESSAGE_DIGEST), DecodeError::BadDigest, true),
    ] {
        let enroll = lab.enroll();
        let own = enroll.attributes.iter().find(|own| forge::is(own, &kind)).unwrap().clone();
        let value = own[2 + kind.len() + 2..].to_vec();
        let wanted = (error, answered);
        assert_eq!(refused(&lab.enroll().replace(&kind, None).encode()), wanted, "absent");
        assert_eq!(refused(&lab.enroll().replace(&kind, Some(vec![])).encode()), wanted, "without a value");
        let twice = vec![value.clone(), value.clone()];
        assert_eq!(refused(&lab.enroll().replace(&kind, Some(twice)).encode()), wanted, "two values");
        let mut repeated = lab.enroll();
        repeated.attributes.push(own);
        let (error, answered) = refused(&repeated.encode());
        assert!(matches!(error, DecodeError::Repeated(_)) && !answered, "{error}");
    }
    let empty = |tag| Some(vec![vec![tag, 0]]);
    let nonce = lab.enroll().replace(&oid(SENDER_NONCE), empty(4)).encode();
    assert!(read(&nonce).unwrap().facts().sender_nonce().is_empty(), "odd, and echoed");
    let transaction = lab.enroll().replace(&oid(TRANSACTION_ID), empty(0x13)).encode();
    assert_eq!(refused(&transaction), (missing("transactionID"), false));
    for (kind, name) in [(TRANSACTION_ID, "transactionID"), (SENDER_NONCE, "senderNonce")] {
        let long =
            |length| lab.enroll().replace(&oid(kind), Some(vec![octets(&vec![b'a'; length])])).encode();
        assert!(read(&long(1024)).is_ok());
        assert_eq!(refused(&long(1025)), (missing(name), false));
    }
    // An attribute that we do not know may have what it likes, once.
    let mut unknown = lab.enroll();
    unknown.attributes.push(attribute(&oid("1.2.3.4"), &[vec![5, 0], vec![0x30, 0]]));
    assert!(read(&unknown.encode()).is_ok());
    let mut many = lab.enroll();
    many.attributes.extend((0..60).map(|n| attribute(&oid(&format!("1.2.3.{n}")), &[])));
    assert_eq!(refused(&many.encode()), (DecodeError::TooMany("attributes"), false));
}

#[test]
fn signers() {
    let lab = &*LAB;
    for signers in [0, 2] {
        let mut forged = lab.enroll();
        forged.signers = signers;
        assert!(!refused(&forged.encode()).1, "{signers}");
    }
    let stranger = TestKey::new();
    let impostor = stranger.self_signed("cn=r1,o=Lab");
    let with = |certificates: Vec<Vec<u8>>| Forge { certificates, ..lab.enroll() }.encode();
    let (own, other) = (lab.device.der().to_vec(), impostor.der().to_vec());
    // Same issuer, same serial number, another key.
    assert!(matches!(refused(&with(vec![other.clone()])), (DecodeError::BadSignature(_), true)));
    assert_eq!(refused(&with(vec![])), (DecodeError::NoCertificate, true));
    assert_eq!(refused(&with(vec![lab.ca.der().to_vec()])), (DecodeError::NoCertificate, true));
    assert!(read(&with(vec![lab.ca.der().to_vec(), own.clone()])).is_ok(), "wherever it stands");
    // What is no certificate is nobody's, and no reason to refuse.
    assert!(read(&with(vec![vec![0x30, 0], vec![0xa1, 3, 2, 1, 1], own.clone()])).is_ok());
    assert!(read(&with([vec![vec![0x30, 0]; 15], vec![own.clone()]].concat())).is_ok());
    let many = [vec![vec![0x30, 0]; 16], vec![own.clone()]].concat();
    assert_eq!(refused(&with(many)), (DecodeError::TooMany("certificates"), false));
    // By the identifier of the key: that of the extension, or else what it usually is.
    let mut by_key = lab.enroll();
    by_key.signer_id = forge::tlv(0x80, &[&lab.device.public_key().key_identifier()]);
    by_key.certificates = vec![other, own];
    assert!(read(&by_key.encode()).is_ok());
}

/// A key that counts how often it is asked.
struct Counting(AtomicUsize);

impl DecryptionKey for Counting {
    fn public_key(&self) -> &PublicKey {
        DecryptionKey::public_key(&LAB.ca_key)
    }

    fn unwrap_key(
        &self,
        transport: KeyTransport,
        wrapped: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        LAB.ca_key.unwrap_key(transport, wrapped, len)
    }
}

/// Opens the envelope `content` in a message of this type; how often the key was asked.
fn opened(kind: &str, content: Vec<u8>) -> (Result<Request, OpenError>, usize) {
    let key = Counting(AtomicUsize::new(0));
    let signed = read(&LAB.forge(kind, content).encode()).unwrap();
    let result = signed.open(&[Recipient { certificate: &LAB.ca, key: &key }]);
    (result, key.0.into_inner())
}

#[test]
fn recipients() {
    let lab = &*LAB;
    let rsa = forge::sequence(&[&of(rfc5912::RSA_ENCRYPTION), NULL]);
    let cipher = forge::sequence(&[&of(Cipher::Aes128.oid()), &octets(&[1; 16])]);
    let encrypted = Cipher::Aes128.encrypt(&[5; 16], &[1; 16], &lab.csr);
    let wrapped = |transport| lab.ca.public_key().encrypt(transport, &[5; 16]).unwrap();
    let v15 = wrapped(KeyTransport::Pkcs1v15);
    let named = |c: &Certificate| forge::sequence(&[c.issuer_raw(), &forge::tlv(2, &[c.serial_raw()])]);
    let ours = forge::recipient(&named(&lab.ca), &rsa, &v15);
    let theirs = forge::recipient(&named(&lab.device), &rsa, &[9; 256]);
    let with = |recipients: &[Vec<u8>]| forge::envelope(recipients, &cipher, &encrypted);

    for recipients in [
        vec![ours.clone()],
        vec![theirs.clone(), ours.clone()],
        // Ours once is enough; of two the first counts, and no second one is tried.
        vec![ours.clone(), forge::recipient(&named(&lab.ca), &rsa, &[9; 256])],
        [vec![theirs.clone(); 15], vec![ours.clone()]].concat(),
        // Of a kind that is not ours: a password.
        vec![vec![0xa3, 3, 2, 1, 0], ours.clone()],
    ] {
        let (request, asked) = opened("19", with(&recipients));
        assert!(matches!(request, Ok(Request::Enroll { .. })));
        assert_eq!(asked, 1);
    }
    for recipients in [vec![], vec![theirs.clone()], vec![vec![0xa3, 3, 2, 1, 0]]] {
        let (request, asked) = opened("19", with(&recipients));
        assert!(matches!(request, Err(OpenError::NotForUs)));
        assert_eq!(asked, 0);
    }
    let many = with(&[vec![theirs; 16], vec![ours.clone()]].concat());
    assert_eq!(refused(&lab.forge("19", many).encode()), (DecodeError::TooMany("recipients"), true));

    // Algorithms that are not known, or too weak: refused before a key is asked.
    let label = forge::sequence(&[&of(rfc5912::ID_P_SPECIFIED), &octets(&[])]);
    let md5 = forge::sequence(&[&of(Hash::Md5.oid()), NULL]);
    let mgf = forge::sequence(&[&of(rfc5912::ID_MGF_1), &md5]);
    let oaep = |parameters: &[&[u8]]| {
        let parameters = forge::sequence(parameters);
        let id = forge::sequence(&[&of(rfc5912::ID_RSAES_OAEP), &parameters]);
        with(&[forge::recipient(&named(&lab.ca), &id, &wrapped(TRANSPORT))])
    };
    let unknown = forge::sequence(&[&oid("1.2.3.4"), NULL]);
    for content in [
        oaep(&[&forge::tlv(0xa0, &[&md5])]),
        oaep(&[&forge::tlv(0xa1, &[&mgf])]),
        with(&[forge::recipient(&named(&lab.ca), &unknown, &v15)]),
        forge::envelope(std::slice::from_ref(&ours), &unknown, &encrypted),
    ] {
        let (request, asked) = opened("19", content);
        assert!(matches!(request, Err(OpenError::BadAlgorithm)));
        assert_eq!(asked, 0);
    }
    // Defaults of OAEP, said or not.
    for content in [oaep(&[]), oaep(&[&forge::tlv(0xa2, &[&label])])] {
        assert!(matches!(opened("19", content), (Ok(Request::Enroll { .. }), 1)));
    }
}

#[test]
fn nothing_is_told_about_an_envelope() {
    let lab = &*LAB;
    let rsa = forge::sequence(&[&of(rfc5912::RSA_ENCRYPTION), NULL]);
    let id = forge::sequence(&[lab.ca.issuer_raw(), &forge::tlv(2, &[lab.ca.serial_raw()])]);
    let encrypted = Cipher::Aes128.encrypt(&[5; 16], &[1; 16], &lab.csr);
    let content = |wrapped: &[u8], iv: &[u8], encrypted: &[u8]| {
        let cipher = forge::sequence(&[&of(Cipher::Aes128.oid()), &octets(iv)]);
        forge::envelope(&[forge::recipient(&id, &rsa, wrapped)], &cipher, encrypted)
    };
    let wrap = |key: &[u8]| lab.ca.public_key().encrypt(KeyTransport::Pkcs1v15, key).unwrap();
    let good = wrap(&[5; 16]);
    let mut bent = good.clone();
    bent[100] ^= 1;
    let (mut padding, mut middle) = (encrypted.clone(), encrypted.clone());
    *padding.last_mut().unwrap() ^= 1;
    middle[20] ^= 1;
    for (what, content) in [
        ("a wrong block", content(&bent, &[1; 16], &encrypted)),
        ("a key too short", content(&wrap(&[5; 8]), &[1; 16], &encrypted)),
        ("a key too long", content(&wrap(&[5; 24]), &[1; 16], &encrypted)),
        ("no key", content(&wrap(&[]), &[1; 16], &encrypted)),
        ("a block too short", content(&[1; 255], &[1; 16], &encrypted)),
        ("a block too long", content(&[1; 257], &[1; 16], &encrypted)),
        ("nothing", content(&[], &[1; 16], &encrypted)),
        ("a wrong padding", content(&good, &[1; 16], &padding)),
        ("a wrong vector", content(&good, &[2; 16], &encrypted)),
        ("a short vector", content(&good, &[1; 8], &encrypted)),
        ("half a block", content(&good, &[1; 16], &encrypted[..24])),
        ("no block", content(&good, &[1; 16], &[])),
        ("not a CSR", content(&good, &[1; 16], &Cipher::Aes128.encrypt(&[5; 16], &[1; 16], b"no"))),
    ] {
        let (request, asked) = opened("19", content);
        assert!(matches!(request, Err(OpenError::Unreadable)), "{what}");
        assert_eq!(asked, 1, "{what}: found out after the key was asked, and not otherwise");
    }
    // Whatever changes within the ciphertext: the same error, or a CSR whose signature is wrong. The RA
    // answers both alike; see `ra::told`.
    for at in 0..encrypted.len() {
        let mut changed = encrypted.clone();
        changed[at] ^= 0x55;
        match opened("19", content(&good, &[1; 16], &changed)).0 {
            Ok(Request::Enroll { csr, .. }) => assert!(csr.verify().is_err(), "{at}"),
            result => assert!(matches!(result, Err(OpenError::Unreadable)), "{at}"),
        }
    }
}

#[test]
fn names_of_certificates_are_exact() {
    let lab = &*LAB;
    let pair = client::issuer_and_serial(&lab.device);
    for kind in ["21", "22"] {
        assert!(opened(kind, lab.sealed(&pair)).0.is_ok());
        let mut longer = pair.clone();
        longer.push(0);
        let empty = forge::sequence(&[]);
        let three = forge::sequence(&[lab.device.issuer_raw(), &[2, 1, 1], &[5, 0]]);
        for content in [&longer, &lab.csr, &empty, &three, &pair[..pair.len() - 1].to_vec()] {
            assert!(matches!(opened(kind, lab.sealed(content)), (Err(OpenError::Unreadable), 1)));
        }
    }
}

#[test]
fn failures_keep_to_themselves() {
    // A reply without content is no success, whatever it says.
    let lab = &*LAB;
    let signed = read(&lab.enroll().encode()).unwrap();
    let outcome = Outcome::Failure(FailInfo::BadRequest, None);
    let reply = scep::encode(&outcome, &Sealed::empty(), signed.facts(), &lab.ca, &lab.ca_key).unwrap();
    let reply = CertRep::decode(&reply, &[&lab.ca]).unwrap();
    assert!(matches!(reply.open(&lab.device, &lab.key), Err(OpenError::Unreadable)));
    let request = lab.request(MessageType::PkcsReq, &lab.csr);
    assert!(CertRep::decode(&request, &[&lab.device]).is_err(), "a request is no reply");
}

const TRANSPORT: KeyTransport = KeyTransport::Oaep { hash: Hash::Sha1, mgf: Hash::Sha1 };
