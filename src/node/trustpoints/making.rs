//! The beginning of a request: its key and its PKCS#10.
//!
//! What is going to be made is on record first: a crash leaves a key that is found again by its label, never one
//! that nobody knows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::pki::{Certificate, Hash, KeyKind, Name, PublicKey, Time, hex, profile};
use crate::scep::client;
use crate::store::{StoreError, TrustedKind, UpperPhase, UpperRequest};
use crate::token::{KeyUsage, TokenKey};

use super::super::NodeError;
use super::super::keys::{Usage, note_generated};
use super::held::{Held, OwnCertificate};
use super::wanted::{Method, Purpose, Subject};
use super::work::Work;

/// What an operator said about one request, in place of what is configured.
#[derive(Clone, Default)]
pub struct Answers {
    /// The challenge password.
    pub password: Option<SecretString>,
    /// Whether the subject has the serial number of the host.
    pub serial_number: Option<bool>,
    /// The address in the subject.
    pub ip_address: Option<std::net::IpAddr>,
    /// What the parameters of an enrolment profile stand for that are asked for, by number.
    pub parameters: BTreeMap<u8, SecretString>,
}

impl Work {
    /// Records that a certificate of this kind is wanted, and which key it will have; upkeep goes on with it from
    /// `next_try` on. `Conflict` when one is asked for already.
    pub fn begin(&self, held: &Held, kind: TrustedKind, next_try: Time) -> Result<UpperRequest, NodeError> {
        let key = self.choose_key(held, kind)?;
        let request = UpperRequest { next_try, ..UpperRequest::making(self.label(), kind, key, self.now()) };
        self.store.begin_request(request.clone())?;
        Ok(request)
    }

    /// Makes key and PKCS#10 of a request, or finds the key that was made before.
    pub fn make(
        &self,
        held: &Held,
        request: &UpperRequest,
        answers: &Answers,
    ) -> Result<UpperRequest, NodeError> {
        let kind = self.wanted.key.kind_for(request.kind);
        let key = self.request_key(request, kind)?;
        let subject = self.subject(answers)?;
        let before = self.before(held, request.kind);
        let method = self.method(held, request.kind);
        let scep = matches!(method, Method::Scep(_));
        let credential = match (scep, before, &self.wanted.credential) {
            (true, None, Some(label)) => Some(self.credential(label)?),
            _ => None,
        };
        let (signer, signer_key) = match before.or(credential.as_ref()) {
            _ if !scep => (Vec::new(), None),
            Some(own) => {
                let key = self.key_of(own)?;
                (own.certificate.der().to_vec(), Some(place(&key)))
            }
            None => {
                check_scep_key(&key)?;
                let kept = Certificate::parse(&request.signer).ok();
                let kept = kept.filter(|kept| kept.public_key() == key.public_key());
                let signer = match kept.filter(|kept| kept.is_valid_at(self.now())) {
                    // A CA knows a request again by who signed it.
                    Some(kept) => kept,
                    None => self_signed(&subject, &key, self.hash(&key), self.now())?,
                };
                (signer.der().to_vec(), Some(place(&key)))
            }
        };
        // Renewals too, which RFC 8894, 2.4 does not ask it of: there are CAs that do.
        let challenge = match &answers.password {
            Some(password) => Some(password.clone()),
            None => self.wanted.challenge(&self.vault)?,
        };
        let challenge = challenge.as_ref().map(ExposeSecret::expose_secret);
        let extensions = self.wanted.extensions(request.kind, key.public_key().kind())?;
        let csr = client::csr(&subject, &key, self.hash(&key), challenge, &extensions)
            .map_err(|error| NodeError::Refused(crate::pki::chain(&error)))?;
        let transaction = match before {
            // As most clients have it; a CA that knows it again answers as before.
            None => client::transaction_id(&key).as_bytes().to_vec(),
            Some(own) => {
                let digest = Hash::Sha256.digest(&[&csr, own.certificate.der()]);
                hex(&digest[..TRANSACTION_OCTETS]).into_bytes()
            }
        };
        let made = UpperRequest {
            phase: match method {
                Method::Scep(_) | Method::Command { .. } => UpperPhase::Sending,
                Method::Files { .. } | Method::Terminal | Method::None => UpperPhase::Manual,
            },
            csr: self.seal(&csr, challenge.is_some()),
            transaction,
            signer,
            signer_key,
            tries: 0,
            // A command may need answers that only the one has who begins it.
            next_try: match method {
                Method::Command { .. } => request.next_try,
                _ => self.now(),
            },
            ..request.clone()
        };
        self.advance(request, made)
    }

