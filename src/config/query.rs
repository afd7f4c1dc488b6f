//! What IOS asks and says after a line: found out from what the line has changed.

use std::fmt;

use super::{Configuration, Entry, Grant};

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
        (before.shutdown && !server.shutdown).then_some(Query::Enable { label })
    })
}

/// What is to be said after a line that made `new` of `old`.
pub(super) fn notes(old: &Configuration, new: &Configuration) -> Vec<String> {
    let moved = new.servers.iter().any(|(label, server)| {
        old.servers.get(label).is_some_and(|before| before.database.url != server.database.url)
    });
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
    notes
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
const HOST_TIME: &str =
    "% Lines of clock and NTP change nothing: the host keeps the time, and times are shown in UTC.";
