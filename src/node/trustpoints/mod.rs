//! Trustpoints: other CAs, what this node has from them, and what it asks of them (T1 to T6).
//!
//! | step | what is on record before | what after |
//! |---|---|---|
//! | authenticate, accept | | certificates of the CA |
//! | begin | | what is wanted, for which key |
//! | make | that | PKCS#10, who signs it |
//! | send, poll | that | how far it is, when it is tried next |
//! | keep | that | the certificate, in place of the one before; the request is gone |
//!
//! Each step begins from what is on record, so a crash between two of them, or a restart, loses nothing. Whoever
//! comes second with the same step is told so by the database and does nothing.
//!
//! Upkeep of each trustpoint runs on a thread of its own: a CA that does not answer keeps nobody else waiting.

mod authenticating;
mod held;
mod making;
mod manual;
mod pursuing;
mod report;
mod storage;
mod upkeep;
mod wanted;
mod work;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use crate::config::{Configuration, Vault};
use crate::files::Files;
use crate::pki::{Certificate, Time, chain};
use crate::store::{Store, TrustedKind, UpperPhase};
use crate::token::TokenKey;
use crate::trustpoint::{CaCertificates, Upper};

use super::clock::Clock;
use super::server::parse;
use super::tokens::Tokens;
use super::{Node, NodeError};

pub use authenticating::{Offered, OfferedRegistrar, Verdict};
pub use held::ca_of;
pub use making::Answers;
pub use report::{TimerKind, TimerReport, TrustedReport, TrustpointReport, UpperRequestReport};

use upkeep::Found;
use wanted::{Method, Wanted};
use work::Work;

impl Node {
    /// The certificates of the CA of a trustpoint, fetched from where the configuration says or taken from what
    /// is `given`: a certificate or a PKCS#7, as DER, PEM or base64. Nothing is trusted yet.
    pub fn authenticate(&self, trustpoint: &str, given: Option<&[u8]>) -> Result<Offered, NodeError> {
        self.trustpoints.work(trustpoint)?.authenticate(given)
    }

    /// Trusts what was offered. Whoever calls this has compared the fingerprint, or the configuration has.
    pub fn accept(&self, offered: Offered) -> Result<(), NodeError> {
        let work = self.trustpoints.work(&offered.trustpoint)?;
        work.accept(&offered)?;
        work.sync_storage();
        self.trustpoints.upkeep_of(&offered.trustpoint);
        Ok(())
    }

    /// Refuses where [`Node::enroll`] would: the CA is not authenticated, nothing says how to enrol, or a
    /// request is under way. For whoever has questions to ask first.
    pub fn may_enroll(&self, trustpoint: &str) -> Result<(), NodeError> {
        let work = self.trustpoints.work(trustpoint)?;
        work.ready(&work.held()?)
    }

    /// Asks for the certificates of a trustpoint. By SCEP it goes on by itself; what has become of it after the
    /// first try, or a few seconds, is what is returned. Otherwise the requests are written into files, or
    /// returned to be shown.
    pub fn enroll(&self, trustpoint: &str, answers: Answers) -> Result<Vec<UpperRequestReport>, NodeError> {
        let work = self.trustpoints.work(trustpoint)?;
        let held = work.held()?;
        work.ready(&held)?;
        // A certificate that ends with its CA is followed by one of the next CA, where there is one.
        let (held, kinds) = work.wanted_now(held)?;
        // Looking for the next CA takes time.
        work.ready(&held)?;
        let kinds = kinds.as_slice();
        work.cancel(kinds)?;
        // Upkeep knows nothing of the answers; it takes over what a crash leaves here.
        let later = self.now().plus(TAKEN_OVER);
        let mut made = Vec::new();
        for kind in kinds {
            let begun = work.begin(&held, *kind, later)?;
            match work.make(&held, &begun, &answers) {
                Ok(request) => made.push(request),
                Err(error) => {
                    // Nothing was asked for yet: all of it, or none.
                    work.cancel(kinds)?;
                    return Err(error);
                }
            }
        }
        let mut reports = Vec::new();
        for request in &made {
            let mut report = work.request_report(request)?;
            report.file = work.hand_out(request)?;
            reports.push(report);
        }
        if made.iter().any(|request| request.phase == UpperPhase::Sending) {
            for (request, kind) in made.iter().zip(kinds) {
                if let Method::Command { .. } = work.method(&held, *kind) {
                    // Here: what the operator has answered is not kept.
                    work.pursue_with(request.clone(), &answers)?;
                }
            }
            self.trustpoints.upkeep_of(trustpoint);
            self.trustpoints.settle(trustpoint, PATIENCE);
            let after = work.held()?;
            for report in &mut reports {
                if let Some(request) = after.request(report.kind) {
                    *report = work.request_report(request)?;
                } else {
                    report.granted = true;
                }
            }
        }
        Ok(reports)
    }

