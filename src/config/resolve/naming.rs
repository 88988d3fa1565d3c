//! Names that this machine does not know now: what needs no name is served, the rest waits
//! for it, and one finding for each name says which services those are.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use super::causes::NameCause;
use super::endpoint::ServiceField;
use super::resolver::Resolver;
use crate::config::diagnostic::reading::reason;
use crate::config::model::{Awaited, Known, Sought};
use crate::config::text::words::Word;

/// How many services a finding lists.
const LISTED: usize = 12;

/// It is not served where the name says.
const WAITS: [&str; 2] = ["waits for it", "wait for it"];
/// The same where nobody waits.
const NEEDS: [&str; 2] = ["needs it", "need it"];
/// It is served where the name said when it was last looked up.
const GOES_ON: [&str; 2] = ["goes on with what it was", "go on with what it was"];

impl Resolver<'_> {
    /// A host that has no address now is what it was before; without that its sockets wait.
    pub(super) fn unknown_host(
        &mut self,
        word: &Word,
        families: (bool, bool),
        error: &io::Error,
    ) -> Option<Vec<IpAddr>> {
        let reason = reason(error);
        match self.lookup.before(&word.text) {
            Some(Known::Host(before)) => {
                self.goes_on_as_before(word, &reason);
                Some(before.into_iter().map(|(ip, _)| ip).collect())
            }
            _ => {
                let message = format!("the host `{}` has no address: {reason}", word.text);
                self.awaits(word, Sought::Host, families, message);
                None
            }
        }
    }

    pub(super) fn goes_on_as_before(&mut self, word: &Word, reason: &str) {
        let message = format!("the host `{}` cannot be looked up now: {reason}", word.text);
        let help = "reload when the name server answers again";
        self.cause(word, message, GOES_ON, help);
    }

    /// The sockets of a name wait until it is known.
    pub(super) fn awaits(
        &mut self,
        word: &Word,
        what: Sought,
        families: (bool, bool),
        message: String,
    ) {
        self.waits(word, message);
        self.causes.awaited.push((word.text.clone(), what, families));
    }

    /// Something of this entry waits for a name.
    pub(super) fn waits(&mut self, word: &Word, message: String) {
        // Who has asked for one service alone does not wait for it.
        let (means, help) = match self.keeps_account {
            true => (NEEDS, "correct the name, or write the address"),
            false => (WAITS, "it is tried again by itself; correct the name, or write the address"),
        };
        self.cause(word, message, means, help);
    }

    fn cause(
        &mut self,
        word: &Word,
        message: String,
        means: [&'static str; 2],
        help: &'static str,
    ) {
        if self.quiet || !self.lookup.tells_of(&word.text) {
            return;
        }
        let (name, span) = (word.text.clone(), word.span.clone());
        self.causes.matters(NameCause { name, span, message, means, help, labels: Vec::new() });
    }

    /// The index of a device; one that has gone is the one it was.
    pub(super) fn device(&self, name: &str) -> Option<u32> {
        let before = || match self.lookup.before(name) {
            Some(Known::Device(index)) => Some(index),
            _ => None,
        };
        self.lookup.device_index(name).or_else(|| name.parse().ok()).or_else(before)
    }

    /// A link-local address waits for its device.
    pub(super) fn awaits_device(&mut self, ip: Ipv6Addr, device: &Word) {
        let message = format!("there is no network device `{}`", device.text);
        self.awaits(device, Sought::Scope(ip), (false, true), message);
    }

    /// What the entry at hand waits for, which is a service of this label.
    pub(super) fn awaited_by(&mut self, label: &str, target: &ServiceField) -> Vec<Awaited> {
        self.causes.concern(label);
        let awaited = std::mem::take(&mut self.causes.awaited);
        let ServiceField::Inet { ports, .. } = target else { return Vec::new() };
        let ports = (*ports.start(), *ports.end());
        let each = awaited.into_iter().map(|(name, what, families)| Awaited {
            name,
            what,
            ports,
            families,
        });
        each.collect()
    }

    /// Says of each name what is the matter, and with whom.
    pub(super) fn say_causes(&mut self) {
        for cause in std::mem::take(&mut self.causes.all) {
            let NameCause { span, message, means: [one, several], help, labels, .. } = cause;
            let Some(listed) = list(&labels) else { continue };
            let means = if labels.len() == 1 { one } else { several };
            self.report.warning(&span, format!("{message}: {listed} {means}")).help(help);
        }
    }
}

