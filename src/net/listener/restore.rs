//! What a program that had a socket itself has left it in: undone where it can be, and found
//! out where it cannot.
//!
//! A program may connect the socket to one peer, shut it down, let errors wait on it, set
//! whatever option there is. The server would not hear of the next client, or find that the
//! socket is always ready; and the next program would not expect it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, RawFd};

use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    Shutdown, SockaddrStorage, UnixAddr, getpeername, getsockopt, setsockopt, shutdown, sockopt,
};

use super::Listener;
use super::socket::{Bound, Condition, Socket, start_listening};
use crate::config::model::{Attributes, Endpoint, SocketSpec};
use crate::sys::messages;
use crate::sys::socket_options::{self, Filter, OptionValue};

/// Nobody sends datagrams to this port: it is the one of discard.
const NOWHERE: u16 = 9;

impl Listener {
    /// Makes the socket as the service wants it again.
    pub(crate) fn restore(&self, spec: &SocketSpec, attributes: &Attributes) -> Condition {
        if let Some(plain) = &self.plain {
            plain.restore(&self.socket);
            self.tell_destinations_again();
        }
        let result = match &self.socket {
            Socket::Udp(_) => self.restore_udp(spec),
            Socket::UnixDatagram(_) => self.restore_unix_datagram(),
            Socket::Tcp(_) => self.restore_tcp(spec, attributes),
            Socket::Unix(_) | Socket::Vsock(_) => self.look_at(false),
        };
        let result = result.and_then(|()| self.look_where_it_is());
        let result = result.and_then(|()| match socket_options::detach_filter(self) {
            Filter::Locked => Err("it has a filter that is locked"),
            Filter::None | Filter::Detached => Ok(()),
        });
        if let Err(error) = self.apply(spec, attributes) {
            log::debug!("restore address={} error={error}", self.address);
        }
        result.map_or_else(Condition::Ruined, |()| Condition::Sound)
    }

