//! The conversations over a stream that does everything a stream can do:
//! blocks, moves less than asked, is interrupted, ends and fails at any place.

use super::state_machine::Wants;
use super::*;
use crate::config::model::{Builtin, SocketType, TcpmuxName};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

const CLOCK: WallClock = WallClock { utc_seconds: 1_795_387_689, offset_seconds: 0 };

/// What a read does next.
#[derive(Debug, Clone)]
enum Incoming {
    Bytes(Vec<u8>),
    Fail(ErrorKind),
    End,
}

/// What a write does next.
#[derive(Debug, Clone, Copy)]
enum Room {
    Bytes(usize),
    Fail(ErrorKind),
}

/// A stream that follows a script. Nothing left to read blocks; nothing left
/// about writes is room for everything.
#[derive(Debug, Default)]
struct Script {
    incoming: VecDeque<Incoming>,
    room: VecDeque<Room>,
    written: Vec<u8>,
    writes: Vec<usize>,
    reads: usize,
}

impl Script {
    fn new(incoming: impl IntoIterator<Item = Incoming>) -> Self {
        Self { incoming: incoming.into_iter().collect(), ..Self::default() }
    }

    fn with_room(mut self, room: impl IntoIterator<Item = Room>) -> Self {
        self.room = room.into_iter().collect();
        self
    }
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        match self.incoming.pop_front() {
            None => Err(ErrorKind::WouldBlock.into()),
            Some(Incoming::Fail(kind)) => Err(kind.into()),
            Some(Incoming::End) => {
                self.incoming.push_front(Incoming::End);
                Ok(0)
            }
            Some(Incoming::Bytes(mut bytes)) => {
                let length = bytes.len().min(buffer.len());
                buffer[..length].copy_from_slice(&bytes[..length]);
                let rest = bytes.split_off(length);
                if !rest.is_empty() {
                    self.incoming.push_front(Incoming::Bytes(rest));
                }
                Ok(length)
            }
        }
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = match self.room.pop_front() {
            None => bytes.len(),
            Some(Room::Bytes(room)) => room.min(bytes.len()),
            Some(Room::Fail(kind)) => return Err(kind.into()),
        };
        self.written.extend(&bytes[..length]);
        self.writes.push(length);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(kind: Builtin) -> Conversation {
    Conversation::new(kind, SocketType::Stream, CLOCK)
}

fn bytes(text: &str) -> Incoming {
    Incoming::Bytes(text.into())
}

/// Turns until it neither blocks nor wants more; a script that blocks is
/// announced ready again as long as something is left in it.
fn run(conversation: &mut Conversation, script: &mut Script, scratch: usize) -> Progress {
    let mut scratch = vec![0; scratch];
    loop {
        match conversation.turn(script, &mut scratch).unwrap() {
            Progress::More => {}
            Progress::Blocked if !script.incoming.is_empty() || !script.room.is_empty() => {}
            progress => return progress,
        }
    }
}

#[test]
fn an_idle_conversation_is_small() {
    assert!(size_of::<Conversation>() <= 64);
}

#[test]
fn echo_reads_nothing_while_something_is_unwritten() {
    let blocked = Room::Fail(ErrorKind::WouldBlock);
    let mut script = Script::new([bytes("abcdef"), bytes("gh")]).with_room([
        Room::Bytes(2),
        blocked,
        blocked,
        Room::Bytes(1),
        blocked,
    ]);
    let (mut echo, mut scratch) = (open(Builtin::Echo), [0; 64]);
    let waiting_to_write = Wants { readable: false, writable: true };
    for written in ["ab", "ab", "abc"] {
        assert_eq!(echo.turn(&mut script, &mut scratch).unwrap(), Progress::Blocked);
        assert_eq!((script.written.as_slice(), script.reads), (written.as_bytes(), 1));
        assert_eq!(echo.wants(), waiting_to_write);
    }
    assert_eq!(echo.turn(&mut script, &mut scratch).unwrap(), Progress::Blocked);
    assert_eq!(script.written, b"abcdefgh");
    assert_eq!(echo.wants(), Wants { readable: true, writable: false });
}

#[test]
fn echo_gives_everything_back_before_it_closes() {
    for blocked_after in 0..6 {
        let room = [Room::Bytes(blocked_after), Room::Fail(ErrorKind::WouldBlock)];
        let room = room.into_iter().skip(usize::from(blocked_after == 0));
        let mut script = Script::new([bytes("abcdef"), Incoming::End]).with_room(room);
        assert_eq!(run(&mut open(Builtin::Echo), &mut script, 64), Progress::Finished);
        assert_eq!(script.written, b"abcdef");
    }
}

#[test]
fn echo_gives_up_its_turn_to_others() {
    let mut script = Script::new((0..100).map(|_| bytes("x")));
    let mut echo = open(Builtin::Echo);
    assert_eq!(echo.turn(&mut script, &mut [0; 64]).unwrap(), Progress::More);
    assert_eq!(script.written.len(), 8);
    let mut script = Script::new([Incoming::Bytes(vec![0; 8 << 20])]);
    assert_eq!(echo.turn(&mut script, &mut vec![0; 256 << 10]).unwrap(), Progress::More);
    assert_eq!(script.written.len(), 512 << 10);
}

#[test]
fn echo_sends_each_packet_back_whole() {
    let packets = ["one", "two and more", "3"];
    let blocked = Room::Fail(ErrorKind::WouldBlock);
    let mut script = Script::new(packets.map(bytes).into_iter().chain([Incoming::End]))
        .with_room([blocked, blocked, Room::Bytes(64), blocked]);
    let mut echo = Conversation::new(Builtin::Echo, SocketType::SeqPacket, CLOCK);
    assert_eq!(run(&mut echo, &mut script, 1 << 16), Progress::Finished);
    assert_eq!(script.writes, packets.map(str::len));
}

#[test]
fn errors_end_every_service_and_a_departure_is_none() {
    let kinds = [Builtin::Echo, Builtin::Discard, Builtin::Chargen, Builtin::Tcpmux];
    for kind in kinds {
        let turn = |error| {
            let mut script = Script::new([Incoming::Fail(error)]);
            open(kind).turn(&mut script, &mut [0; 64])
        };
        let failure = turn(ErrorKind::Other).unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Other, "{kind:?}");
        assert_eq!(turn(ErrorKind::ConnectionReset).unwrap(), Progress::Finished, "{kind:?}");
    }
    for kind in [Builtin::Chargen, Builtin::Daytime, Builtin::Time] {
        let turn = |room| open(kind).turn(&mut Script::default().with_room([room]), &mut [0; 64]);
        let failure = turn(Room::Fail(ErrorKind::Other)).unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Other, "{kind:?}");
        assert_eq!(turn(Room::Fail(ErrorKind::BrokenPipe)).unwrap(), Progress::Finished);
        let failure = turn(Room::Bytes(0)).unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::WriteZero, "no spinning");
    }
}

