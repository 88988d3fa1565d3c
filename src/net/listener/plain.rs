//! The options that a program can leave set on a socket that it has had, and what they are on
//! one that nobody has had: some make a socket deaf, some surprise the next program.
//!
//! What the service says itself ([`super::Listener::update`]) is not among them.

use std::os::fd::{AsRawFd, RawFd};

use nix::libc::{self, c_int};
use nix::sys::socket::AddressFamily;

use super::socket::{Socket, new_socket};
use crate::config::model::SocketType;
use crate::sys::socket_options::{self, OptionValue};

/// Level and name of an option.
type OptionName = (c_int, c_int);

/// Those that nobody but a program has set.
const ITS_OWN: &[OptionName] = &[
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO),
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO),
    (libc::SOL_SOCKET, libc::SO_RCVLOWAT),
    (libc::SOL_SOCKET, libc::SO_PEEK_OFF),
    (libc::SOL_SOCKET, libc::SO_LINGER),
    (libc::SOL_SOCKET, libc::SO_DONTROUTE),
    (libc::SOL_SOCKET, libc::SO_OOBINLINE),
    (libc::SOL_SOCKET, SO_MAX_PACING_RATE),
    (libc::SOL_SOCKET, SO_ZEROCOPY),
    (libc::SOL_SOCKET, SO_PASSRIGHTS),
];

/// `asm-generic/socket.h`: how fast it may send; the last is since Linux 6.16 and of unix sockets,
/// which take no descriptors without it.
const SO_MAX_PACING_RATE: c_int = 47;
const SO_ZEROCOPY: c_int = 60;
const SO_PASSRIGHTS: c_int = 83;

