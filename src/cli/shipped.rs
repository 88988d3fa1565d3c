//! What the program has with it, so that a program alone is a whole installation: its manual
//! pages and what completes its command line.

use clap::{Command, CommandFactory as _};
use clap_complete::{Generator, generate, shells};

use super::arguments::Cli;
use super::printed::{ManualPage, Shell};

impl ManualPage {
    /// As man(1) and mandoc(1) read it.
    #[must_use]
    pub(crate) fn source(self) -> &'static str {
        match self {
            Self::Command => include_str!("../../etc/man/oxinetd.8"),
            Self::Language => include_str!("../../etc/man/oxinetd.conf.5"),
        }
    }
}

impl Shell {
    /// The script that completes our command line. Each knows the services of a running server.
    #[must_use]
    pub(crate) fn script(self) -> String {
        match self {
            Self::Bash => include_str!("../../etc/completion/oxinetd").to_owned(),
            Self::Zsh => with_services_in_zsh(&generated(shells::Zsh)),
            Self::Fish => generated(shells::Fish) + MORE_IN_FISH,
        }
    }
}

fn generated(shell: impl Generator) -> String {
    let mut script = Vec::new();
    generate(shell, &mut for_people(), "oxinetd", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The command line without commands that nobody types, and without FILE: for zsh everything
/// that is not behind FILE would be one.
fn for_people() -> Command {
    let whole = Cli::command();
    let options = whole.get_arguments().filter(|argument| !argument.is_positional());
    let commands = whole.get_subcommands().filter(|command| !command.is_hide_set());
    Command::new("oxinetd").args(options).subcommands(commands).version(env!("CARGO_PKG_VERSION"))
}

/// A command or a FILE, and where a service is meant one of those that a server has.
fn with_services_in_zsh(script: &str) -> String {
    let script = script.replace("\":: :_oxinetd_commands\"", "\":: :_oxinetd_command_or_file\"");
    let of_service = |line: &str| line.contains(":service -- ");
    let lines = script.lines().map(|line| match of_service(line) {
        true => line.replace(":_default'", ":_oxinetd_services'") + "\n",
        false => line.to_owned() + "\n",
    });
    let (mut head, mut rest) = (String::new(), String::new());
    for line in lines {
        // The first line says what the file is for.
        if head.is_empty() { head = line } else { rest += &line }
    }
    head + SERVICES_IN_ZSH + &rest
}

const SERVICES_IN_ZSH: &str = "
_oxinetd_command_or_file() {
    _alternative 'commands:command:_oxinetd_commands' 'files:configuration:_files'
}

_oxinetd_services() {
    local -a services
    services=(${(f)\"$(oxinetd status 2>/dev/null |
        sed -n '/^SERVICE /,/^$/s/^\\([^ ]*\\) .*/\\1/p' | sed 1d)\"})
    compadd -a services
}
";

/// What the generator leaves out: files, words that are no options, and services.
const MORE_IN_FISH: &str = "
complete -c oxinetd -n '__fish_oxinetd_needs_command' -F
complete -c oxinetd -n '__fish_oxinetd_using_subcommand check import' -F
complete -c oxinetd -n '__fish_oxinetd_using_subcommand completions' -f -a 'bash zsh fish'
complete -c oxinetd -n '__fish_oxinetd_using_subcommand man' -f -a 'oxinetd oxinetd.conf'
complete -c oxinetd -n '__fish_oxinetd_using_subcommand status start stop' -f \\
    -a \"(oxinetd status 2>/dev/null |
        sed -n '/^SERVICE /,/^\\$/s/^\\([^ ]*\\) .*/\\1/p' | sed 1d)\"
";
