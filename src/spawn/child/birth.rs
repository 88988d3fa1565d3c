//! What a child reads, and nobody writes while it may: who it is, and what it is to become.

use std::ffi::c_char;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicU32;

use crate::spawn::numbers::Numbers;
use crate::spawn::steps::Steps;

/// What a child reads first. Nobody writes it while the child lives before exec.
pub(super) struct Birth {
    pub(super) job: *const ChildJob,
    /// Where it tells why it could not become its program.
    pub(super) failure: RawFd,
    /// Whether it shares our memory.
    pub(super) sharing: bool,
    /// Where its descriptors come from; none if it has them.
    pub(super) parcel: Option<DescriptorMessage>,
}

/// How a child that begins with our table of descriptors comes by its own.
#[derive(Clone, Copy)]
pub(super) struct DescriptorMessage {
    /// Where it takes those that `numbers` of its job names.
    pub(super) channel: RawFd,
    /// 0 from when they are sent until it has them.
    pub(super) taken: *const AtomicU32,
    /// It is a spare: they have not been sent yet, nor has its job been written.
    pub(super) waits: bool,
}

/// What a child is to become. Nobody writes it while the child may look at it.
pub(super) struct ChildJob {
    pub(super) steps: *const Steps,
    pub(super) arguments: *const *const c_char,
    pub(super) environment: *const *const c_char,
    pub(super) numbers: Numbers,
    /// Sent before exec.
    pub(super) greeting: *const [u8],
}
