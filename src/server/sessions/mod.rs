//! Whoever is served has one entry in one table ([`session`]): who it is, and how he is served.
//! Here is also what clients are told before and after that.
//!
//! | file | what it does |
//! |---|---|
//! | `banners` | what clients are told before they are served, or when they are refused |
//! | `believing` | what of a worker's word is believed |
//! | `builtin` | built-in services on streams, tcpmux |
//! | `closing` | their connections, so that clients get all of the answer |
//! | `connecting` | processes that connect to unix sockets for relays, as their users |
//! | `crowd` | those who wait, by their sources |
//! | `departing` | how clients of workers leave whoever serves them |
//! | `dialling` | their way to that server |
//! | `header` | the PROXY header of a connection |
//! | `fronting` | clients behind TLS, until they may have their program |
//! | `holding` | clients over a limit, for the moment in which a program may end |
//! | `idling` | connections on which nothing moves |
//! | `lingering` | who is served no more, and has still to take the rest |
//! | `judging` | whether those who come past what stands in front may still come in |
//! | `newcomers` | connections before it is known whom they are from |
//! | `permits` | the permit of each who has one |
//! | `own_program` | this program once more, as a process that does one thing |
//! | `relay` | connections relayed to another server |
//! | `sealing` | what workers are told of services: certificates, keys, ticket keys |
//! | `session` | who is served: one table, and the one end |
//! | `signs_of_life` | what a worker has shown of being there |
//! | `stream` | a connection of a built-in service |
//! | `terminals` | terminals of programs |
//! | `workers` | processes that stand between clients and programs |
//! | `worker_clients` | their clients, and what they are told |
//! | `worker_starts` | how they begin |
//! | `worker_words` | what they say |
//! | `worker_signs` | whether they still do anything |
//! | `worker_ends` | how they end |
//!
//! # A new kind of client
//! 1. What is known of him: a struct in a file of its own, and a variant of
//!    [`session::SessionStage`]. The compiler says who else has to know of it.
//! 2. He comes with a `Permit`, of which admission has counted him: `Server::begin` makes him a
//!    `session::Client` of it and tells the log, `SessionTable::insert` keeps him.
//! 3. An `Owner` in `reactor::token` for his descriptor; what is done then, in `turning`.
//! 4. His end: out of the table, closed, and given to `Server::end`, which does all the rest.
//! 5. An upgrade hands him over as he is: his struct derives serde's traits (`sys::handed` for a
//!    descriptor, `upgrade::moment` for an instant, `upgrade::places` for a key). A list for his
//!    kind in `upgrade::state`, filled in `upgrade::save`, read in `upgrade::restore_served`, and
//!    named in `upgrade::restore::examine`, which tries whether it can be.
//!
//! Who is not admitted yet (a header is waited for, keys are exchanged) has neither permit nor
//! session, and is kept in a table of his own until `services::accepting` admits him:
//! `newcomers` says how something else is let come first.

pub(super) mod banners;
mod believing;
pub(super) mod builtin;
pub(super) mod closing;
pub(super) mod connecting;
mod crowd;
pub(super) mod departing;
pub(super) mod dialling;
pub(super) mod fronting;
mod header;
pub(super) mod holding;
pub(super) mod idling;
mod judging;
pub(super) mod lingering;
pub(super) mod newcomers;
mod own_program;
mod permits;
pub(super) mod relay;
pub(super) mod sealing;
pub(super) mod session;
mod signs_of_life;
pub(super) mod stream;
pub(super) mod terminals;
mod worker_clients;
mod worker_ends;
mod worker_signs;
mod worker_starts;
mod worker_words;
pub(super) mod workers;

use banners::BannerState;
use closing::Closing;
use connecting::Connecting;
use fronting::Fronting;
use holding::Holding;
use lingering::Lingering;
use newcomers::Newcomers;
use sealing::TicketKeys;
use session::SessionTable;
use workers::Workers;

use super::peers::Peers;
use super::reactor::slab::Slab;
use super::services::pending_peer::PendingPeer;
use super::services::straying::PeerSocket;
use crate::builtin::Guard;

/// Everybody whom the server itself has something to do with, and the list of all.
pub(super) struct Sessions {
    /// Whoever is served.
    pub(super) table: SessionTable,
    /// Which datagrams are answered.
    pub(super) guard: Guard,
    pub(super) banners: Slab<BannerState>,
    pub(super) closing: Closing,
    pub(super) pending_peers: Slab<PendingPeer>,
    /// Sockets of programs per peer that have made them others'.
    pub(super) strays: Slab<PeerSocket>,
    pub(super) holding: Holding,
    pub(super) lingering: Lingering,
    pub(super) newcomers: Newcomers,
    pub(super) connecting: Connecting,
    pub(super) workers: Workers,
    pub(super) fronting: Fronting,
    pub(super) tickets: TicketKeys,
    pub(super) peers: Peers,
}

impl Sessions {
    pub(super) fn new(front_workers: Option<usize>) -> Self {
        Self {
            table: SessionTable::new(),
            guard: Guard::default(),
            banners: Slab::new(),
            closing: Closing::default(),
            pending_peers: Slab::new(),
            strays: Slab::new(),
            holding: Holding::default(),
            lingering: Lingering::new(),
            newcomers: Newcomers::new(),
            connecting: Connecting::new(),
            workers: Workers::new(front_workers),
            fronting: Fronting::new(),
            tickets: TicketKeys::default(),
            peers: Peers::default(),
        }
    }
}
