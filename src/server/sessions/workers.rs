//! Processes that stand between clients and programs ([`crate::front`]): as many as there are
//! processors. They are not trusted: what a worker says is taken only of clients that it has been
//! given, once each, and whoever says anything else is ended. It takes its own clients along, and
//! nobody else's. Here is what is known of them.

use std::collections::{HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::signs_of_life::SignsOfLife;
use crate::config::model::{Certificate, FrontUser};
use crate::front::channel::Wire;
use crate::front::wire::{self, ToServer};
use crate::net::fronted::FrontTerms;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::{Key, Slab};
use crate::server::reactor::timers::Timer;
use crate::sys::handed;
use crate::upgrade::state;

/// Workers that are shared, at most, unless it is said how many.
const MOST: usize = 4;

/// A worker.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    pub(super) pid: i32,
    /// None once it is ended, and still to be reaped.
    pub(super) wire: Option<Wire>,
    /// The service that has it for itself.
    pub(super) own: Option<Key>,
    /// The numbers of settings that it has been told.
    pub(super) knows: HashSet<u32>,
    /// Those that it has said are wrong.
    pub(super) complained: HashSet<u32>,
    /// Clients that it has been given and that are not over.
    pub(super) clients: HashSet<u64>,
    /// Nobody needs it any more.
    pub(super) is_let_go: bool,
    /// The service that had it for itself has gone, or the server that has started it.
    pub(super) is_left: bool,
    pub(super) started: Instant,
    /// What it has said that nothing has been done about yet.
    pub(super) heard: VecDeque<ToServer>,
    /// It has said what nobody can mean, or is at its end.
    pub(super) is_over: bool,
    pub(super) signs: SignsOfLife,
    /// It answers when it is asked whether it is still there.
    pub(super) answers: bool,
    /// Why it has been ended, if its end does not say that.
    pub(super) why: Option<&'static str>,
}

impl WorkerProcess {
    pub(super) fn new(pid: i32, wire: Wire, own: Option<Key>, started: Instant) -> Self {
        Self {
            pid,
            wire: Some(wire),
            own,
            knows: HashSet::new(),
            complained: HashSet::new(),
            clients: HashSet::new(),
            is_left: false,
            is_let_go: false,
            started,
            heard: VecDeque::new(),
            is_over: false,
            signs: SignsOfLife::default(),
            answers: true,
            why: None,
        }
    }

    /// Whether what it says of settings is worth a line: once for those that it has been told.
    pub(super) fn may_complain(&mut self, number: u32) -> bool {
        self.knows.contains(&number) && self.complained.insert(number)
    }
}

/// Whether workers to which this version is said understand what we say.
pub(in crate::server) fn understand(version: u32) -> bool {
    version == wire::VERSION
}

/// All of them.
#[derive(Debug)]
pub(in crate::server) struct Workers {
    pub(super) all: Slab<WorkerProcess>,
    /// Those of the program before us that cannot be spoken to any more. They go on with the
    /// clients that they have.
    pub(super) earlier: Vec<i32>,
    /// How many are shared.
    pub(super) most: usize,
    /// When those are looked for that are ended.
    pub(super) due: Option<Instant>,
    /// When it is looked whether those that have clients have said anything.
    pub(super) look: Option<Instant>,
    /// No other one before then, and how long that was.
    pub(super) not_before: Option<Instant>,
    pub(super) backoff: Duration,
    /// Deaths of those that should not have ended.
    pub(in crate::server) died: u64,
}

/// What a worker is told of a service before the first client comes.
#[derive(Debug)]
pub(in crate::server) struct SealedSettings {
    /// A number that has had no other meaning.
    pub(in crate::server) number: u32,
    /// The settings, and what they name.
    pub(in crate::server) files: Vec<OwnedFd>,
    /// Whose keys these are.
    pub(in crate::server) certificates: Rc<[Certificate]>,
    /// A worker for this service alone.
    pub(in crate::server) has_own: bool,
    /// As whom.
    pub(in crate::server) user: FrontUser,
    /// What they say of whom is let in.
    pub(super) terms: FrontTerms,
}

