//! The fault-injecting PKCS#11 module of `tests/faulty`, and what tests tell it.
//!
//! ```text
//! let token = SoftHsm::new();
//! let faulty = Faulty::over(&token);                     // a process with faulty.environment() loads
//! faulty.plan(&[Rule::new("C_Sign").returns("CKR_DEVICE_ERROR").times(3)]);        // faulty.library
//! faulty.wait_for_calls("C_Sign", 3);
//! faulty.clear();
//! ```
//!
//! What `plan` was given holds for every call that begins after it has returned, in every process, and a rule
//! counts the calls of all processes together. Questions for the length of an answer are not counted.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::softhsm::{self, SoftHsm};

/// A module between a program and its token, and the directory where it is told what to do.
pub struct Faulty {
    /// What the program loads.
    pub library: PathBuf,
    /// `FAULTY_DIR`.
    pub dir: PathBuf,
    module: PathBuf,
    /// `softhsm2.conf`.
    conf: PathBuf,
    plans: Mutex<Plans>,
    _kept: Option<TempDir>,
}

/// Numbers that are given out once, and what the plan of now needs at its end.
#[derive(Default)]
struct Plans {
    rules: u64,
    generation: u64,
}

impl Faulty {
    /// A module over SoftHSM. Nothing is planned, and calls are written down.
    pub fn over(token: &SoftHsm) -> Self {
        Self::over_module(Path::new(SOFTHSM), &token.conf)
    }

    /// A module over another one; `conf` is what `SOFTHSM2_CONF` names.
    pub fn over_module(module: &Path, conf: &Path) -> Self {
        let kept = tempfile::tempdir().expect("a temporary directory");
        let dir = kept.path().to_owned();
        // All of it at once: the module maps the file.
        fs::write(dir.join("state"), vec![0; STATE_LEN]).expect("the numbers");
        let faulty = Self {
            library: library().to_owned(),
            dir,
            module: module.to_owned(),
            conf: conf.to_owned(),
            plans: Mutex::default(),
            _kept: Some(kept),
        };
        faulty.trace(true);
        faulty
    }

    /// The one that the environment of this process names, for a test in a process of its own. Only one
    /// process at a time can plan.
    pub fn of_environment() -> Self {
        let path = |name| PathBuf::from(std::env::var_os(name).expect(name));
        let dir = path("FAULTY_DIR");
        let faulty = Self {
            library: library().to_owned(),
            dir,
            module: path("FAULTY_MODULE"),
            conf: path("SOFTHSM2_CONF"),
            plans: Mutex::default(),
            _kept: None,
        };
        *faulty.plans.lock().unwrap() =
            Plans { rules: faulty.word(PLANNED), generation: faulty.word(GENERATION) };
        faulty
    }

