//! What an upgrade leaves the server as it was: its configuration, files, names, signals and
//! whoever asks it.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::banners::CAT;
use crate::common::clients::echo_once;
use crate::common::control::{controlled, upgrade};
use crate::common::{
    Folder, Setup, free_port, free_ports, is_root, need_program, need_root, own_line, procs,
    read_all, read_line, shell, tcp, tcp_line, wait_until,
};

#[test]
fn the_configuration_on_disk_is_applied_as_by_a_reload() {
    let ports = free_ports(3);
    let (kept, gone, new) = (ports[0], ports[1], ports[2]);
    let hold = shell("echo in; read line; echo out");
    let left = tcp_line(gone, &hold) + "    on_stop = leave\n";
    let daemon = controlled(&(tcp_line(kept, &hold) + &left));
    let (one, mut other) = (tcp(kept), tcp(gone));
    assert_eq!((read_line(&one), read_line(&other)), ("in\n".to_owned(), "in\n".to_owned()));
    let text = tcp_line(new, "/bin/echo echo new") + &tcp_line(kept, "/bin/echo echo kept");
    daemon.folder.write("inetd.conf", &text);
    upgrade(&daemon);
    assert_eq!(read_all(tcp(new)), "new\n");
    assert_eq!(read_all(tcp(kept)), "kept\n");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, gone)).is_err());
    // A second time, with a program whose service is no more.
    upgrade(&daemon);
    other.write_all(b"\n").unwrap();
    assert_eq!(read_line(&other), "out\n");
    let _ = daemon.wait_log(|line| line.about("ended", gone));
    drop(one);
    let _ = daemon.wait_count(2, |line| line.about("ended", kept));
}

#[test]
fn the_pid_file_stays_locked_and_is_removed_at_the_end() {
    let folder = Folder::new();
    let path = folder.name("pid");
    let port = free_port();
    let setup = Setup::new().controlled().arg("--pid-file").arg(&path);
    let mut daemon = setup.start_in(folder, &tcp_line(port, "internal echo"));
    upgrade(&daemon);
    upgrade(&daemon);
    let pid = daemon.pid().to_string();
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), pid);
    let mut second = crate::common::daemon::command(&[]);
    let second = second.arg(&daemon.file).args(["--pid-file", &path, "--control", "none"]);
    let output = second.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains(&pid), "{output:?}");
    assert!(!output.status.success());
    daemon.stop();
    assert!(!Path::new(&path).exists());
}

