//! PKCS#11 modules: loaded once, initialised once, never unloaded; and the tokens in their slots.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Cryptoki, RvError};
use cryptoki::slot::{Slot, TokenInfo};

use super::config::{Selector, TokenConfig};
use super::error::{CallError, Problem};
use super::gate::{Gate, Pass};
use super::profile::Profile;

/// A loaded and initialised module.
pub(super) struct Module {
    context: Pkcs11,
    gate: Gate,
    pub path: PathBuf,
    /// As `C_GetInfo` has it; empty where that fails.
    pub manufacturer: String,
    /// See [`Link::change_objects`](super::session::Link::change_objects).
    pub objects: RwLock<()>,
}

// Modules stay loaded until the process ends: some crash when they are unloaded, and C_Initialize
// belongs to the process, not to a token. The lock is held over loading too, since some crash when they
// are initialised twice at once.
static MODULES: LazyLock<Mutex<HashMap<PathBuf, Arc<Module>>>> = LazyLock::new(Mutex::default);

impl Module {
    /// The module and the profile that `config` means.
    pub fn of(config: &TokenConfig) -> Result<(Arc<Self>, Profile), Problem> {
        let profile = config.profile.as_deref().map(Profile::named).transpose()?;
        let module = match (&config.module, &profile) {
            (Some(path), _) => Self::load(path)?,
            (None, Some(profile)) if !profile.libraries().is_empty() => {
                let found = profile.libraries().iter().find(|path| path.exists());
                Self::load(
                    found.ok_or_else(|| Problem::ModuleMissing { tried: profile.libraries().into() })?,
                )?
            }
            _ => return Err(Problem::NoModule),
        };
        let profile = profile.unwrap_or_else(|| Profile::recognising(&module.manufacturer));
        Ok((module, profile))
    }

    fn load(path: &Path) -> Result<Arc<Self>, Problem> {
        let path = fs::canonicalize(path).map_err(|_| Problem::ModuleMissing { tried: vec![path.into()] })?;
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(&path) {
            return Ok(Arc::clone(module));
        }
        let context = Pkcs11::new(&path)
            .map_err(|error| Problem::ModuleBroken { path: path.clone(), source: CallError::new(error) })?;
        if let Err(problem) = initialise(&context) {
            // Not unloaded even so, and tried again at the next call.
            std::mem::forget(context);
            return Err(problem);
        }
        let manufacturer =
            context.get_library_info().map_or(String::new(), |info| trim(info.manufacturer_id()));
        let module =
            Self { context, gate: Gate::new(), path: path.clone(), manufacturer, objects: RwLock::new(()) };
        Ok(Arc::clone(modules.entry(path).or_insert(Arc::new(module))))
    }

    /// Goes inside, for calls through the context that comes with the pass.
    pub fn enter(&self) -> (&Pkcs11, Pass<'_>) {
        (&self.context, self.gate.enter())
    }

    /// `C_Finalize` and `C_Initialize`, which ends every session and handle of generation `seen`. `None`
    /// when it is not the time for it; see [`Gate::alone`].
    pub fn reinitialise(&self, seen: u64) -> Option<Result<(), Problem>> {
        self.gate.alone(seen, || {
            tracing::warn!(module = %self.path.display(), "initialising the module again");
            // What it says matters to nobody: the next call does.
            let _ = self.context.clone().finalize();
            initialise(&self.context)
        })
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
pub(super) fn find_token(context: &Pkcs11, selector: &Selector, profile: &Profile) -> Result<Slot, Problem> {
    let slots = context.get_slots_with_token()?;
    let mut seen = Vec::new();
    let mut matching = Vec::new();
    let mut failure = None;
    for slot in slots {
        let info = match context.get_token_info(slot) {
            Ok(info) if !info.token_initialized() => continue,
            Ok(info) => Some(info),
            // Removed since, or unreadable: it may still be meant by its slot number.
            Err(error) => {
                failure = Some(error);
                None
            }
        };
        if matches(selector, slot, info.as_ref()) {
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

fn initialise(context: &Pkcs11) -> Result<(), Problem> {
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Cryptoki::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Without the blanks and NULs that pad the fixed fields of PKCS#11.
pub(super) fn trim(text: &str) -> String {
    text.trim_matches([' ', '\0']).to_owned()
}

fn matches(selector: &Selector, slot: Slot, info: Option<&TokenInfo>) -> bool {
    let same = |wanted: &Option<String>, field: fn(&TokenInfo) -> &str| match wanted {
        Some(wanted) => info.is_some_and(|info| trim(field(info)) == trim(wanted)),
        None => true,
    };
    let named = selector.label.is_some() || selector.serial.is_some();
    same(&selector.label, TokenInfo::label)
        && same(&selector.serial, TokenInfo::serial_number)
        && match selector.slot {
            Some(wanted) => slot.id() == wanted,
            None => named || info.is_some(),
        }
}

fn describe(slot: Slot, info: Option<&TokenInfo>) -> String {
    match info {
        Some(info) => format!("\"{}\" (serial {})", trim(info.label()), trim(info.serial_number())),
        None => format!("slot {slot} (unreadable)"),
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
