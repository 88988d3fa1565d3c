//! `proxy_protocol`: whoever has to begin is taken when he has begun.

use std::io::Write as _;

use crate::common::needs::need_program;
use crate::common::strace::Strace;
use crate::common::{Daemon, free_port, read_line, tcp, tcp_line, wait_until};
use crate::proxy_headers::{BEHIND, line, say};

/// Those who have begun.
const CLIENTS: usize = 40;

/// How often somebody comes who does not begin at once.
const ROUNDS: usize = 5;

#[test]
fn who_has_not_begun_is_not_taken_yet() {
    if !need_program("strace") {
        return;
    }
    let port = free_port();
    let daemon = Daemon::start(&(tcp_line(port, "/bin/echo echo served") + BEHIND));
    let Some(strace) = Strace::attach(daemon.pid(), &["-e", "trace=recvfrom"]) else { return };
    for _ in 0..ROUNDS {
        let mut late = tcp(port);
        assert_eq!(say(port, &line("192.0.2.1", 1), ""), "served\n");
        late.write_all(&line("192.0.2.2", 1)).unwrap();
        assert_eq!(read_line(&late), "served\n");
    }
    let text = strace.finish();
    let looks =
        |what: &str| text.lines().filter(|it| it.contains("MSG_PEEK") && it.contains(what)).count();
    assert!(looks("PROXY") >= 2 * ROUNDS, "{text}");
    // Where the machine is busy for a second, the kernel does not keep him any longer.
    assert!(looks("EAGAIN") < ROUNDS, "{text}");
}

/// A service that is done with its client at once shows what comes to that for a header.
#[test]
fn a_header_that_is_there_costs_a_look_and_a_read() {
    if !need_program("strace") {
        return;
    }
    let port = free_port();
    let daemon = Daemon::start(&(tcp_line(port, "internal daytime") + BEHIND));
    let calls = ["-e", "trace=recvfrom,epoll_ctl,setsockopt,getsockopt"];
    let Some(strace) = Strace::attach(daemon.pid(), &calls) else { return };
    for _ in 0..CLIENTS {
        assert!(say(port, &line("192.0.2.1", 1), "").ends_with("\r\n"));
    }
    let text = strace.finish();
    let count = |what: &str| text.lines().filter(|it| it.contains(what)).count();
    // Where the machine is busy for a second, the kernel does not keep who has not begun.
    let spared = CLIENTS + ROUNDS;
    assert!((CLIENTS..spared).contains(&count("MSG_PEEK")), "{text}");
    // The header, and that nothing stands behind it.
    assert!(count("recvfrom(") - count("MSG_PEEK") <= 2 * CLIENTS, "{text}");
    for other in ["epoll_ctl(", "setsockopt(", "getsockopt("] {
        assert!(count(other) < 2 * ROUNDS, "{other} {text}");
    }
}

#[test]
fn a_reload_changes_whether_clients_begin() {
    if !need_program("strace") {
        return;
    }
    let port = free_port();
    let plain = tcp_line(port, "/bin/echo echo served");
    let daemon = Daemon::start(&plain);
    let Some(strace) = Strace::attach(daemon.pid(), &["-e", "trace=setsockopt"]) else { return };
    let is_set = |seconds: &str| {
        let set = format!("TCP_DEFER_ACCEPT, [{seconds}]");
        wait_until("the option", || {
            strace.text().lines().last().is_some_and(|it| it.contains(&set))
        });
    };
    daemon.reload(&(plain.clone() + BEHIND));
    is_set("1");
    assert_eq!(say(port, &line("192.0.2.1", 1), ""), "served\n");
    daemon.reload(&plain);
    is_set("0");
    assert_eq!(read_line(&tcp(port)), "served\n");
    // Who has to be quicker than the kernel is waited for by the server.
    daemon.reload(&(plain.clone() + BEHIND));
    daemon.reload(&(plain + BEHIND + "    proxy_timeout = 1s\n"));
    is_set("0");
}
