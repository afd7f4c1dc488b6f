//! The SCEP codec by itself, both directions of it against each other and against messages that no client
//! of ours would write: forged attributes, mixed algorithms, envelopes broken in one place each.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use der::asn1::ObjectIdentifier;
use secrecy::ExposeSecret;
use tokenca::pki::ber::Limits;
use tokenca::pki::{Certificate, Csr, DecryptionKey, Hash, KeyError, KeyTransport, PublicKey, SigningKey};
use tokenca::scep::{
    self, AlgorithmPolicy, CertRep, Cipher, DecodeError, FailInfo, MessageType, OpenError, Outcome,
    PkiMessage, PkiStatus, Recipient, Rejected, Request, Sealed, Signed, TransactionId, client,
};
use zeroize::Zeroizing;

#[path = "support/keys.rs"]
mod keys;
#[path = "support/wire.rs"]
mod wire;

use keys::{TestKey, name};

const STRICT: AlgorithmPolicy = AlgorithmPolicy { legacy_des: false, legacy_md5: false };
const EVERYTHING: AlgorithmPolicy = AlgorithmPolicy { legacy_des: true, legacy_md5: true };
const MD5_WITH_RSA: &str = "1.2.840.113549.1.1.4";
const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
const DATA: &str = "1.2.840.113549.1.7.1";
const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
const ENVELOPED_DATA: &str = "1.2.840.113549.1.7.3";

/// A key and its self-signed certificate. RSA keys take long to make; these are made once.
struct Party {
    key: TestKey,
    certificate: Certificate,
}

impl Party {
    fn new(subject: &str) -> Self {
        let key = TestKey::new();
        let certificate = key.self_signed(subject);
        Self { key, certificate }
    }
}

static CA: LazyLock<Party> = LazyLock::new(|| Party::new("cn=ca, o=Test"));
static CLIENT: LazyLock<Party> = LazyLock::new(|| Party::new("cn=client"));
static OTHER: LazyLock<Party> = LazyLock::new(|| Party::new("cn=other"));

// Both directions

#[test]
fn an_enrolment_there_and_back_with_every_algorithm() {
    let oaep = |hash| KeyTransport::Oaep { hash, mgf: hash };
    for digest in Hash::ALL {
        for cipher in Cipher::ALL {
            for transport in [KeyTransport::Pkcs1v15, oaep(Hash::Sha1), oaep(Hash::Sha256)] {
                there_and_back(client::Style { digest, cipher, transport });
            }
        }
    }
}

fn there_and_back(style: client::Style) {
    let (octets, nonce) = enrolment(style);
    let signed = verified(&octets);
    assert_eq!(signed.facts().digest(), style.digest);
    assert_eq!(signed.cipher(), Some(style.cipher));
    let Request::Enroll { csr, renewal } = signed.open(&[recipient(&CA)]).unwrap() else { panic!() };
    assert!(!renewal);
    assert_eq!(csr.verify().unwrap().challenge().unwrap().expose_secret(), "pass word");

    // Leaf first, though its encoding sorts last: the CA certificate is the shorter one.
    let leaf = CLIENT.certificate.der();
    let outcome = Outcome::Certificates(&[leaf, CA.certificate.der()]);
    let reply = answer(&outcome, &signed, style.transport);
    let reply = CertRep::decode(&reply, &[&CA.certificate]).unwrap();
    assert_eq!(reply.status(), PkiStatus::Success);
    assert_eq!(reply.recipient_nonce(), nonce);
    assert_eq!(reply.cipher(), Some(style.cipher));
    let issued = reply.open(&CLIENT.certificate, &CLIENT.key).unwrap();
    assert_eq!(issued.certificates, [CLIENT.certificate.clone(), CA.certificate.clone()]);
}

#[test]
fn a_reply_is_digested_as_its_request() {
    for digest in Hash::ALL {
        let (octets, _) = enrolment(client::Style { digest, ..Default::default() });
        let reply = answer(&Outcome::Pending, &verified(&octets), KeyTransport::Pkcs1v15);
        assert_eq!(digests_of(&reply), [digest]);
    }
}

