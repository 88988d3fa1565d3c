//! Options of sockets: by their numbers, whatever their type, and some by name; the filter of
//! a socket, and whether it can still send.

#![allow(unsafe_code, reason = "raw system calls")]

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::sys::socket::SockaddrLike;

/// The largest value that is looked at: a time, or the name of an algorithm.
const LARGEST: usize = 24;

/// The value of an option, as the kernel writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OptionValue {
    bytes: [u8; LARGEST],
    length: usize,
}

impl OptionValue {
    /// One number.
    pub(crate) fn number(number: c_int) -> Self {
        let mut bytes = [0; LARGEST];
        let own = number.to_ne_bytes();
        if let Some(place) = bytes.get_mut(..own.len()) {
            place.copy_from_slice(&own);
        }
        Self { bytes, length: own.len() }
    }

    /// So many bytes that are 0, as far as there is room.
    pub(crate) fn zeros(length: usize) -> Self {
        Self { bytes: [0; LARGEST], length: length.min(LARGEST) }
    }

    /// The number that it begins with.
    pub(crate) fn as_number(&self) -> c_int {
        let [a, b, c, d, ..] = self.bytes;
        c_int::from_ne_bytes([a, b, c, d])
    }

    /// The two numbers that it begins with.
    fn as_numbers(&self) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h, ..] = self.bytes;
        (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
    }
}

/// Reads an option.
///
/// # Errors
/// getsockopt(2)'s: ENOPROTOOPT where this kernel, or this kind of socket, has no such one.
pub(crate) fn get(socket: &impl AsRawFd, level: c_int, name: c_int) -> io::Result<OptionValue> {
    let mut bytes = [0u8; LARGEST];
    let mut length = libc::socklen_t::try_from(LARGEST).map_err(io::Error::other)?;
    let (place, room) = (bytes.as_mut_ptr().cast(), &raw mut length);
    // SAFETY: the kernel writes no more than the length given, into memory of that length.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, place, room) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let length = usize::try_from(length).map_err(io::Error::other)?.min(LARGEST);
    Ok(OptionValue { bytes, length })
}

/// Sets an option.
///
/// # Errors
/// setsockopt(2)'s.
pub(crate) fn set(
    socket: &impl AsRawFd,
    level: c_int,
    name: c_int,
    value: &OptionValue,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.length).map_err(io::Error::other)?;
    let bytes = value.bytes.as_ptr().cast();
    // SAFETY: the kernel reads no more than the length, which is no more than there is.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, bytes, length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What there is of some events, errors and ends at a socket now, with POLLRDHUP among them
/// (poll(2)): the other side, or shutdown(2), has ended it. Nothing if that cannot be told.
pub(crate) fn events(socket: &impl AsRawFd, events: libc::c_short) -> libc::c_short {
    let mut polled = libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 };
    loop {
        // SAFETY: one structure, which the kernel reads and writes, and it does not wait.
        match unsafe { libc::poll(&raw mut polled, 1, 0) } {
            1.. => return polled.revents,
            0 => return 0,
            // A signal just then is no answer.
            _ if Errno::last() == Errno::EINTR => {}
            _ => return 0,
        }
    }
}

/// How many bytes of memory what has come to a socket and is unread takes, and how many it may
/// (SO_MEMINFO, Linux 4.12): no datagram comes to one that has all of them.
pub(crate) fn received_memory(socket: &impl AsRawFd) -> Option<(u32, u32)> {
    get(socket, libc::SOL_SOCKET, libc::SO_MEMINFO).ok().map(|found| found.as_numbers())
}

/// What became of taking a socket's filter away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// There was none.
    None,
    /// It is there no more.
    Detached,
    /// It is locked: nobody can take it away (SO_LOCK_FILTER).
    Locked,
}

/// Takes the filter of a socket away.
pub(crate) fn detach_filter(socket: &impl AsRawFd) -> Filter {
    let nothing = OptionValue::number(0);
    match set(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &nothing) {
        Ok(()) => Filter::Detached,
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && has_filter(socket) => {
            Filter::Locked
        }
        Err(_) => Filter::None,
    }
}

/// With the length 0 the kernel tells that of the filter; of one that is not classic, an error.
fn has_filter(socket: &impl AsRawFd) -> bool {
    let mut length: libc::socklen_t = 0;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_GET_FILTER);
    let (place, room) = (ptr::null_mut(), &raw mut length);
    // SAFETY: with a length of 0 nothing but the length is written.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, place, room) };
    result < 0 || length > 0
}

