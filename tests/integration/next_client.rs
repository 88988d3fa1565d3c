//! Clients that open the next connection when the one before has ended: its program may
//! still be exiting, and what it holds of a limit is theirs in a moment.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::thread;

use nix::sys::signal::{Signal, killpg};

use crate::common::clients::{echo_once, read_to_any_end, tcp_from};
use crate::common::control::controlled;
use crate::common::daemon::as_pid;
use crate::common::tls::{behind_tls, python, site};
use crate::common::{
    Daemon, Folder, Setup, free_port, me, own_line, read_line, shell, tcp, tcp_line,
};

const ONE: &str = "    instances = 1\n    at_limit = refuse\n";

/// Its client sees its end while it has still to exit.
fn dawdler() -> String {
    shell("echo here; exec <&- >&- 2>&-; sleep 0.02")
}

/// It goes on when its client has seen its end, for as long as the test takes.
fn stayer() -> String {
    shell("echo here; exec <&- >&- 2>&-; exec sleep 600")
}

/// Connects so often, one after the other, and reads to the end; how often in vain.
fn in_vain(times: usize, connect: impl Fn() -> Box<dyn Read>) -> usize {
    (0..times).filter(|_| read_to_any_end(connect()).is_empty()).count()
}

fn over_tcp(port: u16) -> impl Fn() -> Box<dyn Read> {
    move || Box::new(tcp(port))
}

/// How often it is tried to serve some, one after the other: on a busy machine a program may
/// take longer to exit than its next client waits. Without that wait half of them are refused.
const ROUNDS: usize = 20;

/// Whether `serve`, which says how many are served in vain, comes to none and no refusal.
#[track_caller]
fn serves_all(daemon: &Daemon, serve: impl Fn() -> usize) {
    for round in 1..=ROUNDS {
        let mark = daemon.log.mark();
        let vain = serve();
        // Signals are taken in turn, so nothing is to come.
        let _ = daemon.count_peers();
        let refused = daemon.log.all_after(mark, |line| line.is("refused"));
        if vain == 0 && refused.is_empty() {
            return;
        }
        assert!(round < ROUNDS, "{vain} in vain: {refused:?}");
    }
}

#[test]
fn one_after_the_other_is_served_however_small_the_limit() {
    for limit in ["    per_source = 1\n", ONE] {
        let port = free_port();
        let daemon = Daemon::start(&(tcp_line(port, "/bin/date date") + limit));
        serves_all(&daemon, || in_vain(50, over_tcp(port)));
    }
}

#[test]
fn ten_at_a_time_are_served_where_ten_may_be() {
    let port = free_port();
    let daemon = Daemon::start(&(tcp_line(port, "/bin/date date") + "    per_source = 10\n"));
    serves_all(&daemon, || {
        let all = (0..10).map(|_| thread::spawn(move || in_vain(50, over_tcp(port))));
        let all: Vec<_> = all.collect();
        all.into_iter().map(|one| one.join().unwrap()).sum()
    });
}

#[test]
fn a_program_may_take_a_while_to_exit() {
    for limit in ["    per_source = 1\n", ONE] {
        let port = free_port();
        let daemon = Daemon::start(&(tcp_line(port, &dawdler()) + limit));
        serves_all(&daemon, || in_vain(20, over_tcp(port)));
    }
}

#[test]
fn on_a_unix_socket_and_by_a_file_of_xinetd_too() {
    let (folder, port) = (Folder::new(), free_port());
    let path = folder.open_folder("sockets").join("here");
    let text = format!("{} stream unix nowait {} {}\n{ONE}", path.display(), me(), dawdler());
    let daemon = Setup::new().start_in(folder, &text);
    let connect = || -> Box<dyn Read> { Box::new(UnixStream::connect(&path).unwrap()) };
    serves_all(&daemon, || in_vain(20, connect));
    let script = daemon.folder.write("dawdle", "echo here; exec <&- >&- 2>&-; sleep 0.02\n");
    for limit in ["instances = 1", "per_source = 1"] {
        let block = format!(
            "service here\n{{\ntype = UNLISTED\nport = {port}\nsocket_type = stream\nwait = no\n\
             user = {}\nserver = /bin/sh\nserver_args = {}\n{limit}\n}}\n",
            nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name,
            script.display(),
        );
        let daemon = Daemon::start(&block);
        serves_all(&daemon, || in_vain(20, over_tcp(port)));
    }
}

#[test]
fn behind_tls_the_next_client_is_held_as_without() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, &dawdler(), "    per_source = 1\n");
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
vain, shared = 0, context()
for _ in range(15):
    try:
        it = shared.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=50))
        vain += read_all(it) != b'here\n'
        it.close()
    except (OSError, ssl.SSLError): vain += 1
