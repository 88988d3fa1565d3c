//! Descriptors in what one program writes for the next: their numbers, which exec(2) leaves as
//! they are. Whoever holds one derives serde's traits, with this module for it.
//!
//! What is written is noted. What is read is taken, once. Nothing is there to be taken in a
//! trial: then, and where it cannot be, a socket stands in whose other end is closed, and
//! whoever has it finds out as ever that nobody is there any more.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

use super::{descriptor, inherited};

thread_local! {
    static WRITTEN: RefCell<Vec<RawFd>> = const { RefCell::new(Vec::new()) };
    /// None: nobody hands anything over.
    static LEFT: RefCell<Option<BTreeSet<RawFd>>> = const { RefCell::new(None) };
}

/// Notes a descriptor that is written; its number.
pub(crate) fn number(owner: &impl AsRawFd) -> RawFd {
    let number = owner.as_raw_fd();
    WRITTEN.with_borrow_mut(|written| written.push(number));
    number
}

/// All that have been written since this was asked for the last time.
pub(crate) fn written() -> Vec<RawFd> {
    WRITTEN.take()
}

/// These may be taken from now on.
pub(crate) fn offer(left: BTreeSet<RawFd>) {
    LEFT.set(Some(left));
}

/// Takes one, close-on-exec, under a number of our own.
///
/// # Errors
/// When it is not there, or has been taken; the system's.
pub(crate) fn take(number: RawFd) -> io::Result<OwnedFd> {
    let is_left = LEFT.with_borrow_mut(|left| left.as_mut().is_some_and(|it| it.remove(&number)));
    if !is_left {
        return Err(io::Error::other(format!("descriptor {number} is not handed over")));
    }
    descriptor::take_over(number)
}

/// Closes those that nobody has taken.
pub(crate) fn close_rest() {
    for number in LEFT.take().unwrap_or_default() {
        log::debug!("not taken over: descriptor {number}");
        drop(inherited::take(number));
    }
}

/// As its number.
pub(crate) fn serialize<T: AsRawFd, S: Serializer>(owner: &T, to: S) -> Result<S::Ok, S::Error> {
    number(owner).serialize(to)
}

/// What has this number, or stands in for it.
pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: From<OwnedFd>,
    D: Deserializer<'de>,
{
    let number = RawFd::deserialize(from)?;
    let is_trial = LEFT.with_borrow(Option::is_none);
    let taken = take(number).or_else(|error| {
        if !is_trial {
            log::error!("handed over: {error}");
        }
        UnixStream::pair().map(|(end, _)| OwnedFd::from(end))
    });
    taken.map(T::from).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Owner {
        #[serde(rename = "descriptor", with = "crate::sys::handed")]
        file: File,
    }

    #[test]
    fn what_is_written_is_noted_and_what_is_not_there_is_at_its_end() {
        let owner = Owner { file: File::open("/proc/self/stat").unwrap() };
        let text = serde_json::to_string(&owner).unwrap();
        assert_eq!(text, format!("{{\"descriptor\":{}}}", owner.file.as_raw_fd()));
        assert_eq!((written(), written()), (vec![owner.file.as_raw_fd()], vec![]));
        let mut again: Owner = serde_json::from_str(&text).unwrap();
        assert_eq!(again.file.read(&mut [0]).unwrap(), 0);
        assert!(serde_json::from_str::<Owner>("{\"descriptor\":\"x\"}").is_err());
    }
}
