//! What those who ask are told: the state of the server as data, a portion per turn,
//! so that ten thousand services hold nobody up.

use std::time::Instant;

use std::collections::BTreeMap;

use super::connection::ControlStage;
use super::producer::Producer;
use crate::config::model::{Action, Awaited};
use crate::control::answer::{
    self, PeerStatus, PeersAnswer, Reloaded, ReportedFinding, ServiceStatus, Status,
};
use crate::control::prometheus::{self, FAMILIES, Family, Sample};
use crate::control::statistics::{LastError, Statistics};
use crate::log::sink;
use crate::net::listener::ShownEndpoint;
use crate::reload;
use crate::server::Server;
use crate::server::peers::{Peer, PeerId};
use crate::server::reactor::slab::Key;
use crate::server::reload::ReloadOutcome;
use crate::server::services::Services;
use crate::server::services::counting::Changes;
use crate::server::services::naming::waiting_for;
use crate::server::state::{Rest, ServiceState};

/// What the system sets a limit to: descriptors, processes, memory.
const EXHAUSTED: &str = "exhausted";

/// Services or peers told of in one turn.
const PORTION: usize = 64;

impl Server {
    /// `status`: of everything a portion at a time, of one service at once.
    pub(super) fn answer_status(&mut self, key: Key, service: Option<&str>) {
        let Some(service) = service else {
            return self.answer_services(key, Vec::new());
        };
        let words = match self.services.known(service) {
            Err(refusal) => answer::line(&refusal),
            Ok(found) => {
                let mut all = found.iter().filter_map(|key| {
                    let peers = Some(self.peers_of(*key));
                    Some(ServiceStatus { peers, ..self.service_status(*key)? })
                });
                let first = all.next();
                answer::line(&first.map(|it| ServiceStatus { others: all.collect(), ..it }))
            }
        };
        self.send_answer(key, words);
    }

    /// Everything, after the head of an answer.
    pub(super) fn answer_services(&mut self, key: Key, head: Vec<u8>) {
        let (before, after) = answer::around_services(&self.status());
        self.send_answer(key, [head, before].concat());
        let keys = self.services.order.clone();
        self.control.produce_for(key, Producer::Services { keys, next: 0, after });
    }

    /// `peers`, likewise.
    pub(super) fn answer_peers(&mut self, key: Key, head: Vec<u8>) {
        let answer = PeersAnswer {
            total: self.sessions.peers.total(),
            running: self.sessions.table.len(),
            peers: Vec::new(),
        };
        let mut before = answer::line(&answer);
        before.truncate(before.len().saturating_sub(b"]}\n".len()));
        self.send_answer(key, [head, before].concat());
        self.control.produce_for(key, Producer::Peers { last: None, first: true });
    }

    /// Makes the next portion of an answer.
    pub(super) fn produce(&self, producer: &mut Producer, out: &mut Vec<u8>) {
        let done = match producer {
            Producer::Nothing => true,
            Producer::Services { keys, next, after } => {
                self.more_services(keys, next, out);
                let done = *next >= keys.len();
                out.extend_from_slice(if done { after } else { b"" });
                done
            }
            Producer::Peers { last, first } => {
                let done = self.more_peers(last, first, out);
                out.extend_from_slice(if done { b"]}\n" } else { b"" });
                done
            }
            Producer::Metrics { keys, family, next } => self.more_samples(keys, family, next, out),
        };
        if done {
            *producer = Producer::Nothing;
        }
    }

    fn more_services(&self, keys: &[Key], next: &mut usize, out: &mut Vec<u8>) {
        for key in keys.iter().skip(*next).take(PORTION) {
            // One that a reload has removed meanwhile is left out.
            let Some(status) = self.service_status(*key) else { continue };
            if !out.ends_with(b"[") {
                out.push(b',');
            }
            // Numbers, strings and maps with strings as keys: nothing that JSON lacks.
            let _ = serde_json::to_writer(&mut *out, &status);
        }
        *next = next.saturating_add(PORTION);
    }

    fn more_peers(&self, last: &mut Option<PeerId>, first: &mut bool, out: &mut Vec<u8>) -> bool {
        let mut told = 0;
        for (id, peer) in self.sessions.peers_after(*last, PORTION) {
            if !std::mem::take(first) {
                out.push(b',');
            }
            let _ = serde_json::to_writer(&mut *out, &peer_status(id, &peer, self.reactor.now));
            *last = Some(id);
            told += 1;
        }
        told < PORTION
    }

