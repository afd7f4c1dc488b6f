//! What all certificate servers of a node share, as it was when the configuration was applied.

use std::sync::Arc;

use crate::config::{self, Database, FileType, Vault};
use crate::files::{FileUrl, Files, Login};

use super::NodeError;
use super::archive::Passphrases;
use super::publish::{self, Place, Plan};
use super::tokens::Tokens;
use super::trustpoints::Trustpoints;
use super::vouch::Peers;

/// Tokens, file systems, and the vault of the configuration's passwords.
#[derive(Clone)]
pub struct Surroundings {
    /// The tokens.
    pub tokens: Arc<Tokens>,
    /// The file systems.
    pub files: Arc<Files>,
    /// Opens passwords.
    pub vault: Arc<Vault>,
    /// Typed for archives.
    pub passphrases: Arc<Passphrases>,
    /// The trustpoints, with what they have.
    pub trustpoints: Trustpoints,
    /// The same, asked about others' certificates.
    pub peers: Peers,
    /// Whether HTTP is served.
    pub http: bool,
}

impl Surroundings {
    /// Whether nothing has changed that a server would have to start anew for.
    pub fn same_as(&self, other: &Self) -> bool {
        self.tokens.same_as(&other.tokens) && Arc::ptr_eq(&self.files, &other.files)
    }

    /// Where the files of a server go.
    pub fn plan(&self, database: &Database) -> Result<Plan, NodeError> {
        let mut places = Vec::new();
        for what in publish::kinds(database.level) {
            places.push(self.place(*what, database.place(*what), database.login.as_ref())?);
        }
        for (what, copies) in &database.publish {
            for copy in copies {
                let place = self.place(*what, &copy.url, copy.login.as_ref())?;
                places.push(Place { copy: true, ..place });
            }
        }
        Ok(Plan { places, files: self.files.clone(), authority: None })
    }

    /// A place of the configuration, its password opened.
    pub fn place(
        &self,
        what: FileType,
        url: &str,
        login: Option<&config::Login>,
    ) -> Result<Place, NodeError> {
        let url = FileUrl::parse(url).map_err(|error| NodeError::Refused(error.to_string()))?;
        Ok(Place { what, url, login: self.login(login)?, copy: false })
    }

    /// A login of the configuration, its password opened.
    pub fn login(&self, login: Option<&config::Login>) -> Result<Option<Login>, NodeError> {
        let Some(login) = login else { return Ok(None) };
        let password = login.password.as_ref().map(|password| password.open(&self.vault)).transpose();
        let password = password.map_err(|error| NodeError::Refused(error.to_string()))?;
        Ok(Some(Login { username: login.username.clone(), password: password.unwrap_or_default() }))
    }
}
