//! Those who ask about the server, and what they tell it to do.
//!
//! | file | what it does |
//! |---|---|
//! | `connection` | connections of those who ask about the server |
//! | `execute` | what they tell the server to do |
//! | `render` | what they are told |

pub(super) mod connection;
pub(super) mod execute;
pub(super) mod render;
