//! The file systems of this node (F1), by its configuration.

use std::path::Path;

use crate::config::{Configuration, PinSource, TokenSection};
use crate::files::{Files, Places};

use super::vault::VAULT_KEY;
use super::{DATABASE, LOCK};

/// The file systems of a configuration.
pub fn of(configuration: &Configuration, state: &Path) -> Files {
    let own = [DATABASE, LOCK, VAULT_KEY].iter().map(|name| format!("{name}*"));
    let own = own.chain(["tokenca.sock*", "*.new", "*.pin-refused"].map(str::to_owned));
    Files::new(Places {
        nvram: state.to_owned(),
        reserved: own.chain(configuration.tokens.values().filter_map(pin_file)).collect(),
        directories: configuration.directories.clone(),
        hosts: configuration.hosts.clone(),
        ..Places::default()
    })
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
