//! The real binary with a real configuration file, killed when the value is dropped.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::files::Folder;
use super::log::{Line, Log};
use super::needs::search_path;
use super::procs;
use super::wait::{ends_soon, wait_for, wait_until};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_oxinetd");

/// The name of the control socket of daemons that have one.
const CONTROL: &str = "control";

/// Waits until it is time to go on with a daemon that has been started.
type Begun<'a> = &'a dyn Fn(&Daemon);

/// How a daemon is started.
#[derive(Default, Clone)]
pub(crate) struct Setup {
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    under: Vec<String>,
    name: Option<&'static str>,
    program: Option<PathBuf>,
    controlled: bool,
    copied: bool,
    beside: usize,
}

impl Setup {
    /// As plain as can be: `oxinetd FILE`.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One more argument after FILE.
    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With a control socket, see [`Daemon::ask`].
    pub(crate) fn controlled(mut self) -> Self {
        self.controlled = true;
        self
    }

    /// A copy of the binary in the folder, which can be replaced, see [`Daemon::replace`].
    pub(crate) fn copied(mut self) -> Self {
        self.copied = true;
        self
    }

    /// With so many other services, so that the daemon has many descriptors.
    pub(crate) fn among(mut self, others: usize) -> Self {
        self.beside = others;
        self
    }

    /// One more variable in the environment of the daemon.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Started by another program: its words, before the binary and its arguments.
    pub(crate) fn under(mut self, words: &[&str]) -> Self {
        self.under = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Started through a symbolic link of this name.
    pub(crate) fn named(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// Another binary than the one under test: the same one in a root folder of its own.
    pub(crate) fn program(mut self, path: &str) -> Self {
        self.program = Some(path.into());
        self
    }

    /// Started from a shell that first runs `commands` (`ulimit -n 32`).
    pub(crate) fn after(self, commands: &str) -> Self {
        self.under(&["sh", "-c", &format!("{commands}; exec \"$@\""), "sh"])
    }

    /// Starts it and waits until it is ready; `text` is the configuration.
    #[track_caller]
    pub(crate) fn start(self, text: &str) -> Daemon {
        let folder = Folder::new();
        self.start_in(folder, text)
    }

    /// The same, with a folder that has files in it already.
    #[track_caller]
    pub(crate) fn start_in(self, folder: Folder, text: &str) -> Daemon {
        self.begin_in(folder, text, &Daemon::wait_ready)
    }

    /// The same, but waits for something else, which may come about before it is ready.
    #[track_caller]
    pub(crate) fn begin_in(self, folder: Folder, text: &str, begun: Begun<'_>) -> Daemon {
        let other = |number| {
            let path = folder.name(&format!("beside-{number}"));
            format!("{path} stream unix nowait {} /bin/true true\n", super::me())
        };
        let others: String = (0..self.beside).map(other).collect();
        let file = folder.write("inetd.conf", &(others + text));
        let mut arguments = vec![file.clone().into_os_string()];
        arguments.extend(self.arguments.iter().cloned());
        let control = if self.controlled { folder.path().join(CONTROL) } else { "none".into() };
        arguments.extend(["--control".into(), control.into_os_string()]);
        self.launch(folder, file, &arguments, begun)
    }

    /// Starts `oxinetd ARGUMENTS` (such as `run 0 -- date`), without a file.
    #[track_caller]
    pub(crate) fn run(self, arguments: &[&str]) -> Daemon {
        self.run_in(Folder::new(), arguments)
    }

    /// The same, with a folder that has files in it already.
    #[track_caller]
    pub(crate) fn run_in(self, folder: Folder, arguments: &[&str]) -> Daemon {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        self.launch(folder, PathBuf::new(), &arguments, &Daemon::wait_ready)
    }

    #[track_caller]
    fn launch(self, folder: Folder, file: PathBuf, args: &[OsString], begun: Begun<'_>) -> Daemon {
        let linked = self.name.map(|name| folder.link(name, BINARY));
        let copy = self.copied.then(|| folder.copy_of(BINARY, "oxinetd").into());
        let program = linked.or(self.program).or(copy).unwrap_or_else(|| BINARY.into());
        let mut command = command_of(&program, &self.under);
        command.args(args).envs(self.environment);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        let started = child.id();
        let has_usual_socket = self.name.is_some();
        let mut daemon = Daemon { child, pid: started, has_usual_socket, folder, file, log };
        begun(&daemon);
        if daemon.under_another() {
            let inner =
                wait_for("the daemon's own process", || procs::children(started).first().copied());
            daemon.pid = inner;
        }
        daemon
    }
}

/// The binary, or `under` with the binary as its last word, in a clean environment.
pub(crate) fn command(under: &[String]) -> Command {
    command_of(Path::new(BINARY), under)
}

/// The same, with the binary under another name.
pub(crate) fn command_of(program: &Path, under: &[String]) -> Command {
    let mut command = match under.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.env_clear().env("PATH", search_path()).env("LANG", "C");
    command
}

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
    pid: u32,
    /// Whether its control socket is where everybody's is.
    has_usual_socket: bool,
    /// Where its configuration is, and whatever the test puts there.
    pub(crate) folder: Folder,
    /// Its configuration file.
    pub(crate) file: PathBuf,
    /// What it has said.
    pub(crate) log: Log,
}

impl Daemon {
    /// Starts the binary with this configuration and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(text: &str) -> Self {
        Setup::new().start(text)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// `unshare --fork` stays as the parent; a shell's exec does not.
    fn under_another(&self) -> bool {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        !name.contains("inetd")
    }

