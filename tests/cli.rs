//! The program as an operator meets it: what is typed and what is shown, kept in `tests/transcripts`.
//!
//! A transcript is a session with its own state directory:
//!
//! ```text
//! # A comment.
//! $ tokenca configure -
//! < hostname ca1
//! shown on standard output and standard error
//! [exit 1]
//! ```
//!
//! `<` lines are standard input; `[exit N]` stands when N is not 0. `$ serve` starts a server, which is
//! stopped at the end or by `$ stop`. `{state}` is the state directory; `{*}` in a line is anything, a line
//! `{...}` is any lines. `$ until COMMAND` types a command until what is shown fits, for what a server does
//! by itself. A transcript that says `# needs a CA` has another server with a CA `upper`, which grants by
//! hand: `{ca}` is its address, and `$ ca COMMAND` is typed there. A transcript that says `# needs a token`
//! gets a SoftHSM token labelled `tokenca`, its PIN in `pin.txt`. `UPDATE_TRANSCRIPTS=1` writes what is shown
//! where it does not fit; `TRANSCRIPTS=part` takes those only whose names have this part.

#[path = "support/softhsm.rs"]
mod softhsm;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use softhsm::SoftHsm;

#[test]
fn transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    if let Ok(part) = std::env::var("TRANSCRIPTS") {
        files.retain(|file| file.file_name().is_some_and(|name| name.to_string_lossy().contains(&part)));
    }
    files.sort();
    assert!(!files.is_empty());
    // A few at once: each has servers and a token of its own, and some look at what has happened after a moment.
    let (next, report) = (Mutex::new(files.into_iter()), Mutex::new(String::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(file) = { next.lock().unwrap().next() } {
                    if let Err(difference) = replay(&file) {
                        let name = file.file_name().unwrap().to_string_lossy();
                        writeln!(report.lock().unwrap(), "{name}:\n{difference}").unwrap();
                    }
                }
            });
        }
    });
    let report = report.into_inner().unwrap();
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn the_reference_is_that_of_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands.md");
    let reference = tokenca::cli::reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &reference).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == reference, "docs/commands.md is stale: UPDATE_DOCS=1 cargo test --test cli writes it");
}

/// Transcripts replayed at the same time.
const AT_ONCE: usize = 8;

/// A `$` line with its input and what is shown.
struct Step {
    typed: String,
    input: Vec<String>,
    shown: Vec<String>,
}

fn replay(file: &Path) -> Result<(), String> {
    let text = fs::read_to_string(file).unwrap();
    let (head, steps) = steps(&text);
    let token = head.contains("# needs a token").then(SoftHsm::new);
    let upper = head.contains("# needs a CA").then(Upper::new);
    let mut session = Session::new(token, upper);
    let mut differences = String::new();
    let mut written = head;
    for step in steps {
        let shown = session.run(&step);
        let fits = fit(&shown, &step.shown);
        if !fits {
            let (wanted, shown) = (step.shown.join("\n"), shown.join("\n"));
            writeln!(differences, "$ {}\n-- wanted\n{wanted}\n-- shown\n{shown}\n--", step.typed).unwrap();
        }
        writeln!(written, "$ {}", step.typed).unwrap();
        step.input.iter().for_each(|line| writeln!(written, "{}", format!("< {line}").trim_end()).unwrap());
        let lines = if fits { step.shown } else { merged(shown, &step.shown) };
        lines.iter().for_each(|line| writeln!(written, "{line}").unwrap());
    }
    if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
        fs::write(file, written).unwrap();
        return Ok(());
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

/// What stands before the first step, and the steps.
fn steps(text: &str) -> (String, Vec<Step>) {
    let mut head = String::new();
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), line.strip_prefix("<"), steps.last_mut()) {
            (Some(typed), ..) => {
                steps.push(Step { typed: typed.to_owned(), input: Vec::new(), shown: Vec::new() });
            }
            (None, _, None) => writeln!(head, "{line}").unwrap(),
            (None, Some(input), Some(step)) => {
                step.input.push(input.strip_prefix(' ').unwrap_or(input).to_owned());
            }
            (None, None, Some(step)) => step.shown.push(line.to_owned()),
        }
    }
    (head, steps)
}

/// Whether lines are those wanted, in which `{...}` is any lines.
fn fit(shown: &[String], wanted: &[String]) -> bool {
    match wanted.split_first() {
        None => shown.is_empty(),
        Some((any, rest)) if any == "{...}" => (0..=shown.len()).any(|at| fit(&shown[at..], rest)),
        Some((line, rest)) => {
            shown.split_first().is_some_and(|(first, more)| matches(first, line) && fit(more, rest))
        }
    }
}

/// What is shown, with the lines of what was wanted for those that they fit: `{*}` stays.
fn merged(shown: Vec<String>, wanted: &[String]) -> Vec<String> {
    let mut wanted = wanted.iter();
    let line = |line: String| {
        let fits = |wanted: &&String| wanted.contains("{*}") && matches(&line, wanted);
        let at = wanted.clone().position(|wanted| fits(&wanted));
        at.and_then(|at| wanted.nth(at)).cloned().unwrap_or(line)
    };
    shown.into_iter().map(line).collect()
}