    fn more_samples(
        &self,
        keys: &[Key],
        family: &mut usize,
        next: &mut usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(which) = FAMILIES.get(*family).copied() else { return true };
        let mut text = String::new();
        if *next == 0 {
            prometheus::heading(which, &mut text);
        }
        for key in keys.iter().skip(*next).take(PORTION) {
            let Some(state) = self.services.all.get(*key) else { continue };
            let address = self.services.addresses_of(state).into_iter().next();
            let sample = Sample {
                service: &state.label,
                address: address.as_deref().unwrap_or(&state.service.label),
                up: !matches!(self.state_of(state), "failed" | "stopped" | "waiting"),
                running: self.admission.running(state.admission),
                waiting: match which {
                    Family::Waiting => self.services.waiting_at(state).unwrap_or_default(),
                    _ => 0,
                },
                statistics: state.statistics.as_deref(),
                certificate_ends: state.service.attributes.front.first_end(),
            };
            prometheus::samples(which, &sample, &mut text);
        }
        out.extend_from_slice(text.as_bytes());
        *next = next.saturating_add(PORTION);
        if *next >= keys.len() {
            (*family, *next) = (family.saturating_add(1), 0);
        }
        *family >= FAMILIES.len()
    }

    /// The server, without its services.
    pub(in crate::server) fn status(&self) -> Status {
        let Statistics { accepted, failed, .. } = self.statistics;
        let not_served = self.services.naming.not_served.iter();
        let reasons = not_served.clone().filter(|one| !one.why.is_empty());
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            state: if self.life.drain.is_announced() { "draining" } else { "serving" }.to_owned(),
            drain_left: self.life.drain.left(self.reactor.now).map(|left| left.as_secs()),
            started: self.life.born.0,
            uptime: self.reactor.now.saturating_duration_since(self.life.born.1).as_secs(),
            running: self.admission.total_running(),
            max_children: self.admission.max_children(),
            conversations: self
                .sessions
                .table
                .builtins()
                .saturating_add(self.sessions.table.relays()),
            lingering: self.sessions.lingering.len(),
            left_behind: self.left_behind(),
            accepted,
            refused: self.statistics.refused_total(),
            failed,
            log_dropped: sink::dropped(),
            log_error: sink::trouble().map(|(time, message)| LastError { time, message }),
            configured: self.reloading.applied,
            reload_refused: self.reloading.refused.clone(),
            limits: self.admission.biting(None).map(str::to_owned).collect(),
            gone: self.gone(),
            front_worker_deaths: self.sessions.workers.died,
            ids: not_served
                .clone()
                .filter_map(|it| Some((it.label.clone(), it.id.clone()?)))
                .collect(),
            not_served: not_served.map(|one| one.label.clone()).collect(),
            reasons: reasons.map(|one| (one.label.clone(), one.why.clone())).collect(),
            services: Vec::new(),
        }
    }

    fn service_status(&self, key: Key) -> Option<ServiceStatus> {
        let state = self.services.all.get(key)?;
        let none = Statistics::default();
        let counted = state.statistics.as_deref().unwrap_or(&none);
        let origin = &state.service.origin;
        let front = state.not_sealed.as_ref();
        let front = front.map(|it| LastError { time: it.time, message: it.message.clone() });
        let words = |counts: &BTreeMap<std::borrow::Cow<'static, str>, u64>| {
            counts.iter().map(|(word, count)| (word.to_string(), *count)).collect()
        };
        Some(ServiceStatus {
            service: state.label.to_string(),
            id: state.service.id.as_deref().map(str::to_owned),
            origin: match origin.line {
                0 => origin.file.to_string(),
                line => format!("{}:{line}", origin.file),
            },
            addresses: self.services.addresses_of(state),
            server: match &state.service.action {
                Action::Program(program) => program.path.display().to_string(),
                Action::Builtin(_) => "internal".to_owned(),
                Action::Relay(_) => "redirect".to_owned(),
            },
            state: self.state_of(state).to_owned(),
            stopped: state.stopped.reason().map(str::to_owned),
            limits: self.limits_of(state),
            waiting: self.services.waiting_at(state),
            running: self.admission.running(state.admission),
            accepted: counted.accepted,
            refused: words(&counted.refused),
            failed: counted.failed,
            exits: words(&counted.exits),
            run_seconds: counted.run_time.sum().as_secs_f64(),
            stderr_dropped: counted.stderr_dropped,
            tls_certificate_expiry: state.service.attributes.front.first_end(),
            last_error: self.services.what_is_wrong(state).or(front).or(counted.last_error.clone()),
            peers: None,
            others: Vec::new(),
        })
    }

    /// What holds clients of a service back, or has them refused.
    fn limits_of(&self, state: &ServiceState) -> Vec<String> {
        let listeners = state.listeners.iter().filter_map(|key| self.services.listeners.get(*key));
        let rests: Vec<Rest> = listeners.map(|listener| listener.rest).collect();
        let lacks = rests.contains(&Rest::Exhausted).then_some(EXHAUSTED);
        // That of all services together, if it may be what this one rests for.
        let rests = rests.contains(&Rest::Limit);
        let is_counted = matches!(state.service.action, Action::Program(_));
        let of_all = self.admission.biting(None).filter(|_| rests && is_counted);
        let own = self.admission.biting(Some(state.admission));
        own.chain(of_all).chain(lacks).map(str::to_owned).collect()
    }

    /// By label, whom services serve that a reload has taken out.
    fn gone(&self) -> BTreeMap<String, u32> {
        let mut gone = BTreeMap::new();
        let sessions = self.sessions.table.iter().map(|(_, session)| &session.client);
        for client in sessions.filter(|it| self.services.all.get(it.service).is_none()) {
            let count: &mut u32 = gone.entry(client.label.to_string()).or_default();
            *count = count.saturating_add(1);
        }
        gone
    }

    /// Whether none of the sockets of a service is open that should be.
    pub(in crate::server) fn is_closed(&self, state: &ServiceState) -> bool {
        matches!(self.state_of(state), "failed" | "waiting")
    }

    fn state_of(&self, state: &ServiceState) -> &'static str {
        if state.stopped.is_so() || self.life.drain.closes() {
            return "stopped";
        }
        if state.service.tcpmux.is_some() {
            return "tcpmux";
        }
        let listeners = state.listeners.iter().filter_map(|key| self.services.listeners.get(*key));
        let open = listeners.filter(|listener| listener.listener.is_some());
        let rests: Vec<Rest> = open.map(|listener| listener.rest).collect();
        let waits = state.service.missing_names().next().is_some();
        if rests.is_empty() && waits {
            "waiting"
        } else if rests.is_empty() {
            "failed"
        } else if rests.contains(&Rest::Program) {
            "busy"
        } else if rests.contains(&Rest::Backoff) {
            "backoff"
        } else if rests.iter().any(|rest| *rest != Rest::No) {
            "resting"
        } else if self.services.what_is_wrong(state).is_some() {
            "partial"
        } else {
            "listening"
        }
    }

    fn peers_of(&self, key: Key) -> Vec<PeerStatus> {
        let peers = self.sessions.table.peers_of(key);
        peers.map(|(id, peer)| peer_status(id, &peer, self.reactor.now)).collect()
    }

    /// Tells everybody who has come to a certain stage.
    pub(in crate::server) fn answer_those(
        &mut self,
        wanted: impl Fn(ControlStage) -> bool,
        words: &[u8],
    ) {
        let control_connections =
            self.control.connections.iter().filter(|(_, connection)| wanted(connection.stage));
        let keys: Vec<Key> = control_connections.map(|(key, _)| key).collect();
        for key in keys {
            self.send_answer(key, words.to_vec());
        }
    }
}

