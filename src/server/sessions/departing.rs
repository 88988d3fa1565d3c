//! How a client that a worker has leaves whoever serves it. What it leaves is one end of a pair of
//! sockets, which comes to an end whatever the client has done: so its worker says how that was, if
//! it was not as it should be, before the socket ends. A worker that dies says nothing.

mod turns;

use serde::{Deserialize, Serialize};

use super::idling::may_be_called_idle;
use crate::config::model::Attributes;
use crate::front::{alerts, leaving};
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
    /// His worker may say that nothing has moved for too long.
    #[serde(default = "always")]
    may_be_idle: bool,
    /// His worker has been heard since he seems to have left.
    #[serde(skip)]
    is_heard: bool,
}

/// Servers of before do not say it.
fn always() -> bool {
    true
}

impl FrontedClient {
    /// Somebody whom a service with these attributes serves.
    pub(in crate::server) fn of(fronted: Option<&Fronted>, attributes: &Attributes) -> Self {
        let may_be_idle = fronted.is_some_and(|it| may_be_called_idle(attributes, it));
        let number = fronted.and_then(|fronted| fronted.number);
        Self { number, may_be_idle, ..Self::default() }
    }

    /// The same where most are with no worker.
    pub(super) fn if_any(fronted: Option<&Fronted>, of: &Attributes) -> Option<Box<Self>> {
        Some(Self::of(fronted, of)).filter(|it| it.number.is_some()).map(Box::new)
    }

    /// Whether he may have left so, whatever his worker says.
    pub(super) fn can_leave(&self, how: (&'static str, bool)) -> bool {
        self.may_be_idle || how != (leaving::IDLE, false)
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
