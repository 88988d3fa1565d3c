//! Files of memory, and those that nobody changes any more.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::descriptor::raise;

/// An empty one.
pub(crate) fn memory_file() -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    Ok(File::from(memfd_create(c"front", flags)?))
}

/// Nobody changes it any more.
pub(crate) fn seal(memory: File) -> io::Result<OwnedFd> {
    let all = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_SEAL;
    fcntl(memory.as_fd(), FcntlArg::F_ADD_SEALS(all))?;
    Ok(raise(OwnedFd::from(memory)))
}
