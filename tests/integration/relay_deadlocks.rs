//! Relays between two that wait for each other, of whom one goes: the relay must not stay.

use std::io::{ErrorKind, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use crate::common::clients::{read_to_any_end, reset};
use crate::common::wait::park;
use crate::common::{DEADLINE, Daemon, free_port, tcp, tcp_line};

/// Bytes that the system holds between two programs at most, and many more.
const MUCH: usize = 1 << 28;

/// Writes until nothing has been taken for a while.
fn fill(mut stream: &TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let (mut written, mut full) = (0, 0);
    while full < 20 {
        match stream.write(&[7; 65_536]) {
            Ok(count) => (written, full) = (written + count, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                full += 1;
                park(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
        assert!(written < MUCH, "somebody reads all that");
    }
    stream.set_nonblocking(false).unwrap();
}

#[test]
fn a_client_that_reads_nothing_and_resets_leaves_no_relay_to_an_echo() {
    let (relay, echo) = (free_port(), free_port());
    let target = tcp_line(echo, "internal echo");
    let text = tcp_line(relay, "internal") + &format!("    redirect = 127.0.0.1 {echo}\n");
    let daemon = Daemon::start(&(target + &text));
    let client = tcp(relay);
    fill(&client);
    reset(client);
    for port in [relay, echo] {
        let _ = daemon.wait_log(|line| line.about("closed", port));
    }
    assert_eq!(daemon.count_peers(), (2, 0));
}

#[test]
fn a_target_that_answers_and_goes_leaves_no_client_that_cannot_send_the_rest() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (port, to) = (free_port(), listener.local_addr().unwrap().port());
    let text = tcp_line(port, "internal") + &format!("    redirect = 127.0.0.1 {to}\n");
    let daemon = Daemon::start(&text);
    let client = tcp(port);
    let (target, _) = listener.accept().unwrap();
    fill(&client);
    fill(&target);
    reset(target);
    // It sends all it has before it reads.
    client.set_write_timeout(Some(DEADLINE)).unwrap();
    let sent = (0..MUCH / 65_536 / 8).try_for_each(|_| (&client).write_all(&[7; 65_536]));
    let gone = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(sent.as_ref().map_or_else(|error| gone.contains(&error.kind()), |()| true), "{sent:?}");
    let _ = client.shutdown(Shutdown::Write);
    let _ = read_to_any_end(client);
    let _ = daemon.wait_log(|line| line.about("closed", port));
}
