//! How a child that begins with our table of descriptors comes by its own: they are sent
//! before it exists, or while it waits for them, through a pair of sockets that it
//! has for itself, and taken by the child when its table is no longer ours. So we may close
//! our copies as soon as they are sent, and a client gets its end of file from its program
//! alone.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};

use crate::sys::descriptor::{FAR, raise};

/// One child's way to its descriptors.
#[derive(Debug)]
pub(crate) struct Channel {
    ours: OwnedFd,
    /// Under a low number: a child copies our table up to it.
    theirs: OwnedFd,
}

impl Channel {
    /// An empty one.
    ///
    /// # Errors
    /// socketpair(2)'s; or that no low number is free.
    pub(super) fn new() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        // Messages, one a child, and an end for whoever waits when we have ended.
        let (theirs, ours) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        if theirs.as_raw_fd() >= FAR {
            // No better than a copy of everything, and it would stay so.
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(Self { ours: raise(ours), theirs })
    }

    /// Where the child takes them.
    pub(super) fn theirs(&self) -> RawFd {
        self.theirs.as_raw_fd()
    }

    /// Sends the descriptors of the next child.
    ///
    /// # Errors
    /// sendmsg(2)'s: ETOOMANYREFS where this user has too many on their way.
    pub(super) fn send(&self, descriptors: &[RawFd]) -> io::Result<()> {
        let (byte, rights) = ([io::IoSlice::new(&[0])], [ControlMessage::ScmRights(descriptors)]);
        let ours = self.ours.as_raw_fd();
        sendmsg::<()>(ours, &byte, &rights, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// Takes back, and closes, what a child has not taken.
    pub(super) fn clear(&self) {
        // Without room for them the kernel closes the descriptors of a message.
        while !matches!(recv(self.theirs(), &mut [0], MsgFlags::MSG_DONTWAIT), Err(error) if error != Errno::EINTR)
        {
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_nobody_has_taken_is_closed() {
        let channel = Channel::new().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        channel.send(&[writer.as_raw_fd()]).unwrap();
        channel.send(&[writer.as_raw_fd(), writer.as_raw_fd()]).unwrap();
        drop(writer);
        channel.clear();
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the last copy is closed");
        channel.clear();
    }
}
