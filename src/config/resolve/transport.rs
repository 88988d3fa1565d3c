//! What the short fields of an entry say together: the shape of a service, if each of
//! them is right.

use super::endpoint::{EndpointReader, ServiceField};
use super::fields::{Fields, check_pair};
use super::resolver::Resolver;
use crate::config::attribute::Draft;
use crate::config::attribute::quantity::octal;
use crate::config::model::SocketType;
use crate::config::model::protocol::Protocol;
use crate::config::syntax::entry::Entry;
use crate::config::text::words::Word;

/// Type, protocol, wait and service field, all of them right.
pub(super) struct Shape {
    pub(super) socket_type: SocketType,
    pub(super) protocol: Protocol,
    pub(super) wait: bool,
    pub(super) target: ServiceField,
}

/// Type, protocol and wait, as far as they are right.
type Short = (Option<SocketType>, Option<Protocol>, Option<bool>);

impl Resolver<'_> {
    /// Fields and settings; no shape where one of the fields is wrong.
    pub(super) fn shape(&mut self, entry: &Entry) -> (Option<Shape>, Draft) {
        let mut fields = Fields { report: self.report, implied: Vec::new() };
        let socket_type = entry.socket_type.written().and_then(|word| fields.socket_type(word));
        let protocol = entry.protocol.written().and_then(|word| fields.protocol(word));
        let protocol = protocol.map(|protocol| protocol.on(entry.families));
        let wait = entry.wait.written().and_then(|word| fields.wait(word));
        let implied = fields.implied;
        if let (Some(socket_type), Some(protocol)) = (socket_type, protocol) {
            check_pair(entry, socket_type, protocol, self.report);
        }
        let mut draft = self.draft(entry, &implied);
        self.quiet = draft.disable;
        let target = self.target(entry, protocol, &mut draft);
        let short = (socket_type, protocol, wait);
        (target.and_then(|target| self.whole(entry, short, target, &draft)), draft)
    }

    /// The shape; where something of it is missing, what there is to say of addresses
    /// is said all the same.
    fn whole(
        &mut self,
        entry: &Entry,
        short: Short,
        target: ServiceField,
        draft: &Draft,
    ) -> Option<Shape> {
        if let (Some(socket_type), Some(protocol), Some(wait)) = short {
            return Some(Shape { socket_type, protocol, wait, target });
        }
        if let Some(protocol) = short.1 {
            self.sockets(entry, &target, draft, (SocketType::Stream, protocol));
        }
        None
    }

    /// What the service field means, as far as the protocol tells.
    fn target(
        &mut self,
        entry: &Entry,
        protocol: Option<Protocol>,
        draft: &mut Draft,
    ) -> Option<ServiceField> {
        if entry.broken && entry.endpoint.is_missing() {
            return None;
        }
        let any_port = self.keeps_account;
        let mut reading = EndpointReader { lookup: self.lookup, report: self.report, any_port };
        let target = match protocol {
            Some(protocol) => reading.target(entry, protocol)?,
            None => reading.without_protocol(entry)?,
        };
        if let ServiceField::Unix { path, owner } = &target {
            self.check_socket_path(entry, path);
            self.owner(owner.as_deref(), draft);
        }
        Some(target)
    }

    /// FreeBSD's `:user:group:mode:` before a path, as attributes.
    fn owner(&mut self, owner: Option<&[Word; 3]>, draft: &mut Draft) {
        let Some([user, group, mode]) = owner else { return };
        draft.socket_user = (!user.text.is_empty()).then(|| user.clone());
        draft.socket_group = (!group.text.is_empty()).then(|| group.clone());
        match octal(&mode.text) {
            Some(mode) => draft.attributes.socket.mode = mode,
            None => {
                self.report
                    .error(&mode.span, format!("`{}` is not an octal mode", mode.text))
                    .help("write `:USER:GROUP:0660:/path`");
            }
        }
    }
}
