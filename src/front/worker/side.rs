//! One side of a session: a descriptor, what waits to be written to it, and what is known of
//! it. Nothing waits; what the poll announces once is remembered until it is used up.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use nix::unistd::{read, write};

use crate::front::wire::Give;
use crate::sys::descriptor::{send_before_end, send_now, send_urgent};
use crate::sys::rights::{self, Received};
use crate::sys::{tcp, terminal};

/// A buffer that has become larger is not kept between sessions.
const KEPT: usize = 128 * 1024;

/// What a terminal holds at most when its program has ended.
const MOST_SHOWN: usize = 256 * 1024;

/// What is thrown away for a program that takes nothing more; then it is left unread.
const THROWN: usize = 64 * 1024 * 1024;

/// How bytes are sent.
type Send = fn(&OwnedFd, &[u8]) -> nix::Result<usize>;

/// What reading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Nothing,
    Bytes(usize),
    /// What was awaited has come.
    Terminal,
    End,
}

/// One side.
#[derive(Debug)]
pub(super) struct Side {
    /// None when nothing is to come or to go any more.
    descriptor: Option<OwnedFd>,
    kind: Give,
    /// What gives less than there is room for has no more (TCP). On a unix socket a read ends
    /// where descriptors come, too, and what stands behind them is not announced again.
    gives_all: bool,
    /// The poll has announced urgent bytes, before which a read ends in any case.
    has_urgent: bool,
    /// It is a program's.
    is_program: bool,
    /// It is a socket through which its terminal comes.
    awaits: bool,
    /// The terminal has come, and is not announced by the poll yet.
    is_new: bool,
    can_read: bool,
    can_write: bool,
    /// The poll announces when there is room: from the first time on that there was none.
    hears_of_room: bool,
    /// The poll has announced an end.
    end_announced: bool,
    /// Nothing more comes from it.
    at_end: bool,
    /// Nobody is there any more.
    gone: bool,
    /// Whoever is there takes nothing more, and this is what was meant for it since.
    refused: Option<usize>,
    /// It has been told that nothing more will come.
    shut: bool,
    pending: Vec<u8>,
    written: usize,
    /// Which of those that wait is to be sent as urgent.
    urgent: Option<usize>,
    /// Its program has ended: what is there is read, but no more than so much.
    rest: Option<usize>,
    /// Bytes that have been written to it.
    taken: u64,
    /// The poll has announced a reset.
    is_reset: bool,
    /// Whoever is there has been told that nobody reads any more.
    is_deaf: bool,
}

impl Side {
    /// A socket, which a terminal's other side may still have to come through.
    pub(super) fn new(descriptor: OwnedFd, kind: Give) -> Self {
        Self {
            descriptor: Some(descriptor),
            kind,
            gives_all: false,
            has_urgent: false,
            is_program: false,
            awaits: kind == Give::Terminal,
            is_new: false,
            can_read: true,
            can_write: true,
            hears_of_room: false,
            end_announced: false,
            at_end: false,
            gone: false,
            refused: None,
            shut: false,
            pending: Vec::new(),
            written: 0,
            urgent: None,
            rest: None,
            taken: 0,
            is_reset: false,
            is_deaf: false,
        }
    }

    /// A connection over TCP.
    pub(super) fn of_tcp(descriptor: OwnedFd) -> Self {
        Self { gives_all: true, ..Self::new(descriptor, Give::Socket) }
    }

    /// The same of a program, of which nothing has come yet: what does is announced.
    pub(super) fn of_program(descriptor: OwnedFd, kind: Give) -> Self {
        Self { can_read: false, is_program: true, ..Self::new(descriptor, kind) }
    }

    fn there(&self) -> Result<&OwnedFd, Errno> {
        self.descriptor.as_ref().ok_or(Errno::EBADF)
    }

    /// Nothing is to come or to go any more: what it takes is given back.
    pub(super) fn close(&mut self) {
        self.lose();
        self.at_end = true;
        self.descriptor = None;
    }

    /// Whether it is a terminal's.
    pub(super) fn is_terminal(&self) -> bool {
        self.kind == Give::Terminal
    }

    /// Whether it is a terminal's that has not come yet.
    pub(super) fn awaits_terminal(&self) -> bool {
        self.awaits
    }

    /// Whether a terminal has come since that was asked last.
    pub(super) fn take_newness(&mut self) -> bool {
        std::mem::take(&mut self.is_new)
    }

    /// Whether whoever should have had it is gone, for whom nothing was there yet.
    pub(super) fn is_given_up(&self) -> bool {
        self.gone || (self.awaits && self.end_announced)
    }

    /// Whether it has been reset, and nobody will read anything any more.
    pub(super) fn is_lost(&mut self) -> bool {
        let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let result = self.there().and_then(|it| recv(it.as_raw_fd(), &mut [0], look));
        if matches!(result, Err(error) if !matches!(error, Errno::EAGAIN | Errno::EINTR)) {
            self.lose();
            self.at_end = true;
        }
        self.gone
    }

