//! Which datagrams are answered: not those that would make the server ping a
//! loop along or hit somebody who never asked.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use nix::sys::socket::UnixAddr;

use super::buckets::{BucketSource, Buckets};
use crate::admission::ServiceId;
use crate::config::model::{Endpoint, Rate};

/// Answers to one process at unix sockets: no client that asks gets there, two servers that
/// answer each other cost a tenth of a processor at most.
const ANSWERS_PER_PROCESS: Rate = Rate { count: 10_000, per: Duration::from_secs(1) };

/// Source ports below this one are not answered.
const FIRST_CLIENT_PORT: u16 = 1024;

/// Decides which datagrams the built-in services answer.
///
/// The source of a UDP datagram can be forged. Two things follow: an answer may
/// reach a service that answers it, and the two go on for ever (CERT CA-1996-01);
/// and an answer may reach a victim. Hence these rules, in this order:
///
/// 1. **Source port 0**: nobody can receive there.
/// 2. **Source ports below 1024**: a client's port is chosen by its kernel above
///    them; what is below is a service, and many (echo, chargen, DNS, NTP, TFTP)
///    answer whatever comes, with an error if nothing else. This covers the built-in
///    services' own ports 7, 9, 13, 17, 19 and 37 on every host. No exceptions:
///    the programs that do ask from below 1024 (NTP, rsh, NFS) do not ask us.
/// 3. **Source ports of our own datagram services**, built in or programs, wherever they
///    are: another host may well run the same configuration, and two echo services at
///    port 5007 loop as well as two at port 7.
/// 4. **Sources that are no single host**: unspecified (0.0.0.0/8, `::`),
///    multicast, class E and 255.255.255.255, and the directed broadcast
///    addresses that are given. One answer would become many.
/// 5. **Loopback sources** to an address that is not loopback: forged, or
///    routed here by mistake. Where the destination is not known (a socket bound
///    to the wildcard address) Linux has dropped these already.
/// 6. **Too many** answers of the service to one source, an IPv4 address or an IPv6 /64: a
///    victim of forged requests gets at most that. Not for loopback: it is nobody else's,
///    and is there to be measured with.
///
/// IPv4 addresses mapped into IPv6 are looked at as IPv4. Everything is O(1) but
/// the two look-ups in the given ports and addresses.
///
/// The source of a unix datagram is true. It may be one of our own services all the same,
/// whose program has the socket, or whose answer this is; or the same of another server.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    own_ports: BTreeSet<u16>,
    own_names: BTreeSet<Endpoint>,
    broadcasts: BTreeSet<Ipv4Addr>,
    buckets: Buckets,
    processes: Buckets,
}

/// What a service gives to each source: its `answer_rate`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// Which service.
    pub service: ServiceId,
    /// None is no limit.
    pub rate: Option<Rate>,
}

/// Why a datagram is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rejection {
    /// Its source port is 0.
    PortZero,
    /// Its source port is below 1024.
    ServicePort,
    /// Its source port is that of one of our own datagram services.
    OwnPort,
    /// Its source is unspecified, multicast, broadcast or reserved.
    NoHost,
    /// It was sent to many.
    ForMany,
    /// It came from loopback to elsewhere.
    Martian,
    /// Its source is the name of one of our own unix sockets.
    OwnName,
    /// Its source has had its share of answers.
    TooMany,
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::PortZero => "source port 0",
            Self::ServicePort => "source port of a service (below 1024)",
            Self::OwnPort => "source port of a service of our own",
            Self::NoHost => "source address of no single host",
            Self::ForMany => "sent to a broadcast or multicast address",
            Self::Martian => "loopback source from elsewhere",
            Self::OwnName => "name of a socket of our own",
            Self::TooMany => "too many from this source",
        })
    }
}

impl Guard {
    /// Replaces the ports of our own services, as a reload does; what is known
    /// of the sources stays.
    pub(crate) fn set_own_ports(&mut self, own_ports: impl IntoIterator<Item = u16>) {
        self.own_ports = own_ports.into_iter().collect();
    }

    /// The same for the names of our unix datagram sockets.
    pub(crate) fn set_own_names(&mut self, own_names: impl IntoIterator<Item = Endpoint>) {
        self.own_names = own_names.into_iter().collect();
    }

    /// Replaces the directed broadcast addresses of this machine's networks.
    pub(crate) fn set_broadcasts(&mut self, broadcasts: impl IntoIterator<Item = Ipv4Addr>) {
        self.broadcasts = broadcasts.into_iter().collect();
    }

    /// Whether a port is that of one of our own datagram services.
    pub(crate) fn is_own_port(&self, port: u16) -> bool {
        self.own_ports.contains(&port)
    }

    /// Whether an address is that of many: broadcast or multicast.
    pub(crate) fn is_for_many(&self, destination: IpAddr) -> bool {
        match destination {
            IpAddr::V4(to) => {
                to.is_multicast() || to.is_broadcast() || self.broadcasts.contains(&to)
            }
            IpAddr::V6(to) => to.is_multicast(),
        }
    }

