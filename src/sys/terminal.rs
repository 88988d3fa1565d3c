//! Pseudoterminals (pty(7)).

#![allow(unsafe_code, reason = "raw system calls")]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::ptr;

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Gid, Uid, fchown};

use crate::sys::descriptor::of;

/// A new terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// What is typed is written here, and what is shown is read. It does not wait.
    pub master: OwnedFd,
    /// For the program.
    pub slave: OwnedFd,
}

impl Terminal {
    /// Opens one. No path leads to the slave: it is asked for by the master.
    ///
    /// # Errors
    /// open(2)'s of `/dev/ptmx`, ioctl(2)'s.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = open("/dev/ptmx", flags | OFlag::O_NONBLOCK, Mode::empty())
            .map_err(of("/dev/ptmx, for a terminal"))?;
        let unlocked: libc::c_int = 0;
        // SAFETY: one number, which the kernel reads.
        let result =
            unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) };
        check(result)?;
        // SAFETY: plain numbers.
        let slave = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags.bits()) };
        check(slave)?;
        // SAFETY: the kernel has just made it for us.
        let slave = unsafe { OwnedFd::from_raw_fd(slave) };
        expect_utf8(&slave)?;
        Ok(Self { master, slave })
    }

    /// Gives it to a user, who may read and write it; its group may write there (write(1)),
    /// if that is not our own but the one that the file system gives to terminals.
    ///
    /// # Errors
    /// fchown(2)'s, fchmod(2)'s.
    pub(crate) fn give_to(&self, uid: u32) -> io::Result<()> {
        let file = fstat(&self.slave)?;
        if file.st_uid != uid {
            fchown(&self.slave, Some(Uid::from_raw(uid)), None)?;
        }
        let group = if Gid::from_raw(file.st_gid) == Gid::effective() { 0 } else { 0o020 };
        fchmod(&self.slave, Mode::from_bits_truncate(0o600 | group))?;
        Ok(())
    }
}

/// Whether no more than a quarter of all that the machine may have are left: those are for who
/// has to log in, and for everybody else.
pub(crate) fn are_scarce() -> bool {
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/sys/kernel/pty/{name}")).ok()?;
        text.trim_end().parse().ok()
    };
    let (most, open) = (number("max"), number("nr"));
    most.zip(open).is_some_and(|(most, open)| leaves_too_few(most, open))
}

fn leaves_too_few(most: u64, open: u64) -> bool {
    open >= most.saturating_sub(most / 4)
}

/// Says how large a terminal is, by its master; if that is something new, the processes in its
/// foreground are told (SIGWINCH).
///
/// # Errors
/// ioctl(2)'s.
pub(crate) fn set_size(master: &impl AsRawFd, (columns, rows): (u16, u16)) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: one struct of numbers, which the kernel reads.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })
}

/// How large a terminal is: its columns and rows; None if it does not say so or is none.
pub(crate) fn size(terminal: &impl AsRawFd) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: one struct of numbers, which is ours and which the kernel fills.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Erasing takes away a whole character and not the last of its bytes.
fn expect_utf8(slave: &OwnedFd) -> io::Result<()> {
    // SAFETY: all zero is a value of this struct of numbers, which is ours and which the
    // kernel fills and reads.
    unsafe {
        let mut modes = std::mem::zeroed::<libc::termios>();
        check(libc::tcgetattr(slave.as_raw_fd(), &raw mut modes))?;
        modes.c_iflag |= libc::IUTF8;
        check(libc::tcsetattr(slave.as_raw_fd(), libc::TCSANOW, ptr::from_ref(&modes)))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn a_quarter_is_left_to_others() {
        assert!(!leaves_too_few(4096, 3071));
        assert!(leaves_too_few(4096, 3072));
        assert!(leaves_too_few(0, 0));
    }

    #[test]
    fn what_is_written_on_one_side_is_read_on_the_other() {
        let terminal = Terminal::open().unwrap();
        terminal.give_to(Uid::effective().as_raw()).unwrap();
        let mode = fstat(&terminal.slave).unwrap().st_mode & 0o777;
        assert!([0o600, 0o620].contains(&mode), "{mode:o}");
        assert_eq!(size(&terminal.slave), None);
        set_size(&terminal.master, (132, 50)).unwrap();
        assert_eq!(size(&terminal.slave), Some((132, 50)));
        assert_eq!(size(&File::open("/dev/null").unwrap()), None);
        let mut master = File::from(terminal.master);
        File::from(terminal.slave).write_all(b"hello\n").unwrap();
        let mut shown = [0; 16];
        let length = master.read(&mut shown).unwrap();
        assert_eq!(&shown[..length], b"hello\r\n");
        assert!(master.read(&mut shown).is_err(), "nobody has the other side any more");
    }
}
