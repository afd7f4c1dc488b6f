//! A CRL is fetched: by HTTP, LDAP or SCEP.

use std::sync::Arc;

use crate::files::{FileUrl, Files};
use crate::node::Node;
use crate::pki::archive::pem;
use crate::pki::{Certificate, DecryptionKey, SigningKey};
use crate::scep::client::{issuer_and_serial, transaction_id};
use crate::scep::{AlgorithmPolicy, MessageType};
use crate::trustpoint::{Answered, CaCertificates, ClientRequest, Upper};

use super::error::Failure;
use super::sources::Source;
use super::trust::Trust;

/// The octets of a CRL, as DER if it is one. SCEP asks for the CRL of `certificate`, or of the trustpoint's own.
pub fn fetch(
    node: &Node,
    trust: &Trust,
    certificate: Option<&Certificate>,
    source: &Source,
) -> Result<Vec<u8>, Failure> {
    let files = node.checks.files(node.files());
    match source {
        Source::Web(url) => match web(&files, url) {
            // `cdp-url` of IOS: its routers take this for SCEP.
            Err(failure) if is_scep(url) => {
                let server = url.split('?').next().unwrap_or(url);
                scep(node, files, trust, certificate, server).map_err(|_| failure)
            }
            fetched => fetched,
        },
        Source::Directory(url) => {
            let values = files.look_up(url)?;
            values.into_iter().next().ok_or_else(|| Failure::Empty(url.clone()))
        }
        Source::Scep(url) => scep(node, files, trust, certificate, url),
    }
}

fn web(files: &Files, url: &str) -> Result<Vec<u8>, Failure> {
    let parsed = FileUrl::parse(url)
        .map_err(|error| Failure::Node(crate::node::NodeError::Refused(error.to_string())))?;
    let answer = files.exchange(&parsed, None, MAX_CRL, None)?;
    if !(200..300).contains(&answer.status) {
        return Err(Failure::Status { url: url.to_owned(), said: answer.said });
    }
    let text = answer.body.starts_with(b"-----BEGIN").then(|| String::from_utf8_lossy(&answer.body));
    let der = text.and_then(|text| pem::der_of(&text, pem::CRL).ok());
    Ok(der.map_or(answer.body, |der| der.to_vec()))
}

/// GetCRL (RFC 8894, 3.3.4), signed with the trustpoint's own certificate.
fn scep(
    node: &Node,
    files: Arc<Files>,
    trust: &Trust,
    certificate: Option<&Certificate>,
    url: &str,
) -> Result<Vec<u8>, Failure> {
    let own = trust.own.iter().find_map(|own| Some((&own.certificate, own.key.as_ref()?)));
    let (own, (token, label)) = own.ok_or(Failure::NoCrlPlace)?;
    let key = node.token_set().find_key(token.as_deref(), label)?;
    let (_, key) = key.ok_or(Failure::NoCrlPlace)?;
    let failed = |error| Failure::Scep { url: url.to_owned(), error };
    let ca = match &trust.shown {
        Some(shown) => shown.clone(),
        None => CaCertificates::sorted(trust.above(own)).map_err(failed)?,
    };
    let upper = Upper::new(url, files)
        .identified(&trust.label)
        .allowing(AlgorithmPolicy { legacy_md5: trust.legacy.md5, ..AlgorithmPolicy::default() });
    let request = ClientRequest {
        kind: MessageType::GetCrl,
        transaction: &transaction_id(&key),
        content: &issuer_and_serial(certificate.unwrap_or(own)),
        signer: own,
        key: &key as &dyn SigningKey,
        decrypter: &key as &dyn DecryptionKey,
        to: &ca,
        trusted: &[&ca],
        wanted: None,
    };
    let refused = |said: String| Failure::ScepRefused { url: url.to_owned(), said };
    match upper.send(&request).map_err(failed)? {
        Answered::Crl(der) => Ok(der),
        Answered::Pending => Err(refused("PENDING".into())),
        Answered::Issued(_) => Err(refused("certificates instead".into())),
        Answered::Failed { info, text } => {
            Err(refused(text.unwrap_or_else(|| info.map_or("FAILURE".into(), |info| format!("{info:?}")))))
        }
    }
}

fn is_scep(url: &str) -> bool {
    url.to_ascii_lowercase().contains("operation=getcrl")
}

/// Octets of a CRL: a million entries are less.
const MAX_CRL: u64 = 64 << 20;
