//! `pty` and `telnet`: programs that have a terminal, and clients who sit at it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};

use crate::common::control::{controlled, upgrade};
use crate::common::daemon::command;
use crate::common::{
    Daemon, Folder, Setup, free_port, is_root, need_program, own_line, procs, read_all, shell, tcp,
    tcp_line, wait_until,
};

/// Somebody at a terminal, who reads what it shows.
pub(crate) struct Seat {
    pub(crate) stream: TcpStream,
    seen: String,
}

impl Seat {
    pub(crate) fn at(port: u16) -> Self {
        Self { stream: tcp(port), seen: String::new() }
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.stream.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn says(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Reads until this has been shown, and forgets everything up to it.
    #[track_caller]
    pub(crate) fn sees(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = self.seen.find(wanted) {
                let rest = self.seen.split_off(at + wanted.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes).unwrap_or_else(|error| {
                panic!("{error} instead of {wanted:?} after {:?}", self.seen)
            });
            assert!(count > 0, "the end instead of {wanted:?} after {:?}", self.seen);
            self.seen.extend(bytes[..count].iter().map(|byte| char::from(*byte)));
        }
    }

    /// Everything until the end.
    #[track_caller]
    pub(crate) fn sees_the_end(self) -> String {
        self.seen + &read_all(self.stream)
    }
}

fn with(line: &str, attributes: &[&str]) -> String {
    let attributes = attributes.iter().map(|attribute| format!("    {attribute}\n"));
    line.to_owned() + &attributes.collect::<String>()
}

/// A service of a script, run as the test is, on a terminal.
pub(crate) fn on_a_terminal(port: u16, script: &str) -> String {
    with(&own_line(port, &shell(script)), &["pty = yes"])
}

pub(crate) fn in_telnet(port: u16, script: &str) -> String {
    with(&own_line(port, &shell(script)), &["telnet = yes"])
}

/// What the program has to tell of its terminal.
const FACTS: &str = "tty; stty size; echo term=$TERM columns=$COLUMNS; echo to-the-tty >/dev/tty; \
     test -t 0 -a -t 1 -a -t 2 && echo all; stat -Lc %u:%a $(tty); echo error >&2; id -u; \
     ls /proc/self/fd | wc -l";

#[track_caller]
fn assert_has_a_terminal(shown: &str) {
    let lines: Vec<&str> = shown.split("\r\n").collect();
    let [tty, size, term, by_name, all, file, error, uid, descriptors, ""] = lines[..] else {
        panic!("{lines:?}");
    };
    assert!(tty.starts_with("/dev/pts/"), "{tty}");
    assert_eq!((size, term, by_name, all), ("24 80", "term=dumb columns=", "to-the-tty", "all"));
    // Group `tty`, if the file system has one for terminals.
    let wanted = [format!("{uid}:620"), format!("{uid}:600")];
    assert!(wanted.iter().any(|it| it == file), "{file}");
    assert_eq!(error, "error");
    // 0, 1, 2, and the folder that `ls` reads.
    assert_eq!(descriptors, "4");
}

#[test]
fn a_program_has_a_terminal_of_its_own_however_it_is_started() {
    let others = if is_root() { &["root", "nobody"][..] } else { &["-"][..] };
    for spawn in ["auto", "fork", "apart"] {
        for beside in [0, 80] {
            let (port, other) = (free_port(), free_port());
            let line = |port: u16, user: &&str| {
                let line = format!("127.0.0.1:{port} stream tcp nowait {user} {}\n", shell(FACTS));
                with(&line, &["pty = yes"])
            };
            let ports = [port, other];
            let text: String =
                ports.iter().zip(others).map(|(port, user)| line(*port, user)).collect();
            let setup = Setup::new().env("TERM", "xterm").env("COLUMNS", "132");
            let daemon = setup.among(beside).arg("--spawn").arg(spawn).start(&text);
            // So many in a row that some of them are made ahead.
            for _ in 0..12 {
                for port in ports.iter().take(others.len()) {
                    assert_has_a_terminal(&Seat::at(*port).sees_the_end());
                }
            }
            drop(daemon);
        }
    }
}

#[test]
fn standard_error_goes_elsewhere_if_the_line_says_so() {
    let port = free_port();
    let script = "test -t 0 -a -t 1 && echo two; test -t 2 || echo elsewhere; echo error >&2";
    let line = own_line(port, &shell(script));
    let daemon = Daemon::start(&with(&line, &["stderr = log", "pty = yes"]));
    assert_eq!(Seat::at(port).sees_the_end(), "two\r\nelsewhere\r\n");
    daemon.wait_log(|line| line.about("stderr", port) && line.raw.contains("error"));
}

#[test]
fn size_and_name_are_those_of_the_line() {
    let port = free_port();
    let line = own_line(port, &shell("stty size; echo $TERM"));
    let attributes = ["pty = yes", "pty_size = 132x50", "term = xterm-256color"];
    let _daemon = Daemon::start(&with(&line, &attributes));
    assert_eq!(Seat::at(port).sees_the_end(), "50 132\r\nxterm-256color\r\n");
}

#[test]
fn keys_are_echoed_edited_and_interrupt() {
    let port = free_port();
    let script = "trap \"echo caught\" INT; echo ready; read -r line; echo got=$line; read -r line";
    let _daemon = Daemon::start(&on_a_terminal(port, script));
    let mut seat = Seat::at(port);
    seat.sees("ready\r\n");
    // Erased, a letter of two bytes among them.
    seat.says(b"abx\xc3\xa4\x7f\x7fc\r");
    seat.sees("got=abc\r\n");
    seat.types("\x03");
    seat.sees("^C");
    seat.sees("caught\r\n");
}

#[test]
fn a_client_who_hangs_up_ends_the_session() {
    let (port, folder) = (free_port(), Folder::new());
    let file = folder.at("hung-up");
    let script = format!(
        "trap \"echo hup >{}; exit 3\" HUP; echo ready; while :; do sleep 1; done",
        file.display()
    );
    let daemon = Daemon::start(&on_a_terminal(port, &script));
    let mut seat = Seat::at(port);
    seat.sees("ready");
    drop(seat);
    assert_eq!(folder_text(&file), "hup\n");
    let ended = daemon.wait_log(|line| line.about("ended", port));
    assert_eq!(ended.get("status"), Some("3"));
}

fn folder_text(file: &std::path::Path) -> String {
    crate::common::files::wait_text(file)
}

#[test]
fn a_client_that_only_says_that_this_was_all_still_gets_the_answer() {
    let port = free_port();
    let _daemon =
        Daemon::start(&on_a_terminal(port, "stty -echo; read -r a; read -r b; echo $a-$b"));
    let mut stream = tcp(port);
    stream.write_all(b"one\ntwo\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let shown = read_all(stream);
    assert!(shown.ends_with("one-two\r\n"), "{shown:?}");
}

#[test]
fn the_last_bytes_arrive_before_the_end() {
    let port = free_port();
    let _daemon = Daemon::start(&on_a_terminal(port, "seq 1 200000"));
    for _ in 0..3 {
        let shown = Seat::at(port).sees_the_end();
        let wanted: String = (1..=200_000).map(|number| format!("{number}\r\n")).collect();
        assert!(shown == wanted, "{} bytes of {}", shown.len(), wanted.len());
    }
}

#[test]
fn what_is_left_in_the_background_loses_the_terminal() {
    let (port, folder) = (free_port(), Folder::new());
    let pid = folder.at("pid");
    let script = format!(
        "sh -c \"trap : HUP; echo \\$\\$ >{0}; while :; do sleep 1; done\" & \
                 until test -s {0}; do sleep 0.01; done; echo over",
        pid.display()
    );
    let _daemon = Daemon::start(&on_a_terminal(port, &script));
    // Before that it may show something still.
    let shown = Seat::at(port).sees_the_end();
    assert!(shown.starts_with("over\r\n"), "{shown:?}");
    let left: i32 = folder_text(&pid).trim().parse().unwrap();
    kill(nix::unistd::Pid::from_raw(left), Signal::SIGKILL).unwrap();
}

#[test]
fn what_is_left_in_the_background_loses_the_terminal_after_an_upgrade_too() {
    let (port, folder) = (free_port(), Folder::new());
    let pid = folder.at("pid");
    let script = format!(
        "sh -c \"trap : HUP; echo \\$\\$ >>{0}; while :; do sleep 1; done\" & \
                 until grep -sqx $! {0}; do sleep 0.01; done; echo ready; read -r line; echo over",
        pid.display()
    );
    let daemon = controlled(&on_a_terminal(port, &script));
    let mut seat = Seat::at(port);
    seat.sees("ready\r\n");
    upgrade(&daemon);
    // Its number is nobody else's, though others have come since.
    let mut other = Seat::at(port);
    other.sees("ready\r\n");
    seat.types("x\r");
    let shown = seat.sees_the_end();
    assert!(shown.contains("over\r\n"), "{shown:?}");
    other.types("y\r");
    other.sees("over\r\n");
    drop(other);
    wait_until("no worker of before to be left", || procs::front_workers(daemon.pid()).len() <= 1);
    assert_eq!(folder_text(&pid).lines().count(), 2);
    for left in folder_text(&pid).lines() {
        kill(nix::unistd::Pid::from_raw(left.parse().unwrap()), Signal::SIGKILL).unwrap();
    }
}

#[test]
fn a_banner_is_shown_before_what_the_program_shows() {
    let (port, folder) = (free_port(), Folder::new());
    let banner = folder.write("banner", "two\nlines\n");
    let banner = format!("banner_success = {}", banner.display());
    let line = with(&own_line(port, &shell("echo began")), &["pty = yes", &banner]);
    let _daemon = Daemon::start(&line);
    assert_eq!(Seat::at(port).sees_the_end(), "two\r\nlines\r\nbegan\r\n");
}

pub(crate) const IAC: u8 = 255;
const WILL_TTYPE: [u8; 3] = [IAC, 251, 24];
pub(crate) const WONT_TTYPE: [u8; 3] = [IAC, 252, 24];
const WILL_NAWS: [u8; 3] = [IAC, 251, 31];
pub(crate) const WONT_NAWS: [u8; 3] = [IAC, 252, 31];

fn window(columns: u8, rows: u8) -> Vec<u8> {
    vec![IAC, 250, 31, 0, columns, 0, rows, IAC, 240]
}

fn name(name: &str) -> Vec<u8> {
    [&[IAC, 250, 24, 0], name.as_bytes(), &[IAC, 240]].concat()
}

#[test]
fn a_telnet_client_tells_its_terminal_and_its_window_and_each_change() {
    let port = free_port();
    let script =
        "trap \"stty size\" WINCH; echo term=$TERM; stty size; while :; do sleep 0.05; done";
    let _daemon = Daemon::start(&in_telnet(port, script));
    let mut seat = Seat::at(port);
    seat.says(&[&WILL_TTYPE[..], &WILL_NAWS, &window(100, 31), &name("VT220")].concat());
    seat.sees("term=vt220\r\n31 100\r\n");
    seat.says(&window(90, 40));
    seat.sees("40 90\r\n");
}

#[test]
fn nothing_in_the_environment_is_a_clients_choice_but_a_harmless_name() {
    let port = free_port();
    let daemon = Daemon::start(&in_telnet(port, "env | sort; echo end"));
    for (said, wanted) in [("a b", "dumb"), ("x=y", "dumb"), ("$(id)", "dumb"), ("xterm", "xterm")]
    {
        let mut seat = Seat::at(port);
        // An environment that nobody has asked for (RFC 1572).
        let environment =
            [&[IAC, 251, 39, IAC, 250, 39, 0, 0][..], b"EVIL\x01yes\xff\xf0"].concat();
        seat.says(&[&WILL_TTYPE[..], &WONT_NAWS, &name(said), &environment].concat());
        let shown = seat.sees("end\r\n");
        assert!(shown.contains(&format!("TERM={wanted}\r\n")), "{said}: {shown:?}");
        assert!(!shown.contains("EVIL"), "{shown:?}");
    }
    drop(daemon);
}

#[test]
fn whoever_says_nothing_has_a_program_in_a_second() {
    let port = free_port();
    let line = own_line(port, &shell("echo $TERM; stty size"));
    let _daemon =
        Daemon::start(&with(&line, &["telnet = yes", "term = vt100", "pty_size = 40x12"]));
    Seat::at(port).sees("vt100\r\n12 40\r\n");
    // Who refuses is not waited for.
    let mut seat = Seat::at(port);
    seat.says(&[WONT_TTYPE, WONT_NAWS].concat());
    seat.sees("vt100\r\n");
}

#[test]
fn who_has_gone_before_his_program_began_has_none() {
    let port = free_port();
    let daemon = controlled(&with(&in_telnet(port, "echo began"), &["instances = 1"]));
    drop(tcp(port));
    let mut seat = Seat::at(port);
    seat.says(&[WONT_TTYPE, WONT_NAWS].concat());
    seat.sees("began\r\n");
    daemon.wait_log(|line| line.about("ended", port));
}

#[test]
fn bytes_of_telnet_are_data_when_they_are_shown_and_typed() {
    let port = free_port();
    let script = "stty raw -echo; echo ready; head -c 4 | od -An -tx1; printf \"\\\\377\\\\r.\"";
    let _daemon = Daemon::start(&in_telnet(port, script));
    let mut seat = Seat::at(port);
    seat.says(&[WONT_TTYPE, WONT_NAWS].concat());
    seat.sees("ready\n");
    seat.says(b"\xff\xff\r\0\r\n\xff\xf1x");
    seat.sees("ff 0d 0d 78\n");
    seat.sees("\u{ff}\u{ff}\r\0.");
}

#[test]
fn run_gives_a_terminal_by_the_options_pty_and_telnet() {
    let port = free_port().to_string();
    let setup = || Setup::new().env("TERM", "of-the-server");
    let daemon = setup().run(&["run", "--pty", &port, "--", "sh", "-c", "tty; echo $TERM"]);
    let number = port.parse().unwrap();
    let shown = Seat::at(number).sees_the_end();
    assert!(shown.starts_with("/dev/pts/") && shown.ends_with("\r\ndumb\r\n"), "{shown:?}");
    drop(daemon);
    let _daemon =
        setup().run(&["run", "--telnet", &port, "--", "sh", "-c", "echo $TERM; stty size"]);
    let mut seat = Seat::at(number);
    seat.says(&[&WILL_TTYPE[..], &WILL_NAWS, &window(70, 20), &name("xterm")].concat());
    seat.sees("xterm\r\n20 70\r\n");
}

#[test]
fn a_terminal_may_stand_behind_tls() {
    if cfg!(not(feature = "tls")) || !need_program("openssl") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let (own, key) = (folder.name("cert.pem"), folder.name("key.pem"));
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    make.args(["-subj", "/CN=localhost", "-days", "30", "-out", &own, "-keyout", &key]);
    assert!(make.output().unwrap().status.success());
    let line =
        own_line(port, &shell("stty size; echo $SSL_PROTOCOL $TERM; read -r a; echo got=$a"));
    let tls = format!("tls = {own} {key}");
    let _daemon = Daemon::start(&with(&line, &["pty = yes", "term = xterm", &tls]));
    let mut client = Command::new("openssl");
    client.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{port}")]);
    let client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = client.spawn().unwrap();
    client.stdin.as_mut().unwrap().write_all(b"typed\n").unwrap();
    let shown = read_all(client.stdout.take().unwrap());
    client.wait().unwrap();
    // What is typed is echoed when it comes.
    assert!(shown.contains("24 80\r\n") && shown.contains("TLSv1.3 xterm\r\n"), "{shown:?}");
    assert!(shown.ends_with("got=typed\r\n"), "{shown:?}");
}

fn check(text: &str) -> Output {
    let folder = Folder::new();
    folder.write("conf", text);
    command(&[]).args(["check", &folder.name("conf")]).output().unwrap()
}

#[test]
fn who_can_have_no_terminal_is_told_so() {
    for (line, why) in [
        ("50002 stream tcp wait - /bin/cat cat", "with `wait`"),
        ("50002 dgram udp nowait - /bin/cat cat", "for streams"),
        ("50002 stream tcp nowait - internal echo", "built-in service"),
        ("50002 stream tcp nowait - internal\n    redirect = localhost 80", "a relay"),
        ("tcpmux/x stream tcp nowait - /bin/cat cat", "tcpmux"),
    ] {
        for attribute in ["pty = yes", "telnet = yes"] {
            let output = check(&format!("{line}\n    {attribute}\n"));
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(1), "{line}: {said}");
            assert!(said.contains("cannot be") && said.contains(why), "{line}: {said}");
        }
    }
    for wrong in ["pty = maybe", "pty_size = 80", "pty_size = 0x24", "term = a/b"] {
        let output = check(&format!("50002 stream tcp nowait - /bin/cat cat\n    {wrong}\n"));
        assert_eq!(output.status.code(), Some(1), "{wrong}");
    }
    // What defaults say is not everybody's.
    let text = ".defaults\n    pty = yes\n50002 stream tcp nowait - internal echo\n\
                50003 stream tcp nowait - /bin/cat cat\n";
    assert_eq!(check(text).status.code(), Some(0));
}

#[test]
fn limits_of_time_and_kill_end_a_session() {
    let ports = crate::common::free_ports(3);
    let sleep = "/bin/sleep sleep 1000";
    let text = with(&tcp_line(ports[0], sleep), &["pty = yes", "timeout = 300ms"])
        + &with(&tcp_line(ports[1], sleep), &["pty = yes", "idle_timeout = 300ms"])
        + &with(&tcp_line(ports[2], sleep), &["pty = yes"]);
    let daemon = controlled(&text);
    assert_eq!(Seat::at(ports[0]).sees_the_end(), "");
    assert_eq!(Seat::at(ports[1]).sees_the_end(), "");
    let line = daemon.wait_log(|line| line.about("timeout", ports[1]));
    assert_eq!(line.get("reason"), Some("idle"));
    let seat = Seat::at(ports[2]);
    let pid = daemon.accepted(ports[2], 1)[0];
    daemon.answer(&["kill", &pid.to_string()]);
    assert_eq!(seat.sees_the_end(), "");
    daemon.wait_log(|line| line.about("ended", ports[2]));
}

#[test]
fn sessions_live_on_over_a_reload_and_an_upgrade() {
    let port = free_port();
    let text = on_a_terminal(port, "while read -r line; do echo got=$line; done");
    let daemon = controlled(&text);
    let mut seat = Seat::at(port);
    for act in [0, 1, 2] {
        match act {
            0 => {}
            1 => _ = daemon.reload(&text.replace("got", "now")),
            _ => upgrade(&daemon),
        }
        seat.types(&format!("line-{act}\r"));
        seat.sees(&format!("got=line-{act}\r\n"));
    }
    // Whoever comes now is served by the new one.
    let mut other = Seat::at(port);
    other.types("x\r");
    other.sees("now=x\r\n");
    let pid = daemon.accepted(port, 1)[0];
    seat.types("\x04");
    assert_eq!(seat.sees_the_end(), "");
    daemon.wait_log(|line| line.about("ended", port) && line.number("pid") == Some(pid));
    drop(other);
    daemon.wait_count(2, |line| line.about("ended", port));
    wait_until("no descriptor of theirs to be left", || procs::terminals(daemon.pid()) == 0);
}

#[test]
fn the_server_itself_has_no_terminal_and_no_connection() {
    let port = free_port();
    let one = Setup::new().arg("--front-workers").arg("1");
    let daemon = one.start(&on_a_terminal(port, "echo ready; read -r line"));
    let mut first = Seat::at(port);
    first.sees("ready");
    let before = procs::descriptors(daemon.pid());
    let mut seats: Vec<Seat> = (0..8).map(|_| Seat::at(port)).collect();
    seats.iter_mut().for_each(|seat| _ = seat.sees("ready"));
    wait_until("the server to have no terminal", || procs::terminals(daemon.pid()) == 0);
    // A program costs what it always does: whatever announces its end.
    wait_until("the server to have nothing else of theirs", || {
        // That of the first one may have come since.
        procs::descriptors(daemon.pid()) <= before + seats.len() + 1
    });
    drop(first);
}

#[test]
fn a_client_that_takes_nothing_holds_nobody_else_up() {
    let port = free_port();
    let daemon = Daemon::start(&on_a_terminal(port, "echo ready; yes"));
    let mut greedy = Seat::at(port);
    greedy.sees("ready");
    for _ in 0..4 {
        let mut other = Seat::at(port);
        other.sees("ready");
        other.sees("y\r\ny\r\n");
        other.stream.shutdown(Shutdown::Both).unwrap();
    }
    drop(greedy);
    daemon.wait_count(5, |line| line.about("ended", port));
}

#[test]
fn floods_of_telnet_are_answered_in_bounds() {
    let port = free_port();
    let _daemon = Daemon::start(&in_telnet(port, "echo ready; cat"));
    let mut flood = tcp(port);
    let asks: Vec<u8> = [[IAC, 251, 24], [IAC, 252, 24], [IAC, 253, 99]].concat().repeat(10_000);
    flood.set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    // Nobody reads the answers: sooner or later nobody reads the questions.
    let stuck = (0..2000).any(|_| flood.write_all(&asks).is_err());
    assert!(stuck, "all of it is read, whatever becomes of the answers");
    let mut seat = Seat::at(port);
    seat.says(&[WONT_TTYPE, WONT_NAWS].concat());
    seat.sees("ready");
}
