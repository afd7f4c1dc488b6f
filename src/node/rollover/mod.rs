//! Rollover of a certificate server: the next CA certificate is made, offered, and takes over (S22).
//!
//! ```text
//! auto-rollover days before the end,      the active certificate ends,
//! or `rollover`                           or a start after that
//!    │                                       │
//!    ▼ plan → key → certificate → archive    ▼
//!  Active ─────────────────────────────▶ Active + Next ──── activate (one transaction) ──▶ Active + Retired
//!                                            │
//!                                            └── `rollover cancel`: discard_next, then the keys ──▶ Active
//! ```
//!
//! Every arrow is on record before what follows it, so that whoever starts after a crash goes on from there.

mod keys;
mod late;
mod making;
mod plan;
mod report;

use crate::ca::{Ca, CaError, abandon_next};
use crate::config::ServerMode;
use crate::pki::{Certificate, Time, chain};
use crate::store::{Authority, NewAuthority, Phase, Revocation, Role, StoreError};

use super::NodeError;
use super::below::check_authority;
use super::server::{CertServer, Status, parse};
use super::start::Started;

pub use keys::scep_label;
pub use report::{RolloverReport, RolloverStatus};

use making::Making;
use plan::{Plan, scope};

impl CertServer {
    /// `rollover`: makes the next CA certificate now, whenever the active one ends. Returns what the operator
    /// should read.
    pub fn roll_over(&self) -> Result<Vec<String>, NodeError> {
        let now = self.clock.now();
        self.check_clock(now)?;
        self.store.set_mark(&scope(&self.label), CANCELLED, None)?;
        if self.ca()?.next().is_some() {
            return Err(NodeError::Refused(format!(
                "the next CA certificate is there; \"crypto pki server {} rollover cancel\" takes it back",
                self.label
            )));
        }
        self.make_next(now)
    }

    /// How many have a certificate of the next CA, which `rollover cancel` would take from them.
    pub fn rollover_at_stake(&self) -> Result<u64, NodeError> {
        match self.next_authority()? {
            Some(next) => Ok(self.store.issued_by(&self.label, next.id)?.enrolled),
            None => Ok(0),
        }
    }

    /// `rollover cancel`: takes the next CA certificate back and deletes its keys. What it issued is revoked and
    /// never becomes valid. Another is made by `rollover` only, or for the CA certificate after this one. Returns
    /// what the operator should read.
    pub fn cancel_rollover(&self) -> Result<Vec<String>, NodeError> {
        let now = self.clock.now();
        let _starting = self.starting();
        let active = self.authority()?.ok_or_else(|| NodeError::NotFound("there is no CA yet".into()))?;
        let begun = Plan::read(self.store.as_ref(), &self.label)?.is_some();
        let next = self.next_authority()?;
        if !begun && next.is_none() {
            return Err(NodeError::NotFound("there is no next CA certificate".into()));
        }
        // First: upkeep must not begin what is being given up.
        let serial = parse(&active.certificate)?.serial().to_string();
        self.store.set_mark(&scope(&self.label), CANCELLED, Some(&serial))?;
        abandon_next(self.store.as_ref(), &self.label, now)?;
        if next.is_some() {
            self.store.discard_next(&self.label, Revocation { at: now, reason: CESSATION_OF_OPERATION })?;
        }
        let mut notes = Vec::new();
        if let Err(error) = self.delete_taken_back() {
            notes.push(format!("% A key is left, and deleted at the next start: {error}"));
        }
        self.fetches.forget();
        tracing::info!(target: "PKI-6-CS_ROLLOVER_CANCELLED",
            "Rollover of certificate server {} was cancelled.", self.label);
        if self.status().running.is_some() {
            self.start_held(now).map_err(NodeError::Refused)?;
        }
        self.files_are_wanted();
        Ok(notes)
    }

