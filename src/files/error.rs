//! Why a file could not be read, written, listed or deleted.

use std::fmt;
use std::io;

/// Which file, and why not. Displayed as one sentence, with a hint on the next line where one helps; without
/// passwords.
#[derive(Debug)]
pub struct FileError {
    /// The file, as [`FileUrl`](super::FileUrl) displays it.
    pub url: String,
    /// Why.
    pub fault: Fault,
}

/// What went wrong with a file.
#[derive(Debug)]
pub enum Fault {
    /// There is no such file.
    NotFound,
    /// The directory of the file is not there.
    NoDirectory,
    /// No file system of this name, without colon, is configured.
    NoSystem(String),
    /// It is named like a file but is none for operators: the database, a key, a PIN.
    Reserved,
    /// It cannot be the name of a file; says why.
    Name(&'static str),
    /// It is a directory, a device, a symbolic link.
    NotAFile,
    /// The permissions of the file, or the server, do not allow it; in the server's words.
    Denied(String),
    /// The server knows no such user, or it has another password; in the server's words.
    Login(String),
    /// It has more octets than this.
    TooLarge(u64),
    /// The disk is full, or the server's; in its words.
    NoSpace(String),
    /// This cannot be done there at all; says what.
    Unsupported(&'static str),
    /// The host's name has no address.
    UnknownHost(String),
    /// Nobody listens there, or there is no way.
    Unreachable(io::Error),
    /// No answer within the time; says what was waited for.
    TimedOut(&'static str),
    /// The connection broke.
    Broken(String),
    /// The server's certificate is not trusted, or no common TLS.
    Tls(String),
    /// The server said no, in these words.
    Server {
        /// Status and text.
        said: String,
        /// Whether it may say yes later.
        temporary: bool,
    },
    /// What the server sent is not its protocol.
    Protocol(String),
    /// A token.
    Device {
        /// Its error.
        said: String,
        /// Whether it may work later.
        temporary: bool,
    },
    /// The system.
    Io(io::Error),
}

impl FileError {
    /// Whether the same may succeed later without anybody doing something here: servers that are down, full
    /// or slow, networks, tokens that are unplugged.
    pub fn is_temporary(&self) -> bool {
        match &self.fault {
            Fault::NoSpace(_)
            | Fault::UnknownHost(_)
            | Fault::Unreachable(_)
            | Fault::TimedOut(_)
            | Fault::Broken(_)
            | Fault::Io(_) => true,
            Fault::Server { temporary, .. } | Fault::Device { temporary, .. } => *temporary,
            Fault::NotFound
            | Fault::NoDirectory
            | Fault::NoSystem(_)
            | Fault::Reserved
            | Fault::Name(_)
            | Fault::NotAFile
            | Fault::Denied(_)
            | Fault::Login(_)
            | Fault::TooLarge(_)
            | Fault::Unsupported(_)
            | Fault::Tls(_)
            | Fault::Protocol(_) => false,
        }
    }

    /// Whether there is no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self.fault, Fault::NotFound | Fault::NoDirectory)
    }
}

impl Fault {
    /// What may help.
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoDirectory => Some("create it first"),
            Self::NoSystem(_) => Some("`show file systems` lists them"),
            Self::Login(_) => Some("the URL, `database username` or `ip ftp username` says who asks"),
            Self::UnknownHost(_) => Some("`ip host NAME ADDRESS` names hosts that DNS does not know"),
            Self::Tls(_) => Some("the server's CA must be among those that this host trusts"),
            _ => None,
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A file system ends with a colon of its own.
        let colon = if self.url.ends_with(':') { "" } else { ":" };
        write!(f, "{}{colon} {}", self.url, self.fault)?;
        self.fault.hint().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such file"),
            Self::NoDirectory => f.write_str("no such directory"),
            Self::NoSystem(name) => write!(f, "there is no file system {name}:"),
            Self::Reserved => f.write_str("this is not a file for operators"),
            Self::Name(why) => write!(f, "this cannot be the name of a file: {why}"),
            Self::NotAFile => f.write_str("not a regular file"),
            Self::Denied(said) => write!(f, "access refused: {said}"),
            Self::Login(said) => write!(f, "user name or password refused: {said}"),
            Self::TooLarge(limit) => write!(f, "more than {limit} bytes"),
            Self::NoSpace(said) => write!(f, "no space left: {said}"),
            Self::Unsupported(what) => f.write_str(what),
            Self::UnknownHost(host) => write!(f, "the host {host} has no known address"),
            Self::Unreachable(error) => write!(f, "the server cannot be reached: {error}"),
            Self::TimedOut(what) => write!(f, "timed out {what}"),
            Self::Broken(what) => write!(f, "the connection broke: {what}"),
            Self::Tls(what) => write!(f, "TLS: {what}"),
            Self::Server { said, .. } => write!(f, "the server answered: {said}"),
            Self::Protocol(what) => write!(f, "the server's answer is not understood: {what}"),
            Self::Device { said, .. } => f.write_str(said),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Unreachable(error) | Fault::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Fault {
    /// Of a file of this host.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Denied(error.to_string())
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(error.to_string()),
            io::ErrorKind::InvalidFilename => Self::Name("it is too long"),
            io::ErrorKind::IsADirectory => Self::NotAFile,
            _ => Self::Io(error),
        }
    }
}
