//! What clients are told by the server: before they are served, or instead of it.
//!
//! Most banners fit into the send buffer of a fresh connection, and then that is all.
//! The rest of a longer one is sent as the client reads it; its program is started
//! afterwards. A refused client must be able to read its text: closing a TCP
//! connection on which something is unread resets it, and the reset can overtake the
//! text. So what the client sends is thrown away for a while, until it closes.

mod turns;

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use serde::{Deserialize, Serialize};

use super::lingering::Lingerer;
use crate::admission::Permit;
use crate::config::model::{Banner, Service, SocketType};
use crate::net::address::Address;
use crate::server::reactor::slab::Key;
use crate::server::upgrade::places::{OfServices, Placed as _};
use crate::spawn::environment;
use crate::sys::{descriptor, handed};
use crate::upgrade::{hex, moment};

const PER_TURN: usize = 64 * 1024;

/// What the clients of a service are told.
#[derive(Debug, Default)]
pub(in crate::server) struct Banners {
    admitted: Option<Rc<[u8]>>,
    refused: Option<Rc<[u8]>>,
}

impl Banners {
    /// What a service says; nothing where there is no stream that is ours.
    pub(in crate::server) fn of(service: &Service) -> Self {
        let attributes = &service.attributes;
        if service.socket_type != SocketType::Stream || service.wait || service.tcpmux.is_some() {
            return Self::default();
        }
        let both = |second: &Option<Rc<Banner>>| {
            let parts = [&attributes.banners.all, second];
            let texts = parts.into_iter().flatten().map(|banner| banner.text.as_slice());
            let text = texts.collect::<Vec<_>>().concat();
            (!text.is_empty()).then(|| Rc::from(text))
        };
        Self {
            admitted: both(&attributes.banners.success),
            refused: both(&attributes.banners.fail),
        }
    }
}

/// A client that is being told something.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::server) struct BannerState {
    #[serde(rename = "descriptor", with = "handed")]
    pub(in crate::server) socket: OwnedFd,
    pub(in crate::server) unsent: Unsent,
    pub(in crate::server) then: AfterBanner,
    #[serde(with = "moment")]
    pub(in crate::server) due: Instant,
}

/// A text that is shared, and how much of it has been sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Hex", into = "Hex")]
pub(in crate::server) struct Unsent {
    text: Rc<[u8]>,
    sent: usize,
}

impl Unsent {
    fn nothing() -> Self {
        Self { text: Rc::from([]), sent: 0 }
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.sent..).unwrap_or_default()
    }
}

/// The rest of it, for an upgrade.
#[derive(Serialize, Deserialize)]
struct Hex(#[serde(with = "hex")] Vec<u8>);

impl From<Unsent> for Hex {
    fn from(unsent: Unsent) -> Self {
        Self(unsent.rest().to_vec())
    }
}

impl From<Hex> for Unsent {
    fn from(Hex(rest): Hex) -> Self {
        Self { text: rest.into(), sent: 0 }
    }
}

/// What happens when it has been told.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::server) enum AfterBanner {
    Serve(Box<Admitted>),
    /// Closed when the client does, or when that many more bytes have come.
    Close {
        left: usize,
        #[serde(default)]
        whose: Lingerer,
    },
}

/// Who is served afterwards.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::server) struct Admitted {
    #[serde(with = "OfServices")]
    pub(in crate::server) service: Key,
    #[serde(skip, default = "Permit::unrestored")]
    pub(in crate::server) permit: Permit,
    pub(in crate::server) peer: Address,
    pub(in crate::server) peer_gid: Option<u32>,
    pub(in crate::server) facts: environment::ConnectionEnvironment,
    #[serde(with = "moment")]
    pub(in crate::server) since: Instant,
}

/// How far it is.
enum BannerProgress {
    Blocked,
    /// Everything has been sent, and for refused clients read.
    Done,
    /// The turn's share is used up.
    More,
    /// The client is gone.
    Gone,
}

impl BannerState {
    fn is_all_sent(&self) -> bool {
        self.unsent.rest().is_empty()
    }

    fn turn(&mut self, scratch: &mut [u8]) -> nix::Result<BannerProgress> {
        if !self.is_all_sent() {
            let sent = send_now(&self.socket, self.unsent.rest())?;
            self.unsent.sent = self.unsent.sent.saturating_add(sent);
            if self.is_all_sent() && matches!(self.then, AfterBanner::Close { .. }) {
                shutdown(self.socket.as_raw_fd(), Shutdown::Write)?;
            }
        }
        let all_sent = self.is_all_sent();
        match &mut self.then {
            AfterBanner::Serve(_) if all_sent => Ok(BannerProgress::Done),
            AfterBanner::Serve(_) => Ok(BannerProgress::Blocked),
            AfterBanner::Close { left, .. } => throw_away(&self.socket, left, all_sent, scratch),
        }
    }
}

/// Reads what a refused client sends. Done at its end, if it has been told everything.
fn throw_away(
    socket: &OwnedFd,
    left: &mut usize,
    all_sent: bool,
    scratch: &mut [u8],
) -> nix::Result<BannerProgress> {
    let room = scratch.get_mut(..PER_TURN.min(*left)).unwrap_or_default();
    if room.is_empty() {
        return Ok(BannerProgress::Done);
    }
    match recv(socket.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT)? {
        0 if all_sent => Ok(BannerProgress::Done),
        // It has said everything and may still read.
        0 => Ok(BannerProgress::Blocked),
        length => {
            *left = left.saturating_sub(length);
            Ok(BannerProgress::More)
        }
    }
}

/// Sends what fits into the buffer; nothing if that is full.
fn send_now(socket: &OwnedFd, text: &[u8]) -> nix::Result<usize> {
    match descriptor::send_now(socket, text) {
        Err(Errno::EAGAIN) => Ok(0),
        other => other,
    }
}
