//! Sockets of services: opened as those say, changed by a reload, taken over.
//!
//! Every one is close-on-exec and nonblocking from birth. What is accepted is
//! blocking, as programs expect it.

mod accept;
mod buffers;
mod connection;
mod deferral;
mod destinations;
mod display;
mod keepalive;
mod others;
mod packet_info;
mod plain;
mod question;
mod restore;
mod sibling;
mod socket;
mod source_address;
mod urgent;
mod virtual_socket;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{AddressFamily, SockaddrStorage, bind, setsockopt, sockopt};

use super::unix_path::{self, BoundPath};
use crate::config::model::{Action, Attributes, Endpoint, Service, SocketSpec, SocketType};
use crate::sys::{descriptor, tcp};
pub(crate) use connection::{Accepted, Connection};
pub(crate) use display::{NotOpened, ShownEndpoint};
pub(crate) use keepalive::{set as set_keepalive, set_times as set_keepalive_times};
pub(crate) use packet_info::tell_nothing;
use plain::PlainOptions;
pub(in crate::net) use question::SocketQuestion;
pub(crate) use sibling::{bind_beside, share_address, udp_socket};
pub(crate) use socket::{Bound, Condition, Socket};
use socket::{new_socket, start_listening};
pub(crate) use source_address::connect_from;
pub(crate) use virtual_socket::own_address;

/// An open socket of a service.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    address: Bound,
    /// Unlinks the path of a unix socket when it is dropped.
    path: Option<BoundPath>,
    /// Somebody else has bound it and holds it too.
    adopted: bool,
    /// A program has had it: that, or what it has left behind, may have it still.
    shared: bool,
    /// Each datagram comes with the address that it was sent to; on a unix socket, with who
    /// has sent it.
    has_packet_info: bool,
    /// What its options are when no program has had it; none before one has.
    plain: Option<PlainOptions>,
}

impl Listener {
    /// Opens a socket as the service says: bound, listening, nonblocking.
    ///
    /// # Errors
    /// What the system answered; for unix paths also what is in the way.
    pub(crate) fn open(spec: &SocketSpec, service: &Service) -> io::Result<Self> {
        // Programs of an earlier server may still have sockets for their peers there.
        let per_peer = spec.socket_type == SocketType::Dgram && !service.wait;
        Self::open_where(spec, service, per_peer)
    }

