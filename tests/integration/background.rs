//! In the background: nobody who has started the server waits for its end, and its log is
//! somewhere.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};

use crate::common::daemon::{BINARY, as_pid, command, command_of};
use crate::common::needs::{find_program, skip};
use crate::common::terminal::terminal;
use crate::common::{
    DEADLINE, Folder, Setup, free_port, need_program, need_root, own_line, procs, read_all, tcp,
    tcp_line, wait_until,
};

const HI: &str = "/bin/echo echo hi";

/// Words that run a program with a /dev of its own, in which `log` leads to `socket`, or
/// there is none.
fn own_dev(folder: &Folder, socket: Option<&str>) -> Vec<String> {
    let dev = folder.name("dev");
    let log = socket
        .map_or(String::new(), |name| format!("ln -s {} {dev}/log || exit 1\n", folder.name(name)));
    let script = format!(
        "mkdir -p {dev} && mount -t tmpfs tmpfs {dev} || exit 1
         for it in 'null 1 3' 'zero 1 5' 'full 1 7' 'random 1 8' 'urandom 1 9' 'tty 5 0'; do
             set -- $it \"$@\"; mknod -m 666 {dev}/$1 c $2 $3 || exit 1; shift 3
         done
         {log}mount --bind {dev} /dev && exec \"$@\""
    );
    ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

/// A socket as the syslog daemon's, and what leads /dev/log to it; None where it cannot be.
fn with_system_log(folder: &Folder) -> Option<(UnixDatagram, Vec<String>)> {
    if !need_root() || !need_program("unshare") {
        return None;
    }
    let socket = UnixDatagram::bind(folder.at("system-log")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    Some((socket, own_dev(folder, Some("system-log"))))
}

/// What makes sure that nobody takes messages of syslog; None where that cannot be.
fn without_system_log(folder: &Folder) -> Option<Vec<String>> {
    if !Path::new("/dev/log").exists() {
        return Some(Vec::new());
    }
    (need_root() && need_program("unshare")).then(|| own_dev(folder, None))
}

#[track_caller]
fn wait_message(log: &UnixDatagram, wanted: &str) -> String {
    loop {
        let mut bytes = [0; 4096];
        let count = log.recv(&mut bytes).unwrap_or_else(|error| panic!("{wanted}: {error}"));
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        if text.contains(wanted) {
            return text;
        }
    }
}

/// `$(oxinetd ARGUMENTS 2>&1)` of a shell that is given up if it does not return.
fn substituted(folder: &Folder, under: &[String], words: &str) -> Output {
    let script = format!("out=$({words} 2>&1); status=$?; echo \"$out\"; exit $status");
    let mut words = vec!["timeout".to_owned(), "25".to_owned()];
    words.extend_from_slice(under);
    words.extend(["sh", "-c", &script].map(str::to_owned));
    let mut shell = Command::new(&words[0]);
    shell.args(&words[1..]).current_dir(folder.path()).stdin(Stdio::null());
    shell.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The pid that a server in the background has told, which is ended with the value.
struct InBackground(u32);

impl InBackground {
    #[track_caller]
    fn told(text: &str) -> Self {
        let number = text.rsplit("started, pid ").next().and_then(|rest| rest.lines().next());
        Self(number.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("no pid: {text}")))
    }

    fn stderr(&self) -> std::path::PathBuf {
        fs::read_link(format!("/proc/{}/fd/2", self.0)).unwrap()
    }

    #[track_caller]
    fn stop(self) {
        kill(as_pid(self.0), Signal::SIGTERM).unwrap();
        wait_until("the server to end", || !procs::is_alive(self.0));
        std::mem::forget(self);
    }
}

impl Drop for InBackground {
    fn drop(&mut self) {
        let _ = kill(as_pid(self.0), Signal::SIGKILL);
    }
}

#[test]
fn a_command_substitution_with_standard_error_in_it_returns_and_the_system_has_the_log() {
    let (folder, port) = (Folder::new(), free_port());
    let Some((log, under)) = with_system_log(&folder) else { return };
    folder.write("conf", &tcp_line(port, HI));
    let output = substituted(&folder, &under, &format!("{BINARY} --daemon conf --control none"));
    let text = said(&output);
    assert!(output.status.success(), "{}: {text}", output.status);
    let server = InBackground::told(&text);
    assert_eq!(text, format!("oxinetd: started, pid {}\n", server.0), "and nothing else");
    assert_eq!(server.stderr(), Path::new("/dev/null"));
    let _ = wait_message(&log, "]: ready pid=");
    assert_eq!(read_all(tcp(port)), "hi\n");
    let _ = wait_message(&log, "]: ended ");
    server.stop();
    let _ = wait_message(&log, "]: stopped");
}

#[test]
fn what_is_wrong_is_shown_to_whoever_starts_it_as_well_as_in_the_systems_log() {
    let (folder, port) = (Folder::new(), free_port());
    let Some((log, under)) = with_system_log(&folder) else { return };
    folder.write("conf", &(tcp_line(port, HI) + &tcp_line(free_port(), "/no/such program")));
    let output = substituted(&folder, &under, &format!("{BINARY} --daemon conf --control none"));
    let text = said(&output);
    let server = InBackground::told(&text);
    assert!(text.contains("conf:2:") && text.contains("there is no program"), "{text}");
    let _ = wait_message(&log, "there is no program");
    server.stop();
    folder.write("conf", "nonsense\n");
    let output = substituted(&folder, &under, &format!("{BINARY} --daemon conf --control none"));
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.matches("conf:1").count(), 1, "once: {text}");
    assert!(text.contains("nothing to serve"), "{text}");
}

#[test]
fn an_upgrade_goes_on_in_the_systems_log() {
    let (folder, port) = (Folder::new(), free_port());
    let Some((log, under)) = with_system_log(&folder) else { return };
    folder.write("conf", &tcp_line(port, HI));
    let words = format!("{BINARY} --daemon conf --control {}", folder.name("control"));
    let server = InBackground::told(&said(&substituted(&folder, &under, &words)));
    let mut asking = command(&[]);
    let asked = asking.args(["upgrade", "--control"]).arg(folder.at("control")).output().unwrap();
    assert!(asked.status.success(), "{asked:?}");
    let _ = wait_message(&log, "]: upgraded ");
    assert_eq!(read_all(tcp(port)), "hi\n");
    let _ = wait_message(&log, "]: ended ");
    assert_eq!(server.stderr(), Path::new("/dev/null"));
    server.stop();
}

#[test]
fn a_terminal_that_is_closed_does_no_harm() {
    let (folder, port) = (Folder::new(), free_port());
    let Some((log, under)) = with_system_log(&folder) else { return };
    folder.write("conf", &tcp_line(port, HI));
    let (mut screen, terminal) = terminal();
    let mut starting = command(&under);
    starting.current_dir(folder.path()).args(["--daemon", "conf", "--control", "none"]);
    let copy = || terminal.try_clone().unwrap();
    starting.stdin(copy()).stdout(copy()).stderr(copy());
    assert!(starting.status().unwrap().success());
    drop((starting, terminal));
    let mut bytes = [0; 4096];
    let count = screen.read(&mut bytes).unwrap();
    let server = InBackground::told(&String::from_utf8_lossy(&bytes[..count]).replace('\r', ""));
    assert_eq!(server.stderr(), Path::new("/dev/null"));
    for _ in 0..3 {
        assert_eq!(read_all(tcp(port)), "hi\n");
        let _ = wait_message(&log, "]: ended ");
    }
    server.stop();
}

#[test]
fn without_a_systems_log_it_refuses_and_says_what_to_say() {
    let (folder, port) = (Folder::new(), free_port());
    let Some(under) = without_system_log(&folder) else { return };
    folder.write("conf", &tcp_line(port, HI));
    let daemon = format!("{BINARY} --daemon conf --control none");
    let output = substituted(&folder, &under, &daemon);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("standard error is a pipe") && text.contains("/dev/log"), "{text}");
    assert!(text.contains("--log file:PATH") && !text.contains("started"), "{text}");
    let _free = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
}