#[test]
fn pending_and_failure_have_empty_contents() {
    let (octets, nonce) = enrolment(client::Style::default());
    let signed = verified(&octets);
    for outcome in [Outcome::Pending, Outcome::Failure(FailInfo::BadCertId, Some("no such request"))] {
        let reply = answer(&outcome, &signed, KeyTransport::Pkcs1v15);
        // eContent is there and holds nothing: an explicit [0] around an empty OCTET STRING.
        let empty = [oid(DATA), vec![0xa0, 2, 4, 0]].concat();
        assert!(contains(&reply, &empty));
        let reply = CertRep::decode(&reply, &[&CA.certificate]).unwrap();
        assert_eq!(reply.recipient_nonce(), nonce);
        assert_eq!(reply.transaction_id(), signed.transaction_id());
        match outcome {
            Outcome::Pending => assert_eq!(reply.status(), PkiStatus::Pending),
            _ => {
                assert_eq!(reply.status(), PkiStatus::Failure);
                assert_eq!(reply.fail_info(), Some(FailInfo::BadCertId));
                assert_eq!(reply.fail_info_text(), Some("no such request"));
            }
        }
    }
}

#[test]
fn questions_carry_names_and_numbers() {
    let ask = |kind, content: &[u8]| {
        let parties = client::Parties { ca: &CA.certificate, signer: &CLIENT.certificate, key: &CLIENT.key };
        let message = client::message(kind, &transaction(), content, &parties, client::Style::default());
        let signed = verified(&message.unwrap().unwrap().octets);
        assert_eq!(signed.message_type(), kind);
        signed.open(&[recipient(&CA)]).unwrap()
    };
    let (issuer, subject) = (CA.certificate.subject_raw(), CLIENT.certificate.subject_raw());
    let poll = ask(MessageType::CertPoll, &client::issuer_and_subject(issuer, subject));
    assert!(matches!(poll, Request::Poll));
    let pair = client::issuer_and_serial(&CA.certificate);
    let serial = CA.certificate.serial();
    let cert = ask(MessageType::GetCert, &pair);
    assert!(matches!(cert, Request::GetCert { issuer: i, serial: s } if i == issuer && s == *serial));
    let crl = ask(MessageType::GetCrl, &pair);
    assert!(matches!(crl, Request::GetCrl { issuer: i, serial: s } if i == issuer && s == *serial));
}

/// Nothing in it can be wrong, so nothing can be learnt from it.
#[test]
fn a_poll_is_not_decrypted() {
    for plain in [b"not a pair of names".to_vec(), Vec::new()] {
        let envelope = Enveloped { plain, ..Enveloped::new() };
        let forged = Forged { kind: Some("20"), content: envelope.octets(), ..Forged::enrolment() };
        assert!(matches!(open_forged(&forged), (Ok(Request::Poll), 0)));
    }
    let stranger = Enveloped { recipients: vec![&OTHER], ..Enveloped::new() };
    let forged = Forged { kind: Some("20"), content: stranger.octets(), ..Forged::enrolment() };
    assert!(matches!(open_forged(&forged), (Err(OpenError::NotForUs), 0)));
}

#[test]
fn a_reply_names_its_recipient_octet_for_octet() {
    // X.509 v1 with a serial number of 33 octets.
    let message = include_bytes!("vectors/scep/certmonger-0.79.17-pkcsreq.der");
    let signed = verified(message);
    let signer = signed.signer();
    assert_eq!(signer.serial_raw().len(), 33);
    let outcome = Outcome::Certificates(&[CLIENT.certificate.der()]);
    let reply = answer(&outcome, &signed, KeyTransport::Pkcs1v15);
    let pair = sequence(&[signer.issuer_raw(), &tlv(2, &[signer.serial_raw()])]);
    assert!(contains(&reply, &pair));
}

#[test]
fn a_challenge_is_written_in_a_type_that_holds_it() {
    for (challenge, tag) in [("abc 123", 0x13), ("p@ss_word", 0x0c), ("grün", 0x0c)] {
        let der = client::csr(&name("cn=x"), &CLIENT.key, Hash::Sha256, Some(challenge), &[]).unwrap();
        assert!(contains(&der, &tlv(tag, &[challenge.as_bytes()])), "{challenge}");
        assert_eq!(Csr::parse(&der).unwrap().challenge().unwrap().expose_secret(), challenge);
    }
}

