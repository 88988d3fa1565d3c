//! The sections of the benchmark, one file each.

pub(crate) mod access;
pub(crate) mod builtin;
pub(crate) mod front;
pub(crate) mod held;
pub(crate) mod reload;
pub(crate) mod services;
pub(crate) mod soak;
pub(crate) mod spawn;

use std::net::SocketAddr;
use std::process::Command;

use crate::Result;
use crate::ceiling::Gift;
use crate::context::Context;
use crate::daemon::{Daemon, Log};
use crate::hello::GREETING;
use crate::in_flight::{Outcome, Until};
use crate::load::{Expect, Load};

/// The ceiling, listening on all of `addresses`.
pub(crate) fn ceiling(
    context: &Context,
    addresses: &[SocketAddr],
    user: &str,
    gift: Gift,
    program: &[String],
) -> Result<Daemon> {
    let ports: Vec<String> = addresses.iter().map(|it| it.port().to_string()).collect();
    let ready = *addresses.last().ok_or("no port")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["__ceiling", &ports.join(","), user, gift.word()]).args(program);
    let log = context.path(&format!("ceiling-{}.log", ready.port()));
    Daemon::start(&command, ready, Log::File(&log))
}

/// A program with its argv, as `ceiling` wants it.
pub(crate) fn hello_words(context: &Context) -> Vec<String> {
    let mut words = vec![context.hello.path.display().to_string(), "hello".to_owned()];
    words.extend(context.hello.arguments.iter().cloned());
    words
}

/// The user that programs are given: nobody if we can.
pub(crate) fn lesser_user(context: &Context) -> &'static str {
    if context.root { "nobody" } else { "-" }
}

/// A line of the configuration: a program at an address, as many at once as come.
pub(crate) fn line(address: SocketAddr, user: &str, program: &[String]) -> String {
    let words = program.join(" ");
    format!("{address} stream tcp nowait {user} {words}\n    instances = unlimited\n")
}

/// A line of the configuration: a built-in service.
pub(crate) fn builtin_line(address: SocketAddr, kind: &str) -> String {
    format!("{address} stream tcp nowait - internal {kind}\n    instances = unlimited\n")
}

/// What connections to a server are like, for a while.
#[derive(Clone)]
pub(crate) struct Sample {
    /// Connections a second.
    pub(crate) rate: f64,
    /// Half of them have ended within so many microseconds.
    pub(crate) p50: f64,
    /// All but a hundredth have.
    pub(crate) p99: f64,
    /// Microseconds of the server's own processor time for each.
    pub(crate) own: f64,
    /// The same with those of its children.
    pub(crate) tree: f64,
    /// Those that have failed.
    pub(crate) failed: u64,
}

/// What the load that `run` puts on a server comes to; waits until no more than `running`
/// programs are left.
pub(crate) fn sample(
    daemon: &Daemon,
    running: usize,
    run: impl FnOnce() -> Result<Outcome>,
) -> Result<Sample> {
    let before = daemon.cpu()?;
    let mut outcome = run()?;
    daemon.settle(running);
    let cpu = daemon.cpu()?.since(before);
    let done = outcome.done as f64;
    Ok(Sample {
        rate: outcome.rate(),
        p50: outcome.percentile(0.5),
        p99: outcome.percentile(0.99),
        own: cpu.own / done,
        tree: cpu.tree / done,
        failed: outcome.failed,
    })
}

/// Connects to hello for the time of a sample; none may fail.
pub(crate) fn greet(
    context: &Context,
    daemon: &Daemon,
    targets: &[SocketAddr],
    in_flight: usize,
    running: usize,
) -> Result<Sample> {
    let load = Load {
        targets,
        in_flight,
        send: &[],
        expect: Expect::Exactly(GREETING),
        until: Until::Elapsed(context.sample()),
    };
    sample(daemon, running, || load.run()?.check("hello"))
}
