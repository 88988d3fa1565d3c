//! The log of the daemon under test: collected by a thread, looked at by the test.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::wait::DEADLINE;

/// One line of the log: `TIMESTAMP LEVEL word key=value …`.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// As written, without the newline.
    pub(crate) raw: String,
}

impl Line {
    /// The word of the vocabulary, `ready`, `accepted`, …; empty if there is none.
    pub(crate) fn word(&self) -> &str {
        self.raw.split_ascii_whitespace().nth(2).unwrap_or("")
    }

    /// Whether it says `word`.
    pub(crate) fn is(&self, word: &str) -> bool {
        self.word() == word
    }

    /// The level: `INFO`, `WARN`, `ERROR`.
    pub(crate) fn level(&self) -> &str {
        self.raw.split_ascii_whitespace().nth(1).unwrap_or("")
    }

    /// The value of `key` as written, without the quotes around it.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let start = self.raw.find(&format!(" {key}="))? + key.len() + 2;
        let rest = &self.raw[start..];
        match rest.strip_prefix('"') {
            Some(quoted) => quoted.get(..closing_quote(quoted)?),
            None => rest.split_ascii_whitespace().next().or(Some("")),
        }
    }

    /// The value of `key`, a number.
    pub(crate) fn number(&self, key: &str) -> Option<u32> {
        self.get(key)?.parse().ok()
    }

    /// Whether it is `word` about the service of `port`.
    pub(crate) fn about(&self, word: &str, port: u16) -> bool {
        self.is(word)
            && self
                .get("service")
                .is_some_and(|service| service.split('/').next() == Some(port.to_string().as_str()))
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

/// The lines so far, shared with the thread that reads them.
#[derive(Clone, Default)]
pub(crate) struct Log {
    shared: Arc<(Mutex<Lines>, Condvar)>,
}

const MOST_FROM_PROGRAMS: usize = 20_000;

#[derive(Default)]
struct Lines {
    lines: Vec<Line>,
    ended: bool,
    /// Lines of programs' standard error: a flood of them must not fill the memory.
    from_programs: usize,
}

impl Lines {
    fn push(&mut self, line: Line) {
        if line.is("stderr") {
            self.from_programs += 1;
            if self.from_programs > MOST_FROM_PROGRAMS {
                return;
            }
        }
        self.lines.push(line);
    }
}

impl Log {
    /// Collects everything that `source` says, in a thread of its own.
    pub(crate) fn follow(source: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(source);
            let mut bytes = Vec::new();
            while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
                let raw = String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned();
                bytes.clear();
                writer.shared.0.lock().unwrap().push(Line { raw });
                writer.shared.1.notify_all();
            }
            writer.shared.0.lock().unwrap().ended = true;
            writer.shared.1.notify_all();
        });
        log
    }

    /// How many lines there are: a place to look from later.
    pub(crate) fn mark(&self) -> usize {
        self.shared.0.lock().unwrap().lines.len()
    }

    /// All lines from `mark` on that `wanted` likes.
    pub(crate) fn all_after(&self, mark: usize, wanted: impl Fn(&Line) -> bool) -> Vec<Line> {
        let held = self.shared.0.lock().unwrap();
        held.lines.iter().skip(mark).filter(|line| wanted(line)).cloned().collect()
    }

    /// Waits until `count` lines from `mark` on are liked, and gives them.
    ///
    /// # Panics
    /// At the deadline or the end of the log, with the whole log.
    #[track_caller]
    pub(crate) fn wait(
        &self,
        mark: usize,
        count: usize,
        wanted: impl Fn(&Line) -> bool,
    ) -> Vec<Line> {
        let started = Instant::now();
        let mut held = self.shared.0.lock().unwrap();
        loop {
            let found: Vec<Line> =
                held.lines.iter().skip(mark).filter(|line| wanted(line)).cloned().collect();
            if found.len() >= count {
                return found;
            }
            let left = DEADLINE.saturating_sub(started.elapsed());
            if held.ended || left.is_zero() {
                let why = if held.ended { "the log ended" } else { "the deadline passed" };
                let text = text_of(&held.lines);
                drop(held);
                panic!("{} of {count} lines were there when {why}:\n{text}", found.len());
            }
            held = self.shared.1.wait_timeout(held, left).unwrap().0;
        }
    }

    /// Waits until the other end of the pipe is closed and everything has been read; not
    /// for long, a program that was left running may hold it open.
    pub(crate) fn wait_end(&self) {
        let held = self.shared.0.lock().unwrap();
        let span = Duration::from_secs(5);
        let _ = self.shared.1.wait_timeout_while(held, span, |lines| !lines.ended).unwrap();
    }

    /// The whole text, for messages.
    pub(crate) fn text(&self) -> String {
        text_of(&self.shared.0.lock().unwrap().lines)
    }
}

/// At most the first and last few hundred lines: a flood must not drown the message.
fn text_of(lines: &[Line]) -> String {
    let raw: Vec<&str> = lines.iter().map(|line| line.raw.as_str()).collect();
    if raw.len() <= 400 {
        return raw.join("\n");
    }
    let (head, tail) = (&raw[..150], &raw[raw.len() - 150..]);
    format!("{}\n… {} lines …\n{}", head.join("\n"), raw.len() - 300, tail.join("\n"))
}

#[test]
fn a_line_of_the_log_is_taken_apart() {
    let raw = r#"2026-11-22T23:05:09.123Z INFO  stderr service=50002/tcp pid=7 line="a \"b\" c=d""#;
    let line = Line { raw: raw.to_owned() };
    assert!(line.about("stderr", 50_002) && !line.about("stderr", 5000));
    assert_eq!((line.level(), line.number("pid")), ("INFO", Some(7)));
    assert_eq!(line.get("line"), Some(r#"a \"b\" c=d"#));
    assert_eq!(line.get("peer"), None);
}
