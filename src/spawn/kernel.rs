//! The one file with `unsafe`: how a child is made, and the code it runs until exec.
//!
//! # How a child is made
//! `clone(CLONE_VM | CLONE_CHILD_CLEARTID)` without `CLONE_VFORK`: no page table is
//! copied and nothing is waited for. The child runs beside the server, in its memory,
//! on a stack of its own, until it execs. Where there are many descriptors (10,000
//! listeners, say) `CLONE_FILES` comes to it, so that they are not copied either.
//!
//! While clients come one after the other, *spares* are made with the time that is left:
//! such children too, which then wait for what they are to become. The next client waits
//! neither for a clone nor for a session.
//!
//! # Why that is sound
//! * *Memory.* The child reads its [`ChildSlot`] only: its birth, written before the clone,
//!   and its job, the prepared program and the environment, written before the clone or,
//!   for a spare, before it is sent its descriptors, without which it does not look at
//!   them. Nobody writes them from then on, until the kernel clears `busy` when the child
//!   execs or exits. A block that is busy refuses to be started and is never unmapped. The
//!   child writes its own stack (with a guard page below) and one atomic word. It
//!   allocates nothing, takes no lock, cannot panic, and makes raw system calls that leave
//!   `errno` alone, which is thread-local memory that it shares with the server.
//! * *Descriptors.* A child that begins with the server's table gets its own in these
//!   steps. What it is given was sent to it before it existed, through a channel
//!   that its block has for itself; so the server closes its copies at once, whatever
//!   the child does. Its first act is `close_range(highest + 1, MAX, UNSHARE)`: from
//!   then on its table, with the channel in it, is its own. Then it receives its
//!   descriptors. What a child that ended before that has not received is closed before
//!   its block is used again. With either table it then closes all but its own three,
//!   the failure pipe and the ruleset, while it is still the server's user. A spare has
//!   closed everything that it has copied but the failure pipe and the channel before it
//!   waits: it keeps no connection and no address in use.
//! * *Signals.* The server has no signal handler, the runtime's included (see
//!   [`take_over_signals`]), so none can run in the child. Nearly all are blocked, and all
//!   are from before the child changes its user until the last step before exec.
//! * *Time.* A spare waits as the server's user, so that only whoever may signal the server
//!   may signal it, and no longer than a fraction of a second. It ends when the server has
//!   ended: the other side of the channel is closed then.
//! * *Other users.* After setresuid the target user may signal the child. A stop
//!   keeps one block busy and the server does not care; a kill ends the child
//!   alone. Whether that user may look into the memory, by ptrace(2) or /proc, is written
//!   down with the memory and not with the process: at setresuid and setresgid the kernel
//!   writes `fs.suid_dumpable` there. That is 0 or 2, then, which both keep it closed,
//!   or nobody who changes his user is given the server's memory or a copy of it (see
//!   `dumpable`; it has to be so for all of them, since the next one who does so
//!   opens what one before has closed). With 2 a core dump is still allowed, and before
//!   Linux 5.16 that ended every process sharing the memory: there it is not shared either,
//!   and elsewhere the child forbids it while every signal is blocked.
//! * *What is taken away* (capabilities, paths, limits, set-user-ID, root's session keyring)
//!   is gone before the user changes, so that nothing depends on who may look into the
//!   child from then on. What was asked of the kernel is looked at afterwards where it
//!   can be: ids, groups, the mask of files.
//!
//! Where the kernel lacks close_range (before 5.9), on other processors than the
//! two spelled out below, with `--spawn fork`, when every block is busy, and
//! for programs in a group of processes (cgroup), the same code runs after a plain
//! fork, and in a fresh process ([`super::stub`]) where a user could look into a copy. In a group that runs out of memory the kernel kills a process and every other
//! that shares its memory: a child that shares ours would take the server with it.

#![allow(unsafe_code, reason = "the one place where it is allowed")]

pub(crate) mod accept;
pub(crate) mod options;
pub(crate) mod tables;
pub(crate) mod tcp;

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_long, c_void};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::ptr;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, SockaddrLike as _, SockaddrStorage};

use super::channel::Channel;
use super::environment::Environment;
use super::numbers::{MOST_SENT, Numbers};
use super::prepared::{Pointers, Prepared};
use super::sandbox::capabilities::Own;
use super::stage::Stage;
use super::steps::{ResourceLimit, Steps};

pub(super) mod stub;

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("oxinetd runs on 64-bit Linux");

/// Exit status of a child that failed before exec; the reason is in the failure pipe.
pub(crate) const FAILED: i32 = 127;

/// Size of one record in the failure pipe: pid, stage, errno. Below PIPE_BUF, so atomic.
pub(crate) const RECORD: usize = 12;

/// Signals of Linux, from 1.
const SIGNALS: c_long = 64;

/// Bytes of a child's stack; the child's functions need a few hundred.
const STACK: usize = 32 * 1024;

/// A copy of this process that works for it.
#[derive(Debug)]
pub(crate) struct Made {
    /// Its process id.
    pub pid: i32,
    /// Readable when it has ended; without pidfds perhaps before, when it has closed what it
    /// has copied.
    pub pidfd: OwnedFd,
}

/// What a child reads first. Nobody writes it while the child lives before exec.
struct Birth {
    job: *const ChildJob,
    /// Where it tells why it could not become its program.
    failure: RawFd,
    /// Whether it shares our memory.
    sharing: bool,
    /// Where its descriptors come from; none if it has them.
    parcel: Option<DescriptorMessage>,
}

/// How a child that begins with our table of descriptors comes by its own.
#[derive(Clone, Copy)]
struct DescriptorMessage {
    /// Where it takes those that `numbers` of its job names.
    channel: RawFd,
    /// 0 from when they are sent until it has them.
    taken: *const AtomicU32,
    /// It is a spare: they have not been sent yet, nor has its job been written.
    waits: bool,
}

/// What a child is to become. Nobody writes it while the child may look at it.
struct ChildJob {
    steps: *const Steps,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    numbers: Numbers,
    /// Sent before exec.
    greeting: *const [u8],
}

