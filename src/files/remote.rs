//! A file of another machine: finding the machine, and choosing the protocol.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use url::Url;

use super::url::decoded;
use super::web::Web;
use super::{Fault, Listing, Login, Places, Timeouts, ftp, s3, tftp};

/// A file or directory of a server, and who asks for it.
pub struct Remote<'f> {
    pub places: &'f Arc<Places>,
    pub timeouts: Timeouts,
    /// The HTTP client, made when it is first needed: it reads the certificates that the host trusts.
    pub web: &'f OnceLock<Web>,
    pub url: &'f Url,
    pub login: Option<&'f Login>,
}

impl Remote<'_> {
    pub fn read(&self) -> Result<Vec<u8>, Fault> {
        match self.url.scheme() {
            "tftp" => tftp::read(self),
            "ftp" => ftp::read(self),
            "s3" => s3::read(self),
            _ => self.web().read(self.url, self.login),
        }
    }

    pub fn write(&self, octets: &[u8]) -> Result<(), Fault> {
        match self.url.scheme() {
            "tftp" => tftp::write(self, octets),
            "ftp" => ftp::write(self, octets),
            "s3" => s3::write(self, octets),
            _ => self.web().write(self.url, octets, self.login),
        }
    }

    pub fn list(&self) -> Result<Listing, Fault> {
        match self.url.scheme() {
            "tftp" => Err(Fault::Unsupported("TFTP does not list directories")),
            "ftp" => ftp::list(self),
            "s3" => s3::list(self),
            _ => Err(Fault::Unsupported("HTTP does not list directories")),
        }
    }

    pub fn delete(&self) -> Result<(), Fault> {
        match self.url.scheme() {
            "tftp" => Err(Fault::Unsupported("TFTP does not delete files")),
            "ftp" => ftp::delete(self),
            "s3" => s3::delete(self),
            _ => self.web().delete(self.url, self.login),
        }
    }

    /// Whether it is a server of HTTP.
    pub fn is_web(&self) -> bool {
        matches!(self.url.scheme(), "http" | "https")
    }

    pub fn web(&self) -> &Web {
        self.web.get_or_init(|| Web::new(self.places.clone(), self.timeouts))
    }

    /// The path as the server knows it, without the slash after the host.
    pub fn path(&self) -> Result<String, Fault> {
        let path = self.url.path();
        let path = decoded(path.strip_prefix('/').unwrap_or(path));
        if path.contains(|c: char| c.is_ascii_control()) {
            return Err(Fault::Name("it holds a control character"));
        }
        Ok(path)
    }

    /// The same for a file, which has a name.
    pub fn file_path(&self) -> Result<String, Fault> {
        let path = self.path()?;
        if path.is_empty() || path.ends_with('/') {
            return Err(Fault::Name("it is empty"));
        }
        Ok(path)
    }

    /// Addresses of the server, one at least.
    pub fn addresses(&self, usual_port: u16) -> Result<Vec<SocketAddr>, Fault> {
        let host = self.url.host_str().unwrap_or_default();
        addresses(self.places, host, self.url.port().unwrap_or(usual_port), self.timeouts.connect)
    }

    /// A connection to the first address that answers, on which no read or write waits longer than for
    /// [`Timeouts::silence`].
    pub fn connect(&self, usual_port: u16) -> Result<TcpStream, Fault> {
        let until = Instant::now() + self.timeouts.connect;
        let mut fault = Fault::TimedOut(CONNECTING);
        for address in self.addresses(usual_port)? {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Fault::TimedOut(CONNECTING));
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    quiet_at_most(&stream, self.timeouts.silence).map_err(|error| broken(&error))?;
                    return Ok(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    fault = Fault::TimedOut(CONNECTING);
                }
                Err(error) => fault = Fault::Unreachable(error),
            }
        }
        Err(fault)
    }
}

/// Addresses of a host: itself when it is one, those that are configured, else those of DNS.
pub fn addresses(places: &Places, host: &str, port: u16, wait: Duration) -> Result<Vec<SocketAddr>, Fault> {
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let configured = || {
        let named = places.hosts.iter().find(|(name, _)| name.eq_ignore_ascii_case(host));
        named.map(|(_, address)| *address)
    };
    if let Some(address) = literal.or_else(configured) {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (send, receive) = mpsc::sync_channel(1);
    let asked = (host.to_owned(), port);
    // The system's resolver has no time-out of ours; a thread left behind ends when the resolver does.
    thread::spawn(move || send.send(asked.to_socket_addrs().map(Vec::from_iter)));
    match receive.recv_timeout(wait) {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Ok(_) | Err(RecvTimeoutError::Disconnected) => Err(Fault::UnknownHost(host.to_owned())),
        Err(RecvTimeoutError::Timeout) => Err(Fault::TimedOut("while looking up the host's address")),
    }
}

/// What a server says, for a terminal and a log: on one line, not long, and without what would be obeyed.
pub fn words(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let short = said.trim_end().chars().take(MAX_WORDS);
    short.fold(String::new(), |mut text, c| {
        match c.is_control() {
            true => text.extend(c.escape_default()),
            false => text.push(c),
        }
        text
    })
}

/// No read or write waits longer than this.
pub fn quiet_at_most(stream: &TcpStream, silence: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(silence))?;
    stream.set_write_timeout(Some(silence))
}

/// What an error on a connection means.
pub fn broken(error: &io::Error) -> Fault {
    match error.kind() {
        // A read time-out of a socket is either of them.
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Fault::TimedOut(WAITING),
        _ => Fault::Broken(error.to_string()),
    }
}

/// Characters that are shown of what a server says.
const MAX_WORDS: usize = 300;
pub const CONNECTING: &str = "while connecting";
pub const WAITING: &str = "while waiting for the server";
