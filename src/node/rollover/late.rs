//! A key that is looked for when it is needed: what is not needed yet, or hardly any more, keeps no server from
//! starting.

use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;

use crate::node::NodeError;
use crate::node::tokens::Tokens;
use crate::pki::{DecryptionKey, Hash, KeyError, KeyErrorKind, KeyTransport, PublicKey, SigningKey};
use crate::token::TokenKey;

/// A private key on a token that need not be there now.
pub struct LateKey {
    tokens: Arc<Tokens>,
    token: String,
    label: String,
    public_key: PublicKey,
    found: OnceLock<TokenKey>,
}

impl LateKey {
    /// The key with this label on the token of this name, whose public half is known.
    pub fn new(tokens: Arc<Tokens>, token: &str, label: &str, public_key: PublicKey) -> Self {
        Self { tokens, token: token.to_owned(), label: label.to_owned(), public_key, found: OnceLock::new() }
    }

    fn key(&self) -> Result<&TokenKey, KeyError> {
        if let Some(key) = self.found.get() {
            return Ok(key);
        }
        let away = |error: NodeError| match error {
            NodeError::Token(error) => error.into(),
            other => KeyError::new(KeyErrorKind::Unavailable, other),
        };
        let token = self.tokens.get(Some(&self.token)).map_err(away)?;
        let key = token.key(&self.label)?;
        if *key.public_key() != self.public_key {
            let Self { label, token, .. } = self;
            let why = format!("the key \"{label}\" on token \"{token}\" is not that of its certificate");
            return Err(KeyError::new(KeyErrorKind::Refused, why));
        }
        Ok(self.found.get_or_init(|| key))
    }
}

impl SigningKey for LateKey {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn sign(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        SigningKey::sign(self.key()?, hash, message)
    }
}

impl DecryptionKey for LateKey {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn unwrap_key(
        &self,
        transport: KeyTransport,
        wrapped: &[u8],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.key()?.unwrap_key(transport, wrapped, len)
    }
}
