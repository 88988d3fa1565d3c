//! Connecting to a unix socket as somebody else than the server.
//!
//! Who connects is asked for the rights to do so, and the other side is told who it was
//! (SO_PEERCRED). A relay of a server of root connects for the user of its service, who may be
//! the one that decides what is at the path. So a process of that user does it: this program
//! again, started as every program of a service is, with one end of a pair of sockets. It is
//! sent sockets, connects each to a name, and says how that went; it never has a descriptor
//! that is not its user's business.
//!
//! The server trusts nothing of it. The socket is the server's own, of a type that it knows;
//! whoever keeps a copy of it can make it wait (`RelaySocket` does not), connect it to
//! something that is this user's to reach, or not at all.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt,
    recv, send, sendmsg, socketpair, sockopt,
};

use crate::config::model::Endpoint;
use crate::sys::descriptor::raise;
use crate::sys::messages;

/// The one argument with which this program is such a process.
pub(crate) const ARGUMENT: &str = "connect-for-relay";

/// A number, and a name after the letter that says of which kind it is.
const LONGEST: usize = 8 + 1 + 108;
/// The number, and how it went.
const ANSWER: usize = 8 + 4;

/// The server's end.
#[derive(Debug)]
pub(crate) struct Connector(OwnedFd);

/// How an attempt went: its number, and the system's error if there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectResult {
    /// As it was asked under.
    pub number: u64,
    /// 0 if the socket is connected.
    pub errno: i32,
}

impl Connector {
    /// Both ends; the second one is the process's standard input.
    ///
    /// # Errors
    /// socketpair(2)'s.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Self(raise(ours)), raise(theirs)))
    }

    /// Asks for a socket to be connected.
    ///
    /// # Errors
    /// WouldBlock: it has too much to do. Otherwise it is gone.
    pub(crate) fn ask(&self, number: u64, socket: &impl AsRawFd, to: &Endpoint) -> io::Result<()> {
        let (kind, name) = match to {
            Endpoint::Unix(path) => (b'/', path.as_os_str().as_bytes()),
            Endpoint::Abstract(name) => (b'@', name.as_slice()),
            Endpoint::Inet(_) | Endpoint::Vsock(_) => return Err(ErrorKind::InvalidInput.into()),
        };
        let message = [&number.to_le_bytes()[..], &[kind], name].concat();
        let (parts, sockets) = ([IoSlice::new(&message)], [socket.as_raw_fd()]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let rights = [ControlMessage::ScmRights(&sockets)];
        sendmsg::<()>(self.0.as_raw_fd(), &parts, &rights, flags, None)?;
        Ok(())
    }

    /// What it has answered; none at the end, and where it says what it cannot mean.
    ///
    /// # Errors
    /// recv(2)'s. WouldBlock: nothing yet.
    pub(crate) fn answer(&self) -> io::Result<Option<ConnectResult>> {
        let mut bytes = [0; ANSWER + 1];
        // Descriptors that somebody sends find no room: the system closes them.
        let length = recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT)?;
        let [a, b, c, d, e, f, g, h, i, j, k, l, _] = bytes;
        let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let errno = i32::from_le_bytes([i, j, k, l]);
        Ok((length == ANSWER).then_some(ConnectResult { number, errno }))
    }
}

impl AsRawFd for Connector {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Whether a command line is that of such a process.
pub(crate) fn is_asked_for(arguments: &[std::ffi::OsString]) -> bool {
    matches!(arguments, [one] if one == ARGUMENT)
}

/// The process: connects what it is sent, until the server is gone.
///
/// # Errors
/// When nobody has started it who could use it.
pub(crate) fn serve() -> io::Result<()> {
    let stdin = io::stdin();
    let channel = stdin.as_fd();
    if getsockopt(&channel, sockopt::SockType)? != SockType::SeqPacket {
        return Err(io::Error::other("this is for the server itself"));
    }
    // Its user need not look into it.
    let _ = nix::sys::prctl::set_dumpable(false);
    let mut message = [0; LONGEST];
    loop {
        let (length, socket) = match messages::receive_descriptor(&channel, &mut message) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            received => received?,
        };
        if length == 0 {
            return Ok(());
        }
        let message = message.get(..length).unwrap_or_default();
        let Some((number, rest)) = message.split_first_chunk::<8>() else { return Ok(()) };
        let errno = socket.map_or(Errno::EBADF as i32, |socket| connected(&socket, rest));
        let answer = [&number[..], &errno.to_le_bytes()].concat();
        send(channel.as_raw_fd(), &answer, MsgFlags::MSG_NOSIGNAL)?;
    }
}

/// 0, or why not. The socket does not wait.
fn connected(socket: &OwnedFd, name: &[u8]) -> i32 {
    let address = match name.split_first() {
        Some((b'@', name)) => UnixAddr::new_abstract(name),
        Some((_, path)) => UnixAddr::new(path),
        None => Err(Errno::EINVAL),
    };
    let result = address.and_then(|address| connect(socket.as_raw_fd(), &address));
    result.map_or_else(|error| error as i32, |()| 0)
}
