//! The form of a request and of a reply: what the least tolerant clients take, octet by octet, and what
//! OpenSSL thinks of it.

use std::fs;
use std::process::Command;
use std::sync::LazyLock;

use const_oid::db::rfc5911;
use tokenca::pki::ber::{self, Element, Limits, Tag};
use tokenca::pki::{Certificate, Csr, Hash, KeyTransport};
use tokenca::scep::client::{self, Message, Parties, Style};
use tokenca::scep::{
    self, AlgorithmPolicy, CertRep, Cipher, FailInfo, MessageType, Outcome, PkiMessage, Recipient, Request,
    Sealed, Signed, TransactionId,
};

#[path = "support/forge.rs"]
mod forge;
#[path = "support/keys.rs"]
mod keys;

use keys::{EcTestKey, TestKey, name, self_signed};

/// A CA and a device, and the certificate that the CA has issued: its form does not matter here.
struct Lab {
    ca_key: TestKey,
    ca: Certificate,
    key: TestKey,
    device: Certificate,
    csr: Vec<u8>,
    issued: Certificate,
}

static LAB: LazyLock<Lab> = LazyLock::new(|| {
    let (ca_key, key) = (TestKey::new(), TestKey::new());
    let ca = ca_key.self_signed("cn=ca1,o=Lab");
    let device = key.self_signed("cn=r1,o=Lab");
    let csr = client::csr(&name("cn=r1,o=Lab"), &key, Hash::Sha256, Some("secret"), &[]).unwrap();
    let issued = forge::version_1(&key, "cn=r1,o=Lab", &[0x12, 0x34], Hash::Sha256);
    Lab { ca_key, ca, key, device, csr, issued }
});

const EVERYTHING: AlgorithmPolicy = AlgorithmPolicy { legacy_des: true, legacy_md5: true };
const TRANSPORTS: [KeyTransport; 3] = [
    KeyTransport::Pkcs1v15,
    KeyTransport::Oaep { hash: Hash::Sha1, mgf: Hash::Sha1 },
    KeyTransport::Oaep { hash: Hash::Sha256, mgf: Hash::Sha256 },
];

impl Lab {
    fn request(&self, signer: &Certificate, style: Style) -> Message {
        let parties = Parties { ca: &self.ca, signer, key: &self.key };
        let transaction = client::transaction_id(&self.key);
        client::message(MessageType::PkcsReq, &transaction, &self.csr, &parties, style).unwrap().unwrap()
    }

    /// As the CA reads it.
    fn read(&self, request: &Message) -> Signed {
        let signed =
            PkiMessage::decode(&request.octets, &Limits::MESSAGE).unwrap().verify(&EVERYTHING).unwrap();
        let Request::Enroll { csr, renewal: false } = self.open(&signed) else { panic!("not a PKCSReq") };
        assert_eq!(csr.der(), self.csr);
        signed
    }

    fn open(&self, signed: &Signed) -> Request {
        signed.open(&[Recipient { certificate: &self.ca, key: &self.ca_key }]).unwrap()
    }

    fn reply(&self, outcome: &Outcome<'_>, signed: &Signed) -> Vec<u8> {
        let transport = signed.transport_to(&self.ca).unwrap();
        let sealed = Sealed::seal(outcome, signed, transport).unwrap();
        scep::encode(outcome, &sealed, signed.facts(), &self.ca, &self.ca_key).unwrap()
    }
}

#[test]
fn the_form_of_a_reply() {
    let lab = &*LAB;
    // certmonger: version 1, 33 octets of serial number.
    let mut serial = [0xd6; 33];
    serial[0] = 0;
    let signer = forge::version_1(&lab.key, "cn=dev1,hostname=r1.example.com", &serial, Hash::Sha256);
    let request = lab.request(&signer, Style { digest: Hash::Sha512, ..Style::default() });
    let signed = lab.read(&request);

    let success = lab.reply(&Outcome::Certificates(&[lab.issued.der()]), &signed);
    let (content, info) = parts(&success, &lab.ca);
    check_signer_info(&info, &request, &content, Hash::Sha512, &["3", "0"]);
    // The recipient is named as it named itself, octet for octet.
    let envelope = ber::parse(&content, &Limits::MESSAGE).unwrap();
    let mut fields = content_of(&envelope, rfc5911::ID_ENVELOPED_DATA);
    fields.any("version").unwrap();
    let mut infos = fields.read(Tag::SET, "").unwrap().set("").unwrap();
    let mut recipient = infos.any("").unwrap().sequence("").unwrap();
    infos.end("").unwrap();
    recipient.any("version").unwrap();
    let named = forge::sequence(&[signer.issuer_raw(), &forge::tlv(2, &[&serial])]);
    assert_eq!(recipient.any("rid").unwrap().raw(), named);
    assert_eq!(recipient.any("").unwrap().raw(), RSA_ENCRYPTION);

    for (outcome, values) in
        [(Outcome::Pending, &["3", "3"][..]), (Outcome::Failure(FailInfo::BadCertId, None), &["3", "2", "4"])]
    {
        let reply = lab.reply(&outcome, &signed);
        let (content, info) = parts(&reply, &lab.ca);
        assert!(content.is_empty(), "an OCTET STRING of no octets, but there");
        check_signer_info(&info, &request, &content, Hash::Sha512, values);
    }
}

