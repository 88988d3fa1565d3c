//! Clients that are served without a program, and what clients are told before and after one.
//!
//! | file | what it does |
//! |---|---|
//! | `banners` | what clients are told before they are served, or when they are refused |
//! | `builtin` | built-in services on streams, tcpmux |
//! | `closing` | their connections, so that clients get all of the answer |
//! | `connecting` | processes that connect to unix sockets for relays, as their users |
//! | `dialling` | their way to that server |
//! | `holding` | clients over a limit, for the moment in which a program may end |
//! | `idling` | connections on which nothing moves |
//! | `relay` | connections relayed to another server |
//! | `stream` | a connection of a built-in service |

pub(super) mod banners;
pub(super) mod builtin;
pub(super) mod closing;
pub(super) mod connecting;
pub(super) mod dialling;
pub(super) mod holding;
pub(super) mod idling;
pub(super) mod relay;
pub(super) mod stream;
