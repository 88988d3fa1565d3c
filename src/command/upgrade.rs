//! Both sides of an upgrade that a new program sees: being tried out by the server that
//! runs, and going on in its place. As long as nothing has been taken over, whatever
//! fails leads back to the program that ran before.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::rc::Rc;

use crate::cli::compat::{self, CompatName, CompatRequest, Pid};
use crate::cli::{self, Cli, Command, Common, TryUpgrade};
use crate::config::lookup::{AT_START, Manner};
use crate::config::model::{Names, Service};
use crate::config::{self, Loaded};
use crate::log::target::LogTarget;
use crate::log::{events, sink};
use crate::reload::Loading;
use crate::server::{self, Server};
use crate::sys::descriptor::becomes_ready;
use crate::sys::pid_file::PidFile;
use crate::sys::signals::Signals;
use crate::upgrade::executable::Hello;
use crate::upgrade::state::FORMAT;
use crate::upgrade::{Invitation, Snapshot, snapshot};
use clap::Parser as _;
use nix::poll::PollFlags;

use super::endpoints;
use super::failure::{CONFIGURATION, CommandFailure, SYSTEM, refused};
use super::reader::{self, ConfigReader};
use super::starting::{self, ServeJob};

/// Milliseconds after which the configuration is read once more on the way back.
const PAUSES: [u16; 5] = [100, 200, 400, 800, 1600];

fn no(why: impl Display) -> CommandFailure {
    CommandFailure::new(CONFIGURATION, why.to_string())
}

/// `oxinetd try-upgrade -- NAME ARGUMENTS`, with the state on standard input: says that
/// we could go on with it, and touches nothing.
pub(super) fn try_upgrade(trial: TryUpgrade) -> Result<(), CommandFailure> {
    let state = snapshot::unpack(io::stdin().lock()).map_err(no)?;
    let Loaded { config, diagnostics, .. } = loader(trial.arguments)?(manner_of(&state.names));
    let mut out = io::stdout().lock();
    // With nobody to read them, nobody waits for the outcome.
    let written = diagnostics.iter().try_for_each(|it| writeln!(out, "{}", it.render()));
    written.map_err(no)?;
    if config::refusing(&diagnostics) > 0 {
        return Err(no("the configuration has errors"));
    }
    server::examine(&state, &config).map_err(no)?;
    let hello = Hello { format: FORMAT, version: env!("CARGO_PKG_VERSION").to_owned() };
    let hello = serde_json::to_string(&hello).map_err(no)?;
    writeln!(out, "{hello}").map_err(no)
}

/// Who has a server pause looks up no name that it knows.
fn manner_of(names: &Names) -> Manner {
    Manner { before: names.clone(), trusts: true, time: AT_START, serves: true }
}

/// What a server that is started like this reads.
fn loader(arguments: Vec<OsString>) -> Result<ConfigReader, CommandFailure> {
    let mut rest = arguments.iter().cloned();
    if let Some(name) = rest.next().and_then(|argv0| CompatName::of(&argv0)) {
        return match compat::read(name, rest) {
            Ok(CompatRequest::Serve(served)) => {
                Ok(reader::of_files(served.files, served.dialect, served.defaults))
            }
            _ => Err(no("this is not what a server is started with")),
        };
    }
    let cli = Cli::try_parse_from(arguments).map_err(no)?;
    match cli.command {
        None => Ok(reader::of_file(&cli.serve)),
        Some(Command::Run(run)) => reader::of_line(&run),
        Some(_) => Err(no("this is not what a server is started with")),
    }
}

/// The command line. Who should take over and does not understand it goes back.
pub(super) fn parse() -> Result<Cli, CommandFailure> {
    Cli::try_parse().map_err(|error| {
        let Some(invitation) = Invitation::find() else { misunderstood(error) };
        let why = error.to_string();
        match invitation.open() {
            Ok(parcel) => lost(&why, &parcel.go_back(&why)),
            Err(_) => CommandFailure::new(SYSTEM, why),
        }
    })
}

/// clap prints help, version and wrong usage, and exits with 0 and 2.
fn misunderstood(error: clap::Error) -> ! {
    let arguments = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    cli::explain(error, &arguments.collect::<Vec<_>>()).exit()
}

/// What we are to go on with, if we were executed for that.
pub(super) fn find() -> Result<Option<Snapshot>, CommandFailure> {
    let Some(invitation) = Invitation::find() else { return Ok(None) };
    invitation.open().map(Some).map_err(|why| {
        let why = why.to_string();
        // Nothing has been changed yet: every descriptor is still there for the other.
        let arguments: Vec<_> = std::env::args_os().collect();
        lost(&why, &invitation.go_back(&arguments, &why))
    })
}

