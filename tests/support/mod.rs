//! What the tests share: servers with tokens, SCEP clients of other makers and one of our own, other
//! programs' opinions on what was issued.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]
#![allow(missing_docs, reason = "of interest to these tests only")]

pub mod ca;
pub mod card;
pub mod certmonger;
pub mod charon;
pub mod device;
pub mod fakeca;
pub mod faulty;
pub mod fileservers;
pub mod formca;
pub mod http;
pub mod ios;
pub mod keys;
pub mod modules;
pub mod netns;
pub mod openssl_pki;
pub mod opinion;
pub mod responder;
pub mod scepclient;
pub mod scepserver;
pub mod shell;
pub mod softhsm;
pub mod strongswan;
pub mod wire;
pub mod world;

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub use ca::Ca;

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    pub what: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(what: &str, output: Output) -> Self {
        let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
        Self {
            what: what.to_owned(),
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// It must have exited with 0.
    #[track_caller]
    pub fn success(self) -> Self {
        self.exited(0)
    }

    /// It must have exited with this.
    #[track_caller]
    pub fn exited(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}{}", self.what, self.stdout, self.stderr);
        self
    }

    /// It must have said this, on either stream.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(said, "{}\ndoes not say {text:?}:\n{}{}", self.what, self.stdout, self.stderr);
        self
    }
}

/// Runs a program without input. One that is not installed fails the test.
#[track_caller]
pub fn run(program: &mut Command) -> Ran {
    let what = format!("{program:?}");
    let output = program.stdin(Stdio::null()).output();
    Ran::of(&what, output.unwrap_or_else(|error| panic!("{what}: {error}; see scripts/install-deps")))
}

/// Asks again and again until there is an answer; fails when there is none in half a minute.
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "half a minute has passed and not: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Tells that a test does not run here and why: on standard error, past the harness, which keeps what `eprintln!`
/// says to itself, and in the file `TOKENCA_SKIPPED`, which scripts/test shows at its end.
pub fn skipped(test: &str, why: &str) {
    let file = module_path!().split("::").next().unwrap_or_default();
    let line = format!("SKIPPED {file} {test}: {}\n", why.trim());
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(file) = std::env::var_os("TOKENCA_SKIPPED") {
        let file = OpenOptions::new().append(true).create(true).open(file);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the list of tests skipped");
    }
}
