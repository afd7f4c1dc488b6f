//! A SCEP server seen from below: the operations of RFC 8894, 4, and the checks of what comes back.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::files::{Exchanged, FileUrl, Posted};
use crate::pki::{Certificate, Cipher, DecryptionKey, Hash, KeyTransport, Name, PublicKey, SigningKey};
use crate::scep::client::{self, Parties, Style};
use crate::scep::{
    self, AlgorithmPolicy, Capabilities, CertRep, FailInfo, MessageType, PkiStatus, TransactionId,
    next_ca::{self, NextCa},
};

use super::{CaCertificates, ClientError, Transport};

/// A SCEP server as a client sees it. Stateless but for URL and transport.
#[derive(Clone)]
pub struct Upper {
    url: String,
    transport: Arc<dyn Transport>,
    identifier: Option<String>,
    hash: Hash,
    allowed: AlgorithmPolicy,
}

/// What is asked by a pkiMessage.
pub struct ClientRequest<'a> {
    /// The kind of message.
    pub kind: MessageType,
    /// transactionID; of a CertPoll that of the request it asks about.
    pub transaction: &'a TransactionId,
    /// The PKCS#10, or what [`client::issuer_and_subject`] or [`client::issuer_and_serial`] make.
    pub content: &'a [u8],
    /// Who asks: self-signed, or the certificate of now.
    pub signer: &'a Certificate,
    /// The signer's key.
    pub key: &'a dyn SigningKey,
    /// The same key again: replies are encrypted to the signer.
    pub decrypter: &'a dyn DecryptionKey,
    /// Whom it is for: the CA of now, or the next one for a shadow certificate. Issues what is issued.
    pub to: &'a CaCertificates,
    /// Who may sign the reply.
    pub trusted: &'a [&'a CaCertificates],
    /// The key that is to be certified; none for GetCert and GetCRL.
    pub wanted: Option<&'a PublicKey>,
}

/// What a CA has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// SUCCESS: certificates, that asked for first, issued by the CA for the key; what else came behind it.
    Issued(Vec<Certificate>),
    /// SUCCESS: the CRL, as it came. Its signature is not checked here.
    Crl(Vec<u8>),
    /// PENDING: an operator there has to decide; poll.
    Pending,
    /// FAILURE.
    Failed {
        /// failInfo, when there is one that is known.
        info: Option<FailInfo>,
        /// failInfoText, for people.
        text: Option<String>,
    },
}

impl Upper {
    /// The server at this URL, as `enrollment url` has it: without a path, that of IOS is meant.
    pub fn new(url: &str, transport: Arc<dyn Transport>) -> Self {
        Self {
            url: url.trim().to_owned(),
            transport,
            identifier: None,
            hash: Hash::Sha256,
            allowed: AlgorithmPolicy::default(),
        }
    }

    /// Names the CA that is meant, where a server has several; IOS sends the name of the trustpoint.
    #[must_use]
    pub fn identified(self, identifier: &str) -> Self {
        Self { identifier: Some(identifier.to_owned()), ..self }
    }

    /// Prefers this digest, where the server knows it or says nothing of digests.
    #[must_use]
    pub fn hashing(self, hash: Hash) -> Self {
        Self { hash, ..self }
    }

    /// Accepts replies with these weak algorithms; without it, none.
    #[must_use]
    pub fn allowing(self, allowed: AlgorithmPolicy) -> Self {
        Self { allowed, ..self }
    }

    /// GetCACaps. A server that does not know it can do nothing of it.
    pub fn capabilities(&self) -> Result<Capabilities, ClientError> {
        match self.get(CAPABILITIES, self.identifier.as_deref()) {
            Ok(answer) => Ok(Capabilities::parse(&String::from_utf8_lossy(&answer.body))),
            // 500 is what servers say of operations that they do not know.
            Err(ClientError::Status { temporary: false, .. }) => Ok(Capabilities::default()),
            Err(error) => Err(error),
        }
    }

    /// GetCACert.
    pub fn ca_certificates(&self) -> Result<CaCertificates, ClientError> {
        CaCertificates::read(&self.get("GetCACert", self.identifier.as_deref())?.body)
    }

