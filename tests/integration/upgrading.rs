//! `oxinetd upgrade`: another program goes on in the place of the one that runs, with
//! everything that is open and everybody who is served. The other program is the same
//! one here; what matters is what it finds.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use crate::banners::{CAT, LONG, long, narrow};
use crate::common::clients::{echo_once, tcp_from, udp_ask, udp_read};
use crate::common::control::{controlled, status, status_of, status_of_port, upgrade};
use crate::common::load::Load;
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, free_ports, me, procs, read_all, read_line, shell,
    tcp, tcp_line, udp, wait_until,
};

#[test]
fn ten_upgrades_under_load_refuse_nobody_and_lose_nothing() {
    let ports = free_ports(3);
    let (program, echo, day) = (ports[0], ports[1], ports[2]);
    let text = tcp_line(program, "/bin/echo echo hello")
        + &tcp_line(echo, "internal echo")
        + &tcp_line(day, &shell("echo day; echo line >&2"));
    let daemon = Setup::new().controlled().copied().start(&text);
    upgrade(&daemon);
    // With what is made ahead for the next program.
    assert_eq!(read_all(tcp(day)), "day\n");
    daemon.wait_childless();
    let before = procs::descriptors(daemon.pid());
    let loads = [(program, "hello\n"), (program, "hello\n"), (day, "day\n")];
    let loads = loads.map(|(port, expected)| Load::start(port, expected));
    for _ in 0..9 {
        loads.iter().for_each(|load| load.wait_more(10));
        assert_eq!(echo_once(tcp(echo), "hello"), "hello");
        upgrade(&daemon);
    }
    loads.iter().for_each(|load| load.wait_more(10));
    let served: Vec<u32> = loads.into_iter().map(Load::finish).collect();
    daemon.wait_childless();
    let wanted = u64::from(served.iter().sum::<u32>()) + 10;
    wait_until("every connection to be counted as ended", || status(&daemon, None)["running"] == 0);
    let all = status(&daemon, None);
    assert_eq!((&all["accepted"], &all["failed"]), (&wanted.into(), &0.into()), "{all}");
    let exits = &status_of_port(&daemon, program)["exits"]["0"];
    assert_eq!(exits, &u64::from(served[0] + served[1]));
    assert_eq!(daemon.count_peers().1, 0);
    let lines = daemon.log.all_after(0, |line| line.about("stderr", day)).len();
    assert_eq!(lines, usize::try_from(served[2]).unwrap() + 1);
    wait_until("as many descriptors as before", || procs::descriptors(daemon.pid()) <= before);
    daemon.said_times(10, "upgraded");
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
    let running = status_of_port(&daemon, port);
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
    assert_eq!(status_of_port(&daemon, port)["exits"]["3"], 1);
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
    wait_until("everybody to be served", || status(&daemon, None)["conversations"] == 4);
    upgrade(&daemon);
    assert_eq!(status(&daemon, None)["conversations"], 4);
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
    wait_until("all to end", || status(&daemon, None)["conversations"] == 0);
    // One of them has been handed on to the program that it had named.
    wait_until("the log of their ends", || {
        daemon.log.all_after(0, |line| line.is("closed")).len() == 4
    });
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
    assert_eq!(status_of(&daemon, &format!("{port}/udp"))["state"], "busy");
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
    let options = "    timeout = 6s\n    kill_after = 3s\n";
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
    let options = "    timeout = 4s\n    kill_after = 4s\n";
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
    let refused = &status_of_port(&daemon, ports[0])["refused"];
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
    assert_eq!(status_of(&daemon, &name)["state"], "stopped");
    let _ = daemon.answer(&["start", &name]);
    assert_eq!(echo_once(tcp(port), "hello"), "hello");
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
pub(crate) fn descriptor_of(daemon: &Daemon, client: &TcpStream) -> bool {
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
