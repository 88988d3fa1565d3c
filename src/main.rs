//! The command: arguments in, exit status out.

mod command;

use std::process::ExitCode;

use oxinetd::cli::compat::Name;
use oxinetd::spawn::stub;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let argv0 = arguments.next();
    if argv0.as_ref().is_some_and(|argv0| argv0 == stub::NAME) {
        return ExitCode::from(stub::run(arguments));
    }
    if command::connects_for_relay() {
        return ExitCode::SUCCESS;
    }
    let name = argv0.and_then(|argv0| Name::of(&argv0));
    let result = match name {
        Some(name) => command::as_another(name, arguments),
        None => command::as_ourselves(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.say(),
    }
}
