//! Connecting a UDP socket that is bound to all addresses so that it answers from the one that
//! was asked. bind(2) does nothing to it any more; but an address that connect(2) has chosen
//! for one peer stays when the socket is connected to another.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use nix::net::if_::if_nametoindex;

use crate::sys::socket_options;

/// All hosts of a network: reached from whatever address one says, over no route.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

/// Connects a socket to a peer. `wanted` is the address, of several, that the peer is to be
/// answered from; `device` is the only one that the socket uses, if it is bound to one.
///
/// # Errors
/// connect(2)'s.
pub(crate) fn connect_from(
    socket: &UdpSocket,
    peer: SocketAddr,
    wanted: Option<SocketAddr>,
    device: Option<&str>,
) -> io::Result<()> {
    if let Some(wanted) = wanted
        && let Err(error) = choose(socket, wanted, device)
    {
        // Then the system chooses.
        log::debug!("unbound address={wanted} peer={peer} error={error}");
    }
    socket.connect(peer)
}

fn choose(socket: &UdpSocket, own: SocketAddr, device: Option<&str>) -> io::Result<()> {
    match own {
        // Whoever talks to an address of this machine from it has that address.
        SocketAddr::V6(_) => socket.connect(own),
        // In IPv4 it may be the first one of its network.
        SocketAddr::V4(v4) => {
            // Its address may be that of another.
            let interface = device.map(if_nametoindex).transpose()?.unwrap_or(0);
            let interface = i32::try_from(interface).map_err(io::Error::other)?;
            socket_options::set_multicast_source(socket, *v4.ip(), interface)?;
            let chosen = socket.connect((GROUP, v4.port()));
            socket_options::set_multicast_source(socket, Ipv4Addr::UNSPECIFIED, 0)?;
            chosen
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{setsockopt, sockopt};

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
        connect_from(&socket, peer, Some(own), None).unwrap();
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
        connect_from(&socket, client.local_addr().unwrap(), Some(nobodys), None).unwrap();
        assert!(socket.local_addr().unwrap().ip().is_loopback());
    }
    #[test]
    fn a_socket_of_one_device_may_be_asked_at_the_address_of_another() {
        let mut others = nix::ifaddrs::getifaddrs().unwrap();
        let other = others
            .find_map(|it| Some(it.address?.as_sockaddr_in()?.ip()).filter(|ip| !ip.is_loopback()));
        let Some(other) = other else { return };
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if setsockopt(&socket, sockopt::BindToDevice, &"lo".into()).is_err() {
            return;
        }
        let own = (other, socket.local_addr().unwrap().port()).into();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        connect_from(&socket, peer, Some(own), Some("lo")).unwrap();
        assert_eq!(socket.local_addr().unwrap(), own);
    }
}
