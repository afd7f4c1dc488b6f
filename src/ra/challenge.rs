//! One-time passwords: looked up by a keyed digest, so that neither the database nor the time of a
//! look-up tells one.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::pki::{Name, Time};
use crate::policy::Challenge;
use crate::store::{Store, StoreError};

/// HMAC-SHA-256 of a challenge under this database's own key.
pub fn challenge_digest(store: &dyn Store, challenge: &str) -> Result<[u8; 32], StoreError> {
    let key = store.secret(SECRET)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).expect("HMAC takes a key of any length");
    mac.update(challenge.as_bytes());
    Ok(mac.finalize().into_bytes().into())
}

/// What a challenge is worth to this server at `now`, brought by the request with this identity for this
/// subject. Whether it is used up is settled by the claim.
pub fn look_up(
    store: &dyn Store,
    server: &str,
    challenge: Option<&SecretString>,
    subject: &Name,
    identity: &[u8; 32],
    now: Time,
) -> Result<Challenge, StoreError> {
    let Some(challenge) = challenge else { return Ok(Challenge::Absent) };
    if !store.has_passwords(server)? {
        return Ok(Challenge::NotInUse);
    }
    let digest = challenge_digest(store, challenge.expose_secret())?;
    let Some(password) = store.password(server, &digest)? else { return Ok(Challenge::Invalid) };
    let own = match &password.used_by {
        None => now < password.expires,
        Some(user) => user == identity,
    };
    let bound = password.subject.as_ref().is_none_or(|bound| *bound == subject.to_string());
    Ok(if own && bound { Challenge::Valid(digest) } else { Challenge::Invalid })
}

/// The name of the key in [`Store::secret`].
const SECRET: &str = "challenge";
