//! PINs that are typed at the token's own PIN pad: when somebody may be asked for one.
//!
//! Whoever starts the program or says `login` stands at the pad. At any other time nobody does: a prompt that
//! came by itself, after a loss, would keep a thread until it ends, and be answered by who knows whom. So a
//! login has a [`Turn`] that is good for one PIN, and without one the token waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki::context::Function;
use cryptoki::error::{Error as Cryptoki, RvError};

use crate::token::call::CallError;
use crate::token::config::TokenConfig;
use crate::token::error::Problem;
use crate::token::sys::{Entry, Session, TokenInfo};

use super::PinCare;

/// Who stands at the pad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::token) enum Turn {
    /// Who starts the program.
    Start,
    /// An operator, who may know more than the token's flags.
    Operator,
}

/// A PIN pad, and whether the token waits for somebody at it.
pub(super) struct PinPad(Arc<AtomicBool>);

impl PinPad {
    pub fn new(config: &TokenConfig) -> Self {
        Self(Arc::clone(&config.asked_in_vain))
    }

    /// Whoever stands there, once; [`Problem::PinPadWaits`] where nobody does.
    pub fn take(&self, turn: &mut Option<Turn>) -> Result<Turn, Problem> {
        // A start that is tried again was somebody's only the first time.
        let there = turn.take().filter(|turn| *turn == Turn::Operator || !self.waits());
        there.ok_or_else(|| {
            self.waits_for_operator();
            Problem::PinPadWaits
        })
    }

    /// The token has what it wanted, or somebody comes.
    pub fn is_served(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// The token is not used before an operator comes.
    pub fn waits_for_operator(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it waits.
    pub fn waits(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl PinCare {
    /// Logs in with a PIN that somebody types at the token.
    pub(super) fn login_at(
        &self,
        pad: &PinPad,
        session: &Session,
        info: Option<&TokenInfo>,
        turn: &mut Option<Turn>,
    ) -> Result<(), Problem> {
        // Without a pad, no PIN is an empty one, which may cost a try.
        let info = info.filter(|info| info.has_pin_pad()).ok_or(Problem::NoPinPad)?;
        if self.lock().locked || info.user_pin_locked() {
            return Err(Problem::PinLocked);
        }
        if turn.is_none() && session.is_logged_in().unwrap_or(false) {
            // By who stands there, a moment ago.
            return Ok(());
        }
        let who = pad.take(turn)?;
        // Until the PIN is there: a start that is tried again asks nobody.
        pad.waits_for_operator();
        if who == Turn::Start && info.user_pin_final_try() {
            return Err(Problem::PinLastTry);
        }
        tracing::warn!(target: "PKI-4-TOKEN_PIN_PAD", "Token {} waits for its PIN at its PIN pad", self.token);
        match session.login(self.user, Entry::AtPad) {
            Ok(()) => {
                pad.is_served();
                self.logged_in();
                Ok(())
            }
            // Nobody was asked, nor need be.
            Err(Cryptoki::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                pad.is_served();
                *turn = Some(who);
                Ok(())
            }
            // Nor here: after what helps, somebody is.
            Err(error) if asks_nobody(&error) => {
                pad.is_served();
                *turn = Some(who);
                Err(error.into())
            }
            Err(error) => Err(self.failed_at(pad, error)),
        }
    }

    /// What has become of a PIN that somebody should have typed.
    pub(super) fn failed_at(&self, pad: &PinPad, error: Cryptoki) -> Problem {
        let Cryptoki::Pkcs11(rv, Function::Login) = error else { return error.into() };
        pad.waits_for_operator();
        self.lock().locked |= rv == RvError::PinLocked;
        let error = CallError::new(error);
        // Also what would be a loss else: climbing would ask him again.
        if error.is_pin() { Problem::Call(error) } else { Problem::NotTyped(error) }
    }
}

/// Whether `C_Login` has failed before anybody was asked for a PIN.
fn asks_nobody(error: &Cryptoki) -> bool {
    use RvError::{CryptokiNotInitialized, SessionClosed, SessionHandleInvalid, TokenNotPresent};
    let early = [CryptokiNotInitialized, SessionClosed, SessionHandleInvalid, TokenNotPresent];
    matches!(error, Cryptoki::Pkcs11(rv, Function::Login) if early.contains(rv))
}
