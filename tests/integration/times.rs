//! When clients are served: the local time of day, and the load of the machine.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::clients::read_to_any_end;
use crate::common::{Daemon, Setup, free_port, tcp, tcp_line, udp, wait_until};

const YES: &str = "/bin/echo echo yes";

/// A span from and to so many minutes from now, by a clock that is `ahead` of UTC.
fn span(ahead: i64, from: i64, to: i64) -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let now = i64::try_from(seconds).unwrap() / 60 + ahead;
    let time = |minutes: i64| {
        let minute = (now + minutes).rem_euclid(1_440);
        format!("{}:{:02}", minute / 60, minute % 60)
    };
    format!("{}-{}", time(from), time(to))
}

#[test]
fn outside_its_times_a_service_refuses_and_a_reload_changes_them() {
    let port = free_port();
    let text = |times: &str| tcp_line(port, YES) + &format!("    access_times = {times}\n");
    let (open, shut) = (span(0, -60, 60), span(0, 120, 180));
    let daemon = Setup::new().env("TZ", "UTC").start(&text(&open));
    assert_eq!(read_to_any_end(tcp(port)), "yes\n");
    let _ = daemon.reload(&text(&shut));
    assert_eq!(read_to_any_end(tcp(port)), "");
    let line = daemon.wait_log(|line| line.about("refused", port));
    assert_eq!(line.get("reason"), Some("access_times"));
    let _ = daemon.reload(&text(&format!("{shut} {open}")));
    assert_eq!(read_to_any_end(tcp(port)), "yes\n");
}

#[test]
fn times_are_local_and_may_go_over_midnight() {
    let (open, shut) = (free_port(), free_port());
    // Seven hours and a half east of Greenwich; POSIX counts the other way. One of the
    // spans, open or shut, goes over midnight whatever time it is.
    let text = tcp_line(open, YES)
        + &format!("    access_times = {}\n", span(450, -700, 60))
        + &tcp_line(shut, YES)
        + &format!("    access_times = {}\n", span(450, 60, -60));
    let _daemon = Setup::new().env("TZ", "XYZ-7:30").start(&text);
    assert_eq!(read_to_any_end(tcp(open)), "yes\n");
    assert_eq!(read_to_any_end(tcp(shut)), "");
}

#[test]
fn datagrams_come_at_the_wrong_time_too() {
    let port = free_port();
    let text = format!(
        "127.0.0.1:{port} dgram udp wait - internal echo\n    access_times = {}\n",
        span(0, 120, 180)
    );
    let daemon = Setup::new().env("TZ", "UTC").start(&text);
    udp(port).send(b"?").unwrap();
    let line = daemon.wait_log(|line| line.about("refused", port));
    assert_eq!(line.get("reason"), Some("access_times"));
}

#[test]
fn above_the_load_clients_are_refused() {
    let (low, high) = (free_port(), free_port());
    let text = tcp_line(low, YES)
        + "    max_load = 0.00001\n"
        + &tcp_line(high, YES)
        + "    max_load = 100000\n";
    let daemon = Daemon::start(&text);
    assert_eq!(read_to_any_end(tcp(high)), "yes\n");
    // A machine that has done nothing for a long time has something to do now.
    wait_until("the load to be seen", || read_to_any_end(tcp(low)).is_empty());
    let line = daemon.wait_log(|line| line.about("refused", low));
    assert_eq!(line.get("reason"), Some("max_load"));
}

#[test]
fn over_its_connections_a_second_a_listener_rests_and_comes_back() {
    let port = free_port();
    let daemon = Daemon::start(&(tcp_line(port, YES) + "    cps = 2 1\n"));
    wait_until("one too many", || read_to_any_end(tcp(port)) != "yes\n");
    let line = daemon.wait_log(|line| line.about("refused", port));
    assert_eq!(line.get("reason"), Some("cps"));
    // Whoever comes now waits in the backlog until the rest is over.
    assert_eq!(read_to_any_end(tcp(port)), "yes\n");
}
