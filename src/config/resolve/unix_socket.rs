//! The service field of a unix socket: a name without a file, or a path with its owner.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::endpoint::{EndpointReader, ServiceField};
use crate::config::text::words::Word;

impl EndpointReader<'_> {
    /// `@name`.
    pub(super) fn abstract_name(&mut self, word: &Word) -> Option<ServiceField> {
        let name = word.os.as_bytes().get(1..).unwrap_or_default();
        // sun_path has 108 bytes, and the first one is NUL.
        if (1..=107).contains(&name.len()) {
            return Some(ServiceField::Abstract(name.to_vec()));
        }
        self.report
            .error(&word.span, "the name of an abstract socket has 1 to 107 bytes")
            .help("write something like `@name`");
        None
    }

    /// `:user:group:mode:/path`.
    pub(super) fn freebsd(&mut self, word: &Word) -> Option<ServiceField> {
        let mut ends = word.text.match_indices(':').map(|(at, _)| at);
        let places = [ends.next(), ends.next(), ends.next(), ends.next()];
        if let [Some(a), Some(b), Some(c), Some(d)] = places
            && word.text.get(d + 1..)?.starts_with('/')
        {
            let owner = [word.slice(a + 1..b), word.slice(b + 1..c), word.slice(c + 1..d)];
            return Some(ServiceField::Unix {
                path: PathBuf::from(word.tail(d + 1)),
                owner: Some(Box::new(owner)),
            });
        }
        self.report
            .error(&word.span, "this is not a unix socket with its owner")
            .help("write `:USER:GROUP:MODE:/path`, or `/path` with the attributes `socket_user`, `socket_group` and `socket_mode`");
        None
    }
}
