//! From arguments to a server that runs, whichever way it was started.

use std::io::ErrorKind::AlreadyExists;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::cli::compat::Pid;
use crate::cli::{Common, LogFormat, Run, RunTls, ServeArguments, SpawnWay};
use crate::config::diagnostic::Severity;
use crate::config::lookup::{AT_LEISURE, AT_START, Manner, System, set_front_user};
use crate::config::model::Service;
use crate::config::{self, Loaded, RunSpec};
use crate::control::place;
use crate::log::target::LogTarget;
use crate::log::{events, sink};
use crate::reload::{Loading, load_and_wait};
use crate::server::{Server, ServerOptions};
use crate::spawn::Way;
use crate::sys::detach::Herald;
use crate::sys::pid_file::PidFile;
use crate::sys::signals::{Signal, Signals};
use crate::sys::{inherited, memory, signals};
use crate::systemd::ServiceManager;
use crate::upgrade::Snapshot;
use nix::sys::resource::{Resource, getrlimit};

use super::background::{Background, background, log_of_ours, say_lost};
use super::check;
use super::self_signed::SelfSigned;
use super::{CONFIGURATION, CommandFailure, SYSTEM, USAGE, endpoints, refused, upgrade};

/// Descriptors that reading a configuration takes, with some to spare.
const FEWEST: u64 = 16;

/// How often, and each time after how many milliseconds, it is tried again to open anything
/// before a server in the background gives up.
const LOOKS: usize = 20;
const PAUSE: u16 = 100;

/// What reads a configuration, again and again.
pub(super) type ConfigReader = Box<dyn Fn(Manner) -> Loaded>;

/// What a server is started with, whichever way.
pub(super) struct ServeJob {
    pub(super) load: ConfigReader,
    pub(super) common: Common,
    pub(super) strict: bool,
    pub(super) pid_file: Pid,
    pub(super) herald: Option<Herald>,
    /// Having nothing to serve is a failure.
    pub(super) needs_services: bool,
    pub(super) manager: ServiceManager,
    /// `oxinetd run`: one socket that cannot be opened at once is a failure.
    pub(super) only_one: bool,
    /// `oxinetd --daemon`: so is having nothing that can be opened.
    pub(super) gives_up: bool,
    /// `oxinetd run PORT`: it is this machine's only, which is said.
    pub(super) bare_port: Option<String>,
    /// The control socket where nothing is said of it.
    pub(super) control: Option<PathBuf>,
}

/// In the process that serves, which the system's log calls by its number.
pub(super) fn start_log(common: &Common, level: &str) -> Result<(), CommandFailure> {
    if common.log_format == LogFormat::Json {
        events::use_json();
    }
    let target = target_of(common);
    let path = match &target {
        LogTarget::File(path) => path.as_path(),
        LogTarget::Stderr | LogTarget::Syslog { .. } => Path::new(""),
    };
    sink::start(&target, level).map_err(refused(&format!("log file {}", path.display())))
}

/// Where the log goes, which is standard error if nothing else has been found to be better.
fn target_of(common: &Common) -> LogTarget {
    common.log.clone().unwrap_or(LogTarget::Stderr)
}

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
        load: loader_of_file(&serve),
        common: serve.common,
        strict: serve.strict,
        pid_file: serve.pid_file.map_or(Pid::None, Pid::Named),
        herald,
        needs_services: false,
        manager,
        only_one: false,
        gives_up: serve.daemon,
        bare_port: None,
        control: Some(place::own()),
    };
    run_server(job, parcel)
}

pub(super) fn loader_of_file(serve: &ServeArguments) -> ConfigReader {
    let (file, defaults) = (serve.file.clone(), serve.defaults.clone());
    set_front_user(serve.common.front_user.as_deref());
    reading(move |system| config::load(&file, &defaults, system))
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
        load: loader_of_line(&run)?,
        common: run.common,
        strict: true,
        pid_file: Pid::None,
        herald: None,
        needs_services: true,
        manager,
        only_one: true,
        gives_up: false,
        bare_port,
        control: None,
    };
    run_server(job, parcel)
}

pub(super) fn loader_of_line(run: &Run) -> Result<ConfigReader, CommandFailure> {
    let Run { options, udp, endpoint, program, tls, .. } = run;
    let (mut options, command) = (options.clone(), program.clone());
    let short = [(run.pty, "pty=yes"), (run.telnet, "telnet=yes")];
    options.extend(short.iter().filter(|(is_said, _)| *is_said).map(|(_, it)| (*it).to_owned()));
    let endpoint = absolute(endpoint);
    let made = match tls {
        Some(RunTls::SelfSigned) => Some(SelfSigned::new()?),
        _ => None,
    };
    let tls = match tls {
        Some(RunTls::Files(own, key)) => Some((own.clone(), key.clone())),
        _ => made.as_ref().map(SelfSigned::names),
    };
    let spec = RunSpec { endpoint, udp: *udp, options, command, tls };
    set_front_user(run.common.front_user.as_deref());
    Ok(reading(move |system| {
        // It is there for as long as the configuration may be read.
        let _ = &made;
        config::from_command_line(&spec, system)
    }))
}

