//! What stands in front of a service: where that cannot be, and what it lacks.

use super::endpoint::ServiceField;
use super::resolver::Resolver;
use crate::config::attribute::Scope;
use crate::config::model::{Attributes, ProxyProtocol, SocketType};
use crate::config::syntax::entry::{Entry, Setting};

impl Resolver<'_> {
    /// Settings of the entry itself that need connections of a certain kind, and what one of
    /// them needs of the others.
    pub(super) fn check_front(
        &mut self,
        entry: &Entry,
        attributes: &Attributes,
        (socket_type, waits): (SocketType, bool),
        target: &ServiceField,
    ) {
        match why_not(socket_type, waits, target) {
            Some(obstacle) => {
                self.cannot_stand_there(entry, &obstacle);
                self.does_not_stand_there(entry, attributes, obstacle.why);
            }
            None => {
                self.check_proxy(entry, attributes, target);
                self.check_tls(entry, attributes);
            }
        }
    }

    fn cannot_stand_there(&mut self, entry: &Entry, Obstacle { why, instead }: &Obstacle) {
        let fronted =
            |setting: &&Setting| setting.attribute.scope == Scope::Fronted && setting.is_right();
        for setting in entry.settings.iter().filter(fronted) {
            let message = format!("`{}` cannot be: {why}", setting.name.text);
            // Whoever takes it out because he is told to may lose more than he knows.
            let without = match setting.attribute.name {
                "tls" => "; without `tls`, everybody on the way can read and change what is sent",
                "proxy_protocol" => {
                    "; without `proxy_protocol`, every client is taken for the proxy"
                }
                _ => ", or take it out",
            };
            self.report.error(&setting.name.span, message).help(format!("{instead}{without}"));
        }
    }

    /// Whoever has said it for all services believes it of this one.
    fn does_not_stand_there(&mut self, entry: &Entry, attributes: &Attributes, why: &str) {
        let is_on = |name: &str| match name {
            "tls" => true,
            "proxy_protocol" => attributes.front.proxy_protocol != ProxyProtocol::No,
            _ => false,
        };
        let said = entry.defaults.iter().filter(|it| is_on(it.attribute.name) && it.is_right());
        for setting in said {
            let (name, place) = (&setting.name.text, &entry.endpoint.text);
            let message = format!("`{name}` has no effect on `{place}`: {why}");
            self.report
                .warning(&setting.name.span, message)
                .help("say it in the lines that it is for, or serve this one from another file");
        }
    }

    /// A header says what its sender wants: without an address that may send one, nobody could
    /// be believed. Who may connect to a unix socket is for its mode to say.
    fn check_proxy(&mut self, entry: &Entry, attributes: &Attributes, target: &ServiceField) {
        let has_mode = matches!(target, ServiceField::Unix { .. } | ServiceField::Abstract(_));
        let is_on = attributes.front.proxy_protocol != ProxyProtocol::No;
        // Of a list that cannot be read that has been said.
        if is_on && attributes.front.proxy_from.is_empty() && !has_mode && !self.lacking {
            let said = last_said(entry, "proxy_protocol").map(|setting| &setting.name.span);
            self.report
                .error(
                    said.unwrap_or(&entry.endpoint.span),
                    "`proxy_protocol` needs `proxy_from`: who may say on whose behalf he connects",
                )
                .help("write the addresses of the proxies: `proxy_from = 192.0.2.7 2001:db8::/64`");
        }
        if is_on && matches!(target, ServiceField::Abstract(_)) {
            let said = last_said(entry, "proxy_protocol").map(|setting| &setting.name.span);
            self.report
                .warning(
                    said.unwrap_or(&entry.endpoint.span),
                    "an abstract socket has no mode: everybody on this machine may name any client",
                )
                .help("listen at a path, or on an address with `proxy_from`");
        }
        if is_on && !has_mode && attributes.front.proxy_from.iter().any(|it| it.is_everybody()) {
            let said = last_said(entry, "proxy_from").map(|setting| &setting.place);
            self.report
                .warning(
                    said.unwrap_or(&entry.endpoint.span),
                    "everybody may say here that he is anybody: no list of addresses keeps anyone out",
                )
                .help("name the proxies alone: `proxy_from = 192.0.2.7`");
        }
        let names: &[&str] = match (is_on, has_mode) {
            (false, _) => &["proxy_from", "proxy_timeout"],
            (true, true) => &["proxy_from"],
            (true, false) => &[],
        };
        let what = if is_on {
            "who may connect to a unix socket may send a header"
        } else {
            "`proxy_protocol` is `no`"
        };
        for setting in &entry.settings {
            if names.contains(&setting.attribute.name) && setting.is_right() {
                let message = format!("`{}` has no effect: {what}", setting.name.text);
                self.report.warning(&setting.name.span, message).help("take it out");
            }
        }
    }
}

/// Why nothing can stand before the data of a service, and what can be done about that.
struct Obstacle {
    why: &'static str,
    instead: &'static str,
}

fn why_not(socket_type: SocketType, waits: bool, target: &ServiceField) -> Option<Obstacle> {
    let (why, instead) = match (socket_type, target) {
        (SocketType::Dgram, _) => {
            ("datagrams are no connection", "serve it on a stream (`stream tcp nowait`)")
        }
        (SocketType::SeqPacket, _) => {
            ("it stands at the beginning of a stream", "make it a `stream`")
        }
        _ if waits => (
            "with `wait`, the program takes the connections itself",
            "write `nowait`, for a program that talks to one client",
        ),
        (_, ServiceField::Vsock(..)) => {
            ("a virtual socket has none", "serve it over TCP or on a path")
        }
        (_, ServiceField::Tcpmux(_)) => (
            "the connection is one of tcpmux, which may have it",
            "say it in the line of tcpmux, or give this service a port of its own",
        ),
        _ => return None,
    };
    Some(Obstacle { why, instead })
}

/// The setting of this name that counts.
pub(super) fn last_said<'a>(entry: &'a Entry, name: &str) -> Option<&'a Setting> {
    let mut all = entry.defaults.iter().chain(&entry.settings);
    all.rfind(|setting| setting.attribute.name == name)
}
