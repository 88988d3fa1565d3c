//! The path of a unix socket: replaced only when it is a socket and nobody answers
//! there, made with its owner and mode, and unlinked when the socket is closed.

mod beneath;
mod owner;
mod refusal;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, fchmodat, fstat, umask};
use nix::unistd::{Gid, Uid, fchownat, getegid, geteuid};

use crate::config::model::{Attributes, SocketType};
use crate::sys::descriptor;
use crate::sys::trusted_path::ParentDirectory;
use refusal::PathRefusal;

/// A path with our socket on it; unlinked when dropped, if it is still ours.
#[derive(Debug)]
pub(crate) struct BoundPath {
    path: PathBuf,
    /// Device and inode at the time of binding.
    identity: (u64, u64),
}

impl BoundPath {
    /// A path that was bound before, by the socket of this device and inode.
    pub(crate) fn taken_over(path: &Path, identity: (u64, u64)) -> Self {
        Self { path: path.to_owned(), identity }
    }

    /// The path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Device and inode at the time of binding.
    pub(crate) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Whether our socket cannot be found there any more.
    pub(crate) fn is_lost(&self) -> bool {
        ParentDirectory::of(&self.path).and_then(|place| identity(&place)).ok()
            != Some(self.identity)
    }

    /// Gives our socket its owner, group and mode: those that it would have if it were
    /// bound now.
    ///
    /// # Errors
    /// chown(2)'s and chmod(2)'s; that something else is there by now.
    pub(crate) fn set_owner_and_mode(&self, attributes: &Attributes) -> io::Result<()> {
        let found = SocketFile::at(&ParentDirectory::of(&self.path)?)?;
        if found.identity() != self.identity {
            return Err(PathRefusal::Replaced.into());
        }
        let user = attributes.socket.user.unwrap_or_else(|| geteuid().as_raw());
        let group = attributes.socket.group.unwrap_or_else(|| self.group_of_new());
        let user = Some(user).filter(|user| *user != found.stat.st_uid);
        let group = Some(group).filter(|group| *group != found.stat.st_gid);
        found.set_owner_and_mode((user, group), attributes.socket.mode)
    }

    /// Ours, but in a folder that gives its own to everything in it (inode(7)).
    fn group_of_new(&self) -> u32 {
        let folder = self.path.parent().and_then(|folder| folder.metadata().ok());
        let gives = folder.filter(|folder| folder.mode() & libc::S_ISGID != 0);
        gives.map_or_else(|| getegid().as_raw(), |folder| folder.gid())
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        // Somebody else's socket may be there by now.
        let Ok(place) = ParentDirectory::of(&self.path) else { return };
        if identity(&place).ok() == Some(self.identity) {
            let _ = place.unlink();
        }
    }
}

fn identity(place: &ParentDirectory) -> io::Result<(u64, u64)> {
    let found = place.stat()?;
    Ok((found.st_dev, found.st_ino))
}

/// Binds `descriptor` to `path` with the owner and mode that the service asks for.
///
/// # Errors
/// What the system answered, or what is in the way at that path.
pub(crate) fn bind(
    descriptor: &OwnedFd,
    path: &Path,
    socket_type: SocketType,
    attributes: &Attributes,
) -> io::Result<BoundPath> {
    let address = UnixAddr::new(path)?;
    // What is bound is looked for there: if the path leads elsewhere by then, nothing is done.
    let place = ParentDirectory::of(path)?;
    match bind_at(descriptor, &address, &place) {
        Err(Errno::EADDRINUSE) => {
            remove_stale(&place, &address, socket_type)?;
            bind_at(descriptor, &address, &place)?;
        }
        // There it was not allowed to.
        Err(Errno::EACCES) if !ParentDirectory::of(path)?.is(&place) => {
            return Err(PathRefusal::Replaced.into());
        }
        other => other?,
    }
    let found = match SocketFile::at(&place) {
        Ok(found) if found.is_newly_ours() => found,
        _ => return Err(bound_elsewhere(descriptor)),
    };
    let bound = BoundPath { path: path.to_owned(), identity: found.identity() };
    let owner = (attributes.socket.user, attributes.socket.group);
    found.set_owner_and_mode(owner, attributes.socket.mode)?;
    Ok(bound)
}

fn bind_at(descriptor: &OwnedFd, address: &UnixAddr, place: &ParentDirectory) -> Result<(), Errno> {
    if place.is_movable() {
        beneath::bind(descriptor, address, place)
    } else {
        bind_privately(descriptor, address)
    }
}

