//! What of our memory one child uses until exec, and the ways to start it there.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::birth::{Birth, ChildJob, DescriptorMessage};
use super::call::SHARING;
use super::fork::fork;
use super::run::run_child;
use super::stack::Stack;
use crate::spawn::channel::Channel;
use crate::spawn::environment::Environment;
use crate::spawn::error::SpawnError;
use crate::spawn::numbers::Numbers;
use crate::spawn::prepared::Prepared;

/// What one child uses of our memory until exec: its stack, its job and its environment. What
/// may be done with it is a matter of its state, which goes `Idle` to `Armed` to `Running`, or
/// at once to `Running`, and to `Idle` again.
///
/// The memory is never freed: there is little, and the last children may outlive the server's
/// loop.
pub(crate) struct ChildSlot<State = Idle> {
    shared: &'static Shared,
    state: State,
}

/// No child uses it.
pub(crate) struct Idle(());

/// A spare waits in it to be sent its descriptors, and looks at nothing else before.
pub(crate) struct Armed {
    pid: i32,
    channel: Channel,
}

/// A child is on its way to exec, or was when it was looked at last.
pub(crate) struct Running {
    pid: i32,
    /// Through which it gets its descriptors, if it has begun with our table.
    channel: Option<Channel>,
    /// What it is to become; none for a spare that was let go.
    prepared: Option<Rc<Prepared>>,
}

/// A state in which the work is ours to write.
///
/// # Safety
/// No child looks at it in this state.
pub(crate) unsafe trait Ours {}

// SAFETY: there is no child.
unsafe impl Ours for Idle {}

// SAFETY: a spare looks at it when it has its descriptors, which it has not been sent.
unsafe impl Ours for Armed {}

struct Shared {
    stack: Stack,
    /// 1 from clone until the kernel clears it at exec or exit (CLONE_CHILD_CLEARTID).
    busy: AtomicU32,
    /// 1 once the child has its descriptors.
    taken: AtomicU32,
    /// The child's from clone until `busy` is cleared, ours while the slot is idle.
    birth: UnsafeCell<Birth>,
    /// The same, but still ours while a spare waits.
    work: UnsafeCell<Work>,
}

struct Work {
    job: ChildJob,
    /// Kept alive for the child, whatever a reload does meanwhile.
    prepared: Option<Rc<Prepared>>,
    environment: Environment,
}

/// A slot and the channel that its child had, for the next one.
pub(crate) struct Settled {
    /// No child uses it.
    pub slot: ChildSlot,
    /// Nothing is left in it.
    pub channel: Option<Channel>,
}

/// A child could not be made.
pub(crate) struct NotMade {
    /// What the system answered.
    pub error: io::Error,
    /// What it would have used.
    pub settled: Settled,
}

impl<State> ChildSlot<State> {
    /// Sends what the job names, which is not written any more until it has been taken.
    fn send(&self, numbers: Numbers, channel: &Channel) -> io::Result<DescriptorMessage> {
        let taken = &self.shared.taken;
        let (all, sent) = numbers.sent();
        // A spare looks at its job when it sees this, and not before it is sent something.
        taken.store(0, Ordering::Release);
        if let Err(error) = channel.send(all.get(..sent).unwrap_or_default()) {
            taken.store(1, Ordering::Relaxed);
            return Err(error);
        }
        Ok(DescriptorMessage { channel: channel.theirs(), taken, waits: false })
    }

    /// Whether a child may still be using it.
    pub(crate) fn is_busy(&self) -> bool {
        self.shared.busy.load(Ordering::Acquire) != 0
    }
}

impl<State: Ours> ChildSlot<State> {
    fn work(&mut self) -> &mut Work {
        // SAFETY: no child looks at it in this state, and `&mut self` is the only handle.
        unsafe { &mut *self.shared.work.get() }
    }

    /// The environment to fill for the next program; empty.
    pub(crate) fn environment(&mut self) -> &mut Environment {
        let environment = &mut self.work().environment;
        environment.clear();
        environment
    }

