//! The operator's commands to one token.

use secrecy::SecretString;

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
}
