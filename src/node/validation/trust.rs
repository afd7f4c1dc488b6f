//! What a trustpoint trusts, and what it has itself.

use crate::config::Checking;
use crate::node::trustpoints::ca_of;
use crate::node::{Node, NodeError, server};
use crate::pki::Certificate;
use crate::pki::path::Legacy;
use crate::store::{Phase, Role, TrustedKind};
use crate::trustpoint::CaCertificates;

/// A trustpoint as a judge of certificates. That of a certificate server trusts the server's CA as well.
pub struct Trust {
    pub label: String,
    /// The CA that was authenticated; of a certificate server its own as well.
    pub anchors: Vec<Certificate>,
    /// That CA, those above it and its RAs, as they were shown with it. Nobody has looked at the fingerprints of
    /// those above: they may help to find a path, and no path ends with them.
    pub shown: Option<CaCertificates>,
    /// Its own, those for signatures first.
    pub own: Vec<Own>,
    pub checking: Checking,
    pub legacy: Legacy,
    /// Where its CA speaks SCEP.
    pub scep: Option<String>,
}

/// A certificate of the trustpoint itself.
pub struct Own {
    pub certificate: Certificate,
    /// Token and label of its key, where they are known.
    pub key: Option<(Option<String>, String)>,
}

impl Trust {
    pub fn of(node: &Node, label: &str) -> Result<Self, NodeError> {
        let configuration = node.configuration();
        let server = configuration.servers.get(label);
        let section = configuration.trustpoints.get(label);
        if section.is_none() && server.is_none() {
            return Err(NodeError::NotFound(format!("there is no trustpoint \"{label}\"")));
        }
        let section = section.cloned().unwrap_or_default();
        let legacy = server.map_or(section.legacy, |server| section.legacy.or(server.legacy()));
        let mut trust = Self {
            label: label.to_owned(),
            anchors: Vec::new(),
            shown: ca_of(node.store.as_ref(), label)?,
            own: Vec::new(),
            scep: section.enrollment.scep_url().map(str::to_owned),
            checking: section.checking,
            legacy: Legacy { md5: legacy.md5, sha1: legacy.sha1, rsa_1024: legacy.rsa_1024 },
        };
        for authority in node.store.authorities(label)? {
            let acts = matches!(authority.phase, Phase::Active | Phase::Retired);
            if authority.role != Role::Ca || !acts {
                continue;
            }
            let certificate = server::parse(&authority.certificate)?;
            trust.anchors.push(certificate.clone());
            if authority.is_active() {
                let key = Some((Some(authority.token), authority.key_label));
                trust.own.push(Own { certificate, key });
            }
        }
        if let Some(shown) = &trust.shown
            && !trust.anchors.contains(shown.ca())
        {
            trust.anchors.push(shown.ca().clone());
        }
        let mut encryption = Vec::new();
        for trusted in node.store.trusted(label)? {
            let certificate = server::parse(&trusted.der)?;
            let is_known = trust.own.iter().any(|own| own.certificate == certificate);
            let own = |certificate| {
                let key = trusted.key_label.map(|label| (trusted.token, label));
                Own { certificate, key }
            };
            match trusted.kind {
                TrustedKind::Own if !is_known => trust.own.push(own(certificate)),
                TrustedKind::OwnEncryption => encryption.push(own(certificate)),
                // What is next is nobody's yet.
                _ => {}
            }
        }
        trust.own.append(&mut encryption);
        Ok(trust)
    }

    /// Certificates that may help to find a path and prove nothing.
    pub fn helpers(&self) -> &[Certificate] {
        self.shown.as_ref().map(CaCertificates::chain).unwrap_or_default()
    }

    /// The CAs that may stand above this certificate of its own: a root stands for itself, while a
    /// subordinate CA, which others trust through it, does not.
    pub fn above(&self, own: &Certificate) -> Vec<Certificate> {
        let others = |anchor: &&Certificate| own.is_self_issued() || *anchor != own;
        self.anchors.iter().filter(others).cloned().collect()
    }
}
