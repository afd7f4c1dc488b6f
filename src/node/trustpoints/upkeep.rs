//! What time brings a trustpoint: another poll, a renewal, the CA's next key.
//!
//! ```text
//! no certificate ──────────────▶ first enrolment               (where `auto-enroll` is configured)
//! its time has come ───────────▶ renewal by the CA of now
//! … and the CA ends with it ───▶ GetNextCACert ─▶ shadow certificate of the next CA, kept as next
//! the CA of now has ended ─────▶ what is next takes the place of what is now, in one step
//! ```

use std::time::Duration;

use crate::pki::Time;
use crate::store::{StoreError, TrustedKind, UpperPhase};

use super::super::NodeError;
use super::held::{Held, OwnCertificate, goes_on, kept};
use super::wanted::Method;
use super::work::{Work, WorkError};

/// What a round of upkeep has found out for the next one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// When the CA is asked for its next certificate again.
    pub next_ca_check: Option<Time>,
    /// When the CA is asked for its certificate again.
    pub authentication: Option<Time>,
}

impl Work {
    /// Does what is due, and tells what is to be remembered of it.
    pub fn upkeep(&self, found: Found) -> Result<Found, NodeError> {
        let mut held = self.held()?;
        if !self.wanted.keeps_next() && held.next_is_due(self.now()) {
            self.unless_changed(self.promote(&held))?;
            held = self.held()?;
        }
        self.requests(&held)?;
        let found = self.plan(found)?;
        self.sync_storage();
        Ok(found)
    }

    /// Whether [`upkeep`](Self::upkeep) would do something.
    pub fn is_due(&self, found: Found) -> Result<bool, NodeError> {
        let (held, now) = (self.held()?, self.now());
        let promotes = !self.wanted.keeps_next() && held.next_is_due(now);
        let goes = held.requests.iter().any(|request| {
            request.next_try <= now
                && (goes_on(request.phase) || request.phase == UpperPhase::Failed && self.is_automatic())
        });
        Ok(promotes || goes || self.needs(&held, found).is_some() || self.can_authenticate(&held, found))
    }

    /// What is next takes its place; the keys of what it replaces go.
    pub fn promote(&self, held: &Held) -> Result<(), NodeError> {
        self.store.promote(self.label())?;
        tracing::info!(
            trustpoint = self.label(),
            "the next certificates have taken the place of those before"
        );
        let replaced: Vec<_> = held
            .own
            .iter()
            .filter(|own| !own.kind.is_next() && held.own(own.kind.next()).is_some())
            .cloned()
            .collect();
        self.clear(&replaced);
        Ok(())
    }

    /// Requests whose time has come.
    fn requests(&self, held: &Held) -> Result<(), NodeError> {
        let now = self.now();
        for request in held.requests.iter().filter(|request| request.next_try <= now) {
            let done = match request.phase {
                phase if goes_on(phase) => self.pursue(request.clone()),
                UpperPhase::Failed if self.is_automatic() => self.restart(held, request),
                _ => Ok(()),
            };
            self.unless_changed(done)?;
        }
        Ok(())
    }

    /// Begins what has to be begun.
    fn plan(&self, mut found: Found) -> Result<Found, NodeError> {
        for _ in 0..MAX_NEEDS {
            let held = self.held()?;
            if self.can_authenticate(&held, found) {
                found.authentication = Some(self.now().plus(self.wanted.retry_period));
                self.authenticate_by_fingerprint();
                continue;
            }
            match self.needs(&held, found) {
                None => break,
                Some(Need::Certificate(kind)) => {
                    let begun = self.begin(&held, kind, self.now()).and_then(|request| self.pursue(request));
                    self.unless_changed(begun)?;
                }
                Some(Need::NextCa) => {
                    found.next_ca_check = Some(self.now().plus(self.next_ca_wait(&held)));
                    self.look_for_next_ca(&held)?;
                }
            }
        }
        Ok(found)
    }

    /// What is missing now; one thing at a time.
    fn needs(&self, held: &Held, found: Found) -> Option<Need> {
        let ca = held.ca.as_ref()?;
        if !self.is_automatic() {
            return None;
        }
        let (now, ca_end) = (self.now(), ca.ca().not_after());
        for kind in self.wanted.kinds() {
            let next = kind.next();
            let own = held.own(*kind).filter(|own| own.certificate.not_after() >= now);
            let Some(own) = own else {
                match held.request(*kind) {
                    None => return Some(Need::Certificate(*kind)),
                    Some(_) => continue,
                }
            };
            if self.renews_at(&own.certificate).is_none_or(|at| at > now) {
                continue;
            }
            let has_next = held.own(next).is_some() || held.request(next).is_some();
            let ends_with_ca = own.certificate.not_after() >= ca_end;
            // A certificate of the same length would be cut off by the end of the CA.
            let is_cut = now.plus(life(own)) > ca_end && !self.wanted.keeps_next();
            if held.next_ca.is_some() && !has_next {
                return Some(Need::Certificate(next));
            }
            let may_ask = found.next_ca_check.is_none_or(|check| check <= now);
            if held.next_ca.is_none() && (ends_with_ca || is_cut) && !has_next && may_ask {
                return Some(Need::NextCa);
            }
            let renewed = if self.wanted.keeps_next() { next } else { *kind };
            if !ends_with_ca && held.request(renewed).is_none() && !(renewed == next && has_next) {
                return Some(Need::Certificate(renewed));
            }
        }
        None
    }

