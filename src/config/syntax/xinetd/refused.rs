//! What is not done and cannot be left out in silence: a service without it would let
//! in whom it should not, or would not be the service that is meant, and is not served.

use std::path::Path;

use super::block::Block;
use super::converter::Converter;
use super::fields::BlockReader;
use crate::config::syntax::entry::Withhold;
use crate::config::text::source::is_comment;

/// The rules of TCP wrappers, which most builds of xinetd obey.
const WRAPPERS: [&str; 2] = ["/etc/hosts.deny", "/etc/hosts.allow"];

/// As much of them as is looked at.
const MOST_RULES: u64 = 64 << 20;

impl Converter<'_> {
    /// Says once that rules of TCP wrappers are there and are not asked.
    pub(super) fn check_libwrap(&mut self, blocks: &[Block]) {
        let has_rules = |path: &&&str| {
            let text = self.lookup.read_up_to(Path::new(path), MOST_RULES).unwrap_or_default();
            String::from_utf8_lossy(&text).lines().any(|line| !is_comment(line))
        };
        let Some(rules) = WRAPPERS.iter().find(has_rules) else { return };
        let asks = |block: &&Block| {
            let without =
                block.all("flags").any(|word| word.text.eq_ignore_ascii_case("NOLIBWRAP"));
            !without && !self.is_disabled(block)
        };
        if let Some(block) = blocks.iter().find(asks) {
            self.report
                .warning(&block.head, format!("the rules of `{rules}` are not asked; this is said once"))
                .help("put `/usr/sbin/tcpd` in front with `flags = NAMEINARGS`, or say with `only_from` who may connect; `NOLIBWRAP` says that no rules are meant");
        }
    }
}

impl BlockReader<'_, '_, '_> {
    /// What types and flags ask for that is not done: a warning for each, and whether
    /// the service is withheld, since it would not be the one that is meant.
    pub(super) fn withheld(&mut self) -> Withhold {
        let guarded = self.is_guarded();
        let mut withheld = Withhold::No;
        for word in self.block.all("type").chain(self.block.all("flags")) {
            let name = word.text.to_ascii_uppercase();
            let Some((asks, help)) = not_done(&name, guarded) else { continue };
            let what = match asks {
                Withhold::No => format!("`{name}` is ignored"),
                _ => format!("`{name}` is not done: not served"),
            };
            self.converter.report.warning(&word.span, what).help(help);
            withheld = withheld.max(asks);
        }
        withheld
    }

    /// Whether some address may not connect.
    fn is_guarded(&self) -> bool {
        let rules = ["only_from", "no_access"];
        rules
            .iter()
            .any(|name| self.block.get(name).is_some() || self.converter.default(name).is_some())
    }

    /// xinetd's own pages about itself.
    pub(super) fn is_list_of_services(&mut self) -> bool {
        let Some(name) = self.block.name.as_ref() else { return false };
        let lists =
            self.is("type", "INTERNAL") && matches!(name.text.as_str(), "servers" | "services");
        if lists && !self.disabled {
            self.converter
                .report
                .warning(
                    &name.span,
                    format!("there is no list of {} to be had from here: not served", name.text),
                )
                .help("`oxinetd status` says who is being served");
        }
        lists
    }
}

/// A type or flag that is not done: what becomes of its service, and what can be done;
/// `guarded` where some address may not connect.
fn not_done(name: &str, guarded: bool) -> Option<(Withhold, &'static str)> {
    Some(match name {
        "RPC" => (
            Withhold::Unresolved,
            "Sun RPC services are not registered; give the service a port of its own: `type = UNLISTED` and `port = NUMBER`",
        ),
        "SENSOR" => (
            Withhold::Unresolved,
            "nobody is banned; a service that only logs who comes is `type = INTERNAL`, `discard`",
        ),
        "IDONLY" => (
            Withhold::Resolved,
            "nobody is asked who the client is (ident, RFC 1413); say with `only_from` who may connect",
        ),
        "LABELED" => (
            Withhold::Resolved,
            "the SELinux context of a client is not taken over; run the program with `runcon`",
        ),
        "INTERCEPT" if guarded => (
            Withhold::Resolved,
            "packets of a `wait` service are not looked at; let the program or a packet filter check addresses, and take the flag out",
        ),
        "INTERCEPT" => {
            (Withhold::No, "no address is checked for this service, so that nothing is lost")
        }
        "NORETRY" => {
            (Withhold::No, "a program that cannot be started is tried again for its client")
        }
        _ => return None,
    })
}
