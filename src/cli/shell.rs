//! The interactive shell: prompts from the server, lines from a terminal with editing, history, Tab and `?`.
//! Where standard input is no terminal, lines are read from it and shown behind their prompts.

use std::cell::RefCell;
use std::io::{self, BufReader, IsTerminal};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Config, Context, Editor, EventContext, EventHandler,
    ExternalPrinter, Helper, KeyEvent, RepeatCount,
};

use super::client::{MAX_EVENT, answer, show};
use super::holds_secret;
use super::protocol::{Event, Request, Typed, receive, send};

/// Runs the shell on a connection; `first` is typed before anything else. Returns what the program exits with.
pub fn run(stream: UnixStream, request: &Request, first: Option<&str>) -> io::Result<u8> {
    let reader = BufReader::new(stream.try_clone()?);
    let (sender, events) = channel();
    let link = Rc::new(RefCell::new(Link { writer: stream, events }));
    // A server with too much to do answers before it has read anything: then its answer tells.
    let _ = link.borrow_mut().send(request);
    let mut lines: Box<dyn Lines> = match io::stdin().is_terminal() && io::stdout().is_terminal() {
        true => Box::new(Terminal::new(&link)?),
        false => Box::new(Piped),
    };
    let printer = lines.printer()?;
    thread::Builder::new().name("events".into()).spawn(move || forward(reader, &sender, printer))?;
    let mut first = first.map(str::to_owned);
    loop {
        let event = link.borrow_mut().next()?;
        let typed = match &event {
            Event::Exit(code) => return Ok(*code),
            Event::Prompt(prompt) => match first.take() {
                Some(line) => Some(Typed::Line(line)),
                None => match lines.read(prompt)? {
                    Some(line) => Some(Typed::Line(line)),
                    None => {
                        link.borrow().writer.shutdown(Shutdown::Write)?;
                        None
                    }
                },
            },
            question => answer(question)?,
        };
        match typed {
            Some(typed) => link.borrow_mut().send(&typed)?,
            None => show(&event),
        }
    }
}

/// The connection, shared with the completion.
struct Link {
    writer: UnixStream,
    events: Receiver<Event>,
}

impl Link {
    fn send(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        send(&mut self.writer, value)
    }

    fn next(&mut self) -> io::Result<Event> {
        self.events.recv().map_err(|_| io::ErrorKind::UnexpectedEof.into())
    }

    fn complete(&mut self, line: &str) -> io::Result<Vec<String>> {
        self.send(&Typed::Complete(line.to_owned()))?;
        match self.next()? {
            Event::Words(words) => Ok(words),
            _ => Ok(Vec::new()),
        }
    }

    fn help(&mut self, line: &str) -> io::Result<()> {
        self.send(&Typed::Help(line.to_owned()))?;
        show(&self.next()?);
        Ok(())
    }
}

/// Hands events on; lines of the log are shown at once, above the line that is being typed.
fn forward(mut reader: BufReader<UnixStream>, events: &Sender<Event>, mut printer: Printer) {
    loop {
        match receive(&mut reader, MAX_EVENT) {
            Ok(Event::Log(line)) => printer(line),
            Ok(event) => {
                let last = matches!(event, Event::Exit(_));
                if events.send(event).is_err() || last {
                    return;
                }
            }
            Err(_) => return printer("% The server has ended the connection.".into()),
        }
    }
}

/// Shows a line while another is being typed.
type Printer = Box<dyn FnMut(String) + Send>;

/// Where lines come from.
trait Lines {
    /// The next line; `None` when there are no more.
    fn read(&mut self, prompt: &str) -> io::Result<Option<String>>;

    /// What shows lines meanwhile.
    fn printer(&mut self) -> io::Result<Printer>;
}

/// Standard input that is no terminal.
struct Piped;

impl Lines for Piped {
    fn read(&mut self, prompt: &str) -> io::Result<Option<String>> {
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line)?;
        let line = line.trim_end_matches(['\r', '\n']);
        show(&Event::Out(format!("{prompt}{line}\n")));
        Ok((read > 0).then(|| line.to_owned()))
    }

    fn printer(&mut self) -> io::Result<Printer> {
        Ok(Box::new(|line| show(&Event::Log(line))))
    }
}