    #[track_caller]
    fn wait_ready(&self) {
        let _ = self.wait_log(|line| line.is("ready"));
    }

    /// Waits for a line, whenever it was said.
    #[track_caller]
    pub(crate) fn wait_log(&self, wanted: impl Fn(&Line) -> bool) -> Line {
        self.log.wait(0, 1, wanted).remove(0)
    }

    /// Waits for a line said after `mark`.
    #[track_caller]
    pub(crate) fn wait_after(&self, mark: usize, wanted: impl Fn(&Line) -> bool) -> Line {
        self.log.wait(mark, 1, wanted).remove(0)
    }

    /// Waits until `count` lines are like that.
    #[track_caller]
    pub(crate) fn wait_count(&self, count: usize, wanted: impl Fn(&Line) -> bool) -> Vec<Line> {
        self.log.wait(0, count, wanted)
    }

    /// Waits until `count` connections to `port` were accepted; their processes, in order.
    #[track_caller]
    pub(crate) fn accepted(&self, port: u16, count: usize) -> Vec<u32> {
        let lines = self.wait_count(count, |line| line.about("accepted", port));
        lines.iter().map(|line| line.number("pid").unwrap()).collect()
    }

    /// All lines so far with this word.
    pub(crate) fn said(&self, word: &str) -> Vec<Line> {
        self.log.all_after(0, |line| line.is(word))
    }

    /// Waits until there are `count` lines with this word; there are no more.
    #[track_caller]
    pub(crate) fn said_times(&self, count: usize, word: &str) {
        self.wait_count(count, |line| line.is(word));
        assert_eq!(self.said(word).len(), count, "{}", self.log.text());
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(as_pid(self.pid), signal).unwrap();
    }

    /// Replaces the configuration and asks for a reload, without waiting.
    pub(crate) fn rewrite(&self, text: &str) {
        self.folder.write("inetd.conf", text);
        self.signal(Signal::SIGHUP);
    }

    /// Replaces the configuration and waits until it holds; the line that says so.
    #[track_caller]
    pub(crate) fn reload(&self, text: &str) -> Line {
        let mark = self.log.mark();
        self.rewrite(text);
        self.wait_after(mark, |line| line.is("reloaded"))
    }