impl Workers {
    pub(in crate::server) fn new(most: Option<usize>) -> Self {
        let processors = || std::thread::available_parallelism().map_or(1, |it| it.get().min(MOST));
        Self {
            all: Slab::new(),
            earlier: Vec::new(),
            most: most.unwrap_or_else(processors).max(1),
            due: None,
            look: None,
            not_before: None,
            backoff: Duration::ZERO,
            died: 0,
        }
    }

    /// Whether a process is one of them.
    pub(in crate::server) fn has(&self, pid: i32) -> bool {
        self.earlier.contains(&pid) || self.all.iter().any(|(_, worker)| worker.pid == pid)
    }

    /// The server ends: they go with their last client, and one that somebody has stopped has to
    /// see that.
    pub(in crate::server) fn wake_all(&self) {
        for pid in self.pids() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        }
    }

    /// The process ids of all.
    pub(in crate::server) fn pids(&self) -> Vec<i32> {
        let all = self.all.iter().map(|(_, worker)| worker.pid);
        all.chain(self.earlier.iter().copied()).collect()
    }

    /// Which of them has a client.
    pub(super) fn having(&self, number: u64) -> Option<Key> {
        let mut all = self.all.iter();
        all.find(|(_, worker)| worker.clients.contains(&number)).map(|(key, _)| key)
    }

    /// Those that serve this service, or all that have none for themselves.
    fn serving(&self, own: Option<Key>) -> impl Iterator<Item = (Key, &WorkerProcess)> {
        let all = self.all.iter();
        all.filter(move |(_, it)| it.own == own && it.wire.is_some() && !it.is_left)
    }

    /// The one of them with the fewest clients that has room for one more, one that answers before
    /// one that does not.
    pub(super) fn least_busy(&self, own: Option<Key>, room: usize) -> Option<Key> {
        let with_room = self.serving(own).filter(|(_, it)| it.clients.len() < room);
        let least = with_room.min_by_key(|(_, it)| (it.signs.are_awaited(), it.clients.len()));
        least.map(|(key, _)| key)
    }

    /// Whether there may be one more of them: there are so many, and while none answers one that
    /// helps out.
    pub(super) fn may_be_more(&self, own: Option<Key>) -> bool {
        let all_hang = self.serving(own).all(|(_, it)| it.signs.are_awaited());
        self.serving(own).count() < self.most_of(own).saturating_add(usize::from(all_hang))
    }

    /// Whether there are more than needed of those to which one belongs: all answer again.
    pub(super) fn has_one_too_many(&self, key: Key) -> bool {
        let Some(own) = self.all.get(key).map(|worker| worker.own) else { return false };
        let one_hangs = self.serving(own).any(|(_, it)| it.signs.are_awaited());
        !one_hangs && self.serving(own).count() > self.most_of(own)
    }

    fn most_of(&self, own: Option<Key>) -> usize {
        if own.is_some() { 1 } else { self.most }
    }

    /// Those that can be spoken to, as data.
    pub(super) fn hand_over(&self) -> Vec<state::SavedWorker> {
        let all = self.all.iter().filter_map(|(_, worker)| {
            let descriptor = handed::number(worker.wire.as_ref()?);
            let clients = worker.clients.iter().copied().collect();
            let (pid, answers) = (worker.pid, worker.answers);
            Some(state::SavedWorker { pid, descriptor, clients, answers })
        });
        all.collect()
    }

    pub(super) fn is_idle(&self, key: Key) -> bool {
        self.all.get(key).is_some_and(|worker| worker.clients.is_empty())
    }

    pub(super) fn look_at(&mut self, when: Instant, reactor: &mut Reactor) {
        reactor.timers.set_sooner(&mut self.due, when, Timer::Workers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_complains_once_of_what_it_was_told() {
        let (wire, _theirs) = Wire::pair().unwrap();
        let mut worker = WorkerProcess::new(1, wire, None, Instant::now());
        worker.knows = HashSet::from([7, 8]);
        let said: Vec<u32> =
            [7, 9, 7, 8, 9, 8, 7].into_iter().filter(|it| worker.may_complain(*it)).collect();
        assert_eq!(said, [7, 8]);
    }
}
