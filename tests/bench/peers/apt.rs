//! What apt knows on this machine and can bring, with nothing of its own changed.

use std::path::Path;
use std::process::Command;

use super::tool::{bounded, output};
use crate::Result;

/// Packages come from the network in that time or not at all.
const SECONDS: u32 = 60;

/// Downloads `package` to `folder`, and of the packages that it needs those that are
/// not installed here: its libraries among them.
pub(super) fn download(package: &str, folder: &Path) -> Result<()> {
    // Of an unknown package it would say less.
    check_lists()?;
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

fn apt_get() -> Command {
    let mut command = bounded(SECONDS, "apt-get");
    // Without a network the others are not to wait for long.
    command.args(["-q", "-o", "Acquire::Retries=1"]);
    command
}

/// An error where apt knows no package at all.
fn check_lists() -> Result<()> {
    let lists = output(apt_get().args(["indextargets", "Created-By: Packages"]))?;
    if lists.is_empty() {
        return Err("apt's lists are empty: apt-get update fills them".into());
    }
    Ok(())
}