    /// Takes requests of a trustpoint back (`no crypto pki enroll`), and deletes the keys that were made for
    /// them. How many there were.
    pub fn cancel_enrollment(&self, trustpoint: &str) -> Result<usize, NodeError> {
        self.trustpoints.work(trustpoint)?.cancel(&TrustedKind::OWN)
    }

    /// Takes the certificates that a trustpoint has asked for, `given` or from its files. What was taken.
    pub fn import_certificate(
        &self,
        trustpoint: &str,
        given: Option<&[u8]>,
    ) -> Result<Vec<Certificate>, NodeError> {
        let work = self.trustpoints.work(trustpoint)?;
        let taken = work.import(given)?;
        work.sync_storage();
        self.trustpoints.upkeep_of(trustpoint);
        Ok(taken)
    }

    /// Forgets the own certificates of a trustpoint, of now and next (`no crypto pki import … certificate`);
    /// its keys stay. How many there were.
    pub fn forget_own(&self, trustpoint: &str) -> Result<usize, NodeError> {
        let work = self.trustpoints.work(trustpoint)?;
        if work.wanted.purpose != wanted::Purpose::Device {
            return Err(NodeError::Refused(format!(
                "the certificate of trustpoint {trustpoint} is that of a certificate server; delete the server first"
            )));
        }
        let mut own = self.store.trusted(trustpoint)?;
        own.retain(|certificate| certificate.kind.is_own());
        for certificate in &own {
            self.store.distrust(trustpoint, Some(certificate))?;
            work.unstore(&parse(&certificate.der)?)?;
        }
        Ok(own.len())
    }

    /// What trustpoints have, or the one of this name. Those of HTTPS and of root CAs are not among them.
    pub fn trustpoint_reports(&self, name: Option<&str>) -> Result<Vec<TrustpointReport>, NodeError> {
        let report = |label: &str| {
            let report = self.trustpoints.work(label)?.report()?;
            Ok(TrustpointReport { last_error: self.trustpoints.error(label), ..report })
        };
        match name {
            Some(name) => Ok(vec![report(name)?]),
            None => self.trustpoints.labels().iter().map(|label| report(label)).collect(),
        }
    }

    /// What trustpoints will do by themselves, the next first.
    pub fn timer_reports(&self) -> Vec<TimerReport> {
        let mut timers = Vec::new();
        for label in self.trustpoints.labels() {
            let of = || self.trustpoints.work(&label)?.timers(self.trustpoints.found(&label));
            match of() {
                Ok(found) => timers.extend(found),
                Err(error) => tracing::warn!(trustpoint = label, %error, "timers are not known"),
            }
        }
        timers.sort_by(|a, b| (a.at, &a.trustpoint, a.what).cmp(&(b.at, &b.trustpoint, b.what)));
        timers
    }

    /// The trustpoints, for those who act with what they have.
    pub fn trustpoints(&self) -> &Trustpoints {
        &self.trustpoints
    }

    /// Waits until no trustpoint is at work, for so long at most. Whether that is so.
    pub fn settle_trustpoints(&self, patience: Duration) -> bool {
        self.trustpoints.settle_all(patience)
    }
}

/// With what a trustpoint speaks for itself: what a certificate server below a CA acts with.
#[derive(Clone)]
pub struct Identity {
    /// Its certificate.
    pub certificate: Certificate,
    /// The CA that it is from.
    pub ca: CaCertificates,
    /// The key.
    pub key: TokenKey,
}

/// Every trustpoint of a node that gets certificates from somebody. Cheap to clone.
#[derive(Clone)]
pub struct Trustpoints {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    clock: Arc<Clock>,
    vault: Arc<Vault>,
    setup: RwLock<Arc<Setup>>,
    working: Mutex<Working>,
    /// Somebody has ended.
    ended: Condvar,
    stopping: Arc<AtomicBool>,
}