    /// Takes requests for these kinds of certificates back, and deletes the keys that were made for them. How
    /// many there were.
    pub fn cancel(&self, kinds: &[TrustedKind]) -> Result<usize, NodeError> {
        let mut count = 0;
        for request in self.held()?.requests.iter().filter(|request| kinds.contains(&request.kind)) {
            match self.store.cancel_request(self.label(), request.kind) {
                // It has come meanwhile.
                Err(StoreError::NotFound) => continue,
                done => done?,
            }
            count += 1;
            if request.new_key
                && let Some((_, key)) = self.tokens.find_key(Some(&request.token), &request.key_label)?
            {
                self.drop_key(&request.token, &request.key_label, key.public_key())?;
            }
        }
        Ok(count)
    }

    /// The PKCS#10 of a request.
    pub fn csr(&self, request: &UpperRequest) -> Result<Vec<u8>, NodeError> {
        const SEQUENCE: u8 = 0x30;
        if request.csr.first().is_none_or(|first| *first == SEQUENCE) {
            return Ok(request.csr.clone());
        }
        let damaged = || NodeError::Refused("the request on record was not made on this host".into());
        let sealed = std::str::from_utf8(&request.csr).map_err(|_| damaged())?;
        let opened = self.vault.open(sealed).map_err(|_| damaged())?;
        crate::pki::archive::pem::der_of(opened.expose_secret(), crate::pki::archive::pem::REQUEST)
            .map(|der| der.to_vec())
            .map_err(|_| damaged())
    }

    /// A PKCS#10 with a password in it is kept as passwords are.
    fn seal(&self, csr: &[u8], secret: bool) -> Vec<u8> {
        use crate::pki::archive::pem;
        match secret {
            false => csr.to_vec(),
            true => self.vault.seal(&pem::write(pem::REQUEST, csr).into()).into_bytes(),
        }
    }