/// The path has led elsewhere when it was bound: what has come to be there is removed.
fn bound_elsewhere(descriptor: &OwnedFd) -> io::Error {
    match beneath::remove(descriptor) {
        Ok(()) => PathRefusal::Replaced.into(),
        Err(error) => PathRefusal::Left(error).into(),
    }
}

/// Binds with mode 0600: nobody may connect before the owner is right.
fn bind_privately(descriptor: &OwnedFd, address: &UnixAddr) -> Result<(), Errno> {
    let before = umask(Mode::from_bits_truncate(0o177));
    let result = nix::sys::socket::bind(descriptor.as_raw_fd(), address);
    umask(before);
    result
}

/// The bits that chmod(2) changes.
const ALL_MODES: u32 = 0o7777;

/// What is at a path, held fast: whoever may write to the directory (the service's user, it
/// may be) can put something else at the path at any time, a link to any file included.
struct SocketFile {
    /// Good for naming it, and for nothing else (O_PATH).
    descriptor: OwnedFd,
    stat: FileStat,
}

impl SocketFile {
    fn at(place: &ParentDirectory) -> io::Result<Self> {
        let descriptor = place.hold()?;
        let stat = fstat(&descriptor)?;
        Ok(Self { descriptor, stat })
    }

    fn identity(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }

    /// What leads to it and to nothing else, where there is /proc.
    fn itself(&self) -> io::Result<UnixAddr> {
        Ok(UnixAddr::new(format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()).as_str())?)
    }

    /// A socket of ours that has this name alone, as bind(2) makes it.
    fn is_newly_ours(&self) -> bool {
        let is_socket = self.stat.st_mode & libc::S_IFMT == libc::S_IFSOCK;
        is_socket && self.stat.st_uid == geteuid().as_raw() && self.stat.st_nlink == 1
    }

    /// An owner or group of None stays.
    fn set_owner_and_mode(
        &self,
        (user, group): (Option<u32>, Option<u32>),
        mode: u32,
    ) -> io::Result<()> {
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        if user.is_some() || group.is_some() {
            fchownat(&self.descriptor, "", user, group, AtFlags::AT_EMPTY_PATH)?;
        }
        if self.stat.st_mode & ALL_MODES == mode & ALL_MODES {
            return Ok(());
        }
        // chmod(2) takes no such descriptor but by this name.
        let itself = format!("/proc/self/fd/{}", self.descriptor.as_raw_fd());
        let bits = Mode::from_bits_truncate(mode);
        match fchmodat(AT_FDCWD, itself.as_str(), bits, FchmodatFlags::FollowSymlink) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => self.change_mode_without_proc(mode),
            other => Ok(other?),
        }
    }

    fn change_mode_without_proc(&self, mode: u32) -> io::Result<()> {
        descriptor::change_mode(&self.descriptor, mode).map_err(|error| {
            match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOSYS) => PathRefusal::NoProc.into(),
                _ => error,
            }
        })
    }
}

/// Unlinks a socket that a server has left behind.
fn remove_stale(
    place: &ParentDirectory,
    address: &UnixAddr,
    socket_type: SocketType,
) -> io::Result<()> {
    let found = SocketFile::at(place)?;
    if found.stat.st_mode & libc::S_IFMT != libc::S_IFSOCK {
        return Err(PathRefusal::NotASocket.into());
    }
    let path = address.path().unwrap_or(Path::new(""));
    if owner::has_owner(&found.stat, path) {
        return Err(PathRefusal::Taken.into());
    }
    // The kernel does not know of it. The last way to find out is to come as a client.
    let answer = match ask(&found.itself()?, socket_type)? {
        Err(Errno::ENOENT | Errno::ENOTDIR) if place.is_movable() => {
            return Err(PathRefusal::NotAsked.into());
        }
        Err(Errno::ENOENT | Errno::ENOTDIR) => ask(address, socket_type)?,
        answer => answer,
    };
    // Any answer but "refused" (a full backlog, another type) is somebody.
    if answer != Err(Errno::ECONNREFUSED) {
        return Err(PathRefusal::Taken.into());
    }
    place.unlink()
}

fn ask(address: &UnixAddr, socket_type: SocketType) -> io::Result<Result<(), Errno>> {
    let kind = match socket_type {
        SocketType::Stream => SockType::Stream,
        SocketType::Dgram => SockType::Datagram,
        SocketType::SeqPacket => SockType::SeqPacket,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket(AddressFamily::Unix, kind, flags, None)?;
    Ok(connect(probe.as_raw_fd(), address))
}
