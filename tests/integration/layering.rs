//! Dependencies between the rooms of the program point one way: down.
//!
//! A room is a folder of `src`; those of `config` and `server` have rooms of their own. One line
//! of [`ROOMS`] for each: what it may name. What is not said there is forbidden, and what is
//! said and not used is taken out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may name besides itself. `config/model`, the validated model, is everybody's
/// word; a room stands below all that may name it. A house may name the rooms in it.
const ROOMS: &[(&str, &str)] = &[
    // The ground floor. Raw system calls are here, where unsafe code is allowed.
    ("sys", ""),
    ("net", "config/model sys"),
    ("log", "config/model net sys"),
    // The language, each room to the right of what it names.
    ("config/model", "net"),
    ("config/diagnostic", "log"),
    ("config/text", "config/diagnostic"),
    ("config/facts", "config/model"),
    ("config/attribute", "config/diagnostic config/facts config/model config/text net"),
    (
        "config/syntax",
        "config/attribute config/diagnostic config/facts config/model config/text net",
    ),
    (
        "config/resolve",
        "config/attribute config/diagnostic config/facts config/model config/syntax config/text front net",
    ),
    ("config/print", "config/attribute config/facts config/model config/text"),
    (
        "config/loading",
        "config/attribute config/diagnostic config/facts config/model config/resolve config/syntax config/text",
    ),
    (
        "config/import",
        "config/attribute config/diagnostic config/facts config/loading config/model config/print config/resolve config/syntax log",
    ),
    // Who answers its questions: this machine.
    ("config/lookup", "config/facts config/model front net sys"),
    // The house alone, for whoever is outside.
    ("config", ""),
    // What serves, without knowing who uses it.
    ("front/proxy", "net"),
    ("admission", "config/model net"),
    ("spawn", "config/model log net sys"),
    ("systemd", "config/model log net sys"),
    ("control", "config/model log net"),
    ("upgrade", "config/model control net sys systemd"),
    ("builtin", "admission config/model net sys upgrade"),
    ("front", "config/model net sys"),
    ("reload", "config config/diagnostic config/lookup config/model sys"),
    // The server: whoever owns what stands further up.
    ("server/reactor", "sys"),
    ("server/programs", "PARTS admission config/model front log net spawn sys"),
    (
        "server/sessions",
        "PARTS admission builtin config/model front front/proxy log net spawn sys upgrade",
    ),
    (
        "server/services",
        "PARTS admission builtin config/lookup config/model control log net reload spawn sys systemd",
    ),
    ("server/control", "PARTS admission config/model control log net reload sys upgrade"),
    (
        "server/upgrade",
        "PARTS admission builtin config/model control front/proxy log net reload spawn sys systemd upgrade",
    ),
    (
        "server",
        "PARTS admission builtin config config/diagnostic config/lookup config/model control log net reload spawn sys systemd upgrade",
    ),
    // What somebody has asked for, done by whichever room does it.
    ("cli", "config config/diagnostic log"),
    (
        "command",
        "builtin cli config config/diagnostic config/lookup config/model control front log reload server spawn sys systemd upgrade",
    ),
];

/// The rooms of the server; its parts name each other.
const PARTS: &str = "server server/control server/programs server/reactor server/services server/sessions server/upgrade";

/// What a room may name.
fn allowed(room: &str) -> Option<BTreeSet<&'static str>> {
    let (_, words) = ROOMS.iter().find(|(name, _)| *name == room)?;
    let words = words.split(' ').flat_map(|word| match word {
        "PARTS" => PARTS.split(' ').collect::<Vec<_>>(),
        word => vec![word],
    });
    Some(words.filter(|word| *word != room && !word.is_empty()).collect())
}

/// One file of the program: the path of its module, and its text without comments and without
/// the unit tests at its end.
pub(crate) struct Module {
    pub(crate) path: Vec<String>,
    code: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

pub(crate) fn modules() -> Vec<Module> {
    let mut modules = Vec::new();
    collect(&root(), &mut modules);
    modules
}

fn collect(folder: &Path, modules: &mut Vec<Module>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, modules);
        } else if path.extension().is_some_and(|end| end == "rs") && !is_test(&path) {
            modules.push(Module { path: path_of(&path), code: code_of(&path) });
        }
    }
}

/// Sets of unit tests in files of their own: `tests.rs`, `plan_tests.rs`, a folder `tests`.
fn is_test(path: &Path) -> bool {
    path.with_extension("").iter().any(|part| {
        let part = part.to_string_lossy();
        part.ends_with("_tests") || (part == "tests" && path.starts_with(root()))
    })
}

/// `src/config/model/mod.rs` is `config::model`.
fn path_of(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(root()).unwrap().with_extension("");
    let parts = inside.iter().map(|part| part.to_string_lossy().into_owned());
    parts.filter(|part| part != "mod" && part != "lib" && part != "main").collect()
}

fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// The room of a module or of what is in one: the first two names where the first has rooms
/// of its own, else the first.
fn room_of(path: &[String]) -> String {
    let two = path.iter().take(2).cloned().collect::<Vec<_>>().join("/");
    if ROOMS.iter().any(|(room, _)| *room == two) {
        return two;
    }
    path.first().cloned().unwrap_or_default()
}

