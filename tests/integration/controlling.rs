//! A running server is asked and told: peers, reload, stop, start, kill, and who may.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use crate::common::clients::{is_closed, read_to_any_end};
use crate::common::control::{controlled, refused, status, status_of_port};
use crate::common::daemon::{BINARY, as_pid, command};
use crate::common::{
    Folder, Setup, ask, free_port, me, need_program, need_root, read_all, read_line, shell, tcp,
    tcp_line, wait_for, wait_until,
};

#[test]
fn other_programs_may_ask_with_words_and_with_json() {
    if !need_program("socat") {
        return;
    }
    let port = free_port();
    let daemon = controlled(&tcp_line(port, "/bin/date date"));
    let ask = |request: &str| -> Value {
        let address = format!("UNIX-CONNECT:{}", daemon.control().display());
        let mut socat = Command::new("socat")
            .args(["-t30", "-", &address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        socat.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
        let output = socat.wait_with_output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(ask("status\n")["pid"], json!(daemon.pid()));
    assert_eq!(ask(&format!("status {port}"))["state"], json!("listening"));
    let request = json!({"command": "status", "service": format!("{port}/tcp")});
    assert_eq!(ask(&request.to_string())["server"], json!("/bin/date"));
    assert_eq!(ask("peers\n"), json!({"total": 0, "running": 0, "peers": []}));
    assert!(ask("dance\n")["error"].as_str().unwrap().contains("no command"));
    assert!(ask("status nobody\n")["error"].as_str().unwrap().contains("\"nobody\""));
    assert!(ask("{\"command\":\"fly\"}")["error"].is_string());
    assert!(ask(&"x".repeat(5000))["error"].is_string());
}

#[test]
fn only_root_and_its_own_user_may_ask() {
    let daemon = controlled("");
    let mode = std::fs::metadata(daemon.control()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    if !need_root() || !need_program("setpriv") {
        return;
    }
    // Even where somebody has opened the way.
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(daemon.folder.path(), 0o755);
    open(&daemon.control(), 0o666);
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let nobody: Vec<String> = nobody.iter().map(ToString::to_string).collect();
    let mut asking = command(&nobody);
    let output = asking.args(["status", "--control"]).arg(daemon.control()).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("only root and the server's own user"), "{words}");
    assert_eq!(daemon.ask(&["status"]).status.code(), Some(0));
}

#[test]
fn a_stopped_service_has_no_port_until_it_is_started() {
    let (one, other) = (free_port(), free_port());
    let text = tcp_line(one, "/bin/cat cat") + &tcp_line(other, "/bin/date date");
    let daemon = controlled(&text);
    let mut client = tcp(one);
    daemon.accepted(one, 1);
    let label = format!("{one}/tcp");
    assert_eq!(daemon.answer(&["stop", &label]), format!("stopped {label}\n"));
    let again = daemon.answer(&["stop", &label]);
    assert_eq!(again, format!("{label} is stopped already\n"));
    assert!(is_closed(one));
    assert_eq!(status_of_port(&daemon, one)["state"], json!("stopped"));
    // Its running program goes on, and the other service too.
    client.write_all(b"still here\n").unwrap();
    assert_eq!(read_line(&mut client), "still here\n");
    assert!(!read_all(tcp(other)).is_empty());

    daemon.reload(&(text.clone() + &tcp_line(free_port(), "/bin/date date")));
    assert!(is_closed(one), "a reload has started it");
    assert_eq!(daemon.answer(&["start", &one.to_string()]), format!("started {label}\n"));
    let mut again = tcp(one);
    again.write_all(b"back\n").unwrap();
    assert_eq!(read_line(&mut again), "back\n");
    let _ = daemon.wait_count(3, |line| line.is("control"));
    let told: Vec<String> =
        daemon.said("control").iter().map(|line| line.get("command").unwrap().to_owned()).collect();
    let stop = format!("stop {label}");
    assert_eq!(told, [stop.clone(), stop, format!("start {one}")]);
}

#[test]
fn whoever_asks_a_server_that_hangs_is_told_so() {
    let daemon = controlled(&tcp_line(free_port(), "/bin/date date"));
    daemon.signal(Signal::SIGSTOP);
    let output = daemon.ask(&["status"]);
    daemon.signal(Signal::SIGCONT);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("no answer for 10 s"), "{said}");
    assert!(daemon.answer(&["status"]).contains("/tcp"));
}

#[test]
fn a_stopped_entry_of_tcpmux_is_not_available_until_it_is_started() {
    let port = free_port();
    let entries = "tcpmux/+date stream tcp nowait - /bin/date date\n\
                   tcpmux/+echo stream tcp nowait - /bin/echo echo hello\n";
    let mux = format!("127.0.0.1:{port} stream tcp nowait {} internal tcpmux\n{entries}", me());
    let daemon = controlled(&mux);
    let wanted = |name: &str| ask(port, &format!("{name}\r\n"));
    daemon.answer(&["stop", "tcpmux/echo"]);
    assert_eq!(wanted("echo"), "-Service not available\r\n");
    assert_eq!(wanted("help"), "date\r\n");
    assert!(wanted("date").starts_with("+Go\r\n"));
    daemon.answer(&["start", "tcpmux/echo"]);
    assert_eq!(wanted("echo"), "+Go\r\nhello\n");
}

/// The program of before may live on: its end must not touch what was opened in the place of
/// the socket that it has.
#[test]
fn the_program_of_a_service_that_was_stopped_does_not_take_the_socket_of_the_next_one() {
    let folder = Folder::new();
    let (path, out) = (folder.at("socket"), folder.open_folder("out"));
    // Says that it is there, and ends when it is told to by a file of its pid.
    let script = shell(&format!(
        "head -c 5 >/dev/null; echo $$ >&2; \
         while ! test -e {0}/$$; do sleep 0.02; done; grep flags /proc/self/fdinfo/0 >{0}/flags",
        out.display()
    ));
    let line = format!("{} dgram unix wait {} {script}\n", path.display(), me());
    let daemon = Setup::new().controlled().start_in(folder, &line);
    let client = UnixDatagram::unbound().unwrap();
    let label = path.display().to_string();
    let mut pids = Vec::new();
    for count in 1..=2 {
        client.send_to(b"start", &path).unwrap();
        let lines = daemon.wait_count(count, |line| line.is("stderr"));
        pids.push(lines[count - 1].get("line").unwrap().to_owned());
        if count == 1 {
            daemon.answer(&["stop", &label]);
            daemon.answer(&["start", &label]);
        }
    }
    let first = as_pid(pids[0].parse().unwrap());
    kill(first, Signal::SIGKILL).unwrap();
    let _ = daemon.wait_log(|line| line.is("ended"));
    fs::write(out.join(&pids[1]), "").unwrap();
    let _ = daemon.wait_count(2, |line| line.is("ended"));
    let flags = fs::read_to_string(out.join("flags")).unwrap();
    let flags = u32::from_str_radix(flags.split_whitespace().last().unwrap(), 8).unwrap();
    assert_eq!(flags & 0o4000, 0, "O_NONBLOCK is set for the program that has it");
}

#[test]
fn stopping_a_service_does_with_its_programs_what_on_stop_says() {
    let port = free_port();
    let daemon = controlled(&(tcp_line(port, "/bin/cat cat") + "    on_stop = terminate\n"));
    let client = tcp(port);
    daemon.accepted(port, 1);
    daemon.answer(&["stop", &port.to_string()]);
    assert_eq!(read_to_any_end(client), "");
    let line = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(line.get("signal"), Some("SIGTERM"));
}

#[test]
fn a_port_taken_meanwhile_is_said_when_a_service_is_started() {
    let port = free_port();
    let daemon = controlled(&tcp_line(port, "/bin/date date"));
    daemon.answer(&["stop", &port.to_string()]);
    let squatter = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (status, words) = refused(&daemon, &["start", &port.to_string()]);
    assert!(status == 1 && words.contains("in use"), "{status} {words}");
    assert_eq!(status_of_port(&daemon, port)["state"], json!("failed"));
    drop(squatter);
    daemon.wait_log(|line| line.is("not-listening"));
    wait_until("the socket to be opened after all", || !is_closed(port));
}

#[test]
fn programs_and_peers_are_ended_and_strangers_are_not() {
    let (cat, echo) = (free_port(), free_port());
    let text = tcp_line(cat, "/bin/cat cat")
        + &format!("127.0.0.1:{echo} stream tcp nowait - internal echo\n");
    let daemon = controlled(&text);
    let (by_pid, by_peer, talk) = (tcp(cat), tcp(cat), tcp(echo));
    let pids = daemon.accepted(cat, 2);
    daemon.wait_log(|line| line.about("accepted", echo));

    let (status, words) = refused(&daemon, &["kill", &std::process::id().to_string()]);
    assert!(status == 1 && words.contains("no program and no peer"), "{words}");
    let pid = pids[0].to_string();
    assert_eq!(daemon.answer(&["kill", &pid]), format!("sent TERM to {pid}\n"));
    assert_eq!(read_to_any_end(by_pid), "");
    let peer = by_peer.local_addr().unwrap().to_string();
    daemon.answer(&["kill", &peer]);
    assert_eq!(read_to_any_end(by_peer), "");
    // A program is one until it is reaped, which may be after its client has seen the end.
    let _ = daemon.wait_count(2, |line| line.about("ended", cat));
    // Everybody who is left there.
    assert_eq!(daemon.answer(&["kill", "127.0.0.1"]), "closed 1\n");
    assert_eq!(read_to_any_end(talk), "");
    assert_eq!(daemon.wait_log(|line| line.is("closed")).get("reason"), Some("killed"));
    refused(&daemon, &["kill", "127.0.0.1"]);
}

#[test]
fn a_program_that_ignores_its_end_is_killed() {
    let port = free_port();
    let script =
        shell("trap \"\" TERM; echo ready; while :; do read x || exec /bin/sleep 60; done");
    let daemon = controlled(&(tcp_line(port, &script) + "    kill_after = 1s\n"));
    let mut client = tcp(port);
    assert_eq!(read_line(&mut client), "ready\n");
    let pid = daemon.accepted(port, 1)[0];
    daemon.answer(&["kill", &pid.to_string()]);
    assert_eq!(read_to_any_end(client), "");
    let line = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(line.get("signal"), Some("SIGKILL"));
}

#[test]
fn a_reload_is_waited_for_and_tells_what_came_of_it() {
    let (one, other) = (free_port(), free_port());
    let first = tcp_line(one, "/bin/date date");
    let daemon = controlled(&first);
    daemon.folder.write("inetd.conf", &(first.clone() + &tcp_line(other, "/bin/date date")));
    let words = daemon.answer(&["reload"]);
    assert_eq!(words, "reloaded: 1 socket kept, 1 opened, 0 closed; 0 services changed\n");
    assert!(!read_all(tcp(other)).is_empty());

    daemon.folder.write("inetd.conf", &(first + "127.0.0.1:x y z\n"));
    let output = daemon.ask(&["reload"]);
    let words = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("inetd.conf:2:") && words.contains("not reloaded: "), "{words}");
    assert!(!read_all(tcp(other)).is_empty());

    std::fs::remove_file(daemon.folder.at("inetd.conf")).unwrap();
    let words = String::from_utf8(daemon.ask(&["reload"]).stdout).unwrap();
    let help = "put it back and reload again; until then everything goes on as it was";
    assert!(words.contains(help) && !words.contains("oxinetd run"), "{words}");
    assert!(!read_all(tcp(other)).is_empty());
}

#[test]
fn stuck_clients_of_the_control_socket_harm_nobody() {
    let port = free_port();
    let daemon = controlled(&tcp_line(port, "/bin/echo echo yes"));
    let connect = || UnixStream::connect(daemon.control()).unwrap();
    let mut stuck: Vec<UnixStream> = (0..100).map(|_| connect()).collect();
    for (index, stream) in stuck.iter_mut().enumerate() {
        // Some have begun a request, some never read their answer.
        let words: &[u8] = if index % 2 == 0 { b"sta" } else { b"status\n" };
        let _ = stream.write_all(words);
    }
    for _ in 0..3 {
        assert_eq!(read_all(tcp(port)), "yes\n");
        assert_eq!(status(&daemon, None)["state"], json!("serving"));
    }
    // There are places for 32: the others were closed for those who came later.
    wait_until("the oldest to be closed", || {
        stuck.iter_mut().map(is_over).filter(|over| *over).count() >= 60
    });
    let open = crate::common::procs::descriptors(daemon.pid());
    assert!(open < 100, "{open} descriptors");
}

fn is_over(stream: &mut UnixStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn a_place_that_was_named_must_be_free() {
    let daemon = controlled("");
    let mut second = Command::new(BINARY);
    second.arg(&daemon.file).arg("--control").arg(daemon.control());
    let output = second.output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(71), "{words}");
    assert!(words.contains("another server answers"), "{words}");
    assert_eq!(status(&daemon, None)["pid"], json!(daemon.pid()));
}

#[test]
fn an_ordinary_user_has_a_place_of_their_own_and_nobody_needs_one() {
    let folder = Folder::new();
    let runtime = folder.path().to_str().unwrap();
    if crate::common::is_root() {
        // Root's place may be another server's here: with or without it, it serves.
        let port = free_port();
        let daemon = Setup::new().start(&tcp_line(port, "/bin/echo echo yes"));
        assert_eq!(read_all(tcp(port)), "yes\n");
        return drop(daemon);
    }
    let file = folder.write("inetd.conf", "");
    let start = || Command::new(BINARY).arg(&file).env("XDG_RUNTIME_DIR", runtime).spawn().unwrap();
    let mut server = start();
    let socket = folder.path().join("oxinetd.sock");
    wait_until("the control socket", || socket.exists());
    let ask = |word: &str| {
        let mut asking = Command::new(BINARY);
        asking.arg(word).env("XDG_RUNTIME_DIR", runtime).stdout(Stdio::null());
        wait_for("the server to answer", || asking.status().unwrap().success().then_some(()));
    };
    ask("status");
    ask("stop");
    assert!(server.wait().unwrap().success() && !socket.exists());
}

/// A server's place, and who asks there, by these variables of the environment.
#[track_caller]
fn is_asked_at(place: &Path, server: &[(&str, &str)], asker: &[(&str, &str)]) {
    let with = |variables: &[(&str, &str)], word: &str| {
        let mut command = Command::new(BINARY);
        command.arg(word).env_remove("XDG_RUNTIME_DIR").env_remove("RUNTIME_DIRECTORY");
        command.envs(variables.iter().copied()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let folder = Folder::new();
    let file = folder.write("inetd.conf", "");
    let mut server = with(server, file.to_str().unwrap()).spawn().unwrap();
    wait_until("the control socket", || UnixStream::connect(place).is_ok());
    for word in ["status", "reload", "stop"] {
        let status = with(asker, word).status().unwrap();
        assert!(status.success(), "{word}");
    }
    assert!(server.wait().unwrap().success() && !place.exists());
}

#[test]
fn the_folder_of_its_unit_is_where_a_server_is_asked() {
    let folder = Folder::new();
    let (unit, user) = (folder.name("unit"), folder.name("user"));
    fs::create_dir(&unit).unwrap();
    fs::create_dir(&user).unwrap();
    let several = format!("{unit}:{user}");
    let place = folder.path().join("unit/oxinetd.sock");
    // As the service manager calls it, and `ExecReload=`; root too.
    let of_unit = [("RUNTIME_DIRECTORY", several.as_str()), ("XDG_RUNTIME_DIR", user.as_str())];
    is_asked_at(&place, &of_unit, &of_unit);
    if !crate::common::is_root() {
        // In the unit of something else that asks: there is nobody, so at the user's place.
        let place = folder.path().join("user/oxinetd.sock");
        is_asked_at(&place, &of_unit[1..], &of_unit);
    }
}

#[test]
fn without_a_place_for_a_control_socket_the_log_says_so() {
    let (folder, port) = (Folder::new(), free_port());
    let missing = folder.name("missing");
    let file = folder.write("inetd.conf", &tcp_line(port, "/bin/echo echo yes"));
    let setup = Setup::new().env("RUNTIME_DIRECTORY", &missing);
    let daemon = setup.run_in(folder, &[file.to_str().unwrap()]);
    let line = daemon.wait_log(|line| line.is("no-control"));
    assert_eq!(line.get("path"), Some(format!("{missing}/oxinetd.sock").as_str()));
    assert_eq!(read_all(tcp(port)), "yes\n");
    // And whoever looks for one of a server that has none is told how to give it one.
    let output = Command::new(BINARY).args(["status", "--control", &missing]).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(71), "{words}");
    assert!(words.contains("--control") && words.contains("`oxinetd run`"), "{words}");
}
