//! The load: one thread keeps so many connections in flight, checks every byte of
//! every answer, and takes the time from connect to end of file.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{setsockopt, sockopt};

use crate::figures::percentile;
use crate::{Result, clients};

/// A connection that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(5);

/// What a connection must bring.
#[derive(Clone, Copy)]
pub(crate) enum Expect<'a> {
    /// These bytes, then the end.
    Exactly(&'a [u8]),
    /// One line with a time of day in it, then the end.
    Date,
    /// Whatever comes, then the end.
    Anything,
    /// The end or a reset, and not a byte before it.
    Refusal,
}

/// When no more connections are opened.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    Elapsed(Duration),
    Done(u64),
}

pub(crate) struct Load<'a> {
    /// Taken in turn.
    pub(crate) targets: &'a [SocketAddr],
    pub(crate) in_flight: usize,
    /// Sent first, and followed by the end of our side if it is not empty.
    pub(crate) send: &'a [u8],
    pub(crate) expect: Expect<'a>,
    pub(crate) until: Until,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) done: u64,
    pub(crate) failed: u64,
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
}

/// Something done beside the load each time so much time has gone by.
pub(crate) struct Beside<'a> {
    pub(crate) every: Duration,
    pub(crate) act: &'a mut dyn FnMut() -> Result<()>,
}

struct Connection {
    stream: TcpStream,
    begin: Instant,
    answer: Vec<u8>,
    sent: usize,
}

impl Load<'_> {
    pub(crate) fn run(&self) -> Result<Outcome> {
        self.run_beside(None)
    }

    pub(crate) fn run_beside(&self, mut beside: Option<Beside<'_>>) -> Result<Outcome> {
        let mut run = Run {
            load: self,
            poll: Poll::new()?,
            slots: Vec::new(),
            outcome: Outcome::default(),
            begin: Instant::now(),
            opened: 0,
        };
        run.slots.resize_with(self.in_flight, || None);
        for slot in 0..self.in_flight {
            run.open(slot);
        }
        let mut events = Events::with_capacity(256);
        let mut acted = Instant::now();
        let mut looked = Instant::now();
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
}

struct Run<'a> {
    load: &'a Load<'a>,
    poll: Poll,
    slots: Vec<Option<Connection>>,
    outcome: Outcome,
    begin: Instant,
    opened: u64,
}

impl Run<'_> {
    fn goes_on(&self) -> bool {
        match self.load.until {
            Until::Elapsed(time) => self.begin.elapsed() < time,
            Until::Done(count) => self.opened < count,
        }
    }

    /// Opens the next connection in a slot, or leaves it empty at the end.
    fn open(&mut self, slot: usize) {
        while self.goes_on() {
            let target = self.load.targets[self.opened as usize % self.load.targets.len()];
            self.opened += 1;
            match self.connect(slot, target) {
                Ok(connection) => {
                    self.slots[slot] = Some(connection);
                    return;
                }
                Err(error) => self.fail(&format!("connect: {error}")),
            }
        }
        self.slots[slot] = None;
    }

    fn connect(&mut self, slot: usize, target: SocketAddr) -> Result<Connection> {
        let begin = Instant::now();
        let mut stream = TcpStream::connect(target)?;
        let interest = if self.load.send.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        self.poll.registry().register(&mut stream, Token(slot), interest)?;
        Ok(Connection { stream, begin, answer: Vec::new(), sent: 0 })
    }

    fn fail(&mut self, why: &str) {
        self.outcome.failed += 1;
        self.outcome.complaint.get_or_insert_with(|| why.to_owned());
    }

    /// Goes on with a connection that something has happened to.
    fn advance(&mut self, slot: usize) {
        let Some(Some(connection)) = self.slots.get_mut(slot) else { return };
        let state = connection.advance(self.load);
        let Some(result) = state else { return };
        let took = connection.begin.elapsed();
        // No TIME_WAIT is left behind, whoever closed first: tens of thousands of
        // them would slow down whoever is measured later.
        let reset = libc::linger { l_onoff: 1, l_linger: 0 };
        let _ = setsockopt(&connection.stream, sockopt::Linger, &reset);
        match result {
            Ok(()) => {
                self.outcome.done += 1;
                self.outcome.times.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
            }
            Err(why) => self.fail(&why),
        }
        self.open(slot);
    }

    fn give_up(&mut self) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].as_ref().is_some_and(|it| it.begin.elapsed() > LIMIT) {
                self.fail("no end within 5 s");
                self.open(slot);
            }
        }
    }
}

