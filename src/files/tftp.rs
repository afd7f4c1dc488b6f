//! TFTP (RFC 1350), octet mode, with the options `blksize` (RFC 2348) and `tsize` (RFC 2349) of RFC 2347; a server
//! that knows none of them is spoken to without.
//!
//! A client of our own: of those on crates.io `tftp_client` counts a repeated block twice and takes packets from
//! anybody, `rtftp` and `tftpd` are programs over files. TFTP has no users, no listing, no deletion and no
//! replacing at once: a transfer that breaks leaves what the server makes of it. That no server is there is told
//! by its silence alone.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::remote::{Remote, WAITING, words};
use super::{Fault, MAX_OCTETS};

pub fn read(remote: &Remote<'_>) -> Result<Vec<u8>, Fault> {
    let path = remote.file_path()?;
    let options = [("blksize", BLOCK.to_string()), ("tsize", "0".to_owned())];
    negotiated(remote, READ, &path, &options, receive)
}

pub fn write(remote: &Remote<'_>, octets: &[u8]) -> Result<(), Fault> {
    let path = remote.file_path()?;
    let options = [("blksize", BLOCK.to_string()), ("tsize", octets.len().to_string())];
    let sent = negotiated(remote, WRITE, &path, &options, |transfer, first| send(transfer, first, octets));
    sent.map_err(|fault| match fault {
        Fault::NotFound => {
            Fault::Denied("the server replaces files and does not create any (tftpd -c would)".to_owned())
        }
        fault => fault,
    })
}

/// Sends a request and goes on with its answer: to the next address of the server when this one is silent,
/// without options when it refuses those.
fn negotiated<T>(
    remote: &Remote<'_>,
    request: u16,
    path: &str,
    options: &[(&str, String)],
    proceed: impl Fn(&mut Transfer, Packet) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let mut fault = Fault::TimedOut(WAITING);
    for address in remote.addresses(PORT)? {
        for options in [options, &[]] {
            let mut transfer = Transfer::new(remote, address)?;
            match transfer.request(request, path, options) {
                Ok(Packet::Error { code: REFUSED_OPTIONS, .. }) if !options.is_empty() => {}
                Ok(first) => return proceed(&mut transfer, first),
                Err(silent @ (Fault::TimedOut(_) | Fault::Unreachable(_))) => {
                    fault = silent;
                    break;
                }
                Err(fault) => return Err(fault),
            }
        }
    }
    Err(fault)
}

/// Takes blocks and acknowledges them until a short one.
fn receive(transfer: &mut Transfer, first: Packet) -> Result<Vec<u8>, Fault> {
    let mut octets = Vec::new();
    let mut expected: u16 = 1;
    let mut packet = match first {
        // The server takes our options; it waits for the acknowledgement of no block.
        Packet::Options(options) => {
            transfer.accept(&options)?;
            transfer.exchange(&acknowledgement(0), |packet| packet.is_block(1))?
        }
        data => data,
    };
    loop {
        match packet {
            Packet::Data { block, ref data } if block == expected => octets.extend_from_slice(data),
            packet => return Err(packet.unexpected()),
        }
        if octets.len() as u64 > MAX_OCTETS {
            transfer.give_up("too large");
            return Err(Fault::TooLarge(MAX_OCTETS));
        }
        let last = packet.len() < transfer.block;
        let acknowledged = acknowledgement(expected);
        if last {
            // Nothing answers it; a server that did not get it repeats its block to nobody and gives up.
            transfer.send(&acknowledged)?;
            return Ok(octets);
        }
        expected = expected.wrapping_add(1);
        packet = transfer.exchange(&acknowledged, |packet| packet.is_block(expected))?;
    }
}

