//! What clients are told before they are served, or when they are refused.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{setsockopt, sockopt};

use crate::common::clients::{read_to_any_end, tcp_from};
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, ask, free_port, free_ports, own_line, read_all, tcp, tcp_line,
    wait_until,
};

pub(crate) const CAT: &str = "/bin/cat cat";
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A folder with the three banners.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("hello", "hello\r\n");
    folder.write("come-in", "come in\r\n");
    folder.write("go-away", "go away\r\n");
    folder
}

const ALL: &str = "    banner = hello\n    banner_success = come-in\n    banner_fail = go-away\n";

/// The longest there is, twice.
pub(crate) fn long() -> (Folder, String) {
    let folder = Folder::new();
    let text: String = ('a'..='w').cycle().take(65_536).collect();
    folder.write("long", &text);
    (folder, text.repeat(2))
}

pub(crate) const LONG: &str = "    banner = long\n    banner_success = long\n    sndbuf = 4k\n";

/// A client with a small buffer, so that a long banner does not fit anywhere.
pub(crate) fn narrow(port: u16) -> TcpStream {
    let stream = tcp(port);
    setsockopt(&stream, sockopt::RcvBuf, &2048).unwrap();
    stream
}

#[test]
fn an_admitted_client_reads_its_banners_before_the_program() {
    let (program, builtin) = (free_port(), free_port());
    let text = tcp_line(program, CAT) + ALL + &tcp_line(builtin, "internal echo") + ALL;
    let _daemon = Setup::new().start_in(folder(), &text);
    for port in [program, builtin] {
        assert_eq!(ask(port, "me"), "hello\r\ncome in\r\nme");
    }
}

#[test]
fn a_client_on_a_unix_socket_does_too() {
    let folder = folder();
    let path = folder.open_folder("sockets").join("cat");
    let text = format!("{} stream unix nowait - {CAT}\n{ALL}", path.display());
    let _daemon = Setup::new().start_in(folder, &text);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"me").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(stream), "hello\r\ncome in\r\nme");
}

#[test]
fn a_refused_client_reads_its_banners_whatever_it_has_sent() {
    let port = free_port();
    let text = tcp_line(port, CAT) + ALL + "    no_access = 127.0.0.9\n";
    let daemon = Setup::new().start_in(folder(), &text);
    assert_eq!(read_all(tcp_from(OTHER, port)), "hello\r\ngo away\r\n");
    for size in [1, 1_000, 100_000] {
        let mut stream = tcp_from(OTHER, port);
        stream.write_all(&vec![b'x'; size]).unwrap();
        // The text comes whole and ends with an end, not with a reset.
        assert_eq!(read_all(stream), "hello\r\ngo away\r\n", "{size} bytes");
    }
    assert_eq!(ask(port, "me"), "hello\r\ncome in\r\nme");
    let _ = daemon.wait_log(|line| line.about("refused", port));
}

#[test]
fn a_refused_client_may_send_while_it_reads() {
    let port = free_port();
    let text = tcp_line(port, CAT) + ALL + "    no_access = 127.0.0.9\n";
    let _daemon = Setup::new().start_in(folder(), &text);
    let mut stream = tcp_from(OTHER, port);
    let mut first = [0; 7];
    stream.read_exact(&mut first).unwrap();
    stream.write_all(b"EHLO example.org\r\n").unwrap();
    assert_eq!(read_all(&stream), "go away\r\n");
}

#[test]
fn hundreds_of_refused_clients_that_do_not_close_are_let_go() {
    let port = free_port();
    let text = tcp_line(port, CAT) + ALL + "    no_access = 127.0.0.9\n";
    let daemon = Setup::new().start_in(folder(), &text);
    // The server keeps what the next program will need.
    assert_eq!(ask(port, "me"), "hello\r\ncome in\r\nme");
    daemon.wait_childless();
    let before = crate::common::procs::descriptors(daemon.pid());
    let mut clients: Vec<_> = (0..400).map(|_| tcp_from(OTHER, port)).collect();
    for client in &mut clients {
        assert_eq!(read_all(client), "hello\r\ngo away\r\n");
    }
    let now = || crate::common::procs::descriptors(daemon.pid());
    assert!(now() <= before + 262, "{} descriptors are open", now());
    assert_eq!(ask(port, "me"), "hello\r\ncome in\r\nme");
    wait_until("their connections to be closed", || now() <= before);
}

