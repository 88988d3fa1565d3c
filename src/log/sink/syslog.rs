//! The system's log: each line a datagram to the socket of the syslog daemon.
//!
//! The daemon may be absent, slow or started anew at any time. Lines wait in the sink
//! then; the socket is connected again when there is something to send, and not more
//! often than a few times a second.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::put::{Put, has_room};
use crate::sys::descriptor;

/// How long a daemon that is not there is left alone.
const PAUSE: Duration = Duration::from_millis(100);

/// The way to the daemon.
pub(super) struct Syslog {
    path: PathBuf,
    /// None while nobody is at the other end.
    socket: Option<UnixDatagram>,
    /// When nobody was found there.
    missed: Option<Instant>,
}

impl Syslog {
    /// To the daemon whose socket is at this path, now or later.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), socket: None, missed: None }
    }

    /// Where the daemon is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Sends the first of the lines.
    pub(super) fn put(&mut self, lines: &[u8]) -> Put {
        let line = lines.split(|byte| *byte == b'\n').next().unwrap_or(lines);
        let length = line.len().saturating_add(1);
        // A daemon that was started anew has another socket at the same path.
        for _ in 0..2 {
            let Some(socket) = self.socket() else { break };
            let Err(error) = socket.send(line) else { return Put::Taken(length) };
            match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM | Errno::EINTR) => break,
                Some(Errno::EMSGSIZE) => return Put::Lost(length),
                _ => self.socket = None,
            }
        }
        Put::Later
    }

    /// True when the daemon has room; false if there is none.
    pub(super) fn waits_for_room(&self, time: Duration) -> bool {
        self.socket.as_ref().is_some_and(|socket| has_room(socket.as_fd(), time))
    }

    fn socket(&mut self) -> Option<&UnixDatagram> {
        if self.socket.is_none() && self.missed.is_none_or(|when| when.elapsed() >= PAUSE) {
            self.socket = connect(&self.path).ok();
            self.missed = self.socket.is_none().then(Instant::now);
        }
        self.socket.as_ref()
    }
}

/// Connects to the daemon, if it is there.
pub(super) fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(UnixDatagram::from(descriptor::raise(OwnedFd::from(socket))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(daemon: &UnixDatagram) -> String {
        let mut bytes = [0; 100];
        let length = daemon.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn a_line_is_a_datagram_without_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::new(&path);
        assert_eq!(syslog.put(b"one\ntwo\n"), Put::Taken(4));
        assert_eq!(received(&daemon), "one");
    }

    #[test]
    fn nobody_there_is_later_and_a_new_daemon_is_found_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut syslog = Syslog::new(&path);
        assert_eq!((syslog.put(b"one\n"), syslog.put(b"one\n")), (Put::Later, Put::Later));
        assert!(syslog.missed.is_some());
        syslog.missed = None;
        let first = UnixDatagram::bind(&path).unwrap();
        assert_eq!(syslog.put(b"one\n"), Put::Taken(4));
        assert_eq!(received(&first), "one");
        drop(first);
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        assert_eq!(syslog.put(b"two\n"), Put::Taken(4));
        assert_eq!(received(&second), "two");
    }

    #[test]
    fn a_full_socket_is_later_and_too_long_a_line_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let _daemon = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::new(&path);
        let long = vec![b'x'; 64 << 20];
        assert_eq!(syslog.put(&long), Put::Lost(long.len() + 1));
        let full = (0..100_000).find(|_| syslog.put(b"line\n") == Put::Later);
        assert!(full.is_some() && syslog.socket.is_some());
    }
}
