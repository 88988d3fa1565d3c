//! What something that a `wait` program has left behind does to its socket, after the program's
//! end: it is undone, without a reload and without another program.

use std::path::Path;
use std::time::Duration;

use crate::common::clients::udp_to;
use crate::common::{
    Daemon, Folder, Setup, free_port, me, need_ipv6, need_program, udp, wait_for, wait_until,
};
use crate::ruining::{CONNECT, FILTER, HELPERS, LOCKED_FILTER, Place, SHUT, is_calm, start};

/// Serves one client. The first one leaves a process behind that does something to the socket when
/// the test makes the first of these files, makes the second and `ends`.
fn harms(how: &str, [go, done]: &[String; 2], ends: &str) -> String {
    format!(
        "{HELPERS}import time\n\
         peer = serve()\n\
         if not os.path.exists('{done}') and os.fork() == 0:\n\
         \x20   while not os.path.exists('{go}'): time.sleep(0.005)\n\
         \x20   {how}\n\
         \x20   open('{done}', 'w').close()\n\
         \x20   {ends}\n"
    )
}

const AT_ONCE: &str = "pass";
const LATER: &str = "time.sleep(60)";

fn files(folder: &Folder) -> [String; 2] {
    ["go", "done"].map(|name| folder.name(name))
}

/// The program of a client ends, and what it has left does it.
fn let_it_be_harmed(daemon: &Daemon, [go, done]: &[String; 2]) {
    let _ = daemon.wait_log(|line| line.is("ended"));
    std::fs::write(go, "").unwrap();
    wait_until("what is left of the program", || Path::new(done).exists());
}

/// The next client is served, who came by himself.
fn serves_on(place: &Place, folder: Folder, how: &str, ends: &str) {
    let files = files(&folder);
    let (mut daemon, other) = start(place, folder, &harms(how, &files, ends));
    place.ask();
    let_it_be_harmed(&daemon, &files);
    place.ask();
    place.ask();
    is_calm(&daemon, other);
    daemon.stop();
}

#[test]
fn a_datagram_socket_that_something_left_behind_has_made_deaf_hears_again() {
    if !need_program("python3") {
        return;
    }
    let elsewhere = "s.connect(('127.0.0.1', 9))";
    for how in [elsewhere, CONNECT, FILTER, LOCKED_FILTER, SHUT] {
        serves_on(&Place::udp(), Folder::new(), how, AT_ONCE);
    }
}

#[test]
fn a_stream_socket_that_something_left_behind_has_made_deaf_hears_again() {
    if !need_program("python3") {
        return;
    }
    for how in [FILTER, SHUT] {
        serves_on(&Place::tcp(), Folder::new(), how, AT_ONCE);
    }
    let folder = Folder::new();
    serves_on(&Place::stream(&folder), folder, SHUT, AT_ONCE);
}

#[test]
fn a_unix_datagram_socket_that_something_left_behind_has_made_deaf_hears_again() {
    if !need_program("python3") {
        return;
    }
    let nobody = "t = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); t.bind(''); \
        s.connect(t.getsockname())";
    for how in [nobody, FILTER, SHUT] {
        let folder = Folder::new();
        serves_on(&Place::datagrams(&folder), folder, how, AT_ONCE);
    }
}

/// It cannot be undone for good as long as that has the socket, but it is each time.
#[test]
fn what_has_the_socket_still_does_not_keep_clients_from_it_for_good() {
    if !need_program("python3") {
        return;
    }
    serves_on(&Place::udp(), Folder::new(), CONNECT, LATER);
    serves_on(&Place::tcp(), Folder::new(), FILTER, LATER);
}

#[test]
fn the_same_over_ipv6() {
    if !need_ipv6() || !need_program("python3") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let files = files(&folder);
    let how = "s.connect(('::1', 9))";
    let script = folder.write("harms.py", &harms(how, &files, AT_ONCE));
    let script = script.display();
    let line = format!("[::1]:{port} dgram udp6 wait {} python3 python3 {script}\n", me());
    let mut daemon = Setup::new().start_in(folder, &line);
    let ask = || {
        let client = udp_to((std::net::Ipv6Addr::LOCALHOST, port).into());
        wait_for("somebody to be served", || {
            Place::Udp(client.try_clone().unwrap(), port).try_to_ask()
        });
    };
    ask();
    let_it_be_harmed(&daemon, &files);
    ask();
    daemon.stop();
}

/// Whoever waits when it is undone is served without anybody after him.
#[test]
fn who_has_come_meanwhile_is_served_without_another() {
    if !need_program("python3") {
        return;
    }
    let folder = Folder::new();
    let files = files(&folder);
    let place = Place::udp();
    // Nothing of what waits is to be seen: it begins further on than it is long (SO_PEEK_OFF).
    let how = "s.setsockopt(socket.SOL_SOCKET, 42, 1000)";
    let (mut daemon, _) = start(&place, folder, &harms(how, &files, AT_ONCE));
    place.ask();
    let_it_be_harmed(&daemon, &files);
    let client = udp(place.port());
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client.send(b"once").unwrap();
    assert_eq!(client.recv(&mut [0; 16]).unwrap(), 4);
    daemon.stop();
}