/// The configuration as it concerns them.
#[derive(Default)]
struct Setup {
    wanted: BTreeMap<String, Wanted>,
    tokens: Arc<Tokens>,
    files: Option<Arc<Files>>,
    /// Trustpoints and servers, whose keys stay.
    labels: Arc<Vec<String>>,
}

#[derive(Default)]
struct Working {
    /// Those at work, and whether there is more to do afterwards.
    busy: BTreeMap<String, bool>,
    /// What was found out last.
    found: BTreeMap<String, Found>,
    /// Why upkeep failed last.
    errors: BTreeMap<String, String>,
}

impl Trustpoints {
    pub(super) fn new(store: Arc<dyn Store>, clock: Arc<Clock>, vault: Arc<Vault>) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                clock,
                vault,
                setup: RwLock::default(),
                working: Mutex::default(),
                ended: Condvar::new(),
                stopping: Arc::default(),
            }),
        }
    }

    /// Takes a new configuration. What is at work goes on with the old one, and can change nothing of a
    /// trustpoint that is gone.
    pub(super) fn configure(&self, configuration: &Configuration, tokens: &Arc<Tokens>, files: &Arc<Files>) {
        let sections = configuration.trustpoints.iter();
        let wanted = sections
            .filter_map(|(label, section)| Some((label.clone(), Wanted::of(configuration, label, section)?)));
        let labels = configuration.trustpoints.keys().chain(configuration.servers.keys()).cloned();
        let setup = Setup {
            wanted: wanted.collect(),
            tokens: tokens.clone(),
            files: Some(files.clone()),
            labels: Arc::new(labels.collect()),
        };
        {
            let mut working = self.shared.working();
            working.found.clear();
            working.errors.clear();
        }
        *self.shared.setup.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(setup);
    }

    /// What time brings: work for those that have something to do.
    pub(super) fn tick(&self) {
        for label in self.labels() {
            self.upkeep_of(&label);
        }
    }

    /// Has this trustpoint do what is due, on a thread of its own.
    pub(super) fn upkeep_of(&self, label: &str) {
        let due = || self.work(label)?.is_due(self.found(label));
        match due() {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::warn!(trustpoint = label, error = chain(&error), "no upkeep"),
        }
        {
            let mut working = self.shared.working();
            if let Some(more) = working.busy.get_mut(label) {
                *more = true;
                return;
            }
            working.busy.insert(label.to_owned(), false);
        }
        let (shared, name) = (self.shared.clone(), label.to_owned());
        let started =
            thread::Builder::new().name(format!("trustpoint {label}")).spawn(move || shared.run(&name));
        if let Err(error) = started {
            tracing::error!(trustpoint = label, %error, "no thread for upkeep");
            self.shared.end(label);
        }
    }

    /// Waits until this trustpoint is not at work.
    fn settle(&self, label: &str, patience: Duration) -> bool {
        self.settle_while(patience, |working| working.busy.contains_key(label))
    }

    fn settle_all(&self, patience: Duration) -> bool {
        self.settle_while(patience, |working| !working.busy.is_empty())
    }

    fn settle_while(&self, patience: Duration, busy: impl Fn(&Working) -> bool) -> bool {
        let waited = self.shared.ended.wait_timeout_while(self.shared.working(), patience, |w| busy(w));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn labels(&self) -> Vec<String> {
        self.shared.setup().wanted.keys().cloned().collect()
    }

    fn found(&self, label: &str) -> Found {
        self.shared.working().found.get(label).copied().unwrap_or_default()
    }

    fn error(&self, label: &str) -> Option<String> {
        self.shared.working().errors.get(label).cloned()
    }

    /// The trustpoint of this name, as it is configured now.
    fn work(&self, label: &str) -> Result<Work, NodeError> {
        self.shared.work(label)
    }

    /// With what the trustpoint of this name speaks now, or will next; none before it has a certificate. For the
    /// server of the same name.
    pub fn identity(&self, label: &str, next: bool) -> Result<Option<Identity>, NodeError> {
        let work = self.work(label)?;
        let held = work.held()?;
        let kind = if next { TrustedKind::NextOwn } else { TrustedKind::Own };
        let (Some(own), Some(ca)) = (held.own(kind), held.ca_for(kind)) else { return Ok(None) };
        // A next certificate may be from the CA of now.
        let ca = match ca.check_issued(&own.certificate) {
            Ok(()) => ca,
            Err(_) => held.ca.as_ref().unwrap_or(ca),
        };
        let key = work.key_of(own)?;
        Ok(Some(Identity { certificate: own.certificate.clone(), ca: ca.clone(), key }))
    }

    /// With what the trustpoint of this name will speak when its CA has rolled over; none before it has a
    /// certificate of the next CA. For the RA of the same name.
    pub fn coming(&self, label: &str) -> Result<Option<Identity>, NodeError> {
        let now = self.work(label)?.held()?.ca;
        let next = self.identity(label, true)?;
        let next = next.filter(|next| now.is_none_or(|now| now.ca() != next.ca.ca()));
        match next {
            Some(next) if !next.key.can_decrypt() => Err(NodeError::Refused(format!(
                "the next key \"{}\" of the RA cannot decrypt, which SCEP needs",
                next.key.info().label
            ))),
            next => Ok(next),
        }
    }

    /// What is next takes its place if it is time to.
    pub fn promote_if_due(&self, label: &str, now: Time) -> Result<(), NodeError> {
        let work = self.work(label)?;
        let held = work.held()?;
        match held.next_is_due(now) {
            true => work.unless_changed(work.promote(&held)),
            false => Ok(()),
        }
    }

    /// What is next takes its place, where the server of the same name has just done so.
    pub fn promote(&self, label: &str) -> Result<(), NodeError> {
        let work = self.work(label)?;
        work.promote(&work.held()?)
    }

    /// The CA of this trustpoint, once it is authenticated; for those who ask it on behalf of others.
    pub fn upper(&self, label: &str) -> Result<(Upper, Option<CaCertificates>), NodeError> {
        let work = self.work(label)?;
        Ok((work.upper(&work.wanted.method)?, work.held()?.ca))
    }

    /// The node ends: those at work finish their step, if their CA lets them, and begin no other.
    pub(super) fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.settle_all(ENDING);
    }
}

