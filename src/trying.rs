//! The commands and steps of an upgrade: being tried out by the server that runs, and
//! finding what it hands over.

use std::io::{self, Write as _};

use clap::Parser as _;
use oxinetd::cli::{Cli, Command, TryUpgrade};
use oxinetd::config::{self, Loaded};
use oxinetd::handover::image::Hello;
use oxinetd::handover::state::FORMAT;
use oxinetd::handover::{Invitation, Parcel, parcel};
use oxinetd::server;

use super::{CONFIGURATION, Failure, SYSTEM};

/// `oxinetd try-upgrade -- ARGUMENTS`, with the state on standard input: says that we
/// could go on with it, and touches nothing.
pub(super) fn try_upgrade(trial: TryUpgrade) -> Result<(), Failure> {
    let no = |why: String| Failure::new(CONFIGURATION, why);
    let state = parcel::unpack(io::stdin().lock()).map_err(no)?;
    let arguments = std::iter::once("oxinetd".into()).chain(trial.arguments);
    let cli = Cli::try_parse_from(arguments).map_err(|error| no(error.to_string()))?;
    let load = match cli.command {
        None => super::loader_of_file(&cli.serve),
        Some(Command::Run(run)) => super::loader_of_line(&run),
        Some(_) => return Err(no("this is not what a server is started with".to_owned())),
    };
    let Loaded { config, diagnostics } = load();
    let (errors, _) = config::summary(&diagnostics);
    let mut out = io::stdout().lock();
    // With nobody to read them, nobody waits for the outcome.
    let said = diagnostics.iter().try_for_each(|it| writeln!(out, "{}", it.render()));
    said.map_err(|error| no(error.to_string()))?;
    if errors > 0 {
        return Err(no("the configuration has errors".to_owned()));
    }
    server::examine(&state, &config).map_err(no)?;
    let hello = Hello { format: FORMAT, version: env!("CARGO_PKG_VERSION").to_owned() };
    let hello = serde_json::to_string(&hello).map_err(|error| no(error.to_string()))?;
    writeln!(out, "{hello}").map_err(|error| no(error.to_string()))
}

/// What we are to go on with, if we were executed for that.
pub(super) fn find() -> Result<Option<Parcel>, Failure> {
    let Some(invitation) = Invitation::find() else { return Ok(None) };
    invitation.open().map(Some).map_err(|why| {
        // Nothing has been changed yet: every descriptor is still there for the other.
        let arguments: Vec<_> = std::env::args_os().collect();
        lost(&why, &invitation.go_back(&arguments, &why))
    })
}

/// We cannot go on: back to the program that ran before.
pub(super) fn back(parcel: &Parcel, failure: &Failure) -> Failure {
    let why = failure.message.as_deref().unwrap_or("the new program has failed");
    lost(why, &parcel.go_back(why))
}

fn lost(why: &str, error: &io::Error) -> Failure {
    Failure::new(SYSTEM, format!("taking over: {why}; going back: {error}"))
}
