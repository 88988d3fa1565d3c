//! The command line, as types.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::asking::{Control, Kill, PeersOf, StartArguments, StatusOf, StopArguments};
use super::printed::{Completions, Man};
use crate::config::duration;
use crate::log::target::LogTarget;

/// A superserver: listens on the ports of an inetd.conf-like file and runs a
/// program for each connection, with the socket on its standard input and output.
#[derive(Debug, Parser)]
#[command(
    name = "oxinetd",
    version,
    args_conflicts_with_subcommands = true,
    after_help = EXAMPLES
)]
pub struct Cli {
    /// What to do instead of serving FILE.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Serving FILE.
    #[command(flatten)]
    pub serve: ServeArguments,
}

const EXAMPLES: &str = "\
Examples:
  oxinetd etc/inetd.conf                 serve a file in the foreground
  oxinetd --daemon --pid-file /run/oxinetd.pid
                                         serve /etc/inetd.conf in the background
  oxinetd check etc/inetd.conf           say what is wrong with a file
  oxinetd import /etc/xinetd.conf        print xinetd's services as lines
  oxinetd run 8080 -- date               attach a program to a port of this machine
  oxinetd run '*:8080' -- cal 2026       the same, open to the network
  oxinetd run -o instances=4 /tmp/ps.sock -- ps ax

A service in FILE is one line:
  127.0.0.1:50013 stream tcp nowait - date date

Signals:
  HUP reads FILE again; USR1 lists the peers and USR2 counts them, in the log;
  TERM, INT and QUIT do both and stop.

Environment:
  RUST_LOG   what is logged at all: error, warn, info (default), debug or trace

Exit status:
  0 stopped on request, at --idle-exit or after max_clients,
  1 bad configuration or nothing to serve, 2 wrong usage, 71 the system refused

oxinetd(8) and oxinetd.conf(5) say the rest.";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what is wrong with a configuration; binds nothing.
    ///
    /// Prints every error and warning with its place in the file. Exit status 1 if
    /// there is an error, else 0: what this machine lacks now may be there later.
    Check(Check),
    /// Attach one program to a port or a unix socket, without a file.
    ///
    /// The program has the caller's environment, directory and user.
    Run(Box<Run>),
    /// Say what a running server serves and has done.
    ///
    /// All services as a table, or one with the peers that it serves.
    Status(StatusOf),
    /// List the peers of a running server, and the last who were.
    Peers(PeersOf),
    /// Have a running server read its configuration again, and wait for that.
    ///
    /// Prints what was found in the file and what changed. Exit status 1 if the new
    /// configuration was refused, else 0.
    Reload(Control),
    /// Have the program on disk go on in the place of a running server.
    ///
    /// The process, every socket, program, connection and counter stay. The program is
    /// tried out first: if it cannot go on, or the configuration has an error, the one
    /// that runs does. Exit status 1 then, else 0.
    Upgrade(Control),
    /// Say whether we could go on with the state on standard input.
    #[command(hide = true)]
    TryUpgrade(TryUpgrade),
    /// After the end of a server: read what its programs write to standard error.
    #[command(hide = true)]
    ReadStderr,
    /// Make a certificate, with its key on standard input.
    #[command(hide = true)]
    MakeCertificate,
    /// After the end of a server: let the service manager start the next in its group.
    #[command(hide = true)]
    ReleaseGroups,
    /// Stop a running server, or one of its services.
    ///
    /// Returns when the server has ended. A stopped service has its sockets closed,
    /// over reloads too, until it is started again.
    Stop(StopArguments),
    /// Serve a stopped service again.
    Start(StartArguments),
    /// End a program of a running server, whatever serves a peer, or all of a service.
    ///
    /// Programs are sent TERM, and KILL if they do not end within kill_after.
    Kill(Kill),
    /// Print a configuration of xinetd as inetd.conf.
    ///
    /// Comments stay above their services, and what would be different is said in
    /// a note. Exit status 1 if a service could not be taken over, else 0.
    Import(Import),
    /// Print what has a shell complete this command line.
    Completions(Completions),
    /// Print a manual page, for `man -l -`.
    Man(Man),
}

