//! The load on plain services: every byte of every answer is checked.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;

use crate::in_flight::{Beside, Connection, Outcome, Progress, Until, keep, waits};
use crate::{Result, clients};

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

pub(crate) struct Load<'a> {
    /// Taken in turn.
    pub(crate) targets: &'a [SocketAddr],
    pub(crate) in_flight: usize,
    /// Sent first, and followed by the end of our side if it is not empty.
    pub(crate) send: &'a [u8],
    pub(crate) expect: Expect<'a>,
    pub(crate) until: Until,
}

impl Load<'_> {
    pub(crate) fn run(&self) -> Result<Outcome> {
        self.run_beside(None)
    }

    pub(crate) fn run_beside(&self, beside: Option<Beside<'_>>) -> Result<Outcome> {
        let connect = |opened: u64| {
            let target = self.targets[opened as usize % self.targets.len()];
            let stream = TcpStream::connect(target)?;
            Ok(Exchange { load: self, stream, answer: Vec::new(), sent: 0 })
        };
        keep(self.in_flight, self.until, beside, connect)
    }
}

/// One connection.
struct Exchange<'a> {
    load: &'a Load<'a>,
    stream: TcpStream,
    answer: Vec<u8>,
    sent: usize,
}

impl Connection for Exchange<'_> {
    fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    fn speaks(&self) -> bool {
        !self.load.send.is_empty()
    }

    fn advance(&mut self) -> Progress {
        let load = self.load;
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
}

impl Exchange<'_> {
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
