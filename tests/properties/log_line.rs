//! What programs, files and peers say, as it is in the log.

use std::cell::RefCell;
use std::sync::Once;

use log::{LevelFilter, Log, Metadata, Record};
use oxinetd::under_test::log::Address;
use oxinetd::under_test::log::events;
use oxinetd::under_test::log::{Label, Message, Plain};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps lines instead of writing them.
struct Keeper;

impl Log for Keeper {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

/// The line that somebody says.
fn said(say: impl FnOnce()) -> String {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Keeper).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
    LINES.take();
    say();
    let lines = LINES.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.concat()
}

/// It is one line that drives no terminal, and nothing of it is lost.
pub(super) fn holds(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let label = Label::new(&text, None);
    let line = said(|| events::stderr(&label, 7, bytes, false));
    is_plain(&line);
    let quoted = line.rsplit_once(" line=\"").map(|(_, rest)| rest).unwrap();
    assert_eq!(unescaped(quoted.strip_suffix('"').unwrap()), bytes, "{line}");
    is_plain(&said(|| events::control(Address::None, &text)));
    is_plain(&said(|| events::trouble(&text, "call", &text)));
    is_plain(&said(|| events::upgrade_refused(&text)));
    is_plain(&Plain(&text).to_string());
    let object = format!("{{{}}}", Message(&text));
    is_plain(&object);
    let read: serde_json::Value = serde_json::from_str(&object).unwrap();
    assert_eq!(read["message"], *text);
}

fn is_plain(line: &str) {
    let reorders = |it: char| matches!(it, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!line.contains(|it: char| it.is_control() || reorders(it)), "{line:?}");
}

/// The bytes that a quoted value stands for.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let escape = rest.strip_prefix('\\');
        let length = match (escape.and_then(|it| it.chars().next()), escape) {
            (Some('x'), Some(escape)) => {
                bytes.push(u8::from_str_radix(&escape[1..3], 16).unwrap());
                4
            }
            (Some('u'), Some(escape)) => {
                let (digits, _) = escape[2..].split_once('}').unwrap();
                let number = u32::from_str_radix(digits, 16).unwrap();
                let character = char::from_u32(number).unwrap();
                bytes.extend(character.to_string().bytes());
                digits.len() + 4
            }
            (Some('t'), _) => {
                bytes.push(b'\t');
                2
            }
            (Some(other), _) => {
                assert!(matches!(other, '"' | '\\'), "{text}");
                bytes.extend(other.to_string().bytes());
                2
            }
            (None, _) => {
                assert_ne!(next, '"', "{text}");
                bytes.extend(next.to_string().bytes());
                next.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    bytes
}
