//! The way to a server.

use crate::files::{Exchanged, FileError, FileUrl, Files, Posted};

/// HTTP as a SCEP client needs it.
pub trait Transport: Send + Sync {
    /// GET, or POST of what is `posted`. An answer comes back whatever its status; an error says that there was
    /// none within the time, or more than SCEP has.
    fn exchange(&self, url: &FileUrl, posted: Option<Posted<'_>>) -> Result<Exchanged, FileError>;
}

impl Transport for Files {
    fn exchange(&self, url: &FileUrl, posted: Option<Posted<'_>>) -> Result<Exchanged, FileError> {
        Files::exchange(self, url, posted, MAX_ANSWER)
    }
}

/// Octets of an answer: CRLs come this way too, and are the longest.
const MAX_ANSWER: u64 = 32 << 20;
