//! A token as a file system: `usbtoken0:`.

use crate::files::{Device, Entry, Fault, Listing};
use crate::pki::KeyErrorKind;
use crate::token::{Problem, TokenError};

use super::NodeError;
use super::tokens::Slot;

/// Files are private objects: what is written may be an archive.
impl Device for Slot {
    fn list(&self) -> Result<Listing, Fault> {
        let token = self.open().map_err(fault)?;
        let entry = |file: crate::token::TokenFile| Entry {
            name: file.name,
            size: file.size as u64,
            modified: None,
            writable: true,
            directory: false,
        };
        let files = token.files().map_err(token_fault)?;
        let free = token.info().map_err(token_fault)?.free_private;
        let free = free.map(|octets| octets as u64);
        Ok(Listing { entries: files.into_iter().map(entry).collect(), total: None, free })
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Fault> {
        self.open().map_err(fault)?.read_file(name).map_err(token_fault)
    }

    fn write(&self, name: &str, octets: &[u8]) -> Result<(), Fault> {
        self.open().map_err(fault)?.write_file(name, octets, true).map_err(token_fault)
    }

    fn delete(&self, name: &str) -> Result<(), Fault> {
        self.open().map_err(fault)?.delete_file(name).map_err(token_fault)
    }
}

fn fault(error: NodeError) -> Fault {
    match error {
        NodeError::Token(error) => token_fault(error),
        other => Fault::Device { said: other.to_string(), temporary: false },
    }
}

fn token_fault(error: TokenError) -> Fault {
    match error.problem() {
        Problem::NoFile { .. } => Fault::NotFound,
        Problem::BadName { .. } => Fault::Name("it is too long, or has control characters"),
        Problem::NoRoom { size, free: Some(free), .. } => {
            Fault::NoSpace(format!("{size} bytes, and {free} are free"))
        }
        Problem::NoRoom { size, free: None, .. } => Fault::NoSpace(format!("{size} bytes")),
        // The token's name is that of the file system.
        problem => {
            Fault::Device { said: problem.to_string(), temporary: error.kind() != KeyErrorKind::Refused }
        }
    }
}
