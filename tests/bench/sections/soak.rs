//! A long time in short: a million refused connections and a hundred thousand
//! served ones, after which memory and descriptors must be what they were.

use std::net::SocketAddr;

use crate::Result;
use crate::context::Context;
use crate::daemon::{Oxinetd, Setup};
use crate::figures::{Table, whole};
use crate::hello::GREETING;
use crate::load::{Expect, Load, Until};
use crate::process;
use crate::sections::{hello_words, lesser_user, line};

/// Looked at so many times.
const STEPS: u64 = 10;

pub(crate) fn run(context: &Context) -> Result<()> {
    let (refused, hello) = (context.port()?, context.port()?);
    let user = lesser_user(context);
    let words = hello_words(context);
    let file =
        line(refused, user, &words) + "    only_from = 192.0.2.0/24\n" + &line(hello, user, &words);
    let setup = Setup { file: &file, ready: hello, options: &[], quiet: false };
    let server = Oxinetd::start(context, &setup)?;
    let million = context.amount(1_000_000, 50_000) as u64;
    let served = context.amount(100_000, 5_000) as u64;
    let first = one(&server, "soak: refused by only_from", refused, Expect::Refusal, million)?;
    let greeting = Expect::Exactly(GREETING);
    let second = one(&server, "soak: served (hello)", hello, greeting, served)?;
    for (what, grown) in [("refused", first), ("served", second)] {
        println!("  KiB grown from the second look to the last, {what}: {grown}");
    }
    Ok(())
}

/// How much it has grown since the second look, when its pools were filled.
fn one(
    server: &Oxinetd,
    title: &str,
    target: SocketAddr,
    expect: Expect<'_>,
    count: u64,
) -> Result<i64> {
    let pid = server.daemon.pid();
    let mut table =
        Table::new(title, &["connections", "conn/s", "RSS KiB", "descriptors", "own CPU us each"]);
    let mut looks = Vec::new();
    for step in 1..=STEPS {
        let before = server.daemon.cpu()?.own;
        let until = Until::Done(count / STEPS);
        let load = Load { targets: &[target], in_flight: 16, send: &[], expect, until };
        let outcome = load.run()?.check(title)?;
        server.daemon.settle(0);
        let own = server.daemon.cpu()?.own - before;
        let rss = process::rss(pid)?;
        looks.push(i64::try_from(rss)?);
        table.row([
            whole((count / STEPS * step) as f64),
            whole(outcome.rate()),
            whole(rss as f64),
            process::descriptors(pid)?.to_string(),
            format!("{:.1}", own / outcome.done as f64),
        ]);
    }
    table.print();
    Ok(looks.last().zip(looks.get(1)).map_or(0, |(last, second)| last - second))
}
