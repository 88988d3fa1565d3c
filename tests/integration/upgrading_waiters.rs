//! `oxinetd upgrade` while datagrams wait for a program that there is no room for: they have
//! been taken out of the socket, so the new program has to be handed them.

use std::net::{Ipv4Addr, UdpSocket};

use nix::sys::signal::Signal;

use crate::common::clients::{udp_ask, udp_read, udp_to};
use crate::common::control::upgrade;
use crate::common::{Setup, free_port, me, udp};

#[test]
fn datagrams_that_wait_for_room_are_served_by_the_new_program() {
    let port = free_port();
    waiters_are_served(port, &format!("127.0.0.1:{port}"), &[udp(port), udp(port), udp(port)]);
}

#[test]
fn those_that_were_sent_to_one_of_several_addresses_are_answered_from_it() {
    let port = free_port();
    let peers = [2, 2, 3].map(|last| udp_to((Ipv4Addr::new(127, 0, 0, last), port).into()));
    waiters_are_served(port, &port.to_string(), &peers);
}

fn waiters_are_served(port: u16, endpoint: &str, peers: &[UdpSocket]) {
    // A program echoes two datagrams.
    let program = "dd dd bs=64 count=2 status=none";
    let line = format!("{endpoint} dgram udp nowait {} {program}\n", me());
    let daemon = Setup::new().controlled().start(&(line + "    instances = 1\n"));
    // All are there when it looks.
    daemon.signal(Signal::SIGSTOP);
    for peer in peers {
        peer.send(b"first").unwrap();
    }
    daemon.signal(Signal::SIGCONT);
    assert_eq!(udp_read(&peers[0]), "first");
    let _ = daemon.wait_log(|line| line.about("limit-begin", port));
    upgrade(&daemon);
    assert_eq!(udp_ask(&peers[0], "second"), "second");
    for peer in &peers[1..] {
        assert_eq!(udp_read(peer), "first");
        assert_eq!(udp_ask(peer, "second"), "second");
    }
}
