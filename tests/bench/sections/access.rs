//! Long lists of addresses: reading them, one look-up, and whether connections notice.

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Instant;

use oxinetd::config::lookup::System;
use oxinetd::under_test::admission::{AccessList, Prefix, parse_item};

use crate::Result;
use crate::calm::Calm;
use crate::context::Context;
use crate::daemon::{Oxinetd, Setup};
use crate::figures::{Table, median, ratio, whole};
use crate::in_flight::Until;
use crate::load::{Expect, Load};
use crate::numbers::Numbers;

/// How many addresses are looked up in one sample: more than caches keep.
const LOOKUPS: usize = 200_000;

/// The longest list.
const MOST: usize = 100_000;

pub(crate) fn run(context: &Context) -> Result<()> {
    reading(context)?;
    serving(context)
}

/// Addresses of both families in turn; the IPv6 ones within 2000::/3.
fn addresses(numbers: &mut Numbers, count: usize) -> Vec<IpAddr> {
    let address = |at: usize| -> IpAddr {
        let (high, low) = (numbers.next(), numbers.next());
        if at.is_multiple_of(2) {
            Ipv4Addr::from_bits(high as u32).into()
        } else {
            let high = (high >> 3) | (1 << 61);
            Ipv6Addr::from_bits((u128::from(high) << 64) | u128::from(low)).into()
        }
    };
    (0..count).map(address).collect()
}

/// So many prefixes as a list of addresses has them, one a line, the loopback's first.
fn list(count: usize) -> String {
    let mut text = "127.0.0.0/8\n".to_owned();
    for (at, address) in addresses(&mut Numbers::new(), count.saturating_sub(1)).iter().enumerate()
    {
        let length = if address.is_ipv4() { 16 + at % 17 } else { 32 + at % 97 };
        let _ = writeln!(text, "{address}/{length}");
    }
    text
}

/// A file of one service with a list of so many prefixes; none at all for 0.
fn file(context: &Context, at: SocketAddr, count: usize) -> Result<String> {
    let line = format!("{at} stream tcp nowait - internal daytime\n    instances = unlimited\n");
    if count == 0 {
        return Ok(line);
    }
    let name = format!("friends-{count}");
    std::fs::write(context.path(&name), list(count))?;
    Ok(format!("{line}    only_from = @{name}\n"))
}

fn reading(context: &Context) -> Result<()> {
    let mut table = Table::new(
        "access: a list of IPv4 and IPv6 prefixes in `only_from = @FILE`",
        &["prefixes", "KiB", "check ms", "load ms", "build ms", "ns per address"],
    );
    for count in [10, 1_000, MOST] {
        let text = list(count);
        let path = context.path(&format!("access-{count}.conf"));
        std::fs::write(&path, file(context, context.port()?, count)?)?;
        let rules = text.lines().map(parse_item).collect::<std::result::Result<Vec<_>, _>>()?;
        let rules: Vec<Prefix> = rules.into_iter().flatten().collect();
        let access = AccessList::new(Some(&rules), &[]);
        let ms = |seconds: f64| format!("{:.2}", seconds * 1e3);
        table.row([
            whole(count as f64),
            whole(text.len() as f64 / 1024.0),
            ms(timed(context, || check(context, &path))?),
            ms(timed(context, || load(&path))?),
            ms(timed(context, || {
                black_box(AccessList::new(Some(black_box(&rules)), &[]));
                Ok(())
            })?),
            format!("{:.1}", per_address(context, &access, &rules)?),
        ]);
    }
    table.print();
    Ok(())
}

/// The whole program: `oxinetd check FILE`.
fn check(context: &Context, path: &std::path::Path) -> Result<()> {
    let mut command = Command::new(context.server());
    command.arg("check").arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("check: {status}").into()) }
}

/// The same without a process: reading and resolving, as a reload does.
fn load(path: &std::path::Path) -> Result<()> {
    let loaded = oxinetd::config::load(path, &[], &System::new());
    if loaded.config.services.len() == 1 { Ok(()) } else { Err("the file has mistakes".into()) }
}

/// Median of the seconds that something takes.
fn timed(context: &Context, mut act: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..context.rounds.max(3) {
        let begin = Instant::now();
        act()?;
        times.push(begin.elapsed().as_secs_f64());
    }
    Ok(median(times))
}

/// Nanoseconds of one look-up: half of the addresses are in the list, half anywhere.
fn per_address(context: &Context, access: &AccessList, rules: &[Prefix]) -> Result<f64> {
    let mut numbers = Numbers::new();
    // Not those of the list.
    numbers.next();
    let mut addresses = addresses(&mut numbers, LOOKUPS / 2);
    for _ in 0..LOOKUPS / 2 {
        addresses.push(rules[numbers.next() as usize % rules.len()].last());
    }
    // Mixed, or the processor would guess each answer.
    numbers.shuffle(&mut addresses);
    let seconds = timed(context, || {
        let allowed = addresses.iter().filter(|address| access.allows(**address)).count();
        if black_box(allowed) < LOOKUPS / 2 {
            Err("a listed address is refused".into())
        } else {
            Ok(())
        }
    })?;
    Ok(seconds * 1e9 / LOOKUPS as f64)
}

/// The same service without a list and with the longest one.
fn serving(context: &Context) -> Result<()> {
    let targets = [context.port()?, context.port()?];
    let mut servers = Vec::new();
    for (at, count) in targets.into_iter().zip([0, MOST]) {
        let file = file(context, at, count)?;
        let setup = Setup { file: &file, ready: at, options: &[], quiet: true };
        servers.push(Oxinetd::start(context, &setup)?);
    }
    let calm = Calm::default();
    let mut rounds = Vec::new();
    for _ in 0..context.rounds {
        let sample = |n: usize| {
            let daemon = &servers[n].daemon;
            calm.sample(context, &[daemon], || {
                let before = daemon.cpu()?.own;
                let until = Until::Elapsed(context.sample());
                let targets = &[targets[n]];
                let load = Load { targets, in_flight: 8, send: &[], expect: Expect::Date, until };
                let outcome = load.run()?.check("daytime")?;
                Ok([outcome.rate(), (daemon.cpu()?.own - before) / outcome.done as f64])
            })
        };
        rounds.push([sample(0)?, sample(1)?]);
    }
    let of = |pick: &dyn Fn(&[[f64; 2]; 2]) -> f64| median(rounds.iter().map(pick));
    let mut table = Table::new(
        "access: daytime, 8 in flight, log off",
        &["prefixes", "conn/s", "own CPU us", "ratio"],
    );
    for (n, count) in [0, MOST].into_iter().enumerate() {
        table.row([
            whole(count as f64),
            whole(of(&|it| it[n][0])),
            format!("{:.2}", of(&|it| it[n][1])),
            ratio(of(&|it| it[n][0] / it[0][0])),
        ]);
    }
    table.print();
    calm.print();
    Ok(())
}
