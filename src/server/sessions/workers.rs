//! Processes that stand between clients and programs ([`crate::front`]): started when a service
//! needs one, as many as there are processors, replaced when they die. They are not trusted:
//! what a worker says is taken only of clients that it has been given, once each, and whoever
//! says anything else is ended. It takes its own clients along, and nobody else's.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::unix::SourceFd;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::config::model::{Account, Certificate, FrontUser};
use crate::front::channel::Wire;
use crate::front::wire::{self, Give, ToServer, ToWorker};
use crate::front::{self, alerts};
use crate::log::events::{self, End};
use crate::server::Server;
use crate::server::programs::ending::end_of;
use crate::server::reactor::slab::{Key, Slab};
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::{self, Owner};
use crate::spawn::Prepared;
use crate::spawn::environment::{ConnectionEnvironment, Proto};
use crate::sys::{handed, process};
use crate::upgrade::state;

/// Workers that are shared, at most, unless it is said how many.
const MOST: usize = 4;
/// Letters of what one says of settings that are in the log.
const LONGEST_COMPLAINT: usize = 200;
/// How soon one that is ended is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// How soon those of the program before us are.
const EARLIER: Duration = Duration::from_secs(5);
/// Packets taken from one in one turn.
const PACKETS: usize = 16;
/// A worker that has lived for less than this died at once.
const AT_ONCE: Duration = Duration::from_secs(5);
/// How long no other is started then; it doubles up to the second.
const BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// A worker.
#[derive(Debug)]
struct Worker {
    pid: i32,
    /// None once it is ended, and still to be reaped.
    wire: Option<Wire>,
    /// The service that has it for itself.
    own: Option<Key>,
    /// The numbers of settings that it has been told.
    knows: HashSet<u32>,
    /// Those that it has said are wrong.
    complained: HashSet<u32>,
    /// Clients that it has been given and that are not over.
    clients: HashSet<u64>,
    /// Nobody needs it any more.
    is_let_go: bool,
    /// The service that had it for itself has gone, or the server that has started it.
    is_left: bool,
    started: Instant,
    queued: bool,
}

impl Worker {
    fn new(pid: i32, wire: Wire, own: Option<Key>, started: Instant) -> Self {
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
            queued: false,
        }
    }

    /// Whether what it says of settings is worth a line: once for those that it has been told.
    fn may_complain(&mut self, number: u32) -> bool {
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
    all: Slab<Worker>,
    /// Those of the program before us that cannot be spoken to any more. They go on with the
    /// clients that they have.
    earlier: Vec<i32>,
    /// How many are shared.
    most: usize,
    due: Option<Instant>,
    /// No other one before then, and how long that was.
    not_before: Option<Instant>,
    backoff: Duration,
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
}

impl Workers {
    pub(in crate::server) fn new(most: Option<usize>) -> Self {
        let processors = || std::thread::available_parallelism().map_or(1, |it| it.get().min(MOST));
        Self {
            all: Slab::new(),
            earlier: Vec::new(),
            most: most.unwrap_or_else(processors).max(1),
            due: None,
            not_before: None,
            backoff: Duration::ZERO,
            died: 0,
        }
    }

    /// Whether a process is one of them.
    pub(in crate::server) fn has(&self, pid: i32) -> bool {
        self.earlier.contains(&pid) || self.all.iter().any(|(_, worker)| worker.pid == pid)
    }

    /// The flag by which one is put into the ready queue once.
    pub(in crate::server) fn queued(&mut self, key: Key) -> Option<&mut bool> {
        self.all.get_mut(key).map(|worker| &mut worker.queued)
    }

    /// The process ids of all.
    pub(in crate::server) fn pids(&self) -> Vec<i32> {
        let all = self.all.iter().map(|(_, worker)| worker.pid);
        all.chain(self.earlier.iter().copied()).collect()
    }

    /// The one with the fewest clients, of those that serve this service, and how many there
    /// are.
    fn least_busy(&self, own: Option<Key>) -> (Option<Key>, usize) {
        let serving =
            || self.all.iter().filter(|(_, it)| it.own == own && it.wire.is_some() && !it.is_left);
        let least = serving().min_by_key(|(_, it)| it.clients.len());
        (least.map(|(key, _)| key), serving().count())
    }

    /// Those that can be spoken to, as data.
    pub(super) fn hand_over(&self) -> Vec<state::SavedWorker> {
        let all = self.all.iter().filter_map(|(_, worker)| {
            let descriptor = handed::number(worker.wire.as_ref()?);
            let clients = worker.clients.iter().copied().collect();
            Some(state::SavedWorker { pid: worker.pid, descriptor, clients })
        });
        all.collect()
    }

