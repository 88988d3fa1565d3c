//! Opening a file for log lines: a regular one, since writing to it waits for nobody.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::OFlag;

use crate::sys::descriptor;
use crate::sys::trusted_path::ParentDirectory;

/// Mode of a file that is created, less the umask.
const MODE: u32 = 0o640;

/// Opens a regular file to append to it, or makes one. Nobody else has a say in where it is.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT;
    let file = ParentDirectory::of(path)?.open(flags, MODE)?;
    Ok(File::from(descriptor::raise(OwnedFd::from(file))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink(at("target"), at("link")).unwrap();
        for name in ["fifo", "socket", ".", "link"] {
            assert!(open(&at(name)).is_err(), "{name}");
        }
        assert!(open(Path::new("/dev/null")).is_err() && !at("target").exists());
        assert!(open(&at("no/folder")).is_err());
        assert!(open(&at("file")).is_ok());
    }
}
