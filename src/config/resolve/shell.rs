//! Words that a shell would act on. Here they are arguments like any other, which is
//! seldom meant.

use super::resolver::Resolver;
use crate::config::syntax::entry::Entry;
use crate::config::text::words::Word;

/// What joins and redirects commands where it stands alone.
const OPERATORS: &[&str] =
    &["|", "||", "&&", "&", ";", "<", ">", ">>", "2>", "2>>", "2>&1", ">&2", "1>&2", "&>"];

impl Resolver<'_> {
    /// Quotes say that a word is meant as it stands; xinetd has none, and the words of a
    /// command line have been through a shell.
    pub(super) fn check_shell_words(&mut self, entry: &Entry) {
        if self.keeps_account || entry.id.is_some() {
            return;
        }
        for word in entry.arguments.iter().filter(|word| joins_lines(word)) {
            self.report
                .warning(
                    &word.span,
                    "`\\` is an argument of the program: it does not join lines".to_owned(),
                )
                .help(
                    "take it out: a line that begins with a blank belongs to the entry above it; \
                     put it into quotes if it is meant",
                );
        }
        if let Some(word) = entry.arguments.last().filter(|word| ends_a_command(word)) {
            self.report
                .warning(&word.span, format!("the `;` is a part of the argument `{}`", word.text))
                .help("take it out: a line ends with itself; put it into quotes if it is meant");
        }
        let Some(word) = entry.arguments.iter().find(|word| is_for_a_shell(word)) else { return };
        self.report
            .warning(
                &word.span,
                format!("`{}` is an argument of the program: no shell reads this line", word.text),
            )
            .help("write `sh sh -c '…'` to have one, or quotes if it is meant");
    }
}

fn is_for_a_shell(word: &Word) -> bool {
    let variable = || {
        let name = word.text.strip_prefix('$').unwrap_or("").trim_start_matches('{');
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
    };
    !word.quoted && (OPERATORS.contains(&word.text.as_str()) || variable())
}

/// `date;`, as a shell and many files end what they have said.
fn ends_a_command(word: &Word) -> bool {
    let before = word.text.strip_suffix(';').unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    !word.quoted && !before.is_empty() && before.bytes().all(is_plain)
}

/// A backslash at the end of its line, as a shell and other files go on with the next one.
fn joins_lines(word: &Word) -> bool {
    let rest = || word.span.source.text.get(word.span.end..).unwrap_or_default();
    word.text == "\\" && !word.quoted && rest().lines().next().is_none_or(|it| it.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use crate::config::fake::FakeLookup;
    use crate::config::load;

    fn messages(arguments: &str) -> Vec<String> {
        let text = format!("80 stream tcp nowait - cat cat {arguments}\n");
        let lookup = FakeLookup::with_file("/x", text);
        let loaded = load("/x".as_ref(), &[], &lookup);
        loaded.diagnostics.iter().map(crate::config::diagnostic::Diagnostic::one_line).collect()
    }

    #[test]
    fn what_a_shell_would_act_on_is_said_once() {
        for arguments in ["| wc", "a > /tmp/x 2>&1", "x && y", "$REMOTE_ADDR", "${HOME}"] {
            let messages = messages(arguments);
            assert!(
                messages.len() == 1 && messages[0].contains("no shell"),
                "{arguments}: {messages:?}"
            );
        }
        for arguments in ["'|' wc", "a|b", "-e s/$/x/", "$1", "'$HOME'", "a>b", "--x=$HOME"] {
            assert!(messages(arguments).is_empty(), "{arguments}: {:?}", messages(arguments));
        }
    }

    #[test]
    fn a_semicolon_at_the_end_is_no_end() {
        for arguments in ["-u;", "x /tmp/y;"] {
            let messages = messages(arguments);
            assert!(messages.len() == 1 && messages[0].contains("the `;` is"), "{messages:?}");
        }
        for arguments in ["'-u;'", "\\;", "s/a/b/;s/c/d/", "x; y"] {
            assert!(messages(arguments).is_empty(), "{arguments}: {:?}", messages(arguments));
        }
    }

    #[test]
    fn a_backslash_at_the_end_joins_no_lines() {
        for arguments in ["\\", "x \\\n    y", "x \\ \n    y \\\r\n  z"] {
            let messages = messages(arguments);
            assert!(!messages.is_empty(), "{arguments}");
            assert!(
                messages.iter().all(|it| it.contains("does not join")),
                "{arguments}: {messages:?}"
            );
        }
        for arguments in ["'\\'", "\\ x", "x\\", "\\;"] {
            assert!(messages(arguments).is_empty(), "{arguments}: {:?}", messages(arguments));
        }
    }
}
