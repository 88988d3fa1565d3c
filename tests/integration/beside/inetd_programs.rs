//! What programs, sockets and limits are where they differ on purpose, there and here.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Stdio;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};

use super::{Files, Pair, Twins};
use crate::common::daemon::{BINARY, command_of};
use crate::common::peers::Peer;
use crate::common::rooted::{Root, Running};
use crate::common::sight::listens;
use crate::common::wait::{wait_for, wait_until};
use crate::common::{DEADLINE, Folder};

const MARK: u16 = 61_000;

fn files(text: &str) -> Files {
    vec![("etc/inetd.conf".to_owned(), text.as_bytes().to_vec())]
}

/// What a client gets who says nothing more.
fn talk(server: &Running, address: &str) -> String {
    server.inside(|| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let _ = stream.shutdown(Shutdown::Write);
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    })
}

/// The line of the reporter that begins with a word, there and here.
fn each(pair: &Pair<'_>, address: &str, word: &str) -> (String, String) {
    let line = |server: &Running| {
        let text = talk(server, address);
        let line = text.lines().find_map(|line| line.strip_prefix(word).map(str::to_owned));
        line.unwrap_or_else(|| format!("nothing in {text}"))
    };
    (line(&pair.theirs), line(&pair.ours))
}

fn texts(theirs: &str, ours: &str) -> (String, String) {
    (theirs.to_owned(), ours.to_owned())
}

#[test]
fn a_group_of_root_is_its_main_one_here() {
    let Some(twins) = Twins::of(Peer::Gnu) else { return };
    let text = "7400 stream tcp nowait daemon.root /bin/probe probe\n7401 stream tcp nowait daemon.tty /bin/probe probe\n";
    let pair = twins.start(&files(text), MARK);
    assert_eq!(each(&pair, "127.0.0.1:7400", "gid: "), texts("1 1", "0 0"));
    assert_eq!(each(&pair, "127.0.0.1:7401", "gid: "), texts("6 6", "6 6"));
}

/// The mode of what is at a path, once it is there.
fn mode(root: &Root, path: &str) -> u32 {
    let found = || std::fs::metadata(root.at(path)).ok();
    wait_for("the socket", found).permissions().mode() & 0o777
}

#[test]
fn a_unix_socket_is_its_owners_here() {
    let Some(twins) = Twins::of(Peer::OpenBsd) else { return };
    let text = "/run/a stream unix nowait nobody /bin/probe probe\n:me:news:660:/run/b stream unix nowait nobody /bin/probe probe\n";
    let _pair = twins.start(&files(text), MARK);
    let both = |path| (mode(&twins.theirs, path), mode(&twins.ours, path));
    assert_eq!(both("/run/a"), (0o666, 0o600));
    assert_eq!(both("/run/b"), (0o666, 0o660));
    let owner = |root: &Root| std::fs::metadata(root.at("/run/b")).unwrap().uid();
    assert_eq!((owner(&twins.theirs), owner(&twins.ours)), (0, 40));
}

/// How many of these are answered, one after the other, by a program that stays.
fn answered(server: &Running, addresses: &[&str]) -> usize {
    server.inside(|| {
        let one = |address: &&str| {
            let mut stream = TcpStream::connect(address).ok()?;
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.write_all(b"x\r\n").ok()?;
            let mut byte = [0; 1];
            (stream.read(&mut byte).ok()? == 1).then_some(stream)
        };
        addresses.iter().filter_map(one).collect::<Vec<_>>().len()
    })
}

#[test]
fn starts_of_both_families_are_counted_together_here() {
    let Some(twins) = Twins::of(Peer::OpenBsd) else { return };
    let pair = twins.start(&files("echo stream tcp nowait.3 root internal\n"), MARK);
    let (one, other) = (["127.0.0.1:7"; 3], ["[::1]:7"; 3]);
    let clients = [one, other].concat();
    let count = |server| answered(server, &clients);
    // The one that reaches the number is turned away there.
    assert_eq!((count(&pair.theirs), count(&pair.ours)), (4, 3));
}

