//! Clients have all descriptors that they may have: what a reload or an upgrade brings holds all
//! the same, or as soon as there is room, and whoever commands the server is heard.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use crate::common::clients::{ask, echo_once, try_tcp};
use crate::common::control::{status_of_port, upgrade};
use crate::common::procs::descriptor_numbers;
use crate::common::tls::{behind_tls, make_certificate, python, site};
use crate::common::{
    Daemon, Folder, Line, Setup, free_port, free_ports, me, need_program, own_line, read_all, tcp,
    wait_until,
};

/// So many descriptors, and those that clients and programs may have of them.
const LIMIT: &str = "ulimit -n 200";
const FOR_CLIENTS: u32 = 184;

/// Two services whose clients are held.
fn holders() -> (Vec<u16>, String) {
    let ports = free_ports(2);
    let text = own_line(ports[0], "internal echo") + &own_line(ports[1], "/bin/cat cat");
    (ports, text)
}

/// Clients of both, until the server has no descriptor for another one. For a program there
/// must be some more, which may be left.
#[track_caller]
fn fill(daemon: &Daemon, ports: &[u16]) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    wait_until("the server to be full", || {
        if clients.len() < 400 {
            clients.extend(ports.iter().map(|port| tcp(*port)));
        }
        let open = descriptor_numbers(daemon.pid());
        (0..FOR_CLIENTS).filter(|number| !open.contains(number)).count() < 2
    });
    clients
}

#[track_caller]
fn leave(daemon: &Daemon, clients: Vec<TcpStream>) {
    drop(clients);
    wait_until("the server to have room", || descriptor_numbers(daemon.pid()).len() < 100);
}

#[test]
fn a_reload_takes_the_right_to_connect_away() {
    let (ports, text) = holders();
    let folder = Folder::new();
    let path = folder.open_folder("sockets").join("here");
    let with = |mode: &str| {
        let place = path.display();
        format!(
            "{text}{place} stream unix nowait {} /bin/cat cat\n    socket_mode = {mode}\n",
            me()
        )
    };
    let setup = Setup::new().controlled().after(LIMIT);
    let daemon = setup.start_in(folder, &with("0666"));
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o666);
    let clients = fill(&daemon, &ports);
    assert_eq!(daemon.reload(&with("0600")).number("updated"), Some(1));
    assert_eq!(mode(), 0o600, "{}", daemon.log.text());
    let of_path = |line: &Line| line.get("service") == path.to_str();
    assert!(!daemon.said("trouble").iter().any(of_path), "{}", daemon.log.text());
    drop(clients);
}

/// What python says of the certificate that is shown there: whether it is the one of this file.
#[track_caller]
fn is_shown(daemon: &Daemon, port: u16, name: &str) -> bool {
    let script = r"
wanted = ssl.PEM_cert_to_DER_cert(open(sys.argv[2]).read())
it = connect(sys.argv[1])
print(it.getpeercert(True) == wanted, read_all(it))
";
    let said = python(&daemon.folder, script, &[&port.to_string(), name]);
    assert!(said.ends_with("b'hi\\n'\n"), "{said}");
    said.starts_with("True")
}

#[test]
fn what_stands_in_front_of_services_is_as_the_last_file_says() {
    let Some(folder) = site(&["python3"]) else { return };
    make_certificate(&folder, "other", "DNS:localhost,IP:127.0.0.1", "90");
    let (holders, text) = holders();
    let [tls, terminal, new] = free_ports(3)[..] else { panic!("three ports") };
    let hi = "/bin/echo echo hi";
    let before = text.clone() + &behind_tls(&folder, tls, hi, "");
    let seated = own_line(terminal, hi) + "    pty = yes\n";
    let after = text
        + &(behind_tls(&folder, tls, hi, "") + &behind_tls(&folder, new, hi, ""))
            .replace("site.", "other.")
        + &seated;
    let daemon = Setup::new().controlled().after(LIMIT).start_in(folder, &before);
    assert!(is_shown(&daemon, tls, "site.pem"));
    let is_right = |upgraded: &str| {
        assert!(is_shown(&daemon, tls, "other.pem"), "{upgraded}\n{}", daemon.log.text());
        assert!(is_shown(&daemon, new, "other.pem"), "{upgraded}\n{}", daemon.log.text());
        assert_eq!(read_all(tcp(terminal)), "hi\r\n", "{upgraded}\n{}", daemon.log.text());
    };
    let clients = fill(&daemon, &holders);
    let _ = daemon.reload(&after);
    leave(&daemon, clients);
    is_right("before");
    let clients = fill(&daemon, &holders);
    upgrade(&daemon);
    leave(&daemon, clients);
    is_right("after");
}

/// The system has nothing for what workers are told: that is said once, and tried again.
#[test]
fn what_could_not_be_made_is_made_when_it_can_be() {
    let Some(folder) = site(&["python3"]) else { return };
    if !need_program("strace") {
        return;
    }
    let port = free_port();
    let text = behind_tls(&folder, port, "/bin/echo echo hi", "");
    let inject = "inject=memfd_create:error=EMFILE:when=1";
    let strace = ["strace", "-D", "-f", "-q", "-o", "/dev/null", "-e", "trace=memfd_create"];
    let words = [&strace[..], &["-e", inject]].concat();
    let daemon = Setup::new().controlled().under(&words).start_in(folder, &text);
    let line = daemon.wait_log(|line| line.about("trouble", port));
    assert_eq!(line.get("call"), Some("tls"), "{}", line.raw);
    let error = status_of_port(&daemon, port)["last_error"]["message"].to_string();
    assert!(error.contains("site.key") && error.contains("Too many open files"), "{error}");
    wait_until("it to be tried again", || {
        let mut client = tcp(port);
        // No handshake: who says that is told to be gone, once there is anybody to tell him.
        let _ = client.write_all(b"GET / HTTP/1.0\r\n\r\n");
        drop(client);
        status_of_port(&daemon, port)["last_error"].is_null()
    });
    assert!(is_shown(&daemon, port, "site.pem"));
    assert_eq!(daemon.said("trouble").len(), 1);
}

/// Whoever asks for the page or the metrics takes nobody's place who commands.
#[test]
fn askers_over_http_leave_what_is_kept_to_commands() {
    let (ports, text) = holders();
    let http = free_ports(2);
    let words =
        ["--page", &http[0].to_string(), "--metrics", &http[1].to_string()].map(str::to_owned);
    let setup = words.iter().fold(Setup::new().controlled(), |setup, word| setup.arg(word));
    let daemon = setup.after(LIMIT).start(&text);
    let clients = fill(&daemon, &ports);
    let half = |port: u16| {
        let mut asker = try_tcp(([127, 0, 0, 1], port).into()).unwrap();
        asker.write_all(b"GET / HT").unwrap();
        asker
    };
    let askers: Vec<TcpStream> = http.iter().cycle().take(64).map(|port| half(*port)).collect();
    let _ = daemon.reload(&text);
    let more: Vec<TcpStream> = http.iter().cycle().take(64).map(|port| half(*port)).collect();
    upgrade(&daemon);
    // They are answered, too.
    for (port, path) in http.iter().zip(["/", "/metrics"]) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
        let answer = ask(*port, &request);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop((askers, more));
    leave(&daemon, clients);
    assert_eq!(echo_once(tcp(ports[1]), "x"), "x");
}