    fn restore_udp(&self, spec: &SocketSpec) -> Result<(), &'static str> {
        let device = device_of(self);
        if is_connected(self.as_raw_fd()) {
            self.disconnect()?;
            // It has lost that one, too.
            set_device(self, device.filter(|_| self.adopted));
        }
        if self.is_of_another_family() {
            return Err("it has been made one of IPv4");
        }
        self.restore_device(spec)?;
        self.look_at(true)?;
        let nowhere = match self.address {
            Bound::Inet(SocketAddr::V4(_)) => SocketAddr::from((Ipv4Addr::LOCALHOST, NOWHERE)),
            _ => SocketAddr::from((Ipv6Addr::LOCALHOST, NOWHERE)),
        };
        self.look_whether_it_sends(socket_options::sends_no_more(
            self,
            &SockaddrStorage::from(nowhere),
        ))
    }

    fn restore_unix_datagram(&self) -> Result<(), &'static str> {
        if getpeername::<UnixAddr>(self.as_raw_fd()).is_ok() {
            self.disconnect()?;
        }
        self.look_at(false)?;
        // A name that nobody has.
        let nowhere = UnixAddr::new_abstract(b"oxinetd nobody\0");
        self.look_whether_it_sends(nowhere.is_ok_and(|it| socket_options::sends_no_more(self, &it)))
    }

    /// listen(2) has what was shut down listen again.
    fn restore_tcp(&self, spec: &SocketSpec, attributes: &Attributes) -> Result<(), &'static str> {
        self.restore_device(spec)?;
        if getsockopt(self, sockopt::AcceptConn).unwrap_or(true) {
            return Ok(());
        }
        // It may even be somebody's connection.
        let _ = messages::disconnect(self);
        start_listening(self, attributes).map_err(|_| "it listens no more")
    }

    /// A port that the system has chosen is lost with a connection.
    fn look_where_it_is(&self) -> Result<(), &'static str> {
        let Bound::Inet(address) = self.address else { return Ok(()) };
        let is_there = self.adopted || self.socket.local_address() == Some(address);
        if is_there { Ok(()) } else { Err("it is not at its address any more") }
    }

    fn disconnect(&self) -> Result<(), &'static str> {
        messages::disconnect(self).map_err(|_| "it is connected")
    }

    /// Whether it has been shut down, and which errors wait on it.
    fn look_at(&self, inet: bool) -> Result<(), &'static str> {
        let seen = socket_options::events(self, libc::POLLRDHUP);
        if seen & libc::POLLRDHUP != 0 {
            return Err("it is shut down");
        }
        if seen & libc::POLLERR != 0 {
            let _ = getsockopt(self, sockopt::SocketError);
            if inet {
                self.throw_errors_away();
            }
        }
        Ok(())
    }

    /// Whether it is told of errors or not: being told no more empties their queue.
    fn throw_errors_away(&self) {
        let (level, name) = match self.address {
            Bound::Inet(SocketAddr::V4(_)) => (libc::IPPROTO_IP, libc::IP_RECVERR),
            _ => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
        };
        let _ = socket_options::set(self, level, name, &OptionValue::number(0));
    }

    fn look_whether_it_sends(&self, ended: bool) -> Result<(), &'static str> {
        if ended { Err("it is shut down for sending") } else { Ok(()) }
    }

    /// Only an IPv6 socket that takes IPv4 too can become one of IPv4; ours do not.
    fn is_of_another_family(&self) -> bool {
        let v6 = matches!(self.address, Bound::Inet(SocketAddr::V6(_)));
        let family = || socket_options::get(self, libc::SOL_SOCKET, libc::SO_DOMAIN);
        self.adopted && v6 && family().is_ok_and(|it| it.as_number() != libc::AF_INET6)
    }

    fn restore_device(&self, spec: &SocketSpec) -> Result<(), &'static str> {
        let Some(wanted) = wanted_device(spec).filter(|_| !self.adopted) else { return Ok(()) };
        let is_so = || device_of(self).is_none_or(|device| device == wanted);
        if is_so() {
            return Ok(());
        }
        if let Socket::Udp(socket) = &self.socket {
            // That needs no privilege, and takes the device away.
            let _ = messages::disconnect(socket);
        }
        set_device(self, Some(wanted));
        if is_so() { Ok(()) } else { Err("it is bound to a device") }
    }

    /// Before another socket is opened in its place: whoever has this one still gets nobody's
    /// datagrams and connections any more, and does not keep others from the address.
    pub(crate) fn give_up(&self) {
        match (&self.socket, &self.address) {
            (Socket::Udp(socket), Bound::Inet(address)) => {
                let _ = setsockopt(socket, sockopt::ReusePort, &true);
                let itself = match address {
                    SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
                    SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())),
                };
                let _ = socket.connect(itself);
            }
            (Socket::Tcp(socket), _) => {
                let _ = setsockopt(socket, sockopt::ReuseAddr, &true);
                let _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
            }
            _ => {
                let _ = shutdown(self.as_raw_fd(), Shutdown::Both);
            }
        }
    }
}

fn is_connected(socket: RawFd) -> bool {
    getpeername::<SockaddrStorage>(socket).is_ok()
}

/// The one device that a socket is bound to, 0 for none; None where the kernel does not say
/// (before Linux 5.0).
fn device_of(socket: &Listener) -> Option<i32> {
    let index = socket_options::get(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX);
    index.ok().map(|value| value.as_number())
}

fn set_device(socket: &Listener, device: Option<i32>) {
    if let Some(device) = device {
        let device = OptionValue::number(device);
        let _ = socket_options::set(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, &device);
    }
}

/// The one that the service wants; None where that cannot be known.
fn wanted_device(spec: &SocketSpec) -> Option<i32> {
    let index = match (&spec.device, &spec.endpoint) {
        (Some(device), _) => if_nametoindex(device.as_str()).ok()?,
        (None, Endpoint::Inet(SocketAddr::V6(address))) => address.scope_id(),
        _ => 0,
    };
    i32::try_from(index).ok()
}