/// Whether a datagram socket can send no more (shutdown(2)). Nothing is sent by asking: what
/// it would be cannot be read, which the kernel finds out after it has looked.
pub(crate) fn sends_no_more(socket: &impl AsRawFd, to: &impl SockaddrLike) -> bool {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let (nowhere, address) = (ptr::without_provenance(1), to.as_ptr());
    // SAFETY: the kernel finds no memory at the address 1, and answers EFAULT; the address to
    // send to is read, as long as it is.
    let sent = unsafe { libc::sendto(socket.as_raw_fd(), nowhere, 1, flags, address, to.len()) };
    sent < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EPIPE)
}

/// What a unix socket is bound to, good for naming it (SIOCUNIXFILE, Linux 4.17).
///
/// # Errors
/// ioctl(2)'s: ENOENT where it is bound to no file; only who may administer the network is
/// told.
pub(crate) fn bound_file(socket: &impl AsRawFd) -> io::Result<OwnedFd> {
    /// `linux/un.h`.
    const SIOCUNIXFILE: libc::Ioctl = 0x89e0;
    // SAFETY: takes no argument, and makes a new descriptor, close-on-exec.
    let file = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCUNIXFILE) };
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

/// Has a UDP socket cut off what does not come from one peer, for good: of a datagram from
/// anybody else nothing but its head is left (SO_ATTACH_FILTER, SO_LOCK_FILTER).
///
/// # Errors
/// setsockopt(2)'s.
pub(crate) fn keep_to_peer(socket: &impl AsRawFd, peer: &std::net::SocketAddr) -> io::Result<()> {
    let mut program = filter_for(peer);
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    set_option(socket, libc::SO_ATTACH_FILTER, &filter)?;
    set_option(socket, libc::SO_LOCK_FILTER, &1)
}

/// Bytes of a UDP header, at which a filter finds the datagram.
const HEADER: u32 = 8;

/// Loads and compares, and leaves all of what comes from the peer.
fn filter_for(peer: &std::net::SocketAddr) -> Vec<libc::sock_filter> {
    use std::net::SocketAddr;
    let (first, words) = match peer {
        SocketAddr::V4(v4) => (12, vec![u32::from(*v4.ip())]),
        SocketAddr::V6(v6) => {
            let bits = v6.ip().to_bits();
            let word = |shift: u32| u32::try_from(bits >> shift & 0xffff_ffff).unwrap_or_default();
            (8, vec![word(96), word(64), word(32), word(0)])
        }
    };
    // Each word and the port are a load and a comparison; one more comes after them.
    let mut left = u8::try_from(words.len()).unwrap_or_default() * 2 + 2;
    let mut program = Vec::new();
    let mut compare = |load: u32, place: u32, wanted: u32| {
        left -= 2;
        program.push(statement(load | libc::BPF_ABS, place, 0));
        program.push(statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, wanted, left + 1));
    };
    // A place from here on is one in the header of the network.
    let header = u32::from_ne_bytes(libc::SKF_NET_OFF.to_ne_bytes());
    for (word, at) in words.into_iter().zip((first..).step_by(4)) {
        compare(libc::BPF_LD | libc::BPF_W, header.wrapping_add(at), word);
    }
    compare(libc::BPF_LD | libc::BPF_H, 0, u32::from(peer.port()));
    program.push(statement(libc::BPF_RET | libc::BPF_K, u32::MAX, 0));
    program.push(statement(libc::BPF_RET | libc::BPF_K, HEADER, 0));
    program
}

/// `otherwise`: how many to leave out if a comparison fails.
fn statement(code: u32, value: u32, otherwise: u8) -> libc::sock_filter {
    let code = u16::try_from(code).unwrap_or_default();
    libc::sock_filter { code, jt: 0, jf: otherwise, k: value }
}

fn set_option<T>(descriptor: &impl AsRawFd, name: c_int, value: &T) -> io::Result<()> {
    set_option_of(libc::SOL_SOCKET, descriptor, name, value)
}

