//! Datagrams of unix sockets, and where an answer to one may go.
//!
//! The name of a sender is a path that it has chosen, in a directory that may be its own: by
//! the time of the answer something else can be there, a link to a socket of root's, say. And
//! whoever gets a datagram may ask the system who has sent it, and believe it. So an answer of
//! a server that has more rights than the sender
//! * goes to a path only if what is there belongs to the sender's user and is a socket, which
//!   is held fast from the look at it to the sending, so that nothing can take its place in
//!   between; no link is followed there (on the way to it one may be: what is found must still
//!   be the sender's user's own);
//! * says that it comes from the sender's user and group, which root may say. A server that is
//!   not root can say nothing but the truth: it answers others where the socket is theirs.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, UnixCredentials, sendmsg};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Uid, getpid};

use crate::sys::messages::{receive_from, receive_with_credentials};

/// The user that stands for those whom this machine, or this container, cannot name.
const NAMELESS: u32 = 65_534;

/// Who has sent a datagram to a unix socket.
#[derive(Debug)]
pub(crate) struct Correspondent {
    /// Where its socket is bound.
    pub name: UnixAddr,
    /// Its process, user and group; none if the system has not said it.
    pub credentials: Option<UnixCredentials>,
}

/// Why a sender cannot be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// The system has not said who it is.
    Unknown,
    /// It is this process.
    Ourselves,
    /// Its name is a path from a directory that only it knows.
    Relative,
    /// What is at its path by now is no socket of its user's.
    NotItsOwn,
    /// A name that is no path belongs to nobody, and the answer would have our rights.
    Nobodys,
}

/// How a sender is answered.
#[derive(Debug)]
pub(crate) enum Route {
    /// At its name: it has our rights, or more.
    Directly,
    /// At what is at its path, or at its name that is none; as its user if that is said.
    Theirs {
        /// The socket at its path, held fast.
        at: Option<OwnedFd>,
        /// What its receiver is told of us.
        say: Option<UnixCredentials>,
    },
}

impl Correspondent {
    /// How it may be answered.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn route(&self) -> Result<Route, Unreachable> {
        let them = self.credentials.ok_or(Unreachable::Unknown)?;
        if them.pid() == getpid().as_raw() {
            return Err(Unreachable::Ourselves);
        }
        let path = self.name.path();
        if path.is_some_and(Path::is_relative) {
            return Err(Unreachable::Relative);
        }
        let (ours, theirs) = (Uid::effective(), Uid::from_raw(them.uid()));
        if theirs == ours || theirs.is_root() {
            return Ok(Route::Directly);
        }
        let as_them = libc::ucred { pid: getpid().as_raw(), uid: them.uid(), gid: them.gid() };
        let say = ours.is_root().then(|| as_them.into());
        match path {
            Some(path) => Ok(Route::Theirs { at: Some(socket_of(path, theirs)?), say }),
            None if say.is_some() => Ok(Route::Theirs { at: None, say }),
            None => Err(Unreachable::Nobodys),
        }
    }
}

/// What is at a path, if it is a socket of this user's.
fn socket_of(path: &Path, user: Uid) -> Result<OwnedFd, Unreachable> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let found = open(path, flags, Mode::empty()).map_err(|_| Unreachable::NotItsOwn)?;
    let facts = fstat(&found).map_err(|_| Unreachable::NotItsOwn)?;
    let is_theirs = facts.st_mode & libc::S_IFMT == libc::S_IFSOCK && facts.st_uid == user.as_raw();
    is_theirs.then_some(found).ok_or(Unreachable::NotItsOwn)
}

/// Takes a datagram; none is the sender that cannot be answered, since it has no name.
///
/// # Errors
/// recv(2)'s. WouldBlock: there is none.
pub(crate) fn take_unix(
    socket: &UnixDatagram,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<Correspondent>)> {
    let (length, sender, ucred) = receive_with_credentials(socket, buffer)?;
    let name = sender.and_then(|sender| sender.as_unix_addr().copied());
    let named = |it: &UnixAddr| it.path().is_some() || it.as_abstract().is_some();
    // What came before the system was asked for it says nothing.
    let ucred = ucred.filter(|it| it.pid != 0 || it.uid != NAMELESS);
    let credentials = ucred.map(UnixCredentials::from);
    let sender = name.filter(named).map(|name| Correspondent { name, credentials });
    Ok((length, sender))
}

