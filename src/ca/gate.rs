//! Whether a CA may issue.

use std::sync::{Arc, PoisonError, RwLock};

use super::CaError;

/// Open, or closed for a reason. It outlives the [`super::Ca`] that asks it: a server that is configured anew
/// gives it to the next one.
#[derive(Debug, Default)]
pub struct Gate(RwLock<Option<Arc<str>>>);

impl Gate {
    /// Closes it, for another reason if it is closed already.
    pub fn suspend(&self, reason: impl Into<Arc<str>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(reason.into());
    }

    /// Opens it.
    pub fn resume(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Why it is closed; `None` when it is open.
    pub fn reason(&self) -> Option<Arc<str>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `Suspended` when it is closed.
    pub(super) fn pass(&self) -> Result<(), CaError> {
        self.reason().map_or(Ok(()), |reason| Err(CaError::Suspended(reason)))
    }
}
