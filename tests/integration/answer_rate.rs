//! `answer_rate`: how many answers a source gets of a built-in service on datagrams.

use std::process::Command;

use crate::common::{Daemon, Setup, free_port, free_ports, me, need_program, need_root, udp};

/// Sends so many datagrams to each port from an address that is not the loopback's, one after
/// the other, and prints how many are answered. So many are waited for, others not for long.
const FLOOD: &str = "import socket, sys
count, ports = int(sys.argv[1]), sys.argv[2:]
for port in ports:
    port, least = map(int, port.split(':'))
    client = socket.socket(type=socket.SOCK_DGRAM)
    client.bind(('192.0.2.1', 0))
    client.connect(('192.0.2.1', port))
    answered = 0
    for number in range(count):
        client.send(b'?')
        client.settimeout(20 if answered < least else 0.2)
        try:
            client.recv(99)
            answered += 1
        except socket.timeout:
            break
    print(answered)
";

fn line(port: u16, said: &str) -> String {
    format!("192.0.2.1:{port} dgram udp wait {} internal echo\n{said}", me())
}

/// A server where 192.0.2.1 is an address of the machine.
fn elsewhere(text: &str) -> Option<Daemon> {
    if !need_root() || !["unshare", "nsenter", "ip", "python3"].into_iter().all(need_program) {
        return None;
    }
    let script = "ip link set lo up && ip addr add 192.0.2.1/32 dev lo && shift && exec \"$@\"";
    let under = ["unshare", "--net", "sh", "-c", script, "sh", "sh"];
    Some(Setup::new().under(&under).start(text))
}

#[track_caller]
fn flood(daemon: &Daemon, count: u32, ports: &[(u16, u32)]) -> Vec<u32> {
    let output = Command::new("nsenter")
        .arg(format!("--net=/proc/{}/ns/net", daemon.pid()))
        .args(["python3", "-c", FLOOD, &count.to_string()])
        .args(ports.iter().map(|(port, least)| format!("{port}:{least}")))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("{output:?}"))).collect()
}

#[test]
fn a_source_gets_as_many_answers_as_the_service_says_and_a_reload_changes_that() {
    let ports = free_ports(3);
    let text = |first: &str| {
        line(ports[0], first)
            + &line(ports[1], "    answer_rate = 7/minute\n")
            + &line(ports[2], "    answer_rate = unlimited\n")
    };
    let Some(daemon) = elsewhere(&text("    answer_rate = 5/minute\n")) else { return };
    // Each service has a share of its own. While a minute goes by one more may come back.
    let answered = flood(&daemon, 100, &[(ports[0], 5), (ports[1], 7), (ports[2], 100)]);
    assert!((5..7).contains(&answered[0]), "{answered:?}");
    assert!((7..9).contains(&answered[1]), "{answered:?}");
    assert_eq!(answered[2], 100);
    let _ = daemon.reload(&text("    answer_rate = unlimited\n"));
    assert_eq!(flood(&daemon, 200, &[(ports[0], 200)]), [200]);
}

#[test]
fn where_nothing_is_said_no_honest_client_meets_the_limit() {
    let port = free_port();
    let Some(daemon) = elsewhere(&line(port, "")) else { return };
    assert_eq!(flood(&daemon, 900, &[(port, 900)]), [900]);
}

#[test]
fn the_loopback_has_no_limit() {
    let port = free_port();
    let text = format!("127.0.0.1:{port} dgram udp wait {} internal echo\n", me());
    let _daemon = Daemon::start(&(text + "    answer_rate = 1/minute\n"));
    let client = udp(port);
    for _ in 0..200 {
        assert_eq!(crate::common::clients::udp_ask(&client, "?"), "?");
    }
}
