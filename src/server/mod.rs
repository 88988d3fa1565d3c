//! The server while it runs: one thread, one poll, one turn after the other.
//!
//! | room or file | what it does |
//! |---|---|
//! | [`reactor`] | what can happen, and when. It does not know what an event means |
//! | [`services`] | services and their listeners: opened, paused, lent to programs, changed by a reload |
//! | [`sessions`] | whoever is served, and what clients are told before and after that |
//! | [`programs`] | programs: started, watched, ended and reaped, and what they leave behind |
//! | [`control`] | those who ask about the server, and what they tell it to do |
//! | [`upgrade`] | the program on disk goes on in the place of this one |
//! | [`host_info`] | what the server is and may do, found once |
//! | [`idle`] | memory, when nobody has come for a while |
//! | [`idle_exit`] | the end, when nobody has been here for long |
//! | [`peers`] | everybody who is here, and the last who were |
//! | [`reload`] | a reload from the signal to its end |
//! | [`state`] | what is known of services, listeners, programs |
//! | [`stopping`] | draining, and the end |
//! | [`turning`] | the turn of the loop |
//!
//! A part stands in a file that knows nothing of the server: its data, and what it can do by
//! itself or with the reactor. What the server does with it in its turns, which takes other parts
//! too, stands in `turns` below that file. So whoever looks for what there is reads the one, for
//! what happens the other, and no file leads back to itself.

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

use std::io;
use std::time::{Duration, Instant};

use crate::admission::Admission;
use crate::config::Loaded;
use crate::config::lookup::Manner;
use crate::control::statistics::Statistics;
use crate::log::events;
use crate::spawn::{Spawner, Way};
use crate::sys::calendar::unix_time;
use crate::sys::zone::Zone;
use crate::systemd::ServiceManager;
use control::connection::ControlSockets;
pub(crate) use host_info::HostInfo;
use idle::IdleMemory;
use idle_exit::IdleExit;
use programs::Programs;
pub(crate) use programs::outliving::read_for_others;
use reactor::Reactor;
use reload::Reloading;
use services::Services;
use services::quota::Quota;
use sessions::Sessions;
use stopping::{DrainState, ServerEnding};
pub(crate) use upgrade::examining::{examine, may_follow, nothing_more, served};
use upgrade::preflight::Upgrading;

/// What the server is made of: parts that own their fields.
pub(crate) struct Server {
    reactor: Reactor,
    services: Services,
    sessions: Sessions,
    admission: Admission,
    facts: HostInfo,
    zone: Zone,
    /// Of all services since the start.
    statistics: Statistics,
    control: ControlSockets,
    reloading: Reloading,
    upgrading: Upgrading,
    manager: ServiceManager,
    /// When it is told again what it had no room for.
    manager_retry: Option<Instant>,
    life: Life,
    /// Last, since the groups of processes go when everybody who has one has gone.
    programs: Programs,
}

/// From the start of the server to its end.
struct Life {
    /// When it started, by both clocks.
    born: (u64, Instant),
    /// Set once nobody is let in any more.
    drain: DrainState,
    idle_exit: IdleExit,
    stop: Option<&'static str>,
    ending: ServerEnding,
    quiet: IdleMemory,
}

/// How a server is to be made.
pub(crate) struct ServerOptions {
    /// How programs are started.
    pub way: Way,
    /// Programs of all services at once; None is what the machine allows.
    pub max_children: Option<u32>,
    /// Processes in front of services; None is what the machine allows.
    pub front_workers: Option<usize>,
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
    pub(crate) fn new(options: ServerOptions) -> io::Result<Self> {
        // The first descriptors are the spawner's.
        let (spawner, facts, now) =
            (Spawner::new(options.way)?, HostInfo::collect()?, Instant::now());
        let reactor = Reactor::new(facts.sees_every_end, now)?;
        let programs = Programs::new(spawner, &reactor, facts.sees_every_end)?;
        let most = options.max_children.unwrap_or(facts.max_children);
        Ok(Self {
            reactor,
            services: Services::new(options.max_children, Quota::new(options.only_one), now),
            sessions: Sessions::new(options.front_workers),
            admission: Admission::new(most),
            facts,
            zone: local_zone(),
            statistics: Statistics::default(),
            control: ControlSockets::new(),
            reloading: Reloading::new(options.reload, now),
            upgrading: Upgrading::new(),
            manager: options.manager,
            manager_retry: None,
            life: Life {
                born: (unix_time(), now),
                drain: DrainState::No,
                idle_exit: IdleExit::new(options.idle_exit, now),
                stop: None,
                ending: ServerEnding::No,
                quiet: IdleMemory::default(),
            },
            programs,
        })
    }
}

impl Life {
    /// A signal, or somebody who asks, has told the server to stop.
    pub(in crate::server) fn stop_for_reason(&mut self, reason: &'static str) {
        if self.stop.replace(reason).is_some() {
            self.ending = ServerEnding::AtOnce;
        }
    }
}

/// The time zone of the machine, for daytime; UTC if it cannot be told.
fn local_zone() -> Zone {
    Zone::load(std::env::var_os("TZ").as_deref()).unwrap_or_else(|error| {
        events::trouble("daytime", "timezone", &error);
        Zone::utc()
    })
}