/// The eContent of a reply and its one SignerInfo; the one certificate is the signer's.
fn parts(reply: &[u8], signer: &Certificate) -> (Vec<u8>, Vec<u8>) {
    let reply = ber::parse(reply, &Limits::MESSAGE).unwrap();
    assert_eq!(reply.to_definite(), reply.raw(), "DER throughout");
    let mut fields = content_of(&reply, rfc5911::ID_SIGNED_DATA);
    assert_eq!(fields.any("version").unwrap().raw(), [2, 1, 1]);
    fields.read(Tag::SET, "digestAlgorithms").unwrap();
    let mut inner = fields.any("encapContentInfo").unwrap().sequence("").unwrap();
    assert_eq!(inner.any("eContentType").unwrap().oid("").unwrap(), rfc5911::ID_DATA);
    let content = inner.read(Tag::context(0), "eContent").unwrap().explicit("").unwrap();
    assert_eq!((content.tag(), content.is_constructed()), (Tag::OCTET_STRING, false));
    let certificates = fields.read(Tag::context(0), "certificates").unwrap();
    assert_eq!(certificates.content(), signer.der());
    let mut infos = fields.read(Tag::SET, "signerInfos").unwrap().set("").unwrap();
    fields.end("SignedData").unwrap();
    let info = infos.any("signerInfo").unwrap();
    infos.end("signerInfos").unwrap();
    (content.content().to_vec(), info.raw().to_vec())
}

/// Identifiers, the attributes in the order of DER, their string types; `values` are those of
/// messageType, pkiStatus and failInfo.
fn check_signer_info(info: &[u8], request: &Message, content: &[u8], hash: Hash, values: &[&str]) {
    let info = ber::parse(info, &Limits::MESSAGE).unwrap();
    let mut fields = info.sequence("").unwrap();
    assert_eq!(fields.any("version").unwrap().raw(), [2, 1, 1]);
    fields.read(Tag::SEQUENCE, "sid").unwrap();
    let digest = fields.read(Tag::SEQUENCE, "digestAlgorithm").unwrap();
    assert_eq!(digest.sequence("").unwrap().any("").unwrap().oid("").unwrap(), hash.oid());
    let attributes = fields.read(Tag::context(0), "signedAttrs").unwrap();
    assert_eq!(fields.read(Tag::SEQUENCE, "signatureAlgorithm").unwrap().raw(), RSA_ENCRYPTION);
    fields.read(Tag::OCTET_STRING, "signature").unwrap();
    fields.end("SignerInfo").unwrap();

    let mut all = Vec::new();
    let mut reader = attributes.reader("").unwrap();
    while let Some(attribute) = reader.next("").unwrap() {
        all.push(attribute.raw().to_vec());
    }
    assert!(all.is_sorted());
    let transaction = client::transaction_id(&LAB.key);
    let mut wanted = vec![
        forge::attribute(&forge::of(rfc5911::ID_CONTENT_TYPE), &[forge::of(rfc5911::ID_DATA)]),
        forge::attribute(&forge::of(rfc5911::ID_MESSAGE_DIGEST), &[forge::octets(&hash.digest(&[content]))]),
        forge::attribute(&forge::oid(forge::TRANSACTION_ID), &[forge::printable(&transaction.to_string())]),
        forge::attribute(&forge::oid("2.16.840.1.113733.1.9.6"), &[forge::octets(&request.nonce)]),
    ];
    for (arc, value) in ["2", "3", "4"].iter().zip(values) {
        let kind = forge::oid(&format!("2.16.840.1.113733.1.9.{arc}"));
        wanted.push(forge::attribute(&kind, &[forge::printable(value)]));
    }
    for attribute in &wanted {
        assert!(all.contains(attribute), "{attribute:02x?}");
    }
    all.retain(|attribute| !wanted.contains(attribute));
    let [nonce] = &all[..] else { panic!("nothing but the senderNonce besides: {all:02x?}") };
    let start = forge::attribute(&forge::oid(forge::SENDER_NONCE), &[forge::octets(&[0; 16])]);
    assert_eq!(nonce[..nonce.len() - 16], start[..start.len() - 16]);
}

fn content_of<'a>(info: &Element<'a>, kind: der::asn1::ObjectIdentifier) -> ber::Reader<'a> {
    let mut fields = info.sequence("ContentInfo").unwrap();
    assert_eq!(fields.any("contentType").unwrap().oid("").unwrap(), kind);
    fields.any("content").unwrap().explicit("").unwrap().sequence("").unwrap()
}

