//! The loop itself, one turn after the other.
//!
//! A turn: wait for events or the earliest deadline; whoever waits for a place has those of
//! the children that have ended; signals; what is due; then the ready queue, each entry with a
//! bounded amount of work, so that nobody waits for a busy neighbour; at the end the other
//! children are reaped and the log is written. Nothing in it blocks.

use std::io;
use std::time::{Duration, Instant};

use mio::Events;

use super::Server;
use super::programs::watching::{MOMENT, Tidy, at_latest};
use super::reactor::timers::Timer;
use super::reactor::token::{self, Owner};
use crate::builtin::relay::Side;
use crate::log::sink::{self, Backlog};
use crate::sys::signals::Signal;

/// Events taken from the system at once; more come with the next turn.
const EVENTS: usize = 1024;

impl Server {
    /// Serves until told to stop.
    ///
    /// # Errors
    /// When the poll itself fails, which no peer and no program can bring about.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        sink::hold();
        self.start_idle_exit();
        // What starting has left.
        self.give_memory_back();
        // When lines that wait for their reader are tried again; those of the start may.
        let mut log = flush_log();
        while self.goes_on() {
            let timeout = self.timeout(log);
            self.reactor.wait(&mut events, timeout)?;
            let reaped = self.turn(&events);
            log = match sink::backlog() {
                Backlog::Nothing => None,
                Backlog::Few if !reaped && log.is_none() => Some(self.reactor.now + MOMENT),
                Backlog::Few if !reaped && log.is_some_and(|when| when > self.reactor.now) => log,
                Backlog::Few | Backlog::Many => flush_log(),
            };
        }
        self.stop_serving();
        self.sessions.workers.wake_all();
        self.leave_reader();
        sink::let_go();
        self.log_end();
        Ok(())
    }

    /// How long to wait: not at all while something is ready, else until the earliest
    /// deadline, of which the alarm tells.
    fn timeout(&mut self, log: Option<Instant>) -> Option<Duration> {
        if !self.reactor.ready.is_empty() || self.reloading.is_busy() || self.has_names_to_apply() {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.reactor.timers.earliest(),
            self.admission.next_deadline(),
            self.programs.tidy_by.map(at_latest),
            log.map(at_latest),
        ];
        self.reactor.wake_up.timeout(deadlines.into_iter().flatten().min())
    }

    /// True if the log is to be written now, with what is told of programs that have been
    /// looked at because it was time. What else there is waits for a moment, and others with
    /// it: whoever comes next does not wait for its writing.
    fn turn(&mut self, events: &Events) -> bool {
        self.observe();
        self.note_presence();
        let (mut signalled, mut tried, mut reap, mut ended) = (false, false, false, false);
        for event in events {
            let owner = token::unpack(event.token());
            if owner == Some(Owner::WakeUpTimer) {
                self.reactor.wake_up.went_off();
                continue;
            }
            self.note_activity();
            match owner {
                Some(Owner::Signals) => signalled = true,
                Some(Owner::Trial) => tried = true,
                Some(Owner::Child(key)) => reap |= self.end_announced(key),
                Some(Owner::Ends) => ended |= self.some_end_announced(),
                Some(Owner::PeerSocket(key)) => {
                    self.sessions.look_at_peer_socket(key, &mut self.reactor);
                }
                Some(Owner::Stray(key)) => self.sessions.look_at_stray(key),
                Some(Owner::Loader) => self.reloading.announced(),
                Some(Owner::Seeker) => self.services.naming.announced(),
                Some(owner) => self.announced(owner),
                None => {}
            }
        }
        self.make_places();
        if signalled {
            self.tidy(Tidy::Everything);
            self.take_signals();
        }
        if tried {
            self.look_at_trial();
        }
        self.do_what_is_due();
        self.go_on_reloading();
        self.let_in();
        self.go_on_naming();
        for _ in 0..self.reactor.ready.len() {
            let Some(owner) = self.reactor.ready.pop() else { break };
            self.serve(owner);
        }
        reap |= self.programs.tidy_by.is_some_and(|when| when <= self.reactor.now);
        if reap || ended {
            self.tidy(Tidy::WhatIsDue);
        }
        self.close_what_ended();
        self.let_in();
        self.make_ready();
        self.log_limits();
        self.stop_spent();
        self.note_presence();
        self.stop_if_drained();
        self.upgrade_if_tried();
        reap
    }

    /// Something has happened to this one.
    fn announced(&mut self, owner: Owner) {
        match owner {
            Owner::Listener(key) => {
                self.life.idle_exit.last = self.reactor.now;
                if !self.services.event_while_resting(key, &mut self.reactor) {
                    self.reactor.ready.push(owner);
                }
            }
            Owner::Relay(key) => {
                self.sessions.table.relay_announced(key, Side::Client, &mut self.reactor);
            }
            Owner::RelayTarget(key) => {
                self.sessions.table.relay_announced(key, Side::Target, &mut self.reactor);
            }
            _ => self.reactor.ready.push(owner),
        }
    }

    fn serve(&mut self, owner: Owner) {
        match owner {
            Owner::Listener(key) => self.serve_listener(key),
            Owner::Stderr(key) => self.read_stderr(key),
            Owner::Conversation(key) => self.serve_builtin(key),
            Owner::Relay(key) | Owner::RelayTarget(key) => self.serve_relay(key),
            Owner::Banner(key) => self.serve_banner(key),
            Owner::ControlListener(key) => self.accept_control_connections(key),
            Owner::ControlConnection(key) => self.serve_control_connection(key),
            Owner::Connector(key) => self.serve_connector(key),
            Owner::Worker(key) => self.serve_worker(key),
            Owner::Newcomer(key) => self.listen_to_newcomer(key),
            Owner::Signals
            | Owner::Loader
            | Owner::Seeker
            | Owner::Child(_)
            | Owner::PeerSocket(_)
            | Owner::Stray(_)
            | Owner::Trial
            | Owner::WakeUpTimer
            | Owner::Ends => {}
        }
    }

    fn do_what_is_due(&mut self) {
        while let Some(timer) = self.reactor.timers.pop_due(self.reactor.now) {
            match timer {
                Timer::Open(key) => self.try_to_open(key),
                Timer::Resume(key) => self.services.resume(key, &mut self.reactor),
                Timer::Idle(key) => self.look_for_silence(key),
                Timer::Connect(key) => self.connect_due(key),
                Timer::Connectors => self.look_at_connectors(),
                Timer::Workers => self.look_at_workers(),
                Timer::Signs => self.look_for_signs(),
                Timer::Front(number) => self.front_overdue(number),
                Timer::Tickets => self.rotate_tickets(),
                Timer::Stderr(key) => self.reactor.ready.push(Owner::Stderr(key)),
                Timer::Deliver(key) => self.look_for_datagrams(key),
                Timer::Child(key) => self.look_at_child(key),
                Timer::Groups => self.programs.tidy_groups_again(&mut self.reactor),
                Timer::Spares => self.programs.look_at_spares(&mut self.reactor),
                Timer::IdleMemory => self.give_memory_back_if_idle(),
                Timer::Orphans => self.reap_the_adopted(),
                Timer::Overdue(key) => self.sessions.overdue(key, &mut self.reactor),
                Timer::Dying(key) => self.look_at_dying(key),
                Timer::Still(key) => self.sessions.look_for_movement(key, &mut self.reactor),
                Timer::StillRelay(key) => self.look_for_still_relay(key),
                Timer::Group(key) => self.programs.end_group(key),
                Timer::Leftovers => self.look_for_leftovers(),
                Timer::Banner(key) => self.banner_due(key),
                Timer::Newcomer(key) => self.newcomer_overdue(key),
                Timer::Addresses => self.look_after_shared(),
                Timer::Held => self.held_long_enough(),
                Timer::Refusals(key) => self.services.log_due_refusals(key, self.reactor.now),
                Timer::Reload => self.reloading.overdue(),
                Timer::Names => self.seek_names(),
                Timer::Seeker => self.services.naming.seeker_overdue(self.reactor.now),
                Timer::ControlListener(key) => self.reactor.ready.push(Owner::ControlListener(key)),
                Timer::ControlConnection(key) => {
                    self.control.close_if_silent(key, &mut self.reactor);
                }
                Timer::Leave => self.exit_if_idle(),
                Timer::Drained => self.drained(),
                Timer::Closing => self.sessions.closing.is_due(),
                // It wakes us, which is enough.
                Timer::Ending => {}
                Timer::Trial => self.look_at_trial(),
                Timer::Watchdog => self.notify_alive(),
                Timer::Manager => self.flush_manager(),
            }
        }
        if self.admission.next_deadline().is_some_and(|when| when <= self.reactor.now) {
            self.admission.expire(self.reactor.now);
            self.log_limits();
        }
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.reactor.signals.next_signal() {
            match signal {
                Signal::Reload => _ = self.reload(),
                Signal::ListPeers => self.sessions.list_peers(),
                Signal::CountPeers => self.sessions.count_peers(),
                Signal::Stop(name) => self.life.stop_for_reason(name),
                Signal::ChildEnded => self.reap_orphans(),
            }
        }
    }
}

/// Writes what has been logged; when to do so again, if something is left.
fn flush_log() -> Option<Instant> {
    sink::flush().map(|pause| Instant::now() + pause)
}
