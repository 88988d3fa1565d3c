//! Handshakes, full and resumed, and a program behind each; the PROXY header; and a plain
//! service beside handshakes.

use crate::Result;
use crate::calm::Calm;
use crate::clients::{Clients, HEADER, Speech, tls};
use crate::context::Context;
use crate::daemon::Daemon;
use crate::figures::{Table, median, ratio, whole};
use crate::numbers::Numbers;
use crate::process::family_cpu;

use super::servers::{self, Certificate, Server, hello};
use super::verdicts::Verdicts;

const IN_FLIGHT: [usize; 3] = [1, 16, 64];

/// What one server was like for a while.
#[derive(Clone, Copy)]
struct Sample {
    rate: f64,
    p99: f64,
    /// Microseconds of all processes of the server for each connection.
    cpu: f64,
    failed: u64,
    resumed: f64,
}

/// One in the comparison, and what its clients say first.
struct Contestant<'a> {
    server: &'a Server,
    speech: Speech,
}

pub(super) fn run(context: &Context, it: &Certificate, verdicts: &mut Verdicts) -> Result<()> {
    let program = hello(context);
    let full = Speech::Tls(tls(false)?);
    let plain = Server::ours(context, "plain", &program, "")?;
    let all = vec![
        ("oxinetd", Server::ours(context, "oxinetd", &program, &it.attribute())),
        ("haproxy", servers::haproxy(context, it, &program)),
        ("nginx", servers::nginx(context, it, &program)),
        ("limit", servers::limit(context, it)),
        ("stunnel", servers::stunnel(context, it, &program)),
        ("ncat", servers::ncat(context, it, &program)),
        ("socat", servers::socat(context, it, &program)),
    ];
    let tried = |(name, server): (&'static str, Result<Server>)| {
        (name, server.and_then(|server| server.tried(&full)))
    };
    let servers = servers::gather(all.into_iter().map(tried).collect());
    for (kind, resumes) in [("full", false), ("resumed", true)] {
        for in_flight in IN_FLIGHT {
            let title = format!("front: {kind} handshakes, {in_flight} in flight");
            let mut contestants = vec![Contestant { server: &plain, speech: Speech::Nothing }];
            for server in &servers {
                contestants.push(Contestant { server, speech: Speech::Tls(tls(resumes)?) });
            }
            let samples = compare(context, &title, &contestants, in_flight)?;
            judge(&format!("{kind}, {in_flight}"), &contestants, &samples, verdicts);
        }
    }
    Ok(())
}