/// One child's stack, job and environment: what it uses of our memory until exec.
/// Never freed: there are few, and the last children may outlive the server's loop.
pub(crate) struct ChildSlot(&'static Shared);

struct Shared {
    stack: Stack,
    /// 1 from clone until the kernel clears it at exec or exit (CLONE_CHILD_CLEARTID).
    busy: AtomicU32,
    /// 1 once the child has its descriptors.
    taken: AtomicU32,
    /// The last child's id; ours alone.
    pid: AtomicI32,
    /// Whether the child is a spare that has been sent nothing; ours alone.
    waits: Cell<bool>,
    /// The child's while `busy` is set, ours otherwise.
    birth: UnsafeCell<Birth>,
    /// The same, but still ours while `waits` is set.
    work: UnsafeCell<Work>,
}

struct Work {
    job: ChildJob,
    /// Kept alive for the child, whatever a reload does meanwhile.
    prepared: Option<Rc<Prepared>>,
    environment: Environment,
}

impl ChildSlot {
    /// A fresh block.
    ///
    /// # Errors
    /// When the system has no memory for a stack.
    pub(crate) fn new() -> io::Result<Self> {
        let numbers = Numbers { socket: -1, stderr: -1, failure: -1, ruleset: -1 };
        let (steps, arguments, environment) = (ptr::null(), ptr::null(), ptr::null());
        let job = ChildJob { steps, arguments, environment, numbers, greeting: b"" };
        let work = Work { job, prepared: None, environment: Environment::default() };
        let birth = Birth { job: ptr::null(), failure: -1, sharing: false, parcel: None };
        Ok(Self(Box::leak(Box::new(Shared {
            stack: Stack::new()?,
            busy: AtomicU32::new(0),
            taken: AtomicU32::new(1),
            pid: AtomicI32::new(0),
            waits: Cell::new(false),
            birth: UnsafeCell::new(birth),
            work: UnsafeCell::new(work),
        }))))
    }

    /// Whether a child may still be using it.
    #[must_use]
    pub(crate) fn is_busy(&self) -> bool {
        self.0.busy.load(Ordering::Acquire) != 0
    }

    /// Frees the block if its child is gone, once it has been reaped: the kernel does
    /// not clear the word of a process that dies dumping core.
    pub(crate) fn release_if_gone(&self, pid: i32) {
        // SAFETY: signal 0 asks whether the process exists and sends nothing.
        let gone = unsafe { libc::kill(pid, 0) } < 0
            && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
        if gone && self.0.pid.load(Ordering::Relaxed) == pid {
            self.0.busy.store(0, Ordering::Release);
        }
    }

    /// To be called when it is idle again, before its channel is used for another child:
    /// closes what this one has not taken.
    pub(crate) fn clear(&self, channel: &Channel) {
        if self.0.taken.swap(1, Ordering::Acquire) == 0 {
            channel.clear();
        }
    }

    fn work(&mut self) -> io::Result<&mut Work> {
        if self.is_busy() && !self.0.waits.get() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        // SAFETY: no child looks at it (found out above; the words are set only by
        // `start`, `send` and `send_off`), and `&mut self` is the only handle.
        Ok(unsafe { &mut *self.0.work.get() })
    }

    /// Gives the pages of the stack and of the environment back to the system, and lets go
    /// of the program that was started last. Nothing if a child may be using them.
    pub(crate) fn release_memory(&mut self) {
        if self.is_busy() {
            return;
        }
        if let Ok(work) = self.work() {
            (work.prepared, work.environment) = (None, Environment::default());
        }
        self.0.stack.release();
    }

    /// The environment to fill for the next child; empty.
    ///
    /// # Errors
    /// When the block is busy.
    pub(crate) fn environment(&mut self) -> io::Result<&mut Environment> {
        let environment = &mut self.work()?.environment;
        environment.clear();
        Ok(environment)
    }

    fn fill(&mut self, prepared: &Rc<Prepared>, numbers: Numbers) -> io::Result<()> {
        let work = self.work()?;
        work.environment.seal(&prepared.environment, &prepared.late_environment);
        work.job = ChildJob {
            steps: &raw const prepared.steps,
            arguments: prepared.arguments.as_ptr(),
            environment: work.environment.array(),
            numbers,
            greeting: work.environment.greeting,
        };
        work.prepared = Some(Rc::clone(prepared));
        Ok(())
    }

    /// Writes down how the next child begins; what it is given.
    fn bear(
        &mut self,
        failure: RawFd,
        sharing: bool,
        parcel: Option<DescriptorMessage>,
    ) -> io::Result<*mut c_void> {
        if self.is_busy() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        // SAFETY: the field of something that lives for ever; only its address is taken.
        let job = unsafe { &raw const (*self.0.work.get()).job };
        let birth = self.0.birth.get();
        // SAFETY: no child reads it (looked at above), and `&mut self` is the only handle.
        unsafe { *birth = Birth { job, failure, sharing, parcel } };
        Ok(birth.cast())
    }

    /// Makes a child that shares our memory until it execs. The descriptors may be closed
    /// at once; the block must be kept until it is idle. With a channel, the child begins
    /// with our table of descriptors.
    ///
    /// # Errors
    /// clone(2)'s, or that the block is busy.
    pub(crate) fn start_sharing(
        &mut self,
        prepared: &Rc<Prepared>,
        numbers: Numbers,
        channel: Option<&Channel>,
    ) -> io::Result<i32> {
        if self.is_busy() {
            // Before anything is sent, which only a child may take.
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        // To whom nothing can be sent a copy is given: slower, and nothing else.
        let parcel = channel.and_then(|channel| self.send(numbers, channel).ok());
        self.fill(prepared, numbers)?;
        self.start(numbers.failure, parcel)
    }

    /// Makes a spare: a child that shares our memory, too, and waits to be sent off through
    /// the channel.
    ///
    /// # Errors
    /// clone(2)'s, or that the block is busy.
    pub(crate) fn start_waiting(&mut self, failure: RawFd, channel: &Channel) -> io::Result<i32> {
        let parcel = DescriptorMessage {
            channel: channel.theirs(),
            taken: &raw const self.0.taken,
            waits: true,
        };
        let pid = self.start(failure, Some(parcel))?;
        self.0.waits.set(true);
        Ok(pid)
    }

    /// Sends a spare off to become its program, as [`Self::start_sharing`] does it with a
    /// new child.
    ///
    /// # Errors
    /// sendmsg(2)'s, or that it is there no more.
    pub(crate) fn send_off(
        &mut self,
        prepared: &Rc<Prepared>,
        numbers: Numbers,
        channel: &Channel,
    ) -> io::Result<i32> {
        if !(self.is_busy() && self.0.waits.get()) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.fill(prepared, numbers)?;
        self.send(numbers, channel)?;
        self.0.waits.set(false);
        Ok(self.0.pid.load(Ordering::Relaxed))
    }

    fn start(&mut self, failure: RawFd, parcel: Option<DescriptorMessage>) -> io::Result<i32> {
        if !SHARING {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let birth = self.bear(failure, true, parcel)?;
        self.0.waits.set(false);
        self.0.busy.store(1, Ordering::Release);
        let files = if parcel.is_some() { libc::CLONE_FILES } else { 0 };
        let flags = libc::CLONE_VM | files | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
        // SAFETY: the stack is mapped, ours, and used by no other child, since the
        // block was idle. What the child reads lives for ever and is written by nobody
        // while it may look at it. The child's conduct is argued at the top of this file.
        let pid = unsafe {
            libc::clone(
                run_child,
                self.0.stack.top(),
                flags,
                birth,
                ptr::null_mut::<c_int>(),
                ptr::null_mut::<c_void>(),
                self.0.busy.as_ptr(),
            )
        };
        if pid < 0 {
            let error = io::Error::last_os_error();
            self.0.busy.store(0, Ordering::Release);
            return Err(error);
        }
        self.0.pid.store(pid, Ordering::Relaxed);
        Ok(pid)
    }

    /// Sends what the job names, which is not written any more until it has been taken.
    fn send(&self, numbers: Numbers, channel: &Channel) -> io::Result<DescriptorMessage> {
        let taken = &self.0.taken;
        let (all, sent) = numbers.sent();
        // A spare looks at its job when it sees this, and not before it is sent something.
        taken.store(0, Ordering::Release);
        if let Err(error) = channel.send(all.get(..sent).unwrap_or_default()) {
            taken.store(1, Ordering::Relaxed);
            return Err(error);
        }
        Ok(DescriptorMessage { channel: channel.theirs(), taken, waits: false })
    }

    /// Makes a child by plain fork. Descriptors may be closed at once, and the
    /// block is idle again when this returns.
    ///
    /// # Errors
    /// fork(2)'s, or that the block is busy.
    pub(crate) fn start_forking(
        &mut self,
        prepared: &Rc<Prepared>,
        numbers: Numbers,
    ) -> io::Result<i32> {
        self.fill(prepared, numbers)?;
        let birth = self.bear(numbers.failure, false, None)?;
        let group = prepared.confinement.group.as_ref().map(|group| group.descriptor().as_raw_fd());
        // SAFETY: the child makes system calls with what it has a copy of, and never returns.
        let made = unsafe { fork(group, run_child, birth) };
        // The child has a copy. Kept here, it would keep a service's group in being.
        self.work()?.prepared = None;
        made
    }
}

/// A fork, into a group of processes perhaps, whose child runs `child` in a copy of our memory.
///
/// # Safety
/// `child` must not return, and do in a copy of this process only what may be done there.
unsafe fn fork(
    group: Option<RawFd>,
    child: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
) -> io::Result<i32> {
    let pid = match group {
        None => fork_plainly(),
        Some(group) => fork_into(group),
    };
    if pid == 0 {
        child(argument);
    }
    if pid < 0 {
        let error = io::Error::last_os_error();
        return Err(match group {
            None => error,
            // EAGAIN: the group is full. Said so, since the machine need not be.
            Some(_) => io::Error::new(error.kind(), format!("in the service's cgroup: {error}")),
        });
    }
    i32::try_from(pid).map_err(io::Error::other)
}

/// A plain fork: 0 in the child.
fn fork_plainly() -> c_long {
    let flags = c_long::from(libc::SIGCHLD);
    // SAFETY: a fork of a single-threaded process. The raw call (flags, stack, …) and not
    // fork(3), whose care for libc such a child has no use for.
    unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, 0usize, 0usize, 0usize) }
}

/// A fork whose child is in a group of processes (cgroup v2) from its birth, so that
/// the group's limits hold for it too: one that is moved there later is let in
/// over the limit. clone3(2), Linux 5.7.
fn fork_into(group: RawFd) -> c_long {
    /// `libc` has it as a signed 32-bit number, in which it does not fit.
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: all zero is a valid value of this struct of numbers.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    arguments.cgroup = u64::from(group.unsigned_abs());
    // SAFETY: as for `fork_plainly`; the kernel reads the struct.
    unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) }
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
#[must_use]
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

