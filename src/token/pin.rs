//! PINs: the user's, and the security officer's where one is needed. Read, tried once, and never again
//! after the token has refused it.
//!
//! A token that locks its PIN is a dead authority, so no PIN is tried that is known to be wrong, also
//! not after a restart: what a token refused is kept as salted PBKDF2 hashes, in a file where one is
//! configured. The records go when another PIN succeeds.
//!
//! An operator may give another PIN than the configured source has, take it away again, and change it on the
//! token. What was given is kept in memory until it is taken away. After so many refusals in a row as are
//! configured only PINs that an operator gives are tried.

mod pad;

use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cryptoki::error::{Error as Cryptoki, RvError};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::call::CallError;
use super::config::{PinSource, TokenConfig};
use super::error::Problem;
use super::pin_file::{self, PinFile};
use super::refused::{Refused, read_lockout, write_lockout};
use super::sys::{AT_PAD, Entry, Session, TokenInfo, User};

use pad::PinPad;
pub(super) use pad::Turn;

/// One PIN of a token. Its lock is held over a login, so that workers cannot try in turn what the
/// first of them was refused.
pub(super) struct PinCare {
    token: String,
    user: User,
    source: PinSource,
    lockout: Option<PathBuf>,
    /// Refused PINs in a row after which the source's are not tried.
    most_refused: Option<u32>,
    /// Where the PIN is typed, when it is there.
    pad: Option<PinPad>,
    state: Mutex<State>,
}

struct State {
    refused: Vec<Refused>,
    /// The last of them and its token's serial number, for those who ask again and again: a hash takes its time.
    last_refused: Option<(SecretString, String)>,
    locked: bool,
    /// By an operator, and preferred to the source.
    given: Option<SecretString>,
    /// By an operator: nobody logs in by itself.
    logged_out: bool,
    /// Of the token that was logged in to last.
    serial: String,
}

impl PinCare {
    /// The PIN of the user of the token of `config`, with what its `lockout` remembers. Without a PIN that an
    /// operator has `given` it asks on the terminal now, so that no worker ever waits for somebody to type.
    pub fn new(config: &TokenConfig, given: Option<SecretString>) -> Result<Self, Problem> {
        Self::of(User::User, config, &config.pin, config.lockout.clone(), given)
    }

    /// The security officer's, with a record of refusals of its own.
    pub fn of_officer(config: &TokenConfig, source: &PinSource) -> Result<Self, Problem> {
        let lockout = config.lockout.as_ref().map(|path| path.with_extension("so-pin-refused"));
        Self::of(User::SecurityOfficer, config, source, lockout, None)
    }

    fn of(
        user: User,
        config: &TokenConfig,
        source: &PinSource,
        lockout: Option<PathBuf>,
        given: Option<SecretString>,
    ) -> Result<Self, Problem> {
        let token = config.name.clone();
        let refused = match &lockout {
            Some(path) => {
                read_lockout(path).map_err(|source| Problem::Lockout { path: path.clone(), source })?
            }
            None => Vec::new(),
        };
        let source = match source {
            PinSource::Prompt if given.is_none() => PinSource::Given(prompt(&token)?),
            other => other.clone(),
        };
        let serial = String::new();
        let state = State { refused, last_refused: None, locked: false, given, logged_out: false, serial };
        let (most_refused, state) = (config.caution.max_refused, Mutex::new(state));
        let pad = matches!(source, PinSource::PinPad).then(|| PinPad::new(config));
        Ok(Self { token, user, source, lockout, most_refused, pad, state })
    }