    /// GetNextCACert: the certificates of the time after `current`, whose CA has signed them: an RA may not
    /// (RFC 8894, 4.7.1), or it could name any CA at all. None when the server has none yet, or does not know
    /// the operation.
    ///
    /// The next certificate of an RA before the CA may be beside the signature. It counts when the next CA
    /// has issued it, marked as an RA's, with the name of one of `current`; then for all that the CA has
    /// signed of its own RAs: who has put it there is whom messages go to.
    pub fn next_ca_certificates(
        &self,
        current: &CaCertificates,
    ) -> Result<Option<CaCertificates>, ClientError> {
        Ok(self.next_ca(current)?.map(|(certificates, _)| certificates))
    }

    /// The same, and the answer as it came: for an RA, which hands it on.
    pub fn next_ca(
        &self,
        current: &CaCertificates,
    ) -> Result<Option<(CaCertificates, Vec<u8>)>, ClientError> {
        let answer = match self.get("GetNextCACert", self.identifier.as_deref()) {
            Err(ClientError::Status { temporary: false, .. }) => return Ok(None),
            answer => answer?,
        };
        let NextCa { signed, beside } = next_ca::decode(&answer.body, &[current.ca()])?;
        // What the CA has signed with its next certificate is that of its RA.
        let next = CaCertificates::sorted(signed)?.with_unmarked();
        // Some servers answer with what everybody has until there is another.
        if next.ca() == current.ca() {
            return Ok(None);
        }
        let name = |ca: &CaCertificates| Name::from_der(ca.ca().subject_raw());
        if !name(&next).matches(&name(current)) {
            return Err(ClientError::NotNext("it has another name"));
        }
        if !next.ca().extensions().basic_constraints().is_some_and(|constraints| constraints.ca) {
            return Err(ClientError::NotNext("it is not that of a CA"));
        }
        if next.ca().not_after() <= current.ca().not_after() {
            return Err(ClientError::NotNext("it ends no later than that of now"));
        }
        Ok(Some((next.registered_by(beside, current), answer.body)))
    }

    /// Sends a request and reads the answer. What comes back was signed by one of `trusted` for this request, and
    /// a certificate is one that the CA issued for the key that was asked for.
    pub fn send(&self, request: &ClientRequest<'_>) -> Result<Answered, ClientError> {
        let capabilities = self.capabilities()?;
        self.send_as(request, &capabilities)
    }

    /// The same with capabilities that are known already.
    pub fn send_as(
        &self,
        request: &ClientRequest<'_>,
        capabilities: &Capabilities,
    ) -> Result<Answered, ClientError> {
        let parties = Parties { ca: request.to.recipient()?, signer: request.signer, key: request.key };
        let style = self.style(capabilities);
        let message = client::message(request.kind, request.transaction, request.content, &parties, style)?;
        let message = message.ok_or(ClientError::CannotEncrypt)?;
        let answer = match capabilities.has("POSTPKIOperation") {
            true => self.post(&message.octets)?,
            false => self.get("PKIOperation", Some(&STANDARD.encode(&message.octets)))?,
        };
        self.read(request, &message.nonce, &answer.body)
    }

    /// How a request is written for a server with these capabilities: AES and SHA-256 (or the digest that was
    /// preferred) where it knows them, else what it does know. Silence about ciphers means triple DES, about
    /// digests the one that was preferred.
    pub fn style(&self, capabilities: &Capabilities) -> Style {
        let says = |hash: &Hash| capabilities.has(keyword(*hash));
        let by_worth = [self.hash, Hash::Sha256, Hash::Sha512, Hash::Sha384, Hash::Sha1];
        let digest = by_worth.iter().find(|hash| says(hash)).copied().unwrap_or(self.hash);
        let cipher = match capabilities {
            said if said.has("AES") => Cipher::Aes128,
            said if said.has("DES3") || said.is_empty() => Cipher::Des3,
            // draft-nourse-scep-11, C.1: who does not say DES3 has single DES.
            _ if self.allowed.legacy_des => Cipher::Des,
            _ => Cipher::Des3,
        };
        Style { digest, cipher, transport: KeyTransport::Pkcs1v15 }
    }