/// A child's stack: pages of its own above a page that faults.
struct Stack {
    base: *mut c_void,
    guard: usize,
}

impl Stack {
    fn new() -> io::Result<Self> {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let guard = usize::try_from(page).map_err(io::Error::other)?;
        // SAFETY: a new private mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                guard + STACK,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self { base, guard };
        // SAFETY: inside the mapping made above, which nobody uses yet.
        let result = unsafe {
            libc::mprotect(base.byte_add(guard), STACK, libc::PROT_READ | libc::PROT_WRITE)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(stack) }
    }

    /// Lets go of what is in it, which nobody needs any more.
    fn release(&self) {
        // SAFETY: the part of our mapping above the guard. Its callers know that no child
        // uses it, and each child begins with writing what it is going to read.
        unsafe { libc::madvise(self.base.byte_add(self.guard), STACK, libc::MADV_DONTNEED) };
    }

    /// Stacks grow down: one past the last byte. A multiple of the page size, so aligned.
    fn top(&self) -> *mut c_void {
        self.base.wrapping_byte_add(self.guard + STACK)
    }
}

/// Where a child begins: after clone on its own stack, after fork on a copy of ours.
extern "C" fn run_child(birth: *mut c_void) -> c_int {
    // SAFETY: all callers pass a birth that outlives the child's time before exec.
    let birth = unsafe { &*birth.cast::<Birth>() };
    tell(birth.failure, prepare_and_exec(birth))
}

