//! strace(1) at work on a process that runs, to see its calls or to tamper with them.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};

use super::daemon::as_pid;
use super::files::Folder;
use super::needs::kernel_lacks;
use super::procs::status_field;
use super::wait::wait_for;

/// One that has begun; it lets go with the value.
pub(crate) struct Strace {
    strace: Child,
    folder: Folder,
}

impl Strace {
    /// Attaches to the process with these options; none, and a loud skip, where that is not
    /// permitted.
    #[track_caller]
    pub(crate) fn attach(pid: u32, options: &[&str]) -> Option<Self> {
        let folder = Folder::new();
        let complaints = File::create(folder.at("complaints")).unwrap();
        let strace = Command::new("strace")
            .args(options)
            // What interrupts it when it waits is no call.
            .args(["-e", "signal=none", "-qq", "-o", &folder.name("trace"), "-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(complaints)
            .spawn()
            .unwrap();
        let mut strace = Self { strace, folder };
        if strace.wait_attached(pid) {
            return Some(strace);
        }
        let why = fs::read_to_string(strace.folder.at("complaints")).unwrap_or_default();
        kernel_lacks(&format!("ptrace of other processes: {}", why.trim()));
        None
    }

    /// Whether it has begun: it has ended otherwise.
    #[track_caller]
    fn wait_attached(&mut self, pid: u32) -> bool {
        let status = format!("/proc/{pid}/status");
        wait_for("strace to attach", || {
            let text = fs::read_to_string(&status).unwrap();
            if status_field(&text, "TracerPid") == self.strace.id().to_string() {
                return Some(true);
            }
            self.strace.try_wait().unwrap().map(|_| false)
        })
    }

    /// What it has seen so far; a call stands there as soon as it has begun.
    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.folder.at("trace")).unwrap()
    }

    /// Lets go; all that it has seen.
    pub(crate) fn finish(mut self) -> String {
        self.detach();
        self.text()
    }

    /// Lets go at once, whatever it holds up.
    pub(crate) fn cut(mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }

    fn detach(&mut self) {
        if self.strace.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill(as_pid(self.strace.id()), Signal::SIGINT);
            let _ = self.strace.wait();
        }
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        self.detach();
    }
}