impl Shared {
    fn working(&self) -> MutexGuard<'_, Working> {
        self.working.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn setup(&self) -> Arc<Setup> {
        self.setup.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn work(&self, label: &str) -> Result<Work, NodeError> {
        let setup = self.setup();
        let missing = || {
            NodeError::NotFound(match setup.labels.iter().any(|known| known == label) {
                true => format!("trustpoint \"{label}\" signs its own certificate and asks nobody for one"),
                false => format!("there is no trustpoint \"{label}\""),
            })
        };
        let wanted = setup.wanted.get(label).cloned().ok_or_else(missing)?;
        Ok(Work {
            wanted,
            store: self.store.clone(),
            clock: self.clock.clone(),
            tokens: setup.tokens.clone(),
            files: setup.files.clone().ok_or_else(missing)?,
            vault: self.vault.clone(),
            labels: setup.labels.clone(),
            stopping: self.stopping.clone(),
        })
    }

    fn run(&self, label: &str) {
        loop {
            let found = self.working().found.get(label).copied().unwrap_or_default();
            let done = self.work(label).and_then(|work| work.upkeep(found));
            let mut working = self.working();
            match done {
                Ok(found) => {
                    working.found.insert(label.to_owned(), found);
                    working.errors.remove(label);
                }
                Err(error) => {
                    let error = chain(&error);
                    if working.errors.insert(label.to_owned(), error.clone()).as_ref() != Some(&error) {
                        tracing::error!(trustpoint = label, error, "upkeep failed; it is tried again");
                    }
                }
            }
            match working.busy.get_mut(label) {
                Some(more) if *more && !self.stopping.load(Ordering::Acquire) => *more = false,
                _ => break,
            }
        }
        self.end(label);
    }

    fn end(&self, label: &str) {
        self.working().busy.remove(label);
        self.ended.notify_all();
    }
}

/// When upkeep goes on with what a command has begun and not finished.
const TAKEN_OVER: Duration = Duration::from_secs(300);
/// How long an operator waits for the first answer of a CA.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a process that ends waits for those at work.
const ENDING: Duration = Duration::from_secs(5);
