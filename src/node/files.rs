//! The file systems of this node (F1), by its configuration.

use std::path::Path;

use crate::config::{Configuration, PinSource, TokenSection};
use crate::files::{FileUrl, Files, Places};
use crate::pki::archive::ios::FileName;
use crate::pki::chain;

use super::server::parse;
use super::tokens::Tokens;
use super::vault::VAULT_KEY;
use super::{DATABASE, LOCK, Node, NodeError};

/// The file systems of a configuration.
pub fn of(configuration: &Configuration, state: &Path, tokens: &Tokens) -> Files {
    let own = [DATABASE, LOCK, VAULT_KEY].iter().map(|name| format!("{name}*"));
    let own = own.chain(["tokenca.sock*", "*.new", "*.pin-refused"].map(str::to_owned));
    Files::new(Places {
        nvram: state.to_owned(),
        reserved: own.chain(configuration.tokens.values().filter_map(pin_file)).collect(),
        directories: configuration.directories.clone(),
        hosts: configuration.hosts.clone(),
        devices: tokens.devices(),
        ..Places::default()
    })
}

impl Node {
    /// Writes the CA certificates to `nvram:`, as IOS does when the configuration is saved
    /// (`mycs#6101CA.cer`): a backup of the files is then complete.
    pub fn save_certificates(&self) -> Result<(), NodeError> {
        for label in self.servers() {
            let Some(authority) = self.server(&label)?.authority()? else { continue };
            let serial = parse(&authority.certificate)?.serial().clone();
            let name = FileName::Cer { label, serial, ca: true };
            let url = FileUrl::parse("nvram:").map_err(|error| NodeError::Refused(error.to_string()))?;
            let written = self.files().write(&url.join(&name.to_string()), &authority.certificate, None);
            written.map_err(|error| NodeError::Refused(chain(&error)))?;
        }
        Ok(())
    }
}

/// Whether both have the same file systems.
pub fn same(old: &Configuration, new: &Configuration) -> bool {
    old.directories == new.directories && old.hosts == new.hosts && old.tokens == new.tokens
}

fn pin_file(token: &TokenSection) -> Option<String> {
    match &token.user_pin {
        Some(PinSource::File(path)) => Path::new(path).file_name()?.to_str().map(str::to_owned),
        _ => None,
    }
}
