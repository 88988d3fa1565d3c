//! The pid file: locked for as long as the server lives, so that two servers never
//! share one and a file left behind by a crash is in nobody's way.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// A locked pid file; removed when dropped, if it is still there.
#[derive(Debug)]
pub struct PidFile {
    file: Flock<File>,
    path: PathBuf,
}

impl PidFile {
    /// Locks the file, and leaves what is in it until [`Self::write`].
    ///
    /// # Errors
    /// When another server holds it (its pid is in the error), when it is no regular file or
    /// what is in it is no pid, so that a mistyped name costs nobody a file, or the system's.
    pub fn lock(path: &Path) -> io::Result<Self> {
        // A server that ends unlinks the file; one that opened it before then has
        // locked a file that is gone, and takes the new one.
        loop {
            let locked = Self::lock_what_is_there(path)?;
            if locked.is_there() {
                return Ok(locked);
            }
        }
    }

    fn lock_what_is_there(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            // A FIFO would be waited for.
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
            .open(path)?;
        // What is locked is removed at the end, which /dev/null must not be.
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidData, "not a regular file"));
        }
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                let mut first = [0];
                let found = file.read(&mut first)?;
                if found > 0 && !first[0].is_ascii_digit() {
                    let message = "this is no pid file: it has something else in it";
                    return Err(io::Error::new(ErrorKind::InvalidData, message));
                }
                Ok(Self { file, path: path.to_owned() })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let message = format!("held by a running server, pid {}", pid.trim());
                Err(io::Error::new(ErrorKind::AlreadyExists, message))
            }
            Err((_, error)) => Err(error.into()),
        }
    }

    /// Whether its path still leads to it. Somebody may have removed it, and another server
    /// may have made its own there.
    fn is_there(&self) -> bool {
        let identity = |facts: std::fs::Metadata| (facts.dev(), facts.ino());
        let there = std::fs::symlink_metadata(&self.path).map(identity);
        there.is_ok_and(|there| self.file.metadata().map(identity).is_ok_and(|it| it == there))
    }

    /// Goes on with a file that is locked already, and has the pid in it.
    ///
    /// # Errors
    /// flock(2)'s.
    pub fn taken_over(descriptor: OwnedFd, path: &Path) -> io::Result<Self> {
        // The lock belongs to the open file, which is the same: this changes nothing.
        let file = Flock::lock(File::from(descriptor), FlockArg::LockExclusiveNonblock);
        let file = file.map_err(|(_, error)| error)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its descriptor.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Writes the pid.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&mut self) -> io::Result<()> {
        self.file.rewind()?;
        self.file.set_len(0)?;
        writeln!(&mut *self.file, "{}", std::process::id())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let mut first = PidFile::lock(&path).unwrap();
        first.write().unwrap();
        let refusal = PidFile::lock(&path).unwrap_err().to_string();
        assert!(refusal.contains(&std::process::id().to_string()), "{refusal}");
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn what_another_server_has_made_in_its_place_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let first = PidFile::lock(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut second = PidFile::lock(&path).unwrap();
        second.write().unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[test]
    fn what_is_no_regular_file_is_neither_waited_for_nor_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let refusal = PidFile::lock(&path).unwrap_err().to_string();
        assert!(refusal.contains("not a regular file"), "{refusal}");
        assert!(path.exists());
        PidFile::lock(folder.path()).unwrap_err();
    }

    #[test]
    fn a_lock_is_taken_over_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let first = PidFile::lock(&path).unwrap();
        let same = first.file.try_clone().unwrap().into();
        let second = PidFile::taken_over(same, &path).unwrap();
        // As at exec(2), nothing is dropped.
        std::mem::forget(first);
        assert!(PidFile::lock(&path).is_err());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_with_something_else_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inetd.conf");
        std::fs::write(&path, "# services\n").unwrap();
        PidFile::lock(&path).unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# services\n");
    }

    #[test]
    fn a_file_left_behind_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        std::fs::write(&path, "999999 and more\n").unwrap();
        PidFile::lock(&path).unwrap().write().unwrap();
    }
}
