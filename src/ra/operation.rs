//! PKIOperation: one message from octets to octets.

use std::net::IpAddr;

use bytes::Bytes;

use crate::ca::{self, Application, Meter, Ours};
use crate::log::Dump;
use crate::pki::ber::Limits;
use crate::pki::{Csr, DecryptionKey, Hash, KeyKind, KeyTransport, Serial, Time, chain};
use crate::policy::{Intention, Requester};
use crate::scep::{
    self, Facts, MessageType, OpenError, Outcome, PkiMessage, Recipient, Rejected, Request, Sealed, Signed,
};
use crate::store;

use super::told::{Refused, Told, decode_told};
use super::{Answer, Body, Ra, Responder};

/// What a message is answered with when nothing went wrong.
enum Done {
    /// The certificate asked for, and whether the same message may get the same reply again.
    Certificate(store::Certificate, Repeatable),
    /// The CRL.
    Crl(Bytes),
    /// It waits for the operator.
    Pending,
}

#[derive(PartialEq)]
enum Repeatable {
    Yes,
    No,
}

impl Ra {
    /// Answers a PKIOperation.
    ///
    /// 1. seen before, octet for octet: the same reply
    /// 2. decode, check the outer signature: no key is used for less
    /// 3. open the envelope [token]
    /// 4. decide and do what is asked [token, when a certificate is issued]
    /// 5. sign the reply [token]
    pub(super) fn pki_operation(&self, message: &[u8], peer: IpAddr, now: Time) -> Answer {
        tracing::debug!(target: "CRYPTO_CS", "received a SCEP request");
        tracing::debug!(target: "CRYPTO_PKI_MSG", "message received from {peer}, {}", Dump(message));
        let message_id: [u8; 32] = Hash::Sha256.digest(&[message]).try_into().expect("SHA-256 has 32 octets");
        if let Some(answer) = self.repeated(&message_id) {
            tracing::debug!(target: "CRYPTO_CS", "received this request before, the same reply is sent");
            return answer;
        }
        let decoded = PkiMessage::decode(message, &Limits::MESSAGE);
        let signed = match decoded.and_then(|message| message.verify(&self.algorithms)) {
            Ok(signed) => signed,
            Err(rejected) => return self.rejected(&rejected, peer),
        };
        let (kind, transaction) = (signed.message_type(), signed.transaction_id());
        tracing::debug!(target: "CRYPTO_CS", "scep msg type - {}", kind.text());
        tracing::debug!(target: "CRYPTO_CS", "trans id - {transaction}");
        tracing::debug!(target: "CRYPTO_PKI", "{kind:?} received from {peer}, transaction {transaction}");
        let meter = Meter::new();
        let (answer, serial) = match self.done(&signed, peer, &meter, now) {
            Ok(Done::Certificate(certificate, repeatable)) => {
                // Whoever asks for one of the next CA has its certificate already, or asks for it.
                let above = match self.manner.chain {
                    true => self.certifier.chain(&certificate),
                    false => Vec::new(),
                };
                let sent = std::iter::once(certificate.der.as_slice()).chain(above.iter().map(|ca| ca.der()));
                let sent: Vec<&[u8]> = sent.collect();
                let answer = self.reply(&Outcome::Certificates(&sent), &signed, &meter);
                (answer, (repeatable == Repeatable::Yes).then_some(certificate.serial))
            }
            Ok(Done::Crl(crl)) => (self.reply(&Outcome::Crl(&crl), &signed, &meter), None),
            Ok(Done::Pending) => (self.reply(&Outcome::Pending, &signed, &meter), None),
            Err(refused) => (self.refuse(&refused, signed.facts(), peer, &meter), None),
        };
        if let (Some(serial), Body::Ok { octets, .. }) = (serial, &answer.body) {
            self.replies.keep(message_id, serial, octets.clone());
        }
        let cost = meter.take();
        tracing::debug!(%peer, transaction = %signed.transaction_id(), kind = ?signed.message_type(),
            signatures = cost.signatures, decryptions = cost.decryptions, micros = cost.micros, "answered");
        answer
    }

    /// A message whose signature was not accepted: a FAILURE when it is SCEP at all.
    fn rejected(&self, rejected: &Rejected, peer: IpAddr) -> Answer {
        tracing::info!(%peer, error = %rejected.error, "a message was not accepted");
        let told = decode_told(&rejected.error);
        match &rejected.facts {
            Some(facts) => self.tell(told, facts, &Meter::new()),
            None => Answer::bad_request(rejected.error.to_string()),
        }
    }

