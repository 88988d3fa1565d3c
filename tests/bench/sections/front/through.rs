//! What passes through TLS: as many bytes as will go through cat, and nothing at all.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::client::{ClientConfig, ClientConnection};
use rustls::pki_types::ServerName;

use super::servers::{self, Certificate, Server};
use super::verdicts::Verdicts;
use crate::Result;
use crate::clients::tls;
use crate::context::Context;
use crate::daemon::{Oxinetd, Setup};
use crate::figures::{Table, median, ratio, whole};
use crate::in_flight::waits;
use crate::process::{self, pause};
use crate::sections::builtin_line;

/// Bytes given at once; the pattern repeats after so many: no divisor of any buffer's size.
const PORTION: usize = 64 * 1024;
const PERIOD: usize = 251;

/// Nothing for so long: a failure.
const SILENCE: Duration = Duration::from_secs(2);

/// A connection with bytes on their way there and back.
struct Flow {
    stream: TcpStream,
    tls: ClientConnection,
    sent: usize,
    received: usize,
}

impl Flow {
    fn open(
        poll: &Poll,
        target: SocketAddr,
        config: &Arc<ClientConfig>,
        at: usize,
    ) -> Result<Self> {
        let mut stream = TcpStream::connect(target)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(at), both)?;
        let name = ServerName::try_from("localhost")?;
        let mut tls = ClientConnection::new(Arc::clone(config), name)?;
        tls.set_buffer_limit(Some(2 * PORTION));
        Ok(Self { stream, tls, sent: 0, received: 0 })
    }

    /// Writes until `end`, and reads, until neither goes on.
    fn pump(&mut self, pattern: &[u8], buffer: &mut [u8], end: Option<Instant>) -> Result<()> {
        loop {
            let mut moved = false;
            let is_time = end.is_none_or(|end| Instant::now() < end);
            if !self.tls.is_handshaking() && is_time && !self.tls.wants_write() {
                let from = self.sent % PERIOD;
                let count = self.tls.writer().write(&pattern[from..from + PORTION])?;
                self.sent += count;
            }
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut self.stream) {
                    Ok(count) => moved |= count > 0,
                    Err(error) if waits(&error) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            match self.tls.read_tls(&mut self.stream) {
                Ok(0) => return Err("the connection has ended".into()),
                Ok(_) => moved = true,
                Err(error) if waits(&error) => {}
                Err(error) => return Err(error.into()),
            }
            let mut left = self.tls.process_new_packets()?.plaintext_bytes_to_read();
            while left > 0 {
                let count = self.tls.reader().read(buffer)?;
                let from = self.received % PERIOD;
                if buffer[..count] != pattern[from..from + count] {
                    return Err("the answer is not what was sent".into());
                }
                self.received += count;
                left -= count;
            }
            if !moved {
                return Ok(());
            }
        }
    }
}

/// Million bytes a second that come back.
fn throughput(target: SocketAddr, connections: usize, time: Duration) -> Result<f64> {
    let (mut poll, config) = (Poll::new()?, tls(false)?);
    let pattern: Vec<u8> = (0..PORTION + PERIOD).map(|at| (at % PERIOD) as u8).collect();
    let mut buffer = vec![0; PORTION];
    let mut flows = (0..connections)
        .map(|at| Flow::open(&poll, target, &config, at))
        .collect::<Result<Vec<_>>>()?;
    let begin = Instant::now();
    let mut events = Events::with_capacity(256);
    while begin.elapsed() < time || flows.iter().any(|flow| flow.received < flow.sent) {
        poll.poll(&mut events, Some(SILENCE))?;
        if events.is_empty() {
            return Err("silence".into());
        }
        for event in &events {
            let flow = &mut flows[event.token().0];
            flow.pump(&pattern, &mut buffer, Some(begin + time))?;
        }
    }
    let total: usize = flows.iter().map(|flow| flow.received).sum();
    Ok(total as f64 / 1e6 / begin.elapsed().as_secs_f64())
}