    /// The window of the client has another size.
    pub(super) fn set_size(&self, size: (u16, u16)) {
        if self.is_terminal()
            && !self.awaits
            && let Some(descriptor) = &self.descriptor
        {
            // Of a terminal that nobody has any more.
            let _ = terminal::set_size(descriptor, size);
        }
    }

    /// The program has ended, whoever else has its terminal: what it has shown is still there.
    pub(super) fn finish(&mut self) {
        if self.is_terminal() && self.rest.is_none() {
            (self.rest, self.can_read) = (Some(MOST_SHOWN), true);
        }
    }

    /// Whether that has been said: nobody who is left at the terminal is waited for.
    pub(super) fn is_finished(&self) -> bool {
        self.rest.is_some()
    }

    /// Whether an end has been announced, which may stand behind what is not read yet.
    pub(super) fn is_ending(&self) -> bool {
        self.at_end || self.end_announced
    }

    /// What the poll says.
    pub(super) fn announce(&mut self, event: &mio::event::Event) {
        self.can_read |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.can_write |= event.is_writable() || event.is_write_closed();
        self.has_urgent |= event.is_priority();
        self.end_announced |= event.is_read_closed() || event.is_error();
        self.is_reset |= event.is_error();
    }

    /// The same of a program's side: whoever was there is there no more.
    pub(super) fn announce_program(&mut self, event: &mio::event::Event) {
        self.announce(event);
        // A terminal may have come before that end.
        if !self.awaits && (event.is_write_closed() || event.is_error()) {
            self.lose();
        }
    }

    /// Whether the poll is to announce room from now on, which is said once: most never lack
    /// it, and each time that somebody reads would be announced.
    pub(super) fn is_to_hear_of_room(&mut self) -> bool {
        let lacks_it = !self.can_write && !self.gone && self.descriptor.is_some();
        lacks_it && !std::mem::replace(&mut self.hears_of_room, true)
    }