    /// The certificate with which this request is signed instead of by itself: that of now, while it is valid.
    pub fn before<'h>(&self, held: &'h Held, kind: TrustedKind) -> Option<&'h OwnCertificate> {
        let own = held.own(kind.now())?;
        own.certificate.is_valid_at(self.now()).then_some(own)
    }

    /// The certificate of another trustpoint, with which the first request is signed (`enrollment
    /// credential`): the CA knows who asks by what another CA has said.
    fn credential(&self, label: &str) -> Result<OwnCertificate, NodeError> {
        let held = Held::of(self.store.as_ref(), label)?;
        let own = held.own(TrustedKind::Own).filter(|own| own.certificate.is_valid_at(self.now()));
        own.cloned().ok_or_else(|| {
            NodeError::Refused(format!(
                "trustpoint {label}, with whose certificate requests of {} are signed, has no valid one",
                self.label()
            ))
        })
    }

    /// The subject of a request.
    pub fn subject(&self, answers: &Answers) -> Result<Name, NodeError> {
        let mut subject: Subject = self.wanted.request.clone();
        match answers.serial_number {
            Some(true) if subject.serial.is_none() => subject.serial = Some(String::new()),
            Some(false) => subject.serial = None,
            _ => {}
        }
        // What IOS has from its hardware.
        if subject.serial.as_deref() == Some("") {
            subject.serial = Some(super::super::tls::host_number(self.store.as_ref())?.to_string());
        }
        subject.address = answers.ip_address.or(subject.address);
        subject.name()
    }

    fn hash(&self, key: &TokenKey) -> Hash {
        match key.public_key().kind() {
            KeyKind::Ec(curve) => curve.hash(),
            KeyKind::Rsa { .. } | KeyKind::MlDsa(_) => self.wanted.hash,
        }
    }

    /// Which key is to be certified: its token, its label, and whether it is to be made for that.
    fn choose_key(&self, held: &Held, kind: TrustedKind) -> Result<(String, String, bool), NodeError> {
        let wanted = &self.wanted.key;
        let encryption = wanted.encryption.is_some() && kind.next() == TrustedKind::NextOwnEncryption;
        let usage = if encryption { Usage::Encryption } else { Usage::General };
        let own = held.own(kind.now());
        if !(self.wanted.regenerate && own.is_some()) {
            // The key of the certificate of now, which may have been regenerated before.
            if let Some((token, label)) = own.and_then(|own| own.key.clone()) {
                return Ok((token, label, false));
            }
            let label = usage.label(&wanted.label);
            if let Some((token, _)) = self.tokens.find_key(wanted.token.as_deref(), &label)? {
                return Ok((token.name().to_owned(), label, false));
            }
            let token = self.tokens.get(wanted.token.as_deref())?;
            return Ok((token.name().to_owned(), label, true));
        }
        let place = own.and_then(|own| own.key.as_ref()).map(|(token, _)| token.as_str());
        let token = self.tokens.get(wanted.token.as_deref().or(place))?;
        let taken: BTreeSet<String> = token.keys()?.into_iter().map(|key| key.label).collect();
        let numbered = |n: u32| usage.label(&format!("{}#{n}", wanted.label));
        let label = (2..).map(numbered).find(|label| !taken.contains(label));
        let label = label.ok_or_else(|| NodeError::Refused("there is no free label for a key".into()))?;
        Ok((token.name().to_owned(), label, true))
    }

    /// The key of a request, made when it is not there yet.
    fn request_key(&self, request: &UpperRequest, kind: KeyKind) -> Result<TokenKey, NodeError> {
        let token = self.tokens.get(Some(&request.token))?;
        let key = match token.find(&request.key_label)? {
            Some(key) => key,
            None => {
                // Both halves of usage keys sign their own requests and open the replies to them: what each is
                // for, its certificate says.
                let usage = KeyUsage::general(kind);
                let key = token.generate(&request.key_label, kind, usage, false)?;
                note_generated(self.store.as_ref(), key.public_key(), self.now());
                tracing::info!(
                    trustpoint = self.label(),
                    key = request.key_label,
                    token = token.name(),
                    "a {kind} key was generated"
                );
                key
            }
        };
        if !key.info().usage.sign {
            return Err(NodeError::Refused(format!(
                "the key \"{}\" does not sign, not even the request for its own certificate\nhint: delete it, and \
                 the trustpoint makes one that does",
                request.key_label
            )));
        }
        if let Some(weak) = profile::weakness(key.public_key(), true) {
            return Err(NodeError::Refused(format!("the key \"{}\" is {weak}", request.key_label)));
        }
        Ok(key)
    }

    /// Deletes a key of this trustpoint that nothing needs any more. A server's CA key still signs CRLs, and is
    /// the server's to delete.
    pub fn drop_key(&self, token: &str, label: &str, key: &PublicKey) -> Result<(), NodeError> {
        if self.wanted.purpose == Purpose::Authority || self.is_needed(token, label, key)? {
            return Ok(());
        }
        let token = self.tokens.get(Some(token))?;
        if token.find(label)?.is_some_and(|found| found.public_key() == key) {
            token.delete(label)?;
            tracing::info!(trustpoint = self.label(), key = label, token = token.name(), "a key was deleted");
        }
        Ok(())
    }

    /// Whether a certificate or a request of any trustpoint, or a server, has this key.
    fn is_needed(&self, token: &str, label: &str, key: &PublicKey) -> Result<bool, NodeError> {
        for known in self.labels.iter() {
            let held = Held::of(self.store.as_ref(), known)?;
            let requested = held.requests.iter().any(|request| {
                (request.token == token && request.key_label == label)
                    || request.signer_key.as_ref().is_some_and(|(t, l)| t == token && l == label)
            });
            let certified = held.own.iter().any(|own| own.certificate.public_key() == key);
            let authorities = self.store.authorities(known)?;
            let serves = authorities.iter().any(|a| a.token == token && a.key_label == label);
            if requested || certified || serves {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// SCEP encrypts the reply to the key that signs the request (RFC 8894, 3.1).
fn check_scep_key(key: &TokenKey) -> Result<(), NodeError> {
    let label = &key.info().label;
    let kind = match key.public_key().kind() {
        KeyKind::Rsa { .. } => None,
        KeyKind::Ec(_) => Some("EC"),
        KeyKind::MlDsa(_) => Some("ML-DSA"),
    };
    if let Some(kind) = kind {
        return Err(NodeError::Refused(format!(
            "SCEP encrypts what it answers to the key that asks, which the {kind} key \"{label}\" cannot decrypt\nhint: \
             enrol it by `enrollment terminal` or by files, or use an RSA key"
        )));
    }
    match key.can_decrypt() {
        true => Ok(()),
        false => Err(NodeError::Refused(format!(
            "SCEP encrypts what it answers to the key that asks, and the key \"{label}\" only signs\nhint: enrol it \
             by `enrollment terminal` or by files, or delete it, and the trustpoint makes one that does both"
        ))),
    }
}

fn self_signed(subject: &Name, key: &TokenKey, hash: Hash, now: Time) -> Result<Certificate, NodeError> {
    let validity = (now.minus(SKEW), now.plus(SELF_SIGNED));
    client::self_signed(subject, key, hash, validity, true)
        .map_err(|error| NodeError::Refused(crate::pki::chain(&error)))
}

fn place(key: &TokenKey) -> (String, String) {
    (key.token().name().to_owned(), key.info().label.clone())
}

/// As many as the usual transactionID has: SHA-1 in hex.
const TRANSACTION_OCTETS: usize = 20;
/// Longer than any operator takes to grant a request.
const SELF_SIGNED: Duration = Duration::from_secs(365 * 86_400);
/// Clocks differ.
const SKEW: Duration = Duration::from_secs(86_400);
