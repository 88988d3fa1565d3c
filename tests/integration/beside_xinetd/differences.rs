//! What is different on purpose where both serve one file: what is seen there and what is seen
//! here, so that neither changes unnoticed. oxinetd.conf(5) has a row for each.

use std::net::SocketAddr;
use std::process::Command;

use nix::sys::signal::{Signal, kill};

use super::{Both, Folder, block, xinetd};
use crate::common::clients::{read_to_any_end, try_tcp};
use crate::common::daemon::{BINARY, as_pid};
use crate::common::wait_until;

/// Lines of a block, where it is served by xinetd, and where here.
type Row = (&'static str, &'static str, &'static str);

/// Where clients try, with a word for each: all of them is `4 4' 6`.
const ADDRESSES: [(&str, &str); 3] = [("4", "127.0.0.1"), ("4'", "127.0.0.2"), ("6", "[::1]")];

/// What is wrong, and above a line that is right.
const FORGOTTEN: [Row; 9] = [
    ("umask = 9\ndisable = no", "4 4' 6", ""),
    ("nice = x\ndisable = no", "4 4' 6", ""),
    ("instances = few\ndisable = no", "4 4' 6", ""),
    ("max_load = x\ndisable = no", "4 4' 6", ""),
    ("group = nosuch\ndisable = no", "4 4' 6", ""),
    ("cps = x\ndisable = no", "4 4' 6", ""),
    ("bind = nosuch.invalid\ndisable = no", "4 4' 6", ""),
    ("disable = no\numask = 9", "", ""),
    ("disable = no\ninstances = few", "", ""),
];

/// A family that is said in two ways which do not fit.
const FAMILIES: [Row; 6] = [
    ("flags = NOLIBWRAP IPv4\nv6only = yes", "4 4'", "6"),
    ("flags = NOLIBWRAP IPv6\nv6only = no", "6", "4 4' 6"),
    ("flags = NOLIBWRAP IPv6\nbind = 127.0.0.1", "4 4' 6", "4"),
    ("flags = NOLIBWRAP IPv4\nbind = ::1", "4 4'", ""),
    ("flags = NOLIBWRAP IPv6", "4 4' 6", "4 4' 6"),
    ("bind = 0.0.0.0", "4 4'", "4 4'"),
];

/// Where a port answers.
fn served(port: u16) -> String {
    let all = ADDRESSES.iter().filter(|(_, address)| is_served(address, port));
    all.map(|(word, _)| *word).collect::<Vec<_>>().join(" ")
}

fn is_served(address: &str, port: u16) -> bool {
    let to: SocketAddr = format!("{address}:{port}").parse().unwrap();
    try_tcp(to).is_ok_and(|stream| read_to_any_end(stream) == "served\n")
}

fn text(rows: &[Row]) -> String {
    let program = "server = /bin/echo\nserver_args = served";
    let one = |(index, row): (usize, &Row)| block(index, program, row.0);
    rows.iter().enumerate().map(one).collect()
}

#[track_caller]
fn compare(both: &Both, rows: &[Row]) {
    let mut wrong = Vec::new();
    for (index, (lines, theirs, ours)) in rows.iter().enumerate() {
        let found = both.each(index, served);
        if (found.0.as_str(), found.1.as_str()) != (*theirs, *ours) {
            wrong.push(format!("{lines:?}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "xinetd's first:\n{}", wrong.join("\n"));
}

fn compare_all(rows: &[Row]) {
    let Some(xinetd) = xinetd() else { return };
    let count = u16::try_from(rows.len()).unwrap();
    compare(&Both::start(&xinetd, Folder::new(), count, &text(rows)), rows);
}

#[test]
fn a_wrong_value_above_the_line_that_turns_a_service_on_costs_it_here() {
    compare_all(&FORGOTTEN);
}

#[test]
fn of_two_families_that_do_not_fit_the_narrower_is_served_here() {
    compare_all(&FAMILIES);
}

#[test]
fn v6only_of_defaults_and_of_a_reload_holds_here() {
    let Some(xinetd) = xinetd() else { return };
    let rows = [("flags = NOLIBWRAP IPv6", "4 4' 6", "6")];
    let defaults = "defaults\n{\nv6only = yes\n}\n";
    let text = text(&rows);
    compare(&Both::start(&xinetd, Folder::new(), 1, &format!("{defaults}{text}")), &rows);
    let both = Both::start(&xinetd, Folder::new(), 1, &text);
    let only = text.replace("IPv6", "IPv6\nv6only = yes");
    let _ = both.ours.reload(&only.replace("@0", &both.ports[0].to_string()));
    let _ = both.folder.write("xinetd.conf", &only.replace("@0", &both.theirs[0].to_string()));
    kill(as_pid(both.real.child.id()), Signal::SIGHUP).unwrap();
    wait_until("xinetd's reload", || both.real.says("Reconfigured"));
    compare(&both, &rows);
}

#[test]
fn a_rate_without_its_rest_is_ignored_there_and_holds_here() {
    let Some(xinetd) = xinetd() else { return };
    let text = text(&[("cps = 1", "", "")]);
    let both = Both::start(&xinetd, Folder::new(), 1, &text);
    // More than one in a second: xinetd would close the port.
    let count = |port| (0..20).filter(|_| is_served("127.0.0.1", port)).count();
    assert_eq!(count(both.theirs[0]), 20);
    let imported = Command::new(BINARY).arg("import").arg(&both.ours.file).output().unwrap();
    let imported = String::from_utf8(imported.stdout).unwrap();
    assert!(imported.contains("cps = 1 10\n"), "{imported}");
}
