//! Connections whose programs have ended, closed so that the client gets all of the answer.
//!
//! Closing a connection on which something is unread resets it, and the reset can overtake
//! what is on its way: a client whose request was not read loses the answer. So the server
//! keeps a copy of a program's connection. When the program has ended and closing would cost
//! the client something, the server says that nothing more will come and throws away what the
//! client still sends, until that closes, too ([banners](super::banners)).
//!
//! A connection that something still uses is left to it. What a program leaves behind comes to
//! this server when it loses its parent, since that is a subreaper (prctl(2)): who has come so
//! ([adopted](crate::server::programs::adopted)), and is younger than the program, is looked at
//! with all who descend from him ([still_used](crate::server::programs::still_used)). Where
//! nobody can tell, nothing is done. Where that takes long, since there are many of them, those
//! that end meanwhile wait, and are looked for together: it takes a tenth of the server's time.

mod turns;

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::linger;
use nix::sys::socket::{MsgFlags, getsockopt, recv, setsockopt, sockopt};
use serde::{Deserialize, Serialize};

use super::lingering::Lingerer;
use crate::config::model::{Linger, Service, SocketType};
use crate::server::programs::adopted::Adopted;
use crate::sys::proc::since_boot;
use crate::sys::{handed, tcp};

/// What is unread or unsent is no reason to wait.
const NO_LINGER: linger = linger { l_onoff: 0, l_linger: 0 };

/// A copy of a program's connection.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::server) struct KeptConnection {
    #[serde(rename = "descriptor", with = "handed")]
    pub(in crate::server) socket: OwnedFd,
    pub(in crate::server) linger: Linger,
    /// When the program was about to be started, since the system was.
    pub(in crate::server) since: Duration,
}

impl KeptConnection {
    /// What is kept of what a program has got that was about to be started at `before`.
    pub(in crate::server) fn of(
        socket: OwnedFd,
        service: &Service,
        before: Instant,
    ) -> Option<Self> {
        keeps(service).then(|| Self {
            socket,
            linger: service.attributes.process.linger,
            since: since_boot().saturating_sub(before.elapsed()),
        })
    }

    /// The connection of a client whose program has a terminal: to see what moves there.
    pub(in crate::server) fn watched(socket: &OwnedFd) -> Option<Self> {
        let socket = socket.try_clone().ok()?;
        Some(Self { socket, linger: Linger::No, since: since_boot() })
    }

    /// Closing it will not wait for the client, as whoever had it may have wished (SO_LINGER).
    /// Without any wait, which resets the connection, is what it is.
    pub(in crate::server) fn wait_for_nobody(&self) {
        if let Ok(linger) = getsockopt(&self.socket, sockopt::Linger)
            && linger.l_onoff != 0
            && linger.l_linger != 0
        {
            let _ = setsockopt(&self.socket, sockopt::Linger, &NO_LINGER);
        }
    }

    /// Whether closing it now would cost the client something of the answer.
    pub(in crate::server) fn would_lose(&self) -> bool {
        // What it sends while it is still being sent something would reset it, too.
        let (is_on_its_way, has_said) = match self.linger {
            Linger::No => return false,
            Linger::Yes => (true, true),
            Linger::Auto => tcp::unsent_and_received(&self.socket),
        };
        // Last, so that little can come between this and closing it.
        let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        match recv(self.socket.as_raw_fd(), &mut [0], look) {
            // It has closed, and will send nothing more.
            Ok(0) => has_said && self.has_urgent(),
            Ok(_) => true,
            Err(Errno::EAGAIN) => is_on_its_way || has_said && self.has_urgent(),
            Err(_) => false,
        }
    }

    /// Whether an urgent byte is left, which stands beside what there is to read and is unread as
    /// that would be.
    fn has_urgent(&self) -> bool {
        tcp::is_at_mark(&self.socket) == Some(true)
    }
}

/// Whether the connections of a service's programs are kept.
fn keeps(service: &Service) -> bool {
    let attributes = &service.attributes;
    let is_wanted =
        attributes.process.linger != Linger::No || attributes.limits.idle_timeout.is_some();
    // A terminal is no connection, and whoever is still on it has it with its worker. Nor is what
    // a program behind TLS has the client's: its worker loses nothing, and is told of the end by
    // the kernel, as long as we have no copy.
    is_wanted
        && !attributes.front.need_worker()
        && !service.wait
        && service.socket_type != SocketType::Dgram
}

/// What is kept of a program that has ended.
#[derive(Debug)]
pub(in crate::server) struct EndedProgram {
    pub(in crate::server) pid: i32,
    pub(in crate::server) kept: KeptConnection,
    /// Whose it was.
    pub(in crate::server) whose: Lingerer,
}

/// A search for whoever has connections still that takes as long as this is one among many
/// processes: for so many times as long there is no other, up to a second.
const COSTLY: Duration = Duration::from_millis(1);
const REST: u32 = 9;
const LONGEST_REST: Duration = Duration::from_secs(1);

/// It does not rest any more when so many wait for it.
const MANY: usize = 256;

/// Programs that have ended, and what is kept of them.
#[derive(Debug, Default)]
pub(in crate::server) struct Closing {
    ended: Vec<EndedProgram>,
    /// Until when it is not looked who has their connections, and its timer.
    rests: Option<Instant>,
    due: Option<Instant>,
    /// Whoever loses its parent comes to us.
    adopts: bool,
    pub(in crate::server) adopted: Adopted,
}

impl Closing {
    pub(in crate::server) fn adopts(&self) -> bool {
        self.adopts
    }

    /// A search has begun then and is over now.
    fn searched(&mut self, began: Instant, now: Instant) {
        let took = now.saturating_duration_since(began);
        let rest = took.saturating_mul(REST).min(LONGEST_REST);
        self.rests = (took >= COSTLY).then(|| now + rest);
    }

    /// Until when those that have ended wait for the next search, if they do.
    fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.rests.filter(|when| *when > now && self.ended.len() < MANY)
    }

    /// The timer of those that wait has gone off.
    pub(in crate::server) fn is_due(&mut self) {
        self.due = None;
    }

    /// A connection is to be closed in this turn, if that needs time and nobody has it.
    pub(in crate::server) fn keep(&mut self, ended: EndedProgram) {
        ended.kept.wait_for_nobody();
        if ended.kept.would_lose() && self.adopts {
            self.ended.push(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costly_searches_have_a_tenth_of_the_time_and_others_what_they_need() {
        let (mut closing, began) = (Closing::default(), Instant::now());
        let after = |millis| began + Duration::from_millis(millis);
        closing.searched(began, began + Duration::from_micros(900));
        assert_eq!(closing.waits_until(after(1)), None);
        closing.searched(began, after(20));
        assert_eq!(closing.waits_until(after(199)), Some(after(200)));
        assert_eq!(closing.waits_until(after(200)), None);
        closing.searched(began, after(5_000));
        assert_eq!(closing.waits_until(after(5_000)), Some(after(6_000)));
        let kept = || KeptConnection::watched(&std::fs::File::open("/dev/null").unwrap().into());
        closing.ended.extend((0..MANY).map(|_| EndedProgram {
            pid: 1,
            kept: kept().unwrap(),
            whose: Lingerer::default(),
        }));
        assert_eq!(closing.waits_until(after(5_000)), None);
    }
}
