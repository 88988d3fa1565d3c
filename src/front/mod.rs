//! What stands between a client and a program.
//!
//! | file | what it does |
//! |---|---|
//! | `certificate` | what a certificate says: its names, and its end |
//! | `channel` | messages with descriptors between the server and a worker |
//! | `alerts` | why a handshake fails, in the words of the standard |
//! | `ciphers` | the names of ciphers |
//! | `identity` | certificates and keys as files have them |
//! | `leaving` | how a client leaves its program |
//! | `pem` | what a file is in which there should be certificates or a key |
//! | `proxy` | the PROXY header, with which a server in front says who the client is |
//! | `self_signed` | a certificate made on the spot |
//! | `settings` | what a worker is told of a service |
//! | `telnet` | the telnet protocol |
//! | `wire` | the messages between the server and a worker |
//! | `worker` | the process: sessions, each between a client and a program |
//!
//! A PROXY header is read by the server itself. All else is done in processes of its own: the
//! server never looks at a byte of such a client. It accepts the connection, makes a pair
//! of sockets, one end of which is to be the program's, and hands the connection and the other
//! end to a worker. The worker does what the service says ([`worker::front::Front`]), tells
//! the server when the client may have its program, and passes on what both say.
//!
//! # Another kind of front
//! 1. A variant of [`settings::Kind`]: what a worker has to know of the service.
//! 2. In `worker`, an implementation of [`worker::front::Front`]: what becomes of bytes from
//!    the client and from the program, and at the end of either. It sees no descriptors; who
//!    waits for whom, and what is delivered before a close, is the session's business. When
//!    the client may have its program, it puts facts ([`crate::net::fronted::Fact`]) into its
//!    output, be they none.
//! 3. Its line in `worker::fronts`, in `make`.
//! 4. In the server, `server::sessions::fronting` hands a connection over where a service has
//!    settings. Of the two descriptors, the second may be a terminal's (`Give::Terminal`).

pub(crate) mod alerts;
pub(crate) mod certificate;
pub(crate) mod channel;
pub(crate) mod ciphers;
pub(crate) mod identity;
pub(crate) mod leaving;
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "no file is looked at"))]
mod pem;
pub(crate) mod proxy;
pub(crate) mod self_signed;
pub(crate) mod settings;
pub(crate) mod telnet;
pub(crate) mod wire;
pub(crate) mod worker;

/// The one argument with which this program is a worker.
pub(crate) const ARGUMENT: &str = "front-worker";

/// Whether a command line is that of a worker.
pub(crate) fn is_asked_for(arguments: &[std::ffi::OsString]) -> bool {
    matches!(arguments, [one] if one == ARGUMENT)
}
