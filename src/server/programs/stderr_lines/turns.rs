//! When pipes are read, and which are closed.

use std::time::Duration;

use super::{PER_SECOND, PipeFlow, end_line, read_some, surplus};
use crate::server::Server;
use crate::server::programs::Programs;
use crate::server::reactor::Reactor;
use crate::server::reactor::slab::Key;
use crate::server::reactor::timers::Timer;
use crate::server::reactor::token::Owner;

/// Pipes that outlive their program (something it started holds them). When there are more,
/// one of the service that has most is closed, its oldest. Where descriptors are few, there
/// may be fewer: [`PART`] of what clients may have.
const LINGERING: usize = 256;

const PART: usize = 4;

impl Server {
    /// Reads what there is, within bounds.
    pub(in crate::server) fn read_stderr(&mut self, key: Key) {
        let Some(state) = self.programs.stderr.get_mut(key) else { return };
        let second = Duration::from_secs(1);
        if self.reactor.now.saturating_duration_since(state.since) >= second {
            (state.since, state.read) = (self.reactor.now, 0);
        }
        if state.read >= PER_SECOND {
            self.reactor.timers.set(state.since + second, Timer::Stderr(key));
            return;
        }
        let flow = read_some(state, &mut self.reactor.scratch);
        self.count_dropped(key);
        match flow {
            PipeFlow::Drained => {}
            PipeFlow::More => self.reactor.ready.push(Owner::Stderr(key)),
            PipeFlow::End => self.programs.close_stderr(key, &self.reactor),
        }
    }

    /// The program has ended: what it has written is logged before its end is told,
    /// and a pipe that others still hold goes among the lingering ones.
    pub(in crate::server::programs) fn program_ended(&mut self, key: Key) {
        let Some(state) = self.programs.stderr.get_mut(key) else { return };
        let flow = read_some(state, &mut self.reactor.scratch);
        self.count_dropped(key);
        match flow {
            PipeFlow::End => return self.programs.close_stderr(key, &self.reactor),
            PipeFlow::More => self.reactor.ready.push(Owner::Stderr(key)),
            PipeFlow::Drained => {}
        }
        self.programs.watch_stderr(key, &self.reactor);
        self.programs.orphan_pipes.push_back(key);
        let most = LINGERING.min(self.room_for_clients() / PART).max(1);
        if self.programs.orphan_pipes.len() > most {
            let of = |key: &Key| Some((*key, self.programs.stderr.get(*key)?.service));
            if let Some(surplus) = surplus(self.programs.orphan_pipes.iter().filter_map(of)) {
                self.programs.close_stderr(surplus, &self.reactor);
            }
        }
    }
}

impl Programs {
    /// The server ends: what there is by now, and the end if it has come.
    pub(in crate::server::programs) fn read_last(&mut self, key: Key, reactor: &mut Reactor) {
        let Some(state) = self.stderr.get_mut(key) else { return };
        if matches!(read_some(state, &mut reactor.scratch), PipeFlow::End) {
            self.close_stderr(key, reactor);
        }
    }

    /// What is counted of programs of the one service is counted for the other.
    pub(in crate::server) fn move_pipes_to(&mut self, service: Key, before: Key) {
        self.stderr.each(|state| {
            if state.service == before {
                state.service = service;
            }
        });
    }

    fn close_stderr(&mut self, key: Key, reactor: &Reactor) {
        let Some(mut state) = self.stderr.remove(key) else { return };
        end_line(&mut state);
        if state.registered {
            reactor.unwatch(&state.pipe);
        }
        if self.orphan_pipes.contains(&key) {
            self.orphan_pipes.retain(|lingering| *lingering != key);
        }
    }
}
