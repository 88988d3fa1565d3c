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

/// Passes on what is said; the end is a period, and a question is none of its business.
struct Plain;

impl Front for Plain {
    fn client_said(&mut self, bytes: &mut [u8], out: &mut Output) -> Result<usize, String> {
        if bytes.contains(&b'?') {
            out.to_client.extend_from_slice(b"alert");
            return Err("question".to_owned());
        }
        out.facts = Some(Vec::new());
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
    session: Session,
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
    let sides = (Side::new(side, Give::Socket), Side::of_program(other, Give::Socket));
    let session = Session::new(1, sides.0, sides.1, Box::new(Plain));
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
