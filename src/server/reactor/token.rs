//! What a poll event is about, packed into mio's token.

use mio::Token;

use super::slab::Key;

/// The owner of a registered descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::server) enum Owner {
    /// The signalfd.
    Signals,
    /// The process that reads a configuration: its pipe and its pidfd.
    Loader,
    /// The process that looks up names: its pipe and its pidfd.
    Seeker,
    /// A listener or datagram socket.
    Listener(Key),
    /// A child's pidfd.
    Child(Key),
    /// The socket of a peer's program.
    PeerSocket(Key),
    /// The socket of one that has strayed.
    Stray(Key),
    /// The pipe of a program's standard error.
    Stderr(Key),
    /// A connection to a built-in service.
    Conversation(Key),
    /// The client of a relay.
    Relay(Key),
    /// The server to which a relay connects.
    RelayTarget(Key),
    /// A client that is being told something.
    Banner(Key),
    /// A socket at which the server is asked.
    ControlListener(Key),
    /// Somebody who asks.
    ControlConnection(Key),
    /// A process that connects for relays.
    Connector(Key),
    /// A process in front of services.
    Worker(Key),
    /// Somebody who has not said yet who he is.
    Newcomer(Key),
    /// A program that is being tried out.
    Trial,
    /// The earliest deadline has come.
    WakeUpTimer,
    /// A program has ended, while clients come one after the other.
    Ends,
}

/// For owners of which there is one, several of which share a kind.
const fn only(index: u32) -> Key {
    Key { index, generation: 0 }
}

/// Four bits of kind, 28 of generation, 32 of index.
pub(in crate::server) fn pack(owner: Owner) -> Token {
    let (kind, key) = match owner {
        Owner::Signals => (0u64, only(0)),
        Owner::Loader => (0, only(1)),
        Owner::Trial => (0, only(2)),
        Owner::WakeUpTimer => (0, only(3)),
        Owner::Ends => (0, only(4)),
        Owner::Seeker => (0, only(5)),
        Owner::Listener(key) => (1, key),
        Owner::Child(key) => (2, key),
        Owner::Stderr(key) => (3, key),
        Owner::Conversation(key) => (4, key),
        Owner::Relay(key) => (5, key),
        Owner::RelayTarget(key) => (6, key),
        Owner::Banner(key) => (7, key),
        Owner::PeerSocket(key) => (8, key),
        Owner::Stray(key) => (15, key),
        Owner::ControlListener(key) => (9, key),
        Owner::ControlConnection(key) => (10, key),
        Owner::Connector(key) => (11, key),
        Owner::Newcomer(key) => (12, key),
        Owner::Worker(key) => (13, key),
    };
    let packed = kind << 60 | u64::from(key.generation) << 32 | u64::from(key.index);
    // 64-bit only (see `spawn::child`), so nothing is lost.
    Token(usize::try_from(packed).unwrap_or(usize::MAX))
}

/// None for a token that [`pack`] did not make.
pub(in crate::server) fn unpack(token: Token) -> Option<Owner> {
    let packed = u64::try_from(token.0).ok()?;
    let index = u32::try_from(packed & 0xffff_ffff).ok()?;
    let generation = u32::try_from(packed >> 32 & 0x0fff_ffff).ok()?;
    let key = Key { index, generation };
    match packed >> 60 {
        0 => the_only(index),
        1 => Some(Owner::Listener(key)),
        2 => Some(Owner::Child(key)),
        3 => Some(Owner::Stderr(key)),
        4 => Some(Owner::Conversation(key)),
        5 => Some(Owner::Relay(key)),
        6 => Some(Owner::RelayTarget(key)),
        7 => Some(Owner::Banner(key)),
        8 => Some(Owner::PeerSocket(key)),
        15 => Some(Owner::Stray(key)),
        9 => Some(Owner::ControlListener(key)),
        11 => Some(Owner::Connector(key)),
        12 => Some(Owner::Newcomer(key)),
        13 => Some(Owner::Worker(key)),
        10 => Some(Owner::ControlConnection(key)),
        _ => None,
    }
}

fn the_only(index: u32) -> Option<Owner> {
    match index {
        0 => Some(Owner::Signals),
        1 => Some(Owner::Loader),
        2 => Some(Owner::Trial),
        3 => Some(Owner::WakeUpTimer),
        4 => Some(Owner::Ends),
        5 => Some(Owner::Seeker),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::reactor::slab::GENERATIONS;

    #[test]
    fn what_is_packed_is_unpacked() {
        for index in [0, 1, u32::MAX] {
            for generation in [0, 1, GENERATIONS] {
                let key = Key { index, generation };
                for owner in [
                    Owner::Listener(key),
                    Owner::Child(key),
                    Owner::Stderr(key),
                    Owner::Conversation(key),
                    Owner::Relay(key),
                    Owner::RelayTarget(key),
                    Owner::Banner(key),
                    Owner::PeerSocket(key),
                    Owner::Stray(key),
                    Owner::ControlListener(key),
                    Owner::ControlConnection(key),
                    Owner::Connector(key),
                    Owner::Newcomer(key),
                    Owner::Worker(key),
                ] {
                    assert_eq!(unpack(pack(owner)), Some(owner));
                }
            }
        }
        for owner in [
            Owner::Signals,
            Owner::Loader,
            Owner::Seeker,
            Owner::Trial,
            Owner::WakeUpTimer,
            Owner::Ends,
        ] {
            assert_eq!(unpack(pack(owner)), Some(owner));
        }
    }
}
