//! One side of a session: a descriptor, what waits to be written to it, and what is known of
//! it. Nothing waits; what the poll announces once is remembered until it is used up.

mod transfer;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use crate::front::wire::Give;
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
pub(super) struct FrontSide {
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

impl FrontSide {
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

    /// The server may have said something of an end before that came: what it has said is heard
    /// when the end is announced, and perhaps not before.
    fn is_unannounced(&self) -> bool {
        self.is_program && self.kind == Give::Socket && !self.end_announced
    }
}

impl AsRawFd for FrontSide {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}

/// A connection whose small pieces do not wait for each other.
pub(super) fn without_delay(socket: &OwnedFd) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    Ok(setsockopt(socket, sockopt::TcpNoDelay, &true)?)
}
