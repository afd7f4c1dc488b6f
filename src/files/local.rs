//! Files of this host: the state directory, configured directories, absolute paths.
//!
//! Below a configured directory every part of the path is opened by itself and no symbolic link is followed:
//! nothing leads outside. The rules for `nvram:` hold for the state directory on whatever way it is reached.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{self as sys, AtFlags, FileType, OFlags};

use super::{Entry, Fault, Listing, MAX_OCTETS, Places};
use crate::pki::Time;

/// A path of this host.
pub struct Local<'p> {
    places: &'p Places,
    /// The directory that the path must stay below; none for an absolute path.
    root: Option<&'p Path>,
    path: String,
}

/// Who may read a new file.
#[derive(Clone, Copy)]
pub struct Mode(u32);

/// Its owner.
pub const PRIVATE: Mode = Mode(0o600);
/// Everybody whom the umask does not keep out.
pub const PUBLIC: Mode = Mode(0o644);

impl<'p> Local<'p> {
    /// A path below a directory.
    pub fn below(places: &'p Places, root: &'p Path, path: &str) -> Self {
        Self { places, root: Some(root), path: path.to_owned() }
    }

    /// An absolute path.
    pub fn of_host(places: &'p Places, path: &str) -> Self {
        Self { places, root: None, path: path.to_owned() }
    }

