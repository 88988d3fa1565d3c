//! Whoever is served has one entry in one table, from his beginning to his end.

mod turns;

use std::collections::HashSet;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::builtin::BuiltinStage;
use super::departing::{ClientLeft, FrontedClient};
use super::idling::IDLE;
use super::relay::RelayStage;
use crate::admission::Permit;
use crate::config::model::LogOnSuccess;
use crate::log::events::{self, End as ProgramEnd, Label};
use crate::net::address::Address;
use crate::net::fronted::Encryption;
use crate::server::peers::{Peer, PeerId};
use crate::server::reactor::slab::{Key, Slab};
use crate::server::services::reserve::ServedClient;
use crate::server::services::shares::Shares;
use crate::server::state::ProgramStage;
use crate::server::upgrade::places::{OfServices, Placed as _};
use crate::spawn::Failure;
use crate::upgrade::moment;

/// Who it is. An upgrade hands him over as he is here.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::server) struct Client {
    /// The service that has admitted him, which a reload may have replaced or removed.
    #[serde(with = "OfServices")]
    pub(in crate::server) service: Key,
    pub(in crate::server) label: Label,
    /// What is logged of him.
    pub(in crate::server) log: LogOnSuccess,
    /// None before it is known by what he is counted after an upgrade.
    #[serde(skip)]
    pub(in crate::server) permit: Option<Permit>,
    pub(in crate::server) peer: Address,
    pub(in crate::server) peer_id: PeerId,
    /// The number under which a worker has him, which is known after an upgrade by how he is served.
    #[serde(skip)]
    pub(in crate::server) front: Option<u64>,
    /// How his connection is encrypted, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::server) encryption: Option<Box<Encryption>>,
    #[serde(rename = "started", with = "moment")]
    pub(in crate::server) since: Instant,
}

impl Client {
    /// His program is ended since nothing has moved for too long.
    pub(in crate::server) fn log_idle(&self, pid: i32) {
        events::timeout(&self.label, self.peer, pid, ("TERM", Some(IDLE)), self.log);
    }
}

/// Who it is, and how he is served.
#[derive(Debug)]
pub(in crate::server) struct Session {
    pub(in crate::server) client: Client,
    pub(in crate::server) stage: SessionStage,
}

/// How somebody is served.
#[derive(Debug)]
pub(in crate::server) enum SessionStage {
    /// By a built-in service.
    Builtin(BuiltinStage),
    /// By another server.
    Relay(Box<RelayStage>),
    /// By a program.
    Program(Box<ProgramStage>),
}

impl SessionStage {
    /// What of the room for clients of the server itself is held for him.
    fn holds(&self) -> Option<ServedClient> {
        match self {
            Self::Builtin(_) => Some(ServedClient::Conversation),
            Self::Relay(_) => Some(ServedClient::Relay),
            Self::Program(_) => None,
        }
    }

    /// Whoever is served, if a worker may have him.
    fn front(&self) -> Option<&FrontedClient> {
        match self {
            Self::Builtin(builtin) => builtin.front.as_deref(),
            Self::Relay(relay) => relay.front.as_deref(),
            Self::Program(program) => Some(&program.front),
        }
    }

    /// The same, to be changed.
    fn front_mut(&mut self) -> Option<&mut FrontedClient> {
        match self {
            Self::Builtin(builtin) => builtin.front.as_deref_mut(),
            Self::Relay(relay) => relay.front.as_deref_mut(),
            Self::Program(program) => Some(&mut program.front),
        }
    }

    /// Whether whoever is served by the server itself has closed his connection altogether, or
    /// both sides have ended.
    fn is_hung_up(&self) -> bool {
        match self {
            Self::Builtin(builtin) => builtin.stream.is_hung_up(),
            Self::Relay(relay) => relay.client.is_gone(),
            Self::Program(_) => false,
        }
    }
}

