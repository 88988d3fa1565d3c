//! The commands of telnet, each a byte behind [`IAC`].

/// "Interpret as command"; stands before each command, and before itself where it is data.
pub(super) const IAC: u8 = 255;
pub(super) const DONT: u8 = 254;
pub(super) const DO: u8 = 253;
pub(super) const WONT: u8 = 252;
pub(super) const WILL: u8 = 251;
pub(super) const SB: u8 = 250;
pub(super) const EL: u8 = 248;
pub(super) const EC: u8 = 247;
pub(super) const AYT: u8 = 246;
pub(super) const AO: u8 = 245;
pub(super) const IP: u8 = 244;
pub(super) const BRK: u8 = 243;
/// The end of a Synch: sent as urgent.
pub(super) const DM: u8 = 242;
pub(super) const SE: u8 = 240;
/// Of RFC 1184, which clients send without having agreed on anything.
pub(super) const ABORT: u8 = 238;
pub(super) const SUSP: u8 = 237;
pub(super) const EOF: u8 = 236;
