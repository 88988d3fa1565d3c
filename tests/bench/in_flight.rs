//! The one loop of every load: a thread keeps so many connections in flight, and takes the time
//! from connect to the end of each.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{setsockopt, sockopt};

use crate::Result;
use crate::figures::percentile;

/// A connection that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(5);

/// What is said on a connection, and what is made of the answer.
pub(crate) trait Connection {
    fn stream(&mut self) -> &mut TcpStream;

    /// Whether it has something to say before it is told anything.
    fn speaks(&self) -> bool;

    /// Whether that is said as soon as it is opened, without being told that it can be: on this
    /// machine the connection is there by then.
    fn begins(&self) -> bool {
        false
    }

    /// Goes on as far as that is possible.
    fn advance(&mut self) -> Progress;

    /// Whether it went on with a session of TLS that was there before.
    fn has_resumed(&self) -> bool {
        false
    }
}

/// None while it goes on.
pub(crate) type Progress = Option<std::result::Result<(), String>>;

/// Nothing now, and no failure either.
pub(crate) fn waits(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted)
}

/// When no more connections are opened.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    Elapsed(Duration),
    Done(u64),
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Sessions of TLS that were there before.
    pub(crate) resumed: u64,
    pub(crate) seconds: f64,
    /// Why the first one failed.
    pub(crate) complaint: Option<String>,
    /// Microseconds from connect to end of file.
    pub(crate) times: Vec<u32>,
}

impl Outcome {
    pub(crate) fn rate(&self) -> f64 {
        self.done as f64 / self.seconds.max(1e-9)
    }

    pub(crate) fn percentile(&mut self, share: f64) -> f64 {
        percentile(&mut self.times, share)
    }

    /// An error if anything failed.
    pub(crate) fn check(self, what: &str) -> Result<Self> {
        match &self.complaint {
            Some(why) => Err(format!(
                "{what}: {} of {} connections failed, the first: {why}",
                self.failed,
                self.done + self.failed
            )
            .into()),
            None if self.done == 0 => Err(format!("{what}: nothing answered").into()),
            None => Ok(self),
        }
    }
    /// An error if nothing came of it.
    pub(crate) fn check_any(self, what: &str) -> Result<Self> {
        if self.done > 0 {
            return Ok(self);
        }
        let why = self.complaint.as_deref().unwrap_or("nothing answered");
        Err(format!("{what}: {why}").into())
    }

    /// What came of others at the same time.
    pub(crate) fn add(&mut self, other: Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.resumed += other.resumed;
        self.seconds = self.seconds.max(other.seconds);
        self.times.extend(other.times);
        self.complaint = self.complaint.take().or(other.complaint);
    }

    fn fail(&mut self, why: &str) {
        self.failed += 1;
        self.complaint.get_or_insert_with(|| why.to_owned());
    }
}

/// Something done beside the load each time so much time has gone by.
pub(crate) struct Beside<'a> {
    pub(crate) every: Duration,
    pub(crate) act: &'a mut dyn FnMut() -> Result<()>,
}

/// Keeps so many connections in flight; each is opened with the number of those before it.
pub(crate) fn keep<C: Connection>(
    in_flight: usize,
    until: Until,
    mut beside: Option<Beside<'_>>,
    connect: impl FnMut(u64) -> Result<C>,
) -> Result<Outcome> {
    let mut run = Run::new(in_flight, until, connect)?;
    let mut events = Events::with_capacity(256);
    let (mut acted, mut looked) = (Instant::now(), Instant::now());
    let wait = beside.as_ref().map_or(LIMIT / 10, |beside| beside.every.min(LIMIT / 10));
    while run.slots.iter().any(Option::is_some) {
        run.poll.poll(&mut events, Some(wait))?;
        for event in &events {
            run.advance(event.token().0);
        }
        if let Some(beside) = &mut beside
            && acted.elapsed() >= beside.every
            && run.goes_on()
        {
            acted = Instant::now();
            (beside.act)()?;
        }
        if looked.elapsed() > LIMIT / 10 {
            looked = Instant::now();
            run.give_up();
        }
    }
    run.outcome.seconds = run.begin.elapsed().as_secs_f64();
    Ok(run.outcome)
}

struct Run<C, F> {
    connect: F,
    until: Until,
    poll: Poll,
    /// Each connection, and when it was opened.
    slots: Vec<Option<(C, Instant)>>,
    outcome: Outcome,
    begin: Instant,
    opened: u64,
}

impl<C: Connection, F: FnMut(u64) -> Result<C>> Run<C, F> {
    fn new(in_flight: usize, until: Until, connect: F) -> Result<Self> {
        let (poll, outcome, begin) = (Poll::new()?, Outcome::default(), Instant::now());
        let mut run = Self { connect, until, poll, slots: Vec::new(), outcome, begin, opened: 0 };
        run.slots.resize_with(in_flight, || None);
        for slot in 0..in_flight {
            run.open(slot);
        }
        Ok(run)
    }

    fn goes_on(&self) -> bool {
        match self.until {
            Until::Elapsed(time) => self.begin.elapsed() < time,
            Until::Done(count) => self.opened < count,
        }
    }

    /// Opens the next connection in a slot, or leaves it empty at the end.
    fn open(&mut self, slot: usize) {
        self.slots[slot] = None;
        while self.goes_on() {
            match self.open_one(slot) {
                Ok(true) => return self.advance(slot),
                Ok(false) => return,
                Err(error) => self.outcome.fail(&format!("connect: {error}")),
            }
        }
    }

    /// True if it begins at once.
    fn open_one(&mut self, slot: usize) -> Result<bool> {
        let (begin, number) = (Instant::now(), self.opened);
        self.opened += 1;
        let mut connection = (self.connect)(number)?;
        let interest = match connection.speaks() {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        self.poll.registry().register(connection.stream(), Token(slot), interest)?;
        let begins = connection.begins();
        self.slots[slot] = Some((connection, begin));
        Ok(begins)
    }

    /// Goes on with a connection that something has happened to.
    fn advance(&mut self, slot: usize) {
        let Some(Some((connection, begin))) = self.slots.get_mut(slot) else { return };
        let Some(result) = connection.advance() else { return };
        let took = begin.elapsed();
        // No TIME_WAIT is left behind, whoever closed first: tens of thousands of
        // them would slow down whoever is measured later.
        let reset = libc::linger { l_onoff: 1, l_linger: 0 };
        let _ = setsockopt(connection.stream(), sockopt::Linger, &reset);
        match result {
            Ok(()) => {
                self.outcome.done += 1;
                self.outcome.resumed += u64::from(connection.has_resumed());
                self.outcome.times.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
            }
            Err(why) => self.outcome.fail(&why),
        }
        self.open(slot);
    }

    fn give_up(&mut self) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].as_ref().is_some_and(|(_, begin)| begin.elapsed() > LIMIT) {
                self.outcome.fail("no end within 5 s");
                self.open(slot);
            }
        }
    }
}
