//! The rule, as a function of facts: who besides root and the server's user has a say in
//! what a name leads to.

use std::fmt;

/// What is found under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// An ordinary file.
    File,
    /// /dev/null: an empty file.
    Null,
    /// A FIFO, a device, a socket.
    Other,
}

/// What the system says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileFacts {
    /// What it is.
    pub kind: FileKind,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permissions, the sticky bit among them.
    pub mode: u32,
    /// How many names it has.
    pub names: u64,
    /// Whether it lies on a file system that is mounted read-only.
    pub read_only: bool,
}

/// Somebody else who may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// The owner, who is neither root nor the server's user.
    User(u32),
    /// A group.
    Group(u32),
    /// All users.
    Everybody,
}

impl fmt::Display for Writer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => write!(out, "user {uid}"),
            Self::Group(gid) => write!(out, "group {gid}"),
            Self::Everybody => out.write_str("everybody"),
        }
    }
}

const STICKY: u32 = 0o1000;
const GROUP_WRITES: u32 = 0o020;
const ALL_WRITE: u32 = 0o002;
const ALL_READ: u32 = 0o004;

/// Who is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trust {
    /// The server's user; root always is.
    pub user: u32,
    /// The group that has no member but that user, if there is one; root's always is.
    pub group: Option<u32>,
    /// As whom a user name space shows those who are not in it, if they are nobody in it:
    /// whatever they own was there before.
    pub outside: Option<u32>,
}

impl Trust {
    /// Whether something of this user's is as good as ours.
    pub(crate) fn knows(&self, uid: u32) -> bool {
        uid == 0 || uid == self.user || self.outside == Some(uid)
    }

    /// Who else may write to a file, or make and remove names in a directory. On a read-only
    /// mount nobody may: a ConfigMap has mode 0777.
    pub(crate) fn writer(&self, facts: &FileFacts) -> Option<Writer> {
        let mode = facts.mode;
        let is_ours = facts.gid == 0 || self.group == Some(facts.gid);
        if facts.read_only || facts.kind == FileKind::Null {
            None
        } else if !self.knows(facts.uid) {
            Some(Writer::User(facts.uid))
        } else if mode & ALL_WRITE != 0 {
            Some(Writer::Everybody)
        } else if mode & GROUP_WRITES != 0 && !is_ours {
            Some(Writer::Group(facts.gid))
        } else {
            None
        }
    }

    /// Who else may put something else in the place of what is in a directory and belongs to
    /// whom we trust: not in a sticky one, such as /tmp.
    pub(crate) fn replacer(&self, directory: &FileFacts) -> Option<Writer> {
        let is_sticky = directory.mode & STICKY != 0 && self.knows(directory.uid);
        self.writer(directory).filter(|_| !is_sticky)
    }
}

impl FileFacts {
    /// Whether anybody may make names in this directory.
    pub(crate) fn is_open_to_all(&self) -> bool {
        self.mode & ALL_WRITE != 0
    }
}

/// Whether a file may be somebody's secret to which another has given a second name (where
/// fs.protected_hardlinks is off), since others can make names in its directory.
pub(crate) fn may_be_a_secret(file: &FileFacts) -> bool {
    file.names > 1 && file.mode & ALL_READ == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(uid: u32, gid: u32, mode: u32) -> FileFacts {
        FileFacts { kind: FileKind::Directory, uid, gid, mode, names: 2, read_only: false }
    }

    const TRUST: Trust = Trust { user: 1000, group: Some(1001), outside: None };

    #[test]
    fn who_may_write_is_said() {
        for (facts, writer, replacer) in [
            (directory(0, 0, 0o755), None, None),
            (directory(0, 0, 0o775), None, None),
            (directory(1000, 1001, 0o775), None, None),
            (directory(1000, 100, 0o775), Some(Writer::Group(100)), Some(Writer::Group(100))),
            (directory(0, 0, 0o757), Some(Writer::Everybody), Some(Writer::Everybody)),
            (directory(0, 0, 0o1777), Some(Writer::Everybody), None),
            (directory(1001, 0, 0o700), Some(Writer::User(1001)), Some(Writer::User(1001))),
            (directory(1001, 0, 0o1777), Some(Writer::User(1001)), Some(Writer::User(1001))),
            (FileFacts { read_only: true, ..directory(0, 0, 0o777) }, None, None),
        ] {
            assert_eq!((TRUST.writer(&facts), TRUST.replacer(&facts)), (writer, replacer));
        }
    }

    #[test]
    fn those_outside_of_a_name_space_were_there_before() {
        let inside = Trust { user: 0, group: None, outside: Some(65_534) };
        assert_eq!(inside.writer(&directory(65_534, 65_534, 0o755)), None);
        assert!(inside.writer(&directory(65_534, 65_534, 0o775)).is_some());
    }
}
