//! Whether an address is one of this machine.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::listener::udp_socket;

/// Whether a socket can be bound to it.
pub(crate) fn is_own(ip: IpAddr) -> bool {
    // Nothing is sent, and nothing can be received: any port will do.
    ip.is_loopback() || UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

/// Whether an address is this machine's: the way there begins and ends at it. It may be if that
/// cannot be told; but there is a way to all that are.
pub(crate) fn may_be_own(address: SocketAddr) -> bool {
    let way_to = || {
        let socket = UdpSocket::from(udp_socket(&address)?);
        socket.connect(address)?;
        socket.local_addr()
    };
    match way_to() {
        Ok(own) => own.ip() == address.ip(),
        Err(error) => {
            !matches!(error.kind(), ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::may_be_own;

    #[test]
    fn an_address_is_ours_if_it_may_be() {
        assert!(may_be_own("127.0.0.1:9".parse().unwrap()));
        // There is a way to this one, or there is none.
        assert!(!may_be_own("192.0.2.1:9".parse().unwrap()));
        // The system does not say: a socket has to ask for this one (EACCES).
        assert!(may_be_own("255.255.255.255:9".parse().unwrap()));
    }
}