fn back(parcel: &Snapshot, failure: &CommandFailure) -> CommandFailure {
    let why = failure.message.as_deref().unwrap_or("the new program has failed");
    lost(why, &parcel.go_back(why))
}

fn lost(why: &str, error: &io::Error) -> CommandFailure {
    CommandFailure::new(SYSTEM, format!("taking over: {why}; going back: {error}"))
}

/// Starts the log. Who takes over goes back without it; who has come back has nobody to
/// go to. Both go on with what the log has not taken yet.
pub(super) fn start_log(
    common: &Common,
    level: &str,
    parcel: Option<&Snapshot>,
) -> Result<(), CommandFailure> {
    if parcel.is_some_and(|parcel| !parcel.state.log.is_empty()) {
        sink::wait_for_another();
    }
    match (starting::start_log(common, level), parcel) {
        (Err(failure), Some(parcel)) if parcel.refused().is_none() => Err(back(parcel, &failure)),
        (Err(_), Some(_)) => {
            sink::start(&LogTarget::Stderr, level).map_err(refused("starting the log"))
        }
        (result, _) => result,
    }
}

/// Goes on where the other program has left off, or back to it.
pub(super) fn take_over(job: ServeJob, parcel: Snapshot) -> Result<(), CommandFailure> {
    match make_ready(job, &parcel) {
        Ok(ready) => go_on(ready, parcel),
        Err(failure) => Err(back(&parcel, &failure)),
    }
}

/// A server that has taken nothing over yet, and what it will serve.
struct ReadyServer {
    server: Server,
    loading: Loading,
    pid_file: Pid,
}

/// Does everything that may fail.
fn make_ready(job: ServeJob, parcel: &Snapshot) -> Result<ReadyServer, CommandFailure> {
    let strict = parcel.refused().is_none();
    let served = server::served(&parcel.state);
    let manner = manner_of(&parcel.state.names);
    let loading = match strict {
        true => load_whole(&job, &served, &manner)?,
        false => load_in_the_end(&job, &served, &manner),
    };
    let mut server = starting::new_server(&job.common, job.load, (job.manager, job.only_one))?;
    match endpoints::open(&mut server, &job.common, job.control.as_deref(), Some(parcel)) {
        Err(_) if !strict => {}
        opened => opened?,
    }
    Ok(ReadyServer { server, loading, pid_file: job.pid_file })
}

/// Without an error, and with all that is served.
fn load_whole(
    job: &ServeJob,
    served: &[Rc<Service>],
    manner: &Manner,
) -> Result<Loading, CommandFailure> {
    let loading = load(job, served, (true, manner))?;
    server::may_follow(&loading, served).map_err(no)?;
    Ok(loading)
}

/// On the way back there is nobody else who could go on, and what is not known is closed. But
/// a moment ago all was well: whoever is just replacing the file, or a program, is given time.
/// Then what is right is served.
fn load_in_the_end(job: &ServeJob, served: &[Rc<Service>], manner: &Manner) -> Loading {
    for pause in PAUSES {
        match load_whole(job, served, manner) {
            Ok(loading) => return loading,
            Err(_) if is_told_to_stop(pause) => break,
            Err(_) => {}
        }
    }
    load(job, served, (false, manner)).unwrap_or_else(|_| server::nothing_more(served))
}

/// Whether a signal to stop comes meanwhile, which is left for the server.
pub(super) fn is_told_to_stop(meanwhile: u16) -> bool {
    let Ok(stops) = Signals::stops() else { return true };
    becomes_ready(&stops, PollFlags::POLLIN, meanwhile.into()).unwrap_or(true)
}

/// A signal to stop is a failure here, and left for the server that goes on, which may have
/// programs to end: it takes the signal first of all.
fn load(
    job: &ServeJob,
    served: &[Rc<Service>],
    how: (bool, &Manner),
) -> Result<Loading, CommandFailure> {
    let stops = Signals::stops().map_err(refused("starting"))?;
    let loading = starting::load_for_start(job, served, how, &stops)?;
    loading.ok_or_else(|| no("the server is told to stop"))
}

fn go_on(ready: ReadyServer, parcel: Snapshot) -> Result<(), CommandFailure> {
    let ReadyServer { mut server, loading, pid_file } = ready;
    let locked = server.take_over(parcel, loading);
    let path = match pid_file {
        Pid::Named(path) | Pid::Usual(path) => Some(path),
        Pid::None => None,
    };
    // It is removed at the end of this function.
    let _pid_file = path.zip(locked).and_then(|(path, locked)| {
        let file = PidFile::taken_over(locked, &path);
        let file = file.inspect_err(|error| events::trouble("pid file", "flock", error)).ok()?;
        server.keep_pid_file(file.number());
        Some(file)
    });
    server.announce();
    server.run().map_err(refused("waiting for events"))
}