// What is refused before the envelope

#[test]
fn message_types_are_a_closed_set() {
    for kind in ["0", "1", "18", "99", "", "019", " 19", "19 ", "١٩"] {
        let error =
            rejection(&Forged { kind: Some(kind), ..Forged::enrolment() }.octets(), &EVERYTHING).error;
        assert!(matches!(error, DecodeError::UnknownMessageType(_)), "{kind:?}: {error}");
    }
    let error = rejection(&Forged { kind: None, ..Forged::enrolment() }.octets(), &EVERYTHING).error;
    assert!(matches!(error, DecodeError::UnknownMessageType(_)));
}

#[test]
fn a_forged_message_is_good_when_nothing_is_wrong() {
    let signed = PkiMessage::decode(&Forged::enrolment().octets(), &Limits::MESSAGE).unwrap();
    let request = signed.verify(&STRICT).unwrap().open(&[recipient(&CA)]).unwrap();
    assert!(matches!(request, Request::Enroll { .. }));
}

#[test]
fn attributes_may_be_out_of_order_signed_either_way() {
    for signed_in_order in [true, false] {
        let forged = Forged { in_order: false, signed_in_order, ..Forged::enrolment() };
        assert!(PkiMessage::decode(&forged.octets(), &Limits::MESSAGE).unwrap().verify(&STRICT).is_ok());
    }
}

#[test]
fn the_signer_is_who_the_message_names_not_who_comes_first() {
    let forged = Forged { others: vec![OTHER.certificate.der().to_vec()], ..Forged::enrolment() };
    for by_key_id in [false, true] {
        let octets = Forged { by_key_id, ..forged.clone() }.octets();
        let signed = PkiMessage::decode(&octets, &Limits::MESSAGE).unwrap().verify(&STRICT).unwrap();
        assert_eq!(signed.signer(), &CLIENT.certificate);
    }
}

#[test]
fn md5_needs_its_line_wherever_it_stands() {
    let digest = Forged { digest: Hash::Md5, ..Forged::enrolment() };
    // A good digest of the content, and the signature over the attributes with the bad one.
    let signature = Forged { signature: (MD5_WITH_RSA, Hash::Md5), ..Forged::enrolment() };
    assert_eq!(rejection(&digest.octets(), &STRICT).error, DecodeError::Legacy("md5"));
    verified(&digest.octets());
    // Two digests in one message: with the line or without.
    for policy in [STRICT, EVERYTHING] {
        assert_eq!(rejection(&signature.octets(), &policy).error, DecodeError::UnknownSignature);
    }
}

#[test]
fn des_needs_its_line() {
    let (octets, _) = enrolment(client::Style { cipher: Cipher::Des, ..Default::default() });
    assert_eq!(rejection(&octets, &STRICT).error, DecodeError::Legacy("des"));
}

/// Whoever sends MD5 could have our key sign MD5 in the reply that refuses it.
#[test]
fn a_refusal_is_not_signed_with_what_it_refuses() {
    let broken = Forged { content: vec![0x30, 0], digest: Hash::Md5, ..Forged::enrolment() };
    for forged in [Forged { digest: Hash::Md5, ..Forged::enrolment() }, broken] {
        let facts = rejection(&forged.octets(), &STRICT).facts.unwrap();
        let outcome = Outcome::Failure(FailInfo::BadAlg, None);
        let reply = scep::encode(&outcome, &Sealed::empty(), &facts, &CA.certificate, &CA.key).unwrap();
        assert_eq!(digests_of(&reply), [Hash::Sha256]);
    }
}

