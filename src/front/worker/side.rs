//! One side of a session: a descriptor, what waits to be written to it, and what is known of
//! it. Nothing waits; what the poll announces once is remembered until it is used up.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use nix::unistd::{read, write};

use crate::front::wire::Give;
use crate::sys::descriptor::send_now;
use crate::sys::terminal;

/// A buffer that has become larger is not kept between sessions.
const KEPT: usize = 128 * 1024;

/// What a terminal holds at most when its program has ended.
const MOST_SHOWN: usize = 256 * 1024;

/// What reading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Nothing,
    Bytes(usize),
    End,
}

/// One side.
#[derive(Debug)]
pub(super) struct Side {
    descriptor: OwnedFd,
    kind: Give,
    can_read: bool,
    can_write: bool,
    /// The poll has announced an end.
    end_announced: bool,
    /// Nothing more comes from it.
    at_end: bool,
    /// Nothing more can be written to it.
    gone: bool,
    /// It has been told that nothing more will come.
    shut: bool,
    pending: Vec<u8>,
    written: usize,
    /// Its program has ended: what is there is read, but no more than so much.
    rest: Option<usize>,
}

impl Side {
    /// A socket, or a terminal's other side on which nothing waits (O_NONBLOCK).
    pub(super) fn new(descriptor: OwnedFd, kind: Give) -> Self {
        Self {
            descriptor,
            kind,
            can_read: true,
            can_write: true,
            end_announced: false,
            at_end: false,
            gone: false,
            shut: false,
            pending: Vec::new(),
            written: 0,
            rest: None,
        }
    }

    /// Whether it is a terminal's.
    pub(super) fn is_terminal(&self) -> bool {
        self.kind == Give::Terminal
    }

    /// The window of the client has another size.
    pub(super) fn set_size(&self, size: (u16, u16)) {
        if self.is_terminal() {
            // Of a terminal that nobody has any more.
            let _ = terminal::set_size(&self.descriptor, size);
        }
    }

    /// The program has ended, whoever else has its terminal: what it has shown is still there.
    pub(super) fn finish(&mut self) {
        if self.is_terminal() && self.rest.is_none() {
            (self.rest, self.can_read) = (Some(MOST_SHOWN), true);
        }
    }

    /// Whether an end has been announced, which may stand behind what is not read yet.
    pub(super) fn is_ending(&self) -> bool {
        self.at_end || self.end_announced
    }

    /// What the poll says.
    pub(super) fn announce(&mut self, event: &mio::event::Event) {
        self.can_read |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.can_write |= event.is_writable() || event.is_write_closed();
        self.end_announced |= event.is_read_closed() || event.is_error();
    }

    /// The same of a program's side: whoever was there is there no more.
    pub(super) fn announce_program(&mut self, event: &mio::event::Event) {
        self.announce(event);
        if event.is_write_closed() || event.is_error() {
            self.lose();
        }
    }

    pub(super) fn may_read(&self) -> bool {
        self.can_read && !self.at_end
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at_end
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Bytes that wait to be written.
    pub(super) fn pending(&self) -> usize {
        self.pending.len().saturating_sub(self.written)
    }

    /// Reads what there is.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> Taken {
        if self.rest == Some(0) {
            self.lose();
            return self.end();
        }
        let number = self.descriptor.as_raw_fd();
        let result = match self.kind {
            Give::Socket => recv(number, buffer, MsgFlags::MSG_DONTWAIT),
            Give::Terminal => read(&self.descriptor, buffer),
        };
        match result {
            Ok(0) => self.end(),
            Ok(count) => {
                // A stream that gave less has no more, and announces what comes.
                let all = self.kind == Give::Socket && count < buffer.len();
                self.can_read = !all || self.end_announced;
                self.rest = self.rest.map(|rest| rest.saturating_sub(count));
                Taken::Bytes(count)
            }
            // Nobody who is left in the background is waited for.
            Err(Errno::EAGAIN) if self.rest.is_some() => {
                self.lose();
                self.end()
            }
            Err(Errno::EAGAIN) => {
                self.can_read = false;
                Taken::Nothing
            }
            Err(Errno::EINTR) => Taken::Nothing,
            // A reset, or a terminal that nobody has any more.
            Err(_) => {
                self.lose();
                self.end()
            }
        }
    }

    fn end(&mut self) -> Taken {
        self.at_end = true;
        Taken::End
    }

    /// Whatever waits for it is in vain.
    fn lose(&mut self) {
        (self.gone, self.pending, self.written) = (true, Vec::new(), 0);
    }

    /// Writes bytes, or keeps what finds no room.
    pub(super) fn give(&mut self, bytes: &mut Vec<u8>) {
        if !bytes.is_empty() && !self.gone && !self.shut {
            let written = if self.has_pending() { 0 } else { self.write(bytes) };
            if !self.gone {
                self.pending.extend_from_slice(bytes.get(written..).unwrap_or_default());
            }
        }
        bytes.clear();
        bytes.shrink_to(KEPT);
    }

    /// Writes what waits; whether something was written.
    pub(super) fn flush(&mut self) -> bool {
        if !self.has_pending() || !self.can_write {
            return false;
        }
        let pending = std::mem::take(&mut self.pending);
        let count = self.write(pending.get(self.written..).unwrap_or_default());
        if !self.gone {
            self.written = self.written.saturating_add(count);
            // It takes no memory while there is nothing in it.
            (self.pending, self.written) = match self.written < pending.len() {
                true => (pending, self.written),
                false => (Vec::new(), 0),
            };
        }
        count > 0 || self.gone
    }

    /// Writes as much as there is room for; how much.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0usize;
        while self.can_write && done < bytes.len() {
            let rest = bytes.get(done..).unwrap_or_default();
            let result = match self.kind {
                Give::Socket => send_now(&self.descriptor, rest),
                Give::Terminal => write(&self.descriptor, rest),
            };
            match result {
                Ok(count) => done = done.saturating_add(count),
                Err(Errno::EAGAIN) => self.can_write = false,
                Err(Errno::EINTR) => {}
                Err(_) => {
                    self.lose();
                    break;
                }
            }
        }
        done
    }

    /// Says that nothing more will come, once; whether that was now. A terminal cannot be told.
    pub(super) fn shut(&mut self) -> bool {
        if std::mem::replace(&mut self.shut, true) {
            return false;
        }
        if self.kind == Give::Socket && !self.gone {
            let _ = shutdown(self.descriptor.as_raw_fd(), Shutdown::Write);
        }
        true
    }
}

impl AsRawFd for Side {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

/// A connection whose small pieces do not wait for each other.
pub(super) fn without_delay(socket: &OwnedFd) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    Ok(setsockopt(socket, sockopt::TcpNoDelay, &true)?)
}
