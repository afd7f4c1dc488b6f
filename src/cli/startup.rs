//! The startup configuration: what the state directory keeps of the running one.

use std::path::Path;
use std::{fs, io};

use super::command::Messages;
use super::{Command, CommandError, Output, Run};
use crate::config::Configuration;
use crate::files;
use crate::node::{Node, NodeError};

/// The configuration that is read at start, in the state directory.
pub const STARTUP_CONFIG: &str = "startup-config";

pub(super) const COMMANDS: &[Command] = &[Command {
    words: "write [memory]",
    about: "Saves the running configuration, so that it is that of the next start",
    help: &[("write", "Save the running configuration"), ("memory", "In the state directory")],
    run: Run::OnNode(|node, _| save(node)),
}];

/// Makes the running configuration that of the next start.
pub(super) fn save(node: &Node) -> Result<Output, CommandError> {
    write(node.state(), &node.configuration())?;
    node.save_certificates()?;
    Ok(Output::of(Messages { messages: vec!["Building configuration...".into(), "[OK]".into()] }))
}

/// Writes the file, whole or not at all; it is on the disk when this returns.
pub(super) fn write(state: &Path, configuration: &Configuration) -> Result<(), NodeError> {
    let path = state.join(STARTUP_CONFIG);
    files::replace(&path, configuration.to_text().as_bytes())
        .map_err(|source| NodeError::Io { what: format!("writing {}", path.display()), source })
}

/// Reads the file; without one the configuration is empty.
pub(super) fn read(state: &Path) -> Result<Configuration, CommandError> {
    let path = state.join(STARTUP_CONFIG);
    match fs::read_to_string(&path) {
        Ok(text) => Configuration::parse(&text)
            .map_err(|error| CommandError::Refused(format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Configuration::default()),
        Err(source) => Err(NodeError::Io { what: format!("reading {}", path.display()), source }.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_is_private_and_reads_back() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(read(state.path()).unwrap(), Configuration::default());
        let configuration = Configuration::parse("hostname a\ncrypto pki server x\n no shutdown").unwrap();
        for configuration in [&Configuration::default(), &configuration] {
            // Also over what a crash has left.
            fs::write(state.path().join("startup-config.new"), "half").unwrap();
            write(state.path(), configuration).unwrap();
            assert_eq!(read(state.path()).unwrap(), *configuration);
        }
        let mode = fs::metadata(state.path().join(STARTUP_CONFIG)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(state.path().join(STARTUP_CONFIG), "hostnam a b").unwrap();
        assert!(read(state.path()).unwrap_err().to_string().contains("line 1:\nhostnam a b\n          ^"));
    }
}
