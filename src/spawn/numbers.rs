//! The descriptors a child is given, by number: ours, or those under which it has
//! received them.

use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

/// Those that are sent to a child at most: socket, standard error, ruleset.
pub(super) const MOST_SENT: usize = 3;

/// What a child is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbers {
    /// Becomes 0 and 1.
    pub socket: RawFd,
    /// Becomes 2; may be the socket.
    pub stderr: RawFd,
    /// The failure pipe, the lowest of the server's own. The child has it from the start.
    pub failure: RawFd,
    /// The Landlock ruleset; -1 for none.
    pub ruleset: RawFd,
}

impl Numbers {
    /// What is sent to a child, in order, and how many that are: not its standard error
    /// if that is the socket, nor a ruleset that it has not.
    pub(super) fn sent(&self) -> ([RawFd; MOST_SENT], usize) {
        let Self { socket, stderr, ruleset, .. } = *self;
        match (stderr == socket, ruleset < 0) {
            (true, true) => ([socket, -1, -1], 1),
            (true, false) => ([socket, ruleset, -1], 2),
            (false, true) => ([socket, stderr, -1], 2),
            (false, false) => ([socket, stderr, ruleset], 3),
        }
    }

    /// The same under the numbers under which they have arrived.
    pub(super) fn arrived(&self, numbers: [RawFd; MOST_SENT]) -> Self {
        let [socket, second, third] = numbers;
        let (stderr, ruleset) = match (self.stderr == self.socket, self.ruleset < 0) {
            (true, true) => (socket, -1),
            (true, false) => (socket, second),
            (false, true) => (second, -1),
            (false, false) => (second, third),
        };
        Self { socket, stderr, ruleset, failure: self.failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives_in_its_place() {
        for (stderr, ruleset) in [(7, -1), (7, 9), (8, -1), (8, 9)] {
            let ours = Numbers { socket: 7, stderr, failure: 3, ruleset };
            let (sent, count) = ours.sent();
            assert!(sent[..count].iter().all(|number| *number >= 0), "{ours:?}");
            assert!(sent[count..].iter().all(|number| *number < 0), "{ours:?}");
            // A hundred higher there than here.
            let theirs = ours.arrived(sent.map(|number| number + 100));
            let moved = |number: RawFd| if number < 0 { number } else { number + 100 };
            let expected =
                Numbers { socket: 107, stderr: moved(stderr), failure: 3, ruleset: moved(ruleset) };
            assert_eq!(theirs, expected, "{ours:?}");
        }
    }
}
