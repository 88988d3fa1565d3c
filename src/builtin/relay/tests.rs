//! Relays between two streams in memory that announce their readiness as the
//! kernel does: once, when it begins.

mod gone;

use std::collections::VecDeque;
use std::io::{Read, Write};

use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use crate::builtin::relay::direction::{CALLS, THROWN};
use crate::builtin::relay::*;

/// Our end of a connection whose peer is the test.
#[derive(Default)]
struct End {
    /// What the peer has sent and we have not read.
    incoming: VecDeque<u8>,
    /// The peer will send no more.
    incoming_ends: bool,
    /// What we have sent and the peer has not taken.
    outgoing: VecDeque<u8>,
    /// Room in `outgoing`.
    capacity: usize,
    /// We have said that no more comes.
    outgoing_ended: bool,
    /// What the next read and the next write fail with.
    read_error: Option<ErrorKind>,
    write_error: Option<ErrorKind>,
    /// The connection has been reset, and no call has told it yet.
    reset: bool,
    /// The most that one call moves.
    most: usize,
    /// A write has blocked since the last announcement.
    writer_waits: bool,
    announced: bool,
    calls: u32,
}

impl End {
    fn new(capacity: usize, most: usize) -> Self {
        Self { capacity, most, announced: true, ..Self::default() }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.incoming.extend(bytes);
        self.announced = true;
    }

    fn finish(&mut self) {
        self.incoming_ends = true;
        self.announced = true;
    }

