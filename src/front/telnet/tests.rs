//! A client that says this and that.

use super::commands::{DO, DONT, WONT};
use super::decoding::LONGEST;
use super::*;

const SGA: u8 = 3;
const ECHO: u8 = 1;

fn started() -> Telnet {
    let mut telnet = Telnet::new();
    let _ = telnet.take_answers();
    telnet
}

/// What is typed, and what is answered.
fn says(telnet: &mut Telnet, bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut typed = Vec::new();
    telnet.receive(bytes, &mut typed);
    (typed, telnet.take_answers())
}

fn sent(shown: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Telnet::new().send(shown, &mut out);
    out
}

#[test]
fn everything_is_asked_for_once_at_the_beginning() {
    let asked = [WILL, ECHO, WILL, SGA, DO, SGA, DO, TTYPE, DO, NAWS];
    let asked: Vec<u8> = asked.chunks(2).flat_map(|pair| [IAC, pair[0], pair[1]]).collect();
    assert_eq!(Telnet::new().take_answers(), asked);
    let mut telnet = started();
    let yes = [IAC, DO, ECHO, IAC, DO, SGA, IAC, WILL, SGA, IAC, WILL, NAWS];
    for _ in 0..3 {
        assert_eq!(says(&mut telnet, &yes), (vec![], vec![]), "agreement is not answered");
    }
}

#[test]
fn the_name_of_the_terminal_is_asked_for_when_there_is_one() {
    let mut telnet = started();
    let (_, asked) = says(&mut telnet, &[IAC, WILL, TTYPE]);
    assert_eq!(asked, [IAC, SB, TTYPE, SEND, IAC, SE]);
    assert!(!telnet.is_settled());
    says(&mut telnet, b"\xff\xfa\x18\x00XTERM-256color\xff\xf0");
    assert_eq!(telnet.term(), Some("xterm-256color"));
    assert!(!telnet.is_settled(), "the window is not known");
    says(&mut telnet, &[IAC, WONT, NAWS]);
    assert!(telnet.is_settled());
}

#[test]
fn names_are_of_few_characters() {
    for name in ["x y", "x;y", "../x", "", "x\0", "\u{e4}", &"x".repeat(65), "x\u{1b}"] {
        let mut telnet = started();
        says(&mut telnet, &[IAC, WILL, TTYPE]);
        let message = [&[IAC, SB, TTYPE, IS], name.as_bytes(), &[IAC, SE]].concat();
        assert_eq!(says(&mut telnet, &message), (vec![], vec![]));
        assert_eq!(telnet.term(), None, "{name:?}");
    }
}

#[test]
fn nothing_counts_that_was_not_agreed_on() {
    let mut telnet = started();
    says(&mut telnet, b"\xff\xfa\x18\x00vt100\xff\xf0\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0");
    assert_eq!((telnet.take_size(), telnet.term()), (None, None));
}

#[test]
fn the_window_changes_as_often_as_it_likes() {
    let mut telnet = started();
    says(&mut telnet, &[IAC, WILL, NAWS]);
    assert_eq!(telnet.take_size(), None);
    // 255 is said twice.
    says(&mut telnet, &[IAC, SB, NAWS, 0, IAC, IAC, 0, 24, IAC, SE]);
    assert_eq!(telnet.take_size(), Some(TerminalSize { columns: 255, rows: 24 }));
    assert_eq!(telnet.take_size(), None);
    says(&mut telnet, &[IAC, SB, NAWS, 0, 0, 0, 24, IAC, SE]);
    assert_eq!(telnet.take_size(), None, "it does not know");
    says(&mut telnet, &[IAC, SB, NAWS, 0xfe, 0xfe, 0, 1, IAC, SE]);
    assert_eq!(telnet.take_size(), Some(TerminalSize { columns: LARGEST, rows: 1 }));
    for wrong in [&[0, 80, 0][..], &[0, 80, 0, 24, 1]] {
        let message = [&[IAC, SB, NAWS], wrong, &[IAC, SE]].concat();
        says(&mut telnet, &message);
        assert_eq!(telnet.take_size(), None);
    }
}

#[test]
fn what_nobody_knows_is_refused_each_time_and_refusals_are_not_answered() {
    let mut telnet = started();
    assert_eq!(says(&mut telnet, &[IAC, WILL, 39]).1, [IAC, DONT, 39]);
    assert_eq!(says(&mut telnet, &[IAC, DO, 0]).1, [IAC, WONT, 0]);
    assert_eq!(says(&mut telnet, &[IAC, WONT, 39, IAC, DONT, 0]).1, b"");
    // Not the client's to do.
    assert_eq!(says(&mut telnet, &[IAC, WILL, ECHO]).1, [IAC, DONT, ECHO]);
}

