//! Whether a process that changes its user may have the server's memory until exec, in
//! common or as a copy: the kernel's setting `fs.suid_dumpable` (proc_sys_fs(5)) decides.
//!
//! When a process changes its user, the kernel writes the setting's value down for the
//! memory. With 0 and 2 nobody but root can look into it from then on. With 1 the new user
//! can, whether it is shared or a copy, and each further child that changes its user while
//! it shares the memory opens it again. So with 1, and where the value cannot be read, such
//! programs are started by a fresh process, which has nothing of the server's.
//!
//! It is read at each start of a program that changes its user, from a descriptor that is
//! kept (less than a microsecond, and no name is looked up): a value that was read before
//! would be wrong from the moment when somebody changes it, which is for ever, as far as the
//! server knows. A change in the few microseconds between this and the child's change of
//! user comes too late for that one program. Nobody but root can make it, and the child
//! still forbids at once what the new value has allowed.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use crate::sys::descriptor::raise;
use crate::sys::process;

const SETTING: &str = "/proc/sys/fs/suid_dumpable";

/// Before this version of the kernel a core dump ends every process that shares the memory,
/// and not the one alone.
const DUMPS_ONE: (u32, u32) = (5, 16);

/// What a process that is going to change its user may begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// The server's own.
    Shared,
    /// A copy of it.
    Copied,
    /// None of it.
    Fresh,
}

/// The setting, to be read again and again.
#[derive(Debug)]
pub(super) struct Dumpable {
    /// It does not matter what it says.
    always_fresh: bool,
    setting: Option<File>,
    kernel: (u32, u32),
}

impl Dumpable {
    /// Opens it. `always_fresh`: as if it were 1.
    pub(super) fn open(always_fresh: bool) -> Self {
        let setting = File::open(SETTING).ok();
        let setting = setting.map(|file| File::from(raise(OwnedFd::from(file))));
        Self { always_fresh, setting, kernel: process::version() }
    }

    /// What it allows now.
    pub(super) fn allows(&self) -> Memory {
        let mut text = [0; 8];
        let read = self.setting.as_ref().and_then(|file| file.read_at(&mut text, 0).ok());
        let value = read.and_then(|length| text.get(..length)).map(<[u8]>::trim_ascii);
        match value {
            _ if self.always_fresh => Memory::Fresh,
            Some(b"0") => Memory::Shared,
            // Each child that changes its user allows core dumps again, if only to files of
            // root's: somebody's own child, stopped for so long, would take us with it.
            Some(b"2") if self.kernel < DUMPS_ONE => Memory::Copied,
            Some(b"2") => Memory::Shared,
            _ => Memory::Fresh,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: Option<&str>, kernel: (u32, u32)) -> Memory {
        let folder = tempfile::tempdir().unwrap();
        let setting = text.map(|text| {
            let path = folder.path().join("setting");
            std::fs::write(&path, text).unwrap();
            File::open(path).unwrap()
        });
        Dumpable { always_fresh: false, setting, kernel }.allows()
    }

    #[test]
    fn memory_is_kept_apart_unless_the_kernel_keeps_it_closed() {
        for (text, memory) in [
            (Some("0\n"), Memory::Shared),
            (Some("2\n"), Memory::Shared),
            (Some("1\n"), Memory::Fresh),
            (Some("3\n"), Memory::Fresh),
            (Some("00000000000000"), Memory::Fresh),
            (Some(""), Memory::Fresh),
            (None, Memory::Fresh),
        ] {
            assert_eq!(allowed(text, (5, 16)), memory, "{text:?}");
        }
        assert_eq!(allowed(Some("0\n"), (5, 15)), Memory::Shared);
        assert_eq!(allowed(Some("2\n"), (5, 15)), Memory::Copied);
    }

    #[test]
    fn the_systems_setting_is_read_at_each_start() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let setting = Some(File::open(file.path()).unwrap());
        let dumpable = Dumpable { always_fresh: false, setting, kernel: (6, 1) };
        for (value, memory) in
            [("0\n", Memory::Shared), ("1\n", Memory::Fresh), ("2\n", Memory::Shared)]
        {
            std::fs::write(file.path(), value).unwrap();
            assert_eq!(dumpable.allows(), memory, "{value}");
        }
    }
}
