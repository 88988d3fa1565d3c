//! The server while it runs: one thread, one poll, one turn after the other.
//!
//! A turn: wait for events or the earliest deadline; slots of children that have ended
//! are freed; signals; what is due; then the ready queue, each entry with a bounded
//! amount of work, so that nobody waits for a busy neighbour; at the end the children
//! are reaped and the log is written. Nothing in it blocks.
//!
//! | file | what it does |
//! |---|---|
//! | `state` | what is known of services, listeners, children, conversations |
//! | `accepting` | listeners: take, admit, rest, resume |
//! | `starting` | a program for a connection or for a `wait` socket |
//! | `ending` | children that have ended, orphans |
//! | `stderr_lines` | what programs write to standard error |
//! | `overdue` | programs that run for too long |
//! | `banners` | what clients are told before they are served, or when they are refused |
//! | `refusals` | refusals in the log |
//! | `observing` | the time of day and the load |
//! | `conversations` | built-in services on streams, tcpmux |
//! | `relaying` | connections relayed to another server |
//! | `datagrams` | built-in services on datagrams; a program per peer |
//! | `installing` | services and their sockets, made from definitions |
//! | `reloading` | a reload from the signal to its end |
//! | `applying` | from the old configuration to the new one, some services each turn |
//! | `controlling` | connections of those who ask about the server |
//! | `answering` | what they are told |
//! | `commanding` | what they tell the server to do |
//! | `counting` | counters of services |
//! | `upgrading` | the program on disk: tried out, then executed in our place |
//! | `handing_over` | what it is handed |
//! | `taking_over` | going on with that |
//! | `adopting` | whoever was served |
//! | `managing` | what the service manager is told, its sockets |

mod accepting;
mod adopting;
mod answering;
mod applying;
mod banners;
mod commanding;
mod controlling;
mod conversations;
mod counting;
mod datagrams;
mod ending;
mod facts;
mod handing_over;
mod installing;
mod managing;
mod observing;
mod overdue;
mod per_peer;
mod refusals;
mod relaying;
mod reloading;
mod slab;
mod starting;
mod state;
mod stderr_lines;
mod taking_over;
mod timers;
mod token;
mod upgrading;

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};

use crate::admission::Admission;
use crate::builtin::{ANSWERS_PER_SOURCE, Guard};
use crate::config::Loaded;
use crate::journal;
use crate::log_sink;
use crate::peers::Peers;
use crate::relay::Side;
use crate::service_manager::ServiceManager;
use crate::signals::{Signal, Signals};
use crate::spawn::group::Groups;
use crate::spawn::{Spawner, Way, kernel};
use crate::statistics::Statistics;
use crate::zone::Zone;
use answering::unix_time;
use banners::BannerState;
use commanding::Drain;
use controlling::Controlling;
pub use facts::Facts;
use observing::Weather;
use overdue::Group;
use per_peer::Homing;
use relaying::RelayState;
pub use reloading::ReloadOutcome;
use reloading::Reloading;
use slab::{Key, Slab};
use state::{Child, ConversationState, ListenerState, ServiceState, StderrState};
pub use taking_over::{examine, may_follow, nothing_more, served};
use timers::{Timer, Timers};
use token::Owner;
use upgrading::Upgrading;

/// Events taken from the system at once; more come with the next turn.
const EVENTS: usize = 1024;

/// How long children that have ended may wait to be reaped. Their slots are free at once;
/// the rest of the work waits for a moment, since the client of a program that has ended
/// often comes again immediately, and is served first then.
const ENDED: Duration = Duration::from_millis(1);

/// Bytes read from or written to a socket in one call by the built-in services.
const SCRATCH: usize = 128 * 1024;