    /// The next certificate of a CA below another: this one, whose key is there. It must have the name of the
    /// active one and a key of its own, and be one with which a CA can act, after the active one has ended. Done
    /// already when it is the next one.
    pub fn prepare_next(&self, next: NextCertificate, now: Time) -> Result<(), NodeError> {
        let _starting = self.starting();
        let active = self.authority()?.ok_or_else(|| NodeError::NotFound("there is no CA yet".into()))?;
        let (old, new) = (parse(&active.certificate)?, parse(&next.certificate)?);
        let refused =
            |why: &str| NodeError::Refused(format!("this is no next certificate of {}: {why}", self.label));
        if self.next_authority()?.is_some_and(|known| known.certificate == next.certificate) {
            return Ok(());
        }
        if new.subject_raw() != old.subject_raw() {
            return Err(refused("it has another name"));
        }
        check_authority(&new)?;
        if new.not_after() <= old.not_after() {
            return Err(refused("it ends no later than that of now"));
        }
        if new.public_key() == old.public_key() {
            return Err(refused("its key is that of the CA now"));
        }
        let status = self.status();
        let key = status.around.tokens.get(Some(&next.token))?.key(&next.key_label)?;
        if key.public_key() != new.public_key() {
            return Err(CaError::OtherKey { token: next.token, label: next.key_label }.into());
        }
        self.store.prepare(NewAuthority {
            server: self.label.clone(),
            role: Role::Ca,
            token: next.token,
            key_label: next.key_label,
            certificate: next.certificate,
        })?;
        self.offered(&new);
        if status.running.is_some() {
            self.start_held(now).map_err(NodeError::Refused)?;
        }
        Ok(())
    }

    /// What time brings to a rollover. Errors are tried again after [`PAUSE`].
    pub(in crate::node) fn tick_rollover(
        &self,
        ca: &Ca,
        started: &Started,
        status: &Status,
        now: Time,
    ) -> Result<(), NodeError> {
        let end = ca.certificate().not_after();
        if ca.next().is_some() && now >= end {
            return self.restart(now);
        }
        let makes = ca.next().is_none() && self.is_due(ca, status, now)?;
        let completes = ca.next().is_some() && started.next_trouble.is_some();
        if !(makes || completes) {
            return Ok(());
        }
        if now < self.again() {
            return Ok(());
        }
        self.set_again(now.plus(PAUSE));
        if makes {
            return self.make_next(now).map(|notes| notes.iter().for_each(|note| tracing::info!("{note}")));
        }
        let trouble = self.complete(now).map_err(|error| chain(&error)).err();
        let trouble = trouble.or_else(|| self.started().ok()?.next_trouble.clone());
        match trouble {
            Some(trouble) => {
                Err(NodeError::Refused(format!("the next CA certificate is not offered: {trouble}")))
            }
            None => Ok(()),
        }
    }

    /// Whether the next certificate is to be made by itself.
    fn is_due(&self, ca: &Ca, status: &Status, now: Time) -> Result<bool, NodeError> {
        let active = ca.certificate();
        if status.section.mode != ServerMode::Root || self.is_cancelled(active)? {
            return Ok(false);
        }
        let due = self.rollover_timer(active, status).is_some_and(|timer| now >= timer);
        // What was begun is finished, also when an operator began it.
        Ok(due || Plan::read(self.store.as_ref(), &self.label)?.is_some())
    }

    /// When the next certificate is to be there without an operator.
    pub(super) fn rollover_timer(&self, active: &Certificate, status: &Status) -> Option<Time> {
        let overlap = status.section.auto_rollover?.duration();
        // Of a certificate that lives no longer than that the last half is left: it would be followed at once,
        // and that one too.
        let life = active.not_after().since(active.not_before());
        let overlap = if overlap < life { overlap } else { life / 2 };
        Some(active.not_after().minus(overlap))
    }

    pub(super) fn is_cancelled(&self, active: &Certificate) -> Result<bool, NodeError> {
        let cancelled = self.store.mark(&scope(&self.label), CANCELLED)?;
        Ok(cancelled.is_some_and(|serial| serial == active.serial().to_string()))
    }