    /// The peer takes so much; room is announced only to a writer that waits for it.
    fn fetch(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.outgoing.len());
        let taken = self.outgoing.drain(..count).collect();
        self.announced |= count > 0 && std::mem::take(&mut self.writer_waits);
        taken
    }

    fn breaks(&mut self, read: Option<ErrorKind>, write: Option<ErrorKind>) {
        (self.read_error, self.write_error) = (read, write);
        self.announced = true;
    }
}

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        let count = self.incoming.len().min(buffer.len()).min(self.most);
        if count > 0 {
            for (to, byte) in buffer.iter_mut().zip(self.incoming.drain(..count)) {
                *to = byte;
            }
            return Ok(count);
        }
        if std::mem::take(&mut self.reset) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if let Some(kind) = self.read_error {
            return Err(kind.into());
        }
        if self.incoming_ends {
            return Ok(0);
        }
        Err(ErrorKind::WouldBlock.into())
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        assert!(!self.outgoing_ended, "nothing is written after the end");
        if std::mem::take(&mut self.reset) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if let Some(kind) = self.write_error {
            return Err(kind.into());
        }
        let room = self.capacity - self.outgoing.len();
        let count = bytes.len().min(room).min(self.most);
        if count == 0 {
            self.writer_waits = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        self.outgoing.extend(bytes.get(..count).unwrap());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Duplex for End {
    fn end_writing(&mut self) -> io::Result<()> {
        assert!(!std::mem::replace(&mut self.outgoing_ended, true), "an end is said once");
        Ok(())
    }
}

/// A relay between two ends, and the loop around it.
struct Bench {
    relay: Relay,
    client: End,
    target: End,
    scratch: Vec<u8>,
    more: bool,
    finished: bool,
}

impl Bench {
    fn new(client: End, target: End, scratch: usize) -> Self {
        let scratch = vec![0; scratch];
        Self { relay: Relay::new(), client, target, scratch, more: false, finished: false }
    }

    /// A turn of the loop: the relay is called only if something was announced.
    fn turn(&mut self) {
        if std::mem::take(&mut self.client.announced) {
            self.relay.announced(Side::Client);
            self.more = true;
        }
        if std::mem::take(&mut self.target.announced) {
            self.relay.announced(Side::Target);
            self.more = true;
        }
        if self.more && !self.finished {
            (self.client.calls, self.target.calls) = (0, 0);
            let end = self.relay.turn(&mut self.client, &mut self.target, &mut self.scratch);
            assert!(self.client.calls + self.target.calls <= 2 * CALLS);
            self.more = end == RelayProgress::More;
            self.finished = end == RelayProgress::Finished;
        }
    }

    /// Turns until nothing moves.
    fn settle(&mut self) {
        self.turn();
        while self.more {
            self.turn();
        }
    }

    fn kept(&self) -> usize {
        self.relay.up.rest.capacity() + self.relay.down.rest.capacity()
    }
}

fn plain() -> Bench {
    Bench::new(End::new(1000, 1000), End::new(1000, 1000), CHUNK)
}

#[test]
fn an_end_is_carried_over_when_everything_before_it_is_written() {
    let mut bench = Bench::new(End::new(1000, 1000), End::new(3, 1000), CHUNK);
    bench.client.send(b"hello");
    bench.client.finish();
    bench.settle();
    assert_eq!(bench.target.fetch(9), b"hel");
    assert!(!bench.target.outgoing_ended && !bench.finished);
    bench.settle();
    assert_eq!(bench.target.fetch(9), b"lo");
    assert!(bench.target.outgoing_ended && !bench.client.outgoing_ended);
    // The other way goes on for as long as it likes.
    bench.target.send(b"answer");
    bench.settle();
    assert_eq!(bench.client.fetch(9), b"answer");
    assert!(!bench.finished);
    bench.target.finish();
    bench.settle();
    assert!(bench.client.outgoing_ended && bench.finished);
    assert!(bench.relay.failure().is_none());
    assert!(!bench.relay.resets(Side::Client) && !bench.relay.resets(Side::Target));
}

#[test]
fn the_targets_end_may_come_first() {
    let mut bench = plain();
    bench.target.finish();
    bench.settle();
    assert!(bench.client.outgoing_ended && !bench.target.outgoing_ended && !bench.finished);
    bench.client.send(b"more");
    bench.client.finish();
    bench.settle();
    assert!(bench.finished && bench.target.fetch(9) == b"more");
}

#[test]
fn a_side_that_does_not_read_is_not_read_for() {
    let mut bench = Bench::new(End::new(1000, 1 << 20), End::new(10, 1 << 20), 1 << 20);
    bench.client.send(&vec![b'x'; 10 * CHUNK]);
    bench.settle();
    assert_eq!(bench.client.incoming.len(), 9 * CHUNK, "one chunk is read");
    assert_eq!(bench.kept(), CHUNK - 10, "and what does not fit is kept, nothing beside");
    bench.target.send(b"back");
    bench.settle();
    assert_eq!(bench.client.fetch(9), b"back", "the other way is free");
    for _ in 0..20 * CHUNK {
        bench.target.fetch(10);
        bench.settle();
    }
    assert_eq!((bench.client.incoming.len(), bench.kept()), (0, 0));
}

#[test]
fn a_turn_is_bounded_and_neither_way_starves_the_other() {
    let huge = 64 * CHUNK;
    let mut bench = Bench::new(End::new(huge, huge), End::new(huge, huge), CHUNK);
    bench.client.send(&vec![1; huge]);
    bench.target.send(&vec![2; huge]);
    bench.turn();
    assert!(bench.more);
    let half = usize::try_from(CALLS / 2).unwrap() * CHUNK;
    assert_eq!((bench.client.outgoing.len(), bench.target.outgoing.len()), (half, half));
    bench.settle();
    assert_eq!((bench.client.outgoing.len(), bench.target.outgoing.len()), (huge, huge));
}

#[test]
fn nothing_is_called_on_a_side_that_has_nothing_to_say() {
    let mut bench = plain();
    bench.settle();
    bench.client.send(b"x");
    bench.turn();
    assert_eq!((bench.client.calls, bench.target.calls), (2, 1), "two reads, one write");
}

#[test]
fn a_side_that_cannot_be_read_ends_both_ways_and_the_other_is_reset() {
    let mut bench = plain();
    bench.client.send(b"before");
    bench.client.breaks(Some(ErrorKind::ConnectionReset), None);
    bench.settle();
    assert!(bench.finished);
    assert_eq!(bench.target.fetch(9), b"before");
    assert!(!bench.target.outgoing_ended && bench.relay.resets(Side::Target));
    assert_eq!(bench.relay.failure().unwrap().side, Side::Client);
}

#[test]
fn an_answer_given_before_a_proper_end_is_delivered_although_the_question_is_not_taken() {
    let mut bench = plain();
    bench.settle();
    bench.target.send(b"413 too large");
    bench.target.finish();
    bench.target.breaks(None, Some(ErrorKind::BrokenPipe));
    bench.client.send(b"a long question");
    bench.settle();
    assert!(bench.finished && bench.client.outgoing_ended);
    assert_eq!(bench.client.fetch(99), b"413 too large");
    assert!(!bench.relay.resets(Side::Client) && bench.relay.resets(Side::Target));
    assert_eq!(bench.relay.failure().unwrap().side, Side::Target);
}

#[test]
fn an_end_that_follows_a_reset_is_not_passed_on_as_one() {
    for side in [Side::Client, Side::Target] {
        let mut bench = plain();
        bench.settle();
        // The write takes the error away; all that is left to read looks like an end.
        let (dead, alive) = match side {
            Side::Client => (&mut bench.client, &mut bench.target),
            Side::Target => (&mut bench.target, &mut bench.client),
        };
        dead.breaks(None, Some(ErrorKind::BrokenPipe));
        dead.reset = true;
        dead.send(b"half of");
        dead.finish();
        alive.send(b"x");
        bench.settle();
        assert!(bench.finished, "{side:?}");
        let (alive, other) = match side {
            Side::Client => (&mut bench.target, Side::Target),
            Side::Target => (&mut bench.client, Side::Client),
        };
        assert!(!alive.outgoing_ended && bench.relay.resets(other));
    }
}

#[test]
fn an_end_of_the_client_that_is_doubted_is_passed_on_if_it_is_a_proper_one() {
    for properly in [true, false] {
        let mut bench = plain();
        bench.relay = Relay::beginning_with(b"head ".to_vec(), true);
        bench.client.send(b"body");
        bench.client.finish();
        bench.settle();
        assert!(!bench.target.outgoing_ended && !bench.finished);
        assert_eq!(bench.target.fetch(99), b"head body");
        // Asked again, the same is asked.
        bench.more = true;
        bench.settle();
        assert!(!bench.target.outgoing_ended && !bench.finished);
        bench.relay.client_ends(properly);
        bench.more = true;
        bench.settle();
        assert_eq!((bench.target.outgoing_ended, bench.finished), (properly, !properly));
        assert_eq!(bench.relay.resets(Side::Target), !properly);
        assert_eq!(bench.relay.failure().map(|it| it.side), (!properly).then_some(Side::Client));
    }
}

#[test]
fn a_relay_takes_128_bytes_at_most() {
    assert!(size_of::<Relay>() <= 128, "{}", size_of::<Relay>());
}

/// What the world does.
#[derive(Debug, Clone)]
enum Deed {
    Send(bool, usize),
    Take(bool, usize),
    Finish(bool),
    Turn,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        4 => (any::<bool>(), 0usize..300).prop_map(|(side, count)| Deed::Send(side, count)),
        4 => (any::<bool>(), 0usize..300).prop_map(|(side, count)| Deed::Take(side, count)),
        1 => any::<bool>().prop_map(Deed::Finish),
        6 => proptest::strategy::Just(Deed::Turn),
    ];
    proptest::collection::vec(deed, 0..200)
}

