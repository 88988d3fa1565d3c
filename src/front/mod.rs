//! What stands between a client and a program.
//!
//! | room | what it does |
//! |---|---|
//! | `proxy` | the PROXY header, with which a server in front says who the client is |
//! | `telnet` | the telnet protocol |

pub(crate) mod proxy;
pub(crate) mod telnet;
