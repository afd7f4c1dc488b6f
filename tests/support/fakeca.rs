//! A CA behind SCEP that does what it is told: answers honestly, or wrongly in one place. Over HTTP on loopback,
//! or in memory as the [`Transport`] of a client.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokenca::files::{Exchanged, FileError, FileUrl, Posted};
use tokenca::pki::ber::Limits;
use tokenca::pki::profile::{self, IssuerFacts, Requested};
use tokenca::pki::{Certificate, Csr, Hash, Name, Serial, SignatureAlgorithm, SigningKey, Time, tbs};
use tokenca::scep::operation::{self, Operation};
use tokenca::scep::{
    self, AlgorithmPolicy, FailInfo, MessageType, Outcome, PkiMessage, Recipient, Request, Sealed, next_ca,
};
use tokenca::trustpoint::Transport;

use super::keys::{TestKey, name};

const YEAR: Duration = Duration::from_secs(365 * 86_400);
const ALGORITHM: SignatureAlgorithm = SignatureAlgorithm::RsaPkcs1(Hash::Sha256);
const ALL: AlgorithmPolicy = AlgorithmPolicy { legacy_des: true, legacy_md5: true };

/// A key with a certificate.
pub struct Party {
    pub key: TestKey,
    pub certificate: Certificate,
}

impl Party {
    /// A self-signed CA with a new key.
    pub fn root(subject: &str, validity: (Time, Time)) -> Self {
        let key = TestKey::new();
        let template = profile::root(&name(subject), SigningKey::public_key(&key), true, ALGORITHM, validity);
        let certificate = sign(&key, ALGORITHM, &template.finalize(&serial()).unwrap());
        Self { key, certificate }
    }

    /// What this CA makes of a template.
    pub fn certify(&self, template: &tbs::Template) -> Certificate {
        sign(&self.key, template.algorithm, &template.finalize(&serial()).unwrap())
    }

    /// The certificate that this CA gives for a request.
    pub fn issue(&self, csr: &[u8], validity: (Time, Time)) -> Certificate {
        self.issue_over(Hash::Sha256, csr, validity)
    }

    /// The same, signed over this digest.
    pub fn issue_over(&self, hash: Hash, csr: &[u8], validity: (Time, Time)) -> Certificate {
        let algorithm = SignatureAlgorithm::RsaPkcs1(hash);
        let csr = Csr::parse(csr).unwrap().verify().unwrap();
        let subject = Name::from_der(self.certificate.subject_raw());
        let key_id = self.certificate.key_identifier();
        let issuer = IssuerFacts { name: &subject, key_id: &key_id, algorithm, cdp: None, path_len: None };
        let template = Requested::of(&csr).unwrap().template(&issuer, validity.0, validity.1);
        self.certify(&template)
    }
}

fn sign(key: &TestKey, algorithm: SignatureAlgorithm, octets: &[u8]) -> Certificate {
    let signature = key.sign(algorithm.hash().expect("a digest"), octets).unwrap();
    Certificate::parse(&tbs::assemble(octets, algorithm, &signature).unwrap()).unwrap()
}

fn serial() -> Serial {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Serial::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What is done with a request that asks for a certificate, and with a poll.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// The certificate.
    #[default]
    Grant,
    /// PENDING.
    Pend,
    /// FAILURE, badRequest, with a text.
    Refuse,
    /// An HTTP status.
    Status(u16),
    /// A certificate for another key.
    OtherKey,
    /// A certificate of another CA.
    OtherCa,
    /// A reply signed by another CA of the same name.
    OtherSigner,
    /// A recipientNonce that is not the sender's.
    OtherNonce,
    /// A transactionID that is not the sender's.
    OtherTransaction,
    /// SUCCESS, and no certificate.
    Nothing,
    /// No SCEP.
    Noise,
}

/// The CA.
pub struct FakeCa {
    pub ca: Party,
    /// What GetCACert has beside the CA certificate.
    pub registrars: Mutex<Vec<Certificate>>,
    /// The next one, once there is.
    pub next: Mutex<Option<Party>>,
    /// What GetNextCACert is answered with instead.
    pub next_answer: Mutex<Option<Vec<u8>>>,
    /// Another of the same name.
    pub stranger: Party,
    pub answer: Mutex<Answer>,
    /// What GetCACaps says; none for an HTTP error.
    pub capabilities: Mutex<Option<String>>,
    /// What is the time for the certificates that it issues.
    pub now: Mutex<Time>,
    /// How long they live.
    pub lifetime: Mutex<Duration>,
    /// Messages that came: kind, by GET or POST, and the key that is asked for.
    pub seen: Mutex<Vec<Seen>>,
    /// The last request for a certificate, which a poll is about.
    asked: Mutex<Option<Vec<u8>>>,
}

/// A message that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub kind: MessageType,
    pub posted: bool,
    pub digest: Hash,
    pub cipher: Option<scep::Cipher>,
    pub transaction: String,
    pub signer: Certificate,
    pub csr: Option<Vec<u8>>,
    /// Whether it was for the next CA.
    pub for_next: bool,
}

