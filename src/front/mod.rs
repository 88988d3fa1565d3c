//! What stands between a client and a program.
//!
//! | room | what it does |
//! |---|---|
//! | `telnet` | the telnet protocol |

pub(crate) mod telnet;
