//! The process that serves clients behind a front.
//!
//! | file | what it does |
//! |---|---|
//! | `failure` | why a session of TLS fails, in words |
//! | `front` | what a front is |
//! | `fronts` | what a service's settings come to |
//! | `inside` | a front inside of another one |
//! | `http` | those who speak plain HTTP where TLS is spoken |
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
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{SockType, getsockopt, sockopt};

use super::channel;
use super::leaving;
use super::wire::{self, Ended, Give, ToServer, ToWorker};
use crate::sys::interrupt::Interrupter;
use crate::sys::rights;
use front::ServiceFront;
use session::{Room, Session, Told, Turn};
use side::Side;

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
    sessions: Vec<Option<Session>>,
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
            match self.poll.poll(&mut events, timeout) {
                // Nothing has happened for a while.
                Err(error) if error.kind() == ErrorKind::Interrupted => self.interrupter.rest(),
                other => {
                    other?;
                    self.interrupter.begin(Instant::now());
                }
            }
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

    fn session(&mut self, index: usize) -> Option<&mut Session> {
        self.sessions.get_mut(index)?.as_mut()
    }

    fn queue(&mut self, index: usize) {
        if let Some(session) = self.session(index)
            && !std::mem::replace(&mut session.queued, true)
        {
            self.ready.push_back(index);
        }
    }

    /// Takes what the server says.
    fn hear(&mut self) {
        let mut packet = [0; 256];
        for _ in 0..MESSAGES {
            let Some(wire) = self.wire.as_ref().filter(|_| self.may_hear) else { return };
            match rights::receive(wire, &mut packet) {
                Ok(received) if received.length > 0 => {
                    let message = packet.get(..received.length).unwrap_or_default();
                    if let Some(message) = wire::from_server(message) {
                        self.take(&message, received.descriptors);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.may_hear = false,
                // The server is gone, or another one goes on in its place.
                Ok(_) | Err(_) => return self.go_on_alone(),
            }
        }
    }

    fn take(&mut self, message: &ToWorker, descriptors: Vec<OwnedFd>) {
        match *message {
            ToWorker::Settings(number) => {
                let result = fronts::make(descriptors).map(|front| {
                    self.services.insert(number, front);
                });
                self.to_say.push_back(ToServer::Settings(number, result));
            }
            ToWorker::Forget(number) => _ = self.services.remove(&number),
            ToWorker::ProgramEnded(number) => self.finish(number),
            ToWorker::BrokenOff(number) => self.break_off(number),
            ToWorker::Ask => self.to_say.push_back(ToServer::Here),
            ToWorker::Idle(number, limit) => self.limit_stillness(number, limit),
            ToWorker::LetGo(number) => self.let_go(number),
            ToWorker::Client { number, settings, give } => {
                let Ok([client, program]) = <[OwnedFd; 2]>::try_from(descriptors) else {
                    return self.refuse(number, "no descriptors".to_owned());
                };
                if let Err(why) = self.begin(number, settings, (client, program), give) {
                    self.refuse(number, why);
                }
            }
        }
    }

    /// A client that never had a session.
    fn refuse(&mut self, number: u64, why: String) {
        self.to_say.push_back(ToServer::Failed(number, why));
        self.to_say.push_back(ToServer::Ended(number, Ended::Closed));
    }

    fn begin(
        &mut self,
        number: u64,
        settings: u32,
        (client, program): (OwnedFd, OwnedFd),
        give: Give,
    ) -> Result<(), String> {
        let service = self.services.get(&settings).ok_or("it is not known")?;
        let (front, idle) = (service.front()?, service.idle());
        let numbers = [client.as_raw_fd(), program.as_raw_fd()];
        // No other socket has such a thing.
        let client = match side::without_delay(&client) {
            Ok(()) => Side::of_tcp(client),
            Err(_) => Side::new(client, Give::Socket),
        };
        let program = Side::of_program(program, give);
        let mut session = Session::new(number, client, program, front);
        session.idle = idle;
        let due = idle.and_then(|idle| session.active.checked_add(idle));
        let index = self.insert(session);
        self.watch(index, numbers).map_err(|error| {
            self.remove(index);
            error.to_string()
        })?;
        self.still.extend(due.map(|due| (due, index, number)));
        if self.session(index).is_some_and(|session| session.may_be_silent()) {
            self.look_in_a_second(index);
        }
        self.queue(index);
        Ok(())
    }

    fn finish(&mut self, number: u64) {
        let Some(index) = self.place_of(number) else { return };
        if let Some(session) = self.session(index) {
            session.finish();
        }
        self.queue(index);
    }

    /// Its end, when it comes, is none.
    fn break_off(&mut self, number: u64) {
        let session = self.place_of(number).and_then(|index| self.session(index));
        if let Some(session) = session {
            session.is_broken_off = true;
        }
    }

    fn place_of(&self, number: u64) -> Option<usize> {
        let is_it =
            |session: &Option<Session>| session.as_ref().is_some_and(|it| it.number == number);
        self.sessions.iter().position(is_it)
    }

    fn look_in_a_second(&mut self, index: usize) {
        let Some(session) = self.session(index) else { return };
        let number = session.number;
        if !std::mem::replace(&mut session.is_timed, true) {
            session.has_shown = false;
            self.timed.push_back((Instant::now() + SECOND, index, number));
        }
    }

    fn look_at_those_who_had_a_second(&mut self) {
        if self.timed.is_empty() {
            return;
        }
        let now = Instant::now();
        while self.timed.front().is_some_and(|(when, ..)| *when <= now)
            && let Some((_, index, number)) = self.timed.pop_front()
        {
            let Some(session) = self.sessions.get_mut(index).and_then(Option::as_mut) else {
                continue;
            };
            if session.number != number {
                continue;
            }
            session.is_timed = false;
            let is_over = session.had_a_second(&mut self.room, &mut self.told);
            self.tell(number);
            if is_over {
                self.end(index);
            } else {
                self.queue(index);
            }
        }
    }

    fn look_when_it_was_full(&mut self, index: usize) {
        let Some(session) = self.session(index) else { return };
        let number = session.number;
        let due = session.fills_up(TYPED);
        self.full.extend(due.map(|due| (due, index, number)));
    }

    /// What is typed at one that has taken nothing for long is lost from then on, as it is
    /// everywhere: the end of whoever has gone stands behind it.
    fn look_at_full_terminals(&mut self) {
        if self.full.is_empty() {
            return;
        }
        let now = Instant::now();
        while self.full.first().is_some_and(|(when, ..)| *when <= now)
            && let Some((_, index, number)) = self.full.pop_first()
        {
            let session = self.session(index).filter(|session| session.number == number);
            if let Some(due) = session.and_then(|it| it.has_been_full(TYPED, now)) {
                self.full.insert((due, index, number));
            }
            self.queue(index);
        }
    }

    /// What is to be told of a session.
    fn tell(&mut self, number: u64) {
        for told in self.told.drain(..) {
            self.to_say.push_back(match told {
                Told::Ready(facts, size) => ToServer::Ready(number, facts, size),
                Told::Failed(why) => ToServer::Failed(number, why),
            });
        }
    }

    fn insert(&mut self, session: Session) -> usize {
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
    fn remove(&mut self, index: usize) -> Option<Session> {
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

    /// The limits of a service end with its program: who takes nothing of what that has left
    /// would stay for ever.
    fn bound_what_is_left(&mut self, index: usize) {
        let Some(session) = self.session(index) else { return };
        if session.has_lost_its_program() && session.idle.is_none_or(|idle| idle > TAKING) {
            let now = Instant::now();
            (session.idle, session.active) = (Some(TAKING), now);
            let number = session.number;
            self.still.insert((now + TAKING, index, number));
        }
    }

    /// A client has so long to close its connection; its program's side is not waited for.
    fn give_time(&mut self, index: usize) {
        let Some(session) = self.session(index) else { return };
        let number = session.number;
        if std::mem::replace(&mut session.leaves, true) {
            return;
        }
        session.program.close();
        self.leaving.push_back((Instant::now() + LEAVING, index, number));
        self.leavers = self.leavers.saturating_add(1);
        while self.leavers > MOST_LEAVING
            && let Some((_, index, number)) = self.leaving.pop_front()
        {
            // Most have closed it by themselves.
            if self.session(index).is_some_and(|session| session.number == number) {
                self.end(index);
            }
        }
    }

    fn end_those_who_had_their_time(&mut self) {
        let Some((first, ..)) = self.leaving.front() else { return };
        let now = Instant::now();
        if *first > now {
            return;
        }
        while self.leaving.front().is_some_and(|(when, ..)| *when <= now)
            && let Some((_, index, number)) = self.leaving.pop_front()
        {
            if self.session(index).is_some_and(|session| session.number == number) {
                self.end(index);
            }
        }
    }

    /// Nothing may move for so long from now on. What a program has left has its own limit.
    fn limit_stillness(&mut self, number: u64, limit: Option<Duration>) {
        let Some(index) = self.place_of(number) else { return };
        let Some(session) = self.session(index).filter(|it| !it.has_lost_its_program()) else {
            return;
        };
        (session.idle, session.active) = (limit, Instant::now());
        let due = limit.and_then(|limit| session.active.checked_add(limit));
        self.still.extend(due.map(|due| (due, index, number)));
    }

    /// One whose program has ended, or who is to have none, goes at once.
    fn let_go(&mut self, number: u64) {
        let Some(index) = self.place_of(number) else { return };
        if self.session(index).is_some_and(|it| it.leaves || it.has_lost_its_program()) {
            self.end(index);
        }
    }

    fn end_those_who_are_still(&mut self) {
        let Some((first, ..)) = self.still.first() else { return };
        let now = Instant::now();
        if *first > now {
            return;
        }
        while self.still.first().is_some_and(|(when, ..)| *when <= now)
            && let Some((_, index, number)) = self.still.pop_first()
        {
            let session = self.session(index).filter(|session| session.number == number);
            let due = session.and_then(|session| session.active.checked_add(session.idle?));
            match due {
                Some(due) if due > now => _ = self.still.insert((due, index, number)),
                Some(_) => self.end_still(index),
                None => {}
            }
        }
    }

    /// The server hears of it before the program has its end.
    fn end_still(&mut self, index: usize) {
        let session = self.session(index).filter(|it| it.is_ready() && !it.has_lost_its_program());
        if let Some(number) = session.map(|session| session.number) {
            self.to_say.push_back(ToServer::Failed(number, leaving::IDLE.to_owned()));
            self.say();
        }
        self.end(index);
    }

    fn end(&mut self, index: usize) {
        if let Some(session) = self.remove(index) {
            self.to_say.push_back(ToServer::Ended(session.number, session.ending()));
        }
    }

    /// Tells the server what there is to tell.
    fn say(&mut self) {
        while let Some(wire) = self.wire.as_ref().filter(|_| self.may_say)
            && !self.to_say.is_empty()
        {
            let few = self.to_say.len().min(wire::MOST);
            let Some((packet, count)) = self.packet(few) else {
                // One that is too long by itself: nothing that we say.
                self.to_say.pop_front();
                continue;
            };
            match channel::send(wire, &packet, &[]) {
                Ok(()) => drop(self.to_say.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.wait_to_say(),
                Err(_) => return self.go_on_alone(),
            }
        }
    }

    /// From the first time on that the server takes nothing more it is announced when it does:
    /// before that, each time that it has heard something would be.
    fn wait_to_say(&mut self) {
        let Some(wire) = &self.wire else { return };
        let both = Interest::READABLE | Interest::WRITABLE;
        let number = wire.as_raw_fd();
        // Else it is tried again with whatever happens next.
        self.may_say = self.poll.registry().reregister(&mut SourceFd(&number), WIRE, both).is_err();
    }

    /// A packet of so many messages, or fewer if they are long.
    fn packet(&self, mut count: usize) -> Option<(Vec<u8>, usize)> {
        while count > 0 {
            let few: Vec<ToServer> = self.to_say.iter().take(count).cloned().collect();
            if let Some(packet) = wire::to_server(&few) {
                return Some((packet, count));
            }
            count /= 2;
        }
        None
    }

    /// Nobody gives programs to clients any more; those who have one keep it.
    fn go_on_alone(&mut self) {
        self.wire = None;
        self.to_say.clear();
        self.services.clear();
        for index in 0..self.sessions.len() {
            if self.session(index).is_some_and(|session| !session.is_ready()) {
                self.remove(index);
            }
        }
    }
}

/// The tokens of a session's client and of its program.
fn tokens(index: usize) -> [Token; 2] {
    let first = index.saturating_mul(2).saturating_add(1);
    [Token(first), Token(first.saturating_add(1))]
}