    fn read(&self, request: &ClientRequest<'_>, nonce: &[u8], body: &[u8]) -> Result<Answered, ClientError> {
        let signers: Vec<&Certificate> = request.trusted.iter().flat_map(|ca| ca.signers()).collect();
        let reply = CertRep::decode(body, &signers)?;
        if reply.transaction_id() != request.transaction {
            return Err(ClientError::OtherRequest("transactionID"));
        }
        // Without this an old reply could be played again.
        if reply.recipient_nonce() != nonce {
            return Err(ClientError::OtherRequest("recipientNonce"));
        }
        if reply.digest() == Hash::Md5 && !self.allowed.legacy_md5 {
            return Err(ClientError::Weak("md5"));
        }
        match reply.status() {
            PkiStatus::Pending => Ok(Answered::Pending),
            PkiStatus::Failure => Ok(Answered::Failed {
                info: reply.fail_info(),
                text: reply.fail_info_text().map(str::to_owned).filter(|text| !text.is_empty()),
            }),
            PkiStatus::Success => self.open(request, &reply),
        }
    }

    fn open(&self, request: &ClientRequest<'_>, reply: &CertRep) -> Result<Answered, ClientError> {
        if reply.cipher() == Some(Cipher::Des) && !self.allowed.legacy_des {
            return Err(ClientError::Weak("des"));
        }
        let issued = reply.open(request.signer, request.decrypter)?;
        if request.kind == MessageType::GetCrl {
            return issued.crls.into_iter().next().map(Answered::Crl).ok_or(ClientError::Empty("CRL"));
        }
        let mut certificates = issued.certificates;
        if certificates.is_empty() {
            return Err(ClientError::Empty("certificate"));
        }
        if let Some(wanted) = request.wanted {
            // Not the first in general: some servers sort them as DER has it.
            let ours = certificates.iter().position(|certificate| certificate.public_key() == wanted);
            certificates.swap(0, ours.ok_or(ClientError::OtherKey)?);
            request.to.check_issued(&certificates[0])?;
        }
        Ok(Answered::Issued(certificates))
    }

    fn get(&self, operation: &'static str, message: Option<&str>) -> Result<Exchanged, ClientError> {
        let url = self.url(operation, message)?;
        self.answered(operation, self.transport.exchange(&url, None)?)
    }

    fn post(&self, octets: &[u8]) -> Result<Exchanged, ClientError> {
        let url = self.url(OPERATION, None)?;
        let posted = Posted { content_type: scep::PKI_MESSAGE, octets };
        self.answered(OPERATION, self.transport.exchange(&url, Some(posted))?)
    }

    fn answered(&self, operation: &'static str, answer: Exchanged) -> Result<Exchanged, ClientError> {
        match answer.status {
            200..=299 => Ok(answer),
            status => Err(ClientError::Status {
                url: self.url.clone(),
                operation,
                said: answer.said,
                // Time-out, too many requests, and the gateway before a server that is away. 500 is what servers
                // say of what they do not know, and of their trouble with a request.
                temporary: matches!(status, 408 | 425 | 429 | 502..=504)
                    || (status == 500 && operation == OPERATION),
            }),
        }
    }

    /// `operation` before `message`: there are servers that read no other order.
    fn url(&self, operation: &str, message: Option<&str>) -> Result<FileUrl, ClientError> {
        let wrong = |why: String| ClientError::Url { url: self.url.clone(), why };
        let base = FileUrl::parse(&self.url).map_err(|error| wrong(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(wrong("SCEP is spoken over http:// and https://".into()));
        }
        let (path, query) = match self.url.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.url.as_str(), None),
        };
        let authority = path.split_once("://").map_or(path, |(_, rest)| rest);
        let path = match authority.trim_end_matches('/').contains('/') {
            true => path.to_owned(),
            false => format!("{}{IOS_PATH}", path.trim_end_matches('/')),
        };
        let query = query.map(|query| format!("{query}&")).unwrap_or_default();
        let message = message.map(|message| utf8_percent_encode(message, NON_ALPHANUMERIC));
        let message = message.map(|message| format!("&message={message}")).unwrap_or_default();
        FileUrl::parse(&format!("{path}?{query}operation={operation}{message}"))
            .map_err(|error| wrong(error.to_string()))
    }
}

const fn keyword(hash: Hash) -> &'static str {
    match hash {
        // Nobody says so; it is what drafts mean by silence.
        Hash::Md5 => "MD5",
        Hash::Sha1 => "SHA-1",
        Hash::Sha256 => "SHA-256",
        Hash::Sha384 => "SHA-384",
        Hash::Sha512 => "SHA-512",
    }
}

const CAPABILITIES: &str = "GetCACaps";
const OPERATION: &str = "PKIOperation";
/// Where SCEP is when the URL has no path: as IOS asks, and as its CA answers.
const IOS_PATH: &str = "/cgi-bin/pkiclient.exe";
