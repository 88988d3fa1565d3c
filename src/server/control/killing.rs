//! Ending programs and connections because somebody has asked for it: by a program's number, by
//! whom it serves, or all of a service.

use std::net::IpAddr;

use crate::control::answer::RequestRefusal;
use crate::control::table::counted;
use crate::net::address::Address;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::server::sessions::session::{Client, Session};

/// So many programs are named by their numbers.
const NAMED: usize = 32;

impl Server {
    /// Ends the program of this pid, everything that serves this peer, or all that a service
    /// serves.
    pub(super) fn kill(&mut self, who: &str) -> Result<String, RequestRefusal> {
        let whom = SessionFilter::read(who);
        let named = self.sessions_that(|session| whom.is_meant(session));
        let found = if named.is_empty() { self.sessions_of_service(who)? } else { named };
        let programs = found.iter().filter_map(|key| self.sessions.table.program(*key));
        let pids: Vec<String> = programs.map(|program| program.pid.to_string()).collect();
        let closed = found.len().saturating_sub(pids.len());
        for key in found {
            self.close_session(key, "killed");
        }
        Ok(in_words(&pids, closed))
    }

    fn sessions_that(&self, wanted: impl Fn(&Session) -> bool) -> Vec<Key> {
        let all = self.sessions.table.iter().filter(|(_, session)| wanted(session));
        all.map(|(key, _)| key).collect()
    }

    /// Whoever a service serves, be it one that has been taken away.
    fn sessions_of_service(&self, name: &str) -> Result<Vec<Key>, RequestRefusal> {
        let known = self.services.known(name);
        let gone = |client: &Client| {
            self.services.all.get(client.service).is_none() && *client.label == *name
        };
        let its = |client: &Client| known.iter().flatten().any(|key| client.service == *key);
        let found = self.sessions_that(|it| its(&it.client) || gone(&it.client));
        let error = match known {
            _ if !found.is_empty() => return Ok(found),
            Ok(_) => format!("{name} serves nobody now"),
            Err(refusal) => format!(
                "no program and no peer here is {name:?} (`oxinetd peers` lists them), and {}",
                refusal.error
            ),
        };
        Err(RequestRefusal { error })
    }
}

/// What has been done with so many.
fn in_words(pids: &[String], closed: usize) -> String {
    let told = match pids {
        [] => return format!("closed {closed}"),
        few if few.len() <= NAMED => few.join(", "),
        many => counted(u64::try_from(many.len()).unwrap_or(u64::MAX), "program"),
    };
    match closed {
        0 => format!("sent TERM to {told}"),
        _ => format!("sent TERM to {told}, closed {closed}"),
    }
}

/// Who is to be ended.
struct SessionFilter<'a> {
    text: &'a str,
    pid: Option<i32>,
    ip: Option<IpAddr>,
}

impl<'a> SessionFilter<'a> {
    fn read(text: &'a str) -> Self {
        Self { text, pid: text.parse().ok(), ip: text.parse().ok() }
    }

    fn is_meant(&self, session: &Session) -> bool {
        let pid = session.program().map(|program| program.pid);
        self.is_peer(session.client.peer) || pid.is_some_and(|pid| self.pid == Some(pid))
    }

    /// An address with its port is one peer, without it all from there.
    fn is_peer(&self, peer: Address) -> bool {
        match self.ip {
            Some(ip) => peer.ip() == Some(ip.to_canonical()),
            None => peer != Address::None && peer.to_string() == self.text,
        }
    }
}
