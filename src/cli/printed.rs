//! The arguments of commands that print what the program has with it.

use clap::{Args, ValueEnum};

/// `oxinetd completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// Whose
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `oxinetd man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Which
    #[arg(value_enum, default_value_t = ManualPage::Command)]
    pub page: ManualPage,
}

/// A shell that completes command lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// Needs nothing else, bash-completion or not
    Bash,
    /// A file `_oxinetd` below one of $fpath
    Zsh,
    /// A file oxinetd.fish
    Fish,
}

/// A manual page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ManualPage {
    /// oxinetd(8), the command
    #[value(name = "oxinetd", aliases = ["oxinetd.8", "8"])]
    Command,
    /// oxinetd.conf(5), the language
    #[value(name = "oxinetd.conf", aliases = ["oxinetd.conf.5", "5"])]
    Language,
}
