//! Whether a step was taken: what a system call said, and whether it is so.

use crate::spawn::stage::Stage;

/// Nothing, or the step that failed and the number of the error.
pub(super) type StepResult = Result<(), (Stage, isize)>;

pub(super) fn check(stage: Stage, result: isize) -> StepResult {
    if result < 0 { Err((stage, -result)) } else { Ok(()) }
}

/// What was asked for is what is, or there is no exec.
pub(super) fn same(stage: Stage, is: usize, wanted: usize) -> StepResult {
    if is == wanted { Ok(()) } else { Err((stage, libc::EPERM as isize)) }
}
