//! From arguments to a server that runs, whichever way it was started.

use std::io::ErrorKind::AlreadyExists;
use std::io::{self, Write as _};

use crate::cli::compat::Pid;
use crate::cli::{Run, ServeArguments};
use crate::config::lookup::{AT_LEISURE, AT_START, Manner};
use crate::control::place;
use crate::log::target::LogTarget;
use crate::log::{events, sink};
use crate::reload::Loading;
use crate::server::Server;
use crate::sys::pid_file::PidFile;
use crate::sys::signals::{Signal, Signals};
use crate::sys::{inherited, memory, signals};
use crate::systemd::ServiceManager;
use crate::upgrade::Snapshot;
use nix::sys::resource::{Resource, getrlimit};

use super::background::{Background, background, log_of_ours, say_lost};
use super::failure::{CONFIGURATION, CommandFailure, SYSTEM, refused};
use super::starting::{Nothing, ServeJob, load_for_start, new_server, target_of, tell_starter};
use super::{check, endpoints, reader, upgrade};

/// Descriptors that reading a configuration takes, with some to spare.
const FEWEST: u64 = 16;

/// How often, and each time after how many milliseconds, it is tried again to open anything
/// before a server in the background gives up.
const LOOKS: usize = 20;
const PAUSE: u16 = 100;

/// `oxinetd FILE`.
pub(super) fn serve(mut serve: ServeArguments) -> Result<(), CommandFailure> {
    let manager = ServiceManager::from_environment();
    let parcel = upgrade::find()?;
    if parcel.is_none() {
        check::check_defaults(&serve.defaults)?;
        endpoints::check(&serve.common)?;
    }
    if serve.daemon {
        let target = log_of_ours(serve.common.log.take(), parcel.is_some())?;
        sink::echo_to_starter(parcel.is_none() && target != LogTarget::Stderr);
        serve.common.log = Some(target);
    }
    if !serve.daemon {
        say_lost(serve.common.log.as_ref(), parcel.is_some());
    }
    // Who takes over is in the background already.
    let herald = match background(serve.daemon && parcel.is_none())? {
        Background::Started(pid) => {
            let _ = writeln!(io::stdout(), "oxinetd: started, pid {pid}");
            return Ok(());
        }
        Background::Server(herald) => herald,
    };
    upgrade::start_log(&serve.common, "info", parcel.as_ref())?;
    let job = ServeJob {
        load: reader::of_file(&serve),
        common: serve.common,
        strict: serve.strict,
        pid_file: serve.pid_file.map_or(Pid::None, Pid::Named),
        herald,
        nothing: Nothing::FailsWithErrors,
        manager,
        only_one: false,
        gives_up: serve.daemon,
        bare_port: None,
        control: Some(place::own()),
    };
    run_server(job, parcel)
}

/// `oxinetd run`.
pub(super) fn run(run: Run) -> Result<(), CommandFailure> {
    let manager = ServiceManager::from_environment();
    let parcel = upgrade::find()?;
    if parcel.is_none() {
        endpoints::check(&run.common)?;
    }
    say_lost(run.common.log.as_ref(), parcel.is_some());
    upgrade::start_log(&run.common, "info", parcel.as_ref())?;
    let bare_port = (!run.endpoint.contains([':', '/', '@'])).then(|| run.endpoint.clone());
    let job = ServeJob {
        load: reader::of_line(&run)?,
        common: run.common,
        strict: true,
        pid_file: Pid::None,
        herald: None,
        nothing: Nothing::Fails,
        manager,
        only_one: true,
        gives_up: false,
        bare_port,
        control: None,
    };
    run_server(job, parcel)
}

pub(super) fn run_server(
    mut job: ServeJob,
    parcel: Option<Snapshot>,
) -> Result<(), CommandFailure> {
    // Before anything is waited for: as process 1 we would not be sent any signal that is
    // not blocked. And where a parent has left SIGCHLD ignored, nobody could tell how the
    // process has ended that reads the configuration.
    signals::take_over_signals();
    inherited::close_on_exec();
    memory::tidy_memory_always();
    job.manager.say_troubles();
    match parcel {
        None => serve_first(job),
        Some(parcel) => upgrade::take_over(job, parcel),
    }
}

/// None if we are told to stop meanwhile: then the log ends as it does after serving.
fn load_first(job: &mut ServeJob) -> Result<Option<Loading>, CommandFailure> {
    let mut stops = Signals::stops().map_err(refused("starting: signalfd4, for signals"))?;
    // Who has asked for one service waits for it; many others may need no name.
    let manner = Manner::within(if job.only_one { AT_LEISURE } else { AT_START });
    let loading = load_for_start(job, &[], (job.strict, &manner), &stops)?;
    if loading.is_none()
        && let Some(Signal::Stop(name)) = stops.next_signal()
    {
        events::peer_counts(0, 0);
        events::stopping(name);
        job.manager.notifier.stopping();
        events::stopped();
    }
    Ok(loading)
}

