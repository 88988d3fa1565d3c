//! The files of TLS: certificates, keys and who makes the certificates of clients are read while
//! the configuration is, and at every reload again. A key is looked at and not kept.
//!
//! Whatever is wrong with one of them is an error: whoever has written `tls` is not served
//! without it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::access::relative_to;
use super::resolver::Resolver;
use crate::config::diagnostic::reading::{NO_FILE, reason};
use crate::config::model::{Authorities, Certificate};
use crate::config::text::words::{Word, quote};
use crate::front::certificate::{Claims, claims, distinguished_name, fingerprint};
use crate::front::identity::{self, Wrong};
use crate::front::settings::LONGEST_KEY;

/// The end of a certificate is told so many seconds before it comes: two weeks.
const SOON: i64 = 14 * DAY;
const DAY: i64 = 86_400;

/// So many names of a certificate are told.
const SHOWN: usize = 8;

/// A file that has been read.
struct TlsFile<'a> {
    /// What names it.
    word: &'a Word,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl TlsFile<'_> {
    /// What commands call it.
    fn named(&self) -> String {
        quote(self.path.as_os_str())
    }
}

impl Resolver<'_> {
    /// One pair of `tls`.
    pub(super) fn certificate(&mut self, own: &Word, key: &Word) -> Option<Certificate> {
        // Both, since whoever has made one mistake may have made two.
        let read = (self.tls_file(own, identity::LONGEST), self.tls_file(key, LONGEST_KEY));
        let (own, key) = (read.0?, read.1?);
        if identity::are_swapped(&own.bytes, &key.bytes) {
            let message =
                format!("`{}` is the key, and `{}` the certificate", own.named(), key.named());
            let help = format!("write `tls = {} {}`", key.named(), own.named());
            self.report.error(&own.word.span, message).of_the_machine().help(help);
            return None;
        }
        let chain = self.certificates(&own)?;
        self.right(&own, identity::check_own(&chain))?;
        let files = (own.named(), key.named());
        self.right(&key, identity::check_key(&chain, &key.bytes, (&files.0, &files.1)))?;
        self.warn_of_makers(&own, &chain);
        self.warn_of_no_name(&own, &chain);
        self.warn_of_times(&own, "certificate", &chain);
        let identity = self.key_identity(&key);
        let said = chain.first().and_then(|own| claims(own));
        let ends = said.and_then(|it| it.good.1);
        let names = said.as_ref().map(names).unwrap_or_default();
        let fingerprint = chain.first().map(|own| fingerprint(own)).unwrap_or_default();
        let (path, key) = (own.path, key.path);
        Some(Certificate { path, key, chain, ends, names, fingerprint, identity })
    }

    /// The file of `tls_ca`.
    pub(super) fn authorities(&mut self, word: &Word) -> Option<Rc<Authorities>> {
        let read = self.tls_file(word, identity::LONGEST)?;
        let certificates = self.certificates(&read)?;
        self.warn_of_no_authority(&read, &certificates);
        self.warn_of_times(&read, "authority", &certificates);
        Some(Rc::new(Authorities { path: read.path, certificates }))
    }

    fn tls_file<'a>(&mut self, word: &'a Word, most: u64) -> Option<TlsFile<'a>> {
        let path = relative_to(&word.span, Path::new(&word.os));
        match self.lookup.read_up_to(&path, most) {
            Ok(bytes) => Some(TlsFile { word, path, bytes }),
            // Nobody is served without it.
            Err(error) if self.quiet || error.kind() == ErrorKind::FileTooLarge => {
                self.cannot_read(word, &path, &error, most);
                None
            }
            Err(error) => {
                let message = format!("cannot read `{}`: {}", path.display(), reason(&error));
                let help = self.help_with_reading(word, &path, &error);
                self.report.error(&word.span, message).of_the_machine().help(help);
                None
            }
        }
    }

    fn help_with_reading(&self, word: &Word, path: &Path, error: &io::Error) -> String {
        let shown = quote(path.as_os_str());
        match error.kind() {
            _ if self.lookup.is_directory(path) => {
                format!("name a file that is in it: `ls -l {shown}`")
            }
            ErrorKind::PermissionDenied => {
                let user = self.lookup.own_account().name;
                format!("let the server's user read it, `{user}`, or start the server as root")
            }
            ErrorKind::Other => NO_FILE.to_owned(),
            _ if self.keeps_account || word.text.starts_with('/') => {
                format!("is the name right? `ls -l {shown}`")
            }
            _ => format!(
                "is the name right? It is relative to the file that says it: `ls -l {shown}`"
            ),
        }
    }

    fn certificates(&mut self, read: &TlsFile<'_>) -> Option<Vec<Vec<u8>>> {
        self.right(read, identity::certificates(&read.bytes, &read.named()))
    }

    /// What has been found out about a file, unless that is that something is wrong with it.
    fn right<T>(&mut self, read: &TlsFile<'_>, found: Result<T, Wrong>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(Wrong { what, help }) => {
                let message = format!("`{}`: {what}", read.path.display());
                self.report.error(&read.word.span, message).of_the_machine().help(help);
                None
            }
        }
    }

    /// Which file the key is; others should not be able to read it.
    fn key_identity(&mut self, key: &TlsFile<'_>) -> crate::config::model::FileIdentity {
        let (identity, mode) = self.lookup.file_facts(&key.path).unwrap_or_default();
        if mode & 0o077 != 0 && !self.quiet {
            let message =
                format!("others than its owner may read the key `{}`", key.path.display());
            let help = format!("`chmod 600 {}`", key.named());
            self.report.warning(&key.word.span, message).of_the_machine().help(help);
        }
        identity
    }

    /// Clients have to find the way from the own certificate to somebody whom they know.
    fn warn_of_makers(&mut self, own: &TlsFile<'_>, chain: &[Vec<u8>]) {
        if self.quiet {
            return;
        }
        let path = own.path.display();
        if let Some(at) = identity::first_stranger(chain) {
            let message = format!(
                "certificate {at} in `{path}` is not of who has made the one before it, and clients may not know whom to believe"
            );
            self.report
                .warning(&own.word.span, message)
                .of_the_machine()
                .help("put the service's own first, then that of who has made it, and so on");
        }
        let whole = own.path.with_file_name("fullchain.pem");
        let is_part = own.path.file_name().is_some_and(|name| name == "cert.pem");
        if is_part && identity::lacks_its_maker(chain) && self.lookup.file_facts(&whole).is_some() {
            let message = format!("`{path}` lacks the certificates between it and an authority");
            let help = format!("name the file beside it that has them: `{}`", whole.display());
            self.report.warning(&own.word.span, message).of_the_machine().help(help);
        }
    }

    /// What a host is called clients do not look for elsewhere.
    fn warn_of_no_name(&mut self, own: &TlsFile<'_>, chain: &[Vec<u8>]) {
        let claims = chain.first().and_then(|own| claims(own));
        if self.quiet || claims.is_none_or(|it| it.names_hosts()) {
            return;
        }
        let message = format!(
            "the certificate `{}` names no host in its subjectAltName, and most clients refuse it",
            own.path.display()
        );
        self.report
            .warning(&own.word.span, message)
            .of_the_machine()
            .help("have it made again with its names: `-addext subjectAltName=DNS:NAME`");
    }

    /// Who has been made by another one and makes nobody himself has made no client's; one who has
    /// made himself may be the one client who is let in.
    fn warn_of_no_authority(&mut self, read: &TlsFile<'_>, all: &[Vec<u8>]) {
        let is_leaf = |it: &Claims<'_>| !it.is_old && !it.is_authority && it.issuer != it.subject;
        let at = all.iter().position(|it| claims(it).as_ref().is_some_and(is_leaf));
        let Some(at) = at.filter(|_| !self.quiet) else { return };
        let message = format!(
            "certificate {} in `{}` is no authority's (CA:FALSE): it has made nobody's",
            at + 1,
            read.path.display()
        );
        self.report
            .warning(&read.word.span, message)
            .of_the_machine()
            .help("name the certificate of who makes those of the clients, and no others");
    }

    /// A certificate that is not good now, or not for much longer.
    fn warn_of_times(&mut self, read: &TlsFile<'_>, what: &str, all: &[Vec<u8>]) {
        if self.quiet {
            return;
        }
        // Of an own one, what has made it is for clients to judge, who may know another one.
        let judged = all.iter().take(if what == "authority" { all.len() } else { 1 });
        let now = self.lookup.unix_time();
        let path = read.path.display();
        for (begins, ends) in judged.filter_map(|it| claims(it)).map(|it| it.good) {
            let until = begins.map_or(0, |begins| begins.saturating_sub(now));
            let left = ends.map_or(i64::MAX, |ends| ends.saturating_sub(now));
            let (message, help) = match () {
                () if until > 0 => (
                    format!("the {what} `{path}` is not good yet, but in {}", days(until)),
                    "is the clock of this machine right? `date`",
                ),
                () if left <= 0 => (
                    format!("the {what} `{path}` has expired, {} ago", days(left.saturating_neg())),
                    "renew it, and reload",
                ),
                () if left < SOON => (
                    format!("the {what} `{path}` expires in {}", days(left)),
                    "renew it, and reload",
                ),
                () => continue,
            };
            self.report.warning(&read.word.span, message).of_the_machine().help(help);
        }
    }
}

/// As many names of a certificate as a line has room for.
fn names(said: &Claims<'_>) -> String {
    let hosts = said.hosts();
    let more = match hosts.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let shown = hosts.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(",");
    match shown.is_empty() {
        true => distinguished_name(said.subject).unwrap_or_default(),
        false => shown + &more,
    }
}

fn days(seconds: i64) -> String {
    match seconds / DAY {
        0 => format!("{} hours", seconds / 3600),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}
