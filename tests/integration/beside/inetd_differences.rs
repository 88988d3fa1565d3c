//! What is different on purpose where both serve one line: where it is served there and where
//! here, so that neither changes unnoticed. oxinetd.conf(5) has a row for each.

use std::time::{Duration, Instant};

use super::{ANSWERED, Files, PATIENCE, Pair, Twins};
use crate::common::peers::Peer;
use crate::common::sight::{Sight, look};
use crate::common::wait::park;

/// A line or more, with `@` for the port, where it is served by the original, and where here.
type Row = (&'static str, &'static str, &'static str);

/// The first port, and that of the service that tells configurations apart.
const FIRST: u16 = 7400;
const MARK: u16 = 61_000;

/// Spellings of an address.
const ENDPOINTS: [Row; 9] = [
    ("127.1:@ stream tcp nowait nobody /bin/probe probe", "tcp 127.0.0.1", ""),
    (":@ stream tcp nowait nobody /bin/probe probe", "tcp 4 6", ""),
    ("127.0.0.1: @ stream tcp nowait nobody /bin/probe probe", "tcp 127.0.0.1", ""),
    ("[::]:@ dgram udp wait nobody /bin/probe probe", "udp 4 6", "udp 6"),
    ("[::]:@ dgram udp6 wait nobody /bin/probe probe", "udp 4 6", "udp 6"),
    ("[::]:@ stream tcp46 nowait nobody /bin/probe probe", "tcp 4 6", "tcp 6"),
    ("[::]:@ stream tcp nowait nobody /bin/probe probe", "tcp 6", "tcp 6"),
    ("*:@ stream tcp nowait nobody /bin/probe probe", "tcp 4 6", "tcp 4 6"),
    // It costs what stands below it.
    (":\n@ stream tcp nowait nobody /bin/probe probe", "tcp 4 6", ""),
];

/// Types, protocols, `wait` and built-in services.
const WORDS: [Row; 11] = [
    ("@ dgram tcp wait nobody /bin/probe probe", "udp 4 6", ""),
    ("@ stream udp nowait nobody /bin/probe probe", "tcp 4", ""),
    ("@ stream tcp nowait.-1 nobody /bin/probe probe", "tcp 4 6", ""),
    ("@ stream tcp nowait.999x nobody /bin/probe probe", "tcp 4 6", ""),
    ("@ stream tcp nowait.999 nobody /bin/probe probe", "tcp 4 6", "tcp 4 6"),
    ("@ stream tcp nowait/999 nobody /bin/probe probe", "tcp 4 6", "tcp 4 6"),
    ("@ stream tcp wait nobody /bin/probe probe", "waiting tcp 4 6", "waiting tcp 4 6"),
    ("@ stream tcp wait/999 nobody /bin/probe probe", "tcp 4 6", "waiting tcp 4 6"),
    ("@ stream tcp wait:999 nobody /bin/probe probe", "tcp 4 6", "waiting tcp 4 6"),
    ("@ stream tcp wait.999 nobody /bin/probe probe", "waiting tcp 4 6", "waiting tcp 4 6"),
    ("@ stream tcp Wait nobody /bin/probe probe", "tcp 4 6", "waiting tcp 4 6"),
];

/// The same of GNU's.
const OF_GNU: [Row; 7] = [
    ("127.1:@ stream tcp nowait nobody /bin/probe probe", "tcp 127.0.0.1", ""),
    ("@ stream tcp nowait.-1 nobody /bin/probe probe", "tcp 4", ""),
    ("@ stream tcp nowait.999x nobody /bin/probe probe", "tcp 4", ""),
    ("@ stream tcp wait/999 nobody /bin/probe probe", "tcp 4", "waiting tcp 4"),
    ("@ stream tcp wait:999 nobody /bin/probe probe", "tcp 4", "waiting tcp 4"),
    ("@ stream tcp wait.999 nobody /bin/probe probe", "waiting tcp 4", "waiting tcp 4"),
    ("@ stream tcp Wait nobody /bin/probe probe", "tcp 4", "waiting tcp 4"),
];

fn files(rows: &[Row]) -> Files {
    let ports = FIRST..;
    let line = |(row, port): (&Row, u16)| row.0.replace('@', &port.to_string()) + "\n";
    let text: String = rows.iter().zip(ports).map(line).collect();
    vec![("etc/inetd.conf".to_owned(), text.into_bytes())]
}

/// Where the service of a port is served: `4` and `6` are all addresses of a family.
fn places(sight: &Sight, port: u16) -> String {
    let mut all = Vec::new();
    for kind in ["tcp", "udp"] {
        let at = |ip: &str| {
            sight.get(&format!("{kind} {ip}:{port}")).is_some_and(|text| text.contains("argv:"))
        };
        let of_family = [("4", ["127.0.0.1", "10.0.0.1"]), ("6", ["[::1]", "[fd00::1]"])];
        let words: Vec<&str> = of_family
            .iter()
            .filter_map(|(word, [local, other])| match (at(local), at(other)) {
                (true, true) => Some(*word),
                (true, false) => Some(*local),
                _ => None,
            })
            .collect();
        if !words.is_empty() {
            all.push(format!("{kind} {}", words.join(" ")));
        }
    }
    let text = sight.get(&format!("tcp 127.0.0.1:{port}"));
    // Who gets the listening socket has no client that could hear complaints.
    if text.is_some_and(|text| text.contains("argv:") && !text.contains("complaint")) {
        all.insert(0, "waiting".to_owned());
    }
    all.join(" ")
}

fn wrong(pair: &Pair<'_>, rows: &[Row]) -> Vec<String> {
    let see = |root, server| look(root, server, MARK, ANSWERED);
    let theirs = see(&pair.twins.theirs, &pair.theirs);
    let ours = see(&pair.twins.ours, &pair.ours);
    let mut wrong = Vec::new();
    for ((line, there, here), port) in rows.iter().zip(FIRST..) {
        let found = (places(&theirs, port), places(&ours, port));
        if (found.0.as_str(), found.1.as_str()) != (*there, *here) {
            wrong.push(format!("{line}: there {:?}, here {:?}", found.0, found.1));
        }
    }
    wrong
}

fn compare(peer: Peer, rows: &[Row]) {
    let Some(twins) = Twins::of(peer) else { return };
    let pair = twins.start(&files(rows), MARK);
    let begun = Instant::now();
    loop {
        let wrong = wrong(&pair, rows);
        if wrong.is_empty() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{}", wrong.join("\n"));
        park(Duration::from_millis(500));
    }
}

#[test]
fn addresses_that_openbsds_inetd_reads_in_another_way() {
    compare(Peer::OpenBsd, &ENDPOINTS);
}

#[test]
fn words_that_openbsds_inetd_reads_in_another_way() {
    compare(Peer::OpenBsd, &WORDS);
}

#[test]
fn addresses_and_words_that_gnus_inetd_reads_in_another_way() {
    compare(Peer::Gnu, &OF_GNU);
}