fn set_option_of<T>(
    level: c_int,
    descriptor: &impl AsRawFd,
    name: c_int,
    value: &T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the value is read, as long as it is.
    let result = unsafe {
        libc::setsockopt(descriptor.as_raw_fd(), level, name, ptr::from_ref(value).cast(), length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether the sizes of a socket's buffers for sending and for receiving have been said;
/// otherwise the kernel sees to them.
///
/// # Errors
/// getsockopt(2)'s: before Linux 5.14 nobody is told.
pub(crate) fn locked_sizes(socket: &impl AsRawFd) -> io::Result<(bool, bool)> {
    let mut value: c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of::<c_int>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes one number, for which there is room.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_BUF_LOCK,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((value & LOCKED_FOR_SENDING != 0, value & LOCKED_FOR_RECEIVING != 0))
}

/// Lets the sizes of a socket's buffers for sending and for receiving stay as they have been
/// said, or the kernel see to them again.
///
/// # Errors
/// setsockopt(2)'s: before Linux 5.14 they stay.
pub(crate) fn keep_sizes(
    socket: &impl AsRawFd,
    (sending, receiving): (bool, bool),
) -> io::Result<()> {
    let sending = if sending { LOCKED_FOR_SENDING } else { 0 };
    let receiving = if receiving { LOCKED_FOR_RECEIVING } else { 0 };
    set_option(socket, SO_BUF_LOCK, &(sending | receiving))
}

/// `SO_BUF_LOCK` and its bits, which not every libc knows.
const SO_BUF_LOCK: c_int =
    if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) { 0x51 } else { 72 };

const LOCKED_FOR_SENDING: c_int = 1;

const LOCKED_FOR_RECEIVING: c_int = 2;

/// Where the next peek at a socket's queue begins; each moves it on. -1: at its head again.
///
/// # Errors
/// setsockopt(2)'s.
pub(crate) fn set_peek_offset(socket: &impl AsRawFd, offset: c_int) -> io::Result<()> {
    set_option(socket, libc::SO_PEEK_OFF, &offset)
}

/// From which of our addresses, and through which interface, a socket bound to all sends to
/// multicast groups (IP_MULTICAST_IF). 0: the address's own interface; 0.0.0.0: the system
/// chooses.
///
/// # Errors
/// setsockopt(2)'s: EADDRNOTAVAIL if no interface has the address.
pub(crate) fn set_multicast_source(
    socket: &impl AsRawFd,
    ip: Ipv4Addr,
    interface: c_int,
) -> io::Result<()> {
    let address = |ip: Ipv4Addr| libc::in_addr { s_addr: u32::from(ip).to_be() };
    let value = libc::ip_mreqn {
        imr_multiaddr: address(Ipv4Addr::UNSPECIFIED),
        imr_address: address(ip),
        imr_ifindex: interface,
    };
    set_option_of(libc::IPPROTO_IP, socket, libc::IP_MULTICAST_IF, &value)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn what_has_come_and_is_unread_takes_memory() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (none, most) = received_memory(&socket).unwrap();
        assert!(none == 0 && most > 0);
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        assert!((1..most).contains(&received_memory(&socket).unwrap().0));
    }

    #[test]
    fn what_others_send_to_a_socket_for_one_peer_is_cut_off() {
        for own in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(own) else { continue };
            let [peer, other] = [(); 2].map(|()| UdpSocket::bind(own).unwrap());
            keep_to_peer(&socket, &peer.local_addr().unwrap()).unwrap();
            assert_eq!(detach_filter(&socket), Filter::Locked);
            let here = socket.local_addr().unwrap();
            let mut buffer = [0; 16];
            peer.send_to(b"peer", here).unwrap();
            assert_eq!(socket.recv(&mut buffer).unwrap(), 4);
            other.send_to(b"other", here).unwrap();
            assert_eq!(socket.recv(&mut buffer).unwrap(), 0);
        }
    }

    #[test]
    fn a_filter_that_is_not_locked_is_taken_away() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(detach_filter(&socket), Filter::None);
        let mut nothing = [statement(libc::BPF_RET | libc::BPF_K, 0, 0)];
        let filter = libc::sock_fprog { len: 1, filter: nothing.as_mut_ptr() };
        set_option(&socket, libc::SO_ATTACH_FILTER, &filter).unwrap();
        assert_eq!(detach_filter(&socket), Filter::Detached);
        // One that is locked without being there keeps nothing back.
        set_option(&socket, libc::SO_LOCK_FILTER, &1).unwrap();
        assert_eq!(detach_filter(&socket), Filter::None);
    }

    #[test]
    fn a_socket_that_is_shut_is_found_out_and_nothing_is_sent() {
        use nix::sys::socket::{Shutdown, SockaddrStorage, shutdown};
        let (socket, other) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = SockaddrStorage::from(other.local_addr().unwrap());
        assert!(!sends_no_more(&socket, &to));
        let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
        assert!(sends_no_more(&socket, &to));
        other.set_nonblocking(true).unwrap();
        assert!(other.recv(&mut [0]).is_err());
    }

    #[test]
    fn an_option_is_given_back_as_it_was() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (level, name) = (libc::SOL_SOCKET, libc::SO_RCVTIMEO);
        let before = get(&socket, level, name).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(3))).unwrap();
        assert_ne!(get(&socket, level, name).unwrap(), before);
        set(&socket, level, name, &before).unwrap();
        assert_eq!(socket.read_timeout().unwrap(), None);
    }
}
