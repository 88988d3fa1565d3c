//! What no single entry can know: two entries for one socket, two for one name of
//! tcpmux, and names of tcpmux without tcpmux.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::fields::has_one_family;
use super::outcome::EntryOutcome;
use crate::config::diagnostic::Span;
use crate::config::diagnostic::report::Report;
use crate::config::model::protocol::Families;
use crate::config::model::{Action, Builtin, Endpoint, SocketSpec, SocketType, TcpmuxName};
use crate::config::syntax::entry::Entry;

/// What was taken so far, with the entry that took it.
#[derive(Default)]
pub(super) struct TakenEndpoints {
    /// Sockets as [`what_is_bound`] tells them apart.
    sockets: BTreeMap<SocketSpec, Span>,
    /// The first at each port that is bound to all addresses, and the first that is to one.
    ports: HashMap<PortOf, [Option<(SocketSpec, Span)>; 2]>,
    names: BTreeMap<String, Span>,
}

impl TakenEndpoints {
    /// The outcome of an entry, or nothing if another one has what it wants.
    pub(super) fn claim(
        &mut self,
        entry: &Entry,
        outcome: EntryOutcome,
        report: &mut Report,
    ) -> EntryOutcome {
        let (sockets, tcpmux) = match &outcome {
            EntryOutcome::Service(service) => (&service.sockets, &service.tcpmux),
            EntryOutcome::Withheld(withheld) => (&withheld.sockets, &withheld.tcpmux),
            EntryOutcome::Disabled(_) | EntryOutcome::Off | EntryOutcome::Nothing => {
                return outcome;
            }
        };
        let any_port = |socket: &SocketSpec| match socket.endpoint {
            Endpoint::Inet(address) => address.port() == 0,
            Endpoint::Vsock(address) => address.port == 0,
            Endpoint::Unix(_) | Endpoint::Abstract(_) => false,
        };
        let twice = sockets
            .iter()
            .filter(|socket| !any_port(socket))
            .find(|socket| self.sockets.contains_key(&what_is_bound(socket)));
        let name = tcpmux.as_ref().map(|TcpmuxName { name, .. }| TcpmuxName::folded(name));
        let first = match (twice, &name) {
            (Some(socket), _) => self.sockets.get(&what_is_bound(socket)).map(|span| {
                (span.clone(), format!("two entries for the same socket: {}", text(socket)))
            }),
            (None, Some(name)) => self.names.get(name).map(|span| {
                (span.clone(), format!("two entries for the same name: tcpmux/{name}"))
            }),
            (None, None) => None,
        };
        if let Some((first, what)) = first {
            report
                .error(&entry.endpoint.span, what)
                .related(first, "the first one is here")
                .help("take one of them out, or give it another port or address");
            return EntryOutcome::Nothing;
        }
        let span = &entry.endpoint.span;
        self.warn_of_overlap(sockets, span, report);
        self.sockets.extend(sockets.iter().map(|socket| (what_is_bound(socket), span.clone())));
        self.names.extend(name.map(|name| (name, span.clone())));
        outcome
    }

    /// The kernel lets a socket for all addresses in beside one for one of them only where
    /// both share their port with everybody.
    fn warn_of_overlap(&mut self, sockets: &[SocketSpec], span: &Span, report: &mut Report) {
        let mut written = false;
        for (socket, port) in sockets.iter().filter_map(|socket| Some((socket, port_of(socket)?))) {
            let [wide, narrow] = self.ports.entry(port).or_default();
            let (own, other) = if is_for_all(socket) { (wide, narrow) } else { (narrow, wide) };
            let meets = other.as_ref().filter(|(other, place)| {
                place != span && may_meet(other.device.as_ref(), socket.device.as_ref())
            });
            if let (Some((other, place)), false) = (meets, written) {
                written = true;
                let (one, two) = (text(socket), text(other));
                report
                    .warning(span, format!("`{one}` cannot be had beside `{two}`"))
                    .related(place.clone(), "that one is here")
                    .help("give each of them addresses of its own, or another port");
            }
            own.get_or_insert_with(|| (socket.clone(), span.clone()));
        }
    }

    /// Names of tcpmux that nobody can reach.
    pub(super) fn check_tcpmux(&self, served: &[Action], report: &mut Report) {
        let tcpmux = served.contains(&Action::Builtin(Builtin::Tcpmux));
        if let (false, Some(first)) = (tcpmux, self.names.values().min_by_key(|span| span.start)) {
            report
                .warning(first, "no entry serves tcpmux itself: this one cannot be reached")
                .help("add the line `tcpmux stream tcp nowait - internal`");
        }
    }
}