/// Everything of this program that the text names, from the root. The path of a library is one
/// below the module itself, where there is nothing.
pub(crate) fn names_in(module: &Module) -> BTreeSet<Vec<String>> {
    let mut names = BTreeSet::new();
    for (start, word) in words_in(&module.code) {
        let before = &module.code[..start];
        // A visibility names nobody.
        let is_start =
            !before.ends_with(':') && !before.ends_with("(in ") && !before.ends_with("pub(");
        let text = match word {
            "crate" | "super" | "self" => &module.code[start..],
            "use" => module.code[start + word.len()..].trim_start(),
            _ => continue,
        };
        if !is_start || (word == "use" && text.starts_with("super")) {
            continue;
        }
        let here = [module.path.clone(), inner_modules(before)].concat();
        for path in paths_at(text) {
            names.extend(absolute(&here, &path));
        }
    }
    names
}

/// The modules in the file itself that are open at the end of this.
fn inner_modules(code: &str) -> Vec<String> {
    let mut open: Vec<(usize, &str)> = Vec::new();
    for line in code.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if text.trim_end() == "}" {
            open.retain(|(outer, _)| *outer < indent);
        } else if let Some(name) = text.strip_suffix(" {").and_then(|it| it.rsplit_once("mod ")) {
            open.push((indent, name.1));
        }
    }
    open.into_iter().map(|(_, name)| name.to_owned()).collect()
}

fn words_in(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    code.split(move |character| !is_part(character))
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr().addr() - code.as_ptr().addr(), word))
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn paths_at(text: &str) -> Vec<Vec<String>> {
    let end = text.find(|it: char| !it.is_alphanumeric() && it != '_' && it != ':');
    let (head, rest) = text.split_at(end.unwrap_or(text.len()));
    let head: Vec<String> =
        head.split("::").filter(|it| !it.is_empty()).map(str::to_owned).collect();
    let Some(group) = rest.strip_prefix('{') else { return vec![head] };
    let with_head = |path: Vec<String>| [head.clone(), path].concat();
    parts_of(group).iter().flat_map(|part| paths_at(part)).map(with_head).collect()
}

/// The parts of `a::b, c::{d, e}}` up to the brace that closes it.
fn parts_of(group: &str) -> Vec<String> {
    let (mut parts, mut depth, mut part) = (Vec::new(), 0, String::new());
    for character in group.chars().filter(|it| !it.is_whitespace()) {
        match character {
            '}' if depth == 0 => break,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        part.push(character);
    }
    parts.push(part);
    parts.retain(|part| !part.is_empty());
    parts
}

fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" => {
            let base = module.get(..module.len().checked_sub(ups)?)?;
            Some([base, &path[ups..]].concat())
        }
        "self" => Some([module, &path[1..]].concat()),
        _ => Some([module, path].concat()),
    }
}

/// Which room names which, and where.
fn edges() -> BTreeMap<(String, String), String> {
    let mut edges = BTreeMap::new();
    for module in modules().iter().filter(|module| !module.path.is_empty()) {
        let room = room_of(&module.path);
        for name in names_in(module) {
            let other = room_of(&name);
            let is_within = other.strip_prefix(&room).is_some_and(|rest| rest.starts_with('/'));
            if other != room && !other.is_empty() && !is_within {
                edges.entry((room.clone(), other)).or_insert_with(|| {
                    format!("{} names {}", module.path.join("::"), name.join("::"))
                });
            }
        }
    }
    edges
}

#[test]
fn no_room_names_one_that_it_must_not_know() {
    let edges = edges();
    let mut faults = Vec::new();
    for ((room, other), example) in &edges {
        match allowed(room) {
            None => faults.push(format!("{room}: the rule says nothing about this room")),
            Some(allowed) if !allowed.contains(other.as_str()) => {
                faults.push(format!("{room} -> {other}: {example}"));
            }
            Some(_) => {}
        }
    }
    assert!(faults.is_empty(), "edges that the rule forbids:\n{}", faults.join("\n"));
}

#[test]
fn what_a_room_may_name_it_does_name() {
    let edges = edges();
    let mut unused = Vec::new();
    for (room, words) in ROOMS {
        let said = words.split(' ').filter(|word| !["", "PARTS"].contains(word));
        let unneeded =
            said.filter(|it| !edges.contains_key(&((*room).to_owned(), (*it).to_owned())));
        unused.extend(unneeded.map(|it| format!("{room} -> {it}")));
    }
    assert!(unused.is_empty(), "the rule allows what nobody does:\n{}", unused.join("\n"));
}

#[test]
fn the_reader_of_paths_sees_groups_and_parents() {
    let code = "use crate::{a::b, c::{d, e}};\nuse super::{f::g, h};\nlet x = super::super::i();\n\
        mod m {\n    use super::j;\n}\nuse k::l;\nuse self::n;";
    let path = ["p", "q", "r"].map(str::to_owned).to_vec();
    let module = Module { path, code: code.to_owned() };
    let names: Vec<String> = names_in(&module).iter().map(|name| name.join("::")).collect();
    let own = ["p::q::r::j", "p::q::r::k::l", "p::q::r::n"];
    assert_eq!(names[..6], ["a::b", "c::d", "c::e", "p::i", "p::q::f::g", "p::q::h"]);
    assert_eq!(names[6..], own, "its own, those of a module in it, and those below it");
}

#[test]
fn unsafe_code_is_in_the_rooms_that_need_it_only() {
    let may = |path: &[String]| match path {
        [room, ..] if room == "sys" => true,
        [room, part, ..] => room == "spawn" && part == "child",
        _ => false,
    };
    let others = modules().into_iter().filter(|module| !may(&module.path));
    let users: Vec<String> = others
        .filter(|module| words_in(&module.code).any(|(_, word)| word == "unsafe"))
        .map(|module| module.path.join("::"))
        .collect();
    assert!(users.is_empty(), "unsafe code in: {users:?}");
}
