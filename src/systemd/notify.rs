//! Telling the service manager how we are: sd_notify(3). Nothing that it does or
//! fails to do may hold us up, so what its socket has no room for waits here.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::log::events;
use crate::sys::descriptor;

/// Messages that wait for room; the oldest gives way.
const WAITING: usize = 8;

/// What people are shown of us (`systemctl status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotifyStatus {
    /// Services that are served.
    pub services: usize,
    /// Others, whose sockets are closed.
    pub silent: usize,
    /// Programs that run.
    pub programs: usize,
    /// Errors in the configuration, if it has just been refused; 0 for another reason.
    pub refused: Option<usize>,
}

impl fmt::Display for NotifyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (services, programs) = (plural(self.services), plural(self.programs));
        write!(f, "Serving {} service{services}, ", self.services)?;
        if self.silent > 0 {
            write!(f, "{} not listening, ", self.silent)?;
        }
        write!(f, "{} program{programs} running", self.programs)?;
        match self.refused {
            Some(0) => f.write_str("; reload refused"),
            Some(errors) => write!(f, "; reload refused, {errors} error{}", plural(errors)),
            None => Ok(()),
        }
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// The way to the service manager; without one, whatever is said is said to nobody.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// What there was no room for, in order.
    unsent: VecDeque<String>,
    /// It has been said that it does not listen.
    failing: bool,
}

impl Notifier {
    /// To the address that `NOTIFY_SOCKET` gives: a path, or `@` and an abstract name.
    ///
    /// # Errors
    /// For other addresses; when the system refuses a socket.
    pub(crate) fn new(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(Path::new(address))?,
            _ => {
                let message = "the address is neither an absolute path nor @name";
                return Err(io::Error::new(ErrorKind::InvalidInput, message));
            }
        };
        let socket = UnixDatagram::unbound()?;
        let socket = UnixDatagram::from(descriptor::raise(OwnedFd::from(socket)));
        socket.set_nonblocking(true)?;
        Ok(Self { to: Some((socket, address)), ..Self::default() })
    }

    /// Whether there is somebody to tell.
    pub(crate) fn has_address(&self) -> bool {
        self.to.is_some()
    }

    /// Every socket is bound; `pid` is who serves. It is a sign of life, too: the last one of the
    /// program before an upgrade may be as old as the time to the next one is long.
    pub(crate) fn ready(&mut self, pid: u32, status: NotifyStatus) {
        self.say(format!("READY=1\nWATCHDOG=1\nSTATUS={status}\nMAINPID={pid}"));
    }

    /// A new configuration is being read.
    pub(crate) fn reloading(&mut self) {
        self.say(format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic().as_micros()));
    }

    /// It has been read, whatever came of it.
    pub(crate) fn reloaded(&mut self, status: NotifyStatus) {
        self.say(format!("READY=1\nSTATUS={status}"));
    }

    /// A sign of life.
    pub(crate) fn alive(&mut self, status: NotifyStatus) {
        self.say(format!("WATCHDOG=1\nSTATUS={status}"));
    }

    /// The end has begun.
    pub(crate) fn stopping(&mut self) {
        self.say("STOPPING=1\nSTATUS=Stopping".to_owned());
    }

    fn say(&mut self, message: String) {
        if self.to.is_none() {
            return;
        }
        if self.unsent.len() >= WAITING {
            self.unsent.pop_front();
        }
        self.unsent.push_back(message);
        self.flush();
    }

    /// Sends what there is room for.
    pub(crate) fn flush(&mut self) {
        let Some((socket, address)) = &self.to else { return };
        while let Some(message) = self.unsent.front() {
            // Each time by its address: a manager that was restarted has a new socket there.
            match socket.send_to_addr(message.as_bytes(), address) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if !self.failing => {
                    events::trouble("service manager", "sendto", &error);
                    self.failing = true;
                }
                Err(_) => {}
                Ok(_) => self.failing = false,
            }
            self.unsent.pop_front();
        }
    }

    /// Whether something waits for room.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }
}

/// The clock by which the manager tells an old message from a new one.
fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(services: usize, programs: usize, refused: Option<usize>) -> String {
        NotifyStatus { services, silent: 0, programs, refused }.to_string()
    }

    fn next(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn the_status_is_a_sentence() {
        assert_eq!(text(12, 3, None), "Serving 12 services, 3 programs running");
        assert_eq!(text(1, 1, None), "Serving 1 service, 1 program running");
        let refused = "Serving 0 services, 0 programs running; reload refused, 1 error";
        assert_eq!(text(0, 0, Some(1)), refused);
        assert!(text(0, 0, Some(0)).ends_with("; reload refused"));
    }

    #[test]
    fn an_address_is_a_path_or_an_abstract_name() {
        for wrong in ["", "relative", "vsock:2:1", "/with\0nul"] {
            assert!(Notifier::new(OsStr::new(wrong)).is_err(), "{wrong:?}");
        }
        for right in ["/run/systemd/notify", "@name"] {
            assert!(Notifier::new(OsStr::new(right)).unwrap().has_address(), "{right}");
        }
    }

    #[test]
    fn what_finds_no_room_is_sent_later_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut notifier = Notifier::new(path.as_os_str()).unwrap();
        let status = NotifyStatus { services: 1, silent: 0, programs: 0, refused: None };
        while !notifier.has_unsent() {
            notifier.alive(status);
        }
        notifier.stopping();
        manager.set_nonblocking(true).unwrap();
        while manager.recv(&mut [0; 512]).is_ok() {}
        notifier.flush();
        assert!(!notifier.has_unsent());
        assert!(next(&manager).starts_with("WATCHDOG=1\n"));
        assert!(next(&manager).starts_with("STOPPING=1\n"));
    }

    #[test]
    fn nobody_who_listens_is_no_harm_and_nothing_piles_up() {
        let mut notifier = Notifier::new(OsStr::new("/nonexistent/notify")).unwrap();
        notifier.reloading();
        assert!(!notifier.has_unsent());
        let mut notifier = Notifier::default();
        notifier.reloading();
        assert!(!notifier.has_unsent());
    }
}