/// What reads with names looked up in a certain manner.
pub(super) fn reading(read: impl Fn(&System) -> Loaded + 'static) -> ConfigReader {
    Box::new(move |manner| {
        let (loaded, names) = System::read(manner, &read);
        Loaded { names, ..loaded }
    })
}

/// An endpoint whose path is said from the folder of the caller is the same path from the root.
fn absolute(endpoint: &str) -> String {
    if !endpoint.starts_with("./") && !endpoint.starts_with("../") {
        return endpoint.to_owned();
    }
    let path = std::path::absolute(endpoint)
        .ok()
        .and_then(|path| path.into_os_string().into_string().ok());
    path.unwrap_or_else(|| endpoint.to_owned())
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

/// Reads the configuration and says what was found in it; `strict`: one error is one
/// too many. None if one of `stops` comes first, which is still to be taken.
pub(super) fn load_for_start(
    job: &ServeJob,
    served: &[Rc<Service>],
    (strict, manner): (bool, &Manner),
    stops: &Signals,
) -> Result<Option<Loading>, CommandFailure> {
    let loading = load_and_wait(|| (job.load)(manner.clone()), served, stops);
    let Some(loading) = loading.map_err(refused("reading the configuration"))? else {
        return Ok(None);
    };
    for finding in &loading.findings {
        events::configuration(finding.severity == Severity::Error, &finding.line);
    }
    if loading.errors > 0 && (strict || loading.services == 0) {
        tell_starter(job, &loading);
        return Err(match strict {
            true if is_all_said_there(&loading) => {
                CommandFailure::new(USAGE, "the command line is wrong")
            }
            true => CommandFailure::new(CONFIGURATION, "the configuration has errors"),
            false => CommandFailure::new(CONFIGURATION, "nothing to serve"),
        });
    }
    Ok(Some(loading))
}

/// Says what is wrong to whoever starts the server, where the log does not: that goes
/// elsewhere, or `RUST_LOG` leaves it out.
fn tell_starter(job: &ServeJob, loading: &Loading) {
    let is_here = target_of(&job.common) == LogTarget::Stderr || sink::echoes_to_starter();
    let is_said = |severity| is_here && events::takes_findings(severity == Severity::Error);
    let findings = loading.findings.iter().filter(|finding| !is_said(finding.severity));
    let text: String = findings.map(|finding| finding.line.clone() + "\n").collect();
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Whether whatever is wrong stands on the command line of `oxinetd run`.
fn is_all_said_there(loading: &Loading) -> bool {
    let mut errors = loading.findings.iter().filter(|one| one.severity == Severity::Error);
    errors.all(|error| error.line.starts_with("command line:"))
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

pub(super) fn new_server(
    common: &Common,
    reload: ConfigReader,
    (manager, only_one): (ServiceManager, bool),
) -> Result<Server, CommandFailure> {
    let way = match common.spawn {
        SpawnWay::Auto => Way::Sharing,
        SpawnWay::Fork => Way::Forking,
        SpawnWay::Apart => Way::Apart,
    };
    let Common { max_children, idle_exit, front_workers, .. } = *common;
    let front_workers = front_workers.and_then(|number| usize::try_from(number).ok());
    let options =
        ServerOptions { way, max_children, front_workers, idle_exit, only_one, reload, manager };
    Server::new(options).map_err(refused("starting"))
}

fn serve_first(mut job: ServeJob) -> Result<(), CommandFailure> {
    let mut pid_file = lock_pid_file(&job.pid_file)?;
    enough_to_begin()?;
    let Some(loading) = load_first(&mut job)? else { return Ok(()) };
    if job.needs_services && loading.services == 0 {
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
        && (listeners == 0 || server.lacks_what_is_here())
        && let Some(error) = server.first_open_error()
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
    events::ready(std::process::id(), server.services(), listeners);
    server.run().map_err(refused("waiting for events"))
}

/// A server in the background of which nobody has anything is none: whoever has started it
/// hears so. But who has just been told to stop may still have its ports for a moment.
fn insist(server: &mut Server, listeners: usize) -> Result<usize, CommandFailure> {
    let mut listeners = listeners;
    for _ in 0..LOOKS {
        if !server.serves_nobody() || upgrade::is_told_to_stop(PAUSE) {
            return Ok(listeners);
        }
        listeners = server.open_what_is_free();
    }
    let all = server.not_open();
    let others = match all.len().saturating_sub(1) {
        0 => String::new(),
        more => format!(", nor on {more} more"),
    };
    match all.first().filter(|_| server.serves_nobody()) {
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