    fn is_idle(&self, key: Key) -> bool {
        self.all.get(key).is_some_and(|worker| worker.clients.is_empty())
    }
}

impl Server {
    /// Gives a client to a worker: its connection, and the end that is not its program's.
    ///
    /// # Errors
    /// There is none, or none that can be told more.
    pub(super) fn give_to_worker(
        &mut self,
        service: Key,
        settings: &SealedSettings,
        (number, give): (u64, Give),
        descriptors: [RawFd; 2],
    ) -> io::Result<()> {
        let own = settings.has_own.then_some(service);
        let key = self.worker_for(own, settings)?;
        match self.tell_of_client(key, settings, (number, give), descriptors) {
            // It is as good as dead, whether it has ended or only listens no more.
            Err(error) if is_gone(&error) => {
                self.end_worker(key);
                let key = self.worker_for(own, settings)?;
                self.tell_of_client(key, settings, (number, give), descriptors)
            }
            other => other,
        }
    }

    fn tell_of_client(
        &mut self,
        key: Key,
        settings: &SealedSettings,
        (number, give): (u64, Give),
        descriptors: [RawFd; 2],
    ) -> io::Result<()> {
        let Some(worker) = self.sessions.workers.all.get_mut(key) else {
            return Err(ErrorKind::NotFound.into());
        };
        let Some(wire) = &worker.wire else { return Err(ErrorKind::NotFound.into()) };
        if !worker.knows.contains(&settings.number) {
            let files: Vec<RawFd> = settings.files.iter().map(AsRawFd::as_raw_fd).collect();
            wire.say(&ToWorker::Settings(settings.number), &files)?;
            worker.knows.insert(settings.number);
        }
        let client = ToWorker::Client { number, settings: settings.number, give };
        wire.say(&client, &descriptors)?;
        worker.clients.insert(number);
        Ok(())
    }

    /// The least busy worker, or a new one while each has something to do and there may be
    /// more.
    fn worker_for(&mut self, own: Option<Key>, settings: &SealedSettings) -> io::Result<Key> {
        let most = if own.is_some() { 1 } else { self.sessions.workers.most };
        let (found, count) = self.sessions.workers.least_busy(own);
        if let Some(key) = found
            && (count >= most || self.sessions.workers.is_idle(key))
        {
            return Ok(key);
        }
        match (self.start_worker(own, &settings.user), found) {
            (Ok(key), _) | (Err(_), Some(key)) => Ok(key),
            (Err(error), None) => Err(error),
        }
    }

    fn start_worker(&mut self, own: Option<Key>, user: &FrontUser) -> io::Result<Key> {
        let now = self.reactor.now;
        if self.sessions.workers.not_before.is_some_and(|when| when > now) {
            return Err(io::Error::other("workers die at once"));
        }
        let prepared = self.prepare_worker(user)?;
        let (wire, theirs) = Wire::pair()?;
        let facts =
            ConnectionEnvironment { protocol: Proto::Unix, ..ConnectionEnvironment::default() };
        let table = self.table();
        let started = self.programs.spawner.spawn(&prepared, theirs, &facts, table);
        let pid = started.map_err(|failed| failed.error)?.pid;
        let key = self.sessions.workers.all.insert(Worker::new(pid, wire, own, now));
        log::debug!("front-worker pid={pid}");
        if let Err(error) = self.watch_worker(key) {
            self.end_worker(key);
            return Err(error);
        }
        Ok(key)
    }

    /// What it says is announced, and what it has said already.
    fn watch_worker(&self, key: Key) -> io::Result<()> {
        let worker = self.sessions.workers.all.get(key);
        let Some(wire) = worker.and_then(|worker| worker.wire.as_ref()) else { return Ok(()) };
        let token = token::pack(Owner::Worker(key));
        let registry = self.reactor.poll.registry();
        registry.register(&mut SourceFd(&wire.as_raw_fd()), token, Interest::READABLE)
    }

    /// This program, as a user that nobody else is, without anything.
    fn prepare_worker(&self, user: &FrontUser) -> io::Result<Rc<Prepared>> {
        let account = Account {
            name: user.uid.to_string(),
            uid: user.uid,
            gid: user.gid,
            groups: Vec::new(),
            home: "/".to_owned(),
            shell: "/bin/false".to_owned(),
            switch: user.switch,
        };
        let named = ("front", front::ARGUMENT);
        self.prepare_own_program(named, &Rc::new(account), |attributes| {
            attributes.process.umask = Some(0o777);
            attributes.sandbox.no_new_privs = true;
            attributes.sandbox.capabilities = 0;
        })
    }

