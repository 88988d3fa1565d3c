//! Many services in one file: start, reload with nothing changed, memory, idling,
//! and whether a connection costs more because there are so many.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::Result;
use crate::calm::Calm;
use crate::ceiling::Gift;
use crate::context::Context;
use crate::daemon::{Daemon, Oxinetd, Setup};
use crate::figures::{Table, median, ratio, whole};
use crate::in_flight::{Beside, Until};
use crate::load::{Expect, Load};
use crate::process::{self, pause};
use crate::sections::{Sample, builtin_line, ceiling, greet, hello_words, lesser_user, line};

/// How long idling is watched.
const IDLE: Duration = Duration::from_secs(2);

/// When nobody has come for so long, the server gives memory back.
const QUIET: Duration = Duration::from_secs(11);

pub(crate) fn run(context: &Context) -> Result<()> {
    let counts: &[usize] = if context.quick { &[1, 1_000] } else { &[1, 1_000, 10_000] };
    let mut life = Table::new(
        "services: start, idling, SIGHUP with nothing changed (longest wait: of daytime requests)",
        &[
            "services",
            "start ms",
            "CPU ms",
            "RSS KiB",
            "idle wake-ups in 2 s",
            "SIGHUP CPU ms",
            "the server's own",
            "RSS KiB after",
            "longest wait ms",
            "without SIGHUP",
        ],
    );
    let mut work = Table::new(
        "services: hello on all of them in turn, 8 in flight, beside a ceiling with as many listeners",
        &[
            "services",
            "ceiling /s",
            "own CPU us",
            "oxinetd /s",
            "own CPU us",
            "tree CPU us",
            "ratio",
        ],
    );
    let calm = Calm::default();
    for &count in counts {
        if count + 200 > context.descriptors() {
            println!("skipped: {count} services: the limit on descriptors is too low");
            continue;
        }
        one_count(context, &calm, count, [&mut life, &mut work])?;
    }
    life.print();
    work.print();
    memory(context)?.print();
    calm.print();
    Ok(())
}

fn one_count(
    context: &Context,
    calm: &Calm,
    count: usize,
    [life, work]: [&mut Table; 2],
) -> Result<()> {
    let addresses = context.ports(count)?;
    let daytime = context.port()?;
    let hello = hello_words(context);
    let user = lesser_user(context);
    let mut file: String = addresses.iter().map(|&at| line(at, user, &hello)).collect();
    // The last to be opened: when it answers, all are there.
    file.push_str(&builtin_line(daytime, "daytime"));
    let setup = Setup { file: &file, ready: daytime, options: &[], quiet: true };
    let server = Oxinetd::start(context, &setup)?;
    let daemon = &server.daemon;
    let rss = process::rss(daemon.pid())?;
    let wakeups = idle_wakeups(daemon)?;
    let (reload, own) = reload_cost(context, daemon)?;
    let undisturbed = longest_wait(context, daemon, daytime, false)?;
    let stall = longest_wait(context, daemon, daytime, true)?;
    life.row([
        whole(count as f64),
        whole(daemon.started_in.as_secs_f64() * 1e3),
        whole(daemon.start_cpu / 1e3),
        whole(rss as f64),
        wakeups.to_string(),
        format!("{reload:.1}"),
        format!("{own:.1}"),
        whole(process::rss(daemon.pid())? as f64),
        format!("{:.1}", stall / 1e3),
        format!("{:.1}", undisturbed / 1e3),
    ]);
    let beside = context.ports(count)?;
    let ceiling = ceiling(context, &beside, user, Gift::Session, &hello)?;
    work.row(compare(context, calm, &ceiling, &beside, daemon, &addresses)?);
    Ok(())
}