    /// What a process needs to have this module and the token below it.
    pub fn environment(&self) -> [(&'static str, &Path); 3] {
        [("SOFTHSM2_CONF", &self.conf), ("FAULTY_MODULE", &self.module), ("FAULTY_DIR", &self.dir)]
    }

    /// From now on these rules stand, and no others.
    pub fn plan(&self, rules: &[Rule]) {
        let mut plans = self.plans.lock().unwrap();
        let mut text = String::new();
        for rule in rules {
            text += &rule.line(plans.rules);
            plans.rules += 1;
            if matches!(rule, Rule::Call { function: None, action, .. } if action == "vanish") {
                self.set_word(REMOVALS, self.word(REMOVALS) + 1);
            }
        }
        assert!(COUNTERS + plans.rules < STATE_LEN as u64 / 8, "more rules than there are numbers");
        self.set_word(PLANNED, plans.rules);
        // Never half of a plan.
        fs::write(self.dir.join("plan.new"), text).expect("the plan");
        fs::rename(self.dir.join("plan.new"), self.dir.join("plan")).expect("the plan in place");
        self.next_generation(&mut plans);
    }

    /// No rules: the module only forwards. A token that was out is back, and old sessions are closed.
    pub fn clear(&self) {
        self.plan(&[]);
    }

    /// The token is pulled and plugged in again between two calls; the plan stays.
    pub fn replug(&self) {
        let mut plans = self.plans.lock().unwrap();
        self.set_word(REMOVALS, self.word(REMOVALS) + 1);
        self.next_generation(&mut plans);
    }

    /// Whether calls are written down.
    pub fn trace(&self, on: bool) {
        let file = self.dir.join("trace");
        match on {
            true => fs::write(file, "").expect("a mark"),
            false => fs::remove_file(file).expect("the mark was there"),
        }
        self.next_generation(&mut self.plans.lock().unwrap());
    }

    /// The calls so far, in the order in which they ended.
    pub fn calls(&self) -> Vec<Call> {
        let text = fs::read_to_string(self.dir.join("calls")).unwrap_or_default();
        // The last line may be half written.
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(Call::read).collect()
    }

    /// Calls of a function that have ended so far.
    pub fn count(&self, function: &str) -> usize {
        self.calls().iter().filter(|call| call.is(function)).count()
    }

    /// Sessions and objects that were used in the calls, to see that those of before are not used again.
    pub fn handles(calls: &[Call]) -> BTreeSet<u64> {
        calls.iter().flat_map(|call| [call.session, call.object]).flatten().collect()
    }

    /// Waits until so many calls of a function have ended.
    #[track_caller]
    pub fn wait_for_calls(&self, function: &str, count: usize) {
        self.wait(&format!("{count} calls of {function}"), || self.count(function) >= count);
    }

    /// Waits until a call of this function hangs.
    #[track_caller]
    pub fn wait_for_hang(&self, function: &str) {
        let hangs = |call: &Call| call.function == function && call.rv == "HANG";
        self.wait(&format!("a {function} that hangs"), || self.calls().iter().any(hangs));
    }

    #[track_caller]
    fn wait(&self, what: &str, so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !so() {
            assert!(
                Instant::now() < deadline,
                "half a minute has passed and not: {what}: {:?}",
                self.calls()
            );
            sleep(Duration::from_millis(5));
        }
    }

    fn next_generation(&self, plans: &mut Plans) {
        plans.generation += 1;
        self.set_word(GENERATION, plans.generation);
    }

    /// The module has this file mapped: what is written here it sees at its next call.
    fn word(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        self.state().read_exact_at(&mut word, at * 8).expect("a number");
        u64::from_ne_bytes(word)
    }

    fn set_word(&self, at: u64, word: u64) {
        self.state().write_all_at(&word.to_ne_bytes(), at * 8).expect("a number");
    }

    fn state(&self) -> File {
        File::options().read(true).write(true).open(self.dir.join("state")).expect("the numbers")
    }
}

/// What the module does, at some calls of a function or as long as the plan stands.
#[derive(Clone, Debug)]
pub enum Rule {
    /// At some calls, or at once.
    Call { function: Option<String>, after: u64, times: Option<u64>, action: String },
    /// As long as the plan stands.
    Trait(String),
}

/// Faults of a call: `Rule::new("C_Sign").after(2).times(3).returns("CKR_DEVICE_ERROR")`.
impl Rule {
    /// Calls of this function, or of any with `*`. It must be told what happens at them.
    pub fn new(function: &str) -> Self {
        Self::Call { function: Some(function.to_owned()), after: 0, times: Some(1), action: String::new() }
    }

    /// Not before so many calls have passed.
    pub fn after(self, calls: u64) -> Self {
        let Self::Call { function, times, action, .. } = self else { panic!("{self:?} has no calls") };
        Self::Call { function, after: calls, times, action }
    }

    /// At so many calls; once where nothing is said.
    pub fn times(self, calls: u64) -> Self {
        self.at(Some(calls))
    }

    /// At every call.
    pub fn forever(self) -> Self {
        self.at(None)
    }

    /// The call fails, and nothing has happened. An operation that was begun ends.
    pub fn returns(self, rv: &str) -> Self {
        self.does(format!("return {rv}"))
    }

    /// The call fails, but what was asked has happened.
    pub fn returns_after(self, rv: &str) -> Self {
        self.does(format!("return-after {rv}"))
    }

    /// The call takes longer.
    pub fn delays(self, time: Duration) -> Self {
        self.does(format!("delay {}", time.as_millis()))
    }

    /// The call hangs until there is another plan, and then does as that says.
    pub fn hangs(self) -> Self {
        self.does("hang".to_owned())
    }

