//! `oxinetd upgrade`: another program goes on in the place of the one that runs, with
//! everything that is open and everybody who is served. The other program is the same
//! one here; what matters is what it finds.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::banners::{CAT, LONG, long, narrow};
use crate::common::clients::{echo_once, tcp_from, udp_ask, udp_read};
use crate::common::load::Load;
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, free_ports, is_root, me, need_program, need_root,
    own_line, procs, read_all, read_line, shell, tcp, tcp_line, udp, wait_until,
};

/// A server that can be asked.
fn controlled(text: &str) -> Daemon {
    Setup::new().controlled().start(text)
}

#[track_caller]
fn upgrade(daemon: &Daemon) {
    let said = daemon.answer(&["upgrade"]);
    let version = env!("CARGO_PKG_VERSION");
    let pid = daemon.pid();
    assert_eq!(said, format!("upgraded from {version} to {version}, pid {pid}\n"));
}

#[track_caller]
fn status(daemon: &Daemon) -> Value {
    serde_json::from_str(&daemon.answer(&["status", "--json"])).unwrap()
}

#[track_caller]
fn of(daemon: &Daemon, label: &str) -> Value {
    let all = status(daemon);
    let services = all["services"].as_array().unwrap();
    services.iter().find(|it| it["service"] == label).unwrap_or_else(|| panic!("{all}")).clone()
}

#[test]
fn ten_upgrades_under_load_refuse_nobody_and_lose_nothing() {
    let ports = free_ports(3);
    let (program, echo, day) = (ports[0], ports[1], ports[2]);
    let text = tcp_line(program, "/bin/echo echo hello")
        + &tcp_line(echo, "internal echo")
        + &tcp_line(day, &shell("echo day; echo line >&2"));
    let daemon = Setup::new().controlled().copied().start(&text);
    let loads = [(program, "hello\n"), (program, "hello\n"), (day, "day\n")];
    let loads = loads.map(|(port, expected)| Load::start(port, expected));
    upgrade(&daemon);
    let before = procs::descriptors(daemon.pid());
    for _ in 0..9 {
        loads.iter().for_each(|load| load.wait_more(10));
        assert_eq!(echo_once(tcp(echo), "hello"), "hello");
        upgrade(&daemon);
    }
    loads.iter().for_each(|load| load.wait_more(10));
    let served: Vec<u32> = loads.into_iter().map(Load::finish).collect();
    daemon.wait_childless();
    let wanted = u64::from(served.iter().sum::<u32>()) + 9;
    wait_until("every connection to be counted as ended", || status(&daemon)["running"] == 0);
    let all = status(&daemon);
    assert_eq!((&all["accepted"], &all["failed"]), (&wanted.into(), &0.into()), "{all}");
    let exits = &of(&daemon, &format!("{program}/tcp"))["exits"]["0"];
    assert_eq!(exits, &u64::from(served[0] + served[1]));
    assert_eq!(daemon.count_peers().1, 0);
    let lines = daemon.log.all_after(0, |line| line.about("stderr", day)).len();
    assert_eq!(lines, usize::try_from(served[2]).unwrap());
    wait_until("as many descriptors as before", || procs::descriptors(daemon.pid()) <= before);
    assert_eq!(daemon.said("upgraded").len(), 10);
    assert!(daemon.said("trouble").is_empty(), "{}", daemon.log.text());
}

