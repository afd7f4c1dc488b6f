//! What is told of a rollover.

use serde::Serialize;

use crate::node::NodeError;
use crate::node::report::text_option;
use crate::node::server::{CertServer, Status, parse};
use crate::node::start::{Acting, Started};
use crate::pki::{Certificate, Hash, Time, hex};
use crate::ra::Elsewhere;
use crate::store::{LeftBehind, Phase, Role};

/// How far the rollover of a certificate server has come.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RolloverReport {
    /// Where it stands.
    pub status: RolloverStatus,
    /// Days before the end of the CA certificate at which the next one is made; absent when it is not made by
    /// itself.
    pub overlap_days: Option<u64>,
    /// When it is made by itself; absent when it is there, or never is.
    #[serde(serialize_with = "text_option")]
    pub timer: Option<Time>,
    /// MD5 of the next CA certificate, hex.
    pub fingerprint_md5: Option<String>,
    /// SHA-256 of the next CA certificate, hex.
    pub fingerprint_sha256: Option<String>,
    /// notBefore of the next CA certificate.
    #[serde(serialize_with = "text_option")]
    pub begins: Option<Time>,
    /// notAfter of the next CA certificate.
    #[serde(serialize_with = "text_option")]
    pub expires: Option<Time>,
    /// Where the next CA key is: label and token.
    pub key: Option<String>,
    /// From how many addresses the next CA certificate was fetched since the process began: GetNextCACert is
    /// anonymous.
    pub fetched: usize,
    /// Who has a certificate of the next CA, and who does not yet; absent where there is none, and of an RA:
    /// its CA knows.
    pub clients: Option<LeftBehind>,
}

/// Where a rollover stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloverStatus {
    /// There is no next CA certificate.
    #[default]
    None,
    /// The operator has cancelled it: none is made by itself before the CA certificate ends.
    Cancelled,
    /// The next CA certificate is there and offered to devices.
    Available,
    /// It is there and cannot be offered, for this reason.
    Withheld(String),
}

impl CertServer {
    /// `info rollover`; names at most `limit` of those that are not ready.
    pub fn rollover(&self, limit: usize) -> Result<RolloverReport, NodeError> {
        let status = self.status();
        if let Some(started) = &status.running
            && let Acting::Registrar { elsewhere, .. } = &started.acting
        {
            return Ok(self.registrar_rollover(elsewhere, started, &status));
        }
        let authority = self.authority()?;
        let active = authority.as_ref().map(|authority| parse(&authority.certificate)).transpose()?;
        let authority_next = self.next_authority()?;
        let next = authority_next.as_ref().map(|next| parse(&next.certificate)).transpose()?;
        let fingerprint = |hash: Hash| next.as_ref().map(|next| hex(&hash.digest(&[next.der()])));
        let clients = match (&authority, &authority_next) {
            (Some(active), Some(next)) => {
                Some(self.store.left_behind(&self.label, active.id, next.id, self.clock.now(), limit)?)
            }
            _ => None,
        };
        let timer = active.as_ref().and_then(|active| self.rollover_timer(active, &status));
        Ok(RolloverReport {
            timer: timer.filter(|_| next.is_none()),
            overlap_days: status.section.auto_rollover.map(|overlap| overlap.seconds() / 86_400),
            fingerprint_md5: fingerprint(Hash::Md5),
            fingerprint_sha256: fingerprint(Hash::Sha256),
            begins: next.as_ref().map(Certificate::not_before),
            expires: next.as_ref().map(Certificate::not_after),
            key: authority_next.map(|next| format!("{} on {}:", next.key_label, next.token)),
            fetched: self.fetches.count(),
            clients,
            status: self.rollover_status(active.as_ref(), next.is_some(), &status)?,
        })
    }

    /// The same of an RA: the next certificate is that of the CA above, and who has one of it is known there.
    fn registrar_rollover(
        &self,
        elsewhere: &Elsewhere,
        started: &Started,
        status: &Status,
    ) -> RolloverReport {
        let next = elsewhere.coming().map(|coming| coming.certificates.ca());
        let fingerprint = |hash: Hash| next.map(|next| hex(&hash.digest(&[next.der()])));
        let trouble = started.next_trouble.clone().or_else(|| elsewhere.next_trouble());
        RolloverReport {
            status: match (trouble, next) {
                (Some(trouble), _) => RolloverStatus::Withheld(trouble),
                (None, Some(_)) => RolloverStatus::Available,
                (None, None) => RolloverStatus::None,
            },
            overlap_days: status.section.auto_rollover.map(|overlap| overlap.seconds() / 86_400),
            fingerprint_md5: fingerprint(Hash::Md5),
            fingerprint_sha256: fingerprint(Hash::Sha256),
            begins: next.map(Certificate::not_before),
            expires: next.map(Certificate::not_after),
            fetched: self.fetches.count(),
            clients: None,
            ..RolloverReport::default()
        }
    }

    /// The next CA certificate, DER, and those of its SCEP keys when they are separate.
    pub fn next_certificates(&self) -> Result<Vec<Vec<u8>>, NodeError> {
        let mut next = self.store.authorities(&self.label)?;
        next.retain(|authority| authority.phase == Phase::Next);
        next.sort_by_key(|authority| authority.role != Role::Ca);
        Ok(next.into_iter().map(|authority| authority.certificate).collect())
    }

    fn rollover_status(
        &self,
        active: Option<&Certificate>,
        next: bool,
        status: &Status,
    ) -> Result<RolloverStatus, NodeError> {
        let trouble = match &status.running {
            Some(started) => started.next_trouble.clone(),
            None => Some("the server does not run".to_owned()),
        };
        Ok(match (next, trouble, active) {
            (true, Some(trouble), _) => RolloverStatus::Withheld(trouble),
            (true, None, _) => RolloverStatus::Available,
            (false, _, Some(active)) if self.is_cancelled(active)? => RolloverStatus::Cancelled,
            (false, ..) => RolloverStatus::None,
        })
    }
}
