//! Who did what.

use serde::Serialize;

use crate::pki::Time;

/// A command that was given, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JournalEntry {
    /// Counts from 1; given when the entry is added, whatever stands here before.
    pub number: u64,
    /// When.
    #[serde(serialize_with = "unix")]
    pub at: Time,
    /// The operating system's number of the user, when it is known.
    pub uid: Option<u32>,
    /// The user's name.
    pub user: String,
    /// The command, without secrets.
    pub command: String,
    /// What came of it, in a few words.
    pub outcome: String,
}

fn unix<S: serde::Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.unix())
}
