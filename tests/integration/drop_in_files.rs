//! Started as `inetd` or `xinetd`: the background, the process id, and the usual files.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};

use crate::common::daemon::{BINARY, as_pid, command_of};
use crate::common::wait::ends_soon;
use crate::common::{
    DEADLINE, Folder, Setup, free_port, free_ports, is_root, need_program, need_root, procs,
    read_all, tcp, tcp_line, wait_for, wait_until,
};

/// A server in the background; killed with the value, if it still runs.
struct Background {
    pid: u32,
    folder: Folder,
}

impl Background {
    /// Starts it and waits for the end of the process that was started.
    #[track_caller]
    fn start(name: &str, folder: Folder, arguments: &[&str]) -> Self {
        Self::start_under(&[], name, folder, arguments)
    }

    /// The same, started by another program.
    #[track_caller]
    fn start_under(under: &[String], name: &str, folder: Folder, arguments: &[&str]) -> Self {
        let program = folder.link(name, BINARY);
        let mut command = command_of(&program, under);
        command.args(arguments).stdin(Stdio::null()).current_dir(folder.path());
        command.stdout(File::create(folder.at("stdout")).unwrap());
        let mut child = command.stderr(File::create(folder.at("log")).unwrap()).spawn().unwrap();
        let status = wait_for("the process that was started to end", || child.try_wait().unwrap());
        // Whatever it said, the pid file is there now.
        let text = fs::read_to_string(folder.at("pid")).unwrap_or_default();
        let log = fs::read_to_string(folder.at("log")).unwrap();
        let pid = text.trim().parse().unwrap_or_else(|_| panic!("{text:?} in the file: {log}"));
        let background = Self { pid, folder };
        assert!(status.success(), "{status}: {log}");
        background
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.at("log")).unwrap()
    }

    #[track_caller]
    fn stop(&self) {
        kill(as_pid(self.pid), Signal::SIGTERM).unwrap();
        wait_until("the daemon to end", || !procs::is_alive(self.pid));
        assert!(!self.folder.at("pid").exists(), "the pid file goes with it");
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let program = fs::read_link(format!("/proc/{}/exe", self.pid));
        if program.is_ok_and(|program| program == Path::new(BINARY)) {
            let _ = kill(as_pid(self.pid), Signal::SIGTERM);
            if !ends_soon(|| !procs::is_alive(self.pid)) {
                let _ = kill(as_pid(self.pid), Signal::SIGKILL);
            }
        }
    }
}

#[test]
fn inetd_goes_to_the_background_and_serves_when_the_command_returns() {
    let (port, folder) = (free_port(), Folder::new());
    folder.write("conf", &tcp_line(port, "/bin/echo echo hi"));
    let inetd = Background::start("inetd", folder, &["-e", "-p", "pid", "conf"]);
    assert_eq!(read_all(tcp(port)), "hi\n", "no waiting: it listens already");
    assert_eq!(fs::read_to_string(inetd.folder.at("stdout")).unwrap(), "", "as the others: silent");
    wait_until("-e: the line in the log", || inetd.log().contains("accepted"));
    assert!(procs::leads_session(inetd.pid));
    inetd.stop();
}

#[test]
fn xinetd_goes_to_the_background_too() {
    let (port, folder) = (free_port(), Folder::new());
    folder.write("conf", &tcp_line(port, "/bin/echo echo hi"));
    let arguments = ["-f", "conf", "-pidfile", "pid", "-stayalive"];
    let xinetd = Background::start("xinetd", folder, &arguments);
    assert_eq!(read_all(tcp(port)), "hi\n");
    xinetd.stop();
}

#[test]
fn xinetd_filelog_appends_the_log_to_a_file() {
    let (port, folder) = (free_port(), Folder::new());
    folder.write("conf", &tcp_line(port, "/bin/echo echo hi"));
    folder.write("file", "before\n");
    let arguments = ["-f", "conf", "-pidfile", "pid", "-filelog", "file"];
    let xinetd = Background::start("xinetd", folder, &arguments);
    assert_eq!(read_all(tcp(port)), "hi\n");
    let text = || fs::read_to_string(xinetd.folder.at("file")).unwrap();
    wait_until("the line about the client", || text().contains(" accepted "));
    assert!(text().starts_with("before\n"), "{}", text());
    assert_eq!(xinetd.log(), "");
    xinetd.stop();
}

