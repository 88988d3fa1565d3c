//! Build script: how the program is linked.
//!
//! Where it is loaded is another place each time, so the system adds that place to each of some
//! eight thousand addresses in it. Written one by one they take 190 KB of the file, packed
//! (DT_RELR) 2: glibc unpacks them since 2.36.

use std::env::var;
use std::process::Command;

/// The first version of glibc that does it.
const SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    if is_for_this_machine() && glibc().is_some_and(|version| version >= SINCE) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the program is for a machine like this one: nothing is known of others.
fn is_for_this_machine() -> bool {
    var("CARGO_CFG_TARGET_ENV").is_ok_and(|libc| libc == "gnu") && var("HOST") == var("TARGET")
}

fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
