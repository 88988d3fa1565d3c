//! Those who ask about the server, and what they tell it to do.
//!
//! | file | what it does |
//! |---|---|
//! | `connection` | connections of those who ask about the server |
//! | `crowding` | who of them goes when there are too many |
//! | `execute` | what they tell the server to do |
//! | `killing` | ending programs and connections for them |
//! | `over_http` | those who ask over HTTP: for metrics, or to see the page |
//! | `producer` | answers that are made piece by piece |
//! | `render` | what they are told |

pub(super) mod connection;
mod crowding;
pub(super) mod execute;
mod killing;
mod over_http;
pub(super) mod producer;
pub(super) mod render;
