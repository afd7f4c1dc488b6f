//! CRLs: of the servers here, at hand, or fetched when there is none that holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::node::{Node, NodeError};
use crate::pki::crl::Crl;
use crate::pki::path::Rules;
use crate::pki::{Certificate, Name, Standing, Time, hex};
use crate::store::{CrlOrigin, FetchedCrl, Record, Role, StoreError};

use super::error::Failure;
use super::fetch::fetch;
use super::revocation::How;
use super::sources::{Source, sources};
use super::trust::Trust;

/// A CRL that was read, and where it came from.
#[derive(Clone)]
pub struct AtHand {
    pub source: Source,
    pub crl: Arc<Crl>,
}

/// SHA-256 of the SubjectPublicKeyInfo of the key that signs a CRL.
type Signer = [u8; 32];

/// What is remembered of CRLs beside the database.
#[derive(Default)]
pub struct Kept {
    /// Those in use, read.
    read: Mutex<HashMap<Signer, AtHand>>,
    /// What could not be fetched, and when: a CRL by its key in hex, a responder by its URL.
    failed: Mutex<HashMap<String, (Time, Arc<Failure>)>>,
    /// One fetches a CRL, others wait for it.
    fetching: Mutex<HashMap<Signer, Arc<Mutex<()>>>>,
}

impl Kept {
    /// Why this could not be fetched a moment ago.
    pub fn failed(&self, what: &str, now: Time) -> Option<Arc<Failure>> {
        let failed = lock(&self.failed);
        let (at, failure) = failed.get(what)?;
        (now >= *at && now.since(*at) < AGAIN).then(|| failure.clone())
    }

    /// Remembers a failure, when trying again at once would wait again.
    pub fn note(&self, what: &str, now: Time, failure: &Arc<Failure>) {
        let mut failed = lock(&self.failed);
        failed.retain(|_, (at, _)| now >= *at && now.since(*at) < AGAIN);
        if failure.is_silence() {
            failed.insert(what.to_owned(), (now, failure.clone()));
        }
    }

    fn take_turn(&self, key: Signer) -> Arc<Mutex<()>> {
        let mut fetching = lock(&self.fetching);
        // Whoever waits for a turn holds it as well.
        fetching.retain(|_, turn| Arc::strong_count(turn) > 1);
        fetching.entry(key).or_default().clone()
    }

    fn put(&self, key: Signer, crl: AtHand) {
        let mut read = lock(&self.read);
        if read.len() >= MAX_READ {
            read.clear();
        }
        read.insert(key, crl);
    }
}

/// What the CRL of `issuer` says of this certificate of its.
pub fn standing(
    node: &Node,
    trust: &Trust,
    certificate: &Certificate,
    issuer: &Certificate,
    rules: &Rules,
) -> Result<(Standing, How), Arc<Failure>> {
    if let Some(found) = of_a_server(node, certificate, issuer)? {
        return Ok(found);
    }
    let AtHand { source, crl } = match at_hand(node, issuer, rules).map_err(Failure::from)? {
        Some(found) => found,
        None => fetched(node, trust, certificate, issuer, rules)?,
    };
    let how = How::Crl { source: source.to_string(), next_update: crl.next_update() };
    Ok((crl.standing(certificate.serial()), how))
}

/// The same as far as it is known without asking anybody.
pub fn known(
    node: &Node,
    certificate: &Certificate,
    issuer: &Certificate,
    rules: &Rules,
) -> Result<Option<Standing>, Failure> {
    if let Some((standing, _)) = of_a_server(node, certificate, issuer)? {
        return Ok(Some(standing));
    }
    Ok(at_hand(node, issuer, rules)?.map(|found| found.crl.standing(certificate.serial())))
}

/// Fetches the CRL of `issuer`, which issued this certificate, whatever is at hand.
pub fn request(
    node: &Node,
    trust: &Trust,
    certificate: Option<&Certificate>,
    issuer: &Certificate,
    rules: &Rules,
) -> Result<AtHand, Arc<Failure>> {
    let turn = node.checks.kept.take_turn(issuer.public_key().fingerprint());
    let _mine = lock(&turn);
    fetch_from_any(node, trust, certificate, issuer, rules)
}

/// What a certificate server of this host says, whose key has signed it: its database is newer than any CRL.
/// What it has no record of, or of that number another one, it has not issued, whoever used its key.
fn of_a_server(
    node: &Node,
    certificate: &Certificate,
    issuer: &Certificate,
) -> Result<Option<(Standing, How)>, Failure> {
    for label in node.servers() {
        let authorities = node.store.authorities(&label).map_err(NodeError::from)?;
        let is_issuer = |authority: &crate::store::Authority| {
            let ours = Certificate::parse(&authority.certificate);
            authority.role == Role::Ca && ours.is_ok_and(|ours| ours.public_key() == issuer.public_key())
        };
        if let Some(authority) = authorities.iter().find(|authority| is_issuer(authority)) {
            let record = node.store.record(&label, certificate.serial()).map_err(NodeError::from)?;
            let is_this = |record: &Record| match &record.der {
                Some(der) => der == certificate.der(),
                // Of a CA that was taken over the number may be all that is known.
                None => record.authority == Some(authority.id),
            };
            let record = record.filter(is_this).ok_or_else(|| Failure::NotIssued(label.clone()))?;
            let standing = record.revocation.map_or(Standing::Good, |revocation| Standing::Revoked {
                at: revocation.at,
                reason: revocation.reason,
            });
            return Ok(Some((standing, How::Server(label))));
        }
    }
    Ok(None)
}

