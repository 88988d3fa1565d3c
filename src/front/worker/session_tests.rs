//! Sessions whose client has a socket of packets: each is what was sent at once.

use std::io::{IoSlice, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, send, sendmsg, socketpair,
};

use super::*;
use crate::front::wire::Give;

/// Passes on what is said, but the first words; the end is a period, and a question is none of
/// its business.
#[derive(Default)]
struct Plain {
    is_ready: bool,
}

impl Front for Plain {
    fn client_said(&mut self, bytes: &mut [u8], out: &mut Output) -> Result<usize, String> {
        if bytes.contains(&b'?') {
            out.to_client.extend_from_slice(b"alert");
            return Err("question".to_owned());
        }
        if std::mem::replace(&mut self.is_ready, true) {
            out.to_program.extend_from_slice(bytes);
        } else {
            out.facts = Some(Vec::new());
        }
        Ok(bytes.len())
    }

    fn program_said(&mut self, _: &mut [u8], bytes: &[u8], out: &mut Output) -> Result<(), String> {
        out.to_client.extend_from_slice(bytes);
        Ok(())
    }

    fn program_ended(&mut self, _: &mut [u8], out: &mut Output) {
        out.to_client.push(b'.');
    }
}

struct Bench {
    session: FrontSession,
    room: Room,
    poll: Poll,
    client: OwnedFd,
    program: Option<UnixStream>,
    told: Vec<Told>,
}

/// Somebody who has said this, and what came of it.
fn bench(said: &[u8]) -> (Bench, Turn) {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (client, side) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
    let (program, other) = UnixStream::pair().unwrap();
    let poll = Poll::new().unwrap();
    let other: OwnedFd = other.into();
    for (number, token) in [(side.as_raw_fd(), Token(0)), (other.as_raw_fd(), Token(1))] {
        poll.registry().register(&mut SourceFd(&number), token, Interest::READABLE).unwrap();
    }
    send(client.as_raw_fd(), said, MsgFlags::empty()).unwrap();
    let sides = (FrontSide::new(side, Give::Socket), FrontSide::of_program(other, Give::Socket));
    let session = FrontSession::new(1, sides.0, sides.1, Box::<Plain>::default());
    let (room, told) = (Room::new(), Vec::new());
    let mut bench = Bench { session, room, poll, client, program: Some(program), told };
    let turn = bench.session.turn(&mut bench.room, &mut bench.told);
    (bench, turn)
}

impl Bench {
    /// One that is ready.
    fn ready() -> Self {
        let (bench, turn) = bench(b"hello");
        assert_eq!((turn, &*bench.told), (Turn::Waiting, &[Told::Ready(Vec::new(), None)][..]));
        bench
    }

