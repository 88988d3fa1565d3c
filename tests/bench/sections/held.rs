//! Connections that stay: memory for each, and whether they slow down new ones.

use std::net::SocketAddr;

use crate::Result;
use crate::calm::Calm;
use crate::context::Context;
use crate::daemon::{Oxinetd, Setup};
use crate::figures::{Table, median, ratio, whole};
use crate::process;
use crate::sections::{Sample, builtin_line, greet, hello_words, lesser_user, line};
use crate::streams;

pub(crate) fn run(context: &Context) -> Result<()> {
    let mut memory = Table::new(
        "held: the server's memory for each connection",
        &["held", "by", "RSS KiB before", "RSS KiB with them", "KiB each", "descriptors each"],
    );
    let counts: &[usize] = if context.quick { &[2_000] } else { &[2_000, 20_000] };
    for &count in counts {
        // Fewer where the limit on descriptors is lower: a part is left to programs.
        let count = count.min(context.descriptors() / 4 * 3);
        hold_echo(context, count, &mut memory)?;
    }
    let mut fresh = Table::new(
        "held: new connections (hello) to a server that holds nothing, and to one that does",
        &[
            "held",
            "by",
            "in flight",
            "conn/s",
            "beside",
            "ratio",
            "p50 us",
            "beside",
            "p99 us",
            "beside",
            "own CPU us",
            "beside",
            "tree CPU us",
            "beside",
        ],
    );
    hold_beside(context, &mut memory, &mut fresh)?;
    memory.print();
    fresh.print();
    Ok(())
}

fn hold_echo(context: &Context, count: usize, memory: &mut Table) -> Result<()> {
    let echo = context.port()?;
    let file = builtin_line(echo, "echo");
    let setup = Setup { file: &file, ready: echo, options: &[], quiet: true };
    let server = Oxinetd::start(context, &setup)?;
    let before = usage(&server)?;
    let held = streams::hold(echo, count)?;
    memory.row(memory_row(count, "echo, built in", before, usage(&server)?));
    streams::let_go(held);
    Ok(())
}

/// Resident KiB and open descriptors.
fn usage(server: &Oxinetd) -> Result<(u64, usize)> {
    let pid = server.daemon.pid();
    Ok((process::rss(pid)?, process::descriptors(pid)?))
}

fn memory_row(count: usize, by: &str, before: (u64, usize), with: (u64, usize)) -> Vec<String> {
    let each = |now: f64, before: f64| format!("{:.2}", (now - before) / count as f64);
    vec![
        whole(count as f64),
        by.to_owned(),
        whole(before.0 as f64),
        whole(with.0 as f64),
        each(with.0 as f64, before.0 as f64),
        each(with.1 as f64, before.1 as f64),
    ]
}

/// A server with the services of these measurements.
struct Host {
    server: Oxinetd,
    cat: SocketAddr,
    echo: SocketAddr,
    hello: SocketAddr,
    /// Programs that stay.
    running: usize,
}

impl Host {
    fn start(context: &Context, programs: usize) -> Result<Self> {
        let (cat, echo, hello) = (context.port()?, context.port()?, context.port()?);
        let user = lesser_user(context);
        let file = line(cat, user, &["/bin/cat".to_owned(), "cat".to_owned()])
            + &builtin_line(echo, "echo")
            + &line(hello, user, &hello_words(context));
        let most = (programs * 2).to_string();
        let options = ["--max-children", most.as_str()];
        let setup = Setup { file: &file, ready: hello, options: &options, quiet: true };
        let server = Oxinetd::start(context, &setup)?;
        let host = Self { server, cat, echo, hello, running: 0 };
        // Its pools are filled by then, as they are in a server that has run for a while.
        for in_flight in [8, 64] {
            host.sample(context, in_flight)?;
        }
        Ok(host)
    }

    fn sample(&self, context: &Context, in_flight: usize) -> Result<Sample> {
        let daemon = &self.server.daemon;
        let take = || greet(context, daemon, &[self.hello], in_flight, self.running);
        Calm::default().sample(context, &[daemon], take)
    }
}

/// New connections beside programs, and beside descriptors alone; in turn with another
/// server, which holds nothing.
fn hold_beside(context: &Context, memory: &mut Table, fresh: &mut Table) -> Result<()> {
    let programs = context.amount(2_000, 200);
    let (idle, mut busy) = (Host::start(context, programs)?, Host::start(context, programs)?);
    let before = usage(&busy.server)?;
    let held = streams::hold(busy.cat, programs)?;
    memory.row(memory_row(programs, "cat, a program each", before, usage(&busy.server)?));
    busy.running = programs;
    compare(context, &idle, &busy, programs, "cat", fresh)?;
    streams::let_go(held);
    busy.server.daemon.settle(0);
    busy.running = 0;
    let connections = context.amount(10_000, 1_000).min(context.descriptors().saturating_sub(400));
    let held = streams::hold(busy.echo, connections)?;
    compare(context, &idle, &busy, connections, "echo, built in", fresh)?;
    streams::let_go(held);
    Ok(())
}

fn compare(
    context: &Context,
    idle: &Host,
    busy: &Host,
    held: usize,
    by: &str,
    fresh: &mut Table,
) -> Result<()> {
    for in_flight in [1, 8, 64] {
        let mut samples = Vec::new();
        for _ in 0..context.rounds {
            samples.push((idle.sample(context, in_flight)?, busy.sample(context, in_flight)?));
        }
        let both = |what: fn(&Sample) -> f64| {
            [
                whole(median(samples.iter().map(|(idle, _)| what(idle)))),
                whole(median(samples.iter().map(|(_, busy)| what(busy)))),
            ]
        };
        let mut row = vec![whole(held as f64), by.to_owned(), in_flight.to_string()];
        row.extend(both(|it| it.rate));
        row.push(ratio(median(samples.iter().map(|(idle, busy)| busy.rate / idle.rate))));
        let others: [fn(&Sample) -> f64; 4] = [|it| it.p50, |it| it.p99, |it| it.own, |it| it.tree];
        for what in others {
            row.extend(both(what));
        }
        fresh.row(row);
    }
    Ok(())
}
