//! Files by the names that a configuration or a command line gives them, for a server that
//! may be root among users who are not.
//!
//! Whoever may write a directory on the way to a file decides which file it is: with a link
//! it would be any file that root can read, or write. So the way is gone one directory after
//! the other, each held by a descriptor, and a link is followed only if it belongs to root or
//! the server's user, and nobody else could have put it there: nobody else may write the
//! directories on the way to it (one that is sticky, as /tmp, is fine: there, others cannot
//! touch what is not theirs). Everything else is refused by name. A file that is reached
//! without such a link may be somebody else's, who then decides what is in it: that is told.
//!
//! | file | what it does |
//! |---|---|
//! | `rule` | who is trusted, who may write: facts in, a verdict out |
//! | `walk` | the way, one directory after the other |
//! | `account` | the user and the group that are the server's own |

mod account;
pub(crate) mod rule;
#[cfg(test)]
mod tests;
mod walk;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat, renameat};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, makedev};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{UnlinkatFlags, unlinkat};

pub(crate) use account::trust;
use rule::{FileFacts, FileKind, Trust, may_be_a_secret};
pub(crate) use walk::Exposed;
use walk::{Tree, WalkEnd, walk};

/// How often a name may lead to something else while it is opened.
const TRIES: usize = 8;

/// What is under a name.
struct PathNode {
    descriptor: OwnedFd,
    facts: FileFacts,
    identity: (u64, u64),
}

/// The names of this machine.
struct MachineNames<'a>(&'a Trust);

impl MachineNames<'_> {
    fn node(&self, descriptor: OwnedFd) -> io::Result<PathNode> {
        let stat = fstat(&descriptor)?;
        let mut facts = facts(&stat);
        // It costs a call, and matters where somebody else may write otherwise.
        if self.0.writer(&facts).is_some() {
            let mount = fstatvfs(&descriptor)?;
            facts.read_only = mount.flags().contains(FsFlags::ST_RDONLY);
        }
        Ok(PathNode { descriptor, facts, identity: (stat.st_dev, stat.st_ino) })
    }

    fn directory(&self, name: &str) -> io::Result<PathNode> {
        self.node(open(name, NAMED.union(OFlag::O_DIRECTORY), Mode::empty())?)
    }
}

/// Good for naming it, and for nothing else; a link itself.
const NAMED: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn facts(stat: &FileStat) -> FileFacts {
    let kind = match SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT) {
        SFlag::S_IFDIR => FileKind::Directory,
        SFlag::S_IFLNK => FileKind::Link,
        SFlag::S_IFREG => FileKind::File,
        SFlag::S_IFCHR if stat.st_rdev == makedev(1, 3) => FileKind::Null,
        _ => FileKind::Other,
    };
    let (uid, gid, mode) = (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777);
    #[allow(clippy::useless_conversion, reason = "it has 32 bits on other processors")]
    let names = stat.st_nlink.into();
    FileFacts { kind, uid, gid, mode, names, read_only: false }
}

impl Tree for MachineNames<'_> {
    type Node = PathNode;

    fn root(&self) -> io::Result<PathNode> {
        self.directory("/")
    }

    fn here(&self) -> io::Result<PathNode> {
        self.directory(".")
    }

    fn enter(&self, from: &PathNode, name: &OsStr, passing: bool) -> io::Result<PathNode> {
        if passing {
            // Which mounts what is mounted when somebody comes.
            let flags = NAMED.union(OFlag::O_DIRECTORY);
            match openat(&from.descriptor, name, flags, Mode::empty()) {
                Err(Errno::ENOTDIR | Errno::ELOOP) => {}
                opened => return self.node(opened?),
            }
        }
        self.node(openat(&from.descriptor, name, NAMED, Mode::empty())?)
    }

    fn facts<'a>(&self, node: &'a PathNode) -> &'a FileFacts {
        &node.facts
    }

    fn target(&self, link: &PathNode) -> io::Result<OsString> {
        Ok(readlinkat(&link.descriptor, "")?)
    }

    fn jump(&self, from: &PathNode, name: &OsStr) -> io::Result<Option<PathNode>> {
        if fstatfs(&from.descriptor)?.filesystem_type() != PROC_SUPER_MAGIC {
            return Ok(None);
        }
        let flags = NAMED.difference(OFlag::O_NOFOLLOW);
        self.node(openat(&from.descriptor, name, flags, Mode::empty())?).map(Some)
    }
}

