//! The command socket: a Unix socket in the state directory, for its owner and the members of `socket group`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::access::Members;
use super::protocol::{Event, send, shown};
use super::source::Source;
use super::{CommandError, connection};
use crate::node::Node;

/// The command socket, in the state directory.
pub const SOCKET: &str = "tokenca.sock";

/// A command socket being served, until this is dropped: no new commands then, and those that run get a little
/// time to end.
pub struct Handle {
    path: PathBuf,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// Serves commands for `node` on the socket `path`, which is made anew: whoever holds the lock of the
/// state directory may do that.
pub fn serve(node: Arc<Node>, path: &Path) -> io::Result<Handle> {
    let listener = bind(path)?;
    let shared = Arc::new(Shared::default());
    let accepting = {
        let shared = shared.clone();
        thread::Builder::new().name("cli".into()).spawn(move || accept(&listener, &node, &shared))?
    };
    Ok(Handle { path: path.to_owned(), shared, accepting: Some(accepting) })
}

impl Handle {
    /// Lets the members of this group use the socket as well; nobody of the group before.
    pub fn share(&self, group: Option<&str>) -> io::Result<()> {
        let state = self.path.parent().unwrap_or(Path::new("."));
        // Whatever goes wrong, the socket is not open to a group that is not wanted any more.
        Members::NONE.share_socket(&self.path)?;
        let members = Members::of(group)?;
        members.share_directory(state)?;
        members.share_socket(&self.path)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes `accept` up. When nothing listens any more it needs no waking.
        let _ = UnixStream::connect(&self.path);
        let _ = fs::remove_file(&self.path);
        if let Some(accepting) = self.accepting.take() {
            // A panic there was shown when it happened.
            let _ = accepting.join();
        }
        let sessions = std::mem::take(&mut *self.shared.sessions());
        for session in sessions.values() {
            // Questions end as if the operator were gone; results can still be written.
            let _ = session.stream.shutdown(Shutdown::Read);
        }
        let until = Instant::now() + LAST_PATIENCE;
        for session in sessions.into_values() {
            while !session.thread.is_finished() && Instant::now() < until {
                thread::sleep(PAUSE);
            }
            // One that waits for another machine ends with the process.
            if session.thread.is_finished() {
                let _ = session.thread.join();
            }
        }
    }
}

#[derive(Default)]
struct Shared {
    stopping: Arc<AtomicBool>,
    sessions: Mutex<BTreeMap<u64, Session>>,
}

struct Session {
    stream: UnixStream,
    thread: JoinHandle<()>,
}

impl Shared {
    fn sessions(&self) -> MutexGuard<'_, BTreeMap<u64, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Made under another name and renamed: the socket is never there with other permissions.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    Members::NONE.share_socket(&new)?;
    fs::rename(&new, path)?;
    Ok(listener)
}

fn accept(listener: &UnixListener, node: &Arc<Node>, shared: &Arc<Shared>) {
    for id in 0u64.. {
        let stream = listener.accept();
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let started = stream.and_then(|(stream, _)| start(id, stream, node, shared));
        if let Err(error) = started {
            tracing::warn!(%error, "a command connection could not be served");
            // Out of files or threads: those that are served must end first.
            thread::sleep(PAUSE);
        }
    }
}

fn start(id: u64, mut stream: UnixStream, node: &Arc<Node>, shared: &Arc<Shared>) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    // Held until the session is in the map, so that it cannot end before.
    let mut sessions = shared.sessions();
    sessions.retain(|_, session| !session.thread.is_finished());
    if sessions.len() >= MAX_SESSIONS {
        let refused =
            CommandError::Refused(format!("{MAX_SESSIONS} commands and shells run already; try again later"));
        let (event, code) = shown(Err(refused), false);
        event.iter().try_for_each(|event| send(&mut stream, event))?;
        return send(&mut stream, &Event::Exit(code));
    }
    let kept = stream.try_clone()?;
    let (source, stopping) = (Source::Server(node.clone()), shared.stopping.clone());
    let thread = thread::Builder::new().name(format!("cli {id}")).spawn(move || {
        if let Err(error) = connection::serve(stream, source, stopping) {
            tracing::debug!(%error, "a command connection broke");
        }
    })?;
    sessions.insert(id, Session { stream: kept, thread });
    Ok(())
}

