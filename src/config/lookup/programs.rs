//! Programs and paths on this machine.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use super::files;
use crate::config::facts::{Executable, FIRST_LINE, Who};
use crate::sys::trusted_path::open_to_read;

/// Where programs are looked up when the server has no PATH.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The directories in which programs are looked up.
pub(super) fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
    std::env::split_paths(&path.unwrap_or_else(|| SEARCH_PATH.into())).collect()
}

/// Whether a file can be run.
pub(super) fn executable(path: &Path) -> Executable {
    match path.metadata() {
        Ok(facts) if facts.is_dir() => Executable::No("is a directory".to_owned()),
        Ok(facts) if !facts.is_file() => Executable::No("is not a file".to_owned()),
        Ok(facts) if facts.permissions().mode() & 0o111 == 0 => {
            Executable::No("is not executable".to_owned())
        }
        Ok(_) => Executable::Yes,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Executable::Hidden,
        Err(_) => Executable::Missing,
    }
}

/// How a program begins; none where it may not be read, as one that may be run need not be.
pub(super) fn start(path: &Path) -> Option<Vec<u8>> {
    files::start(open_to_read(path).ok()?.file, FIRST_LINE).ok()
}

/// As [`Lookup::closed_to`](crate::config::facts::Lookup::closed_to).
pub(super) fn closed_to(who: &Who<'_>, path: &Path, root: Option<&Path>) -> Option<PathBuf> {
    let is_inside = |path: &&Path| root.is_none_or(|root| path.starts_with(root));
    let mut way: Vec<&Path> = path.ancestors().take_while(is_inside).collect();
    way.reverse();
    let is_closed = |path: &&Path| {
        let facts = path.metadata();
        facts.is_ok_and(|it| !who.may_execute(it.mode(), (it.uid(), it.gid())))
    };
    way.into_iter().find(is_closed).map(Path::to_owned)
}

/// As [`Lookup::real_path`](crate::config::facts::Lookup::real_path).
pub(super) fn real_path(root: Option<&Path>, path: &Path) -> Option<PathBuf> {
    let Some(root) = root else { return path.canonicalize().ok() };
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let directory = open(root, flags | OFlag::O_DIRECTORY, Mode::empty()).ok()?;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let file = openat2(directory, path, how).ok()?;
    let name = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    name.ok().or_else(|| Some(root.join(path.strip_prefix("/").unwrap_or(path))))
}