#[test]
fn a_log_that_is_said_and_a_file_as_standard_error_need_no_systems_log() {
    for words in [
        "--daemon conf --control none --log file:log",
        "--daemon conf --control none 2>log",
        "--daemon conf --control none 2>/dev/null",
    ] {
        let (folder, port) = (Folder::new(), free_port());
        let Some(under) = without_system_log(&folder) else { continue };
        folder.write("conf", &tcp_line(port, HI));
        let words = format!("{BINARY} {words}");
        // Its own redirection, and not that of the substitution, is the last.
        let output = substituted(&folder, &under, &format!("sh -c '{words}'"));
        assert!(output.status.success(), "{words}: {output:?}");
        let server = InBackground::told(&said(&output));
        assert_eq!(read_all(tcp(port)), "hi\n");
        if !words.contains("null") {
            let log = || fs::read_to_string(folder.at("log")).unwrap();
            wait_until("the line", || log().contains(" ended "));
        }
        server.stop();
    }
}

#[test]
fn as_xinetd_without_a_systems_log_it_serves_and_says_that_there_is_none() {
    for name in ["inetd", "xinetd"] {
        let (folder, port) = (Folder::new(), free_port());
        let Some(under) = without_system_log(&folder) else { return };
        folder.write("conf", &tcp_line(port, HI));
        let program = folder.link(name, BINARY).display().to_string();
        let words = match name {
            "inetd" => format!("{program} -p pid conf"),
            _ => format!("{program} -f conf -pidfile pid"),
        };
        let output = substituted(&folder, &under, &words);
        let text = said(&output);
        assert!(output.status.success(), "{name}: {text}");
        let pid = fs::read_to_string(folder.at("pid")).unwrap();
        let server = InBackground(pid.trim().parse().unwrap());
        assert!(text.contains("nobody takes the log at /dev/log"), "{name}: {text}");
        assert_eq!(read_all(tcp(port)), "hi\n");
        server.stop();
        // A file takes it.
        let mut starting = command_of(Path::new(&program), &under);
        starting.current_dir(folder.path()).args(words.split(' ').skip(1)).stdin(Stdio::null());
        starting.stderr(File::create(folder.at("log")).unwrap());
        assert!(starting.status().unwrap().success(), "{name}");
        let pid = fs::read_to_string(folder.at("pid")).unwrap();
        let server = InBackground(pid.trim().parse().unwrap());
        assert_eq!(read_all(tcp(port)), "hi\n");
        let log = || fs::read_to_string(folder.at("log")).unwrap();
        wait_until("the line", || log().contains(" ended "));
        server.stop();
    }
}

