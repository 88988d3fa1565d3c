//! Files of their own for the lines of some services (`log_type = FILE`).
//!
//! Each path is open once, however many services name it. Its lines are collected
//! and written as those of the server's log.
//! Regular files only: a write to one waits for nobody. Lines that cannot be written
//! to their file go to the server's log; that is said once, until one can again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::opening::open;
use super::queue;
use super::size_limit::{Gauge, News};
use crate::config::model::LogFile;
use crate::log::events;

/// Bytes that are kept until the next [`flush`]; with more they are written at once.
const KEPT: usize = 64 * 1024;

static FILES: Mutex<Files> =
    Mutex::new(Files { list: Vec::new(), next: 0, unwritten: false, outcomes: Vec::new() });

struct Files {
    /// By number.
    list: Vec<FileTarget>,
    /// Numbers are given once, so that an old one names nobody.
    next: u64,
    /// Whether there is anything to write.
    unwritten: bool,
    /// What is to be said then.
    outcomes: Vec<FileOutcome>,
}

/// What has come of a file.
struct FileOutcome {
    path: PathBuf,
    what: FileWork,
}

enum FileWork {
    News(News),
    Failed(io::Error),
}

/// A file, open or not.
struct FileTarget {
    number: u64,
    path: PathBuf,
    /// None if it could not be opened, which has been said.
    file: Option<File>,
    gauge: Gauge,
    waiting: Vec<u8>,
    /// That it cannot be written to has been said.
    failing: bool,
    /// What was last written ends in the middle of a line.
    torn: bool,
}

fn files() -> MutexGuard<'static, Files> {
    // As with the sink: what is there is still good.
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the files that these name, again if they are open. Of several limits of one file,
/// the least hold.
pub(crate) fn open_files<'a>(wanted: impl Iterator<Item = &'a LogFile>) {
    let mut files = files();
    files.write_out();
    for (path, limits) in least_limits(wanted) {
        files.open(path, limits);
    }
    say(files);
}

/// Opens those again that are there: they may have been rotated away.
pub(crate) fn open_again() {
    let mut files = files();
    files.write_out();
    let Files { list, outcomes, .. } = &mut *files;
    for target in list {
        let failed = target.open().err().map(FileWork::Failed);
        outcomes.extend(failed.map(|what| target.outcome(what)));
    }
    say(files);
}

/// Closes all files but those that these name.
pub(crate) fn keep_files<'a>(wanted: impl Iterator<Item = &'a LogFile>) {
    let mut files = files();
    files.write_out();
    files.close_all_but(&least_limits(wanted));
    say(files);
}

/// The number of the file at this path, if [`open_files`] was given it.
pub(crate) fn number_of(path: &Path) -> Option<u64> {
    files().list.iter().find(|target| target.path == path).map(|target| target.number)
}

/// Takes a line for a file. False if it is not open.
pub(super) fn take(number: u64, line: impl FnOnce(&mut Vec<u8>)) -> bool {
    let mut files = files();
    let Files { list, unwritten, outcomes, .. } = &mut *files;
    let Ok(index) = list.binary_search_by_key(&number, |target| target.number) else {
        return false;
    };
    let Some(target) = list.get_mut(index).filter(|target| target.file.is_some()) else {
        return false;
    };
    *unwritten = true;
    line(&mut target.waiting);
    if target.waiting.len() > KEPT {
        target.write_out(outcomes);
    }
    true
}

/// Whether lines wait for [`flush`].
pub(super) fn have_lines() -> bool {
    files().unwritten
}

/// Writes what waits, and says what there is to say.
pub(super) fn flush() {
    let mut files = files();
    files.write_out();
    say(files);
}

/// With the lock let go: what is said is logged too.
fn say(mut files: MutexGuard<'_, Files>) {
    let outcomes = std::mem::take(&mut files.outcomes);
    drop(files);
    for FileOutcome { path, what } in outcomes {
        match what {
            FileWork::News(News::Large(limit)) => events::log_file_large(&path, limit),
            FileWork::News(News::Full(limit)) => events::log_file_full(&path, limit),
            FileWork::News(News::Resumed(left_out)) => events::log_file_resumed(&path, left_out),
            FileWork::Failed(error) => events::log_file_failed(&path, &error),
        }
    }
}

/// Soft and hard, in bytes.
type FileLimits = (Option<u64>, Option<u64>);

fn least_limits<'a>(wanted: impl Iterator<Item = &'a LogFile>) -> BTreeMap<&'a Path, FileLimits> {
    let mut least: BTreeMap<&Path, FileLimits> = BTreeMap::new();
    for LogFile { path, soft, hard } in wanted {
        let known = least.entry(path).or_default();
        let less = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        *known = (less(known.0, *soft), less(known.1, *hard));
    }
    least
}

impl Files {
    fn write_out(&mut self) {
        if std::mem::take(&mut self.unwritten) {
            self.list.iter_mut().for_each(|target| target.write_out(&mut self.outcomes));
        }
    }

