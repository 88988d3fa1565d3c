//! What a server of an earlier version has handed over is gone on with. The state is a stored
//! one, as the real binary has written it; everything that it names is made anew, under the
//! same numbers, by the one who executes the server in his place.

use std::thread;

use crate::common::clients::{echo_once, try_tcp};
use crate::common::control::{status_of_port, upgrade};
use crate::common::{
    Daemon, Folder, Setup, free_ports, me, need_program, shell, tcp, tcp_line, udp, wait_for,
};

/// A server that has been handed this state, and its clients of echo, cat and the relay.
fn restored(ports: &[u16], text: &str) -> (Daemon, [std::net::TcpStream; 3]) {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/stored/");
    let files = ["hand_over.py", "format-1.json"].map(|name| format!("{here}{name}"));
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let words = ["python3"].into_iter().chain(files.iter().map(String::as_str));
    let words: Vec<&str> = words.chain(ports.iter().map(String::as_str)).collect();
    let setup = Setup::new().controlled().under(&words);
    thread::scope(|scope| {
        let clients = [&ports[0], &ports[1], &ports[3]].map(|port| {
            let address = format!("127.0.0.1:{port}").parse().unwrap();
            scope.spawn(move || wait_for("a listener", || try_tcp(address).ok()))
        });
        let goes_on = |daemon: &Daemon| drop(daemon.wait_log(|line| line.is("upgraded")));
        let daemon = setup.begin_in(Folder::new(), text, &goes_on);
        (daemon, clients.map(|client| client.join().unwrap()))
    })
}

#[test]
fn a_stored_state_is_gone_on_with_by_this_program() {
    if !need_program("python3") {
        return;
    }
    let ports = free_ports(4);
    let relay = format!("    redirect = 127.0.0.1 {}\n", ports[0]);
    let waiting = shell("head -c1 >/dev/null; exit 3");
    let text = tcp_line(ports[0], "internal echo")
        + &tcp_line(ports[1], "/bin/cat cat")
        + &format!("127.0.0.1:{} dgram udp wait {} {waiting}\n", ports[2], me())
        + &tcp_line(ports[3], "internal")
        + &relay;
    let (daemon, [mut echo, mut cat, mut relayed]) = restored(&ports, &text);
    for client in [&mut echo, &mut cat, &mut relayed] {
        assert_eq!(echo_once(client, "still"), "still");
    }
    assert_eq!(status_of_port(&daemon, ports[0])["running"], 2);
    drop(cat);
    let ended = daemon.wait_log(|line| line.about("ended", ports[1]));
    assert_eq!(ended.get("status"), Some("0"), "{}", ended.raw);
    // The program that had the datagram socket gives it back, and the next one is ours.
    let client = udp(ports[2]);
    for (count, status) in [(1, "0"), (2, "3")] {
        client.send(b"x").unwrap();
        let ended = daemon.wait_count(count, |line| line.about("ended", ports[2]));
        assert_eq!(ended[count - 1].get("status"), Some(status), "{}", daemon.log.text());
    }
    assert_eq!(echo_once(tcp(ports[0]), "new"), "new");
    // Counted on from what was counted before.
    assert_eq!(status_of_port(&daemon, ports[0])["accepted"], 3);
    upgrade(&daemon);
    for client in [&mut echo, &mut relayed] {
        assert_eq!(echo_once(client, "on"), "on");
    }
    assert!(daemon.said("trouble").is_empty(), "{}", daemon.log.text());
}
