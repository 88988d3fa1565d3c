//! Sockets that were passed on to us: which they are (sd_listen_fds(3)), and what.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::net::{SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{SockType, SockaddrStorage, getpeername, getsockname, getsockopt, sockopt};

use crate::config::model::{Endpoint, SocketSpec, SocketType};
use crate::net::vsock::VsockAddress;
use crate::sys::descriptor;

/// The number of the first of them.
const FIRST: RawFd = 3;

/// What sockets without a name are called.
const NAMELESS: &str = "unknown";

/// A descriptor that we have been given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) number: RawFd,
    pub(super) name: String,
}

/// A socket that can serve.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) descriptor: OwnedFd,
    /// What it is and where it is bound.
    pub(super) spec: SocketSpec,
    /// An IPv6 wildcard that takes IPv4 clients too.
    pub(super) takes_ipv4: bool,
    pub(super) name: String,
}

/// The descriptors that the environment says were passed to process `pid`; that they
/// are open is not sure, nor that there are as many.
pub(super) fn passed(
    variable: &dyn Fn(&str) -> Option<OsString>,
    pid: u32,
) -> impl Iterator<Item = Passed> {
    let text = |name: &str| variable(name).and_then(|value| value.into_string().ok());
    let number = |name: &str| text(name)?.parse::<RawFd>().ok();
    let ours = text("LISTEN_PID").and_then(|own| own.parse().ok()) == Some(pid);
    let count = number("LISTEN_FDS").filter(|count| ours && *count > 0).unwrap_or(0);
    let names = text("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<String> = names.split(':').map(str::to_owned).collect();
    let mut names = names.into_iter();
    (FIRST..FIRST.saturating_add(count)).map(move |number| {
        let name = names.next().filter(|name| !name.is_empty());
        Passed { number, name: name.unwrap_or_else(|| NAMELESS.to_owned()) }
    })
}

/// Takes one over. It is closed if it is of no use.
///
/// # Errors
/// "Not found" if it is not open; otherwise why it cannot serve.
pub(super) fn take(passed: &Passed) -> io::Result<Inherited> {
    let descriptor = descriptor::take_over(passed.number).map_err(|error| {
        let closed = error.raw_os_error() == Some(nix::libc::EBADF);
        if closed { io::Error::new(ErrorKind::NotFound, "it is not open") } else { error }
    })?;
    find_use(descriptor, &passed.name)
}

fn find_use(descriptor: OwnedFd, name: &str) -> io::Result<Inherited> {
    let spec = examine(&descriptor)?;
    let wildcard_v6 = matches!(&spec.endpoint, Endpoint::Inet(address)
        if address.is_ipv6() && address.ip().is_unspecified());
    let takes_ipv4 = wildcard_v6 && !getsockopt(&descriptor, sockopt::Ipv6V6Only).unwrap_or(true);
    Ok(Inherited { descriptor, spec, takes_ipv4, name: name.to_owned() })
}

fn unfit(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, why)
}

fn examine(descriptor: &OwnedFd) -> io::Result<SocketSpec> {
    let socket_type = match getsockopt(descriptor, sockopt::SockType) {
        Ok(SockType::Stream) => SocketType::Stream,
        Ok(SockType::Datagram) => SocketType::Dgram,
        Ok(SockType::SeqPacket) => SocketType::SeqPacket,
        Err(Errno::ENOTSOCK) => return Err(unfit("it is not a socket")),
        Ok(_) | Err(_) => return Err(unfit("no service has sockets of this type")),
    };
    if getpeername::<SockaddrStorage>(descriptor.as_raw_fd()).is_ok() {
        return Err(unfit("it is connected to a peer"));
    }
    if socket_type != SocketType::Dgram && !getsockopt(descriptor, sockopt::AcceptConn)? {
        return Err(unfit("it does not listen"));
    }
    let name: SockaddrStorage = getsockname(descriptor.as_raw_fd())?;
    let endpoint = endpoint(&name)?;
    let device = matches!(endpoint, Endpoint::Inet(_))
        .then(|| getsockopt(descriptor, sockopt::BindToDevice).ok())
        .flatten()
        .and_then(|device| device.into_string().ok())
        .filter(|device| !device.is_empty());
    Ok(SocketSpec { socket_type, endpoint, device })
}

