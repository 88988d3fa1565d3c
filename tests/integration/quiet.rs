//! What an idle server keeps.

use std::fs;

use crate::common::procs::status_field;
use crate::common::{Daemon, free_port, own_line, read_all, tcp, wait_until};

/// KiB of the server's that are in memory.
fn resident(daemon: &Daemon) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let size = status_field(&text, "VmRSS");
    size.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn what_clients_have_taken_of_memory_is_given_back() {
    let port = free_port();
    let daemon = Daemon::start(&own_line(port, "/bin/true true"));
    for _ in 0..3 {
        let clients: Vec<_> = (0..64).map(|_| tcp(port)).collect();
        for client in clients {
            assert_eq!(read_all(client), "");
        }
    }
    daemon.wait_childless();
    let busy = resident(&daemon);
    // Ten seconds after the last client.
    wait_until("half a megabyte less", || resident(&daemon) + 512 <= busy);
    assert_eq!(read_all(tcp(port)), "", "and it goes on");
}