/// `oxinetd [FILE]`.
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// Configuration; a directory stands for its *.conf
    #[arg(default_value = "/etc/inetd.conf")]
    pub file: PathBuf,
    /// Refuse to start if FILE has an error, instead of leaving that line out
    #[arg(long)]
    pub strict: bool,
    /// Default of an attribute for every service, as in .defaults
    #[arg(long = "default", value_name = "NAME=VALUE")]
    pub defaults: Vec<String>,
    /// Go to the background once every socket is bound, and print the pid
    #[arg(long)]
    pub daemon: bool,
    /// Write the pid to FILE once every socket is bound; one server per FILE
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// What every way of serving knows.
    #[command(flatten)]
    pub common: Common,
}

/// Options of serving a file and of `run`.
#[derive(Debug, Args)]
pub struct Common {
    /// Programs of all services at once [default: what the limits on descriptors and processes allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_children: Option<u32>,
    /// Processes that do TLS for all services [default: as many as processors, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub front_workers: Option<u32>,
    /// As whom they run [default: oxinetd if there is such a user, else a number that nobody has]
    #[arg(long, value_name = "USER")]
    pub front_user: Option<String>,
    /// End when nobody has been here for so long: no client, connection or program (30s, 5m)
    #[arg(long, value_name = "DURATION", value_parser = idle_time)]
    pub idle_exit: Option<Duration>,
    /// Socket for `oxinetd status` and the like, or `none` [default: oxinetd.sock in
    /// $RUNTIME_DIRECTORY, else in /run for root and $XDG_RUNTIME_DIR for others; none for `run`]
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Serve metrics over HTTP: PORT (of this machine only), *:PORT, ADDRESS:PORT or /PATH
    #[arg(long, value_name = "ENDPOINT")]
    pub metrics: Option<String>,
    /// Serve a page for people over HTTP: PORT (of this machine only), ADDRESS:PORT or /PATH
    #[arg(long, value_name = "ENDPOINT")]
    pub page: Option<String>,
    /// Let other machines see that page: ENDPOINT may be one that they reach, such as *:PORT
    #[arg(long, requires = "page")]
    pub page_open: bool,
    /// What the machine is called where the page, or metrics of this machine only, are asked for
    /// by name; may be said again
    #[arg(long, value_name = "NAME")]
    pub page_host: Vec<String>,
    /// How programs are started
    #[arg(long, value_enum, default_value_t = SpawnWay::Auto, value_name = "HOW")]
    pub spawn: SpawnWay,
    /// Where the log goes.
    #[arg(
        long,
        value_name = "TARGET",
        help = "Where the log goes: stderr, syslog[:FACILITY][,SOCKET] or file:PATH [default: \
                stderr; with --daemon syslog, unless stderr is a file]"
    )]
    pub log: Option<LogTarget>,
    /// How lines of the log are written
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORM")]
    pub log_format: LogFormat,
}

/// The time of `--idle-exit`.
fn idle_time(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Some(Duration::ZERO) => Err("the server would end at once".to_owned()),
        Some(time) => Ok(time),
        None => Err("write something like `30s`, `5m`, `2h` or `1d`".to_owned()),
    }
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A word and name=value pairs
    Text,
    /// A JSON object for each line
    Json,
}

/// `--spawn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SpawnWay {
    /// The fastest that the kernel can do
    Auto,
    /// Plain fork(2)
    Fork,
    /// As auto, but nothing of the server's memory for whoever changes its user
    Apart,
}

/// `oxinetd upgrade`, on the other side.
#[derive(Debug, Args)]
pub struct TryUpgrade {
    /// What the server was started with
    #[arg(last = true)]
    pub arguments: Vec<OsString>,
}