/// Those of internet sockets.
const ITS_OWN_V4: &[OptionName] = &[
    (libc::IPPROTO_IP, libc::IP_RECVERR),
    (libc::IPPROTO_IP, libc::IP_RECVTTL),
    (libc::IPPROTO_IP, libc::IP_RECVTOS),
    (libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR),
    (libc::IPPROTO_IP, libc::IP_MINTTL),
    (libc::IPPROTO_IP, libc::IP_OPTIONS),
    (libc::IPPROTO_IP, libc::IP_UNICAST_IF),
    (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL),
    (libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP),
    (libc::IPPROTO_IP, libc::IP_MULTICAST_ALL),
    (libc::IPPROTO_IP, libc::IP_RECVOPTS),
    (libc::IPPROTO_IP, libc::IP_RETOPTS),
];
const ITS_OWN_V6: &[OptionName] = &[
    (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS),
    (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT),
    // Headers of what is sent: a route leads it elsewhere.
    (libc::IPPROTO_IPV6, libc::IPV6_RTHDR),
    (libc::IPPROTO_IPV6, libc::IPV6_RTHDRDSTOPTS),
    (libc::IPPROTO_IPV6, libc::IPV6_HOPOPTS),
    (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS),
    (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_IF),
    (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS),
    (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP),
    (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL),
    (libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVRTHDR),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPOPTS),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVDSTOPTS),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVPATHMTU),
];
/// From where it sends; what it is cannot be asked.
const SOURCE_V6: OptionName = (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
/// struct in6_pktinfo: of no address and no device.
const NO_SOURCE: usize = 20;

/// Of UDP sockets, `linux/udp.h`: to gather what is sent and to hand over what is received
/// to another protocol.
const ITS_OWN_UDP: &[OptionName] = &[
    (libc::IPPROTO_UDP, libc::UDP_CORK),
    (libc::IPPROTO_UDP, libc::UDP_ENCAP),
    (libc::IPPROTO_UDP, libc::UDP_SEGMENT),
    (libc::IPPROTO_UDP, libc::UDP_GRO),
    (libc::IPPROTO_UDP, libc::UDP_NO_CHECK6_TX),
    (libc::IPPROTO_UDP, libc::UDP_NO_CHECK6_RX),
];
const ITS_OWN_TCP: &[OptionName] = &[
    (libc::IPPROTO_TCP, libc::TCP_CORK),
    (libc::IPPROTO_TCP, libc::TCP_SYNCNT),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
    (libc::IPPROTO_TCP, libc::TCP_FASTOPEN),
    (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT),
    (libc::IPPROTO_TCP, libc::TCP_MAXSEG),
    (libc::IPPROTO_TCP, libc::TCP_CONGESTION),
    (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT),
    (libc::IPPROTO_TCP, libc::TCP_LINGER2),
    (libc::IPPROTO_TCP, libc::TCP_SAVE_SYN),
];
/// The largest segment that it sends: of none of its own, the system's is told.
const SEGMENT: OptionName = (libc::IPPROTO_TCP, libc::TCP_MAXSEG);

/// Those that the service manager may have set, too: its sockets keep what it has.
const THE_MANAGERS: &[OptionName] = &[
    (libc::SOL_SOCKET, libc::SO_BROADCAST),
    (libc::SOL_SOCKET, libc::SO_PRIORITY),
    (libc::SOL_SOCKET, libc::SO_MARK),
    (libc::SOL_SOCKET, libc::SO_PASSCRED),
    (libc::SOL_SOCKET, libc::SO_PASSSEC),
    (libc::SOL_SOCKET, libc::SO_TIMESTAMP),
    (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS),
    (libc::SOL_SOCKET, libc::SO_TIMESTAMPING),
    (libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (libc::SOL_SOCKET, libc::SO_REUSEPORT),
];
const THE_MANAGERS_V4: &[OptionName] = &[
    (libc::IPPROTO_IP, libc::IP_TOS),
    (libc::IPPROTO_IP, libc::IP_TTL),
    (libc::IPPROTO_IP, libc::IP_PKTINFO),
    (libc::IPPROTO_IP, libc::IP_FREEBIND),
    (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
];
const THE_MANAGERS_V6: &[OptionName] = &[
    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
];
const THE_MANAGERS_TCP: &[OptionName] = &[
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
];

/// Options with their values.
#[derive(Debug)]
pub(super) struct PlainOptions(Vec<(OptionName, OptionValue)>);

impl PlainOptions {
    /// What they are on a new socket of this kind; those that this kernel does not know, or
    /// that such a socket does not have, are not among them. None without a descriptor for it.
    ///
    /// `managers`: one of the service manager's, which has set some of them as it likes.
    pub(super) fn of(
        family: AddressFamily,
        socket_type: SocketType,
        managers: Option<&Socket>,
    ) -> Option<Self> {
        let new = new_socket(family, socket_type).ok()?;
        if socket_type == SocketType::Stream && is_inet(family) {
            // As every listener has it.
            let yes = OptionValue::number(1);
            socket_options::set(&new, libc::SOL_SOCKET, libc::SO_REUSEADDR, &yes).ok()?;
        }
        let (its_own, the_managers) = groups(family, socket_type);
        let known = |socket: RawFd, groups: &[&'static [OptionName]]| {
            let names = groups.concat().into_iter();
            let value =
                |name: OptionName| Some((name, socket_options::get(&socket, name.0, name.1).ok()?));
            names.filter_map(value).collect::<Vec<_>>()
        };
        let mut all = known(new.as_raw_fd(), &its_own);
        let as_is = managers.map_or(new.as_raw_fd(), AsRawFd::as_raw_fd);
        all.append(&mut known(as_is, &the_managers));
        if family == AddressFamily::Inet6 {
            all.push((SOURCE_V6, OptionValue::zeros(NO_SOURCE)));
        }
        Some(Self(all))
    }

    /// Gives a socket those values of its options that it has not.
    pub(super) fn restore(&self, socket: &Socket) {
        for ((level, name), value) in &self.0 {
            let is_so = socket_options::get(socket, *level, *name).is_ok_and(|it| it == *value);
            let none = OptionValue::number(0);
            let value = if (*level, *name) == SEGMENT { &none } else { value };
            if !is_so && let Err(error) = socket_options::set(socket, *level, *name, value) {
                log::debug!("option level={level} name={name} error={error}");
            }
        }
    }
}

fn is_inet(family: AddressFamily) -> bool {
    matches!(family, AddressFamily::Inet | AddressFamily::Inet6)
}

fn groups(
    family: AddressFamily,
    socket_type: SocketType,
) -> ([&'static [OptionName]; 3], Vec<&'static [OptionName]>) {
    let (of_program, of_manager, of_protocol) = match (family, socket_type) {
        (AddressFamily::Inet, SocketType::Dgram) => (ITS_OWN_V4, THE_MANAGERS_V4, ITS_OWN_UDP),
        (AddressFamily::Inet, _) => (ITS_OWN_V4, THE_MANAGERS_V4, ITS_OWN_TCP),
        (AddressFamily::Inet6, SocketType::Dgram) => (ITS_OWN_V6, THE_MANAGERS_V6, ITS_OWN_UDP),
        (AddressFamily::Inet6, _) => (ITS_OWN_V6, THE_MANAGERS_V6, ITS_OWN_TCP),
        _ => (&[][..], &[][..], &[][..]),
    };
    let mut the_managers = vec![THE_MANAGERS, of_manager];
    if socket_type == SocketType::Stream && is_inet(family) {
        the_managers.push(THE_MANAGERS_TCP);
    }
    ([ITS_OWN, of_program, of_protocol], the_managers)
}
