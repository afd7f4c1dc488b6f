//! A SCEP client of our own: for what other makers' clients do not ask, and for asking wrongly.

use tokenca::pki::{Certificate, Hash, Name, SigningKey};
use tokenca::scep::client::{self, Message, Parties, Style};
use tokenca::scep::{self, CertRep, FailInfo, Issued, MessageType, PkiStatus, SignedData, TransactionId};

use super::Ca;
use super::http::{self, Response};
use super::keys::{TestKey, name, self_signed};

/// What GetCACert says.
pub struct CaCerts {
    /// The certificate requests are encrypted to.
    pub decrypter: Certificate,
    /// The one replies are signed with.
    pub signer: Certificate,
    /// The CA's.
    pub ca: Certificate,
}

impl CaCerts {
    /// Asks for it.
    pub fn of(ca: &Ca) -> Self {
        let response = http::get(ca.address(), "/scep?operation=GetCACert&message=mycs", &[]);
        assert_eq!(response.status, 200);
        match response.header("content-type") {
            Some(scep::CA_CERT) => {
                let ca = Certificate::parse(&response.body).expect("a certificate");
                Self { decrypter: ca.clone(), signer: ca.clone(), ca }
            }
            Some(scep::CA_RA_CERT) => Self::among(certificates(&response.body)),
            other => panic!("GetCACert with Content-Type {other:?}"),
        }
    }

    /// Which is which, told by keyUsage and basicConstraints.
    fn among(all: Vec<Certificate>) -> Self {
        let is_ca = |c: &&Certificate| c.extensions().basic_constraints().is_some_and(|b| b.ca);
        let usage = |c: &Certificate| c.extensions().key_usage().expect("every certificate has keyUsage");
        let find = |what, wanted: &dyn Fn(&&Certificate) -> bool| {
            all.iter().find(wanted).unwrap_or_else(|| panic!("no {what} certificate")).clone()
        };
        Self {
            decrypter: find("decryption", &|c| !is_ca(c) && usage(c).key_encipherment()),
            signer: find("signing", &|c| !is_ca(c) && usage(c).digital_signature()),
            ca: find("CA", &is_ca),
        }
    }
}

/// The certificates of a degenerate SignedData.
pub fn certificates(octets: &[u8]) -> Vec<Certificate> {
    SignedData::parse(octets, &tokenca::pki::ber::Limits::REPLY).expect("a SignedData").certificates
}

/// A device.
pub struct Device {
    pub key: TestKey,
    pub subject: Name,
    /// Signs its messages: self-signed, later the one it was issued.
    pub signer: Certificate,
    pub transaction: TransactionId,
    pub style: Style,
}

impl Device {
    /// With a new key.
    pub fn new(subject: &str) -> Self {
        let key = TestKey::new();
        let signer = self_signed(&key, subject, Hash::Sha256, true);
        let transaction = client::transaction_id(&key);
        Self { key, subject: name(subject), signer, transaction, style: Style::default() }
    }

    /// A PKCS#10.
    pub fn csr(&self, challenge: Option<&str>) -> Vec<u8> {
        client::csr(&self.subject, &self.key, self.style.digest, challenge, &[]).expect("a PKCS#10")
    }

    /// A request of this type with this content.
    pub fn message(&self, ca: &CaCerts, kind: MessageType, content: &[u8]) -> Message {
        let parties = Parties { ca: &ca.decrypter, signer: &self.signer, key: &self.key };
        client::message(kind, &self.transaction, content, &parties, self.style)
            .expect("the key signs")
            .expect("the CA decrypts")
    }

    /// Asks by POST and reads the reply, which must belong to the request.
    #[track_caller]
    pub fn ask(&self, ca: &Ca, kind: MessageType, content: &[u8]) -> Reply {
        let certs = CaCerts::of(ca);
        let message = self.message(&certs, kind, content);
        let response = http::post(ca.address(), "/scep?operation=PKIOperation", &message.octets);
        self.read(&certs, &message, response)
    }

    /// Asks for a certificate, and leaves the answer as it is.
    pub fn enrol_raw(&self, ca: &Ca) -> Response {
        let message = self.message(&CaCerts::of(ca), MessageType::PkcsReq, &self.csr(None));
        http::post(ca.address(), "/scep?operation=PKIOperation", &message.octets)
    }

    /// Reads a reply to `message`.
    #[track_caller]
    pub fn read(&self, certs: &CaCerts, message: &Message, response: Response) -> Reply {
        let response = response.is(200, scep::PKI_MESSAGE);
        let reply = CertRep::decode(&response.body, &[&certs.signer]).expect("a CertRep");
        assert_eq!(reply.recipient_nonce(), message.nonce);
        assert_eq!(reply.transaction_id(), &self.transaction);
        assert!(!reply.sender_nonce().is_empty());
        let issued = match reply.status() {
            PkiStatus::Success => Some(reply.open(&self.signer, &self.key).expect("it is for us")),
            _ => None,
        };
        Reply { status: reply.status(), fail_info: reply.fail_info(), issued, reply }
    }

    /// Asks for a certificate.
    #[track_caller]
    pub fn enrol(&self, ca: &Ca, challenge: Option<&str>) -> Reply {
        self.ask(ca, MessageType::PkcsReq, &self.csr(challenge))
    }

    /// Asks what has become of its request.
    #[track_caller]
    pub fn poll(&self, ca: &Ca) -> Reply {
        let certs = CaCerts::of(ca);
        let content = client::issuer_and_subject(certs.ca.subject_raw(), self.subject.as_der());
        self.ask(ca, MessageType::CertPoll, &content)
    }

    /// A device with a new key that renews: it signs with this one's certificate and key.
    #[track_caller]
    pub fn renew(&self, ca: &Ca, kind: MessageType, new: &dyn SigningKey) -> Reply {
        let csr = client::csr(&self.subject, new, self.style.digest, None, &[]).expect("a PKCS#10");
        self.ask(ca, kind, &csr)
    }
}

/// A reply, opened.
pub struct Reply {
    pub status: PkiStatus,
    pub fail_info: Option<FailInfo>,
    issued: Option<Issued>,
    pub reply: CertRep,
}

impl Reply {
    /// The certificate issued.
    #[track_caller]
    pub fn certificate(self) -> Certificate {
        self.certificates().into_iter().next().expect("a certificate")
    }

    /// All certificates that are sent.
    #[track_caller]
    pub fn certificates(self) -> Vec<Certificate> {
        let text = self.reply.fail_info_text().unwrap_or_default().to_owned();
        let issued = self.issued.unwrap_or_else(|| panic!("{:?} {:?} {text}", self.status, self.fail_info));
        issued.certificates
    }

    /// The CRL asked for.
    #[track_caller]
    pub fn crl(self) -> Vec<u8> {
        let issued = self.issued.unwrap_or_else(|| panic!("{:?} {:?}", self.status, self.fail_info));
        issued.crls.into_iter().next().expect("a CRL")
    }

    /// It must be PENDING.
    #[track_caller]
    pub fn is_pending(&self) {
        assert_eq!((self.status, self.fail_info), (PkiStatus::Pending, None));
    }

    /// It must be a FAILURE with this failInfo.
    #[track_caller]
    pub fn is_failure(&self, fail_info: FailInfo) {
        assert_eq!((self.status, self.fail_info), (PkiStatus::Failure, Some(fail_info)));
    }
}
