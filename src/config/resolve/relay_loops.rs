//! Relays that lead to each other: one client would go round for ever, through new
//! connections each time, until there is no room for any.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;

use super::relay::takes;
use crate::config::diagnostic::Span;
use crate::config::diagnostic::report::Report;
use crate::config::facts::Lookup;
use crate::config::model::{Action, Config, Endpoint, NotServed, RelayTarget, Service, SocketType};

/// The relays of a configuration: where each is in it, where it was said, and whether what is
/// wrong there is contained.
pub(super) type Relays = Vec<(usize, Span, bool)>;

/// Reports each relay that closes a ring of them, at the last of the ring, which is left out
/// of the configuration.
pub(super) fn check(
    config: &mut Config,
    relays: &Relays,
    lookup: &dyn Lookup,
    report: &mut Report,
) {
    let services: Vec<&Rc<Service>> =
        relays.iter().filter_map(|(place, ..)| config.services.get(*place)).collect();
    let sockets = Sockets::of(&services);
    let mut left_out = BTreeSet::new();
    for (at, (_, span, contained)) in relays.iter().enumerate() {
        let Some(before) = sockets.ring(at, &services, &left_out, lookup) else { continue };
        left_out.insert(at);
        let other = relays.get(before).filter(|_| before != at);
        let label = services.get(before).map(|it| it.label.clone()).unwrap_or_default();
        let message = format!("this service would be relayed to itself, through {label}");
        report.contain(*contained);
        let mut error = report.error(span, message);
        if let Some((_, other, _)) = other {
            error = error.related(other.clone(), "which is relayed to it here");
        }
        error.help("`redirect` one of them to another target");
    }
    let places: BTreeSet<usize> =
        left_out.iter().filter_map(|at| relays.get(*at)).map(|(place, ..)| *place).collect();
    let gone: Vec<NotServed> =
        places.iter().filter_map(|at| config.services.get(*at)).map(|it| in_a_ring(it)).collect();
    let mut place = 0;
    config.services.retain(|_| {
        let stays = !places.contains(&place);
        place += 1;
        stays
    });
    config.left_out.extend(gone);
}

fn in_a_ring(service: &Service) -> NotServed {
    let origin = &service.origin;
    let why = format!("{}:{}: it would be relayed to itself", origin.file, origin.line);
    NotServed::of(&service.label, (&service.id, &service.name), why)
}

/// Who is at which port and at which name.
struct Sockets<'a> {
    ports: HashMap<u16, Vec<(usize, SocketAddr)>>,
    names: HashMap<&'a Endpoint, usize>,
}

impl<'a> Sockets<'a> {
    fn of(services: &[&'a Rc<Service>]) -> Self {
        let mut sockets = Self { ports: HashMap::new(), names: HashMap::new() };
        for (at, service) in services.iter().enumerate() {
            let streams = service.sockets.iter().filter(|it| it.socket_type == SocketType::Stream);
            for spec in streams {
                match &spec.endpoint {
                    Endpoint::Inet(own) => {
                        sockets.ports.entry(own.port()).or_default().push((at, *own));
                    }
                    name => _ = sockets.names.insert(name, at),
                }
            }
        }
        sockets
    }

    /// To whom a relay leads.
    fn next(&self, service: &Service, lookup: &dyn Lookup) -> Vec<usize> {
        let Action::Relay(target) = &service.action else { return Vec::new() };
        match target {
            RelayTarget::Unix(Endpoint::Vsock(to)) => {
                let takes =
                    |name: &Endpoint| matches!(name, Endpoint::Vsock(own) if own.takes(*to));
                let met = self.names.iter().filter(|(name, _)| takes(name));
                met.map(|(_, at)| *at).collect()
            }
            RelayTarget::Unix(name) => self.names.get(name).copied().into_iter().collect(),
            RelayTarget::Inet { addresses, .. } => {
                let at_port = |to: &SocketAddr| self.ports.get(&to.port()).into_iter().flatten();
                let met = addresses.iter().flat_map(|to| {
                    at_port(to).filter(|(_, own)| takes(*own, *to, lookup)).map(|(at, _)| *at)
                });
                met.collect()
            }
        }
    }

    /// Whether the relay at `from` leads back to itself through earlier ones: the last of them.
    fn ring(
        &self,
        from: usize,
        services: &[&Rc<Service>],
        left_out: &BTreeSet<usize>,
        lookup: &dyn Lookup,
    ) -> Option<usize> {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            let Some(service) = services.get(at) else { continue };
            for next in self.next(service, lookup) {
                if next == from {
                    return Some(at);
                }
                if next < from && !left_out.contains(&next) && seen.insert(next) {
                    open.push(next);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::config::diagnostic::Diagnostic;
    use crate::config::fake::FakeLookup;
    use crate::config::{Loaded, load};

    fn loaded(lines: &[(&str, &str)]) -> Loaded {
        let line = |(endpoint, target): &(&str, &str)| {
            let protocol = if endpoint.starts_with(['/', '@']) { "unix" } else { "tcp" };
            format!("{endpoint} stream {protocol} nowait - internal\n redirect = {target}\n")
        };
        let text: String = lines.iter().map(line).collect();
        load("/f".as_ref(), &[], &FakeLookup::with_file("/f", &text))
    }

    fn rings(lines: &[(&str, &str)]) -> Vec<String> {
        let loaded = loaded(lines);
        let errors = loaded.diagnostics.len();
        assert_eq!(loaded.config.services.len(), lines.len() - errors);
        loaded.diagnostics.iter().map(Diagnostic::one_line).collect()
    }

    #[test]
    fn relays_that_lead_to_each_other_are_an_error_at_the_last_of_them() {
        for lines in [
            &[("81", "127.0.0.1 82"), ("82", "127.0.0.1 81")][..],
            &[("127.0.0.1:81", "localhost 82"), ("*:82", "::1 81"), ("[::1]:81", "::1 82")],
            &[("81", "127.0.0.1 82"), ("82", "127.0.0.1 83"), ("83", "127.0.0.1 81")],
            &[("/run/a", "@b"), ("@b", "127.0.0.1 83"), ("83", "/run/a")],
        ] {
            let messages = rings(lines);
            assert!(messages.len() == 1, "{lines:?}: {messages:?}");
            let message = "error: this service would be relayed to itself, through";
            assert!(messages[0].contains(message), "{lines:?}: {messages:?}");
        }
    }

    #[test]
    fn relays_that_lead_elsewhere_are_no_ring() {
        for lines in [
            &[("81", "127.0.0.1 82"), ("82", "127.0.0.1 83"), ("83", "127.0.0.1 84")][..],
            &[("127.0.0.1:81", "127.0.0.1 82"), ("127.0.0.1:82", "127.0.0.2 81")],
            &[("81", "192.0.2.1 82"), ("82", "192.0.2.1 81")],
            &[("81", "127.0.0.1 83"), ("82", "127.0.0.1 83")],
        ] {
            assert_eq!(rings(lines), Vec::<String>::new(), "{lines:?}");
        }
    }
}
