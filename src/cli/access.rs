//! Who may reach the state directory and the command socket: their owner, and for the socket the members of
//! `socket group`. Those pass through the directory to the socket and can open nothing else in it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use nix::unistd::{Gid, Group, Uid};

/// The group that may use the command socket, looked up on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Members(Option<Gid>);

impl Members {
    /// Nobody but the owner.
    pub const NONE: Self = Self(None);

    /// The members of this group.
    pub fn of(group: Option<&str>) -> io::Result<Self> {
        let Some(name) = group else { return Ok(Self::NONE) };
        match Group::from_name(name) {
            Ok(Some(group)) => Ok(Self(Some(group.gid))),
            Ok(None) => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no group \"{name}\" on this host (\"socket group\")"),
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets them, and nobody else, use the socket `path`.
    pub fn share_socket(self, path: &Path) -> io::Result<()> {
        self.share(path, 0o600, 0o660)
    }

    /// Lets them, and nobody else, pass through the directory `state`.
    pub fn share_directory(self, state: &Path) -> io::Result<()> {
        self.share(state, 0o700, 0o710)
    }

    fn share(self, path: &Path, private: u32, shared: u32) -> io::Result<()> {
        let Some(group) = self.0 else { return fs::set_permissions(path, Permissions::from_mode(private)) };
        // Nobody's in between: never the wrong group's.
        fs::set_permissions(path, Permissions::from_mode(private))?;
        chown(path, None, Some(group.as_raw())).map_err(|error| {
            let hint = "hint: the process must be root or a member of the \"socket group\"";
            io::Error::new(
                error.kind(),
                format!("the group of {} cannot be set: {error}\n{hint}", path.display()),
            )
        })?;
        fs::set_permissions(path, Permissions::from_mode(shared))
    }
}

/// Takes from others what permissions they have on the state directory and its files. What was open, or is
/// and cannot be closed, is told in the log.
pub fn protect(state: &Path, members: Members) -> io::Result<()> {
    let directory = fs::metadata(state)?;
    let open =
        directory.mode() & 0o077 != 0 && (directory.mode() & 0o777 != 0o710 || members == Members::NONE);
    if directory.uid() != Uid::effective().as_raw() {
        if open {
            tracing::warn!(state = %state.display(), "others may enter the state directory, which is not ours");
        }
        return Ok(());
    }
    if open {
        tracing::warn!(state = %state.display(), "others could enter the state directory; not any more");
    }
    members.share_directory(state)?;
    for entry in fs::read_dir(state)? {
        let entry = entry?;
        // Files come and go: the servers are running.
        let (path, Ok(file)) = (entry.path(), entry.metadata()) else { continue };
        if !file.is_file() || file.mode() & 0o077 == 0 {
            continue;
        }
        match fs::set_permissions(&path, Permissions::from_mode(0o600)) {
            Ok(()) => tracing::warn!(file = %path.display(), "others could open this file; not any more"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(file = %path.display(), %error, "others may open this file"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_open_is_closed() {
        let state = tempfile::tempdir().unwrap();
        let path = |name: &str| state.path().join(name);
        fs::set_permissions(state.path(), Permissions::from_mode(0o755)).unwrap();
        fs::write(path("pin.txt"), "1234").unwrap();
        fs::set_permissions(path("pin.txt"), Permissions::from_mode(0o644)).unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::set_permissions(outside.path(), Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(outside.path(), path("link")).unwrap();
        protect(state.path(), Members::NONE).unwrap();
        assert_eq!((mode(state.path()), mode(&path("pin.txt"))), (0o700, 0o600));
        // What a link leads to is somebody else's business.
        assert_eq!(mode(outside.path()), 0o644);
    }

    #[test]
    fn a_group_may_pass_and_use_the_socket() {
        let state = tempfile::tempdir().unwrap();
        let socket = state.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let own = Group::from_gid(Gid::effective()).unwrap().unwrap();
        let members = Members::of(Some(&own.name)).unwrap();
        members.share_directory(state.path()).unwrap();
        members.share_socket(&socket).unwrap();
        assert_eq!((mode(state.path()), mode(&socket)), (0o710, 0o660));
        assert_eq!(fs::metadata(&socket).unwrap().gid(), own.gid.as_raw());
        protect(state.path(), members).unwrap();
        assert_eq!(mode(state.path()), 0o710);
        protect(state.path(), Members::NONE).unwrap();
        Members::NONE.share_socket(&socket).unwrap();
        assert_eq!((mode(state.path()), mode(&socket)), (0o700, 0o600));
        let error = Members::of(Some("no-such-group-here")).unwrap_err().to_string();
        assert!(error.contains("no-such-group-here"), "{error}");
    }
}
