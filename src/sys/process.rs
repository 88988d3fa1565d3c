//! Processes: pidfds, how children end, copies of this process that work for it, and what the
//! kernel says of this one.

#![allow(unsafe_code, reason = "raw system calls")]

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::libc;
use nix::poll::PollFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;

use super::descriptor::becomes_ready;
use super::fd;

/// Exit status of a copy that could not do its work.
pub(crate) const FAILED: i32 = 127;

/// Milliseconds for which the end of a copy that has been killed is waited for.
const DEATH: u16 = 1_000;

/// A copy of this process that works for it.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    /// Its process id.
    pub pid: i32,
    /// Readable when it has ended; without pidfds perhaps before, when it has closed what it
    /// has copied.
    pub pidfd: OwnedFd,
}

impl WorkerProcess {
    /// Kills it. It must not have been reaped: then the number is its own.
    pub(crate) fn kill(&self) {
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
    }

    /// Kills and reaps it, whatever it waits for. One that the kernel holds is left behind.
    pub(crate) fn end(&self) {
        self.kill();
        let _ = becomes_ready(&self.pidfd, PollFlags::POLLIN, DEATH.into());
        let _ = ended(Some(self.pid), true);
    }
}

/// The pidfd of a child that has not been reaped, so that its number is its own: readable
/// when it has ended, close-on-exec from birth (pidfd_open(2), Linux 5.3).
///
/// # Errors
/// When the system has no descriptors.
pub(crate) fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if pidfd < 0 {
        return Err(io::Error::last_os_error());
    }
    let pidfd = i32::try_from(pidfd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// Signals the process of a pidfd (pidfd_send_signal(2), Linux 5.1).
///
/// # Errors
/// ESRCH: it has ended.
pub(crate) fn signal_through(pidfd: &OwnedFd, signal: Signal) -> io::Result<()> {
    let nothing = ptr::null::<libc::siginfo_t>();
    let (number, signal) = (pidfd.as_raw_fd(), signal as c_int);
    // SAFETY: no information goes with it, as kill(2) does it.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, number, signal, nothing, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether children can be watched so: not before Linux 5.3, and not where a filter of system
/// calls forbids it. Looked at once.
pub(crate) fn has_pidfds() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    const LACKS: [c_int; 4] = [libc::ENOSYS, libc::EPERM, libc::EACCES, libc::EINVAL];
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let lacks = |error: io::Error| error.raw_os_error().is_some_and(|it| LACKS.contains(&it));
    *HAS.get_or_init(|| !open_pidfd(own).is_err_and(lacks))
}

/// How a child has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildExit {
    /// With this exit status.
    Status(i32),
    /// By the signal of this number.
    Signal(i32),
}

/// The child of this number, or any, and how it has ended, if one has; `reap` says whether
/// it is gone with that. nix has no name for a realtime signal and gives an error in the
/// place of a child that one has ended: whoever asks for any would ask for that one forever.
///
/// # Errors
/// When there is no such child.
pub(crate) fn ended(pid: Option<i32>, reap: bool) -> io::Result<Option<(i32, ChildExit)>> {
    let (of, number) = pid.map_or((libc::P_ALL, 0), |pid| (libc::P_PID, pid));
    let number = libc::id_t::try_from(number).map_err(io::Error::other)?;
    let flags = libc::WEXITED | libc::WNOHANG | if reap { 0 } else { libc::WNOWAIT };
    // SAFETY: zeros are such a record, which the kernel fills, and what is read of it then is
    // what it has filled for a child; without one the number stays 0.
    let (answer, pid, status, code) = unsafe {
        let mut record: libc::siginfo_t = std::mem::zeroed();
        let answer = libc::waitid(of, number, &raw mut record, flags);
        (answer, record.si_pid(), record.si_status(), record.si_code)
    };
    match (answer, code) {
        (..0, _) => Err(io::Error::last_os_error()),
        _ if pid == 0 => Ok(None),
        (_, libc::CLD_EXITED) => Ok(Some((pid, ChildExit::Status(status)))),
        _ => Ok(Some((pid, ChildExit::Signal(status)))),
    }
}

/// The first two numbers of the kernel's version; zeros if it does not say.
pub(crate) fn version() -> (u32, u32) {
    // SAFETY: the kernel fills the struct with C strings; zeros are empty ones.
    let names = unsafe {
        let mut names: libc::utsname = std::mem::zeroed();
        libc::uname(&raw mut names);
        names
    };
    // SAFETY: it ends in a NUL byte, at least the one that was there before.
    let release = unsafe { CStr::from_ptr(names.release.as_ptr()) }.to_bytes();
    let mut numbers = release.split(|byte| !byte.is_ascii_digit());
    let mut next = || std::str::from_utf8(numbers.next()?).ok()?.parse().ok();
    (next().unwrap_or_default(), next().unwrap_or_default())
}

/// The absolute path that this process was executed by, as the kernel was told it.
pub(crate) fn executed_path() -> Option<PathBuf> {
    // SAFETY: asks for a number that has been there since exec.
    let path = unsafe { libc::getauxval(libc::AT_EXECFN) };
    let path = ptr::with_exposed_provenance::<c_char>(usize::try_from(path).ok()?);
    if path.is_null() {
        return None;
    }
    // SAFETY: a C string that the kernel has put above our stack, for as long as we run.
    let path = unsafe { CStr::from_ptr(path) };
    let path = PathBuf::from(OsStr::from_bytes(path.to_bytes()));
    path.is_absolute().then_some(path)
}

/// The umask of this process, which is another for a moment.
pub(crate) fn own_umask() -> u32 {
    let own = umask(Mode::from_bits_truncate(0o022));
    umask(own);
    own.bits()
}