/// Looks at the first datagram of a unix socket, which stays where it is.
///
/// # Errors
/// recv(2)'s. WouldBlock: there is none.
pub(crate) fn peek_unix(socket: &UnixDatagram, buffer: &mut [u8]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    receive_from(socket, buffer, flags).map(|(length, _)| length)
}

/// Sends an answer on the way that was found.
///
/// # Errors
/// send(2)'s. WouldBlock: the queue of whoever is to get it is full.
pub(crate) fn answer_unix(
    socket: &UnixDatagram,
    bytes: &[u8],
    to: &Correspondent,
    route: &Route,
) -> io::Result<()> {
    let (at, say) = match route {
        Route::Directly => (None, None),
        Route::Theirs { at, say } => (at.as_ref(), say.as_ref()),
    };
    // sendmsg(2) takes no such descriptor but by this name.
    let held = at.map(|at| format!("/proc/self/fd/{}", at.as_raw_fd()));
    let held = held.as_deref().map(UnixAddr::new).transpose()?;
    let ucred = say.map(ControlMessage::ScmCredentials);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let (parts, ucred) = ([IoSlice::new(bytes)], ucred.as_slice());
    sendmsg(socket.as_raw_fd(), &parts, ucred, flags, Some(held.as_ref().unwrap_or(&to.name)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use nix::sys::socket::{setsockopt, sockopt};

    use super::*;

    fn correspondent(name: &Path, uid: u32) -> Correspondent {
        let credentials = libc::ucred { pid: 1, uid, gid: 1 }.into();
        Correspondent { name: UnixAddr::new(name).unwrap(), credentials: Some(credentials) }
    }

    #[test]
    fn a_sender_is_known_by_its_name_and_by_what_the_system_says() {
        let (socket, nameless) = UnixDatagram::pair().unwrap();
        let mut buffer = [0; 8];
        assert!(
            take_unix(&socket, &mut buffer).is_err_and(|it| it.kind() == ErrorKind::WouldBlock)
        );
        nameless.send(b"one").unwrap();
        assert_eq!(peek_unix(&socket, &mut buffer).unwrap(), 3);
        let (length, sender) = take_unix(&socket, &mut buffer).unwrap();
        assert_eq!((length, sender.is_none()), (3, true));

        let dir = tempfile::tempdir().unwrap();
        let named = |name: &str| UnixDatagram::bind(dir.path().join(name)).unwrap();
        let (here, there) = (named("here"), named("there"));
        there.send_to(b"before it is asked", dir.path().join("here")).unwrap();
        let (_, sender) = take_unix(&here, &mut buffer).unwrap();
        assert_eq!(sender.unwrap().route().unwrap_err(), Unreachable::Unknown);
        setsockopt(&here, sockopt::PassCred, &true).unwrap();
        there.send_to(b"two", dir.path().join("here")).unwrap();
        let (_, sender) = take_unix(&here, &mut buffer).unwrap();
        let sender = sender.unwrap();
        assert_eq!(sender.route().unwrap_err(), Unreachable::Ourselves);
        answer_unix(&here, b"answer", &sender, &Route::Directly).unwrap();
        assert_eq!(there.recv(&mut buffer).unwrap(), 6);
    }

    #[test]
    fn an_answer_goes_to_what_belongs_to_the_sender_and_to_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("socket"), dir.path().join("link"));
        let theirs = UnixDatagram::bind(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let own = Uid::effective();
        let other = Uid::from_raw(own.as_raw() + 1);
        assert_eq!(socket_of(&path, other).unwrap_err(), Unreachable::NotItsOwn);
        assert_eq!(socket_of(&link, own).unwrap_err(), Unreachable::NotItsOwn);
        assert_eq!(socket_of(&dir.path().join("file"), own).unwrap_err(), Unreachable::NotItsOwn);
        let at = Some(socket_of(&path, own).unwrap());
        // Whatever takes its place meanwhile.
        std::fs::rename(&link, &path).unwrap();
        let (us, to) = (UnixDatagram::unbound().unwrap(), correspondent(&path, own.as_raw()));
        answer_unix(&us, b"held", &to, &Route::Theirs { at, say: None }).unwrap();
        assert_eq!(theirs.recv(&mut [0; 8]).unwrap(), 4);
        assert_eq!(correspondent(Path::new("here"), 0).route().unwrap_err(), Unreachable::Relative);
        assert!(matches!(correspondent(&path, own.as_raw()).route(), Ok(Route::Directly)));
    }
}
