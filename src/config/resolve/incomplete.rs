//! An entry that cannot become a service, since one of its fields is wrong: all that
//! can be judged without that field still is, so that nobody hears of one mistake
//! only after the other is corrected.

use super::endpoint::{EndpointReader, ServiceField, is_inet};
use super::fields::probably_meant;
use super::resolver::Resolver;
use crate::config::attribute::Draft;
use crate::config::attribute::quantity::digits;
use crate::config::model::Builtin;
use crate::config::model::protocol::{Families, Protocol};
use crate::config::syntax::address::{addresses, split};
use crate::config::syntax::entry::Entry;
use crate::config::text::words::Word;

impl EndpointReader<'_> {
    /// The service field where the protocol is not known.
    pub(super) fn without_protocol(&mut self, entry: &Entry) -> Option<ServiceField> {
        let word = &entry.endpoint;
        if !is_inet(&word.text) {
            return self.portless(word);
        }
        let meant = probably_meant(&entry.protocol);
        let (service, before) = split(word);
        if meant == Some(Protocol::Unix) {
            return None;
        }
        if before.as_ref().is_some_and(|before| self.lacks_brackets(word, before, &service)) {
            return None;
        }
        if let Some(word) = before.or_else(|| self.default_address(entry)) {
            addresses(&word, self.report);
        }
        if let Some(protocol) = self.judge(&service, meant) {
            self.ports(&service, protocol);
        }
        None
    }

    /// The protocol to look a service up for, if what is found then is true of any:
    /// for numbers, and for names that none has.
    fn judge(&self, service: &Word, meant: Option<Protocol>) -> Option<Protocol> {
        let text = service.text.as_str();
        let known = |protocol| self.lookup.service(text, protocol).is_some();
        if is_number(text) {
            return meant.or(Some(Protocol::Tcp(Families::Both)));
        }
        meant.filter(|_| !known("tcp") && !known("udp") && Builtin::named(text).is_none())
    }
}

/// Whether a service is a port or a range of them, right or wrong.
fn is_number(service: &str) -> bool {
    let range = service.split_once('-').and_then(|(low, high)| digits(low).zip(digits(high)));
    range.is_some() || !service.is_empty() && service.bytes().all(|byte| byte.is_ascii_digit())
}

impl Resolver<'_> {
    /// What runs, as whom, and what attributes name.
    pub(super) fn judge_alone(&mut self, entry: &Entry, mut draft: Draft) {
        let internal = entry.program.text == "internal" && !entry.program.quoted;
        let redirect = draft.redirect.take();
        if let Some(redirect) = &redirect {
            self.relay_target(entry, redirect);
        } else if internal && !entry.says("redirect") {
            self.check_builtin_name(entry);
        }
        if internal || redirect.is_some() {
            self.socket_owner(&mut draft);
            self.read_what_is_said(entry, &mut draft);
            return;
        }
        let action = self.program(entry, &draft);
        self.account(entry, &draft);
        self.check_surroundings(entry, &mut draft, action.as_ref());
    }
}
