//! Where commands find their node: in the running server, or on a state directory that no server has.

use std::path::PathBuf;
use std::sync::Arc;

use super::{CommandError, Members, protect, startup};
use crate::config::Configuration;
use crate::node::Node;

/// Where commands find their node.
pub enum Source {
    /// In this process, which serves it.
    Server(Arc<Node>),
    /// On a state directory. The node is made by the first command that needs it, and locks the directory.
    Directory(Directory),
}

/// A state directory without a server.
pub struct Directory {
    state: PathBuf,
    node: Option<Arc<Node>>,
    saved: bool,
}

impl Source {
    /// Of the state directory `state`, which need not be there.
    pub fn directory(state: PathBuf) -> Self {
        Self::Directory(Directory { state, node: None, saved: false })
    }

    /// Whether a server runs.
    pub fn is_server(&self) -> bool {
        matches!(self, Self::Server(_))
    }

    /// The node. A state directory that is not there is not made: its name may be mistyped.
    pub fn node(&mut self) -> Result<Arc<Node>, CommandError> {
        match self {
            Self::Directory(directory) if !directory.state.is_dir() => Err(CommandError::Refused(format!(
                "there is no state directory {}; `tokenca serve` or `tokenca configure` makes it",
                directory.state.display()
            ))),
            _ => self.made(),
        }
    }

    /// The node, with its state directory.
    pub fn made(&mut self) -> Result<Arc<Node>, CommandError> {
        match self {
            Self::Server(node) => Ok(node.clone()),
            Self::Directory(Directory { node: Some(node), .. }) => Ok(node.clone()),
            Self::Directory(directory) => {
                let configuration = startup::read(&directory.state)?;
                let members = Members::of(configuration.socket_group.as_deref()).unwrap_or(Members::NONE);
                let node = Node::start(directory.state.clone(), configuration)?;
                protect(&directory.state, members)?;
                directory.node = Some(node.clone());
                Ok(node)
            }
        }
    }

    /// The same for another session at the same time.
    pub fn again(&mut self) -> Result<Self, CommandError> {
        let node = Some(self.node()?);
        Ok(match self {
            Self::Server(node) => Self::Server(node.clone()),
            Self::Directory(directory) => {
                Self::Directory(Directory { state: directory.state.clone(), node, saved: false })
            }
        })
    }

    /// The node, when there is one already.
    pub fn started(&self) -> Option<&Arc<Node>> {
        match self {
            Self::Server(node) => Some(node),
            Self::Directory(directory) => directory.node.as_ref(),
        }
    }

    /// What is configured, for the prompt.
    pub fn hostname(&self) -> String {
        let configuration = match self {
            Self::Directory(Directory { node: None, state, .. }) => startup::read(state).unwrap_or_default(),
            Self::Directory(Directory { node: Some(node), .. }) | Self::Server(node) => node.configuration(),
        };
        configuration.hostname
    }

    /// Called when the running configuration has changed: where no server runs, only what is saved lasts.
    pub fn changed(&mut self, configuration: &Configuration) -> Result<(), CommandError> {
        if let Self::Directory(directory) = self {
            startup::write(&directory.state, configuration)?;
            directory.saved = true;
        }
        Ok(())
    }

    /// Whether the configuration was saved since the last call.
    pub fn was_saved(&mut self) -> bool {
        match self {
            Self::Directory(directory) => std::mem::take(&mut directory.saved),
            Self::Server(_) => false,
        }
    }
}
