//! The benchmark: oxinetd beside the fastest server that the same kernel allows,
//! and beside other superservers where they can be had. See README.md here.
//!
//! `cargo bench -- [quick] [--rounds N] [--server FILE] [--before FILE] [SECTION…]`
//!
//! `cargo bench -- load ADDRESS [IN_FLIGHT [SECONDS [full|resumed|header|nothing]]]`: the load
//! alone, for profiling; behind a front the program has to say `hello`

#![allow(clippy::print_stdout, reason = "its tables are its product")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]
#![allow(clippy::indexing_slicing, reason = "a panic ends a measurement, not a server")]

mod calm;
mod ceiling;
mod clients;
mod context;
mod daemon;
mod figures;
mod hello;
mod in_flight;
mod limit;
mod load;
mod numbers;
mod peers;
mod process;
mod sections;
mod streams;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use context::{Builds, Context};

/// What everything here fails with: a message for the person at the terminal.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

type Section = fn(&Context) -> Result<()>;

/// Name, what it shows, whether it runs without being named.
const SECTIONS: [(&str, Section, bool); 13] = [
    ("spawn", sections::spawn::run, true),
    ("builtin", sections::builtin::run, true),
    ("services", sections::services::run, true),
    ("held", sections::held::run, true),
    ("access", sections::access::run, true),
    ("reload", sections::reload::run, true),
    ("proxy", sections::front::proxy, false),
    ("handshakes", sections::front::handshakes, false),
    ("neighbours", sections::front::neighbours, false),
    ("bulk", sections::front::bulk, false),
    ("idle", sections::front::idle, false),
    ("terminals", sections::front::terminals, false),
    ("soak", sections::soak::run, false),
];

/// What `front` stands for.
const FRONT: [&str; 6] = ["proxy", "handshakes", "neighbours", "bulk", "idle", "terminals"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // cargo adds --bench, at the end.
    let words: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| *word != "--bench").collect();
    let result = match words.as_slice() {
        // The servers to compare with are this program again.
        ["__ceiling", rest @ ..] => ceiling::run(rest),
        ["__session", rest @ ..] => daemon::become_server(rest),
        ["__limit", rest @ ..] => limit::run(rest),
        ["load", rest @ ..] => load::alone(rest),
        words => bench(words),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(words: &[&str]) -> Result<()> {
    let mut quick = false;
    let mut rounds = None;
    let mut builds = Builds::default();
    let mut named = Vec::new();
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        match word {
            "quick" => quick = true,
            "--rounds" => rounds = Some(words.next().ok_or("--rounds needs a number")?.parse()?),
            "--server" => builds.server = Some(file(words.next())?),
            "--before" => builds.before = Some(file(words.next())?),
            "front" => named.extend(FRONT),
            name if SECTIONS.iter().any(|(known, ..)| *known == name) => named.push(name),
            other => return Err(format!("unknown word {other}: {}", usage()).into()),
        }
    }
    let context = Context::new(quick, rounds, builds)?;
    context.describe();
    for (name, section, by_default) in SECTIONS {
        if named.contains(&name) || (named.is_empty() && by_default) {
            section(&context).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    Ok(())
}

/// A program: it is run in other folders, too.
fn file(word: Option<&&str>) -> Result<PathBuf> {
    let path = word.ok_or("--server and --before need a file")?;
    std::fs::canonicalize(path).map_err(|error| format!("{path}: {error}").into())
}

fn usage() -> String {
    let sections = SECTIONS.iter().map(|(name, ..)| *name);
    let names: Vec<&str> = sections.chain(["front"]).collect();
    format!(
        "cargo bench -- [quick] [--rounds N] [--server FILE] [--before FILE] [{}]",
        names.join("|")
    )
}