proptest! {
    #[test]
    fn whatever_the_chunks_the_bytes_are_the_same(
        deeds in deeds(),
        sizes in (1usize..200, 1usize..50, 1usize..200, 1usize..50, 1usize..100),
    ) {
        let (c, cm, t, tm, scratch) = sizes;
        let mut bench = Bench::new(End::new(c, cm), End::new(t, tm), scratch);
        // Sent to, and taken from: client, target.
        let mut sent = [Vec::new(), Vec::new()];
        let mut taken = [Vec::new(), Vec::new()];
        let mut byte = 0u8;
        for deed in deeds {
            match deed {
                Deed::Turn => bench.turn(),
                Deed::Send(client, count) => {
                    let end = if client { &mut bench.client } else { &mut bench.target };
                    if !end.incoming_ends {
                        let bytes: Vec<u8> = std::iter::repeat_with(|| {
                            byte = byte.wrapping_mul(5).wrapping_add(3);
                            byte
                        }).take(count).collect();
                        end.send(&bytes);
                        sent[usize::from(client)].extend(bytes);
                    }
                }
                Deed::Take(client, count) => {
                    let end = if client { &mut bench.client } else { &mut bench.target };
                    taken[usize::from(client)].extend(end.fetch(count));
                }
                Deed::Finish(client) => {
                    let end = if client { &mut bench.client } else { &mut bench.target };
                    end.finish();
                }
            }
            prop_assert!(bench.kept() <= 2 * scratch);
        }
        bench.client.finish();
        bench.target.finish();
        // Everybody takes what there is, until nothing moves any more.
        for _ in 0..100_000 {
            bench.turn();
            let (client, target) = (bench.client.fetch(7), bench.target.fetch(11));
            let idle = client.is_empty() && target.is_empty() && !bench.more;
            taken[1].extend(client);
            taken[0].extend(target);
            if idle && !bench.client.announced && !bench.target.announced {
                break;
            }
        }
        prop_assert!(bench.finished, "an announcement was lost");
        prop_assert_eq!(&taken[0], &sent[1]);
        prop_assert_eq!(&taken[1], &sent[0]);
        prop_assert!(bench.client.outgoing_ended && bench.target.outgoing_ended);
        prop_assert_eq!(bench.kept(), 0);
    }
}
