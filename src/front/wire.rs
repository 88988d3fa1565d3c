//! The messages between the server and a worker: one packet each way may hold several.
//!
//! The server trusts nothing of a worker: a packet that is none of these, or is longer than
//! one may be, is the worker's end. What a message means, and whether it may be said now, is
//! looked at by whoever takes it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::net::fronted::Fact;

/// The version of all this. A worker goes on over an upgrade, and is spoken to by a later server
/// if that has the same; what has another meaning gets another number. What it does not know it
/// leaves alone.
pub(crate) const VERSION: u32 = 1;
/// Bytes of the longest packet.
pub(crate) const LONGEST: usize = 16 * 1024;
/// What is known of a client at most.
pub(crate) const MOST_FACTS: usize = 16;
/// Messages in one packet of a worker at most.
pub(crate) const MOST: usize = 64;

/// What the server says. Descriptors that come with it are said of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// What a service is, under a number that has had no other meaning: a file of settings,
    /// and the files that they name.
    Settings(u32),
    /// Nobody comes to that service any more.
    Forget(u32),
    /// The program of a client has ended; somebody else may have its terminal still.
    ProgramEnded(u64),
    /// A client under a number of its own: its connection, and the end that is not its
    /// program's.
    Client {
        /// Its number.
        number: u64,
        /// The settings.
        settings: u32,
        /// What the second descriptor is.
        give: Give,
    },
    /// Whether it is still there.
    Ask,
    /// What a client is told ends before it is whole.
    BrokenOff(u64),
    /// The longest that nothing may move on the connection of a client who has his program: his
    /// service says something else by now.
    Idle(u64, Option<Duration>),
    /// Of a client nothing is left but to be let go: others need his place.
    LetGo(u64),
}

/// What a program has at its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Give {
    /// A socket.
    Socket,
    /// A terminal. Its other side comes when the client has been admitted, through the socket
    /// that the worker has until then; what comes before it is for the client to see.
    Terminal,
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToServer {
    /// It has the settings of this number, or why it cannot use them.
    Settings(u32, Result<(), String>),
    /// A client may have its program: what is known of it, and of its window.
    Ready(u64, Vec<(Fact, String)>, Option<(u16, u16)>),
    /// A client has none: why. Or it has had one, and has left it otherwise than it should: how.
    Failed(u64, String),
    /// It is over.
    Ended(u64, Ended),
    /// It is still there, as it has been asked.
    Here,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// As it should.
    Closed,
    /// The client has gone without saying so.
    CutOff,
    /// What it sent was wrong.
    Broken,
}

/// The packet of one message to a worker.
#[must_use]
pub fn to_worker(message: &ToWorker) -> Vec<u8> {
    postcard::to_allocvec(message).unwrap_or_default()
}

/// What a packet of the server says.
#[must_use]
pub fn from_server(packet: &[u8]) -> Option<ToWorker> {
    whole(packet)
}

/// A packet of messages to the server, which have to be few enough; none if it would be too
/// long.
#[must_use]
pub fn to_server(messages: &[ToServer]) -> Option<Vec<u8>> {
    let packet = postcard::to_allocvec(messages).ok()?;
    (packet.len() <= LONGEST && messages.len() <= MOST).then_some(packet)
}

/// What a packet of a worker says; none if it is none.
#[must_use]
pub fn from_worker(packet: &[u8]) -> Option<Vec<ToServer>> {
    if packet.len() > LONGEST {
        return None;
    }
    let few = |message: &ToServer| match message {
        ToServer::Ready(_, facts, _) => facts.len() <= MOST_FACTS,
        _ => true,
    };
    let messages = whole::<Vec<ToServer>>(packet)?;
    (messages.len() <= MOST && messages.iter().all(few)).then_some(messages)
}

/// Nothing may come after it.
fn whole<T: for<'a> Deserialize<'a>>(packet: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(packet) {
        Ok((message, [])) => Some(message),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for message in [
            ToWorker::Settings(7),
            ToWorker::Forget(u32::MAX),
            ToWorker::Client { number: u64::MAX, settings: 3, give: Give::Terminal },
            ToWorker::Ask,
            ToWorker::BrokenOff(9),
            ToWorker::Idle(u64::MAX, Some(Duration::from_millis(1500))),
            ToWorker::LetGo(7),
        ] {
            assert_eq!(from_server(&to_worker(&message)), Some(message));
        }
        let facts = vec![(Fact::Protocol, "TLSv1.3".to_owned())];
        let messages = [
            ToServer::Settings(1, Err("no key".to_owned())),
            ToServer::Ready(1, facts, Some((132, 50))),
            ToServer::Failed(2, "handshake_failure".to_owned()),
            ToServer::Ended(1, Ended::CutOff),
            ToServer::Here,
        ];
        let packet = to_server(&messages).unwrap();
        assert_eq!(from_worker(&packet).unwrap(), messages);
    }

    /// Of what is said to workers of before and by them: other bytes are another version.
    #[test]
    fn the_bytes_of_this_version_do_not_change() {
        assert_eq!(VERSION, 1);
        assert_eq!(to_worker(&ToWorker::ProgramEnded(300)), [2, 0xac, 2]);
        assert_eq!(to_server(&[ToServer::Ended(300, Ended::CutOff)]).unwrap(), [1, 3, 0xac, 2, 1]);
        let failed = ToServer::Failed(1, "x".to_owned());
        assert_eq!(to_server(&[failed]).unwrap(), [1, 2, 1, 1, b'x']);
        assert_eq!(to_worker(&ToWorker::Ask), [4]);
        assert_eq!(to_worker(&ToWorker::BrokenOff(300)), [5, 0xac, 2]);
        let idle = ToWorker::Idle(300, Some(Duration::new(1, 2)));
        assert_eq!(to_worker(&idle), [6, 0xac, 2, 1, 1, 2]);
        assert_eq!(to_worker(&ToWorker::Idle(1, None)), [6, 1, 0]);
        assert_eq!(to_worker(&ToWorker::LetGo(300)), [7, 0xac, 2]);
        assert_eq!(to_server(&[ToServer::Here]).unwrap(), [1, 4]);
        let ready = ToServer::Ready(1, vec![(Fact::Terminal, "x".to_owned())], Some((80, 24)));
        assert_eq!(to_server(&[ready]).unwrap(), [1, 1, 1, 1, 9, 1, b'x', 1, 80, 24]);
    }

    #[test]
    fn a_packet_is_bounded_and_whole() {
        let messages = vec![ToServer::Ended(0, Ended::Closed); MOST + 1];
        assert_eq!(to_server(&messages), None);
        let packet = postcard::to_allocvec(&messages).unwrap();
        assert_eq!(from_worker(&packet), None, "too many");
        let mut packet = to_server(&messages[1..]).unwrap();
        assert!(from_worker(&packet).is_some());
        packet.push(0);
        assert_eq!(from_worker(&packet), None, "something after the end");
        packet.truncate(packet.len() - 3);
        assert_eq!(from_worker(&packet), None, "cut");
        assert_eq!(from_worker(&vec![0; LONGEST + 1]), None, "too long");
        // A vector that claims more than the packet holds.
        assert_eq!(from_worker(&[0xff, 0xff, 0xff, 0xff, 0x0f]), None);
    }
}
