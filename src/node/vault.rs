//! The key under which passwords of the configuration are sealed: a file of the state directory, made on
//! first use. The configuration may be shown and copied; without this file its passwords are of no use.

use std::path::Path;
use std::{fs, io};

use zeroize::Zeroizing;

use super::NodeError;
use crate::config::Vault;
use crate::files;

/// The file, in the state directory.
pub const VAULT_KEY: &str = "config-key";

/// The vault of this state directory.
pub fn open(state: &Path) -> Result<Vault, NodeError> {
    let path = state.join(VAULT_KEY);
    let io = |what: &str, source| NodeError::Io { what: format!("{what} {}", path.display()), source };
    let octets = match fs::read(&path) {
        Ok(octets) => Zeroizing::new(octets),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(&path).map_err(|error| io("making", error))?
        }
        Err(error) => return Err(io("reading", error)),
    };
    let key: &[u8; Vault::KEY_LEN] = octets.as_slice().try_into().map_err(|_| {
        NodeError::Refused(format!(
            "{} is damaged: it has {} octets instead of {}\nhint: restore it; if it is lost, delete it and type the \
             passwords of the configuration anew",
            path.display(),
            octets.len(),
            Vault::KEY_LEN
        ))
    })?;
    Ok(Vault::new(key))
}

fn make(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut key = Zeroizing::new(vec![0; Vault::KEY_LEN]);
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    files::replace(path, &key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_private() {
        let state = tempfile::tempdir().unwrap();
        let sealed = open(state.path()).unwrap().seal(&"secret".into());
        assert_eq!(open(state.path()).unwrap().open(&sealed).unwrap().expose_secret(), "secret");
        let file = state.path().join(VAULT_KEY);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        fs::write(&file, "short").unwrap();
        let error = open(state.path()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("5 octets instead of 32"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"short", "a damaged key is not replaced");
    }
}
