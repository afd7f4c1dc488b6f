//! PKCS#11 modules: loaded once, initialised once, never unloaded; and the tokens in their slots.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use cryptoki::error::{Error as Cryptoki, RvError};
use parking_lot::RwLock;

use super::call::CallError;
use super::config::{Selector, TokenConfig};
use super::error::Problem;
use super::gate::{Gate, Pass};
use super::profile::Profile;
use super::sys::{Context, Slot, TokenInfo, trim};

/// A loaded and initialised module.
pub(super) struct Module {
    context: Context,
    gate: Gate,
    pub path: PathBuf,
    /// What `C_Initialize` is given.
    parameters: Option<String>,
    apart: bool,
    /// See [`Link::change_objects`](super::session::Link::change_objects).
    pub objects: RwLock<()>,
}

// Modules stay loaded until the process ends: some crash when they are unloaded, and C_Initialize
// belongs to the process, not to a token. A place's lock is held over loading too, since some crash when
// they are initialised twice at once.
static MODULES: LazyLock<Mutex<HashMap<Key, Place>>> = LazyLock::new(Mutex::default);

/// A library, and the token that has a process of its own for it.
type Key = (PathBuf, Option<String>);
type Place = Arc<Mutex<Option<Arc<Module>>>>;

impl Module {
    /// The module that `config` means, and the profile if it names one.
    pub fn of(config: &TokenConfig) -> Result<(Arc<Self>, Option<Profile>), Problem> {
        let profile = config.profile.as_deref().map(Profile::named).transpose()?;
        let path = match (&config.module, &profile) {
            (Some(path), _) => path,
            (None, Some(profile)) if !profile.libraries().is_empty() => {
                let found = profile.libraries().iter().find(|path| path.exists());
                found.ok_or_else(|| Problem::ModuleMissing { tried: profile.libraries().into() })?
            }
            _ => return Err(Problem::NoModule),
        };
        let module = Self::load(path, config, profile.as_ref())?;
        Ok((module, profile))
    }

    /// The time-outs of this profile hold from here on.
    pub fn heed(&self, profile: &Profile) {
        self.context.set_timeouts(timeouts(profile));
    }

    fn load(path: &Path, config: &TokenConfig, profile: Option<&Profile>) -> Result<Arc<Self>, Problem> {
        let path = fs::canonicalize(path).map_err(|_| Problem::ModuleMissing { tried: vec![path.into()] })?;
        let parameters = config.parameters.as_deref().or(profile.and_then(Profile::parameters));
        let key = (path.clone(), config.apart.as_ref().map(|_| config.name.clone()));
        let place = {
            let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(modules.entry(key).or_default())
        };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = &*place {
            if module.parameters.as_deref() != parameters {
                return Err(Problem::OtherParameters { path });
            }
            return Ok(Arc::clone(module));
        }
        let context = match &config.apart {
            None => Context::load(&path).map_err(|error| Box::new(CallError::new(error)) as Box<_>),
            Some(program) => {
                // Until it is recognised.
                let timeouts = profile.map_or_else(|| timeouts(&Profile::generic()), timeouts);
                Context::load_apart(program, &path, timeouts).map_err(|error| Box::new(error) as Box<_>)
            }
        };
        let context = context.map_err(|source| Problem::ModuleBroken { path: path.clone(), source })?;
        // Tried again at the next call where that fails.
        initialise(&context, parameters)?;
        let (parameters, objects) = (parameters.map(str::to_owned), RwLock::new(()));
        let apart = config.apart.is_some();
        let module = Self { context, gate: Gate::new(), path, parameters, apart, objects };
        Ok(Arc::clone(place.insert(Arc::new(module))))
    }

    /// Whether it has a process of its own.
    pub fn is_apart(&self) -> bool {
        self.apart
    }

    /// Goes inside, for calls through the context that comes with the pass.
    pub fn enter(&self) -> (&Context, Pass<'_>) {
        (&self.context, self.gate.enter())
    }

    /// `C_Finalize` and `C_Initialize`, which ends every session and handle of generation `seen`. `None`
    /// when it is not the time for it; see [`Gate::alone`].
    pub fn reinitialise(&self, seen: u64) -> Option<Result<(), Problem>> {
        self.gate.alone(seen, || {
            tracing::warn!(module = %self.path.display(), "initialising the module again");
            // What it says matters to nobody: the next call does.
            let _ = self.context.finalize();
            initialise(&self.context, self.parameters.as_deref())
        })
    }