    /// Makes the active certificate's successor act once that has ended. One step of the database; whatever
    /// comes after it is done by the start that called this, or by the next one.
    pub(in crate::node) fn activate_if_due(&self, now: Time) -> Result<(), NodeError> {
        let (Some(active), Some(next)) = (self.authority()?, self.next_authority()?) else { return Ok(()) };
        if now < parse(&active.certificate)?.not_after() {
            return Ok(());
        }
        match self.store.activate(&self.label) {
            Ok(_) => {}
            // Another process, or a crash after it was done.
            Err(StoreError::NotFound) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.fetches.forget();
        let certificate = parse(&next.certificate)?;
        tracing::info!(target: "PKI-6-CS_ROLLOVER",
            "Certificate server {} has rolled over; its CA certificate is now {}, valid until {}.",
            self.label, certificate.serial(), certificate.not_after());
        Ok(())
    }

    /// Deletes the keys of what was taken back, as far as a crash or a token that was away has left them.
    pub(in crate::node) fn delete_taken_back(&self) -> Result<(), NodeError> {
        let tokens = self.status().around.tokens;
        let authorities = self.store.authorities(&self.label)?;
        // What has the same label may have the same key: what was begun anew finds that of the one before.
        let is_used = |place: &Authority| {
            let mut others = authorities.iter().filter(|a| a.phase != Phase::Discarded);
            others.any(|a| (&a.token, &a.key_label) == (&place.token, &place.key_label))
        };
        for discarded in authorities.iter().filter(|a| a.phase == Phase::Discarded && !is_used(a)) {
            let token = tokens.get(Some(&discarded.token))?;
            let own = parse(&discarded.certificate)?;
            if token.find(&discarded.key_label)?.is_some_and(|key| key.public_key() == own.public_key()) {
                token.delete(&discarded.key_label)?;
            }
        }
        let Some(plan) = Plan::read(self.store.as_ref(), &self.label)? else { return Ok(()) };
        let is_its = |a: &Authority| a.token == plan.token && a.key_label == plan.key_label;
        // One that has become an authority is done, and that was not noted any more.
        if !authorities.iter().any(is_its) {
            let Some(active) = self.authority()? else { return Ok(()) };
            if !self.is_cancelled(&parse(&active.certificate)?)? {
                return Ok(());
            }
            // One that was given up stays on record until its key is gone.
            let token = tokens.get(Some(&plan.token))?;
            if token.find(&plan.key_label)?.is_some() {
                token.delete(&plan.key_label)?;
            }
        }
        Plan::clear(self.store.as_ref(), &self.label)
    }

    pub(in crate::node) fn next_authority(&self) -> Result<Option<Authority>, NodeError> {
        let authorities = self.store.authorities(&self.label)?;
        Ok(authorities.into_iter().find(|a| a.role == Role::Ca && a.phase == Phase::Next))
    }

    fn make_next(&self, now: Time) -> Result<Vec<String>, NodeError> {
        let _starting = self.starting();
        if let Some(trouble) = self.trouble() {
            return Err(NodeError::Refused(format!("nothing is issued now: {trouble}")));
        }
        let (ca, status) = (self.ca()?, self.status());
        let making = Making {
            label: &self.label,
            section: &status.section,
            trustpoint: &status.trustpoint,
            around: &status.around,
            store: self.store.as_ref(),
            ca: &ca,
            now,
        };
        let notes = making.run()?;
        if let Some(next) = self.next_authority()? {
            self.offered(&parse(&next.certificate)?);
        }
        self.start_held(now).map_err(NodeError::Refused)?;
        self.files_are_wanted();
        Ok(notes)
    }

    /// Starts anew, so that what was missing is there. What acts today goes on when that fails.
    fn complete(&self, now: Time) -> Result<(), NodeError> {
        let _starting = self.starting();
        let status = self.status();
        if status.may_run() {
            self.run(self.make(&status, now)?, status.running.is_some());
            self.change(|status| status.last_error = None);
        }
        Ok(())
    }

    pub(in crate::node) fn restart(&self, now: Time) -> Result<(), NodeError> {
        let _starting = self.starting();
        self.start_held(now).map(drop).map_err(NodeError::Refused)
    }

    fn offered(&self, next: &Certificate) {
        self.fetches.forget();
        tracing::info!(target: "PKI-6-CS_ROLLOVER_AVAILABLE",
            "Rollover CA certificate {} of certificate server {} is available; it takes over on {}.",
            next.serial(), self.label, next.not_before());
    }
}

/// The next certificate of a CA below another.
#[derive(Clone, Debug)]
pub struct NextCertificate {
    /// Name of the token in the configuration.
    pub token: String,
    /// Label of the key on it.
    pub key_label: String,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
}

/// Mark of a server: the serial number of the CA certificate whose rollover was cancelled.
const CANCELLED: &str = "rollover cancelled";
/// RFC 5280, 5.3.1.
const CESSATION_OF_OPERATION: u8 = 5;
/// Between two attempts at what has failed.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(60);
