//! What one connection costs, in system calls: a budget that no clock and no other
//! work on the machine can change.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use crate::common::clients::echo_once;
use crate::common::procs::{self, resident, switches};
use crate::common::trace::{Connection, Counts, Trace, least};
use crate::common::wait::park;
use crate::common::{
    Daemon, Folder, Setup, free_port, free_ports, is_root, me, need_program, need_root, own_line,
    read_all, tcp, wait_for, wait_until,
};

/// Call, how often, what for.
type Budget = &'static [(&'static str, usize, &'static str)];

/// The server, from the client to the line `ended`.
const SERVER: Budget = &[
    ("epoll_wait", 1, "the listener is ready"),
    ("accept4", 1, "the connection"),
    ("poll", 1, "nobody else waits"),
    ("pipe2", 1, "standard error, of the next program"),
    ("clone", 1, "the child"),
    ("close", 3, "the connection and both ends of the pipe"),
    ("waitid", 1, "how the child has ended"),
    ("read", 1, "the end of standard error"),
    ("pwritev2", 1, "the lines `accepted` and `ended`, into a pipe that is not waited for"),
];

/// What it costs that the client gets all of the answer, in the ordinary case.
const CLOSING: Budget = &[
    ("epoll_wait", 1, "the program has ended"),
    ("read", 2, "that ends are announced, and that this one is"),
    ("recvfrom", 1, "whether something is unread"),
    ("getsockopt", 2, "whether something waits to be sent; whether closing would wait for that"),
];

/// What comes to it when the program outlives its first milliseconds. Under a tracer some do.
const OUTLIVED: Budget = &[
    ("epoll_wait", 1, "the child has ended"),
    ("pidfd_open", 1, "what tells its end"),
    ("fcntl", 3, "the pidfd, the pipe and the connection above the child's low numbers"),
    ("epoll_ctl", 3, "both; the pipe no more"),
    ("close", 4, "all where they were before, and the pidfd"),
    ("pwritev2", 1, "`accepted` does not wait for `ended`"),
];

/// What comes to the server's part for a child that was made ahead, while clients come one
/// after the other, or where it has many descriptors.
const SENDING: Budget = &[("sendmsg", 1, "the connection and the pipe, to the child")];

/// The child's part of that.
const RECEIVING: Budget = &[
    ("close_range", 2, "a copy of the lower end of the server's table; what is not needed of it"),
    ("recvmsg", 1, "the connection and the pipe"),
];

/// The calls that differ between children made ahead and others.
const MADE_AHEAD: [&str; 3] = ["sendmsg", "recvmsg", "close_range"];

/// A child that stays the user that the server is.
const CHILD: Budget = &[
    ("close_range", 1, "nothing is left open but 0, 1 and 2"),
    ("dup3", 3, "0 and 1 are the connection, 2 the pipe"),
    ("setsid", 1, "a session of its own"),
    ("prlimit64", 1, "as many descriptors as usual: the server has raised its own limit"),
    ("chdir", 1, "the root directory"),
    ("rt_sigprocmask", 1, "no signal blocked"),
    ("execve", 1, "the program"),
];

/// What a server that is root does for the pipe of the next program.
const AS_ROOT: Budget = &[("fchmod", 1, "programs of others may open it by name, to write")];

/// What the server looks at before a child becomes somebody else.
const BEFORE_CHANGING: Budget = &[("pread64", 1, "fs.suid_dumpable, which may have changed")];

/// What it takes to become somebody else.
const CHANGING_USER: Budget = &[
    ("rt_sigprocmask", 1, "all of them blocked, since that user may send them"),
    ("keyctl", 1, "a session keyring without the server's keys"),
    ("setresgid", 1, "the group"),
    ("getresgid", 1, "all three of them, looked at again"),
    ("setresuid", 1, "the user"),
    ("getresuid", 1, "all three of them, looked at again"),
    ("prctl", 1, "not dumpable while it shares the server's memory"),
];

/// Connections that are traced at once. What is in each of them is no chance.
const TRACED: usize = 3;

/// How often they are traced at most.
const ROUNDS: usize = 10;

