//! What a server is given, or goes on with, where it may have fewer descriptors than that.

use std::process::Command;

use crate::common::control::upgrade;
use crate::common::{
    Daemon, Folder, Setup, free_ports, need_program, procs, read_all, tcp, tcp_line,
};

fn lines(ports: &[u16]) -> String {
    ports.iter().map(|port| tcp_line(*port, &format!("/bin/echo echo {port}"))).collect()
}

#[track_caller]
fn serves(ports: &[u16]) {
    for port in ports {
        assert_eq!(read_all(tcp(*port)), format!("{port}\n"));
    }
}

fn lower_limit(daemon: &Daemon, limit: u32) {
    let (pid, limit) = (format!("--pid={}", daemon.pid()), format!("--nofile={limit}:{limit}"));
    assert!(Command::new("prlimit").args([pid, limit]).status().unwrap().success());
}

#[test]
fn under_a_limit_that_is_lowered_programs_start_and_an_upgrade_goes_on() {
    if !need_program("prlimit") {
        return;
    }
    let ports = free_ports(40);
    let mut daemon = Setup::new().controlled().after("ulimit -n 256").start(&lines(&ports));
    serves(&ports);
    // Programs get what there is.
    lower_limit(&daemon, 100);
    serves(&ports);
    upgrade(&daemon);
    serves(&ports);
    // With fewer than it has, the old one goes on, or the new one with what comes first.
    lower_limit(&daemon, 40);
    let _ = daemon.ask(&["upgrade"]);
    assert!(procs::is_alive(daemon.pid()), "{}", daemon.log.text());
    daemon.stop();
}

#[test]
fn sockets_of_the_manager_are_served_where_few_others_can_be_opened() {
    if !need_program("python3") {
        return;
    }
    let script = "import fcntl, os, resource, socket, sys\n\
        ports = [int(p) for p in sys.argv[1].split(',')]\n\
        kept = []\n\
        for p in ports:\n\
        \x20   s = socket.socket(); s.setsockopt(1, 2, 1); s.bind(('127.0.0.1', p)); s.listen()\n\
        \x20   kept.append(fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 100)); s.close()\n\
        for n, s in enumerate(kept): os.dup2(s, n + 3); os.close(s)\n\
        os.environ.update(LISTEN_FDS=str(len(kept)), LISTEN_PID=str(os.getpid()))\n\
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))\n\
        os.execv(sys.argv[2], sys.argv[2:])\n";
    // They are open anyway, wherever they stand in the file.
    for given in [0..10, 30..40] {
        let (ports, folder) = (free_ports(40), Folder::new());
        let script = folder.write("gives.py", script);
        let held: Vec<_> = ports[given.clone()].iter().map(ToString::to_string).collect();
        let words = ["python3", script.to_str().unwrap(), &held.join(",")];
        let text = lines(&ports);
        let mut daemon = Setup::new().controlled().under(&words).start_in(folder, &text);
        let said = daemon.wait_log(|line| line.is("left-out"));
        assert_eq!(said.number("limit"), Some(48), "{}", said.raw);
        assert_eq!(said.number("sockets"), Some(19), "{}", said.raw);
        let serves = || {
            serves(&ports[given.clone()]);
            serves(&ports[..1]);
        };
        serves();
        upgrade(&daemon);
        serves();
        assert_eq!(daemon.reload(&text).number("opened"), Some(0));
        serves();
        assert_eq!(daemon.said("unclaimed").len(), 0, "{}", daemon.log.text());
        daemon.stop();
    }
}
