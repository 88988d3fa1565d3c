//! Virtual sockets, over the loopback that a kernel with `vsock_loopback` has.

use std::net::TcpStream;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, VsockAddr, bind, connect, getsockname, recv, send, socket,
};
use serde_json::json;

use crate::common::clients::{echo_once, read_to_any_end};
use crate::common::control::{controlled, status_of, upgrade};
use crate::common::daemon::command;
use crate::common::needs::kernel_lacks;
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, me, need_program, read_all, read_line, tcp,
    tcp_line, wait_until,
};

/// This machine, for itself (VMADDR_CID_LOCAL).
const LOCAL: u32 = 1;

fn new(kind: SockType) -> nix::Result<OwnedFd> {
    socket(AddressFamily::Vsock, kind, SockFlag::SOCK_CLOEXEC, None)
}

/// False, and a skip, where no two programs of this machine can talk that way.
#[track_caller]
fn need_loopback() -> bool {
    let any_port = VsockAddr::new(LOCAL, u32::MAX);
    let binds = |socket: OwnedFd| bind(socket.as_raw_fd(), &any_port).is_ok();
    new(SockType::Stream).is_ok_and(binds) || kernel_lacks("vsock_loopback")
}

/// One that no other test has.
fn port() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    (1 << 31) + process::id() % (1 << 22) * 64 + NEXT.fetch_add(1, Ordering::Relaxed) % 64
}

fn dial(kind: SockType, port: u32) -> nix::Result<OwnedFd> {
    let socket = new(kind)?;
    connect(socket.as_raw_fd(), &VsockAddr::new(LOCAL, port))?;
    Ok(socket)
}

/// A stream of bytes is one for std too, but for its addresses.
fn stream(port: u32) -> TcpStream {
    let stream = TcpStream::from(dial(SockType::Stream, port).unwrap());
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn line(port: u32, program: &str) -> String {
    format!("vsock:{port} stream vsock nowait - {program}\n")
}

#[test]
fn a_program_is_run_for_each_connection_and_told_of_its_peer() {
    if !need_loopback() {
        return;
    }
    let (cat, env) = (port(), port());
    let mut daemon = controlled(&(line(cat, "/bin/cat cat") + &line(env, "/usr/bin/env env")));
    let client = stream(cat);
    let own: VsockAddr = getsockname(client.as_raw_fd()).unwrap();
    assert_eq!(echo_once(&client, "hello"), "hello");
    let said = daemon.wait_log(|line| line.is("accepted"));
    let (service, peer) = (format!("vsock:{cat}"), format!("vsock:{LOCAL}:{}", own.port()));
    assert_eq!((said.get("service"), said.get("peer")), (Some(&*service), Some(&*peer)));
    let listening = daemon.wait_log(|line| line.is("listening"));
    assert_eq!(listening.get("address"), Some(&*service), "{}", listening.raw);
    assert_eq!(status_of(&daemon, &service)["addresses"], json!([service]));
    let peers = daemon.answer(&["peers"]);
    assert!(peers.contains(&peer), "{peers}");

    let told = read_all(stream(env));
    let value = |name: &str| {
        let found = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("{name}: {told}")).to_owned()
    };
    assert_eq!(value("PROTO"), "VSOCK");
    assert_eq!((value("VSOCKLOCALCID"), value("VSOCKLOCALPORT")), ("1".into(), env.to_string()));
    assert_eq!((value("VSOCKREMOTECID"), value("REMOTE_ADDR")), ("1".into(), "vsock:1".into()));
    assert_eq!(value("REMOTE_HOST"), "vsock:1");
    assert_eq!(value("VSOCKREMOTEPORT"), value("REMOTE_PORT"));
    assert!(!told.contains("TCP"), "{told}");

    assert!(daemon.ask(&["kill", &peer]).status.success());
    let ended = daemon.wait_log(|line| line.is("ended") && line.get("service") == Some(&service));
    assert_eq!(ended.get("signal"), Some("SIGTERM"), "{}", ended.raw);
    daemon.stop();
}

