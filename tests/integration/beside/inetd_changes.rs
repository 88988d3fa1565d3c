//! One change to one field of a line that both serve, and two at once, a service each: what
//! becomes of it there becomes of it here, when it is served from the start and when a reload
//! brings it. What is different on purpose is written down, and in oxinetd.conf(5).

use super::{Files, Twins};
use crate::common::peers::Peer;

/// A complete line, a field each; `@` is its port.
const WHOLE: [&str; 7] = ["@", "stream", "tcp", "nowait", "nobody", "/bin/probe", "probe one two"];

/// What stands in place of each field, `|` between them.
const CHANGED: [&str; 7] = [
    "127.0.0.1:@|localhost:@|*:@|10.0.0.1,127.0.0.1:@|nosuch.invalid:@|[::1]:@|::1:@|0@|+@|-@|@x|nosuchname|127.0.0.1:|@/tcp",
    "STREAM|Stream|strem|dgram|seqpacket|raw|rdm|stream,2|stream:filter|unix|\"stream\"",
    "tcp4|tcp6|TCP|tcp46|udp|unix|tpc|tcp/ttcp|tcp,rcvbuf=64k|tcp,sndbuf=64k|tcp,nonsense=1|rpc/tcp|ip|\"tcp\"",
    "NOWAIT|wait|nowiat|nowait.500|nowait:500|nowait.0|nowait.x|nowait/5|nowait.|wait.500|no|\"nowait\"",
    "root|me|nosuchuser|nobody.news|nobody:news|nobody.nosuch|nobody:nosuch|1|65534|root:news|me.news|nobody/class|nobody.|:news|NOBODY",
    "/bin/nosuch|probe|/etc|/etc/passwd|internal|INTERNAL|/bin/probe2|/bin/../bin/probe|\"/bin/probe\"",
    "|probe|/bin/probe x|probe a\\ b|probe #x|probe a#b|probe $HOME ~ *|probe --x=y -z|-probe|probe \u{e4}|probe a;b|probe 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22|probe %s|probe   far\t\tapart  ",
];

/// What is different on purpose, or served here alone: what is misspelt is an error, and what
/// others know by its letters only is known here in capitals, by number and without a path.
const PECULIAR: [(Peer, &[&str]); 2] = [
    (
        Peer::OpenBsd,
        &[
            "STREAM",
            "Stream",
            "stream,2",
            "stream:filter",
            "\"stream\"",
            "dgram",
            "TCP",
            "\"tcp\"",
            "udp",
            "tpc",
            "tcp/ttcp",
            "ip",
            "nowiat",
            "nowait.x",
            "nowait.",
            "no",
            "root:news",
            "1",
            "65534",
            "nobody/class",
            "probe",
            "\"/bin/probe\"",
            MANY,
        ],
    ),
    (
        Peer::Gnu,
        &[
            "STREAM",
            "Stream",
            "stream,2",
            "stream:filter",
            "TCP",
            "tcp46",
            "tcp/ttcp",
            "tcp,nonsense=1",
            "ip",
            "nowiat",
            "nowait.x",
            "nowait.",
            "no",
            "root:news",
            "1",
            "65534",
            "nobody/class",
            "nobody.",
            "probe",
        ],
    ),
];

/// More words than OpenBSD's hands on.
const MANY: &str = "probe 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22";

/// Services in one file.
const AT_ONCE: usize = 60;

/// The first port.
const FIRST: u16 = 7200;

struct Case {
    /// What is changed: which field, and to what.
    changes: Vec<(usize, &'static str)>,
}

impl Case {
    fn line(&self, port: u16) -> String {
        let mut fields = WHOLE;
        self.changes.iter().for_each(|(field, value)| fields[*field] = value);
        fields.join("\t").replace('@', &port.to_string()) + "\n"
    }

    fn what(&self) -> String {
        self.changes.iter().map(|(_, value)| format!("`{value}`")).collect::<Vec<_>>().join(" ")
    }