fn endpoint(name: &SockaddrStorage) -> io::Result<Endpoint> {
    let inet = name
        .as_sockaddr_in()
        .map(|v4| SocketAddrV4::from(*v4).into())
        .or_else(|| name.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into()));
    if let Some(address) = inet {
        let bound = (std::net::SocketAddr::port(&address) != 0).then_some(Endpoint::Inet(address));
        return bound.ok_or_else(|| unfit("it is not bound"));
    }
    if let Some(vsock) = name.as_vsock_addr() {
        return Ok(Endpoint::Vsock(VsockAddress { cid: vsock.cid(), port: vsock.port() }));
    }
    let unix = name.as_unix_addr().ok_or_else(|| unfit("no service has sockets of this family"))?;
    let path = unix.path().map(|path| Endpoint::Unix(path.to_owned()));
    let endpoint =
        path.or_else(|| unix.as_abstract().map(|name| Endpoint::Abstract(name.to_vec())));
    endpoint.ok_or_else(|| unfit("it is not bound"))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

    use super::*;

    fn numbers(pairs: &[(&str, &str)]) -> Vec<(RawFd, String)> {
        let variable = |name: &str| {
            pairs.iter().find(|(own, _)| *own == name).map(|(_, value)| OsString::from(value))
        };
        passed(&variable, 7).take(9).map(|passed| (passed.number, passed.name)).collect()
    }

    #[test]
    fn descriptors_are_ours_if_the_process_is() {
        assert_eq!(numbers(&[("LISTEN_PID", "8"), ("LISTEN_FDS", "1")]), []);
        assert_eq!(numbers(&[("LISTEN_FDS", "1")]), []);
        for wrong in ["0", "-1", "many", ""] {
            assert_eq!(numbers(&[("LISTEN_PID", "7"), ("LISTEN_FDS", wrong)]), [], "{wrong}");
        }
        let two = numbers(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "web")]);
        assert_eq!(two, [(3, "web".to_owned()), (4, "unknown".to_owned())]);
        let named = [("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", ":b:c")];
        assert_eq!(numbers(&named), [(3, "unknown".to_owned()), (4, "b".to_owned())]);
        let most = i32::MAX.to_string();
        assert_eq!(numbers(&[("LISTEN_PID", "7"), ("LISTEN_FDS", &most)]).len(), 9);
    }

    fn taken(socket: impl Into<OwnedFd>) -> io::Result<Inherited> {
        find_use(socket.into(), "test")
    }

    #[test]
    fn a_socket_is_known_by_its_type_and_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = taken(listener).unwrap();
        let stream = SocketType::Stream;
        let spec =
            SocketSpec { socket_type: stream, endpoint: Endpoint::Inet(address), device: None };
        assert_eq!((found.spec, found.takes_ipv4), (spec, false));
        let datagrams = taken(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        assert_eq!(datagrams.spec.socket_type, SocketType::Dgram);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let found = taken(UnixListener::bind(&path).unwrap()).unwrap();
        assert_eq!(found.spec.endpoint, Endpoint::Unix(path));
        let name = format!("oxinetd-unit-{}", std::process::id()).into_bytes();
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let found = taken(UnixDatagram::bind_addr(&abstract_name).unwrap()).unwrap();
        assert_eq!(found.spec.endpoint, Endpoint::Abstract(name));
    }

    #[test]
    fn an_ipv6_wildcard_takes_ipv4_unless_it_is_for_ipv6_only() {
        // A machine without IPv6 has neither.
        let Ok(both) = TcpListener::bind("[::]:0") else { return };
        assert!(taken(both).unwrap().takes_ipv4);
        let own = TcpListener::bind("[::1]:0").unwrap();
        assert!(!taken(own).unwrap().takes_ipv4);
    }

    #[test]
    fn what_cannot_serve_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let why = |socket: OwnedFd| taken(socket).unwrap_err().to_string();
        assert_eq!(why(client.into()), "it is connected to a peer");
        assert_eq!(why(file.into()), "it is not a socket");
        assert_eq!(why(UnixDatagram::unbound().unwrap().into()), "it is not bound");
        let silent = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            SockType::Stream,
            nix::sys::socket::SockFlag::empty(),
            None,
        );
        assert_eq!(why(silent.unwrap()), "it does not listen");
        // What this process has opened itself has nobody passed on.
        let own = std::fs::File::open("/dev/null").unwrap();
        for number in [own.as_raw_fd(), 999_999] {
            let none = take(&Passed { number, name: String::new() }).unwrap_err();
            assert_eq!(none.kind(), ErrorKind::NotFound);
        }
    }
}
