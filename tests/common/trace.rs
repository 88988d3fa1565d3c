//! System calls of a running process and of its children until their execve, by strace(1).

use super::strace::Strace;
use super::wait::wait_until;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

/// Calls by name, and how often.
pub(crate) type Counts = BTreeMap<String, usize>;

/// The words that the server's alarm and the ends of programs have in its poll
/// (`server/token.rs`).
const ALARM: u64 = 3;
const ENDS: u64 = 4;

/// How a read of one signal ends, from a signalfd that is read one by one (signalfd(2):
/// 128 bytes each).
const SIGNAL_READ: &str = ", 128) = 128";

/// One call that has returned, or was the last to be seen.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pid: u32,
    text: String,
}

impl Call {
    /// One name for what architectures call differently.
    fn name(&self) -> &str {
        match self.text.split_once('(').map_or(self.text.as_str(), |(name, _)| name) {
            "epoll_pwait" | "epoll_pwait2" => "epoll_wait",
            // A pipe that is polled already need not be told not to wait.
            "preadv2" => "read",
            name => name,
        }
    }

    /// Calls that say nothing of the program: a debug build's std looks whether each
    /// descriptor is open before it closes it; how often the loop looks again whether a
    /// child has ended depends on how slow the tracer makes that; and whether it is told
    /// depends on how clients come.
    fn counts(&self) -> bool {
        let looks_at_descriptor = self.name() == "fcntl" && self.text.contains(", F_GETFD");
        let timed_out = self.name() == "epoll_wait" && self.text.ends_with("= 0");
        let woken = self.name() == "epoll_wait" && self.text.ends_with("= 1");
        let by_nobody = woken && (self.announces(ALARM) || self.announces(ENDS));
        let took_signal = self.name() == "read" && self.text.ends_with(SIGNAL_READ);
        let set_alarm = matches!(self.name(), "timerfd_settime" | "timer_settime");
        let interrupted = self.name() == "rt_sigreturn" || self.text.contains("= -1 EINTR ");
        let nobody = self.text.contains(", {}, ") || self.text.contains(" = -1 ECHILD ");
        let ended_nobody = self.name() == "waitid" && nobody;
        let tells = !(by_nobody || took_signal || set_alarm || interrupted || ended_nobody);
        tells && !looks_at_descriptor && !timed_out
    }

    /// Whether this word is among the events of a poll.
    fn announces(&self, word: u64) -> bool {
        self.name() == "epoll_wait" && self.text.contains(&format!("u64={word}}}"))
    }
}

/// What happened from the end of one connection to the end of the next one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connection {
    server: u32,
    calls: Vec<Call>,
}

impl Connection {
    fn of_server(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.pid == self.server)
    }

    /// Children that the server has made, and how many of them begin with its own table of
    /// descriptors instead of a copy.
    pub(crate) fn made(&self) -> (usize, usize) {
        let clones: Vec<&Call> = self.of_server().filter(|call| call.name() == "clone").collect();
        let shared = clones.iter().filter(|call| call.text.contains("CLONE_FILES")).count();
        (clones.len(), shared)
    }

    /// The calls of the server.
    pub(crate) fn server(&self) -> Counts {
        self.count(|pid| pid == self.server)
    }

    /// The calls of its child until execve, which is one of them.
    pub(crate) fn child(&self) -> Counts {
        self.count(|pid| pid != self.server)
    }

    fn count(&self, wanted: impl Fn(u32) -> bool) -> Counts {
        let mut counts = Counts::new();
        for call in self.calls.iter().filter(|call| wanted(call.pid) && call.counts()) {
            *counts.entry(call.name().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Whether the server was told of an end after it had sent something off to become a
    /// program, and then made a child.
    pub(crate) fn makes_next_at_the_end(&self) -> bool {
        let mut calls = self.of_server();
        calls.any(|call| call.name() == "sendmsg")
            && calls
                .find(|call| call.announces(ENDS) || call.name() == "clone")
                .is_some_and(|call| call.announces(ENDS))
            && calls.any(|call| call.name() == "clone")
    }

    /// All of it, for a message.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for call in &self.calls {
            let who = if call.pid == self.server { "server" } else { "child " };
            let _ = writeln!(text, "    {who} {}", call.text);
        }
        text
    }
}

/// Of each call the smallest number in any of them: what chance adds is not in all.
pub(crate) fn least<'a>(all: impl IntoIterator<Item = &'a Counts>) -> Counts {
    let mut all = all.into_iter();
    let mut least = all.next().cloned().unwrap_or_default();
    for counts in all {
        for (name, count) in &mut least {
            *count = (*count).min(counts.get(name).copied().unwrap_or(0));
        }
    }
    least.retain(|_, count| *count > 0);
    least
}

/// A strace at work on a server.
pub(crate) struct Trace {
    strace: Strace,
    server: u32,
}

