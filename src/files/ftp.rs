//! FTP (RFC 959), passive, binary. Over IPv6 `EPSV` (RFC 2428); over IPv4 `PASV`, of whose answer only the port is
//! used: the data goes where the commands go.
//!
//! A file is written as `NAME.new` beside it and renamed, so the old one stays whole until the new one is.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Instant, UNIX_EPOCH};

use secrecy::ExposeSecret;
use suppaftp::list::{File, PosixPexQuery};
use suppaftp::types::{FileType, FtpError, Mode};
use suppaftp::{FtpStream, Status};

use super::remote::{Remote, WAITING, broken, quiet_at_most, words};
use super::{Entry, Fault, Listing, MAX_OCTETS};
use crate::pki::Time;

pub fn read(remote: &Remote<'_>) -> Result<Vec<u8>, Fault> {
    let path = remote.file_path()?;
    session(remote, |ftp, until| {
        let mut transfer = ftp.retr_as_stream(&path)?;
        let octets = read_whole(&mut transfer, until)?;
        transfer.finish()?;
        Ok(octets)
    })
}

pub fn write(remote: &Remote<'_>, octets: &[u8]) -> Result<(), Fault> {
    let path = remote.file_path()?;
    let new = format!("{path}.new");
    let written = session(remote, |ftp, until| {
        let store = |ftp: &mut FtpStream| -> Result<(), Fault> {
            let mut transfer = ftp.put_with_stream(&new)?;
            let sent = octets.chunks(PART).try_for_each(|part| {
                in_time(until)?;
                transfer.write_all(part).map_err(|error| broken(&error))
            });
            // A server that takes no more closes the data connection first, and then says why.
            match sent {
                Err(fault @ Fault::TimedOut(_)) => return Err(fault),
                sent => transfer.finish().map_err(Fault::from).and(sent)?,
            }
            Ok(ftp.rename(&new, &path)?)
        };
        store(ftp).inspect_err(|fault| {
            // When the server still listens.
            if !matches!(fault, Fault::Broken(_) | Fault::TimedOut(_)) {
                let _ = ftp.rm(&new);
            }
        })
    });
    written.map_err(|fault| match fault {
        Fault::NotFound => Fault::NoDirectory,
        fault => fault,
    })
}

pub fn delete(remote: &Remote<'_>) -> Result<(), Fault> {
    let path = remote.file_path()?;
    session(remote, |ftp, _| Ok(ftp.rm(&path)?))
}

pub fn list(remote: &Remote<'_>) -> Result<Listing, Fault> {
    let path = remote.path()?;
    session(remote, |ftp, until| {
        // LIST of a directory that is not there is an empty list to many servers.
        if !path.is_empty() {
            ftp.cwd(&path).map_err(|error| match Fault::from(error) {
                Fault::NotFound => Fault::NoDirectory,
                fault => fault,
            })?;
        }
        let opened = [Status::AboutToSend, Status::AlreadyOpen];
        let (_, mut transfer) = ftp.custom_data_command("LIST", &opened)?;
        let text = read_whole(&mut transfer, until)?;
        transfer.finish()?;
        let text = String::from_utf8_lossy(&text);
        let files = text.lines().filter_map(|line| line.parse::<File>().ok());
        let entries = files
            .filter(|file| file.is_file() || file.is_directory())
            .filter(|file| !matches!(file.name(), "." | ".."));
        Ok(Listing { entries: entries.map(|file| entry(&file)).collect(), total: None, free: None })
    })
}

fn entry(file: &File) -> Entry {
    let modified = file.modified().duration_since(UNIX_EPOCH);
    Entry {
        name: file.name().to_owned(),
        size: file.size() as u64,
        modified: modified.ok().map(|since| Time::from_unix(since.as_secs())),
        writable: file.can_write(PosixPexQuery::Owner),
        directory: file.is_directory(),
    }
}