/// Sends blocks, each after the acknowledgement of the one before; the last is short, empty where need be.
fn send(transfer: &mut Transfer, first: Packet, octets: &[u8]) -> Result<(), Fault> {
    match first {
        Packet::Options(options) => transfer.accept(&options)?,
        Packet::Acknowledgement(0) => {}
        packet => return Err(packet.unexpected()),
    }
    let mut rest = octets;
    let mut block: u16 = 1;
    loop {
        let (data, after) = rest.split_at(rest.len().min(transfer.block));
        let packet = [&DATA.to_be_bytes()[..], &block.to_be_bytes(), data].concat();
        // Only the acknowledgement of this very block moves on: RFC 1123, 4.2.3.1.
        let answer = transfer.exchange(
            &packet,
            |packet| matches!(packet, Packet::Acknowledgement(number) if *number == block),
        )?;
        if let Packet::Error { .. } = answer {
            return Err(answer.unexpected());
        }
        if data.len() < transfer.block {
            return Ok(());
        }
        (rest, block) = (after, block.wrapping_add(1));
    }
}

/// One transfer: our port, and the server's once it has answered from it.
struct Transfer {
    socket: UdpSocket,
    server: SocketAddr,
    answered: bool,
    block: usize,
    /// How long the first answer and each one after it may take.
    patience: (Duration, Duration),
    until: Instant,
}

impl Transfer {
    fn new(remote: &Remote<'_>, server: SocketAddr) -> Result<Self, Fault> {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let timeouts = remote.timeouts;
        Ok(Self {
            socket: UdpSocket::bind(any).map_err(Fault::Unreachable)?,
            server,
            answered: false,
            block: USUAL_BLOCK,
            patience: (timeouts.connect, timeouts.silence),
            until: Instant::now() + timeouts.total,
        })
    }

    fn request(&mut self, request: u16, path: &str, options: &[(&str, String)]) -> Result<Packet, Fault> {
        let mut packet = request.to_be_bytes().to_vec();
        let pairs = options.iter().flat_map(|(name, value)| [*name, value.as_str()]);
        for text in [path, "octet"].into_iter().chain(pairs) {
            packet.extend_from_slice(text.as_bytes());
            packet.push(0);
        }
        if packet.len() > USUAL_BLOCK {
            return Err(Fault::Name("it is too long"));
        }
        let answer = self.exchange(&packet, |_| true)?;
        match answer {
            Packet::Error { code, .. } if code != REFUSED_OPTIONS => Err(answer.unexpected()),
            answer => Ok(answer),
        }
    }

    /// Takes what the server says of our options.
    fn accept(&mut self, options: &[(String, String)]) -> Result<(), Fault> {
        for (name, value) in options {
            let number = value.parse::<u64>().ok();
            match (name.to_ascii_lowercase().as_str(), number) {
                // It may be smaller than what was asked for: RFC 2348.
                ("blksize", Some(size)) if (8..=BLOCK as u64).contains(&size) => {
                    self.block = usize::try_from(size).unwrap_or(USUAL_BLOCK);
                }
                ("tsize", Some(size)) if size <= MAX_OCTETS => {}
                ("tsize", Some(_)) => {
                    self.give_up("too large");
                    return Err(Fault::TooLarge(MAX_OCTETS));
                }
                _ => return Err(Fault::Protocol(words(format!("option {name} {value}").as_bytes()))),
            }
        }
        Ok(())
    }

