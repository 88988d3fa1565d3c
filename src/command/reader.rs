//! What reads a configuration, however its server was started.

use crate::cli::{Common, Run, RunTls, ServeArguments};
use crate::config::lookup::{Manner, System, set_front_user};
use crate::config::{self, Dialect, Loaded, Named, RunSpec};

use super::collisions;
use super::failure::CommandFailure;
use super::self_signed::SelfSigned;

/// What reads a configuration, again and again.
pub(super) type ConfigReader = Box<dyn Fn(Manner) -> Loaded>;

/// That of `oxinetd FILE`.
pub(super) fn of_file(serve: &ServeArguments) -> ConfigReader {
    let (file, defaults) = (serve.file.clone(), serve.defaults.clone());
    set_front_user(serve.common.front_user.as_deref());
    let ours = ours(&serve.common);
    reading(move |system| {
        let mut loaded = config::load(&file, &defaults, system);
        collisions::warn(&mut loaded, &ours);
        loaded
    })
}

/// That of `oxinetd run`.
pub(super) fn of_line(run: &Run) -> Result<ConfigReader, CommandFailure> {
    let Run { options, udp, endpoint, program, tls, .. } = run;
    let (mut options, command) = (options.clone(), program.clone());
    let short = [(run.pty, "pty=yes"), (run.telnet, "telnet=yes")];
    options.extend(short.iter().filter(|(is_said, _)| *is_said).map(|(_, it)| (*it).to_owned()));
    let endpoint = absolute(endpoint);
    let made = match tls {
        Some(RunTls::SelfSigned) => Some(SelfSigned::new()?),
        _ => None,
    };
    let tls = match tls {
        Some(RunTls::Files(own, key)) => Some((own.clone(), key.clone())),
        _ => made.as_ref().map(SelfSigned::names),
    };
    let spec = RunSpec { endpoint, udp: *udp, options, command, tls };
    set_front_user(run.common.front_user.as_deref());
    let ours = ours(&run.common);
    Ok(reading(move |system| {
        // It is there for as long as the configuration may be read.
        let _ = &made;
        let mut loaded = config::from_command_line(&spec, system);
        collisions::warn(&mut loaded, &ours);
        loaded
    }))
}

/// What a server has for itself.
fn ours(common: &Common) -> collisions::Ours {
    let Common { metrics, page, control, .. } = common;
    collisions::said(metrics.as_deref(), page.as_deref(), control.as_deref())
}

/// What reads with names looked up in a certain manner.
fn reading(read: impl Fn(&System) -> Loaded + 'static) -> ConfigReader {
    Box::new(move |manner| {
        let (loaded, names) = System::read(manner, &read);
        Loaded { names, ..loaded }
    })
}

/// An endpoint whose path is said from the folder of the caller is the same path from the root.
fn absolute(endpoint: &str) -> String {
    if !endpoint.starts_with("./") && !endpoint.starts_with("../") {
        return endpoint.to_owned();
    }
    let path = std::path::absolute(endpoint)
        .ok()
        .and_then(|path| path.into_os_string().into_string().ok());
    path.unwrap_or_else(|| endpoint.to_owned())
}

/// That of `inetd` and of `xinetd`.
pub(super) fn of_files(files: Vec<Named>, dialect: Dialect, defaults: Vec<String>) -> ConfigReader {
    reading(move |system| config::load_in_place(&files, &defaults, dialect, system))
}
