//! `--log`: the system's log, a file of the server's own, and readers that stall.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};

use crate::common::clients::try_tcp;
use crate::common::daemon::{as_pid, command};
use crate::common::files::wait_text;
use crate::common::log::Log;
use crate::common::needs::find_program;
use crate::common::process::Process;
use crate::common::terminal::terminal;
use crate::common::{
    Folder, Line, free_port, need_program, own_line, read_all, shell, tcp, tcp_line, wait_for,
    wait_until,
};

const YES: &str = "/bin/echo echo yes";

/// Starts a server in `folder`, which holds its file, and waits until it serves `port`.
#[track_caller]
fn start(folder: &Folder, port: u16, text: &str, log: &str, stderr: Stdio) -> Process {
    folder.write("inetd.conf", text);
    let mut command = command(&[]);
    command.current_dir(folder.path()).args(["inetd.conf", "--log", log]);
    let server = Process::start(command.stdin(Stdio::null()).stderr(stderr));
    let address = ([127, 0, 0, 1], port).into();
    wait_until("the port to be served", || try_tcp(address).is_ok());
    server
}

/// A syslog daemon's socket, read as lines.
struct Datagrams(UnixDatagram);

impl Read for Datagrams {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let last = buffer.len() - 1;
        let length = self.0.recv(&mut buffer[..last])?;
        assert!(!buffer[..length].contains(&b'\n'), "a message is one line");
        buffer[length] = b'\n';
        Ok(length + 1)
    }
}

/// A terminal's other side, where each line ends in a carriage return, too.
struct Screen(File);

impl Read for Screen {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.read(buffer)?;
        let text: Vec<u8> = buffer[..length].iter().copied().filter(|it| *it != b'\r').collect();
        buffer[..text.len()].copy_from_slice(&text);
        // Nothing else in it, but not the end.
        if text.is_empty() && length > 0 { self.read(buffer) } else { Ok(text.len()) }
    }
}

/// What comes after `oxinetd[PID]: ` in a message.
fn message(line: &Line) -> &str {
    line.raw.split_once("]: ").map_or("", |(_, message)| message)
}

fn begins(line: &Line, word: &str) -> bool {
    message(line).split(' ').next() == Some(word)
}

#[test]
fn each_line_is_a_message_as_syslog_has_them() {
    let (port, failing, folder) = (free_port(), free_port(), Folder::new());
    let log = Log::follow(Datagrams(UnixDatagram::bind(folder.at("log")).unwrap()));
    let program = folder.write("program", "no script\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    // `port` is waited for, so it is opened last.
    let text =
        own_line(failing, &format!("{0} {0}", program.display())) + &tcp_line(port, YES) + "odd\n";
    let target = format!("syslog:local3,{}", folder.name("log"));
    let mut server = start(&folder, port, &text, &target, Stdio::piped());
    assert_eq!(read_all(tcp(port)), "yes\n");
    assert_eq!(read_all(tcp(failing)), "");
    let ready = log.wait(0, 1, |line| begins(line, "ready")).remove(0);
    // Facility 19, severity 6; `Nov 22 23:05:09`, the day padded with a blank.
    let rest = ready.raw.strip_prefix("<158>").unwrap();
    let shape: String =
        rest[..15].chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert!(matches!(&shape[3..], " 99 99:99:99" | "  9 99:99:99"), "{}", ready.raw);
    let tag = format!(" oxinetd[{}]: ready pid={0} ", server.0.id());
    assert!(rest[15..].starts_with(&tag), "{}", ready.raw);
    let failed = log.wait(0, 1, |line| begins(line, "failed")).remove(0);
    assert!(failed.raw.starts_with("<155>"), "{}", failed.raw);
    let of_line = |line: &Line, place: &str| message(line).contains(place);
    let is_wrong = |line: &Line| begins(line, "configuration") && of_line(line, "inetd.conf:3");
    let wrong = log.wait(0, 1, is_wrong).remove(0);
    assert!(wrong.raw.starts_with("<155>"), "{}", wrong.raw);
    server.stop();
    let _ = log.wait(0, 1, |line| begins(line, "stopped"));
    let mut said = String::new();
    server.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "", "standard error is not the log");
}

