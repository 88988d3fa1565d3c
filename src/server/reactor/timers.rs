//! The one deadline: everything that is to happen later, the earliest first.

use std::collections::BTreeSet;
use std::time::Instant;

use super::slab::Key;

/// What is due. Whoever handles it looks whether it still applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::server) enum Timer {
    /// Try again to open a socket.
    Open(Key),
    /// A listener has rested long enough.
    Resume(Key),
    /// A conversation may have been silent for too long.
    Idle(Key),
    /// An attempt to connect to a relay's target has had its time, or is made again.
    Connect(Key),
    /// Look after the processes that connect for relays.
    Connectors,
    /// Read a program's standard error again.
    Stderr(Key),
    /// Look whether a peer's datagrams have arrived in its socket.
    Deliver(Key),
    /// Look after a child whose end nobody announces.
    Child(Key),
    /// Try again to remove the groups of processes of services that have gone.
    Groups,
    /// Whether children that were made ahead are still needed.
    Spares,
    /// It may have been quiet for a while.
    IdleMemory,
    /// A program has run for as long as it may, or has had time to end after that.
    Overdue(Key),
    /// Whether a program has ended after all.
    Dying(Key),
    /// Nothing may have moved on a program's connection for too long.
    Still(Key),
    /// The same for a relay.
    StillRelay(Key),
    /// What a program that ran for too long has left behind.
    Group(Key),
    /// Reap whoever has come to us and has ended.
    Orphans,
    /// Look for what programs have left behind that is to end with them.
    Leftovers,
    /// A client has had long enough to read its banner.
    Banner(Key),
    /// Somebody of this number has had long enough for his handshake.
    Front(u64),
    /// Look after the processes in front of services.
    Workers,
    /// Look whether those that have clients have said anything.
    Signs,
    /// Keys of tickets are old.
    Tickets,
    /// Somebody has had long enough to say who he is.
    Newcomer(Key),
    /// Look who else is at the addresses of sockets that programs have had.
    Addresses,
    /// Somebody has been held long enough.
    Held,
    /// Refusals of a service that have not been told.
    Refusals(Key),
    /// A configuration has been read for too long.
    Reload,
    /// Look up the names that somebody waits for.
    Names,
    /// That has taken too long.
    Seeker,
    /// A socket at which the server is asked, for which there was no descriptor.
    ControlListener(Key),
    /// Somebody who asks may have been silent for too long.
    ControlConnection(Key),
    /// Look at a program that is being tried out.
    Trial,
    /// Whoever is still here has had time to come to an end.
    Drained,
    /// Nobody may have been here for long enough to end.
    Leave,
    /// Look whether somebody has the connections of programs that have ended.
    Closing,
    /// Look whether those are gone who end with the server.
    Ending,
    /// The service manager wants a sign of life.
    Watchdog,
    /// Tell the service manager what it had no room for.
    Manager,
}

/// Timers in the order of time.
#[derive(Debug, Default)]
pub(in crate::server) struct Timers(BTreeSet<(Instant, Timer)>);

impl Timers {
    pub(in crate::server) fn set(&mut self, when: Instant, timer: Timer) {
        self.0.insert((when, timer));
    }

    /// Timers that are not cancelled are cheap, but those of many short conversations add up.
    pub(in crate::server) fn cancel(&mut self, when: Instant, timer: Timer) {
        self.0.remove(&(when, timer));
    }

    /// The only one of its kind, unless it is due sooner already; `due` is when.
    pub(in crate::server) fn set_sooner(
        &mut self,
        due: &mut Option<Instant>,
        when: Instant,
        timer: Timer,
    ) {
        if due.is_some_and(|due| due <= when) {
            return;
        }
        if let Some(later) = due.replace(when) {
            self.cancel(later, timer);
        }
        self.set(when, timer);
    }

    pub(in crate::server) fn earliest(&self) -> Option<Instant> {
        self.0.first().map(|(when, _)| *when)
    }

    /// The next one that is due.
    pub(in crate::server) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let (when, _) = self.0.first()?;
        if *when > now {
            return None;
        }
        self.0.pop_first().map(|(_, timer)| timer)
    }
}
