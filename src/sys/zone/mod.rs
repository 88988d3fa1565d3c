//! The local time zone: how far local time is from UTC at an instant.
//!
//! libc's localtime(3) reads the environment and a file whenever it likes, and
//! is not safe to call from Rust. So the zone is read once, at load, and asked
//! from then on: a table of changes (TZif, RFC 9636) and the rule for the time
//! after it (a POSIX `TZ` string).

mod posix;
#[cfg(test)]
mod tests;
mod tzif;

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::calendar::WallClock;
use posix::Rule;

/// The zone of the machine, for when `TZ` is not set.
const LOCALTIME: &str = "/etc/localtime";
/// Where the zones are that `TZ` may name.
const FOLDERS: [&str; 3] = ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/etc/zoneinfo"];
/// The largest real zone is below 4 KiB; a file beyond this is none.
const LARGEST: u64 = 1 << 20;

/// A time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// The offset before the first change.
    first: i32,
    /// From when (UTC seconds, ascending) which offset holds.
    changes: Vec<(i64, i32)>,
    /// What holds from the last change on, if it is not that change's offset for good.
    rule: Option<Rule>,
}

/// Why there is no zone.
#[derive(Debug)]
pub enum ZoneError {
    /// The bytes are not a TZif file; what is wrong with them.
    Malformed(&'static str),
    /// `TZ` is neither a zone that is there nor a POSIX time zone string.
    Unknown(String),
    /// The file is there and cannot be read.
    Unreadable(PathBuf, io::Error),
}

impl fmt::Display for ZoneError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(formatter, "malformed time zone file: {what}"),
            Self::Unknown(name) => write!(formatter, "unknown time zone {name:?}"),
            Self::Unreadable(path, error) => write!(formatter, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ZoneError {}

impl Default for Zone {
    /// The same as [`Zone::utc`].
    fn default() -> Self {
        Self::utc()
    }
}

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self { first: 0, changes: Vec::new(), rule: None }
    }

    /// Reads a TZif file of any version (RFC 9636).
    ///
    /// # Errors
    /// `ZoneError::Malformed` if the bytes are not one, whatever they are.
    pub fn from_tzif(bytes: &[u8]) -> Result<Self, ZoneError> {
        tzif::parse(bytes)
    }

    /// Reads a POSIX time zone string, `EST5EDT,M3.2.0,M11.1.0`; None if it is none.
    pub fn from_posix(text: &str) -> Option<Self> {
        Some(Self { rule: Some(Rule::parse(text)?), ..Self::utc() })
    }

    /// Local time minus UTC at an instant (seconds since 1970 in UTC), in seconds.
    pub fn offset_at(&self, utc_seconds: i64) -> i32 {
        let passed = self.changes.partition_point(|&(instant, _)| instant <= utc_seconds);
        if let (Some(rule), true) = (&self.rule, passed == self.changes.len()) {
            return rule.offset_at(utc_seconds);
        }
        let latest = passed.checked_sub(1).and_then(|at| self.changes.get(at));
        latest.map_or(self.first, |&(_, offset)| offset)
    }

    /// The instant with this zone's offset at it.
    pub fn clock(&self, utc_seconds: i64) -> WallClock {
        WallClock { utc_seconds, offset_seconds: self.offset_at(utc_seconds) }
    }

    /// The zone that the value of `TZ` means, read from the file system.
    ///
    /// Not set: /etc/localtime, and UTC where that does not exist. Empty, `UTC`, `GMT`: UTC.
    /// `:PATH`, `:NAME`, `/PATH`: that file. Anything else: the zone of that
    /// name, or else a POSIX time zone string, in the C library's order.
    ///
    /// # Errors
    /// What `TZ` says is no zone, or its file cannot be read.
    pub fn load(tz: Option<&OsStr>) -> Result<Self, ZoneError> {
        Self::resolve(tz, read_file)
    }

    /// [`Zone::load`] with the reading of files left to the caller.
    fn resolve(
        tz: Option<&OsStr>,
        read: impl Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, ZoneError> {
        let Some(tz) = tz else {
            return open(&[PathBuf::from(LOCALTIME)], &read).unwrap_or_else(|| Ok(Self::utc()));
        };
        let text = tz.to_string_lossy();
        let name = text.strip_prefix(':').unwrap_or(&text);
        if matches!(name, "" | "UTC" | "GMT" | "Etc/UTC") {
            // Known even where no zones are installed.
            return Ok(Self::utc());
        }
        // Joining an absolute path gives that path: one rule for names and paths.
        let candidates = FOLDERS.map(|folder| Path::new(folder).join(name));
        open(&candidates, &read)
            .or_else(|| Self::from_posix(&text).map(Ok))
            .unwrap_or_else(|| Err(ZoneError::Unknown(text.into_owned())))
    }
}

/// The first of these files that exists, as a zone; None if there is none.
fn open(
    candidates: &[PathBuf],
    read: impl Fn(&Path) -> io::Result<Vec<u8>>,
) -> Option<Result<Zone, ZoneError>> {
    candidates.iter().find_map(|path| match read(path) {
        Ok(bytes) => Some(Zone::from_tzif(&bytes)),
        Err(error) if is_absence(&error) => None,
        Err(error) => Some(Err(ZoneError::Unreadable(path.clone(), error))),
    })
}

/// `EST5EDT,M3.2.0/2,M11.1.0` looks like a path below a file: that is absence too.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::InvalidInput
    )
}

/// A file's bytes; not more of them than a time zone has, and only a regular
/// file's, since opening or reading anything else may never end.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