/// One that was fetched before and still holds.
fn at_hand(node: &Node, issuer: &Certificate, rules: &Rules) -> Result<Option<AtHand>, NodeError> {
    let key = issuer.public_key().fingerprint();
    let read = lock(&node.checks.kept.read).get(&key).cloned();
    let found = match read {
        Some(read) => read,
        None => {
            let Some(FetchedCrl { origin, der }) = node.store.fetched_crl(&key)? else { return Ok(None) };
            // Both were read when it was kept.
            let (Some(source), Ok(crl)) = (Source::parse(&origin.source), Crl::parse(der)) else {
                return Ok(None);
            };
            let found = AtHand { source, crl: Arc::new(crl) };
            node.checks.kept.put(key, found.clone());
            found
        }
    };
    // Another trustpoint may have let a weak digest pass, and may know the issuer by another certificate.
    let holds = found.crl.check_current(rules.now).is_ok() && found.crl.check_issuer(issuer, rules).is_ok();
    Ok(holds.then_some(found))
}

fn fetched(
    node: &Node,
    trust: &Trust,
    certificate: &Certificate,
    issuer: &Certificate,
    rules: &Rules,
) -> Result<AtHand, Arc<Failure>> {
    let key = issuer.public_key().fingerprint();
    let turn = node.checks.kept.take_turn(key);
    let _mine = lock(&turn);
    // Meanwhile another may have fetched it, or tried to.
    if let Some(found) = at_hand(node, issuer, rules).map_err(Failure::from)? {
        return Ok(found);
    }
    let what = hex(&key);
    if let Some(failure) = node.checks.kept.failed(&what, rules.now) {
        return Err(failure);
    }
    let fetched = fetch_from_any(node, trust, Some(certificate), issuer, rules);
    fetched.inspect_err(|failure| node.checks.kept.note(&what, rules.now, failure))
}

/// From the first place that has one that counts.
fn fetch_from_any(
    node: &Node,
    trust: &Trust,
    certificate: Option<&Certificate>,
    issuer: &Certificate,
    rules: &Rules,
) -> Result<AtHand, Arc<Failure>> {
    let known = node.store.fetched_crl(&issuer.public_key().fingerprint()).ok().flatten();
    let mut failures = Vec::new();
    for source in sources(trust, certificate, issuer, known.as_ref().map(|known| &*known.origin.source)) {
        let fetched = fetch(node, trust, certificate, &source);
        match fetched.and_then(|der| keep(node, der, &source, issuer, rules)) {
            Ok(crl) => return Ok(AtHand { source, crl }),
            Err(failure) => failures.push(Arc::new(failure)),
        }
    }
    Err(Failure::of_all(failures, Failure::NoCrlPlace))
}

/// Checks what was fetched and keeps it.
fn keep(
    node: &Node,
    der: Vec<u8>,
    source: &Source,
    issuer: &Certificate,
    rules: &Rules,
) -> Result<Arc<Crl>, Failure> {
    let place = || source.to_string();
    let fault = |fault| Failure::Crl { place: place(), fault };
    let crl = Crl::parse(der).map_err(|error| Failure::NoCrl { place: place(), error })?;
    crl.check_issuer(issuer, rules).map_err(fault)?;
    crl.check_current(rules.now).map_err(fault)?;
    let origin = CrlOrigin {
        issuer_key: issuer.public_key().fingerprint(),
        issuer: Name::from_der(crl.issuer_raw()).to_string(),
        source: place(),
        fetched: rules.now,
        this_update: crl.this_update(),
        // One without is not current.
        next_update: crl.next_update().unwrap_or(crl.this_update()),
    };
    let kept = node.store.keep_fetched(FetchedCrl { origin: origin.clone(), der: crl.der().clone() });
    match kept.and_then(|()| node.store.forget_fetched(rules.now.minus(FORGOTTEN))) {
        Err(StoreError::Conflict) => return Err(Failure::Older(place())),
        Err(error) => tracing::warn!(%error, "the CRL from {source} is used and could not be kept"),
        Ok(_) => {}
    }
    tracing::info!(
        target: "CRYPTO_PKI",
        "CRL of {} from {source}: {} entries, next update {}",
        origin.issuer,
        crl.len(),
        origin.next_update
    );
    let crl = Arc::new(crl);
    node.checks.kept.put(origin.issuer_key, AtHand { source: source.clone(), crl: crl.clone() });
    Ok(crl)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How long what could not be fetched is not tried again.
const AGAIN: Duration = Duration::from_secs(60);
/// CRLs kept read: each may be long.
const MAX_READ: usize = 16;
/// How long a CRL that has ended is still shown.
const FORGOTTEN: Duration = Duration::from_secs(7 * 86_400);
