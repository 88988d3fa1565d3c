//! What groups of services are called, so that the next server finds them again.

use std::net::SocketAddr;

use crate::config::model::{Endpoint, Service};
use crate::sys::cgroup::LEFT_FOR;

/// With what the names of our groups begin.
pub(super) const PREFIX: &str = "oxinetd.";

/// Characters of a label that are in the name of its group.
const LABEL: usize = 128;

/// Whether a name in the base may be that of a service's group.
pub(super) fn is_of_service(name: &str) -> bool {
    name.starts_with(PREFIX) && name != LEFT_FOR
}

/// What a service is called, and where it listens if that is not everywhere: two may be
/// called the same.
pub(super) fn name_of(service: &Service) -> String {
    let label = file_name(&service.label);
    let address = service.sockets.first().and_then(|spec| match &spec.endpoint {
        Endpoint::Inet(address) if !address.ip().is_unspecified() => Some(address),
        _ => None,
    });
    match address {
        Some(SocketAddr::V4(v4)) => format!("{label}@{}", v4.ip()),
        Some(SocketAddr::V6(v6)) => format!("{label}@{}", v6.ip()),
        None => label,
    }
}

/// A label as a file name.
fn file_name(label: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "-_:@".contains(c) { c } else { '_' };
    label.chars().map(kept).take(LABEL).collect()
}

#[cfg(test)]
mod tests {
    use super::{file_name, is_of_service, name_of};
    use crate::config::model::{Action, Builtin, Endpoint, Service, SocketSpec, SocketType};

    #[test]
    fn labels_are_file_names() {
        assert_eq!(file_name("50002/tcp"), "50002_tcp");
        assert_eq!(file_name("/run/../a b"), "_run____a_b");
        assert_eq!(file_name("@x"), "@x");
    }

    #[test]
    fn services_of_one_name_differ_by_their_address() {
        let at = |endpoint: Endpoint| {
            let spec = SocketSpec { socket_type: SocketType::Stream, endpoint, device: None };
            let plain = Service::unwritten("echo/tcp", Action::Builtin(Builtin::Discard));
            name_of(&Service { sockets: vec![spec], ..plain })
        };
        let inet = |text: &str| at(Endpoint::Inet(text.parse().unwrap()));
        assert_eq!(inet("0.0.0.0:7"), "echo_tcp");
        assert_eq!(inet("[::]:7"), "echo_tcp");
        assert_eq!(inet("127.0.0.1:7"), "echo_tcp@127.0.0.1");
        assert_eq!(inet("[fe80::1]:7"), "echo_tcp@fe80::1");
        assert_eq!(at(Endpoint::Unix("/run/x".into())), "echo_tcp");
    }

    #[test]
    fn the_servers_group_is_no_services() {
        assert!(is_of_service("oxinetd.echo_tcp"));
        assert!(!is_of_service("oxinetd.server") && !is_of_service("oxinetd"));
    }
}