#[test]
fn a_banner_that_does_not_fit_is_sent_while_others_are_served() {
    let (slow, builtin, quick) = (free_port(), free_port(), free_port());
    let (folder, text) = long();
    let config = tcp_line(slow, CAT)
        + LONG
        + &tcp_line(quick, "/bin/echo echo yes")
        + &tcp_line(builtin, "internal echo")
        + LONG;
    let _daemon = Setup::new().start_in(folder, &config);
    for port in [slow, builtin] {
        let mut client = narrow(port);
        client.write_all(b"me").unwrap();
        assert_eq!(read_all(tcp(quick)), "yes\n");
        client.shutdown(Shutdown::Write).unwrap();
        let got = read_all(client);
        assert_eq!(got.len(), text.len() + 2);
        assert!(got == format!("{text}me"));
    }
}

#[test]
fn a_client_that_leaves_during_its_banner_gives_its_place_back() {
    let (port, (folder, text)) = (free_port(), long());
    let config = tcp_line(port, CAT) + LONG + "    instances = 1\n";
    let daemon = Setup::new().start_in(folder, &config);
    let first = narrow(port);
    let second = tcp(port);
    let _ = daemon.wait_log(|line| line.about("limit-begin", port));
    drop(first);
    second.shutdown(Shutdown::Write).unwrap();
    second.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(read_all(second) == text);
    let line = daemon.wait_log(|line| line.about("refused", port));
    assert_eq!(line.get("reason"), Some("banner"));
}

#[test]
fn rules_that_are_made_while_a_client_reads_its_banner_hold_for_it() {
    let (port, (folder, text)) = (free_port(), long());
    let config = tcp_line(port, "/bin/echo echo served") + LONG;
    let daemon = Setup::new().start_in(folder, &config);
    let client = narrow(port);
    assert_eq!(client.peek(&mut [0]).unwrap(), 1, "it is being told");
    let _ = daemon.reload(&(config + "    only_from = 192.0.2.1\n"));
    assert!(read_all(client) == text, "it is not served");
    let refused = daemon.wait_log(|line| line.about("refused", port));
    assert_eq!(refused.get("reason"), Some("access"));
    assert!(daemon.said("accepted").is_empty());
}

#[test]
fn who_is_still_told_a_banner_of_a_service_that_goes_is_let_go_and_the_log_says_so() {
    let (ports, (folder, text)) = (free_ports(2), long());
    let stays = tcp_line(ports[1], CAT);
    let config = tcp_line(ports[0], CAT) + LONG + &stays;
    let daemon = Setup::new().start_in(folder, &config);
    let client = narrow(ports[0]);
    assert_eq!(client.peek(&mut [0]).unwrap(), 1, "it is being told");
    let _ = daemon.reload(&stays);
    let line = daemon.wait_log(|line| line.about("refused", ports[0]));
    assert_eq!(line.get("reason"), Some("gone"), "{}", line.raw);
    assert!(read_to_any_end(client).len() < text.len());
}

#[test]
fn banners_are_read_again_at_a_reload() {
    let port = free_port();
    let text = own_line(port, CAT) + "    banner = hello\n";
    let daemon = Setup::new().start_in(folder(), &text);
    assert_eq!(ask(port, ""), "hello\r\n");
    daemon.folder.write("hello", "good evening\r\n");
    assert_eq!(ask(port, ""), "hello\r\n", "files are read with the configuration");
    let _ = daemon.reload(&text);
    assert_eq!(ask(port, ""), "good evening\r\n");
}

#[test]
fn a_banner_for_datagrams_earns_a_warning() {
    let port = free_port();
    let text = format!("127.0.0.1:{port} dgram udp wait - internal echo\n    banner = hello\n");
    let daemon: Daemon = Setup::new().start_in(folder(), &text);
    let line = daemon.wait_log(|line| line.is("configuration"));
    assert!(line.raw.contains("`banner` has no effect"), "{}", line.raw);
    assert_eq!(crate::common::clients::udp_ask(&crate::common::udp(port), "?"), "?");
}