#[test]
fn a_program_runs_on_and_its_end_is_told_by_the_new_server() {
    let port = free_port();
    let script = "printf begun- >&2; read line; echo $line >&2; echo answer; exit 3";
    let mut daemon = controlled(&tcp_line(port, &shell(script)));
    let mut client = tcp(port);
    let own = client.local_addr().unwrap();
    let pid = daemon.accepted(port, 1)[0];
    upgrade(&daemon);
    upgrade(&daemon);
    let peers: Value = serde_json::from_str(&daemon.answer(&["peers", "--json"])).unwrap();
    let peer = &peers["peers"][0];
    assert_eq!((&peer["pid"], &peer["address"]), (&pid.into(), &own.to_string().into()));
    let running = of(&daemon, &format!("{port}/tcp"));
    assert_eq!((&running["running"], &running["accepted"]), (&1.into(), &1.into()));
    client.write_all(b"done\n").unwrap();
    assert_eq!(read_all(client), "answer\n");
    let ended = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!((ended.number("pid"), ended.get("status")), (Some(pid), Some("3")));
    assert_eq!(ended.get("peer").unwrap(), own.to_string());
    // The part before the upgrade and the part after it are one line.
    let said = daemon.wait_log(|line| line.about("stderr", port));
    assert_eq!((said.get("line"), said.number("pid")), (Some("begun-done"), Some(pid)));
    daemon.wait_childless();
    assert_eq!(of(&daemon, &format!("{port}/tcp"))["exits"]["3"], 1);
    daemon.stop();
}

#[test]
fn conversations_and_relays_go_on_with_what_was_on_its_way() {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ports = free_ports(4);
    let (echo, relay, mux, chargen) = (ports[0], ports[1], ports[2], ports[3]);
    let text = tcp_line(echo, "internal echo")
        + &tcp_line(relay, "internal")
        + &format!("    redirect = 127.0.0.1 {}\n", target.local_addr().unwrap().port())
        + &tcp_line(mux, "internal tcpmux")
        + &format!("tcpmux/+date stream tcp nowait {} /bin/echo echo reached\n", me())
        + &tcp_line(chargen, "internal chargen");
    let daemon = controlled(&text);
    // More than fits into any buffer: the server has to keep some of it.
    let bytes: Vec<u8> = (0..8_000_000u32).map(|n| n.to_be_bytes()[(n % 4) as usize]).collect();
    let (mut client, mut relayed) = (tcp(echo), tcp(relay));
    let (mut far, _) = target.accept().unwrap();
    far.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut named, mut endless) = (tcp(mux), tcp(chargen));
    named.write_all(b"da").unwrap();
    let feed = |mut to: TcpStream| {
        let bytes = bytes.clone();
        std::thread::spawn(move || {
            to.write_all(&bytes).unwrap();
            to.shutdown(Shutdown::Write).unwrap();
        })
    };
    let feeders = [feed(client.try_clone().unwrap()), feed(relayed.try_clone().unwrap())];
    wait_until("everybody to be served", || status(&daemon)["conversations"] == 4);
    upgrade(&daemon);
    assert_eq!(status(&daemon)["conversations"], 4);
    let (mut echoed, mut passed) = (Vec::new(), Vec::new());
    let mut half = vec![0; bytes.len() / 2];
    client.read_exact(&mut half).unwrap();
    echoed.extend_from_slice(&half);
    far.read_exact(&mut half).unwrap();
    passed.extend_from_slice(&half);
    upgrade(&daemon);
    client.read_to_end(&mut echoed).unwrap();
    far.read_to_end(&mut passed).unwrap();
    assert!(echoed == bytes && passed == bytes, "every byte once and in order");
    far.write_all(b"back").unwrap();
    drop(far);
    assert_eq!(read_all(&mut relayed), "back");
    named.write_all(b"te\r\n").unwrap();
    assert_eq!(read_all(named), "+Go\r\nreached\n");
    let mut line = [0; 74 * 1000];
    endless.read_exact(&mut line).unwrap();
    assert!(line.chunks(74).all(|line| line.ends_with(b"\r\n")), "in step all the time");
    drop(endless);
    for feeder in feeders {
        feeder.join().unwrap();
    }
    wait_until("all to end", || status(&daemon)["conversations"] == 0);
    assert_eq!(daemon.log.all_after(0, |line| line.is("closed")).len(), 3);
}

