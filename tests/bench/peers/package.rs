//! A peer that is a package of Debian: installed, or fetched and unpacked in a folder
//! of its own, together with the libraries that this machine lacks.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::tool::{bounded, output};
use super::{Words, apt, cache, may_fetch};
use crate::Result;
use crate::context::Context;

/// What runs the program that `package` has at `inside`.
pub(super) fn find(context: &Context, package: &str, inside: &str) -> Result<Words> {
    if let Some(program) = installed(package, inside) {
        return Ok(vec![program.into()]);
    }
    let root = cache().join(package).join("root");
    let unpacked = Unpacked { program: root.join(inside), root };
    if !unpacked.loads() {
        may_fetch(context)?;
        unpacked.fetch(package)?;
    }
    if unpacked.program.exists() {
        Ok(unpacked.words())
    } else {
        Err("the package lacks it".into())
    }
}

fn installed(package: &str, inside: &str) -> Option<PathBuf> {
    // Another `inetd` in the path would be measured under the wrong name.
    if package == "openbsd-inetd" {
        return None;
    }
    let file = Path::new(inside).file_name()?;
    ["/usr/sbin", "/usr/bin"].iter().map(|dir| Path::new(dir).join(file)).find(|it| it.exists())
}

/// A package with what it needs, where it is unpacked or is going to be.
struct Unpacked {
    root: PathBuf,
    program: PathBuf,
}

impl Unpacked {
    fn fetch(&self, package: &str) -> Result<()> {
        let debs = self.root.with_file_name("debs");
        for folder in [&self.root, &debs] {
            // What an earlier attempt has left.
            let _ = std::fs::remove_dir_all(folder);
            std::fs::create_dir_all(folder)?;
        }
        apt::download(package, &debs)?;
        for deb in std::fs::read_dir(&debs)? {
            output(bounded(60, "dpkg").arg("-x").arg(deb?.path()).arg(&self.root))?;
        }
        Ok(())
    }

    /// The loader's own option finds the libraries that have been unpacked. With
    /// `LD_LIBRARY_PATH` the programs that the peer starts would inherit it (inetd and
    /// xinetd pass on what they have), and each `date` would look there for its libraries
    /// first: the measured program would be slower, for this peer only. So the loader is
    /// what is executed, and maps the program. The process is the same but for its name
    /// and for where in memory the kernel has put it: as many mappings, as much memory.
    fn words(&self) -> Words {
        let folders = self.library_folders();
        match loader(&self.program) {
            Some(loader) if !folders.is_empty() => {
                let path = folders.join(":");
                vec![loader.into(), "--library-path".into(), path.into(), (&self.program).into()]
            }
            _ => vec![(&self.program).into()],
        }
    }

    /// It is there with all its libraries. Those that were installed when it was
    /// unpacked may have gone.
    fn loads(&self) -> bool {
        let Some(loader) = loader(&self.program) else { return self.program.exists() };
        let mut command = Command::new(loader);
        command.arg("--library-path").arg(self.library_folders().join(":"));
        command.arg("--list").arg(&self.program).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Folders with shared libraries in them.
    fn library_folders(&self) -> Vec<String> {
        let pattern = format!("{}/**/*.so*", glob::Pattern::escape(&self.root.to_string_lossy()));
        let files = glob::glob(&pattern).into_iter().flatten().flatten();
        let folders = files.filter(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".so") || name.contains(".so.")
        });
        let folders = folders.filter_map(|file| Some(file.parent()?.display().to_string()));
        folders.collect::<BTreeSet<String>>().into_iter().collect()
    }
}

/// The loader that a program names (its PT_INTERP); linkers put it on the first page.
fn loader(program: &Path) -> Option<PathBuf> {
    let mut page = Vec::new();
    File::open(program).ok()?.take(4096).read_to_end(&mut page).ok()?;
    page.split(|byte| *byte == 0)
        .filter_map(|word| std::str::from_utf8(word).ok())
        .find(|word| word.starts_with("/lib") && word.contains("/ld"))
        .map(PathBuf::from)
}