/// Commands and shells at once.
const MAX_SESSIONS: usize = 64;
/// A reader that does not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// After an error of `accept`, and between two looks at a command that is to end.
const PAUSE: Duration = Duration::from_millis(20);
/// How long commands may take when nothing is served any more.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::protocol::{Request, Task, Typed, receive};
    use crate::config::Configuration;

    fn ask(path: &Path, request: &str, answers: &[&str]) -> Vec<Event> {
        let mut writer = UnixStream::connect(path).unwrap();
        let mut reader = BufReader::new(writer.try_clone().unwrap());
        writer.write_all(request.as_bytes()).unwrap();
        let mut answers = answers.iter();
        let mut seen = Vec::new();
        while let Ok(event) = receive(&mut reader, 1 << 20) {
            if matches!(event, Event::Question(_)) {
                send(&mut writer, &Typed::Answer((*answers.next().unwrap()).into())).unwrap();
            }
            seen.push(event);
        }
        seen
    }

    fn configure(text: &str) -> String {
        let task = Task::Configure { text: text.into() };
        let request = Request { task, json: false, yes: false };
        serde_json::to_string(&request).unwrap() + "\n"
    }

    #[test]
    fn commands_are_served_until_the_handle_is_dropped() {
        let state = tempfile::tempdir().unwrap();
        let node = Node::start(state.path().to_owned(), Configuration::default()).unwrap();
        let path = state.path().join(SOCKET);
        let handle = serve(node.clone(), &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let show = "{\"task\":{\"exec\":{\"words\":[\"show\",\"version\"]}},\"json\":true,\"yes\":false}\n";
        let events = ask(&path, show, &[]);
        assert!(matches!(&events[..], [Event::Out(json), Event::Exit(0)] if json.contains("\"version\"")));
        assert_eq!(ask(&path, "nonsense\n", &[]), []);

        // A question, answered by no and by yes.
        assert_eq!(ask(&path, &configure("crypto pki server x"), &[]), [Event::Exit(0)]);
        let remove = configure("no crypto pki server x");
        let events = ask(&path, &remove, &["no"]);
        assert!(matches!(&events[..], [Event::Question(_), Event::Error(_), Event::Exit(1)]), "{events:?}");
        assert_eq!(node.servers(), ["x"]);
        let events = ask(&path, &remove, &["yes"]);
        assert!(matches!(&events[..], [Event::Question(_), .., Event::Exit(0)]), "{events:?}");
        assert!(node.servers().is_empty());

        // Stopping does not wait for an operator who does not answer.
        ask(&path, &configure("crypto pki server x"), &[]);
        let mut silent = UnixStream::connect(&path).unwrap();
        silent.write_all(remove.as_bytes()).unwrap();
        let mut reader = BufReader::new(silent);
        assert!(matches!(receive(&mut reader, 1000).unwrap(), Event::Question(_)));
        drop(handle);
        assert!(matches!(receive(&mut reader, 1000).unwrap(), Event::Error(_)));
        assert_eq!(node.servers(), ["x"]);
        assert!(!path.exists());
    }

    #[test]
    fn too_many_sessions_are_told() {
        let state = tempfile::tempdir().unwrap();
        let node = Node::start(state.path().to_owned(), Configuration::default()).unwrap();
        let path = state.path().join(SOCKET);
        let _handle = serve(node, &path).unwrap();
        let waiting: Vec<_> = (0..MAX_SESSIONS).map(|_| UnixStream::connect(&path).unwrap()).collect();
        let events = ask(&path, "", &[]);
        assert!(matches!(&events[..], [Event::Error(text), Event::Exit(1)] if text.contains("try again")));
        drop(waiting);
    }
}