    /// Logs `session` in. Being logged in already is success. Where the PIN is typed at a PIN pad, `turn` says who
    /// does, and is taken by it.
    pub fn login(
        &self,
        session: &Session,
        info: Option<&TokenInfo>,
        turn: &mut Option<Turn>,
    ) -> Result<(), Problem> {
        let mut state = self.lock();
        state.serial = info.map_or(String::new(), |info| info.serial.clone());
        if let Some(pad) = self.pad_for(&state) {
            // Not held while somebody types.
            drop(state);
            return self.login_at(pad, session, info, turn);
        }
        let pin = self.read(&state)?;
        self.check(&mut state, &pin, info)?;
        match session.login(self.user, Entry::Given(&pin)) {
            Ok(()) => {
                self.forget_refused(&mut state);
                if let (PinSource::File(path), None) = (&self.source, &state.given) {
                    pin_file::settle(path, &pin);
                }
                self.logged_in();
                Ok(())
            }
            Err(Cryptoki::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => Err(self.failed(&mut state, &pin, error)),
        }
    }

    fn logged_in(&self) {
        tracing::info!(target: "PKI-6-TOKEN_LOGIN", "Logged in to token {}", self.token);
    }

    /// Gives the PIN to an operation with a key that wants it each time, under the same rules. At a PIN pad
    /// somebody types it each time, until that was in vain.
    pub fn for_operation<T>(
        &self,
        operate: impl FnOnce(Entry<'_>) -> Result<T, Cryptoki>,
    ) -> Result<T, Problem> {
        // Held meanwhile: a PIN that is refused must not be tried by the next worker.
        let mut state = self.lock();
        if let Some(pad) = self.pad_for(&state) {
            if pad.waits() {
                return Err(Problem::PinPadWaits);
            }
            drop(state);
            return operate(Entry::AtPad).map_err(|error| self.failed_at(pad, error));
        }
        let pin = self.read(&state)?;
        self.check(&mut state, &pin, None)?;
        operate(Entry::Given(&pin)).map_err(|error| self.failed(&mut state, &pin, error))
    }

    /// An operator gives a PIN, or says that the source's may be used again. What was before, for
    /// [`PinCare::give_back`].
    pub fn give(&self, pin: Option<SecretString>) -> (Option<SecretString>, bool) {
        let mut state = self.lock();
        if let (Some(pad), None) = (&self.pad, &pin) {
            pad.is_served();
        }
        // Who says so may have unlocked it; the token's own word is heard all the same.
        state.locked = false;
        (mem::replace(&mut state.given, pin), mem::replace(&mut state.logged_out, false))
    }

    /// Whether it is typed at a PIN pad.
    pub fn is_typed(&self) -> bool {
        self.pad_of(&self.lock()).is_some()
    }

    fn pad_of(&self, state: &State) -> Option<&PinPad> {
        self.pad.as_ref().filter(|_| state.given.is_none())
    }

    /// The same for who wants to log in.
    fn pad_for(&self, state: &State) -> Option<&PinPad> {
        self.pad_of(state).filter(|_| !state.logged_out)
    }

    /// How much longer than the token itself somebody may take who gives the PIN.
    pub fn typing_takes(&self) -> Duration {
        if self.pad.is_some() { AT_PAD } else { Duration::ZERO }
    }

    /// What was given is no good.
    pub fn give_back(&self, before: (Option<SecretString>, bool)) {
        let mut state = self.lock();
        (state.given, state.logged_out) = before;
    }

    /// An operator takes the PIN away: nobody logs in until [`PinCare::give`].
    pub fn take_away(&self) {
        let mut state = self.lock();
        (state.given, state.logged_out, state.last_refused) = (None, true, None);
    }

    /// Whether an operator has taken the PIN away.
    pub fn is_taken_away(&self) -> bool {
        self.lock().logged_out
    }

    /// Whether nothing happens before an operator logs in.
    pub fn waits_for_operator(&self) -> bool {
        let state = self.lock();
        state.logged_out || self.pad_of(&state).is_some_and(PinPad::waits)
    }

    /// Changes the PIN of the logged-in user on the token, and in the file that it comes from. Whether the
    /// source has it: else the new one is used until it is taken away.
    ///
    /// The new file is there before the token has the PIN, and takes the old one's place after: a refusal
    /// leaves the old file, and what a crash in between leaves is sorted out by the next login.
    pub fn change(&self, session: &Session, new: SecretString, info: &TokenInfo) -> Result<bool, Problem> {
        let mut state = self.lock();
        if self.pad_of(&state).is_some() {
            return Err(Problem::PinPadChange);
        }
        let old = self.read(&state)?;
        fits(&new, Some(info))?;
        if new.expose_secret().contains(['\n', '\r']) {
            return Err(Problem::PinLines);
        }
        let file = match &self.source {
            PinSource::File(path) => PinFile::prepare(path, &new),
            _ => None,
        };
        if let Err(error) = session.set_pin(&old, &new) {
            let problem = self.failed(&mut state, &old, error);
            if problem.is_loss()
                && let Some(file) = file
            {
                // The token may have it: the next login finds out which of the two files is right.
                file.leave();
            }
            return Err(problem);
        }
        self.forget_refused(&mut state);
        let kept = file.is_some_and(PinFile::commit);
        state.given = (!kept).then_some(new);
        Ok(kept)
    }

    /// Where the PIN comes from.
    pub fn source(&self) -> &PinSource {
        &self.source
    }

    /// Remembers a PIN that was refused.
    fn failed(&self, state: &mut State, pin: &SecretString, error: Cryptoki) -> Problem {
        let error = CallError::new(error);
        if error.rv() == Some(RvError::PinLocked) {
            // Which says nothing of this PIN: it may be right once it is unlocked.
            state.locked = true;
        } else if error.refuses_pin() {
            state.last_refused = Some((pin.clone(), state.serial.clone()));
            match Refused::new(pin, &state.serial) {
                Ok(refused) => state.refused.push(refused),
                Err(problem) => return problem,
            }
            // The refusal itself matters more than that it could not be written down.
            if let Err(problem) = self.write_refused(state) {
                tracing::error!(token = self.token, %problem, "a refused PIN is not remembered");
            }
        }
        error.into()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, state: &State) -> Result<SecretString, Problem> {
        if state.logged_out {
            return Err(Problem::LoggedOut);
        }
        if let Some(pin) = &state.given {
            return Ok(pin.clone());
        }
        match &self.source {
            PinSource::Given(pin) => Ok(pin.clone()),
            PinSource::File(path) => {
                let pin = first_line(path)?;
                // A change of the PIN that was cut short has left both.
                match first_line(&pin_file::beside(path)) {
                    Ok(new) if state.refused.iter().any(|refused| refused.is(&pin, &state.serial)) => Ok(new),
                    _ => Ok(pin),
                }
            }
            PinSource::Credential(name) => {
                let folder = std::env::var("CREDENTIALS_DIRECTORY").map_err(io::Error::other);
                let folder = folder.map_err(unreadable("$CREDENTIALS_DIRECTORY".into()))?;
                first_line(&Path::new(&folder).join(name))
            }
            PinSource::Env(name) => {
                let value = std::env::var(name).map_err(io::Error::other);
                Ok(value.map_err(unreadable(format!("${name}")))?.into())
            }
            PinSource::Prompt => prompt(&self.token),
            PinSource::PinPad => Err(Problem::PinPadWaits),
        }
    }

    /// What must be true before a PIN is risked.
    fn check(&self, state: &mut State, pin: &SecretString, info: Option<&TokenInfo>) -> Result<(), Problem> {
        // The lengths are those of the user's.
        fits(pin, info.filter(|_| self.user == User::User))?;
        let (locked, final_try) = info.map_or((false, false), |info| match self.user {
            User::User => (info.user_pin_locked(), info.user_pin_final_try()),
            User::SecurityOfficer => (info.so_pin_locked(), info.so_pin_final_try()),
        });
        if state.locked || locked {
            return Err(Problem::PinLocked);
        }
        let last = state.last_refused.as_ref().is_some_and(|(last, serial)| {
            let same = last.expose_secret().as_bytes().ct_eq(pin.expose_secret().as_bytes());
            *serial == state.serial && bool::from(same)
        });
        if last || state.refused.iter().any(|refused| refused.is(pin, &state.serial)) {
            state.last_refused = Some((pin.clone(), state.serial.clone()));
            return Err(Problem::PinRefused { lockout: self.lockout.clone() });
        }
        let in_a_row = state.refused.iter().filter(|refused| refused.serial == state.serial).count();
        if state.given.is_none() && self.most_refused.is_some_and(|most| in_a_row >= most as usize) {
            return Err(Problem::PinsRefused { count: in_a_row });
        }
        // A PIN that differs from those we saw refused was given after them, by somebody who knows more.
        let informed = state.refused.iter().any(|refused| refused.serial == state.serial);
        if final_try && !informed {
            return Err(Problem::PinLastTry);
        }
        Ok(())
    }

    fn forget_refused(&self, state: &mut State) {
        if state.refused.is_empty() {
            return;
        }
        state.refused.clear();
        state.last_refused = None;
        if let Some(path) = &self.lockout
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "refused PINs are not forgotten");
        }
    }

