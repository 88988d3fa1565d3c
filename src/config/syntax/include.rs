//! `.include`: which files a pattern means, and who may be read from whom.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::foreign;
use super::reader::{Context, Reader};
use crate::config::diagnostic::reading::{help_with_reading, reason};
use crate::config::text::words::Word;

/// What editors and package managers leave behind.
const LEFTOVERS: [&str; 9] =
    ["~", ".bak", ".orig", ".rej", ".swp", ".swo", ".rpmsave", ".rpmnew", ".rpmorig"];
/// The same, where more follows.
const LEFTOVERS_OF: [&str; 2] = [".dpkg-", ".ucf-"];

/// Whether a file is one that somebody meant: not hidden, no backup.
pub(in crate::config) fn is_meant(path: &Path) -> bool {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else { return false };
    // In `#…#`, Emacs keeps what has not been saved yet.
    let is_leftover = name.starts_with('.')
        || (name.starts_with('#') && name.ends_with('#'))
        || LEFTOVERS.iter().any(|end| name.ends_with(end))
        || LEFTOVERS_OF.iter().any(|part| name.contains(part));
    !is_leftover
}

/// Whether xinetd's `includedir` reads a file of this name.
pub(super) fn is_regular_name(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.as_bytes()).unwrap_or_default();
    !name.is_empty() && !name.contains(&b'.') && !name.ends_with(b"~")
}

/// Files in byte order, so that every machine reads them alike.
pub(in crate::config) fn sort(paths: &mut Vec<PathBuf>) {
    paths.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    paths.dedup();
}

impl Reader<'_> {
    /// Reads all files of a pattern, relative to the file that says it.
    pub(in crate::config) fn include(&mut self, pattern: &Word, from: &Path, context: &Context) {
        let directory = from.parent().unwrap_or(Path::new(""));
        let path = directory.join(&pattern.os);
        let is_pattern = pattern.text.contains(['*', '?', '[']);
        if !is_pattern {
            self.include_file(&path, (pattern, true), context);
            return;
        }
        match self.lookup.glob(&pattern_in(directory, &pattern.text)) {
            Ok(mut paths) => {
                paths.retain(|path| is_meant(path) && !self.lookup.is_directory(path));
                sort(&mut paths);
                for path in paths {
                    self.include_file(&path, (pattern, false), context);
                }
            }
            Err(problem) => {
                self.report
                    .error(&pattern.span, format!("`{}` names no files: {problem}", pattern.text))
                    .help("a pattern is that of a shell: `conf.d/*.conf`");
            }
        }
    }

    /// A file that is named `itself`, or that lies where a pattern looks.
    fn include_file(&mut self, path: &Path, (pattern, itself): (&Word, bool), context: &Context) {
        let name = path.display();
        if self.open.contains(&self.lookup.canonical(path)) {
            self.report
                .error(
                    &pattern.span,
                    format!("`{name}` is being read already: it would include itself"),
                )
                .help("take one of the `.include` lines away");
            return;
        }
        match self.lookup.read_either(path, itself).and_then(foreign::refused) {
            Ok(bytes) => self.read(path, &bytes, context.clone()),
            Err(error) => {
                let is_directory = self.lookup.is_directory(path);
                let missing = "the name is relative to the file that says it; a pattern like `conf.d/*.conf` may match nothing";
                let help = match is_directory {
                    true => format!("name the files that are in it: `{}/*.conf`", pattern.text),
                    false => help_with_reading(&error, missing).to_owned(),
                };
                self.report
                    .error(&pattern.span, format!("cannot read `{name}`: {}", reason(&error)))
                    .help(help);
            }
        }
    }
}

/// A pattern in a directory, whose own name is taken literally.
pub(in crate::config) fn pattern_in(directory: &Path, pattern: &str) -> String {
    let directory = glob_escape(&directory.to_string_lossy());
    Path::new(&directory).join(pattern).to_string_lossy().into_owned()
}

/// A name with what a pattern would mean taken literally.
fn glob_escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '*' | '?' | '[' | ']' => escaped.extend(['[', character, ']']),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{glob_escape, is_meant, sort};

    #[test]
    fn leftovers_are_not_meant() {
        for name in ["a.conf", "10-http", "b.conf.d", "#1", "orig"] {
            assert!(is_meant(Path::new(name)), "{name}");
        }
        let packages = "a.rpmsave a.rpmnew a.rpmorig a.dpkg-old a.dpkg-dist a.ucf-dist";
        let editors = ".a.conf a.conf~ a.bak #a# .#a a.swp a.swo a.orig a.rej";
        for name in packages.split(' ').chain(editors.split(' ')) {
            assert!(!is_meant(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn order_is_that_of_bytes() {
        let mut paths: Vec<PathBuf> = ["b", "a", "B", "10", "9"].map(PathBuf::from).to_vec();
        sort(&mut paths);
        assert_eq!(paths, ["10", "9", "B", "a", "b"].map(PathBuf::from));
        assert_eq!(glob_escape("a[1]"), "a[[]1[]]");
    }
}