#[test]
fn interruptions_are_retried_but_not_for_ever() {
    let interrupted = || Incoming::Fail(ErrorKind::Interrupted);
    let mut script = Script::new([interrupted(), bytes("a"), interrupted(), Incoming::End])
        .with_room([Room::Fail(ErrorKind::Interrupted)]);
    let mut scratch = [0; 64];
    let progress = open(Builtin::Echo).turn(&mut script, &mut scratch).unwrap();
    assert_eq!((progress, script.written.as_slice()), (Progress::Finished, b"a".as_slice()));
    let mut script = Script::new((0..100).map(|_| interrupted()));
    assert_eq!(open(Builtin::Echo).turn(&mut script, &mut scratch).unwrap(), Progress::More);
}

#[test]
fn discard_reads_to_the_end_and_says_nothing() {
    let mut script = Script::new((0..50).map(|_| bytes("abc")).chain([Incoming::End]));
    assert_eq!(run(&mut open(Builtin::Discard), &mut script, 64), Progress::Finished);
    assert!(script.writes.is_empty());
}

#[test]
fn chargen_goes_on_where_it_was() {
    let room = [1, 73, 5, 100_000, 7, 6_944, 1].map(Room::Bytes);
    let blocked = Room::Fail(ErrorKind::WouldBlock);
    let room = room.into_iter().flat_map(|room| [room, blocked]);
    let mut script = Script::default().with_room(room);
    let (mut chargen, mut scratch) = (open(Builtin::Chargen), [0; 64]);
    while !script.room.is_empty() {
        assert_eq!(chargen.turn(&mut script, &mut scratch).unwrap(), Progress::Blocked);
    }
    let whole = chargen::pattern(7030).repeat(20);
    assert_eq!(script.written, whole[..script.written.len()]);
    assert_eq!(chargen.turn(&mut script, &mut scratch).unwrap(), Progress::More, "without end");
}

