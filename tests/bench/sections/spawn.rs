//! Programs started per second, and what one costs, beside the ceiling and others.

use std::time::Duration;

use crate::Result;
use crate::calm::Calm;
use crate::ceiling::Gift;
use crate::context::Context;
use crate::daemon::{Daemon, Oxinetd, Setup};
use crate::figures::{Table, median, ratio, whole};
use crate::hello::GREETING;
use crate::in_flight::Until;
use crate::load::{Expect, Load};
use crate::numbers::Numbers;
use crate::peers::{self, Found, Job};
use crate::sections::{self, Sample, ceiling, hello_words, line};

/// Where in the list the ceiling without a session is: that of peers that give none.
const BARE: usize = 2;

/// One server in the comparison.
struct Contestant {
    name: String,
    /// The ceiling that it is compared with: where that is in the list.
    base: usize,
    daemon: Daemon,
    address: std::net::SocketAddr,
}

pub(crate) fn run(context: &Context) -> Result<()> {
    let peers = peers::gather(context);
    let hello =
        Work { name: "hello", program: hello_words(context), expect: Expect::Exactly(GREETING) };
    let date = Work {
        name: "/bin/date",
        program: vec!["/bin/date".to_owned(), "date".to_owned()],
        expect: Expect::Date,
    };
    for work in [hello, date] {
        let contestants = contestants(context, &peers, &work)?;
        for in_flight in [1, 8, 64] {
            let title = format!("spawn: {}, {in_flight} in flight", work.name);
            compare(context, &title, &contestants, in_flight, work.expect)?;
        }
    }
    Ok(())
}

/// What all of them are to run.
struct Work {
    name: &'static str,
    program: Vec<String>,
    expect: Expect<'static>,
}

fn contestants(context: &Context, peers: &[Found], work: &Work) -> Result<Vec<Contestant>> {
    let mut list = Vec::new();
    let users: &[&str] = if context.root { &["root", "nobody"] } else { &["-"] };
    let mut switching = 0;
    for user in users {
        switching = list.len();
        add_ours(context, &mut list, user, &work.program)?;
    }
    for found in peers {
        match peer(context, found, work, switching) {
            Ok(contestant) => list.push(contestant),
            Err(error) => println!("missing: {}: {error}", found.peer.name),
        }
    }
    Ok(list)
}

/// A peer at work, once it has answered as it should.
fn peer(context: &Context, found: &Found, work: &Work, switching: usize) -> Result<Contestant> {
    let address = context.port()?;
    let job = Job {
        address,
        user: if context.root { "nobody" } else { "root" },
        program: work.program[0].as_ref(),
        arguments: &work.program[1..],
    };
    let daemon = found.start(context, &job)?;
    let trial = Load {
        targets: &[address],
        in_flight: 1,
        send: &[],
        expect: work.expect,
        until: Until::Done(1),
    };
    trial.run()?.check("a first connection")?;
    let switches = found.peer.switches;
    let user = if switches { ", as nobody" } else { "" };
    Ok(Contestant {
        name: format!("{}{user}", found.peer.name),
        base: if switches { switching } else { BARE },
        daemon,
        address,
    })
}