    fn fill(&mut self, prepared: &Rc<Prepared>, numbers: Numbers) {
        let work = self.work();
        work.environment.seal(&prepared.environment, &prepared.late_environment);
        work.job = ChildJob {
            steps: &raw const prepared.steps,
            arguments: prepared.arguments.as_ptr(),
            environment: work.environment.array(),
            numbers,
            greeting: work.environment.greeting,
        };
        work.prepared = Some(Rc::clone(prepared));
    }
}

impl ChildSlot {
    /// A fresh one.
    ///
    /// # Errors
    /// When the system has no memory for a stack.
    pub(crate) fn new() -> io::Result<Self> {
        let numbers = Numbers { socket: -1, stderr: -1, failure: -1, ruleset: -1 };
        let (steps, arguments, environment) = (ptr::null(), ptr::null(), ptr::null());
        let job = ChildJob { steps, arguments, environment, numbers, greeting: b"" };
        let work = Work { job, prepared: None, environment: Environment::default() };
        let birth = Birth { job: ptr::null(), failure: -1, sharing: false, parcel: None };
        let shared = Box::leak(Box::new(Shared {
            stack: Stack::new()?,
            busy: AtomicU32::new(0),
            taken: AtomicU32::new(1),
            birth: UnsafeCell::new(birth),
            work: UnsafeCell::new(work),
        }));
        Ok(Self { shared, state: Idle(()) })
    }

    /// Gives the pages of the stack and of the environment back to the system, and lets go
    /// of the program that was started last.
    pub(crate) fn release_memory(&mut self) {
        let work = self.work();
        (work.prepared, work.environment) = (None, Environment::default());
        // SAFETY: no child uses it.
        unsafe { self.shared.stack.release() };
    }

    /// Writes down how the next child begins; what it is given.
    fn init(
        &mut self,
        failure: RawFd,
        sharing: bool,
        parcel: Option<DescriptorMessage>,
    ) -> *mut c_void {
        let job = &raw const self.work().job;
        let birth = self.shared.birth.get();
        // SAFETY: no child reads it, and `&mut self` is the only handle.
        unsafe { *birth = Birth { job, failure, sharing, parcel } };
        birth.cast()
    }

    /// Makes a child that shares our memory until it execs. The descriptors may be closed
    /// at once; the slot must be kept until it has settled. With a channel, the child begins
    /// with our table of descriptors.
    ///
    /// # Errors
    /// clone(2)'s.
    pub(crate) fn start_sharing(
        mut self,
        prepared: &Rc<Prepared>,
        numbers: Numbers,
        channel: Option<Channel>,
    ) -> Result<ChildSlot<Running>, NotMade> {
        self.fill(prepared, numbers);
        // To whom nothing can be sent a copy is given: slower, and nothing else.
        let parcel = channel.as_ref().and_then(|channel| self.send(numbers, channel).ok());
        match self.start(numbers.failure, parcel) {
            Ok((shared, pid)) => {
                let prepared = Some(Rc::clone(prepared));
                Ok(ChildSlot { shared, state: Running { pid, channel, prepared } })
            }
            Err((error, slot)) => Err(NotMade { error, settled: slot.with(channel) }),
        }
    }

    /// Makes a spare: a child that shares our memory, too, and waits to be sent off through
    /// the channel.
    ///
    /// # Errors
    /// clone(2)'s.
    pub(crate) fn arm(self, failure: RawFd, channel: Channel) -> Result<ChildSlot<Armed>, NotMade> {
        let parcel = DescriptorMessage {
            channel: channel.theirs(),
            taken: &raw const self.shared.taken,
            waits: true,
        };
        match self.start(failure, Some(parcel)) {
            Ok((shared, pid)) => Ok(ChildSlot { shared, state: Armed { pid, channel } }),
            Err((error, slot)) => Err(NotMade { error, settled: slot.with(Some(channel)) }),
        }
    }