#[test]
fn a_waiting_program_keeps_its_socket_and_gives_it_back() {
    let port = free_port();
    let script = shell("head -c 6 >/dev/null; sleep 0.1");
    let line = format!("127.0.0.1:{port} dgram udp wait {} {script}\n", me());
    let daemon = controlled(&line);
    let client = udp(port);
    client.send(b"one").unwrap();
    let _ = daemon.accepted(port, 1);
    upgrade(&daemon);
    assert_eq!(of(&daemon, &format!("{port}/udp"))["state"], "busy");
    client.send(b"two").unwrap();
    let _ = daemon.wait_log(|line| line.about("ended", port));
    client.send(b"three!").unwrap();
    let _ = daemon.wait_count(2, |line| line.about("ended", port));
    upgrade(&daemon);
    client.send(b"fourth").unwrap();
    let pids = daemon.accepted(port, 3);
    assert!(pids[0] != pids[1] && pids[1] != pids[2]);
}

#[test]
fn a_program_per_peer_goes_on_and_new_peers_get_theirs() {
    let port = free_port();
    let line = format!("127.0.0.1:{port} dgram udp nowait {} /bin/cat cat\n", me());
    let daemon = controlled(&line);
    let (first, second) = (udp(port), udp(port));
    assert_eq!(udp_ask(&first, "one"), "one");
    upgrade(&daemon);
    assert_eq!(udp_ask(&second, "two"), "two");
    first.send(b"again").unwrap();
    assert_eq!(udp_read(&first), "again");
    assert_eq!(daemon.accepted(port, 2).len(), 2);
}

#[test]
fn a_unix_socket_stays_at_its_path_and_goes_with_the_server() {
    let folder = Folder::new();
    let path = folder.at("socket");
    let line = format!("{} stream unix nowait - /bin/echo echo hello\n", path.display());
    let mut daemon = Setup::new().controlled().start_in(folder, &line);
    let inode = || std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    let before = inode();
    upgrade(&daemon);
    assert_eq!(read_all(UnixStream::connect(&path).unwrap()), "hello\n");
    assert_eq!(inode(), before);
    let control = daemon.control();
    daemon.stop();
    assert!(!path.exists() && !control.exists());
}

#[test]
fn programs_still_end_when_they_have_had_their_time() {
    let port = free_port();
    let script = shell("trap : TERM; while :; do sleep 0.1; done");
    let options = "    timeout = 2s\n    kill_after = 1s\n";
    let daemon = controlled(&(tcp_line(port, &script) + options));
    let client = tcp(port);
    let pid = daemon.accepted(port, 1)[0];
    upgrade(&daemon);
    let term = daemon.wait_log(|line| line.about("timeout", port));
    assert_eq!((term.number("pid"), term.get("signal")), (Some(pid), Some("TERM")));
    upgrade(&daemon);
    let _ = daemon.wait_log(|line| line.is("timeout") && line.get("signal") == Some("KILL"));
    assert_eq!(read_all(client), "");
    let ended = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(ended.get("signal"), Some("SIGKILL"));
}

#[test]
fn what_an_overdue_program_has_left_behind_is_still_ended() {
    let port = free_port();
    // The shell ends at the first signal, what it has started does not.
    let script = shell("(trap \"\" TERM; exec sleep 1000) >&2 & echo $!; wait");
    let options = "    timeout = 1s\n    kill_after = 2s\n";
    let daemon = controlled(&(tcp_line(port, &script) + options));
    let left: u32 = read_line(tcp(port)).trim().parse().unwrap();
    let _ = daemon.wait_log(|line| line.about("ended", port));
    upgrade(&daemon);
    wait_until("the rest of the group to be killed", || !procs::is_alive(left));
    daemon.wait_childless();
}

#[test]
fn who_outlives_a_program_is_still_read() {
    let (folder, port) = (Folder::new(), free_port());
    let go = folder.at("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.01; done", go.display());
    let script = shell(&format!("({wait}; echo late >&2) </dev/null >/dev/null & exit 0"));
    let daemon = Setup::new().controlled().start_in(folder, &tcp_line(port, &script));
    assert_eq!(read_all(tcp(port)), "");
    let _ = daemon.wait_log(|line| line.about("ended", port));
    upgrade(&daemon);
    std::fs::write(&go, "").unwrap();
    let said = daemon.wait_log(|line| line.about("stderr", port));
    assert_eq!(said.get("line"), Some("late"));
}

