//! No file of the program leads back to itself by way of others: whoever reads one has an end to
//! come to. A file names another by a path that begins with `crate`, `super` or `self`, or by a
//! `use` of what is below it; declaring a module names nobody.

use std::collections::{BTreeMap, BTreeSet};

use crate::layering::{modules, names_in};

type Named = BTreeMap<String, BTreeSet<String>>;

/// Which others each file names, all of them by their modules.
fn named() -> Named {
    let modules = modules();
    let files: BTreeSet<Vec<String>> = modules.iter().map(|it| it.path.clone()).collect();
    let inside = modules.iter().filter(|module| !module.path.is_empty());
    let each = inside.map(|module| {
        let names = names_in(module);
        let others =
            names.iter().filter_map(|name| file_of(&files, name)).filter(|it| *it != module.path);
        (module.path.join("::"), others.map(|it| it.join("::")).collect())
    });
    each.collect()
}

/// The file in which something of this name is, if it is one of the program.
fn file_of<'a>(files: &BTreeSet<Vec<String>>, name: &'a [String]) -> Option<&'a [String]> {
    (1..=name.len()).rev().map(|length| &name[..length]).find(|it| files.contains(*it))
}

/// What is left when those who name nobody that is left are taken away, and those whom nobody
/// names: circles, and what is between them.
fn circles(mut named: Named) -> Named {
    loop {
        let all: BTreeSet<String> = named.keys().cloned().collect();
        let are_named: BTreeSet<String> = named.values().flatten().cloned().collect();
        named.retain(|file, others| {
            others.retain(|other| all.contains(other));
            !others.is_empty() && are_named.contains(file)
        });
        if named.len() == all.len() {
            return named;
        }
    }
}

#[test]
fn no_file_leads_back_to_itself() {
    let circles = circles(named());
    let lines: Vec<String> =
        circles.iter().map(|(file, others)| format!("{file} names {others:?}")).collect();
    assert!(lines.is_empty(), "files that lead to each other:\n{}", lines.join("\n"));
}

#[test]
fn a_circle_is_seen_and_what_leads_to_one_is_none() {
    let file = |name: &str, others: &[&str]| {
        (name.to_owned(), others.iter().map(|it| (*it).to_owned()).collect())
    };
    let all = [
        file("a", &["b", "d"]),
        file("b", &["c"]),
        file("c", &["a"]),
        file("d", &[]),
        file("e", &["a"]),
    ];
    let left = circles(all.into());
    assert_eq!(left.keys().map(String::as_str).collect::<String>(), "abc");
    let named = named();
    assert!(named["server::turning"].contains("server"), "{:?}", named["server::turning"]);
    assert!(named["server"].contains("server::reactor"), "what is below is named, too");
}
