//! `pty_size`, `term`, and what a terminal changes about `stderr`.

use super::definition::Draft;
use super::form::Form;
use super::quantity::digits;
use super::value::{Problem, Value};
use crate::config::model::{StderrTo, TerminalSize, is_terminal_name};

/// More columns or rows than this are no terminal.
const LARGEST: u16 = 4096;

/// `COLUMNSxROWS`.
pub(super) const TERMINAL_SIZE: Form<TerminalSize> = Form {
    read: |value, _| size(value),
    show: |TerminalSize { columns, rows }| Some(format!("{columns}x{rows}")),
};

/// A name of terminfo(5).
pub(super) const TERM: Form<Option<String>> =
    Form { read: |value, _| name(value).map(Some), show: Clone::clone };

fn size(value: &Value<'_>) -> Result<TerminalSize, Problem> {
    let word = value.word()?;
    let number = |text: &str| {
        let number = digits(text).and_then(|number| u16::try_from(number).ok());
        number.filter(|number| (1..=LARGEST).contains(number))
    };
    let size = word.text.split_once('x').and_then(|(columns, rows)| {
        Some(TerminalSize { columns: number(columns)?, rows: number(rows)? })
    });
    size.ok_or_else(|| {
        let message = format!("`{}` is not the size of a terminal", word.text);
        Problem::new(&word.span, message, format!("write `80x24`; each from 1 to {LARGEST}"))
    })
}

fn name(value: &Value<'_>) -> Result<String, Problem> {
    let word = value.word()?;
    if is_terminal_name(&word.text) {
        return Ok(word.text.clone());
    }
    let message = format!("`{}` is not the name of a terminal", word.text);
    let help = "write something like `xterm-256color`: letters, digits and `-+._`, 64 at most";
    Err(Problem::new(&word.span, message, help))
}

/// `stderr`, and that something was said of it.
pub(super) fn set_stderr(draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
    let choices = [("log", StderrTo::Log), ("socket", StderrTo::Socket), ("null", StderrTo::Null)];
    draft.attributes.process.stderr = value.choice(&choices)?;
    draft.is_stderr_said = true;
    Ok(())
}
