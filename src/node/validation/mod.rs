//! Certificates of others, checked offline against a trustpoint: path, maps, revocation (`match certificate`,
//! `revocation-check`, `crypto pki certificate validate`).
//!
//! Calls block while a CRL or an OCSP answer is fetched, each server within [`TIMEOUTS`]. What could not be
//! fetched is not tried again for a minute, so that a server that hangs holds up one caller and not every
//! one.

mod error;
mod fetch;
mod kept;
mod report;
mod responder;
mod revocation;
mod sources;
mod trust;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::files::{Files, Timeouts};
use crate::pki::path::{Path, Rules};
use crate::pki::{Certificate, Time};

use super::{Node, NodeError};

pub use error::{Failure, Invalid};
pub use report::{Checked, CrlRow, Requested, Validation};
pub use revocation::{Asked, How};

use kept::Kept;
use trust::Trust;

/// A certificate that a trustpoint accepts.
#[derive(Clone, Debug)]
pub struct Validated {
    /// From it to the CA that is trusted.
    pub path: Path,
    /// How it was found out that nothing on the path is revoked, from the CA down.
    pub asked: Vec<Asked>,
}

impl Node {
    /// Whether the trustpoint accepts this certificate of somebody else: `chain` begins with it, what else
    /// came along may help to find a path. Revocation is asked as the trustpoint says.
    pub fn check_peer(
        &self,
        trustpoint: &str,
        chain: &[Certificate],
        now: Time,
    ) -> Result<Validated, Invalid> {
        let trust = Trust::of(self, trustpoint)?;
        let (certificate, others) = chain.split_first().ok_or(Invalid::Nothing)?;
        let configuration = self.configuration();
        let matches = &trust.checking.matches;
        let map = matches.iter().find(|line| configuration.map_means(&line.map, certificate));
        // A map with something to do is for those that it means; one without says who is meant at all.
        let is_bound = matches.iter().any(|line| !line.allow_expired && !line.skip_revocation);
        if is_bound && map.is_none() {
            return Err(Invalid::NotMeant);
        }
        let exceptions = map.map_or(Exceptions::default(), |map| Exceptions {
            expired: map.allow_expired,
            unasked: map.skip_revocation,
        });
        self.check(&trust, certificate, others, &trust.anchors, exceptions, now)
    }

    fn check(
        &self,
        trust: &Trust,
        certificate: &Certificate,
        others: &[Certificate],
        anchors: &[Certificate],
        exceptions: Exceptions,
        now: Time,
    ) -> Result<Validated, Invalid> {
        if anchors.is_empty() {
            return Err(Invalid::NotAuthenticated(trust.label.clone()));
        }
        let rules = Rules { now, legacy: trust.legacy, expired: exceptions.expired };
        let others = [others, trust.helpers()].concat();
        let path = Path::find(certificate, &others, anchors, &rules)?;
        let asked = revocation::check(self, trust, &path, &rules, exceptions.unasked)?;
        Ok(Validated { path, asked })
    }
}

/// What a certificate map excuses the certificate that it means from, not those above it.
#[derive(Clone, Copy, Debug, Default)]
struct Exceptions {
    /// That it has expired.
    expired: bool,
    /// The question whether it is revoked.
    unasked: bool,
}

/// What is remembered between two checks.
#[derive(Default)]
pub(super) struct Checks {
    kept: Kept,
    files: Mutex<Option<(Arc<Files>, Arc<Files>)>>,
}

impl Checks {
    /// The file systems with [`TIMEOUTS`]. Made once for each configuration: an HTTP client reads the
    /// certificates that the host trusts.
    fn files(&self, of: Arc<Files>) -> Arc<Files> {
        let mut files = self.files.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &*files {
            Some((made_of, made)) if Arc::ptr_eq(made_of, &of) => made.clone(),
            _ => {
                let made = Arc::new((*of).clone().with_timeouts(TIMEOUTS));
                *files = Some((of, made.clone()));
                made
            }
        }
    }
}

/// How long a server is waited for: shorter than for files, as somebody waits for the answer.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    silence: Duration::from_secs(10),
    total: Duration::from_secs(30),
};