impl Services {
    fn addresses_of(&self, state: &ServiceState) -> Vec<String> {
        let listeners = state.listeners.iter().filter_map(|key| self.listeners.get(*key));
        let shown = listeners.map(|listener| match &listener.listener {
            Some(open) => open.address().to_string(),
            None => ShownEndpoint(&listener.spec.endpoint).to_string(),
        });
        shown.chain(state.service.awaited.iter().map(awaited_address)).collect()
    }

    /// How many clients wait at sockets from which nobody is taken now, where the system says it.
    fn waiting_at(&self, state: &ServiceState) -> Option<u32> {
        let listeners = state.listeners.iter().filter_map(|key| self.listeners.get(*key));
        let resting = listeners.filter(|listener| listener.rest != Rest::No);
        let waiting = resting.filter_map(|listener| listener.listener.as_ref()?.waiting());
        waiting.reduce(u32::saturating_add)
    }

    /// Why a socket of a service is not open.
    fn what_is_wrong(&self, state: &ServiceState) -> Option<LastError> {
        let mut listeners = state.listeners.iter().filter_map(|key| self.listeners.get(*key));
        let closed = listeners.find_map(|it| Some((it, it.last_error.as_ref()?)));
        let socket = closed.map(|(it, LastError { time, message })| {
            let message = format!("{}: {message}", ShownEndpoint(&it.spec.endpoint));
            LastError { time: *time, message }
        });
        socket.or_else(|| {
            let name = state.service.missing_names().next().filter(|_| !state.stopped.is_so())?;
            Some(LastError { time: state.since, message: waiting_for(name) })
        })
    }
}

fn peer_status(id: PeerId, peer: &Peer, now: Instant) -> PeerStatus {
    let age = now.saturating_duration_since(peer.since).as_secs_f64();
    PeerStatus {
        n: id.number(),
        address: peer.address.to_string(),
        service: peer.service.to_string(),
        pid: peer.pid,
        state: if peer.running { "running" } else { "ended" }.to_owned(),
        age: peer.running.then_some(age),
        tls: peer.encryption.clone(),
    }
}

/// What has come of a reload, as it is told.
pub(in crate::server) fn answer_of(outcome: &ReloadOutcome) -> Reloaded {
    let finding = |finding: &reload::LoadedFinding| ReportedFinding {
        severity: finding.severity.name().to_owned(),
        text: finding.rendered.clone(),
    };
    let diagnostics = outcome.findings.iter().map(finding).collect();
    match outcome.result {
        Ok(Changes { kept, opened, closed, updated }) => {
            Reloaded { reloaded: true, reason: None, diagnostics, kept, opened, closed, updated }
        }
        Err(_) => Reloaded { diagnostics, ..Reloaded::default() },
    }
}

/// Where a service will be reached when a name is known.
pub(super) fn awaited_address(awaited: &Awaited) -> String {
    match awaited.ports {
        (first, last) if first < last => format!("{}:{first}-{last}", awaited.name),
        (port, _) => format!("{}:{port}", awaited.name),
    }
}
