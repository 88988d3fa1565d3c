//! The connection of a conversation.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::poll::{PollFlags, PollTimeout};
use nix::sys::socket::{MsgFlags, recv};
use serde::{Deserialize, Serialize};

use crate::sys::descriptor::{becomes_ready, send_now};

/// A connected socket on which nothing waits: each call says so itself. To say so once
/// (O_NONBLOCK) would be one more call for each of those that end in their first turn, and
/// one to take it back for those that a program gets.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::server) struct Stream(#[serde(with = "crate::sys::handed")] OwnedFd);

impl Stream {
    /// Whether the other side has closed it altogether.
    pub(super) fn is_hung_up(&self) -> bool {
        becomes_ready(&self.0, PollFlags::empty(), PollTimeout::ZERO).unwrap_or(false)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send_now(&self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<OwnedFd> for Stream {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> Self {
        stream.0
    }
}