#[test]
fn one_connection_keeps_within_its_budget_of_system_calls() {
    if !need_program("strace") {
        return;
    }
    keeps_within(me(), &[], &[CHILD]);
}

#[test]
fn one_connection_as_nobody_keeps_within_its_budget_of_system_calls() {
    if !need_root() || !need_program("strace") {
        return;
    }
    keeps_within("nobody", &[BEFORE_CHANGING], &[CHILD, CHANGING_USER]);
}

#[track_caller]
fn keeps_within(user: &str, server: &[Budget], child: &[Budget]) {
    if !pipes_need_not_be_asked() {
        crate::common::needs::kernel_lacks("RWF_NOWAIT for pipes (6.4)");
        return;
    }
    let port = free_port();
    let text = format!("127.0.0.1:{port} stream tcp nowait {user} /bin/true true\n");
    // As service managers start it, root has no groups to lose.
    let groups: &[&str] = if is_root() { &["setpriv", "--clear-groups"] } else { &[] };
    let daemon = Setup::new().under(groups).start(&text);
    let mut cost = Cost::default();
    for round in 1..=ROUNDS {
        let Some(connections) = traced(&daemon, port) else { return };
        cost.lower(&connections);
        // Some of the children have been made ahead, as these clients come one by one.
        let mut server = [server, &[SERVER, CLOSING, SENDING]].concat();
        if is_root() {
            server.push(AS_ROOT);
        }
        if cost.outlived() {
            server.push(OUTLIVED);
        }
        let child = [child, &[RECEIVING]].concat();
        let over = over(&server, &cost.server) + &over(&child, &cost.child);
        if over.is_empty() {
            return;
        }
        assert!(
            round < ROUNDS,
            "one connection of `{user}` makes more system calls than its budget:\n{over}  one of them:\n{}",
            connections[0].text(),
        );
    }
}

/// Whether the kernel is new enough to write to a pipe without waiting; older ones are
/// asked with poll(2) before each write.
fn pipes_need_not_be_asked() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    (next(), next()) >= (6, 4)
}

/// What one connection costs: of each call the smallest number seen so far.
#[derive(Debug, Default, PartialEq)]
struct Cost {
    server: Counts,
    child: Counts,
}

impl Cost {
    fn lower(&mut self, connections: &[Connection]) {
        let lower = |known: &Counts, new: Vec<Counts>| {
            least(new.iter().chain((!known.is_empty()).then_some(known)))
        };
        self.server = lower(&self.server, connections.iter().map(Connection::server).collect());
        self.child = lower(&self.child, connections.iter().map(Connection::child).collect());
    }

    /// Whether every program has outlived its first milliseconds so far.
    fn outlived(&self) -> bool {
        self.server.contains_key("pidfd_open")
    }

    /// The same if they had not, and without what making them ahead, or having many
    /// descriptors, brings.
    fn comparable(&self) -> Self {
        let mut cost = Self { server: self.server.clone(), child: self.child.clone() };
        if self.outlived() {
            subtract(&mut cost.server, OUTLIVED);
        }
        for calls in [&mut cost.server, &mut cost.child] {
            calls.retain(|name, _| !MADE_AHEAD.contains(&name.as_str()));
            // One end is announced to the next start or to the next turn, whichever comes first.
            calls.remove("read");
            // So are lines of the log: together, or each when it is due.
            calls.remove("pwritev2");
        }
        cost
    }
}

fn subtract(counts: &mut Counts, budget: Budget) {
    for (name, count, _) in budget {
        if let Some(has) = counts.get_mut(*name) {
            *has = has.saturating_sub(*count);
        }
    }
    counts.retain(|_, count| *count > 0);
}

/// The calls beyond a budget, a line each.
fn over(budgets: &[Budget], seen: &Counts) -> String {
    let mut text = String::new();
    for (name, &count) in seen {
        let rows = budgets.iter().flat_map(|rows| rows.iter()).filter(|(known, ..)| known == name);
        let (counts, reasons): (Vec<_>, Vec<_>) = rows.map(|row| (row.1, row.2)).unzip();
        let allowed: usize = counts.iter().sum();
        if count > allowed {
            let reasons = reasons.join("; ");
            let _ = writeln!(text, "  {name}: {count} instead of {allowed} ({reasons})");
        }
    }
    text
}

