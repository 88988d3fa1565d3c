//! How many at once and how fast: waiting in the backlog, refusals, rates.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::common::clients::{echo_once, read_to_any_end, udp_read};
use crate::common::procs;
use crate::common::wait::park;
use crate::common::{
    Daemon, Line, Setup, ask, free_port, free_ports, is_root, me, need_program, read_all,
    read_line, tcp, tcp_line, udp, wait_until,
};

const CAT: &str = "/bin/cat cat";

/// An inetd.conf line with something behind `nowait`.
fn nowait_line(port: u16, suffix: &str, program: &str) -> String {
    format!("127.0.0.1:{port} stream tcp nowait{suffix} - {program}\n")
}

fn served(client: &TcpStream) -> bool {
    echo_once(client, "?") == "?"
}

fn refusals(daemon: &Daemon, port: u16) -> Vec<Line> {
    daemon.log.all_after(0, |line| line.about("refused", port))
}

#[test]
fn a_client_over_the_limit_waits_until_one_leaves_and_the_log_says_so_once() {
    let port = free_port();
    let daemon = Daemon::start(&(tcp_line(port, CAT) + "    instances = 2\n"));
    let (first, second) = (tcp(port), tcp(port));
    assert!(served(&first) && served(&second));
    let (third, fourth) = (tcp(port), tcp(port));
    let _ = daemon.wait_log(|line| line.about("limit-begin", port));
    assert_eq!(daemon.accepted(port, 2).len(), 2);
    drop(first);
    assert!(served(&third), "the slot is given to who waited");
    assert_eq!(daemon.log.all_after(0, |line| line.about("limit-begin", port)).len(), 1);
    drop(second);
    assert!(served(&fourth));
    drop((third, fourth));
    let _ = daemon.wait_count(1, |line| line.about("limit-end", port));
    assert!(refusals(&daemon, port).is_empty());
}

#[test]
fn a_hundred_clients_through_three_slots_are_all_served_in_turn() {
    let port = free_port();
    let text = tcp_line(port, "/usr/bin/head head -c 1") + "    instances = 3\n";
    let daemon = Daemon::start(&text);
    let clients: Vec<_> = (0..100).map(|_| tcp(port)).collect();
    for client in &clients {
        assert_eq!(echo_once(client, "x"), "x");
    }
    let _ = daemon.wait_count(100, |line| line.about("ended", port));
    assert_eq!(daemon.count_peers(), (100, 0));
    let begins = daemon.log.all_after(0, |line| line.about("limit-begin", port)).len();
    wait_until("as many ends of the limit as beginnings", || {
        daemon.log.all_after(0, |line| line.about("limit-end", port)).len() >= begins.min(1)
    });
}

#[test]
fn with_at_limit_refuse_a_client_over_the_limit_is_turned_away_at_once() {
    let port = free_port();
    let text = tcp_line(port, CAT) + "    instances = 1\n    at_limit = refuse\n";
    let daemon = Daemon::start(&text);
    let first = tcp(port);
    assert!(served(&first));
    assert_eq!(read_to_any_end(tcp(port)), "");
    let line =
        daemon.wait_log(|line| line.about("refused", port) || line.about("limit-begin", port));
    assert!(line.get("reason").is_some(), "{}", line.raw);
    drop(first);
    let _ = daemon.wait_log(|line| line.about("ended", port));
    assert!(served(&tcp(port)), "and served again when there is room");
}

#[test]
fn the_same_limit_is_said_in_netbsds_and_freebsds_way() {
    for line in [
        |port: u16| nowait_line(port, "/1", CAT),
        |port: u16| format!("127.0.0.1:{port} stream,1 tcp nowait - {CAT}\n"),
    ] {
        let port = free_port();
        let daemon = Daemon::start(&line(port));
        let first = tcp(port);
        assert!(served(&first));
        let second = tcp(port);
        let _ = daemon.wait_log(|line| line.about("limit-begin", port));
        drop(first);
        assert!(served(&second));
    }
}

/// Connects `count` times, one after the other; how many were served.
fn how_many_served(port: u16, count: usize) -> usize {
    (0..count).filter(|_| read_to_any_end(tcp(port)) == "yes\n").count()
}

#[test]
fn starts_over_the_rate_are_refused() {
    for line in [
        |port: u16| tcp_line(port, "/bin/echo echo yes") + "    rate = 3/minute\n",
        |port: u16| nowait_line(port, ".3", "/bin/echo echo yes"),
        |port: u16| nowait_line(port, ":3", "/bin/echo echo yes"),
    ] {
        let port = free_port();
        let daemon = Daemon::start(&line(port));
        let count = how_many_served(port, 8);
        // The bucket holds three, and fills by one every twenty seconds.
        assert!((3..=5).contains(&count), "{count} of 8 were served");
        let _ =
            daemon.wait_log(|line| line.about("refused", port) || line.about("limit-begin", port));
    }
}

