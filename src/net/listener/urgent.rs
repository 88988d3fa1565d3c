//! Urgent bytes (MSG_OOB), as telnet sends them for its Synch. A program that has the connection
//! itself finds them where it looks for them: beside the others. What is read here, by the server
//! or by a process in front of a service, has each byte in its place, or one would be missing.

use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};

use crate::config::model::Service;

/// Has the connections to this listener, which inherit that, keep them there, or not.
pub(super) fn set(listener: &impl AsFd, service: &Service) {
    if let Err(error) = setsockopt(listener, sockopt::OobInline, &service.is_read_here()) {
        log::debug!("option name=SO_OOBINLINE error={error}");
    }
}
