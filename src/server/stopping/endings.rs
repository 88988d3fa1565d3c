//! The log has one end for each client of whom it has a beginning, also of those who are here
//! when the server ends.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::poll::poll;

use super::ServerEnding;
use crate::log::events::{self, End};
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::sessions::session::{Client, Session, SessionTable};
use crate::server::state::ProgramStage;

/// Why the server closes what it serves itself, as the log says it.
const STOPPED: &str = "stopped";

/// So long programs that are killed may take to be gone: most of it is spent waiting for a
/// processor.
const DEATH: Duration = Duration::from_secs(1);

/// After how many milliseconds it is looked again whether they are.
const LOOKS: u8 = 1;

/// So many services are named.
const NAMED: usize = 8;

impl Server {
    /// Nobody is waited for any more: says whom that costs.
    pub(super) fn say_if_cut_short(&self) {
        if self.life.ending != ServerEnding::AtOnce {
            return;
        }
        let table = &self.sessions.table;
        let programs = table.each_program().filter(|(.., it)| is_ended(it)).count();
        let connections = table.builtins().saturating_add(table.relays());
        let services = named(table.lost());
        let signal = self.life.stop.unwrap_or_default();
        events::cut_short(signal, (programs, connections), services.as_deref());
    }

    /// Programs that have had KILL are gone in a moment, if the kernel lets them.
    pub(super) fn await_the_killed(&mut self) {
        let until = Instant::now() + DEATH;
        while !self.reap_all(|_, child| is_ended(child)) && Instant::now() < until {
            let _ = poll(&mut [], LOOKS);
        }
    }

    /// True if they all have ended.
    fn reap_all(&mut self, wanted: impl Fn(&Client, &ProgramStage) -> bool) -> bool {
        let mut all = true;
        self.reactor.now = Instant::now();
        for key in self.sessions.table.programs_that(wanted) {
            all &= self.reap_if_ended(key);
        }
        all
    }

    /// The last that is said of everybody who is here.
    pub(super) fn say_ends(&mut self) {
        self.reap_all(|_, _| true);
        for key in self.sessions.table.keys() {
            match self.sessions.table.get(key).and_then(Session::program) {
                None => self.close_session(key, STOPPED),
                Some(_) => self.say_left(key),
            }
        }
    }

    /// A program that nobody will hear of any more.
    fn say_left(&self, key: Key) {
        let Some(Session { client, .. }) = self.sessions.table.get(key) else { return };
        let Some(child) = self.sessions.table.program(key) else { return };
        let time = self.reactor.now.saturating_duration_since(client.since);
        let end = match () {
            () if is_ended(child) => End::Unknown,
            // Nobody outlives process 1: the kernel sees to that.
            () if std::process::id() == 1 => End::Signal("SIGKILL"),
            () => return events::detached(&client.label, client.peer, child.pid, time, client.log),
        };
        events::ended(&client.label, client.peer, child.pid, (end, time), None, client.log);
    }
}

impl SessionTable {
    /// Those whom an end at once costs, by the services that have admitted them.
    fn lost(&self) -> HashMap<Rc<str>, usize> {
        let mut lost = HashMap::new();
        for (_, session) in self.iter().filter(|(_, it)| it.program().is_none_or(is_ended)) {
            let count: &mut usize = lost.entry(session.client.label.name()).or_default();
            *count = count.saturating_add(1);
        }
        lost
    }
}

/// Whether the server ends it, and it has heard of that.
fn is_ended(child: &ProgramStage) -> bool {
    child.overdue
}

/// `echo/tcp 12, ftp/tcp 3`, those with the most of them first.
fn named(lost: HashMap<Rc<str>, usize>) -> Option<String> {
    let mut lost: Vec<_> = lost.into_iter().collect();
    lost.sort_unstable_by(|(a, most), (b, more)| more.cmp(most).then(a.cmp(b)));
    let shown: Vec<String> =
        lost.iter().take(NAMED).map(|(label, count)| format!("{label} {count}")).collect();
    let more = match lost.len().saturating_sub(shown.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!shown.is_empty()).then(|| shown.join(", ") + &more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(counts: &[(&str, usize)]) -> Option<String> {
        named(counts.iter().map(|(label, count)| (Rc::from(*label), *count)).collect())
    }

    #[test]
    fn services_are_named_by_how_many_they_lose_and_not_all_of_them() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("b", 1), ("a", 1), ("c", 7)]).as_deref(), Some("c 7, a 1, b 1"));
        let many: Vec<String> = (10..30).map(|n| n.to_string()).collect();
        let many: Vec<(&str, usize)> = many.iter().map(|label| (label.as_str(), 1)).collect();
        let said = of(&many).unwrap();
        assert!(said.starts_with("10 1, 11 1, ") && said.ends_with("17 1 and 12 more"), "{said}");
    }
}
