//! TLS: certificates, keys and who makes those of clients are read while the configuration is,
//! and at every reload again. A key is looked at and not kept.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::Resolver;
use super::access::beside;
use super::front::last_said;
use crate::config::attribute::Draft;
use crate::config::diagnostic::report::Report;
use crate::config::model::{
    Attributes, Authorities, Certificate, Config, FrontUser, Service, TlsClient,
};
use crate::config::syntax::entry::Entry;
use crate::config::text::words::Word;
use crate::front::certificate::not_after;
use crate::front::identity;
use crate::front::settings::{LONGEST_KEY, MOST_KEYS};

/// The end of a certificate is told so many seconds before it comes: two weeks.
const SOON: i64 = 14 * 86_400;

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

    fn certificate(&mut self, own: &Word, key: &Word) -> Option<Certificate> {
        let (path, pem) = self.tls_file(own, identity::LONGEST)?;
        let chain = self.certificates(own, &path, &pem)?;
        let (key_path, key_pem) = self.tls_file(key, LONGEST_KEY)?;
        if let Err(why) = identity::check_key(&chain, &key_pem) {
            let message = format!("`{}`: {why}", key_path.display());
            self.report.error(&key.span, message).help("name the key of this certificate, as PEM");
            return None;
        }
        let ends = chain.first().and_then(|own| not_after(own));
        self.warn_of_end(own, &path, ends);
        let (identity, mode) = self.lookup.file_facts(&key_path).unwrap_or_default();
        if mode & 0o077 != 0 && !self.quiet {
            let shown = key_path.display();
            let message = format!("others than its owner may read the key `{shown}`");
            self.report.warning(&key.span, message).help(format!("`chmod 600 {shown}`"));
        }
        Some(Certificate { path, key: key_path, chain, ends, identity })
    }

    fn tls_file(&mut self, word: &Word, most: u64) -> Option<(PathBuf, Vec<u8>)> {
        let path = beside(&word.span, Path::new(&word.os));
        match self.lookup.read_up_to(&path, most) {
            Ok(bytes) => Some((path, bytes)),
            Err(error) => {
                self.cannot_read(word, &path, &error, most);
                None
            }
        }
    }

    fn certificates(&mut self, word: &Word, path: &Path, pem: &[u8]) -> Option<Vec<Vec<u8>>> {
        match identity::certificates(pem) {
            Ok(all) => Some(all),
            Err(why) => {
                let message = format!("`{}`: {why}", path.display());
                let help = match cfg!(feature = "tls") {
                    true => "name a file of certificates, as PEM",
                    false => "build it with its default features",
                };
                self.report.error(&word.span, message).help(help);
                None
            }
        }
    }

    fn authorities(&mut self, word: &Word) -> Option<Rc<Authorities>> {
        let (path, pem) = self.tls_file(word, identity::LONGEST)?;
        let certificates = self.certificates(word, &path, &pem)?;
        Some(Rc::new(Authorities { path, certificates }))
    }

    fn warn_of_end(&mut self, word: &Word, path: &Path, ends: Option<i64>) {
        let Some(left) = ends.map(|ends| ends.saturating_sub(self.lookup.unix_time())) else {
            return;
        };
        if left >= SOON || self.quiet {
            return;
        }
        let path = path.display();
        let message = match left {
            ..=0 => format!("the certificate `{path}` has expired"),
            _ => format!("the certificate `{path}` expires in {} days", left / 86_400),
        };
        self.report.warning(&word.span, message).help("renew it, and reload");
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
        let asks = attributes.front.tls_client != TlsClient::No;
        let said_authorities = last_said(entry, "tls_ca");
        if is_on && asks && said_authorities.is_none() {
            let said = last_said(entry, "tls_client").map(|setting| &setting.name.span);
            self.report
                .error(
                    said.unwrap_or(&entry.endpoint.span),
                    "`tls_client` needs `tls_ca`: who makes the certificates of clients",
                )
                .help("write the file of their authority: `tls_ca = /etc/ssl/clients.pem`");
        }
        for setting in &entry.settings {
            let name = setting.attribute.name;
            let why = match name {
                "front_workers" if attributes.front.has_terminal() => continue,
                "tls_client" | "tls_ca" | "tls_versions" | "tls_alpn" | "tls_timeout"
                | "front_workers"
                    if !is_on =>
                {
                    "there is no `tls`"
                }
                "tls_ca" if !asks => "`tls_client` is `no`",
                _ => continue,
            };
            if setting.is_right() {
                let message = format!("`{}` has no effect: {why}", setting.name.text);
                self.report.warning(&setting.name.span, message).help("take it out");
            }
        }
    }
}

/// A program that ran as the user of what stands in front of services could end it, and see
/// what it does.
pub(in crate::config) fn check_users(config: &Config, report: &mut Report) {
    let user = config.services.iter().find_map(|it| it.attributes.front.front_user);
    let Some(user) = user.filter(|user| user.switch) else { return };
    let same = |it: &&Rc<Service>| it.account.switch && it.account.uid == user.uid;
    for service in config.services.iter().filter(same) {
        let message =
            format!("`{}` runs as the user of what stands in front of services", service.label);
        report
            .error_without_place(message)
            .help("give it another user, or name one with --front-user");
    }
}
