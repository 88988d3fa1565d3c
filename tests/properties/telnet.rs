//! A telnet client: the first byte says how much of it comes at once, the rest is what it
//! sends, and what a program shows it, too.

use oxinetd::config::model::is_terminal_name;
use oxinetd::under_test::front::Telnet;

const IAC: u8 = 255;

/// What is typed and answered does not depend on how it comes; both have their bounds; and what
/// a program shows comes out of the protocol as it went in.
pub(super) fn holds(bytes: &[u8]) {
    let [most, sent @ ..] = bytes else { return };
    let (at_once, bytewise) =
        (served(sent, sent.len().max(1)), served(sent, 1 + usize::from(*most)));
    assert_eq!(at_once, bytewise);
    let Served { typed, answered, term } = at_once;
    assert!(typed.len() <= sent.len() && answered.len() <= sent.len() * 5);
    assert!(term.is_none_or(|term| is_terminal_name(&term)));
    let mut shown = Vec::new();
    for piece in sent.chunks(1 + usize::from(*most)) {
        Telnet::new().send(piece, &mut shown);
    }
    assert_eq!(seen(&shown), sent);
}

#[derive(Debug, PartialEq)]
struct Served {
    typed: Vec<u8>,
    answered: Vec<u8>,
    term: Option<String>,
}

fn served(sent: &[u8], most: usize) -> Served {
    let (mut telnet, mut typed, mut answered) = (Telnet::new(), Vec::new(), Vec::new());
    let _ = telnet.take_answers();
    for piece in sent.chunks(most) {
        telnet.receive(piece, &mut typed);
        answered.extend(telnet.take_answers());
    }
    let term = telnet.term().map(str::to_owned);
    Served { typed, answered, term }
}

/// What a client makes of it, as RFC 854 says.
fn seen(shown: &[u8]) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut bytes = shown.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        seen.push(byte);
        match byte {
            IAC => assert_eq!(bytes.next(), Some(IAC), "no command is in what is shown"),
            b'\r' => match bytes.peek() {
                Some(0) => _ = bytes.next(),
                next => assert_eq!(next, Some(&b'\n')),
            },
            _ => {}
        }
    }
    seen
}
