//! Connections that stay: memory for each, and whether they slow down new ones.

use std::net::SocketAddr;

use crate::Result;
use crate::calm::Calm;
use crate::context::Context;
use crate::daemon::{Oxinetd, Setup};
use crate::figures::{Table, median, whole};
use crate::hello::GREETING;
use crate::load::{Expect, Load, Until};
use crate::process;
use crate::sections::{builtin_line, hello_words, lesser_user, line};
use crate::streams;

pub(crate) fn run(context: &Context) -> Result<()> {
    let mut memory = Table::new(
        "held: the server's memory for each connection",
        &["held", "by", "RSS KiB before", "RSS KiB with them", "KiB each", "descriptors each"],
    );
    let counts: &[usize] = if context.quick { &[2_000] } else { &[2_000, 20_000] };
    for &count in counts {
        // Fewer where the limit on descriptors is lower.
        let count = count.min(context.descriptors().saturating_sub(200));
        hold_echo(context, count, &mut memory)?;
    }
    let mut fresh = Table::new(
        "held: new connections (hello) beside them",
        &["held", "by", "in flight", "conn/s", "p50 us", "p99 us", "own CPU us", "tree CPU us"],
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

/// New connections beside nothing, beside programs, and beside descriptors alone.
fn hold_beside(context: &Context, memory: &mut Table, fresh: &mut Table) -> Result<()> {
    let (cat, echo, hello) = (context.port()?, context.port()?, context.port()?);
    let user = lesser_user(context);
    let file = line(cat, user, &["/bin/cat".to_owned(), "cat".to_owned()])
        + &builtin_line(echo, "echo")
        + &line(hello, user, &hello_words(context));
    let programs = context.amount(2_000, 200);
    let most = (programs * 2).to_string();
    let options = ["--max-children", most.as_str()];
    let setup = Setup { file: &file, ready: hello, options: &options, quiet: true };
    let server = Oxinetd::start(context, &setup)?;
    // Its pools are filled by then, as they are in a server that has run for a while.
    for in_flight in [8, 64] {
        measure(context, &server, hello, in_flight, 0)?;
    }
    let before = usage(&server)?;
    let mut beside = |count: usize, by: &str, running: usize| -> Result<()> {
        for in_flight in [1, 8, 64] {
            let mut row = vec![whole(count as f64), by.to_owned(), in_flight.to_string()];
            row.extend(measure(context, &server, hello, in_flight, running)?);
            fresh.row(row);
        }
        Ok(())
    };
    beside(0, "", 0)?;
    let held = streams::hold(cat, programs)?;
    memory.row(memory_row(programs, "cat, a program each", before, usage(&server)?));
    beside(programs, "cat", programs)?;
    streams::let_go(held);
    server.daemon.settle(0);
    let connections = context.amount(10_000, 1_000).min(context.descriptors().saturating_sub(400));
    let held = streams::hold(echo, connections)?;
    beside(connections, "echo, built in", 0)?;
    streams::let_go(held);
    Ok(())
}

fn measure(
    context: &Context,
    server: &Oxinetd,
    hello: SocketAddr,
    in_flight: usize,
    running: usize,
) -> Result<Vec<String>> {
    let mut samples = Vec::new();
    let take = || -> Result<[f64; 5]> {
        let before = server.daemon.cpu()?;
        let load = Load {
            targets: &[hello],
            in_flight,
            send: &[],
            expect: Expect::Exactly(GREETING),
            until: Until::Elapsed(context.sample()),
        };
        let mut outcome = load.run()?.check("hello beside held connections")?;
        server.daemon.settle(running);
        let cpu = server.daemon.cpu()?.since(before);
        let done = outcome.done as f64;
        Ok([
            outcome.rate(),
            outcome.percentile(0.5),
            outcome.percentile(0.99),
            cpu.own / done,
            cpu.tree / done,
        ])
    };
    for _ in 0..context.rounds {
        samples.push(Calm::default().sample(context, &[&server.daemon], take)?);
    }
    Ok((0..5).map(|at| whole(median(samples.iter().map(|sample| sample[at])))).collect())
}
