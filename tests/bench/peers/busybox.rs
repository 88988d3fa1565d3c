//! busybox with its inetd and its tcpsvd. Debian builds its busybox, the static one too,
//! without either, so that it is built here from Debian's source unless one is installed
//! that has them. What is built is static, has nothing but the two, and is kept.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::tool::{bounded, check, output};
use super::{apt, cache, may_fetch};
use crate::Result;
use crate::context::Context;

/// A build takes some ten seconds of one processor.
const SECONDS: u32 = 150;

/// Unpacks and builds in the current folder, and leaves `busybox` there.
const SCRIPT: &str = include_str!("busybox.sh");

pub(super) fn find(context: &Context) -> Result<PathBuf> {
    let folder = cache().join("busybox");
    let built = folder.join("busybox");
    let known = [Path::new("/bin/busybox"), Path::new("/usr/bin/busybox"), &built];
    if let Some(program) = known.into_iter().find(|program| has_both(program)) {
        return Ok(program.to_owned());
    }
    may_fetch(context)?;
    build(&folder)?;
    if has_both(&built) { Ok(built) } else { Err("built, but without inetd and tcpsvd".into()) }
}

fn has_both(program: &Path) -> bool {
    let list = output(bounded(5, program).arg("--list")).unwrap_or_default();
    ["inetd", "tcpsvd"].iter().all(|name| list.lines().any(|line| line == *name))
}

fn build(folder: &Path) -> Result<()> {
    for tool in ["cc", "make"] {
        output(bounded(5, tool).arg("--version"))
            .map_err(|_| format!("Debian's lacks it, and there is no {tool} to build it with"))?;
    }
    println!("building busybox, once, below {}", folder.display());
    // What an earlier attempt has left.
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder)?;
    apt::download_source("busybox", folder)?;
    let log = folder.join("build.log");
    let mut command = bounded(SECONDS, "sh");
    command.args(["-e", "-c", SCRIPT]).current_dir(folder);
    let status = command.stdout(File::create(&log)?).stderr(append(&log)?).status()?;
    check(status, &std::fs::read_to_string(&log).unwrap_or_default())
        .map_err(|error| format!("{error} ({})", log.display()).into())
}

fn append(path: &Path) -> Result<File> {
    Ok(File::options().append(true).open(path)?)
}
