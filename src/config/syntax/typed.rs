//! What helps against a mistake, for somebody who has typed a command line and written no file: the
//! same in the words of `oxinetd run`.

use crate::config::attribute;

/// Words of a file, and those of a command line.
const WORDS: [(&str, &str); 8] = [
    ("write `nowait`", "write `-o wait=no`"),
    ("write `wait`", "write `-o wait=yes`"),
    ("(`stream tcp nowait`)", "(without `--udp`)"),
    ("write `stream tcp`", "leave `--udp` out"),
    ("write `stream`", "leave `--udp` out"),
    ("write `-` to run it", "leave `-o user=…` out to run it"),
    ("said in the line itself", "said without `-o`"),
    ("SERVICE TYPE PROTOCOL wait|nowait USER PROGRAM ARGUMENTS", "`oxinetd run 8080 -- date`"),
];

/// What is said of arguments in a file.
const OF_A_FILE: &str = "; an argument with `=` is written in quotes";

/// What helps, as somebody types it.
pub(in crate::config) fn typed(help: &str) -> String {
    let mut help = help.split(OF_A_FILE).next().unwrap_or_default().to_owned();
    for (written, typed) in WORDS {
        help = help.replace(written, typed);
    }
    let parts = help.split('`').enumerate();
    let typed = parts.map(|(at, part)| {
        // Every second part stands in backticks.
        let setting = (at % 2 == 1).then(|| setting(part)).flatten();
        setting.unwrap_or_else(|| part.to_owned())
    });
    typed.collect::<Vec<_>>().join("`")
}

/// `name = value` as an option.
fn setting(words: &str) -> Option<String> {
    let (name, value) = words.split_once(" = ").or_else(|| words.split_once(" += "))?;
    attribute::find(name)?;
    let sign = words.get(name.len()..words.len() - value.len())?.trim();
    let quote = if value.contains([' ', '*', '$', '?']) { "'" } else { "" };
    Some(format!("-o {name}{sign}{quote}{value}{quote}"))
}

#[cfg(test)]
mod tests {
    use super::typed;

    #[test]
    fn what_helps_is_said_in_options() {
        for (help, wanted) in [
            (
                "write `tls_client = require`, or `x = 1`",
                "write `-o tls_client=require`, or `x = 1`",
            ),
            ("`tls = /a.pem /a.key`", "`-o tls='/a.pem /a.key'`"),
            ("`tls += a b` adds", "`-o tls+='a b'` adds"),
            ("write `nowait`, for one", "write `-o wait=no`, for one"),
            ("a list; an argument with `=` is written in quotes: 'x=…'", "a list"),
            ("take it out", "take it out"),
        ] {
            assert_eq!(typed(help), wanted);
        }
    }
}
