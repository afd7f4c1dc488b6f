//! The configured tokens, opened.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use secrecy::SecretString;

use crate::config::{PinSource, TokenSection};
use crate::files::Device;
use crate::token::{self, Caution, Place, Token, TokenConfig, TokenKey, TokenUri};

use super::{NodeError, TokenKeyRow, TokenNote, TokenReport};

/// The tokens of a configuration by name. Each is opened when it is first needed, and again when that
/// has failed.
#[derive(Default)]
pub struct Tokens(BTreeMap<String, Arc<Slot>>);

/// One of them.
pub struct Slot {
    section: TokenSection,
    config: TokenConfig,
    token: Mutex<Option<Token>>,
    /// When it was last opened for a copy of a key.
    tried: Mutex<Option<Instant>>,
}

/// A token that could not be opened is not opened for a copy before.
const OPENED_AGAIN: Duration = Duration::from_secs(10);

impl Tokens {
    /// The tokens of `sections`; those whose section is unchanged stay open.
    pub fn changed_to(&self, sections: &BTreeMap<String, TokenSection>, state: &Path) -> Self {
        let slot = |(name, section): (&String, &TokenSection)| {
            let slot = match self.0.get(name) {
                Some(slot) if slot.section == *section => slot.clone(),
                _ => Arc::new(Slot {
                    section: section.clone(),
                    config: config(name, section, state),
                    token: Mutex::default(),
                    tried: Mutex::default(),
                }),
            };
            (name.clone(), slot)
        };
        Self(sections.iter().map(slot).collect())
    }

    /// Whether these are the same tokens, opened or not.
    pub fn same_as(&self, other: &Self) -> bool {
        let same = |(name, slot): (&String, &Arc<Slot>)| {
            other.0.get(name).is_some_and(|other| Arc::ptr_eq(slot, other))
        };
        self.0.len() == other.0.len() && self.0.iter().all(same)
    }

    /// Their names, in order.
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// The token of this name; the only one when none is given.
    pub fn get(&self, name: Option<&str>) -> Result<Token, NodeError> {
        self.slot(name)?.open()
    }

    /// What the tokens, or the one of this name, say of themselves.
    pub fn reports(&self, name: Option<&str>) -> Result<Vec<TokenReport>, NodeError> {
        match name {
            Some(name) => Ok(vec![self.slot(Some(name))?.report()]),
            None => Ok(self.0.values().map(|slot| slot.report()).collect()),
        }
    }

    /// Every token, opened; the first that cannot be is the error.
    pub fn all(&self) -> Result<Vec<Token>, NodeError> {
        self.0.values().map(|slot| slot.open()).collect()
    }

    /// The key pair of this label and its token: this token, or whichever has it. A token that cannot be
    /// reached might have it.
    pub fn find_key(&self, token: Option<&str>, label: &str) -> Result<Option<(Token, TokenKey)>, NodeError> {
        let slots: Vec<&Arc<Slot>> = match token {
            Some(_) => vec![self.slot(token)?],
            None => self.0.values().collect(),
        };
        let mut unreachable = None;
        for slot in slots {
            let found = slot.open().and_then(|token| Ok(token.find(label)?.map(|key| (token, key))));
            match found {
                Ok(None) => {}
                Ok(Some(found)) => return Ok(Some(found)),
                Err(error) => unreachable = Some(error),
            }
        }
        unreachable.map_or(Ok(None), Err)
    }