    /// Runs `action` with nobody inside; see [`Gate::quietly`].
    pub fn quietly<T>(&self, action: impl FnOnce(&Context) -> T) -> Option<T> {
        self.gate.quietly(|| action(&self.context))
    }

    /// The module works; see [`Gate::well`].
    pub fn well(&self) {
        self.gate.well();
    }

    /// How often it was initialised again.
    pub fn generation(&self) -> u64 {
        self.gate.enter().generation
    }
}

/// The one token that `selector` means. Uninitialised tokens do not count.
pub(super) fn find_token(context: &Context, selector: &Selector, profile: &Profile) -> Result<Slot, Problem> {
    let slots = context.slots_with_token()?;
    let mut seen = Vec::new();
    let mut matching = Vec::new();
    let mut failure = None;
    for slot in slots {
        let info = match context.token_info(slot) {
            Ok(info) if !info.is_initialized() => continue,
            Ok(info) => Some(info),
            // Removed since, or unreadable: it may still be meant by its slot number.
            Err(error) => {
                failure = Some(error);
                None
            }
        };
        if matches(context, selector, slot, info.as_ref()) {
            matching.push((slot, describe(slot, info.as_ref())));
        }
        seen.push(describe(slot, info.as_ref()));
    }
    match (matching.as_slice(), failure) {
        ([(slot, _)], _) => Ok(*slot),
        ([], Some(error)) => Err(error.into()),
        ([], None) => Err(Problem::NoToken { wanted: wanted(selector), seen, unset: unset(profile) }),
        (several, _) => Err(Problem::ManyTokens {
            wanted: wanted(selector),
            seen: several.iter().map(|(_, what)| what.clone()).collect(),
        }),
    }
}

/// How long a call in a process of its own may take, and a generation of keys.
fn timeouts(profile: &Profile) -> (Duration, Duration) {
    // Half of what a caller waits, so that there is time for a second try.
    (profile.timeout() / 2, profile.keygen_timeout())
}

fn initialise(context: &Context, parameters: Option<&str>) -> Result<(), Problem> {
    match context.initialize(parameters) {
        Ok(()) | Err(Cryptoki::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn matches(context: &Context, selector: &Selector, slot: Slot, token: Option<&TokenInfo>) -> bool {
    let reader = selector.slot_description.is_some() || selector.slot_manufacturer.is_some();
    let reader = reader.then(|| context.slot_info(slot).unwrap_or_default());
    let library = selector.library_description.is_some()
        || selector.library_manufacturer.is_some()
        || selector.library_version.is_some();
    let library = library.then(|| context.info().unwrap_or_default());
    let (reader, library) = (reader.as_ref(), library.as_ref());
    let texts = [
        (&selector.label, token.map(|token| &token.label)),
        (&selector.serial, token.map(|token| &token.serial)),
        (&selector.manufacturer, token.map(|token| &token.manufacturer)),
        (&selector.model, token.map(|token| &token.model)),
        (&selector.slot_description, reader.map(|reader| &reader.description)),
        (&selector.slot_manufacturer, reader.map(|reader| &reader.manufacturer)),
        (&selector.library_description, library.map(|library| &library.description)),
        (&selector.library_manufacturer, library.map(|library| &library.manufacturer)),
    ];
    texts.iter().all(|(wanted, found)| {
        wanted.as_ref().is_none_or(|wanted| found.is_some_and(|found| *found == trim(wanted)))
    }) && selector.library_version.is_none_or(|wanted| library.is_some_and(|found| found.version == wanted))
        && match selector.slot {
            Some(wanted) => slot.id() == wanted,
            None => token.is_some(),
        }
}

fn describe(slot: Slot, info: Option<&TokenInfo>) -> String {
    match info {
        Some(info) => format!("\"{}\" (serial {})", info.label, info.serial),
        None => format!("slot {} (unreadable)", slot.id()),
    }
}

fn wanted(selector: &Selector) -> String {
    match selector.to_string() {
        text if text.is_empty() => "any label".into(),
        text => text,
    }
}

fn unset(profile: &Profile) -> Vec<String> {
    profile.environment().iter().filter(|name| std::env::var_os(name).is_none()).cloned().collect()
}
