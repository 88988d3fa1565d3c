//! What is to hold for all bytes (tests/properties), tried with every input that is stored:
//! the fuzzer's first ones, and those for which a property once did not hold.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[path = "../properties/mod.rs"]
mod properties;

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The lines of tests/properties/seeds: a target, and the files and folders with its inputs.
fn seeds() -> Vec<(String, Vec<PathBuf>)> {
    let text = fs::read_to_string(project("tests/properties/seeds")).unwrap();
    let line = |line: &str| {
        let (target, places) = line.split_once(':').unwrap();
        (target.to_owned(), places.split_whitespace().map(project).collect())
    };
    text.lines().map(line).collect()
}

/// A file, or the files of a folder; there need not be one.
fn files(place: &Path) -> Vec<PathBuf> {
    let Ok(folder) = fs::read_dir(place) else { return vec![place.to_owned()] };
    let entries = folder.map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}

#[test]
fn what_is_to_hold_does_for_every_stored_input() {
    let mut wrong = Vec::new();
    for (target, places) in seeds() {
        for file in places.iter().flat_map(|place| files(place)) {
            let Ok(bytes) = fs::read(&file) else { continue };
            if catch_unwind(|| properties::try_out(&target, &bytes)).is_err() {
                wrong.push(format!("{target}: {}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_property_has_a_target_and_inputs() {
    let properties: BTreeSet<String> =
        properties::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let with_inputs: BTreeSet<String> = seeds().into_iter().map(|(target, _)| target).collect();
    // What a registry has of the project has no other package in it.
    let Ok(manifest) = fs::read_to_string(project("tests/fuzz/Cargo.toml")) else { return };
    let paths = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"));
    let built: BTreeSet<String> =
        paths.map(|path| path.trim_end_matches(".rs\"").to_owned()).collect();
    assert_eq!((&with_inputs, &built), (&properties, &properties));
    for target in properties {
        let file = format!("tests/fuzz/fuzz_targets/{target}.rs");
        let text = fs::read_to_string(project(&file)).unwrap();
        assert!(text.contains(&format!("try_out(\"{target}\", bytes)")), "{file}");
    }
}
