//! Who answers at the control socket need not be the server: whoever asks is neither filled
//! with an endless answer nor shown what it does not say.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};
use std::thread;

use serde_json::json;

use crate::common::Folder;
use crate::common::daemon::BINARY;

/// More than any answer may have, but an end, should nobody else make one.
const FAR_TOO_MUCH: usize = 300 << 20;

/// What reorders, hides and drives: a right-to-left override, a zero-width space, a soft
/// hyphen, a tag, a variation selector, private use, C1's control sequence introducer.
const NASTY: &str = "a\u{202e}b\u{200b}c\u{ad}d\u{e0041}e\u{fe0f}f\u{e000}g\u{9b}h";

/// Asks a server that answers with `first`, and then with this byte until it is heard no more.
fn asked(arguments: &[&str], first: Vec<u8>, then: Option<u8>) -> Output {
    let folder = Folder::new();
    let path = folder.at("liar");
    let listener = UnixListener::bind(&path).unwrap();
    let liar = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let _ = BufReader::new(&client).read_line(&mut String::new());
        let _ = client.write_all(&first);
        let Some(byte) = then else { return };
        let many = vec![byte; 1 << 20];
        (0..FAR_TOO_MUCH / many.len()).try_for_each(|_| client.write_all(&many)).unwrap_or(());
    });
    let output = Command::new(BINARY).args(arguments).arg("--control").arg(&path).output();
    liar.join().unwrap();
    output.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn an_answer_without_end_is_not_read_to_the_end() {
    for command in ["status", "peers", "reload", "upgrade", "stop"] {
        let output = asked(&[command], Vec::new(), Some(b' '));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(71), "{command}: {said}");
        assert!(said.contains("the answer is longer than"), "{command}: {said}");
    }
    // The second part of this one is the end of the connection.
    let first = json!({"stopping": true, "running": 0}).to_string() + "\n";
    let output = asked(&["stop"], first.into_bytes(), Some(b'\n'));
    assert_eq!(output.status.code(), Some(71), "{}", text(&output.stderr));
}

#[test]
fn what_would_hide_or_reorder_text_is_not_shown() {
    let error = json!({"error": format!("{NASTY}\nsecond line")}).to_string();
    let output = asked(&["reload"], error.into_bytes(), None);
    assert_eq!(text(&output.stderr), "oxinetd: a?b?c?d?e?f?g?h\n  second line\n");
    let upgraded = json!({"upgraded": NASTY, "from": NASTY, "pid": 1}).to_string();
    let output = asked(&["upgrade"], upgraded.into_bytes(), None);
    let wanted = "upgraded from a?b?c?d?e?f?g?h to a?b?c?d?e?f?g?h, pid 1\n";
    assert_eq!(text(&output.stdout), wanted);
    // As JSON it is the same text for a program, and nothing for a terminal.
    let status = |version: &str| {
        json!({"version": version, "pid": 2, "state": "serving", "started": 3, "uptime": 4,
            "running": 5, "max_children": 6, "conversations": 7, "accepted": 8, "refused": 9,
            "failed": 10, "log_dropped": 11})
    };
    let answer = status(NASTY).to_string().into_bytes();
    let table = text(&asked(&["status"], answer.clone(), None).stdout);
    assert!(table.starts_with("oxinetd a?b?c?d?e?f?g?h, pid 2"), "{table}");
    let shown = text(&asked(&["status", "--json"], answer, None).stdout);
    assert!(shown.contains("a\\u202eb\\u200bc\\u00add\\udb40\\udc41e\\ufe0ff\\ue000g\\u009bh"));
    let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(read["version"], json!(NASTY));
}
