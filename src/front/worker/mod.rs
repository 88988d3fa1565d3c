//! The process that serves clients behind a front.
//!
//! | file | what it does |
//! |---|---|
//! | `failure` | why a session of TLS fails, in words |
//! | `front` | what a front is |
//! | `fronts` | what a service's settings come to |
//! | `inside` | a front inside of another one |
//! | `http` | those who speak plain HTTP where TLS is spoken |
//! | `messages` | what the server says |
//! | `patience` | who is waited for, and for how long |
//! | `reports` | what is said to the server |
//! | `resolver` | which certificate a client is shown |
//! | `sandbox` | giving up everything that a worker does not need |
//! | `session` | a client, a program, and what passes between them |
//! | `side` | one side of a session |
//! | `terminal` | what is typed and shown at a terminal |
//! | `tickets` | tickets with which clients resume |
//! | `tls` | TLS |
//!
//! It is this program again, started as every program of a service is: as a user that nobody
//! else is, with one end of a pair of sockets on its standard input and output and nothing
//! else. It has what it is sent, and cannot open, make or ask for anything. When the server
//! is gone, it goes on with the clients that it has until they are gone, too.

#[cfg(feature = "tls")]
mod failure;
pub(crate) mod front;
mod fronts;
#[cfg(feature = "tls")]
mod http;
#[cfg(feature = "tls")]
mod inside;
mod messages;
mod patience;
mod reports;
#[cfg(feature = "tls")]
mod resolver;
mod sandbox;
mod session;
mod side;
mod terminal;
#[cfg(feature = "tls")]
mod tickets;
#[cfg(feature = "tls")]
pub(super) mod tls;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{SockType, getsockopt, sockopt};

use super::wire::ToServer;
use crate::sys::interrupt::Interrupter;
use front::ServiceFront;
use session::{FrontSession, Room, Told, Turn};

/// How long a client may take to close a connection on which everything has been said.
const LEAVING: Duration = Duration::from_secs(10);
/// Of so many such clients the first has no more time: no limit of the server counts them.
const MOST_LEAVING: usize = 256;
/// How long a client may be silent who need not say anything, and how long somebody is still
/// shown something who has hung up.
const SECOND: Duration = Duration::from_secs(1);
/// How long a client may take nothing of what a program has left that has ended.
const TAKING: Duration = Duration::from_secs(30);
/// How long a program may take nothing of what is typed at a terminal that is full.
const TYPED: Duration = Duration::from_secs(10);
/// Messages taken from the server in one turn: more than can be on their way, so that what it
/// has said before something else is known before that.
const MESSAGES: usize = 4096;
/// Events taken from the system at once.
const EVENTS: usize = 256;

/// The token of the server's messages. Session n has the two after 2n.
const WIRE: Token = Token(0);

/// The process: serves what it is sent, until the server and all clients are gone.
///
/// # Errors
/// When nobody has started it who could use it; when the system has no descriptors.
pub(crate) fn serve() -> io::Result<()> {
    let stdin = io::stdin();
    if getsockopt(&stdin.as_fd(), sockopt::SockType)? != SockType::SeqPacket {
        return Err(io::Error::other("this is for the server itself"));
    }
    let wire = stdin.as_fd().try_clone_to_owned()?;
    let poll = Poll::new()?;
    let interrupter = Interrupter::new();
    fronts::begin();
    sandbox::enter()?;
    poll.registry().register(&mut SourceFd(&wire.as_raw_fd()), WIRE, Interest::READABLE)?;
    Worker::new(poll, interrupter, wire).run()
}

/// The sessions of one worker.
struct Worker {
    poll: Poll,
    /// Ends what a turn waits for, which it should not: a program has the other end of what is
    /// read here.
    interrupter: Interrupter,
    /// None when the server has gone.
    wire: Option<OwnedFd>,
    /// There may be messages.
    may_hear: bool,
    may_say: bool,
    services: HashMap<u32, Box<dyn ServiceFront>>,
    sessions: Vec<Option<FrontSession>>,
    free: Vec<usize>,
    count: usize,
    ready: VecDeque<usize>,
    /// Those who are to close their connections, the first one first.
    leaving: VecDeque<(Instant, usize, u64)>,
    /// How many of those are still there.
    leavers: usize,
    /// Those who are looked at in a second, the first one first.
    timed: VecDeque<(Instant, usize, u64)>,
    /// When it is looked whether a terminal is full still.
    full: BTreeSet<(Instant, usize, u64)>,
    /// When it is looked whether something has moved, of those where that matters.
    still: BTreeSet<(Instant, usize, u64)>,
    to_say: VecDeque<ToServer>,
    room: Room,
    /// What is told of the session at hand.
    told: Vec<Told>,
}