#[test]
fn what_cannot_be_verified_can_still_be_answered() {
    let sha224 = Forged { digest_oid: Some("2.16.840.1.101.3.4.2.4"), ..Forged::enrolment() };
    let unknown_signature = Forged { signature: ("1.2.3.4", Hash::Sha256), ..Forged::enrolment() };
    let other_digest = Forged { signature: (RSA_ENCRYPTION, Hash::Sha1), ..Forged::enrolment() };
    let no_envelope = Forged { content: Vec::new(), ..Forged::enrolment() };
    let no_certificate = Forged { own_certificate: false, ..Forged::enrolment() };
    for (forged, expected) in [
        (sha224, DecodeError::UnknownDigest),
        (unknown_signature, DecodeError::UnknownSignature),
        (other_digest, DecodeError::BadSignature(tokenca::pki::VerifyError::BadSignature)),
        (no_envelope, DecodeError::MissingAttribute("messageData")),
        (no_certificate, DecodeError::NoCertificate),
    ] {
        let rejected = rejection(&forged.octets(), &STRICT);
        assert_eq!(rejected.error, expected);
        let facts = rejected.facts.unwrap();
        assert_eq!(facts.transaction_id(), &transaction());
        assert_eq!(facts.sender_nonce(), NONCE);
    }
}

#[test]
fn what_is_not_scep_is_not_answered() {
    let no_nonce = Forged { nonce: None, ..Forged::enrolment() }.octets();
    let no_transaction = Forged { transaction: Vec::new(), ..Forged::enrolment() }.octets();
    let long_transaction = Forged { transaction: vec![b'a'; 1025], ..Forged::enrolment() }.octets();
    let unsigned = scep::certs_only(&[CLIENT.certificate.der()]);
    for octets in [&b""[..], b"GET / HTTP/1.0", &no_nonce, &no_transaction, &long_transaction, &unsigned] {
        assert!(rejection(octets, &EVERYTHING).facts.is_none());
    }
}

#[test]
fn the_content_type_is_data_and_said_twice() {
    let other = Forged { attribute_content_type: SIGNED_DATA, ..Forged::enrolment() };
    for (forged, expected) in [
        (Forged { content_type: SIGNED_DATA, ..other.clone() }, DecodeError::NotCms),
        (Forged { content_type: SIGNED_DATA, ..Forged::enrolment() }, DecodeError::NotCms),
        (other, DecodeError::MissingAttribute("contentType")),
    ] {
        let rejected = rejection(&forged.octets(), &EVERYTHING);
        assert_eq!(rejected.error, expected);
        assert!(rejected.facts.is_some());
    }
}

#[test]
fn replies_are_believed_of_those_asked_only() {
    let (octets, _) = enrolment(client::Style::default());
    let reply = answer(&Outcome::Pending, &verified(&octets), KeyTransport::Pkcs1v15);
    assert!(CertRep::decode(&reply, &[&CA.certificate]).is_ok());
    assert!(CertRep::decode(&reply, &[&OTHER.certificate]).is_err());
    assert!(CertRep::decode(&reply, &[]).is_err());
}

// The envelope

#[test]
fn our_recipient_info_is_found_among_others() {
    for mut envelope in [Enveloped::new(), Enveloped { by_key_id: true, ..Enveloped::new() }] {
        envelope.recipients = vec![&OTHER, &CLIENT, &CA];
        let (result, asked) = open(&envelope);
        assert!(matches!(result, Ok(Request::Enroll { .. })));
        assert_eq!(asked, 1);
    }
    let many = Enveloped { recipients: vec![&CA; 17], ..Enveloped::new() };
    let rejected = rejection(&Forged { content: many.octets(), ..Forged::enrolment() }.octets(), &STRICT);
    assert_eq!(rejected.error, DecodeError::TooMany("recipients"));
}

#[test]
fn no_key_is_asked_in_vain() {
    let stranger = Enveloped { recipients: vec![&OTHER], ..Enveloped::new() };
    assert!(matches!(open(&stranger), (Err(OpenError::NotForUs), 0)));
    let rc2 = Enveloped { cipher_oid: Some("1.2.840.113549.3.2"), ..Enveloped::new() };
    assert!(matches!(open(&rc2), (Err(OpenError::BadAlgorithm), 0)));
    let no_transport = Enveloped { transport_oid: "1.2.3.4", ..Enveloped::new() };
    assert!(matches!(open(&no_transport), (Err(OpenError::BadAlgorithm), 0)));
    // OAEP with the hash function and MGF1 of MD5.
    let md5 = sequence(&[&oid("1.2.840.113549.2.5"), &[5, 0]]);
    let mgf1 = sequence(&[&oid("1.2.840.113549.1.1.8"), &md5]);
    let oaep = sequence(&[&tlv(0xa0, &[&md5]), &tlv(0xa1, &[&mgf1])]);
    let oaep_md5 =
        Enveloped { transport_oid: "1.2.840.113549.1.1.7", transport_parameters: oaep, ..Enveloped::new() };
    assert!(matches!(open(&oaep_md5), (Err(OpenError::BadAlgorithm), 0)));
}