#[test]
fn a_rate_recovers_as_its_bucket_fills() {
    let port = free_port();
    let daemon = Daemon::start(&(tcp_line(port, "/bin/echo echo yes") + "    rate = 2/second\n"));
    let mut turned_away = false;
    wait_until("a refusal", || {
        turned_away |= read_to_any_end(tcp(port)) != "yes\n";
        turned_away
    });
    wait_until("the next one served", || read_to_any_end(tcp(port)) == "yes\n");
    drop(daemon);
}

#[test]
fn freebsds_starts_a_minute_from_one_address_are_limited() {
    let port = free_port();
    let daemon = Daemon::start(&nowait_line(port, "/0/4", "/bin/echo echo yes"));
    let count = how_many_served(port, 9);
    assert!((4..=6).contains(&count), "{count} of 9 were served");
    let _ = daemon.wait_log(|line| line.about("refused", port) || line.about("limit-begin", port));
}

#[test]
fn clients_over_the_limit_of_their_address_are_refused_and_others_are_not() {
    for line in [
        |port: u16| tcp_line(port, CAT) + "    per_source = 2\n",
        |port: u16| nowait_line(port, "/0/0/2", CAT),
    ] {
        let port = free_port();
        let daemon = Daemon::start(&line(port));
        let (first, second) = (tcp(port), tcp(port));
        assert!(served(&first) && served(&second));
        assert_eq!(read_to_any_end(tcp(port)), "");
        let _ =
            daemon.wait_log(|line| line.about("refused", port) || line.about("limit-begin", port));
        assert!(served(&from_another_address(port)), "another source has its own limit");
        drop(first);
        // The first and the one from the other address.
        let _ = daemon.wait_count(2, |line| line.about("ended", port));
        assert!(served(&tcp(port)));
    }
}

#[test]
fn those_who_are_there_count_for_a_limit_of_their_address_that_a_reload_sets() {
    for program in [CAT, "internal echo"] {
        let port = free_port();
        let daemon = Daemon::start(&tcp_line(port, program));
        let old = [tcp(port), tcp(port), tcp(port)];
        assert!(old.iter().all(served));
        let (unlimited, limited) = (tcp_line(port, program), "    per_source = 2\n");
        // Once, however often it is set.
        for text in [unlimited.clone() + limited, unlimited.clone(), unlimited + limited] {
            let _ = daemon.reload(&text);
        }
        assert_eq!(read_to_any_end(tcp(port)), "", "{program}: three are there");
        let is_end = |line: &Line| line.about("ended", port) || line.about("closed", port);
        for (number, gone) in old[1..].iter().enumerate() {
            let _ = gone.shutdown(std::net::Shutdown::Both);
            let _ = daemon.wait_count(number + 1, is_end);
        }
        let second = tcp(port);
        assert!(served(&second), "{program}: one is there");
        assert_eq!(read_to_any_end(tcp(port)), "", "{program}: two are there");
    }
}

/// All of 127/8 is this machine: a client can choose among its addresses.
fn from_another_address(port: u16) -> TcpStream {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
    use std::os::fd::AsRawFd;
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 9, 0)).unwrap();
    connect(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).unwrap();
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(crate::common::DEADLINE)).unwrap();
    stream
}

#[test]
fn udp_peers_over_the_limit_wait_too() {
    let port = free_port();
    let text =
        format!("127.0.0.1:{port} dgram udp nowait - /usr/bin/head head -c 2\n    instances = 1\n");
    let daemon = Daemon::start(&text);
    let (first, second) = (udp(port), udp(port));
    first.send(b"1").unwrap();
    let _ = daemon.accepted(port, 1);
    second.send(b"22").unwrap();
    let _ = daemon.wait_log(|line| line.about("limit-begin", port));
    first.send(b"1").unwrap();
    assert_eq!(udp_read(&second), "22");
}

#[test]
fn the_number_of_children_of_all_services_together_is_limited_on_the_command_line() {
    let (one, two) = (free_port(), free_port());
    let text = tcp_line(one, CAT) + &tcp_line(two, CAT);
    let daemon = Setup::new().arg("--max-children").arg("2").start(&text);
    let (first, second) = (tcp(one), tcp(two));
    assert!(served(&first) && served(&second));
    let third = tcp(two);
    let _ = daemon.wait_log(|line| line.is("limit-begin"));
    drop(first);
    assert!(served(&third));
}

#[test]
fn a_default_on_the_command_line_holds_for_lines_that_say_nothing() {
    let port = free_port();
    let daemon = Setup::new().arg("--default").arg("instances=1").start(&tcp_line(port, CAT));
    let first = tcp(port);
    assert!(served(&first));
    let second = tcp(port);
    let _ = daemon.wait_log(|line| line.about("limit-begin", port));
    drop(first);
    assert!(served(&second));
}

