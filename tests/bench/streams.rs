//! Loads on echo that last: a stream of bytes, ping-pong, datagrams. Every byte
//! that comes back is compared with what was sent.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};

use crate::Result;
use crate::process::pause;

/// Bytes given to the socket at once.
const PORTION: usize = 64 * 1024;

/// The pattern repeats after so many bytes: no divisor of any buffer's size.
const PERIOD: usize = 251;

/// Nothing for so long: a failure.
const SILENCE: Duration = Duration::from_secs(2);

fn pattern() -> Vec<u8> {
    (0..PORTION + PERIOD).map(|at| (at % PERIOD) as u8).collect()
}

struct Flow {
    stream: TcpStream,
    sent: usize,
    received: usize,
}

impl Flow {
    fn open(poll: &Poll, target: SocketAddr, slot: usize) -> Result<Self> {
        let mut stream = TcpStream::connect(target)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(slot), both)?;
        Ok(Self { stream, sent: 0, received: 0 })
    }

    /// Reads, and writes until `end`, until neither goes on.
    fn pump(&mut self, pattern: &[u8], buffer: &mut [u8], end: Instant) -> Result<()> {
        loop {
            let mut idle = true;
            if Instant::now() < end {
                let from = self.sent % PERIOD;
                if let Some(count) = done(self.stream.write(&pattern[from..from + PORTION]))? {
                    self.sent += count;
                    idle = false;
                }
            }
            if let Some(count) = done(self.stream.read(buffer))? {
                let from = self.received % PERIOD;
                if count == 0 || buffer[..count] != pattern[from..from + count] {
                    return Err("echo: the answer is not what was sent".into());
                }
                self.received += count;
                idle = false;
            }
            if idle {
                return Ok(());
            }
        }
    }
}

/// How many bytes, none if it would block.
fn done(result: std::io::Result<usize>) -> Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Million bytes a second that come back over so many connections.
pub(crate) fn throughput(target: SocketAddr, connections: usize, time: Duration) -> Result<f64> {
    let mut poll = Poll::new()?;
    let pattern = pattern();
    let mut buffer = vec![0; PORTION];
    let mut flows =
        (0..connections).map(|at| Flow::open(&poll, target, at)).collect::<Result<Vec<_>>>()?;
    let begin = Instant::now();
    let mut events = Events::with_capacity(256);
    loop {
        let sending = begin.elapsed() < time;
        if !sending && flows.iter().all(|flow| flow.received == flow.sent) {
            break;
        }
        poll.poll(&mut events, Some(SILENCE))?;
        if events.is_empty() {
            return Err("echo: silence".into());
        }
        for event in &events {
            if let Some(flow) = flows.get_mut(event.token().0) {
                flow.pump(&pattern, &mut buffer, begin + time)?;
            }
        }
    }
    let total: usize = flows.iter().map(|flow| flow.received).sum();
    Ok(total as f64 / 1e6 / begin.elapsed().as_secs_f64())
}

/// Exchanges of 64 bytes a second over one connection, one at a time.
pub(crate) fn ping_pong(target: SocketAddr, time: Duration) -> Result<f64> {
    let mut poll = Poll::new()?;
    let mut flow = Flow::open(&poll, target, 0)?;
    flow.stream.set_nodelay(true)?;
    let mut events = Events::with_capacity(8);
    let mut answer = [0; 64];
    let mut count = 0u64;
    let begin = Instant::now();
    poll.poll(&mut events, Some(SILENCE))?;
    while begin.elapsed() < time {
        let question = [count as u8; 64];
        flow.stream.write_all(&question)?;
        let mut got = 0;
        while got < answer.len() {
            match done(flow.stream.read(&mut answer[got..]))? {
                Some(0) => return Err("ping-pong: the connection has ended".into()),
                Some(more) => got += more,
                None => {
                    poll.poll(&mut events, Some(SILENCE))?;
                    if events.is_empty() {
                        return Err("ping-pong: silence".into());
                    }
                }
            }
        }
        if answer != question {
            return Err("ping-pong: the answer is not what was sent".into());
        }
        count += 1;
    }
    Ok(count as f64 / begin.elapsed().as_secs_f64())
}

/// Datagrams answered a second; each socket has one under way.
pub(crate) fn datagrams(target: SocketAddr, sockets: usize, time: Duration) -> Result<f64> {
    let mut poll = Poll::new()?;
    let mut open = Vec::new();
    for at in 0..sockets {
        let mut socket = UdpSocket::bind(([127, 0, 0, 1], 0).into())?;
        socket.connect(target)?;
        poll.registry().register(&mut socket, Token(at), Interest::READABLE)?;
        socket.send(&[0; 64])?;
        open.push((socket, 0u64));
    }
    let mut events = Events::with_capacity(64);
    let mut answer = [0; 128];
    let begin = Instant::now();
    while begin.elapsed() < time {
        poll.poll(&mut events, Some(SILENCE))?;
        if events.is_empty() {
            return Err("datagrams: an answer was lost".into());
        }
        for event in &events {
            let Some((socket, count)) = open.get_mut(event.token().0) else { continue };
            while let Some(length) = done(socket.recv(&mut answer))? {
                if answer[..length] != [*count as u8; 64] {
                    return Err("datagrams: the answer is not what was sent".into());
                }
                *count += 1;
                socket.send(&[*count as u8; 64])?;
            }
        }
    }
    let total: u64 = open.iter().map(|(_, count)| count).sum();
    Ok(total as f64 / begin.elapsed().as_secs_f64())
}

/// Connections that are open and have been answered once: one byte each.
pub(crate) fn hold(target: SocketAddr, count: usize) -> Result<Vec<std::net::TcpStream>> {
    let mut held = Vec::with_capacity(count);
    for at in 0..count {
        let mut stream = std::net::TcpStream::connect(target)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.write_all(b"x")?;
        held.push(stream);
        // A backlog of the server's is not what is measured here.
        if at % 64 == 63 {
            answered(&mut held[at - 63..])?;
        }
    }
    let rest = count - count % 64;
    answered(&mut held[rest..])?;
    Ok(held)
}

fn answered(streams: &mut [std::net::TcpStream]) -> Result<()> {
    for stream in streams {
        let mut byte = [0];
        stream.read_exact(&mut byte).map_err(|error| format!("a held connection: {error}"))?;
        if byte != *b"x" {
            return Err("a held connection: the answer is not what was sent".into());
        }
    }
    Ok(())
}

/// Closes them without leaving TIME_WAIT behind.
pub(crate) fn let_go(held: Vec<std::net::TcpStream>) {
    let reset = libc::linger { l_onoff: 1, l_linger: 0 };
    for stream in held {
        let _ = nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &reset);
    }
    pause(Duration::from_millis(100));
}