/// Bleichenbacher and Vaudenay get one answer, by one path, after one question to the key.
#[test]
fn whatever_is_wrong_inside_looks_the_same() {
    let plain = csr();
    let bad_padding = |last: u8| {
        let mut padded = plain.clone();
        padded.resize(plain.len().next_multiple_of(16) + 16, 0);
        *padded.last_mut().unwrap() = last;
        unpadded_encryption(&padded)
    };
    let mut trailing = plain.clone();
    trailing.push(0);
    let cases = [
        ("wrapped garbage", Enveloped { wrapped: Some(vec![7; 256]), ..Enveloped::new() }),
        ("wrapped too short", Enveloped { wrapped: Some(vec![7; 3]), ..Enveloped::new() }),
        ("nothing wrapped", Enveloped { wrapped: Some(Vec::new()), ..Enveloped::new() }),
        ("key of another cipher", Enveloped { wrapped: Some(wrap(&[1; 24])), ..Enveloped::new() }),
        ("no key", Enveloped { wrapped: Some(wrap(&[])), ..Enveloped::new() }),
        ("another key", Enveloped { wrapped: Some(wrap(&[9; 16])), ..Enveloped::new() }),
        ("half a vector", Enveloped { iv: vec![0; 8], ..Enveloped::new() }),
        ("no vector", Enveloped { iv: Vec::new(), ..Enveloped::new() }),
        ("no content", Enveloped { encrypted: Some(Vec::new()), ..Enveloped::new() }),
        ("part of a block", Enveloped { encrypted: Some(vec![0; 17]), ..Enveloped::new() }),
        ("padding of 0", Enveloped { encrypted: Some(bad_padding(0)), ..Enveloped::new() }),
        ("padding of 17", Enveloped { encrypted: Some(bad_padding(17)), ..Enveloped::new() }),
        ("padding of 2, once", Enveloped { encrypted: Some(bad_padding(2)), ..Enveloped::new() }),
        ("not a CSR", Enveloped { plain: b"hello".to_vec(), ..Enveloped::new() }),
        ("nothing", Enveloped { plain: Vec::new(), ..Enveloped::new() }),
        ("half a CSR", Enveloped { plain: plain[..plain.len() / 2].to_vec(), ..Enveloped::new() }),
        ("more than a CSR", Enveloped { plain: trailing, ..Enveloped::new() }),
    ];
    for (what, envelope) in cases {
        let (result, asked) = open(&envelope);
        assert!(matches!(result, Err(OpenError::Unreadable)), "{what}: {result:?}");
        assert_eq!(asked, 1, "{what}");
    }
}

#[test]
fn the_length_of_the_content_key_comes_from_the_cipher() {
    for cipher in Cipher::ALL {
        let (octets, _) = enrolment(client::Style { cipher, ..Default::default() });
        let key = Asked::new(&CA.key);
        let recipient = Recipient { certificate: &CA.certificate, key: &key };
        verified(&octets).open(&[recipient]).unwrap();
        assert_eq!(key.length.load(Ordering::Relaxed), cipher.key_len());
    }
}

// Broken octets

#[test]
fn vectors_cut_short_are_refused() {
    for (file, octets) in vectors() {
        for length in 0..octets.len() {
            let result = PkiMessage::decode(&octets[..length], &Limits::MESSAGE);
            assert!(result.is_err(), "{file} cut at {length}");
        }
    }
}

