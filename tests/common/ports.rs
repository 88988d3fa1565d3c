//! Ports that nobody else uses: not another test, not another run of the tests.
//!
//! A process reserves blocks of ports by binding an abstract unix socket named
//! after the block: the kernel gives it back when the process ends, however it ends,
//! and no file is left for another user to stumble over. The ports lie outside
//! the range from which the kernel gives ports to clients.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::Mutex;

const FIRST: u16 = 20_000;
const LAST: u16 = 29_999;
const BLOCK: u16 = 40;

struct Allocator {
    /// The sockets that say "this block is mine", for the life of the process.
    held: Vec<UnixDatagram>,
    next: u16,
    end: u16,
}

static ALLOCATOR: Mutex<Allocator> = Mutex::new(Allocator { held: Vec::new(), next: 0, end: 0 });

/// One free port, for TCP and UDP, IPv4 and IPv6.
pub(crate) fn free_port() -> u16 {
    free_ports(1)[0]
}

/// `count` free ports in a row.
pub(crate) fn free_ports(count: u16) -> Vec<u16> {
    assert!(count <= BLOCK, "a block has {BLOCK} ports");
    let mut allocator = ALLOCATOR.lock().unwrap();
    loop {
        if allocator.next + count > allocator.end {
            allocator.take_block();
        }
        let first = allocator.next;
        let row: Vec<u16> = (first..first + count).collect();
        match row.iter().rev().find(|port| !is_free(**port)) {
            Some(taken) => allocator.next = taken + 1,
            None => {
                allocator.next += count;
                return row;
            }
        }
    }
}

impl Allocator {
    fn take_block(&mut self) {
        let blocks = (LAST - FIRST + 1) / BLOCK;
        let from = u16::try_from(process::id() % u32::from(blocks)).unwrap();
        for step in 0..blocks {
            let block = (from + step) % blocks;
            let first = FIRST + block * BLOCK;
            if overlaps_client_ports(first, first + BLOCK - 1) {
                continue;
            }
            let name = format!("oxinetd-tests-ports-{block}");
            let address = SocketAddr::from_abstract_name(name).unwrap();
            if let Ok(socket) = UnixDatagram::bind_addr(&address) {
                self.held.push(socket);
                (self.next, self.end) = (first, first + BLOCK);
                return;
            }
        }
        panic!("no block of ports is free in {FIRST}-{LAST}");
    }
}

fn overlaps_client_ports(first: u16, last: u16) -> bool {
    let Ok(text) = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range") else {
        return false;
    };
    let bounds: Vec<u16> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // A machine that gives out all of them leaves no better choice.
    matches!(bounds[..], [low, high] if !(low <= FIRST && high >= LAST) && low <= last && first <= high)
}

fn is_free(port: u16) -> bool {
    let four =
        TcpListener::bind(("0.0.0.0", port)).is_ok() && UdpSocket::bind(("0.0.0.0", port)).is_ok();
    let six = ["::", "::1"].iter().all(|address| {
        TcpListener::bind((*address, port)).map_or_else(|error| no_ipv6(&error), |_| true)
            && UdpSocket::bind((*address, port)).map_or_else(|error| no_ipv6(&error), |_| true)
    });
    four && six
}

/// Whether somebody listens on a port: without binding it, which whoever is about to may meet,
/// and without connecting, which is a client to whoever listens.
pub(crate) fn is_listening(port: u16) -> bool {
    let local = format!(":{port:04X}");
    let listens = |line: &str| {
        let mut words = line.split_whitespace();
        words.nth(1).is_some_and(|it| it.ends_with(&local)) && words.nth(1) == Some("0A")
    };
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    tables.into_iter().flatten().any(|table| table.lines().any(listens))
}

/// A machine without IPv6 cannot have the port taken there.
fn no_ipv6(error: &std::io::Error) -> bool {
    error.kind() != std::io::ErrorKind::AddrInUse
}
