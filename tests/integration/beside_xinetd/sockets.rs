//! Services that are no plain stream: a datagram program that gets the socket itself,
//! and tcpmux.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;

use super::{Both, Real, xinetd};
use crate::common::{DEADLINE, Folder, Setup, need_program};

#[test]
fn a_datagram_program_gets_the_socket_from_both() {
    let Some(xinetd) = xinetd() else { return };
    if !need_program("in.tftpd") || !need_program("tftp") {
        return;
    }
    let folder = Folder::new();
    let hello = folder.write("hello", "handed out\n");
    let root = hello.parent().unwrap().to_owned();
    let text = format!(
        "service boot\n{{\ntype = UNLISTED\nport = @0\nsocket_type = dgram\nprotocol = udp\n\
         wait = yes\nuser = root\nflags = NOLIBWRAP IPv4\nserver = /usr/sbin/in.tftpd\n\
         server_args = --timeout 2 --secure {}\n}}\n",
        root.display()
    );
    let both = Both::start(&xinetd, folder, 1, &text);
    let fetched = both.same(0, |port| {
        let copy = root.join(format!("copy.{port}"));
        let status = Command::new("tftp")
            .args(["127.0.0.1", &port.to_string(), "-c", "get", "hello"])
            .arg(&copy)
            .status()
            .unwrap();
        assert!(status.success());
        std::fs::read_to_string(copy).unwrap_or_default()
    });
    assert_eq!(fetched, "handed out\n");
}

/// tcpmux has one port, so each server has an address of its own.
const THEIRS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 21);
const OURS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 22);

fn tcpmux_text(address: Ipv4Addr) -> String {
    let entry = |name: &str, kind: &str| {
        format!(
            "service {name}\n{{\ntype = {kind} UNLISTED\nsocket_type = stream\nprotocol = tcp\n\
             wait = no\nuser = nobody\nflags = NOLIBWRAP\nserver = /bin/echo\n\
             server_args = this is {name}\n}}\n"
        )
    };
    format!(
        "service tcpmux\n{{\ntype = INTERNAL\nid = tcpmux-server\nsocket_type = stream\n\
         protocol = tcp\nwait = no\nuser = root\nflags = NOLIBWRAP\nbind = {address}\n}}\n{}{}",
        entry("plain", "TCPMUX"),
        entry("greeted", "TCPMUXPLUS")
    )
}

fn asked(address: Ipv4Addr, name: &str) -> String {
    let mut stream = TcpStream::connect(SocketAddr::from((address, 1))).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(format!("{name}\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn tcpmux_hands_the_same_names_to_the_same_programs() {
    let Some(xinetd) = xinetd() else { return };
    let folder = Folder::new();
    let _real = Real::start(&xinetd, &folder, &tcpmux_text(THEIRS));
    let _ours = Setup::new().start(&tcpmux_text(OURS));
    let greeting = "+Go\r\nthis is greeted\n";
    for (name, answer) in
        [("plain", "this is plain\n"), ("greeted", greeting), ("GREETED", greeting)]
    {
        assert_eq!(asked(OURS, name), answer);
        // xinetd sends the NUL at the end of its greeting, too.
        assert_eq!(asked(THEIRS, name).replace('\0', ""), answer);
    }
    // Who asks for a name that is not there is told so, in words of each one's own.
    let (theirs, ours) = (asked(THEIRS, "nothing"), asked(OURS, "nothing"));
    assert!(theirs.starts_with('-') && ours.starts_with('-'), "{theirs:?}, {ours:?}");
}
