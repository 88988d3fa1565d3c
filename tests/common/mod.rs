//! The daemon under test, its clients, and the machine they run on.
//!
//! Everything waits on a condition with a deadline; nothing waits for a time to pass.

pub(crate) mod awake;
pub(crate) mod clients;
pub(crate) mod control;
pub(crate) mod daemon;
pub(crate) mod files;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod name_server;
pub(crate) mod needs;
pub(crate) mod nets;
pub(crate) mod peers;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod procs;
pub(crate) mod rooted;
pub(crate) mod sight;
pub(crate) mod strace;
pub(crate) mod terminal;
pub(crate) mod tls;
pub(crate) mod trace;
pub(crate) mod wait;

pub(crate) use clients::{ask, read_all, read_line, tcp, tcp6, udp};
pub(crate) use daemon::{Daemon, Setup};
pub(crate) use files::Folder;
pub(crate) use log::Line;
pub(crate) use needs::{is_root, need_ipv6, need_program, need_root};
pub(crate) use ports::{free_port, free_ports};
pub(crate) use wait::{DEADLINE, wait_for, wait_until};

/// An inetd.conf line of a TCP service on 127.0.0.1: `program` is the program and its argv.
pub(crate) fn tcp_line(port: u16, program: &str) -> String {
    format!("127.0.0.1:{port} stream tcp nowait - {program}\n")
}

/// As [`tcp_line`], with the user the test itself runs as, so that it may read the test's files.
pub(crate) fn own_line(port: u16, program: &str) -> String {
    format!("127.0.0.1:{port} stream tcp nowait {} {program}\n", me())
}

/// The program field and arguments that run `script` in a shell; no single quotes in it.
pub(crate) fn shell(script: &str) -> String {
    assert!(!script.contains('\''), "the configuration quotes it with '…': {script}");
    format!("/bin/sh sh -c '{script}'")
}

/// The user field for "as whoever runs the test": `root`, or `-` for an ordinary user.
pub(crate) fn me() -> &'static str {
    if is_root() { "root" } else { "-" }
}
