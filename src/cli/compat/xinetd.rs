//! xinetd's options: words with one dash.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{Arguments, CompatRequest, CompatServices, Log, Pid, inetd, number};
use crate::config::{Dialect, Named};
use crate::log::target::LogTarget;

/// Where xinetd's services are.
const FILE: &str = "/etc/xinetd.conf";
/// The facilities of syslog(3) that xinetd knows.
const FACILITIES: [&str; 12] = [
    "daemon", "auth", "authpriv", "user", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// Said of `-cc`.
const NO_CHECKS: &str = "xinetd -cc: there are no consistency checks, and none is needed";
/// Said of `-logprocs`.
const NO_IDENT: &str = "xinetd -logprocs: nobody is asked who a client is (ident, RFC 1413)";
/// Said of options that xinetd itself has given up.
const NO_MORE: &str =
    "xinetd -loop, -shutdownprocs: not done any more; `cps` and `rate` are limits";

pub(super) const USAGE: &str = "\
Usage: xinetd [-d] [-f FILE] [-filelog FILE | -syslog FACILITY] [-pidfile FILE]
              [-dontfork] [-stayalive] [-limit N] [-inetd_compat] [-version]

  -d                  stay in the foreground, log more, and to standard error
  -dontfork           stay in the foreground, without services too
  -f FILE             the configuration [/etc/xinetd.conf]
  -filelog FILE       append the log to FILE
  -inetd_compat       serve /etc/inetd.conf too, if it is there
  -limit N            programs of all services at once
  -pidfile FILE       file for the process id
  -stayalive          start without services too
  -syslog FACILITY    log to the system's log [daemon]
  -cc N, -inetd_ipv6, -logprocs N, -loop N, -reuse, -shutdownprocs N
                      taken, and without effect
  -help, -version

This is oxinetd under the name xinetd; oxinetd(8) says the rest.
";

/// Translates them.
pub(super) fn read(arguments: &mut Arguments) -> Result<CompatRequest, String> {
    let mut given = XinetdOptions::default();
    while let Some(word) = arguments.next() {
        let option = word.to_str().unwrap_or_default();
        match option {
            "-help" | "--help" | "-h" => return Ok(CompatRequest::Help),
            "-version" | "--version" => return Ok(CompatRequest::Version),
            _ if given.flag(option) || given.valued(option, arguments)? => {}
            _ => return Err(format!("there is no option {word:?}")),
        }
    }
    given.into_request()
}

/// What has been said so far. The last of two counts.
#[derive(Default)]
struct XinetdOptions {
    file: Option<PathBuf>,
    file_log: Option<PathBuf>,
    facility: Option<LogTarget>,
    pid_file: Option<PathBuf>,
    limit: u32,
    debug: bool,
    foreground: bool,
    stay_alive: bool,
    compatible: bool,
    notes: Vec<&'static str>,
}

impl XinetdOptions {
    /// An option without a value; false if it is none.
    fn flag(&mut self, option: &str) -> bool {
        match option {
            "-d" => self.debug = true,
            "-dontfork" => self.foreground = true,
            "-stayalive" => self.stay_alive = true,
            "-inetd_compat" => self.compatible = true,
            // Addresses are free at once after a restart, and `tcp` is both families.
            "-reuse" | "-inetd_ipv6" => {}
            _ => return false,
        }
        true
    }

    /// An option with a value; false if it is none.
    fn valued(&mut self, option: &str, arguments: &mut Arguments) -> Result<bool, String> {
        match option {
            "-f" => self.file = Some(arguments.value(option)?.into()),
            "-pidfile" => self.pid_file = Some(arguments.value(option)?.into()),
            "-filelog" => self.file_log = Some(arguments.value(option)?.into()),
            "-syslog" => self.facility = Some(facility(&arguments.value(option)?)?),
            "-limit" => self.limit = number(option, &arguments.value(option)?, 0)?,
            "-cc" => self.ignored(option, arguments, NO_CHECKS)?,
            "-logprocs" => self.ignored(option, arguments, NO_IDENT)?,
            "-loop" | "-shutdownprocs" => self.ignored(option, arguments, NO_MORE)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn ignored(
        &mut self,
        option: &str,
        arguments: &mut Arguments,
        note: &'static str,
    ) -> Result<(), String> {
        number(option, &arguments.value(option)?, 0)?;
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
        Ok(())
    }

    fn into_request(self) -> Result<CompatRequest, String> {
        let log = match (self.file_log, self.facility) {
            (Some(_), Some(_)) => return Err("-filelog and -syslog exclude each other".to_owned()),
            // In debug mode everything goes to the terminal, and no pid file is written.
            _ if self.debug => Log::Stderr,
            (Some(file), None) => Log::Target(LogTarget::File(file)),
            (None, Some(facility)) => Log::Target(facility),
            (None, None) => Log::Usual,
        };
        let mut files = vec![Named::new(self.file.unwrap_or_else(|| FILE.into()))];
        if self.compatible {
            files.push(Named { optional: true, inherits: true, ..Named::new(inetd::FILE) });
        }
        let pid_file = self.pid_file.filter(|_| !self.debug);
        Ok(CompatRequest::Serve(CompatServices {
            files,
            dialect: Dialect::Own,
            defaults: inetd::AS_THERE.map(str::to_owned).into(),
            debug: self.debug,
            foreground: self.foreground || self.debug,
            log,
            pid_file: pid_file.map_or(Pid::None, Pid::Named),
            umask: Some(0o022),
            max_children: (self.limit > 0).then_some(self.limit),
            needs_services: !(self.stay_alive || self.foreground),
            notes: self.notes,
        }))
    }
}

/// The system's log, with a facility that xinetd has too.
fn facility(value: &OsString) -> Result<LogTarget, String> {
    let known = FACILITIES.into_iter().find(|name| value == name);
    let target = known.and_then(|name| format!("syslog:{name}").parse().ok());
    target.ok_or_else(|| format!("-syslog takes one of {}, not {value:?}", FACILITIES.join(", ")))
}
