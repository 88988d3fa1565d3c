//! A long time in short: a million refused connections and a hundred thousand
//! served ones, after which memory and descriptors must be what they were.

use std::net::SocketAddr;

use crate::Result;
use crate::context::Context;
use crate::daemon::{Oxinetd, Setup};
use crate::figures::{Table, whole};
use crate::hello::GREETING;
use crate::in_flight::Until;
use crate::load::{Expect, Load};
use crate::process;
use crate::sections::{hello_words, lesser_user, line};
use crate::streams;

/// Looked at so many times.
const STEPS: u64 = 10;

pub(crate) fn run(context: &Context) -> Result<()> {
    let (refused, hello) = (context.port()?, context.port()?);
    let user = lesser_user(context);
    let words = hello_words(context);
    // One cat is let in and stays; from then on all others are refused.
    let cat = ["/bin/cat".to_owned(), "cat".to_owned()];
    let file = line(refused, user, &cat).replace("unlimited", "1")
        + "    at_limit = refuse\n"
        + &line(hello, user, &words);
    let setup = Setup { file: &file, ready: hello, options: &[], quiet: false };
    let server = Oxinetd::start(context, &setup)?;
    let held = streams::hold(refused, 1)?;
    let million = context.amount(1_000_000, 50_000) as u64;
    let served = context.amount(100_000, 5_000) as u64;
    let first =
        one(&server, "soak: refused, as one is there already", refused, Expect::Refusal, million)?;
    streams::let_go(held);
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
        server.daemon.settle(1);
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