#[test]
fn a_server_in_the_background_is_not_sent_there_again() {
    let (folder, port) = (Folder::new(), free_port());
    let file = folder.write("c", &tcp_line(port, "/bin/echo echo hello"));
    let (control, log) = (folder.at("control"), folder.write("log", ""));
    let mut command = crate::common::daemon::command(&[]);
    command.arg(&file).args(["--daemon", "--control"]).arg(&control);
    command.stderr(std::fs::File::create(&log).unwrap());
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let pid: u32 = said.trim().rsplit(' ').next().unwrap().parse().unwrap();
    let ask = |what: &str| {
        let mut asking = crate::common::daemon::command(&[]);
        let output = asking.arg(what).arg("--control").arg(&control).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let answer = ask("upgrade");
    let served = read_all(tcp(port));
    let stopped = ask("stop");
    assert!(answer.ends_with(&format!(", pid {pid}\n")), "{answer}");
    assert_eq!((served.as_str(), stopped.as_str()), ("hello\n", "stopped\n"));
}

#[test]
fn a_service_of_the_command_line_keeps_the_port_that_it_was_given() {
    let folder = Folder::new();
    let control = folder.name("c");
    let daemon = Setup::new().run(&[
        "run",
        "--control",
        &control,
        "-o",
        "per_source=4",
        "127.0.0.1:0",
        "--",
        "sh",
        "-c",
        "echo $TCPLOCALPORT ${OXINETD_HANDOVER-none}",
    ]);
    let listening = daemon.wait_log(|line| line.is("listening"));
    let address = listening.get("address").unwrap().to_owned();
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    let before = read_all(tcp(port));
    let mut asking = crate::common::daemon::command(&[]);
    assert!(asking.args(["upgrade", "--control", &control]).output().unwrap().status.success());
    // Nor does the program see how its server came to be.
    assert_eq!((read_all(tcp(port)), before), (format!("{port} none\n"), format!("{port} none\n")));
}

#[test]
fn whoever_asks_meanwhile_is_answered() {
    let ports = free_ports(2);
    let metrics = ports[1].to_string();
    let setup = Setup::new().controlled().arg("--metrics").arg(&metrics);
    let daemon = setup.start(&tcp_line(ports[0], "internal echo"));
    // Half a request before the upgrade, the other half after it.
    let mut scraper = tcp(ports[1]);
    scraper.write_all(b"GET /metrics HTTP/1.1\r\nHost").unwrap();
    let mut asker = UnixStream::connect(daemon.control()).unwrap();
    asker.write_all(b"sta").unwrap();
    let _ = daemon.answer(&["status"]);
    upgrade(&daemon);
    scraper.write_all(b": 127.0.0.1\r\n\r\n").unwrap();
    asker.write_all(b"tus\n").unwrap();
    let answer: Value = serde_json::from_str(&read_all(asker)).unwrap();
    assert_eq!(answer["pid"], daemon.pid());
    assert!(read_all(scraper).contains("oxinetd_"));
}

#[test]
fn a_log_file_of_a_service_goes_on() {
    let (folder, port) = (Folder::new(), free_port());
    let file = folder.open_folder("logs").join("own");
    let line = own_line(port, &shell("read line; echo $line >&2"));
    let line = line + &format!("    log_type = FILE {}\n", file.display());
    let daemon = Setup::new().controlled().start_in(folder, &line);
    let mut client = tcp(port);
    let logged = |word: &str| std::fs::read_to_string(&file).is_ok_and(|text| text.contains(word));
    wait_until("the start in the file", || logged("accepted"));
    upgrade(&daemon);
    client.write_all(b"later\n").unwrap();
    wait_until("the end in the file", || logged("later") && logged("ended"));
}

#[test]
fn as_the_first_process_it_upgrades_too() {
    if !need_root() || !need_program("unshare") {
        return;
    }
    let port = free_port();
    let daemon = Setup::new()
        .controlled()
        .under(&["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .start(&tcp_line(port, &shell("echo in; (sleep 0.2 &) ; read line; exit 4")));
    let client = tcp(port);
    assert_eq!(read_line(&client), "in\n");
    let said = daemon.answer(&["upgrade"]);
    assert!(said.ends_with(", pid 1\n"), "{said}");
    drop(client);
    let ended = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(ended.get("status"), Some("4"));
    wait_until("no zombies", || procs::zombies(daemon.pid()).is_empty());
    assert!(is_root());
}

#[test]
fn signals_that_come_meanwhile_are_not_lost() {
    let port = free_port();
    let mut daemon = controlled(&tcp_line(port, "internal echo"));
    let asking = || {
        let mut asking = crate::common::daemon::command(&[]);
        asking.args(["upgrade", "--control"]).arg(daemon.control());
        asking.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    for _ in 0..5 {
        let mark = daemon.log.mark();
        let mut asked = asking();
        daemon.signal(nix::sys::signal::Signal::SIGUSR2);
        assert!(asked.wait().unwrap().success());
        let _ = daemon.wait_after(mark, |line| line.is("peers"));
    }
    let mut asked = asking();
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(daemon.wait_exit().success());
    // It may have been told of the upgrade before the server heard the signal.
    let _ = asked.wait().unwrap();
}

#[test]
fn a_reload_that_goes_on_comes_to_its_end_first() {
    let ports = free_ports(40);
    let text: String = ports.iter().map(|port| tcp_line(*port, "internal echo")).collect();
    let daemon = controlled(&text);
    for _ in 0..5 {
        let mark = daemon.log.mark();
        daemon.rewrite(&text);
        upgrade(&daemon);
        let _ = daemon.wait_after(mark, |line| line.is("reloaded"));
        assert_eq!(echo_once(tcp(ports[0]), "hello"), "hello");
    }
    assert!(daemon.said("not-listening").is_empty(), "{}", daemon.log.text());
    daemon.wait_childless();
}

#[test]
fn under_the_name_of_inetd_it_goes_on_as_inetd() {
    if is_root() && !need_program("setpriv") {
        return;
    }
    let (folder, port) = (Folder::new(), free_port());
    let runtime = folder.open_folder("run").display().to_string();
    let file = folder.write("services", &tcp_line(port, "/bin/echo echo hello"));
    let ordinary = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let setup = Setup::new().named("inetd").env("XDG_RUNTIME_DIR", &runtime);
    // Root's control socket has one place, and other tests may be there.
    let setup = if is_root() { setup.under(&ordinary) } else { setup };
    let daemon = setup.run_in(folder, &["-i", file.to_str().unwrap()]);
    let mut asking = crate::common::daemon::command(&[]);
    asking.args(["upgrade", "--control"]).arg(Path::new(&runtime).join("oxinetd.sock"));
    let output = asking.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(read_all(tcp(port)), "hello\n");
    let _ = daemon.count_peers();
    daemon.said_times(1, "upgraded");
}

/// Debian's update-inetd wants it so.
#[test]
fn whoever_is_in_the_pid_file_of_an_inetd_is_called_so_after_an_upgrade_too() {
    let port = free_port();
    for (file, name) in [("inetd.pid", "inetd\n"), ("pid", "oxinetd\n")] {
        let folder = Folder::new();
        let path = folder.name(file);
        let setup = Setup::new().controlled().arg("--pid-file").arg(&path);
        let mut daemon = setup.start_in(folder, &tcp_line(port, CAT));
        let called = || std::fs::read_to_string(format!("/proc/{}/comm", daemon.pid())).unwrap();
        assert_eq!(called(), name);
        upgrade(&daemon);
        assert_eq!(called(), name);
        daemon.stop();
    }
}
