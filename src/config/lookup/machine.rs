//! What this machine and its kernel can do.

use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};

use nix::net::if_::if_nametoindex;
use nix::sys::resource::{RLIM_INFINITY, getrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::config::model::Resource;

/// IPv6 can be built in and switched off. Whether an address is there, the loopback's
/// included, is another question: it may come later.
pub(super) fn has_ipv6() -> bool {
    let binds = |ip| UdpSocket::bind(SocketAddrV6::new(ip, 0, 0, 0)).is_ok();
    let off = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    let is_off = off.is_ok_and(|text| text.trim() == "1");
    binds(Ipv6Addr::LOCALHOST) || (!is_off && binds(Ipv6Addr::UNSPECIFIED))
}

/// Whether the kernel has virtual sockets, and lets us have them.
pub(super) fn has_vsock() -> bool {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Vsock, SockType::Stream, flags, None).is_ok()
}

/// Whether programs can be confined to paths.
pub(super) fn has_landlock() -> bool {
    use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
    // Before the third version of Landlock, files could be truncated all the same.
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V3))
        .and_then(Ruleset::create)
        .is_ok()
}

/// The index of a network device: of our own network namespace, which /sys need not be of.
pub(super) fn device_index(name: &str) -> Option<u32> {
    if_nametoindex(name).ok()
}

/// The most that the server itself may have; None: as much as it likes.
pub(super) fn hard_limit(resource: Resource) -> Option<u64> {
    let (_, hard) = getrlimit(system_name(resource)).ok()?;
    (hard != RLIM_INFINITY).then_some(hard)
}

/// The most descriptors that setrlimit(2) gives anybody.
pub(super) fn most_descriptors() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/fs/nr_open").ok()?.trim().parse().ok()
}

fn system_name(resource: Resource) -> nix::sys::resource::Resource {
    use nix::sys::resource::Resource as Name;
    match resource {
        Resource::As => Name::RLIMIT_AS,
        Resource::Core => Name::RLIMIT_CORE,
        Resource::Cpu => Name::RLIMIT_CPU,
        Resource::Data => Name::RLIMIT_DATA,
        Resource::Files => Name::RLIMIT_NOFILE,
        Resource::Fsize => Name::RLIMIT_FSIZE,
        Resource::Nproc => Name::RLIMIT_NPROC,
        Resource::Stack => Name::RLIMIT_STACK,
    }
}