    /// Replaces the configuration by one that must be refused; the line that says so.
    #[track_caller]
    pub(crate) fn reload_in_vain(&self, text: &str) -> Line {
        let mark = self.log.mark();
        self.rewrite(text);
        self.wait_after(mark, |line| line.is("reload-refused"))
    }

    /// Asks for the number of peers; the total since the start and how many run.
    #[track_caller]
    pub(crate) fn count_peers(&self) -> (u32, u32) {
        let mark = self.log.mark();
        self.signal(Signal::SIGUSR2);
        let line = self.wait_after(mark, |line| line.is("peers"));
        (line.number("total").unwrap(), line.number("running").unwrap())
    }

    /// Asks for the peers; their lines, complete when the number after them has come.
    #[track_caller]
    pub(crate) fn list_peers(&self, expected: usize) -> Vec<Line> {
        let mark = self.log.mark();
        self.signal(Signal::SIGUSR1);
        let _ = self.log.wait(mark, expected, |line| line.is("peer"));
        // Signals are taken in turn: nothing of the list can come after the count.
        let _ = self.count_peers();
        self.log.all_after(mark, |line| line.is("peer"))
    }

    /// Where its control socket is, if it was started with one.
    pub(crate) fn control(&self) -> PathBuf {
        self.folder.path().join(CONTROL)
    }

    /// Runs `oxinetd ARGUMENTS --control …` as its user would.
    #[track_caller]
    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        let mut asking = command(&[]);
        asking.args(arguments).arg("--control").arg(self.control());
        asking.stdin(Stdio::null()).output().unwrap()
    }

    /// What `oxinetd ARGUMENTS` prints when it succeeds.
    #[track_caller]
    pub(crate) fn answer(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        let [out, err] =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        assert!(output.status.success(), "{arguments:?}: {}\n{out}{err}", output.status);
        out
    }

    /// Puts a script with this mode in the place of the copy that it was started from.
    pub(crate) fn replace(&self, script: &str, mode: u32) {
        let text = self.folder.write("script", script);
        std::fs::set_permissions(&text, Permissions::from_mode(mode)).unwrap();
        let _ = self.folder.copy_of(text.to_str().unwrap(), "new");
        std::fs::rename(self.folder.at("new"), self.folder.at("oxinetd")).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let status = wait_for("the daemon to end", || self.child.try_wait().unwrap());
        self.log.wait_end();
        status
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGTERM, and a clean end.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait_exit();
        assert!(status.success(), "{status} instead of 0:\n{}", self.log.text());
    }

    /// Waits until no child is left, zombies included.
    #[track_caller]
    pub(crate) fn wait_childless(&self) {
        wait_until("the last child to be reaped", || procs::children(self.pid).is_empty());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let mut running = self.child.try_wait().is_ok_and(|ended| ended.is_none());
        if std::thread::panicking() {
            eprintln!("the log of the daemon:\n{}", self.log.text());
        }
        if running && self.has_usual_socket {
            // Killed, it would leave its control socket in the place of everybody's.
            let _ = kill(as_pid(self.pid), Signal::SIGTERM);
            running = !ends_soon(|| self.child.try_wait().is_ok_and(|ended| ended.is_some()));
        }
        if running {
            let _ = kill(as_pid(self.pid), Signal::SIGKILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        self.end_programs();
    }
}

impl Daemon {
    /// Ends the programs that run on: those that the log says were started and not ended.
    fn end_programs(&self) {
        let ready = self.log.all_after(0, |line| line.is("ready"));
        if ready.first().and_then(|line| line.number("pid")) != Some(self.pid) {
            // A process name space of its own, which has ended with its first process.
            return;
        }
        let pids = |word: &str| -> BTreeSet<u32> {
            self.said(word).iter().filter_map(|line| line.number("pid")).collect()
        };
        for pid in pids("accepted").difference(&pids("ended")) {
            if procs::leads_session(*pid) {
                let _ = killpg(as_pid(*pid), Signal::SIGKILL);
            }
        }
    }
}

/// A process id as the system calls want it.
pub(crate) fn as_pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap())
}