/// What the server is made of; see the files for what they do with it.
pub struct Server {
    poll: Poll,
    signals: Signals,
    spawner: Spawner,
    admission: Admission,
    peers: Peers,
    facts: Facts,
    zone: Zone,
    guard: Guard,
    services: Slab<ServiceState>,
    /// In the order of the file.
    order: Vec<Key>,
    /// Labels of services that lack something on this machine.
    not_served: Vec<String>,
    listeners: Slab<ListenerState>,
    children: Slab<Child>,
    stderr: Slab<StderrState>,
    conversations: Slab<ConversationState>,
    banners: Slab<BannerState>,
    /// Refused clients among those that are told something, the longest there first.
    dismissed: VecDeque<Key>,
    /// What is left of programs that ran for too long.
    leftovers: Slab<Group>,
    weather: Weather,
    homing: Slab<Homing>,
    relays: Slab<RelayState>,
    controlling: Controlling,
    upgrading: Upgrading,
    /// Of all services since the start.
    statistics: Statistics,
    /// When it started, by both clocks.
    born: (u64, Instant),
    /// Set once nobody is let in any more.
    drain: Drain,
    /// Pipes that are not polled yet, and when they are to be.
    unwatched: VecDeque<(Instant, Key)>,
    /// Pipes whose program has ended while something still holds them, oldest first.
    lingering: VecDeque<Key>,
    /// Services with listeners that rest until a child ends.
    resting_services: Vec<Key>,
    /// Listeners that rest because the system has no descriptors.
    exhausted: Vec<Key>,
    /// When the system last had none.
    last_exhausted: Instant,
    ready: VecDeque<Owner>,
    /// Children whose end has been announced and that are not reaped yet.
    ended: Vec<Key>,
    timers: Timers,
    scratch: Vec<u8>,
    now: Instant,
    stop: Option<&'static str>,
    reloading: Reloading,
    manager: ServiceManager,
    /// When it is told again what it had no room for.
    manager_told_again: Option<Instant>,
    /// Last, so that it goes when everybody who has a group has gone.
    groups: Groups,
    /// When it is tried again to remove some of them.
    straggling: Instant,
}

/// How a server is to be made.
pub struct Options {
    /// How programs are started.
    pub way: Way,
    /// Programs of all services at once; None is what the machine allows.
    pub max_children: Option<u32>,
    /// Reads the configuration again; called in a process of its own.
    pub reload: Box<dyn Fn() -> Loaded>,
    /// Who has started us.
    pub manager: ServiceManager,
}

impl Server {
    /// A server without services. To be made before other descriptors are opened.
    ///
    /// # Errors
    /// When the system has no descriptors.
    pub fn new(options: Options) -> io::Result<Self> {
        let spawner = Spawner::new(options.way)?;
        let facts = Facts::collect()?;
        let poll = Poll::new()?;
        let signals = Signals::new(facts.adopts_orphans)?;
        let token = token::pack(Owner::Signals);
        poll.registry().register(&mut SourceFd(&signals.as_raw_fd()), token, Interest::READABLE)?;
        let max_children = options.max_children.unwrap_or(facts.max_children);
        journal::spawning(
            match spawner.way() {
                Way::Sharing => "sharing",
                Way::Forking => "forking",
            },
            max_children,
        );
        let now = Instant::now();
        Ok(Self {
            poll,
            signals,
            spawner,
            admission: Admission::new(max_children),
            peers: Peers::new(),
            facts,
            zone: local_zone(),
            guard: Guard::new([], ANSWERS_PER_SOURCE),
            services: Slab::new(),
            order: Vec::new(),
            not_served: Vec::new(),
            listeners: Slab::new(),
            children: Slab::new(),
            stderr: Slab::new(),
            conversations: Slab::new(),
            banners: Slab::new(),
            dismissed: VecDeque::new(),
            leftovers: Slab::new(),
            weather: Weather::default(),
            homing: Slab::new(),
            relays: Slab::new(),
            controlling: Controlling::new(),
            upgrading: Upgrading::new(),
            statistics: Statistics::default(),
            born: (unix_time(), now),
            drain: None,
            unwatched: VecDeque::new(),
            lingering: VecDeque::new(),
            resting_services: Vec::new(),
            exhausted: Vec::new(),
            last_exhausted: now.checked_sub(Duration::from_secs(3600)).unwrap_or(now),
            ready: VecDeque::new(),
            ended: Vec::new(),
            timers: Timers::default(),
            scratch: vec![0; SCRATCH],
            now,
            stop: None,
            reloading: Reloading::new(options.reload, now),
            manager: options.manager,
            manager_told_again: None,
            groups: Groups::new(),
            straggling: now,
        })
    }

