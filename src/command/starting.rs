//! What every start takes: of a server that is the first, and of one in the place of another.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::cli::compat::Pid;
use crate::cli::{Common, LogFormat, SpawnWay};
use crate::config::diagnostic::{COMMAND_LINE, Severity};
use crate::config::lookup::Manner;
use crate::config::model::Service;
use crate::log::target::LogTarget;
use crate::log::{events, sink};
use crate::reload::{LoadedFinding, Loading, load_and_wait};
use crate::server::{Server, ServerOptions};
use crate::spawn::Way;
use crate::sys::detach::Herald;
use crate::sys::signals::Signals;
use crate::systemd::ServiceManager;

use super::failure::{CONFIGURATION, CommandFailure, USAGE, refused};
use super::reader::ConfigReader;

/// What it means that there is nothing to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nothing {
    /// A reload may bring something, whatever is wrong now.
    IsFine,
    /// That is a failure where it comes of errors.
    FailsWithErrors,
    /// A failure.
    Fails,
}

/// What a server is started with, whichever way.
pub(super) struct ServeJob {
    pub(super) load: ConfigReader,
    pub(super) common: Common,
    pub(super) strict: bool,
    pub(super) pid_file: Pid,
    pub(super) herald: Option<Herald>,
    pub(super) nothing: Nothing,
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
pub(super) fn target_of(common: &Common) -> LogTarget {
    common.log.clone().unwrap_or(LogTarget::Stderr)
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
    let serves_nothing = loading.services == 0;
    let is_refused =
        loading.errors > 0 && (strict || serves_nothing && job.nothing != Nothing::IsFine);
    let is_over = is_refused || job.nothing == Nothing::Fails && serves_nothing;
    loading.findings.iter().for_each(|finding| tell(job, finding, is_over));
    if is_refused {
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

/// Says what was found, in a line of the log; or, where it keeps `oxinetd run` from serving, to
/// whoever has written the words behind that and reads the log where he has, with these words.
fn tell(job: &ServeJob, finding: &LoadedFinding, is_over: bool) {
    let is_error = finding.severity == Severity::Error;
    let has_lines = events::is_json() || sink::under_journal();
    let is_read_there = target_of(&job.common) == LogTarget::Stderr && !has_lines;
    if !is_over || !is_read_there || !is_on_command_line(finding) {
        events::configuration(is_error, &finding.line);
    } else if events::takes_findings(is_error) {
        let _ = io::stderr().write_all(shown(finding).as_bytes());
    }
}

/// What was found, for whoever has written it.
fn shown(finding: &LoadedFinding) -> String {
    let LoadedFinding { line, rendered, .. } = finding;
    if is_on_command_line(finding) { format!("{rendered}\n") } else { format!("{line}\n") }
}

fn is_on_command_line(finding: &LoadedFinding) -> bool {
    finding.line.strip_prefix(COMMAND_LINE).is_some_and(|rest| rest.starts_with(':'))
}

/// Says what is wrong to whoever starts the server, where the log does not: that goes
/// elsewhere, or `RUST_LOG` leaves it out.
pub(super) fn tell_starter(job: &ServeJob, loading: &Loading) {
    let is_here = target_of(&job.common) == LogTarget::Stderr || sink::echoes_to_starter();
    let is_said = |severity| is_here && events::takes_findings(severity == Severity::Error);
    let findings = loading.findings.iter().filter(|finding| !is_said(finding.severity));
    let text: String = findings.map(shown).collect();
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Whether whatever is wrong stands on the command line of `oxinetd run`.
fn is_all_said_there(loading: &Loading) -> bool {
    let mut errors = loading.findings.iter().filter(|one| one.severity == Severity::Error);
    errors.all(is_on_command_line)
}

/// One that serves nobody yet.
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
