//! Terminals: how much is shown in a second, how soon a key is echoed, and what one costs on
//! which nothing happens.

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::servers::{self, Server};
use super::verdicts::Verdicts;
use crate::Result;
use crate::context::Context;
use crate::daemon::{Daemon, Log};
use crate::figures::{Table, median, percentile, ratio, whole};
use crate::process::{self, pause};

/// What is shown.
const LAST: usize = 3_000_000;
/// Nothing for so long: a failure.
const SILENCE: Duration = Duration::from_secs(5);

pub(super) fn run(context: &Context, verdicts: &mut Verdicts) -> Result<()> {
    shown(context, verdicts)?;
    echoed(context, verdicts)?;
    idle(context, verdicts)
}

fn words(program: &[&str]) -> Vec<String> {
    program.iter().map(|&word| word.to_owned()).collect()
}

/// socat, which starts a program on a terminal for each connection.
fn socat(context: &Context, program: &str) -> Result<Server> {
    let address = context.port()?;
    let mut command = Command::new(servers::installed("socat")?);
    let (port, ip) = (address.port(), address.ip());
    command.arg(format!("TCP-LISTEN:{port},bind={ip},reuseaddr,fork,backlog=1024"));
    command.arg(format!("EXEC:{program},pty,setsid,ctty,stderr"));
    let log = context.path("socat.log");
    let daemon = Daemon::start(&command, address, Log::File(&log))?;
    Ok(Server { name: "socat", address, daemons: vec![daemon] })
}

/// Bytes a second of a program that shows numbers, until its end.
fn drain(mut from: impl Read, begin: Instant) -> Result<f64> {
    let (mut buffer, mut total, mut end) = (vec![0; 64 * 1024], 0usize, Vec::new());
    // A terminal that nobody has any more gives an error at its end.
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        total += count;
        end.extend_from_slice(&buffer[..count]);
        let keep = end.len().saturating_sub(16);
        end.drain(..keep);
    }
    if !String::from_utf8_lossy(&end).trim_end().ends_with(&LAST.to_string()) {
        return Err("not all was shown".into());
    }
    Ok(total as f64 / 1e6 / begin.elapsed().as_secs_f64())
}

/// The same with nothing between.
fn bare() -> Result<f64> {
    let pair = nix::pty::openpty(None, None)?;
    let begin = Instant::now();
    let stdout = Stdio::from(pair.slave);
    let mut child = Command::new("seq")
        .args(["1", &LAST.to_string()])
        .stdout(stdout)
        .stdin(Stdio::null())
        .spawn()?;
    let rate = drain(std::fs::File::from(pair.master), begin);
    child.wait()?;
    rate
}

fn shown(context: &Context, verdicts: &mut Verdicts) -> Result<()> {
    let (last, seq) = (LAST.to_string(), "/usr/bin/seq");
    let ours =
        Server::ours(context, "oxinetd", &words(&[seq, "seq", "1", &last]), "    pty = yes\n")?;
    let socat = socat(context, &format!("{seq} 1 {last}"));
    let servers = servers::gather(vec![("oxinetd", Ok(ours)), ("socat", socat)]);
    let mut rates = vec![Vec::new(); servers.len() + 1];
    for _ in 0..context.rounds {
        for (server, rates) in servers.iter().zip(&mut rates) {
            let begin = Instant::now();
            rates.push(drain(TcpStream::connect(server.address)?, begin)?);
        }
        rates[servers.len()].push(bare()?);
    }
    let mut table = Table::new("front: seq 1 3000000 on a terminal", &["", "MB/s", "ratio"]);
    let base = &rates[servers.len()];
    let beside = |own: &[f64]| median(own.iter().zip(base).map(|(own, base)| own / base));
    let names = servers.iter().map(|it| it.name).chain(["a bare reader"]);
    for (name, own) in names.zip(&rates) {
        table.row([name.to_owned(), whole(median(own.iter().copied())), ratio(beside(own))]);
    }
    table.print();
    verdicts.at_least("shown on a terminal: beside a bare reader", beside(&rates[0]), 0.9);
    Ok(())
}

/// Microseconds until half of the keys have been echoed.
fn echo(address: SocketAddr, keys: usize) -> Result<f64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut byte = [0];
    let mut times = Vec::new();
    for _ in 0..keys {
        let begin = Instant::now();
        stream.write_all(b"x")?;
        stream.read_exact(&mut byte)?;
        times.push(u32::try_from(begin.elapsed().as_micros())?);
    }
    Ok(percentile(&mut times, 0.5))
}

fn echoed(context: &Context, verdicts: &mut Verdicts) -> Result<()> {
    let cat = words(&["/bin/cat", "cat"]);
    let ours = Server::ours(context, "oxinetd", &cat, "    pty = yes\n")?;
    let servers =
        servers::gather(vec![("oxinetd", Ok(ours)), ("socat", socat(context, "/bin/cat"))]);
    let mut times = vec![Vec::new(); servers.len()];
    for _ in 0..context.rounds {
        for (server, times) in servers.iter().zip(&mut times) {
            times.push(echo(server.address, context.amount(1_000, 200))?);
        }
    }
    let mut table = Table::new("front: an echoed key", &["", "p50 us"]);
    for (server, own) in servers.iter().zip(&times) {
        table.row([server.name.to_owned(), whole(median(own.iter().copied()))]);
    }
    table.print();
    if let [ours, socat] = times.as_slice() {
        let rounds = ours.iter().zip(socat);
        verdicts.at_most("an echoed key: beside socat", median(rounds.map(|(a, b)| a / b)), 1.0);
    }
    Ok(())
}

fn idle(context: &Context, verdicts: &mut Verdicts) -> Result<()> {
    let count = context.amount(500, 100);
    let cat = words(&["/bin/cat", "cat"]);
    let server = Server::ours(context, "oxinetd", &cat, "    pty = yes\n")?;
    let held = |count: usize| -> Result<Vec<TcpStream>> {
        let mut all = Vec::new();
        for _ in 0..count {
            let mut stream = TcpStream::connect(server.address)?;
            stream.set_read_timeout(Some(SILENCE))?;
            stream.write_all(b"x")?;
            stream.read_exact(&mut [0])?;
            all.push(stream);
        }
        Ok(all)
    };
    let main = server.daemons[0].pid();
    let memory = || -> Result<u64> {
        let workers = process::children_called(main, "front-worker");
        Ok(workers.into_iter().map(process::pss).collect::<Result<Vec<_>>>()?.iter().sum())
    };
    drop(held(16)?);
    pause(Duration::from_millis(500));
    let before = memory()?;
    let open = held(count)?;
    let each = (memory()? as f64 - before as f64) / count as f64;
    println!("\nfront: {count} idle terminals, KiB (Pss) each in the workers: {each:.2}");
    verdicts.at_most("an idle terminal in a worker, KiB", each, 10.0);
    drop(open);
    Ok(())
}