/// Whether a program answers a datagram to a unix socket.
fn is_told(root: &Root, server: &Running) -> bool {
    server.inside(|| {
        let own = SocketAddr::from_abstract_name("client").unwrap();
        let client = UnixDatagram::bind_addr(&own).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.send_to(b"x", root.at("/run/d")).is_ok_and(|_| {
            let mut bytes = [0; 65_535];
            client.recv(&mut bytes).is_ok_and(|count| bytes[..count].starts_with(b"argv:"))
        })
    })
}

#[test]
fn datagrams_of_a_unix_socket_are_for_who_waits_here() {
    let Some(twins) = Twins::of(Peer::OpenBsd) else { return };
    for (wait, is_told_here) in [("wait", true), ("nowait", false)] {
        let text = format!("/run/d dgram unix {wait} root /bin/probe probe\n");
        let pair = twins.start(&files(&text), MARK);
        assert!(is_told(&twins.theirs, &pair.theirs), "{wait} there");
        assert_eq!(is_told(&twins.ours, &pair.ours), is_told_here, "{wait} here");
        for root in [&twins.theirs, &twins.ours] {
            let _ = std::fs::remove_file(root.at("/run/d"));
        }
    }
}

/// Starts the original with options that are wrong usage here.
fn only_there(peer: Peer, name: &str, options: &str) {
    let Some(twins) = Twins::of(peer) else { return };
    let folder = Folder::new();
    let ours = folder.link(name, BINARY);
    let mut command = command_of(&ours, &["timeout".to_owned(), "25".to_owned()]);
    let output = command.args(options.split(' ')).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{options}: {output:?}");
    twins.write(&files(""), MARK);
    let theirs = twins.theirs.start(options);
    wait_until(options, || listens(theirs.pid(), MARK));
}

#[test]
fn numbers_that_are_none_are_wrong_here() {
    for options in ["-i -q 0", "-i -q x", "-i -R x"] {
        only_there(Peer::OpenBsd, "openbsd-inetd", options);
    }
}

#[test]
fn long_options_are_written_out_here() {
    only_there(Peer::Gnu, "inetutils-inetd", "-d --pid=/run/some.pid");
}

#[test]
fn names_of_clients_are_not_told_here() {
    let Some(twins) = Twins::of(Peer::Gnu) else { return };
    twins.write(&files("7400 stream tcp nowait nobody /bin/probe probe\n"), MARK);
    let tell = |root: &Root| {
        let server = root.start("-d --environment --resolve");
        wait_until("the server", || listens(server.pid(), MARK));
        let text = talk(&server, "127.0.0.1:7400");
        assert!(text.contains("variable TCPREMOTEIP=127.0.0.1\n"), "{text}");
        (text.contains("variable TCPREMOTEHOST="), text.contains("variable TCPLOCALHOST="))
    };
    assert_eq!(tell(&twins.theirs), (true, true));
    assert_eq!(tell(&twins.ours), (false, false));
}

/// Whether a datagram socket that would share its port can be bound there.
fn can_be_shared(server: &Running) -> bool {
    server.inside(|| {
        let family = AddressFamily::Inet;
        let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&fd, sockopt::ReuseAddr, &true).unwrap();
        bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 7400)).is_ok()
    })
}

#[test]
fn the_port_of_a_datagram_service_is_its_own_here() {
    for peer in [Peer::OpenBsd, Peer::Gnu] {
        let Some(twins) = Twins::of(peer) else { return };
        let pair = twins.start(&files("7400 dgram udp wait nobody /bin/probe probe\n"), MARK);
        let shared = (can_be_shared(&pair.theirs), can_be_shared(&pair.ours));
        assert_eq!(shared, (true, false), "{peer:?}");
    }
}

#[test]
fn words_behind_a_built_in_service_are_its_name_here() {
    for peer in [Peer::OpenBsd, Peer::Gnu] {
        let Some(twins) = Twins::of(peer) else { return };
        let text = "echo stream tcp nowait root internal one two\ntime stream tcp nowait root internal time\n";
        let pair = twins.start(&files(text), MARK);
        let is_there = |port| (listens(pair.theirs.pid(), port), listens(pair.ours.pid(), port));
        assert_eq!((is_there(7), is_there(37)), ((true, false), (true, true)), "{peer:?}");
    }
}
