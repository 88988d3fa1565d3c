//! The built-in services, beside a loop that does nothing else.

use std::net::SocketAddr;
use std::process::Command;

use crate::Result;
use crate::calm::Calm;
use crate::context::Context;
use crate::daemon::{Daemon, Log, Oxinetd, Setup};
use crate::figures::{Table, median, ratio, whole};
use crate::in_flight::Until;
use crate::load::{Expect, Load};
use crate::sections::builtin_line;
use crate::streams;

/// What is sent to echo by short connections.
const QUESTION: &[u8] = b"How quickly daft jumping zebras vex\n";

/// Addresses of one server's services.
#[derive(Clone, Copy)]
struct At {
    echo: SocketAddr,
    daytime: SocketAddr,
}

type Measure = fn(&Context, At) -> Result<f64>;

const MEASURES: [(&str, Measure); 9] = [
    ("echo, 1 connection, MB/s", |it, at| streams::throughput(at.echo, 1, it.sample())),
    ("echo, 64 connections, MB/s", |it, at| streams::throughput(at.echo, 64, it.sample())),
    ("echo, ping-pong of 64 bytes, /s", |it, at| streams::ping_pong(at.echo, it.sample())),
    ("echo, 8 in flight, conn/s", |it, at| {
        short(it, at.echo, 8, QUESTION, Expect::Exactly(QUESTION))
    }),
    ("daytime, 1 in flight, conn/s", |it, at| short(it, at.daytime, 1, &[], Expect::Date)),
    ("daytime, 8 in flight, conn/s", |it, at| short(it, at.daytime, 8, &[], Expect::Date)),
    ("daytime, 64 in flight, conn/s", |it, at| short(it, at.daytime, 64, &[], Expect::Date)),
    ("UDP echo, 1 socket, /s", |it, at| streams::datagrams(at.echo, 1, it.sample())),
    ("UDP echo, 16 sockets, /s", |it, at| streams::datagrams(at.echo, 16, it.sample())),
];

fn short(
    context: &Context,
    target: SocketAddr,
    in_flight: usize,
    send: &[u8],
    expect: Expect<'_>,
) -> Result<f64> {
    let until = Until::Elapsed(context.sample());
    let load = Load { targets: &[target], in_flight, send, expect, until };
    Ok(load.run()?.check("short connections")?.rate())
}

pub(crate) fn run(context: &Context) -> Result<()> {
    let (limit_daemon, limit) = start_limit(context)?;
    let (logging_server, logging) = start_ours(context, false)?;
    let (quiet_server, quiet) = start_ours(context, true)?;
    let servers = [limit, logging, quiet];
    let daemons = [&limit_daemon, &logging_server.daemon, &quiet_server.daemon];
    let calm = Calm::default();
    let mut table = Table::new(
        "builtin: in the loop, beside a loop that does nothing else",
        &["", "limit", "oxinetd", "ratio", "no log", "ratio"],
    );
    for (name, measure) in MEASURES {
        let mut rates = [const { Vec::new() }; 3];
        for _ in 0..context.rounds {
            for (rates, at) in rates.iter_mut().zip(servers) {
                let rate = calm.sample(context, &daemons, || measure(context, at));
                rates.push(rate.map_err(|error| format!("{name}: {error}"))?);
            }
        }
        let [limit, logging, quiet] = &rates;
        let beside = |own: &[f64]| median(own.iter().zip(limit).map(|(own, limit)| own / limit));
        let middle = |own: &[f64]| whole(median(own.iter().copied()));
        table.row([
            name.to_owned(),
            middle(limit),
            middle(logging),
            ratio(beside(logging)),
            middle(quiet),
            ratio(beside(quiet)),
        ]);
    }
    table.print();
    calm.print();
    Ok(())
}

fn start_limit(context: &Context) -> Result<(Daemon, At)> {
    let at = At { echo: context.port()?, daytime: context.port()? };
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("__limit");
    command.args([at.echo.port().to_string(), at.daytime.port().to_string()]);
    let log = context.path("limit.log");
    Ok((Daemon::start(&command, at.echo, Log::File(&log))?, at))
}

fn start_ours(context: &Context, quiet: bool) -> Result<(Oxinetd, At)> {
    let at = At { echo: context.port()?, daytime: context.port()? };
    let file = builtin_line(at.echo, "echo")
        + &builtin_line(at.daytime, "daytime")
        + &format!("{} dgram udp wait - internal echo\n", at.echo);
    let setup = Setup { file: &file, ready: at.daytime, options: &[], quiet };
    Ok((Oxinetd::start(context, &setup)?, at))
}