/// The end of a child that could not become its program: says why.
fn tell(failure: RawFd, (stage, errno): (Stage, isize)) -> ! {
    // SAFETY: system calls with a record on our stack; neither returns to Rust code of the server.
    unsafe {
        let mut record = [0u8; RECORD];
        let pid = call(libc::SYS_getpid, 0, 0, 0, 0, 0);
        let words = [pid, stage as isize, errno];
        let mut at = record.as_mut_ptr();
        for word in words {
            at.cast::<[u8; 4]>().write_unaligned(low_word(word));
            at = at.wrapping_add(4);
        }
        call(libc::SYS_write, number(failure), record.as_ptr() as usize, RECORD, 0, 0);
        loop {
            call(libc::SYS_exit_group, FAILED as usize, 0, 0, 0, 0);
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pids, stages and errnos fit"
)]
const fn low_word(word: isize) -> [u8; 4] {
    (word as u32).to_ne_bytes()
}

#[allow(clippy::cast_sign_loss, reason = "descriptors are passed to the kernel as they are")]
const fn number(descriptor: RawFd) -> usize {
    descriptor as usize
}

/// The child's steps, in the order of [`Stage`]; returns only with a failure.
fn prepare_and_exec(birth: &Birth) -> (Stage, isize) {
    // SAFETY: each step makes system calls with pointers that outlive it. What the child
    // looks at from `job` on is written by nobody: before that it has its descriptors.
    unsafe {
        if let Err(failure) = take_own_table(birth).and_then(|()| take_own_session()) {
            return failure;
        }
        let arrived = match take_descriptors(birth) {
            Ok(arrived) => arrived,
            Err(failure) => return failure,
        };
        let job = &*birth.job;
        let steps = &*job.steps;
        let result = own_numbers(&job.numbers, arrived.as_ref()).and_then(|numbers| {
            keep_stdio_only(numbers)?;
            limit(steps)?;
            change_directory(steps)?;
            give_up_capabilities(steps)?;
            leave_keyring(steps)?;
            forbid_privileges(steps)?;
            confine_to_paths(numbers)?;
            change_user(steps, birth.sharing)?;
            greet(&*job.greeting);
            set_signal_mask(0)
        });
        if let Err(failure) = result {
            return failure;
        }
        let errno = call(
            libc::SYS_execve,
            steps.path.as_ptr() as usize,
            job.arguments as usize,
            job.environment as usize,
            0,
            0,
        );
        (Stage::Exec, -errno)
    }
}

type StepResult = Result<(), (Stage, isize)>;

fn check(stage: Stage, result: isize) -> StepResult {
    if result < 0 { Err((stage, -result)) } else { Ok(()) }
}

/// Gives a child that has begun with the server's table of descriptors a copy of its lower
/// end. If that fails, nothing may be changed in it, and nothing is, but the failure is told
/// as any other.
unsafe fn take_own_table(birth: &Birth) -> StepResult {
    let Some(parcel) = birth.parcel else { return Ok(()) };
    let (failure, channel) = (number(birth.failure), number(parcel.channel));
    let unshare = libc::CLOSE_RANGE_UNSHARE as usize;
    let above = channel.max(failure) + 1;
    // SAFETY: no pointers.
    unsafe {
        let result = call(libc::SYS_close_range, above, u32::MAX as usize, unshare, 0, 0);
        check(Stage::Descriptors, result)?;
        // Whoever waits keeps nobody's connection.
        if parcel.waits && channel > failure + 1 {
            let result = call(libc::SYS_close_range, failure + 1, channel - 1, 0, 0, 0);
            check(Stage::Descriptors, result)?;
        }
    }
    Ok(())
}

/// Takes the descriptors that a child is sent, which a spare waits for; none if it has its
/// own already. From here on it may look at its job.
unsafe fn take_descriptors(birth: &Birth) -> Result<Option<Rights>, (Stage, isize)> {
    let Some(parcel) = &birth.parcel else { return Ok(None) };
    let mut rights = Rights { length: 0, level: 0, kind: 0, numbers: [-1; MOST_SENT], _padding: 0 };
    // SAFETY: the channel is in the table that has just been copied, the flag in the block,
    // which is busy and therefore alive.
    unsafe {
        receive(parcel, &mut rights)?;
        (*parcel.taken).swap(1, Ordering::AcqRel);
    }
    Ok(Some(rights))
}

/// A message with descriptors, as the kernel writes it (unix(7), cmsg(3)).
#[repr(C)]
struct Rights {
    length: usize,
    level: c_int,
    kind: c_int,
    numbers: [RawFd; MOST_SENT],
    /// The kernel's messages are a multiple of a word.
    _padding: c_int,
}

/// What recvmsg(2) takes, as the kernel has it: that of libc need not be the same.
#[repr(C)]
struct MessageHeader {
    name: usize,
    name_length: usize,
    parts: *mut libc::iovec,
    part_count: usize,
    control: *mut Rights,
    control_length: usize,
    flags: usize,
}

/// Receives the descriptors that were sent, or are going to be.
unsafe fn receive(parcel: &DescriptorMessage, rights: &mut Rights) -> StepResult {
    let mut byte = 0u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut message = MessageHeader {
        name: 0,
        name_length: 0,
        parts: &raw mut part,
        part_count: 1,
        control: ptr::from_mut(rights),
        control_length: size_of::<Rights>(),
        flags: 0,
    };
    let wait = if parcel.waits { 0 } else { libc::MSG_DONTWAIT };
    let flags = number(wait | libc::MSG_CMSG_CLOEXEC);
    let message = (&raw mut message) as usize;
    // SAFETY: everything that the message names is on our stack.
    let result = unsafe { call(libc::SYS_recvmsg, number(parcel.channel), message, flags, 0, 0) };
    // Nothing is sent without a byte: the server has ended.
    let result = if result == 0 { -(libc::EPIPE as isize) } else { result };
    check(Stage::Descriptors, result)
}

/// The descriptors of a child under its own numbers.
fn own_numbers(numbers: &Numbers, arrived: Option<&Rights>) -> Result<Numbers, (Stage, isize)> {
    let Some(rights) = arrived else { return Ok(*numbers) };
    let header = size_of::<Rights>() - size_of::<[c_int; MOST_SENT + 1]>();
    let (_, sent) = numbers.sent();
    if rights.length != header + sent * size_of::<RawFd>() {
        // Some have found no room.
        return Err((Stage::Descriptors, libc::EMFILE as isize));
    }
    Ok(numbers.arrived(rights.numbers))
}

/// A session of its own, and with it a group of processes.
unsafe fn take_own_session() -> StepResult {
    // SAFETY: no pointers.
    check(Stage::Session, unsafe { call(libc::SYS_setsid, 0, 0, 0, 0, 0) })
}

unsafe fn limit(steps: &Steps) -> StepResult {
    // SAFETY: the only pointers are to limits on our stack.
    unsafe {
        for limit in &steps.limits {
            let values = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard };
            let (resource, wanted) = (limit.resource as usize, (&raw const values) as usize);
            let result = call(libc::SYS_prlimit64, 0, resource, wanted, 0, 0);
            if result == -(libc::EPERM as isize) && limit.is_usual {
                limit_to_what_there_is(limit)?;
            } else {
                check(Stage::Limits, result)?;
            }
        }
        if let Some(umask) = steps.umask {
            let umask = umask as usize;
            // The answer is the mask before: of the second call the one that was wanted.
            check(Stage::Umask, call(libc::SYS_umask, umask, 0, 0, 0, 0))?;
            let now = call(libc::SYS_umask, umask, 0, 0, 0, 0);
            check(Stage::Umask, now)?;
            same(Stage::Umask, now.unsigned_abs(), umask)?;
        }
        if let Some(priority) = steps.priority {
            let result =
                call(libc::SYS_setpriority, libc::PRIO_PROCESS as usize, 0, number(priority), 0, 0);
            check(Stage::Nice, result)?;
        }
    }
    Ok(())
}

/// Somebody has lowered the server's own limit since it was started (prlimit(2)).
unsafe fn limit_to_what_there_is(limit: &ResourceLimit) -> StepResult {
    let mut now = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the only pointers are to limits on our stack.
    unsafe {
        let (resource, room) = (limit.resource as usize, (&raw mut now) as usize);
        check(Stage::Limits, call(libc::SYS_prlimit64, 0, resource, 0, room, 0))?;
        now.rlim_cur = limit.soft.min(now.rlim_max);
        let wanted = (&raw const now) as usize;
        check(Stage::Limits, call(libc::SYS_prlimit64, 0, resource, wanted, 0, 0))
    }
}

unsafe fn change_directory(steps: &Steps) -> StepResult {
    // SAFETY: C strings inside `steps`.
    unsafe {
        if let Some(root) = &steps.chroot {
            check(Stage::Chroot, call(libc::SYS_chroot, root.as_ptr() as usize, 0, 0, 0, 0))?;
        }
        if let Some(directory) = &steps.chdir {
            check(Stage::Chdir, call(libc::SYS_chdir, directory.as_ptr() as usize, 0, 0, 0, 0))?;
        }
    }
    Ok(())
}

/// A session keyring with nothing in it, for whoever is to become somebody else: a process
/// may do with the keys of its keyring what their owner has granted to holders, whoever it
/// is by then, and the server's may hold root's (`pam_keyinit`, `kinit`). As the server's
/// user: a new keyring counts, and of others the kernel lets each have 200.
///
/// Where there are no keyrings, where a filter of system calls or a security module keeps
/// them away, or where there are too many, programs do without.
unsafe fn leave_keyring(steps: &Steps) -> StepResult {
    if steps.uid.is_none() {
        return Ok(());
    }
    let join = libc::KEYCTL_JOIN_SESSION_KEYRING as usize;
    // SAFETY: no name, so no pointer.
    let result = unsafe { call(libc::SYS_keyctl, join, 0, 0, 0, 0) };
    let without = [libc::ENOSYS, libc::EPERM, libc::EACCES, libc::EDQUOT];
    if without.iter().any(|errno| result == -(*errno as isize)) {
        return Ok(());
    }
    check(Stage::Keyring, result)
}

/// Before the user is changed: what this and the next step take away, whoever may look into
/// the process from then on could not give back.
unsafe fn forbid_privileges(steps: &Steps) -> StepResult {
    if !steps.no_new_privs {
        return Ok(());
    }
    // SAFETY: no pointers.
    let result = unsafe { call(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0) };
    check(Stage::Privileges, result)
}

