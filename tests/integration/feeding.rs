//! `wait` programs that send their own socket something: they are not started for ever, and those
//! that serve many clients with a short run each are not taken for such.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::needs::kernel_lacks;
use crate::common::{Daemon, Folder, Setup, free_port, me, need_program, tcp, udp, wait_until};

const BASH: &str = "/bin/bash";
const PERL: &str = "/usr/bin/perl";

/// So many runs of a program in a row are too many.
const ROW: usize = 512;

/// Takes one datagram.
const TAKES_ONE: &str = "read -n1\n";

fn start(port: u16, kind: &str, program: &str, script: &str) -> Daemon {
    let folder = Folder::new();
    let script = folder.write("script", script);
    let script = script.display();
    let line = format!("127.0.0.1:{port} {kind} wait {} {program} fed {script}\n", me());
    Setup::new().env("RUST_LOG", "debug").start_in(folder, &line)
}

fn ended(daemon: &Daemon) -> usize {
    daemon.said("ended").len()
}

/// Each part of it has the whole time that something may take here.
fn wait_for_runs(daemon: &Daemon, runs: usize, mut meanwhile: impl FnMut()) {
    for part in (64..=runs).step_by(64) {
        wait_until("more runs", || {
            meanwhile();
            ended(daemon) >= part
        });
    }
}

/// It rests ever longer, and is hardly started meanwhile. False where the kernel does not tell
/// who has which socket.
fn is_backed_off(daemon: &Daemon) -> bool {
    wait_for_runs(daemon, ROW, || {});
    let rests = |delay| {
        move |line: &crate::common::Line| line.is("backoff") && line.get("delay") == Some(delay)
    };
    let said = daemon.wait_log(|line| rests("1s")(line) || line.is("sock_diag"));
    if said.is("sock_diag") && !kernel_lacks("sock_diag") {
        return false;
    }
    let _ = daemon.wait_log(rests("4s"));
    let lines = daemon.log.all_after(0, |line| line.is("backoff") || line.is("ended"));
    let until = lines.iter().position(rests("4s")).unwrap();
    // What it has sent itself may come when it has ended already: then it begins anew.
    let from = lines[..until].iter().rposition(rests("1s")).unwrap();
    let meanwhile = lines[from..until].iter().filter(|line| line.is("ended")).count();
    assert!(meanwhile < 16, "{meanwhile} runs");
    true
}

#[test]
fn a_datagram_program_that_feeds_itself_is_started_ever_more_slowly() {
    if !need_program(BASH) {
        return;
    }
    let port = free_port();
    let feeds = format!("{TAKES_ONE}echo x > /dev/udp/127.0.0.1/{port}\n");
    let daemon = start(port, "dgram udp", BASH, &feeds);
    let client = udp(port);
    client.send(b"x").unwrap();
    if !is_backed_off(&daemon) {
        return;
    }
    // Who comes does not wait until it has rested.
    let before = ended(&daemon);
    wait_until("many more runs", || {
        client.send(b"x").unwrap();
        ended(&daemon) > before + 8
    });
}

/// It leaves one waiting and two by turns: that is never the same as before.
#[test]
fn a_stream_program_that_feeds_itself_is_started_ever_more_slowly() {
    if !need_program(PERL) {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let mark = folder.name("mark");
    let feeds = format!(
        "if (unlink '{mark}') {{ accept(C, STDIN) }} else {{ open(F, '>', '{mark}');\n\
         socket(S, 2, 1, 0); connect(S, getsockname(STDIN)) }}\n"
    );
    let daemon = start(port, "stream tcp", PERL, &feeds);
    let client = tcp(port);
    // It is served, and gone.
    let _ = daemon.wait_log(|line| line.is("ended"));
    drop(client);
    let _ = is_backed_off(&daemon);
}

/// Whoever waits for an answer has the socket still that he has asked with.
#[test]
fn clients_in_an_endless_row_are_served_without_a_rest() {
    if !need_program(BASH) {
        return;
    }
    let port = free_port();
    let daemon = start(port, "dgram udp", BASH, TAKES_ONE);
    let clients: Vec<UdpSocket> = (0..4).map(|_| udp(port)).collect();
    for round in 1..=ROW / 64 + 1 {
        for client in clients.iter().cycle().take(64) {
            client.send(b"x").unwrap();
        }
        // There is always somebody who waits.
        wait_until("half of them", || ended(&daemon) >= round * 64 - 32);
    }
    assert_eq!(daemon.said("backoff").len(), 0, "{}", daemon.log.text());
}

/// They send one after the other, each from a socket of his own, until this is dropped.
struct Others(Arc<AtomicBool>);

impl Others {
    fn who_send_to(port: u16) -> Self {
        let go_on = Arc::new(AtomicBool::new(true));
        let others = Self(go_on.clone());
        std::thread::spawn(move || {
            while go_on.load(Ordering::Relaxed) {
                udp(port).send(b"x").unwrap();
            }
        });
        others
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Those who have gone when they are served are served as well while others come, be they so many
/// that there is no room for the next one.
#[test]
fn senders_who_do_not_wait_for_an_answer_are_served_while_others_come() {
    if !need_program(BASH) {
        return;
    }
    let port = free_port();
    let daemon = start(port, "dgram udp", BASH, TAKES_ONE);
    let others = Others::who_send_to(port);
    wait_for_runs(&daemon, ROW + 128, || {});
    drop(others);
}