    /// The token is pulled at this call; it is back with the next plan.
    pub fn vanishes(self) -> Self {
        self.does("vanish".to_owned())
    }

    /// From this call on C_Login says that the user is logged in, and keys cannot be used, until C_Logout.
    pub fn makes_login_stale(self) -> Self {
        self.does("stale-login".to_owned())
    }

    /// From this call on nothing works before C_Finalize and C_Initialize.
    pub fn makes_finalize_needed(self) -> Self {
        self.does("need-finalize".to_owned())
    }

    /// The last bit of what is answered is wrong.
    pub fn corrupts(self) -> Self {
        self.does("corrupt".to_owned())
    }

    /// The answer is one octet short.
    pub fn shortens(self) -> Self {
        self.does("wrong-length".to_owned())
    }

    /// The process aborts.
    pub fn aborts(self) -> Self {
        self.does("abort".to_owned())
    }

    /// The process exits.
    pub fn exits(self, code: i32) -> Self {
        self.does(format!("exit {code}"))
    }
}

/// What happens at once.
impl Rule {
    /// The token is pulled; it is back with the next plan, all sessions closed.
    pub fn vanish() -> Self {
        Self::now("vanish")
    }

    /// As [`Self::makes_login_stale`], in processes that have loaded the module.
    pub fn stale_login() -> Self {
        Self::now("stale-login")
    }

    /// As [`Self::makes_finalize_needed`], in processes that have loaded the module.
    pub fn need_finalize() -> Self {
        Self::now("need-finalize")
    }
}

/// What the token is like while the plan stands.
impl Rule {
    /// Slots have numbers that are this much higher.
    pub fn slot_offset(offset: u64) -> Self {
        Self::Trait(format!("slot-offset {offset}"))
    }

    /// The PIN was changed elsewhere, from `real`, which the real token still has.
    pub fn pin(new: &str, real: &str) -> Self {
        assert!(![new, real].iter().any(|pin| pin.is_empty() || pin.contains(char::is_whitespace)));
        Self::Trait(format!("pin {new} {real}"))
    }

    /// The token has a PIN pad, at which somebody types this PIN whenever C_Login is given none; or cancels.
    pub fn pad(typed: Option<&str>) -> Self {
        Self::Trait(["pad"].into_iter().chain(typed).collect::<Vec<_>>().join(" "))
    }

    /// CKF_USER_PIN_COUNT_LOW is set.
    pub fn count_low() -> Self {
        Self::Trait("count-low".to_owned())
    }

    /// CKF_USER_PIN_FINAL_TRY is set.
    pub fn final_try() -> Self {
        Self::Trait("final-try".to_owned())
    }

    /// CKF_USER_PIN_LOCKED is set. C_Login works unless there is a rule for it.
    pub fn locked() -> Self {
        Self::Trait("locked".to_owned())
    }

    /// CKF_USER_PIN_TO_BE_CHANGED is set.
    pub fn to_be_changed() -> Self {
        Self::Trait("to-be-changed".to_owned())
    }

    /// After a failed C_Sign or C_Decrypt the session says CKR_OPERATION_ACTIVE until it is closed.
    pub fn poison() -> Self {
        Self::Trait("poison".to_owned())
    }

    /// Object handles of before a removal mean other objects after it. Must stand when the handles are given
    /// out.
    pub fn odd_handles() -> Self {
        Self::Trait("odd-handles".to_owned())
    }

    /// ECDSA signatures are X9.62 SEQUENCEs.
    pub fn x962() -> Self {
        Self::Trait("x962".to_owned())
    }

    /// CKA_EC_POINT is the point itself, without an OCTET STRING around it.
    pub fn raw_ec_point() -> Self {
        Self::Trait("raw-ec-point".to_owned())
    }

    /// Each use of a private key needs a login for it, and CKA_ALWAYS_AUTHENTICATE says so, or says that it
    /// does not.
    pub fn always_authenticate(says: bool) -> Self {
        Self::Trait(format!("always-authenticate {says}"))
    }

    /// Sessions that are not read-write are refused, with CKR_FUNCTION_FAILED.
    pub fn no_read_only() -> Self {
        Self::Trait("no-read-only".to_owned())
    }

