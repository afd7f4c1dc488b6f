//! The file systems of IOS: `nvram:` (the state directory), `flash:` and the like (configured directories),
//! `usbtoken0:` (files on a token), `file:`, and servers by TFTP, FTP, HTTP(S) and S3. Beside files, entries
//! of LDAP directories are read, since CRLs are kept there.
//!
//! [`FileUrl`] names a file, [`Files`] reads, writes, lists and deletes it. Calls block, with a time-out for
//! everything that waits. A file is written whole or not at all wherever the protocol can do that, and is on
//! the disk when the call returns where the disk is ours.

mod error;
mod ftp;
mod ldap;
mod local;
mod own;
mod remote;
mod s3;
mod tftp;
mod url;
mod web;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::pki::Time;

pub use error::{Fault, FileError};
pub use own::replace;
pub use url::{FileUrl, Login, NVRAM, UrlError};

use remote::Remote;
use url::Place;
use web::Web;

/// The most octets that a file may have: 64 MiB.
pub const MAX_OCTETS: u64 = 64 << 20;

/// Everything that a [`FileUrl`] can name.
#[derive(Clone)]
pub struct Files {
    places: Arc<Places>,
    timeouts: Timeouts,
    web: Arc<OnceLock<Web>>,
}

/// What the file systems are.
#[derive(Default)]
pub struct Places {
    /// The state directory, `nvram:`.
    pub nvram: PathBuf,
    /// Names in it that are no files for operators: neither listed nor read nor written. A `*` at the beginning
    /// or the end stands for anything.
    pub reserved: Vec<String>,
    /// Files with PINs, by their absolute path: no files for operators either, on whatever way they are reached.
    pub secrets: Vec<PathBuf>,
    /// Directories by the name of their file system, without colon.
    pub directories: BTreeMap<String, PathBuf>,
    /// Addresses of hosts (`ip host`), asked before DNS.
    pub hosts: BTreeMap<String, IpAddr>,
    /// Who asks FTP servers when nobody else is said to.
    pub ftp: Option<Login>,
    /// Tokens by the name of their file system, without colon.
    pub devices: BTreeMap<String, Arc<dyn Device>>,
    /// DER certificates of CAs whose HTTPS servers are trusted, beside those that the host trusts.
    pub authorities: Vec<Vec<u8>>,
}

/// How long servers are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, a name's address included.
    pub connect: Duration,
    /// For the next octet.
    pub silence: Duration,
    /// For everything together.
    pub total: Duration,
}

/// Files on a token. Names are plain; a file is written whole or not at all.
pub trait Device: Send + Sync {
    /// Names and sizes.
    fn list(&self) -> Result<Listing, Fault>;
    /// The contents.
    fn read(&self, name: &str) -> Result<Vec<u8>, Fault>;
    /// Creates or replaces.
    fn write(&self, name: &str, octets: &[u8]) -> Result<(), Fault>;
    /// Deletes; fails with [`Fault::NotFound`] when there is none.
    fn delete(&self, name: &str) -> Result<(), Fault>;
}

/// What is sent to a server by POST.
#[derive(Clone, Copy, Debug)]
pub struct Posted<'a> {
    /// Content-Type.
    pub content_type: &'a str,
    /// The body.
    pub octets: &'a [u8],
}

/// What an HTTP server answered, with success or without.
#[derive(Clone, Debug)]
pub struct Exchanged {
    /// The status.
    pub status: u16,
    /// The status and its usual words.
    pub said: String,
    /// Content-Type without parameters, in lower case.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a directory holds, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Its files and directories.
    pub entries: Vec<Entry>,
    /// Octets that it could hold at most, where known.
    pub total: Option<u64>,
    /// Octets that it could still hold, where known.
    pub free: Option<u64>,
}

/// A file, or a directory, of a [`Listing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the directory.
    pub name: String,
    /// In octets.
    pub size: u64,
    /// When it was written, where known.
    pub modified: Option<Time>,
    /// Whether it may be written.
    pub writable: bool,
    /// Whether it is a directory.
    pub directory: bool,
}

impl Files {
    /// The file systems of these places.
    pub fn new(places: Places) -> Self {
        Self { places: Arc::new(places), timeouts: Timeouts::default(), web: Arc::default() }
    }

