//! OCSP: a responder is asked.

use std::sync::Arc;

use crate::files::{FileUrl, Posted};
use crate::node::{Node, NodeError};
use crate::pki::ocsp::{NONCE_OCTETS, OcspFault, Question, REQUEST_TYPE, responders};
use crate::pki::path::Rules;
use crate::pki::{Certificate, Name, Standing};

use super::error::Failure;
use super::kept;
use super::revocation::How;
use super::trust::Trust;

/// What a responder says: that of `ocsp url`, or those that the certificate names, one after the other.
pub fn standing(
    node: &Node,
    trust: &Trust,
    certificate: &Certificate,
    issuer: &Certificate,
    rules: &Rules,
) -> Result<(Standing, How), Arc<Failure>> {
    let urls = match &trust.checking.ocsp_url {
        Some(url) => vec![url.clone()],
        None => responders(certificate),
    };
    let is_web = |url: &&String| url.starts_with("http://") || url.starts_with("https://");
    let mut failures = Vec::new();
    for url in urls.iter().filter(is_web).take(MAX_RESPONDERS) {
        if let Some(failure) = node.checks.kept.failed(url, rules.now) {
            failures.push(failure);
            continue;
        }
        match ask(node, trust, certificate, issuer, rules, url) {
            Ok(Some(standing)) => return Ok((standing, How::Ocsp { url: url.clone() })),
            Ok(None) => failures.push(Arc::new(Failure::Unknown(url.clone()))),
            Err(failure) => {
                let failure = Arc::new(failure);
                node.checks.kept.note(url, rules.now, &failure);
                failures.push(failure);
            }
        }
    }
    Err(Failure::of_all(failures, Failure::NoResponder))
}

/// `None` when it does not know the certificate.
fn ask(
    node: &Node,
    trust: &Trust,
    certificate: &Certificate,
    issuer: &Certificate,
    rules: &Rules,
    url: &str,
) -> Result<Option<Standing>, Failure> {
    let mut nonce = [0; NONCE_OCTETS];
    getrandom::fill(&mut nonce).map_err(Failure::Randomness)?;
    let nonce = (!trust.checking.ocsp_without_nonce).then_some(nonce);
    let question = Question::new(certificate, issuer, nonce);
    let octets = question.to_der();
    let posted = Posted { content_type: REQUEST_TYPE, octets: &octets };
    let parsed = FileUrl::parse(url).map_err(|error| NodeError::Refused(error.to_string()))?;
    let files = node.checks.files(node.files());
    let answer = files.exchange(&parsed, Some(posted), MAX_ANSWER, None)?;
    if !(200..300).contains(&answer.status) {
        return Err(Failure::Status { url: url.to_owned(), said: answer.said });
    }
    let answer = question.answer(&answer.body, rules);
    let failed = |fault| Failure::Ocsp { url: url.to_owned(), fault };
    let answer = answer.map_err(failed)?;
    // Nothing is fetched for it: a CRL that is there may say that the responder is no longer one.
    if let Some(delegate) = &answer.responder
        && let Some(Standing::Revoked { .. }) = kept::known(node, delegate, issuer, rules)?
    {
        return Err(failed(OcspFault::RevokedResponder(Name::from_der(delegate.subject_raw()))));
    }
    Ok(answer.standing)
}

/// Octets of an answer: one certificate's, with those of the signer.
const MAX_ANSWER: u64 = 64 << 10;
/// A certificate may name as many as it likes; so many are asked.
const MAX_RESPONDERS: usize = 3;
