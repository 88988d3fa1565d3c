//! TCP services: one program per connection, on every kind of address.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::thread;

use crate::common::clients::{echo_once, tcp_to, try_tcp};
use crate::common::{
    Daemon, Folder, Setup, ask, free_port, free_ports, need_ipv6, read_all, shell, tcp, tcp_line,
    tcp6,
};

#[test]
fn a_client_over_ipv4_gets_its_own_bytes_back_from_cat() {
    let port = free_port();
    let mut daemon = Daemon::start(&tcp_line(port, "/bin/cat cat"));
    assert_eq!(ask(port, "hello\nworld"), "hello\nworld");
    daemon.stop();
}

#[test]
fn a_client_over_ipv6_gets_its_own_bytes_back_from_cat() {
    if !need_ipv6() {
        return;
    }
    let port = free_port();
    let mut daemon = Daemon::start(&format!("[::1]:{port} stream tcp6 nowait - /bin/cat cat\n"));
    assert_eq!(echo_once(tcp6(port), "six"), "six");
    let line = daemon.wait_log(|line| line.about("accepted", port));
    assert!(line.get("peer").unwrap().starts_with("[::1]:"), "{}", line.raw);
    daemon.stop();
}

#[test]
fn one_line_without_an_address_serves_both_families() {
    if !need_ipv6() {
        return;
    }
    let port = free_port();
    let daemon = Daemon::start(&format!("{port} stream tcp nowait - /bin/echo echo both\n"));
    assert_eq!(read_all(tcp(port)), "both\n");
    assert_eq!(read_all(tcp6(port)), "both\n");
    daemon.said_times(2, "listening");
}

#[test]
fn tcp4_and_tcp6_on_one_port_are_two_services() {
    if !need_ipv6() {
        return;
    }
    let port = free_port();
    let _daemon = Daemon::start(&format!(
        "{port} stream tcp4 nowait - /bin/echo echo four\n{port} stream tcp6 nowait - /bin/echo echo six\n"
    ));
    assert_eq!(read_all(tcp(port)), "four\n");
    assert_eq!(read_all(tcp6(port)), "six\n");
}

#[test]
fn a_list_of_addresses_is_served_on_each_and_on_no_other() {
    let port = free_port();
    let _daemon = Daemon::start(&format!(
        "127.0.0.1,127.0.0.2:{port} stream tcp nowait - /bin/echo echo here\n"
    ));
    for address in ["127.0.0.1", "127.0.0.2"] {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        assert_eq!(read_all(tcp_to(address)), "here\n");
    }
    let other = SocketAddr::new("127.0.0.3".parse().unwrap(), port);
    assert!(try_tcp(other).is_err(), "127.0.0.3 was not asked for");
}

#[test]
fn an_address_alone_on_a_line_holds_for_the_lines_after_it() {
    let ports = free_ports(2);
    let (first, second) = (ports[0], ports[1]);
    let _daemon = Daemon::start(&format!(
        "127.0.0.2:\n{first} stream tcp nowait - /bin/echo echo two\n\
         *:\n{second} stream tcp4 nowait - /bin/echo echo all\n"
    ));
    let second_address = "127.0.0.2".parse().unwrap();
    assert_eq!(read_all(tcp_to(SocketAddr::new(second_address, first))), "two\n");
    assert!(try_tcp(SocketAddr::new("127.0.0.1".parse().unwrap(), first)).is_err());
    assert_eq!(read_all(tcp(second)), "all\n");
}

#[test]
fn every_port_of_a_range_is_served() {
    let ports = free_ports(4);
    let (low, high) = (ports[0], ports[3]);
    let _daemon =
        Daemon::start(&format!("127.0.0.1:{low}-{high} stream tcp nowait - /bin/echo echo in\n"));
    for port in ports {
        assert_eq!(read_all(tcp(port)), "in\n");
    }
}

#[test]
fn a_hundred_clients_at_once_each_have_a_program_of_their_own() {
    let port = free_port();
    let daemon = Daemon::start(&tcp_line(port, "/bin/cat cat"));
    let clients: Vec<_> = (0..100).map(|_| tcp(port)).collect();
    for (number, client) in clients.iter().enumerate() {
        let text = format!("client {number}");
        assert_eq!(echo_once(client, &text), text);
    }
    let mut pids = daemon.accepted(port, 100);
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 100);
    drop(clients);
    let _ = daemon.wait_count(100, |line| line.about("ended", port));
    daemon.wait_childless();
}

