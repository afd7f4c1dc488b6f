//! The program's side: sends a task to the running server, or does it itself when none runs.

use std::io::{self, BufReader, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::command::Messages;
use super::protocol::{Answer, Event, Request, Task, events, receive, send};
use super::{CommandError, Console, Options, Output, Pasted, SOCKET, configured, execute_on, startup};
use crate::node::Node;

/// Runs one exec command. Returns what the program exits with.
pub fn exec(state: &Path, words: Vec<String>, options: Options) -> u8 {
    run(state, Request { task: Task::Exec { words }, json: options.json, yes: options.yes })
}

/// Applies lines of the configuration: to the running one, and to the startup configuration when no
/// server runs. Returns what the program exits with.
pub fn configure(state: &Path, text: String, options: Options) -> u8 {
    run(state, Request { task: Task::Configure { text }, json: options.json, yes: options.yes })
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

fn run(state: &Path, request: Request) -> u8 {
    let socket = state.join(SOCKET);
    let done = match UnixStream::connect(&socket) {
        Ok(stream) => talk(stream, &request),
        Err(error) if nobody_listens(&error) => {
            let json = request.json;
            let result = alone(state, request, &mut Terminal);
            Ok(events(result, json).into_iter().find_map(show).unwrap_or(0))
        }
        Err(error) => Err(error),
    };
    done.unwrap_or_else(|error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "\n% The socket is for the user that the server runs as.",
            io::ErrorKind::UnexpectedEof => "\n% It has ended the connection; its log may say why.",
            io::ErrorKind::InvalidInput => "\n% Choose a state directory with a shorter name.",
            _ => "",
        };
        show(Event::Error(format!("% the server cannot be asked on {}: {error}{hint}", socket.display())));
        1
    })
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
        match event {
            Event::Question(question) => {
                let answer = Terminal.ask(&question)?;
                send(&mut writer, &Answer { answer })?;
            }
            Event::Secret(question) => {
                let answer = Terminal.ask_secret(&question)?.expose_secret().to_owned();
                send(&mut writer, &Answer { answer })?;
            }
            Event::Paste(prompt) => {
                let answer = Terminal.paste(&prompt)?;
                send(&mut writer, &Answer { answer })?;
            }
            event => {
                if let Some(code) = show(event) {
                    return Ok(code);
                }
            }
        }
    }
}

/// With no server: on the state directory itself, which the node locks.
fn alone(state: &Path, request: Request, console: &mut dyn Console) -> Result<Output, CommandError> {
    let options = request.options();
    match request.task {
        Task::Exec { words } => {
            let node = || match state.is_dir() {
                true => start(state),
                // A mistyped --state makes no directory.
                false => Err(CommandError::Refused(format!(
                    "there is no state directory {}; `tokenca serve` or `tokenca configure` makes it",
                    state.display()
                ))),
            };
            execute_on(node, &words, options, console)
        }
        Task::Configure { text } => {
            let node = start(state)?;
            let mut messages = configured(&node, &text, options, console)?;
            startup::write(state, &node.configuration())?;
            messages.push("% No server is running: saved as the startup configuration.".into());
            Ok(Output::of(Messages { messages }))
        }
    }
}

fn start(state: &Path) -> Result<Arc<Node>, CommandError> {
    Ok(Node::start(state.to_owned(), startup::read(state)?)?)
}

/// Shows an event; the exit code at the end.
fn show(event: Event) -> Option<u8> {
    // Whoever reads our output may have seen enough.
    match event {
        Event::Out(text) => {
            let mut out = io::stdout().lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
        Event::Question(text) | Event::Secret(text) | Event::Paste(text) | Event::Error(text) => {
            let _ = writeln!(io::stderr(), "{text}");
        }
        Event::Exit(code) => return Some(code),
    }
    None
}

/// The terminal, or whatever stands in for it. Questions go to standard error.
struct Terminal;

impl Console for Terminal {
    fn say(&mut self, text: &str) -> io::Result<()> {
        show(Event::Out(text.to_owned()));
        Ok(())
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        let mut err = io::stderr();
        err.write_all(question.as_bytes())?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        if !io::stdin().is_terminal() {
            // Nobody has typed the end of this line.
            writeln!(err)?;
        }
        Ok(answer.trim().to_owned())
    }

    fn ask_secret(&mut self, question: &str) -> io::Result<SecretString> {
        if io::stdin().is_terminal() {
            return rpassword::prompt_password(question).map(SecretString::from);
        }
        self.ask(question).map(SecretString::from)
    }

    fn paste(&mut self, prompt: &str) -> io::Result<String> {
        writeln!(io::stderr(), "{prompt}")?;
        let mut pasted = Pasted::default();
        let mut line = String::new();
        while io::stdin().read_line(&mut line)? > 0 && pasted.line(&line) {
            line.clear();
        }
        Ok(pasted.text)
    }
}

/// Octets of an event: a CRL of a thousand entries, a list of very many requests.
const MAX_EVENT: u64 = 1 << 30;
