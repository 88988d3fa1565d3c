//! Who may connect where both lists say something, or what they say is no address: in xinetd,
//! in its place, and in the lines that an import makes of its file.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use super::{Both, Folder, outcome, xinetd};
use crate::common::daemon::BINARY;
use crate::common::{Daemon, free_ports};

/// What a block says, and whether 127.0.0.1 and 127.0.0.2 are served.
const LISTS: [(&str, [bool; 2]); 10] = [
    ("", [true, true]),
    ("no_access = 127.0.0.2", [true, false]),
    ("no_access += 0.0.0.0/0", [false, false]),
    ("no_access = 127.0.0.0/8", [false, false]),
    ("no_access = 127.0.0.1/32 127.0.0.1", [false, true]),
    ("no_access = 127.0.0.0/31", [false, true]),
    ("no_access = ::/0", [false, false]),
    ("only_from = 127.0.0.0/8\nno_access = 127.0.0.1", [false, true]),
    ("only_from = 127.0.0.{1,2}\nno_access = 127.0.0.2/31", [true, false]),
    ("only_from = 0.0.0.0\nno_access = 0.0.0.0", [false, false]),
];

const DEFAULTS: &str = "defaults\n{\nonly_from = 127.0.0.1 127.0.0.2\n}\n";

fn text() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    let block = |(index, (lines, _)): (usize, &(&str, _))| {
        let program = "server = /bin/echo\nserver_args = served";
        super::block(index, program, &format!("user = {user}\n{lines}"))
    };
    DEFAULTS.to_owned() + &LISTS.iter().enumerate().map(block).collect::<String>()
}

/// Whether either address is served at each of the ports.
fn served(ports: &[u16]) -> Vec<[bool; 2]> {
    let is_served = |port: u16, last: u8| {
        let client = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
        outcome(client, port) == "served"
    };
    ports.iter().map(|port| [1, 2].map(|last| is_served(*port, last))).collect()
}

fn expected() -> Vec<[bool; 2]> {
    LISTS.iter().map(|(_, served)| *served).collect()
}

#[test]
fn who_is_in_both_lists_is_refused_there() {
    let Some(xinetd) = xinetd() else { return };
    let count = u16::try_from(LISTS.len()).unwrap();
    let both = Both::start(&xinetd, Folder::new(), count, &text());
    assert_eq!(served(&both.theirs), expected(), "xinetd's own");
    assert_eq!(served(&both.ports), expected());
}

#[test]
fn who_is_in_both_lists_is_refused_here_and_after_an_import() {
    let ports = free_ports(u16::try_from(LISTS.len()).unwrap());
    let numbered = |text: String, (index, port): (usize, &u16)| {
        text.replace(&format!("port = @{index}\n"), &format!("port = {port}\n"))
    };
    let text = ports.iter().enumerate().fold(text(), numbered);
    let daemon = Daemon::start(&text);
    assert_eq!(served(&ports), expected());
    drop(daemon);
    let file = Folder::new();
    let output =
        Command::new(BINARY).arg("import").arg(file.write("x.conf", &text)).output().unwrap();
    let imported = String::from_utf8(output.stdout).unwrap();
    assert!(imported.contains("is in `no_access`, too, and is refused"), "{imported}");
    let _daemon = Daemon::start(&imported);
    assert_eq!(served(&ports), expected(), "{imported}");
}