/// Rounds of all of them, interleaved; the table.
fn compare(
    context: &Context,
    title: &str,
    contestants: &[Contestant<'_>],
    in_flight: usize,
) -> Result<Vec<Vec<Sample>>> {
    let calm = Calm::default();
    let mut samples = vec![Vec::new(); contestants.len()];
    for contestant in contestants {
        sample(context, contestant, in_flight)?;
    }
    let mut numbers = Numbers::new();
    let mut order: Vec<usize> = (0..contestants.len()).collect();
    for _ in 0..context.rounds {
        numbers.shuffle(&mut order);
        for &at in &order {
            let daemons: Vec<&Daemon> = contestants[at].server.daemons.iter().collect();
            let take = || sample(context, &contestants[at], in_flight);
            samples[at].push(calm.sample(context, &daemons, take)?);
        }
    }
    let headers = ["server", "conn/s", "ratio", "p99 us", "CPU us", "failed", "resumed"];
    let mut table = Table::new(title, &headers);
    for (contestant, own) in contestants.iter().zip(&samples) {
        table.row([
            contestant.server.name.to_owned(),
            whole(of(own, |it| it.rate)),
            ratio(beside(own, &samples[0], |it| it.rate)),
            whole(of(own, |it| it.p99)),
            whole(of(own, |it| it.cpu)),
            own.iter().map(|it| it.failed).sum::<u64>().to_string(),
            ratio(of(own, |it| it.resumed)),
        ]);
    }
    table.print();
    calm.print();
    Ok(samples)
}

fn of(samples: &[Sample], pick: fn(&Sample) -> f64) -> f64 {
    median(samples.iter().map(pick))
}

fn beside(own: &[Sample], base: &[Sample], pick: fn(&Sample) -> f64) -> f64 {
    median(own.iter().zip(base).map(|(own, base)| pick(own) / pick(base)))
}

fn sample(context: &Context, of: &Contestant<'_>, in_flight: usize) -> Result<Sample> {
    let daemons = &of.server.daemons;
    let cpu = || daemons.iter().map(|it| family_cpu(it.pid())).sum::<f64>();
    let before = cpu();
    let target = of.server.address;
    let clients = Clients { target, in_flight, speech: of.speech.clone(), time: context.sample() };
    let mut tally = clients.run()?;
    daemons.last().into_iter().for_each(|it| it.settle(3));
    // Some servers let nobody through for a while.
    let done = tally.done.max(1) as f64;
    Ok(Sample {
        rate: tally.rate(),
        p99: tally.percentile(0.99),
        cpu: (cpu() - before) / done,
        failed: tally.failed,
        resumed: tally.resumed as f64 / done,
    })
}

/// The targets of handshakes. The first contestant is the plain service.
fn judge(
    what: &str,
    contestants: &[Contestant<'_>],
    samples: &[Vec<Sample>],
    verdicts: &mut Verdicts,
) {
    let find = |name: &str| {
        let at = contestants.iter().position(|it| it.server.name.starts_with(name));
        at.map(|at| samples[at].as_slice())
    };
    let (Some(plain), Some(ours)) = (find("plain"), find("oxinetd")) else { return };
    if let Some(limit) = find("limit") {
        let ideal = |limit: f64, plain: f64| 1.0 / (1.0 / limit + 1.0 / plain);
        let rounds = ours.iter().zip(limit.iter().zip(plain));
        let share = rounds.map(|(own, (limit, plain))| own.rate / ideal(limit.rate, plain.rate));
        verdicts.at_least(&format!("{what}: of the ideal"), median(share), 0.95);
    }
    if let Some(haproxy) = find("haproxy") {
        let rate = beside(ours, haproxy, |it| it.rate);
        verdicts.at_least(&format!("{what}: rate beside haproxy"), rate, 1.0);
        let cpu = beside(ours, haproxy, |it| it.cpu);
        verdicts.at_most(&format!("{what}: processor time beside haproxy"), cpu, 0.8);
        let p99 = beside(ours, haproxy, |it| it.p99);
        verdicts.at_most(&format!("{what}: p99 beside haproxy"), p99, 1.0);
    }
    let starting = ["stunnel", "ncat", "socat"].into_iter().filter_map(find);
    let best = starting.map(|it| of(it, |it| it.rate)).fold(0.0, f64::max);
    if best > 0.0 {
        let rate = of(ours, |it| it.rate) / best;
        verdicts.at_least(&format!("{what}: rate beside who starts programs"), rate, 2.5);
    }
}

/// The same service with a PROXY header and without.
pub(super) fn headers(context: &Context, verdicts: &mut Verdicts) -> Result<()> {
    let program = hello(context);
    let attributes = "    proxy_protocol = require\n    proxy_from = 127.0.0.1\n";
    let plain = Server::ours(context, "plain", &program, "")?;
    let again = Server::ours(context, "plain (again)", &program, "")?;
    let behind = Server::ours(context, "with a PROXY header", &program, attributes)?;
    for in_flight in IN_FLIGHT {
        let contestants = [
            Contestant { server: &plain, speech: Speech::Nothing },
            Contestant { server: &again, speech: Speech::Nothing },
            Contestant { server: &behind, speech: Speech::Header(HEADER) },
        ];
        let title = format!("front: PROXY header, {in_flight} in flight");
        let samples = compare(context, &title, &contestants, in_flight)?;
        let rate = beside(&samples[2], &samples[0], |it| it.rate);
        verdicts.at_least(&format!("PROXY header, {in_flight}: rate beside none"), rate, 0.95);
        let cpu = beside(&samples[2], &samples[0], |it| it.cpu);
        let what = format!("PROXY header, {in_flight}: processor time beside none");
        verdicts.at_most(&what, cpu, 1.05);
    }
    Ok(())
}

/// A plain service while 64 clients do handshakes as fast as they can, and while as many are
/// at another plain one.
pub(super) fn neighbours(
    context: &Context,
    it: &Certificate,
    verdicts: &mut Verdicts,
) -> Result<()> {
    let program = hello(context);
    let addresses = context.ports(3)?;
    let user = crate::sections::lesser_user(context);
    let mut file: String =
        addresses.iter().map(|it| crate::sections::line(*it, user, &program)).collect();
    file += &it.attribute();
    let setup =
        crate::daemon::Setup { file: &file, ready: addresses[2], options: &[], quiet: false };
    let server = crate::daemon::Oxinetd::start(context, &setup)?;
    let mut p99 = [const { Vec::new() }; 2];
    let speeches = [Speech::Nothing, Speech::Tls(tls(false)?)];
    for _ in 0..context.rounds {
        for ((busy, speech), p99) in addresses[1..].iter().zip(&speeches).zip(&mut p99) {
            let others = Clients {
                target: *busy,
                in_flight: 64,
                speech: speech.clone(),
                time: context.sample(),
            };
            let few = Clients {
                target: addresses[0],
                in_flight: 1,
                speech: Speech::Nothing,
                time: context.sample(),
            };
            let mut tally = std::thread::scope(|scope| -> Result<_> {
                let others = scope.spawn(|| others.run().map_err(|it| it.to_string()));
                let few = few.run()?.check_any("plain")?;
                others.join().map_err(|_| "a thread has ended")??.check_any("neighbours")?;
                Ok(few)
            })?;
            p99.push(tally.percentile(0.99));
            server.daemon.settle(3);
        }
    }
    let [beside_plain, beside_tls] = &p99;
    let mut table = Table::new(
        "front: p99 of a plain service, us",
        &["", "beside 64 at another plain one", "beside 64 handshakes", "ratio"],
    );
    let rounds = beside_tls.iter().zip(beside_plain);
    let times = median(rounds.map(|(tls, plain)| tls / plain));
    let middle = |all: &[f64]| whole(median(all.iter().copied()));
    table.row([String::new(), middle(beside_plain), middle(beside_tls), ratio(times)]);
    table.print();
    verdicts.at_most("a plain service's p99 beside handshakes", times, 1.5);
    Ok(())
}