/// How nice this process is.
pub(crate) fn nice_value() -> i32 {
    // SAFETY: a question. The kernel answers with 20 minus it, and libc's errno is left out.
    let answer = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) };
    i32::try_from(answer).map_or(0, |answer| if answer > 0 { 20 - answer } else { 0 })
}

/// Which side of a fork this is.
#[derive(Debug)]
pub(crate) enum ForkSide {
    /// The original process.
    Parent,
    /// The copy.
    Child,
}

/// How many threads there are that are not ours.
static THREADS_OF_OTHERS: AtomicUsize = AtomicUsize::new(0);

/// To be called before anything else: whoever is there beside us is no thread of ours. What
/// emulates another processor (QEMU) has some, and sees to them at a fork. One that takes our
/// signals is not to be left alone.
pub(crate) fn leave_threads_of_others_alone() {
    let own = std::process::id().to_string();
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let others = tasks.filter(|task| *task.file_name() != *own && takes_no_signal(&task.path()));
    THREADS_OF_OTHERS.store(others.count(), Ordering::Relaxed);
}

/// Whether a thread has the signals blocked that are for a server.
fn takes_no_signal(task: &Path) -> bool {
    let ours = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGTERM,
        libc::SIGCHLD,
    ];
    let status = std::fs::read_to_string(task.join("status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    ours.iter().all(|signal| mask & (1 << (signal - 1)) != 0)
}

/// Whether somebody else has threads here.
pub(crate) fn has_threads_of_others() -> bool {
    THREADS_OF_OTHERS.load(Ordering::Relaxed) > 0
}

/// 0 if there is no /proc: there is one at least, a folder without any is not the kernel's.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// An error if this process has threads beside the one that asks, or if that cannot be told.
fn have_no_threads() -> io::Result<()> {
    let others = THREADS_OF_OTHERS.load(Ordering::Relaxed);
    let are_some = match threads() {
        count @ 1.. => count > others + 1,
        // SAFETY: for a process with one thread this does nothing (unshare(2)), for others
        // it is an error.
        0 => match unsafe { libc::unshare(libc::CLONE_THREAD) } {
            0 => false,
            _ if io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) => true,
            _ => {
                let why = "there is no /proc, and unshare(2) is not permitted: nobody can tell \
                           whether the process has threads";
                return Err(io::Error::other(why));
            }
        },
    };
    if are_some { Err(io::Error::other("the process has threads")) } else { Ok(()) }
}

/// fork(2) for detaching from the terminal, before anything else is set up.
///
/// # Errors
/// fork(2)'s, or that the process has threads.
pub(crate) fn fork_to_detach() -> io::Result<ForkSide> {
    have_no_threads()?;
    // SAFETY: single-threaded (looked at above), so the child may go on as the parent would.
    match unsafe { libc::fork() } {
        0 => Ok(ForkSide::Child),
        pid if pid > 0 => Ok(ForkSide::Parent),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Says that this is a copy of the process, whose owners of descriptors are used no more.
pub(crate) struct ForkedCopy(());

impl ForkedCopy {
    /// Closes every descriptor above 2 but one: `work` has no other from here on.
    pub(crate) fn keep_only(self, descriptor: &impl AsFd) {
        // SAFETY: nothing of the process is dropped in a copy, and all that it has to do is
        // the work that says so.
        unsafe { fd::keep_only(descriptor) }
    }
}

/// Makes a copy of this process that runs `work` and ends with the status which that
/// returns. Nothing of ours is dropped there: no path of a socket is unlinked, no log
/// written twice, whether `work` returns or panics.
///
/// # Errors
/// fork(2)'s and pidfd_open(2)'s, or that the process has threads.
pub(crate) fn fork_to_run(work: impl FnOnce(ForkedCopy) -> i32) -> io::Result<WorkerProcess> {
    struct EndHere;
    impl Drop for EndHere {
        fn drop(&mut self) {
            // Reached by unwinding only: it must not get into the server's code.
            end_at_once(FAILED);
        }
    }
    have_no_threads()?;
    let lifeline = if has_pidfds() { None } else { Some(std::io::pipe()?) };
    // SAFETY: single-threaded (looked at above), so no lock is held by anybody who is not
    // there in the copy, and the child may run ordinary code. Children that share our
    // memory on their way to exec are processes of their own, hold no lock and touch
    // only their slots, of which the copy makes no use. fork(3) and not the raw call,
    // which leaves libc with a wrong idea of who it is.
    match unsafe { libc::fork() } {
        0 => {
            let _guard = EndHere;
            // Kept to the end.
            std::mem::forget(lifeline);
            end_at_once(work(ForkedCopy(())))
        }
        pid if pid > 0 => match lifeline {
            None => watch_forked(pid),
            Some((reader, _)) => Ok(WorkerProcess { pid, pidfd: reader.into() }),
        },
        _ => Err(io::Error::last_os_error()),
    }
}

/// The pidfd of a child that nobody has reaped, so that its number is its own.
fn watch_forked(pid: i32) -> io::Result<WorkerProcess> {
    let error = match open_pidfd(pid) {
        Ok(pidfd) => return Ok(WorkerProcess { pid, pidfd }),
        Err(error) => error,
    };
    // SAFETY: a child of ours that is not reaped; no status is asked for.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, ptr::null_mut(), 0);
    }
    Err(error)
}

pub(crate) fn end_at_once(status: i32) -> ! {
    // SAFETY: ends the process without running anything of it.
    unsafe { libc::_exit(status) }
}

/// In a copy of this process: lets the server go first where both want a processor.
pub(crate) fn give_way() {
    const LESS: c_int = 5;
    // SAFETY: plain numbers; a refusal is no harm.
    unsafe { libc::nice(LESS) };
}
