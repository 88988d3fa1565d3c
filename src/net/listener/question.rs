//! What the kernel is asked about sockets (sock_diag(7)): those of one protocol at one port, in
//! these states, and of them only those that are bound to one address or to all. That is looked
//! at in the kernel, which need not tell of all the others.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::libc;

/// `linux/inet_diag.h`: a filter, and what it consists of.
const FILTER: u16 = 1;
const JUMP: u8 = 1;
const IS_BOUND_TO: u8 = 7;

/// Bytes of the shortest step of a filter.
const STEP: usize = 4;

/// Which sockets are to be told.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct SocketQuestion {
    pub(in crate::net) address: SocketAddr,
    pub(in crate::net) protocol: u8,
    pub(in crate::net) states: u32,
}

impl SocketQuestion {
    /// `struct inet_diag_req_v2`, and an attribute with the filter.
    pub(in crate::net) fn body(self) -> io::Result<Vec<u8>> {
        let mut body = vec![family(self.address.ip())?, self.protocol, 0, 0];
        body.extend(self.states.to_ne_bytes());
        body.extend(self.address.port().to_be_bytes());
        // The other port, both addresses and the device, the cookie: whatever they are.
        body.extend([0; 2 + 16 + 16 + 4]);
        body.extend([0xff; 8]);
        if !self.address.ip().is_unspecified() {
            let filter = at_it_or_everywhere(self.address.ip())?;
            body.extend(short(filter.len().saturating_add(STEP))?.to_ne_bytes());
            body.extend(FILTER.to_ne_bytes());
            body.extend(filter);
        }
        Ok(body)
    }
}

fn family(ip: IpAddr) -> io::Result<u8> {
    let family = if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).map_err(io::Error::other)
}

fn short(number: usize) -> io::Result<u16> {
    u16::try_from(number).map_err(io::Error::other)
}

/// Accepted is what comes to the end of the filter, and what goes beyond it is not.
fn at_it_or_everywhere(ip: IpAddr) -> io::Result<Vec<u8>> {
    let bytes = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let everywhere = vec![0; bytes.len()];
    // A step, its address's head, and the address.
    let length = short(bytes.len())?.saturating_add(12);
    let step = short(STEP)?;
    // Is it bound there? Then the end, behind the second question. If not, that.
    let mut filter = is_bound_to(ip, &bytes, length, length.saturating_add(step))?;
    filter.extend([JUMP, 4]);
    filter.extend(length.saturating_add(step).to_ne_bytes());
    filter.extend(is_bound_to(ip, &everywhere, length, length.saturating_add(step))?);
    Ok(filter)
}

/// `struct inet_diag_bc_op` and `struct inet_diag_hostcond`; any port.
fn is_bound_to(ip: IpAddr, bytes: &[u8], yes: u16, no: u16) -> io::Result<Vec<u8>> {
    let bits = u8::try_from(bytes.len().saturating_mul(8)).map_err(io::Error::other)?;
    let mut step = vec![IS_BOUND_TO, u8::try_from(yes).map_err(io::Error::other)?];
    step.extend(no.to_ne_bytes());
    step.extend([family(ip)?, bits, 0, 0]);
    step.extend((-1i32).to_ne_bytes());
    step.extend(bytes);
    Ok(step)
}