fn read_whole(transfer: &mut impl Read, until: Instant) -> Result<Vec<u8>, Fault> {
    let mut octets = Vec::new();
    let mut part = vec![0; PART];
    loop {
        in_time(until)?;
        let read = transfer.read(&mut part).map_err(|error| broken(&error))?;
        if read == 0 {
            return Ok(octets);
        }
        octets.extend_from_slice(&part[..read]);
        if octets.len() as u64 > MAX_OCTETS {
            return Err(Fault::TooLarge(MAX_OCTETS));
        }
    }
}

fn in_time(until: Instant) -> Result<(), Fault> {
    if Instant::now() < until { Ok(()) } else { Err(Fault::TimedOut(WAITING)) }
}

/// Connects, logs in, does `act` and says goodbye.
fn session<T>(
    remote: &Remote<'_>,
    act: impl FnOnce(&mut FtpStream, Instant) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let until = Instant::now() + remote.timeouts.total;
    let stream = remote.connect(PORT)?;
    let (connect, silence) = (remote.timeouts.connect, remote.timeouts.silence);
    let _watch = watch(&stream, until);
    let run = || -> Result<T, Fault> {
        let peer = stream.peer_addr().map_err(|error| broken(&error))?;
        let mut ftp = FtpStream::connect_with_stream(stream)?.passive_stream_builder(move |address| {
            let address = SocketAddr::new(peer.ip(), address.port());
            let data = TcpStream::connect_timeout(&address, connect).map_err(FtpError::ConnectionError)?;
            quiet_at_most(&data, silence).map_err(FtpError::ConnectionError)?;
            Ok(data)
        });
        ftp.set_mode(if peer.is_ipv6() { Mode::ExtendedPassive } else { Mode::Passive });
        let (user, password) = match remote.login {
            Some(login) => (login.username.as_str(), login.password.expose_secret()),
            None => ("anonymous", "anonymous@"),
        };
        ftp.login(user, password).map_err(|error| match Fault::from(error) {
            Fault::Denied(said) | Fault::Server { said, temporary: false } => Fault::Login(said),
            fault => fault,
        })?;
        ftp.transfer_type(FileType::Binary)?;
        let done = act(&mut ftp, until)?;
        // What was asked for is done; how the server says goodbye does not matter.
        let _ = ftp.quit();
        Ok(done)
    };
    // Past the time it is the watch that has broken the connection.
    run().map_err(|fault| in_time(until).err().unwrap_or(fault))
}

/// Shuts the connection down when the time for everything is over, unless what is returned is dropped before: a
/// server that sends an octet now and then would keep a time-out for silence waiting for ever.
fn watch(connection: &TcpStream, until: Instant) -> Option<Sender<()>> {
    let connection = connection.try_clone().ok()?;
    let (alive, watched) = mpsc::channel();
    thread::spawn(move || {
        let left = until.saturating_duration_since(Instant::now());
        if watched.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    });
    Some(alive)
}

impl From<FtpError> for Fault {
    fn from(error: FtpError) -> Self {
        let response = match error {
            FtpError::ConnectionError(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Self::Unreachable(error);
            }
            FtpError::ConnectionError(error) => return broken(&error),
            FtpError::UnexpectedResponse(response) => response,
            error => return Self::Protocol(words(error.to_string().as_bytes())),
        };
        let said = words(&response.body);
        // RFC 959, 4.2.1: 4yz may be yes another time. 550 is both "not there" and "you may not".
        let denied = ["denied", "permission", "permitted", "allowed"].iter();
        match response.status.code() {
            530 | 532 => Self::Login(said),
            452 | 552 => Self::NoSpace(said),
            550 if !denied.clone().any(|word| said.to_ascii_lowercase().contains(word)) => Self::NotFound,
            550 | 553 => Self::Denied(said),
            code => Self::Server { said, temporary: (400..500).contains(&code) },
        }
    }
}

const PORT: u16 = 21;
/// Octets between two looks at the clock.
const PART: usize = 16 << 10;
