//! How a client leaves its program behind TLS: the log says it, with the end of the program.

use crate::common::tls::{behind_tls, python, site};
use crate::common::{Line, Setup, free_port, free_ports};

/// Each kind of client, a port for each: it comes, is answered, and leaves.
const LEAVING: &str = r"
import struct
def comes(port, old):
    plain = socket.create_connection(('127.0.0.1', int(port)), timeout=50)
    it = context(old=old).wrap_socket(socket.socket(fileno=os.dup(plain.fileno())))
    it.sendall(b'x'); assert it.recv(1) == b'x'
    return plain, it
def in_order(plain, it): it.unwrap()
def cut_off(plain, it): plain.shutdown(socket.SHUT_WR)
def reset(plain, it):
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
def wrong(plain, it): plain.sendall(b'\x17\x03\x03\x00\x40' + os.urandom(64))
for port, leave in zip(sys.argv[1:], (in_order, cut_off, reset, wrong)):
    for old in (False, True):
        plain, it = comes(port, old)
        leave(plain, it)
        if leave in (cut_off, wrong):
            try: read_all(it)
            except OSError: pass
        it.close(); plain.close()
print('good')
";

#[test]
fn the_log_says_how_a_client_has_left_its_program() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(4);
    let text: String =
        ports.iter().map(|it| behind_tls(&folder, *it, "/bin/cat cat", "")).collect();
    let daemon = Setup::new().start_in(folder, &text);
    let words: Vec<String> = ports.iter().map(u16::to_string).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(python(&daemon.folder, LEAVING, &words).trim(), "good");
    let how = [None, Some("cut_off"), Some("reset"), Some("bad_record_mac")];
    for (port, how) in ports.iter().zip(how) {
        for line in daemon.wait_count(2, |line| line.about("ended", *port)) {
            assert_eq!((line.get("how"), line.get("by")), (how, None), "{}", line.raw);
        }
    }
}

#[test]
fn a_program_that_ends_first_has_been_left_by_nobody() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, "/bin/echo echo said", "");
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
for _ in range(5):
    it = connect(sys.argv[1])
    assert read_all(it) == b'said\n'
    # Without a word, as many do when they have all.
    it.close()
print('good')
";
    assert_eq!(python(&daemon.folder, script, &[&port.to_string()]).trim(), "good");
    let ended = daemon.wait_count(5, |line| line.about("ended", port));
    assert!(ended.iter().all(|line| line.get("how").is_none()), "{ended:?}");
}

#[test]
fn a_client_behind_tls_that_is_idle_is_told_of_as_any_other() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(2);
    let soon = "    idle_timeout = 300ms\n";
    let text = behind_tls(&folder, ports[0], "/bin/sleep sleep 1000", soon)
        + &behind_tls(&folder, ports[1], "/bin/cat cat", &(soon.to_owned() + "    pty = yes\n"));
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
for port in sys.argv[1:]:
    it = connect(port)
    try: read_all(it)
    except OSError: pass
print('good')
";
    let words = [ports[0].to_string(), ports[1].to_string()];
    assert_eq!(python(&daemon.folder, script, &[&words[0], &words[1]]).trim(), "good");
    for port in ports {
        let pid = daemon.accepted(port, 1)[0];
        let is_it = |line: &Line| line.about("timeout", port);
        let line = daemon.wait_log(is_it);
        assert_eq!((line.get("reason"), line.get("signal")), (Some("idle"), Some("TERM")));
        assert_eq!(line.number("pid"), Some(pid));
        // A program that hears nothing of its connection is ended all the same.
        let ended = daemon.wait_log(|line| line.about("ended", port));
        assert_eq!((ended.number("pid"), ended.get("how")), (Some(pid), Some("idle")));
    }
}
