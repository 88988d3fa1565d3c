//! The way from a path to what it names, one directory after the other. Links are followed
//! here and not by the system, each only if those whom we trust have put it there.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;

use super::rule::{FileFacts, FileKind, Trust, Writer};

/// As many links as the system follows.
const MOST_LINKS: u32 = 40;

/// A tree of names: that of the machine, or one that a test has made up. What has been
/// entered stays what it is, whatever happens to its name.
pub(super) trait Tree {
    type Node;

    /// The root directory.
    fn root(&self) -> io::Result<Self::Node>;
    /// The working directory.
    fn here(&self) -> io::Result<Self::Node>;
    /// What is under a name, a link itself; `passing`: if it is a directory, it is passed.
    fn enter(&self, from: &Self::Node, name: &OsStr, passing: bool) -> io::Result<Self::Node>;
    fn facts<'a>(&self, node: &'a Self::Node) -> &'a FileFacts;
    /// Where a link leads.
    fn target(&self, link: &Self::Node) -> io::Result<OsString>;
    /// What a link of the kernel's own (`/proc/self/fd/3`), whose text says nothing, leads to;
    /// None for every other link.
    fn jump(&self, from: &Self::Node, name: &OsStr) -> io::Result<Option<Self::Node>>;
}

/// Something on the way that others may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// Its path, links resolved.
    pub path: PathBuf,
    /// Who.
    pub by: Writer,
}

/// Where a path has led.
pub(super) struct WalkEnd<N> {
    /// The directory that it is in; None for a directory that was not entered by a name.
    pub(super) parent: Option<N>,
    /// Its name there.
    pub(super) name: OsString,
    /// What it is.
    pub(super) node: N,
    /// Its path, links resolved.
    pub(super) path: PathBuf,
    /// Whether a link of the kernel's own has led to it.
    pub(super) jumped: bool,
    /// The first directory on the way in which others may replace what is in it.
    pub(super) exposed: Option<Exposed>,
}

/// One on the way.
struct Walker<'a, T: Tree> {
    tree: &'a T,
    trust: &'a Trust,
    /// Where it is.
    at: WalkEnd<T::Node>,
    /// The names that are left, the next one last.
    left: Vec<OsString>,
    links: u32,
}

/// Follows a path. `through`: it is the way to something in the directory that it names.
pub(super) fn walk<T: Tree>(
    tree: &T,
    trust: &Trust,
    path: &Path,
    through: bool,
) -> io::Result<WalkEnd<T::Node>> {
    if path.as_os_str().is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let at = WalkEnd {
        parent: None,
        name: OsString::new(),
        node: if path.is_absolute() { tree.root()? } else { tree.here()? },
        path: PathBuf::from(if path.is_absolute() { "/" } else { "" }),
        jumped: false,
        exposed: None,
    };
    let mut walker = Walker { tree, trust, at, left: names(path), links: 0 };
    while let Some(name) = walker.left.pop() {
        walker.pass()?;
        walker.step(name, through)?;
    }
    if through {
        walker.pass()?;
    }
    Ok(walker.at)
}

/// The names of a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    let names = path
        .components()
        .rev()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    names.map(|part| part.as_os_str().to_owned()).collect()
}

impl<T: Tree> Walker<'_, T> {
    /// Looks at the directory that is left behind.
    fn pass(&mut self) -> io::Result<()> {
        let facts = self.tree.facts(&self.at.node);
        if facts.kind != FileKind::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        if let Some(by) = self.trust.replacer(facts).filter(|_| self.at.exposed.is_none()) {
            self.at.exposed = Some(Exposed { path: shown(&self.at.path), by });
        }
        Ok(())
    }

    /// Goes on to a name in the directory where it is.
    fn step(&mut self, name: OsString, through: bool) -> io::Result<()> {
        let passing = through || !self.left.is_empty();
        let node = self.tree.enter(&self.at.node, &name, passing)?;
        if self.tree.facts(&node).kind == FileKind::Link {
            return self.follow(&name, &node);
        }
        let parent = std::mem::replace(&mut self.at.node, node);
        self.at.jumped = false;
        self.arrive(name, parent);
        Ok(())
    }

    fn arrive(&mut self, name: OsString, parent: T::Node) {
        if name == ".." && self.at.path.file_name().is_some() {
            self.at.path.pop();
        } else if name != ".." || self.at.path != Path::new("/") {
            self.at.path.push(&name);
        }
        (self.at.name, self.at.parent) = (name, Some(parent));
    }

    fn follow(&mut self, name: &OsStr, link: &T::Node) -> io::Result<()> {
        self.links = self.links.saturating_add(1);
        if self.links > MOST_LINKS {
            return Err(Errno::ELOOP.into());
        }
        let owner = self.tree.facts(link).uid;
        let path = self.at.path.join(name);
        let path = path.display();
        if !self.trust.knows(owner) {
            let why =
                format!("the symbolic link `{path}` is not followed: user {owner} has made it");
            return Err(io::Error::other(why));
        }
        if let Some(Exposed { path: directory, by }) = &self.at.exposed {
            let directory = directory.display();
            let why = format!(
                "the symbolic link `{path}` is not followed: {by} can write to `{directory}`"
            );
            return Err(io::Error::other(why));
        }
        if let Some(node) = self.tree.jump(&self.at.node, name)? {
            let parent = std::mem::replace(&mut self.at.node, node);
            self.at.jumped = true;
            self.arrive(name.to_owned(), parent);
            return Ok(());
        }
        self.turn(&self.tree.target(link)?)
    }

    fn turn(&mut self, target: &OsStr) -> io::Result<()> {
        let target = Path::new(target);
        if target.as_os_str().is_empty() {
            return Err(Errno::ENOENT.into());
        }
        if target.is_absolute() {
            (self.at.node, self.at.path) = (self.tree.root()?, PathBuf::from("/"));
        }
        self.left.extend(names(target));
        Ok(())
    }
}

/// The working directory has no name of its own.
fn shown(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}