    /// The same, waiting as long as this for servers.
    pub fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, web: Arc::default(), ..self }
    }

    /// Names of the file systems of this host, with colon: `nvram:`, then those configured.
    pub fn systems(&self) -> Vec<String> {
        let configured = self.places.directories.keys().chain(self.places.devices.keys());
        std::iter::once(NVRAM).chain(configured.map(String::as_str)).map(|name| format!("{name}:")).collect()
    }

    /// The contents of a file, [`MAX_OCTETS`] at most. User and password in the URL win over `login`.
    pub fn read(&self, url: &FileUrl, login: Option<&Login>) -> Result<Vec<u8>, FileError> {
        self.at(url, login, |place| match place {
            Where::Local(place) => place.read(),
            Where::Device(device, name) => device.read(plain(&name)?),
            Where::Remote(remote) => remote.read(),
        })
    }

    /// Creates or replaces a file, whole or not at all where the protocol can do that. A file of this host is
    /// on the disk when this returns, readable by its owner alone.
    pub fn write(&self, url: &FileUrl, octets: &[u8], login: Option<&Login>) -> Result<(), FileError> {
        self.write_as(url, octets, login, local::PRIVATE)
    }

    /// The same for what everybody may read: CRLs and certificates.
    pub fn publish(&self, url: &FileUrl, octets: &[u8], login: Option<&Login>) -> Result<(), FileError> {
        self.write_as(url, octets, login, local::PUBLIC)
    }

    /// Asks an HTTP server by GET, or by POST when something is `posted`, for protocols that are spoken over
    /// HTTP. The body of the answer has `limit` octets at most. `proxy`, host and port, connects to the server
    /// where it is given.
    pub fn exchange(
        &self,
        url: &FileUrl,
        posted: Option<Posted<'_>>,
        limit: u64,
        proxy: Option<(&str, u16)>,
    ) -> Result<Exchanged, FileError> {
        self.at(url, None, |place| match place {
            Where::Remote(remote) if remote.is_web() => {
                remote.web().exchange(remote.url, remote.login, posted, limit, proxy)
            }
            _ => Err(Fault::Unsupported("only servers at http:// and https:// are asked so")),
        })
    }

    /// What a directory holds. TFTP and HTTP list nothing.
    pub fn list(&self, url: &FileUrl, login: Option<&Login>) -> Result<Listing, FileError> {
        let mut listing = self.at(url, login, |place| match place {
            Where::Local(place) => place.list(),
            Where::Device(device, name) if name.is_empty() => device.list(),
            Where::Device(..) => Err(Fault::NoDirectory),
            Where::Remote(remote) => remote.list(),
        })?;
        listing.entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    /// Deletes a file.
    pub fn delete(&self, url: &FileUrl, login: Option<&Login>) -> Result<(), FileError> {
        self.at(url, login, |place| match place {
            Where::Local(place) => place.delete(),
            Where::Device(device, name) => device.delete(plain(&name)?),
            Where::Remote(remote) => remote.delete(),
        })
    }

    fn write_as(
        &self,
        url: &FileUrl,
        octets: &[u8],
        login: Option<&Login>,
        mode: local::Mode,
    ) -> Result<(), FileError> {
        self.at(url, login, |place| match place {
            _ if octets.len() as u64 > MAX_OCTETS => Err(Fault::TooLarge(MAX_OCTETS)),
            Where::Local(place) => place.write(octets, mode),
            Where::Device(device, name) => device.write(plain(&name)?, octets),
            Where::Remote(remote) => remote.write(octets),
        })
    }

    /// Finds the place, does it there, and says of which URL it failed.
    fn at<T>(
        &self,
        url: &FileUrl,
        login: Option<&Login>,
        act: impl FnOnce(Where<'_>) -> Result<T, Fault>,
    ) -> Result<T, FileError> {
        self.place(url, login).and_then(act).map_err(|fault| FileError { url: url.to_string(), fault })
    }

    fn place<'f>(&'f self, url: &'f FileUrl, login: Option<&'f Login>) -> Result<Where<'f>, Fault> {
        let places = &*self.places;
        match &url.place {
            Place::System { system, path } if system == NVRAM => {
                Ok(Where::Local(local::Local::below(places, &places.nvram, path)))
            }
            Place::System { system, path } => {
                if let Some(directory) = places.directories.get(system) {
                    return Ok(Where::Local(local::Local::below(places, directory, path)));
                }
                let device = places.devices.get(system).ok_or_else(|| Fault::NoSystem(system.clone()))?;
                Ok(Where::Device(device.as_ref(), path.clone()))
            }
            Place::Host { path } => Ok(Where::Local(local::Local::of_host(places, path))),
            Place::Remote(remote) => Ok(Where::Remote(Remote {
                places: &self.places,
                timeouts: self.timeouts,
                web: &self.web,
                url: remote,
                login: url.login().or(login).or(places.ftp.as_ref().filter(|_| remote.scheme() == "ftp")),
            })),
        }
    }
}

/// What a URL leads to.
enum Where<'f> {
    Local(local::Local<'f>),
    Device(&'f dyn Device, String),
    Remote(Remote<'f>),
}

/// A name in a directory without directories.
fn plain(name: &str) -> Result<&str, Fault> {
    match name {
        "" => Err(Fault::Name("it is empty")),
        name if name.contains('/') => Err(Fault::Name("there are no directories")),
        name => Ok(name),
    }
}

impl Default for Timeouts {
    /// For files of a few kilobytes over slow lines.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(10), silence: seconds(20), total: seconds(120) }
    }
}
