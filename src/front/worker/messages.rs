//! What the server says to a worker: heard, and done.

use std::io::ErrorKind;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use super::session::FrontSession;
use super::side::{self, FrontSide};
use super::{MESSAGES, Worker, fronts};
use crate::front::wire::{self, Ended, Give, ToServer, ToWorker};
use crate::sys::rights;

impl Worker {
    /// Takes what the server says.
    pub(super) fn hear(&mut self) {
        let mut packet = [0; 256];
        for _ in 0..MESSAGES {
            let Some(wire) = self.wire.as_ref().filter(|_| self.may_hear) else { return };
            match rights::receive(wire, &mut packet) {
                Ok(received) if received.length > 0 => {
                    let message = packet.get(..received.length).unwrap_or_default();
                    if let Some(message) = wire::from_server(message) {
                        self.take(&message, received.descriptors);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.may_hear = false,
                // The server is gone, or another one goes on in its place.
                Ok(_) | Err(_) => return self.go_on_alone(),
            }
        }
    }

    fn take(&mut self, message: &ToWorker, descriptors: Vec<OwnedFd>) {
        match *message {
            ToWorker::Settings(number) => {
                let result = fronts::make(descriptors).map(|front| {
                    self.services.insert(number, front);
                });
                self.to_say.push_back(ToServer::Settings(number, result));
            }
            ToWorker::Forget(number) => _ = self.services.remove(&number),
            ToWorker::ProgramEnded(number) => self.finish(number),
            ToWorker::BrokenOff(number) => self.break_off(number),
            ToWorker::Ask => self.to_say.push_back(ToServer::Here),
            ToWorker::Idle(number, limit) => self.limit_stillness(number, limit),
            ToWorker::LetGo(number) => self.let_go(number),
            ToWorker::Client { number, settings, give } => {
                let Ok([client, program]) = <[OwnedFd; 2]>::try_from(descriptors) else {
                    return self.refuse(number, "no descriptors".to_owned());
                };
                if let Err(why) = self.begin(number, settings, (client, program), give) {
                    self.refuse(number, why);
                }
            }
        }
    }

    /// A client that never had a session.
    fn refuse(&mut self, number: u64, why: String) {
        self.to_say.push_back(ToServer::Failed(number, why));
        self.to_say.push_back(ToServer::Ended(number, Ended::Closed));
    }

    fn begin(
        &mut self,
        number: u64,
        settings: u32,
        (client, program): (OwnedFd, OwnedFd),
        give: Give,
    ) -> Result<(), String> {
        let service = self.services.get(&settings).ok_or("it is not known")?;
        let (front, idle) = (service.front()?, service.idle());
        let numbers = [client.as_raw_fd(), program.as_raw_fd()];
        // No other socket has such a thing.
        let client = match side::without_delay(&client) {
            Ok(()) => FrontSide::of_tcp(client),
            Err(_) => FrontSide::new(client, Give::Socket),
        };
        let program = FrontSide::of_program(program, give);
        let mut session = FrontSession::new(number, client, program, front);
        session.idle = idle;
        let due = idle.and_then(|idle| session.active.checked_add(idle));
        let index = self.insert(session);
        self.watch(index, numbers).map_err(|error| {
            self.remove(index);
            error.to_string()
        })?;
        self.still.extend(due.map(|due| (due, index, number)));
        if self.session(index).is_some_and(|session| session.may_be_silent()) {
            self.look_in_a_second(index);
        }
        self.queue(index);
        Ok(())
    }

    fn finish(&mut self, number: u64) {
        let Some(index) = self.place_of(number) else { return };
        if let Some(session) = self.session(index) {
            session.finish();
        }
        self.queue(index);
    }

    /// Its end, when it comes, is none.
    fn break_off(&mut self, number: u64) {
        let session = self.place_of(number).and_then(|index| self.session(index));
        if let Some(session) = session {
            session.is_broken_off = true;
        }
    }

    /// Nothing may move for so long from now on. What a program has left has its own limit.
    fn limit_stillness(&mut self, number: u64, limit: Option<Duration>) {
        let Some(index) = self.place_of(number) else { return };
        let Some(session) = self.session(index).filter(|it| !it.has_lost_its_program()) else {
            return;
        };
        (session.idle, session.active) = (limit, Instant::now());
        let due = limit.and_then(|limit| session.active.checked_add(limit));
        self.still.extend(due.map(|due| (due, index, number)));
    }

    /// One whose program has ended, or who is to have none, goes at once.
    fn let_go(&mut self, number: u64) {
        let Some(index) = self.place_of(number) else { return };
        if self.session(index).is_some_and(|it| it.leaves || it.has_lost_its_program()) {
            self.end(index);
        }
    }
}
