//! A client of a built-in service: the first three bytes say which service, how much
//! moves in one call and when the program is replaced; the rest is what the client sends.

use std::io::{self, ErrorKind, Read, Write};

use oxinetd::config::model::{Builtin, SocketType};
use oxinetd::under_test::builtin::{
    Conversation, Progress, TcpmuxRequest, WallClock, answer, tcpmux,
};

const CLOCK: WallClock = WallClock { utc_seconds: 1_795_387_689, offset_seconds: 3600 };
/// Enough to see that chargen goes on.
const TURNS: usize = 400;

/// What is answered does not depend on how it moves, nor on an upgrade meanwhile.
pub(super) fn holds(bytes: &[u8]) {
    let [kind, most, upgrade, sent @ ..] = bytes else { return };
    let kind = Builtin::ALL[usize::from(*kind) % Builtin::ALL.len()];
    let at_once = served(kind, sent, usize::MAX, 0);
    let client = served(kind, sent, 1 + usize::from(*most), usize::from(*upgrade));
    match kind {
        Builtin::Chargen => {
            let length = client.written.len().min(at_once.written.len());
            assert_eq!(client.written[..length], at_once.written[..length]);
        }
        _ => {
            assert_eq!(client.written, at_once.written);
            assert_eq!(client.request, at_once.request);
        }
    }
    match kind {
        Builtin::Echo => assert_eq!(client.written, sent),
        Builtin::Discard => assert!(client.written.is_empty()),
        Builtin::Tcpmux => is_what_the_line_says(&client, sent),
        Builtin::Chargen | Builtin::Daytime | Builtin::Time => {}
    }
    let mut out = Vec::new();
    answer(kind, sent, CLOCK, &mut out);
    assert!(out.len() <= sent.len().max(32));
}

/// A name comes from the line and nothing but it is taken of the stream.
fn is_what_the_line_says(client: &Client, sent: &[u8]) {
    let line = sent.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Some(TcpmuxRequest { name }) = &client.request else { return };
    assert!(name.len() <= tcpmux::LONGEST_LINE && client.read <= line.len() + 1);
    assert!(name.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{name:?}");
    assert_eq!(name.as_bytes(), line.strip_suffix(b"\r").unwrap_or(line));
    assert!(client.written.is_empty());
}

/// A client and what it has seen.
#[derive(Default)]
struct Client {
    read: usize,
    written: Vec<u8>,
    request: Option<TcpmuxRequest>,
}

/// A stream on which at most so much moves in a call, and every other call blocks.
struct Stream<'a> {
    sent: &'a [u8],
    most: usize,
    blocks: bool,
    client: Client,
}

impl Stream<'_> {
    fn length(&mut self, wanted: usize) -> io::Result<usize> {
        self.blocks = !self.blocks && self.most != usize::MAX;
        if self.blocks { Err(ErrorKind::WouldBlock.into()) } else { Ok(wanted.min(self.most)) }
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.length(buffer.len().min(self.sent.len()))?;
        let (taken, rest) = self.sent.split_at(length);
        buffer[..length].copy_from_slice(taken);
        self.sent = rest;
        self.client.read += length;
        Ok(length)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.length(bytes.len())?;
        // All that anybody looks at.
        if self.client.written.len() < 1 << 20 {
            self.client.written.extend(&bytes[..length]);
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Serves a client; after so many turns what is known of it is handed over.
fn served(kind: Builtin, sent: &[u8], most: usize, upgrade: usize) -> Client {
    let mut stream = Stream { sent, most, blocks: false, client: Client::default() };
    let mut conversation = Conversation::new(kind, SocketType::Stream, CLOCK);
    let mut scratch = vec![0; 64 * 1024];
    let enough = if kind == Builtin::Chargen { 4 } else { TURNS + 4 * sent.len() };
    for turn in 1..=enough {
        if turn == upgrade {
            let state = serde_json::to_value(&conversation).unwrap();
            conversation = serde_json::from_value(state).unwrap();
        }
        match conversation.turn(&mut stream, &mut scratch).unwrap() {
            Progress::Blocked | Progress::More => {}
            Progress::Finished => return stream.client,
            Progress::Handoff(request) => {
                stream.client.request = Some(request);
                return stream.client;
            }
        }
    }
    assert_eq!(kind, Builtin::Chargen, "does not end");
    stream.client
}