#[test]
fn lines_wait_for_a_syslog_daemon_that_is_late() {
    let (port, folder) = (free_port(), Folder::new());
    let target = format!("syslog,{}", folder.name("log"));
    let _server = start(&folder, port, &tcp_line(port, YES), &target, Stdio::null());
    let log = Log::follow(Datagrams(UnixDatagram::bind(folder.at("log")).unwrap()));
    let ready = log.wait(0, 1, |line| begins(line, "ready")).remove(0);
    assert!(ready.raw.starts_with("<30>"), "{}", ready.raw);
    assert_eq!(read_all(tcp(port)), "yes\n");
    let _ = log.wait(0, 2, |line| begins(line, "ended"));
}

#[test]
fn lines_wait_for_a_syslog_daemon_that_has_gone() {
    let (port, folder) = (free_port(), Folder::new());
    let target = format!("syslog,{}", folder.name("log"));
    let first = UnixDatagram::bind(folder.at("log")).unwrap();
    let _server = start(&folder, port, &tcp_line(port, YES), &target, Stdio::null());
    let mut bytes = [0; 1000];
    assert!(first.recv(&mut bytes).unwrap() > 0);
    drop(first);
    fs::remove_file(folder.at("log")).unwrap();
    for _ in 0..5 {
        assert_eq!(read_all(tcp(port)), "yes\n");
    }
    let log = Log::follow(Datagrams(UnixDatagram::bind(folder.at("log")).unwrap()));
    let _ = log.wait(0, 5, |line| begins(line, "ended"));
}

/// Lines that a program writes to standard error, far more than wait for a reader.
const FLOOD: u32 = 20_000;

/// Has the log flooded while nobody reads it, and clients served meanwhile.
#[track_caller]
fn flood_unread(port: u16, flood: u16) {
    assert_eq!(read_all(tcp(flood)), "done\n", "the program's standard error was read");
    for _ in 0..20 {
        assert_eq!(read_all(tcp(port)), "yes\n");
    }
}

/// Two services: one that answers, and one that writes the flood and then a line.
fn flooding(port: u16, flood: u16) -> String {
    let script = format!("yes | head -n {FLOOD} >&2; echo done");
    // Whoever waits until `port` is open finds the other open: sockets are opened in turn.
    tcp_line(flood, &shell(&script)) + &tcp_line(port, YES)
}

/// Every line of the flood came or was counted as dropped.
#[track_caller]
fn all_are_accounted_for(log: &Log, is: impl Fn(&Line, &str) -> bool) {
    let dropped = log.wait(0, 1, |line| is(line, "log-dropped")).remove(0);
    let dropped: usize = dropped.get("lines").unwrap().parse().unwrap();
    let came = log.all_after(0, |line| is(line, "stderr")).len();
    let all = usize::try_from(FLOOD).unwrap();
    // Lines about the clients may be among those dropped: two each.
    let most = all + 2 * 25;
    assert!(dropped > 0 && (all..most).contains(&(came + dropped)), "{came} and {dropped}");
}

#[test]
fn a_pipe_that_nobody_reads_stalls_nobody_and_what_is_dropped_is_counted() {
    let (port, flood, folder) = (free_port(), free_port(), Folder::new());
    let (reader, writer) = io::pipe().unwrap();
    let text = flooding(port, flood);
    let _server = start(&folder, port, &text, "stderr", writer.into());
    flood_unread(port, flood);
    let log = Log::follow(reader);
    all_are_accounted_for(&log, Line::is);
    let mark = log.mark();
    assert_eq!(read_all(tcp(port)), "yes\n");
    let _ = log.wait(mark, 1, |line| line.about("ended", port));
}

#[test]
fn a_terminal_that_nobody_reads_stalls_nobody_and_what_is_dropped_is_counted() {
    let (port, flood, folder) = (free_port(), free_port(), Folder::new());
    let (screen, terminal) = terminal();
    let text = flooding(port, flood);
    let _server = start(&folder, port, &text, "stderr", terminal.into());
    flood_unread(port, flood);
    let log = Log::follow(Screen(screen));
    all_are_accounted_for(&log, Line::is);
}

