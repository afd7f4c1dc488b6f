//! What SCEP clients and servers in the field have sent: every message is decoded, its signature checked,
//! its envelope opened and what is inside checked, and all that is compared with `tests/vectors/scep`.
//!
//! With `TOKENCA_EXTRA_VECTORS` naming a folder, every `.der` in it is read, too: for captures that cannot
//! be published.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokenca::pki::ber::Limits;
use tokenca::pki::{Certificate, Csr, KeyTransport, Name, SigningKey};
use tokenca::scep::{
    AlgorithmPolicy, CertRep, DecodeError, Envelope, OpenError, PkiMessage, Recipient, Rejected, Request,
    SignedData,
};

#[path = "support/keys.rs"]
mod keys;

use keys::TestKey;

/// `manifest.toml`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Manifest {
    request: Vec<RequestVector>,
    reply: Vec<ReplyVector>,
    csr: Vec<CsrVector>,
}

/// What is expected of a request.
#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RequestVector {
    file: String,
    /// Who made it.
    producer: String,
    message_type: String,
    transaction_id: String,
    /// Octets of senderNonce.
    nonce: usize,
    digest: String,
    cipher: String,
    transport: String,
    /// Version of the signer's certificate.
    signer_version: u8,
    /// Content octets of its serial number, hex.
    signer_serial: String,
    /// Of `LABEL.pem` and `LABEL.key`; absent when the key was not kept.
    recipient: Option<String>,
    /// What `crypto legacy` it needs.
    #[serde(default)]
    legacy: Vec<String>,
    /// What is inside; absent without the key.
    content: Option<Content>,
}

/// What is inside a request.
#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, tag = "kind")]
enum Content {
    /// PKCS#10.
    Csr(CsrFacts),
    /// GetCRL.
    #[serde(rename_all = "kebab-case")]
    IssuerAndSerial { issuer: String, serial: String },
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CsrFacts {
    subject: String,
    /// Whether the key in it also signed the message.
    by_signer: bool,
    digest: String,
    challenge: Option<String>,
    /// Extensions asked for, in their order.
    extensions: Vec<String>,
}

/// What is expected of a reply.
#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ReplyVector {
    file: String,
    producer: String,
    /// `LABEL.pem` signed it.
    signer: String,
    status: String,
    fail_info: Option<String>,
    transaction_id: String,
    /// Octets of recipientNonce.
    nonce: usize,
    cipher: Option<String>,
    /// Of `LABEL.pem` and `LABEL.key`; absent when the key was not kept.
    recipient: Option<String>,
    /// Serial numbers of what is inside, in their order.
    certificates: Option<Vec<String>>,
}

/// What is expected of a PKCS#10 on its own.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CsrVector {
    file: String,
    #[allow(dead_code, reason = "for people")]
    producer: String,
    content: CsrFacts,
}

#[test]
fn requests() {
    let folder = folder();
    for expected in manifest().request {
        let input = fs::read(folder.join(&expected.file)).unwrap();
        assert_eq!(request(&input, &expected), expected);
    }
}

#[test]
fn replies() {
    let folder = folder();
    for expected in manifest().reply {
        let input = fs::read(folder.join(&expected.file)).unwrap();
        assert_eq!(reply(&input, &expected), expected);
    }
}

#[test]
fn csrs() {
    let folder = folder();
    for expected in manifest().csr {
        let csr = Csr::parse(&fs::read(folder.join(&expected.file)).unwrap()).unwrap();
        assert_eq!(csr_facts(csr, true), expected.content, "{}", expected.file);
    }
}

#[test]
fn every_file_is_in_the_manifest() {
    let manifest = manifest();
    let mut named: Vec<String> = manifest.request.into_iter().map(|v| v.file).collect();
    named.extend(manifest.reply.into_iter().map(|v| v.file));
    named.extend(manifest.csr.into_iter().map(|v| v.file));
    named.sort();
    assert_eq!(named, messages(&folder()));
}

