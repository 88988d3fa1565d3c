//! One change to one line of a block that both serve, and two at once, a service each: what becomes of it
//! there becomes of it here. What is different on purpose is written down, and in
//! oxinetd.conf(5) with its reason.

use std::net::{Ipv4Addr, Shutdown};
use std::path::Path;

use super::{Both, xinetd};
use crate::common::Folder;
use crate::common::clients::{read_to_any_end, try_tcp};

/// A complete block, a name and a value each.
const WHOLE: [(&str, &str); 8] = [
    ("type", "UNLISTED"),
    ("port", ""),
    ("socket_type", "stream"),
    ("protocol", "tcp"),
    ("wait", "no"),
    ("user", "root"),
    ("server", "/bin/sh"),
    ("flags", "NOLIBWRAP"),
];

/// Says what a line can have changed: arguments, user, umask, niceness, limits, variables.
const PROBE: &str = r#"#!/bin/sh
printf '<%s>' "$@"
echo " $(id -un)/$(id -gn) $(id -G | tr ' ' ',') umask=$(umask) nice=$(nice)"
echo "as=$(ulimit -v) cpu=$(ulimit -t) files=$(ulimit -n) stack=$(ulimit -s) A=$A B=$B FOO=$FOO"
echo complaint >&2
"#;

/// Lines that are put into the block.
const ADDED: &str = "disable = no|disable = YES|disable = maybe|Disable = no|instances = UNLIMITED|instances = unlimited|instances = x|instances = 5 6|instances += 3|instances =|INSTANCES = 3|nice = 5|nice = -3|nice = 99|nice = x|nice =|umask = 77|umask = 0|umask = 8|umask = 27 1|rlimit_as = 512m|rlimit_as = 512M|rlimit_as = x|rlimit_cpu = 9|rlimit_cpu = unlimited|rlimit_files = 40|rlimit_stack = 1M|rlimit_data = 900M|rlimit_rss = 1M|groups = YES|groups = maybe|group = daemon|group = nosuchgroup|group = 2|group =|env = A=5|env += A=5|env = A=5 B=6|env -= A|env = A|env =|passenv = FOO|passenv =|passenv += FOO|passenv -= FOO|only_from = 127.0.0.1|only_from = 127.0.0.0|only_from = 127.0.0|only_from = 127|only_from = 127.0.0.0/8|only_from = 10.0.0.1|only_from = 127.1|only_from = 127.0.0.{1,2}|only_from = 127.0.0.1,10.0.0.1|only_from =|only_from = 0.0.0.0|only_from = 0.0.0.0/0|only_from = ::/0|no_access = ::/0|only_from = 127.0.0.1/33|only_from = 127.0.0.1/255.0.0.0|only_from = 10.0.0.1/33|only_from = ::1/64|only_from += 127.0.0.1|only_from += 10.0.0.1|only_from -= 127.0.0.1|only_from -= 10.0.0.1|only_from +=|only_from -=|no_access -= 127.0.0.1|no_access = 127.0.0.1|no_access = 10.0.0.1|no_access =|no_access += 127.0.0.0|access_times = 0:00-23:59|access_times = 3-4|access_times =|flags = REUSE|flags = reuse nodelay|flags = NONSENSE|flags = IPv4|flags = ipv4|flags = KEEPALIVE NORETRY|id = other|id =|id = a b|max_load = 500|max_load = x|max_load =|cps = 0 0|cps = 50 10|cps = 50 10 5|cps = x 5|cps = 5 x|cps =|per_source = 0x|per_source = 4|per_source = UNLIMITED|per_source =|log_type = SYSLOG daemon info|log_type = syslog daemon|log_type = SYSLOG|log_type = NONSENSE x|log_type =|log_on_success += PID|log_on_success = pid host|log_on_success =|log_on_success = NONSENSE|log_on_success -= PID|log_on_failure = ATTEMPT host|log_on_failure = x|log_on_failure =|deny_time = FOREVER|deny_time = 5|mdns = no|mdns = yes|libwrap = x|foo = 3|foo =|foo += 3|foo.bar = 3|bind = 127.0.0.1|bind = 0.0.0.0|bind =|bind = 127.0.0.1 127.0.0.2|interface = 127.0.0.1|v6only = no|v6only = maybe|v6only =|redirect = 127.0.0.1|redirect = 127.0.0.1 1 2|redirect =|enabled = s0|disabled = s0|rpc_version = 2|rpc_number = 300|banner_fail = /nonexistent|server_args = PROBE a -x=y = z|server_args += q|wait =no|instances =5|nice =3|umask   =   22|\tnice = 4|type = UNLISTED|socket_type = dgram|user = daemon";

/// Values in place of those of the block.
const CHANGED: [(&str, &str); 9] = [
    ("type", "unlisted|UNLISTED INTERNAL|NONSENSE|UNLISTED NONSENSE"),
    ("port", "0x50|65536|-1|port|echo|@-@|127.0.0.1:@|*:@|+@"),
    ("socket_type", "STREAM|Stream|nonsense|stream tcp"),
    ("protocol", "TCP|tcp6|ip|tcp udp"),
    ("wait", "NO|No|maybe|no no"),
    ("user", "ROOT|nosuchuser|2|daemon root"),
    ("server", "/nonexistent|sh|/bin/sh -x|/etc/passwd"),
    ("flags", "|nolibwrap|NOLIBWRAP IPv6|NOLIBWRAP IPv4 IPv6"),
    ("server_args", "|PROBE"),
];

