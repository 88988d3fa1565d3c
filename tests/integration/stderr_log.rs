//! Standard error of the programs: to the log, the client, or nowhere.

use crate::common::{
    Daemon, Folder, Line, Setup, free_port, is_root, own_line, read_all, shell, tcp, tcp_line,
};

fn lines_of(daemon: &Daemon, count: usize) -> Vec<Line> {
    daemon.wait_count(count, |line| line.is("stderr"))
}

#[test]
fn each_line_is_logged_with_service_and_pid() {
    let port = free_port();
    let daemon = Daemon::start(&tcp_line(port, &shell("echo one >&2; echo two >&2; echo out")));
    assert_eq!(read_all(tcp(port)), "out\n", "the client sees standard output only");
    let pid = daemon.accepted(port, 1)[0];
    let lines = lines_of(&daemon, 2);
    let texts: Vec<_> = lines.iter().map(|line| line.get("line").unwrap()).collect();
    assert_eq!(texts, ["one", "two"]);
    assert!(lines.iter().all(|line| line.about("stderr", port)));
    assert!(lines.iter().all(|line| line.number("pid") == Some(pid)));
}

/// The pipe is root's, the program `nobody`'s; with an ordinary user's server both are its own.
#[test]
fn programs_open_it_by_name_to_write_and_others_do_not_read_there() {
    let port = free_port();
    let script = "echo named >/dev/stderr; echo more >>/proc/self/fd/2; \
                  (read -r line </dev/stderr) 2>/dev/null || echo unread";
    let daemon = Daemon::start(&tcp_line(port, &shell(&format!("{script}; echo x >&2"))));
    // Whoever owns it may read there: only of a server that is not root are they the same.
    if is_root() {
        assert_eq!(read_all(tcp(port)), "unread\n");
    } else {
        let _ = tcp(port);
    }
    let texts: Vec<_> =
        lines_of(&daemon, 2).iter().map(|it| it.get("line").unwrap().to_owned()).collect();
    assert_eq!(texts[..2], ["named", "more"]);
}

#[test]
fn the_last_line_needs_no_newline() {
    let port = free_port();
    let daemon = Daemon::start(&tcp_line(port, &shell("printf unfinished >&2")));
    let _ = tcp(port);
    assert_eq!(lines_of(&daemon, 1)[0].get("line"), Some("unfinished"));
}

#[test]
fn control_bytes_are_escaped_and_cannot_forge_a_line() {
    let (port, folder) = (free_port(), Folder::new());
    let script = "printf 'a\\033[31mred\\000nul\\rback \"quoted\" \\377end\\n' >&2\n";
    let program = folder.script("nasty.sh", script);
    let daemon = Setup::new().start_in(folder, &own_line(port, &program));
    let _ = read_all(tcp(port));
    let line = lines_of(&daemon, 1).remove(0);
    assert!(line.raw.bytes().all(|byte| byte >= b' ' && byte != 0x7f), "{:?}", line.raw);
    for part in ["\\x1b[31mred", "\\x00nul", "\\x0dback", "\\\"quoted\\\"", "\\xffend"] {
        assert!(line.raw.contains(part), "no {part} in {}", line.raw);
    }
}

#[test]
fn a_long_line_is_cut() {
    let (port, folder) = (free_port(), Folder::new());
    let script = "head -c 300000 /dev/zero | tr '\\000' x >&2; echo >&2; echo after >&2\n";
    let program = folder.script("long.sh", script);
    let daemon = Setup::new().start_in(folder, &own_line(port, &program));
    let _ = read_all(tcp(port));
    let _ = daemon.wait_log(|line| line.is("stderr") && line.get("line") == Some("after"));
    let longest = lines_of(&daemon, 1).iter().map(|line| line.raw.len()).max().unwrap();
    assert!(longest < 20_000, "a line of {longest} bytes");
}

#[test]
fn stderr_socket_sends_it_to_the_client() {
    let port = free_port();
    let text = tcp_line(port, &shell("echo out; echo err >&2")) + "    stderr = socket\n";
    let daemon = Daemon::start(&text);
    assert_eq!(read_all(tcp(port)), "out\nerr\n");
    let _ = daemon.wait_log(|line| line.about("ended", port));
    assert!(daemon.said("stderr").is_empty());
}

#[test]
fn stderr_null_throws_it_away() {
    let port = free_port();
    let script = shell("echo lost >&2; readlink /proc/self/fd/2");
    let daemon = Daemon::start(&(tcp_line(port, &script) + "    stderr = null\n"));
    assert_eq!(read_all(tcp(port)), "/dev/null\n");
    let _ = daemon.wait_log(|line| line.about("ended", port));
    assert!(daemon.said("stderr").is_empty());
}

#[test]
fn a_grandchild_that_keeps_standard_error_does_not_delay_the_end() {
    let port = free_port();
    let script = shell("sleep 25 >/dev/null </dev/null & echo done");
    let mut daemon = Daemon::start(&tcp_line(port, &script));
    assert_eq!(read_all(tcp(port)), "done\n");
    let line = daemon.wait_log(|line| line.about("ended", port));
    let time: f64 = line.get("time").unwrap().trim_end_matches('s').parse().unwrap();
    assert!(time < 20.0, "{}", line.raw);
    assert_eq!(daemon.count_peers(), (1, 0));
    daemon.stop();
}

#[test]
fn lines_of_programs_at_once_are_not_mixed() {
    let port = free_port();
    let script = shell("for n in 1 2 3 4 5 6 7 8 9; do echo $$ $n of the line >&2; done");
    let daemon = Daemon::start(&tcp_line(port, &script));
    let clients: Vec<_> = (0..20).map(|_| tcp(port)).collect();
    for client in clients {
        assert_eq!(read_all(client), "");
    }
    for line in lines_of(&daemon, 180) {
        let text = line.get("line").unwrap();
        let pid = line.get("pid").unwrap();
        assert!(text.starts_with(&format!("{pid} ")), "{}", line.raw);
        assert!(text.ends_with(" of the line"), "{}", line.raw);
    }
}