/// A file that was opened to be read.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub file: File,
    /// Who else decides what is in it, and by what: the file itself, or a directory.
    pub exposed: Option<Exposed>,
}

/// Opens an ordinary file to read it; /dev/null is an empty one. Nothing else is opened: a
/// FIFO would be waited for, and devices do things then.
///
/// # Errors
/// The system's; why a link is not followed; what else it is.
pub fn open_to_read(path: &Path) -> io::Result<Opened> {
    open_some(path, |_, _| false)
}

/// The same for a file that somebody has named himself: it may be a FIFO or a device that
/// nobody else can have put there. And what the caller has opened already and names by its
/// number (`/dev/fd/63`, a shell's `<(…)`) may be anything.
///
/// # Errors
/// As [`open_to_read`].
pub(crate) fn open_named(path: &Path) -> io::Result<Opened> {
    open_some(path, |trust, end| {
        end.jumped || end.exposed.is_none() && trust.writer(&end.node.facts).is_none()
    })
}

/// What a path leads to, a link at its end followed like the others, held by a descriptor that
/// is good for naming it only.
///
/// # Errors
/// The system's; why a link is not followed.
pub(crate) fn hold(path: &Path) -> io::Result<OwnedFd> {
    let trust = trust();
    Ok(walk(&MachineNames(trust), trust, path, false)?.node.descriptor)
}

fn open_some(
    path: &Path,
    takes: impl Fn(&Trust, &WalkEnd<PathNode>) -> bool,
) -> io::Result<Opened> {
    let trust = trust();
    let machine = MachineNames(trust);
    for _ in 0..TRIES {
        let end = walk(&machine, trust, path, false)?;
        match end.node.facts.kind {
            FileKind::File | FileKind::Null => {}
            FileKind::Directory => return Err(io::Error::other("it is a directory")),
            _ if takes(trust, &end) => {}
            _ => return Err(io::Error::other("it is not a regular file")),
        }
        let exposed = exposed(trust, &end)?;
        if let Some(file) = open_end(&end)? {
            return Ok(Opened { file, exposed });
        }
    }
    Err(io::Error::other("it is replaced all the time"))
}

/// Who else has a say in it; an error if it may be a secret of a third.
fn exposed(trust: &Trust, end: &WalkEnd<PathNode>) -> io::Result<Option<Exposed>> {
    let facts = &end.node.facts;
    let parent = end.parent.as_ref().and_then(|parent| trust.writer(&parent.facts));
    let linker = end.exposed.as_ref().map(|it| it.by).or(parent);
    if let Some(linker) = linker.filter(|_| !end.jumped && may_be_a_secret(facts)) {
        let why = format!(
            "it has more names than this one, which {linker} may have given it, and not everybody may read it"
        );
        return Err(io::Error::other(why));
    }
    let own = trust.writer(facts).filter(|_| facts.kind == FileKind::File);
    let own = own.map(|by| Exposed { path: end.path.clone(), by });
    Ok(own.or_else(|| end.exposed.clone()))
}

/// None if the name has come to lead to something else.
fn open_end(end: &WalkEnd<PathNode>) -> io::Result<Option<File>> {
    let Some(parent) = &end.parent else { return Err(Errno::EISDIR.into()) };
    let mut flags = OFlag::O_RDONLY | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    flags.set(OFlag::O_NOFOLLOW, !end.jumped);
    // Nobody is waited for, but for whoever writes into a pipe.
    flags.set(OFlag::O_NONBLOCK, end.node.facts.kind != FileKind::Other);
    let descriptor = match openat(&parent.descriptor, end.name.as_os_str(), flags, Mode::empty()) {
        Err(Errno::ELOOP | Errno::ENOENT) => return Ok(None),
        opened => opened?,
    };
    let stat = fstat(&descriptor)?;
    if (stat.st_dev, stat.st_ino) != end.node.identity {
        return Ok(None);
    }
    Ok(Some(File::from(descriptor)))
}