unsafe fn change_user(steps: &Steps, sharing: bool) -> StepResult {
    // SAFETY: a slice inside `steps`, and plain numbers.
    unsafe {
        if let Some(groups) = &steps.groups {
            let result = call(libc::SYS_setgroups, groups.len(), groups.as_ptr() as usize, 0, 0, 0);
            check(Stage::Groups, result)?;
            verify_groups(groups)?;
        }
        if let Some(gid) = steps.gid {
            let gid = gid as usize;
            check(Stage::Gid, call(libc::SYS_setresgid, gid, gid, gid, 0, 0))?;
            verify(libc::SYS_getresgid, gid)?;
        }
        if let Some(uid) = steps.uid {
            let uid = uid as usize;
            if sharing {
                set_signal_mask(u64::MAX)?;
            }
            check(Stage::Uid, call(libc::SYS_setresuid, uid, uid, uid, 0, 0))?;
            verify(libc::SYS_getresuid, uid)?;
            if sharing {
                let result = call(libc::SYS_prctl, libc::PR_SET_DUMPABLE as usize, 0, 0, 0, 0);
                check(Stage::Privileges, result)?;
            }
        }
    }
    Ok(())
}

/// Leaves the program and its children no capability beside those that are kept:
/// none that exec could bring back (the bounding set), none to inherit, and none
/// ambient, which the kernel takes away with the inheritable ones. What this process
/// has itself it needs until exec, which computes anew: root's from the bounding
/// set, others' from the inheritable and the ambient one. Where the bounding set cannot be
/// lowered and nobody's user changes, it goes at once: exec could give it back of it.
unsafe fn give_up_capabilities(steps: &Steps) -> StepResult {
    let Some(capabilities) = &steps.capabilities else { return Ok(()) };
    // This process.
    let mut header = [CAPABILITIES_VERSION, 0];
    let header = (&raw mut header) as usize;
    // Effective, permitted and inheritable of the lower 32, then of the upper.
    let mut sets = [0_u32; 6];
    // SAFETY: header and sets are on our stack, as large as the kernel takes them to be.
    unsafe {
        let result = call(libc::SYS_capget, header, (&raw mut sets) as usize, 0, 0, 0);
        check(Stage::Capabilities, result)?;
        let [effective, permitted, low, high_effective, high_permitted, high] = &mut sets;
        *low &= low_half(capabilities.kept);
        *high &= low_half(capabilities.kept >> 32);
        if capabilities.at_once {
            (*effective, *permitted) = (*effective & *low, *permitted & *low);
            (*high_effective, *high_permitted) = (*high_effective & *high, *high_permitted & *high);
        }
        let result = call(libc::SYS_capset, header, (&raw mut sets) as usize, 0, 0, 0);
        check(Stage::Capabilities, result)?;
        for capability in &capabilities.dropped {
            let drop = libc::PR_CAPBSET_DROP as usize;
            let result = call(libc::SYS_prctl, drop, *capability as usize, 0, 0, 0);
            check(Stage::Capabilities, result)?;
        }
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, reason = "the other half is asked for by itself")]
const fn low_half(set: u64) -> u32 {
    set as u32
}

/// After everything that needs the file system but exec itself, and while the server's user
/// alone may look into the process.
unsafe fn confine_to_paths(numbers: Numbers) -> StepResult {
    if numbers.ruleset < 0 {
        return Ok(());
    }
    // SAFETY: plain numbers; the descriptor goes at exec.
    let result =
        unsafe { call(libc::SYS_landlock_restrict_self, number(numbers.ruleset), 0, 0, 0, 0) };
    check(Stage::Landlock, result)
}

/// Real, effective and saved id are all the one asked for, or there is no exec.
unsafe fn verify(question: c_long, wanted: usize) -> StepResult {
    let (mut real, mut effective, mut saved) = (0u32, 0u32, 0u32);
    // SAFETY: three numbers on our stack.
    let result = unsafe {
        call(
            question,
            (&raw mut real) as usize,
            (&raw mut effective) as usize,
            (&raw mut saved) as usize,
            0,
            0,
        )
    };
    check(Stage::Verify, result)?;
    [real, effective, saved].iter().try_for_each(|id| same(Stage::Verify, *id as usize, wanted))
}

/// What was asked for is what is, or there is no exec.
fn same(stage: Stage, is: usize, wanted: usize) -> StepResult {
    if is == wanted { Ok(()) } else { Err((stage, libc::EPERM as isize)) }
}

/// Groups that are looked at one by one; of more, which few have, only how many they are.
const LOOKED_AT: usize = 256;

/// The groups are those asked for: as many, and each of them one of those.
unsafe fn verify_groups(wanted: &[u32]) -> StepResult {
    let mut groups = [0u32; LOOKED_AT];
    let room = if wanted.len() > LOOKED_AT { 0 } else { LOOKED_AT };
    // SAFETY: numbers on our stack, as many as there is said to be room for.
    let count = unsafe { call(libc::SYS_getgroups, room, (&raw mut groups) as usize, 0, 0, 0) };
    check(Stage::Verify, count)?;
    let count = count.unsigned_abs();
    same(Stage::Verify, count, wanted.len())?;
    let mut there = groups.iter().take(count.min(room));
    if there.all(|group| wanted.contains(group)) {
        return Ok(());
    }
    Err((Stage::Verify, libc::EPERM as isize))
}

/// Standard input, output and error, and nothing else but the failure pipe and the
/// ruleset: close
/// on exec would do that too, but a child that its user stops before exec must not
/// keep other services' connections open.
unsafe fn keep_stdio_only(numbers: Numbers) -> StepResult {
    // SAFETY: plain numbers.
    unsafe {
        // dup3 clears close-on-exec on the copy. The sources are above 2 (see
        // `Spawner::new`), so none is overwritten before it is used.
        for (from, to) in [(numbers.socket, 0usize), (numbers.socket, 1), (numbers.stderr, 2)] {
            check(Stage::Stdio, call(libc::SYS_dup3, number(from), to, 0, 0, 0))?;
        }
        // The failure pipe is the lowest of the server's own, but need not be in a fresh
        // process. Kernels without this call are left with close on exec.
        let (failure, ruleset) = (number(numbers.failure), number(numbers.ruleset));
        let kept = match numbers.ruleset {
            ..0 => [failure, failure],
            _ => [failure.min(ruleset), failure.max(ruleset)],
        };
        let mut first = 3;
        for number in kept {
            if first < number {
                call(libc::SYS_close_range, first, number - 1, 0, 0, 0);
            }
            first = number + 1;
        }
        call(libc::SYS_close_range, first, u32::MAX as usize, 0, 0, 0);
    }
    Ok(())
}

/// What the client is told when nothing but exec can fail any more, for the program; it is
/// a few bytes into an empty buffer, and no signal comes of a client that is gone.
unsafe fn greet(greeting: &[u8]) {
    if greeting.is_empty() {
        return;
    }
    let flags = number(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT);
    let (text, length) = (greeting.as_ptr() as usize, greeting.len());
    // SAFETY: a slice that outlives this child's time before exec. Without an address nobody looks at its length.
    // A client that is gone is for the program to find out.
    unsafe { call(libc::SYS_sendto, 0, text, length, flags, 0) };
}

/// Blocks the signals whose bits are set, as far as they can be, and no others.
unsafe fn set_signal_mask(mask: u64) -> StepResult {
    // SAFETY: a signal set on our stack.
    let result = unsafe {
        call(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK as usize,
            (&raw const mask) as usize,
            0,
            size_of::<u64>(),
            0,
        )
    };
    check(Stage::Signals, result)
}

/// Whether a child may share our memory: only on processors where [`call`] leaves errno
/// alone, and not with musl, whose clone(2) refuses `CLONE_CHILD_CLEARTID`.
const SHARING: bool =
    cfg!(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(target_env = "musl")));

