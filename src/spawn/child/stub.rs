//! The child that becomes a stub, and the stub that becomes a program: the two moments of
//! [`crate::spawn::stub`] in which there is no way back.

use std::ffi::{c_char, c_int, c_void};
use std::io;
use std::os::fd::RawFd;
use std::ptr;

use super::birth::{Birth, ChildJob};
use super::call::{call, number};
use super::fork::fork;
use super::outcome::check;
use super::run::{FAILED, run_child, tell};
use crate::spawn::error::SpawnError;
use crate::spawn::numbers::Numbers;
use crate::spawn::prepared::Pointers;
use crate::spawn::stage::Stage;
use crate::spawn::steps::Steps;
use crate::sys::fd::set_close_on_exec;
use crate::sys::process::end_at_once;

/// What the copy of the server reads.
struct Next {
    image: RawFd,
    arguments: *const *const c_char,
    /// What it keeps through exec; -1 for none.
    kept: [RawFd; 5],
    failure: RawFd,
}

/// Starts a child that executes `image`, the server's own program, with these arguments and
/// without any environment, and keeps the descriptors of `numbers` and `job`; in a group of
/// processes, perhaps.
///
/// # Errors
/// fork(2)'s.
pub(in crate::spawn) fn start(
    image: RawFd,
    arguments: &Pointers,
    job: RawFd,
    numbers: &Numbers,
    group: Option<RawFd>,
) -> Result<i32, SpawnError> {
    let &Numbers { socket, stderr, failure, ruleset } = numbers;
    let kept = [socket, stderr, failure, ruleset, job];
    let mut next = Next { image, arguments: arguments.as_ptr(), kept, failure };
    // SAFETY: the child has a copy of `next` and of what it names, and never returns.
    unsafe { fork(group, execute_ourselves, (&raw mut next).cast()) }
}

/// In the copy, which is root until it is gone.
extern "C" fn execute_ourselves(next: *mut c_void) -> c_int {
    // SAFETY: `start` has passed it, of which this process has a copy.
    let next = unsafe { &*next.cast::<Next>() };
    let nothing: *const c_char = ptr::null();
    // SAFETY: plain numbers, and pointers into this copy.
    let failure = unsafe {
        let set = libc::F_SETFD as usize;
        let mut kept = next.kept.iter().filter(|kept| **kept >= 0);
        let keep =
            |kept: &RawFd| check(Stage::Stub, call(libc::SYS_fcntl, number(*kept), set, 0, 0, 0));
        kept.try_for_each(keep).err().unwrap_or_else(|| {
            let errno = call(
                libc::SYS_execveat,
                number(next.image),
                c"".as_ptr() as usize,
                next.arguments as usize,
                (&raw const nothing) as usize,
                libc::AT_EMPTY_PATH as usize,
            );
            (Stage::Stub, -errno)
        })
    };
    tell(next.failure, failure)
}

/// In the stub: takes the steps and becomes the program, or ends; comes back only if it
/// could not begin.
pub(in crate::spawn) fn do_steps(
    steps: &Steps,
    arguments: &Pointers,
    environment: &Pointers,
    numbers: Numbers,
    greeting: &[u8],
) -> io::Error {
    for given in [numbers.failure, numbers.ruleset].into_iter().filter(|given| *given >= 0) {
        if let Err(error) = set_close_on_exec(given, true) {
            return error;
        }
    }
    let (arguments, environment) = (arguments.as_ptr(), environment.as_ptr());
    let job = ChildJob { steps: ptr::from_ref(steps), arguments, environment, numbers, greeting };
    let birth =
        Birth { job: &raw const job, failure: numbers.failure, sharing: false, parcel: None };
    // It ends this process or becomes the program.
    run_child((&raw const birth).cast_mut().cast());
    end_at_once(FAILED)
}

/// In the stub: says why it could not begin, and ends.
pub(in crate::spawn) fn fail(failure: RawFd, stage: Stage, errno: i32) -> ! {
    tell(failure, (stage, isize::try_from(errno).unwrap_or_default()))
}