    /// The memory, which is the child's from here on, and who that is.
    fn start(
        mut self,
        failure: RawFd,
        parcel: Option<DescriptorMessage>,
    ) -> Result<(&'static Shared, i32), (io::Error, Self)> {
        if !SHARING {
            return Err((io::ErrorKind::Unsupported.into(), self));
        }
        let birth = self.init(failure, true, parcel);
        self.shared.busy.store(1, Ordering::Release);
        let files = if parcel.is_some() { libc::CLONE_FILES } else { 0 };
        let flags = libc::CLONE_VM | files | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
        // SAFETY: the stack is mapped, ours, and used by no other child, since the slot was
        // idle. What the child reads lives for ever and is written by nobody while it may
        // look at it. The child's conduct is argued at the top of `child`.
        let pid = unsafe {
            libc::clone(
                run_child,
                self.shared.stack.top(),
                flags,
                birth,
                ptr::null_mut::<c_int>(),
                ptr::null_mut::<c_void>(),
                self.shared.busy.as_ptr(),
            )
        };
        if pid < 0 {
            let error = io::Error::last_os_error();
            self.shared.busy.store(0, Ordering::Release);
            return Err((error, self));
        }
        Ok((self.shared, pid))
    }

    /// With the channel of the child that was here, from which what it has not taken is
    /// removed, and closed.
    fn with(self, channel: Option<Channel>) -> Settled {
        let all_taken = self.shared.taken.swap(1, Ordering::Acquire) != 0;
        if let Some(channel) = channel.as_ref().filter(|_| !all_taken) {
            channel.clear();
        }
        Settled { slot: self, channel }
    }

    /// Makes a child by plain fork. Descriptors may be closed at once.
    ///
    /// # Errors
    /// fork(2)'s.
    pub(crate) fn start_forking(
        &mut self,
        prepared: &Rc<Prepared>,
        numbers: Numbers,
    ) -> Result<i32, SpawnError> {
        self.fill(prepared, numbers);
        let birth = self.init(numbers.failure, false, None);
        let group = prepared.confinement.group.as_ref().map(|group| group.descriptor().as_raw_fd());
        // SAFETY: the child makes system calls with what it has a copy of, and never returns.
        let made = unsafe { fork(group, run_child, birth) };
        // The child has a copy. Kept here, it would keep a service's group in being.
        self.work().prepared = None;
        made
    }
}

impl ChildSlot<Armed> {
    /// The spare.
    pub(crate) fn pid(&self) -> i32 {
        self.state.pid
    }

    /// Sends a spare off to become its program, as [`ChildSlot::start_sharing`] does it with
    /// a new child. If it cannot be sent anything, or is there no more, it stays as it is.
    pub(crate) fn send_off(
        mut self,
        prepared: &Rc<Prepared>,
        numbers: Numbers,
    ) -> Result<ChildSlot<Running>, Self> {
        if !self.is_busy() {
            return Err(self);
        }
        self.fill(prepared, numbers);
        if self.send(numbers, &self.state.channel).is_err() {
            return Err(self);
        }
        Ok(self.goes_on(Some(Rc::clone(prepared))))
    }

    /// It is not going to be sent anything, and to be ended.
    pub(crate) fn let_go(self) -> ChildSlot<Running> {
        self.goes_on(None)
    }

    fn goes_on(self, prepared: Option<Rc<Prepared>>) -> ChildSlot<Running> {
        let Armed { pid, channel } = self.state;
        let state = Running { pid, channel: Some(channel), prepared };
        ChildSlot { shared: self.shared, state }
    }
}

impl ChildSlot<Running> {
    /// The child.
    pub(crate) fn pid(&self) -> i32 {
        self.state.pid
    }

    /// What the child is to become; none for a spare that was let go.
    pub(crate) fn prepared(&self) -> Option<&Rc<Prepared>> {
        self.state.prepared.as_ref()
    }

    /// Idle again, if the child has exec'd or is gone.
    pub(crate) fn settle(self) -> Result<Settled, Self> {
        if self.is_busy() {
            return Err(self);
        }
        let Self { shared, state: Running { channel, .. } } = self;
        Ok(ChildSlot { shared, state: Idle(()) }.with(channel))
    }

    /// Frees the slot if its child is gone, once it has been reaped: the kernel does not
    /// clear the word of a process that dies dumping core.
    pub(crate) fn release_if_gone(&self) {
        // SAFETY: signal 0 asks whether the process exists and sends nothing.
        let is_there = unsafe { libc::kill(self.state.pid, 0) } >= 0;
        if !is_there && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH) {
            self.shared.busy.store(0, Ordering::Release);
        }
    }
}
