//! The operator's commands to one token.

use secrecy::SecretString;

use crate::store::Phase;
use crate::token::{Trial, TrialKeys};

use super::{Node, NodeError};

impl Node {
    /// `crypto pki token NAME login`: with this PIN or the configured one. Servers that waited for the token
    /// start.
    pub fn log_in(&self, token: &str, pin: Option<SecretString>) -> Result<(), NodeError> {
        self.token_set().slot(Some(token))?.log_in(pin)?;
        self.tick(self.now());
        Ok(())
    }

    /// `crypto pki token NAME logout`: its keys cannot be used until [`Node::log_in`].
    pub fn log_out(&self, token: &str) -> Result<(), NodeError> {
        Ok(self.token_set().get(Some(token))?.logout()?)
    }

    /// `crypto pki token NAME change-pin`. Whether the configured source has the new PIN.
    pub fn change_pin(&self, token: &str, new: SecretString) -> Result<bool, NodeError> {
        Ok(self.token_set().get(Some(token))?.change_pin(new)?)
    }

    /// `crypto pki token NAME test`: with new keys of every kind, or with those of the certificate servers.
    pub fn try_token(&self, token: &str, new_keys: bool) -> Result<Trial, NodeError> {
        let device = self.token_set().get(Some(token))?;
        if new_keys {
            return Ok(device.trial(TrialKeys::New)?);
        }
        let mut labels = Vec::new();
        for server in self.servers() {
            let authorities = self.store.authorities(&server)?;
            let here = |authority: &crate::store::Authority| {
                authority.token == token && authority.phase != Phase::Discarded
            };
            labels.extend(authorities.into_iter().filter(here).map(|authority| authority.key_label));
        }
        labels.sort();
        labels.dedup();
        Ok(device.trial(TrialKeys::Existing(labels))?)
    }
}
