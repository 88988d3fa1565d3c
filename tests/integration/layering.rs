//! Dependencies between the modules of the program point one way: down.
//!
//! The rule: `main` calls `cli`, `config`, `lookup` and `server`; `server` knows everything
//! below it; the rooms it is made of know the validated model and values, not each
//! other; `config` knows nobody.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Values and words that rooms may share; each knows at most what stands before it.
const VALUES: &[&str] = &[
    "visible",
    "vsock",
    "hex",
    "digits",
    "address",
    "calendar",
    "unix_path",
    "peers",
    "journal",
    "descriptor",
    "trusted_path",
];

/// What each top-level module may name besides itself.
fn may_use(module: &str) -> Option<Vec<&'static str>> {
    let with = |extra: &[&'static str]| Some([VALUES, extra].concat());
    match module {
        "calendar" | "signals" | "log_target" | "trusted_path" | "socket_address" => {
            Some(Vec::new())
        }
        "pid_file" => Some(vec!["trusted_path"]),
        // How their addresses are written down.
        "config" => Some(vec!["socket_address", "visible", "vsock"]),
        "address" => Some(vec!["socket_address", "vsock"]),
        // Which command somebody has nearly written; times are written as in the files.
        "cli" => Some(vec!["log_target", "config::suggest", "config::duration"]),
        "unix_path" => Some(vec!["config::model", "descriptor", "trusted_path", "spawn::kernel"]),
        // Raw system calls are in one file, where unsafe code is allowed.
        "detach" | "descriptor" | "datagram" => Some(vec!["spawn::kernel"]),
        "peers" => Some(vec!["address"]),
        "journal" => Some(vec!["visible", "digits", "address", "peers", "config::model"]),
        "statistics" | "hex" | "digits" | "visible" | "vsock" => Some(Vec::new()),
        // What is handed over, and the program that is; exec is a raw system call's work.
        "handover" => with(&["config::model", "statistics", "spawn::kernel"]),
        "control" => with(&["config::model", "listener", "statistics"]),
        "zone" => Some(vec!["calendar"]),
        // What it was given are sockets, and services claim them.
        "service_manager" => Some(vec!["journal", "descriptor", "config::model", "vsock"]),
        // It opens the files that services name for their lines.
        "log_sink" => Some(vec![
            "digits",
            "journal",
            "calendar",
            "zone",
            "descriptor",
            "log_target",
            "trusted_path",
            "config::model",
        ]),
        "listener" => with(&["config::model", "spawn::kernel"]),
        // A relay's connecting process is sent a descriptor.
        "relay" => with(&["config::model", "spawn::kernel", "listener::set_keepalive_times"]),
        "spawn" | "admission" | "reload" | "children" => with(&["config::model"]),
        // What it counts by.
        "builtin" => with(&["config::model", "admission::ServiceId"]),
        // It reads, and compares with what is served.
        "loading" => with(&["config", "lookup", "reload", "spawn::kernel"]),
        // It answers the questions that `config` asks of the machine; processes of their own
        // ask name services for it.
        "lookup" => with(&["config", "spawn::kernel"]),
        "server" => with(&[
            "config",
            "listener",
            "datagram",
            "spawn",
            "admission",
            "reload",
            "loading",
            "children",
            "builtin",
            "relay",
            "lookup",
            "signals",
            "zone",
            "log_sink",
            "log_target",
            "control",
            "statistics",
            "service_manager",
            "handover",
        ]),
        // Other servers' options, said in words of the configuration.
        "drop_in" => Some(vec!["config", "log_target"]),
        "lib" => Some(Vec::new()),
        _ => the_command_may_use(module),
    }
}

/// The same for the modules of the command itself.
fn the_command_may_use(module: &str) -> Option<Vec<&'static str>> {
    match module {
        "main" => Some(vec!["drop_in", "spawn::stub"]),
        // What a command line asks for is done by whichever room does it.
        "command" => {
            let rooms =
                "cli config control drop_in loading lookup relay server log_sink log_target spawn";
            let own = "detach handover pid_file service_manager signals";
            let rooms = rooms.split(' ').chain(own.split(' '));
            Some(VALUES.iter().copied().chain(rooms).collect())
        }
        _ => None,
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") && !is_test(&path) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Sets of unit tests in files of their own: `tests.rs`, `reload_tests.rs`.
fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"))
}

/// `src/config/model/mod.rs` belongs to `config`.
fn module_of(file: &Path, root: &Path) -> String {
    let inside = file.strip_prefix(root).unwrap().with_extension("");
    inside.components().next().unwrap().as_os_str().to_str().unwrap().to_owned()
}

/// The text without comments and without the unit tests at its end.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// Every `crate::a::b` (in `main.rs`: `oxinetd::a::b`), as `a::b` or `a`.
fn names_in(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (start, _) in code.match_indices(prefix) {
        let rest = &code[start + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            names.extend(parts_of(group));
            continue;
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
        names.insert(rest[..end.unwrap_or(rest.len())].trim_end_matches(':').to_owned());
    }
    names
}

/// The paths of `{a::b, c::{d, e}}` after its first brace.
fn parts_of(group: &str) -> Vec<String> {
    let (mut parts, mut depth, mut part) = (Vec::new(), 0, String::new());
    for character in group.chars() {
        match character {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            '{' => depth += 1,
            '}' => depth -= 1,
            _ if depth == 0 && !character.is_whitespace() => part.push(character),
            _ => {}
        }
    }
    parts.push(part);
    parts.retain(|name| !name.is_empty());
    parts
}

/// Whether `name` (`config::model::Service`) lies under one of `allowed` (`config::model`).
fn is_allowed(name: &str, allowed: &[&str]) -> bool {
    allowed.iter().any(|under| name == *under || name.starts_with(&format!("{under}::")))
}

#[test]
fn no_module_names_one_that_it_must_not_know() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut faults = Vec::new();
    for file in sources(&root) {
        let module = module_of(&file, &root);
        let Some(allowed) = may_use(&module) else {
            faults.push(format!("{module}: the rule says nothing about this module"));
            continue;
        };
        // The command is a program of its own, on top of the library.
        let command = ["main", "command"].contains(&module.as_str());
        let prefix = if command { "oxinetd::" } else { "crate::" };
        for name in names_in(&code_of(&file), prefix) {
            let own = name.split("::").next() == Some(module.as_str());
            if !own && !is_allowed(&name, &allowed) {
                faults.push(format!("{}: {name}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "edges that the rule forbids:\n{}", faults.join("\n"));
}

#[test]
fn the_reader_of_use_lines_sees_groups_and_paths() {
    let code = "use crate::{a::b, c::{d, e}};\nuse crate::f::g;\nlet x = crate::h::i();";
    let names: Vec<String> = names_in(code, "crate::").into_iter().collect();
    assert_eq!(names, ["a::b", "c::", "f::g", "h::i"]);
}

#[test]
fn unsafe_code_is_in_the_rooms_that_need_it_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let users: BTreeSet<String> = sources(&root)
        .iter()
        .filter(|file| code_of(file).contains("unsafe {"))
        .map(|file| module_of(file, &root))
        .collect();
    assert!(users.iter().all(|module| module == "spawn"), "unsafe code in: {users:?}");
}