impl Connection {
    /// None while it goes on.
    fn advance(&mut self, load: &Load<'_>) -> Option<std::result::Result<(), String>> {
        if self.sent < load.send.len() {
            match self.stream.write(&load.send[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if waits(&error) => {}
                Err(error) => return Some(Err(format!("write: {error}"))),
            }
            if self.sent == load.send.len() {
                let _ = self.stream.shutdown(Shutdown::Write);
            }
        }
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Some(self.judge(load.expect)),
                Ok(count) => {
                    self.answer.extend_from_slice(&bytes[..count]);
                    if self.answer.len() > 65_536 {
                        return Some(Err("an endless answer".into()));
                    }
                }
                Err(error) if waits(&error) => return None,
                Err(error) => {
                    let refused = matches!(load.expect, Expect::Refusal)
                        && error.kind() == ErrorKind::ConnectionReset;
                    let result =
                        if refused { self.judge(load.expect) } else { Err(error.to_string()) };
                    return Some(result);
                }
            }
        }
    }

    fn judge(&self, expect: Expect<'_>) -> std::result::Result<(), String> {
        let good = match expect {
            Expect::Exactly(bytes) => self.answer == bytes,
            Expect::Date => is_date(&self.answer),
            Expect::Anything => true,
            Expect::Refusal => self.answer.is_empty(),
        };
        if good {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(self.answer.get(..80).unwrap_or(&self.answer));
        Err(format!("the answer was {shown:?}"))
    }
}

/// Nothing now, and no failure either.
fn waits(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted)
}

/// One line, `hh:mm:ss` and a year of four digits in it.
fn is_date(answer: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(answer) else { return false };
    let Some(line) = text.strip_suffix('\n') else { return false };
    let number = |word: &str, digits: usize| {
        word.len() == digits && word.bytes().all(|byte| byte.is_ascii_digit())
    };
    let time = |word: &str| {
        let parts: Vec<&str> = word.split(':').collect();
        parts.len() == 3 && parts.iter().all(|part| number(part, 2))
    };
    let mut words = line.trim_end().split(' ');
    !line.contains('\n') && words.clone().any(time) && words.any(|word| number(word, 4))
}

/// The load by itself, on a server that somebody else has started to look at it:
/// `ADDRESS [IN_FLIGHT [SECONDS]]`.
pub(crate) fn alone(words: &[&str]) -> Result<()> {
    let target: SocketAddr = words.first().ok_or("load needs an address")?.parse()?;
    let in_flight = words.get(1).map_or(Ok(8), |word| word.parse())?;
    let time = Duration::from_secs(words.get(2).map_or(Ok(10), |word| word.parse())?);
    if let Some(speech) = words.get(3) {
        return clients::alone(target, in_flight, time, speech);
    }
    let load = Load {
        targets: &[target],
        in_flight,
        send: &[],
        expect: Expect::Anything,
        until: Until::Elapsed(time),
    };
    let mut outcome = load.run()?;
    println!(
        "{:.0} connections/s, p50 {} us, p99 {} us, {} failed {}",
        outcome.rate(),
        outcome.percentile(0.5),
        outcome.percentile(0.99),
        outcome.failed,
        outcome.complaint.unwrap_or_default(),
    );
    Ok(())
}