#[test]
fn openssl_reads_requests_and_replies() {
    let lab = &*LAB;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let pem = |certificate: &Certificate| {
        der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, certificate.der()).unwrap()
    };
    fs::write(file("ca.pem"), pem(&lab.ca)).unwrap();
    fs::write(file("ca.key"), lab.ca_key.pem()).unwrap();
    fs::write(file("device.pem"), pem(&lab.device)).unwrap();
    fs::write(file("device.key"), lab.key.pem()).unwrap();
    let opened = |message: &[u8], owner: &str| {
        fs::write(file("message"), message).unwrap();
        openssl(&[
            "cms",
            "-verify",
            "-noverify",
            "-binary",
            "-inform",
            "DER",
            "-in",
            &file("message"),
            "-out",
            &file("inner"),
        ]);
        if fs::read(file("inner")).unwrap().is_empty() {
            return Vec::new();
        }
        let (certificate, key) = (file(&format!("{owner}.pem")), file(&format!("{owner}.key")));
        openssl(&[
            "cms",
            "-decrypt",
            "-binary",
            "-inform",
            "DER",
            "-in",
            &file("inner"),
            "-recip",
            &certificate,
            "-inkey",
            &key,
            "-out",
            &file("plain"),
        ]);
        fs::read(file("plain")).unwrap()
    };
    for digest in Hash::ALL {
        // OpenSSL 3 has single DES in a module of its own.
        for (cipher, transport) in [Cipher::Des3, Cipher::Aes128, Cipher::Aes256].into_iter().zip(TRANSPORTS)
        {
            let request = lab.request(&lab.device, Style { digest, cipher, transport });
            assert_eq!(opened(&request.octets, "ca"), lab.csr, "{digest:?} {cipher:?}");
            let signed = lab.read(&request);
            let success = Outcome::Certificates(&[lab.issued.der()]);
            assert_eq!(
                opened(&lab.reply(&success, &signed), "device"),
                scep::certs_only(&[lab.issued.der()]),
                "{digest:?} {cipher:?}"
            );
            assert!(opened(&lab.reply(&Outcome::Pending, &signed), "device").is_empty());
            let failure = Outcome::Failure(FailInfo::BadAlg, Some("the algorithm is not allowed"));
            assert!(opened(&lab.reply(&failure, &signed), "device").is_empty());
        }
    }
}

fn openssl(arguments: &[&str]) {
    let ran = Command::new("openssl").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "openssl {}\n{said}", arguments.join(" "));
}

#[test]
fn keys_that_cannot_decrypt() {
    let lab = &*LAB;
    let ec = EcTestKey::new();
    let certificate = self_signed(&ec, "cn=ec", Hash::Sha256, true);
    let csr = client::csr(&name("cn=ec"), &ec, Hash::Sha256, None, &[]).unwrap();
    Csr::parse(&csr).unwrap().verify().unwrap();
    let parties = Parties { ca: &lab.ca, signer: &certificate, key: &ec };
    let transaction = TransactionId::new(b"ec");
    let message = client::message(MessageType::PkcsReq, &transaction, &csr, &parties, Style::default());
    let octets = message.unwrap().unwrap().octets;
    // Its signature is as good as any; only the answer cannot be sealed.
    let signed = PkiMessage::decode(&octets, &Limits::MESSAGE).unwrap();
    let signed = signed.verify(&AlgorithmPolicy::default()).unwrap();
    assert!(matches!(lab.open(&signed), Request::Enroll { .. }));
    let success = Outcome::Certificates(&[lab.issued.der()]);
    assert!(Sealed::seal(&success, &signed, KeyTransport::Pkcs1v15).is_none());
    let refused = Outcome::Failure(FailInfo::BadAlg, None);
    let reply = scep::encode(&refused, &Sealed::empty(), signed.facts(), &lab.ca, &lab.ca_key).unwrap();
    assert_eq!(CertRep::decode(&reply, &[&lab.ca]).unwrap().fail_info(), Some(FailInfo::BadAlg));

    // An EC key of a CA signs replies, too, and nothing can be sealed to it.
    let reply = scep::encode(&refused, &Sealed::empty(), signed.facts(), &certificate, &ec).unwrap();
    assert_eq!(CertRep::decode(&reply, &[&certificate]).unwrap().signer(), &certificate);
    let parties = Parties { ca: &certificate, signer: &lab.device, key: &lab.key };
    let message =
        client::message(MessageType::PkcsReq, &transaction, &lab.csr, &parties, Style::default()).unwrap();
    assert!(message.is_none());
}

/// AlgorithmIdentifier of rsaEncryption, parameters NULL.
const RSA_ENCRYPTION: &[u8] = &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
