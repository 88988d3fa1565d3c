//! What the command line asks for, done: one function for each subcommand, each ending
//! well or with a failure.
//!
//! | file | what it does |
//! |---|---|
//! | `serve` | `oxinetd FILE`, `oxinetd run`: from arguments to a server that runs |
//! | `background` | leaving the terminal, and where the log goes then |
//! | `self_signed` | a certificate made on the spot, for `run` |
//! | `endpoints` | opening the control socket, the endpoints for metrics and for the page |
//! | `upgrade` | the other side of an upgrade: being tried out, taking over |
//! | `compat` | run under the name of inetd or xinetd |
//! | `client` | `status`, `reload`, `stop` and the like |
//! | `watch` | `status --watch`: the same again and again, on a terminal or not |
//! | `check` | `check` and `import` |
//! | `output` | what a command prints, and `completions` and `man`, which do no more |

mod background;
mod check;
mod client;
mod compat;
mod endpoints;
mod output;
mod self_signed;
mod serve;
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
use crate::log::{events, sink};
use crate::server;
use crate::spawn::sandbox::cgroup;
use crate::spawn::stub;
use crate::sys::process;
use crate::upgrade::Invitation;

/// Bad configuration, or nothing to serve.
const CONFIGURATION: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;
/// The system refused (EX_OSERR of sysexits.h).
const SYSTEM: u8 = 71;

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

/// clap prints help, version and wrong usage, and exits with 0 and 2.
fn misunderstood(error: clap::Error) -> ! {
    let arguments = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    cli::explain(error, &arguments.collect::<Vec<_>>()).exit()
}

/// A FILE that is not there may have been meant as a command.
fn refuse_a_misspelt_command(file: &Path) {
    let word = file.to_string_lossy();
    if !file.exists()
        && Invitation::find().is_none()
        && let Some(error) = cli::nearly_a_command(&word)
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

/// Why the command ends with another status than 0.
struct CommandFailure {
    status: u8,
    /// None if everything has been said.
    message: Option<String>,
}

impl CommandFailure {
    fn new(status: u8, message: impl Into<String>) -> Self {
        Self { status, message: Some(message.into()) }
    }

    fn silent(status: u8) -> Self {
        Self { status, message: None }
    }

    /// Says it, and is the exit status.
    fn say(&self) -> ExitCode {
        if let Some(message) = &self.message {
            // What is wrong stands where the log is, too; on standard error once.
            sink::echo_to_starter(false);
            if sink::is_elsewhere() {
                events::fatal(message);
            }
            // A priority for the journal, of each line. With nobody to read it, there is
            // nothing else to do.
            let mark = if sink::under_journal() { "<3>" } else { "" };
            let lines = message.replace('\n', &format!("\n{mark}"));
            let _ = writeln!(io::stderr(), "{mark}oxinetd: {lines}");
        }
        ExitCode::from(self.status)
    }
}

/// What the system answered when `what` was tried.
fn refused(what: &str) -> impl Fn(io::Error) -> CommandFailure + '_ {
    // The name of a call may stand before it.
    let too_few = io::Error::from_raw_os_error(nix::libc::EMFILE).to_string();
    move |error| {
        let error = error.to_string();
        let advice = match error.ends_with(&too_few) {
            true => ": raise `ulimit -n`, or LimitNOFILE= of the unit",
            false => "",
        };
        CommandFailure::new(SYSTEM, format!("{what}: {error}{advice}"))
    }
}
