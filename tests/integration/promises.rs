//! What a client is told is so: nothing is promised before there is what it takes.

use std::io::{Read, Write};
use std::process::Command;

use crate::banners::{CAT, LONG, long, narrow};
use crate::common::clients::read_to_any_end;
use crate::common::{Daemon, Setup, free_port, me, need_program, shell, tcp, tcp_line};

/// Sets the daemon's soft limit of descriptors; those that it has stay.
#[track_caller]
fn limit_descriptors(daemon: &Daemon, soft: u32) {
    let pid = format!("--pid={}", daemon.pid());
    let limit = format!("--nofile={soft}:");
    assert!(Command::new("prlimit").args([pid, limit]).status().unwrap().success());
}

#[test]
fn tcpmux_says_go_when_the_program_is_about_to_begin_and_not_before() {
    if !need_program("prlimit") {
        return;
    }
    let port = free_port();
    let program = shell("echo here");
    let text = format!(
        "127.0.0.1:{port} stream tcp nowait {} internal tcpmux\n\
         tcpmux/+here stream tcp nowait - {program}\n\
         tcpmux/own stream tcp nowait - {program}\n\
         tcpmux/+later stream tcp nowait - {program}\n",
        me()
    );
    let daemon = Daemon::start(&text);
    let mut clients: Vec<_> = (0..3).map(|_| tcp(port)).collect();
    let _ = daemon.wait_count(3, |line| line.about("accepted", port));
    limit_descriptors(&daemon, 3);
    for (client, name) in clients.iter_mut().zip(["here", "own"]) {
        client.write_all(format!("{name}\r\n").as_bytes()).unwrap();
        assert_eq!(read_to_any_end(client), "-Service not available\r\n", "{name}");
    }
    let failed = daemon.wait_count(2, |line| line.is("failed"));
    assert!(failed.iter().all(|line| line.get("stage") == Some("spawn")), "{failed:?}");
    limit_descriptors(&daemon, 1000);
    clients[2].write_all(b"later\r\n").unwrap();
    assert_eq!(read_to_any_end(&clients[2]), "+Go\r\nhere\n");
}

#[test]
fn whoever_has_been_told_that_he_is_admitted_waits_for_his_program() {
    if !need_program("prlimit") {
        return;
    }
    let port = free_port();
    let (folder, greeting) = long();
    let daemon = Setup::new().start_in(folder, &(tcp_line(port, CAT) + LONG));
    let mut client = narrow(port);
    let mut greeted = vec![0; greeting.len()];
    client.read_exact(&mut greeted[..1]).unwrap();
    limit_descriptors(&daemon, 3);
    client.read_exact(&mut greeted[1..]).unwrap();
    assert_eq!(greeted, greeting.as_bytes());
    let _ = daemon.wait_log(|line| line.is("trouble") && line.get("call") == Some("spawn"));
    limit_descriptors(&daemon, 1000);
    client.write_all(b"x").unwrap();
    let mut answer = [0];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"x");
    assert!(daemon.said("failed").is_empty());
}