    /// Sends a packet until `wanted` comes, or an error. Everything else is late or of others.
    fn exchange(&mut self, packet: &[u8], wanted: impl Fn(&Packet) -> bool) -> Result<Packet, Fault> {
        let patience = if self.answered { self.patience.1 } else { self.patience.0 };
        let until = self.until.min(Instant::now() + patience);
        let mut pause = FIRST_PAUSE;
        loop {
            self.send(packet)?;
            let again = until.min(Instant::now() + pause);
            while let Some(answer) = self.receive(again)? {
                if matches!(answer, Packet::Error { .. }) || wanted(&answer) {
                    self.answered = true;
                    return Ok(answer);
                }
            }
            if Instant::now() >= until {
                return Err(Fault::TimedOut(WAITING));
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    fn send(&self, packet: &[u8]) -> Result<(), Fault> {
        let sent = self.socket.send_to(packet, self.server);
        sent.map(drop).map_err(Fault::Unreachable)
    }

    /// The next packet of the server; none when `until` has come.
    fn receive(&mut self, until: Instant) -> Result<Option<Packet>, Fault> {
        // The largest block that we ask for, and its header.
        let mut buffer = [0; 4 + BLOCK];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left)).map_err(Fault::Io)?;
            let (length, from) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Ok(None),
                    io::ErrorKind::Interrupted => continue,
                    _ => return Err(Fault::Unreachable(error)),
                },
            };
            // The answer to a request comes from a port of its own, everything after it from the same one.
            let known = if self.answered { from == self.server } else { from.ip() == self.server.ip() };
            match Packet::parse(&buffer[..length]) {
                Some(packet) if known => {
                    self.server = from;
                    return Ok(Some(packet));
                }
                _ => {}
            }
        }
    }

    /// Tells the server that nothing more will come; nothing answers that.
    fn give_up(&self, why: &str) {
        let packet = [&ERROR.to_be_bytes()[..], &[0, 0], why.as_bytes(), &[0]].concat();
        let _ = self.send(&packet);
    }
}

/// What a server sends.
enum Packet {
    Data { block: u16, data: Vec<u8> },
    Acknowledgement(u16),
    Error { code: u16, said: String },
    Options(Vec<(String, String)>),
}

impl Packet {
    fn parse(octets: &[u8]) -> Option<Self> {
        let (code, rest) = octets.split_first_chunk::<2>()?;
        let number = || rest.split_first_chunk::<2>().map(|(number, _)| u16::from_be_bytes(*number));
        match u16::from_be_bytes(*code) {
            DATA => Some(Self::Data { block: number()?, data: rest[2..].to_vec() }),
            ACKNOWLEDGEMENT => Some(Self::Acknowledgement(number()?)),
            ERROR => {
                let said = rest[2.min(rest.len())..].split(|octet| *octet == 0).next().unwrap_or_default();
                Some(Self::Error { code: number()?, said: words(said) })
            }
            OPTIONS => {
                let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
                let parts: Vec<&[u8]> = rest.split(|octet| *octet == 0).collect();
                // Behind the last NUL is nothing.
                let pairs = parts.chunks_exact(2).map(|pair| (text(pair[0]), text(pair[1])));
                Some(Self::Options(pairs.collect()))
            }
            _ => None,
        }
    }

    fn is_block(&self, number: u16) -> bool {
        matches!(self, Self::Data { block, .. } if *block == number)
    }

    fn len(&self) -> usize {
        match self {
            Self::Data { data, .. } => data.len(),
            _ => 0,
        }
    }

    /// What it means where it does not belong.
    fn unexpected(self) -> Fault {
        match self {
            Self::Error { code: 1, .. } => Fault::NotFound,
            Self::Error { code: 2 | 6, said } => Fault::Denied(said),
            Self::Error { code: 3, said } => Fault::NoSpace(said),
            Self::Error { code, said } => {
                Fault::Server { said: format!("error {code} {said}"), temporary: false }
            }
            _ => Fault::Protocol("a packet came that was not its turn".to_owned()),
        }
    }
}

fn acknowledgement(block: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (ACKNOWLEDGEMENT.to_be_bytes(), block.to_be_bytes());
    [a, b, c, d]
}

const PORT: u16 = 69;

/// Opcodes: RFC 1350, 5, and RFC 2347.
const READ: u16 = 1;
const WRITE: u16 = 2;
const DATA: u16 = 3;
const ACKNOWLEDGEMENT: u16 = 4;
const ERROR: u16 = 5;
const OPTIONS: u16 = 6;
/// The error code of RFC 2347.
const REFUSED_OPTIONS: u16 = 8;

/// Octets of a block where nothing else is agreed on.
const USUAL_BLOCK: usize = 512;
/// What we ask for: with IPv6 and tunnel headers it fits into an Ethernet frame.
const BLOCK: usize = 1400;
/// After how long a packet is sent again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(4);
