//! The token of which a story is told, and what it lacks.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use tokenca::pki::KeyKind;
use tokenca::token::{PinSource, Selector, TokenConfig};
use toml::{Table, Value};

use super::support::modules::TestModule;
use super::{P256, RSA};

/// What the stories know of the token.
pub struct Subject {
    pub name: &'static str,
    pub library: PathBuf,
    pub label: String,
    pub pin: String,
    slot: Option<u64>,
    parameters: Option<String>,
    pub apart: bool,
    /// Work of a second with other tokens takes this one half a minute.
    pub slow: bool,
    lacks: &'static [Lack],
    met: Mutex<BTreeSet<usize>>,
}

/// Something that the stories do and the token cannot: its name, in which `*` is anything; and words
/// of the error.
pub type Lack = (&'static str, &'static str);

static SUBJECT: OnceLock<Subject> = OnceLock::new();

impl Subject {
    /// From here on this process tells of `module`.
    pub fn is(module: &TestModule, apart: bool, slow: bool, lacks: &'static [Lack]) -> &'static Self {
        SUBJECT.get_or_init(|| Self {
            name: module.name,
            library: module.library.clone(),
            label: module.label.clone(),
            pin: module.pin.clone(),
            slot: module.slot,
            parameters: module.parameters.clone(),
            apart,
            slow,
            lacks,
            met: Mutex::default(),
        })
    }

    /// Every lack that is listed was met.
    pub fn all_lacks_were_met(&self) {
        let met = self.met.lock().unwrap();
        let unmet = (0..self.lacks.len()).filter(|at| !met.contains(at)).map(|at| self.lacks[at]);
        assert_eq!(unmet.collect::<Vec<_>>(), [], "nothing was tried of this");
    }

    /// `pkcs11-tool` with this token.
    pub fn pkcs11_tool(&self) -> Command {
        let mut command = Command::new("pkcs11-tool");
        command.arg("--module").arg(&self.library);
        match self.slot {
            Some(slot) => command.args(["--slot", &slot.to_string()]),
            None => command.args(["--token-label", &self.label]),
        };
        command
    }
}

/// The token of this process.
pub fn subject() -> &'static Subject {
    SUBJECT.get().expect("a story runs in a process of its own")
}

/// What came of doing `what`: `None` where the token is known to lack it. It must lack what it is said to,
/// with the words that are listed, and nothing else.
#[track_caller]
pub fn may<T, E: AsError>(what: &str, result: Result<T, E>) -> Option<T> {
    let subject = subject();
    let is = |(name, _): &Lack| is_like(what, name);
    match (subject.lacks.iter().position(is), result) {
        (None, Ok(done)) => Some(done),
        (None, Err(error)) => panic!("{}, {what}: {}", subject.name, told(error.as_error())),
        (Some(_), Ok(_)) => panic!("{} is said not to do it, and does: {what}", subject.name),
        (Some(at), Err(error)) => {
            let (told, words) = (told(error.as_error()), subject.lacks[at].1);
            assert!(told.contains(words), "{}, {what}: {told}", subject.name);
            println!("  lacks {what}: {told}");
            subject.met.lock().unwrap().insert(at);
            None
        }
    }
}

/// Whether this is the name, in which each `*` is anything.
fn is_like(what: &str, name: &str) -> bool {
    match name.split_once('*') {
        None => what == name,
        Some((start, rest)) => what.strip_prefix(start).is_some_and(|what| {
            what.char_indices().any(|(at, _)| is_like(&what[at..], rest)) || is_like("", rest)
        }),
    }
}

/// Whether the token has it, where one look says so.
#[track_caller]
pub fn has(what: &str, has: bool) -> bool {
    may(what, if has { Ok(()) } else { Err(Missing("it has not".into())) }).is_some()
}

/// Errors of different makers.
pub trait AsError {
    fn as_error(&self) -> &dyn Error;
}

impl AsError for tokenca::token::TokenError {
    fn as_error(&self) -> &dyn Error {
        self
    }
}

impl AsError for tokenca::pki::KeyError {
    fn as_error(&self) -> &dyn Error {
        &*self.source
    }
}

/// Something that a look shows not to be there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Missing(pub String);

impl AsError for Missing {
    fn as_error(&self) -> &dyn Error {
        self
    }
}

/// The error and its causes, in one line.
fn told(error: &dyn Error) -> String {
    let mut told = error.to_string().replace('\n', "; ");
    let mut cause = error.source();
    while let Some(error) = cause {
        told += &format!(" < {error}").replace('\n', "; ");
        cause = error.source();
    }
    told
}

/// A kind of key that is soon made: P-256 where the token has it.
pub fn easy() -> KeyKind {
    let lacks_it = subject().lacks.iter().any(|(name, _)| *name == generate(P256) || *name == "generate EC*");
    if lacks_it { RSA } else { P256 }
}

/// The name of making a key of this kind.
pub fn generate(kind: KeyKind) -> String {
    format!("generate {kind}")
}

pub fn config(_dir: &Path) -> TokenConfig {
    let subject = subject();
    let pin = PinSource::Given(subject.pin.clone().into());
    TokenConfig {
        module: Some(subject.library.clone()),
        parameters: subject.parameters.clone(),
        apart: subject.apart.then(program),
        ..TokenConfig::new("usbtoken0", Selector::label(&subject.label), pin)
    }
}

/// With a profile that says the same as the module's own, but for these lines.
pub fn with_profile(dir: &Path, lines: &str) -> TokenConfig {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("pkcs11-profiles").join(subject().name);
    let own = fs::read_to_string(own.with_extension("toml")).expect("a profile of its own");
    let mut profile: Table = own.parse().expect("TOML");
    overlay(&mut profile, lines.parse().expect("TOML"));
    let path = dir.join("profile.toml");
    fs::write(&path, profile.to_string()).unwrap();
    TokenConfig { profile: Some(path.to_str().unwrap().into()), ..config(dir) }
}

fn overlay(below: &mut Table, above: Table) {
    for (name, value) in above {
        match (below.get_mut(&name), value) {
            (Some(Value::Table(below)), Value::Table(above)) => overlay(below, above),
            (_, value) => {
                below.insert(name, value);
            }
        }
    }
}

/// The program that runs a module in a process of its own.
pub fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_tokenca").into()
}

/// `pkcs11-tool` with these arguments, which must succeed.
#[track_caller]
pub fn pkcs11_tool(arguments: &[&str]) -> String {
    super::support::run(subject().pkcs11_tool().args(arguments)).success().stdout
}

pub fn label() -> &'static str {
    &subject().label
}

pub fn pin() -> &'static str {
    &subject().pin
}

/// Whether SoftHSM is behind it directly, whose attributes are all as other programs should see them.
pub fn is_softhsm() -> bool {
    subject().name == "softhsm2"
}