    fn close_all_but(&mut self, wanted: &BTreeMap<&Path, FileLimits>) {
        let outcomes = &mut self.outcomes;
        self.list.retain_mut(|target| {
            let stays = wanted.contains_key(&*target.path);
            if !stays {
                outcomes
                    .extend(target.gauge.end().map(|news| target.outcome(FileWork::News(news))));
            }
            stays
        });
    }

    fn open(&mut self, path: &Path, (soft, hard): FileLimits) {
        let index = self.list.iter().position(|target| target.path == path).unwrap_or_else(|| {
            self.list.push(FileTarget::new(self.next, path));
            self.next = self.next.saturating_add(1);
            self.list.len().saturating_sub(1)
        });
        let Some(target) = self.list.get_mut(index) else { return };
        let resumed = target.gauge.limit(soft, hard).map(FileWork::News);
        let failed = target.open().err().map(FileWork::Failed);
        let outcomes = [resumed, failed].into_iter().flatten();
        self.outcomes.extend(outcomes.map(|what| target.outcome(what)));
    }
}

impl FileTarget {
    fn new(number: u64, path: &Path) -> Self {
        Self {
            number,
            path: path.to_owned(),
            file: None,
            gauge: Gauge::default(),
            waiting: Vec::new(),
            failing: false,
            torn: false,
        }
    }

    fn outcome(&self, what: FileWork) -> FileOutcome {
        FileOutcome { path: self.path.clone(), what }
    }

    /// Another file may be there than the one that is open.
    fn open(&mut self) -> io::Result<()> {
        (self.file, self.failing, self.torn) = (None, false, false);
        self.file = Some(open(&self.path)?);
        Ok(())
    }

    /// Writes what waits; what the file does not take goes to the server's log.
    fn write_out(&mut self, outcomes: &mut Vec<FileOutcome>) {
        let mut lines = std::mem::take(&mut self.waiting);
        if lines.is_empty() {
            return;
        }
        let mut news = Vec::new();
        let result = self.admit(&mut lines, &mut news).and_then(|()| self.append(&mut lines));
        outcomes.extend(news.into_iter().map(|news| self.outcome(FileWork::News(news))));
        match result {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    outcomes.push(self.outcome(FileWork::Failed(error)));
                }
                queue::add(&lines);
            }
        }
    }

    /// Cuts the lines off that the limits leave no room for.
    fn admit(&mut self, lines: &mut Vec<u8>, news: &mut Vec<News>) -> io::Result<()> {
        if let Some(file) = self.file.as_ref().filter(|_| self.gauge.is_limited()) {
            let size = file.metadata()?.len();
            lines.truncate(self.gauge.admit(lines, size, news));
        }
        Ok(())
    }

    /// Appends the lines. After an error those are left of them that are not in the
    /// file as a whole.
    fn append(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(ErrorKind::NotFound.into()) };
        if self.torn && !lines.is_empty() {
            file.write_all(b"\n")?;
            self.torn = false;
        }
        let mut written = 0;
        while let Some(rest) = lines.get(written..).filter(|rest| !rest.is_empty()) {
            let error = match file.write(rest) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(count) => {
                    written = written.saturating_add(count);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let whole = lines.get(..written).unwrap_or_default();
            let whole = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            self.torn = written > whole;
            lines.drain(..whole);
            return Err(error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(path: &str, soft: Option<u64>, hard: Option<u64>) -> LogFile {
        LogFile { path: PathBuf::from(path), soft, hard }
    }

    fn opened(path: &Path) -> FileTarget {
        let mut target = FileTarget::new(0, path);
        target.open().unwrap();
        target
    }

    #[test]
    fn the_least_limits_of_a_file_hold() {
        let all =
            [file("/a", Some(9), Some(20)), file("/a", None, None), file("/a", Some(8), Some(30))];
        let least = least_limits(all.iter());
        assert_eq!(least.get(Path::new("/a")), Some(&(Some(8), Some(20))));
    }

    #[test]
    fn lines_are_added_to_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old\n").unwrap();
        let (mut target, mut outcomes) = (opened(&path), Vec::new());
        for line in ["one\n", "two\n"] {
            target.waiting.extend_from_slice(line.as_bytes());
            target.write_out(&mut outcomes);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\none\ntwo\n");
        assert!(outcomes.is_empty());
    }

    #[test]
    fn an_error_is_said_once_until_it_works_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (mut target, mut outcomes) = (opened(&path), Vec::new());
        // Read-only: every write fails.
        target.file = Some(File::open(&path).unwrap());
        let mut write = |target: &mut FileTarget| {
            target.waiting.extend_from_slice(b"line\n");
            target.write_out(&mut outcomes);
            outcomes.len()
        };
        assert_eq!((write(&mut target), write(&mut target)), (1, 1));
        target.file = Some(open(&path).unwrap());
        assert_eq!(write(&mut target), 1);
        target.file = Some(File::open(&path).unwrap());
        assert_eq!(write(&mut target), 2);
        assert_eq!(fs::read_to_string(&path).unwrap(), "line\n");
    }
}