/// A flipped bit is refused, or it is in what nobody signed.
#[test]
fn vectors_with_a_bit_flipped_say_nothing_else() {
    let facts = |octets: &[u8]| {
        let signed = PkiMessage::decode(octets, &Limits::MESSAGE).ok()?.verify(&EVERYTHING).ok()?;
        let facts = signed.facts();
        Some((
            facts.message_type(),
            facts.transaction_id().clone(),
            facts.sender_nonce().to_vec(),
            signed.cipher(),
            // The bits: how the certificate writes the algorithm beside them is signed by nobody here.
            signed.signer().public_key().key_identifier(),
        ))
    };
    for (file, octets) in vectors() {
        let Some(original) = facts(&octets) else { continue };
        let mut refused = 0;
        for at in 0..octets.len() {
            let mut flipped = octets.clone();
            flipped[at] ^= 1 << (at % 8);
            match facts(&flipped) {
                Some(facts) => assert!(facts == original, "{file} flipped at {at}"),
                None => refused += 1,
            }
        }
        // The envelope, the attributes and the signature are the larger part of every message.
        assert!(refused > octets.len() / 2, "{file}: {refused} of {} refused", octets.len());
    }
}

#[test]
fn nesting_and_lengths_are_bounded() {
    let (octets, _) = enrolment(client::Style::default());
    let deep = [0x30, 0x80].repeat(100_000);
    let huge = [&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff][..], &octets].concat();
    let long = [octets, vec![0; Limits::MESSAGE.length]].concat();
    for octets in [deep, huge, long] {
        let rejected = rejection(&octets, &EVERYTHING);
        assert!(matches!(rejected.error, DecodeError::Malformed(_)), "{}", rejected.error);
    }
}

// Support

const NONCE: [u8; 8] = *b"8 octets";

fn transaction() -> TransactionId {
    TransactionId::new(b"a/b+c= d")
}

fn recipient(party: &Party) -> Recipient<'_> {
    Recipient { certificate: &party.certificate, key: &party.key }
}

fn csr() -> Vec<u8> {
    client::csr(&name("cn=client"), &CLIENT.key, Hash::Sha256, Some("pass word"), &[]).unwrap()
}

fn enrolment(style: client::Style) -> (Vec<u8>, Vec<u8>) {
    static CSR: LazyLock<Vec<u8>> = LazyLock::new(csr);
    let parties = client::Parties { ca: &CA.certificate, signer: &CLIENT.certificate, key: &CLIENT.key };
    let message = client::message(MessageType::PkcsReq, &transaction(), &CSR, &parties, style);
    let message = message.unwrap().unwrap();
    (message.octets, message.nonce)
}

fn verified(octets: &[u8]) -> Signed {
    PkiMessage::decode(octets, &Limits::MESSAGE).unwrap().verify(&EVERYTHING).unwrap()
}

fn rejection(octets: &[u8], policy: &AlgorithmPolicy) -> Rejected {
    match PkiMessage::decode(octets, &Limits::MESSAGE).and_then(|message| message.verify(policy)) {
        Ok(_) => panic!("accepted"),
        Err(rejected) => rejected,
    }
}

fn answer(outcome: &Outcome<'_>, request: &Signed, transport: KeyTransport) -> Vec<u8> {
    let sealed = Sealed::seal(outcome, request, transport).unwrap();
    scep::encode(outcome, &sealed, request.facts(), &CA.certificate, &CA.key).unwrap()
}

/// Every digest that `message` names as `digestAlgorithm`, and that its signature holds with.
fn digests_of(message: &[u8]) -> Vec<Hash> {
    CertRep::decode(message, &[&CA.certificate]).unwrap();
    let named = |hash: &Hash| contains(message, &sequence(&[&tlv(6, &[hash.oid().as_bytes()]), &[5, 0]]));
    Hash::ALL.into_iter().filter(named).collect()
}

/// Opens an envelope as the CA, and says how often its key was asked.
fn open(envelope: &Enveloped) -> (Result<Request, OpenError>, usize) {
    open_forged(&Forged { content: envelope.octets(), ..Forged::enrolment() })
}

fn open_forged(forged: &Forged) -> (Result<Request, OpenError>, usize) {
    let signed = PkiMessage::decode(&forged.octets(), &Limits::MESSAGE).unwrap().verify(&STRICT).unwrap();
    let key = Asked::new(&CA.key);
    let result = signed.open(&[Recipient { certificate: &CA.certificate, key: &key }]);
    (result, key.times.load(Ordering::Relaxed))
}

fn vectors() -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/scep");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "der"));
    let mut vectors: Vec<_> =
        files.map(|path| (path.display().to_string(), std::fs::read(path).unwrap())).collect();
    vectors.sort();
    assert!(!vectors.is_empty());
    vectors
}

