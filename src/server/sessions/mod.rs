//! Clients that are served without a program, and what clients are told before and after one.
//!
//! | file | what it does |
//! |---|---|
//! | `banners` | what clients are told before they are served, or when they are refused |
//! | `builtin` | built-in services on streams, tcpmux |
//! | `closing` | their connections, so that clients get all of the answer |
//! | `connecting` | processes that connect to unix sockets for relays, as their users |
//! | `dialling` | their way to that server |
//! | `header` | the PROXY header of a connection |
//! | `holding` | clients over a limit, for the moment in which a program may end |
//! | `idling` | connections on which nothing moves |
//! | `newcomers` | connections before it is known whom they are from |
//! | `relay` | connections relayed to another server |
//! | `stream` | a connection of a built-in service |

pub(super) mod banners;
pub(super) mod builtin;
pub(super) mod closing;
pub(super) mod connecting;
pub(super) mod dialling;
mod header;
pub(super) mod holding;
pub(super) mod idling;
pub(super) mod newcomers;
pub(super) mod relay;
pub(super) mod stream;

use super::Server;
use super::peers::Peers;
use super::reactor::slab::Slab;
use super::services::per_peer::PendingPeer;
use super::services::straying::PeerSocket;
use super::state::ConversationState;
use crate::admission::{Admission, Permit};
use crate::builtin::Guard;
use banners::{AfterBanner, BannerState};
use closing::Closing;
use connecting::Connecting;
use holding::Holding;
use newcomers::Newcomers;
use relay::RelayState;

/// Everybody whom the server itself has something to do with, and the list of all.
pub(super) struct Sessions {
    pub(super) builtins: Slab<ConversationState>,
    /// Which datagrams are answered.
    pub(super) guard: Guard,
    pub(super) banners: Slab<BannerState>,
    pub(super) closing: Closing,
    pub(super) pending_peers: Slab<PendingPeer>,
    /// Sockets of programs per peer that have made them others'.
    pub(super) strays: Slab<PeerSocket>,
    pub(super) holding: Holding,
    pub(super) newcomers: Newcomers,
    pub(super) relays: Slab<RelayState>,
    pub(super) connecting: Connecting,
    pub(super) peers: Peers,
}

impl Drop for Server {
    /// Programs may go on, and nobody counts them any more.
    fn drop(&mut self) {
        self.each_permit(|_, permit| permit.close());
    }
}

impl Server {
    /// Changes the permit of each who has one.
    pub(super) fn each_permit(&mut self, change: impl Fn(&mut Admission, &mut Permit)) {
        let (admission, sessions) = (&mut self.admission, &mut self.sessions);
        self.programs.children.each(|it| {
            it.permit.as_mut().into_iter().for_each(|permit| change(admission, permit));
        });
        sessions.builtins.each(|it| change(admission, &mut it.guest.permit));
        sessions.relays.each(|it| change(admission, &mut it.permit));
        sessions.pending_peers.each(|it| change(admission, &mut it.permit));
        sessions.banners.each(|it| {
            if let AfterBanner::Serve(admitted) = &mut it.then {
                change(admission, &mut admitted.permit);
            }
        });
    }
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self {
            builtins: Slab::new(),
            guard: Guard::default(),
            banners: Slab::new(),
            closing: Closing::default(),
            pending_peers: Slab::new(),
            strays: Slab::new(),
            holding: Holding::default(),
            newcomers: Newcomers::new(),
            relays: Slab::new(),
            connecting: Connecting::new(),
            peers: Peers::new(),
        }
    }
}