    fn refuse(&self, refused: &Refused, facts: &Facts, peer: IpAddr, meter: &Meter) -> Answer {
        let told = refused.told();
        let (transaction, error) = (facts.transaction_id(), chain(refused));
        match told {
            Told::Failure(..) => tracing::info!(%peer, %transaction, %error, "a request was refused"),
            Told::Pending | Told::Unavailable => {
                tracing::error!(%peer, %transaction, %error, "a request could not be answered as it should")
            }
        }
        self.tell(told, facts, meter)
    }

    fn tell(&self, told: Told, facts: &Facts, meter: &Meter) -> Answer {
        let outcome = match told {
            Told::Failure(fail_info, text) => Outcome::Failure(fail_info, Some(text)),
            Told::Pending => Outcome::Pending,
            Told::Unavailable => return Answer::busy(),
        };
        self.signed(&outcome, &Sealed::empty(), facts, meter)
    }

    /// Encrypts what there is to encrypt, with the request's own algorithms, and signs it.
    fn reply(&self, outcome: &Outcome<'_>, request: &Signed, meter: &Meter) -> Answer {
        let transport = request.transport_to(&self.recipient(request).0.certificate);
        let transport = transport.unwrap_or(KeyTransport::Pkcs1v15);
        match Sealed::seal(outcome, request, transport) {
            Some(sealed) => self.signed(outcome, &sealed, request.facts(), meter),
            None => self.tell(Refused::CannotDecrypt.told(), request.facts(), meter),
        }
    }

    fn signed(&self, outcome: &Outcome<'_>, sealed: &Sealed, facts: &Facts, meter: &Meter) -> Answer {
        let key = meter.signing(self.signer.key.as_ref());
        let facts = facts.answered_under(&self.algorithms);
        match scep::encode(outcome, sealed, &facts, &self.signer.certificate, &key) {
            Ok(reply) => {
                tracing::debug!(target: "CRYPTO_CS", "{}", sent(outcome));
                tracing::debug!(target: "CRYPTO_PKI", "transaction {}: {}",
                    facts.transaction_id(), status(outcome));
                tracing::debug!(target: "CRYPTO_PKI_MSG", "message sent, {}", Dump(&reply));
                Answer::ok(scep::PKI_MESSAGE, reply)
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "a reply could not be signed");
                Answer::busy()
            }
        }
    }

    /// The reply given to this very message, unless its certificate was revoked since.
    fn repeated(&self, message_id: &[u8; 32]) -> Option<Answer> {
        let (serial, reply) = self.replies.find(message_id)?;
        let certificate = self.store.certificate(self.certifier.label(), &serial).ok()??;
        certificate.revocation.is_none().then(|| Answer::ok(scep::PKI_MESSAGE, reply))
    }
}

impl Ra {
    /// Steps 3 and 4.
    fn done(&self, signed: &Signed, peer: IpAddr, meter: &Meter, now: Time) -> Result<Done, Refused> {
        let signer = signed.signer();
        if !matches!(signer.public_key().kind(), KeyKind::Rsa { .. }) {
            return Err(Refused::CannotDecrypt);
        }
        if signed.message_type() == MessageType::CertRep {
            return Err(Refused::NotARequest);
        }
        let (decrypter, authority) = self.recipient(signed);
        let key = meter.decrypting(decrypter.key.as_ref());
        let recipient = Recipient { certificate: &decrypter.certificate, key: &key };
        let request = match (signed.open(&[recipient]), signed.message_type()) {
            // As if it had named one that we do not have: see `Signed::open`.
            (Err(OpenError::Unreadable), MessageType::GetCert | MessageType::GetCrl) => {
                return Err(Refused::NoSuchCertificate);
            }
            (request, _) => request?,
        };
        match request {
            Request::Enroll { .. } | Request::Poll => {
                tracing::debug!(target: "CRYPTO_CS", "received an enrollment request");
            }
            Request::GetCert { .. } | Request::GetCrl { .. } => {}
        }
        match request {
            Request::Enroll { csr, renewal } => {
                let intention = if renewal { Intention::Renew } else { Intention::Enroll };
                self.enroll(*csr, intention, signed, peer, meter, now)
            }
            Request::Poll => {
                let key = signer.public_key().fingerprint();
                let outcome =
                    self.certifier.poll(signed.transaction_id().as_bytes(), &key, authority, meter, now)?;
                done(outcome.ok_or(Refused::NoSuchRequest)?, Repeatable::No)
            }
            Request::GetCert { issuer, serial } => self.get_cert(&issuer, &serial),
            Request::GetCrl { issuer, serial } => {
                let crl = self.certifier.crl_for(&issuer, &serial, now)?;
                crl.map(Done::Crl).ok_or(Refused::NoSuchCertificate)
            }
        }
    }

