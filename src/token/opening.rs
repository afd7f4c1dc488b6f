//! How a token is opened: its module loaded, what it can looked at, its user logged in.

use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use secrecy::SecretString;

use super::config::TokenConfig;
use super::error::{Problem, TokenError};
use super::health::Health;
use super::mechanism::Capabilities;
use super::module::{self, Module};
use super::pin::{PinCare, Turn};
use super::places::Places;
use super::profile::Profile;
use super::session::{Connection, Link};
use super::sys::Context;
use super::worker::Pool;
use super::{Inner, Priority, Token};

impl Token {
    /// Loads the module unless the process has it already, finds the token and logs in.
    pub fn open(config: &TokenConfig) -> Result<Self, TokenError> {
        Self::open_for(Turn::Start, config, None)
    }

    /// The same for an operator, who may give a PIN instead of the source's.
    pub fn open_with(config: &TokenConfig, pin: Option<SecretString>) -> Result<Self, TokenError> {
        Self::open_for(Turn::Operator, config, pin)
    }

    fn open_for(turn: Turn, config: &TokenConfig, pin: Option<SecretString>) -> Result<Self, TokenError> {
        let found = {
            let config = config.clone();
            within(OPENING, move || {
                let fail = |problem| TokenError::new(&config.name, problem, None);
                let (module, named) = Module::of(&config).map_err(fail)?;
                let (profile, seen) = survey(&module, &config, named);
                let fail = |problem| TokenError::new(&config.name, problem, Some(&profile));
                let (capabilities, most) = seen.map_err(fail)?;
                Ok((module, profile, capabilities, most))
            })
        };
        let found = found.map_err(|problem| TokenError::new(&config.name, problem, None));
        let (module, profile, capabilities, most) = found??;
        let fail = |problem| TokenError::new(&config.name, problem, Some(&profile));
        let pin = PinCare::new(config, pin).map_err(fail)?;
        let officer = config.so_pin.as_ref().map(|source| PinCare::of_officer(config, source));
        let officer = officer.transpose().map_err(fail)?;
        let places = Places::new(profile.keygen().slots.clone(), config.labels.clone()).map_err(fail)?;
        let sessions = config.sessions.unwrap_or_else(|| profile.sessions()).max(1);
        let link = Arc::new(Link {
            name: config.name.clone(),
            profile,
            recognised: config.profile.is_none(),
            module,
            selector: config.selector.clone(),
            pin,
            removal: config.caution.removal,
            officer,
            places,
            capabilities,
            counters: Default::default(),
            health: Health::new(),
            epoch: AtomicU64::new(0),
            last_key: Mutex::default(),
            strict: Mutex::default(),
            changes: AtomicU64::new(0),
        });
        let pool = Pool::start(&config.name, sessions.min(most), link.profile.queue(), {
            let link = Arc::clone(&link);
            move || Connection::new(Arc::clone(&link))
        });
        let token = Self(Arc::new(Inner { link, pool }));
        let timeout = token.timeout() + token.0.link.pin.typing_takes();
        token.ask(Priority::Operator, timeout, move |connection| {
            connection.in_turn_of(turn, |connection| connection.once(|_, _| Ok(())))
        })?;
        token.attend();
        Ok(token)
    }
}

/// Runs what a module may never come back from on a thread of its own.
fn within<T: Send + 'static>(
    timeout: Duration,
    action: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let (answer, wait) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("token opening".into()).spawn(move || {
        // Nobody may listen any more.
        let _ = answer.send(action());
    });
    thread.map_err(|_| Problem::WorkerGone)?;
    wait.recv_timeout(timeout).map_err(|error| match error {
        RecvTimeoutError::Timeout => Problem::Hung { after: timeout },
        RecvTimeoutError::Disconnected => Problem::WorkerGone,
    })
}

/// The profile, what the token can do, and how many sessions it takes. Where the token is not there, the module
/// is initialised again if an earlier token of it left it in need of that.
fn survey(module: &Module, config: &TokenConfig, named: Option<Profile>) -> (Profile, Result<Seen, Problem>) {
    let generation = module.generation();
    let look = || {
        let (context, _pass) = module.enter();
        // Each time: a module that has not reached its token may call itself something else.
        let recognised = || Profile::of_library(&context.info().unwrap_or_default());
        let profile = named.clone().unwrap_or_else(recognised);
        module.heed(&profile);
        let seen = see(context, config, &profile);
        (profile, seen)
    };
    let (profile, problem) = match look() {
        (profile, Err(problem)) if problem.is_absence() && profile.reinitialise() => (profile, problem),
        other => return other,
    };
    match module.reinitialise(generation) {
        Some(Ok(())) => {
            let (profile, seen) = look();
            (profile, seen.inspect(|_| module.well()))
        }
        Some(Err(problem)) => (profile, Err(problem)),
        None => (profile, Err(problem)),
    }
}

/// What the token can do, and how many sessions it takes.
type Seen = (Capabilities, usize);

fn see(context: &Context, config: &TokenConfig, profile: &Profile) -> Result<Seen, Problem> {
    let slot = module::find_token(context, &config.selector, profile)?;
    let capabilities = Capabilities::read(context, slot, profile)?;
    let most = context.token_info(slot).ok().and_then(|info| info.max_sessions());
    let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX).max(1));
    Ok((capabilities, most))
}

/// How long a module and its token may take to be there.
const OPENING: Duration = Duration::from_secs(60);
