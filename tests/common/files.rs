//! A folder for one test, which services of other users (`nobody`) may use too.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::wait::wait_for;

/// A temporary folder that everybody may enter; gone with the value.
pub(crate) struct Folder {
    inside: TempDir,
}

impl Folder {
    /// A fresh one, mode 0755.
    pub(crate) fn new() -> Self {
        let inside = tempfile::Builder::new().prefix("oxinetd-test-").tempdir().unwrap();
        fs::set_permissions(inside.path(), Permissions::from_mode(0o755)).unwrap();
        Self { inside }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.inside.path()
    }

    /// The path of `name` in it.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.inside.path().join(name)
    }

    /// The same as text, for configurations.
    pub(crate) fn name(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    /// Writes a file, readable by everybody.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        path
    }

    /// Writes a shell script and gives the program field and argv that run it. The
    /// shell reads it, nobody executes it: a file that another thread's fork holds
    /// open for writing could not be executed.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        format!("/bin/sh sh {}", self.write(name, text).display())
    }

    /// A folder inside that everybody may write to.
    pub(crate) fn open_folder(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        path
    }

    /// A symbolic link inside to `target`; the one that is there already, if there is.
    pub(crate) fn link(&self, name: &str, target: &str) -> PathBuf {
        let path = self.at(name);
        if !path.is_symlink() {
            std::os::unix::fs::symlink(target, &path).unwrap();
        }
        path
    }

    /// Copies a program in, under a name of its own, so that it can be deleted again.
    /// `cp` does it: this process never has it open for writing.
    pub(crate) fn copy_of(&self, program: &str, name: &str) -> String {
        let to = self.name(name);
        let status = std::process::Command::new("cp").args([program, &to]).status().unwrap();
        assert!(status.success(), "cp {program} {to}");
        to
    }
}

/// Waits until the file is there and has a whole line, and gives its text.
#[track_caller]
pub(crate) fn wait_text(path: &Path) -> String {
    wait_for(&format!("a line in {}", path.display()), || {
        fs::read_to_string(path).ok().filter(|text| text.ends_with('\n'))
    })
}

/// Nobody but its owner reads a file any more.
pub(crate) fn private(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
