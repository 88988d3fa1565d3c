//! What of our memory one child uses until exec, and the ways to start it there.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use super::call::SHARING;
use super::fork::fork;
use super::stack::Stack;
use super::{Birth, ChildJob, DescriptorMessage, run_child};
use crate::spawn::channel::Channel;
use crate::spawn::environment::Environment;
use crate::spawn::numbers::Numbers;
use crate::spawn::prepared::Prepared;

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
        // while it may look at it. The child's conduct is argued at the top of `child`.
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
