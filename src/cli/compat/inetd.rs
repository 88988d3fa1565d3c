//! inetd's options, of all its families: no letter means two things that exclude each
//! other, so that nobody has to say whose they are.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::{Arguments, CompatRequest, CompatServices, Log, Pid, number};
use crate::config::{Dialect, Named};

/// Where inetd's services are.
pub(super) const FILE: &str = "/etc/inetd.conf";
/// Where GNU's inetd has more of them.
const FOLDER: &str = "/etc/inetd.d";
/// Where everybody looks for the process id.
const PID_FILE: &str = "/run/inetd.pid";

/// Said of options that turn TCP wrappers on.
const NO_WRAPPERS: &str = "inetd -l, -w, -W: connections are logged anyway, and hosts.allow and hosts.deny are not read; `only_from` and `no_access` say who may connect, or /usr/sbin/tcpd in front of a program";
/// Said of `--resolve`.
const NO_NAMES: &str =
    "inetd --resolve: clients' names are not looked up; TCPREMOTEIP has the address";

/// What every inetd does: a program's standard error is the client's, and so is the connection.
pub(super) const AS_THERE: [&str; 2] = ["stderr=socket", "linger=no"];

pub(super) const USAGE: &str = "\
Usage: inetd [-dEefilWw] [-a ADDRESS] [-C N] [-c N] [-p FILE] [-q N] [-R N] [-s N] [FILE ...]

  -a ADDRESS   listen there, where a service says nothing else
  -C N         starts a minute and client address, for services without a limit
  -c N         programs at once, for services without a limit
  -d, --debug  stay in the foreground, log more, and to standard error
  -E           give programs the environment of the server: they have it anyhow
  -e           log to standard error in the background too
  -f, -i, --foreground
               stay in the foreground
  -l, -w, -W   TCP wrappers: not done, and the log says so
  -p FILE, --pidfile=FILE
               file for the process id [/run/inetd.pid]; -p alone: none
  -q N         clients that may queue, for services without a limit
  -R N, --rate=N
               starts a minute, for services without a limit
  -s N         programs at once and client address, likewise
  --environment, --resolve
               programs are told addresses, never names
  -h, --help   this text
  -V, --version

N = 0 is no limit, but for -q. FILE is /etc/inetd.conf and /etc/inetd.d unless
one is named; a directory stands for the files in it.

This is oxinetd under the name inetd; oxinetd(8) says the rest.
";

/// Translates them.
pub(super) fn read(arguments: &mut Arguments, dialect: Dialect) -> Result<CompatRequest, String> {
    let mut given = InetdOptions { dialect, ..InetdOptions::default() };
    let mut options = true;
    while let Some(word) = arguments.next() {
        match word.as_bytes() {
            b"--" if options => options = false,
            [b'-', b'-', long @ ..] if options => given.long(long, arguments)?,
            [b'-', letters @ ..] if options && !letters.is_empty() => {
                given.cluster(letters, arguments)?;
            }
            _ => given.files.push(word.into()),
        }
    }
    Ok(given.into_request())
}

/// What has been said so far. The last of two counts.
#[derive(Default)]
struct InetdOptions {
    dialect: Dialect,
    files: Vec<PathBuf>,
    address: Option<OsString>,
    backlog: Option<u32>,
    children: Option<u32>,
    children_per_source: Option<u32>,
    starts: Option<u32>,
    starts_per_source: Option<u32>,
    pid_file: Option<Pid>,
    debug: bool,
    foreground: bool,
    stderr: bool,
    wrappers: bool,
    resolve: bool,
    instead: Option<CompatRequest>,
}

impl InetdOptions {
    /// `-dE`, `-R40`, `-p/run/inetd.pid`.
    fn cluster(&mut self, letters: &[u8], arguments: &mut Arguments) -> Result<(), String> {
        let mut rest = letters;
        while let Some((letter, after)) = rest.split_first() {
            rest = after;
            if !self.flag(*letter) {
                let glued = (!rest.is_empty()).then(|| OsStr::from_bytes(rest).to_owned());
                return self.valued(*letter, glued, arguments);
            }
        }
        Ok(())
    }

    /// A letter without a value; false if it is none.
    fn flag(&mut self, letter: u8) -> bool {
        match letter {
            b'd' => self.debug = true,
            // They have it anyhow.
            b'E' => {}
            b'e' => self.stderr = true,
            b'f' | b'i' => self.foreground = true,
            b'l' | b'w' | b'W' => self.wrappers = true,
            b'h' | b'?' => self.instead = Some(CompatRequest::Help),
            b'V' => self.instead = Some(CompatRequest::Version),
            _ => return false,
        }
        true
    }