    /// The same in the place of a datagram socket that has been [given up](Self::give_up), and
    /// that somebody may still have.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_in_place(spec: &SocketSpec, service: &Service) -> io::Result<Self> {
        Self::open_where(spec, service, spec.socket_type == SocketType::Dgram)
    }

    /// `shares`: beside sockets of ours that let others in (SO_REUSEPORT).
    fn open_where(spec: &SocketSpec, service: &Service, shares: bool) -> io::Result<Self> {
        let attributes = &service.attributes;
        match &spec.endpoint {
            Endpoint::Inet(address) => Self::open_inet(spec, *address, service, shares),
            Endpoint::Unix(path) => {
                let descriptor = new_unix_socket(spec, service)?;
                let bound = unix_path::bind(&descriptor, path, spec.socket_type, attributes)?;
                let name = Bound::Unix(path.display().to_string());
                Self::finish(descriptor, spec, attributes, name, Some(bound))
            }
            Endpoint::Abstract(name) => {
                let descriptor = new_unix_socket(spec, service)?;
                bind(descriptor.as_raw_fd(), &nix::sys::socket::UnixAddr::new_abstract(name)?)?;
                let name = Bound::Unix(ShownEndpoint(&spec.endpoint).to_string());
                Self::finish(descriptor, spec, attributes, name, None)
            }
            Endpoint::Vsock(address) => {
                let descriptor = virtual_socket::bind(*address, spec.socket_type)?;
                Self::finish(descriptor, spec, attributes, Bound::Vsock(*address), None)
            }
        }
    }

    fn open_inet(
        spec: &SocketSpec,
        address: SocketAddr,
        service: &Service,
        shares: bool,
    ) -> io::Result<Self> {
        let attributes = &service.attributes;
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let descriptor = new_socket(family, spec.socket_type)?;
        if address.is_ipv6() {
            setsockopt(&descriptor, sockopt::Ipv6V6Only, &true)?;
        }
        if spec.socket_type == SocketType::Stream {
            // So that a restart need not wait for old connections in TIME_WAIT.
            setsockopt(&descriptor, sockopt::ReuseAddr, &true)?;
            // Accepted connections inherit these two.
            setsockopt(&descriptor, sockopt::TcpNoDelay, &attributes.socket.nodelay)?;
            keepalive::set(&descriptor, attributes.socket.keepalive)?;
            deferral::set(&descriptor, attributes);
            if service.is_read_here() {
                urgent::set(&descriptor, service);
            }
        }
        if let Some(device) = &spec.device {
            setsockopt(&descriptor, sockopt::BindToDevice, &device.into())?;
        }
        buffers::set(&descriptor, attributes)?;
        if shares {
            setsockopt(&descriptor, sockopt::ReusePort, &true)?;
        }
        bind(descriptor.as_raw_fd(), &SockaddrStorage::from(address))?;
        if shares {
            setsockopt(&descriptor, sockopt::ReusePort, &false)?;
        }
        let mut listener = Self::finish(descriptor, spec, attributes, Bound::Inet(address), None)?;
        if spec.socket_type == SocketType::Dgram && !service.wait {
            listener.tell_destinations();
        }
        Ok(listener)
    }

    fn finish(
        descriptor: OwnedFd,
        spec: &SocketSpec,
        attributes: &Attributes,
        mut address: Bound,
        path: Option<BoundPath>,
    ) -> io::Result<Self> {
        if spec.socket_type != SocketType::Dgram {
            start_listening(&descriptor, attributes)?;
        }
        let socket = Socket::new(descriptor::raise(descriptor), &spec.endpoint, spec.socket_type);
        if let Bound::Inet(bound) = &mut address {
            *bound = socket.local_address().unwrap_or(*bound);
        }
        if let Bound::Vsock(bound) = &mut address {
            *bound = virtual_socket::own_address(&socket).unwrap_or(*bound);
        }
        let has_packet_info = packet_info::is_on(&socket, &address);
        Ok(Self {
            socket,
            address,
            path,
            adopted: false,
            shared: false,
            has_packet_info,
            plain: None,
        })
    }

    /// An open socket of the server before us; `identity` is that of its path.
    #[must_use]
    pub(crate) fn taken_over(
        descriptor: OwnedFd,
        spec: &SocketSpec,
        identity: Option<(u64, u64)>,
    ) -> Self {
        let socket = Socket::new(descriptor, &spec.endpoint, spec.socket_type);
        let address = match &spec.endpoint {
            Endpoint::Inet(address) => Bound::Inet(socket.local_address().unwrap_or(*address)),
            Endpoint::Vsock(address) => {
                Bound::Vsock(virtual_socket::own_address(&socket).unwrap_or(*address))
            }
            unix => Bound::Unix(ShownEndpoint(unix).to_string()),
        };
        let path = match &spec.endpoint {
            Endpoint::Unix(path) => identity.map(|it| BoundPath::taken_over(path, it)),
            _ => None,
        };
        let has_packet_info = packet_info::is_on(&socket, &address);
        Self { socket, address, path, adopted: false, shared: false, has_packet_info, plain: None }
    }

    /// The path that is unlinked when it is closed.
    #[must_use]
    pub(crate) fn path(&self) -> Option<&BoundPath> {
        self.path.as_ref()
    }

    /// A nonblocking socket that the service manager has bound to `endpoint`, and that
    /// listens if it is of a type that does.
    #[must_use]
    pub(crate) fn adopt(descriptor: OwnedFd, endpoint: &Endpoint, socket_type: SocketType) -> Self {
        let address = match endpoint {
            Endpoint::Inet(address) => Bound::Inet(*address),
            Endpoint::Vsock(address) => Bound::Vsock(*address),
            unix => Bound::Unix(ShownEndpoint(unix).to_string()),
        };
        let socket = Socket::new(descriptor, endpoint, socket_type);
        Self {
            socket,
            address,
            path: None,
            adopted: true,
            shared: false,
            has_packet_info: false,
            plain: None,
        }
    }

    /// Whether it is the service manager's.
    #[must_use]
    pub(crate) fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// The socket, if it is the service manager's; closed otherwise.
    #[must_use]
    pub(crate) fn into_adopted(self) -> Option<OwnedFd> {
        self.adopted.then(|| self.socket.into_descriptor())
    }

    /// A program gets it. From then on whether accepting waits is in that one's hands, too:
    /// the flag is one for all who have the socket, and accept(2) takes no other word for it.
    pub(crate) fn share(&mut self) {
        self.shared = true;
        self.tell_nothing_more();
        if self.plain.is_none() {
            let (family, socket_type) = self.socket.kind(&self.address);
            self.plain =
                PlainOptions::of(family, socket_type, Some(&self.socket).filter(|_| self.adopted));
        }
    }

    /// Whether a program has had it, so that nobody may accept from it in the loop.
    #[must_use]
    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Puts another UDP socket in the place of this one, which goes to a program. Both are
    /// told the same.
    #[must_use]
    pub(crate) fn replace_socket(&mut self, socket: UdpSocket) -> Socket {
        std::mem::replace(&mut self.socket, Socket::Udp(socket))
    }

    /// Applies what can be changed on an open socket, at a reload. Of the service
    /// manager's only what the service asks for: the rest is said there.
    ///
    /// # Errors
    /// What the system answered.
    pub(crate) fn update(&self, spec: &SocketSpec, service: &Service) -> io::Result<()> {
        let attributes = &service.attributes;
        // Who may come in is first, and whatever else cannot be set.
        let path = self.path.as_ref().map_or(Ok(()), |path| path.set_owner_and_mode(attributes));
        let applied = self.apply(spec, attributes);
        let mut forgotten = Ok(());
        if let Socket::Tcp(listener) = &self.socket {
            urgent::set(listener, service);
            if !self.adopted {
                forgotten = keepalive::forget(listener, attributes.socket.keepalive);
                deferral::set(listener, attributes);
            }
        }
        path.and(applied).and(forgotten)
    }

    /// The same but for the path.
    fn apply(&self, spec: &SocketSpec, attributes: &Attributes) -> io::Result<()> {
        buffers::set(self, attributes)?;
        if !self.adopted {
            buffers::forget(self, spec, attributes)?;
        }
        if let Socket::Tcp(listener) = &self.socket {
            if attributes.socket.nodelay || !self.adopted {
                setsockopt(listener, sockopt::TcpNoDelay, &attributes.socket.nodelay)?;
            }
            if attributes.socket.keepalive.is_on() || !self.adopted {
                keepalive::set(listener, attributes.socket.keepalive)?;
            }
            if attributes.front.lets_clients_begin() {
                deferral::set(listener, attributes);
            }
        }
        let says = attributes.socket.backlog.is_some() || !self.adopted;
        if spec.socket_type != SocketType::Dgram && says {
            start_listening(self, attributes)?;
        }
        Ok(())
    }

    /// Where it is bound.
    #[must_use]
    pub(crate) fn address(&self) -> &Bound {
        &self.address
    }

    /// How many wait to be accepted, where the system says it.
    #[must_use]
    pub(crate) fn waiting(&self) -> Option<u32> {
        match &self.socket {
            Socket::Tcp(socket) => tcp::waiting_connections(socket),
            _ => None,
        }
    }

    /// The socket itself.
    #[must_use]
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Blocking for a `wait` program that is given the socket itself, nonblocking
    /// again when it is ours.
    ///
    /// # Errors
    /// fcntl(2)'s.
    pub(crate) fn set_blocking(&self, blocking: bool) -> io::Result<()> {
        if blocking { descriptor::set_blocking(self) } else { descriptor::set_nonblocking(self) }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// One of a built-in service says who has sent each datagram, from the first one on.
fn new_unix_socket(spec: &SocketSpec, service: &Service) -> io::Result<OwnedFd> {
    let descriptor = new_socket(AddressFamily::Unix, spec.socket_type)?;
    buffers::set(&descriptor, &service.attributes)?;
    if spec.socket_type == SocketType::Dgram && matches!(service.action, Action::Builtin(_)) {
        setsockopt(&descriptor, sockopt::PassCred, &true)?;
    }
    Ok(descriptor)
}