    /// Whether a datagram from `peer` is answered, and if so counts it.
    /// `destination` is the address it was sent to: the socket's own, or what
    /// IP_PKTINFO says; unspecified if that is not known.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub(crate) fn permits(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        destination: IpAddr,
        Share { service, rate }: Share,
    ) -> Result<(), Rejection> {
        self.check_port(peer.port())?;
        let source = peer.ip().to_canonical();
        self.check_address(source, destination.to_canonical())?;
        let Some(rate) = rate.filter(|_| !source.is_loopback()) else { return Ok(()) };
        let granted = self.buckets.take(now, (Some(service), source.into()), rate);
        granted.then_some(()).ok_or(Rejection::TooMany)
    }

    /// Whether a unix datagram of this name and process is answered, and if so counts it.
    ///
    /// # Errors
    /// That it is one of ours; that there were too many.
    pub(crate) fn permits_local(
        &mut self,
        now: Instant,
        name: &UnixAddr,
        process: i32,
    ) -> Result<(), Rejection> {
        let name = match (name.path(), name.as_abstract()) {
            (Some(path), _) => Endpoint::Unix(path.to_owned()),
            (None, name) => Endpoint::Abstract(name.unwrap_or_default().to_vec()),
        };
        if self.own_names.contains(&name) {
            return Err(Rejection::OwnName);
        }
        let owner = (None, BucketSource::Process(process));
        let granted = self.processes.take(now, owner, ANSWERS_PER_PROCESS);
        granted.then_some(()).ok_or(Rejection::TooMany)
    }

    fn check_port(&self, port: u16) -> Result<(), Rejection> {
        match port {
            0 => Err(Rejection::PortZero),
            1..FIRST_CLIENT_PORT => Err(Rejection::ServicePort),
            _ if self.is_own_port(port) => Err(Rejection::OwnPort),
            _ => Ok(()),
        }
    }

    fn check_address(&self, source: IpAddr, destination: IpAddr) -> Result<(), Rejection> {
        let is_host = match source {
            IpAddr::V4(source) => {
                !matches!(source.octets(), [0 | 224.., ..]) && !self.broadcasts.contains(&source)
            }
            IpAddr::V6(source) => !source.is_unspecified() && !source.is_multicast(),
        };
        if !is_host {
            return Err(Rejection::NoHost);
        }
        if self.is_for_many(destination) {
            return Err(Rejection::ForMany);
        }
        let is_known = !destination.is_unspecified();
        if source.is_loopback() && is_known && !destination.is_loopback() {
            return Err(Rejection::Martian);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Admission, Limits};
    use crate::config::model::Attributes;

    fn guard() -> Guard {
        let mut guard = Guard::default();
        guard.set_own_ports([7, 5007]);
        guard.set_broadcasts([Ipv4Addr::new(192, 0, 2, 255)]);
        guard
    }

    /// A service that gives so many answers a second, and another one.
    fn shares(count: u32) -> [Share; 2] {
        let mut admission = Admission::new(1);
        [(); 2].map(|()| {
            let service = admission.add(Limits::new(&Attributes::default(), false));
            Share { service, rate: Some(Rate { count, per: Duration::from_secs(1) }) }
        })
    }

    fn verdict(peer: &str, destination: &str) -> Result<(), Rejection> {
        let (peer, destination) = (peer.parse().unwrap(), destination.parse().unwrap());
        guard().permits(Instant::now(), peer, destination, shares(50)[0])
    }

    #[test]
    fn clients_are_answered() {
        for (peer, destination) in [
            ("192.0.2.1:1024", "192.0.2.9"),
            ("192.0.2.1:65535", "0.0.0.0"),
            ("[2001:db8::1]:40000", "::"),
            ("[fe80::1%2]:40000", "fe80::2"),
            ("[::ffff:192.0.2.1]:40000", "::"),
            ("127.0.0.1:40000", "127.0.0.1"),
            ("127.0.0.1:40000", "0.0.0.0"),
            ("[::1]:40000", "::1"),
            ("[::ffff:127.0.0.1]:40000", "::ffff:127.0.0.1"),
        ] {
            assert_eq!(verdict(peer, destination), Ok(()), "{peer} to {destination}");
        }
    }

    #[test]
    fn loops_and_forgeries_are_not_answered() {
        for (peer, destination, rejection) in [
            ("192.0.2.1:0", "0.0.0.0", Rejection::PortZero),
            ("192.0.2.1:7", "0.0.0.0", Rejection::ServicePort),
            ("192.0.2.1:19", "0.0.0.0", Rejection::ServicePort),
            ("192.0.2.1:1023", "0.0.0.0", Rejection::ServicePort),
            ("127.0.0.1:19", "127.0.0.1", Rejection::ServicePort),
            ("127.0.0.1:5007", "127.0.0.1", Rejection::OwnPort),
            ("[2001:db8::1]:5007", "::", Rejection::OwnPort),
            ("0.0.0.0:40000", "0.0.0.0", Rejection::NoHost),
            ("0.1.2.3:40000", "0.0.0.0", Rejection::NoHost),
            ("224.0.0.1:40000", "0.0.0.0", Rejection::NoHost),
            ("240.0.0.1:40000", "0.0.0.0", Rejection::NoHost),
            ("255.255.255.255:40000", "0.0.0.0", Rejection::NoHost),
            ("192.0.2.255:40000", "0.0.0.0", Rejection::NoHost),
            ("[::ffff:192.0.2.255]:40000", "::", Rejection::NoHost),
            ("[::ffff:224.0.0.1]:40000", "::", Rejection::NoHost),
            ("[::]:40000", "::", Rejection::NoHost),
            ("[ff02::1]:40000", "::", Rejection::NoHost),
            ("192.0.2.1:40000", "192.0.2.255", Rejection::ForMany),
            ("192.0.2.1:40000", "255.255.255.255", Rejection::ForMany),
            ("192.0.2.1:40000", "224.0.0.1", Rejection::ForMany),
            ("[fe80::1]:40000", "ff02::1", Rejection::ForMany),
            ("127.0.0.1:40000", "192.0.2.9", Rejection::Martian),
            ("[::1]:40000", "2001:db8::9", Rejection::Martian),
            ("[::ffff:127.0.0.1]:40000", "::ffff:192.0.2.9", Rejection::Martian),
        ] {
            assert_eq!(verdict(peer, destination), Err(rejection), "{peer} to {destination}");
        }
    }

    #[test]
    fn a_remote_source_gets_its_share_and_loopback_all_it_wants() {
        let (mut guard, now, [share, other]) = (guard(), Instant::now(), shares(50));
        let mut granted_by = |share: Share, peer: &str| {
            let (peer, any) = (peer.parse().unwrap(), Ipv4Addr::UNSPECIFIED.into());
            (0..10_000).filter(|_| guard.permits(now, peer, any, share).is_ok()).count()
        };
        assert_eq!(granted_by(Share { rate: None, ..share }, "192.0.2.1:40000"), 10_000);
        let mut granted = |peer: &str| granted_by(share, peer);
        assert_eq!(granted("192.0.2.1:40000"), 50);
        assert_eq!(granted("192.0.2.1:40001"), 0, "the port does not make it another source");
        assert_eq!(granted("[::ffff:192.0.2.1]:40000"), 0, "nor does mapping it");
        assert_eq!(granted("192.0.2.2:40000"), 50);
        assert_eq!(granted("127.0.0.1:40000"), 10_000);
        assert_eq!(granted("[::1]:40000"), 10_000);
        assert_eq!(granted_by(other, "192.0.2.1:40000"), 50, "another service has its own");
    }

    #[test]
    fn what_is_rejected_costs_no_token() {
        let (mut guard, [share, _]) = (guard(), shares(50));
        let (now, any) = (Instant::now(), Ipv4Addr::UNSPECIFIED.into());
        for _ in 0..100 {
            let rejected = guard.permits(now, "192.0.2.1:7".parse().unwrap(), any, share);
            assert_eq!(rejected, Err(Rejection::ServicePort));
        }
        assert_eq!(guard.permits(now, "192.0.2.1:4000".parse().unwrap(), any, share), Ok(()));
    }

    #[test]
    fn a_reload_changes_the_ports_and_keeps_the_counts() {
        let (mut guard, [share, _]) = (guard(), shares(50));
        let (now, any) = (Instant::now(), Ipv4Addr::UNSPECIFIED.into());
        let peer: SocketAddr = "192.0.2.1:5007".parse().unwrap();
        assert_eq!(guard.permits(now, peer, any, share), Err(Rejection::OwnPort));
        guard.set_own_ports([6007]);
        let granted = (0..100).filter(|_| guard.permits(now, peer, any, share).is_ok()).count();
        assert_eq!(granted, 50);
        guard.set_own_ports([7007]);
        assert_eq!(guard.permits(now, peer, any, share), Err(Rejection::TooMany));
    }

    #[test]
    fn our_own_names_are_not_answered_and_no_process_endlessly() {
        let mut guard = guard();
        guard.set_own_names([Endpoint::Unix("/run/echo".into()), Endpoint::Abstract(b"e".into())]);
        let (path, name) = (UnixAddr::new("/run/echo").unwrap(), UnixAddr::new_abstract(b"e"));
        let now = Instant::now();
        assert_eq!(guard.permits_local(now, &path, 1), Err(Rejection::OwnName));
        assert_eq!(guard.permits_local(now, &name.unwrap(), 1), Err(Rejection::OwnName));
        let other = UnixAddr::new("e").unwrap();
        let answered = (0..20_000).filter(|_| guard.permits_local(now, &other, 2).is_ok()).count();
        assert_eq!(answered, 10_000);
        assert_eq!(guard.permits_local(now, &other, 3), Ok(()), "another process");
    }
}
