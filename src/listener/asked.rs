//! Connecting a UDP socket that is bound to all addresses so that it answers from the one that
//! was asked. bind(2) does nothing to it any more; but an address that connect(2) has chosen
//! for one peer stays when the socket is connected to another.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use crate::spawn::kernel;

/// All hosts of a network: reached from whatever address one says, over no route.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

/// Connects a socket to a peer. `asked` is the address, of several, that the peer is to be
/// answered from.
///
/// # Errors
/// connect(2)'s.
pub fn connect_from(
    socket: &UdpSocket,
    peer: SocketAddr,
    asked: Option<SocketAddr>,
) -> io::Result<()> {
    if let Some(asked) = asked
        && let Err(error) = choose(socket, asked)
    {
        // Then the system chooses.
        log::debug!("unbound address={asked} peer={peer} error={error}");
    }
    socket.connect(peer)
}

fn choose(socket: &UdpSocket, own: SocketAddr) -> io::Result<()> {
    match own {
        // Whoever talks to an address of this machine from it has that address.
        SocketAddr::V6(_) => socket.connect(own),
        // In IPv4 it may be the first one of its network.
        SocketAddr::V4(v4) => {
            kernel::set_multicast_source(socket, *v4.ip())?;
            let chosen = socket.connect((GROUP, v4.port()));
            kernel::set_multicast_source(socket, Ipv4Addr::UNSPECIFIED)?;
            chosen
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to one who takes it from `own` alone, and what was sent before and after.
    fn talk(any: &str, own: &str) {
        let Ok(socket) = UdpSocket::bind(any) else { return };
        let port = socket.local_addr().unwrap().port();
        let own = SocketAddr::new(own.parse().unwrap(), port);
        let client = UdpSocket::bind(SocketAddr::new(own.ip(), 0)).unwrap();
        client.connect(own).unwrap();
        client.send(b"before").unwrap();
        let peer = client.local_addr().unwrap();
        connect_from(&socket, peer, Some(own)).unwrap();
        let connected = (socket.local_addr().unwrap(), socket.peer_addr().unwrap());
        assert_eq!(connected, (own, peer));
        let mut buffer = [0; 16];
        assert_eq!(socket.recv_from(&mut buffer).unwrap(), (6, peer));
        socket.send(b"answer").unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 6);
        client.send(b"after").unwrap();
        assert_eq!(socket.recv(&mut buffer).unwrap(), 5);
    }

    #[test]
    fn a_socket_of_all_addresses_becomes_one_of_the_address_that_was_asked() {
        talk("0.0.0.0:0", "127.0.0.1");
        talk("0.0.0.0:0", "127.0.0.2");
        talk("[::]:0", "::1");
    }

    #[test]
    fn an_address_that_is_not_ours_is_the_systems_choice() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let nobodys = "192.0.2.77:7".parse().unwrap();
        connect_from(&socket, client.local_addr().unwrap(), Some(nobodys)).unwrap();
        assert!(socket.local_addr().unwrap().ip().is_loopback());
    }
}