/// A system call that does not touch errno: the result, or minus the error.
#[cfg(target_arch = "x86_64")]
unsafe fn call(nr: c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the convention of syscall(2) for x86-64; the arguments are the caller's duty.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") nr => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// A system call that does not touch errno: the result, or minus the error.
#[cfg(target_arch = "aarch64")]
unsafe fn call(nr: c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the convention of syscall(2) for AArch64; the arguments are the caller's duty.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") nr,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack)
        );
    }
    result
}

/// A system call; this processor's children have an errno of their own (plain fork).
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn call(nr: c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    // SAFETY: the arguments are the caller's duty.
    let result = unsafe { libc::syscall(nr, a, b, c, d, e) };
    if result < 0 {
        -(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) as isize)
    } else {
        result as isize
    }
}

/// Whether this kernel has close_range with its own table for the caller (Linux 5.9).
#[must_use]
pub(crate) fn can_share() -> bool {
    // SAFETY: an empty range far above any descriptor: closes nothing.
    SHARING && unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, 0) } == 0
}

/// The first two numbers of the kernel's version; zeros if it does not say.
#[must_use]
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
pub(super) fn executed_path() -> Option<PathBuf> {
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

/// What this process has of capabilities, and would pass on.
#[must_use]
pub(crate) fn own_capabilities() -> Own {
    let has = |number: &u32| {
        // SAFETY: a question; a number that the kernel does not know is an error and no harm.
        unsafe { libc::prctl(libc::PR_CAPBSET_READ, c_long::from(*number)) == 1 }
    };
    let bounding = (0..u64::BITS).filter(has).fold(0, |set, number| set | 1 << number);
    let header = [CAPABILITIES_VERSION, 0];
    let mut sets = [0_u32; 6];
    // SAFETY: both are as large as the kernel takes them to be. It fails for no version that
    // it knows, and leaves zeros then.
    unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    let [effective, _, low, _, _, high] = sets;
    Own {
        bounding,
        inheritable: u64::from(low) | u64::from(high) << 32,
        can_drop: effective & (1 << CAP_SETPCAP) != 0,
    }
}

/// Version 3 of the interface of capget(2) and capset(2).
const CAPABILITIES_VERSION: u32 = 0x2008_0522;

/// The number of the capability that the bounding set is lowered with.
const CAP_SETPCAP: u32 = 8;

/// Makes every inherited descriptor above 2 close-on-exec: a careless parent's
/// descriptors must not reach the programs.
pub(crate) fn close_inherited_on_exec() {
    const CLOSE_RANGE_CLOEXEC: c_int = 4;
    // SAFETY: sets a flag on descriptors; closes none.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    if result == 0 {
        return;
    }
    // Before Linux 5.11: one by one, as far as this process can have any.
    for descriptor in open_descriptors().into_iter().filter(|&number| number > 2) {
        // SAFETY: sets a flag; a number that is not open is an error and no harm.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Signals that are not blocked: the terminal's stops, which keep their meaning, and those
/// by which a mistake of the program, or a watchdog that has lost patience with it, ends it.
/// Nobody would read these, and whoever sends them wants an end at once.
const FREE: [c_int; 10] = [
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGTRAP,
];

/// No signal handler and nothing ignored from here on, so that none can run in, or
/// be passed on to, a child: every signal is blocked and read from a signalfd, but
/// for those of `FREE`.
pub(crate) fn take_over_signals() {
    // All zero is the default disposition, whatever the layout of struct sigaction.
    let default = [0u64; 4];
    for signal in 1..=SIGNALS {
        // SAFETY: runs no code of ours. The raw call, since signal(2) of libc keeps two
        // signals to itself, and a parent may have left those ignored, too. KILL and
        // STOP cannot be changed: an error and no harm.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    // SAFETY: a set on our stack.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut set);
        for signal in FREE {
            libc::sigdelset(&raw mut set, signal);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
    }
}

/// A copy of a descriptor under the lowest free number from `least`, close-on-exec.
///
/// # Errors
/// fcntl(2)'s.
pub(crate) fn duplicate_from(descriptor: &impl AsRawFd, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: makes a new descriptor.
    let copy = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Takes over a descriptor that nothing in this process has, under its number, close-on-exec.
///
/// # Errors
/// EBADF.
pub(crate) fn own(number: RawFd) -> io::Result<OwnedFd> {
    set_close_on_exec(number, true)?;
    // SAFETY: it is open, and by the caller's word nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sets the mode of what a descriptor names that is good for nothing else (fchmodat2(2),
/// Linux 6.6).
///
/// # Errors
/// fchmodat2(2)'s: ENOSYS.
pub(crate) fn change_mode(named: &impl AsRawFd, mode: u32) -> io::Result<()> {
    /// Not every libc knows it.
    const SYS_FCHMODAT2: c_long = 452;
    // SAFETY: an empty path that lives for ever, and plain numbers.
    let result = unsafe {
        libc::syscall(SYS_FCHMODAT2, named.as_raw_fd(), c"".as_ptr(), mode, libc::AT_EMPTY_PATH)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How nice this process is.
#[must_use]
pub(crate) fn nice_value() -> i32 {
    // SAFETY: a question. The kernel answers with 20 minus it, and libc's errno is left out.
    let answer = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) };
    i32::try_from(answer).map_or(0, |answer| if answer > 0 { 20 - answer } else { 0 })
}

/// Whether this is the number of a descriptor.
#[must_use]
pub(crate) fn is_open(number: RawFd) -> bool {
    // SAFETY: a question; a number that is not open is an error and no harm.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// Whether exec(2) closes a descriptor.
///
/// # Errors
/// EBADF.
pub(crate) fn set_close_on_exec(number: RawFd, close: bool) -> io::Result<()> {
    let flags = if close { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: sets a flag; a number that is not open is an error and no harm.
    let result = unsafe { libc::fcntl(number, libc::F_SETFD, flags) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Which side of a fork this is.
#[derive(Debug)]
pub(crate) enum ForkSide {
    /// The original process.
    Parent,
    /// The copy.
    Child,
}

/// An error if this process has threads beside the one that asks, or if that cannot be told.
fn have_no_threads() -> io::Result<()> {
    let are_some = match std::fs::read_dir("/proc/self/task") {
        Ok(tasks) => tasks.count() > 1,
        // SAFETY: for a process with one thread this does nothing (unshare(2)), for others
        // it is an error.
        Err(_) => match unsafe { libc::unshare(libc::CLONE_THREAD) } {
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

/// Makes a copy of this process that runs `work` and ends with the status which that
/// returns. Nothing of ours is dropped there: no path of a socket is unlinked, no log
/// written twice, whether `work` returns or panics.
///
/// # Errors
/// fork(2)'s and pidfd_open(2)'s, or that the process has threads.
pub(crate) fn fork_to_run(work: impl FnOnce() -> i32) -> io::Result<Made> {
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
    // only their blocks, of which the copy makes no use. fork(3) and not the raw call,
    // which leaves libc with a wrong idea of who it is.
    match unsafe { libc::fork() } {
        0 => {
            let _guard = EndHere;
            // Kept to the end.
            std::mem::forget(lifeline);
            end_at_once(work())
        }
        pid if pid > 0 => match lifeline {
            None => watch_forked(pid),
            Some((reader, _)) => Ok(Made { pid, pidfd: reader.into() }),
        },
        _ => Err(io::Error::last_os_error()),
    }
}

/// The pidfd of a child that nobody has reaped, so that its number is its own.
fn watch_forked(pid: i32) -> io::Result<Made> {
    let error = match open_pidfd(pid) {
        Ok(pidfd) => return Ok(Made { pid, pidfd }),
        Err(error) => error,
    };
    // SAFETY: a child of ours that is not reaped; no status is asked for.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, ptr::null_mut(), 0);
    }
    Err(error)
}

fn end_at_once(status: i32) -> ! {
    // SAFETY: ends the process without running anything of it.
    unsafe { libc::_exit(status) }
}

/// In a copy of this process: closes every descriptor above 2 but one. Whoever owns
/// them there must not be used any more, nor dropped; [`fork_to_run`] sees to the latter.
pub(crate) fn keep_only(descriptor: &impl AsRawFd) {
    let kept = descriptor.as_raw_fd();
    let close = |first: RawFd, last: u32| {
        // SAFETY: closes numbers whose owners in this copy are never used again (above).
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
    };
    let below = kept <= 3 || close(3, kept.unsigned_abs().saturating_sub(1));
    if below && close(kept.saturating_add(1), u32::MAX) {
        return;
    }
    // Before Linux 5.9: one by one.
    for number in open_descriptors().into_iter().filter(|&number| number > 2 && number != kept) {
        // SAFETY: as above; a number that is not open is an error and no harm.
        unsafe { libc::close(number) };
    }
}

/// In a copy of this process: lets the server go first where both want a processor.
pub(crate) fn give_way() {
    const LESS: c_int = 5;
    // SAFETY: plain numbers; a refusal is no harm.
    unsafe { libc::nice(LESS) };
}

/// The descriptors above 2 that this process was started with and that nobody has taken
/// over: what it opens itself is close-on-exec from birth, and what is not has come through
/// an exec. To be asked before [`close_inherited_on_exec`].
#[must_use]
pub(crate) fn inherited() -> Vec<RawFd> {
    // SAFETY: a question; of a number that is not open any more the answer is an error.
    let flags = |number: RawFd| unsafe { libc::fcntl(number, libc::F_GETFD) };
    let has_come = |number: &RawFd| *number > 2 && flags(*number) == 0;
    open_descriptors().into_iter().filter(has_come).collect()
}

/// How far descriptors are looked for where there is no /proc.
const MOST_NUMBERS: RawFd = 65_536;

/// The numbers of this process's descriptors.
fn open_descriptors() -> Vec<RawFd> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        // Asked one by one, as far as anybody has any.
        return (0..MOST_NUMBERS).filter(|number| is_open(*number)).collect();
    };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn set_option<T>(descriptor: &impl AsRawFd, name: c_int, value: &T) -> io::Result<()> {
    set_option_of(libc::SOL_SOCKET, descriptor, name, value)
}

fn set_option_of<T>(
    level: c_int,
    descriptor: &impl AsRawFd,
    name: c_int,
    value: &T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the value is read, as long as it is.
    let result = unsafe {
        libc::setsockopt(descriptor.as_raw_fd(), level, name, ptr::from_ref(value).cast(), length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether the sizes of a socket's buffers for sending and for receiving have been said;
/// otherwise the kernel sees to them.
///
/// # Errors
/// getsockopt(2)'s: before Linux 5.14 nobody is told.
pub(crate) fn said_sizes(socket: &impl AsRawFd) -> io::Result<(bool, bool)> {
    let mut said: c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of::<c_int>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes one number, for which there is room.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_BUF_LOCK,
            (&raw mut said).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((said & SAID_FOR_SENDING != 0, said & SAID_FOR_RECEIVING != 0))
}

/// Lets the sizes of a socket's buffers for sending and for receiving stay as they have been
/// said, or the kernel see to them again.
///
/// # Errors
/// setsockopt(2)'s: before Linux 5.14 they stay.
pub(crate) fn keep_sizes(
    socket: &impl AsRawFd,
    (sending, receiving): (bool, bool),
) -> io::Result<()> {
    let sending = if sending { SAID_FOR_SENDING } else { 0 };
    let receiving = if receiving { SAID_FOR_RECEIVING } else { 0 };
    set_option(socket, SO_BUF_LOCK, &(sending | receiving))
}

/// `SO_BUF_LOCK` and its bits, which not every libc knows.
const SO_BUF_LOCK: c_int =
    if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) { 0x51 } else { 72 };
const SAID_FOR_SENDING: c_int = 1;
const SAID_FOR_RECEIVING: c_int = 2;

/// Where the next peek at a socket's queue begins; each moves it on. -1: at its head again.
///
/// # Errors
/// setsockopt(2)'s.
pub(crate) fn set_peek_offset(socket: &impl AsRawFd, offset: c_int) -> io::Result<()> {
    set_option(socket, libc::SO_PEEK_OFF, &offset)
}

/// From which of our addresses, and through which interface, a socket bound to all sends to
/// multicast groups (IP_MULTICAST_IF). 0: the address's own interface; 0.0.0.0: the system
/// chooses.
///
/// # Errors
/// setsockopt(2)'s: EADDRNOTAVAIL if no interface has the address.
pub(crate) fn set_multicast_source(
    socket: &impl AsRawFd,
    ip: Ipv4Addr,
    interface: c_int,
) -> io::Result<()> {
    let address = |ip: Ipv4Addr| libc::in_addr { s_addr: u32::from(ip).to_be() };
    let said = libc::ip_mreqn {
        imr_multiaddr: address(Ipv4Addr::UNSPECIFIED),
        imr_address: address(ip),
        imr_ifindex: interface,
    };
    set_option_of(libc::IPPROTO_IP, socket, libc::IP_MULTICAST_IF, &said)
}

/// Where in a file: wherever it is, in two halves, as the raw calls want it. On 64-bit
/// machines the first is the whole.
const HERE: [c_long; 2] = [-1, -1];

/// Writes without waiting, whatever flags the descriptor has (RWF_NOWAIT). The raw call:
/// musl has it as of 1.2.5 only.
///
/// # Errors
/// pwritev2(2)'s: EAGAIN when it would wait, EOPNOTSUPP when it cannot promise not to.
pub(crate) fn write_now(descriptor: &impl AsRawFd, bytes: &[u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let (number, [low, high]) = (descriptor.as_raw_fd(), HERE);
    // SAFETY: the one part is a live slice, which the kernel reads and does not write.
    let written = unsafe {
        libc::syscall(
            libc::SYS_pwritev2,
            number,
            &raw const part,
            1usize,
            low,
            high,
            libc::RWF_NOWAIT,
        )
    };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

/// Reads what there is without waiting for more, whatever flags the descriptor has. The raw
/// call, as in [`write_now`].
///
/// # Errors
/// preadv2(2)'s: EAGAIN when it would wait, EOPNOTSUPP when it cannot promise not to.
pub(crate) fn read_now(descriptor: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let (number, [low, high]) = (descriptor.as_raw_fd(), HERE);
    // SAFETY: the one part is a live slice that nobody else has, and the kernel writes no
    // more than its length into it.
    let read = unsafe {
        libc::syscall(
            libc::SYS_preadv2,
            number,
            &raw const part,
            1usize,
            low,
            high,
            libc::RWF_NOWAIT,
        )
    };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Whether a file has an extended attribute of this name, and it is `1`.
#[must_use]
pub(crate) fn is_marked(path: &Path, name: &CStr) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    let mut value = [0u8; 2];
    // SAFETY: two C strings, and as much room as the kernel is told.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    length == 1 && value.starts_with(b"1")
}

/// Receives a datagram; how long it is, or what of it fits, and who sent it.
///
/// # Errors
/// recvfrom(2)'s.
pub(crate) fn receive_from(
    socket: &impl AsRawFd,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> io::Result<(usize, Option<SockaddrStorage>)> {
    let whole = libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>());
    let mut length = whole.map_err(io::Error::other)?;
    // SAFETY: all zero is a value of this struct of numbers; the kernel writes no more than
    // the lengths given, into memory that nobody else has.
    let (received, sender) = unsafe {
        let mut sender = std::mem::zeroed::<libc::sockaddr_storage>();
        let received = libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            flags.bits(),
            (&raw mut sender).cast(),
            &raw mut length,
        );
        (received, sender)
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the address that the kernel has written, of the length it says.
    let sender = unsafe { SockaddrStorage::from_raw((&raw const sender).cast(), Some(length)) };
    Ok((received, sender))
}

/// Receives a datagram of a unix socket without waiting; how long it is, or what of it fits,
/// who sent it, and as whom, if the socket has the option for that (SO_PASSCRED). Descriptors
/// that come with it find no room and are closed by the kernel.
///
/// # Errors
/// recvmsg(2)'s.
pub(crate) fn receive_with_credentials(
    socket: &impl AsRawFd,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<SockaddrStorage>, Option<libc::ucred>)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // Words, so that it is aligned: a header and three numbers.
    let mut room = [0_u64; 4];
    let whole = libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>());
    let whole = whole.map_err(io::Error::other)?;
    // SAFETY: all zero is a value of both structs; the kernel writes no more than the lengths
    // given, into memory that nobody else has.
    let (received, message, sender) = unsafe {
        let mut sender = std::mem::zeroed::<libc::sockaddr_storage>();
        let mut message = std::mem::zeroed::<libc::msghdr>();
        message.msg_name = (&raw mut sender).cast();
        message.msg_namelen = whole;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = room.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&room) as _;
        let received = libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT);
        (received, message, sender)
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the address that the kernel has written, of the length it says; a record in
    // `room`, which is as long as the kernel says.
    let (sender, credentials) = unsafe {
        let length = Some(message.msg_namelen);
        (SockaddrStorage::from_raw((&raw const sender).cast(), length), credentials_in(&message))
    };
    Ok((received, sender, credentials))
}

/// Waits for a message with one descriptor and takes both; how long the message is, 0 at the
/// end. The descriptor is close-on-exec from birth, and there is no room for a second one.
///
/// # Errors
/// recvmsg(2)'s.
pub(crate) fn receive_descriptor(
    socket: &impl AsRawFd,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // Words, so that it is aligned: a header and a number.
    let mut room = [0_u64; 3];
    let header = size_of::<libc::cmsghdr>();
    // SAFETY: all zero is a value of the struct; the kernel writes no more than the lengths
    // given, into memory that nobody else has.
    let (received, message) = unsafe {
        let mut message = std::mem::zeroed::<libc::msghdr>();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = room.as_mut_ptr().cast();
        message.msg_controllen = (header + size_of::<RawFd>()) as _;
        let flags = libc::MSG_CMSG_CLOEXEC;
        (libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags), message)
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: a record in `room`, as the kernel has filled it; a descriptor in it was made for
    // us by the kernel and has no other owner.
    let descriptor = unsafe {
        libc::CMSG_FIRSTHDR(&raw const message).as_ref().and_then(|record| {
            let is_one = record.cmsg_level == libc::SOL_SOCKET
                && record.cmsg_type == libc::SCM_RIGHTS
                && length_of(record) == header + size_of::<RawFd>();
            let number = || libc::CMSG_DATA(record).cast::<RawFd>().read_unaligned();
            is_one.then(|| OwnedFd::from_raw_fd(number()))
        })
    };
    Ok((received, descriptor))
}

/// The length of a record, whose type is each libc's own.
fn length_of(record: &libc::cmsghdr) -> usize {
    #[allow(clippy::useless_conversion, reason = "musl has a shorter one")]
    usize::try_from(record.cmsg_len).unwrap_or_default()
}

/// SCM_CREDENTIALS, if that is what comes first.
unsafe fn credentials_in(message: &libc::msghdr) -> Option<libc::ucred> {
    // SAFETY: the caller's message, as the kernel has filled it.
    unsafe {
        let record = libc::CMSG_FIRSTHDR(message).as_ref()?;
        let wanted = size_of::<libc::cmsghdr>() + size_of::<libc::ucred>();
        let is_it = record.cmsg_level == libc::SOL_SOCKET
            && record.cmsg_type == libc::SCM_CREDENTIALS
            && length_of(record) >= wanted;
        is_it.then(|| libc::CMSG_DATA(record).cast::<libc::ucred>().read_unaligned())
    }
}

/// Makes a connected datagram socket one without a peer, and without the port that
/// connecting gave it (connect(2) to AF_UNSPEC).
///
/// # Errors
/// connect(2)'s.
pub(crate) fn disconnect(socket: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: all zero is AF_UNSPEC; the kernel reads no more than the length given.
    let result = unsafe {
        let nobody = std::mem::zeroed::<libc::sockaddr>();
        let length =
            libc::socklen_t::try_from(size_of::<libc::sockaddr>()).map_err(io::Error::other)?;
        libc::connect(socket.as_raw_fd(), &raw const nobody, length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has the allocator put freed pieces together at once. It would put many aside and then,
/// at some free(3), all of them together: milliseconds after a reload of many services.
pub(crate) fn tidy_memory_always() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a parameter of the allocator.
    unsafe {
        libc::mallopt(libc::M_MXFAST, 0);
    }
}

/// Gives memory back to the system that a reload has used and freed.
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: looks at the allocator's own free lists.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets go of the pages of code and constants, this program's and its libraries': most of
/// those that starting has touched are never needed again, and what is needed is still in
/// the page cache.
pub(crate) fn release_code() {
    // SAFETY: the callback looks at what it is given while it is given it.
    unsafe { libc::dl_iterate_phdr(Some(release_segments), ptr::null_mut()) };
}

/// Called for each object that is loaded; zero goes on to the next.
unsafe extern "C" fn release_segments(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: valid during the call, and the name and the headers as long as the object is
    // mapped.
    let (base, name, headers) = unsafe {
        let object = &*object;
        let headers = std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into());
        let named = !object.dlpi_name.is_null();
        let name = if named { CStr::from_ptr(object.dlpi_name).to_bytes() } else { b"" };
        (object.dlpi_addr, name, headers)
    };
    // The program itself has no name; what the kernel has mapped (vdso(7)) is in no file.
    if !(name.is_empty() || name.starts_with(b"/")) {
        return 0;
    }
    // SAFETY: asks for a number.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let is_constant = |header: &&libc::Elf64_Phdr| {
        header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0
    };
    for header in headers.iter().filter(is_constant) {
        let start = base + header.p_vaddr / page * page;
        let length = base + header.p_vaddr + header.p_memsz - start;
        if let (Ok(start), Ok(length)) = (usize::try_from(start), usize::try_from(length)) {
            let start = ptr::with_exposed_provenance_mut::<c_void>(start);
            // SAFETY: a private mapping of a file that nothing may write to, so each
            // page comes back as it was. Not so for what is writable, relocations included.
            unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
        }
    }
    0
}
