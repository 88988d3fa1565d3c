//! Mistakes and what is said of them: each `tests/config/NAME.conf` is read on a
//! machine of fixed facts and must give exactly `NAME.txt`. After a wanted change,
//! `UPDATE_GOLDEN=1` writes the new texts; look at each before it is kept.

#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::fake::FakeLookup;
use oxinetd::config::diagnostic::Diagnostic;
use oxinetd::config::{Loaded, load, summary};

/// Files that other files include, and facts that a first line asks for:
/// `#! no-ipv6`, `#! no-landlock`, `#! no-cgroup`, `#! user me`.
fn machine(text: &[u8]) -> FakeLookup {
    let mut fake = FakeLookup::with_file("inetd.conf", text);
    let included = [
        ("conf.d/good.conf", "8001 stream tcp nowait - cat\n"),
        ("conf.d/bad.conf", "8002 steam tcp nowait - cat\n"),
        ("conf.d/.hidden.conf", "nonsense\n"),
        ("conf.d/old.conf~", "nonsense\n"),
        ("late/defaults.conf", ".defaults\n    instances = 5\n"),
        ("loop.conf", ".include inetd.conf\n"),
        ("friends", "# who may\n10.0.0.0/8   # the office\n\n  ::1\n10.1.{2,3}\n"),
        ("wrong-friends", "10.0.0.0/8\nfriend.example.org # Tom\n10.0.0.0/33\n@friends\n"),
        ("nobody", "# none of them\n"),
        ("hello", "Hello.\r\n"),
    ];
    for (path, text) in included {
        fake.files.insert(PathBuf::from(path), text.as_bytes().to_vec());
    }
    fake.files.insert(PathBuf::from("long-hello"), vec![b'!'; 65_537]);
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let asked = String::from_utf8_lossy(first);
    if asked.contains("no-ipv6") {
        fake.ipv6 = false;
    }
    if asked.contains("no-landlock") {
        fake.landlock = false;
    }
    if asked.contains("no-cgroup") {
        fake.no_group = Some("this system has no cgroup v2".to_owned());
    }
    if asked.contains("user me") {
        fake.own_uid = 1000;
    }
    fake
}

/// The findings as `check` shows them, and what is left to serve.
fn shown(loaded: &Loaded) -> String {
    let mut text = String::new();
    for diagnostic in &loaded.diagnostics {
        text.push_str(&format!("{diagnostic}\n\n"));
    }
    let (errors, warnings) = summary(&loaded.diagnostics);
    text.push_str(&format!("{errors} errors, {warnings} warnings\n"));
    for service in &loaded.config.services {
        text.push_str(&format!("served: {}\n", service.label));
    }
    for withheld in &loaded.config.withheld {
        text.push_str(&format!(
            "withheld: {} ({} sockets)\n",
            withheld.label,
            withheld.sockets.len()
        ));
    }
    for service in &loaded.config.disabled {
        text.push_str(&format!("disabled: {}\n", service.label));
    }
    text
}

/// The `.conf` files in a folder of the project, in order.
pub(crate) fn cases_in(folder: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(directory).unwrap();
    let mut cases: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "conf"))
        .collect();
    cases.sort();
    cases
}

fn cases() -> Vec<PathBuf> {
    cases_in("tests/config")
}

/// How a text differs from the one written down; `UPDATE_GOLDEN` writes it down first.
pub(crate) fn differs(golden: &Path, actual: &str) -> Option<String> {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden, actual).unwrap();
    }
    let expected = fs::read_to_string(golden).unwrap_or_default();
    (actual != expected)
        .then(|| format!("{}:\n{}", golden.display(), difference(&expected, actual)))
}

#[test]
fn every_mistake_is_explained_as_written_down() {
    let mut wrong = Vec::new();
    for case in cases() {
        let bytes = fs::read(&case).unwrap();
        let loaded = load(Path::new("inetd.conf"), &[], &machine(&bytes));
        loaded.diagnostics.iter().for_each(check_place);
        wrong.extend(differs(&case.with_extension("txt"), &shown(&loaded)));
    }
    assert!(wrong.is_empty(), "{}\n(UPDATE_GOLDEN=1 writes the new texts)", wrong.join("\n"));
}

/// Errors say what would be right, and places lie on characters.
fn check_place(diagnostic: &Diagnostic) {
    assert!(diagnostic.help.is_some(), "without help: {diagnostic}");
    assert!(!diagnostic.message.ends_with('.'), "with a full stop: {diagnostic}");
    let spans = diagnostic.span.iter().chain(diagnostic.related.iter().map(|(span, _)| span));
    for span in spans {
        assert!(span.source.text.get(span.start..span.end).is_some(), "{diagnostic}");
    }
}

/// Lines that are in one text only.
fn difference(expected: &str, actual: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let mut text = format!("    from line {}:\n", same + 1);
    old.iter().skip(same).for_each(|line| text.push_str(&format!("  - {line}\n")));
    new.iter().skip(same).for_each(|line| text.push_str(&format!("  + {line}\n")));
    text
}

#[test]
fn there_are_many_mistakes_written_down() {
    assert!(cases().len() >= 60, "{}", cases().len());
}