print(vain)
";
    serves_all(&daemon, || {
        python(&daemon.folder, script, &[&port.to_string()]).trim().parse().unwrap()
    });
}

#[test]
fn behind_tcpmux_the_next_client_waits_for_the_place_of_the_one_before() {
    let port = free_port();
    let text = format!(
        "127.0.0.1:{port} stream tcp nowait {} internal tcpmux\n\
         tcpmux/+here stream tcp nowait - {}\n    instances = 1\n",
        me(),
        dawdler()
    );
    let daemon = Daemon::start(&text);
    let is_served = || {
        let mut client = tcp(port);
        client.write_all(b"here\r\n").unwrap();
        read_to_any_end(client) == "+Go\r\nhere\n"
    };
    serves_all(&daemon, || (0..20).filter(|_| !is_served()).count());
}

#[test]
fn the_servers_own_services_and_relays_too() {
    let (own, echo, relay) = (free_port(), free_port(), free_port());
    let limit = "    per_source = 1\n";
    let redirect = format!("    redirect = 127.0.0.1 {echo}\n");
    let text = own_line(own, "internal echo") + limit + &own_line(echo, "internal echo");
    let daemon = Daemon::start(&(text + &own_line(relay, "internal") + limit + &redirect));
    let is_served = |port: u16| {
        use std::net::Shutdown;
        let mut client = tcp(port);
        let asked = client.write_all(b"x").and_then(|()| client.shutdown(Shutdown::Write));
        asked.is_ok() && read_to_any_end(client) == "x"
    };
    serves_all(&daemon, || {
        // The client ends it, and comes again before the server has looked.
        let both = (0..50).flat_map(|_| [own, relay]);
        both.filter(|port| !is_served(*port)).count()
    });
}

#[test]
fn whoever_is_over_a_limit_for_longer_is_refused_and_told_so() {
    let folder = Folder::new();
    folder.write("go-away", "go away\r\n");
    let (open, closed) = (free_port(), free_port());
    let fail = "    banner_fail = go-away\n";
    let text = tcp_line(open, "/bin/cat cat") + "    per_source = 1\n" + fail;
    let text = text + &own_line(closed, &stayer()) + "    per_source = 1\n    linger = no\n" + fail;
    let daemon = Setup::new().start_in(folder, &text);
    let first = tcp(open);
    assert_eq!(echo_once(&first, "x"), "x");
    assert_eq!(read_to_any_end(tcp(open)), "go away\r\n");
    let line = daemon.wait_log(|line| line.about("refused", open));
    assert_eq!(line.get("reason"), Some("per_source"));
    // One whose program has closed everything and runs on is no other.
    assert_eq!(read_to_any_end(tcp(closed)), "here\n");
    assert_eq!(read_to_any_end(tcp(closed)), "go away\r\n");
    let _ = daemon.wait_log(|line| line.about("refused", closed));
}

#[test]
fn a_flood_of_one_source_is_refused_and_holds_nobody_up() {
    const FLOOD: usize = 300;
    let port = free_port();
    let text = tcp_line(port, "/bin/cat cat") + "    per_source = 1\n";
    let daemon = Daemon::start(&text);
    let first = tcp(port);
    assert_eq!(echo_once(&first, "x"), "x");
    let flood: Vec<_> = (0..FLOOD).map(|_| tcp(port)).collect();
    let other = tcp_from(Ipv4Addr::new(127, 0, 0, 9), port);
    assert_eq!(echo_once(&other, "y"), "y");
    for client in flood {
        assert_eq!(read_to_any_end(client), "");
    }
    drop((first, other));
    let _ = daemon.wait_count(2, |line| line.about("ended", port));
    assert_eq!(echo_once(tcp(port), "z"), "z");
}

#[test]
fn who_is_held_goes_with_the_service_that_is_stopped_or_gone() {
    let port = free_port();
    let text = own_line(port, &stayer()) + "    per_source = 1\n";
    let daemon = controlled(&text);
    let service = port.to_string();
    for is_last in [false, true] {
        let first = tcp(port);
        assert_eq!(read_line(&first), "here\n");
        let held = tcp(port);
        if is_last {
            let _ = daemon.reload("# nothing\n");
        } else {
            let _ = daemon.answer(&["stop", &service]);
            let _ = daemon.answer(&["start", &service]);
        }
        assert_eq!(read_to_any_end(held), "");
        let pid = daemon.said("accepted").last().unwrap().number("pid").unwrap();
        let _ = killpg(as_pid(pid), Signal::SIGKILL);
        let _ = daemon.wait_log(|line| line.is("ended") && line.number("pid") == Some(pid));
    }
}
