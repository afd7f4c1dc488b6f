//! One connection on the command socket, from the server's side: a session whose console is at the other end.

use std::io::{self, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use secrecy::SecretString;

use super::audit::Operator;
use super::protocol::{self, Event, Request, Task, Typed, receive, shown};
use super::source::Source;
use super::{CommandError, Console, Options, Output, Session};
use crate::log;

/// Serves one connection to its end. `stopping` is set when the process is to stop.
pub fn serve(stream: UnixStream, source: Source, stopping: Arc<AtomicBool>) -> io::Result<()> {
    let mut peer = Peer::new(stream, stopping)?;
    peer.reader.get_ref().set_read_timeout(Some(REQUEST_TIMEOUT))?;
    let request: Request = receive(&mut peer.reader, MAX_REQUEST)?;
    let options = Options { json: request.json, yes: request.yes };
    let mut session = Session::new(source, options, Operator::of(peer.reader.get_ref()));
    let code = match request.task {
        Task::Exec { words } => {
            let result = session.line(&words.join(" "), &mut peer);
            peer.show(result, options)
        }
        Task::Configure { text } => {
            let result = session.script(&text, &mut peer);
            peer.show(result, options)
        }
        Task::Shell => peer.shell(&mut session, options),
    }?;
    peer.watch()?;
    peer.writer.send(&Event::Exit(code))
}

struct Peer {
    reader: BufReader<UnixStream>,
    writer: Arc<Writer>,
    // Set while lines of the log are shown.
    monitor: Option<Arc<AtomicBool>>,
}

/// What is written to: by the session, and by who shows it the log.
struct Writer {
    stream: Mutex<UnixStream>,
    stopping: Arc<AtomicBool>,
}

impl Peer {
    fn new(stream: UnixStream, stopping: Arc<AtomicBool>) -> io::Result<Self> {
        stream.set_write_timeout(Some(PATIENCE))?;
        let writer = Writer { stream: Mutex::new(stream.try_clone()?), stopping };
        Ok(Self { reader: BufReader::new(stream), writer: Arc::new(writer), monitor: None })
    }

    /// Shows the result of a command. Returns what a program exits with after it.
    fn show(&self, result: Result<Output, CommandError>, options: Options) -> io::Result<u8> {
        let (event, code) = shown(result, options.json);
        event.map_or(Ok(()), |event| self.writer.send(&event))?;
        Ok(code)
    }

    /// Lines until the operator leaves. Returns the code of the last.
    fn shell(&mut self, session: &mut Session, options: Options) -> io::Result<u8> {
        let mut code = 0;
        while !session.has_ended() {
            self.writer.send(&Event::Prompt(session.prompt()))?;
            let Some(line) = self.typed(session)? else { break };
            let result = session.line(&line, self);
            code = self.show(result, options)?;
        }
        self.writer.send(&Event::Exit(code))?;
        self.monitor(false)?;
        Ok(code)
    }

    /// The next line; completes what is to be completed meanwhile. `None` when there are no more.
    fn typed(&mut self, session: &Session) -> io::Result<Option<String>> {
        self.reader.get_ref().set_read_timeout(None)?;
        loop {
            match receive(&mut self.reader, MAX_REQUEST) {
                Ok(Typed::Line(line)) => return Ok(Some(line)),
                Ok(Typed::Complete(line)) => self.writer.send(&Event::Words(session.complete(&line)))?,
                Ok(Typed::Help(line)) => self.writer.send(&match session.help(&(line + "?")) {
                    Ok(help) => Event::Out(help.map(|help| help.render(false)).unwrap_or_default()),
                    Err(error) => Event::Error(error.to_string()),
                })?,
                // To a question that is not asked any more.
                Ok(Typed::Answer(_)) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Stays while the log is shown, until the other end goes.
    fn watch(&mut self) -> io::Result<()> {
        if self.monitor.is_some() {
            self.reader.get_ref().set_read_timeout(None)?;
            io::copy(&mut self.reader, &mut io::sink())?;
        }
        Ok(())
    }

    fn answer(&mut self, question: &Event, limit: u64) -> io::Result<String> {
        self.writer.send(question)?;
        self.reader.get_ref().set_read_timeout(Some(ANSWER_TIMEOUT))?;
        match receive(&mut self.reader, limit)? {
            Typed::Answer(answer) => Ok(answer),
            Typed::Line(_) | Typed::Complete(_) | Typed::Help(_) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "an answer was expected"))
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.monitor.take().iter().for_each(|on| on.store(false, Ordering::Relaxed));
        // Others have the socket too: closing it here would not end the connection.
        let _ = self.reader.get_ref().shutdown(Shutdown::Both);
    }
}

impl Console for Peer {
    fn say(&mut self, text: &str) -> io::Result<()> {
        self.writer.send(&Event::Out(text.to_owned()))
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        self.answer(&Event::Question(question.to_owned()), MAX_ANSWER)
    }

    fn ask_secret(&mut self, question: &str) -> io::Result<SecretString> {
        self.answer(&Event::Secret(question.to_owned()), MAX_ANSWER).map(SecretString::from)
    }

    fn paste(&mut self, prompt: &str) -> io::Result<String> {
        self.answer(&Event::Paste(prompt.to_owned()), MAX_REQUEST)
    }

    fn monitor(&mut self, on: bool) -> io::Result<bool> {
        match (on, &self.monitor) {
            (true, None) => {
                let wanted = Arc::new(AtomicBool::new(true));
                let (monitor, writer) = (log::hub().watch(), self.writer.clone());
                let still = wanted.clone();
                thread::Builder::new().name("monitor".into()).spawn(move || {
                    while !writer.is_stopping() {
                        let line = monitor.next(PATIENCE);
                        // After the line: none is shown that comes when no more are wanted.
                        if !still.load(Ordering::Relaxed) {
                            return;
                        }
                        if line.is_some_and(|line| writer.send_log(&line).is_err()) {
                            return;
                        }
                    }
                })?;
                self.monitor = Some(wanted);
            }
            (false, Some(wanted)) => {
                wanted.store(false, Ordering::Relaxed);
                self.monitor = None;
            }
            _ => {}
        }
        Ok(true)
    }
}

impl Writer {
    /// Sends an event, unless nothing of it is taken for half a minute.
    fn send(&self, event: &Event) -> io::Result<()> {
        self.write(event, |waited| waited > WRITE_TIMEOUT)
    }

    /// Sends a line of the log, however long the terminal is stopped: further lines are lost meanwhile.
    fn send_log(&self, line: &str) -> io::Result<()> {
        self.write(&Event::Log(line.to_owned()), |_| self.is_stopping())
    }

    fn write(&self, event: &Event, gives_up: impl Fn(Duration) -> bool) -> io::Result<()> {
        let line = protocol::line(event)?;
        let mut rest = &line[..];
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let mut since = Instant::now();
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    since = Instant::now();
                }
                Err(error) if is_wait(&error) && !gives_up(since.elapsed()) => {}
                Err(error) => {
                    // Half a line: nothing can follow it.
                    let _ = stream.shutdown(Shutdown::Both);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

fn is_wait(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// Octets of a request: a configuration of many servers has a tenth.
const MAX_REQUEST: u64 = 1 << 20;
/// Octets of an answer.
const MAX_ANSWER: u64 = 1 << 12;
/// Programs send their request at once.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// People may think.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// A reader that does not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a write or a quiet log waits before it looks whether it is still wanted.
const PATIENCE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::config::Configuration;
    use crate::node::Node;

    /// A shell on a node of its own: our end, and the flag that stops it.
    fn shell(state: &std::path::Path) -> (UnixStream, Arc<AtomicBool>, thread::JoinHandle<()>) {
        let node = Node::start(state.to_owned(), Configuration::default()).unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let stopping = Arc::<AtomicBool>::default();
        let thread = {
            let stopping = stopping.clone();
            thread::spawn(move || drop(serve(theirs, Source::Server(node), stopping)))
        };
        protocol::send(&mut ours, &Request { task: Task::Shell, json: false, yes: false }).unwrap();
        (ours, stopping, thread)
    }

    fn until(reader: &mut BufReader<UnixStream>, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = receive(reader, 1 << 20).unwrap();
            if wanted(&event) {
                return event;
            }
        }
    }

    #[test]
    fn a_terminal_that_does_not_read_keeps_nobody_waiting() {
        let state = tempfile::tempdir().unwrap();
        let (mut ours, stopping, thread) = shell(state.path());
        let mut reader = BufReader::new(ours.try_clone().unwrap());
        let is_prompt = |event: &Event| matches!(event, Event::Prompt(_));
        until(&mut reader, is_prompt);
        protocol::send(&mut ours, &Typed::Line("terminal monitor".into())).unwrap();
        until(&mut reader, is_prompt);

        let _guard = tracing::subscriber::set_default(Registry::default().with(log::feed(log::hub())));
        let long = "x".repeat(1000);
        for n in 0..5000 {
            tracing::info!(target: "TEST-6-LINE", "{n} {long}");
        }
        // It reads again: it has the first lines, and is told how many it has not.
        let is_lost =
            |event: &Event| matches!(event, Event::Log(line) if line.contains("lines of the log were lost"));
        until(&mut reader, is_lost);
        protocol::send(&mut ours, &Typed::Line("show version".into())).unwrap();
        until(&mut reader, |event| matches!(event, Event::Out(text) if text.starts_with("tokenca")));

        // Stopping does not wait for it either.
        for n in 0..5000 {
            tracing::info!(target: "TEST-6-LINE", "{n} {long}");
        }
        stopping.store(true, Ordering::Relaxed);
        ours.shutdown(Shutdown::Write).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn a_shell_completes_helps_and_ends() {
        let state = tempfile::tempdir().unwrap();
        let (mut ours, _stopping, thread) = shell(state.path());
        let mut reader = BufReader::new(ours.try_clone().unwrap());
        let is_prompt = Event::Prompt("tokenca#".into());
        assert_eq!(receive::<Event>(&mut reader, 1 << 20).unwrap(), is_prompt);
        // An answer that nobody asked for is passed over.
        protocol::send(&mut ours, &Typed::Answer("x".into())).unwrap();
        let mut ask = |typed: Typed| {
            protocol::send(&mut ours, &typed).unwrap();
            receive::<Event>(&mut reader, 1 << 20).unwrap()
        };
        assert_eq!(ask(Typed::Complete("show ver".into())), Event::Words(vec!["version".into()]));
        let help = "  version  Version of this program\n";
        assert_eq!(ask(Typed::Help("show ver".into())), Event::Out(help.into()));
        let error = "show nothing\n     ^\n% Invalid input detected at '^' marker.";
        assert_eq!(ask(Typed::Help("show nothing ".into())), Event::Error(error.into()));
        assert_eq!(ask(Typed::Line("exit".into())), Event::Exit(0));
        thread.join().unwrap();
    }
}
