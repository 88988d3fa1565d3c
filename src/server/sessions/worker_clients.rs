//! Clients are given to workers, and workers are told what becomes of them and of their services.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::workers::{SealedSettings, WorkerProcess};
use crate::front::wire::{Give, ToWorker};
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::sessions::departing::FrontedClient;
use crate::server::sessions::workers::Workers;

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
        worker.signs.are_wanted();
        self.expect_signs();
        Ok(())
    }

    /// A service that had a worker for itself has none any more; its clients stay.
    pub(in crate::server) fn leave_workers_of(&mut self, service: Key) {
        for key in self.sessions.workers.all.keys() {
            let Some(worker) = self.sessions.workers.all.get_mut(key) else { continue };
            worker.is_left |= worker.own == Some(service);
            self.let_go_if_left(key);
        }
    }

    /// The last client of a worker has gone whose service has gone, too, or which has only helped
    /// out.
    pub(super) fn let_go_if_left(&mut self, key: Key) {
        let is_surplus = self.sessions.workers.has_one_too_many(key);
        let Some(worker) = self.sessions.workers.all.get_mut(key) else { return };
        if (worker.is_left || is_surplus) && worker.clients.is_empty() {
            worker.is_let_go = true;
            self.end_worker(key);
        }
    }

    /// A worker of the program before us goes on with the clients that it has, and hears of the
    /// ends of their programs.
    pub(in crate::server) fn keep_earlier_worker(
        &mut self,
        (pid, wire): (i32, OwnedFd),
        clients: Vec<u64>,
        answers: bool,
    ) {
        let key = self.sessions.workers.all.insert(WorkerProcess {
            clients: clients.into_iter().collect(),
            is_left: true,
            answers,
            ..WorkerProcess::new(pid, wire.into(), None, self.reactor.now)
        });
        self.expect_signs();
        if self.sessions.workers.watch_worker(key, &self.reactor).is_err() {
            self.end_worker(key);
        }
        self.let_go_if_left(key);
    }
}

impl Workers {
    /// A program has ended that had a client of some worker, perhaps on a terminal that somebody
    /// else has still.
    pub(in crate::server) fn program_of_client_ended(&self, number: u64) {
        // If it cannot be told now, the session ends when nobody has the terminal.
        self.tell_having(number, &ToWorker::ProgramEnded(number));
    }

    /// What a client is told will end, or ends now, before it is whole: it is not to be told that
    /// this was all. To be said before the socket ends that stands for its connection.
    pub(in crate::server) fn break_off(&self, client: Option<&FrontedClient>) {
        if let Some(number) = client.and_then(|client| client.number) {
            // If it cannot be told now, it takes the end for a proper one.
            self.tell_having(number, &ToWorker::BrokenOff(number));
        }
    }

    /// Says this to the worker that has a client.
    pub(super) fn tell_having(&self, number: u64, message: &ToWorker) {
        let worker = self.having(number).and_then(|key| self.all.get(key));
        if let Some(wire) = worker.and_then(|worker| worker.wire.as_ref()) {
            let _ = wire.say(message, &[]);
        }
    }

    /// Nobody comes to a front of these settings any more; who is there stays.
    pub(in crate::server) fn forget_settings(&mut self, number: u32) {
        self.all.each(|worker| {
            worker.complained.remove(&number);
            if worker.knows.remove(&number)
                && let Some(wire) = &worker.wire
            {
                // If it cannot be told now, it remembers in vain.
                let _ = wire.say(&ToWorker::Forget(number), &[]);
            }
        });
    }
}

/// Whether nobody is at the other end of a wire.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}