#[test]
fn sequenced_packets_keep_their_ends() {
    if !need_loopback() {
        return;
    }
    if new(SockType::SeqPacket).is_err() {
        kernel_lacks("sequenced packets over vsock");
        return;
    }
    let port = port();
    let _daemon = Daemon::start(&format!("vsock:{port} seqpacket vsock nowait - /bin/cat cat\n"));
    let client = dial(SockType::SeqPacket, port).unwrap();
    for packet in ["one", "three"] {
        send(client.as_raw_fd(), packet.as_bytes(), nix::sys::socket::MsgFlags::empty()).unwrap();
        let mut buffer = [0; 64];
        let length =
            recv(client.as_raw_fd(), &mut buffer, nix::sys::socket::MsgFlags::empty()).unwrap();
        assert_eq!(&buffer[..length], packet.as_bytes());
    }
}

#[test]
fn machines_are_admitted_by_their_cid() {
    if !need_loopback() {
        return;
    }
    for (rules, admitted) in [
        ("    only_from = vsock:1\n", true),
        ("    no_access = vsock:2\n", true),
        ("    only_from = vsock:2\n", false),
        ("    no_access = vsock:1\n", false),
        ("    only_from = vsock:1\n    no_access = vsock:1\n", false),
        ("    only_from = 127.0.0.0/8 ::1\n", false),
    ] {
        let port = port();
        let daemon = Daemon::start(&(line(port, "/bin/echo echo hello") + rules));
        let heard = read_to_any_end(stream(port));
        assert_eq!(heard == "hello\n", admitted, "{rules}: {heard:?}");
        if !admitted {
            let said = daemon.wait_log(|line| line.is("refused"));
            assert_eq!(said.get("reason"), Some("access"), "{}", said.raw);
            assert!(said.get("peer").is_some_and(|peer| peer.starts_with("vsock:1:")));
        }
    }
}

#[test]
fn one_machine_is_one_source() {
    if !need_loopback() {
        return;
    }
    let port = port();
    let daemon = Daemon::start(&(line(port, "/bin/cat cat") + "    per_source = 1\n"));
    let first = stream(port);
    assert_eq!(echo_once(&first, "first"), "first");
    assert_eq!(read_to_any_end(stream(port)), "");
    let said = daemon.wait_log(|line| line.is("refused"));
    assert_eq!(said.get("reason"), Some("per_source"), "{}", said.raw);
    drop(first);
    daemon.wait_childless();
    assert_eq!(echo_once(stream(port), "second"), "second");
}

#[test]
fn what_the_server_serves_itself_is_served_there_too() {
    if !need_loopback() {
        return;
    }
    let (echo, relay, target) = (port(), port(), free_port());
    let folder = Folder::new();
    let banner = folder.write("banner", "welcome\n");
    let text = line(echo, "internal echo")
        + &format!("    banner_success = {}\n", banner.display())
        + &line(relay, "internal")
        + &format!("    redirect = 127.0.0.1 {target}\n")
        + &tcp_line(target, "/bin/cat cat");
    let _daemon = Setup::new().start_in(folder, &text);
    let client = stream(echo);
    assert_eq!(read_line(&client), "welcome\n");
    assert_eq!(echo_once(&client, "hello"), "hello");
    let large = "x".repeat(50_000);
    assert_eq!(echo_once(stream(relay), &large), large);
}

#[test]
fn a_relay_leads_to_one() {
    if !need_loopback() {
        return;
    }
    let (echo, nobody) = (port(), port());
    let ports = [free_port(), free_port()];
    let redirect = |from: u16, to: u32| {
        tcp_line(from, "internal") + &format!("    redirect = vsock:{LOCAL}:{to}\n")
    };
    let text = line(echo, "/bin/cat cat") + &redirect(ports[0], echo) + &redirect(ports[1], nobody);
    let daemon = controlled(&text);
    let large = "x".repeat(200_000);
    let client = tcp(ports[0]);
    assert_eq!(echo_once(&client, &large), large);
    upgrade(&daemon);
    assert_eq!(echo_once(&client, "still here"), "still here");
    assert_eq!(read_to_any_end(tcp(ports[1])), "");
    let said = daemon.wait_log(|line| line.about("failed", ports[1]));
    let address = format!("vsock:{LOCAL}:{nobody}");
    assert!(said.raw.contains(&address) && said.get("stage") == Some("connect"), "{}", said.raw);
}

