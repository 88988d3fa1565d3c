//! The server while it runs: one thread, one poll, one turn after the other.
//!
//! | room or file | what it does |
//! |---|---|
//! | [`reactor`] | what can happen, and when. It does not know what an event means |
//! | [`services`] | services and their listeners: opened, paused, lent to programs, changed by a reload |
//! | [`sessions`] | clients that are served without a program, and what clients are told before and after one |
//! | [`programs`] | programs: started, watched, ended and reaped, and what they leave behind |
//! | [`control`] | those who ask about the server, and what they tell it to do |
//! | [`upgrade`] | the program on disk goes on in the place of this one |
//! | [`host_info`] | what the server is and may do, found once |
//! | [`idle`] | memory, when nobody has come for a while |
//! | [`idle_exit`] | the end, when nobody has been here for long |
//! | [`peers`] | everybody who is here, and the last who were |
//! | [`reload`] | a reload from the signal to its end |
//! | [`state`] | what is known of services, listeners, children, conversations |
//! | [`stopping`] | draining, and the end |
//! | [`turning`] | the turn of the loop |

pub(crate) mod control;
mod host_info;
mod idle;
mod idle_exit;
pub(crate) mod peers;
pub(crate) mod programs;
pub(crate) mod reactor;
mod reload;
pub(crate) mod services;
pub(crate) mod sessions;
mod state;
mod stopping;
mod turning;
pub(crate) mod upgrade;

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Poll};

use crate::admission::Admission;
use crate::builtin::Guard;
use crate::config::Loaded;
use crate::config::lookup::Manner;
use crate::control::statistics::Statistics;
use crate::log::events;
use crate::spawn::sandbox::cgroup::Cgroups;
use crate::spawn::{Spawner, Way};
use crate::sys::descriptor::of;
use crate::sys::signals::Signals;
use crate::sys::zone::Zone;
use crate::systemd::ServiceManager;
use control::connection::Controlling;
use control::render::unix_time;
pub(crate) use host_info::HostInfo;
use idle::Quiet;
use idle_exit::Leaving;
use peers::Peers;
use programs::exit_notifier::ExitNotifier;
use programs::leftovers::Left;
pub(crate) use programs::outliving::read_for_others;
use programs::terminating::ServerEnding;
use reactor::slab::{Key, Slab};
use reactor::timers::Timers;
use reactor::token::Owner;
use reactor::wake_up::Alarm;
use reload::Reloading;
use services::conditions::Conditions;
use services::entries::Entries;
use services::naming::Naming;
use services::occupied::Occupied;
use services::per_peer::PendingPeer;
use services::quota::Quota;
use services::reserve::Room;
use services::straying::PeerSocket;
use sessions::banners::BannerState;
use sessions::closing::Closing;
use sessions::connecting::Connecting;
use sessions::holding::Holding;
use sessions::relay::RelayState;
use state::{Child, ConversationState, ListenerState, ServiceState, StderrState};
use stopping::Drain;
use upgrade::preflight::Upgrading;
pub(crate) use upgrade::restore::{examine, may_follow, nothing_more, served};

/// Bytes read from or written to a socket in one call by the built-in services.
const SCRATCH: usize = 128 * 1024;

/// What the server is made of; see the files for what they do with it.
pub(crate) struct Server {
    poll: Poll,
    alarm: Alarm,
    ends: ExitNotifier,
    signals: Signals,
    spawner: Spawner,
    admission: Admission,
    peers: Peers,
    facts: HostInfo,
    room: Room,
    zone: Zone,
    guard: Guard,
    services: Slab<ServiceState>,
    entries: Entries,
    /// In the order of the file.
    order: Vec<Key>,
    naming: Naming,
    listeners: Slab<ListenerState>,
    children: Slab<Child>,
    stderr: Slab<StderrState>,
    conversations: Slab<ConversationState>,
    banners: Slab<BannerState>,
    closing: Closing,
    /// What is left of programs that ran for too long, or are to leave nothing behind.
    leftovers: Left,
    weather: Conditions,
    homing: Slab<PendingPeer>,
    /// Sockets of programs per peer that have made them others'.
    strays: Slab<PeerSocket>,
    occupied: Occupied,
    holding: Holding,
    relays: Slab<RelayState>,
    connecting: Connecting,
    controlling: Controlling,
    upgrading: Upgrading,
    /// Of all services since the start.
    statistics: Statistics,
    /// When it started, by both clocks.
    born: (u64, Instant),
    /// Set once nobody is let in any more.
    drain: Drain,
    leaving: Leaving,
    quota: Quota,
    /// Programs in their first milliseconds, which are not polled yet.
    young: Vec<Key>,
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
    /// When those are reaped, and the young ones looked at.
    tidy_by: Option<Instant>,
    quiet: Quiet,
    timers: Timers,
    scratch: Vec<u8>,
    now: Instant,
    stop: Option<&'static str>,
    ending: ServerEnding,
    reloading: Reloading,
    manager: ServiceManager,
    /// When it is told again what it had no room for.
    manager_told_again: Option<Instant>,
    /// Last, so that it goes when everybody who has a group has gone.
    groups: Cgroups,
    /// When it is tried again to remove some of them, and after how long.
    straggling: (Instant, Duration),
}

