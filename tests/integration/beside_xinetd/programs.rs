//! What programs and clients get that is different on purpose, there and here.

use std::net::{Ipv4Addr, UdpSocket};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};
use std::os::fd::AsRawFd as _;

use super::{Both, Folder, Real, block, xinetd};
use crate::common::clients::try_tcp;
use crate::common::{Line, Setup, free_ports, read_all, tcp, udp, wait_until};

/// Says numbers of users and groups, and who the client is.
const WHO: &str = r#"sed -n 's/^\(Uid\|Gid\|Groups\):\s*/\1 /p' /proc/self/status | sed 's/\s*$//'
echo "host $REMOTE_HOST"
echo "files $(ulimit -S -n)"
"#;

/// The line of what the program says that begins with a word.
fn said(port: u16, word: &str) -> String {
    let text = read_all(tcp(port));
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    line.unwrap_or("nothing").trim().to_owned()
}

#[test]
fn groups_and_who_the_client_is_are_told_in_another_way() {
    let Some(xinetd) = xinetd() else { return };
    let folder = Folder::new();
    let program = format!("server = /bin/sh\nserver_args = {}", folder.write("who", WHO).display());
    let text = [
        block(0, &program, "groups = yes\nuser = daemon"),
        block(1, &program, "groups = yes\nuser = daemon\ngroup = bin"),
        block(2, &program, "user = daemon"),
        block(3, &program, "env = REMOTE_HOST=me"),
    ];
    let both = Both::start(&xinetd, folder, 4, &text.concat());
    let groups = |service: usize| both.each(service, |port| said(port, "Groups"));
    assert_eq!(groups(0), ("1".to_owned(), "".to_owned()));
    assert_eq!(groups(1), ("1".to_owned(), "".to_owned()));
    assert_eq!(groups(2), (String::new(), String::new()));
    let hosts = both.each(3, |port| said(port, "host"));
    assert_eq!(hosts, ("::ffff:127.0.0.1".to_owned(), "me".to_owned()));
}

#[test]
fn a_user_that_is_only_a_number_is_not_served_here() {
    let Some(xinetd) = xinetd() else { return };
    let folder = Folder::new();
    let program = format!("server = /bin/sh\nserver_args = {}", folder.write("who", WHO).display());
    let text = block(0, &program, "user = 4242");
    let both = Both::start(&xinetd, folder, 1, &text);
    assert_eq!(said(both.theirs[0], "Uid"), "4242\t4242\t4242\t4242");
    assert_eq!(said(both.theirs[0], "Gid"), "4242\t4242\t4242\t4242");
    assert!(try_tcp((Ipv4Addr::LOCALHOST, both.ports[0]).into()).is_err());
    let warned = |line: &Line| line.raw.contains("no user has the number 4242");
    let _ = both.ours.wait_log(warned);
}

#[test]
fn the_soft_limit_of_open_files_is_the_servers_own_here() {
    let Some(xinetd) = xinetd() else { return };
    let folder = Folder::new();
    let program = format!("server = /bin/sh\nserver_args = {}", folder.write("who", WHO).display());
    let ports = free_ports(2);
    let text = |port: u16| block(0, &program, "").replace("@0", &port.to_string());
    let limited = format!("ulimit -S -n 200; ulimit -H -n 300; exec {} \"$@\"", xinetd.display());
    let script = folder.write("limited", &limited);
    let _real = Real::start_under(&["/bin/sh", script.to_str().unwrap()], &folder, &text(ports[0]));
    let _ours = Setup::new().after("ulimit -S -n 200; ulimit -H -n 300").start(&text(ports[1]));
    assert_eq!(said(ports[0], "files"), "300");
    assert_eq!(said(ports[1], "files"), "200");
}

/// Whether a datagram socket that would share its port can be bound there.
fn can_be_shared(port: u16) -> bool {
    let family = AddressFamily::Inet;
    let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&fd, sockopt::ReuseAddr, &true).unwrap();
    bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).is_ok()
}

#[test]
fn the_port_of_a_datagram_service_is_its_own_here_and_the_program_looks_who_asks() {
    let Some(xinetd) = xinetd() else { return };
    let folder = Folder::new();
    let place = folder.open_folder("told");
    let taken = "dd bs=100 count=1 of=/dev/null 2>/dev/null\n";
    let script = format!("{taken}echo \"host $REMOTE_HOST\" >{}/$1\n", place.display());
    let script = folder.write("once", &script);
    let program = format!("server = /bin/sh\nserver_args = {} @0", script.display());
    let text = block(0, &program, "flags = NOLIBWRAP IPv4\nwait = yes")
        .replace("stream", "dgram")
        .replace("= tcp", "= udp");
    let both = Both::start(&xinetd, folder, 1, &text);
    assert_eq!(both.each(0, can_be_shared), (true, false));
    let told = |port: u16| {
        let _ = udp(port).send(b"x").unwrap();
        let file = place.join(port.to_string());
        let text = || std::fs::read_to_string(&file).unwrap_or_default();
        wait_until("the program", || text().ends_with('\n'));
        text()
    };
    let (theirs, ours) = both.each(0, told);
    assert_eq!((theirs.as_str(), ours.as_str()), ("host 127.0.0.1\n", "host \n"));
}

#[test]
fn the_date_and_the_size_of_a_datagram_of_characters_are_others() {
    let Some(xinetd) = xinetd() else { return };
    let internal = |index: usize, name: &str, kind: &str, protocol: &str, wait: &str| {
        format!(
            "service {name}\n{{\nid = i{index}\ntype = INTERNAL UNLISTED\nport = @{index}\nsocket_type = {kind}\nprotocol = {protocol}\nwait = {wait}\nflags = NOLIBWRAP\nuser = root\n}}\n"
        )
    };
    let text = internal(0, "daytime", "stream", "tcp", "no")
        + &internal(1, "chargen", "dgram", "udp", "yes");
    let both = Both::start(&xinetd, Folder::new(), 2, &text);
    let words = |port| read_all(tcp(port)).split_whitespace().count();
    // `30 NOV 2026 15:08:27 UTC` and `Mon Nov 30 15:08:27 2026`.
    let is_date = |port| {
        let text = read_all(tcp(port));
        text.split_whitespace().next().unwrap().parse::<u8>().is_ok()
    };
    assert_eq!(both.each(0, words), (5, 5));
    assert_eq!(both.each(0, is_date), (true, false));
    let size = |port| {
        let socket: UdpSocket = udp(port);
        let _ = socket.send(b"x").unwrap();
        let mut bytes = [0; 65_535];
        socket.recv(&mut bytes).unwrap()
    };
    let (theirs, ours) = both.each(1, size);
    assert_eq!((theirs, ours), (1024, 1));
}