#[test]
fn chargen_reads_what_it_is_sent_and_serves_who_has_stopped_sending() {
    let blocked = Room::Fail(ErrorKind::WouldBlock);
    let sent = (0..6).map(|_| bytes("x")).chain([Incoming::End]);
    let mut script = Script::new(sent).with_room([blocked, blocked, blocked]);
    let (mut chargen, mut scratch) = (open(Builtin::Chargen), [0; 64]);
    assert_eq!(chargen.turn(&mut script, &mut scratch).unwrap(), Progress::More, "unread input");
    assert_eq!(chargen.wants(), Wants { readable: true, writable: true });
    assert_eq!(chargen.turn(&mut script, &mut scratch).unwrap(), Progress::Blocked);
    assert_eq!(chargen.wants(), Wants { readable: false, writable: true });
    assert_eq!(chargen.turn(&mut script, &mut scratch).unwrap(), Progress::Blocked);
    assert_eq!(script.reads, 7);
}

#[test]
fn chargen_sends_lines_as_packets() {
    let mut script = Script::default();
    let mut chargen = Conversation::new(Builtin::Chargen, SocketType::SeqPacket, CLOCK);
    assert_eq!(chargen.turn(&mut script, &mut [0; 64]).unwrap(), Progress::More);
    assert!(script.writes.iter().all(|&length| length == 74));
    assert_eq!(script.written, chargen::pattern(script.written.len()));
}

#[test]
fn daytime_and_time_survive_short_writes_and_take_what_was_sent() {
    let answers: [(Builtin, &[u8]); 2] = [
        (Builtin::Daytime, b"Sun Nov 22 22:48:09 2026\r\n"),
        (Builtin::Time, &4_004_376_489_u32.to_be_bytes()),
    ];
    for (kind, answer) in answers {
        for at in 1..answer.len() {
            let room = [Room::Bytes(at), Room::Fail(ErrorKind::WouldBlock)];
            let mut script = Script::new([bytes("hello")]).with_room(room);
            let mut conversation = open(kind);
            assert_eq!(conversation.wants(), Wants { readable: false, writable: true });
            assert_eq!(run(&mut conversation, &mut script, 64), Progress::Finished);
            assert_eq!(script.written, answer);
            assert!(script.incoming.is_empty());
        }
    }
}

fn entry(name: &str, greet: bool) -> TcpmuxName {
    TcpmuxName { name: name.into(), greet }
}

#[test]
fn tcpmux_reads_a_line_and_not_a_byte_more() {
    for end in ["\r\n", "\n"] {
        for cut in 0..6 {
            let line = format!("Shell{end}for the program\r\n");
            let (one, two) = line.split_at(cut);
            let pieces = [one, two].into_iter().filter(|piece| !piece.is_empty());
            let mut script = Script::new(pieces.map(bytes));
            let mut tcpmux = open(Builtin::Tcpmux);
            let Progress::Handoff(request) = run(&mut tcpmux, &mut script, 64) else {
                panic!("no handoff");
            };
            assert_eq!(request.name, "Shell");
            assert!(!request.is_help());
            let mut left = String::new();
            script.incoming.push_back(Incoming::End);
            script.read_to_string(&mut left).unwrap();
            assert_eq!(left, "for the program\r\n");
            assert!(script.written.is_empty());
        }
    }
}

#[test]
fn tcpmux_lines_have_an_end() {
    let turned = |line: &str| {
        let mut script = Script::new([bytes(line), Incoming::End]);
        let progress = run(&mut open(Builtin::Tcpmux), &mut script, 64);
        (progress, String::from_utf8(script.written).unwrap())
    };
    let handoff = |name: &str| {
        let request = TcpmuxRequest { name: name.into() };
        (Progress::Handoff(request), String::new())
    };
    let refused = |words: &str| (Progress::Finished, words.to_owned());
    assert_eq!(turned("a name with blanks\n"), handoff("a name with blanks"));
    assert_eq!(turned("\r\n"), handoff(""));
    assert_eq!(turned("half-closed"), handoff("half-closed"));
    let longest = "x".repeat(256);
    assert_eq!(turned(&format!("{longest}\n")), handoff(&longest));
    assert_eq!(turned(&"x".repeat(100_000)), refused("-Service name too long\r\n"));
    assert_eq!(turned("a\x1b[2J\n"), refused(tcpmux::NOT_AVAILABLE));
    assert_eq!(turned("d\u{e9}j\u{e0}\n"), refused(tcpmux::NOT_AVAILABLE));
}

#[test]
fn a_tcpmux_client_that_says_nothing_wanted_nothing() {
    let mut script = Script::new([Incoming::End]);
    assert_eq!(run(&mut open(Builtin::Tcpmux), &mut script, 64), Progress::Finished);
    assert!(script.written.is_empty());
}

#[test]
fn tcpmux_help_lists_the_names() {
    assert!(TcpmuxRequest { name: "hElP".into() }.is_help());
    let names = [entry("date", true), entry("shell", false)];
    assert_eq!(tcpmux::help(&names), "date\r\nshell\r\n");
    assert_eq!(tcpmux::help(&[]), "");
}