    /// The `probe` that is a program and not an argument, and so on.
    fn is_peculiar(&self, peer: Peer) -> bool {
        let peculiar = PECULIAR.iter().find(|(whose, _)| *whose == peer).map_or(&[][..], |it| it.1);
        self.changes
            .iter()
            .any(|(field, value)| peculiar.contains(value) && (*value != "probe" || *field == 5))
    }
}

fn case(changes: &[(usize, &'static str)]) -> Case {
    Case { changes: changes.to_vec() }
}

fn values(field: usize) -> impl Iterator<Item = &'static str> {
    CHANGED[field].split('|')
}

fn one_change() -> Vec<Case> {
    let each =
        (0..WHOLE.len()).flat_map(|field| values(field).map(move |value| case(&[(field, value)])));
    std::iter::once(case(&[])).chain(each).collect()
}

/// Two changes in one line: each value of a field with some of each field after it.
fn two_changes() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut turn = 0;
    for first in 0..WHOLE.len() {
        for second in first + 1..WHOLE.len() {
            let others: Vec<&str> = values(second).collect();
            for (index, value) in values(first).enumerate().step_by(3) {
                turn += 1;
                let other = others[(index + turn) % others.len()];
                cases.push(case(&[(first, value), (second, other)]));
            }
        }
    }
    cases
}

fn port_of(index: usize) -> u16 {
    FIRST + u16::try_from(index).unwrap()
}

/// A file of these, each on its port.
fn files(cases: &[Case]) -> Files {
    let text: String =
        cases.iter().enumerate().map(|(index, case)| case.line(port_of(index))).collect();
    vec![("etc/inetd.conf".to_owned(), text.into_bytes())]
}

/// What no case stands for: GNU's listens somewhere where a port is none. And what cannot be
/// started: others listen, and close every connection.
fn is_known(difference: &str) -> bool {
    difference.contains("there \"\", here \"not there\"")
}

fn index_of(difference: &str) -> Option<usize> {
    let port: u16 = difference.split([' ', ':']).nth(1)?.parse().ok()?;
    port.checked_sub(FIRST).map(usize::from).filter(|index| *index < AT_ONCE)
}

/// Some cases from the start, then in the place of unchanged lines.
fn compare_some(twins: &Twins, peer: Peer, some: &[Case]) -> Vec<String> {
    let peculiar =
        |it: &str| index_of(it).and_then(|at| some.get(at)).is_none_or(|it| it.is_peculiar(peer));
    let at_start = {
        let pair = twins.start(&files(some), 61_000);
        pair.differences(&|it| is_known(it) || peculiar(it))
    };
    let unchanged: Vec<Case> = some.iter().map(|_| case(&[])).collect();
    let mut pair = twins.start(&files(&unchanged), 61_000);
    pair.reload(&files(some));
    // Of what cannot be served, what runs goes on as it was. Others lose what is at another
    // address now, and do not take `wait` from a reload.
    let goes_on = |it: &str| {
        it.contains("here argv: <probe> <one> <two>")
            || it.contains("there \"not there\", here argv: ")
            || it.contains("there complaint, here  (")
    };
    let after = pair.differences(&|it| is_known(it) || peculiar(it) || goes_on(it));
    let told = |it: &String| {
        let what = index_of(it).and_then(|at| some.get(at)).map_or("?".to_owned(), Case::what);
        format!("{what}: {it}")
    };
    let mut wrong: Vec<String> =
        at_start.iter().filter(|it| !is_known(it) && !peculiar(it)).map(told).collect();
    let in_reload = after.iter().filter(|it| !is_known(it) && !peculiar(it) && !goes_on(it));
    wrong.extend(in_reload.map(|it| format!("after a reload, {}", told(it))));
    // What is said to be peculiar is so.
    for (index, case) in some.iter().enumerate() {
        let differs = at_start.iter().any(|it| index_of(it) == Some(index));
        if case.changes.len() == 1 && case.is_peculiar(peer) && !differs {
            wrong.push(format!("{}: the same, after all", case.what()));
        }
    }
    wrong
}

fn compare(peer: Peer, cases: &[Case]) {
    let Some(twins) = Twins::of(peer) else { return };
    for root in [&twins.theirs, &twins.ours] {
        root.put_program("/bin/probe");
    }
    let wrong: Vec<String> =
        cases.chunks(AT_ONCE).flat_map(|some| compare_some(&twins, peer, some)).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn one_change_to_a_line_costs_what_it_costs_in_openbsds_inetd() {
    compare(Peer::OpenBsd, &one_change());
}

#[test]
fn one_change_to_a_line_costs_what_it_costs_in_gnus_inetd() {
    compare(Peer::Gnu, &one_change());
}

#[test]
fn two_changes_to_a_line_cost_what_they_cost_in_openbsds_inetd() {
    compare(Peer::OpenBsd, &two_changes());
}

#[test]
fn two_changes_to_a_line_cost_what_they_cost_in_gnus_inetd() {
    compare(Peer::Gnu, &two_changes());
}
