//! What is said to the server: put together in packets, once it takes them.

use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;

use mio::Interest;
use mio::unix::SourceFd;

use super::session::Told;
use super::{WIRE, Worker};
use crate::front::channel;
use crate::front::wire::{self, ToServer};

impl Worker {
    /// What is to be told of a session.
    pub(super) fn tell(&mut self, number: u64) {
        for told in self.told.drain(..) {
            self.to_say.push_back(match told {
                Told::Ready(facts, size) => ToServer::Ready(number, facts, size),
                Told::Failed(why) => ToServer::Failed(number, why),
            });
        }
    }

    /// Tells the server what there is to tell.
    pub(super) fn say(&mut self) {
        while let Some(wire) = self.wire.as_ref().filter(|_| self.may_say)
            && !self.to_say.is_empty()
        {
            let few = self.to_say.len().min(wire::MOST);
            let Some((packet, count)) = self.packet(few) else {
                // One that is too long by itself: nothing that we say.
                self.to_say.pop_front();
                continue;
            };
            match channel::send(wire, &packet, &[]) {
                Ok(()) => drop(self.to_say.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.wait_to_say(),
                Err(_) => return self.go_on_alone(),
            }
        }
    }

    /// From the first time on that the server takes nothing more it is announced when it does:
    /// before that, each time that it has heard something would be.
    fn wait_to_say(&mut self) {
        let Some(wire) = &self.wire else { return };
        let both = Interest::READABLE | Interest::WRITABLE;
        let number = wire.as_raw_fd();
        // Else it is tried again with whatever happens next.
        self.may_say = self.poll.registry().reregister(&mut SourceFd(&number), WIRE, both).is_err();
    }

    /// A packet of so many messages, or fewer if they are long.
    fn packet(&self, mut count: usize) -> Option<(Vec<u8>, usize)> {
        while count > 0 {
            let few: Vec<ToServer> = self.to_say.iter().take(count).cloned().collect();
            if let Some(packet) = wire::to_server(&few) {
                return Some((packet, count));
            }
            count /= 2;
        }
        None
    }

    /// Nobody gives programs to clients any more; those who have one keep it.
    pub(super) fn go_on_alone(&mut self) {
        self.wire = None;
        self.to_say.clear();
        self.services.clear();
        for index in 0..self.sessions.len() {
            if self.session(index).is_some_and(|session| !session.is_ready()) {
                self.remove(index);
            }
        }
    }
}