#[test]
fn a_greeting_leaves_the_input_alone_and_a_farewell_takes_it() {
    let mut script = Script::new([bytes("for the program")]);
    let mut greeting = Conversation::greeting(tcpmux::GO);
    assert_eq!(greeting.turn(&mut script, &mut [0; 64]).unwrap(), Progress::Finished);
    assert_eq!((script.written.as_slice(), script.reads), (b"+Go\r\n".as_slice(), 0));
    let mut farewell = Conversation::farewell(tcpmux::help(&[entry("date", true)]));
    assert_eq!(farewell.turn(&mut script, &mut [0; 64]).unwrap(), Progress::Finished);
    assert_eq!(script.written, b"+Go\r\ndate\r\n");
    assert!(script.incoming.is_empty());
}

/// Over real sockets, a client that sends everything before it reads anything
/// gets as far as the kernel's buffers, and everything back in the end.
#[test]
fn echo_over_a_real_socket_holds_a_client_back_and_loses_nothing() {
    let (mut client, mut server) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    server.set_nonblocking(true).unwrap();
    let data: Vec<u8> = (0..4_000_000_u32).map(|at| (at % 251) as u8).collect();
    let (mut sent, mut received, mut scratch) = (0, Vec::new(), vec![0; 1 << 16]);
    let mut echo = open(Builtin::Echo);
    loop {
        match client.write(&data[sent..]) {
            Ok(length) => sent += length,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        let before = sent;
        while echo.turn(&mut server, &mut scratch).unwrap() == Progress::More {}
        sent += client.write(&data[sent..]).unwrap_or(0);
        if sent == before {
            break;
        }
    }
    assert!(sent < data.len(), "the client was never held back");
    let finished = loop {
        match client.read(&mut scratch) {
            Ok(length) => received.extend(&scratch[..length]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        sent += client.write(&data[sent..]).unwrap_or(0);
        if sent == data.len() {
            client.shutdown(std::net::Shutdown::Write).unwrap();
        }
        if echo.turn(&mut server, &mut scratch).unwrap() == Progress::Finished {
            break true;
        }
    };
    drop(server);
    client.set_nonblocking(false).unwrap();
    client.read_to_end(&mut received).unwrap();
    assert!(finished && received == data);
}

fn room() -> impl Strategy<Value = Room> {
    prop_oneof![
        (1_usize..40).prop_map(Room::Bytes),
        Just(Room::Fail(ErrorKind::WouldBlock)),
        Just(Room::Fail(ErrorKind::Interrupted)),
    ]
}

fn incoming() -> impl Strategy<Value = Incoming> {
    prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 1..100).prop_map(Incoming::Bytes),
        1 => Just(Incoming::Fail(ErrorKind::WouldBlock)),
        1 => Just(Incoming::Fail(ErrorKind::Interrupted)),
    ]
}

proptest! {
    #[test]
    fn echo_loses_and_changes_nothing(
        mut incoming in proptest::collection::vec(incoming(), 0..60),
        room in proptest::collection::vec(room(), 0..200),
        scratch in 1_usize..128,
    ) {
        let sent: Vec<u8> = incoming.iter().flat_map(|incoming| match incoming {
            Incoming::Bytes(bytes) => bytes.clone(),
            Incoming::Fail(_) | Incoming::End => Vec::new(),
        }).collect();
        incoming.push(Incoming::End);
        let mut script = Script::new(incoming).with_room(room);
        prop_assert_eq!(run(&mut open(Builtin::Echo), &mut script, scratch), Progress::Finished);
        prop_assert_eq!(script.written, sent);
    }

    #[test]
    fn chargen_is_its_pattern_however_it_is_written(
        room in proptest::collection::vec(room(), 1..200),
    ) {
        let mut script = Script::default().with_room(room);
        let (mut chargen, mut scratch) = (open(Builtin::Chargen), [0; 64]);
        while !script.room.is_empty() {
            chargen.turn(&mut script, &mut scratch).unwrap();
        }
        let whole = chargen::pattern(7030).repeat(script.written.len() / 7030 + 1);
        prop_assert_eq!(&script.written, &whole[..script.written.len()]);
    }

    #[test]
    fn no_input_panics_tcpmux(incoming in proptest::collection::vec(incoming(), 0..20)) {
        let mut script = Script::new(incoming);
        let progress = run(&mut open(Builtin::Tcpmux), &mut script, 64);
        if let Progress::Handoff(request) = progress {
            prop_assert!(request.name.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