#[test]
fn over_ssh_the_command_returns() {
    if !["sshd", "ssh", "ssh-keygen"].into_iter().all(need_program) {
        return;
    }
    let (folder, port, inner) = (Folder::new(), free_port(), free_port());
    let Some((log, under)) = with_system_log(&folder) else { return };
    if fs::create_dir_all("/run/sshd").is_err() {
        skip("needs /run/sshd");
        return;
    }
    let top = folder.path().to_owned();
    for key in ["host", "user"] {
        let mut making = Command::new("ssh-keygen");
        making.args(["-q", "-t", "ed25519", "-N", "", "-f", key]).current_dir(&top);
        assert!(making.status().unwrap().success());
    }
    let text = format!(
        "HostKey {0}/host\nAuthorizedKeysFile {0}/user.pub\nStrictModes no\nUsePAM no\n\
         PidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n",
        top.display()
    );
    let config = folder.write("sshd_config", &text);
    folder.write("conf", &tcp_line(inner, HI));
    let sshd = find_program("sshd").unwrap();
    let program = format!("{} sshd -i -f {}", sshd.display(), config.display());
    let under: Vec<&str> = under.iter().map(String::as_str).collect();
    let _daemon = Setup::new().under(&under).start_in(folder, &own_line(port, &program));
    let remote = format!("cd {} && {BINARY} --daemon conf --control none", top.display());
    let mut ssh = Command::new("timeout");
    ssh.args(["25", "ssh", "-F", "/dev/null", "-i", "user", "-p", &port.to_string()]);
    ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    ssh.args(["-o", "BatchMode=yes", "root@127.0.0.1", &remote]);
    let output = ssh.current_dir(&top).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}: {output:?}", output.status);
    let server = InBackground::told(&said(&output));
    let _ = wait_message(&log, "]: ready pid=");
    assert_eq!(read_all(tcp(inner)), "hi\n");
    server.stop();
}