fn serve_first(mut job: ServeJob) -> Result<(), CommandFailure> {
    let mut pid_file = lock_pid_file(&job.pid_file)?;
    enough_to_begin()?;
    let Some(loading) = load_first(&mut job)? else { return Ok(()) };
    if job.nothing == Nothing::Fails && loading.services == 0 {
        tell_starter(&job, &loading);
        return Err(CommandFailure::new(CONFIGURATION, "nothing to serve"));
    }
    if let Some(port) = &job.bare_port {
        events::local_only(port);
    }
    let mut server = new_server(&job.common, job.load, (job.manager, job.only_one))?;
    endpoints::open(&mut server, &job.common, job.control.as_deref(), None)?;
    enough_descriptors(&server)?;
    let listeners = server.install(loading);
    let listeners = if job.gives_up { insist(&mut server, listeners)? } else { listeners };
    if job.only_one
        && (listeners == 0 || server.services().lacks_what_is_here())
        && let Some(error) = server.services().first_open_error()
    {
        return Err(CommandFailure::new(SYSTEM, format!("cannot listen on {error}")));
    }
    if let Some(file) = &mut pid_file {
        file.write().map_err(|error| unwritten(file, &error))?;
        server.keep_pid_file(file.number());
    }
    server.announce();
    if let Some(herald) = job.herald {
        sink::echo_to_starter(false);
        let keeps_stderr = target_of(&job.common) == LogTarget::Stderr;
        herald.announce(keeps_stderr).map_err(refused("going to the background"))?;
    }
    events::ready(std::process::id(), server.services().len(), listeners);
    server.run().map_err(refused("waiting for events"))
}

/// A server in the background of which nobody has anything is none: whoever has started it
/// hears so. But who has just been told to stop may still have its ports for a moment.
fn insist(server: &mut Server, listeners: usize) -> Result<usize, CommandFailure> {
    let mut listeners = listeners;
    for _ in 0..LOOKS {
        if !server.services().has_nothing_open() || upgrade::is_told_to_stop(PAUSE) {
            return Ok(listeners);
        }
        listeners = server.open_what_is_free();
    }
    let all = server.services().not_open();
    let others = match all.len().saturating_sub(1) {
        0 => String::new(),
        more => format!(", nor on {more} more"),
    };
    match all.first().filter(|_| server.services().has_nothing_open()) {
        Some(error) => {
            Err(CommandFailure::new(SYSTEM, format!("cannot listen on {error}{others}")))
        }
        None => Ok(listeners),
    }
}

/// Whether there are enough descriptors for the configuration to be read at all, which says
/// nothing of them.
fn enough_to_begin() -> Result<(), CommandFailure> {
    let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_, hard)| hard);
    if most >= FEWEST {
        return Ok(());
    }
    let too_few = io::Error::from_raw_os_error(nix::libc::EMFILE);
    Err(refused("reading the configuration")(too_few))
}

/// Whether there are enough of them to serve anybody with.
fn enough_descriptors(server: &Server) -> Result<(), CommandFailure> {
    let Some((lacking, limit)) = server.lacks_descriptors() else { return Ok(()) };
    let least = u64::try_from(lacking).unwrap_or_default().saturating_add(limit);
    let why = format!(
        "with {limit} descriptors nobody could be served: at least {least} are needed \
         (`ulimit -n`, or LimitNOFILE= of the unit)"
    );
    Err(CommandFailure::new(SYSTEM, why))
}

fn unwritten(file: &PidFile, error: &io::Error) -> CommandFailure {
    CommandFailure::new(SYSTEM, format!("writing the pid file {}: {error}", file.path().display()))
}

pub(super) fn lock_pid_file(wanted: &Pid) -> Result<Option<PidFile>, CommandFailure> {
    let (Pid::Named(path) | Pid::Usual(path)) = wanted else { return Ok(None) };
    let failed = |error: &io::Error| format!("pid file {}: {error}", path.display());
    match PidFile::lock(path) {
        Ok(file) => Ok(Some(file)),
        // Nobody has asked for it: an ordinary user can do without.
        Err(error) if matches!(wanted, Pid::Usual(_)) && error.kind() != AlreadyExists => {
            events::configuration(false, &failed(&error));
            Ok(None)
        }
        Err(error) => Err(CommandFailure::new(SYSTEM, failed(&error))),
    }
}