#[test]
fn limits_count_those_from_before() {
    let ports = free_ports(2);
    let script = shell("echo in; read line");
    let text = tcp_line(ports[0], &script)
        + "    instances = 1\n    at_limit = refuse\n"
        + &tcp_line(ports[1], &script)
        + "    per_source = 1\n";
    let daemon = controlled(&text);
    let (one, other) = (tcp(ports[0]), tcp(ports[1]));
    assert_eq!((read_line(&one), read_line(&other)), ("in\n".to_owned(), "in\n".to_owned()));
    upgrade(&daemon);
    assert_eq!(read_all(tcp(ports[0])), "");
    assert_eq!(read_all(tcp(ports[1])), "");
    let elsewhere = tcp_from(Ipv4Addr::new(127, 0, 0, 2), ports[1]);
    assert_eq!(read_line(&elsewhere), "in\n");
    drop((one, other));
    let _ = daemon.wait_count(1, |line| line.about("ended", ports[0]));
    let _ = daemon.wait_count(1, |line| line.about("ended", ports[1]));
    assert_eq!(read_line(tcp(ports[0])), "in\n");
    assert_eq!(read_line(tcp(ports[1])), "in\n");
    let refused = &of(&daemon, &format!("{}/tcp", ports[0]))["refused"];
    assert_eq!(refused["instances"], 1);
}

#[test]
fn who_waits_behind_a_limit_is_served_when_its_turn_comes() {
    let port = free_port();
    let options = "    instances = 1\n    at_limit = wait\n";
    let daemon = controlled(&(tcp_line(port, &shell("echo in; read line")) + options));
    let first = tcp(port);
    assert_eq!(read_line(&first), "in\n");
    let second = tcp(port);
    upgrade(&daemon);
    assert_eq!(daemon.accepted(port, 1).len(), 1);
    drop(first);
    assert_eq!(read_line(&second), "in\n");
}

#[test]
fn a_stopped_service_stays_stopped() {
    let port = free_port();
    let daemon = controlled(&tcp_line(port, "internal echo"));
    let name = format!("{port}/tcp");
    let _ = daemon.answer(&["stop", &name]);
    upgrade(&daemon);
    assert_eq!(of(&daemon, &name)["state"], "stopped");
    let _ = daemon.answer(&["start", &name]);
    assert_eq!(echo_once(tcp(port), "hello"), "hello");
}

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
    scraper.write_all(b": x\r\n\r\n").unwrap();
    asker.write_all(b"tus\n").unwrap();
    let answer: Value = serde_json::from_str(&read_all(asker)).unwrap();
    assert_eq!(answer["pid"], daemon.pid());
    assert!(read_all(scraper).contains("oxinetd_"));
}

#[test]
fn a_long_banner_is_told_to_its_end_and_then_the_program_runs() {
    let port = free_port();
    let (folder, text) = long();
    let daemon = Setup::new().controlled().start_in(folder, &(tcp_line(port, CAT) + LONG));
    let mut client = narrow(port);
    client.write_all(b"me").unwrap();
    wait_until("the client to be let in", || descriptor_of(&daemon, &client));
    upgrade(&daemon);
    assert!(daemon.said("accepted").is_empty(), "no program before the banner is out");
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(client) == format!("{text}me"));
}

/// Whether the daemon has a socket for this client.
fn descriptor_of(daemon: &Daemon, client: &TcpStream) -> bool {
    let (own, peer) = (client.peer_addr().unwrap().port(), client.local_addr().unwrap().port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ends = format!(":{own:04X} 0100007F:{peer:04X} ");
    let inode = table.lines().find(|line| line.contains(&ends));
    let inode = inode.and_then(|line| line.split_whitespace().nth(9)).unwrap_or("none");
    let wanted = format!("socket:[{inode}]");
    let folder = format!("/proc/{}/fd", daemon.pid());
    let links = std::fs::read_dir(folder).unwrap().flatten();
    links.filter_map(|link| std::fs::read_link(link.path()).ok()).any(|it| it == Path::new(&wanted))
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
    assert_eq!(daemon.said("upgraded").len(), 1);
}
