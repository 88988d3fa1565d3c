//! What those who control the server tell it to do: reload, stop and start services,
//! end programs, drain and stop.

use std::time::Duration;

use super::connection::ControlStage;
use crate::control::answer::{self, Done, RequestRefusal, Stopping};
use crate::control::request::Request;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::services::Services;
use crate::server::state::{Rest, Stopped};

impl Server {
    /// Does what a request says, and answers.
    pub(super) fn carry_out(&mut self, key: Key, request: &Request) {
        match request {
            Request::Status { service } => self.answer_status(key, service.as_deref()),
            Request::Peers {} => self.answer_peers(key, Vec::new()),
            Request::Reload {} => self.reload_for(key),
            Request::Upgrade {} => self.upgrade_for(key),
            Request::Stop { service: Some(service), .. } => {
                let done = self.stop_services(service);
                self.answer_done(key, done);
            }
            Request::Stop { service: None, drain, delay } => self.stop_for(key, *drain, *delay),
            Request::Start { service } => {
                let done = self.start_services(service);
                self.answer_done(key, done);
            }
            Request::Kill { who } => {
                let done = self.kill(who);
                self.answer_done(key, done);
            }
        }
    }

    fn answer_done(&mut self, key: Key, done: Result<String, RequestRefusal>) {
        let words = match done {
            Ok(done) => answer::line(&Done { done }),
            Err(refusal) => answer::line(&refusal),
        };
        self.send_answer(key, words);
    }

    fn reload_for(&mut self, key: Key) {
        let number = self.reload();
        if let Some(connection) = self.control.connections.get_mut(key) {
            connection.stage = ControlStage::AwaitsReload(number);
        }
    }

    /// Says that it will stop; the end of the connection says that it has.
    fn stop_for(&mut self, key: Key, drain: Option<u64>, delay: Option<u64>) {
        let running = self.admission.total_running();
        self.send_answer(key, answer::line(&Stopping { stopping: true, running, drain, delay }));
        if let Some(connection) = self.control.connections.get_mut(key) {
            connection.stage = ControlStage::Stays;
        }
        self.serve_control_connection(key);
        match drain {
            None => self.life.stop_for_reason("control"),
            Some(seconds) => self.announce_drain(
                Duration::from_millis(delay.unwrap_or_default()),
                Duration::from_secs(seconds),
            ),
        }
    }

    fn stop_services(&mut self, name: &str) -> Result<String, RequestRefusal> {
        let found = self.services.known(name)?;
        // One that has stopped by itself is stopped over reloads, too, from now on.
        let is_stopped =
            |key: &Key| self.services.all.get(*key).is_some_and(|it| it.stopped == Stopped::Asked);
        let (before, found): (Vec<Key>, Vec<Key>) = found.into_iter().partition(is_stopped);
        for key in &found {
            let Some(state) = self.services.all.get_mut(*key) else { continue };
            state.stopped = Stopped::Asked;
            for listener in state.listeners.clone() {
                self.shut_listener(listener);
            }
            self.stop_children_of(*key);
        }
        Ok(self.services.in_words(("stopped", "stopped"), &found, &before))
    }

    fn start_services(&mut self, name: &str) -> Result<String, RequestRefusal> {
        let found = self.services.known(name)?;
        if self.life.drain.closes() {
            return Err(RequestRefusal { error: "the server is draining".to_owned() });
        }
        let (running, begun): (Vec<Key>, Vec<Key>) =
            found.into_iter().partition(|key| self.services.is_running(*key));
        let mut failed = Vec::new();
        for key in &begun {
            let Some(state) = self.services.all.get_mut(*key) else { continue };
            if std::mem::replace(&mut state.stopped, Stopped::No).is_so() {
                self.admission.set_clients(state.admission, 0);
            }
            for listener in state.listeners.clone() {
                failed.extend(self.open_again(listener));
            }
        }
        match failed.first() {
            None => Ok(self.services.in_words(("started", "running"), &begun, &running)),
            Some(error) => Err(RequestRefusal { error: format!("{error}; it is tried again") }),
        }
    }

    /// Opens a socket of a service that was stopped; what is wrong if that fails.
    fn open_again(&mut self, key: Key) -> Option<String> {
        if self.services.listeners.get(key)?.listener.is_some() {
            return None;
        }
        self.try_to_open(key);
        let state = self.services.listeners.get(key)?;
        let error = state.last_error.as_ref().filter(|_| state.listener.is_none())?;
        Some(format!("{}: {}", state.label(), error.message))
    }

    /// Closes a socket that may be opened again.
    pub(in crate::server) fn shut_listener(&mut self, key: Key) {
        self.services.deregister_listener(key, &self.reactor);
        self.services.stop_listening(key);
        if let Some(state) = self.services.listeners.get_mut(key) {
            state.parked = None;
            state.sorted = Vec::new();
            state.last_error = None;
            state.rest = Rest::No;
            if let Some(listener) = state.listener.take() {
                self.close_socket(listener, false);
            }
        }
        self.sessions.newcomers.made_room();
        self.sessions.table.forget_holder(key);
    }
}

impl Services {
    /// Whether there is nothing about a service that could be started.
    fn is_running(&self, key: Key) -> bool {
        let is_open = |key: &Key| self.listeners.get(*key).is_some_and(|it| it.listener.is_some());
        let state = self.all.get(key);
        state.is_some_and(|it| !it.stopped.is_so() && it.listeners.iter().all(is_open))
    }

    fn labels(&self, keys: &[Key]) -> String {
        let states = keys.iter().filter_map(|key| self.all.get(*key));
        let labels: Vec<&str> = states.map(|state| &*state.label).collect();
        labels.join(", ")
    }

    /// What was done with some services, and how others are that were so before.
    fn in_words(&self, (done, is): (&str, &str), some: &[Key], before: &[Key]) -> String {
        let are = if before.len() == 1 { "is" } else { "are" };
        let before = match before {
            [] => String::new(),
            before => format!("{} {are} {is} already", self.labels(before)),
        };
        match some {
            [] => before,
            some if before.is_empty() => format!("{done} {}", self.labels(some)),
            some => format!("{done} {}; {before}", self.labels(some)),
        }
    }
}