/// `a`, `a and b`, `a, b and 3 more`.
pub(super) fn list(labels: &[String]) -> Option<String> {
    let (last, first) = labels.split_last()?;
    let listed = labels.get(..LISTED).unwrap_or(labels);
    Some(match labels.len().saturating_sub(LISTED) {
        0 if first.is_empty() => last.clone(),
        0 => format!("{} and {last}", first.join(", ")),
        more => format!("{} and {more} more", listed.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::list;
    use crate::config::fake::FakeLookup;
    use crate::config::model::{Action, Config, Endpoint, Known, RelayTarget};
    use crate::config::{Loaded, load};

    fn loaded(text: &str, before: &[(&str, Known)]) -> Loaded {
        let before = before.iter().map(|(name, known)| ((*name).to_owned(), known.clone()));
        let fake = FakeLookup { before: before.collect(), ..FakeLookup::with_file("/f", text) };
        load("/f".as_ref(), &[], &fake)
    }

    fn messages(loaded: &Loaded) -> Vec<String> {
        loaded.diagnostics.iter().map(|it| it.one_line()).collect()
    }

    fn sockets(config: &Config, service: usize) -> Vec<String> {
        let sockets = config.services[service].sockets.iter();
        let shown = sockets.map(|spec| match (&spec.endpoint, &spec.device) {
            (Endpoint::Inet(address), None) => address.to_string(),
            (Endpoint::Inet(address), Some(device)) => format!("{address} on {device}"),
            (other, _) => panic!("{other:?}"),
        });
        shown.collect()
    }

    #[test]
    fn of_a_list_only_the_name_that_is_unknown_is_missing() {
        let text =
            "127.0.0.1,nowhere,four:\n80 stream tcp nowait - cat\n81-82 dgram udp nowait - cat\n";
        let loaded = loaded(text, &[]);
        assert_eq!(sockets(&loaded.config, 0), ["127.0.0.1:80", "192.0.2.4:80"]);
        let awaited = &loaded.config.services[1].awaited;
        assert_eq!((awaited.len(), awaited[0].name.as_str()), (1, "nowhere"));
        assert_eq!((awaited[0].ports, awaited[0].families), ((81, 82), (true, true)));
        let messages = messages(&loaded);
        assert!(
            messages.len() == 1 && messages[0].contains("80/tcp and 81-82/udp wait for it"),
            "{messages:?}"
        );
    }

    #[test]
    fn what_is_not_known_now_is_what_it_was() {
        let host = |text: &str| Known::Host(vec![(text.parse().unwrap(), 0)]);
        let before = [("nowhere", host("192.0.2.9")), ("eth9", Known::Device(9))];
        let text = "nowhere:80 stream tcp nowait - cat\n\
            81 stream tcp4 nowait - cat\n bind = eth9\n\
            [fe80::1%eth9]:82 stream tcp nowait - cat\n\
            83 stream tcp4 nowait - internal\n redirect = nowhere 80\n";
        let loaded = loaded(text, &before);
        assert_eq!(sockets(&loaded.config, 0), ["192.0.2.9:80"]);
        assert_eq!(sockets(&loaded.config, 1), ["0.0.0.0:81 on eth9"]);
        assert_eq!(sockets(&loaded.config, 2), ["[fe80::1%9]:82"]);
        let Action::Relay(RelayTarget::Inet { addresses, .. }) = &loaded.config.services[3].action
        else {
            panic!("{loaded:?}")
        };
        assert_eq!(addresses, &["192.0.2.9:80".parse().unwrap()]);
        assert!(loaded.config.services.iter().all(|it| it.missing_names().next().is_none()));
        let messages = messages(&loaded);
        let wanted = "80/tcp and 83/tcp go on with what it was";
        assert!(messages.len() == 1 && messages[0].contains(wanted), "{messages:?}");
    }

    #[test]
    fn a_device_beside_an_address_is_waited_for_by_the_socket_itself() {
        let text = "127.0.0.1:80 stream tcp nowait - cat\n interface = eth9\n";
        let loaded = loaded(text, &[]);
        assert_eq!(sockets(&loaded.config, 0), ["127.0.0.1:80 on eth9"]);
        assert!(messages(&loaded)[0].contains("no network device `eth9`: 80/tcp waits for it"));
        let twice = "127.0.0.1:80 stream tcp nowait - cat\n interface = four\n";
        assert!(
            messages(&crate::config::resolve::naming::tests::loaded(twice, &[]))[0]
                .contains("the address is said twice")
        );
    }

    #[test]
    fn a_long_list_is_cut() {
        let labels: Vec<String> = (1..=14).map(|n| format!("{n}/tcp")).collect();
        assert_eq!(list(&[]), None);
        assert_eq!(list(&labels[..2]).as_deref(), Some("1/tcp and 2/tcp"));
        assert!(list(&labels[..12]).unwrap().ends_with("11/tcp and 12/tcp"));
        assert!(list(&labels).unwrap().ends_with("12/tcp and 2 more"));
    }
}
