//! Reloading under load: no connection may fail, and none should wait long.

use std::time::Duration;

use crate::Result;
use crate::context::Context;
use crate::daemon::{Oxinetd, Setup};
use crate::figures::{Table, whole};
use crate::hello::GREETING;
use crate::in_flight::{Beside, Outcome, Until};
use crate::load::{Expect, Load};
use crate::sections::{builtin_line, hello_words, lesser_user, line};

/// Services that come and go beside the one under load.
const OTHERS: usize = 1_000;

/// Time between two reloads.
const EVERY: Duration = Duration::from_millis(100);

/// What happens to the file before each signal.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    NoSignal,
    Nothing,
    /// Half of the services go, or come back.
    Half,
    /// A mistake is put in, or taken out.
    Mistake,
}

pub(crate) fn run(context: &Context) -> Result<()> {
    let hello = context.port()?;
    let others = context.ports(OTHERS)?;
    let user = lesser_user(context);
    let words = hello_words(context);
    let own = line(hello, user, &words);
    let half: String = others.iter().step_by(2).map(|&at| builtin_line(at, "echo")).collect();
    let rest: String =
        others.iter().skip(1).step_by(2).map(|&at| builtin_line(at, "echo")).collect();
    let whole_file = format!("{half}{rest}{own}");
    let setup = Setup { file: &whole_file, ready: hello, options: &[], quiet: true };
    let server = Oxinetd::start(context, &setup)?;
    let mut table = Table::new(
        format!("reload: hello, 8 in flight, SIGHUP every 100 ms, {OTHERS} other services"),
        &["before each signal", "signals", "conn/s", "p50 us", "p99 us", "longest us", "failed"],
    );
    let cases = [
        ("(no signal)", Change::NoSignal, ""),
        ("the file stays", Change::Nothing, ""),
        ("half of them go or come", Change::Half, half.as_str()),
        ("a mistake comes or goes", Change::Mistake, "nonsense\n"),
    ];
    for (name, change, part) in cases {
        let other = match change {
            Change::Half => format!("{part}{own}"),
            _ => format!("{whole_file}{part}"),
        };
        let (outcome, signals) =
            one(context, &server, hello, change, [other.as_str(), whole_file.as_str()])?;
        table.row(row(name, signals, outcome));
        // The next case begins with the whole file.
        write(&server, &whole_file)?;
        server.daemon.hang_up()?;
        crate::process::pause(Duration::from_millis(300));
    }
    table.print();
    Ok(())
}

fn one(
    context: &Context,
    server: &Oxinetd,
    hello: std::net::SocketAddr,
    change: Change,
    files: [&str; 2],
) -> Result<(Outcome, usize)> {
    let mut signals = 0;
    let mut act = || {
        if change == Change::NoSignal {
            return Ok(());
        }
        if change != Change::Nothing {
            write(server, files[signals % 2])?;
        }
        signals += 1;
        server.daemon.hang_up()
    };
    let load = Load {
        targets: &[hello],
        in_flight: 8,
        send: &[],
        expect: Expect::Exactly(GREETING),
        until: Until::Elapsed(Duration::from_secs(context.amount(3, 1) as u64)),
    };
    let outcome = load.run_beside(Some(Beside { every: EVERY, act: &mut act }))?;
    Ok((outcome, signals))
}

/// In one step, so that the server never reads half of it.
fn write(server: &Oxinetd, text: &str) -> Result<()> {
    let beside = server.file.with_extension("new");
    std::fs::write(&beside, text)?;
    Ok(std::fs::rename(beside, &server.file)?)
}

fn row(name: &str, signals: usize, mut outcome: Outcome) -> Vec<String> {
    vec![
        name.to_owned(),
        signals.to_string(),
        whole(outcome.rate()),
        whole(outcome.percentile(0.5)),
        whole(outcome.percentile(0.99)),
        whole(outcome.percentile(1.0)),
        outcome.failed.to_string(),
    ]
}
