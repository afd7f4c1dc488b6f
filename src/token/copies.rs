//! One key on several tokens: the load is spread over those that answer, and either may be away.
//!
//! A copy is a key with the same label and the same public half; its identifier and its handle are its
//! token's own. A copy is looked for when its token can be reached, so a token that is away at first serves
//! as soon as it is there.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::error::TokenError;
use super::object::KeyInfo;
use super::{Token, TokenKey};
use crate::pki::KeyErrorKind;

/// Where a copy of a key may be.
pub trait Place: Send + Sync {
    /// The token, if it can be had without waiting for one that is known to be away.
    fn token(&self) -> Option<Token>;
}

/// The other places of a key.
pub(super) struct Copies {
    places: Vec<Copy>,
    turn: AtomicUsize,
}

struct Copy {
    place: Arc<dyn Place>,
    info: OnceLock<Arc<KeyInfo>>,
    /// It was looked for in vain, and is not before then. Held by who looks.
    not_before: Mutex<Option<Instant>>,
    /// That it is not there was said.
    told: AtomicBool,
}

impl Copies {
    pub fn new(places: Vec<Arc<dyn Place>>) -> Self {
        let copy = |place| Copy {
            place,
            info: OnceLock::new(),
            not_before: Mutex::default(),
            told: AtomicBool::default(),
        };
        Self { places: places.into_iter().map(copy).collect(), turn: AtomicUsize::new(0) }
    }

    /// Does it with the key or a copy: each in turn, those first whose tokens answer. What one token refuses
    /// is not asked of another.
    pub fn run<T>(
        &self,
        key: &TokenKey,
        act: impl Fn(&TokenKey) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let mut keys = vec![key.alone()];
        keys.extend(self.places.iter().filter_map(|copy| copy.find(key)));
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % keys.len();
        keys.rotate_left(turn);
        // Stable: the turns stay.
        keys.sort_by_key(|key| key.token().is_offline());
        let mut failure = None;
        for key in keys {
            match act(&key) {
                Err(error) if error.kind() != KeyErrorKind::Refused => {
                    tracing::debug!(token = key.token().name(), %error, "another token is asked");
                    failure.get_or_insert(error);
                }
                other => return other,
            }
        }
        Err(failure.expect("the key itself was tried"))
    }
}

impl Copy {
    fn find(&self, key: &TokenKey) -> Option<TokenKey> {
        let token = self.place.token()?;
        if let Some(info) = self.info.get() {
            return Some(key.on(token, Arc::clone(info)));
        }
        // Whoever looks is not waited for: his token may not answer.
        let mut not_before = self.not_before.try_lock().ok()?;
        if token.is_offline() || not_before.is_some_and(|then| Instant::now() < then) {
            return None;
        }
        *not_before = Some(Instant::now() + LOOKED_FOR);
        let name = token.name();
        let found = match token.find(&key.info().label) {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(token = name, %error, "no copy can be looked for");
                return None;
            }
        };
        let Some(found) = found.filter(|found| found.public_key() == key.public_key()) else {
            if !self.told.swap(true, Ordering::Relaxed) {
                tracing::warn!(token = name, key = key.info().label, "the token has no copy of the key");
            }
            return None;
        };
        let info = self.info.get_or_init(|| Arc::new(found.info().clone()));
        Some(key.on(token, Arc::clone(info)))
    }
}

/// How long a copy that was not there is not looked for.
const LOOKED_FOR: Duration = Duration::from_secs(60);
