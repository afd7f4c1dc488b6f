//! The way to a server.

use std::sync::Arc;

use crate::files::{Exchanged, FileError, FileUrl, Files, Posted};

/// HTTP as a SCEP client needs it.
pub trait Transport: Send + Sync {
    /// GET, or POST of what is `posted`. An answer comes back whatever its status; an error says that there was
    /// none within the time, or more than SCEP has.
    fn exchange(&self, url: &FileUrl, posted: Option<Posted<'_>>) -> Result<Exchanged, FileError>;
}

impl Transport for Files {
    fn exchange(&self, url: &FileUrl, posted: Option<Posted<'_>>) -> Result<Exchanged, FileError> {
        Files::exchange(self, url, posted, MAX_ANSWER, None)
    }
}

/// The same through a proxy that connects to the server.
pub struct Proxied {
    /// The way to the proxy.
    pub files: Arc<Files>,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Transport for Proxied {
    fn exchange(&self, url: &FileUrl, posted: Option<Posted<'_>>) -> Result<Exchanged, FileError> {
        self.files.exchange(url, posted, MAX_ANSWER, Some((&self.host, self.port)))
    }
}

/// Octets of an answer: CRLs come this way too, and are the longest.
const MAX_ANSWER: u64 = 32 << 20;
