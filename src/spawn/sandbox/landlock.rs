//! The paths that a program may use, as a Landlock ruleset: made at load, by the
//! server and with its rights; children only have to enforce it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use ::landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr,
};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use crate::config::model::Attributes;

/// Without these nothing may be called confined: before, truncating was free.
const NEEDED: ABI = ABI::V3;
/// All rights over files that are taken away where the kernel knows them. A fixed
/// set: a newer kernel must not change what a configuration means.
const WANTED: ABI = ABI::V5;

/// The ruleset; none if nothing is asked for, or if the kernel lacks Landlock and
/// the lists say that this may be.
///
/// # Errors
/// When the kernel lacks it, or a path cannot be opened.
pub(in crate::spawn) fn make(attributes: &Attributes) -> io::Result<Option<OwnedFd>> {
    if !attributes.is_path_confined() {
        return Ok(None);
    }
    let mut ruleset = empty(attributes.path_confinement_is_optional()).map_err(io::Error::other)?;
    let root = Root::open(attributes.process.chroot.as_deref())?;
    for path in &attributes.sandbox.read_only.list {
        ruleset = allow(ruleset, &root, path, AccessFs::from_read(WANTED))?;
    }
    for path in &attributes.sandbox.read_write.list {
        ruleset = allow(ruleset, &root, path, AccessFs::from_all(WANTED))?;
    }
    Ok(ruleset.into())
}

fn empty(optional: bool) -> Result<RulesetCreated, ::landlock::RulesetError> {
    let level = if optional { CompatLevel::BestEffort } else { CompatLevel::HardRequirement };
    Ruleset::default()
        .set_compatibility(level)
        .handle_access(AccessFs::from_all(NEEDED))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))?
        .create()
}

fn allow(
    ruleset: RulesetCreated,
    root: &Root,
    path: &Path,
    access: ::landlock::BitFlags<AccessFs>,
) -> io::Result<RulesetCreated> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let file = root.find(path).map_err(named)?;
    let is_directory = file.metadata().map_err(named)?.is_dir();
    // Some rights are a directory's only.
    let access = if is_directory { access } else { access & AccessFs::from_file(WANTED) };
    ruleset
        .add_rule(PathBeneath::new(file.as_fd(), access))
        .map_err(|error| named(io::Error::other(error)))
}

/// Where the program's paths begin.
struct Root(Option<OwnedFd>);

impl Root {
    fn open(chroot: Option<&Path>) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = chroot.map(|path| open(path, flags, Mode::empty())).transpose()?;
        Ok(Self(root))
    }

    /// The file of a path; inside `chroot` its links lead nowhere else, as for the program.
    fn find(&self, path: &Path) -> io::Result<File> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let file = match &self.0 {
            None => open(path, flags, Mode::empty())?,
            Some(root) => {
                let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT);
                openat2(root, path, how)?
            }
        };
        Ok(File::from(file))
    }
}
