//! Certificates of other CAs, as certificate servers ask about them (`grant auto trustpoint`).

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, Weak};

use crate::pki::{Certificate, Time, chain};

use super::Node;

/// The trustpoints of a node, asked by its servers. A server outlives no node, but is made by one that is not
/// complete yet.
#[derive(Clone, Default)]
pub struct Peers(Arc<OnceLock<Weak<Node>>>);

impl Peers {
    /// Whom to ask, from now on.
    pub fn are_of(&self, node: &Arc<Node>) {
        let _ = self.0.set(Arc::downgrade(node));
    }

    /// Which of these trustpoints accepts a certificate, `certificates` beginning with it; else why none does.
    pub fn vouch(
        &self,
        trustpoints: &BTreeSet<String>,
        certificates: &[Certificate],
        now: Time,
    ) -> Result<String, String> {
        let Some(node) = self.0.get().and_then(Weak::upgrade) else { return Err("not yet".into()) };
        let mut why = Vec::new();
        for trustpoint in trustpoints {
            match node.check_peer(trustpoint, certificates, now) {
                Ok(_) => return Ok(trustpoint.clone()),
                Err(invalid) => why.push(format!("trustpoint {trustpoint}: {}", chain(&invalid))),
            }
        }
        Err(why.join("; "))
    }
}
