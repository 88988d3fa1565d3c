//! Options that are there, and elsewhere: of a command that stands behind them, of serving a file
//! where it is `run`, or attributes, which are said in another way.

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use crate::config::setting_of_option;

/// What `oxinetd FILE` takes and `run` does not.
const OF_A_FILE: [&str; 4] = ["--daemon", "--pid-file", "--strict", "--default"];

/// Options of others that attach a program, and what does that here.
const OF_OTHERS: [(&[&str], &str); 3] = [
    (&["-p", "--port"], "the port stands alone: `oxinetd run 8080 -- date`"),
    (&["-e", "-c", "--exec"], "the program stands behind `--`: `oxinetd run 8080 -- date`"),
    (&["-u"], "datagrams are `--udp`, a user is `-o user=NAME`"),
];

/// What to say of an option that does not belong where it stands.
pub(super) fn explained(error: &Error, arguments: &[String], root: &mut Command) -> Option<Error> {
    let names = names(root);
    let ours: Vec<&str> =
        arguments.iter().map(String::as_str).take_while(|it| *it != "--").collect();
    let at = ours.iter().position(|word| names.iter().any(|name| name == word));
    let command = at.and_then(|at| ours.get(at)).copied();
    if command == Some("run")
        && let Some(explained) = of_file(root, &ours)
    {
        return Some(explained);
    }
    match at {
        Some(at) if at > 0 => before_command(root, arguments, at),
        _ => unknown(error, &ours, command, root),
    }
}

/// `oxinetd --strict check FILE`.
fn before_command(root: &mut Command, arguments: &[String], at: usize) -> Option<Error> {
    let (before, rest) = arguments.split_at_checked(at)?;
    let (command, behind) = rest.split_first()?;
    let known = root.find_subcommand_mut(command)?;
    let is_known = |word: &String| {
        let name = word.trim_start_matches('-').split('=').next().unwrap_or_default();
        known.get_arguments().any(|it| it.get_long() == Some(name))
    };
    let mut options = before.iter().filter(|word| word.starts_with('-')).peekable();
    if options.peek().is_none() || !options.all(is_known) {
        return None;
    }
    let words = [before, behind].concat().join(" ");
    let message = format!("options stand behind the command: `oxinetd {command} {words}`");
    Some(known.error(ErrorKind::ArgumentConflict, message))
}

/// The name of a command that is taken for a FILE, since options stand before it.
pub(super) fn command_behind(
    root: &mut Command,
    word: &str,
    arguments: &[String],
) -> Option<Error> {
    let is_command = names(root).iter().any(|name| name == word);
    let at = arguments.iter().position(|it| it == word).filter(|_| is_command)?;
    before_command(root, arguments, at).or_else(|| {
        let message = format!("`{word}` is a command: it stands first");
        Some(root.error(ErrorKind::ArgumentConflict, message))
    })
}

/// `oxinetd run --daemon …`.
fn of_file(root: &mut Command, ours: &[&str]) -> Option<Error> {
    let name = |word: &&str| word.split('=').next().unwrap_or_default().to_owned();
    let option = ours.iter().map(name).find(|word| OF_A_FILE.contains(&word.as_str()))?;
    let message = format!(
        "`{option}` is for serving a FILE: `run` stays in the foreground, and attributes are said with `-o NAME=VALUE`"
    );
    Some(root.find_subcommand_mut("run")?.error(ErrorKind::UnknownArgument, message))
}

/// An option that is none, and is called like an attribute, or as others call what is here.
fn unknown(
    error: &Error,
    ours: &[&str],
    command: Option<&str>,
    root: &mut Command,
) -> Option<Error> {
    let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidArg) else { return None };
    let is_it = |word: &&str| *word == wrong || word.starts_with(&format!("{wrong}="));
    let at = ours.iter().position(is_it)?;
    let said = ours.get(at).copied()?;
    let setting = || setting_of_option(said, ours.get(at + 1).copied());
    let (at, help) = match command {
        Some("run") => {
            let known = OF_OTHERS.iter().find(|(options, _)| options.contains(&said));
            let as_option = || Some(format!("it is said as `-o {}`", setting()?));
            (
                root.find_subcommand_mut("run")?,
                known.map(|(_, it)| (*it).to_owned()).or_else(as_option)?,
            )
        }
        Some("check") => (
            root.find_subcommand_mut("check")?,
            format!("for all services, it is `--default {}`", setting()?),
        ),
        None => {
            let setting = setting()?;
            (root, format!("for all services, it is `--default {setting}`"))
        }
        Some(_) => return None,
    };
    let name = said.split('=').next().unwrap_or_default();
    Some(at.error(ErrorKind::UnknownArgument, format!("there is no `{name}`: {help}")))
}

/// The commands that people are told of.
pub(super) fn names(root: &Command) -> Vec<String> {
    let shown = root.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(|command| command.get_name().to_owned()).collect()
}
