//! What apt knows on this machine and can bring, with nothing of its own changed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::tool::{bounded, output};
use crate::Result;

/// Packages come from the network in that time or not at all.
const SECONDS: u32 = 60;

/// Downloads `package` to `folder`, and of the packages that it needs those that are
/// not installed here: its libraries among them.
pub(super) fn download(package: &str, folder: &Path) -> Result<()> {
    // Of an unknown package it would say less.
    lists()?;
    let mut names = missing(package)?;
    names.push(package.to_owned());
    output(apt_get().arg("download").args(names).current_dir(folder))?;
    Ok(())
}

/// What would be installed with `package`, itself left out.
fn missing(package: &str) -> Result<Vec<String>> {
    let plan = output(apt_get().args(["-s", "install", "--no-install-recommends", package]))?;
    let names = plan.lines().filter_map(|line| {
        let mut words = line.strip_prefix("Inst ")?.split_whitespace();
        let (name, next) = (words.next()?, words.next()?);
        // `[` begins the version that is installed: what is here is used as it is. A newer
        // C library would not fit to the loader that is here.
        (name != package && !next.starts_with('[')).then(|| name.to_owned())
    });
    Ok(names.collect())
}

/// The source of `package` as Debian has it, unpatched (.orig.tar.*), to `folder`, by the
/// sources of this machine. The lists for that are kept in `folder` too.
pub(super) fn download_source(package: &str, folder: &Path) -> Result<()> {
    let lists = folder.join("lists");
    let config = configure(folder, &lists)?;
    let get =
        |words: &[&str]| output(apt_get().arg("-c").arg(&config).args(words).current_dir(folder));
    // It succeeds without having reached anything.
    get(&["update"])?;
    let mut files = std::fs::read_dir(lists)?.flatten();
    if !files.any(|file| file.file_name().to_string_lossy().contains("_Sources")) {
        return Err("apt-get cannot download the lists of source packages".into());
    }
    get(&["source", "--download-only", package])?;
    Ok(())
}

fn apt_get() -> Command {
    let mut command = bounded(SECONDS, "apt-get");
    // Without a network the others are not to wait for long.
    command.args(["-q", "-o", "Acquire::Retries=1"]);
    command
}

/// Of every list of packages that apt has, whose it is and the file that asks for it.
fn lists() -> Result<Vec<(String, PathBuf)>> {
    let format = ["indextargets", "--format", "$(ORIGIN)\t$(SOURCESENTRY)"];
    let targets = output(apt_get().args(format).arg("Created-By: Packages"))?;
    let lists = targets.lines().filter_map(|line| {
        let (origin, entry) = line.split_once('\t')?;
        // FILE:NUMBER
        Some((origin.to_owned(), entry.rsplit_once(':')?.0.into()))
    });
    let lists: Vec<_> = lists.collect();
    if lists.is_empty() {
        return Err("apt's lists are empty: apt-get update fills them".into());
    }
    Ok(lists)
}

/// Settings that keep everything of apt in `folder`: the machine's own sources of Debian,
/// made sources of source packages, with lists and a cache of their own.
fn configure(folder: &Path, lists: &Path) -> Result<PathBuf> {
    let [parts, cache] = ["sources.list.d", "cache"].map(|name| folder.join(name));
    for folder in [lists, &parts, &cache] {
        std::fs::create_dir_all(folder)?;
    }
    // One file often asks for several: copied over itself.
    for (_, file) in self::lists()?.into_iter().filter(|(origin, _)| origin == "Debian") {
        let text = std::fs::read_to_string(&file)?;
        std::fs::write(parts.join(file.file_name().ok_or("no name")?), as_source(&text))?;
    }
    let text = format!(
        "Dir::Etc::SourceList \"/dev/null\";\nDir::Etc::SourceParts {parts:?};\n\
         Dir::State::Lists {lists:?};\nDir::Cache {cache:?};\n\
         // What the machine does after an update is not meant for this one.\n\
         #clear APT::Update;\n"
    );
    let config = folder.join("apt.conf");
    std::fs::write(&config, text)?;
    Ok(config)
}

/// The same sources, of source packages: of both forms that sources.list(5) knows.
fn as_source(text: &str) -> String {
    let line = |line: &str| {
        if line.to_ascii_lowercase().starts_with("types:") {
            "Types: deb-src\n".to_owned()
        } else if line.starts_with("deb-src") {
            // Given twice otherwise.
            String::new()
        } else if let Some(rest) = line.strip_prefix("deb") {
            format!("deb-src{rest}\n")
        } else {
            format!("{line}\n")
        }
    };
    text.lines().map(line).collect()
}