#[test]
fn relays_that_lead_back_over_them_are_a_ring() {
    let folder = Folder::new();
    let (one, other) = (port(), port());
    let redirect = |from: &str, to: u32| {
        format!("vsock:{from} stream vsock nowait - internal\n    redirect = vsock:1:{to}\n")
    };
    let text = redirect(&one.to_string(), other) + &redirect(&format!("1:{other}"), one);
    let file = folder.write("inetd.conf", &text);
    let output = command(&[]).arg("check").arg(&file).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("relayed to itself") || said.contains("no virtual sockets"), "{said}");
}

#[test]
fn a_program_that_waits_gets_the_socket_itself() {
    if !need_loopback() || !need_program("python3") {
        return;
    }
    let port = port();
    let folder = Folder::new();
    let script = "import os, socket\nown = socket.socket(fileno=0)\nclient, peer = own.accept()\n\
        client.sendall(b'%d %s' % (peer[0], os.environb[b'PROTO']))\n";
    let script = folder.write("answer.py", script);
    let text =
        format!("vsock:{port} stream vsock wait {} python3 python3 {}\n", me(), script.display());
    let daemon = Setup::new().start_in(folder, &text);
    for _ in 0..2 {
        assert_eq!(read_all(stream(port)), "1 VSOCK");
    }
    daemon.wait_childless();
}

#[test]
fn sockets_and_connections_outlive_a_reload_and_an_upgrade() {
    if !need_loopback() {
        return;
    }
    let port = port();
    let text = line(port, "/bin/cat cat") + "    per_source = 3\n";
    let daemon = controlled(&text);
    let client = stream(port);
    assert_eq!(echo_once(&client, "before"), "before");
    let said = daemon.reload(&text.replace("= 3", "= 2"));
    assert_eq!(said.number("kept"), Some(1), "{}", said.raw);
    upgrade(&daemon);
    let second = stream(port);
    assert_eq!(echo_once(&second, "new"), "new");
    // The first one is counted still.
    assert_eq!(read_to_any_end(stream(port)), "");
    drop((client, second));
    wait_until("both to have ended", || daemon.count_peers().1 == 0);
}

/// A port is one, whatever the CID: the old socket has to go first.
#[test]
fn a_reload_takes_another_cid() {
    if !need_loopback() {
        return;
    }
    let port = port();
    let text = line(port, "/bin/cat cat");
    let daemon = Daemon::start(&text);
    for text in [text.replace("vsock:", "vsock:1:"), text] {
        let said = daemon.reload(&text);
        let numbers = (said.number("opened"), said.number("closed"));
        assert_eq!(numbers, (Some(1), Some(1)), "{}", said.raw);
        assert_eq!(echo_once(stream(port), "hello"), "hello");
    }
    assert!(daemon.said("not-listening").is_empty(), "{}", daemon.log.text());
}

#[test]
fn run_serves_all_cids_unless_one_is_said() {
    if !need_loopback() {
        return;
    }
    for endpoint in ["vsock:0", "vsock:1:0"] {
        let daemon = Setup::new().run(&["run", endpoint, "--", "echo", "hello"]);
        let said = daemon.wait_log(|line| line.is("listening"));
        let port = said.get("address").unwrap().rsplit(':').next().unwrap().parse().unwrap();
        assert_eq!(read_all(stream(port)), "hello\n");
    }
}

#[test]
fn a_machine_that_is_not_this_one_is_no_address_and_others_are_served() {
    if new(SockType::Stream).is_err() {
        kernel_lacks("AF_VSOCK");
        return;
    }
    let other = free_port();
    let daemon = Daemon::start(
        &(format!("vsock:77:{} stream vsock nowait - /bin/cat cat\n", port())
            + &tcp_line(other, "/bin/cat cat")),
    );
    let said = daemon.wait_log(|line| line.is("not-listening"));
    assert!(said.raw.contains("this machine has no such CID"), "{}", said.raw);
    assert_eq!(echo_once(crate::common::tcp(other), "hello"), "hello");
}