/// The facility of a message of syslog(3), after `ready` has come.
#[track_caller]
fn facility_of_ready(socket: &UnixDatagram) -> u8 {
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    loop {
        let mut bytes = [0; 4096];
        let count = socket.recv(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        if text.contains("ready ") {
            let number = text.trim_start_matches('<').split('>').next().unwrap();
            return number.parse::<u8>().unwrap() / 8;
        }
    }
}

#[test]
fn in_the_background_the_log_goes_to_the_systems_log() {
    if !need_root() || !need_program("unshare") {
        return;
    }
    for (name, arguments, facility) in [
        ("inetd", ["-q", "9", "-p", "pid", "conf"].as_slice(), 3),
        ("xinetd", ["-f", "conf", "-pidfile", "pid"].as_slice(), 3),
        ("xinetd", ["-f", "conf", "-pidfile", "pid", "-syslog", "local3"].as_slice(), 19),
    ] {
        let (port, folder) = (free_port(), Folder::new());
        folder.write("conf", &tcp_line(port, "/bin/echo echo hi"));
        let socket = UnixDatagram::bind(folder.at("socket")).unwrap();
        let script = format!(
            "mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 &&
             ln -s {} /dev/log && exec \"$@\"",
            folder.name("socket")
        );
        let under = ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned);
        let daemon = Background::start_under(&under, name, folder, arguments);
        assert_eq!(facility_of_ready(&socket), facility, "{name} {arguments:?}");
        assert_eq!(read_all(tcp(port)), "hi\n");
        assert_eq!(daemon.log(), "");
        daemon.stop();
    }
}

#[test]
fn a_configuration_is_not_overwritten_by_a_pid() {
    let folder = Folder::new();
    let file = folder.write("conf", "# precious\n").display().to_string();
    let program = folder.link("inetd", BINARY);
    let mut command = command_of(&program, &["timeout".to_owned(), "25".to_owned()]);
    let output = command.args(["-p", &file]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("this is no pid file"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "# precious\n");
}

#[test]
fn an_ordinary_user_can_do_without_the_usual_pid_file() {
    if is_root() || File::options().append(true).create(true).open("/run/inetd.pid").is_ok() {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let file = folder.write("conf", &tcp_line(port, "/bin/echo echo hi"));
    let daemon = Setup::new().named("inetd").run_in(folder, &["-f", file.to_str().unwrap()]);
    assert_eq!(read_all(tcp(port)), "hi\n");
    assert!(daemon.log.text().contains("pid file /run/inetd.pid"), "{}", daemon.log.text());
}

/// A file system of one's own for /etc and /run, with the files of `folder/etc` in it.
fn own_etc(folder: &Folder) -> Vec<String> {
    let etc: PathBuf = folder.at("etc");
    let script = format!(
        "for f in passwd group services nsswitch.conf hosts; do cp -n /etc/$f {0}/ || :; done
         mount --bind {0} /etc && mount -t tmpfs tmpfs /run && exec \"$@\"",
        etc.display()
    );
    ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

#[test]
fn without_a_file_inetd_reads_the_usual_ones_and_writes_the_usual_pid_file() {
    if !need_root() || !need_program("unshare") {
        return;
    }
    let (ports, folder) = (free_ports(2), Folder::new());
    folder.write("etc/inetd.conf", &tcp_line(ports[0], "/bin/echo echo file"));
    folder.write("etc/inetd.d/more", &tcp_line(ports[1], "/bin/echo echo folder"));
    let under = own_etc(&folder);
    let under: Vec<&str> = under.iter().map(String::as_str).collect();
    let mut daemon = Setup::new().named("inetd").under(&under).run_in(folder, &["-i"]);
    assert_eq!(read_all(tcp(ports[0])), "file\n");
    assert_eq!(read_all(tcp(ports[1])), "folder\n");
    let pid_file = format!("/proc/{}/root/run/inetd.pid", daemon.pid());
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{}\n", daemon.pid()));
    daemon.stop();
}

#[test]
fn xinetd_with_inetd_compat_serves_both_files_and_its_defaults_hold_for_both() {
    if !need_root() || !need_program("unshare") {
        return;
    }
    let (ports, folder) = (free_ports(2), Folder::new());
    let block = format!(
        "defaults\n{{\n\tonly_from = 127.0.0.1\n}}\nservice hello\n{{\n\ttype = UNLISTED\n\tport = {}\n\tsocket_type = stream\n\twait = no\n\tuser = nobody\n\tserver = /bin/echo\n\tserver_args = block\n}}\n",
        ports[0]
    );
    folder.write("etc/xinetd.conf", &block);
    folder.write(
        "etc/inetd.conf",
        &format!("{} stream tcp4 nowait - /bin/echo echo line\n", ports[1]),
    );
    let under = own_etc(&folder);
    let under: Vec<&str> = under.iter().map(String::as_str).collect();
    let setup = Setup::new().named("xinetd").under(&under);
    let mut daemon = setup.run_in(folder, &["-dontfork", "-inetd_compat"]);
    assert_eq!(read_all(tcp(ports[0])), "block\n");
    assert_eq!(read_all(tcp(ports[1])), "line\n");
    let other = crate::common::clients::tcp_from([127, 0, 0, 2].into(), ports[1]);
    assert_eq!(crate::common::clients::read_to_any_end(other), "");
    let _ = daemon.wait_log(|line| line.about("refused", ports[1]));
    daemon.stop();
}
