//! The file systems of this node (F1), by its configuration.

use std::path::{Path, PathBuf};

use crate::config::{Configuration, PinSource, TokenSection, Vault};
use crate::files::{FileUrl, Files, Login, Places};
use crate::pki::archive::ios::FileName;
use crate::pki::chain;

use super::server::parse;
use super::tokens::Tokens;
use super::vault::VAULT_KEY;
use super::{DATABASE, LOCK, Node, NodeError};

/// The file systems of a configuration.
pub fn of(configuration: &Configuration, state: &Path, tokens: &Tokens, vault: &Vault) -> Files {
    // An absolute path replaces the state directory.
    let directories = configuration.directories.iter().map(|(name, path)| (name.clone(), state.join(path)));

    let own = [DATABASE, LOCK, VAULT_KEY].iter().map(|name| format!("{name}*"));
    // The usual names of PIN files stay reserved when no token has them any more.
    let own = own.chain(
        ["tokenca.sock*", "*.new", "*.pin-refused", "*.so-pin-refused", "*.labels", "pin.txt", "*.pin"]
            .map(str::to_owned),
    );
    let pins = || configuration.tokens.values().flat_map(|token| pin_paths(token, state));
    Files::new(Places {
        nvram: state.to_owned(),
        reserved: own.chain(pins().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))).collect(),
        secrets: pins().collect(),
        directories: directories.collect(),
        hosts: configuration.hosts.clone(),
        ftp: ftp_login(configuration, vault),
        devices: tokens.devices(),
        ..Places::default()
    })
}

impl Node {
    /// With its passwords sealed on this host: what may be kept.
    pub fn sealed(&self, configuration: Configuration) -> Configuration {
        configuration.sealed(&self.vault)
    }

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
    old.directories == new.directories
        && old.hosts == new.hosts
        && old.ftp == new.ftp
        && old.tokens == new.tokens
}

/// Of `ip ftp`. Without it FTP servers are asked as anybody.
fn ftp_login(configuration: &Configuration, vault: &Vault) -> Option<Login> {
    let username = configuration.ftp.username.clone()?;
    let password = configuration.ftp.password.as_ref().map(|password| password.open(vault)).transpose();
    match password {
        Ok(password) => Some(Login { username, password: password.unwrap_or_default() }),
        Err(error) => {
            tracing::error!(%error, "the password of `ip ftp` cannot be opened");
            None
        }
    }
}

/// The files with the PINs of a token.
fn pin_paths(token: &TokenSection, state: &Path) -> Vec<PathBuf> {
    let file = |source: &PinSource| match source {
        PinSource::File(path) => Some(state.join(path)),
        _ => None,
    };
    [&token.user_pin, &token.so_pin].into_iter().flatten().filter_map(file).collect()
}
