//! `oxinetd status --watch`: the same again and again, with plots of what came between. On a
//! terminal each look takes the place of the one before; elsewhere they follow each other.

use std::env;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};
use unicode_width::UnicodeWidthChar as _;

use super::asking::{asked, read};
use super::failure::{CommandFailure, SYSTEM};
use super::output::write;
use crate::cli::StatusOf;
use crate::control::answer::{ServiceStatus, Status};
use crate::control::history::{History, LOOKS, Pen, WatchedRates};
use crate::control::request::Request;
use crate::control::table;
use crate::sys::terminal;

/// Clears a terminal.
const CLEAR: &str = "\x1b[2J";
/// Goes to its first line.
const HOME: &str = "\x1b[H";
/// Erases what was longer before: in this line, and below.
const END_OF_LINE: &str = "\x1b[K";
const END: &str = "\x1b[J";

/// A terminal whose size is not known, and one below which plots are short.
const USUAL: (usize, usize) = (80, 24);
const WIDE: usize = 110;

/// Until interrupted, or until nobody reads it any more. A server that has been there once is
/// waited for when it has gone: it may be started again.
pub(super) fn watch(of: &StatusOf, pause: Duration) -> Result<(), CommandFailure> {
    let (mut history, start, pen) = (History::default(), Instant::now(), pen());
    let is_screen =
        io::stdout().is_terminal() && env::var_os("TERM").is_some_and(|it| it != "dumb");
    let (mut before, mut was_there) = (if is_screen { CLEAR } else { "" }, false);
    loop {
        let size = is_screen.then(size);
        let width = size.map_or(0, |(columns, _)| if columns < WIDE { LOOKS / 2 } else { LOOKS });
        let text = match look(of, start.elapsed(), &mut history, (pen, width)) {
            Err(failure) if was_there && failure.status == SYSTEM => gone(failure),
            text => text?,
        };
        was_there = true;
        let text = match size {
            Some(size) => format!("{before}{}", screen(&text, size)),
            None => format!("{before}{text}"),
        };
        if !write(&text)? {
            return Ok(());
        }
        before = if is_screen { "" } else { "\n" };
        wait(pause);
    }
}

fn look(
    of: &StatusOf,
    at: Duration,
    history: &mut History,
    (pen, width): (Pen, usize),
) -> Result<String, CommandFailure> {
    let answer = asked(&of.control, &Request::Status { service: of.service.clone() })?;
    if !answer.ends_with(b"\n") {
        return Err(CommandFailure::new(SYSTEM, "it has ended while it answered"));
    }
    if of.service.is_some() {
        let service: ServiceStatus = read(&answer)?;
        history.see_service(at, &service);
        return Ok(table::service(&service, Some(WatchedRates { history, pen, width })));
    }
    let status: Status = read(&answer)?;
    history.see(at, &status);
    Ok(table::status(&status, Some(WatchedRates { history, pen, width })))
}

/// What is shown while no server answers.
fn gone(failure: CommandFailure) -> String {
    let why = failure.message.unwrap_or_default();
    // What helps who has asked at the wrong place helps nobody who has asked at the right one.
    let why = why.split_once(';').map_or(why.as_str(), |(why, _)| why);
    format!("the server has gone ({why}): waiting for it to come back\n")
}

/// As much as there is room for, over whatever is there.
fn screen(text: &str, (columns, rows): (usize, usize)) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let room = rows.saturating_sub(1).max(1);
    let shown = if lines.len() > room { room.saturating_sub(1) } else { lines.len() };
    let mut out = HOME.to_owned();
    let rest = lines.len().saturating_sub(shown);
    let more = (rest > 0).then(|| format!("... and {}", table::counted(rest, "more line")));
    for line in lines.iter().take(shown).copied().chain(more.as_deref()) {
        out.push_str(cut(line, columns));
        out.push_str(END_OF_LINE);
        out.push('\n');
    }
    out + END
}

/// The beginning of a line that fits.
fn cut(line: &str, columns: usize) -> &str {
    let mut width = 0usize;
    let end = line.char_indices().find(|(_, character)| {
        width = width.saturating_add(character.width().unwrap_or(0));
        width > columns
    });
    end.and_then(|(end, _)| line.get(..end)).unwrap_or(line)
}

fn size() -> (usize, usize) {
    let found = terminal::size(&io::stdout());
    found.map_or(USUAL, |(columns, rows)| (columns.into(), rows.into()))
}

/// Blocks only where whoever reads them has said that he has such letters.
fn pen() -> Pen {
    let said = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(env::var_os);
    let locale = said.into_iter().find(|it| !it.is_empty()).unwrap_or_default();
    let letters = locale.to_string_lossy().to_ascii_lowercase().replace('-', "");
    if letters.ends_with("utf8") || letters.contains("utf8@") { Pen::Blocks } else { Pen::Ascii }
}

/// Waits; an interrupt ends the program.
fn wait(time: Duration) {
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut [], timeout);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_has_what_fits() {
        let text = "one two\nthree\nfour\nfive\n";
        let line = |text: &str| format!("{text}\x1b[K\n");
        let all = ["one two", "three", "four", "five"].map(line).concat();
        assert_eq!(screen(text, (80, 24)), format!("\x1b[H{all}\x1b[J"));
        let some = ["one ", "... "].map(line).concat();
        assert_eq!(screen(text, (4, 3)), format!("\x1b[H{some}\x1b[J"));
        assert_eq!(screen(text, (4, 0)), format!("\x1b[H{}\x1b[J", line("... ")));
    }

    #[test]
    fn wide_letters_are_not_cut_in_two() {
        assert_eq!(cut("日本語", 5), "日本");
        assert_eq!(cut("▁▂▇", 3), "▁▂▇");
        assert_eq!(cut("", 0), "");
    }
}
