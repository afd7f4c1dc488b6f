//! What IOS asks and says after a line: found out from what the line has changed.

use std::fmt;

use super::{Configuration, Entry, Grant, RequestAddress, TrustpointSection};

/// A question that IOS asks after a line. Answered with no, the line is taken back
/// ([`Editor::undo`](super::Editor::undo)). Its `Display` is the question; whoever asks may know of
/// reasons not to, or of more to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// `grant auto`.
    GrantAuto {
        /// Of this server.
        label: String,
    },
    /// `grant ra-auto`.
    GrantRaAuto {
        /// Of this server.
        label: String,
    },
    /// `no shutdown`. Only asked when the CA certificate does not exist yet.
    Enable {
        /// Of this server.
        label: String,
    },
    /// `no crypto pki server`.
    DeleteServer {
        /// Of this server.
        label: String,
    },
    /// `no crypto pki trustpoint`.
    DeleteTrustpoint {
        /// Of this trustpoint.
        label: String,
    },
    /// `no certificate`.
    DeleteCertificate {
        /// Of this trustpoint.
        label: String,
        /// Which one.
        entry: Entry,
    },
}

/// What is to be asked after a line that made `new` of `old`.
pub(super) fn query(old: &Configuration, new: &Configuration) -> Option<Query> {
    if let Some(label) = old.servers.keys().find(|label| !new.servers.contains_key(*label)) {
        return Some(Query::DeleteServer { label: label.clone() });
    }
    if let Some(label) = old.trustpoints.keys().find(|label| !new.trustpoints.contains_key(*label)) {
        return Some(Query::DeleteTrustpoint { label: label.clone() });
    }
    if let Some((label, entry)) = forgotten(old, new) {
        return Some(Query::DeleteCertificate { label: label.clone(), entry: entry.clone() });
    }
    new.servers.iter().find_map(|(label, server)| {
        let before = old.servers.get(label)?;
        let label = label.clone();
        if server.grant == Grant::Auto && before.grant != Grant::Auto {
            return Some(Query::GrantAuto { label });
        }
        if server.grant == Grant::RaAuto && before.grant != Grant::RaAuto {
            return Some(Query::GrantRaAuto { label });
        }
        (before.shutdown && !server.shutdown).then_some(Query::Enable { label })
    })
}

/// What is to be said after a line that made `new` of `old`.
pub(super) fn notes(old: &Configuration, new: &Configuration) -> Vec<String> {
    let moved = new.servers.iter().any(|(label, server)| {
        old.servers.get(label).is_some_and(|before| before.database.url != server.database.url)
    });
    let changed =
        new.trustpoints.iter().filter(|(label, section)| old.trustpoints.get(*label) != Some(section));
    let host_time = new.clock != old.clock || new.ntp != old.ntp;
    let mut notes = Vec::new();
    if forgotten(old, new).is_some() {
        notes.push(REVOKE.to_owned());
    }
    if moved {
        notes.push(MOVED.to_owned());
    }
    if host_time {
        notes.push(HOST_TIME.to_owned());
    }
    if new.certificate_query && !old.certificate_query {
        notes.push(QUERY.to_owned());
    }
    for (label, section) in changed {
        let before = old.trustpoints.get(label);
        notes.extend(
            meaningless(section)
                .filter(|note| !before.is_some_and(|old| meaningless(old).any(|n| n == *note))),
        );
    }
    notes
}

/// What a trustpoint says that means nothing here.
fn meaningless(section: &TrustpointSection) -> impl Iterator<Item = String> {
    let interface = match &section.request.ip_address {
        Some(RequestAddress::Interface(name)) => Some(format!(
            "% {name} is an interface of a router: requests have no address; type the address itself."
        )),
        _ => None,
    };
    let by_hand = section.enrollment.is_by_hand() && section.auto_enroll.is_some();
    [
        interface,
        section.source_interface.as_ref().map(|_| SOURCE.to_owned()),
        section.vrf.as_ref().map(|_| VRF.to_owned()),
        by_hand.then(|| BY_HAND.to_owned()),
    ]
    .into_iter()
    .flatten()
}

/// The certificate that is to be forgotten now and was not before.
fn forgotten<'n>(old: &Configuration, new: &'n Configuration) -> Option<(&'n String, &'n Entry)> {
    new.chains.iter().find_map(|(label, chain)| {
        let before = old.chains.get(label).map(|chain| &chain.removed);
        let entry =
            chain.removed.iter().find(|entry| before.is_none_or(|removed| !removed.contains(entry)))?;
        Some((label, entry))
    })
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GrantAuto { .. } => {
                "% This will cause all certificate requests to be automatically granted.\n"
            }
            Self::GrantRaAuto { .. } => {
                "% This will cause all certificate requests already authorized by known RAs to be automatically \
                 granted.\n"
            }
            Self::Enable { .. } => {
                "% Once you start the server, you can no longer change some of\n% the configuration.\n"
            }
            Self::DeleteServer { .. } => {
                "% This will stop the Certificate Server process and delete the server configuration\n"
            }
            Self::DeleteTrustpoint { .. } => {
                "% Removing an enrolled trustpoint will destroy all certificates\n\
                 received from the related Certificate Authority.\n"
            }
            Self::DeleteCertificate { .. } => {
                return f.write_str("% Are you sure you want to remove the certificate [yes/no]? ");
            }
        })?;
        f.write_str("Are you sure you want to do this? [yes/no]: ")
    }
}

const REVOKE: &str = "% Be sure to ask the CA administrator to revoke this certificate.";
const MOVED: &str = "% Server database url was changed. You need to move the\n\
                     % existing database to the new location.";
const QUERY: &str = "% The database keeps certificates and CRLs in any case: this line changes nothing.";
const SOURCE: &str =
    "% The routes of the host choose the address that requests come from: this line changes nothing.";
const VRF: &str = "% The host has one table of routes: this line changes nothing.";
const BY_HAND: &str = "% Certificates that are enrolled by hand are not renewed by auto-enroll.";
const HOST_TIME: &str =
    "% Lines of clock and NTP change nothing: the host keeps the time, and times are shown in UTC.";