/// Whether programs are started the fast way; a loud skip if not.
#[track_caller]
fn starts_the_fast_way(daemon: &Daemon) -> bool {
    let way = daemon.wait_log(|line| line.is("spawning"));
    way.get("way") == Some("sharing")
        || crate::common::needs::kernel_lacks("the fast way of starting programs")
}

/// Connections to `port`, one after the other; none, and a loud skip, where they cannot
/// be traced. The first is not among them: it finds no stack to start a child on yet.
#[track_caller]
fn traced(daemon: &Daemon, port: u16) -> Option<Vec<Connection>> {
    if !starts_the_fast_way(daemon) {
        return None;
    }
    let trace = Trace::attach(daemon.pid())?;
    for _ in 0..=TRACED {
        let mark = daemon.log.mark();
        assert_eq!(read_all(tcp(port)), "");
        let _ = daemon.wait_after(mark, |line| line.about("ended", port));
    }
    let connections = trace.finish(TRACED + 1);
    Some(connections.into_iter().skip(1).collect())
}

/// The calls of which there are more in one situation than in the other, a line each.
fn differs(one: &Counts, other: &Counts) -> String {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let count = |of: &Counts, name: &String| of.get(name).copied().unwrap_or(0);
    let mut text = String::new();
    for name in names {
        let (one, other) = (count(one, name), count(other, name));
        if one != other {
            let _ = writeln!(text, "  {name}: {one}, then {other}");
        }
    }
    text
}

/// Whether a connection costs the same in two situations, but for what [`SENDING`] and
/// [`RECEIVING`] say: the price of a child made ahead, and of many descriptors, however
/// many they are.
#[track_caller]
fn costs_the_same(what: &str, look: impl Fn() -> Option<[Vec<Connection>; 2]>) {
    let (mut few, mut many) = (Cost::default(), Cost::default());
    for round in 1..=ROUNDS {
        let Some([one, other]) = look() else { return };
        few.lower(&one);
        many.lower(&other);
        let (few, many) = (few.comparable(), many.comparable());
        if few == many {
            return;
        }
        let differs = differs(&few.server, &many.server) + &differs(&few.child, &many.child);
        assert!(round < ROUNDS, "{what}: one connection costs\n{differs}");
    }
}

#[test]
fn a_connection_costs_the_same_among_500_services() {
    if !need_program("strace") {
        return;
    }
    let (alone, among) = (free_port(), free_port());
    let one = Daemon::start(&own_line(alone, "/bin/true true"));
    let folder = Folder::new();
    let mut text = own_line(among, "/bin/true true");
    for n in 1..500 {
        let path = folder.name(&format!("{n}.sock"));
        let _ = writeln!(text, "{path} stream unix nowait {} /bin/true true", me());
    }
    let many = Setup::new().start_in(folder, &text);
    costs_the_same("1 service, then 500", || Some([traced(&one, alone)?, traced(&many, among)?]));
}

#[test]
fn a_connection_costs_the_same_beside_100_running_children() {
    if !need_program("strace") {
        return;
    }
    let (port, held) = (free_port(), free_port());
    let text = own_line(port, "/bin/true true") + &own_line(held, "/bin/cat cat");
    let daemon = Daemon::start(&text);
    costs_the_same("0 running children, then 100", || {
        let before = traced(&daemon, port)?;
        let clients: Vec<_> = (0..100).map(|_| tcp(held)).collect();
        for client in &clients {
            assert_eq!(echo_once(client, "?"), "?");
        }
        let beside = traced(&daemon, port)?;
        drop(clients);
        daemon.wait_childless();
        Some([before, beside])
    });
}

