//! Those who ask over HTTP, for metrics or to see the page; and the sockets of all who ask.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::socket::{SockaddrStorage, getsockname};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::producer::Producer;
use crate::control::host::OwnNames;
use crate::control::http::{HttpStatus, METRICS, PAGE, Page, RequestRead, Site};
use crate::control::page;
use crate::control::prometheus::{self, ProcessCost};
use crate::control::socket::ControlKind;
use crate::net::listener::Listener;
use crate::server::Server;
use crate::server::reactor::slab::Key;
use crate::sys::proc::status_numbers;

impl Server {
    /// Takes requests of this kind from a socket.
    ///
    /// # Errors
    /// epoll_ctl(2)'s.
    pub(crate) fn answer_at(&mut self, listener: Listener, kind: ControlKind) -> io::Result<()> {
        self.control.listen(listener, kind, &self.reactor)
    }

    /// What browsers may call us besides our addresses.
    pub(crate) fn is_called(&mut self, names: &[String]) {
        self.control.own_names = OwnNames(names.to_vec());
    }

    /// False if the head of the request has not ended.
    pub(super) fn handle_http(&mut self, key: Key, site: &'static Site, request: &[u8]) -> bool {
        let Some(connection) = self.control.connections.get(key) else { return true };
        let (names, local) = (&self.control.own_names, || local_ip(&connection.stream));
        // What is open to others, or to none that a browser reaches, is asked for by any name.
        let is_open = |local: Option<IpAddr>| {
            *site == METRICS && local.is_none_or(|local| !local.to_canonical().is_loopback())
        };
        let is_own = |host: &str| {
            let local = local();
            is_open(local) || names.include(host, local)
        };
        match site.read(request, is_own) {
            RequestRead::Incomplete => return false,
            RequestRead::Wants { page, body } => self.show_page(key, page, body),
            RequestRead::Refused(status) => self.send_answer(key, site.refusal(status)),
        }
        true
    }

    fn show_page(&mut self, key: Key, page: Page, body: bool) {
        let ready = !self.life.drain.is_announced();
        match page {
            Page::Alive => self.send_answer(key, METRICS.short(HttpStatus::Ok, "ok", body)),
            Page::Ready if ready => {
                self.send_answer(key, METRICS.short(HttpStatus::Ok, "ready", body));
            }
            Page::Ready => {
                self.send_answer(key, METRICS.short(HttpStatus::Unavailable, "draining", body));
            }
            Page::Metrics => self.answer_metrics(key, body),
            Page::People => {
                let head = PAGE.head(HttpStatus::Ok, page::CONTENT_TYPE);
                let text = if body { page::SOURCE } else { "" };
                self.send_answer(key, [&head, text.as_bytes()].concat());
            }
            Page::Status | Page::Peers => {
                let head = PAGE.head(HttpStatus::Ok, "application/json");
                match page {
                    _ if !body => self.send_answer(key, head),
                    Page::Peers => self.answer_peers(key, head),
                    _ => self.answer_services(key, head),
                }
            }
        }
    }

    fn answer_metrics(&mut self, key: Key, body: bool) {
        let head = METRICS.head(HttpStatus::Ok, prometheus::CONTENT_TYPE);
        if !body {
            return self.send_answer(key, head);
        }
        let mut text = String::new();
        prometheus::server(&self.status(), &own_cost(), &mut text);
        self.send_answer(key, [head, text.into_bytes()].concat());
        let keys = self.services.order.clone();
        self.control.produce_for(key, Producer::Metrics { keys, family: 0, next: 0 });
    }
}

/// The address that a connection has come to, unless it is a unix socket's.
fn local_ip(stream: &File) -> Option<IpAddr> {
    let name: SockaddrStorage = getsockname(stream.as_raw_fd()).ok()?;
    let v4 = name.as_sockaddr_in().map(|it| it.ip().into());
    v4.or_else(|| name.as_sockaddr_in6().map(|it| it.ip().into()))
}

fn own_cost() -> ProcessCost {
    let memory = status_numbers("self", "VmRSS").first().map_or(0, |kib| kib.saturating_mul(1024));
    // Since Linux 6.2 it is as long as there are descriptors; looking at each takes too long.
    let descriptors = std::fs::metadata("/proc/self/fd").map_or(0, |it| it.len());
    let descriptors = Some(descriptors).filter(|count| *count > 0);
    // The other limit keeps some back, and is lifted for whoever may have those.
    let most_descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    ProcessCost { memory, descriptors, most_descriptors, processor: processor_time() }
}

fn processor_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    [usage.user_time(), usage.system_time()].into_iter().map(duration).sum()
}

fn duration(time: TimeVal) -> Duration {
    let microseconds = u64::try_from(time.num_microseconds()).unwrap_or_default();
    Duration::from_micros(microseconds)
}
