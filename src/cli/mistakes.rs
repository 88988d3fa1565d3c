//! What somebody meant whose command line is not understood: for clap, a word that is no
//! command is a FILE, and what comes after it is one argument too many.

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Command, CommandFactory as _};

use super::arguments::Cli;
use super::misplaced::{command_behind, explained, names};
use crate::config::diagnostic::suggest::nearest;

/// Words that are commands of others, and what does that here.
const OF_OTHERS: [(&str, &str); 8] = [
    ("serve", "`oxinetd FILE` serves a file, `oxinetd run 8080 -- date` one program"),
    ("server", "`oxinetd FILE` serves a file, `oxinetd run 8080 -- date` one program"),
    ("daemon", "`oxinetd --daemon FILE` serves a file in the background"),
    ("listen", "`oxinetd run 8080 -- date` attaches a program to a port"),
    (
        "restart",
        "`oxinetd reload` reads the configuration again, `oxinetd upgrade` starts the program \
         anew; neither closes a port",
    ),
    ("test", "`oxinetd check FILE` says what is wrong with a file"),
    ("list", "`oxinetd status` lists the services, `oxinetd peers` the clients"),
    ("version", "`oxinetd --version` says it"),
];

/// Options of others, and what does that here.
const OPTIONS_OF_OTHERS: [(&[&str], &str); 6] = [
    (&["-f", "-c", "-C", "--file", "--config", "--conf"], "a FILE stands alone: `oxinetd FILE`"),
    (
        &["-d", "--debug", "--foreground", "-F"],
        "it stays in the foreground; `RUST_LOG=debug` in the environment logs more",
    ),
    (&["-D", "-b", "--background"], "the background is `--daemon`"),
    (&["-p", "--pidfile", "--pid"], "a pid file is `--pid-file FILE`"),
    (&["-v"], "the version is `-V`; `RUST_LOG=debug` in the environment logs more"),
    (&["-t", "--test", "--check"], "`oxinetd check FILE` says what is wrong with a file"),
];

/// The same error, or one that says what was meant.
#[must_use]
pub(crate) fn explain(error: Error, arguments: &[String]) -> Error {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked {
        return error;
    }
    let placed = || explained(&error, arguments, &mut built());
    let meant = || meant(arguments);
    option_of_others(&error, arguments).or_else(placed).or_else(meant).unwrap_or(error)
}

/// An option that is none, of what serves a file.
fn option_of_others(error: &Error, arguments: &[String]) -> Option<Error> {
    let mut root = built();
    let serves = !arguments.iter().any(|word| names(&root).contains(word));
    let name = |word: &String| word.split('=').next().unwrap_or_default().to_owned();
    let mut words = arguments.iter().map(name);
    let wrong = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(wrong)) if serves => wrong.clone(),
        _ => return None,
    };
    let said = words.find(|word| *word == wrong || word.starts_with(&wrong))?;
    let (_, here) = OPTIONS_OF_OTHERS.iter().find(|(options, _)| options.contains(&&*said))?;
    Some(root.error(ErrorKind::UnknownArgument, format!("there is no `{said}`: {here}")))
}

/// What to say of a FILE that is not there, if it is nearly the name of a command, or one that
/// stands behind options.
#[must_use]
pub(crate) fn nearly_a_command(word: &str, arguments: &[String]) -> Option<Error> {
    let mut root = built();
    if let Some(error) = command_behind(&mut root, word, arguments) {
        return Some(error);
    }
    let message = match of_others(word) {
        Some(here) => format!("there is no command `{word}`, and no file: {here}"),
        None => {
            let near = nearest(word, names(&root).iter().map(String::as_str))?.to_owned();
            format!("there is no command `{word}`, and no file: did you mean `oxinetd {near}`?")
        }
    };
    Some(root.error(ErrorKind::InvalidSubcommand, message))
}

fn meant(arguments: &[String]) -> Option<Error> {
    let first = arguments.first().filter(|word| !word.starts_with('-'))?;
    let mut root = built();
    let names = names(&root);
    if first == "run" {
        return program_of_run(&mut root, arguments);
    }
    if names.contains(first) {
        return None;
    }
    let message = match nearest(first, names.iter().map(String::as_str)) {
        _ if of_others(first).is_some() => {
            format!("there is no command `{first}`: {}", of_others(first).unwrap_or_default())
        }
        Some(near) => format!("there is no command `{first}`: did you mean `oxinetd {near}`?"),
        None if is_service(arguments) => {
            format!("`{first}` is no command: `oxinetd run {}` attaches a program", line(arguments))
        }
        None => return None,
    };
    Some(root.error(ErrorKind::InvalidSubcommand, message))
}

fn of_others(word: &str) -> Option<&'static str> {
    OF_OTHERS.iter().find(|(other, _)| *other == word).map(|(_, here)| *here)
}

/// `oxinetd run 8080 date`: without `--`, options of the program would be taken for ours.
fn program_of_run(root: &mut Command, arguments: &[String]) -> Option<Error> {
    let words = arguments.get(1..).unwrap_or_default();
    let ours = words.iter().take(2).any(|word| word.starts_with('-'));
    if words.is_empty() || ours || words.iter().any(|word| word == "--") {
        return None;
    }
    let message = format!("the program stands behind `--`: `oxinetd run {}`", line(words));
    Some(root.find_subcommand_mut("run")?.error(ErrorKind::MissingRequiredArgument, message))
}