/// Each within its own limit, clients that are held could take all descriptors there are.
#[test]
fn clients_that_are_held_leave_descriptors_to_programs_and_to_whoever_asks() {
    let (hello, echoes) = (free_port(), free_ports(4));
    let echo = |port: &u16| {
        format!(
            "127.0.0.1:{port} stream tcp nowait {} internal echo\n    instances = unlimited\n",
            me()
        )
    };
    let text =
        tcp_line(hello, "/bin/echo echo hello") + &echoes.iter().map(echo).collect::<String>();
    let daemon = Setup::new().controlled().after("ulimit -n 128").start(&text);
    let mut held: Vec<TcpStream> = echoes.iter().cycle().take(200).map(|port| tcp(*port)).collect();
    let _ = daemon.wait_log(|line| line.is("trouble"));
    for _ in 0..20 {
        assert_eq!(read_all(tcp(hello)), "hello\n");
    }
    assert!(daemon.answer(&["status"]).contains(&hello.to_string()));
    assert!(daemon.answer(&["reload"]).starts_with("reloaded"), "nothing is too many");
    // Who had to wait is served when others go.
    let mut last = held.pop().unwrap();
    held.clear();
    last.write_all(b"now\n").unwrap();
    assert_eq!(read_line(&mut last), "now\n");
}

/// Programs can take all that clients leave.
#[test]
fn programs_that_have_taken_all_descriptors_leave_some_to_whoever_asks() {
    let port = free_port();
    let text = tcp_line(port, "/bin/cat cat") + "    instances = unlimited\n";
    let setup = Setup::new().controlled().arg("--max-children=1000");
    let daemon = setup.after("ulimit -n 128").start(&text);
    let held: Vec<TcpStream> = (0..100).map(|_| tcp(port)).collect();
    let _ = daemon.wait_log(|line| line.is("trouble"));
    assert!(daemon.answer(&["status"]).contains(&port.to_string()));
    assert!(daemon.answer(&["reload"]).starts_with("reloaded"), "nothing is too many");
    drop(held);
    wait_until("others are served", || ask(port, "hello") == "hello");
}

#[test]
fn a_limit_that_ends_with_its_service_is_said_of_that_one() {
    for after in ["# nothing\n".to_owned(), tcp_line(free_port(), CAT)] {
        let port = free_port();
        let daemon = Daemon::start(&(tcp_line(port, CAT) + "    instances = 1\n"));
        let first = tcp(port);
        assert!(served(&first));
        let _second = tcp(port);
        let _ = daemon.wait_log(|line| line.about("limit-begin", port));
        let _ = daemon.reload(&after);
        let _ = daemon.wait_log(|line| line.about("limit-end", port));
    }
}

/// Each tries again now and then. None of them gives another a reason to.
#[test]
fn services_that_wait_for_descriptors_do_not_keep_each_other_busy() {
    let ports = free_ports(4);
    let line = |port: &u16| tcp_line(*port, CAT) + "    instances = unlimited\n";
    let text: String = ports.iter().map(line).collect();
    let setup = Setup::new().controlled().arg("--max-children=1000");
    let daemon = setup.after("ulimit -n 128").start(&text);
    let held: Vec<TcpStream> = ports.iter().cycle().take(100).map(|port| tcp(*port)).collect();
    let _ = daemon.wait_log(|line| line.is("trouble"));
    let taken = || daemon.count_peers().1;
    wait_until("nobody else gets in", || {
        let before = taken();
        park(Duration::from_millis(300));
        taken() == before
    });
    wait_until("it to need little processor time", || {
        let before = procs::cpu_time(daemon.pid());
        park(Duration::from_secs(1));
        procs::cpu_time(daemon.pid()).saturating_sub(before) < Duration::from_millis(500)
    });
    drop(held);
    wait_until("others are served", || ask(ports[0], "hello") == "hello");
}

/// A relay holds two descriptors, and its target one more: they must not wait for each other.
#[test]
fn relays_to_a_service_of_this_server_leave_room_for_that() {
    let (relay, echo) = (free_port(), free_port());
    let text = format!(
        "127.0.0.1:{relay} stream tcp nowait {0} internal\n    redirect = 127.0.0.1 {echo}\n\
         127.0.0.1:{echo} stream tcp nowait {0} internal echo\n",
        me()
    );
    let daemon = Setup::new().after("ulimit -n 128").start(&text);
    let held: Vec<TcpStream> = (0..150).map(|_| tcp(relay)).collect();
    let _ = daemon.wait_log(|line| line.is("trouble"));
    assert!(served(&held[0]), "who was there before is served");
    drop(held);
    wait_until("others are served", || ask(relay, "hello") == "hello");
}

/// As an ordinary user: nothing counts root's processes.
#[test]
fn a_program_for_which_there_is_no_process_is_said_of_its_service() {
    if !need_program("setpriv") || !need_program("prlimit") {
        return;
    }
    let port = free_port();
    // Nobody else has processes of this user.
    let user = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"];
    let under: &[&str] = if is_root() { &user } else { &[] };
    let daemon = Setup::new().under(under).start(&tcp_line(port, CAT));
    let pid = format!("--pid={}", daemon.pid());
    let limit = [under, &["prlimit", &pid, "--nproc=1"]].concat();
    assert!(Command::new(limit[0]).args(&limit[1..]).status().unwrap().success());
    let held: Vec<TcpStream> = (0..8).map(|_| tcp(port)).collect();
    let line = daemon.wait_log(|line| line.is("trouble"));
    let service = format!("{port}/tcp");
    assert_eq!((line.get("call"), line.get("service")), (Some("spawn"), Some(service.as_str())));
    drop(held);
}
