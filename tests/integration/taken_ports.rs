//! Ports that somebody else has: said where somebody looks, as long as it is so.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::process::{Output, Stdio};

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use crate::common::clients::read_to_any_end;
use crate::common::control::{controlled, status_of_port};
use crate::common::daemon::{as_pid, command};
use crate::common::{
    Folder, Setup, free_port, free_ports, need_ipv6, need_program, procs, read_all, tcp, tcp_line,
    wait_until,
};

const HI: &str = "/bin/echo echo hi";

/// Somebody else's socket.
fn taken(address: impl Into<SocketAddr>) -> TcpListener {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt,
        socket, sockopt,
    };
    let address = address.into();
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true).unwrap();
    }
    use std::os::fd::AsRawFd as _;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address)).unwrap();
    listen(&socket, Backlog::new(1).unwrap()).unwrap();
    TcpListener::from(socket)
}

fn error(service: &Value) -> String {
    service["last_error"]["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_service_of_which_one_family_is_not_open_is_partial_until_it_is() {
    if !need_ipv6() {
        return;
    }
    let port = free_port();
    let other = taken((Ipv6Addr::UNSPECIFIED, port));
    let daemon = controlled(&format!("{port} stream tcp nowait - {HI}\n"));
    let found = status_of_port(&daemon, port);
    assert_eq!(found["state"], json!("partial"));
    assert!(error(&found).starts_with(&format!("[::]:{port}: Address already in use")), "{found}");
    assert!(daemon.answer(&["status"]).contains(" partial "));
    assert_eq!(read_all(tcp(port)), "hi\n");
    drop(other);
    wait_until("the other family", || status_of_port(&daemon, port)["state"] == "listening");
    let found = status_of_port(&daemon, port);
    assert_eq!(found["last_error"], Value::Null, "it is healed");
}

#[test]
fn what_is_wrong_is_told_as_long_as_it_is() {
    let port = free_port();
    let folder = Folder::new();
    let program = folder.name("program");
    std::fs::copy("/bin/echo", &program).unwrap();
    let text = crate::common::own_line(port, &format!("{program} echo hi"));
    let daemon = Setup::new().controlled().start_in(folder, &text);
    std::fs::rename(&program, format!("{program}-gone")).unwrap();
    assert_eq!(read_all(tcp(port)), "");
    let _ = daemon.wait_log(|line| line.about("failed", port));
    assert!(error(&status_of_port(&daemon, port)).contains("exec: "));
    std::fs::rename(format!("{program}-gone"), &program).unwrap();
    assert_eq!(read_all(tcp(port)), "hi\n");
    let _ = daemon.wait_log(|line| line.about("ended", port));
    let found = status_of_port(&daemon, port);
    assert_eq!((&found["last_error"], &found["failed"]), (&Value::Null, &json!(1)));
}

#[test]
fn the_command_that_the_log_names_shows_who_has_a_port_whatever_its_protocol() {
    if !need_program("ss") {
        return;
    }
    let ports = free_ports(2);
    let tcp = taken(([127, 0, 0, 1], ports[0]));
    let udp = std::net::UdpSocket::bind(("127.0.0.1", ports[1])).unwrap();
    udp.connect(("127.0.0.1", ports[0])).unwrap();
    let line = format!("127.0.0.1:{} dgram udp wait - /bin/cat cat\n", ports[1]);
    let daemon = controlled(&(tcp_line(ports[0], HI) + &line));
    for port in ports {
        let line = daemon.wait_log(|line| line.about("not-listening", port));
        let error = line.get("error").unwrap();
        let words = error.split('`').nth(1).unwrap_or_default().to_owned();
        assert!(words.starts_with("ss ") && error.contains("shows who has it"), "{}", line.raw);
        let mut shown = command(&["sh".to_owned(), "-c".to_owned(), words.clone()]);
        let shown = String::from_utf8(shown.output().unwrap().stdout).unwrap();
        let own = format!("pid={},", std::process::id());
        assert!(shown.contains(&own), "{words}: {shown}");
    }
    drop((tcp, udp));
}

/// `oxinetd --daemon` with its log in a file, to the end of the command.
fn in_background(folder: &Folder, text: &str) -> Output {
    let file = folder.write("conf", text);
    let log = format!("file:{}", folder.name("log"));
    let mut starting = command(&["timeout".to_owned(), "25".to_owned()]);
    starting.arg("--daemon").arg(file).args(["--control", "none", "--log", &log]);
    starting.stdin(Stdio::null()).output().unwrap()
}

/// The server that it says it has started, if it has.
fn started(output: &Output) -> Option<u32> {
    let said = String::from_utf8_lossy(&output.stdout);
    said.strip_prefix("oxinetd: started, pid ").map(|pid| pid.trim().parse().unwrap())
}

fn stop(pid: u32) {
    kill(as_pid(pid), Signal::SIGTERM).unwrap();
    wait_until("the server to end", || !procs::is_alive(pid));
}

#[test]
fn in_the_background_with_every_port_taken_there_is_no_server() {
    let (folder, ports) = (Folder::new(), free_ports(2));
    let _taken: Vec<_> = ports.iter().map(|port| taken(([127, 0, 0, 1], *port))).collect();
    let text: String = ports.iter().map(|port| tcp_line(*port, HI)).collect();
    let output = in_background(&folder, &text);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), started(&output)), (Some(1), None), "{said}");
    let wanted = format!("oxinetd: cannot listen on 127.0.0.1:{}: Address already", ports[0]);
    assert!(said.contains(&wanted) && said.contains(", nor on 1 more"), "{said}");
}

#[test]
fn in_the_background_with_some_ports_taken_that_is_said_to_whoever_starts_it() {
    let (folder, ports) = (Folder::new(), free_ports(2));
    let taken = taken(([127, 0, 0, 1], ports[0]));
    let text: String = ports.iter().map(|port| tcp_line(*port, HI)).collect();
    let output = in_background(&folder, &text);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let pid = started(&output).unwrap();
    assert!(said.contains(&format!("not-listening service={}/tcp", ports[0])), "{said}");
    assert_eq!(read_all(tcp(ports[1])), "hi\n");
    drop(taken);
    wait_until("it to be served", || {
        let stream = std::net::TcpStream::connect(("127.0.0.1", ports[0]));
        // A program that is just being started may have the socket of before for a moment.
        stream.is_ok_and(|stream| read_to_any_end(stream) == "hi\n")
    });
    stop(pid);
}

#[test]
fn in_the_background_who_is_just_going_gives_its_port_to_the_next() {
    let (folder, port) = (Folder::new(), free_port());
    let taken = taken(([127, 0, 0, 1], port));
    let log = folder.at("log");
    let going = std::thread::spawn(move || {
        // As soon as the next has met it.
        wait_until("the line", || {
            std::fs::read_to_string(&log).is_ok_and(|text| text.contains("not-listening"))
        });
        drop(taken);
    });
    let output = in_background(&folder, &tcp_line(port, HI));
    going.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let pid = started(&output).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(read_all(tcp(port)), "hi\n");
    stop(pid);
}

#[test]
fn in_the_background_what_may_still_come_is_waited_for() {
    let (folder, port) = (Folder::new(), free_port());
    // An address for documentation, which no machine has.
    let output = in_background(&folder, &format!("192.0.2.1:{port} stream tcp nowait - {HI}\n"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("not-listening"), "{said}");
    stop(started(&output).unwrap());
}