/// A key that counts.
struct Asked<'a> {
    key: &'a TestKey,
    times: AtomicUsize,
    length: AtomicUsize,
}

impl<'a> Asked<'a> {
    fn new(key: &'a TestKey) -> Self {
        Self { key, times: AtomicUsize::new(0), length: AtomicUsize::new(0) }
    }
}

impl DecryptionKey for Asked<'_> {
    fn public_key(&self) -> &PublicKey {
        DecryptionKey::public_key(self.key)
    }

    fn unwrap_key(
        &self,
        transport: KeyTransport,
        wrapped: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.times.fetch_add(1, Ordering::Relaxed);
        self.length.store(len, Ordering::Relaxed);
        self.key.unwrap_key(transport, wrapped, len)
    }
}

/// A pkiMessage that may lie in one place. Good as [`Forged::enrolment`] makes it.
#[derive(Clone)]
struct Forged {
    kind: Option<&'static str>,
    transaction: Vec<u8>,
    nonce: Option<Vec<u8>>,
    /// Of the content.
    digest: Hash,
    /// What is named instead of it.
    digest_oid: Option<&'static str>,
    /// What is named, and what is used.
    signature: (&'static str, Hash),
    content: Vec<u8>,
    content_type: &'static str,
    attribute_content_type: &'static str,
    by_key_id: bool,
    own_certificate: bool,
    /// Certificates before the signer's.
    others: Vec<Vec<u8>>,
    /// Attributes as sent.
    in_order: bool,
    /// Attributes as signed.
    signed_in_order: bool,
}

impl Forged {
    fn enrolment() -> Self {
        static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| Enveloped::new().octets());
        Self {
            kind: Some("19"),
            transaction: transaction().as_bytes().to_vec(),
            nonce: Some(NONCE.to_vec()),
            digest: Hash::Sha256,
            digest_oid: None,
            signature: (RSA_ENCRYPTION, Hash::Sha256),
            content: CONTENT.clone(),
            content_type: DATA,
            attribute_content_type: DATA,
            by_key_id: false,
            own_certificate: true,
            others: Vec::new(),
            in_order: true,
            signed_in_order: true,
        }
    }

    fn octets(&self) -> Vec<u8> {
        let attribute = |id: &str, value: &[u8]| sequence(&[&oid(id), &tlv(0x31, &[value])]);
        let scep = |last: u8, value: &[u8]| attribute(&format!("2.16.840.1.113733.1.9.{last}"), value);
        let digest = self.digest.digest(&[&self.content]);
        let mut attributes = vec![
            attribute("1.2.840.113549.1.9.4", &tlv(4, &[&digest])),
            attribute("1.2.840.113549.1.9.3", &oid(self.attribute_content_type)),
            scep(7, &tlv(0x13, &[&self.transaction])),
        ];
        attributes.extend(self.kind.map(|kind| scep(2, &tlv(0x13, &[kind.as_bytes()]))));
        attributes.extend(self.nonce.as_ref().map(|nonce| scep(5, &tlv(4, &[nonce]))));
        let mut sorted = attributes.clone();
        sorted.sort();
        assert_ne!(sorted, attributes);
        let sent = if self.in_order { &sorted } else { &attributes };
        let signed = if self.signed_in_order { &sorted } else { &attributes };

        // What is named decides what is signed with, unless it names no digest.
        let (algorithm, hash) = match self.signature {
            (RSA_ENCRYPTION, Hash::Sha256) if self.digest == Hash::Md5 => (RSA_ENCRYPTION, Hash::Md5),
            signature => signature,
        };
        let signature = CLIENT.key.sign(hash, &tlv(0x31, &[&signed.concat()])).unwrap();
        let signer = &CLIENT.certificate;
        let id = if self.by_key_id {
            tlv(0x80, &[&signer.public_key().key_identifier()])
        } else {
            sequence(&[signer.issuer_raw(), &tlv(2, &[signer.serial_raw()])])
        };
        let digest_oid = self.digest_oid.map_or_else(|| tlv(6, &[self.digest.oid().as_bytes()]), oid);
        let digest_algorithm = sequence(&[&digest_oid, &[5, 0]]);
        let info = sequence(&[
            &[2, 1, 1],
            &id,
            &digest_algorithm,
            &tlv(0xa0, &[&sent.concat()]),
            &sequence(&[&oid(algorithm), &[5, 0]]),
            &tlv(4, &[&signature]),
        ]);
        let own = if self.own_certificate { signer.der() } else { OTHER.certificate.der() };
        let data = sequence(&[
            &[2, 1, 1],
            &tlv(0x31, &[&digest_algorithm]),
            &sequence(&[&oid(self.content_type), &tlv(0xa0, &[&tlv(4, &[&self.content])])]),
            &tlv(0xa0, &[&self.others.concat(), own]),
            &tlv(0x31, &[&info]),
        ]);
        sequence(&[&oid(SIGNED_DATA), &tlv(0xa0, &[&data])])
    }
}