/// A terminal.
struct Terminal {
    editor: Editor<Assistant, MemHistory>,
    link: Rc<RefCell<Link>>,
    key: Arc<Key>,
}

impl Terminal {
    fn new(link: &Rc<RefCell<Link>>) -> io::Result<Self> {
        // Lines may hold passwords that are not known to be some: the history is forgotten at the end.
        let config = Config::builder().completion_type(CompletionType::List).auto_add_history(false).build();
        let mut editor = Editor::with_history(config, MemHistory::new()).map_err(io_error)?;
        editor.set_helper(Some(Assistant(link.clone())));
        let key = Arc::<Key>::default();
        for (event, which) in [(KeyEvent::from('?'), HELP), (KeyEvent::ctrl('Z'), CTRL_Z)] {
            let handler = Pressed { key: key.clone(), which };
            editor.bind_sequence(event, EventHandler::Conditional(Box::new(handler)));
        }
        Ok(Self { editor, link: link.clone(), key })
    }
}

impl Lines for Terminal {
    fn read(&mut self, prompt: &str) -> io::Result<Option<String>> {
        let (mut left, mut right) = (String::new(), String::new());
        loop {
            let line = match self.editor.readline_with_initial(prompt, (&left, &right)) {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => {
                    (left, right) = Default::default();
                    continue;
                }
                Err(ReadlineError::Eof) => return Ok(Some("exit".into())),
                Err(error) => return Err(io_error(error)),
            };
            match self.key.take() {
                (HELP, at) => {
                    let (before, after) = line.split_at_checked(at).unwrap_or((&line, ""));
                    self.link.borrow_mut().help(before)?;
                    (left, right) = (before.to_owned(), after.to_owned());
                    continue;
                }
                (which, _) => {
                    if !holds_secret(&line) {
                        let _ = self.editor.add_history_entry(&line);
                    }
                    let end = if which == CTRL_Z { "\u{1a}" } else { "" };
                    return Ok(Some(quoted(line) + end));
                }
            }
        }
    }

    fn printer(&mut self) -> io::Result<Printer> {
        let mut printer = self.editor.create_external_printer().map_err(io_error)?;
        Ok(Box::new(move |line| {
            // The terminal is gone: so is who would read it.
            let _ = printer.print(line + "\n");
        }))
    }
}

/// A `?` that was typed after Ctrl-V stands for itself; behind Ctrl-V the server knows.
fn quoted(line: String) -> String {
    match line.strip_suffix('?') {
        Some(start) => format!("{start}\u{16}?"),
        None => line,
    }
}

/// The key that ended a line, when it was not Enter.
#[derive(Default)]
struct Key {
    which: AtomicUsize,
    at: AtomicUsize,
}

impl Key {
    fn take(&self) -> (usize, usize) {
        (self.which.swap(0, Ordering::Relaxed), self.at.load(Ordering::Relaxed))
    }
}

struct Pressed {
    key: Arc<Key>,
    which: usize,
}

impl ConditionalEventHandler for Pressed {
    fn handle(
        &self,
        _: &rustyline::Event,
        _: RepeatCount,
        _: bool,
        context: &EventContext<'_>,
    ) -> Option<Cmd> {
        self.key.which.store(self.which, Ordering::Relaxed);
        self.key.at.store(context.pos(), Ordering::Relaxed);
        Some(Cmd::AcceptLine)
    }
}

/// Completes words by asking the server.
struct Assistant(Rc<RefCell<Link>>);

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let line = &line[..at];
        let words = self.0.borrow_mut().complete(line)?;
        let only = words.len() == 1;
        let pair = |word: String| {
            let replacement = if only { format!("{word} ") } else { word.clone() };
            Pair { display: word, replacement }
        };
        let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        Ok((start, words.into_iter().map(pair).collect()))
    }
}

impl Helper for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {}

impl Validator for Assistant {}

fn io_error(error: ReadlineError) -> io::Error {
    match error {
        ReadlineError::Io(error) => error,
        error => io::Error::other(error.to_string()),
    }
}

const HELP: usize = 1;
const CTRL_Z: usize = 2;
