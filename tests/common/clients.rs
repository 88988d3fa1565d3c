//! Clients: each read has a deadline, so that a silent server fails a test instead of hanging it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, UnixAddr, bind, connect, recv, send, setsockopt,
    socket, sockopt,
};

use super::wait::{DEADLINE, wait_for};

/// A connection to 127.0.0.1.
#[track_caller]
pub(crate) fn tcp(port: u16) -> TcpStream {
    tcp_to((Ipv4Addr::LOCALHOST, port).into())
}

/// A connection to ::1.
#[track_caller]
pub(crate) fn tcp6(port: u16) -> TcpStream {
    tcp_to((Ipv6Addr::LOCALHOST, port).into())
}

/// A connection to `address`.
#[track_caller]
pub(crate) fn tcp_to(address: SocketAddr) -> TcpStream {
    try_tcp(address).unwrap_or_else(|error| panic!("connecting to {address}: {error}"))
}

/// The same, for tests that expect to be turned away.
pub(crate) fn try_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    Ok(stream)
}

/// Sends `request`, says that this was all, and reads until the end.
#[track_caller]
pub(crate) fn ask(port: u16, request: &str) -> String {
    let mut stream = tcp(port);
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_all(stream)
}

/// Everything until the end of the stream.
#[track_caller]
pub(crate) fn read_all(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    end.unwrap_or_else(|error| panic!("{error} after {text:?}"));
    text
}

/// Everything until the end, where a reset counts as one: for servers that turn clients away.
pub(crate) fn read_to_any_end(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "only a reset may end it");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One line, its newline included, byte by byte: nothing after it is taken.
#[track_caller]
pub(crate) fn read_line(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while bytes.last() != Some(&b'\n') {
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => bytes.push(byte[0]),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Sends `text` and reads as many bytes: what an echo gives.
#[track_caller]
pub(crate) fn echo_once(mut stream: impl Read + Write, text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// Closes the connection with a reset: SO_LINGER with no time.
pub(crate) fn reset(stream: TcpStream) {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, sockopt::Linger, &linger).unwrap();
    drop(stream);
}

/// A connection to 127.0.0.1 from another address of this machine: all of 127/8 is its own.
#[track_caller]
pub(crate) fn tcp_from(own: Ipv4Addr, port: u16) -> TcpStream {
    let kind = SockType::Stream;
    let fd = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(own, 0))).unwrap();
    connect(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).unwrap();
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// The same for datagrams.
pub(crate) fn udp_from(own: Ipv4Addr, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((own, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// A UDP socket of its own, connected to 127.0.0.1.
pub(crate) fn udp(port: u16) -> UdpSocket {
    udp_to((Ipv4Addr::LOCALHOST, port).into())
}

/// A UDP socket of its own, connected to `address`.
pub(crate) fn udp_to(address: SocketAddr) -> UdpSocket {
    let own: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::LOCALHOST, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::LOCALHOST, 0).into(),
    };
    let socket = UdpSocket::bind(own).unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// Sends one datagram and waits for the answer.
#[track_caller]
pub(crate) fn udp_ask(socket: &UdpSocket, text: &str) -> String {
    socket.send(text.as_bytes()).unwrap();
    udp_read(socket)
}

/// Asks for the same in capitals again and again, after so long each time, since datagrams may
/// be lost.
#[track_caller]
pub(crate) fn ask_until_answered(client: &UdpSocket, text: &str, patience: Duration) {
    client.set_read_timeout(Some(patience)).unwrap();
    let answer = text.to_uppercase();
    wait_for("an answer", || {
        client.send(text.as_bytes()).ok()?;
        let mut bytes = [0; 64];
        let length = client.recv(&mut bytes).ok()?;
        (bytes[..length] == *answer.as_bytes()).then_some(())
    });
}

/// The next datagram.
#[track_caller]
pub(crate) fn udp_read(socket: &UdpSocket) -> String {
    let mut answer = [0; 65_535];
    let count = socket.recv(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

/// A connection of sequenced packets to a unix socket.
pub(crate) struct Packets {
    socket: OwnedFd,
}

impl Packets {
    /// Connects to the socket file at `path`.
    pub(crate) fn connect(path: &Path) -> nix::Result<Self> {
        let kind = SockType::SeqPacket;
        let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
        let wait = nix::sys::time::TimeVal::new(DEADLINE.as_secs().try_into().unwrap(), 0);
        setsockopt(&socket.as_fd(), sockopt::ReceiveTimeout, &wait)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Self { socket })
    }

    /// The next packet; none if there is an end, or an error, first.
    pub(crate) fn read(&self) -> Option<String> {
        let mut answer = [0; 65_535];
        let flags = nix::sys::socket::MsgFlags::empty();
        let count = recv(self.socket.as_raw_fd(), &mut answer, flags).ok()?;
        Some(String::from_utf8_lossy(&answer[..count]).into_owned())
    }

    /// Sends one packet and waits for the next one.
    pub(crate) fn ask(&self, text: &str) -> String {
        let flags = nix::sys::socket::MsgFlags::empty();
        send(self.socket.as_raw_fd(), text.as_bytes(), flags).unwrap();
        let mut answer = [0; 65_535];
        let count = recv(self.socket.as_raw_fd(), &mut answer, flags).unwrap();
        String::from_utf8_lossy(&answer[..count]).into_owned()
    }
}

/// Whether nobody listens there, on 127.0.0.1.
pub(crate) fn is_closed(port: u16) -> bool {
    try_tcp(([127, 0, 0, 1], port).into()).is_err()
}