/// How much of the server is in memory: when it has started, when clients have been there,
/// and when none has come for a while.
fn memory(context: &Context) -> Result<Table> {
    let counts: &[usize] = if context.quick { &[10] } else { &[10, 1_000, 10_000] };
    let mut table = Table::new(
        "services: memory, RSS KiB; 64 clients at once for a while",
        &["services", "started", "after clients", "11 s later"],
    );
    let hello = hello_words(context);
    let user = lesser_user(context);
    for &count in counts.iter().filter(|count| *count + 200 <= context.descriptors()) {
        let addresses = context.ports(count)?;
        let file: String = addresses.iter().map(|&at| line(at, user, &hello)).collect();
        let last = *addresses.last().ok_or("no services")?;
        let setup = Setup { file: &file, ready: last, options: &[], quiet: false };
        let server = Oxinetd::start(context, &setup)?;
        let daemon = &server.daemon;
        let started = process::rss(daemon.pid())?;
        greet(context, daemon, &addresses, 64, 0)?;
        let after = process::rss(daemon.pid())?;
        pause(QUIET);
        let later = process::rss(daemon.pid())?;
        table.row([count as f64, started as f64, after as f64, later as f64].map(whole));
    }
    Ok(table)
}

fn idle_wakeups(daemon: &Daemon) -> Result<u64> {
    let switches = || process::status(daemon.pid(), "voluntary_ctxt_switches");
    pause(Duration::from_millis(200));
    let before = switches()?;
    pause(IDLE);
    Ok(switches()? - before)
}

/// Milliseconds of processor time of one reload: with the process that reads, whose time
/// is told in ticks of 10 ms and so taken over many; and the server's own.
fn reload_cost(context: &Context, daemon: &Daemon) -> Result<(f64, f64)> {
    let rounds = context.amount(40, 20);
    let (first, mut own) = (daemon.cpu()?, Vec::new());
    for _ in 0..rounds {
        let before = daemon.cpu()?.own;
        daemon.hang_up()?;
        wait_until_idle(daemon)?;
        own.push((daemon.cpu()?.own - before) / 1e3);
    }
    let tree = daemon.cpu()?.since(first).tree;
    Ok((tree / 1e3 / rounds as f64, median(own)))
}

/// Until the server has used no processor for a while.
fn wait_until_idle(daemon: &Daemon) -> Result<()> {
    let begin = Instant::now();
    let mut last = daemon.cpu()?.own;
    while begin.elapsed() < Duration::from_secs(20) {
        pause(Duration::from_millis(100));
        let now = daemon.cpu()?.own;
        // While another process reads, it rests, too.
        if now - last < 1.0 && process::children(daemon.pid()) == 0 {
            return Ok(());
        }
        last = now;
    }
    Err("the server never idles".into())
}

/// Microseconds that the slowest of many daytime requests took; of a few tries the
/// least disturbed.
fn longest_wait(
    context: &Context,
    daemon: &Daemon,
    daytime: SocketAddr,
    reload: bool,
) -> Result<f64> {
    let load = Load {
        targets: &[daytime],
        in_flight: 1,
        send: &[],
        expect: Expect::Date,
        until: Until::Elapsed(Duration::from_millis(600)),
    };
    let mut waits = Vec::new();
    for _ in 0..context.rounds.max(3) {
        let mut act = || if reload { daemon.hang_up() } else { Ok(()) };
        let beside = Beside { every: Duration::from_millis(300), act: &mut act };
        let mut outcome = load.run_beside(Some(beside))?.check("daytime during a reload")?;
        waits.push(outcome.percentile(1.0));
    }
    // Whatever else ran on the machine made it longer, never shorter.
    Ok(waits.into_iter().fold(f64::INFINITY, f64::min))
}

fn compare(
    context: &Context,
    calm: &Calm,
    ceiling: &Daemon,
    beside: &[SocketAddr],
    daemon: &Daemon,
    addresses: &[SocketAddr],
) -> Result<Vec<String>> {
    let mut rounds = Vec::new();
    for _ in 0..context.rounds {
        let sample =
            |daemon, at| calm.sample(context, &[daemon], || greet(context, daemon, at, 8, 0));
        rounds.push((sample(ceiling, beside)?, sample(daemon, addresses)?));
    }
    let of = |pick: fn(&(Sample, Sample)) -> f64| median(rounds.iter().map(pick));
    Ok(vec![
        whole(addresses.len() as f64),
        whole(of(|it| it.0.rate)),
        whole(of(|it| it.0.own)),
        whole(of(|it| it.1.rate)),
        whole(of(|it| it.1.own)),
        whole(of(|it| it.1.tree)),
        ratio(of(|it| it.1.rate / it.0.rate)),
    ])
}
