//! Clients that are served without a program of their own, or before and after it.

pub(super) mod banners;
pub(super) mod builtin;
pub(super) mod closing;
pub(super) mod connecting;
pub(super) mod dialling;
pub(super) mod holding;
pub(super) mod idling;
pub(super) mod relay;
pub(super) mod stream;
