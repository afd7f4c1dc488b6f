//! One key on a token, as the layers above have it.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::pki::{
    DecryptionKey, Hash, KeyError, KeyKind, KeyTransport, PublicKey, SignatureAlgorithm, SigningKey,
};

use super::copies::{Copies, Place};
use super::envelope::{decrypt, is_usual, random, select};
use super::error::Problem;
use super::mechanism::DecryptWith;
use super::object::KeyInfo;
use super::session::Connection;
use super::signing::{self, TEST_MESSAGE, check, plan, prepare, sign};
use super::{Priority, Token, TokenError};

/// A private key on a token. Cheap to clone; it outlives sessions, and the token's absence.
#[derive(Clone)]
pub struct TokenKey {
    token: Token,
    info: Arc<KeyInfo>,
    priority: Priority,
    copies: Option<Arc<Copies>>,
}

impl TokenKey {
    pub(super) fn new(token: Token, info: KeyInfo) -> Self {
        Self { token, info: Arc::new(info), priority: Priority::Issue, copies: None }
    }

    /// The token it is on.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Its attributes as they were when it was found.
    pub fn info(&self) -> &KeyInfo {
        &self.info
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.info.public_key
    }

    /// The same key, asked with another priority; keys begin with [`Priority::Issue`].
    pub fn with_priority(&self, priority: Priority) -> Self {
        Self { priority, ..self.clone() }
    }

    /// The same key, which may also be in other places.
    pub fn also_in(&self, places: Vec<Arc<dyn Place>>) -> Self {
        Self { copies: (!places.is_empty()).then(|| Arc::new(Copies::new(places))), ..self.clone() }
    }

    /// The same key without its copies.
    pub(super) fn alone(&self) -> Self {
        Self { copies: None, ..self.clone() }
    }

    /// The same key, as it is on this token.
    pub(super) fn on(&self, token: Token, info: Arc<KeyInfo>) -> Self {
        Self { token, info, priority: self.priority, copies: None }
    }

    /// Whether it opens RSAES-PKCS1-v1_5 envelopes: an RSA key with `CKA_DECRYPT` on a token that can.
    pub fn can_decrypt(&self) -> bool {
        self.info.kind.encrypts() && self.info.usage.decrypt && self.token.capabilities().can_decrypt()
    }

    /// Signs a fixed message and verifies that in software: the only health check that means something.
    pub fn self_test(&self) -> Result<(), TokenError> {
        self.test(signing::usual(self.info.kind))
    }

    /// Whether it signs by RSASSA-PSS with this digest, found out by trying.
    pub fn can_pss(&self, hash: Hash) -> bool {
        matches!(self.info.kind, KeyKind::Rsa { .. }) && self.test(SignatureAlgorithm::RsaPss(hash)).is_ok()
    }

    fn test(&self, algorithm: SignatureAlgorithm) -> Result<(), TokenError> {
        self.try_sign(algorithm, TEST_MESSAGE).map(drop)
    }

    fn try_sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        if let Some(copies) = &self.copies {
            return copies.run(self, |key| key.try_sign(algorithm, message));
        }
        self.is_for(self.info.usage.sign, "signatures")?;
        let plan = plan(self.token.capabilities(), self.info.kind, algorithm);
        let plan = plan.map_err(|problem| self.token.error(problem))?;
        let data = prepare(plan, algorithm, message, self.info.kind);
        let (info, message) = (Arc::clone(&self.info), message.to_vec());
        self.token.ask(self.priority, self.timeout(), move |connection| {
            connection.run(|link, open| {
                let signature = sign(link, open, &info, (plan, algorithm), &data)?;
                check(link, &info, algorithm, &message, signature)
            })
        })
    }

    fn timeout(&self) -> Duration {
        let link = &self.token.0.link;
        let typing = if link.wants_pin(&self.info) { link.pin.typing_takes() } else { Duration::ZERO };
        self.token.timeout() + typing
    }

    /// Not left to the token: some refuse by a code that they also have for their own end.
    fn is_for(&self, may: bool, what: &'static str) -> Result<(), TokenError> {
        let label = || self.info.label.clone();
        if may { Ok(()) } else { Err(self.token.error(Problem::WrongUse { label: label(), what })) }
    }

    fn try_unwrap(
        &self,
        transport: KeyTransport,
        wrapped: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        if let Some(copies) = &self.copies {
            return copies.run(self, |key| key.try_unwrap(transport, wrapped, len));
        }
        self.is_for(self.info.usage.decrypt, "decryption")?;
        // Made before anything is known about `wrapped`.
        let rejected = random(len).map_err(|problem| self.token.error(problem))?;
        let KeyKind::Rsa { bits } = self.info.kind else {
            return Err(self
                .token
                .error(Problem::NotOffered { what: format!("decryption with {} keys", self.info.kind) }));
        };
        let plan = self.token.capabilities().decryption(transport).ok_or_else(|| {
            self.token.error(Problem::NotOffered { what: format!("{transport:?} decryption") })
        })?;
        // What cannot be a ciphertext of this key is replaced by one that can, so that the token is
        // asked all the same; its answer is not used. Length and range are no secret.
        let size = bits.div_ceil(8);
        let fits = wrapped.len() == size && is_usual(wrapped, &self.info.public_key);
        let mut ciphertext = if fits { wrapped.to_vec() } else { vec![0; size] };
        if !fits {
            ciphertext[size - 1] = 2;
        }
        let info = Arc::clone(&self.info);
        let job = move |connection: &mut Connection| {
            let block = connection.run(|link, open| decrypt(link, open, &info, plan, &ciphertext))?;
            Ok(select(plan, transport, block, size, fits, rejected))
        };
        // Whether the session is replaced must not depend on the data, nor delay the answer.
        let after = move |connection: &mut Connection| {
            if plan != DecryptWith::Raw && connection.link.profile.close_session_on_error() {
                connection.renew();
            }
        };
        self.token.ask_then(self.priority, self.timeout(), job, after)
    }
}

impl SigningKey for TokenKey {
    fn public_key(&self) -> &PublicKey {
        &self.info.public_key
    }

    fn sign(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.try_sign(SignatureAlgorithm::for_key(self.info.kind, hash), message)?)
    }

    fn sign_pss(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.try_sign(SignatureAlgorithm::RsaPss(hash), message)?)
    }
}

impl DecryptionKey for TokenKey {
    fn public_key(&self) -> &PublicKey {
        &self.info.public_key
    }

    fn unwrap_key(
        &self,
        transport: KeyTransport,
        wrapped: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        Ok(self.try_unwrap(transport, wrapped, len)?)
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKey({}: \"{}\", {})", self.token.name(), self.info.label, self.info.kind)
    }
}
