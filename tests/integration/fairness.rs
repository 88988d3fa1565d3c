//! Whoever wants too much pays first, and nobody else does.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use crate::common::clients::{echo_once, read_to_any_end, tcp_from};
use crate::common::{Daemon, free_port, read_all, tcp, tcp_line, wait_until};

const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// Connections to one port as fast as they go, each read to its end, whatever that is.
struct Flood {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU32>,
    workers: Vec<JoinHandle<()>>,
}

impl Flood {
    fn start(port: u16, workers: usize) -> Self {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let worker = |_| {
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let _ = read_to_any_end(tcp(port));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let workers = (0..workers).map(worker).collect();
        Self { stop, count, workers }
    }

    fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.join().unwrap();
        }
    }
}

/// Connects to `quiet` again and again while `flood` goes on.
fn served_beside(flood: Flood, quiet: u16, expected: &str) {
    wait_until("the flood", || flood.count() > 50);
    let before = flood.count();
    // Each of them has a deadline of its own.
    for _ in 0..50 {
        assert_eq!(read_all(tcp(quiet)), expected);
    }
    wait_until("the flood to go on meanwhile", || flood.count() > before);
    flood.finish();
}

#[test]
fn a_flood_of_refused_clients_does_not_keep_others_waiting() {
    let (busy, quiet) = (free_port(), free_port());
    let text = tcp_line(busy, "/bin/echo echo yes")
        + "    rate = 1/minute\n"
        + &tcp_line(quiet, "/bin/echo echo yes");
    let _daemon = Daemon::start(&text);
    served_beside(Flood::start(busy, 4), quiet, "yes\n");
}

#[test]
fn a_flood_of_served_clients_does_not_keep_others_waiting() {
    let (busy, quiet) = (free_port(), free_port());
    let text = tcp_line(busy, "/bin/echo echo yes") + &tcp_line(quiet, "/bin/echo echo quiet");
    let _daemon = Daemon::start(&text);
    served_beside(Flood::start(busy, 8), quiet, "quiet\n");
}

#[test]
fn a_source_over_its_own_limit_does_not_starve_another_at_the_services_limit() {
    let port = free_port();
    let text = tcp_line(port, "/bin/cat cat") + "    instances = 2\n    per_source = 1\n";
    let _daemon = Daemon::start(&text);
    let greedy = tcp(port);
    assert_eq!(echo_once(&greedy, "?"), "?");
    let flood = Flood::start(port, 4);
    wait_until("the flood", || flood.count() > 20);
    for _ in 0..20 {
        assert_eq!(echo_once(tcp_from(OTHER, port), "?"), "?");
    }
    flood.finish();
    assert_eq!(echo_once(&greedy, "?"), "?", "who is served stays served");
}

#[test]
fn the_limit_of_a_source_holds_over_ipv6() {
    if !crate::common::need_ipv6() {
        return;
    }
    let port = free_port();
    let text = format!("[::1]:{port} stream tcp nowait - /bin/cat cat\n    per_source = 1\n");
    let daemon = Daemon::start(&text);
    let first = crate::common::tcp6(port);
    assert_eq!(echo_once(&first, "?"), "?");
    assert_eq!(read_to_any_end(crate::common::tcp6(port)), "");
    let line = daemon.wait_log(|line| line.about("refused", port));
    assert_eq!(line.get("reason"), Some("per_source"));
}