    /// C_FindObjects finds no public keys.
    pub fn no_public_keys() -> Self {
        Self::Trait("no-public-keys".to_owned())
    }

    /// A second object of a class with the same CKA_ID is refused, with CKR_ATTRIBUTE_VALUE_INVALID.
    pub fn unique_id() -> Self {
        Self::Trait("unique-id".to_owned())
    }

    /// Templates of new objects with this attribute are refused, with CKR_ATTRIBUTE_TYPE_INVALID.
    pub fn refuse_attribute(name: &str) -> Self {
        Self::Trait(format!("refuse-attribute {name}"))
    }
}

impl Rule {
    fn now(action: &str) -> Self {
        Self::Call { function: None, after: 0, times: Some(1), action: action.to_owned() }
    }

    fn at(self, times: Option<u64>) -> Self {
        let Self::Call { function, after, action, .. } = self else { panic!("{self:?} has no calls") };
        Self::Call { function, after, times, action }
    }

    fn does(self, action: String) -> Self {
        let Self::Call { function, after, times, .. } = self else { panic!("{self:?} has no calls") };
        Self::Call { function, after, times, action }
    }

    /// As `tests/faulty/src/plan.rs` reads it.
    fn line(&self, number: u64) -> String {
        match self {
            Self::Trait(words) => format!("trait {words}\n"),
            Self::Call { action, .. } if action.is_empty() => panic!("{self:?} does nothing"),
            Self::Call { function, after, times, action } => {
                let function = function.as_deref().unwrap_or("now");
                let times = times.map_or("forever".to_owned(), |times| times.to_string());
                format!("rule {number} {function} {after} {times} {action}\n")
            }
        }
    }
}

/// A call of the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// In the order in which calls began.
    pub number: u64,
    /// With a `?` at its end where only the length of the answer was asked for.
    pub function: String,
    pub session: Option<u64>,
    /// As `CKR_OK`, or what has become of the call: `HANG` (another line follows when it ends), `ABORT`,
    /// `EXIT`.
    pub rv: String,
    /// The first object that the call was about.
    pub object: Option<u64>,
    /// The caller's process.
    pub process: u32,
}

impl Call {
    /// Whether it is a call of this function that has ended.
    pub fn is(&self, function: &str) -> bool {
        self.function == function && self.rv != "HANG"
    }

    fn read(line: &str) -> Self {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [number, function, session, rv, object, process] = words[..] else { panic!("a call: {line}") };
        let handle = |word: &str| word.parse().ok();
        Self {
            number: number.parse().expect("a number"),
            function: function.to_owned(),
            session: handle(session),
            rv: rv.to_owned(),
            object: handle(object),
            process: process.parse().expect("a process"),
        }
    }
}

/// As [`softhsm::own_process`], over this module, which `story` is given.
pub fn own_process(name: &str, story: impl FnOnce(&Faulty)) {
    let prepare = |token: &SoftHsm| {
        let faulty = Faulty::over(token);
        let environment = faulty.environment().map(|(name, path)| (name, path.to_owned()));
        let built = (LIBRARY, faulty.library.clone());
        (faulty, [&environment[..], &[built]].concat())
    };
    softhsm::own_process_with(name, prepare, |_| story(&Faulty::of_environment()));
}

/// The module, built once for all test binaries. Cargo's own lock keeps others waiting.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(built) = std::env::var_os(LIBRARY) {
            return built.into();
        }
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("faulty");
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faulty/Cargo.toml");
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        // Its packages are among those of the program: with the lock file, nothing is asked for elsewhere.
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--release", "--locked", "--manifest-path", manifest, "--target-dir"])
            .arg(&target)
            .output()
            .expect("cargo runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        target.join("release/libfaulty_pkcs11.so")
    })
}

/// Where Debian has SoftHSM.
pub const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// The environment variable with the module that the parent process has built.
const LIBRARY: &str = "TOKENCA_TEST_FAULTY";

// The file `state`, as tests/faulty/src/shared.rs has it: words of 8 octets.
const STATE_LEN: usize = 8192 * 8;
const GENERATION: u64 = 0;
const REMOVALS: u64 = 1;
/// How many rules there have been; the module does not read it.
const PLANNED: u64 = 3;
const COUNTERS: u64 = 16;
