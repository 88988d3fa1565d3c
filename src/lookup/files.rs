//! Files that somebody has named, read whole: the name may lead to what has no end, or
//! to what nobody writes into, so there is a bound, and some kinds are not opened.

use std::cell::Cell;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::makedev;

/// What one configuration may have, with everything that it includes.
const CONFIGURATION: u64 = 16 << 20;
const TOO_LARGE: &str = "a configuration has at most 16 MiB, with all that it includes";

/// How much of a configuration has been read.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Cell<u64>);

impl Budget {
    /// A whole file, if the configuration may still have so much.
    pub(super) fn read(&self, file: File) -> io::Result<Vec<u8>> {
        let left = CONFIGURATION.saturating_sub(self.0.get());
        let bytes = bounded(file, left).map_err(|error| match error.kind() {
            ErrorKind::FileTooLarge => io::Error::new(error.kind(), TOO_LARGE),
            _ => error,
        })?;
        self.0.set(self.0.get().saturating_add(length(&bytes)));
        Ok(bytes)
    }
}

/// Opens what is to be an ordinary file; /dev/null is an empty one. A FIFO would be waited
/// for, and devices do things when they are opened.
pub(super) fn open(path: &Path) -> io::Result<File> {
    check(&path.metadata()?)?;
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    // Something else may be there by now.
    check(&file.metadata()?)?;
    Ok(file)
}

fn check(facts: &Metadata) -> io::Result<()> {
    let is_null = facts.file_type().is_char_device() && facts.rdev() == makedev(1, 3);
    if facts.is_file() || is_null {
        return Ok(());
    }
    let why = if facts.is_dir() { "it is a directory" } else { "it is not a regular file" };
    Err(io::Error::other(why))
}

/// All that is in a file, if it is not more than `most`.
pub(super) fn bounded(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if length(&bytes) > most {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// The first bytes of a file, however long it is.
pub(super) fn start(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use super::{Budget, bounded, open};

    #[test]
    fn what_has_no_end_is_not_read_to_it() {
        let zero = || File::open("/dev/zero").unwrap();
        assert!(bounded(zero(), 1000).is_err());
        let said = Budget::default().read(zero()).unwrap_err();
        assert!(said.to_string().contains("16 MiB"), "{said}");
    }

    #[test]
    fn only_files_are_opened() {
        let said = |path: &str| open(Path::new(path)).map(drop).map_err(|error| error.to_string());
        assert_eq!(said("/dev/null"), Ok(()));
        assert_eq!(said("/etc/passwd"), Ok(()));
        assert_eq!(said("/dev/zero"), Err("it is not a regular file".to_owned()));
        assert_eq!(said("/etc"), Err("it is a directory".to_owned()));
    }
}
