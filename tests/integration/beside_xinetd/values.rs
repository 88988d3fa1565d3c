//! Values that look wrong and are served by xinetd, and others that look right and are not:
//! there, and in its place.

use super::{Both, Folder, Ipv4Addr, block, outcome, xinetd};
use crate::common::{Daemon, Setup, free_ports, wait_until};

/// What a block says, and whether its service is there.
const VALUES: [(&str, bool); 27] = [
    ("rlimit_files = UNLIMITED", true),
    ("rlimit_files = 4000000000", true),
    ("rlimit_files = 0", true),
    ("rlimit_as = 0", true),
    ("rlimit_data = 0", true),
    ("rlimit_stack = 0K", true),
    ("rlimit_cpu = 0", true),
    ("rlimit_cpu = +60", true),
    ("rlimit_cpu = 5m", false),
    ("rlimit_cpu = 2K", false),
    ("rlimit_as = -1", true),
    ("rlimit_as = +2000000000", true),
    ("cps = 10 0", true),
    ("cps = +50 +5", true),
    ("cps = 50,10", true),
    ("cps = 0 5", true),
    ("instances = +5", true),
    ("per_source = +3", true),
    ("max_load = +9999", true),
    ("only_from = 127.0.0.1 # office", true),
    ("only_from = 0/0", true),
    ("only_from = 127.0.0/8", true),
    ("only_from = 10.0.0/8 127/8", false),
    ("bind = 127.1", true),
    ("bind = 0", true),
    ("bind = ::ffff:127.0.0.1", true),
    ("flags = NOLIBWRAP IPv4\nbind = 127.0.0.1", true),
];

/// Only root can ask for more than the server's own.
fn is_for_all(line: &str) -> bool {
    !line.starts_with("rlimit_files") && line != "rlimit_as = -1"
}

fn text(user: &str) -> String {
    let program = "server = /bin/echo\nserver_args = served";
    let block = |(index, (lines, _)): (usize, &(&str, _))| {
        block(index, program, &format!("user = {user}\n{lines}"))
    };
    VALUES.iter().enumerate().map(block).collect()
}

/// What is not as in the table at these ports, of those that are asked for.
fn differences(ports: &[u16], asked: impl Fn(&str) -> bool) -> Vec<String> {
    let each = VALUES.iter().zip(ports).filter(|((line, _), _)| asked(line));
    let differs = |((line, served), port): (&(&str, bool), &u16)| {
        let found = outcome(Ipv4Addr::LOCALHOST.into(), *port);
        ((found == "served") != *served).then(|| format!("{line}: {found}"))
    };
    each.filter_map(differs).collect()
}

#[test]
fn the_same_values_are_good_enough() {
    let Some(xinetd) = xinetd() else { return };
    let count = u16::try_from(VALUES.len()).unwrap();
    let both = Both::start(&xinetd, Folder::new(), count, &text("nobody"));
    assert_eq!(differences(&both.theirs, |_| true), Vec::<String>::new(), "xinetd's own");
    assert_eq!(differences(&both.ports, |_| true), Vec::<String>::new());
}

#[test]
fn values_that_xinetd_serves_are_served_by_whoever_starts_the_server() {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap();
    let ports = free_ports(u16::try_from(VALUES.len()).unwrap());
    let numbered = |text: String, (index, port): (usize, &u16)| {
        text.replace(&format!("port = @{index}\n"), &format!("port = {port}\n"))
    };
    let text = ports.iter().enumerate().fold(text(&user.name), numbered);
    let _daemon = Daemon::start(&text);
    let asked = |line: &str| user.uid.is_root() || is_for_all(line);
    assert_eq!(differences(&ports, asked), Vec::<String>::new());
}

#[test]
fn the_name_of_a_log_is_relative_to_where_the_server_is_started() {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    let folder = Folder::new();
    let port = free_ports(1)[0];
    let lines = format!("user = {user}\nlog_type = FILE own.log\nlog_on_success = HOST");
    let text = block(0, "server = /bin/echo\nserver_args = served", &lines);
    let place = folder.write("empty", "").parent().unwrap().to_owned();
    let text = text.replace("port = @0", &format!("port = {port}"));
    let words = ["env", "-C", place.to_str().unwrap()];
    let _daemon = Setup::new().under(&words).start(&text);
    assert_eq!(outcome(Ipv4Addr::LOCALHOST.into(), port), "served");
    let log = || std::fs::read_to_string(place.join("own.log")).unwrap_or_default();
    wait_until("the log", || !log().is_empty());
}