#[test]
fn extra_vectors_are_read() {
    let Some(folder) = std::env::var_os("TOKENCA_EXTRA_VECTORS") else { return };
    let folder = PathBuf::from(folder);
    let mut unread = Vec::new();
    for file in messages(&folder) {
        let input = fs::read(folder.join(&file)).unwrap();
        match extra(&input) {
            Ok(what) => println!("{file}: {what}"),
            Err(error) => unread.push(format!("{file}: {error}")),
        }
    }
    assert!(unread.is_empty(), "{unread:#?}");
}

/// What a request holds; labels and producer are those expected.
fn request(input: &[u8], expected: &RequestVector) -> RequestVector {
    let file = &expected.file;
    let decode = || PkiMessage::decode(input, &Limits::MESSAGE).unwrap_or_else(|e| panic!("{file}: {e}"));
    let everything = AlgorithmPolicy { legacy_des: true, legacy_md5: true };
    let signed = decode().verify(&everything).unwrap_or_else(|e| panic!("{file}: {e}"));

    let mut legacy = Vec::new();
    for (name, without) in [
        ("des", AlgorithmPolicy { legacy_des: false, ..everything }),
        ("md5", AlgorithmPolicy { legacy_md5: false, ..everything }),
    ] {
        if let Err(rejected) = decode().verify(&without) {
            assert_eq!(rejected.error, DecodeError::Legacy(name), "{file}");
            legacy.push(name.to_owned());
        }
    }

    let facts = signed.facts();
    let mut got = RequestVector {
        file: file.clone(),
        producer: expected.producer.clone(),
        message_type: facts.message_type().text().to_owned(),
        transaction_id: facts.transaction_id().to_string(),
        nonce: facts.sender_nonce().len(),
        digest: facts.digest().name().to_owned(),
        cipher: format!("{:?}", signed.cipher().unwrap()).to_lowercase(),
        transport: expected.transport.clone(),
        signer_version: signed.signer().version(),
        signer_serial: hex(signed.signer().serial_raw()),
        recipient: expected.recipient.clone(),
        legacy,
        content: None,
    };
    let Some((certificate, key)) = expected.recipient.as_deref().map(pair) else {
        let (certificate, key) = pair("mock-ca");
        let stranger = Recipient { certificate: &certificate, key: &key };
        assert!(matches!(signed.open(&[stranger]), Err(OpenError::NotForUs)), "{file}");
        return got;
    };
    got.transport = match signed.transport_to(&certificate).unwrap() {
        KeyTransport::Pkcs1v15 => "pkcs1v15".to_owned(),
        KeyTransport::Oaep { hash, mgf } => format!("oaep-{}-{}", hash.name(), mgf.name()),
    };
    let opened = signed.open(&[Recipient { certificate: &certificate, key: &key }]);
    got.content = Some(match opened.unwrap_or_else(|e| panic!("{file}: {e}")) {
        Request::Enroll { csr, renewal } => {
            assert_eq!(renewal, got.message_type == "17", "{file}");
            let by_signer = csr.public_key() == signed.signer().public_key();
            Content::Csr(csr_facts(*csr, by_signer))
        }
        Request::GetCrl { issuer, serial } | Request::GetCert { issuer, serial } => {
            Content::IssuerAndSerial {
                issuer: Name::from_der(&issuer).to_string(),
                serial: hex(serial.as_be_bytes()),
            }
        }
        Request::Poll => panic!("{file}: no poll was captured"),
    });
    got
}

fn csr_facts(csr: Csr, by_signer: bool) -> CsrFacts {
    use secrecy::ExposeSecret;
    let csr = csr.verify().unwrap();
    CsrFacts {
        subject: Name::from_der(csr.subject_raw()).to_string(),
        by_signer,
        digest: csr.signature_algorithm().unwrap().hash().unwrap().name().to_owned(),
        challenge: csr.challenge().map(|c| c.expose_secret().to_owned()),
        extensions: csr.extensions().iter().map(|extension| extension.oid.to_string()).collect(),
    }
}