    /// An end that we have made ourselves is not its own.
    pub(super) fn may_read(&self) -> bool {
        self.can_read && !self.at_end && !self.is_deaf
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at_end
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether somebody is there who takes nothing more, and enough has been thrown away for him.
    pub(super) fn has_refused_enough(&self) -> bool {
        !self.gone && self.refused.is_some_and(|refused| refused > THROWN)
    }

    /// Whether nobody will read what is written to it, though there may be something to read.
    pub(super) fn is_reset(&self) -> bool {
        self.is_reset
    }

    /// How much has been written to it.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether what is read next stands before something urgent. That is nothing urgent itself,
    /// which is read as what it is: in its place.
    pub(super) fn stands_before_urgent(&mut self) -> bool {
        if self.has_urgent {
            self.has_urgent = self.there().is_ok_and(|it| tcp::is_at_mark(it) == Some(false));
        }
        self.has_urgent
    }

    /// What waits to be written is not written.
    pub(super) fn forget_pending(&mut self) {
        (self.pending, self.written, self.urgent) = (Vec::new(), 0, None);
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
        if self.awaits {
            return self.receive(buffer);
        }
        let result = self.there().and_then(|it| match self.kind {
            Give::Socket => recv(it.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT),
            Give::Terminal => read(it, buffer),
        });
        let is_end = !matches!(result, Ok(1..) | Err(Errno::EAGAIN | Errno::EINTR));
        if is_end && self.is_unannounced() {
            self.can_read = false;
            return Taken::Nothing;
        }
        match result {
            Ok(0) => self.end(),
            Ok(count) => {
                // Where there is no more, what comes is announced.
                let all = self.gives_all && !self.has_urgent && count < buffer.len();
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
                (self.can_read, self.has_urgent) = (false, false);
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

    /// What the server says to a client before he has his terminal, and that.
    fn receive(&mut self, buffer: &mut [u8]) -> Taken {
        let there = self.there().map_err(io::Error::from);
        match there.and_then(|it| rights::receive(it, buffer)) {
            Ok(Received { length: 0, .. }) => {
                self.lose();
                self.end()
            }
            Ok(Received { length, descriptors, .. }) => {
                let Some(terminal) = descriptors.into_iter().next() else {
                    return Taken::Bytes(length);
                };
                (self.descriptor, self.awaits, self.is_new) = (Some(terminal), false, true);
                (self.can_read, self.can_write, self.end_announced) = (true, true, false);
                self.hears_of_room = true;
                // The last byte has brought it.
                match length.saturating_sub(1) {
                    0 => Taken::Terminal,
                    length => Taken::Bytes(length),
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.can_read = false;
                Taken::Nothing
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Taken::Nothing,
            Err(_) => {
                self.lose();
                self.end()
            }
        }
    }

    /// The server may have said something of an end before that came: what it has said is heard
    /// when the end is announced, and perhaps not before.
    fn is_unannounced(&self) -> bool {
        self.is_program && self.kind == Give::Socket && !self.end_announced
    }

    fn end(&mut self) -> Taken {
        self.at_end = true;
        Taken::End
    }

    /// Whatever waits for it is in vain.
    fn lose(&mut self) {
        self.gone = true;
        self.forget_pending();
    }

    /// Writes bytes, or keeps what finds no room.
    pub(super) fn give(&mut self, bytes: &mut Vec<u8>) {
        self.give_by(bytes, send_now);
    }

    /// The same of the last ones, after which [`shut`](Self::shut) is to come in this turn: both
    /// in one piece.
    pub(super) fn give_last(&mut self, bytes: &mut Vec<u8>) {
        self.give_by(bytes, send_before_end);
    }

    /// The same of bytes of which the last is urgent.
    pub(super) fn give_urgent(&mut self, bytes: &mut Vec<u8>) {
        if !self.gone && !self.shut {
            self.pending.append(bytes);
            self.urgent = self.pending.len().checked_sub(1);
            self.flush();
        }
        bytes.clear();
    }

    fn give_by(&mut self, bytes: &mut Vec<u8>, send: Send) {
        if let Some(refused) = &mut self.refused {
            *refused = refused.saturating_add(bytes.len());
        } else if !bytes.is_empty() && !self.gone && !self.shut {
            let written = if self.has_pending() { 0 } else { self.write(bytes, send) };
            if !self.gone && self.refused.is_none() {
                self.pending.extend_from_slice(bytes.get(written..).unwrap_or_default());
            }
        }
        bytes.clear();
        bytes.shrink_to(KEPT);
    }

    /// Writes what waits; whether something was written.
    pub(super) fn flush(&mut self) -> bool {
        if !self.has_pending() || !self.can_write || self.awaits {
            return false;
        }
        let pending = std::mem::take(&mut self.pending);
        let count = self.write_pending(pending.get(self.written..).unwrap_or_default());
        if !self.gone && self.refused.is_none() {
            self.written = self.written.saturating_add(count);
            // It takes no memory while there is nothing in it.
            (self.pending, self.written) = match self.written < pending.len() {
                true => (pending, self.written),
                false => (Vec::new(), 0),
            };
        }
        count > 0 || self.gone || self.refused.is_some()
    }

    /// Writes what waits, as far as there is room; how much.
    fn write_pending(&mut self, bytes: &[u8]) -> usize {
        let at = self.urgent.and_then(|at| at.checked_sub(self.written));
        let Some((before, rest)) = at.and_then(|at| bytes.split_at_checked(at)) else {
            return self.write(bytes, send_now);
        };
        let done = self.write(before, send_now);
        let (urgent, rest) = rest.split_at_checked(1).unwrap_or_default();
        if done < before.len() || self.write(urgent, send_urgent) == 0 {
            return done;
        }
        self.urgent = None;
        done.saturating_add(1).saturating_add(self.write(rest, send_now))
    }

    /// Writes as much as there is room for; how much.
    fn write(&mut self, bytes: &[u8], send: Send) -> usize {
        let mut done = 0usize;
        if self.awaits {
            return done;
        }
        while self.can_write && done < bytes.len() {
            let rest = bytes.get(done..).unwrap_or_default();
            let result = self.there().and_then(|it| match self.kind {
                Give::Socket => send(it, rest),
                Give::Terminal => write(it, rest),
            });
            match result {
                Ok(count) => {
                    done = done.saturating_add(count);
                    self.taken = self.taken.saturating_add(count as u64);
                }
                Err(Errno::EAGAIN) => self.can_write = false,
                Err(Errno::EINTR) => {}
                // Its input is shut. If that is since it is gone, that is announced.
                Err(Errno::EPIPE) if self.is_program && self.kind == Give::Socket => {
                    self.forget_pending();
                    self.refused = Some(0);
                    break;
                }
                Err(_) => {
                    self.lose();
                    break;
                }
            }
        }
        done
    }

    /// Says that nothing more will be read, once; whether that was now. A terminal cannot be
    /// told.
    pub(super) fn take_no_more(&mut self) -> bool {
        if self.kind != Give::Socket || self.gone || std::mem::replace(&mut self.is_deaf, true) {
            return false;
        }
        let _ = self.there().and_then(|it| shutdown(it.as_raw_fd(), Shutdown::Read));
        true
    }

    /// Says that nothing more will come, once; whether that was now. A terminal cannot be told.
    pub(super) fn shut(&mut self) -> bool {
        if std::mem::replace(&mut self.shut, true) {
            return false;
        }
        if self.kind == Give::Socket && !self.gone {
            let _ = self.there().and_then(|it| shutdown(it.as_raw_fd(), Shutdown::Write));
        }
        true
    }
}

impl AsRawFd for Side {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}

/// A connection whose small pieces do not wait for each other.
pub(super) fn without_delay(socket: &OwnedFd) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    Ok(setsockopt(socket, sockopt::TcpNoDelay, &true)?)
}
