//! The command: arguments in, exit status out.

mod command;

use std::process::ExitCode;

use oxinetd::drop_in::Name;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().and_then(|argv0| Name::of(&argv0));
    let result = match name {
        Some(name) => command::as_another(name, arguments),
        None => command::as_ourselves(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.say(),
    }
}