/// Whether a line is the one wanted, in which `{*}` is anything.
fn matches(shown: &str, wanted: &str) -> bool {
    let mut parts = wanted.split("{*}");
    let Some(mut rest) = shown.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn anything_is_anything() {
    assert!(matches("a b c", "a {*} c") && matches("ab", "ab") && matches("a", "{*}"));
    assert!(!matches("a b c", "a {*} d") && !matches("ab", "a") && !matches("b", "a{*}"));
    let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert!(fit(&lines("a b c d"), &lines("a {...} d")) && fit(&lines("a d"), &lines("a {...} d")));
    assert!(!fit(&lines("a b"), &lines("a {...} d")) && !fit(&lines("a b"), &lines("a")));
    assert!(matches("0x1 at 10:00 in x", "{*} at {*} in x"));
}

struct Session {
    // Before the directory: a server must not outlive it.
    server: Option<Child>,
    directory: tempfile::TempDir,
    token: Option<SoftHsm>,
    upper: Option<Upper>,
}

/// Another server, with a CA.
struct Upper {
    session: Box<Session>,
    address: String,
}

impl Upper {
    fn new() -> Self {
        let mut session = Box::new(Session::new(Some(SoftHsm::new()), None));
        fs::write(session.state().join("startup-config"), UPPER).unwrap();
        session.serve();
        let status = session.type_in("tokenca show ip http server status", &[]).join("\n");
        let port = status.lines().find_map(|line| line.strip_prefix("HTTP server port: ")).unwrap();
        Self { address: format!("127.0.0.1:{port}"), session }
    }
}

const UPPER: &str = "\
hostname upper
ip http server
ip http port 0
ip http bind 127.0.0.1
crypto pki token usbtoken0
 profile softhsm2
 label tokenca
 user-pin file pin.txt
crypto pki server upper
 issuer-name CN=upper, O=Example
 no shutdown
";

impl Session {
    fn new(token: Option<SoftHsm>, upper: Option<Upper>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        if let Some(token) = &token {
            fs::create_dir(directory.path().join("s")).unwrap();
            fs::copy(token.pin_file(), directory.path().join("s/pin.txt")).unwrap();
        }
        Self { server: None, directory, token, upper }
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    fn program(&self) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_tokenca"));
        program.env("TOKENCA_STATE", self.state()).env("TOKENCA_LOG", "warn,cryptoki=off");
        if let Some(token) = &self.token {
            let (name, value) = token.environment();
            program.env(name, value);
        }
        program
    }

    fn run(&mut self, step: &Step) -> Vec<String> {
        if let Some(typed) = step.typed.strip_prefix("until ") {
            let deadline = Instant::now() + Duration::from_secs(60);
            loop {
                let shown = self.type_in(typed, &step.input);
                if fit(&shown, &step.shown) || Instant::now() > deadline {
                    return shown;
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        match step.typed.as_str() {
            "serve" => self.serve(),
            "stop" => {
                self.stop();
                Vec::new()
            }
            typed => self.type_in(typed, &step.input),
        }
    }

    fn type_in(&self, typed: &str, input: &[String]) -> Vec<String> {
        if let (Some(typed), Some(upper)) = (typed.strip_prefix("ca "), &self.upper) {
            return upper.session.type_in(&format!("tokenca {typed}"), input);
        }
        let ca = self.upper.as_ref().map_or("{ca}", |upper| upper.address.as_str());
        let typed = typed.replace("{ca}", ca);
        let words = typed.strip_prefix("tokenca").unwrap_or_else(|| panic!("{typed}: is not tokenca"));
        // One pipe for both, as on a terminal.
        let (mut screen, out) = std::io::pipe().unwrap();
        let mut program = self.program();
        program.args(words.split_whitespace()).stdin(Stdio::piped());
        let mut child = program.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
        // Its copies of the pipe, which would keep it open.
        drop(program);
        let mut stdin = child.stdin.take().unwrap();
        // A program that reads nothing may be gone already.
        let _ = input.iter().try_for_each(|line| writeln!(stdin, "{}", line.replace("{ca}", ca)));
        drop(stdin);
        let mut text = String::new();
        screen.read_to_string(&mut text).unwrap();
        let text = text.replace(&self.state().display().to_string(), "{state}").replace(ca, "{ca}");
        let mut shown: Vec<_> = text.lines().map(|line| line.trim_end().to_owned()).collect();
        match child.wait().unwrap().code() {
            Some(0) => {}
            Some(code) => shown.push(format!("[exit {code}]")),
            None => shown.push("[killed]".into()),
        }
        shown
    }

    fn serve(&mut self) -> Vec<String> {
        assert!(self.server.is_none(), "a server runs already");
        let mut child = self.program().arg("serve").stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        self.server = Some(child);
        vec![ready.trim_end().to_owned()]
    }

    /// As systemd does.
    fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let killed = Command::new("sh").args(["-c", &format!("kill -TERM {}", server.id())]).status();
        assert!(killed.unwrap().success());
        let status = server.wait().unwrap();
        assert!(status.success(), "the server stopped with {status}");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
