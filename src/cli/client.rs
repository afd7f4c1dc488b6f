//! The program's side: sends a task to the running server, or has it done on the state directory by a session
//! in this process when no server runs.

use std::io::{self, BufReader, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::protocol::{Event, Request, Task, Typed, receive, send};
use super::source::Source;
use super::{Options, Pasted, SOCKET, connection, shell};
use crate::log;

/// Runs one exec command. Returns what the program exits with.
pub fn exec(state: &Path, words: Vec<String>, options: Options) -> u8 {
    run(state, Task::Exec { words }, options, talk)
}

/// Applies lines of the configuration: to the running one, and to the startup configuration when no
/// server runs. Returns what the program exits with.
pub fn configure(state: &Path, text: String, options: Options) -> u8 {
    run(state, Task::Configure { text }, options, talk)
}

/// The interactive shell; `first` is typed before anything else. Returns what the program exits with.
pub fn shell(state: &Path, first: Option<&str>, options: Options) -> u8 {
    run(state, Task::Shell, options, |stream, request| shell::run(stream, request, first))
}

/// `/var/lib/tokenca` for root, else a directory of the user's.
pub fn default_state() -> PathBuf {
    let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    let directory = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match (directory("XDG_STATE_HOME"), directory("HOME")) {
        _ if root => PathBuf::from("/var/lib/tokenca"),
        (Some(state), _) => state.join("tokenca"),
        (None, Some(home)) => home.join(".local/state/tokenca"),
        (None, None) => PathBuf::from("/var/lib/tokenca"),
    }
}

fn run(
    state: &Path,
    task: Task,
    options: Options,
    talk: impl FnOnce(UnixStream, &Request) -> io::Result<u8>,
) -> u8 {
    let request = Request { task, json: options.json, yes: options.yes };
    let done = connect(state).and_then(|(stream, alone)| {
        let code = talk(stream, &request);
        // It lets go of the state directory before the program ends.
        alone.into_iter().for_each(|thread| drop(thread.join()));
        code
    });
    done.unwrap_or_else(|error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "\n% The socket is for the user that the server runs as, and for its \"socket group\"."
            }
            io::ErrorKind::UnexpectedEof => "\n% It has ended the connection; its log may say why.",
            io::ErrorKind::InvalidInput => "\n% Choose a state directory with a shorter name.",
            _ => "",
        };
        let socket = state.join(SOCKET);
        show(&Event::Error(format!("% the server cannot be asked on {}: {error}{hint}", socket.display())));
        1
    })
}

/// A connection to the server; to a thread of our own when none runs.
fn connect(state: &Path) -> io::Result<(UnixStream, Option<JoinHandle<()>>)> {
    match UnixStream::connect(state.join(SOCKET)) {
        Ok(stream) => Ok((stream, None)),
        Err(error) if nobody_listens(&error) => {
            log::setup_quiet();
            let (ours, theirs) = UnixStream::pair()?;
            let source = Source::directory(state.to_owned());
            let serve = move || {
                // Its other end is ours, and tells what is to be told.
                let _ = connection::serve(theirs, source, Arc::default());
            };
            let thread = std::thread::Builder::new().name("cli".into()).spawn(serve)?;
            Ok((ours, Some(thread)))
        }
        Err(error) => Err(error),
    }
}

/// A socket that is not there, or that a killed server has left.
fn nobody_listens(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn talk(stream: UnixStream, request: &Request) -> io::Result<u8> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    // A server with too much to do answers before it has read anything.
    let sent = send(&mut writer, request);
    loop {
        let event = match (receive(&mut reader, MAX_EVENT), &sent) {
            (Err(_), Err(_)) => return sent.map(|()| 1),
            (event, _) => event?,
        };
        if let Some(answer) = answer(&event)? {
            send(&mut writer, &answer)?;
        } else if let Event::Exit(code) = event {
            return Ok(code);
        } else {
            show(&event);
        }
    }
}

/// What is typed after a question; nothing when it is none.
pub(super) fn answer(event: &Event) -> io::Result<Option<Typed>> {
    let answer = match event {
        Event::Question(question) => ask(question)?.trim().to_owned(),
        Event::Secret(question) if io::stdin().is_terminal() => rpassword::prompt_password(question)?,
        Event::Secret(question) => ask(question)?,
        Event::Paste(prompt) => paste(prompt)?,
        _ => return Ok(None),
    };
    Ok(Some(Typed::Answer(answer)))
}

/// Shows an event that asks nothing.
pub(super) fn show(event: &Event) {
    // Whoever reads our output may have seen enough.
    let _ = match event {
        Event::Out(text) => {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        }
        Event::Log(line) => writeln!(io::stdout(), "{line}"),
        Event::Error(text) => writeln!(io::stderr(), "{text}"),
        _ => Ok(()),
    };
}

/// Questions go to standard error. At the end of input the answer is empty.
fn ask(question: &str) -> io::Result<String> {
    let mut err = io::stderr();
    err.write_all(question.as_bytes())?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if !io::stdin().is_terminal() {
        // Nobody has typed the end of this line.
        writeln!(err)?;
    }
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

fn paste(prompt: &str) -> io::Result<String> {
    writeln!(io::stderr(), "{prompt}")?;
    let mut pasted = Pasted::default();
    let mut line = String::new();
    while io::stdin().read_line(&mut line)? > 0 && pasted.line(&line) {
        line.clear();
    }
    Ok(pasted.text)
}

/// Octets of an event: a CRL of a thousand entries, a list of very many requests.
pub(super) const MAX_EVENT: u64 = 1 << 30;
