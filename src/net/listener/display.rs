//! How a socket is told of: where it is, and why it could not be opened.

use std::borrow::Cow;
use std::fmt;
use std::io;

use crate::config::model::Endpoint;

/// From here on a port needs no privilege, unless the system says otherwise (ip(7)).
const FIRST_UNPRIVILEGED: u16 = 1024;

/// How an endpoint reads in the log, before it is bound.
pub(crate) struct ShownEndpoint<'a>(pub &'a Endpoint);

impl fmt::Display for ShownEndpoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Endpoint::Inet(address) => address.fmt(f),
            Endpoint::Unix(path) => path.display().fmt(f),
            Endpoint::Vsock(address) => address.fmt(f),
            Endpoint::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

/// The answer of the system with what usually lies behind it.
pub(crate) struct NotOpened<'a>(pub &'a io::Error, pub &'a Endpoint);

impl fmt::Display for NotOpened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        self.advice().map_or(Ok(()), |advice| write!(f, ": {advice}"))
    }
}

impl NotOpened<'_> {
    fn advice(&self) -> Option<Cow<'static, str>> {
        if let (Some(libc::EADDRINUSE), Endpoint::Inet(address)) = (self.0.raw_os_error(), self.1) {
            // Whatever its state: a datagram socket, or the program of a `wait` service, that
            // is connected does not listen.
            return Some(
                format!("`ss -antup sport = :{}` shows who has it", address.port()).into(),
            );
        }
        self.usual_advice().map(Cow::Borrowed)
    }

    fn usual_advice(&self) -> Option<&'static str> {
        match (self.0.raw_os_error()?, self.1) {
            (libc::EACCES, Endpoint::Inet(address)) if address.port() < FIRST_UNPRIVILEGED => {
                Some("ports below 1024 are root's")
            }
            (libc::EACCES, Endpoint::Unix(_)) => Some("who runs the server may not write there"),
            (libc::EMFILE, _) => Some("left out; raise `ulimit -n`, or LimitNOFILE= of the unit"),
            (libc::ENOENT, Endpoint::Unix(_)) => Some("its directory is missing"),
            (libc::EADDRINUSE, Endpoint::Abstract(_)) => Some("`ss -lxp` shows who has it"),
            (libc::EADDRNOTAVAIL, Endpoint::Inet(_)) => Some("`ip address` shows what there is"),
            (errno, Endpoint::Vsock(address)) => vsock_advice(errno, address.port),
            _ => None,
        }
    }
}

fn vsock_advice(errno: i32, port: u32) -> Option<&'static str> {
    match errno {
        libc::EACCES if port < FIRST_UNPRIVILEGED.into() => Some("ports below 1024 are root's"),
        libc::EADDRINUSE => Some("`ss -lnp --vsock` shows who has it"),
        libc::EADDRNOTAVAIL => {
            Some("this machine has no such CID; 1 is its own with the module `vsock_loopback`")
        }
        libc::EAFNOSUPPORT => Some("the kernel has no virtual sockets: `modprobe vsock`"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::NotOpened;
    use crate::config::model::Endpoint;
    use crate::net::vsock::VsockAddress;

    #[test]
    fn what_lies_behind_an_answer_is_said_where_it_is_known() {
        let inet = |text: &str| Endpoint::Inet(text.parse().unwrap());
        let vsock = || Endpoint::Vsock(VsockAddress { cid: 1, port: 5000 });
        let unix = || Endpoint::Unix("/run/x".into());
        for (errno, endpoint, wanted) in [
            (libc::EACCES, inet("127.0.0.1:80"), ": ports below 1024 are root's"),
            (libc::EACCES, inet("127.0.0.1:8080"), ""),
            (libc::EACCES, unix(), ": who runs the server may not write there"),
            (libc::ENOENT, unix(), ": its directory is missing"),
            (libc::EADDRINUSE, inet("[::1]:80"), ": `ss -antup sport = :80` shows who has it"),
            (libc::EADDRINUSE, Endpoint::Abstract(b"x".to_vec()), ": `ss -lxp` shows who has it"),
            (libc::EADDRINUSE, vsock(), ": `ss -lnp --vsock` shows who has it"),
            (libc::EADDRNOTAVAIL, inet("192.0.2.1:80"), ": `ip address` shows what there is"),
            (libc::ENFILE, inet("192.0.2.1:80"), ""),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(NotOpened(&error, &endpoint).to_string(), format!("{error}{wanted}"));
        }
    }
}
