//! The server's log in a regular file, opened again when it has been rotated.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::opening;
use super::put::Put;

/// An open file and its place.
pub(super) struct OwnFile {
    path: PathBuf,
    file: File,
    /// Why it has taken nothing.
    error: Option<String>,
}

impl OwnFile {
    /// Opens the file to append to it, or makes one.
    ///
    /// # Errors
    /// When the system refuses it, and when it is no regular file.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let file = opening::open(&path)?;
        Ok(Self { path, file, error: None })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what is at its place now; the old one stays if that fails.
    ///
    /// # Errors
    /// As [`OwnFile::open`].
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.file = opening::open(&self.path)?;
        Ok(())
    }

    /// Writes as much as the file takes. A full disk may have room again.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Put {
        match self.file.write(bytes) {
            Ok(0) => Put::Later,
            Ok(count) => Put::Taken(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Put::Taken(0),
            Err(error) => {
                self.error = Some(error.to_string());
                Put::Later
            }
        }
    }

    /// Why it takes nothing, when it does not.
    pub(super) fn why(&self) -> String {
        let error = self.error.as_deref().unwrap_or("it takes nothing");
        format!("{}: {error}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_cannot_be_opened_again_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("log"), folder.path().join("old"));
        let mut file = OwnFile::open(&path).unwrap();
        assert_eq!(file.put(b"one\n"), Put::Taken(4));
        fs::rename(&path, &old).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(file.reopen().is_err());
        assert_eq!(file.put(b"two\n"), Put::Taken(4));
        assert_eq!(fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        fs::remove_dir(&path).unwrap();
        file.reopen().unwrap();
        assert_eq!(file.put(b"three\n"), Put::Taken(6));
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }
}