    pub fn read(&self) -> Result<Vec<u8>, Fault> {
        let (directory, name) = self.file()?;
        // NONBLOCK: the opening of a FIFO would wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(sys::openat(&directory, name, flags, sys::Mode::empty()).map_err(errno)?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Fault::NotAFile);
        }
        let mut octets = Vec::new();
        file.take(MAX_OCTETS + 1).read_to_end(&mut octets)?;
        if octets.len() as u64 > MAX_OCTETS {
            return Err(Fault::TooLarge(MAX_OCTETS));
        }
        Ok(octets)
    }

    /// Writes beside the file, flushes, renames over it, and flushes the directory.
    pub fn write(&self, octets: &[u8], mode: Mode) -> Result<(), Fault> {
        let (directory, name) = self.file()?;
        match regular(&directory, name) {
            Ok(()) | Err(Fault::NotFound) => {}
            Err(fault) => return Err(fault),
        }
        // One writer at a time: the name of the new file is always the same, so that a crash leaves one.
        static WRITING: Mutex<()> = Mutex::new(());
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let new = format!(".{name}.new");
        match sys::unlinkat(&directory, &new, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(errno(error)),
        }
        let replace = || -> io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = sys::openat(&directory, &new, flags, sys::Mode::from_raw_mode(mode.0))?;
            let mut file = File::from(file);
            file.write_all(octets)?;
            file.sync_all()?;
            sys::renameat(&directory, &new, &directory, name)?;
            Ok(sys::fsync(&directory)?)
        };
        replace().map_err(|error| {
            let _ = sys::unlinkat(&directory, &new, AtFlags::empty());
            error.into()
        })
    }

    pub fn delete(&self) -> Result<(), Fault> {
        let (directory, name) = self.file()?;
        regular(&directory, name)?;
        sys::unlinkat(&directory, name, AtFlags::empty()).map_err(errno)?;
        sys::fsync(&directory).map_err(errno)
    }

    pub fn list(&self) -> Result<Listing, Fault> {
        let directory = self.open(&self.path)?;
        let state = self.is_state(&directory);
        let space = sys::fstatvfs(&directory).map_err(errno)?;
        let mut entries = Vec::new();
        for found in sys::Dir::read_from(&directory).map_err(errno)? {
            let found = found.map_err(errno)?;
            let Ok(name) = found.file_name().to_str() else { continue };
            if name.starts_with('.') || state && self.is_reserved(name) {
                continue;
            }
            // It may have gone since.
            let Ok(status) = sys::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let kind = FileType::from_raw_mode(status.st_mode);
            if kind != FileType::RegularFile && (state || kind != FileType::Directory) {
                continue;
            }
            entries.push(Entry {
                name: name.to_owned(),
                size: u64::try_from(status.st_size).unwrap_or_default(),
                modified: u64::try_from(status.st_mtime).ok().map(Time::from_unix),
                writable: status.st_mode & 0o200 != 0,
                directory: kind == FileType::Directory,
            });
        }
        let octets = |blocks: u64| Some(blocks.saturating_mul(space.f_frsize));
        Ok(Listing { entries, total: octets(space.f_blocks), free: octets(space.f_bavail) })
    }

    /// The directory that holds the file, and the file's name in it.
    fn file(&self) -> Result<(OwnedFd, &str), Fault> {
        let (parent, name) = match self.path.rsplit_once('/') {
            Some(("", name)) if self.root.is_none() => ("/", name),
            Some((parent, name)) => (parent, name),
            None => ("", self.path.as_str()),
        };
        self.check_part(name)?;
        let directory = self.open(parent)?;
        if self.is_state(&directory) && (name.starts_with('.') || self.is_reserved(name)) {
            return Err(Fault::Reserved);
        }
        if self.is_secret(&directory, name) {
            return Err(Fault::Reserved);
        }
        // Among them is the environment of this process, which may hold PINs and passwords.
        if sys::fstatfs(&directory).is_ok_and(|system| system.f_type == sys::PROC_SUPER_MAGIC) {
            return Err(Fault::NotAFile);
        }
        Ok((directory, name))
    }

    fn open(&self, path: &str) -> Result<OwnedFd, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let none = sys::Mode::empty();
        let missing = |error| match errno(error) {
            Fault::NotFound => Fault::NoDirectory,
            Fault::Io(error) if error.kind() == io::ErrorKind::NotADirectory => Fault::NoDirectory,
            fault => fault,
        };
        let Some(root) = self.root else { return sys::open(path, flags, none).map_err(missing) };
        let mut directory = sys::open(root, flags, none).map_err(missing)?;
        for part in path.trim_end_matches('/').split('/').filter(|part| !part.is_empty()) {
            if root == self.places.nvram {
                return Err(Fault::Name("there are no directories in nvram:"));
            }
            self.check_part(part)?;
            directory = sys::openat(&directory, part, flags | OFlags::NOFOLLOW, none).map_err(missing)?;
        }
        Ok(directory)
    }

    fn check_part(&self, part: &str) -> Result<(), Fault> {
        match part {
            "" => Err(Fault::Name("it is empty")),
            "." | ".." => Err(Fault::Name("it is a directory")),
            part if part.starts_with('.') && self.root.is_some() => Err(Fault::Name("it begins with a dot")),
            _ => Ok(()),
        }
    }

    /// Whether this is the state directory, whatever it is called.
    fn is_state(&self, directory: &OwnedFd) -> bool {
        let here = sys::fstat(directory).map(|status| (status.st_dev, status.st_ino));
        let state = sys::stat(&self.places.nvram).map(|status| (status.st_dev, status.st_ino));
        here.is_ok() && here == state
    }

    /// Whether it is a secret, under whatever name, or would take the place of one.
    fn is_secret(&self, directory: &OwnedFd, name: &str) -> bool {
        let place = |status: sys::Stat| (status.st_dev, status.st_ino);
        let here = sys::fstat(directory).ok().map(place);
        let file = sys::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok().map(place);
        self.places.secrets.iter().any(|secret| {
            let is_named = secret.file_name().is_some_and(|own| own == name);
            let parent = secret.parent().and_then(|parent| sys::stat(parent).ok()).map(place);
            is_named && here.is_some() && here == parent
                || file.is_some() && file == sys::stat(secret).ok().map(place)
        })
    }

    fn is_reserved(&self, name: &str) -> bool {
        self.places.reserved.iter().any(|pattern| match pattern.strip_prefix('*') {
            Some(end) => name.ends_with(end),
            None => pattern.strip_suffix('*').map_or(name == pattern, |start| name.starts_with(start)),
        })
    }
}

/// Fails unless this is a file: links, directories and devices are none.
fn regular(directory: &OwnedFd, name: &str) -> Result<(), Fault> {
    let status = sys::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => Ok(()),
        _ => Err(Fault::NotAFile),
    }
}

fn errno(error: rustix::io::Errno) -> Fault {
    match error {
        // What O_NOFOLLOW says of a symbolic link, and O_NONBLOCK of a socket.
        rustix::io::Errno::LOOP | rustix::io::Errno::NXIO => Fault::NotAFile,
        error => io::Error::from(error).into(),
    }
}
