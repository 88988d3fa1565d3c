//! Whether a process has a socket at a path: the kernel knows (sock_diag(7)), and whoever is
//! asked by a connection has a client, or starts a program for it.
//!
//! It tells of the sockets of our own network namespace alone. Some file systems (overlayfs,
//! btrfs) show another device of a file than the kernel has: then what the socket was bound as
//! has to be the same, too. That it knows of none means nothing.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::libc;
use nix::sys::stat::{FileStat, major, minor};

use crate::net::sock_diag::{self, CLOSE, ESTABLISHED, LISTEN, number};

/// `linux/unix_diag.h`.
const SHOW_NAME_AND_FILE: u32 = 1 | 2;
const NAME: u16 = 0;
const FILE: u16 = 1;
const SHUTDOWN: u16 = 6;

/// Nothing is received any more.
const NO_RECEIVING: u8 = 1;

/// Bytes of an answer before its attributes, and of an attribute's head.
const BODY: usize = 16;
const ATTRIBUTE: usize = 4;

/// Whether a socket that can be reached is bound to this file, which is at this path. False
/// where the kernel does not say.
pub(super) fn has_owner(file: &FileStat, path: &Path) -> bool {
    let mut found = false;
    let outcome = sock_diag::ask(&question(), |answer| {
        found = is_reached_by(answer, file, path);
        found
    });
    if let Err(error) = outcome {
        log::debug!("unix_diag error={error}");
    }
    found
}

/// `struct unix_diag_req`: all sockets that listen or get datagrams, and their files. What
/// was accepted has the file of what accepted it.
fn question() -> Vec<u8> {
    let family = u8::try_from(libc::AF_UNIX).unwrap_or_default();
    let states: u32 = 1 << LISTEN | 1 << CLOSE | 1 << ESTABLISHED;
    let mut body = vec![family, 0, 0, 0];
    for number in [states, 0, SHOW_NAME_AND_FILE, u32::MAX, u32::MAX] {
        body.extend(number.to_ne_bytes());
    }
    body
}

/// `struct unix_diag_msg`, and its attributes.
fn is_reached_by(answer: &[u8], file: &FileStat, path: &Path) -> bool {
    let (Some(kind), Some(state)) = (answer.get(1), answer.get(2)) else { return false };
    let is_datagram = i32::from(*kind) == libc::SOCK_DGRAM;
    let can_be_reached = is_datagram || u32::from(*state) == LISTEN;
    let is_deaf = attribute(answer, SHUTDOWN)
        .and_then(|value| value.first())
        .is_some_and(|how| how & NO_RECEIVING != 0);
    // `struct unix_diag_vfs`: as many bits of the inode as there is room for, and the device as
    // the kernel writes it.
    let Some(value) = attribute(answer, FILE) else { return false };
    let inode = file.st_ino & u64::from(u32::MAX);
    let device = major(file.st_dev) << 20 | minor(file.st_dev);
    can_be_reached
        && !is_deaf
        && number(value, 0).map(u64::from) == Some(inode)
        && (number(value, 4).map(u64::from) == Some(device) || is_called(answer, path))
}

/// Whether the socket was bound as this path.
fn is_called(answer: &[u8], path: &Path) -> bool {
    let name = attribute(answer, NAME).unwrap_or_default();
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    path.is_absolute() && name.get(..end) == Some(path.as_os_str().as_bytes())
}

fn attribute(answer: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = answer.get(BODY..)?;
    loop {
        let length = short(rest, 0)?;
        let value = rest.get(ATTRIBUTE..usize::from(length))?;
        if short(rest, 2)? == wanted {
            return Some(value);
        }
        rest = rest.get(usize::from(length).next_multiple_of(4)..)?;
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::path::Path;

    use super::*;

    fn is_owned(path: &Path) -> bool {
        has_owner(&nix::sys::stat::stat(path).unwrap(), path)
    }

    /// Whether this kernel tells of its sockets, and this file system of its files.
    fn finds_owner(folder: &Path) -> bool {
        let path = folder.join("told");
        let _socket = UnixDatagram::bind(&path).unwrap();
        is_owned(&path)
    }

    #[test]
    fn one_that_listens_owns_its_path_and_what_it_has_accepted_does_not() {
        let folder = tempfile::tempdir().unwrap();
        if !finds_owner(folder.path()) {
            return;
        }
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        assert!(is_owned(&path));
        let _client = UnixStream::connect(&path).unwrap();
        let accepted = listener.accept().unwrap();
        drop(listener);
        assert!(!is_owned(&path), "{accepted:?}");
    }

    #[test]
    fn one_for_datagrams_owns_its_path_while_it_is_open() {
        let folder = tempfile::tempdir().unwrap();
        if !finds_owner(folder.path()) {
            return;
        }
        let (path, other) = (folder.path().join("socket"), folder.path().join("other"));
        let socket = UnixDatagram::bind(&path).unwrap();
        let peer = UnixDatagram::bind(&other).unwrap();
        socket.connect(&other).unwrap();
        assert!(is_owned(&path) && is_owned(&other));
        drop(socket);
        assert!(!is_owned(&path) && is_owned(&other), "{peer:?}");
    }

    #[test]
    fn on_a_file_system_that_shows_another_device_the_name_counts_too() {
        let folder = tempfile::tempdir().unwrap();
        if !finds_owner(folder.path()) {
            return;
        }
        let path = folder.path().join("socket");
        let _socket = UnixDatagram::bind(&path).unwrap();
        let mut file = nix::sys::stat::stat(&path).unwrap();
        file.st_dev = file.st_dev.wrapping_add(1);
        assert!(has_owner(&file, &path) && !has_owner(&file, &folder.path().join("other")));
        file.st_ino = file.st_ino.wrapping_add(1);
        assert!(!has_owner(&file, &path));
    }

    #[test]
    fn what_nobody_listens_to_any_more_has_no_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        nix::sys::socket::shutdown(
            std::os::fd::AsRawFd::as_raw_fd(&listener),
            nix::sys::socket::Shutdown::Both,
        )
        .unwrap();
        assert!(!is_owned(&path));
    }

    #[test]
    fn no_answer_is_too_strange() {
        let file = nix::sys::stat::stat("/").unwrap();
        for answer in [&[][..], &[0; 3], &[0xff; 17], &[0; 64], &[1, 1, 10, 0, 0, 0, 0, 0]] {
            assert!(!is_reached_by(answer, &file, Path::new("/")));
        }
    }
}
