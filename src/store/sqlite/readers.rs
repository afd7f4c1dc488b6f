//! Connections for reading. Each statement sees the last commit before it, and blocks nobody.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use super::open;
use super::rows::Fail;

/// Idle connections. Who finds none opens another, so that nobody ever waits for one: not even a
/// callback of `revoked` that reads too.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default() }
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fail>) -> Result<T, Fail> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let db = idle.map_or_else(|| open::reader(&self.path), Ok)?;
        let result = work(&db);
        // One that met an error of the database is closed: a new one may find the file usable again.
        if !matches!(result, Err(Fail::Sql(_))) {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < KEPT {
                idle.push(db);
            }
        }
        result
    }
}

/// Idle connections kept; each has a page cache of up to 2 MB.
const KEPT: usize = 8;