/// `oxinetd check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Configuration; a directory stands for its *.conf
    #[arg(default_value = "/etc/inetd.conf")]
    pub file: PathBuf,
    /// Exit status 1 for a warning, too, such as a service that is not served now
    #[arg(long)]
    pub strict: bool,
    /// Default of an attribute for every service, as in .defaults
    #[arg(long = "default", value_name = "NAME=VALUE")]
    pub defaults: Vec<String>,
    /// As the server has it: services that could not listen beside it are told
    #[arg(long, value_name = "ENDPOINT")]
    pub metrics: Option<String>,
    /// Likewise
    #[arg(long, value_name = "ENDPOINT")]
    pub page: Option<String>,
    /// Likewise
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
}

/// `oxinetd import`.
#[derive(Debug, Args)]
pub struct Import {
    /// Configuration of xinetd; a directory stands for what includedir reads
    #[arg(default_value = "/etc/xinetd.conf")]
    pub file: PathBuf,
}

/// `oxinetd run`.
#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub struct Run {
    /// An attribute of the service, such as instances=4, or wait=yes or user=NAME; see oxinetd.conf(5)
    #[arg(short = 'o', value_name = "NAME=VALUE")]
    pub options: Vec<String>,
    /// Speak TLS, with a certificate and its key (PEM files), or one made on the spot
    #[arg(long, value_name = "CERT,KEY|self-signed", value_parser = run_tls)]
    pub tls: Option<RunTls>,
    /// Datagrams: one program per peer (with -o wait=yes one for all)
    #[arg(long)]
    pub udp: bool,
    /// The program has a terminal, as with -o pty=yes
    #[arg(long)]
    pub pty: bool,
    /// The same for clients of telnet, as with -o telnet=yes
    #[arg(long)]
    pub telnet: bool,
    /// PORT (of this machine only), *:PORT, ADDRESS:PORT, /PATH, ./PATH, @NAME or vsock:PORT; port 0 is any free one
    pub endpoint: String,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM [ARGS]")]
    pub program: Vec<OsString>,
    /// What every way of serving knows.
    #[command(flatten)]
    pub common: Common,
}

/// `--tls` of `run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunTls {
    /// A certificate made on the spot.
    SelfSigned,
    /// The files of a certificate and its key.
    Files(String, String),
}

/// What `--tls` says.
fn run_tls(text: &str) -> Result<RunTls, String> {
    match text.split_once(',') {
        Some((own, key)) if !own.is_empty() && !key.is_empty() => {
            Ok(RunTls::Files(own.to_owned(), key.to_owned()))
        }
        None if text == "self-signed" => Ok(RunTls::SelfSigned),
        _ => Err("write the files of a certificate and its key, as `site.pem,site.key`, or \
                  `self-signed`"
            .to_owned()),
    }
}

const RUN_EXAMPLES: &str = "\
Examples:
  oxinetd run 8080 -- date               then: nc localhost 8080
  oxinetd run '*:8080' -- sh -c 'echo \"hello $REMOTE_ADDR\"'
  oxinetd run -o instances=4 -o stderr=socket 127.0.0.1:0 -- make
  oxinetd run -o max_clients=1 8080 -- cat page
  oxinetd run --udp 7777 -- cat
  oxinetd run --telnet 2323 -- python3   then: telnet localhost 2323
  oxinetd run --tls self-signed 8443 -- date
                                         then: openssl s_client -connect localhost:8443
  oxinetd run /tmp/ps.sock -- ps ax      then: nc -U /tmp/ps.sock";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_does_not_contradict_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn takes_a_file_or_the_default() {
        let cli = Cli::try_parse_from(["oxinetd"]).unwrap();
        assert_eq!(cli.serve.file, PathBuf::from("/etc/inetd.conf"));
        let cli = Cli::try_parse_from(["oxinetd", "x.conf", "--strict"]).unwrap();
        assert_eq!(cli.serve.file, PathBuf::from("x.conf"));
    }

    #[test]
    fn run_takes_everything_after_two_dashes() {
        let line = ["oxinetd", "run", "-o", "instances=1", "80", "--", "ps", "-x"];
        let Some(Command::Run(run)) = Cli::try_parse_from(line).unwrap().command else {
            panic!("not run");
        };
        assert_eq!(run.program, ["ps", "-x"]);
    }
}
