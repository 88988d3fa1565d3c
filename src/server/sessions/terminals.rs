//! Terminals of programs. One is opened when its program is about to be started, since the
//! machine has so many and no more, and who is only connected has no claim to any. The worker
//! that has the client gets the other side through the socket that has stood for the terminal
//! until then.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, recv, sendmsg};

use crate::admission::{Permit, Reason};
use crate::config::model::Service;
use crate::front::alerts;
use crate::log::events::{self, Why};
use crate::net::fronted::{Fronted, Whom};
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::sys::terminal::{self, Terminal};

/// What a client waits at for his terminal, and the side of it that is his worker's.
#[derive(Debug)]
pub(in crate::server) struct PromisedTerminal {
    waits: OwnedFd,
    master: OwnedFd,
}

impl PromisedTerminal {
    /// The program runs: its client's worker has the terminal from here on. If that or the
    /// client is gone, the program finds that somebody has hung up.
    pub(in crate::server) fn hand_over(self) {
        let (parts, number) = ([IoSlice::new(&[0])], [self.master.as_raw_fd()]);
        let (rights, flags) = ([ControlMessage::ScmRights(&number)], quietly());
        let _ = sendmsg::<()>(self.waits.as_raw_fd(), &parts, &rights, flags, None);
    }

    /// There is no program: the client waits on.
    pub(in crate::server) fn take_back(self) -> OwnedFd {
        self.waits
    }
}

fn quietly() -> MsgFlags {
    MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL
}

/// A terminal for a program of this service: its side, and the other one.
fn open(service: &Service, size: (u16, u16)) -> io::Result<(OwnedFd, OwnedFd)> {
    if terminal::are_scarce() {
        return Err(io::Error::other("those that are left are for others (kernel.pty.max)"));
    }
    let terminal = Terminal::open()?;
    terminal::set_size(&terminal.master, size)?;
    terminal.give_to(service.account.uid)?;
    Ok((terminal.slave, terminal.master))
}

/// Whether nobody is at the other end any more.
fn is_left(waits: &OwnedFd) -> bool {
    let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    !matches!(recv(waits.as_raw_fd(), &mut [0], look), Err(Errno::EAGAIN | Errno::EINTR))
}

impl Server {
    /// What the program of somebody who has been admitted gets: his connection, or a terminal,
    /// and then what is to be done about that when the program runs. Else he is refused, and
    /// the permit given back.
    pub(in crate::server) fn seat_at_terminal(
        &mut self,
        key: Key,
        (service, fronted): (&Service, Option<&Fronted>),
        (whom, permit): (Whom, Permit),
        socket: OwnedFd,
    ) -> Option<(OwnedFd, Option<PromisedTerminal>, Permit)> {
        let promised = fronted.and_then(|fronted| fronted.terminal);
        let alert = match (promised, service.attributes.front.has_terminal()) {
            (None, false) => return Some((socket, None, permit)),
            (Some(_), true) if is_left(&socket) => alerts::CLOSED,
            (Some(size), true) => match open(service, size) {
                Ok((slave, master)) => {
                    let promised = PromisedTerminal { waits: socket, master };
                    return Some((slave, Some(promised), permit));
                }
                Err(error) => {
                    if self.services.exhaustion_is_new(self.reactor.now) {
                        events::trouble(&service.label, "terminal", &error);
                    }
                    alerts::NO_TERMINAL
                }
            },
            // A reload has made another service of it since he came.
            (Some(_), false) | (None, true) => alerts::CLOSED,
        };
        self.cancel(permit, key);
        self.refuse(key, whom, Reason::Terminal, Why::Alert(alert));
        None
    }
}
