//! What a program is told of its connection: the variables of ucspi-tcp,
//! ucspi-unix, systemd and xinetd, made of addresses and numbers alone.

use std::net::SocketAddr;

use super::kernel::Environment;
use super::prepared::Prepared;

/// The facts of one connection that a program is told.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// `TCP`, `UDP` or `UNIX`.
    pub protocol: &'static str,
    /// Our own address, for TCP and UDP.
    pub local: Option<SocketAddr>,
    /// The peer's, if there is one already.
    pub remote: Option<SocketAddr>,
    /// The path or `@name` of a unix socket.
    pub path: Option<String>,
    /// Pid, uid and gid of a unix peer.
    pub credentials: Option<(i32, u32, u32)>,
}

/// Writes the variables; those that the service sets itself are left to it.
pub fn fill(environment: &mut Environment, prepared: &Prepared, connection: &Connection) {
    let mut put = |name: &str, value: std::fmt::Arguments<'_>| {
        if prepared.leaves_free(name) {
            environment.push(name, value);
        }
    };
    put("PROTO", format_args!("{}", connection.protocol));
    let udp = connection.protocol == "UDP";
    if let Some(local) = connection.local {
        let (ip, port) = if udp { UDP_LOCAL } else { TCP_LOCAL };
        put(ip, format_args!("{}", local.ip()));
        put(port, format_args!("{}", local.port()));
    }
    if let Some(remote) = connection.remote {
        let (ip, port) = if udp { UDP_REMOTE } else { TCP_REMOTE };
        for name in [ip, "REMOTE_ADDR", "REMOTE_HOST"] {
            put(name, format_args!("{}", remote.ip()));
        }
        for name in [port, "REMOTE_PORT"] {
            put(name, format_args!("{}", remote.port()));
        }
    }
    if let Some(path) = &connection.path {
        put("UNIXLOCALPATH", format_args!("{path}"));
    }
    if let Some((pid, uid, gid)) = connection.credentials {
        put("UNIXREMOTEPID", format_args!("{pid}"));
        put("UNIXREMOTEEUID", format_args!("{uid}"));
        put("UNIXREMOTEEGID", format_args!("{gid}"));
    }
}

const TCP_LOCAL: (&str, &str) = ("TCPLOCALIP", "TCPLOCALPORT");
const TCP_REMOTE: (&str, &str) = ("TCPREMOTEIP", "TCPREMOTEPORT");
const UDP_LOCAL: (&str, &str) = ("UDPLOCALIP", "UDPLOCALPORT");
const UDP_REMOTE: (&str, &str) = ("UDPREMOTEIP", "UDPREMOTEPORT");
