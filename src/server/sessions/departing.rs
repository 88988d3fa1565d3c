//! How a client that a worker has leaves whoever serves it. What it leaves is one end of a pair of
//! sockets, which comes to an end whatever the client has done: so its worker says how that was, if
//! it was not as it should be, before the socket ends. A worker that dies says nothing.

mod turns;

use serde::{Deserialize, Serialize};

use crate::front::alerts;
use crate::net::fronted::Fronted;

/// A word for how a client has left, if otherwise than it should, and whether it has said so.
pub(in crate::server) type ClientLeft = Option<(&'static str, bool)>;

/// Somebody who is served and whom a worker may have.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::server) struct FrontedClient {
    /// The number under which it has him.
    #[serde(rename = "front", default)]
    pub(in crate::server) number: Option<u64>,
    /// How he has left, if otherwise than he should.
    #[serde(default)]
    pub(in crate::server) left: Option<String>,
    /// His worker has been heard since he seems to have left.
    #[serde(skip)]
    is_heard: bool,
}

impl FrontedClient {
    pub(in crate::server) fn of(fronted: Option<&Fronted>) -> Self {
        Self { number: fronted.and_then(|fronted| fronted.number), ..Self::default() }
    }

    /// The same where most are with no worker.
    pub(super) fn if_any(fronted: Option<&Fronted>) -> Option<Box<Self>> {
        Some(Self::of(fronted)).filter(|it| it.number.is_some()).map(Box::new)
    }

    /// As the log says it.
    pub(in crate::server) fn how(&self) -> ClientLeft {
        self.left.as_deref().map(alerts::known)
    }

    /// He leaves; false if it is known already how he has.
    fn leaves(&mut self, how: (&'static str, bool)) -> bool {
        let is_first = self.left.is_none();
        self.left.get_or_insert_with(|| alerts::in_words(how));
        is_first
    }
}