/// The directory that something is in, or will be.
#[derive(Debug)]
pub(crate) struct ParentDirectory {
    directory: OwnedFd,
    name: OsString,
    /// Whether others may make names in it.
    is_shared: bool,
    /// Whether others may put another directory in the place of one on the way to it.
    is_movable: bool,
    /// Whether anybody may have made what is there before us, as in /tmp.
    is_open_to_all: bool,
}

impl ParentDirectory {
    /// The place of a name, which need not be there.
    ///
    /// # Errors
    /// The system's; why a link on the way is not followed.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let trust = trust();
        let Some(name) = path.file_name() else { return Err(Errno::EISDIR.into()) };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let end = walk(&MachineNames(trust), trust, parent.unwrap_or(Path::new(".")), true)?;
        let is_movable = end.exposed.is_some();
        let is_shared = is_movable || trust.writer(&end.node.facts).is_some();
        let is_open_to_all = is_shared && end.node.facts.is_open_to_all();
        let (directory, name) = (end.node.descriptor, name.to_owned());
        Ok(Self { directory, name, is_shared, is_movable, is_open_to_all })
    }

    /// The place that something has by its path of this moment, whoever has made that.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of_now(path: &Path) -> io::Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::EISDIR.into());
        };
        let directory = open(parent, NAMED.union(OFlag::O_DIRECTORY), Mode::empty())?;
        let name = name.to_owned();
        Ok(Self { directory, name, is_shared: true, is_movable: true, is_open_to_all: false })
    }

    /// Whether the same path may lead elsewhere at any time, as others like it.
    pub(crate) fn is_movable(&self) -> bool {
        self.is_movable
    }

    /// The directory, which stays what it is.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Whether it is the same name in the same directory.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let identity = |place: &Self| fstat(&place.directory).map(|it| (it.st_dev, it.st_ino));
        self.name == other.name && identity(self).is_ok_and(|it| identity(other) == Ok(it))
    }

    /// Opens a regular file, no link, or makes one with this mode, less the umask.
    ///
    /// # Errors
    /// The system's; what else is there; another name that somebody else may have given to
    /// a file that is not his; a file that somebody else has put into a directory of everybody.
    pub(crate) fn open(&self, flags: OFlag, mode: u32) -> io::Result<File> {
        // First, because the mere opening of a device may do something.
        match self.stat() {
            Ok(stat) => self.check(&stat)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let never_waits = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let flags = flags | never_waits | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(mode);
        let descriptor = openat(&self.directory, self.name.as_os_str(), flags, mode)?;
        // Another may have come to its place meanwhile.
        self.check(&fstat(&descriptor)?)?;
        Ok(File::from(descriptor))
    }

    fn check(&self, stat: &FileStat) -> io::Result<()> {
        let facts = facts(stat);
        let what = match facts.kind {
            FileKind::File if self.is_shared && facts.names > 1 => {
                "a file with several names, in a directory that others can write to"
            }
            FileKind::File if self.is_open_to_all && !trust().knows(facts.uid) => {
                // As the kernel does where fs.protected_regular is on.
                let message = format!("a file of user {}, in a directory of everybody", facts.uid);
                return Err(io::Error::other(message));
            }
            FileKind::File => return Ok(()),
            FileKind::Link => "a symbolic link",
            _ => "not a regular file",
        };
        Err(io::Error::other(what))
    }

    /// What is there, a link itself, held by a descriptor that is good for naming it only.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn hold(&self) -> io::Result<OwnedFd> {
        Ok(openat(&self.directory, self.name.as_os_str(), NAMED, Mode::empty())?)
    }

    /// What is there, a link itself.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn stat(&self) -> io::Result<FileStat> {
        let name = self.name.as_os_str();
        Ok(fstatat(&self.directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Whether the name leads to this very file.
    pub(crate) fn leads_to(&self, file: &File) -> bool {
        let identity = |stat: FileStat| (stat.st_dev, stat.st_ino);
        let there = self.stat().map(identity);
        there.is_ok_and(|there| fstat(file).map(identity).is_ok_and(|it| it == there))
    }

    /// Gives what is at another place this name, in the place of what has it.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn take_from(&self, other: &Self) -> io::Result<()> {
        let (from, to) = (other.name.as_os_str(), self.name.as_os_str());
        Ok(renameat(&other.directory, from, &self.directory, to)?)
    }

    /// Takes the name away.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        Ok(unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir)?)
    }
}
