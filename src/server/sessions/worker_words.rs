//! What workers say. It is read in packets, and taken one message after the other; whoever says
//! what it may not is ended.

use std::io::ErrorKind;

use super::workers::WorkerProcess;
use crate::front::wire::ToServer;
use crate::front::{alerts, leaving};
use crate::log::events;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::reactor::token::Owner;
use crate::server::sessions::departing::{ClientLeft, FrontedClient};

/// Letters of what one says of settings that are in the log.
const LONGEST_COMPLAINT: usize = 200;
/// What is said of one that says what cannot be.
const LIES: &str = "it has said what cannot be";
/// Packets taken from one in one turn.
const PACKETS: usize = 16;

/// What reading a packet came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Something,
    Nothing,
    /// Nothing more that can be meant will come.
    Over,
}

impl WorkerProcess {
    /// Reads a packet; what it says waits to be taken.
    fn read(&mut self, scratch: &mut [u8]) -> Read {
        let Some(wire) = self.wire.as_ref().filter(|_| !self.is_over) else { return Read::Over };
        match wire.hear(scratch) {
            Ok(Some(messages)) => {
                self.signs.are_there();
                self.heard.extend(messages);
                Read::Something
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Read::Nothing,
            Err(error) if error.kind() == ErrorKind::Interrupted => Read::Something,
            Ok(None) | Err(_) => {
                self.is_over = true;
                Read::Over
            }
        }
    }

    /// Why a client has left, if it has said that and nobody has taken it yet.
    fn has_said_of(&self, client: u64) -> Option<&str> {
        self.heard.iter().find_map(|message| match message {
            ToServer::Failed(number, why) if *number == client => Some(why.as_str()),
            _ => None,
        })
    }
}

impl Server {
    /// It has said something, or is gone.
    pub(in crate::server) fn serve_worker(&mut self, key: Key) {
        for _ in 0..PACKETS {
            let read = self.read_from_worker(key);
            while let Some(message) = self.next_word_of(key) {
                if !self.take_from_worker(key, message) {
                    return self.end_worker_for(key, LIES);
                }
            }
            match read {
                Read::Something => {}
                Read::Nothing => return,
                Read::Over => return self.end_worker(key),
            }
        }
        self.reactor.ready.push(Owner::Worker(key));
    }

    fn read_from_worker(&mut self, key: Key) -> Read {
        let worker = self.sessions.workers.all.get_mut(key);
        worker.map_or(Read::Nothing, |worker| worker.read(&mut self.reactor.scratch))
    }

    fn next_word_of(&mut self, key: Key) -> Option<ToServer> {
        self.sessions.workers.all.get_mut(key)?.heard.pop_front()
    }

    /// False if it may not say that.
    fn take_from_worker(&mut self, key: Key, message: ToServer) -> bool {
        let Some(worker) = self.sessions.workers.all.get_mut(key) else { return true };
        match message {
            ToServer::Settings(number, result) => {
                let Err(why) = result else { return true };
                if worker.may_complain(number) {
                    let why: String = why.chars().take(LONGEST_COMPLAINT).collect();
                    events::trouble("front", "settings", &why.escape_debug());
                }
                // It may have had no descriptors left: with the next client it is told again.
                worker.knows.remove(&number);
                true
            }
            ToServer::Ready(number, facts, size) => {
                let has = worker.clients.contains(&number);
                if has {
                    self.client_is_ready(number, &facts, size);
                }
                has
            }
            ToServer::Failed(number, why) => {
                worker.clients.contains(&number) && self.client_has_failed(number, &why)
            }
            ToServer::Ended(number, _) => {
                let had = worker.clients.remove(&number);
                // Else it is somebody else's client, who stays.
                if had {
                    self.sessions.lingering.forget_fronted(number);
                    self.client_is_over(number);
                    self.let_go_if_left(key);
                }
                had
            }
            // That it says something is the sign.
            ToServer::Here => true,
        }
    }

    /// How the client of a program that has ended has left it, if otherwise than it should. A
    /// worker says it before it tells the program that nothing more comes.
    pub(in crate::server) fn how_client_left(&mut self, client: &FrontedClient) -> ClientLeft {
        let Some(number) = client.number.filter(|_| client.left.is_none()) else {
            return client.how();
        };
        let key = self.sessions.workers.having(number)?;
        // The program that goes on in our place would not know of what has only been read.
        let most = if self.upgrading.is_tried() { 0 } else { PACKETS };
        for _ in 0..most {
            if self.read_from_worker(key) != Read::Something {
                break;
            }
        }
        // What has been read is taken in its turn.
        let worker = self.sessions.workers.all.get(key)?;
        let has_died = worker.is_over || worker.wire.is_none();
        let left = worker.has_said_of(number).map(alerts::known);
        if !worker.heard.is_empty() || worker.is_over {
            self.reactor.ready.push(Owner::Worker(key));
        }
        let left = left.filter(|how| client.can_leave(*how));
        left.or_else(|| has_died.then_some((leaving::WORKER_DIED, false)))
    }
}
