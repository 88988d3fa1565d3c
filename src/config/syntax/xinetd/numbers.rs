//! Numbers as xinetd reads them, with strtol(3), and limits that are none to it.

use super::block::BlockLine;
use super::converter::Converter;
use crate::config::attribute::quantity::{digits, size};
use crate::config::text::words::Word;

/// What setrlimit(2) is not called for where the value is 0.
const LIMITS: [&str; 5] =
    ["rlimit_as", "rlimit_cpu", "rlimit_data", "rlimit_files", "rlimit_stack"];

impl Converter<'_> {
    /// The numbers of a value, as the table writes them.
    pub(super) fn numbers(&mut self, name: &str, values: &mut Vec<Word>) {
        values.iter_mut().for_each(without_sign);
        match (name, values.as_mut_slice()) {
            ("cps", [count, ..]) if digits(&count.text) == Some(0) => {
                "unlimited".clone_into(&mut count.text);
                values.truncate(1);
            }
            ("cps", [_, rest]) if digits(&rest.text) == Some(0) => {
                self.report
                    .warning(&rest.span, "a rest of 0 seconds is none: it is 1")
                    .help("write `cps = 0 1` for no limit");
                "1".clone_into(&mut rest.text);
            }
            // The largest number there is, which is no limit.
            (name, [limit]) if LIMITS.contains(&name) && limit.text == "-1" => {
                "unlimited".clone_into(&mut limit.text);
            }
            _ => {}
        }
    }

    /// Whether it is a limit of 0, which xinetd takes for one that is not said.
    pub(super) fn is_no_limit(&mut self, line: &BlockLine) -> bool {
        let name = line.name.text.as_str();
        let zero = |word: &Word| size(word.text.trim_start_matches('+')) == Some(0);
        let is_none = LIMITS.contains(&name) && line.values.iter().any(zero);
        if is_none {
            self.report
                .warning(&line.place, format!("`{name} = 0` is no limit: left out"))
                .help("as in xinetd; write a number from 1, or take the line out");
        }
        is_none
    }
}

/// `+5` is `5`.
fn without_sign(word: &mut Word) {
    let number = word.text.strip_prefix('+');
    let number = number.filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    if let Some(number) = number.map(str::to_owned) {
        word.text = number;
    }
}
