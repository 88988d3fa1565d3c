//! The unix socket at a path, for a server of root that connects to it with root's rights.
//!
//! A link decides which socket it is, and whoever may write the directory can put one there. So
//! no link is followed, but where every link and directory on the way belongs to root or the
//! server's user and nobody else may write there (one that is sticky, as /tmp, is fine: there,
//! others cannot touch what is not theirs). What was found is held fast while it is connected
//! to.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::Uid;

/// Links on one way, as the system counts them.
const LINKS: usize = 40;

/// What is at a path, for connecting to it and for nothing else.
///
/// # Errors
/// The system's; which link is not followed.
pub(super) fn hold(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(AT_FDCWD, path, how) {
        Ok(found) => return Ok(found),
        // There is a link; or the kernel (before 5.6) cannot say.
        Err(Errno::ELOOP | Errno::ENOSYS | Errno::EPERM) => check(path)?,
        Err(error) => return Err(error.into()),
    }
    // Nobody but those who are trusted can have changed it meanwhile.
    Ok(open(path, flags, Mode::empty())?)
}

/// Whether nobody else has a say in where a path leads.
fn check(path: &Path) -> io::Result<()> {
    let mut at = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = parts(path).collect();
    let mut links = 0;
    trusted(&at)?;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(name);
        let facts = at.symlink_metadata()?;
        if facts.is_symlink() {
            links += 1;
            if links > LINKS {
                return Err(Errno::ELOOP.into());
            }
            owned(&at, facts.uid())?;
            let target = std::fs::read_link(&at)?;
            at.pop();
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            parts(&target).rev().for_each(|part| rest.push_front(part));
        } else if !rest.is_empty() {
            trusted(&at)?;
        }
    }
    Ok(())
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

fn trusted(directory: &Path) -> io::Result<()> {
    let facts = directory.symlink_metadata()?;
    owned(directory, facts.uid())?;
    let others_write = facts.mode() & (libc::S_IWGRP | libc::S_IWOTH) != 0;
    if others_write && facts.mode() & libc::S_ISVTX == 0 {
        return Err(refused(directory, "others may write to"));
    }
    Ok(())
}

fn owned(path: &Path, uid: u32) -> io::Result<()> {
    let is_trusted = uid == 0 || uid == Uid::effective().as_raw();
    if is_trusted { Ok(()) } else { Err(refused(path, "somebody else owns")) }
}

fn refused(path: &Path, why: &str) -> io::Error {
    let message = format!("a link is not followed as root: {why} {}", path.display());
    io::Error::other(message)
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
        assert!(error.contains("others may write to"), "{error}");
        assert!(hold(&at("open/../socket")).is_ok(), "there is no link");
        assert!(hold(&at("loop")).is_err() && hold(&at("none")).is_err());
    }
}