    /// Asks the CA for what comes after it, and keeps that.
    pub fn look_for_next_ca(&self, held: &Held) -> Result<(), NodeError> {
        let Some(ca) = held.ca.as_ref() else { return Ok(()) };
        let ask = || -> Result<_, WorkError> {
            let upper = self.upper(self.method(held, TrustedKind::NextOwn))?;
            match upper.capabilities()?.has("GetNextCACert") {
                true => Ok(upper.next_ca_certificates(ca)?),
                false => Ok(None),
            }
        };
        match ask() {
            Ok(Some(next)) if next.ca() != ca.ca() => {
                let kinds = [TrustedKind::NextCa, TrustedKind::NextRa];
                self.store.trust_all(self.label(), &kinds, kept(self.label(), &next, true))?;
                tracing::info!(trustpoint = self.label(), "the next certificate of the CA has come");
            }
            Ok(_) => tracing::debug!(trustpoint = self.label(), "the CA has no next certificate yet"),
            Err(error) => {
                let error = crate::pki::chain(&error);
                tracing::warn!(
                    trustpoint = self.label(),
                    error,
                    "the CA was asked for its next certificate in vain"
                );
            }
        }
        Ok(())
    }

    /// Which certificates an operator who asks for some means: those of now, or, when they end with the CA and it
    /// has a next one, those of the time after.
    pub fn wanted_now(&self, mut held: Held) -> Result<(Held, Vec<TrustedKind>), NodeError> {
        let kinds = self.wanted.kinds();
        let end = held.ca.as_ref().map(|ca| ca.ca().not_after());
        let ends_with_ca = |held: &Held| {
            kinds.iter().all(|kind| held.own(*kind).map(|own| own.certificate.not_after()) >= end)
        };
        if ends_with_ca(&held) && matches!(self.wanted.again, Method::Scep(_)) {
            if held.next_ca.is_none() {
                self.look_for_next_ca(&held)?;
                held = self.held()?;
            }
            if held.next_ca.is_some() {
                return Ok((held, kinds.iter().map(|kind| kind.next()).collect()));
            }
        }
        Ok((held, kinds.to_vec()))
    }

    /// How long until the CA is asked again: a twentieth of what is left of it, a day at most.
    fn next_ca_wait(&self, held: &Held) -> Duration {
        let left = held.ca.as_ref().map(|ca| ca.ca().not_after().since(self.now())).unwrap_or_default();
        (left / 20).clamp(self.wanted.retry_period, DAY)
    }

    /// Whether certificates are got without the operator.
    pub fn is_automatic(&self) -> bool {
        let wanted = &self.wanted;
        wanted.lead.is_some() && wanted.method.is_automatic() && wanted.again.is_automatic()
    }

    /// Somebody else has changed a request meanwhile: there is nothing left to do for this one.
    pub fn unless_changed(&self, done: Result<(), NodeError>) -> Result<(), NodeError> {
        match done {
            Err(NodeError::Store(StoreError::Conflict | StoreError::NotFound)) => Ok(()),
            done => done,
        }
    }

    /// What replaced certificates leave behind: their keys, where those were regenerated, and what is beside them
    /// on a token. Whatever fails is left there, and told.
    pub fn clear(&self, replaced: &[OwnCertificate]) {
        for own in replaced {
            if let Err(error) = self.clear_one(own) {
                let error = crate::pki::chain(&error);
                tracing::warn!(
                    trustpoint = self.label(),
                    error,
                    "what a certificate has left on a token is still there"
                );
            }
        }
    }

    fn clear_one(&self, own: &OwnCertificate) -> Result<(), NodeError> {
        self.unstore(&own.certificate)?;
        match &own.key {
            Some((token, label)) => self.drop_key(token, label, own.certificate.public_key()),
            None => Ok(()),
        }
    }
}

/// What a trustpoint lacks.
enum Need {
    /// A certificate of this kind.
    Certificate(TrustedKind),
    /// To know what comes after the CA.
    NextCa,
}

fn life(own: &OwnCertificate) -> Duration {
    own.certificate.not_after().since(own.certificate.not_before())
}

/// Of one round: two certificates, their next ones, the CA and what comes after it.
const MAX_NEEDS: usize = 8;
const DAY: Duration = Duration::from_secs(86_400);