    fn write_refused(&self, state: &State) -> Result<(), Problem> {
        let Some(path) = &self.lockout else { return Ok(()) };
        write_lockout(path, &state.refused).map_err(|source| Problem::Lockout { path: path.clone(), source })
    }
}

/// Refuses a PIN of a length that the token does not take. An empty PIN is never right, and may cost a try.
fn fits(pin: &SecretString, info: Option<&TokenInfo>) -> Result<(), Problem> {
    let length = pin.expose_secret().len();
    // Zero means unknown.
    let least = info.map_or(0, |info| info.min_pin).max(1);
    let most = info.map_or(0, |info| info.max_pin);
    let most = if most == 0 { usize::MAX } else { most };
    if length < least || length > most {
        return Err(Problem::PinLength { length, least, most });
    }
    Ok(())
}

fn first_line(path: &Path) -> Result<SecretString, Problem> {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(unreadable(path.display().to_string()))?;
    Ok(text.lines().next().unwrap_or_default().into())
}

fn prompt(token: &str) -> Result<SecretString, Problem> {
    let pin = rpassword::prompt_password(format!("PIN of token \"{token}\": "));
    pin.map(SecretString::from).map_err(unreadable("the terminal".into()))
}

fn unreadable(from: String) -> impl FnOnce(io::Error) -> Problem {
    move |source| Problem::PinUnreadable { from, source }
}