/// What says `udp6` and takes IPv4 too leaves it to a line that is for it.
pub(super) fn leave_ipv4(entries: &[Entry], outcomes: &mut [EntryOutcome]) {
    let is_wide = |entry: &Entry| entry.families == Some(Families::Both);
    if !entries.iter().any(is_wide) {
        return;
    }
    let all = entries.iter().zip(&*outcomes).filter(|(entry, _)| !is_wide(entry));
    let taken: Vec<SocketSpec> = all
        .flat_map(|(_, outcome)| outcome.sockets().iter().filter(|it| is_ipv4(it)).cloned())
        .collect();
    for (entry, outcome) in entries.iter().zip(outcomes) {
        if is_wide(entry)
            && has_one_family(&entry.protocol)
            && let Some(sockets) = outcome.sockets_mut()
        {
            sockets.retain(|socket| !(is_ipv4(socket) && taken.contains(socket)));
        }
    }
}

fn is_ipv4(socket: &SocketSpec) -> bool {
    matches!(socket.endpoint, Endpoint::Inet(address) if address.is_ipv4())
}

/// A line for one family takes its sockets from a line for both: OpenBSD's own file has a
/// `tcp6` beside each `tcp`, in either order. Where nothing would be left of the other, they
/// are two for one socket.
pub(super) fn give_way(entries: &[Entry], outcomes: &mut [EntryOutcome]) {
    let mut taken: HashSet<SocketSpec> = HashSet::new();
    for (entry, outcome) in entries.iter().zip(&*outcomes) {
        let is_served = matches!(outcome, EntryOutcome::Service(_) | EntryOutcome::Withheld(_));
        if is_served && has_one_family(&entry.protocol) {
            taken.extend(outcome.sockets().iter().map(what_is_bound));
        }
    }
    for (entry, outcome) in entries.iter().zip(outcomes) {
        let keeps = |socket: &SocketSpec| !taken.contains(&what_is_bound(socket));
        if !has_one_family(&entry.protocol)
            && let Some(sockets) = outcome.sockets_mut()
            && sockets.iter().any(keeps)
        {
            sockets.retain(keeps);
        }
    }
}

/// In the place of an inetd, the last of two lines for one socket counts, as there.
pub(super) fn last_counts(entries: &[Entry], outcomes: &mut [EntryOutcome], report: &mut Report) {
    let mut taken: HashMap<SocketSpec, &Entry> = HashMap::new();
    for (entry, outcome) in entries.iter().zip(outcomes).rev().filter(|(it, _)| it.id.is_none()) {
        let sockets = || outcome.sockets().iter().map(what_is_bound);
        let last = sockets().find_map(|socket| taken.get(&socket).copied());
        if let Some(last) = last {
            let is_all = sockets().all(|socket| taken.contains_key(&socket));
            let message = match is_all {
                true => "this socket is said again: this line is ignored",
                false => "a socket of this line is said again: that one is not its own",
            };
            report
                .warning(&entry.endpoint.span, message)
                .related(last.endpoint.span.clone(), "this one counts")
                .help("take one of them out");
            match outcome.sockets_mut() {
                Some(own) if !is_all => own.retain(|it| !taken.contains_key(&what_is_bound(it))),
                _ => *outcome = EntryOutcome::Nothing,
            }
        }
        let left = outcome.sockets().iter().map(what_is_bound);
        taken.extend(left.map(|socket| (socket, entry)));
    }
}

/// Whether it is for IPv4, the port, the type.
type PortOf = (bool, u16, SocketType);

/// None where no other address could be in the way.
fn port_of(socket: &SocketSpec) -> Option<PortOf> {
    match socket.endpoint {
        Endpoint::Inet(address) if address.port() != 0 => {
            Some((address.is_ipv4(), address.port(), socket.socket_type))
        }
        _ => None,
    }
}

fn is_for_all(socket: &SocketSpec) -> bool {
    matches!(socket.endpoint, Endpoint::Inet(address) if address.ip().is_unspecified())
}

/// Sockets on two devices are in nobody's way.
fn may_meet(one: Option<&String>, other: Option<&String>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// What only one socket can have: a path is one file, whatever the type of its socket;
/// for the kernel, ports and abstract names are each type's own.
fn what_is_bound(socket: &SocketSpec) -> SocketSpec {
    let socket_type = match socket.endpoint {
        Endpoint::Unix(_) => SocketType::Stream,
        Endpoint::Inet(_) | Endpoint::Abstract(_) => socket.socket_type,
        // One port, whatever the type.
        Endpoint::Vsock(_) => SocketType::Stream,
    };
    SocketSpec { socket_type, ..socket.clone() }
}

/// A socket in a sentence.
fn text(socket: &SocketSpec) -> String {
    let place = match &socket.endpoint {
        Endpoint::Inet(address) => {
            let protocol = if socket.socket_type == SocketType::Dgram { "udp" } else { "tcp" };
            format!("{address} {protocol}")
        }
        Endpoint::Unix(path) => path.to_string_lossy().into_owned(),
        Endpoint::Abstract(name) => format!("@{}", String::from_utf8_lossy(name)),
        Endpoint::Vsock(address) => address.to_string(),
    };
    match &socket.device {
        Some(device) => format!("{place} on {device}"),
        None => place,
    }
}