/// Bytes through cat.
pub(super) fn bulk(context: &Context, it: &Certificate, verdicts: &mut Verdicts) -> Result<()> {
    let cat = ["/bin/cat".to_owned(), "cat".to_owned()];
    let servers = servers::gather(vec![
        ("oxinetd", Server::ours(context, "oxinetd", &cat, &it.attribute())),
        ("haproxy", servers::haproxy(context, it, &cat)),
        ("stunnel", servers::stunnel(context, it, &cat)),
        ("socat", servers::socat(context, it, &cat)),
    ]);
    let mut table =
        Table::new("front: through TLS and cat", &["server", "connections", "MB/s", "ratio"]);
    for connections in [1, 16] {
        let mut rates = vec![Vec::new(); servers.len()];
        for _ in 0..context.rounds {
            for (server, rates) in servers.iter().zip(&mut rates) {
                let rate = throughput(server.address, connections, context.sample() * 2);
                rates.push(
                    rate.map_err(|error| println!("  {}: {error}", server.name)).unwrap_or(0.0),
                );
            }
        }
        for (server, own) in servers.iter().zip(&rates) {
            let rounds = own.iter().zip(&rates[0]);
            table.row([
                server.name.to_owned(),
                connections.to_string(),
                whole(median(own.iter().copied())),
                ratio(median(rounds.map(|(own, base)| own / base))),
            ]);
        }
        if let Some(at) = servers.iter().position(|it| it.name.starts_with("haproxy")) {
            let rounds = rates[0].iter().zip(&rates[at]);
            let beside = median(rounds.map(|(own, haproxy)| own / haproxy));
            verdicts.at_least(&format!("through cat, {connections}: beside haproxy"), beside, 1.0);
        }
    }
    table.print();
    Ok(())
}

/// Connections on which nothing happens: memory of the workers, and of the server, for each.
pub(super) fn idle(context: &Context, it: &Certificate, verdicts: &mut Verdicts) -> Result<()> {
    let count = context.amount(2_000, 200);
    let address = context.port()?;
    let file = builtin_line(address, "echo") + &it.attribute();
    let setup = Setup { file: &file, ready: address, options: &[], quiet: true };
    let server = Oxinetd::start(context, &setup)?;
    // The workers are there, and have had something to do.
    drop(held(address, 64)?);
    pause(Duration::from_secs(1));
    let main = server.daemon.pid();
    let memory = || -> Result<(u64, u64)> {
        let workers = process::children_called(main, "front-worker");
        let all = workers.into_iter().map(process::pss).collect::<Result<Vec<_>>>()?;
        Ok((all.iter().sum(), process::pss(main)?))
    };
    let before = memory()?;
    let open = held(address, count)?;
    let with = memory()?;
    let each = |now: u64, before: u64| (now as f64 - before as f64) / count as f64;
    let (worker, own) = (each(with.0, before.0), each(with.1, before.1));
    let title = format!("front: {count} idle connections, KiB (Pss) each");
    let mut table = Table::new(title, &["workers", "server"]);
    table.row([format!("{worker:.2}"), format!("{own:.2}")]);
    table.print();
    verdicts.at_most("an idle connection in a worker, KiB", worker, 10.0);
    drop(open);
    Ok(())
}

/// Connections that have been answered once: one byte each.
fn held(target: SocketAddr, count: usize) -> Result<Vec<(std::net::TcpStream, ClientConnection)>> {
    let config = tls(false)?;
    let mut all = Vec::new();
    for _ in 0..count {
        let mut stream = std::net::TcpStream::connect(target)?;
        stream.set_read_timeout(Some(SILENCE))?;
        let mut tls =
            ClientConnection::new(Arc::clone(&config), ServerName::try_from("localhost")?)?;
        let mut both = rustls::Stream::new(&mut tls, &mut stream);
        both.write_all(b"x")?;
        let mut byte = [0];
        both.read_exact(&mut byte)?;
        if byte != *b"x" {
            return Err("the answer is not what was sent".into());
        }
        all.push((stream, tls));
    }
    Ok(all)
}
