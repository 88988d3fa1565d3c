//! How a running server is asked and told: over a unix socket by `oxinetd status`,
//! `reload`, `stop` …, and over HTTP by whoever collects metrics or looks at the page.
//!
//! | file | what it does |
//! |---|---|
//! | `request` | what can be asked, as a line |
//! | `answer` | what is answered, as data |
//! | `table` | answers for people |
//! | `rows`, `text` | the tables in them, and their words |
//! | `history` | what `status --watch` has seen, and small plots of it |
//! | `prometheus` | counters as Prometheus reads them |
//! | `http` | requests for metrics and for the page |
//! | `page` | the page, and what browsers are told of it |
//! | `host` | whether a browser means us |
//! | `place` | where the control socket is, if nobody says it |
//! | `socket` | how the server listens, and who may ask |
//! | `client` | the other end |
//!
//! A request is one line: words as on the command line (`status echo/tcp`) or JSON
//! (`{"command":"status","service":"echo/tcp"}`). The answer is one JSON object, and
//! then the connection ends. `oxinetd stop` is told first that the server will stop;
//! its connection ends when it has.

pub mod answer;
pub(crate) mod client;
pub(crate) mod history;
pub(crate) mod host;
pub mod http;
pub(crate) mod page;
pub(crate) mod place;
pub(crate) mod prometheus;
pub(crate) mod request;
mod rows;
pub(crate) mod socket;
pub(crate) mod statistics;
pub mod table;
mod text;
