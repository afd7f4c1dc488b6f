//! Files that the program keeps for itself, by their path.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Creates or replaces a file that its owner alone may read, whole or not at all; it is on the disk when
/// this returns.
pub fn replace(path: &Path, octets: &[u8]) -> io::Result<()> {
    // One writer at a time: the name of the new file is always the same, so that a crash leaves one.
    static WRITING: Mutex<()> = Mutex::new(());
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    // What a crash has left; created anew for its mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}
