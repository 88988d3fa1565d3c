//! The children of this process, by number, as /proc has them: programs, those who help, and
//! whoever has lost its parent.

use std::collections::HashSet;
use std::io::{self, ErrorKind, Read as _};

use crate::sys::proc::{is_ours, numbers_of};

/// Of the process that asks, by number, the ended ones among them.
const CHILDREN: &str = "/proc/thread-self/children";

/// Our children by number. A `/proc` of other numbers than ours does not help.
pub(super) fn own_children() -> io::Result<HashSet<i32>> {
    if !is_ours() {
        return Err(ErrorKind::NotFound.into());
    }
    Ok(numbers_of(&std::fs::read_to_string(CHILDREN)?).collect())
}

/// The same, if there are no more than so many. Reading them all would take long.
pub(super) fn own_children_up_to(most: usize) -> Option<Vec<i32>> {
    // As many digits as a number may have, and a blank.
    let length = most.saturating_mul(8);
    let mut text = String::new();
    let file = std::fs::File::open(CHILDREN).ok().filter(|_| is_ours())?;
    let mut file = file.take(u64::try_from(length).ok()?.saturating_add(1));
    let read = file.read_to_string(&mut text).ok()?;
    (read <= length).then(|| numbers_of(&text).collect())
}
