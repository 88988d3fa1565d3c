//! What the command line asks for, done: one function for each subcommand, each ending
//! well or with a failure.
//!
//! | file | what it does |
//! |---|---|
//! | `failure` | why a command ends with another status than 0 |
//! | `reader` | what reads a configuration, however its server was started |
//! | `starting` | what every start takes, the first one or in the place of another |
//! | `serve` | `oxinetd FILE`, `oxinetd run`: from arguments to a server that runs |
//! | `background` | leaving the terminal, and where the log goes then |
//! | `self_signed` | a certificate made on the spot, for `run` |
//! | `endpoints` | opening the control socket, the endpoints for metrics and for the page |
//! | `collisions` | services whose sockets these would have |
//! | `upgrade` | the other side of an upgrade: being tried out, taking over |
//! | `compat` | run under the name of inetd or xinetd |
//! | `client` | `status`, `reload`, `stop` and the like |
//! | `asking` | finding a server that runs, and asking it |
//! | `watch` | `status --watch`: the same again and again, on a terminal or not |
//! | `check` | `check` and `import` |
//! | `output` | what a command prints, and `completions` and `man`, which do no more |

mod asking;
mod background;
mod check;
mod client;
mod collisions;
mod compat;
mod endpoints;
mod failure;
mod output;
mod reader;
mod self_signed;
mod serve;
mod starting;
mod upgrade;
mod watch;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use crate::builtin::relay::connector;
use crate::cli::compat::CompatName;
use crate::cli::{self, Command};
use crate::front;
use crate::server;
use crate::spawn::sandbox::cgroup;
use crate::spawn::stub;
use crate::sys::process;
use crate::upgrade::Invitation;
use failure::{CommandFailure, refused};

/// The whole program: what it is asked to do is in its name and its arguments.
#[must_use]
pub fn run() -> ExitCode {
    let mut arguments = std::env::args_os();
    let argv0 = arguments.next();
    if argv0.as_ref().is_some_and(|argv0| argv0 == stub::NAME) {
        return ExitCode::from(stub::run(arguments));
    }
    process::leave_threads_of_others_alone();
    if serves_for_another() {
        return ExitCode::SUCCESS;
    }
    let name = argv0.and_then(|argv0| CompatName::of(&argv0));
    let result = match name {
        Some(name) => as_another(name, arguments),
        None => as_ourselves(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.say(),
    }
}

/// `oxinetd` and its subcommands.
fn as_ourselves() -> Result<(), CommandFailure> {
    let cli = upgrade::parse()?;
    match cli.command {
        None => {
            refuse_a_misspelt_command(&cli.serve.file);
            serve::serve(cli.serve)
        }
        Some(Command::Check(check)) => check::check(&check),
        Some(Command::Run(run)) => serve::run(*run),
        Some(Command::Import(import)) => check::import(&import),
        Some(Command::Status(of)) => client::status(&of),
        Some(Command::Peers(of)) => client::peers(&of),
        Some(Command::Reload(control)) => client::reload(&control),
        Some(Command::Upgrade(control)) => client::upgrade(&control),
        Some(Command::TryUpgrade(trial)) => upgrade::try_upgrade(trial),
        Some(Command::ReadStderr) => server::read_for_others().map_err(refused("stderr")),
        Some(Command::ReleaseGroups) => cgroup::release().map_err(refused("cgroup")),
        Some(Command::MakeCertificate) => self_signed::make_certificate(),
        Some(Command::Stop(stop)) => client::stop(&stop),
        Some(Command::Start(start)) => client::start(&start),
        Some(Command::Kill(kill)) => client::kill(&kill),
        Some(Command::Completions(of)) => output::show(&of.shell.script()),
        Some(Command::Man(man)) => output::show(man.page.source()),
    }
}

/// Whether this process was one that works for a server, and is done: it connects for relays,
/// or is between clients and programs.
fn serves_for_another() -> bool {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).take(2).collect();
    let result = match () {
        () if connector::is_asked_for(&arguments) => connector::serve(),
        () if front::is_asked_for(&arguments) => front::worker::serve(),
        () => return false,
    };
    if let Err(error) = result {
        let _ = writeln!(io::stderr(), "oxinetd: {error}");
    }
    true
}

/// A FILE that is not there may have been meant as a command.
fn refuse_a_misspelt_command(file: &Path) {
    let word = file.to_string_lossy();
    let all = std::env::args_os().skip(1);
    let arguments: Vec<String> = all.map(|word| word.to_string_lossy().into_owned()).collect();
    if !file.exists()
        && Invitation::find().is_none()
        && let Some(error) = cli::nearly_a_command(&word, &arguments)
    {
        error.exit();
    }
}

/// The same program under the name of another.
fn as_another(
    name: CompatName,
    arguments: impl Iterator<Item = OsString>,
) -> Result<(), CommandFailure> {
    compat::run(name, arguments)
}
