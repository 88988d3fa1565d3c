//! What a worker is told of a service: in a file of memory, since it may be long, with the
//! descriptors that it names in their order.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest settings that a worker reads.
pub(crate) const LONGEST: u64 = 4 << 20;
/// The longest key.
pub(crate) const LONGEST_KEY: u64 = 64 << 10;
/// Keys of one service at most.
pub(crate) const MOST_KEYS: usize = 32;

/// Which front a service has, and all that it has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// TLS.
    Tls(Tls),
    /// A terminal, and whether its clients speak telnet.
    Terminal(bool),
    /// Such a terminal inside of TLS.
    TlsTerminal(Tls, bool),
}

/// A service behind TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tls {
    /// Certificates, the own first, as DER; the key of each is the descriptor at its place.
    pub chains: Vec<Vec<Vec<u8>>>,
    /// TLS 1.2 as well, and 1.3.
    pub versions: (bool, bool),
    /// Protocols, the preferred first.
    pub alpn: Vec<String>,
    /// Whether clients are asked for a certificate, and whether they have to have one.
    pub client: (bool, bool),
    /// Who makes those.
    pub authorities: Vec<Vec<u8>>,
    /// The longest that nothing may move on a connection.
    pub idle: Option<Duration>,
    /// Keys of tickets, the one for new ones first.
    pub tickets: Vec<TicketKey>,
}

/// A key for the tickets with which clients resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TicketKey {
    /// What its tickets begin with.
    pub name: [u8; 16],
    /// The key itself.
    pub secret: [u8; 32],
}

/// How long a ticket is good.
pub(crate) const TICKET_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