impl Trace {
    /// Attaches to `server`; none, and a loud skip, where that is not permitted.
    #[track_caller]
    pub(crate) fn attach(server: u32) -> Option<Self> {
        let strace = Strace::attach(server, &["-f", "-b", "execve", "-s", "512"])?;
        Some(Self { strace, server })
    }

    /// Waits for the end of `count` connections in the trace, detaches, and gives them.
    #[track_caller]
    pub(crate) fn finish(self, count: usize) -> Vec<Connection> {
        wait_until("the trace of the last connection", || {
            connections(&self.strace.text(), self.server).len() >= count
        });
        connections(&self.strace.finish(), self.server)
    }

    /// Detaches, and gives whatever has been seen as one.
    pub(crate) fn stop(self) -> Connection {
        Connection { server: self.server, calls: calls(&self.strace.finish()) }
    }
}

/// The calls of a trace, by connection: the server's word `ended` ends each. A child that
/// was made ahead belongs to the connection in which it becomes its program.
fn connections(text: &str, server: u32) -> Vec<Connection> {
    let mut ended = 0;
    let calls: Vec<(usize, Call)> = calls(text)
        .into_iter()
        .map(|call| {
            let at = ended;
            ended += usize::from(ends_connection(&call, server));
            (at, call)
        })
        .collect();
    let execs = calls.iter().filter(|(_, call)| call.name() == "execve");
    let execs: HashMap<u32, usize> = execs.map(|(at, call)| (call.pid, *at)).collect();
    let mut found = vec![Connection { server, calls: Vec::new() }; ended];
    for (at, call) in calls {
        let at = if call.pid == server { Some(&at) } else { execs.get(&call.pid) };
        if let Some(connection) = at.and_then(|at| found.get_mut(*at)) {
            connection.calls.push(call);
        }
    }
    found
}

/// How the log is written depends on what it is, and on the kernel.
fn ends_connection(call: &Call, server: u32) -> bool {
    let writes = matches!(call.name(), "write" | "pwritev2");
    call.pid == server && writes && call.text.contains("  ended ")
}

/// Whole calls, in the order in which they returned.
fn calls(text: &str) -> Vec<Call> {
    const UNFINISHED: &str = "<unfinished ...>";
    let mut begun: HashMap<u32, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let (Ok(pid), rest) = (pid.parse(), rest.trim()) else { continue };
        if ["+++", "---", "<detached"].iter().any(|other| rest.starts_with(other)) {
            continue;
        }
        let whole = match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, end)) => match begun.remove(&pid) {
                Some(begin) => begin + end,
                None => continue,
            },
            None => rest.to_owned(),
        };
        // strace lets go at execve, and does not always say how it has returned.
        match whole.strip_suffix(UNFINISHED).filter(|begin| !begin.starts_with("execve(")) {
            Some(begin) => drop(begun.insert(pid, begin.to_owned())),
            None => calls.push(Call { pid, text: whole }),
        }
    }
    calls
}

#[test]
fn a_trace_is_taken_apart() {
    let text = "\
7 epoll_wait(3,  <unfinished ...>
8 dup3(7, 0, 0 <unfinished ...>
7 <... epoll_wait resumed>[{}], 1024, -1) = 1
8 <... dup3 resumed>)               = 0
7 fcntl(7, F_GETFD)                 = 0x1
8 execve(\"/bin/true\", [\"true\"] <unfinished ...>
8 <... execve resumed> <detached ...>
7 epoll_wait(3, [], 1024, 2)        = 0
7 timerfd_settime(4, 0, {it_interval={tv_sec=0, tv_nsec=0}}, NULL) = 0
7 epoll_wait(3, [{events=EPOLLIN, data={u32=0, u64=3}}], 1024, -1) = 1
7 write(2, \"2026-11-23T00:52:49.972Z INFO  ended service\"..., 107) = 107
7 epoll_wait(3,  <detached ...>
";
    let ahead = "9 setsid()                          = 9\n";
    let next = "\
9 execve(\"/bin/true\", [\"true\"] <unfinished ...>
7 write(2, \"2026-11-23T00:52:49.973Z INFO  ended service\"..., 107) = 107
";
    let found = connections(&format!("{ahead}{text}{next}"), 7);
    let counts = |of: &[(&str, usize)]| -> Counts {
        of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[1].child(), counts(&[("setsid", 1), ("execve", 1)]));
    assert_eq!(found[0].server(), counts(&[("epoll_wait", 1), ("write", 1)]));
    assert_eq!(found[0].child(), counts(&[("dup3", 1), ("execve", 1)]));
    let more = counts(&[("dup3", 3), ("close", 1)]);
    assert_eq!(least([&more, &found[0].child()]), counts(&[("dup3", 1)]));
}
