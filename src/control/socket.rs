//! Where the server is asked: the control socket, for root and its own user, and the
//! endpoints for metrics and for the page.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

use crate::config::model::{
    Action, Attributes, Builtin, Endpoint, Service, SocketSpec, SocketType,
};
use crate::net::listener::Listener;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 64;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SavedKind", into = "SavedKind")]
pub(crate) enum ControlKind {
    /// Commands.
    Control,
    /// Those who collect metrics.
    Metrics,
    /// Browsers.
    Page,
}

/// The same in an upgrade's state, which began with two kinds: whether it is for commands.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum SavedKind {
    Controls(bool),
    Called(String),
}

impl From<SavedKind> for ControlKind {
    fn from(saved: SavedKind) -> Self {
        match saved {
            SavedKind::Controls(true) => Self::Control,
            SavedKind::Controls(false) => Self::Metrics,
            SavedKind::Called(_) => Self::Page,
        }
    }
}

impl From<ControlKind> for SavedKind {
    fn from(kind: ControlKind) -> Self {
        match kind {
            ControlKind::Control => Self::Controls(true),
            ControlKind::Metrics => Self::Controls(false),
            ControlKind::Page => Self::Called("page".to_owned()),
        }
    }
}

/// What an endpoint for metrics or for the page is.
pub(crate) const ENDPOINT_WANTED: &str = "a port, *:PORT, ADDRESS:PORT or /PATH is wanted";

/// Whether such an endpoint can be meant.
#[must_use]
pub(crate) fn is_endpoint(text: &str) -> bool {
    endpoints(text).is_some()
}

/// Whether nobody on another machine can reach it.
#[must_use]
pub(crate) fn is_of_this_machine(text: &str) -> bool {
    let is_local = |endpoint: &Endpoint| match endpoint {
        Endpoint::Inet(address) => address.ip().to_canonical().is_loopback(),
        _ => true,
    };
    endpoints(text).is_some_and(|all| all.iter().all(is_local))
}

/// Whether what such an endpoint, or the path of a control socket, names and a socket of a service
/// cannot both be.
#[must_use]
pub(crate) fn collides(text: &str, other: &Endpoint) -> bool {
    let is_same = |ours: &Endpoint| match (ours, other) {
        (Endpoint::Inet(ours), Endpoint::Inet(other)) => {
            let (one, two) = (ours.ip(), other.ip());
            let overlap = one == two || one.is_unspecified() || two.is_unspecified();
            // Any free port is another one.
            let is_same_port = ours.port() == other.port() && ours.port() != 0;
            overlap && is_same_port && one.is_ipv4() == two.is_ipv4()
        }
        (ours, other) => ours == other,
    };
    endpoints(text).is_some_and(|all| all.iter().any(is_same))
}

/// The same of two such endpoints.
#[must_use]
pub(crate) fn collide(text: &str, other: &str) -> bool {
    endpoints(other).unwrap_or_default().iter().any(|it| collides(text, it))
}

/// Opens the control socket: mode 0600, and a stale one is replaced.
///
/// # Errors
/// What the system answered, or what is in the way.
pub(crate) fn open_control(path: &Path) -> io::Result<Listener> {
    open(Endpoint::Unix(path.to_owned()))
}

/// Opens an endpoint for metrics or for the page: a port (of this machine only), `*:PORT`,
/// `ADDRESS:PORT`, or a path. One socket, or one for each family.
///
/// # Errors
/// What is wrong with the text, or what the system answered.
pub(crate) fn open_endpoint(text: &str) -> io::Result<Vec<Listener>> {
    let endpoints =
        endpoints(text).ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, ENDPOINT_WANTED))?;
    let (open, failed): (Vec<_>, Vec<_>) =
        endpoints.into_iter().map(open).partition(io::Result::is_ok);
    match failed.into_iter().find_map(Result::err) {
        // A machine without IPv6 has the other family.
        Some(error) if open.is_empty() || !lacks_family(&error) => Err(error),
        _ => Ok(open.into_iter().flatten().collect()),
    }
}

fn lacks_family(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

fn endpoints(text: &str) -> Option<Vec<Endpoint>> {
    if text.starts_with('/') {
        return Some(vec![Endpoint::Unix(PathBuf::from(text))]);
    }
    let (v4, v6): (IpAddr, IpAddr) = match text.strip_prefix("*:") {
        Some(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()),
        None => (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()),
    };
    if let Ok(address) = text.parse() {
        return Some(vec![Endpoint::Inet(address)]);
    }
    let port = text.strip_prefix("*:").unwrap_or(text).parse().ok()?;
    Some([v4, v6].map(|ip| Endpoint::Inet(SocketAddr::new(ip, port))).into())
}

/// A listener of our own is opened as a service's is.
fn open(endpoint: Endpoint) -> io::Result<Listener> {
    let spec = SocketSpec { endpoint, socket_type: SocketType::Stream, device: None };
    let mut attributes = Attributes::default();
    attributes.socket.backlog = Some(BACKLOG);
    let service = Service {
        sockets: vec![spec.clone()],
        attributes: Rc::new(attributes),
        ..Service::unwritten("control", Action::Builtin(Builtin::Discard))
    };
    Listener::open(&spec, &service)
}

/// Whether a process of this user may ask.
#[must_use]
pub(crate) fn may_control(uid: u32) -> bool {
    uid == 0 || uid == Uid::effective().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_endpoints() {
        let inet = |text: &str| Endpoint::Inet(text.parse().unwrap());
        let both = |a, b| Some(vec![inet(a), inet(b)]);
        assert_eq!(endpoints("9100"), both("127.0.0.1:9100", "[::1]:9100"));
        assert_eq!(endpoints("*:9100"), both("0.0.0.0:9100", "[::]:9100"));
        assert_eq!(endpoints("[::1]:0"), Some(vec![inet("[::1]:0")]));
        assert_eq!(endpoints("/run/m"), Some(vec![Endpoint::Unix("/run/m".into())]));
        for wrong in ["", "x", "*:", "*:x", "localhost:1", "70000", "1.2.3.4"] {
            assert_eq!(endpoints(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn two_in_one_place_are_found() {
        for (one, other, wanted) in [
            ("9100", "9100", true),
            ("9100", "[::1]:9100", true),
            ("*:9100", "127.0.0.3:9100", true),
            ("127.0.0.1:9100", "[::1]:9100", false),
            ("9100", "9101", false),
            ("0", "0", false),
            ("/run/m", "/run/m", true),
            ("/run/m", "9100", false),
        ] {
            assert_eq!(
                (collide(one, other), collide(other, one)),
                (wanted, wanted),
                "{one} {other}"
            );
        }
    }

    #[test]
    fn kinds_are_read_as_they_were_written() {
        for (kind, text) in [
            (ControlKind::Control, "true"),
            (ControlKind::Metrics, "false"),
            (ControlKind::Page, "\"page\""),
        ] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), text);
            assert_eq!(serde_json::from_str::<ControlKind>(text).unwrap(), kind);
        }
    }

    #[test]
    fn knows_which_are_this_machines() {
        for own in ["9100", "127.0.0.3:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "/run/m"] {
            assert!(is_of_this_machine(own), "{own}");
        }
        for open in ["*:9100", "0.0.0.0:1", "[::]:1", "10.0.0.9:1", "[::ffff:10.0.0.9]:1", "x"] {
            assert!(!is_of_this_machine(open), "{open}");
        }
    }

    #[test]
    fn root_and_ourselves_may_ask() {
        let us = Uid::effective().as_raw();
        assert!(may_control(0) && may_control(us) && !may_control(us + 1));
    }
}
