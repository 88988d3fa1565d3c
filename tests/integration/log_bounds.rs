//! Lines are dropped when nobody takes them, not because they are many at once, and not
//! because the server ends.

use std::fs;
use std::io::pipe;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::Stdio;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::clients::try_tcp;
use crate::common::daemon::command;
use crate::common::log::Log;
use crate::common::process::Process;
use crate::common::{Folder, free_port, me, read_all, shell, tcp, tcp_line, wait_until};

/// Peers that have ended and that the server knows.
const KNOWN: usize = 1000;
/// Others, who are there.
const THERE: usize = 100;
/// What the server keeps for a reader that is slow.
const KEPT: usize = 256 * 1024;

/// For one that nobody asks.
const UNASKED: [&str; 2] = ["--control", "none"];

fn start(folder: &Folder, text: &str, arguments: &[&str], stderr: Stdio) -> Process {
    let file = folder.write("inetd.conf", text);
    let mut command = command(&[]);
    command.arg(file).args(arguments);
    Process::start(command.stdin(Stdio::null()).stderr(stderr))
}

/// It says who its peers were, and more than fits into a pipe.
#[test]
fn a_slow_reader_gets_the_last_lines() {
    let (port, folder) = (free_port(), Folder::new());
    let (reader, writer) = pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let mut server = start(&folder, &tcp_line(port, "internal daytime"), &UNASKED, writer.into());
    let log = Log::follow(reader);
    let _ = log.wait(0, 1, |line| line.is("ready"));
    for _ in 0..KNOWN {
        let _ = read_all(tcp(port));
    }
    server.stop();
    log.wait_end();
    let lines = log.all_after(0, |_| true);
    assert_eq!(lines.iter().filter(|line| line.is("peer")).count(), KNOWN);
    assert!(lines.last().is_some_and(|line| line.is("stopped")), "{:?}", lines.last());
}

/// Without a reader it ends all the same.
#[test]
fn a_reader_that_has_stopped_does_not_keep_the_server_from_its_end() {
    let (port, folder) = (free_port(), Folder::new());
    let (reader, writer) = pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let mut server = start(&folder, &tcp_line(port, "internal daytime"), &UNASKED, writer.into());
    wait_until("it to serve", || try_tcp(([127, 0, 0, 1], port).into()).is_ok());
    for _ in 0..KNOWN {
        let _ = read_all(tcp(port));
    }
    server.stop();
    drop(reader);
}

#[test]
fn a_list_that_is_longer_than_what_is_kept_is_whole_in_a_file() {
    let folder = Folder::new();
    let [short, long] = ["a", "b"].map(|letter| {
        let id = folder.path().file_name().unwrap().to_str().unwrap();
        format!("{id}{}", letter.repeat(100 - id.len()))
    });
    let line = |name: &str, what| format!("@{name} stream unix nowait {} internal {what}\n", me());
    let text = line(&short, "daytime") + &line(&long, "echo");
    let path = folder.at("own.log");
    let target = format!("file:{}", path.display());
    let arguments = ["--log", &target, "--log-format", "json", "--control", "none"];
    let mut server = start(&folder, &text, &arguments, Stdio::null());
    let written = || fs::read_to_string(&path).unwrap_or_default();
    let said = |event: &str| written().matches(&format!(r#""event":"{event}""#)).count();
    wait_until("it to be ready", || said("ready") == 1);
    let connect = |name: &String| {
        UnixStream::connect_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
    };
    for _ in 0..KNOWN {
        let _ = read_all(connect(&short));
    }
    let there: Vec<UnixStream> = (0..THERE).map(|_| connect(&long)).collect();
    wait_until("everybody to be served", || said("accepted") == KNOWN + THERE);
    let before = written().len();
    server.signal(Signal::SIGUSR1);
    server.signal(Signal::SIGUSR2);
    wait_until("the list to end", || said("peers") == 1);
    assert!(written().len() - before > KEPT, "the list is too short for this test");
    assert_eq!((said("peer"), said("log-dropped")), (KNOWN + THERE, 0));
    server.stop();
    assert_eq!(said("stopped"), 1);
    drop(there);
}

/// Lines that the pipe has no room for go on waiting, and one of them is in it in part.
#[test]
fn an_upgrade_tears_no_line_and_tells_what_has_been_dropped() {
    const FLOOD: usize = 5000;
    let (flood, port, folder) = (free_port(), free_port(), Folder::new());
    let (reader, writer) = pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let script = shell(&format!("yes | head -n {FLOOD} >&2; echo done"));
    // Opened in turn.
    let text = tcp_line(flood, &script) + &tcp_line(port, "internal daytime");
    let control = folder.name("control");
    let arguments = ["--control", &control, "--log-format", "json"];
    let mut server = start(&folder, &text, &arguments, writer.into());
    let address = ([127, 0, 0, 1], port).into();
    wait_until("it to serve", || try_tcp(address).is_ok());
    assert_eq!(read_all(tcp(flood)), "done\n");
    let upgraded = command(&[]).args(["upgrade", "--control", &control]).output().unwrap();
    assert!(upgraded.status.success(), "{upgraded:?}");
    let log = Log::follow(reader);
    let _ = log.wait(0, 1, |line| line.raw.contains("log-dropped"));
    server.stop();
    log.wait_end();
    let lines = log.all_after(0, |_| true).into_iter();
    let lines = lines.map(|it| serde_json::from_str::<Value>(&it.raw).expect(&it.raw));
    let lines: Vec<Value> = lines.collect();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
    let dropped: u64 = lines.iter().filter_map(|line| line["lines"].as_u64()).sum();
    let all = of("stderr") + usize::try_from(dropped).unwrap();
    // Among those dropped may be some about clients and the upgrade, with what the new one says
    // of itself.
    assert!(dropped > 0 && (FLOOD..FLOOD + 20).contains(&all), "{dropped} of {all}");
    assert_eq!((of("spawning") > 0, of("stopped")), (true, 1));
}