/// How a session has ended.
pub(in crate::server) enum SessionEnd<'a> {
    /// As it should, or for this reason; and this is how its client had left, if otherwise than it
    /// should.
    Closed(&'a str, ClientLeft),
    /// At this step.
    Failed(&'static str, &'a dyn Display),
    /// The program of this number did, and this is how its client had left it if otherwise than
    /// it should; or what should have become it did: at which step, and what could not be
    /// executed.
    Ended(i32, (ProgramEnd, ClientLeft), Option<(Failure, Option<PathBuf>)>),
}

/// All sessions, how many are at which stage, and what they have of the room for them.
#[derive(Debug)]
pub(in crate::server) struct SessionTable {
    all: Slab<Session>,
    /// In the order in which they came.
    order: BTreeMap<PeerId, Key>,
    /// Those whom a worker has, by its number.
    fronted: HashMap<u64, Key>,
    builtins: usize,
    relays: usize,
    pub(in crate::server) shares: Shares,
}

impl SessionTable {
    pub(super) fn new() -> Self {
        Self {
            all: Slab::new(),
            order: BTreeMap::new(),
            fronted: HashMap::new(),
            builtins: 0,
            relays: 0,
            shares: Shares::default(),
        }
    }

    pub(in crate::server) fn insert(&mut self, client: Client, stage: SessionStage) -> Key {
        if let Some(held) = stage.holds() {
            self.shares.take(client.service, client.peer, held);
        }
        if let Some(count) = self.count_of(&stage) {
            *count = count.saturating_add(1);
        }
        let peer_id = client.peer_id;
        let front = stage.front().and_then(|client| client.number);
        let client = Client { front, ..client };
        let key = self.all.insert(Session { client, stage });
        self.order.insert(peer_id, key);
        self.fronted.extend(front.map(|number| (number, key)));
        key
    }

    pub(in crate::server) fn remove(&mut self, key: Key) -> Option<Session> {
        let Some(session) = self.all.remove(key) else {
            debug_assert!(false, "a session has ended twice");
            return None;
        };
        let Session { client, stage } = &session;
        self.order.remove(&client.peer_id);
        if let Some(number) = stage.front().and_then(|client| client.number) {
            self.fronted.remove(&number);
        }
        if let Some(held) = stage.holds() {
            self.shares.give_back(client.service, client.peer, held);
        }
        if let Some(count) = self.count_of(stage) {
            *count = count.saturating_sub(1);
        }
        Some(session)
    }

    /// Whoever has been admitted by the one service belongs to the other.
    pub(in crate::server) fn move_to(&mut self, service: Key, before: Key) {
        let shares = &mut self.shares;
        self.all.each(|Session { client, stage }| {
            if client.service != before {
                return;
            }
            if let Some(held) = stage.holds() {
                shares.give_back(before, client.peer, held);
                shares.take(service, client.peer, held);
            }
            client.service = service;
        });
    }

    fn count_of(&mut self, stage: &SessionStage) -> Option<&mut usize> {
        match stage {
            SessionStage::Builtin(_) => Some(&mut self.builtins),
            SessionStage::Relay(_) => Some(&mut self.relays),
            SessionStage::Program(_) => None,
        }
    }

    pub(in crate::server) fn builtins(&self) -> usize {
        self.builtins
    }

    pub(in crate::server) fn relays(&self) -> usize {
        self.relays
    }

    pub(in crate::server) fn programs(&self) -> usize {
        self.all.len().saturating_sub(self.builtins).saturating_sub(self.relays)
    }

    /// Changes each.
    pub(in crate::server) fn each(&mut self, change: impl FnMut(&mut Session)) {
        self.all.each(change);
    }

    /// Whoever belongs to a service, in the order in which they came.
    pub(in crate::server) fn peers_of(&self, service: Key) -> impl Iterator<Item = (PeerId, Peer)> {
        let all = self.order.iter().filter_map(|(id, key)| Some((*id, self.all.get(*key)?)));
        let its = all.filter(move |(_, session)| session.client.service == service);
        its.map(|(id, session)| (id, session.peer()))
    }