    fn program_says(&mut self, bytes: &[u8]) {
        self.program.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// What is announced by now, and what comes of it.
    fn turn(&mut self) -> Turn {
        let mut events = Events::with_capacity(4);
        self.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        for event in &events {
            match event.token() {
                Token(0) => self.session.client.announce(event),
                _ => self.session.program.announce_program(event),
            }
        }
        self.session.turn(&mut self.room, &mut self.told)
    }

    /// What the client has got in one piece; nothing is the end.
    fn heard(&self) -> String {
        let mut buffer = vec![0; 2 * PORTION];
        let length = recv(self.client.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

#[test]
fn what_a_program_says_last_goes_with_its_end() {
    let mut bench = Bench::ready();
    bench.program_says(b"one ");
    bench.program_says(b"two");
    bench.program = None;
    assert_eq!(bench.turn(), Turn::Leaving);
    assert_eq!((&*bench.heard(), &*bench.heard()), ("one two.", ""));
}

#[test]
fn what_it_says_before_goes_at_once() {
    let mut bench = Bench::ready();
    bench.program_says(b"one ");
    assert_eq!(bench.turn(), Turn::Waiting);
    assert_eq!(bench.heard(), "one ");
    bench.program = None;
    assert_eq!(bench.turn(), Turn::Leaving);
    assert_eq!((&*bench.heard(), &*bench.heard()), (".", ""));
}

/// A read ends with the descriptor, and what stands behind it has been announced.
#[test]
fn what_it_says_behind_a_descriptor_goes_at_once_too() {
    let mut bench = Bench::ready();
    bench.program_says(b"one ");
    let program = bench.program.as_ref().unwrap().as_raw_fd();
    let (parts, rights) = ([IoSlice::new(b"two ")], [ControlMessage::ScmRights(&[program])]);
    sendmsg::<()>(program, &parts, &rights, MsgFlags::empty(), None).unwrap();
    bench.program_says(b"three");
    assert_eq!(bench.turn(), Turn::Waiting);
    assert_eq!(bench.heard() + &bench.heard(), "one two three");
    bench.program = None;
    assert_eq!(bench.turn(), Turn::Leaving, "nobody has kept it");
}

/// As much as is read at once, and no more: the end is found the next time.
#[test]
fn a_whole_portion_before_the_end_is_no_end() {
    for more in [0, 1] {
        let mut bench = Bench::ready();
        let whole = "x".repeat(PORTION + more);
        bench.program_says(whole.as_bytes());
        bench.program = None;
        let mut turns = 0;
        while bench.turn() == Turn::More {
            turns += 1;
            assert!(turns < 9, "it does not end");
        }
        let mut heard = bench.heard();
        while heard.len() <= PORTION + more {
            heard += &bench.heard();
        }
        assert_eq!((heard == whole + ".", &*bench.heard()), (true, ""), "{more}");
    }
}

#[test]
fn an_alert_is_followed_by_the_end() {
    let (bench, turn) = bench(b"what?");
    assert_eq!(turn, Turn::Leaving);
    assert_eq!(bench.told, [Told::Failed("question".to_owned())]);
    assert_eq!((&*bench.heard(), &*bench.heard()), ("alert", ""));
}

#[test]
fn what_is_broken_off_is_delivered_and_its_end_is_not_that_of_the_front() {
    let mut bench = Bench::ready();
    bench.program_says(b"half of");
    bench.session.is_broken_off = true;
    bench.program = None;
    assert_eq!(bench.turn(), Turn::Leaving);
    assert_eq!((&*bench.heard(), &*bench.heard()), ("half of", ""));
}

/// What the server says of an end is heard when that is announced, and may not be before.
#[test]
fn an_end_that_is_not_announced_is_none_yet() {
    let mut bench = Bench::ready();
    let whole = "x".repeat(PORTION);
    bench.program_says(whole.as_bytes());
    let mut events = Events::with_capacity(4);
    bench.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    events.iter().for_each(|event| bench.session.program.announce_program(event));
    bench.program = None;
    assert_eq!(bench.session.turn(&mut bench.room, &mut bench.told), Turn::Waiting);
    assert_eq!(bench.heard(), whole);
    bench.session.is_broken_off = true;
    assert_eq!(bench.turn(), Turn::Leaving);
    assert_eq!(bench.heard(), "");
}

#[test]
fn a_program_that_takes_nothing_more_is_still_there_and_is_left_what_it_will_not_read() {
    let mut bench = Bench::ready();
    bench.program.as_ref().unwrap().shutdown(std::net::Shutdown::Read).unwrap();
    let piece = vec![b'x'; PORTION];
    let mut pieces = 0;
    while send(bench.client.as_raw_fd(), &piece, MsgFlags::MSG_DONTWAIT).is_ok() {
        bench.turn();
        pieces += 1;
        assert!(pieces * PORTION < 2 * (64 << 20), "it is thrown away without end");
    }
    assert!(pieces * PORTION > 64 << 20, "{pieces}");
    assert!(!bench.session.has_lost_its_program());
    bench.program_says(b"answer");
    bench.turn();
    assert_eq!(bench.heard(), "answer");
    bench.program = None;
    while bench.turn() == Turn::More {}
    assert!(bench.session.has_lost_its_program());
    assert_eq!((&*bench.heard(), &*bench.heard()), (".", ""));
}

#[test]
fn a_program_that_has_said_all_may_read_on() {
    use std::io::Read as _;

    let mut bench = Bench::ready();
    bench.program.as_ref().unwrap().shutdown(std::net::Shutdown::Write).unwrap();
    bench.turn();
    assert_eq!((&*bench.heard(), &*bench.heard()), (".", ""));
    assert!(!bench.session.has_lost_its_program());
    send(bench.client.as_raw_fd(), b"for you", MsgFlags::empty()).unwrap();
    assert_eq!(bench.turn(), Turn::Waiting);
    let mut read = [0; 7];
    bench.program.as_mut().unwrap().read_exact(&mut read).unwrap();
    assert_eq!(&read, b"for you");
}