/// A copy of many would cost more than all else, and so would those that came first, if they
/// kept the low numbers that a child copies.
#[test]
fn where_there_are_many_descriptors_nobody_begins_with_a_copy_of_them() {
    /// So many that low numbers are no longer for what lives long.
    const HELD: usize = 400;
    const AT_ONCE: usize = 60;
    const CROWDS: usize = 5;
    /// Numbers for the server's own, and for what comes and goes.
    const LOW: u32 = 48;
    if !need_program("strace") {
        return;
    }
    let (port, echo) = (free_port(), free_port());
    let text = own_line(port, "/bin/true true")
        + &format!(
            "127.0.0.1:{echo} stream tcp nowait - internal echo\n    instances = unlimited\n"
        );
    let daemon = Daemon::start(&text);
    if !starts_the_fast_way(&daemon) {
        return;
    }
    let held: Vec<_> = (0..HELD).map(|_| tcp(echo)).collect();
    assert_eq!(echo_once(held.last().unwrap(), "?"), "?");
    let low = procs::descriptor_numbers(daemon.pid()).into_iter().filter(|number| *number < LOW);
    let low = low.count();
    assert!(low < 24, "{low} of {HELD} connections are in the way of every child");
    for round in 1..=ROUNDS {
        let Some(trace) = Trace::attach(daemon.pid()) else { return };
        for _ in 0..CROWDS {
            let clients: Vec<_> = (0..AT_ONCE).map(|_| tcp(port)).collect();
            for client in clients {
                assert_eq!(read_all(client), "");
            }
        }
        let (all, shared) = trace.stop().made();
        // A few may be told to do so by how many there were a moment ago, more of them where
        // others keep the machine busy.
        if all >= AT_ONCE && (all - shared) * 5 <= all {
            break;
        }
        assert!(round < ROUNDS, "{} of {all} children copy everything", all - shared);
    }
    drop(held);
}

#[test]
fn idle_wakes_nobody() {
    let ports = free_ports(36);
    let folder = Folder::new();
    let mut text = String::new();
    for rows in ports.chunks(4) {
        text += &own_line(rows[0], "/bin/cat cat");
        let address = |n: usize| format!("127.0.0.1:{}", rows[n]);
        let _ = writeln!(text, "{} dgram udp nowait {} /bin/cat cat", address(1), me());
        let _ = writeln!(text, "{} dgram udp wait {} /bin/cat cat", address(2), me());
        let _ = writeln!(text, "{} stream tcp wait {} /bin/cat cat", address(3), me());
    }
    for n in 0..14 {
        let path = folder.name(&format!("{n}.sock"));
        let _ = writeln!(text, "{path} stream unix nowait {} /bin/cat cat", me());
    }
    // A service manager that wants no signs of life wakes nobody either.
    let manager = folder.name("notify");
    let _manager = std::os::unix::net::UnixDatagram::bind(&manager).unwrap();
    let daemon = Setup::new().env("NOTIFY_SOCKET", &manager).start_in(folder, &text);
    assert_eq!(daemon.wait_log(|line| line.is("ready")).number("services"), Some(50));
    let (served, open) = (tcp(ports[0]), tcp(ports[4]));
    assert_eq!((echo_once(&served, "?"), echo_once(&open, "?")), ("?".into(), "?".into()));
    drop(served);
    let _ = daemon.wait_log(|line| line.about("ended", ports[0]));
    // Once, a while after the last client, it wakes to give memory back, and then to find that
    // it need not be interrupted any more: on a machine that slow, within this second.
    let busy = resident(daemon.pid());
    let woken = woken_in_a_second(&daemon);
    assert!(woken <= 2, "something wakes an idle server: {woken} times");
    wait_until("memory to be given back", || resident(daemon.pid()) < busy || woken > 0);
    assert_eq!(woken_in_a_second(&daemon), 0, "something wakes a server that is idle for long");
    assert_eq!(echo_once(&open, "?"), "?", "a program runs all the while");
}

/// How often the server goes to sleep in a second in which nobody comes.
fn woken_in_a_second(daemon: &Daemon) -> u64 {
    let before = wait_for("the server to rest", || {
        let before = switches(daemon.pid());
        park(Duration::from_millis(300));
        (switches(daemon.pid()) == before).then_some(before)
    });
    park(Duration::from_secs(1));
    switches(daemon.pid()) - before
}