    /// One that a built-in service serves, if he is still here.
    pub(in crate::server) fn builtin(&mut self, key: Key) -> Option<&mut BuiltinStage> {
        match &mut self.all.get_mut(key)?.stage {
            SessionStage::Builtin(builtin) => Some(builtin),
            SessionStage::Relay(_) | SessionStage::Program(_) => None,
        }
    }

    /// One that another server serves, if he is still here.
    pub(in crate::server) fn relay(&mut self, key: Key) -> Option<&mut RelayStage> {
        match &mut self.all.get_mut(key)?.stage {
            SessionStage::Relay(relay) => Some(relay),
            SessionStage::Builtin(_) | SessionStage::Program(_) => None,
        }
    }

    /// One that a program serves which has not been reaped.
    pub(in crate::server) fn program(&self, key: Key) -> Option<&ProgramStage> {
        self.all.get(key)?.program()
    }

    /// Whoever is served and some worker has under this number.
    pub(in crate::server) fn fronted(&self, number: u64) -> Option<Key> {
        self.fronted.get(&number).copied()
    }

    /// One who is served, as far as a worker may have him.
    pub(in crate::server) fn front_mut(&mut self, key: Key) -> Option<&mut FrontedClient> {
        self.all.get_mut(key)?.stage.front_mut()
    }

    /// Whether whoever the server itself serves has closed his connection altogether.
    pub(super) fn is_hung_up(&self, key: Key) -> bool {
        self.all.get(key).is_some_and(|session| session.stage.is_hung_up())
    }

    /// A program, to be changed.
    pub(in crate::server) fn program_mut(
        &mut self,
        key: Key,
    ) -> Option<(&mut Client, &mut ProgramStage)> {
        let Session { client, stage: SessionStage::Program(program) } = self.all.get_mut(key)?
        else {
            return None;
        };
        Some((client, program))
    }

    /// All programs.
    pub(in crate::server) fn each_program(
        &self,
    ) -> impl Iterator<Item = (Key, &Client, &ProgramStage)> {
        let all = self.all.iter();
        all.filter_map(|(key, session)| Some((key, &session.client, session.program()?)))
    }

    /// Those programs of which this holds.
    pub(in crate::server) fn programs_that(
        &self,
        wanted: impl Fn(&Client, &ProgramStage) -> bool,
    ) -> Vec<Key> {
        let those = self.each_program().filter(|(_, client, program)| wanted(client, program));
        those.map(|(key, ..)| key).collect()
    }

    /// The program that has this socket has it no more: what is opened in its place is not to
    /// be taken back when that program ends.
    pub(in crate::server) fn forget_holder(&mut self, key: Key) {
        self.each(|session| {
            if let SessionStage::Program(child) = &mut session.stage {
                child.listener = child.listener.filter(|held| *held != key);
            }
        });
    }

    pub(in crate::server) fn without_programs(&self, pids: &mut HashSet<i32>) {
        for (.., child) in self.each_program() {
            pids.remove(&child.pid);
        }
    }
}

/// To be looked at.
impl Deref for SessionTable {
    type Target = Slab<Session>;

    fn deref(&self) -> &Slab<Session> {
        &self.all
    }
}

impl Session {
    /// As the list of peers has him.
    fn peer(&self) -> Peer {
        let Client { ref label, peer: address, ref encryption, since, .. } = self.client;
        let pid = self.program().and_then(|program| u32::try_from(program.pid).ok());
        let encryption = encryption.clone();
        Peer { address, service: label.name(), pid, running: true, since, encryption }
    }

    /// If a program serves him.
    pub(in crate::server) fn program(&self) -> Option<&ProgramStage> {
        match &self.stage {
            SessionStage::Program(program) => Some(program),
            SessionStage::Builtin(_) | SessionStage::Relay(_) => None,
        }
    }
}
