//! Started as `inetd` or `xinetd`: their options in, the same server out.

use std::ffi::OsString;
use std::io::{self, Write as _};

use crate::cli::compat::{self, CompatName, CompatRequest, CompatServices, Log};
use crate::cli::{Cli, Common};
use crate::control::place;
use crate::log::events;
use crate::log::target::LogTarget;
use crate::sys::process;
use crate::systemd::ServiceManager;
use clap::Parser as _;

use super::background::{Background, background, log_of_another};
use super::failure::{CommandFailure, USAGE};
use super::serve::run_server;
use super::starting::{Nothing, ServeJob};
use super::{reader, upgrade};

/// Does what the arguments after `argv[0]` ask for.
pub(super) fn run(
    name: CompatName,
    arguments: impl Iterator<Item = OsString>,
) -> Result<(), CommandFailure> {
    let text = match compat::read(name, arguments) {
        Ok(CompatRequest::Serve(served)) => return serve(served),
        Ok(CompatRequest::Help) => name.usage().to_owned(),
        Ok(CompatRequest::Version) => {
            format!("{} (oxinetd {})\n", name.text(), env!("CARGO_PKG_VERSION"))
        }
        Err(wrong) => {
            let _ = write!(io::stderr(), "{}: {wrong}\n{}", name.text(), name.usage());
            return Err(CommandFailure::silent(USAGE));
        }
    };
    // A reader that has seen enough (head) is no failure of ours.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn serve(served: CompatServices) -> Result<(), CommandFailure> {
    // A manager that waits for word of the main process does not want it to fork.
    let manager = ServiceManager::from_environment();
    let foreground = served.foreground || manager.notifier.has_address();
    let parcel = upgrade::find()?;
    let again = parcel.is_some();
    let log = match served.log {
        Log::Target(target) if foreground => target,
        Log::Target(target) => log_of_another(Some(target), again),
        Log::Usual if !foreground => log_of_another(None, again),
        Log::Usual | Log::Stderr => LogTarget::Stderr,
    };
    let CompatServices { files, dialect, mut defaults, max_children, .. } = served;
    defaults.extend(served.umask.map(|bits| format!("umask={:03o}", process::own_umask() | bits)));
    let common = Common { max_children, log: Some(log), ..unsaid() };
    // Who takes over is in the background already.
    let herald = match background(!foreground && parcel.is_none())? {
        Background::Started(_) => return Ok(()),
        Background::Server(herald) => herald,
    };
    let level = if served.debug { "debug" } else { "info" };
    upgrade::start_log(&common, level, parcel.as_ref())?;
    for note in served.notes {
        events::configuration(false, note);
    }
    let job = ServeJob {
        load: reader::of_files(files, dialect, defaults),
        common,
        strict: false,
        pid_file: served.pid_file,
        herald,
        manager,
        nothing: if served.needs_services { Nothing::Fails } else { Nothing::IsFine },
        only_one: false,
        gives_up: false,
        bare_port: None,
        control: Some(place::own()),
    };
    run_server(job, parcel)
}

/// Our own options, where none of them is given.
fn unsaid() -> Common {
    Cli::parse_from(["oxinetd"]).serve.common
}
