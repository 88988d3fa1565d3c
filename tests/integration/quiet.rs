//! What an idle server keeps.

use crate::common::procs::resident;
use crate::common::{Daemon, free_port, own_line, read_all, tcp, wait_until};

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
    let busy = resident(daemon.pid());
    // Ten seconds after the last client.
    wait_until("half a megabyte less", || resident(daemon.pid()) + 512 <= busy);
    assert_eq!(read_all(tcp(port)), "", "and it goes on");
}
