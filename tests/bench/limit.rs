//! What a loop can do at all: echo and daytime in a process that does nothing
//! else, with the same poll as the server. The limit of the built-in services.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};

use crate::Result;

const ECHO: Token = Token(0);
const DAYTIME: Token = Token(1);
const DATAGRAMS: Token = Token(2);
const FIRST: usize = 3;

/// Bytes taken and given back at once.
const BUFFER: usize = 128 * 1024;

/// What its daytime says.
const TIME: &[u8] = b"Sun Nov 22 12:00:00 2026\r\n";

struct Echo {
    stream: TcpStream,
    /// Taken and not given back yet.
    owed: Vec<u8>,
}

/// `ECHO_PORT DAYTIME_PORT`; datagrams at the first, too.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let [echo, daytime] = words else { return Err("__limit ECHO_PORT DAYTIME_PORT".into()) };
    let at = |port: &str| -> Result<SocketAddr> { Ok(([127, 0, 0, 1], port.parse()?).into()) };
    let mut poll = Poll::new()?;
    let mut echo_listener = listen(at(echo)?)?;
    let mut daytime_listener = listen(at(daytime)?)?;
    let mut datagrams = UdpSocket::bind(at(echo)?)?;
    let registry = poll.registry();
    registry.register(&mut echo_listener, ECHO, Interest::READABLE)?;
    registry.register(&mut daytime_listener, DAYTIME, Interest::READABLE)?;
    registry.register(&mut datagrams, DATAGRAMS, Interest::READABLE)?;
    let mut open: HashMap<Token, Echo> = HashMap::new();
    let mut next = FIRST;
    let mut buffer = vec![0; BUFFER];
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                ECHO => {
                    while let Ok((mut stream, _)) = echo_listener.accept() {
                        let both = Interest::READABLE | Interest::WRITABLE;
                        poll.registry().register(&mut stream, Token(next), both)?;
                        open.insert(Token(next), Echo { stream, owed: Vec::new() });
                        next += 1;
                    }
                }
                DAYTIME => {
                    while let Ok((mut stream, _)) = daytime_listener.accept() {
                        let _ = stream.write_all(TIME);
                    }
                }
                DATAGRAMS => {
                    while let Ok((length, peer)) = datagrams.recv_from(&mut buffer) {
                        let _ = datagrams.send_to(&buffer[..length], peer);
                    }
                }
                token => {
                    let ended = open.get_mut(&token).is_some_and(|echo| echo.serve(&mut buffer));
                    if ended {
                        open.remove(&token);
                    }
                }
            }
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(4096)?)?;
    Ok(listener)
}

impl Echo {
    /// True when it is over.
    fn serve(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            if !self.owed.is_empty() {
                match self.stream.write(&self.owed) {
                    Ok(count) => {
                        self.owed.drain(..count);
                    }
                    Err(error) => return error.kind() != ErrorKind::WouldBlock,
                }
                continue;
            }
            let count = match self.stream.read(buffer) {
                Ok(0) => return true,
                Ok(count) => count,
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            };
            match self.stream.write(&buffer[..count]) {
                Ok(written) => self.owed.extend_from_slice(&buffer[written..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.owed.extend_from_slice(&buffer[..count]);
                }
                Err(_) => return true,
            }
        }
    }
}