impl Worker {
    fn new(poll: Poll, interrupter: Interrupter, wire: OwnedFd) -> Self {
        Self {
            poll,
            interrupter,
            wire: Some(wire),
            may_hear: true,
            may_say: true,
            services: HashMap::new(),
            sessions: Vec::new(),
            free: Vec::new(),
            count: 0,
            ready: VecDeque::new(),
            leaving: VecDeque::new(),
            leavers: 0,
            timed: VecDeque::new(),
            full: BTreeSet::new(),
            still: BTreeSet::new(),
            to_say: VecDeque::new(),
            room: Room::new(),
            told: Vec::new(),
        }
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while self.wire.is_some() || self.count > 0 {
            let timeout = self.timeout();
            let polled = self.poll.poll(&mut events, timeout);
            self.interrupter.after(polled, Instant::now())?;
            for event in &events {
                self.announced(event);
            }
            self.hear();
            for _ in 0..self.ready.len() {
                let Some(index) = self.ready.pop_front() else { break };
                self.serve(index);
            }
            self.end_those_who_had_their_time();
            self.look_at_those_who_had_a_second();
            self.end_those_who_are_still();
            self.look_at_full_terminals();
            self.say();
        }
        Ok(())
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty() || (self.may_hear && self.wire.is_some()) {
            return Some(Duration::ZERO);
        }
        let leaving = self.leaving.front().map(|(when, ..)| *when);
        let timed = self.timed.front().map(|(when, ..)| *when);
        let first = leaving
            .into_iter()
            .chain(timed)
            .chain(self.full.first().map(|(when, ..)| *when))
            .chain(self.still.first().map(|(when, ..)| *when))
            .min();
        first.map(|when| when.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    fn announced(&mut self, event: &mio::event::Event) {
        if event.token() == WIRE {
            self.may_hear = true;
            self.may_say |= event.is_writable();
            return;
        }
        let place = event.token().0.saturating_sub(1);
        let (index, is_program) = (place / 2, place % 2 == 1);
        let Some(session) = self.session(index) else { return };
        if is_program {
            session.program.announce_program(event);
        } else {
            session.client.announce(event);
        }
        self.queue(index);
    }

    fn session(&mut self, index: usize) -> Option<&mut FrontSession> {
        self.sessions.get_mut(index)?.as_mut()
    }

    fn queue(&mut self, index: usize) {
        if let Some(session) = self.session(index)
            && !std::mem::replace(&mut session.queued, true)
        {
            self.ready.push_back(index);
        }
    }

    fn place_of(&self, number: u64) -> Option<usize> {
        let is_it =
            |session: &Option<FrontSession>| session.as_ref().is_some_and(|it| it.number == number);
        self.sessions.iter().position(is_it)
    }

    fn insert(&mut self, session: FrontSession) -> usize {
        self.count = self.count.saturating_add(1);
        let Some(index) = self.free.pop() else {
            self.sessions.push(Some(session));
            return self.sessions.len().saturating_sub(1);
        };
        if let Some(place) = self.sessions.get_mut(index) {
            *place = Some(session);
        }
        index
    }

    /// What is announced of a place that somebody else has now is looked at in vain, no more.
    fn watch(&self, index: usize, [client, program]: [RawFd; 2]) -> io::Result<()> {
        let registry = self.poll.registry();
        let [of_client, of_program] = tokens(index);
        let of_urgent = Interest::READABLE | Interest::PRIORITY;
        registry.register(&mut SourceFd(&client), of_client, of_urgent)?;
        registry.register(&mut SourceFd(&program), of_program, Interest::READABLE)
    }

    /// A side on which there was no room is told when there is.
    fn watch_for_room(&mut self, index: usize) -> io::Result<()> {
        let session = self.sessions.get_mut(index).and_then(Option::as_mut);
        let Some(session) = session else { return Ok(()) };
        let sides = [&mut session.client, &mut session.program];
        let both = Interest::READABLE | Interest::PRIORITY | Interest::WRITABLE;
        for (side, token) in sides.into_iter().zip(tokens(index)) {
            if side.is_to_hear_of_room() {
                let number = side.as_raw_fd();
                self.poll.registry().reregister(&mut SourceFd(&number), token, both)?;
            }
        }
        Ok(())
    }

    /// A terminal that has come is announced in the place of what has stood for it.
    fn watch_new_terminal(&mut self, index: usize) -> io::Result<()> {
        let session = self.sessions.get_mut(index).and_then(Option::as_mut);
        let Some(session) = session else { return Ok(()) };
        if !session.program.take_newness() {
            return Ok(());
        }
        let number = session.program.as_raw_fd();
        let [_, token] = tokens(index);
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut SourceFd(&number), token, both)
    }

    /// Closing its descriptors ends their registration.
    fn remove(&mut self, index: usize) -> Option<FrontSession> {
        let session = self.sessions.get_mut(index)?.take()?;
        self.free.push(index);
        self.count = self.count.saturating_sub(1);
        self.leavers = self.leavers.saturating_sub(usize::from(session.leaves));
        Some(session)
    }

    fn serve(&mut self, index: usize) {
        let Some(session) = self.sessions.get_mut(index).and_then(Option::as_mut) else { return };
        session.queued = false;
        let (turn, number) = (session.turn(&mut self.room, &mut self.told), session.number);
        self.tell(number);
        let watched = self.watch_new_terminal(index).and_then(|()| self.watch_for_room(index));
        if let Err(error) = watched {
            log::debug!("epoll_ctl error={error}");
            return self.end(index);
        }
        self.bound_what_is_left(index);
        self.look_when_it_was_full(index);
        match turn {
            Turn::Waiting => {}
            Turn::More => self.queue(index),
            Turn::Leaving => self.give_time(index),
            Turn::HangingUp => self.look_in_a_second(index),
            Turn::Over => self.end(index),
        }
    }

    fn end(&mut self, index: usize) {
        if let Some(session) = self.remove(index) {
            self.to_say.push_back(ToServer::Ended(session.number, session.ending()));
        }
    }
}

/// The tokens of a session's client and of its program.
fn tokens(index: usize) -> [Token; 2] {
    let first = index.saturating_mul(2).saturating_add(1);
    [Token(first), Token(first.saturating_add(1))]
}