    fn valued(
        &mut self,
        letter: u8,
        glued: Option<OsString>,
        arguments: &mut Arguments,
    ) -> Result<(), String> {
        let option = format!("-{}", char::from(letter).escape_default());
        if letter == b'p' {
            // FreeBSD's manual and GNU's both write `-p FILE`, and GNU's lets FILE out: to it, a
            // word of its own is a configuration.
            let is_gnus = self.dialect == Dialect::Gnu;
            let file = glued.or_else(|| if is_gnus { None } else { arguments.next_operand() });
            self.pid_file = Some(file.map_or(Pid::None, |file| Pid::Named(file.into())));
            return Ok(());
        }
        let least = match letter {
            b'a' | b'C' | b'c' | b'R' | b's' => 0,
            b'q' => 1,
            _ => return Err(format!("there is no option {option}")),
        };
        let value = glued.map_or_else(|| arguments.value(&option), Ok)?;
        if letter == b'a' {
            self.address = Some(value);
            return Ok(());
        }
        let field = match letter {
            b'C' => &mut self.starts_per_source,
            b'c' => &mut self.children,
            b'R' => &mut self.starts,
            b's' => &mut self.children_per_source,
            _ => &mut self.backlog,
        };
        *field = Some(number(&option, &value, least)?);
        Ok(())
    }

    /// GNU's long options.
    fn long(&mut self, word: &[u8], arguments: &mut Arguments) -> Result<(), String> {
        let mut parts = word.splitn(2, |byte| *byte == b'=');
        let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let value = parts.next().map(|value| OsString::from_vec(value.to_vec()));
        match (name.as_str(), value) {
            ("debug", None) => self.debug = true,
            ("environment", None) => {}
            ("foreground", None) => self.foreground = true,
            ("resolve", None) => self.resolve = true,
            ("help" | "usage", None) => self.instead = Some(CompatRequest::Help),
            ("version", None) => self.instead = Some(CompatRequest::Version),
            ("pidfile", file) => {
                self.pid_file = Some(file.map_or(Pid::None, |file| Pid::Named(file.into())));
            }
            ("rate", value) => {
                let value = value.map_or_else(|| arguments.value("--rate"), Ok)?;
                self.starts = Some(number("--rate", &value, 0)?);
            }
            _ => return Err(format!("there is no option --{}", name.escape_debug())),
        }
        Ok(())
    }

    fn into_request(self) -> CompatRequest {
        let defaults = self.defaults();
        if let Some(instead) = self.instead {
            return instead;
        }
        let files = if self.files.is_empty() {
            let folder = Named { optional: true, ..every_file(FOLDER) };
            vec![every_file(FILE), folder]
        } else {
            self.files.into_iter().map(every_file).collect()
        };
        let usual = if self.debug { Pid::None } else { Pid::Usual(PID_FILE.into()) };
        let notes = [(self.wrappers, NO_WRAPPERS), (self.resolve, NO_NAMES)];
        CompatRequest::Serve(CompatServices {
            files,
            dialect: self.dialect,
            defaults,
            umask: (self.dialect == Dialect::Gnu).then_some(0),
            debug: self.debug,
            foreground: self.foreground || self.debug,
            log: if self.stderr || self.debug { Log::Stderr } else { Log::Usual },
            pid_file: self.pid_file.unwrap_or(usual),
            max_children: None,
            needs_services: false,
            notes: notes.into_iter().filter_map(|(given, note)| given.then_some(note)).collect(),
        })
    }

    /// The options that are attributes.
    fn defaults(&self) -> Vec<String> {
        let unlimited = |name: &str, number: Option<u32>, unit: &str| match number {
            Some(0) => Some(format!("{name}=unlimited")),
            number => number.map(|number| format!("{name}={number}{unit}")),
        };
        let address = self.address.as_ref();
        let all = [
            address.map(|address| format!("bind={}", address.to_string_lossy())),
            self.backlog.map(|number| format!("backlog={number}")),
            unlimited("instances", self.children, ""),
            unlimited("per_source", self.children_per_source, ""),
            unlimited("rate", self.starts, "/minute"),
            unlimited("source_rate", self.starts_per_source, "/minute"),
            // OpenBSD's leaves out a few that are dangerous, as we always do.
            Some("passenv=*".to_owned()),
        ];
        all.into_iter().flatten().chain(AS_THERE.map(str::to_owned)).collect()
    }
}

/// GNU's inetd reads every file of a directory.
fn every_file(path: impl Into<PathBuf>) -> Named {
    Named { pattern: "*", ..Named::new(path) }
}