#[test]
fn a_syslog_socket_that_nobody_reads_stalls_nobody_and_what_is_dropped_is_counted() {
    let (port, flood, folder) = (free_port(), free_port(), Folder::new());
    let daemon = UnixDatagram::bind(folder.at("log")).unwrap();
    let target = format!("syslog,{}", folder.name("log"));
    let _server = start(&folder, port, &flooding(port, flood), &target, Stdio::null());
    flood_unread(port, flood);
    all_are_accounted_for(&Log::follow(Datagrams(daemon)), begins);
}

/// rsyslogd in the foreground with a socket of its own; ended with the value.
struct Rsyslog(Child);

impl Rsyslog {
    fn start(folder: &Folder) -> Self {
        let conf = format!(
            r#"module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{0}/log")
template(name="shown" type="string" string="%syslogfacility-text%.%syslogseverity-text% %programname% %procid%%msg%\n")
action(type="omfile" file="{0}/messages" template="shown")
"#,
            folder.path().display()
        );
        let conf = folder.write("rsyslog.conf", &conf);
        // A copy, because AppArmor keeps the one in sbin to the folders of Debian.
        let program = folder.at("rsyslogd");
        if !program.exists() {
            let original = find_program("rsyslogd").unwrap();
            let _ = folder.copy_of(original.to_str().unwrap(), "rsyslogd");
        }
        let mut command = Command::new(program);
        command.arg("-n").arg("-f").arg(conf).arg("-i").arg(folder.at("rsyslog.pid"));
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn stop(&mut self) {
        kill(as_pid(self.0.id()), Signal::SIGTERM).unwrap();
        let _ = wait_for("rsyslogd to end", || self.0.try_wait().unwrap());
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn rsyslogd_gets_every_line_with_facility_severity_tag_and_pid() {
    if !need_program("rsyslogd") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let mut rsyslog = Rsyslog::start(&folder);
    let target = format!("syslog:local5,{}", folder.name("log"));
    let text = tcp_line(port, &shell("echo grumble >&2; echo yes")) + "odd\n";
    let mut server = start(&folder, port, &text, &target, Stdio::null());
    let tag = format!("oxinetd {}", server.0.id());
    let has = |beginning: &str| {
        let text = fs::read_to_string(folder.at("messages")).unwrap_or_default();
        let beginning = beginning.replacen(' ', &format!(" {tag} "), 1);
        text.lines().filter(|line| line.starts_with(&beginning)).count()
    };
    wait_until("ready in the file", || has("local5.info ready pid=") == 1);
    wait_until("the error in the file", || has("local5.err configuration ") == 1);
    assert_eq!(read_all(tcp(port)), "yes\n");
    // One is for the connection that has waited for the port.
    wait_until("the lines of programs", || has("local5.info stderr service=") == 2);
    rsyslog.stop();
    assert_eq!(read_all(tcp(port)), "yes\n");
    let _again = Rsyslog::start(&folder);
    wait_until("the lines that waited", || has("local5.info stderr service=") == 3);
    server.stop();
    wait_until("the last line", || has("local5.info stopped") == 1);
}

/// How many lines of a file have this word.
fn count(path: &Path, word: &str) -> usize {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| Line { raw: (*line).to_owned() }.is(word)).count()
}

#[test]
fn a_file_is_opened_again_by_every_reload() {
    let (port, folder) = (free_port(), Folder::new());
    let [path, old, older] = ["own.log", "own.log.1", "own.log.2"].map(|name| folder.at(name));
    let text = tcp_line(port, YES);
    let mut server = start(&folder, port, &text, "file:own.log", Stdio::piped());
    wait_until("ready", || count(&path, "ready") == 1);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7137, 0, "{mode:o}");
    fs::rename(&path, &old).unwrap();
    server.signal(Signal::SIGHUP);
    wait_until("the new file", || count(&path, "reloaded") == 1);
    // Even by one that is refused.
    fs::rename(&path, &older).unwrap();
    folder.write("inetd.conf", "nonsense\n");
    server.signal(Signal::SIGHUP);
    wait_until("the new file", || count(&path, "reload-refused") == 1);
    assert_eq!(count(&older, "reload-refused"), 0);
    // What cannot be opened leaves the old one open.
    fs::rename(&path, &old).unwrap();
    fs::create_dir(&path).unwrap();
    folder.write("inetd.conf", &text);
    server.signal(Signal::SIGHUP);
    wait_until("the complaint", || count(&old, "log-file-failed") == 1);
    assert_eq!(read_all(tcp(port)), "yes\n");
    server.stop();
    assert_eq!(count(&old, "stopped"), 1);
    let mut said = String::new();
    server.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn a_full_disk_stalls_nobody() {
    let (port, flood, folder) = (free_port(), free_port(), Folder::new());
    let path = folder.at("own.log");
    let file = folder.write("inetd.conf", &flooding(port, flood));
    // No file may grow, as on a full disk.
    let limited = ["sh", "-c", "ulimit -f 0; exec \"$@\"", "sh"].map(str::to_owned);
    let mut command = command(&limited);
    let control = folder.name("control");
    command.arg(file).args(["--log", &format!("file:{}", path.display())]);
    command.args(["--control", &control]);
    let mut server = Process::start(command.stdin(Stdio::null()).stderr(Stdio::null()));
    let address = ([127, 0, 0, 1], port).into();
    wait_until("the port to be served", || try_tcp(address).is_ok());
    let status = |arguments: &[&str]| {
        let mut asking = self::command(&[]);
        asking.arg("status").args(arguments).args(["--control", &control]);
        String::from_utf8(asking.output().unwrap().stdout).unwrap()
    };
    wait_until("it to be told", || status(&["--json"]).contains("/own.log: File too large"));
    let shown = status(&[]);
    assert!(shown.contains("\nthe log is not written: "), "{shown}");
    flood_unread(port, flood);
    server.stop();
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn in_the_background_standard_error_is_kept_for_the_log_only() {
    for (log, kept) in [("stderr", true), ("file:own.log", false)] {
        let (port, folder) = (free_port(), Folder::new());
        folder.write("inetd.conf", &tcp_line(port, YES));
        let stderr = fs::File::create(folder.at("stderr")).unwrap();
        let mut command = command(&[]);
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.args(["inetd.conf", "--daemon", "--pid-file", "pid", "--log", log]).stderr(stderr);
        assert!(command.status().unwrap().success());
        let pid: u32 = wait_text(&folder.at("pid")).trim().parse().unwrap();
        let target = fs::read_link(format!("/proc/{pid}/fd/2")).unwrap();
        let wanted = if kept { folder.at("stderr") } else { "/dev/null".into() };
        assert_eq!(target, wanted);
        let own = folder.at(if kept { "stderr" } else { "own.log" });
        assert_eq!(read_all(tcp(port)), "yes\n");
        wait_until("the line", || count(&own, "ended") == 1);
        let text = fs::read_to_string(&own).unwrap();
        assert!(text.contains(&format!(" ready pid={pid} ")), "{text}");
        kill(as_pid(pid), Signal::SIGTERM).unwrap();
        wait_until("the end", || count(&own, "stopped") == 1);
    }
}

#[test]
fn what_is_wrong_at_the_start_is_said_on_standard_error_too() {
    let folder = Folder::new();
    let file = folder.write("inetd.conf", "nonsense\n");
    for extra in [&[][..], &["--daemon"]] {
        let mut command = command(&[]);
        command.arg(&file).arg("--log").arg(format!("file:{}", folder.name("own.log")));
        let output = command.args(extra).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("inetd.conf:1") && said.contains("nothing to serve"), "{said}");
    }
    assert_eq!(count(&folder.at("own.log"), "configuration"), 2);
    let log = std::fs::read_to_string(folder.at("own.log")).unwrap();
    assert!(log.contains(" ERROR fatal error=\"nothing to serve\"\n"), "{log}");
}

#[test]
fn a_target_that_is_none_is_said_at_once() {
    let folder = Folder::new();
    let file = folder.write("inetd.conf", &tcp_line(free_port(), YES));
    for (log, status, says) in [
        ("syslogd", 2, "syslog[:FACILITY][,SOCKET]"),
        ("syslog:local9", 2, "local7"),
        ("syslog,relative", 2, "absolute"),
        ("file:", 2, "missing"),
        ("file:/no/such/folder/x.log", 71, "/no/such/folder/x.log"),
        ("file:/dev/null", 71, "not a regular file"),
    ] {
        let output = command(&[]).arg(&file).args(["--log", log]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{log}: {said}");
        assert!(said.contains(says), "{log}: {said}");
    }
}
