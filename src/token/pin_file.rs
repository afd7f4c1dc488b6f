//! The file with the PIN while the PIN is being changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::durable;

/// A file with the new PIN beside the one with the old. Gone when it is dropped, unless it may be the right one.
pub(super) struct PinFile {
    place: PathBuf,
    new: PathBuf,
    /// It is not to go any more.
    committed: bool,
}

impl PinFile {
    /// Writes the new file, with the further lines of the old one, mode 0600, and to the disk. `None` where
    /// that cannot be: the file is somebody else's to change.
    pub fn prepare(path: &Path, pin: &SecretString) -> Option<Self> {
        let written = fs::canonicalize(path).and_then(|place| {
            let file = Self { new: beside(&place), place, committed: false };
            file.write(pin)?;
            Ok(file)
        });
        written
            .inspect_err(
                |error| tracing::warn!(path = %path.display(), %error, "the PIN cannot be kept here"),
            )
            .ok()
    }

    /// The new file takes the old one's place. Whether it did.
    pub fn commit(mut self) -> bool {
        // What it has is the PIN now, wherever it is.
        self.committed = true;
        let moved = durable::rename(&self.new, &self.place);
        if let Err(error) = &moved {
            tracing::error!(path = %self.place.display(), %error, "the new PIN is in the file beside it");
        }
        moved.is_ok()
    }

    /// The new file stays beside the old one: whether the token has its PIN is not known.
    pub fn leave(mut self) {
        self.committed = true;
    }

    fn write(&self, pin: &SecretString) -> io::Result<()> {
        let old = Zeroizing::new(fs::read_to_string(&self.place)?);
        let rest = old.split_once('\n').map_or("", |(_, rest)| rest);
        let text = Zeroizing::new(format!("{}\n{rest}", pin.expose_secret()));
        // One that was left has an older PIN, or nobody's.
        durable::create(&self.new, &text)
    }
}

impl Drop for PinFile {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.new);
        }
    }
}

/// Where the new file is meanwhile: `pin.txt.new`.
pub(super) fn beside(path: &Path) -> PathBuf {
    durable::beside(&fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
}

/// Finishes a change that was cut short, now that the token has taken this PIN: a new file that has it takes
/// the old one's place, and another goes.
pub(super) fn settle(path: &Path, pin: &SecretString) {
    let new = beside(path);
    let Ok(text) = fs::read_to_string(&new).map(Zeroizing::new) else { return };
    let done = match text.lines().next() == Some(pin.expose_secret()) {
        true => fs::canonicalize(path).and_then(|place| durable::rename(&new, &place)),
        false => fs::remove_file(&new),
    };
    if let Err(error) = done {
        tracing::warn!(path = %new.display(), %error, "a file that a change of the PIN has left is still there");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin.txt");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn the_new_file_takes_the_place_of_the_old_one() {
        let (_folder, path) = file("1111\nof the CA\n");
        let new = PinFile::prepare(&path, &"2222".into()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1111\nof the CA\n", "until the token has it");
        assert_eq!(fs::metadata(beside(&path)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(new.commit());
        assert_eq!(fs::read_to_string(&path).unwrap(), "2222\nof the CA\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!beside(&path).exists());
    }

    #[test]
    fn a_refusal_leaves_the_old_file() {
        let (_folder, path) = file("1111\n");
        drop(PinFile::prepare(&path, &"2222".into()).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "1111\n");
        assert!(!beside(&path).exists());
        assert!(PinFile::prepare(Path::new("/nowhere/pin.txt"), &"2222".into()).is_none());
    }

    #[test]
    fn a_lost_answer_leaves_both() {
        let (_folder, path) = file("1111\n");
        PinFile::prepare(&path, &"2222".into()).unwrap().leave();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1111\n");
        assert_eq!(fs::read_to_string(beside(&path)).unwrap(), "2222\n");
    }

    #[test]
    fn what_a_crash_leaves_is_settled_by_the_next_login() {
        let (_folder, path) = file("1111\n");
        fs::write(beside(&path), "2222\n").unwrap();
        settle(&path, &"2222".into());
        assert_eq!(fs::read_to_string(&path).unwrap(), "2222\n");
        fs::write(beside(&path), "3333\n").unwrap();
        settle(&path, &"2222".into());
        assert_eq!(fs::read_to_string(&path).unwrap(), "2222\n");
        assert!(!beside(&path).exists());
    }
}