fn reply(input: &[u8], expected: &ReplyVector) -> ReplyVector {
    let file = &expected.file;
    let signer = certificate(&expected.signer);
    let reply = CertRep::decode(input, &[&signer]).unwrap_or_else(|e| panic!("{file}: {e}"));
    let (stranger, _) = pair("mock-ca");
    if stranger != signer {
        assert!(CertRep::decode(input, &[&stranger]).is_err(), "{file}: signed by nobody trusted");
    }
    let certificates = expected.recipient.as_deref().map(|label| {
        let (certificate, key) = pair(label);
        let issued = reply.open(&certificate, &key).unwrap_or_else(|e| panic!("{file}: {e}"));
        issued.certificates.iter().map(|certificate| hex(certificate.serial_raw())).collect()
    });
    ReplyVector {
        file: file.clone(),
        producer: expected.producer.clone(),
        signer: expected.signer.clone(),
        status: reply.status().text().to_owned(),
        fail_info: reply.fail_info().map(|f| f.text().to_owned()),
        transaction_id: reply.transaction_id().to_string(),
        nonce: reply.recipient_nonce().len(),
        cipher: reply.cipher().map(|cipher| format!("{cipher:?}").to_lowercase()),
        recipient: expected.recipient.clone(),
        certificates,
    }
}

/// Reads something of unknown origin; says what it was.
fn extra(input: &[u8]) -> Result<String, String> {
    if let Ok(csr) = Csr::parse(input) {
        let csr = csr.verify().map_err(|e| e.to_string())?;
        return Ok(format!("PKCS#10 of {}", Name::from_der(csr.subject_raw())));
    }
    let data = SignedData::parse(input, &Limits::REPLY).map_err(|e| e.to_string())?;
    if let Some(signer) = data.signer_certificate(&[])
        && let Ok(reply) = CertRep::decode(input, &[signer])
    {
        return Ok(format!("reply, {:?}, {:?}", reply.status(), reply.cipher()));
    }
    let envelope = match data.content.as_deref().unwrap_or_default() {
        [] | [0] => None,
        content => Some(Envelope::parse(content, &Limits::REPLY).map_err(|e| e.to_string())?),
    };
    let cipher = envelope.and_then(|envelope| envelope.cipher());
    let everything = AlgorithmPolicy { legacy_des: true, legacy_md5: true };
    let message = PkiMessage::decode(input, &Limits::MESSAGE).map_err(|e| e.to_string())?;
    match message.verify(&everything) {
        Ok(signed) => Ok(format!("{:?}, {cipher:?}", signed.facts())),
        // A server need not send its certificate: whoever asked it has it already.
        Err(Rejected { error: DecodeError::NoCertificate, facts }) if data.certificates.is_empty() => {
            Ok(format!("{facts:?}, {cipher:?}, not verified: no certificates"))
        }
        Err(rejected) => Err(rejected.to_string()),
    }
}

fn manifest() -> Manifest {
    toml::from_str(&fs::read_to_string(folder().join("manifest.toml")).unwrap()).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/scep")
}

/// The names of the messages in a folder, sorted.
fn messages(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".der")).collect();
    names.sort();
    names
}

fn certificate(label: &str) -> Certificate {
    let pem = fs::read_to_string(folder().join(format!("{label}.pem"))).unwrap();
    let (_, der) = der::pem::decode_vec(pem.as_bytes()).unwrap();
    Certificate::parse(&der).unwrap()
}

fn pair(label: &str) -> (Certificate, TestKey) {
    let (certificate, key) = (
        certificate(label),
        TestKey::from_pem(&fs::read_to_string(folder().join(format!("{label}.key"))).unwrap()),
    );
    assert_eq!(certificate.public_key(), SigningKey::public_key(&key), "{label}");
    (certificate, key)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