#[test]
fn eight_megabytes_go_through_a_program_unchanged() {
    let port = free_port();
    let _daemon = Daemon::start(&tcp_line(port, "/bin/cat cat"));
    let text: String = (0..1_000_000).map(|number| format!("{number:07}\n")).collect();
    let stream = tcp(port);
    let mut sender = stream.try_clone().unwrap();
    let sent = text.clone();
    let worker = thread::spawn(move || {
        sender.write_all(sent.as_bytes()).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    assert!(read_all(stream) == text, "what came back differs");
    worker.join().unwrap();
}

#[test]
fn the_exit_status_of_a_program_is_logged_with_its_pid_peer_and_time() {
    let port = free_port();
    let daemon = Daemon::start(&tcp_line(port, &shell("exit 3")));
    let client = tcp(port);
    let address = client.local_addr().unwrap().to_string();
    let line = daemon.wait_log(|line| line.about("ended", port));
    let pid = daemon.accepted(port, 1)[0];
    assert_eq!(line.get("status"), Some("3"), "{}", line.raw);
    assert_eq!(line.number("pid"), Some(pid), "{}", line.raw);
    assert_eq!(line.get("peer"), Some(address.as_str()), "{}", line.raw);
    let time = line.get("time").and_then(|time| time.strip_suffix('s')).unwrap();
    assert!(time.parse::<f64>().is_ok_and(|seconds| seconds < 30.0), "{}", line.raw);
}

#[test]
fn a_program_ended_by_a_signal_is_logged_with_the_signals_name() {
    let port = free_port();
    let daemon = Daemon::start(&tcp_line(port, &shell("kill -KILL $$")));
    assert_eq!(read_all(tcp(port)), "");
    let line = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(line.get("signal"), Some("SIGKILL"), "{}", line.raw);
}

#[test]
fn arguments_are_quoted_as_in_a_shell_and_without_limit() {
    let port = free_port();
    let many: String = (0..60).map(|number| format!(" {number}")).collect();
    let text = format!("127.0.0.1:{port} stream tcp nowait - /usr/bin/printf printf '<%s>' 'a  b'")
        + " \"c \\\" d\"\n"
        + "   "
        + &many
        + "\n";
    let _daemon = Daemon::start(&text);
    let answer = read_all(tcp(port));
    assert!(answer.starts_with("<a  b><c \" d><0><1>"), "{answer}");
    assert!(answer.ends_with("<58><59>"), "{answer}");
}

#[test]
fn a_bare_program_name_is_found_in_path_and_argv_may_be_left_out() {
    let port = free_port();
    let _daemon = Daemon::start(&tcp_line(port, "echo"));
    assert_eq!(read_all(tcp(port)), "\n");
}

#[test]
fn attributes_come_from_defaults_and_are_overridden_under_the_line() {
    let ports = free_ports(2);
    let (first, second) = (ports[0], ports[1]);
    let script = shell("echo $COLOUR");
    let text = format!(
        ".defaults\n    env = COLOUR=red\n{}{}    env = COLOUR=blue\n",
        tcp_line(first, &script),
        tcp_line(second, &script)
    );
    let _daemon = Daemon::start(&text);
    assert_eq!(read_all(tcp(first)), "red\n");
    assert_eq!(read_all(tcp(second)), "blue\n");
}

#[test]
fn included_files_are_served_too() {
    let ports = free_ports(2);
    let folder = Folder::new();
    folder.write("conf.d/one.conf", &tcp_line(ports[0], "/bin/echo echo one"));
    folder.write("conf.d/two.conf~", "this is an editor's copy and not read\n");
    let main = format!(".include conf.d/*\n{}", tcp_line(ports[1], "/bin/echo echo main"));
    let _daemon = Setup::new().start_in(folder, &main);
    assert_eq!(read_all(tcp(ports[0])), "one\n");
    assert_eq!(read_all(tcp(ports[1])), "main\n");
}

#[test]
fn a_disabled_service_is_not_served() {
    let ports = free_ports(2);
    let text = format!(
        "{}    disable = yes\n{}",
        tcp_line(ports[0], "/bin/echo echo no"),
        tcp_line(ports[1], "/bin/echo echo yes")
    );
    let _daemon = Daemon::start(&text);
    assert_eq!(read_all(tcp(ports[1])), "yes\n");
    assert!(try_tcp(SocketAddr::new("127.0.0.1".parse().unwrap(), ports[0])).is_err());
}

#[test]
fn nodelay_and_keepalive_are_set_on_the_connection() {
    if !crate::common::need_program("ss") {
        return;
    }
    let port = free_port();
    let line = tcp_line(port, "/bin/cat cat") + "    keepalive = yes\n    nodelay = yes\n";
    let _daemon = Daemon::start(&line);
    let client = tcp(port);
    assert_eq!(echo_once(&client, "x"), "x");
    let output = std::process::Command::new("ss")
        .args(["-tnoH", "state", "established", "sport", &format!("= :{port}")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("timer:(keepalive"), "no keepalive timer in: {text}");
}
