//! The parcel: the state in memory that outlives exec(2), and what the variable says of it to
//! the new program. Nothing is taken out before everything that may fail has
//! gone well: until then the way back is open.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Deserialize;

use super::executable::{self, stay_open};
use super::refusal::UpgradeRefusal;
use super::state::{FORMAT, State};
use super::variable::VARIABLE;
use crate::sys::descriptor::{self, LOWEST};
use crate::sys::{fd, handed, inherited};

/// Bytes of a state that are read: more than a server with all its programs can have.
const MOST: u64 = 1 << 30;

/// Writes a state into memory, to be read from the beginning.
///
/// # Errors
/// The system's.
pub fn pack(state: &State) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"oxinetd", MFdFlags::MFD_CLOEXEC)?);
    let mut writer = BufWriter::new(&file);
    serde_json::to_writer(&mut writer, state)?;
    writer.flush()?;
    drop(writer);
    file.rewind()?;
    Ok(descriptor::raise(file.into()))
}

/// Reads a state.
///
/// # Errors
/// What is wrong with it.
pub fn unpack(file: impl io::Read) -> Result<State, UpgradeRefusal> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let mut bytes = Vec::new();
    let length = file.take(MOST).read_to_end(&mut bytes);
    length.map_err(UpgradeRefusal::Unread)?;
    let wrong = |error: serde_json::Error| UpgradeRefusal::Unread(error.into());
    let Head { format } = serde_json::from_slice(&bytes).map_err(wrong)?;
    if format != FORMAT {
        return Err(UpgradeRefusal::Format(format));
    }
    serde_json::from_slice(&bytes).map_err(wrong)
}

/// What the variable says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invitation {
    /// The parcel's number.
    pub parcel: RawFd,
    /// The program to go back to.
    pub image: RawFd,
    /// Set on the way back: why the other program could not go on.
    pub refused: Option<String>,
}

impl Invitation {
    /// Looks whether there is something to take over. A variable that some other process
    /// was meant to have is no invitation.
    pub(crate) fn find() -> Option<Self> {
        Self::read(&std::env::var_os(VARIABLE)?, std::process::id())
    }

    fn read(value: &OsStr, own: u32) -> Option<Self> {
        let mut words = value.to_str()?.splitn(4, ' ');
        let parcel = words.next()?.parse().ok()?;
        let image = words.next()?.parse().ok()?;
        let pid: u32 = words.next()?.parse().ok()?;
        let refused = words.next().map(str::to_owned);
        (pid == own).then_some(Self { parcel, image, refused })
    }

    /// The value of the variable.
    pub(crate) fn value(&self) -> OsString {
        let Self { parcel, image, refused } = self;
        let pid = std::process::id();
        let reason = refused.as_ref().map(|reason| format!(" {}", reason.replace('\0', "")));
        format!("{parcel} {image} {pid}{}", reason.unwrap_or_default()).into()
    }

    /// Reads the parcel, and leaves it where it is.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn open(&self) -> Result<Snapshot, UpgradeRefusal> {
        // A view of its own, from the beginning.
        let path = format!("/proc/self/fd/{}", self.parcel);
        let file = File::open(&path).or_else(|_| self.rewound());
        let file = file.map_err(|error| UpgradeRefusal::Unopened(path, error))?;
        let state = unpack(file)?;
        let left: BTreeSet<RawFd> = state.descriptors.iter().copied().collect();
        for number in &left {
            if !inherited::is_left(*number) {
                return Err(UpgradeRefusal::NotOpen(*number));
            }
        }
        Ok(Snapshot { state, left, invitation: self.clone() })
    }

    /// The same without /proc, where whoever reads it begins again.
    fn rewound(&self) -> io::Result<File> {
        let mut file = File::from(fd::duplicate_from(&self.parcel, LOWEST)?);
        file.rewind()?;
        Ok(file)
    }

    /// Executes the program that we come from, which finds everything as it left it.
    /// Comes back only if that fails, with the reason.
    pub(crate) fn go_back(&self, arguments: &[OsString], why: &str) -> io::Error {
        if self.refused.is_some() {
            return io::Error::other("there is no other program to go back to");
        }
        let back = Self { refused: Some(why.to_owned()), ..self.clone() };
        executable::execute_open(self.image, arguments, &back.value())
    }
}

/// A state and the descriptors that belong to it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The state.
    pub state: State,
    /// Descriptors that nobody has taken.
    left: BTreeSet<RawFd>,
    invitation: Invitation,
}

impl Snapshot {
    /// Why the upgrade has failed, if this is the way back.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.invitation.refused.as_deref()
    }

    /// As [`Invitation::go_back`], as long as nothing has been taken.
    pub(crate) fn go_back(&self, why: &str) -> io::Error {
        let Invitation { parcel, image, .. } = self.invitation;
        for number in self.left.iter().chain([&parcel, &image]) {
            let _ = stay_open(*number, true);
        }
        self.invitation.go_back(&self.state.arguments, why)
    }

    /// The contents. From now on the descriptors may be taken, and there is no way back.
    #[must_use]
    pub(crate) fn open_up(self) -> State {
        for number in [self.invitation.parcel, self.invitation.image] {
            drop(inherited::take(number));
        }
        handed::offer(self.left);
        self.state
    }
}

/// The value for a parcel and a program that are open.
pub(crate) fn invite(parcel: &OwnedFd, image: &OwnedFd) -> OsString {
    let (parcel, image) = (parcel.as_raw_fd(), image.as_raw_fd());
    Invitation { parcel, image, refused: None }.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_read_as_it_was_written() {
        let own = std::process::id();
        for refused in [None, Some("no such file: \"x\"".to_owned()), Some(String::new())] {
            let invitation = Invitation { parcel: 70, image: 71, refused };
            assert_eq!(Invitation::read(&invitation.value(), own), Some(invitation));
        }
    }

    #[test]
    fn what_is_for_somebody_else_is_none() {
        for value in ["", "70", "70 71", "70 71 0", "a b c", "70 71 99999999 why"] {
            assert_eq!(Invitation::read(OsStr::new(value), 7), None, "{value}");
        }
    }

    #[test]
    fn another_format_is_refused() {
        let refusal = unpack(&b"{\"format\":2}"[..]).unwrap_err();
        assert_eq!(refusal.to_string(), "the state has format 2, and 1 is understood");
        for wrong in ["", "[]", "{\"format\":1}", "{\"format\":\"1\"}"] {
            assert!(unpack(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
