//! A command line, a word a line, the name of the program first: our own, inetd's or
//! xinetd's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use clap::Parser as _;
use oxinetd::config::{Loaded, RunSpec, from_command_line, load, load_all};
use oxinetd::under_test::cli::LogTarget;
use oxinetd::under_test::cli::{Cli, Command};
use oxinetd::under_test::cli::{CompatName, CompatRequest, read};

use super::{findings, machine};

const CONFIGURATION: &[u8] = b"80 stream tcp nowait - cat\n";

/// What is asked for is read without harm, and what is wrong can be said.
pub(super) fn holds(bytes: &[u8]) {
    let words: Vec<OsString> =
        bytes.split(|byte| *byte == b'\n').map(|word| OsStr::from_bytes(word).into()).collect();
    for word in words.iter().filter_map(|word| word.to_str()) {
        assert!(word.parse::<LogTarget>().err().is_none_or(|why| !why.is_empty()));
    }
    let name = words.first().and_then(|word| CompatName::of(word));
    let loaded = match name {
        Some(name) => by_another_name(name, &words),
        None => by_our_own(words),
    };
    findings::are_sound(&loaded.map(|loaded| loaded.diagnostics).unwrap_or_default());
}

fn by_another_name(name: CompatName, words: &[OsString]) -> Option<Loaded> {
    match read(name, words.iter().skip(1).cloned()) {
        Ok(CompatRequest::Serve(served)) => {
            let machine = machine::with_file("/etc/inetd.conf", CONFIGURATION);
            Some(load_all(&served.files, &served.defaults, &machine))
        }
        Ok(CompatRequest::Help | CompatRequest::Version) => None,
        Err(why) => {
            assert!(!why.is_empty() && !why.contains(char::is_control), "{why:?}");
            None
        }
    }
}

fn by_our_own(words: Vec<OsString>) -> Option<Loaded> {
    let cli = Cli::try_parse_from(words).ok()?;
    let machine = machine::with_file("/etc/inetd.conf", CONFIGURATION);
    match cli.command {
        None => Some(load(&cli.serve.file, &cli.serve.defaults, &machine)),
        Some(Command::Check(check)) => Some(load(&check.file, &check.defaults, &machine)),
        Some(Command::Run(run)) => {
            let (endpoint, udp, options) = (run.endpoint, run.udp, run.options);
            let spec = RunSpec { endpoint, udp, options, command: run.program, tls: None };
            Some(from_command_line(&spec, &machine))
        }
        Some(_) => None,
    }
}