    /// Who opens a message, and which authority it asks where that is not the one that acts: what is encrypted
    /// to the next CA, or to its SCEP key, asks for a certificate of it (RFC 8894, 5.1).
    fn recipient(&self, signed: &Signed) -> (&Responder<dyn DecryptionKey>, Option<u64>) {
        match &self.next {
            Some(next)
                if signed.is_to(&next.decrypter.certificate)
                    && !signed.is_to(&self.decrypter.certificate) =>
            {
                (&next.decrypter, Some(next.authority))
            }
            _ => (&self.decrypter, None),
        }
    }

    fn enroll(
        &self,
        csr: Csr,
        intention: Intention,
        signed: &Signed,
        peer: IpAddr,
        meter: &Meter,
        now: Time,
    ) -> Result<Done, Refused> {
        let csr = csr.verify()?;
        let signer = signed.signer();
        let ours = self.certifier.issued(signer, now)?;
        let requester = match &ours {
            Some(Ours { revoked, class, .. }) => {
                Requester::Holder { certificate: signer, revoked: *revoked, class: *class }
            }
            None if self.is_vouched_for(signed, now) => Requester::Vouched { certificate: signer },
            None if signer.public_key() == csr.public_key() => Requester::Itself,
            None => Requester::Stranger,
        };
        let application = Application {
            transaction: signed.transaction_id().as_bytes().to_vec(),
            signer_key: signer.public_key().fingerprint(),
            signed_with: ours.map(|ours| ours.serial),
            source: peer.to_string(),
            authority: self.recipient(signed).1,
        };
        let outcome = self.decided(csr, intention, &requester, application, meter, now)?;
        done(outcome, Repeatable::Yes)
    }

    /// Whether a trustpoint accepts the signer. Who is self-signed is nobody's, and asked about no further.
    fn is_vouched_for(&self, signed: &Signed, now: Time) -> bool {
        let (signer, Some(vouch)) = (signed.signer(), &self.vouch) else { return false };
        if signer.is_self_issued() {
            return false;
        }
        let certificates: Vec<_> = std::iter::once(signer).chain(signed.others()).cloned().collect();
        match vouch(&certificates, now) {
            Ok(trustpoint) => {
                tracing::debug!(target: "CRYPTO_CS", "the signer has a certificate that {trustpoint} trusts");
                true
            }
            Err(why) => {
                tracing::info!(transaction = %signed.transaction_id(), why,
                    "the signer has a certificate of another CA, which does not count");
                false
            }
        }
    }

    fn get_cert(&self, issuer: &[u8], serial: &Serial) -> Result<Done, Refused> {
        let found = self.certifier.certificate_of(issuer, serial)?;
        found.map(|c| Done::Certificate(c, Repeatable::No)).ok_or(Refused::NoSuchCertificate)
    }
}

/// What IOS says of a reply.
fn sent(outcome: &Outcome<'_>) -> &'static str {
    match outcome {
        Outcome::Pending => "sent SCEP pending reply",
        Outcome::Certificates(_) => "Certificate sent to requestor",
        Outcome::Crl(_) => "CRL sent to requestor",
        Outcome::Failure(..) => "sent SCEP failure reply",
    }
}

/// The same in the words of a client, with its numbers.
fn status(outcome: &Outcome<'_>) -> String {
    match outcome {
        Outcome::Pending => "status = 102: certificate request pending".into(),
        Outcome::Certificates(_) => "status = 100: certificate is granted".into(),
        Outcome::Crl(_) => "status = 100: CRL is sent".into(),
        Outcome::Failure(fail_info, _) => {
            format!("status = 101: certificate request is rejected, {fail_info:?}")
        }
    }
}

fn done(outcome: ca::Outcome, repeatable: Repeatable) -> Result<Done, Refused> {
    match outcome {
        ca::Outcome::Issued(certificate) => Ok(Done::Certificate(certificate, repeatable)),
        ca::Outcome::Pending(_) => Ok(Done::Pending),
        ca::Outcome::Denied(id) => Err(Refused::Denied(id)),
    }
}