/// Served here and not by xinetd, or the other way round, on purpose: in the manual.
const ON_PURPOSE: [&str; 5] = [
    "env -= A",
    "v6only = no",
    "only_from = 127.0.0.1/33",
    "only_from = 127.0.0.1/255.0.0.0",
    "only_from = ::1/64",
];

/// Services in one file: as many as there are ports in a row.
const AT_ONCE: usize = 40;

struct Case {
    what: String,
    lines: Vec<String>,
}

/// A complete block without the lines of these names, with `@` for its port.
fn without(names: &[String], probe: &str) -> Vec<String> {
    let line = |(name, value): (&str, &str)| match name {
        "port" => "port = @".to_owned(),
        _ => format!("{name} = {value}"),
    };
    let whole = WHOLE.into_iter().map(line).chain([format!("server_args = {probe} one")]);
    let is_kept = |line: &String| !names.contains(&name_of(line));
    whole.filter(is_kept).collect()
}

fn name_of(line: &str) -> String {
    line.split_whitespace().next().unwrap_or_default().to_lowercase()
}

/// A block with these lines, in place of what stands there of the same names: the first would
/// count.
fn case(lines: &[String], probe: &str) -> Case {
    let names: Vec<String> = lines.iter().map(|line| name_of(line)).collect();
    let all = without(&names, probe).into_iter().chain(lines.iter().cloned()).collect();
    Case { what: lines.join(" and "), lines: all }
}

/// Every line there is to try.
fn changes(probe: &str) -> Vec<String> {
    let added = ADDED.split('|').map(|added| added.replace("\\t", "\t"));
    let changed = CHANGED
        .iter()
        .flat_map(|(name, values)| values.split('|').map(move |value| format!("{name} = {value}")));
    added.chain(changed).map(|line| line.replace("PROBE", probe)).collect()
}

/// Every block there is to try with one change.
fn cases(probe: &str) -> Vec<Case> {
    let mut cases = vec![Case { what: "nothing".into(), lines: without(&[], probe) }];
    for (name, _) in WHOLE {
        let lines = without(&[name.to_owned()], probe);
        cases.push(Case { what: format!("without {name}"), lines });
    }
    cases.extend(changes(probe).into_iter().map(|line| case(&[line], probe)));
    cases
}

/// Blocks with two: each line with some of the others, before and behind it.
fn pairs(probe: &str) -> Vec<Case> {
    let all = changes(probe);
    let count = all.len();
    let partner =
        |first: usize, turn: usize| (first + 1 + (37 + first) * turn % (count - 1)) % count;
    (1..=3)
        .flat_map(|turn| (0..count).map(move |first| (first, turn)))
        .map(|(first, turn)| case(&[all[first].clone(), all[partner(first, turn)].clone()], probe))
        .collect()
}

fn text(cases: &[Case]) -> String {
    let block = |(index, case): (usize, &Case)| {
        let lines = case.lines.join("\n").replace('@', &format!("@{index}"));
        format!("service s{index}\n{{\n{lines}\n}}\n")
    };
    cases.iter().enumerate().map(block).collect()
}

/// What comes of a connection; whether it is refused or closed is the same to a client.
fn seen(port: u16) -> String {
    let Ok(stream) = try_tcp((Ipv4Addr::LOCALHOST, port).into()) else { return String::new() };
    // A shell without arguments reads what it is to do.
    let _ = stream.shutdown(Shutdown::Write);
    read_to_any_end(stream)
}

/// What is not the same of these.
fn wrong(xinetd: &Path, cases: &[Case], is_known: &dyn Fn(&Case) -> Option<bool>) -> Vec<String> {
    let mut wrong = Vec::new();
    for some in cases.chunks(AT_ONCE) {
        let both = Both::start(xinetd, Folder::new(), u16::try_from(AT_ONCE).unwrap(), &text(some));
        for (index, case) in some.iter().enumerate() {
            let (theirs, ours) = both.each(index, seen);
            if is_known(case).is_some_and(|known| (theirs == ours) == known) {
                wrong.push(format!("{}\n  xinetd: {theirs:?}\n  here:   {ours:?}", case.what));
            }
        }
    }
    wrong
}

#[test]
fn one_change_to_a_line_costs_what_it_costs_in_xinetd() {
    let Some(xinetd) = xinetd() else { return };
    let folder = Folder::new();
    let probe = folder.write("probe", PROBE).display().to_string();
    let known =
        |case: &Case| Some(ON_PURPOSE.contains(&case.what.replace(&probe, "PROBE").as_str()));
    let wrong = wrong(&xinetd, &cases(&probe), &known);
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn two_changes_to_a_block_cost_what_they_cost_in_xinetd() {
    let Some(xinetd) = xinetd() else { return };
    let folder = Folder::new();
    let probe = folder.write("probe", PROBE).display().to_string();
    // What is different by itself may be so in a pair, or not.
    let known = |case: &Case| {
        let peculiar = case.what.split(" and ").any(|line| ON_PURPOSE.contains(&line));
        (!peculiar).then_some(false)
    };
    let wrong = wrong(&xinetd, &pairs(&probe), &known);
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
