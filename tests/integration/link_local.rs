//! Link-local IPv6 addresses, which are nowhere without their interface.

use std::net::{SocketAddr, SocketAddrV6, TcpListener, UdpSocket};
use std::process::Command;

use crate::common::clients::{echo_once, tcp_to, udp_ask};
use crate::common::control::upgrade;
use crate::common::needs::{need_link_local, need_program, need_root};
use crate::common::{
    DEADLINE, Daemon, Line, Setup, free_port, free_ports, me, read_all, shell, tcp, tcp_line,
};

fn at(address: SocketAddrV6, port: u16) -> SocketAddr {
    SocketAddrV6::new(*address.ip(), port, 0, address.scope_id()).into()
}

fn kept_and_updated(line: &Line) -> (Option<u32>, Option<u32>) {
    (line.number("kept"), line.number("updated"))
}

#[test]
fn a_link_local_address_is_served_and_everybody_hears_its_interface() {
    let Some((host, address)) = need_link_local() else { return };
    let port = free_port();
    let script = shell("echo $TCPLOCALIP $TCPREMOTEIP $REMOTE_HOST");
    let text = format!("{host}:{port} stream tcp nowait {} {script}\n", me());
    let daemon = Setup::new().controlled().start(&text);
    let own = at(address, port);
    let listening = daemon.wait_log(|line| line.is("listening"));
    assert!(listening.raw.contains(&own.to_string()), "{}", listening.raw);
    let scoped = format!("{}%{}", address.ip(), address.scope_id());
    let client = tcp_to(own);
    let peer = client.local_addr().unwrap().to_string();
    assert_eq!(read_all(client), format!("{scoped} {scoped} {scoped}\n"));
    let accepted = daemon.wait_log(|line| line.is("accepted"));
    assert_eq!(accepted.get("peer"), Some(peer.as_str()));
    assert!(daemon.answer(&["status"]).contains(&own.to_string()));
}

#[test]
fn a_link_local_address_stays_the_same_over_reloads_and_upgrades() {
    let Some((host, address)) = need_link_local() else { return };
    let port = free_port();
    let text = format!("{host}:{port} stream tcp nowait - /bin/cat cat\n");
    let daemon = Setup::new().controlled().start(&text);
    let client = tcp_to(at(address, port));
    let peer = client.local_addr().unwrap().to_string();
    assert_eq!(echo_once(&client, "one"), "one");
    assert_eq!(kept_and_updated(&daemon.reload(&text)), (Some(1), Some(0)));
    upgrade(&daemon);
    assert!(daemon.answer(&["peers"]).contains(&peer));
    assert_eq!(echo_once(&client, "two"), "two");
    assert_eq!(echo_once(tcp_to(at(address, port)), "new"), "new");
    assert_eq!(kept_and_updated(&daemon.reload(&text)), (Some(1), Some(0)));
    daemon.said_times(1, "listening");
}

#[test]
fn datagrams_to_a_link_local_address_are_answered() {
    let Some((host, address)) = need_link_local() else { return };
    let ports = free_ports(2);
    let line = |port: u16, program: &str| format!("{host}:{port} dgram udp nowait - {program}\n");
    let text = line(ports[0], "/bin/cat cat") + &line(ports[1], "internal echo");
    let _daemon = Daemon::start(&text);
    for port in ports {
        let client = UdpSocket::bind(at(address, 0)).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.connect(at(address, port)).unwrap();
        assert_eq!(udp_ask(&client, "local"), "local");
        assert_eq!(udp_ask(&client, "again"), "again");
    }
}

#[test]
fn a_program_without_a_file_is_served_at_a_link_local_address() {
    let Some((host, address)) = need_link_local() else { return };
    let port = free_port();
    let _daemon = Setup::new().run(&["run", &format!("{host}:{port}"), "--", "cat"]);
    assert_eq!(echo_once(tcp_to(at(address, port)), "run"), "run");
}

#[test]
fn connections_are_relayed_to_a_link_local_address() {
    let Some((host, address)) = need_link_local() else { return };
    let target = TcpListener::bind(at(address, 0)).unwrap();
    let (port, to) = (free_port(), target.local_addr().unwrap().port());
    let redirect = format!("    redirect = {host} {to}\n");
    let _daemon = Daemon::start(&(tcp_line(port, "internal") + &redirect));
    let client = tcp(port);
    let (relayed, _) = target.accept().unwrap();
    std::io::Write::write_all(&mut &relayed, b"from far").unwrap();
    drop(relayed);
    assert_eq!(read_all(client), "from far");
}

/// Whoever is in a network namespace of their own may see the devices of another below /sys.
#[test]
fn a_device_is_looked_for_in_our_own_network_namespace() {
    if !need_root() || !["unshare", "nsenter", "ip", "nc"].into_iter().all(need_program) {
        return;
    }
    let port = free_port();
    let text = format!("{port} stream tcp nowait - /bin/cat cat\n    bind = own0\n");
    let up = "ip link add own0 type veth peer name own1 && ip address add 192.0.2.1/24 dev own0 && \
              ip link set own0 up && ip link set lo up && shift && exec \"$@\"";
    let daemon = Setup::new().under(&["unshare", "--net", "sh", "-c", up, "sh", "sh"]).start(&text);
    assert!(daemon.said("configuration").is_empty());
    let client = format!("echo there | nc -N 192.0.2.1 {port}");
    let net = format!("--net=/proc/{}/ns/net", daemon.pid());
    let output = Command::new("nsenter").args([&net, "sh", "-c", &client]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "there\n");
}