/// An EnvelopedData with AES-128 that may lie in one place. Good as [`Enveloped::new`] makes it.
struct Enveloped {
    recipients: Vec<&'static Party>,
    by_key_id: bool,
    transport_oid: &'static str,
    transport_parameters: Vec<u8>,
    /// Instead of the key, encrypted to each recipient.
    wrapped: Option<Vec<u8>>,
    cipher_oid: Option<&'static str>,
    iv: Vec<u8>,
    plain: Vec<u8>,
    /// Instead of `plain`, padded and encrypted.
    encrypted: Option<Vec<u8>>,
}

const CONTENT_KEY: [u8; 16] = [0x42; 16];
const IV: [u8; 16] = [0x17; 16];

impl Enveloped {
    fn new() -> Self {
        Self {
            recipients: vec![&CA],
            by_key_id: false,
            transport_oid: RSA_ENCRYPTION,
            transport_parameters: vec![5, 0],
            wrapped: None,
            cipher_oid: None,
            iv: IV.to_vec(),
            plain: csr(),
            encrypted: None,
        }
    }

    fn octets(&self) -> Vec<u8> {
        let infos: Vec<Vec<u8>> = self.recipients.iter().map(|party| self.recipient(party)).collect();
        let cipher = oid(self.cipher_oid.unwrap_or("2.16.840.1.101.3.4.1.2"));
        let encrypted =
            self.encrypted.clone().unwrap_or_else(|| Cipher::Aes128.encrypt(&CONTENT_KEY, &IV, &self.plain));
        let data = sequence(&[
            &[2, 1, 0],
            &tlv(0x31, &[&infos.concat()]),
            &sequence(&[&oid(DATA), &sequence(&[&cipher, &tlv(4, &[&self.iv])]), &tlv(0x80, &[&encrypted])]),
        ]);
        sequence(&[&oid(ENVELOPED_DATA), &tlv(0xa0, &[&data])])
    }

    fn recipient(&self, party: &Party) -> Vec<u8> {
        let certificate = &party.certificate;
        let id = if self.by_key_id {
            tlv(0x80, &[&certificate.public_key().key_identifier()])
        } else {
            sequence(&[certificate.issuer_raw(), &tlv(2, &[certificate.serial_raw()])])
        };
        let wrapped = self.wrapped.clone().unwrap_or_else(|| {
            certificate.public_key().encrypt(KeyTransport::Pkcs1v15, &CONTENT_KEY).unwrap()
        });
        sequence(&[
            &[2, 1, 0],
            &id,
            &sequence(&[&oid(self.transport_oid), &self.transport_parameters]),
            &tlv(4, &[&wrapped]),
        ])
    }
}

/// A content key for the CA.
fn wrap(key: &[u8]) -> Vec<u8> {
    CA.certificate.public_key().encrypt(KeyTransport::Pkcs1v15, key).unwrap()
}

/// `padded` encrypted with nothing put behind it: the block of padding that `encrypt` adds is cut off.
fn unpadded_encryption(padded: &[u8]) -> Vec<u8> {
    let mut encrypted = Cipher::Aes128.encrypt(&CONTENT_KEY, &IV, padded);
    encrypted.truncate(padded.len());
    encrypted
}

fn contains(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}

fn oid(text: &str) -> Vec<u8> {
    tlv(6, &[ObjectIdentifier::new_unwrap(text).as_bytes()])
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    [wire::header(tag, content.len()), content].concat()
}