    /// The key pair of this label on the first of these tokens that can be reached, and its copies on the
    /// others.
    pub fn key_on(&self, names: &[&str], label: &str) -> Result<TokenKey, NodeError> {
        let slots = names.iter().map(|name| self.slot(Some(name))).collect::<Result<Vec<_>, _>>()?;
        let mut failure = None;
        for (at, slot) in slots.iter().enumerate() {
            match slot.open().and_then(|token| Ok(token.key(label)?)) {
                Ok(key) => {
                    let mut others = slots.clone();
                    others.remove(at);
                    let place = |slot: &Arc<Slot>| Arc::new(Elsewhere(Arc::clone(slot))) as Arc<dyn Place>;
                    return Ok(key.also_in(others.into_iter().map(place).collect()));
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let none = || NodeError::NotFound(format!("no token is named for the key \"{label}\""));
        Err(failure.unwrap_or_else(none))
    }

    /// The tokens as file systems, by name in small letters, as file URLs have it.
    pub fn devices(&self) -> BTreeMap<String, Arc<dyn Device>> {
        let device = |(name, slot): (&String, &Arc<Slot>)| -> (String, Arc<dyn Device>) {
            (name.to_ascii_lowercase(), slot.clone())
        };
        self.0.iter().map(device).collect()
    }

    /// The key pair of this label, wherever it is.
    pub fn key(&self, label: &str) -> Result<TokenKey, NodeError> {
        let missing = || NodeError::NotFound(format!("there is no key \"{label}\" on any configured token"));
        self.find_key(None, label)?.map(|(_, key)| key).ok_or_else(missing)
    }

    pub(super) fn slot(&self, name: Option<&str>) -> Result<&Arc<Slot>, NodeError> {
        match (name, self.0.len()) {
            (Some(name), _) => self.0.get(name).ok_or_else(|| {
                NodeError::NotFound(format!(
                    "there is no token \"{name}\"; configure it with \"crypto pki token {name}\""
                ))
            }),
            (None, 1) => Ok(self.0.values().next().expect("there is one")),
            (None, 0) => Err(NodeError::NotFound(
                "no token is configured; configure one with \"crypto pki token usbtoken0\"".into(),
            )),
            (None, _) => Err(NodeError::NotFound(format!(
                "several tokens are configured ({}); say which with \"on\"",
                self.0.keys().cloned().collect::<Vec<_>>().join(", ")
            ))),
        }
    }
}

impl Slot {
    /// The token, opened unless it is.
    pub fn open(&self) -> Result<Token, NodeError> {
        let mut token = self.token.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &*token {
            Some(token) => Ok(token.clone()),
            None => Ok(token.insert(Token::open(&self.config)?).clone()),
        }
    }

    /// Uses this PIN, or the configured one, and finds out whether the token works with it.
    pub(super) fn log_in(&self, pin: Option<SecretString>) -> Result<(), NodeError> {
        let mut token = self.token.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match token.clone() {
            Some(open) => {
                // Others use it while somebody types.
                drop(token);
                open.login(pin)?;
            }
            None => drop(token.insert(Token::open_with(&self.config, pin)?)),
        }
        Ok(())
    }

    fn report(&self) -> TokenReport {
        let pin_source = self.section.pin_source().to_string();
        let mut report = TokenReport { name: self.config.name.clone(), pin_source, ..TokenReport::default() };
        let filled = self.open().and_then(|token| Ok(fill(&mut report, &token)?));
        report.error = filled.err().map(|error| error.to_string());
        report
    }
}

/// Where a copy of a key may be.
struct Elsewhere(Arc<Slot>);

impl Place for Elsewhere {
    fn token(&self) -> Option<Token> {
        // Whoever holds it opens it: that is not waited for.
        if let Some(token) = self.0.token.try_lock().ok()?.as_ref() {
            return Some(token.clone());
        }
        let mut tried = self.0.tried.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if tried.is_none_or(|tried| tried.elapsed() >= OPENED_AGAIN) {
            *tried = Some(Instant::now());
            let slot = Arc::clone(&self.0);
            thread::spawn(move || {
                if let Err(error) = slot.open() {
                    tracing::debug!(%error, "a copy cannot be reached");
                }
            });
        }
        None
    }
}

fn fill(report: &mut TokenReport, token: &Token) -> Result<(), token::TokenError> {
    let profile = token.profile();
    report.profile = profile.name().to_owned();
    report.family = profile.about().unwrap_or_default().to_owned();
    report.tested = profile.tested().unwrap_or_default().to_owned();
    report.sources = profile.sources().to_vec();
    report.cannot = profile.cannot().to_vec();
    report.module = token.module().display().to_string();
    report.isolated = token.is_isolated();
    report.sessions = token.sessions();
    let asked = ask(report, token);
    // After that, which may have changed it.
    let (counters, state) = (token.counters(), token.state());
    (report.signatures, report.decryptions, report.errors, report.waiting) =
        (counters.signatures, counters.decryptions, counters.errors, counters.waiting);
    (report.new_sessions, report.new_logins, report.initialisations) =
        (counters.sessions, counters.logins, counters.initialisations);
    (report.wrong_signatures, report.hangs) = (counters.wrong_signatures, counters.hangs);
    (report.offline_since, report.next_try) = (state.offline_since, state.next);
    (report.outages, report.logged_out) = (state.outages, state.logged_out);
    report.events =
        state.events.into_iter().map(|event| TokenNote { at: event.at, what: event.what }).collect();
    asked
}

fn ask(report: &mut TokenReport, token: &Token) -> Result<(), token::TokenError> {
    let info = token.info()?;
    report.uri = TokenUri::of(&info);
    report.label = info.label;
    report.manufacturer = info.manufacturer;
    report.model = info.model;
    report.serial = info.serial;
    report.firmware = info.firmware;
    report.pin_pad = info.pin.at_pad;
    report.pin = match info.pin {
        pin if pin.locked => "locked",
        pin if pin.final_try => "one try left",
        pin if pin.count_low => "wrong at least once",
        pin if pin.to_be_changed => "must be changed",
        pin if !pin.initialized => "not set",
        _ => "good",
    }
    .into();
    (report.free_private, report.free_public) = (info.free_private, info.free_public);
    report.max_sessions = info.max_sessions;
    report.key_pairs = token.keys()?.into_iter().map(TokenKeyRow::of).collect();
    report.keys = report.key_pairs.len();
    Ok(())
}

fn pin_source(source: &PinSource, state: &Path) -> token::PinSource {
    match source {
        // An absolute path replaces the state directory.
        PinSource::File(path) => token::PinSource::File(state.join(path)),
        PinSource::Environment(name) => token::PinSource::Env(name.clone()),
        PinSource::Credential(name) => token::PinSource::Credential(name.clone()),
        PinSource::Prompt => token::PinSource::Prompt,
        PinSource::PinPad => token::PinSource::PinPad,
    }
}

fn config(name: &str, section: &TokenSection, state: &Path) -> TokenConfig {
    TokenConfig {
        name: name.to_owned(),
        profile: section.profile.clone(),
        module: section.module(),
        selector: section.selector(),
        pin: pin_source(&section.pin_source(), state),
        sessions: section.sessions.map(|n| n as usize),
        parameters: section.parameters.clone(),
        // As it is, also after the file was replaced by another version.
        apart: section.isolated.then(|| "/proc/self/exe".into()),
        so_pin: section.so_pin.as_ref().map(|source| pin_source(source, state)),
        lockout: Some(state.join(format!("{name}.pin-refused"))),
        caution: Caution {
            max_refused: section.max_retries,
            removal: section.removal_timeout.map(|seconds| Duration::from_secs(seconds.into())),
        },
        labels: Some(state.join(format!("{name}.labels"))),
        asked_in_vain: Arc::default(),
    }
}
