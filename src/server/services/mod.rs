//! Services and their listeners: opened, paused, lent to programs, changed by a reload.

pub(super) mod accepting;
pub(super) mod applying;
pub(super) mod conditions;
pub(super) mod counting;
pub(super) mod datagrams;
pub(super) mod entries;
pub(super) mod holders;
pub(super) mod installing;
pub(super) mod managing;
pub(super) mod names;
pub(super) mod naming;
pub(super) mod occupied;
pub(super) mod pausing;
pub(super) mod peer_queue;
pub(super) mod per_peer;
pub(super) mod quota;
pub(super) mod rejection_log;
pub(super) mod reserve;
pub(super) mod restoring;
pub(super) mod shares;
pub(super) mod sources;
pub(super) mod straying;
pub(super) mod waiting;
