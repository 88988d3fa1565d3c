//! Connections of clients who have to begin: the kernel keeps each until something has come, so
//! that it is there when the connection is taken, and is looked at once. Who says nothing is
//! handed over after all, when the first answer of the handshake has been repeated: a second
//! later ([`DEFERRED`](crate::config::model::DEFERRED)).

use std::os::fd::AsRawFd;

use nix::libc;

use crate::config::model::Attributes;
use crate::sys::socket_options::{self, OptionValue};

/// Has the kernel do so for those of this service, or not; where it cannot, they are waited for.
pub(super) fn set(listener: &impl AsRawFd, attributes: &Attributes) {
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT);
    let seconds = OptionValue::number(attributes.front.lets_clients_begin().into());
    if let Err(error) = socket_options::set(listener, level, name, &seconds) {
        log::debug!("option level={level} name={name} error={error}");
    }
}
