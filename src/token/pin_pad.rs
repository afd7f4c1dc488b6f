//! PINs that are typed at the token's own PIN pad: when somebody may be asked for one.
//!
//! Whoever starts the program or says `login` stands at the pad. At any other time nobody does: a prompt that
//! came by itself, after a loss, would keep a thread until it ends, and be answered by who knows whom. So a
//! login has a [`Turn`] that is good for one PIN, and without one the token waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::config::TokenConfig;
use super::error::Problem;

/// Who stands at the pad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
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