    /// Serves until told to stop.
    ///
    /// # Errors
    /// When the poll itself fails, which no peer and no program can bring about.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        log_sink::hold();
        // What starting has left.
        kernel::trim_memory();
        kernel::release_code();
        let mut log = None;
        while self.stop.is_none() {
            let timeout = self.timeout(log);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => other?,
            }
            self.turn(&events);
            log = log_sink::flush();
        }
        self.finish();
        log_sink::let_go();
        Ok(())
    }

    /// How long to wait: not at all while something is ready, else until the earliest
    /// deadline; `log` is when lines that wait for their reader are tried again.
    fn timeout(&mut self, log: Option<Duration>) -> Option<Duration> {
        if !self.ready.is_empty() || self.reloading.is_busy() {
            return Some(Duration::ZERO);
        }
        let unwatched = self.unwatched.front().map(|(when, _)| *when);
        let deadline = [self.timers.earliest(), self.admission.next_deadline(), unwatched]
            .into_iter()
            .flatten()
            .min()
            .map(|when| when.saturating_duration_since(Instant::now()));
        let ended = (!self.ended.is_empty()).then_some(ENDED);
        [deadline, self.spawner.patience(), log, ended].into_iter().flatten().min()
    }

    fn turn(&mut self, events: &Events) {
        self.now = Instant::now();
        self.observe();
        let (mut signalled, mut tried) = (false, false);
        let mut reap = !self.ended.is_empty();
        for event in events {
            match token::unpack(event.token()) {
                Some(Owner::Signals) => signalled = true,
                // To settle below is all that it asks for.
                Some(Owner::Spawner) => {}
                Some(Owner::Trial) => tried = true,
                Some(Owner::Child(key)) => reap |= self.end_announced(key),
                Some(Owner::Loader) => self.reloading.announced(),
                Some(owner) => self.queue(owner),
                None => {}
            }
        }
        // First, so that clients whose programs have ended get their end of file.
        self.spawner.settle();
        if signalled {
            self.take_signals();
        }
        if tried {
            self.look_at_trial();
        }
        self.do_what_is_due();
        self.go_on_reloading();
        reap |= signalled || !self.ready.is_empty();
        for _ in 0..self.ready.len() {
            let Some(owner) = self.ready.pop_front() else { break };
            self.spawner.want_wake(self.ready.is_empty());
            self.serve(owner);
        }
        // Most children of this turn have their own table by now.
        self.spawner.settle();
        if reap {
            self.reap_ended();
        }
        self.tell_limits();
        self.stop_if_drained();
        self.upgrade_if_tried();
    }

    /// Puts an owner into the ready queue, once.
    fn queue(&mut self, owner: Owner) {
        let queued = match owner {
            Owner::Listener(key) => {
                if self.event_while_resting(key) {
                    return;
                }
                self.listeners.get_mut(key).map(|listener| &mut listener.queued)
            }
            Owner::Stderr(key) => self.stderr.get_mut(key).map(|stderr| &mut stderr.queued),
            Owner::Conversation(key) => {
                self.conversations.get_mut(key).map(|conversation| &mut conversation.queued)
            }
            Owner::Relay(key) => return self.relay_announced(key, Side::Client),
            Owner::RelayTarget(key) => return self.relay_announced(key, Side::Target),
            Owner::Banner(key) => self.banners.get_mut(key).map(|banner| &mut banner.queued),
            Owner::Door(key) => self.controlling.doors.get_mut(key).map(|door| &mut door.queued),
            Owner::Edge(key) => self.controlling.edges.get_mut(key).map(|edge| &mut edge.queued),
            Owner::Signals | Owner::Spawner | Owner::Loader | Owner::Child(_) | Owner::Trial => {
                None
            }
        };
        if let Some(queued) = queued
            && !*queued
        {
            *queued = true;
            self.ready.push_back(owner);
        }
    }

    fn serve(&mut self, owner: Owner) {
        match owner {
            Owner::Listener(key) => self.serve_listener(key),
            Owner::Stderr(key) => self.read_stderr(key),
            Owner::Conversation(key) => self.converse(key),
            Owner::Relay(key) | Owner::RelayTarget(key) => self.serve_relay(key),
            Owner::Banner(key) => self.go_on_telling(key),
            Owner::Door(key) => self.answer_door(key),
            Owner::Edge(key) => self.serve_edge(key),
            Owner::Signals | Owner::Spawner | Owner::Loader | Owner::Child(_) | Owner::Trial => {}
        }
    }

    fn do_what_is_due(&mut self) {
        self.watch_stderr();
        while let Some(timer) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Open(key) => self.try_to_open(key),
                Timer::Resume(key) => self.resume(key),
                Timer::Idle(key) => self.look_for_silence(key),
                Timer::Connect(key) => self.connect_due(key),
                Timer::Stderr(key) => self.queue(Owner::Stderr(key)),
                Timer::Home(key) => self.look_for_datagrams(key),
                Timer::Child(key) => self.child_ended(key),
                Timer::Groups => self.tidy_groups(),
                Timer::Overdue(key) => self.overdue(key),
                Timer::Group(key) => self.end_group(key),
                Timer::Banner(key) => self.told_for_too_long(key),
                Timer::Refusals(key) => self.tell_refusals(key),
                Timer::Reload => self.reload_overdue(),
                Timer::Door(key) => self.queue(Owner::Door(key)),
                Timer::Edge(key) => self.look_for_silent_edge(key),
                Timer::Drained => self.drained(),
                Timer::Trial => self.look_at_trial(),
                Timer::Watchdog => self.say_alive(),
                Timer::Manager => self.tell_manager_again(),
            }
        }
        if self.admission.next_deadline().is_some_and(|when| when <= self.now) {
            self.admission.expire(self.now);
        }
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.signals.next_signal() {
            match signal {
                Signal::Reload => _ = self.reload(),
                Signal::ListPeers => journal::peers(&self.peers),
                Signal::CountPeers => self.count_peers(),
                Signal::Stop(name) => self.stop = Some(name),
                Signal::ChildEnded => self.reap_orphans(),
            }
        }
    }

    fn count_peers(&self) {
        journal::peer_counts(self.peers.total(), self.peers.running());
    }

    /// Says who the peers are and were, and stops as each service wants it.
    fn finish(&mut self) {
        self.reloading.stop();
        self.reap_ended();
        journal::peers(&self.peers);
        self.count_peers();
        journal::stopping(self.stop.unwrap_or("-"));
        self.give_up_trial();
        self.manager.notifier.stopping();
        for key in self.children.keys() {
            self.stop_child(key);
        }
        self.finish_overdue();
        for key in self.services.keys() {
            self.tell_all_refusals(key);
        }
        // Closes the sockets and unlinks the paths.
        for key in self.listeners.keys() {
            self.close_listener(key);
        }
        // Says of files that are full how many lines they lack.
        log_sink::use_files(std::iter::empty());
        journal::stopped();
    }
}

/// The time zone of the machine, for daytime; UTC if it cannot be told.
fn local_zone() -> Zone {
    Zone::load(std::env::var_os("TZ").as_deref()).unwrap_or_else(|error| {
        journal::trouble("daytime", "time zone", &error);
        Zone::utc()
    })
}
