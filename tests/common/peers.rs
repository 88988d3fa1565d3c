//! The servers whose place this one takes: Debian's packages, unpacked and not installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::needs::{need_program, need_root, skip};
use super::procs;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Xinetd,
    /// OpenBSD's inetd as Debian has it.
    OpenBsd,
    /// That of GNU inetutils.
    Gnu,
}

static FOUND: [OnceLock<Option<PathBuf>>; 3] = [const { OnceLock::new() }; 3];

impl Peer {
    /// Its package.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Xinetd => "xinetd",
            Self::OpenBsd => "openbsd-inetd",
            Self::Gnu => "inetutils-inetd",
        }
    }

    /// Where the package puts the program.
    pub(crate) fn place(self) -> &'static str {
        match self {
            Self::Xinetd => "/usr/sbin/xinetd",
            Self::OpenBsd => "/usr/sbin/inetd",
            Self::Gnu => "/usr/sbin/inetutils-inetd",
        }
    }

    /// Where it looks for its configuration.
    pub(crate) fn configuration(self) -> &'static str {
        if self == Self::Xinetd { "etc/xinetd.conf" } else { "etc/inetd.conf" }
    }

    /// What keeps it in the foreground.
    pub(crate) fn arguments(self) -> &'static str {
        match self {
            Self::Xinetd => "-dontfork -stayalive -pidfile /run/xinetd.pid",
            Self::OpenBsd => "-i",
            Self::Gnu => "-d",
        }
    }

    /// The program, and where programs can be kept apart as these tests do; None after a
    /// loud skip.
    #[track_caller]
    pub(crate) fn find(self) -> Option<PathBuf> {
        if !need_root() || !["unshare", "ip", "chroot", "cc"].into_iter().all(need_program) {
            return None;
        }
        let found = FOUND[self as usize].get_or_init(|| self.unpacked());
        if found.is_none() {
            skip(&format!("needs Debian's package {}", self.package()));
        }
        found.clone()
    }

    /// The package in the folder of the build, once for all runs.
    fn unpacked(self) -> Option<PathBuf> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.package());
        let program = folder.join("x").join(self.place().trim_start_matches('/'));
        if !program.exists() {
            std::fs::create_dir_all(&folder).unwrap();
            let package = self.package();
            let commands = format!("apt-get -qq download {package} && dpkg -x {package}_*.deb x");
            let mut fetching = Command::new("sh");
            fetching.args(["-c", &commands]).current_dir(&folder);
            let _ = fetching.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        let complete = || procs::libraries(&program).iter().all(|library| library.exists());
        (program.exists() && complete()).then_some(program)
    }
}