#[test]
fn a_change_is_answered_and_its_echo_is_not() {
    let mut telnet = started();
    assert_eq!(says(&mut telnet, &[IAC, DONT, ECHO]).1, b"", "an answer to what was asked");
    assert_eq!(says(&mut telnet, &[IAC, DO, ECHO]).1, [IAC, WILL, ECHO]);
    assert_eq!(says(&mut telnet, &[IAC, DO, ECHO]).1, b"");
    assert_eq!(says(&mut telnet, &[IAC, DONT, ECHO]).1, [IAC, WONT, ECHO]);
    assert_eq!(says(&mut telnet, &[IAC, DONT, ECHO]).1, b"");
}

#[test]
fn two_who_negotiate_come_to_an_end() {
    let (mut one, mut other) = (Telnet::new(), Telnet::new());
    let mut typed = Vec::new();
    for _ in 0..8 {
        let (to_other, to_one) = (one.take_answers(), other.take_answers());
        other.receive(&to_other, &mut typed);
        one.receive(&to_one, &mut typed);
    }
    assert!(!one.has_answers() && !other.has_answers() && typed.is_empty());
}

#[test]
fn the_end_of_a_line_is_a_return() {
    let mut telnet = started();
    assert_eq!(says(&mut telnet, b"ls\r\nx\r\0y\rz\r\r\n\n").0, b"ls\rx\ry\rz\r\r\n");
    assert_eq!(says(&mut telnet, b"a\r").0, b"a\r", "and not when the next byte comes");
    assert_eq!(says(&mut telnet, b"\nb").0, b"b");
}

#[test]
fn commands_are_keys_and_an_escaped_byte_is_itself() {
    let mut telnet = started();
    let commands = [b'a', IAC, IAC, IAC, IP, IAC, 241, IAC, SUSP, IAC, EOF, IAC, ABORT, b'b'];
    assert_eq!(says(&mut telnet, &commands).0, [b'a', IAC, 3, 0x1a, 4, 0x1c, b'b']);
    let (typed, answered) = says(&mut telnet, &[IAC, AYT]);
    assert!(typed.is_empty() && answered.windows(3).any(|it| it == b"yes"));
}

#[test]
fn what_stands_before_something_urgent_is_no_typing_but_its_commands_count() {
    let mut telnet = started();
    telnet.discard(true);
    let before =
        [&b"junk\r\n"[..], &[IAC, EC, IAC, EL, IAC, IAC, IAC, IP, IAC, DO, 99, IAC]].concat();
    assert_eq!(says(&mut telnet, &before), (vec![3], vec![IAC, WONT, 99]));
    telnet.discard(false);
    assert_eq!(says(&mut telnet, &[DM, b'a']).0, b"a");
}

#[test]
fn who_wants_no_more_of_what_is_on_its_way_is_sent_a_synch_once() {
    let mut telnet = started();
    assert_eq!(telnet.take_synch(), None);
    assert_eq!(says(&mut telnet, &[IAC, AO, IAC, AO]), (vec![], vec![]));
    assert_eq!((telnet.take_synch(), telnet.take_synch()), (Some([IAC, DM]), None));
}

#[test]
fn whoever_says_too_much_of_an_option_has_said_nothing() {
    let mut telnet = started();
    says(&mut telnet, &[IAC, WILL, TTYPE]);
    let long = [&[IAC, SB, TTYPE, IS][..], &[b'x'; 1 << 20], &[IAC, SE, b'y']].concat();
    assert_eq!(says(&mut telnet, &long).0, b"y");
    assert!(telnet.decoder.said().len() <= LONGEST && telnet.term().is_none());
    // Nor whoever never ends it: the command counts.
    let unended = [IAC, SB, TTYPE, IS, b'v', b't', IAC, DO, 0, b'z'];
    assert_eq!(says(&mut telnet, &unended), (vec![b'z'], vec![IAC, WONT, 0]));
}

#[test]
fn what_is_shown_arrives_as_it_is() {
    assert_eq!(sent(b"a\r\nb"), b"a\r\nb");
    assert_eq!(sent(b"50%\r51%\r"), b"50%\r\x0051%\r\0");
    assert_eq!(sent(b"\xff"), b"\xff\xff");
    assert_eq!(sent(b""), b"");
}