/// The ceiling and oxinetd in its ways, with programs run as `user`.
fn add_ours(
    context: &Context,
    list: &mut Vec<Contestant>,
    user: &str,
    program: &[String],
) -> Result<()> {
    let base = list.len();
    let shown = match user {
        "-" => String::new(),
        name => format!(", as {name}"),
    };
    // root is what the server is already: nothing to change.
    let ceiling_user = if user == "root" { "-" } else { user };
    let mut ceilings = vec![("", Gift::Session), (" with environment", Gift::Environment)];
    if base == 0 {
        ceilings.insert(1, (" (again)", Gift::Session));
        ceilings.insert(BARE, (" without session", Gift::Nothing));
    }
    for (which, gift) in ceilings {
        let address = context.port()?;
        let daemon = ceiling(context, &[address], ceiling_user, gift, program)?;
        list.push(Contestant { name: format!("ceiling{which}{shown}"), base, daemon, address });
    }
    let ways: [(&str, &[&str], bool, &str); 3] = [
        ("oxinetd", &[], false, ""),
        ("oxinetd, no log", &[], true, "    stderr = socket\n"),
        ("oxinetd --spawn fork, no log", &["--spawn", "fork"], true, "    stderr = socket\n"),
    ];
    let now = context.server();
    let mut builds: Vec<_> = ways.map(|way| (now, way)).into();
    if let Some(before) = &context.before {
        builds.push((before, ("oxinetd before", &[], false, "")));
        builds.push((now, ("oxinetd, linger = no", &[], false, "    linger = no\n")));
    }
    for (build, (name, options, quiet, attributes)) in builds {
        let address = context.port()?;
        let file = line(address, user, program) + attributes;
        let setup = Setup { file: &file, ready: address, options, quiet };
        let server = Oxinetd::start_build(context, build, &setup)?;
        list.push(Contestant {
            name: format!("{name}{shown}"),
            base,
            daemon: server.daemon,
            address,
        });
    }
    Ok(())
}

fn compare(
    context: &Context,
    title: &str,
    contestants: &[Contestant],
    in_flight: usize,
    expect: Expect<'_>,
) -> Result<()> {
    let calm = Calm::default();
    let mut samples = vec![Vec::new(); contestants.len()];
    // To warm up: page cache, allocators, the server's stacks.
    for contestant in contestants {
        sample(contestant, in_flight, expect, Duration::from_millis(50))?;
    }
    // Nobody always comes after the same other one, who may leave work behind.
    let mut numbers = Numbers::new();
    let mut order: Vec<usize> = (0..contestants.len()).collect();
    for _ in 0..context.rounds {
        numbers.shuffle(&mut order);
        for &at in &order {
            let contestant = &contestants[at];
            let take = || sample(contestant, in_flight, expect, context.sample());
            samples[at].push(calm.sample(context, &[&contestant.daemon], take)?);
        }
    }
    let mut table = Table::new(
        title,
        &[
            "server",
            "conn/s",
            "ratio",
            "p50 us",
            "p99 us",
            "own CPU us",
            "tree CPU us",
            "CPU ratio",
            "failed",
        ],
    );
    for (at, contestant) in contestants.iter().enumerate() {
        table.row(row(contestant, &samples[at], &samples[contestant.base]));
    }
    table.print();
    calm.print();
    Ok(())
}

fn row(contestant: &Contestant, own: &[Sample], base: &[Sample]) -> Vec<String> {
    let of = |pick: fn(&Sample) -> f64| median(own.iter().map(pick));
    let beside = |pick: fn(&Sample) -> f64| {
        median(own.iter().zip(base).map(|(own, base)| pick(own) / pick(base)))
    };
    vec![
        contestant.name.clone(),
        whole(of(|sample| sample.rate)),
        ratio(beside(|sample| sample.rate)),
        whole(of(|sample| sample.p50)),
        whole(of(|sample| sample.p99)),
        whole(of(|sample| sample.own)),
        whole(of(|sample| sample.tree)),
        ratio(beside(|sample| sample.tree)),
        own.iter().map(|sample| sample.failed).sum::<u64>().to_string(),
    ]
}

fn sample(
    contestant: &Contestant,
    in_flight: usize,
    expect: Expect<'_>,
    time: Duration,
) -> Result<Sample> {
    let load = Load {
        targets: &[contestant.address],
        in_flight,
        send: &[],
        expect,
        until: Until::Elapsed(time),
    };
    sections::sample(&contestant.daemon, 0, || {
        let outcome = load.run()?;
        if outcome.done == 0 {
            let why = outcome.complaint.unwrap_or_default();
            return Err(format!("{}: nothing answered: {why}", contestant.name).into());
        }
        Ok(outcome)
    })
}