impl FakeCa {
    /// With a CA certificate of twenty years around now.
    pub fn new() -> Self {
        let now = Time::now();
        Self::valid((now.minus(YEAR * 10), now.plus(YEAR * 10)))
    }

    /// With a CA certificate of this validity.
    pub fn valid(validity: (Time, Time)) -> Self {
        Self {
            ca: Party::root("cn=fake, o=Test", validity),
            next: Mutex::default(),
            next_answer: Mutex::default(),
            registrars: Mutex::default(),
            stranger: Party::root("cn=fake, o=Test", validity),
            answer: Mutex::default(),
            capabilities: Mutex::new(Some("AES\nPOSTPKIOperation\nRenewal\nSHA-256\n".into())),
            now: Mutex::new(Time::now()),
            lifetime: Mutex::new(YEAR),
            seen: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    /// From now on answers so.
    pub fn will(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// From now on answers GetNextCACert with this.
    pub fn will_answer_next(&self, octets: Vec<u8>) {
        *self.next_answer.lock().unwrap() = Some(octets);
    }

    /// From now on says this of itself.
    pub fn says(&self, capabilities: &str) {
        *self.capabilities.lock().unwrap() = Some(capabilities.to_owned());
    }

    /// The messages that came since this was asked last.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// Answers the query of a URL.
    pub fn answer(&self, query: &str, body: Option<Vec<u8>>) -> (u16, Vec<u8>) {
        let operation = operation::parameter(query, "operation").and_then(|name| Operation::from_text(&name));
        match operation {
            Some(Operation::GetCaCaps) => match &*self.capabilities.lock().unwrap() {
                Some(text) => (200, text.clone().into_bytes()),
                None => (404, b"no such thing".to_vec()),
            },
            Some(Operation::GetCaCert) => {
                let registrars = self.registrars.lock().unwrap();
                let all: Vec<&[u8]> =
                    std::iter::once(&self.ca.certificate).chain(&*registrars).map(Certificate::der).collect();
                // One certificate is sent as it is.
                (200, if all.len() == 1 { all[0].to_vec() } else { scep::certs_only(&all) })
            }
            Some(Operation::GetNextCaCert) if self.next_answer.lock().unwrap().is_some() => {
                (200, self.next_answer.lock().unwrap().clone().unwrap_or_default())
            }
            Some(Operation::GetNextCaCert) => match &*self.next.lock().unwrap() {
                Some(next) => {
                    let certificates = [next.certificate.der()];
                    let signer = &self.ca;
                    (200, next_ca::encode(&certificates, &signer.certificate, &signer.key).unwrap())
                }
                None => (404, Vec::new()),
            },
            Some(Operation::PkiOperation) => {
                let posted = body.is_some();
                let in_query = || {
                    operation::parameter(query, "message")
                        .and_then(|text| operation::message_from_query(&text))
                };
                match body.or_else(in_query) {
                    Some(message) => self.operate(&message, posted),
                    None => (400, b"no message".to_vec()),
                }
            }
            _ => (400, b"what?".to_vec()),
        }
    }

    /// Answers a form with a PKCS#10 in it, as CAs without SCEP do.
    fn certify(&self, form: &[u8]) -> (u16, Vec<u8>) {
        let form = String::from_utf8_lossy(form);
        let value = |name| operation::parameter(&form, name);
        let csr = value("CertReq").and_then(|text| operation::message_from_query(&text));
        match (value("reqtype").as_deref(), value("code").as_deref(), csr) {
            (Some("PKCS10"), Some("4711"), Some(csr)) => {
                let now = *self.now.lock().unwrap();
                let issued = self.ca.issue(&csr, (now, now.plus(*self.lifetime.lock().unwrap())));
                (200, tokenca::pki::archive::pem::write_certificate(issued.der()).into_bytes())
            }
            _ => (403, b"who are you?".to_vec()),
        }
    }

    fn operate(&self, message: &[u8], posted: bool) -> (u16, Vec<u8>) {
        let answer = *self.answer.lock().unwrap();
        if let Answer::Status(status) = answer {
            return (status, b"later".to_vec());
        }
        let message = PkiMessage::decode(message, &Limits::MESSAGE)
            .unwrap_or_else(|error| panic!("no message of SCEP: {error}"));
        let signed = message.verify(&ALL).unwrap_or_else(|error| panic!("not signed: {error}"));
        let next = self.next.lock().unwrap();
        let mut recipients = vec![Recipient { certificate: &self.ca.certificate, key: &self.ca.key }];
        recipients.extend(next.iter().map(|p| Recipient { certificate: &p.certificate, key: &p.key }));
        let for_next = next.as_ref().is_some_and(|p| signed.transport_to(&p.certificate).is_some());
        let request = signed.open(&recipients).expect("it is for us");
        let csr = match &request {
            Request::Enroll { csr, .. } => Some(csr.der().to_vec()),
            _ => None,
        };
        self.seen.lock().unwrap().push(Seen {
            kind: signed.message_type(),
            posted,
            digest: signed.facts().digest(),
            cipher: signed.cipher(),
            transaction: signed.transaction_id().to_string(),
            signer: signed.signer().clone(),
            csr: csr.clone(),
            for_next,
        });
        let csr = match csr {
            Some(csr) => self.asked.lock().unwrap().insert(csr).clone(),
            None => self.asked.lock().unwrap().clone().unwrap_or_default(),
        };
        let issuer = if for_next { next.as_ref().expect("there is one") } else { &self.ca };
        (200, self.reply(answer, &signed, &csr, issuer))
    }

    fn reply(&self, answer: Answer, signed: &scep::Signed, csr: &[u8], issuer: &Party) -> Vec<u8> {
        let now = *self.now.lock().unwrap();
        let begin = now.max(issuer.certificate.not_before());
        let validity = (begin, begin.plus(*self.lifetime.lock().unwrap()));
        let mut facts = signed.facts().clone();
        let mut signer = &self.ca;
        let mut issued = Vec::new();
        let outcome = match answer {
            Answer::Pend => Outcome::Pending,
            Answer::Refuse => Outcome::Failure(FailInfo::BadRequest, Some("not you")),
            Answer::Noise => return b"<html>It works!</html>".to_vec(),
            Answer::Nothing => Outcome::Certificates(&[]),
            _ => {
                let other = TestKey::new();
                let other =
                    tokenca::scep::client::csr(&name("cn=x"), &other, Hash::Sha256, None, &[]).unwrap();
                let certificate = match answer {
                    Answer::OtherKey => issuer.issue(&other, validity),
                    Answer::OtherCa => self.stranger.issue(csr, validity),
                    _ => issuer.issue(csr, validity),
                };
                issued.push(certificate);
                Outcome::Certificates(&[])
            }
        };
        match answer {
            Answer::OtherSigner => signer = &self.stranger,
            Answer::OtherNonce | Answer::OtherTransaction => {
                // The attributes of another message of the same sender.
                let foreign = TestKey::new();
                let own = foreign.self_signed("cn=y");
                let transaction = match answer {
                    Answer::OtherNonce => signed.transaction_id().clone(),
                    _ => scep::TransactionId::new(b"another"),
                };
                let parties = scep::client::Parties { ca: &self.ca.certificate, signer: &own, key: &foreign };
                let kind = MessageType::PkcsReq;
                let style = scep::client::Style::default();
                let other = scep::client::message(kind, &transaction, csr, &parties, style).unwrap().unwrap();
                let other = PkiMessage::decode(&other.octets, &Limits::MESSAGE).ok().unwrap();
                facts = other.verify(&ALL).ok().unwrap().facts().clone();
            }
            _ => {}
        }
        let ders: Vec<&[u8]> = issued.iter().map(Certificate::der).collect();
        let outcome = match outcome {
            Outcome::Certificates(_) => Outcome::Certificates(&ders),
            outcome => outcome,
        };
        let transport = tokenca::pki::KeyTransport::Pkcs1v15;
        let sealed = Sealed::seal(&outcome, signed, transport).expect("the signer's key decrypts");
        scep::encode(&outcome, &sealed, &facts, &signer.certificate, &signer.key).unwrap()
    }
}

impl Transport for FakeCa {
    fn exchange(&self, url: &FileUrl, posted: Option<Posted<'_>>) -> Result<Exchanged, FileError> {
        let url = url.to_string();
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let (status, body) = self.answer(query, posted.map(|posted| posted.octets.to_vec()));
        Ok(Exchanged { status, said: format!("{status} of the fake"), content_type: None, body })
    }
}

/// A [`FakeCa`] over HTTP, on a port of its own until it is dropped.
pub struct Served {
    pub ca: Arc<FakeCa>,
    pub address: SocketAddr,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    pub fn new(ca: FakeCa) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (ca, address) = (Arc::new(ca), listener.local_addr().unwrap());
        let ending = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (ca, ending) = (ca.clone(), ending.clone());
            move || {
                for stream in listener.incoming().flatten() {
                    if ending.load(Ordering::Acquire) {
                        return;
                    }
                    let ca = ca.clone();
                    thread::spawn(move || serve(&ca, stream));
                }
            }
        });
        Self { ca, address, ending, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}/scep", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        // It waits for a connection.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// One request of a connection; then it is closed.
fn serve(ca: &FakeCa, stream: TcpStream) {
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    let (mut first, mut length) = (String::new(), None);
    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
        if first.is_empty() {
            first = line.clone();
        }
        if let Some((key, value)) = line.split_once(':')
            && key.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<usize>().ok();
        }
        line.clear();
    }
    let mut words = first.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let body = (method == "POST").then(|| {
        let mut body = vec![0; length.unwrap_or_default()];
        let _ = reader.read_exact(&mut body);
        body
    });
    let (status, body) = match target.split('?').next() {
        Some("/cacert.der") => (200, ca.ca.certificate.der().to_vec()),
        Some("/certreq.asp") => ca.certify(&body.unwrap_or_default()),
        _ => ca.answer(query, body),
    };
    let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = (&stream).write_all(&[head.as_bytes(), &body].concat());
}
