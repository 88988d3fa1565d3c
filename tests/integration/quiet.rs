//! What an idle server keeps, and that it sleeps.

use std::time::{Duration, Instant};

use crate::common::clients::echo_once;
use crate::common::procs::{front_workers, resident, switches};
use crate::common::tls::{behind_tls, python, site};
use crate::common::{Daemon, Setup, free_port, free_ports, own_line, read_all, tcp, wait_until};

/// Nothing wakes it for a second.
#[track_caller]
fn falls_asleep(pid: u32) {
    let mut last = (switches(pid), Instant::now());
    wait_until("nothing to wake it for a second", || {
        let now = switches(pid);
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() >= Duration::from_secs(1)
    });
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
    let busy = resident(daemon.pid());
    // Ten seconds after the last client.
    wait_until("half a megabyte less", || resident(daemon.pid()) + 512 <= busy);
    assert_eq!(read_all(tcp(port)), "", "and it goes on");
}

/// While it holds clients, and however many programs have ended at once.
#[test]
fn a_server_with_nothing_to_do_sleeps() {
    let ports = free_ports(3);
    let text = own_line(ports[0], "/bin/cat cat")
        + &own_line(ports[1], "internal echo")
        + &own_line(ports[2], "/bin/true true");
    let daemon = Daemon::start(&text);
    let held = [tcp(ports[0]), tcp(ports[1])];
    held.iter().for_each(|client| assert_eq!(echo_once(client, "x"), "x"));
    falls_asleep(daemon.pid());
    let clients: Vec<_> = (0..32).map(|_| tcp(ports[2])).collect();
    clients.into_iter().for_each(|client| assert_eq!(read_all(client), ""));
    falls_asleep(daemon.pid());
    assert_eq!(read_all(tcp(ports[2])), "");
    falls_asleep(daemon.pid());
}

#[test]
fn a_server_with_something_in_front_sleeps_and_so_do_its_workers() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, "/bin/cat cat", "");
    let daemon = Setup::new().start_in(folder, &text);
    falls_asleep(daemon.pid());
    let script = r"
it = connect(sys.argv[1])
it.sendall(b'x')
print(it.recv(1))
";
    for _ in 0..2 {
        let said = python(&daemon.folder, script, &[&port.to_string()]);
        assert_eq!(said.trim(), "b'x'");
        falls_asleep(daemon.pid());
        front_workers(daemon.pid()).into_iter().for_each(falls_asleep);
    }
}
