//! The arguments of commands that ask a running server.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::duration;

/// Where a running server is asked.
#[derive(Debug, Args)]
pub struct Control {
    /// Its control socket [default: oxinetd.sock in /run for root, in $XDG_RUNTIME_DIR for
    /// others, or in /run/oxinetd]
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
}

/// `oxinetd status`.
#[derive(Debug, Args)]
pub struct StatusOf {
    /// A label as the log has it (echo/tcp), or its part before the /; all without it
    pub service: Option<String>,
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,
    /// Again every SECONDS [default: 2], until it is interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=86_400), conflicts_with = "json")]
    pub watch: Option<u64>,
    /// Where.
    #[command(flatten)]
    pub control: Control,
}

/// `oxinetd peers`.
#[derive(Debug, Args)]
pub struct PeersOf {
    /// As JSON, for programs
    #[arg(long)]
    pub json: bool,
    /// Where.
    #[command(flatten)]
    pub control: Control,
}

/// `oxinetd stop`.
#[derive(Debug, Args)]
pub struct StopArguments {
    /// A service; the server itself without it
    pub service: Option<String>,
    /// Let nobody in and give programs time to end by themselves [default: 30]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
        default_missing_value = "30",
        conflicts_with = "service")]
    pub drain: Option<u64>,
    /// Before that, let clients in for so long (5s, 1m) and say at /readyz that it is not ready
    #[arg(long, value_name = "DURATION", value_parser = delay, requires = "drain")]
    pub drain_delay: Option<Duration>,
    /// Where.
    #[command(flatten)]
    pub control: Control,
}

/// `oxinetd start`.
#[derive(Debug, Args)]
pub struct StartArguments {
    /// A label as the log has it, or its part before the /
    pub service: String,
    /// Where.
    #[command(flatten)]
    pub control: Control,
}

/// `oxinetd kill`.
#[derive(Debug, Args)]
pub struct Kill {
    /// The pid of a program, the address of a peer (with its port) or of all from there, or a service
    pub who: String,
    /// Where.
    #[command(flatten)]
    pub control: Control,
}

/// The time of `--drain-delay`.
fn delay(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "write something like `5s` or `1m`".to_owned())
}
