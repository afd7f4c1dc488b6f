//! What IOS asks and says after a line: found out from what the line has changed.

use std::fmt;

use super::{Configuration, Grant};

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
}

/// What is to be asked after a line that made `new` of `old`.
pub(super) fn query(old: &Configuration, new: &Configuration) -> Option<Query> {
    if let Some(label) = old.servers.keys().find(|label| !new.servers.contains_key(*label)) {
        return Some(Query::DeleteServer { label: label.clone() });
    }
    if let Some(label) = old.trustpoints.keys().find(|label| !new.trustpoints.contains_key(*label)) {
        return Some(Query::DeleteTrustpoint { label: label.clone() });
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
    if moved {
        notes.push(MOVED.to_owned());
    }
    if host_time {
        notes.push(HOST_TIME.to_owned());
    }
    notes
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
        })?;
        f.write_str("Are you sure you want to do this? [yes/no]: ")
    }
}

const MOVED: &str = "% Server database url was changed. You need to move the\n\
                     % existing database to the new location.";
const HOST_TIME: &str =
    "% This is kept, and changes nothing: the host keeps the time, and times are shown in UTC.";