    /// It has said something, or is gone.
    pub(in crate::server) fn serve_worker(&mut self, key: Key) {
        if let Some(queued) = self.sessions.workers.queued(key) {
            *queued = false;
        }
        for _ in 0..PACKETS {
            let Some(worker) = self.sessions.workers.all.get(key) else { return };
            let Some(wire) = &worker.wire else { return };
            match wire.hear(&mut self.reactor.scratch) {
                Ok(Some(messages)) => {
                    for message in messages {
                        if !self.take_from_worker(key, message) {
                            return self.end_worker(key);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(None) | Err(_) => return self.end_worker(key),
            }
        }
        self.queue(Owner::Worker(key));
    }

    /// False if it may not say that.
    fn take_from_worker(&mut self, key: Key, message: ToServer) -> bool {
        let Some(worker) = self.sessions.workers.all.get_mut(key) else { return true };
        match message {
            ToServer::Settings(number, result) => {
                let Err(why) = result else { return true };
                if worker.may_complain(number) {
                    let why: String = why.chars().take(LONGEST_COMPLAINT).collect();
                    events::trouble("front", "settings", &why.escape_debug());
                }
                // It may have had no descriptors left: with the next client it is told again.
                worker.knows.remove(&number);
                true
            }
            ToServer::Ready(number, facts, size) => {
                let has = worker.clients.contains(&number);
                if has {
                    self.client_is_ready(number, facts, size);
                }
                has
            }
            ToServer::Failed(number, why) => {
                let has = worker.clients.contains(&number);
                if has {
                    self.give_up_fronted(number, &why);
                }
                has
            }
            ToServer::Ended(number, _) => {
                let had = worker.clients.remove(&number);
                // Else it is somebody else's client, who stays.
                if had {
                    self.give_up_fronted(number, alerts::CLOSED);
                    self.let_go_if_left(key);
                }
                had
            }
        }
    }

    /// A program has ended that had a client of some worker, perhaps on a terminal that somebody
    /// else has still.
    pub(in crate::server) fn program_of_client_ended(&mut self, number: u64) {
        let workers = self.sessions.workers.all.iter();
        let mut having = workers.filter(|(_, worker)| worker.clients.contains(&number));
        if let Some(wire) = having.next().and_then(|(_, worker)| worker.wire.as_ref()) {
            // If it cannot be told now, the session ends when nobody has the terminal.
            let _ = wire.say(&ToWorker::ProgramEnded(number), &[]);
        }
    }

    /// Settings that nobody uses any more.
    pub(in crate::server) fn forget_settings(&mut self, number: u32) {
        let workers = &mut self.sessions.workers.all;
        workers.each(|worker| {
            worker.complained.remove(&number);
            if worker.knows.remove(&number)
                && let Some(wire) = &worker.wire
            {
                // If it cannot be told now, it remembers in vain.
                let _ = wire.say(&ToWorker::Forget(number), &[]);
            }
        });
    }

    /// A service that had a worker for itself has none any more; its clients stay.
    pub(in crate::server) fn leave_workers_of(&mut self, service: Key) {
        for key in self.sessions.workers.all.keys() {
            let Some(worker) = self.sessions.workers.all.get_mut(key) else { continue };
            worker.is_left |= worker.own == Some(service);
            self.let_go_if_left(key);
        }
    }

    /// The last client of a worker whose service has gone has gone, too.
    fn let_go_if_left(&mut self, key: Key) {
        let Some(worker) = self.sessions.workers.all.get_mut(key) else { return };
        if worker.is_left && worker.clients.is_empty() {
            worker.is_let_go = true;
            self.end_worker(key);
        }
    }

    /// Ends one; its clients are told of when it is reaped.
    pub(super) fn end_worker(&mut self, key: Key) {
        let Some(worker) = self.sessions.workers.all.get_mut(key) else { return };
        if let Some(wire) = worker.wire.take() {
            let _ = self.reactor.poll.registry().deregister(&mut SourceFd(&wire.as_raw_fd()));
        }
        // Not reaped, so the number is its own.
        let _ = kill(Pid::from_raw(worker.pid), Signal::SIGKILL);
        self.look_at_workers_at(self.reactor.now + LOOK);
    }

    fn look_at_workers_at(&mut self, when: Instant) {
        let due = &mut self.sessions.workers.due;
        if due.is_none_or(|due| due > when) {
            if let Some(due) = due.replace(when) {
                self.reactor.timers.cancel(due, Timer::Workers);
            }
            self.reactor.timers.set(when, Timer::Workers);
        }
    }

    /// Reaps those that are ended.
    pub(in crate::server) fn look_at_workers(&mut self) {
        self.sessions.workers.due = None;
        self.reap_earlier_workers();
        for key in self.sessions.workers.all.keys() {
            let worker = self.sessions.workers.all.get(key);
            if worker.is_some_and(|worker| worker.wire.is_none()) {
                self.reap_worker(key);
            }
        }
    }

    /// A worker of the program before us goes on with the clients that it has, and hears of the
    /// ends of their programs.
    pub(in crate::server) fn keep_earlier_worker(
        &mut self,
        pid: i32,
        wire: OwnedFd,
        clients: Vec<u64>,
    ) {
        let key = self.sessions.workers.all.insert(Worker {
            clients: clients.into_iter().collect(),
            is_left: true,
            ..Worker::new(pid, wire.into(), None, self.reactor.now)
        });
        if self.watch_worker(key).is_err() {
            self.end_worker(key);
        }
        self.let_go_if_left(key);
    }

    /// The same of workers that cannot be told anything.
    pub(in crate::server) fn keep_silent_workers(&mut self, pids: Vec<i32>) {
        self.sessions.workers.earlier = pids;
        self.reap_earlier_workers();
    }

    fn reap_earlier_workers(&mut self) {
        let earlier = &mut self.sessions.workers.earlier;
        earlier.retain(|pid| matches!(process::ended(Some(*pid), true), Ok(None)));
        if !earlier.is_empty() {
            self.look_at_workers_at(self.reactor.now + EARLIER);
        }
    }

    /// Reaps a worker that has been found ended, once all that it has said is heard; false if it
    /// is still there.
    pub(in crate::server) fn reap_found_worker(&mut self, pid: i32) -> bool {
        let found = self.sessions.workers.all.iter().find(|(_, worker)| worker.pid == pid);
        let Some(key) = found.map(|(key, _)| key) else {
            self.reap_earlier_workers();
            return !self.sessions.workers.has(pid);
        };
        self.serve_worker(key);
        if self.sessions.workers.all.get(key).is_some_and(|worker| worker.wire.is_none()) {
            self.reap_worker(key);
        }
        !self.sessions.workers.has(pid)
    }

    fn reap_worker(&mut self, key: Key) {
        let Some(pid) = self.sessions.workers.all.get(key).map(|worker| worker.pid) else {
            return;
        };
        let end = match process::ended(Some(pid), true) {
            Ok(None) => return self.look_at_workers_at(self.reactor.now + LOOK),
            Ok(Some((_, ending))) => end_of(ending),
            Err(_) => End::Unknown,
        };
        self.programs.spawner.reaped(pid);
        let failure = self.programs.spawner.failure_of(pid);
        let Some(worker) = self.sessions.workers.all.remove(key) else { return };
        let failure = failure.map(|it| format!("{}: {it}", it.stage.as_str()));
        self.worker_died(&worker, end, failure.as_deref());
        for number in worker.clients {
            self.give_up_fronted(number, alerts::INTERNAL);
        }
    }

    fn worker_died(&mut self, worker: &Worker, end: End, failure: Option<&str>) {
        let (now, workers) = (self.reactor.now, &mut self.sessions.workers);
        let error = failure.as_ref().map(|it| it as &dyn std::fmt::Display);
        if !worker.is_let_go {
            workers.died = workers.died.saturating_add(1);
            events::worker_died(worker.pid, (end, error), worker.clients.len());
        }
        if now.saturating_duration_since(worker.started) < AT_ONCE {
            workers.not_before = Some(now + workers.backoff);
            workers.backoff = (workers.backoff * 2).clamp(BACKOFF, LONGEST_BACKOFF);
        } else {
            workers.backoff = Duration::ZERO;
        }
    }
}

/// Whether nobody is at the other end of a wire.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_complains_once_of_what_it_was_told() {
        let (wire, _theirs) = Wire::pair().unwrap();
        let mut worker = Worker::new(1, wire, None, Instant::now());
        worker.knows = HashSet::from([7, 8]);
        let said: Vec<u32> =
            [7, 9, 7, 8, 9, 8, 7].into_iter().filter(|it| worker.may_complain(*it)).collect();
        assert_eq!(said, [7, 8]);
    }
}
