//! The unix socket at a path, for a server of root that connects to it with root's rights.
//!
//! A link decides which socket it is, and whoever may write the directory can put one there. So
//! no link is followed but as [`crate::sys::trusted_path`] says, and what was found is held fast
//! while it is connected to.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};

use crate::sys::trusted_path;

/// What is at a path, for connecting to it and for nothing else.
///
/// # Errors
/// The system's; which link is not followed.
pub(super) fn hold(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(AT_FDCWD, path, how) {
        Ok(found) => Ok(found),
        // There is a link; or the kernel (before 5.6) cannot say.
        Err(Errno::ELOOP | Errno::ENOSYS | Errno::EPERM) => trusted_path::hold(path),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn links_are_followed_where_nobody_else_can_have_put_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let _listener = UnixListener::bind(at("socket")).unwrap();
        symlink("socket", at("link")).unwrap();
        fs::create_dir(at("open")).unwrap();
        symlink("../link", at("open/link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for name in ["socket", "link", "open/link", "open/../socket"] {
            assert!(hold(&at(name)).is_ok(), "{name}");
        }
        fs::set_permissions(at("open"), Permissions::from_mode(0o777)).unwrap();
        let error = hold(&at("open/link")).unwrap_err().to_string();
        assert!(error.contains("everybody can write to"), "{error}");
        assert!(hold(&at("open/../socket")).is_ok(), "there is no link");
        assert!(hold(&at("loop")).is_err() && hold(&at("none")).is_err());
    }
}
