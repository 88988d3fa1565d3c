//! Files that somebody has named, read whole: the name may lead to what has no end, so there
//! is a bound. Which are opened at all, `trusted_path` says; what others can write of what
//! was read is remembered.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::PathBuf;

use crate::sys::trusted_path::rule::Writer;
use crate::sys::trusted_path::{Exposed, Opened};

/// What one configuration may have, with everything that it includes.
const CONFIGURATION: u64 = 16 << 20;
const TOO_LARGE: &str = "a configuration has at most 16 MiB, with all that it includes";

/// How much of a configuration has been read.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Cell<u64>);

impl Budget {
    /// Nothing has been read yet.
    pub(super) fn reset(&self) {
        self.0.set(0);
    }

    /// The same file once more.
    pub(super) fn again(&self, bytes: &[u8]) -> io::Result<()> {
        let read = self.0.get().saturating_add(length(bytes));
        if read > CONFIGURATION {
            return Err(io::Error::new(ErrorKind::FileTooLarge, TOO_LARGE));
        }
        self.0.set(read);
        Ok(())
    }

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

/// Files and directories that others can write, which something was read from, and who.
#[derive(Debug, Clone, Default)]
pub(super) struct Exposures(RefCell<BTreeMap<PathBuf, Writer>>);

impl Exposures {
    /// The file of what was opened.
    pub(super) fn note(&self, opened: io::Result<Opened>) -> io::Result<File> {
        let opened = opened?;
        if let Some(Exposed { path, by }) = opened.exposed {
            self.0.borrow_mut().insert(path, by);
        }
        Ok(opened.file)
    }

    /// All of them so far.
    pub(super) fn all(&self) -> Vec<(PathBuf, Writer)> {
        self.0.borrow().iter().map(|(path, by)| (path.clone(), *by)).collect()
    }
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

    use super::{Budget, bounded};

    #[test]
    fn what_has_no_end_is_not_read_to_it() {
        let zero = || File::open("/dev/zero").unwrap();
        assert!(bounded(zero(), 1000).is_err());
        let messages = Budget::default().read(zero()).unwrap_err();
        assert!(messages.to_string().contains("16 MiB"), "{messages}");
    }
}