/// Whether this looks like what stands behind `run`.
fn is_service(arguments: &[String]) -> bool {
    let port = arguments.first().is_some_and(|word| word.parse::<u16>().is_ok());
    port || arguments.iter().any(|word| word == "--")
}

/// ENDPOINT, `--` and the program; `date` where none is said.
fn line(words: &[String]) -> String {
    let mut plain = words.iter().filter(|word| *word != "--").map(String::as_str);
    let endpoint = plain.next().unwrap_or("8080");
    let program: Vec<&str> = plain.collect();
    let program = if program.is_empty() { "date".to_owned() } else { program.join(" ") };
    format!("{endpoint} -- {program}")
}

/// With usage and names in all subcommands.
fn built() -> Command {
    let mut root = Cli::command();
    root.build();
    root
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{Cli, explain, nearly_a_command};

    fn said(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let all = std::iter::once("oxinetd".to_owned()).chain(words.clone());
        explain(Cli::try_parse_from(all).unwrap_err(), &words).to_string()
    }

    #[test]
    fn a_misspelt_command_is_named() {
        let text = said(&["runn", "8080", "--", "date"]);
        assert!(text.contains("no command `runn`: did you mean `oxinetd run`?"), "{text}");
        assert!(said(&["chek", "file"]).contains("`oxinetd check`"));
        assert!(nearly_a_command("stauts", &[]).unwrap().to_string().contains("`oxinetd status`"));
        assert!(nearly_a_command("services", &[]).is_none());
        assert!(!said(&["try-upgrad", "x"]).contains("try-upgrade"), "that is not for people");
    }

    #[test]
    fn what_lacks_a_run_or_two_dashes_is_shown_with_them() {
        for words in [&["8080", "--", "date", "-u"][..], &["8080", "date"], &["run", "8080"]] {
            let text = said(words);
            assert!(text.contains("`oxinetd run 8080 -- date"), "{words:?}: {text}");
        }
        let text = said(&["run", "8080", "ls", "-l"]);
        assert!(text.contains("`oxinetd run 8080 -- ls -l`"), "{text}");
        assert!(text.contains("Usage: oxinetd run"), "{text}");
    }

    #[test]
    fn options_of_serving_a_file_are_told_from_those_of_run() {
        for words in
            [&["run", "--daemon", "8080", "--", "date"][..], &["run", "--default=a=b", "80"]]
        {
            let text = said(words);
            assert!(text.contains("is for serving a FILE") && text.contains("-o NAME="), "{text}");
        }
    }

    #[test]
    fn words_and_options_of_others_are_told_from_ours() {
        for (words, wanted) in [
            (&["serve", "x.conf"][..], "`oxinetd FILE` serves a file"),
            (&["restart", "now"], "`oxinetd reload`"),
            (&["-f", "x.conf"], "there is no `-f`: a FILE stands alone"),
            (&["--config=x.conf"], "there is no `--config`: a FILE stands alone"),
            (&["-d", "x.conf"], "RUST_LOG=debug"),
            (&["-D"], "`--daemon`"),
            (&["-v"], "`-V`"),
            (&["run", "--timeout", "5s", "8080", "--", "date"], "`-o timeout=5s`"),
            (&["run", "--instances=3", "8080", "--", "date"], "`-o instances=3`"),
            (&["run", "--no-new-privs", "80", "--", "date"], "`-o no_new_privs=yes`"),
            (&["run", "--allow", "10.0.0.1", "80", "--", "date"], "`-o only_from=10.0.0.1`"),
            (&["run", "--wait", "80", "--", "date"], "`-o wait=yes`"),
            (&["run", "-p", "80", "--", "date"], "the port stands alone"),
            (&["run", "-e", "date", "80"], "the program stands behind `--`"),
            (&["--instances", "3", "x.conf"], "`--default instances=3`"),
            (&["check", "--instances=3", "x.conf"], "`--default instances=3`"),
            (&["--strict", "check", "x.conf"], "`oxinetd check --strict x.conf`"),
            (&["--udp", "run", "80", "--", "date", "-u"], "`oxinetd run --udp 80 -- date -u`"),
            (&["--daemon", "run", "80", "--", "date"], "is for serving a FILE"),
        ] {
            assert!(said(words).contains(wanted), "{words:?}: {}", said(words));
        }
        let text = nearly_a_command("restart", &[]).unwrap().to_string();
        assert!(text.contains("`oxinetd upgrade`") && !text.contains("did you mean"), "{text}");
        assert!(!said(&["run", "-p", "8080", "--", "date"]).contains("--pid-file"));
        let words = ["--control", "x", "status"].map(str::to_owned);
        let text = nearly_a_command("status", &words).unwrap().to_string();
        assert!(text.contains("`oxinetd status --control x`"), "{text}");
        let words = ["--daemon", "status"].map(str::to_owned);
        let text = nearly_a_command("status", &words).unwrap().to_string();
        assert!(text.contains("`status` is a command: it stands first"), "{text}");
    }

    #[test]
    fn what_clap_says_well_stays() {
        for (words, wanted) in [
            (&["run", "--frob", "8080", "--", "date"][..], "--frob"),
            (&["a", "b"], "'[FILE]'"),
            (&["--foo"], "--foo"),
            (&["kill"], "<WHO>"),
            (&["--help"], "Examples:"),
        ] {
            assert!(said(words).contains(wanted), "{words:?}: {}", said(words));
        }
    }
}
