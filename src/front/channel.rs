//! Messages with descriptors between the server and a worker: packets of a pair of unix
//! sockets. Nothing waits.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, setsockopt, socketpair,
    sockopt,
};

use super::wire::{self, ToServer, ToWorker};
use crate::sys::descriptor::raise;
use crate::sys::rights;

/// What may be on its way: the clients of a moment, each with what the kernel needs for it.
const BUFFER: usize = 1 << 20;

/// The server's end.
#[derive(Debug)]
pub(crate) struct Wire(OwnedFd);

impl Wire {
    /// Both ends; the second one is the worker's standard input.
    ///
    /// # Errors
    /// socketpair(2)'s.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        for end in [&ours, &theirs] {
            // As much as the system lets us have.
            let _ = setsockopt(end, sockopt::SndBuf, &BUFFER);
            let _ = setsockopt(end, sockopt::SndBufForce, &BUFFER);
        }
        Ok((Self(raise(ours)), raise(theirs)))
    }

    /// Says something to the worker.
    ///
    /// # Errors
    /// WouldBlock: it has too much to do. Otherwise it is gone.
    pub(crate) fn say(&self, message: &ToWorker, with: &[RawFd]) -> io::Result<()> {
        send(&self.0, &wire::to_worker(message), with)
    }

    /// What the worker has said in one packet; none at its end, and where it says what nobody
    /// can mean. Descriptors that it sends are closed.
    ///
    /// # Errors
    /// recvmsg(2)'s. WouldBlock: nothing yet.
    pub(crate) fn hear(&self, scratch: &mut [u8]) -> io::Result<Option<Vec<ToServer>>> {
        let room = wire::LONGEST.min(scratch.len());
        let buffer = scratch.get_mut(..room).unwrap_or_default();
        let received = rights::receive(&self.0, buffer)?;
        if received.is_cut || !received.descriptors.is_empty() || received.length == 0 {
            return Ok(None);
        }
        Ok(wire::from_worker(scratch.get(..received.length).unwrap_or_default()))
    }
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<OwnedFd> for Wire {
    fn from(end: OwnedFd) -> Self {
        Self(end)
    }
}

/// Sends a packet.
///
/// # Errors
/// sendmsg(2)'s.
pub(super) fn send(end: &impl AsRawFd, packet: &[u8], with: &[RawFd]) -> io::Result<()> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let parts = [IoSlice::new(packet)];
    let rights = [ControlMessage::ScmRights(with)];
    let rights = if with.is_empty() { &[][..] } else { &rights[..] };
    sendmsg::<()>(end.as_raw_fd(), &parts, rights, flags, None)?;
    Ok(())
}
