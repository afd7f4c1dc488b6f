//! A module in a process of its own, which may crash or hang without taking this one with it.
//!
//! The process is this same program, run with the words [`WORD`] and the module's path. What it is asked and
//! answers travels as [`Request`] and [`Reply`] over pairs of Unix sockets: its standard input is the first,
//! on which it is sent the others, one for each thread that asks at the same time. When the first is closed,
//! it ends. A call that does not return in time, and a process that is gone, are told as
//! `CKR_DEVICE_REMOVED`, all after that as `CKR_CRYPTOKI_NOT_INITIALIZED`; `C_Initialize` begins anew with
//! another process.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use cryptoki_sys::{CKR_CRYPTOKI_NOT_INITIALIZED, CKR_DEVICE_REMOVED};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::AT_PAD;
use super::library::Library;
use super::request::{Failure, Reply, Request};

/// The first word with which the program becomes such a process.
pub const WORD: &str = "token-module";

/// A module in another process.
pub struct Child {
    program: PathBuf,
    module: PathBuf,
    /// How long a call may take, and a generation of keys.
    timeouts: Mutex<(Duration, Duration)>,
    running: Mutex<Option<Arc<Running>>>,
}

struct Running {
    process: Mutex<process::Child>,
    control: Mutex<UnixStream>,
    /// Connections that nobody uses at the moment.
    idle: Mutex<Vec<UnixStream>>,
}

impl Child {
    /// Runs `module` in a process of `program`.
    pub fn start(program: &Path, module: &Path, timeouts: (Duration, Duration)) -> io::Result<Self> {
        let running = Mutex::new(Some(Arc::new(Running::start(program, module)?)));
        let timeouts = Mutex::new(timeouts);
        Ok(Self { program: program.into(), module: module.into(), timeouts, running })
    }

    /// From here on a call may take this long, and a generation of keys.
    pub fn set_timeouts(&self, timeouts: (Duration, Duration)) {
        *self.timeouts.lock().unwrap_or_else(PoisonError::into_inner) = timeouts;
    }

    /// Carries a request out.
    pub fn perform(&self, request: &Request) -> Result<Reply, Failure> {
        let not_initialized = Failure { step: 0, rv: CKR_CRYPTOKI_NOT_INITIALIZED };
        // By itself: in the scrutinee the lock would be held over the arms, which take it.
        let current = self.lock().clone();
        let running = match (current, request) {
            (Some(running), _) => running,
            (None, Request::Initialize { .. }) => {
                let running = Running::start(&self.program, &self.module).map(Arc::new).map_err(|error| {
                    tracing::error!(module = %self.module.display(), %error, "no process for the module");
                    not_initialized
                })?;
                self.lock().insert(running).clone()
            }
            (None, _) => return Err(not_initialized),
        };
        let (call, keygen) = *self.timeouts.lock().unwrap_or_else(PoisonError::into_inner);
        let timeout = match request {
            Request::GenerateKeyPair { .. } => keygen,
            request if request.waits_for_pad() => call + AT_PAD,
            _ => call,
        };
        running.ask(request, timeout).unwrap_or_else(|error| {
            // One thread of several that noticed ends it.
            let mut current = self.lock();
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &running)) {
                *current = None;
                let module = self.module.display();
                tracing::error!(%module, %error, "the module's process is lost");
            }
            drop(current);
            running.kill();
            Err(Failure { step: 0, rv: CKR_DEVICE_REMOVED })
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn start(program: &Path, module: &Path) -> io::Result<Self> {
        let (control, theirs) = UnixStream::pair()?;
        let process = Command::new(program)
            .arg(WORD)
            .arg(module)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()?;
        let running =
            Self { process: Mutex::new(process), control: Mutex::new(control), idle: Mutex::default() };
        // Whether the module could be loaded.
        let loaded = {
            let mut control = running.control.lock().unwrap_or_else(PoisonError::into_inner);
            control.set_read_timeout(Some(LOADING))?;
            receive::<Result<(), String>>(&mut control)
        };
        match loaded {
            Ok(Ok(())) => Ok(running),
            Ok(Err(said)) => Err(io::Error::other(said)),
            Err(error) => Err(error),
        }
    }

    fn ask(&self, request: &Request, timeout: Duration) -> io::Result<Result<Reply, Failure>> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = idle.map_or_else(|| self.connect(), Ok)?;
        connection.set_read_timeout(Some(timeout))?;
        send(&mut connection, request)?;
        let reply = receive(&mut connection)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(reply)
    }

    fn connect(&self) -> io::Result<UnixStream> {
        let (mine, theirs) = UnixStream::pair()?;
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut space, theirs) = ([MaybeUninit::uninit(); ANCILLARY], [theirs.as_fd()]);
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&theirs));
        sendmsg(&*control, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(mine)
    }

    fn kill(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have ended already.
        let _ = process.kill();
        if let Ok(status) = process.wait() {
            tracing::debug!(%status, "the module's process has ended");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The other end: serves `module` until standard input ends.
pub fn serve(module: &Path) -> ExitCode {
    let served = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).and_then(|mut control| {
        let library = Library::load(module);
        let loaded = library.as_ref().map(|_| ()).map_err(ToString::to_string);
        send(&mut control, &loaded)?;
        let Ok(library) = library.map(Arc::new) else { return Ok(false) };
        while let Some(connection) = accept(&control)? {
            let library = Arc::clone(&library);
            // Only a connection that is closed ends in an error.
            thread::spawn(move || drop(answer(&library, connection)));
        }
        Ok(true)
    });
    match served {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("% no module is served: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer(library: &Library, mut connection: UnixStream) -> io::Result<()> {
    loop {
        let request = receive(&mut connection)?;
        let answer: Result<Reply, Failure> = library.perform(request);
        send(&mut connection, &answer)?;
    }
}

/// The next connection; `None` at the end.
fn accept(control: &UnixStream) -> io::Result<Option<UnixStream>> {
    let (mut octet, mut space) = ([0], [MaybeUninit::uninit(); ANCILLARY]);
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(control, &mut [IoSliceMut::new(&mut octet)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptor = descriptors.next().and_then(|mut some| some.next());
    descriptor.map(|descriptor| Some(descriptor.into())).ok_or_else(|| io::Error::other("no connection"))
}

fn send(to: &mut UnixStream, value: &impl Serialize) -> io::Result<()> {
    // Large enough that secrets are not left behind when it grows.
    let mut frame = Vec::with_capacity(USUAL);
    frame.extend([0; 4]);
    let mut frame = Zeroizing::new(postcard::to_extend(value, frame).map_err(io::Error::other)?);
    let length = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    to.write_all(&frame)
}

fn receive<T: DeserializeOwned>(from: &mut UnixStream) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut frame = Zeroizing::new(vec![0; u32::from_le_bytes(length) as usize]);
    from.read_exact(&mut frame)?;
    postcard::from_bytes(&frame).map_err(io::Error::other)
}

/// How long a module may take to be loaded.
const LOADING: Duration = Duration::from_secs(60);
/// Octets of a frame, at most, but for large objects.
const USUAL: usize = 32 << 10;
/// Octets for one descriptor beside a message.
const ANCILLARY: usize = rustix::cmsg_space!(ScmRights(1));