/// How a server is to be made.
pub(crate) struct Options {
    /// How programs are started.
    pub way: Way,
    /// Programs of all services at once; None is what the machine allows.
    pub max_children: Option<u32>,
    /// After how long without anybody the server ends.
    pub idle_exit: Option<Duration>,
    /// It ends when its services have stopped by themselves and nobody is served.
    pub only_one: bool,
    /// Reads the configuration again; called in a process of its own.
    pub reload: Box<dyn Fn(Manner) -> Loaded>,
    /// Who has started us.
    pub manager: ServiceManager,
}

impl Server {
    /// A server without services. To be made before other descriptors are opened.
    ///
    /// # Errors
    /// When the system has no descriptors.
    pub(crate) fn new(options: Options) -> io::Result<Self> {
        let (spawner, facts, poll) = ground(options.way)?;
        let (alarm, signals, ends) = watched(&poll, facts.told_of_ends)?;
        let (most, now) = (options.max_children.unwrap_or(facts.max_children), Instant::now());
        Ok(Self {
            poll,
            alarm,
            ends,
            signals,
            spawner,
            admission: Admission::new(most),
            peers: Peers::new(),
            facts,
            room: Room::new(options.max_children),
            zone: local_zone(),
            guard: Guard::default(),
            services: Slab::new(),
            entries: Entries::default(),
            order: Vec::new(),
            naming: Naming::default(),
            listeners: Slab::new(),
            children: Slab::new(),
            stderr: Slab::new(),
            conversations: Slab::new(),
            banners: Slab::new(),
            closing: Closing::default(),
            leftovers: Left::default(),
            weather: Conditions::default(),
            homing: Slab::new(),
            strays: Slab::new(),
            occupied: Occupied::default(),
            holding: Holding::default(),
            relays: Slab::new(),
            connecting: Connecting::new(),
            controlling: Controlling::new(),
            upgrading: Upgrading::new(),
            statistics: Statistics::default(),
            born: (unix_time(), now),
            drain: None,
            leaving: Leaving::new(options.idle_exit, now),
            quota: Quota::new(options.only_one),
            young: Vec::new(),
            lingering: VecDeque::new(),
            resting_services: Vec::new(),
            exhausted: Vec::new(),
            last_exhausted: now.checked_sub(Duration::from_secs(3600)).unwrap_or(now),
            ready: VecDeque::new(),
            ended: Vec::new(),
            tidy_by: None,
            quiet: Quiet::default(),
            timers: Timers::default(),
            scratch: vec![0; SCRATCH],
            now,
            stop: None,
            ending: ServerEnding::No,
            reloading: Reloading::new(options.reload, now),
            manager: options.manager,
            manager_told_again: None,
            groups: Cgroups::new(),
            straggling: (now, Duration::ZERO),
        })
    }
}

/// What wakes the loop beside those whom it serves.
fn watched(poll: &Poll, told_of_ends: bool) -> io::Result<(Alarm, Signals, ExitNotifier)> {
    let alarm = Alarm::new(poll.registry())?;
    let signals = watched_signals(poll, told_of_ends)?;
    Ok((alarm, signals, ExitNotifier::new(poll.registry(), told_of_ends)?))
}

fn watched_signals(poll: &Poll, told_of_ends: bool) -> io::Result<Signals> {
    let signals = Signals::new(told_of_ends).map_err(of("signalfd4, for signals"))?;
    let token = reactor::token::pack(Owner::Signals);
    poll.registry().register(&mut SourceFd(&signals.as_raw_fd()), token, Interest::READABLE)?;
    Ok(signals)
}

/// What all else stands on.
fn ground(way: Way) -> io::Result<(Spawner, HostInfo, Poll)> {
    let poll = Poll::new().map_err(of("epoll_create1, to wait for clients with"));
    Ok((Spawner::new(way)?, HostInfo::collect()?, poll?))
}

/// The time zone of the machine, for daytime; UTC if it cannot be told.
fn local_zone() -> Zone {
    Zone::load(std::env::var_os("TZ").as_deref()).unwrap_or_else(|error| {
        events::trouble("daytime", "timezone", &error);
        Zone::utc()
    })
}
