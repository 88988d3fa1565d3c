//! TLS: what a service says of it, together, and as whom whatever speaks it works.

use std::rc::Rc;

use super::front::last_said;
use super::resolver::Resolver;
use crate::config::attribute::Draft;
use crate::config::diagnostic::report::Report;
use crate::config::model::{
    Attributes, Certificate, Config, FrontUser, NotServed, Service, TlsClient,
};
use crate::config::syntax::entry::{Entry, Setting};
use crate::front::settings::MOST_KEYS;

/// Numbers of users that come and go, of which systemd takes its dynamic ones.
const DYNAMIC: std::ops::RangeInclusive<u32> = 61_184..=65_519;

/// The user that is there for it, where it is.
const USER: &str = "oxinetd";

impl Resolver<'_> {
    /// Reads what is said of TLS.
    pub(super) fn read_tls(&mut self, draft: &mut Draft) {
        let pairs = std::mem::take(&mut draft.said.tls);
        let authorities = draft.said.tls_ca.take();
        if let Some((word, _)) = pairs.get(MOST_KEYS) {
            let message = format!("more than {MOST_KEYS} certificates");
            self.report.error(&word.span, message).help("give some of the names another service");
        }
        let all: Vec<Certificate> =
            pairs.iter().filter_map(|(own, key)| self.certificate(own, key)).collect();
        if !pairs.is_empty() || draft.attributes.front.has_terminal() {
            draft.attributes.front.front_user = self.front_user();
        }
        draft.attributes.front.tls = all.into();
        draft.attributes.front.tls_ca = authorities.and_then(|word| self.authorities(&word));
    }

    /// As whom whatever stands in front of services works: nobody else. Without root everybody
    /// is the server's user.
    fn front_user(&mut self) -> Option<FrontUser> {
        if !self.lookup.is_privileged() {
            let own = self.lookup.own_account();
            return Some(FrontUser { uid: own.uid, gid: own.gid, switch: false });
        }
        let named = self.lookup.front_user();
        let found = self.lookup.user(named.as_deref().unwrap_or(USER));
        if let (Some(name), None) = (&named, &found) {
            self.report
                .error_without_place(format!("--front-user: there is no user `{name}`"))
                .help("add the user: `useradd --system`");
            return None;
        }
        if found.as_ref().is_some_and(|it| it.uid == 0) {
            self.report
                .error_without_place(
                    "--front-user: root may do what nobody in front of services may",
                )
                .help("add a user of its own: `useradd --system oxinetd`");
            return None;
        }
        let (uid, gid) = match found {
            Some(found) => (found.uid, found.gid),
            None => {
                let free = |uid: &u32| self.lookup.user_by_id(*uid).is_none();
                let uid = DYNAMIC.rev().find(free)?;
                (uid, uid)
            }
        };
        Some(FrontUser { uid, gid, switch: true })
    }

    /// What `tls` needs, and what has no effect without it.
    pub(super) fn check_tls(&mut self, entry: &Entry, attributes: &Attributes) {
        // Of files that cannot be read that has been said.
        let is_on = last_said(entry, "tls").is_some();
        let mark = self.report.errors();
        self.check_clients(entry, attributes.front.tls_client != TlsClient::No, is_on);
        let is_told = self.report.errors() > mark;
        // Of a wrong value that has been said, and it was hardly `no`.
        let is_clear = last_said(entry, "tls_client").is_none_or(Setting::is_right);
        for setting in &entry.settings {
            let name = setting.attribute.name;
            let why = match name {
                "front_workers" if attributes.front.has_terminal() => continue,
                "tls_ca" if is_told => continue,
                "tls_ca" | "tls_versions" | "tls_alpn" | "tls_timeout" | "front_workers"
                    if !is_on =>
                {
                    "there is no `tls`"
                }
                "tls_ca" if attributes.front.tls_client == TlsClient::No && is_clear => {
                    "`tls_client` is `no`"
                }
                _ => continue,
            };
            if setting.is_right() {
                let message = format!("`{}` has no effect: {why}", setting.name.text);
                self.report.warning(&setting.name.span, message).help("take it out");
            }
        }
    }

    /// Whoever says something of clients' certificates believes that others are kept out.
    fn check_clients(&mut self, entry: &Entry, asks: bool, is_on: bool) {
        let said_authorities = last_said(entry, "tls_ca");
        let own_authorities = entry.settings.iter().rfind(|it| it.attribute.name == "tls_ca");
        let said_clients = last_said(entry, "tls_client");
        if !said_clients.is_none_or(Setting::is_right) {
            return;
        }
        let (setting, message, help) = match (asks, is_on) {
            (true, false) => (
                said_clients,
                format!(
                    "`tls_client` keeps nobody from `{}`: there is no `tls`",
                    entry.endpoint.text
                ),
                "write the certificate and its key: `tls = /etc/ssl/site.pem /etc/ssl/site.key`; or say `tls_client = no`",
            ),
            (true, true) if said_authorities.is_none() => (
                said_clients,
                "`tls_client` needs `tls_ca`: who makes the certificates of clients".to_owned(),
                "write the file of their authority: `tls_ca = /etc/ssl/clients.pem`",
            ),
            (false, _) if own_authorities.is_some() && said_clients.is_none() => (
                own_authorities,
                "`tls_ca` keeps nobody out: clients are asked for no certificate".to_owned(),
                "write `tls_client = require`, or `tls_client = ask`",
            ),
            _ => return,
        };
        let place = setting.map_or(&entry.endpoint.span, |setting| &setting.name.span);
        self.report.error(place, message).help(help);
    }
}

/// A program that ran as the user of what stands in front of services could end it, and see
/// what it does: it is not served.
pub(in crate::config) fn check_users(config: &mut Config, report: &mut Report) {
    let user = config.services.iter().find_map(|it| it.attributes.front.front_user);
    let Some(user) = user.filter(|user| user.switch) else { return };
    let same = |it: &Rc<Service>| it.account.switch && it.account.uid == user.uid;
    let (wrong, right) = std::mem::take(&mut config.services).into_iter().partition(same);
    config.services = right;
    let wrong: Vec<Rc<Service>> = wrong;
    for service in wrong {
        let why = format!(
            "{}:{}: `{}` runs as the user of what stands in front of services",
            service.origin.file, service.origin.line, service.label
        );
        config.left_out.push(NotServed::of(
            &service.label,
            (&service.id, &service.name),
            why.clone(),
        ));
        report
            .error_without_place(why)
            .help("give it another user, or name one of its own with --front-user");
    }
}
