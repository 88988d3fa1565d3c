//! What a program is told of its connection: the variables of ucspi-tcp,
//! ucspi-unix, systemd and xinetd, made of addresses and numbers alone.

use std::ffi::{CStr, CString, c_char};
use std::net::SocketAddr;
use std::ptr;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::prepared::Prepared;
use crate::log::digits::{push_host, push_number};
use crate::net::address::Address;
use crate::net::fronted::Fronted;
use crate::net::vsock::{self, VsockAddress};

/// PROTO of a connection that is not encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Proto {
    #[default]
    Tcp,
    Udp,
    Unix,
    Vsock,
}

impl Proto {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Unix => "UNIX",
            Self::Vsock => "VSOCK",
        }
    }
}

/// The facts of one connection that a program is told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ConnectionEnvironment {
    /// What it goes over.
    pub protocol: Proto,
    /// Our own address, for TCP and UDP.
    pub local: Option<SocketAddr>,
    /// The peer's, if there is one already.
    pub remote: Option<SocketAddr>,
    /// The path or `@name` of a unix socket.
    pub path: Option<String>,
    /// Our own address and the peer's, of a virtual socket.
    #[serde(default)]
    pub vsock: (Option<VsockAddress>, Option<VsockAddress>),
    /// Pid, uid and gid of a unix peer.
    pub credentials: Option<(i32, u32, u32)>,
    /// What stood before the data.
    pub fronted: Option<Rc<Fronted>>,
    /// What the peer is told just before the program begins, when nothing but that can fail.
    #[serde(skip)]
    pub greeting: &'static [u8],
}

impl ConnectionEnvironment {
    /// Through whom the peer has come.
    pub(crate) fn via(&self) -> Option<Address> {
        self.fronted.as_ref().and_then(|it| it.via)
    }

    fn is_encrypted(&self) -> bool {
        self.fronted.as_ref().is_some_and(|it| it.is_encrypted())
    }
}

/// The strings of one child's environment, in buffers that are used again.
#[derive(Default)]
pub(crate) struct Environment {
    /// `NAME=VALUE\0` one after the other.
    text: Vec<u8>,
    /// Where each begins.
    starts: Vec<usize>,
    /// The array for execve, ending in null.
    pointers: Vec<*const c_char>,
    /// What is said before the program begins.
    pub(super) greeting: &'static [u8],
}

impl Environment {
    /// Adds one variable; a value with a NUL byte ends there.
    pub(crate) fn push(&mut self, name: &str, value: &str) {
        self.starts.push(self.text.len());
        self.text.extend_from_slice(name.as_bytes());
        self.text.push(b'=');
        self.text.extend_from_slice(value.as_bytes());
        self.text.push(0);
    }

    /// Empties it, for another child.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.starts.clear();
        self.pointers.clear();
        self.greeting = b"";
    }

    /// base, then what was pushed, then late; to be called when all is pushed.
    pub(super) fn seal(&mut self, base: &[CString], late: &[CString]) {
        let Self { text, starts, pointers, .. } = self;
        pointers.clear();
        pointers.extend(base.iter().map(|variable| variable.as_ptr()));
        pointers.extend(starts.iter().map(|&start| text.as_ptr().wrapping_add(start).cast()));
        pointers.extend(late.iter().map(|variable| variable.as_ptr()));
        pointers.push(ptr::null());
    }

    /// The same strings as those of [`Self::seal`], for whoever writes them down.
    pub(super) fn strings<'a>(&'a self, base: &'a [CString], late: &'a [CString]) -> Vec<&'a CStr> {
        let own = self.text.split_inclusive(|byte| *byte == 0);
        let own = own.filter_map(|variable| CStr::from_bytes_until_nul(variable).ok());
        let plain = |variables: &'a [CString]| variables.iter().map(CString::as_c_str);
        plain(base).chain(own).chain(plain(late)).collect()
    }

    /// For execve(2): valid until it is changed, and as long as what it was sealed with.
    pub(super) fn array(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// Writes the variables; those that the service sets itself are left to it.
pub(crate) fn fill(
    environment: &mut Environment,
    prepared: &Prepared,
    connection: &ConnectionEnvironment,
) {
    environment.greeting = connection.greeting;
    let mut put = |name: &str, value: &str| {
        if prepared.leaves_free(name) {
            environment.push(name, value);
        }
    };
    put("PROTO", if connection.is_encrypted() { "SSL" } else { connection.protocol.as_str() });
    let udp = connection.protocol == Proto::Udp;
    let mut text = String::with_capacity(LONGEST_IP);
    if let Some(local) = connection.local {
        let (ip, port) = if udp { UDP_LOCAL } else { TCP_LOCAL };
        put(ip, written(&mut text, |out| push_host(out, &local)));
        put(port, written(&mut text, |out| push_number(out, local.port().into())));
    }
    if let Some(remote) = connection.remote {
        let (ip, port) = if udp { UDP_REMOTE } else { TCP_REMOTE };
        // Written once each: several variables say the same.
        let address = written(&mut text, |out| push_host(out, &remote));
        for name in [ip, "REMOTE_ADDR", "REMOTE_HOST"] {
            put(name, address);
        }
        let number = written(&mut text, |out| push_number(out, remote.port().into()));
        for name in [port, "REMOTE_PORT"] {
            put(name, number);
        }
    }
    if let Some(local) = connection.vsock.0 {
        put("VSOCKLOCALCID", &local.cid.to_string());
        put("VSOCKLOCALPORT", &local.port.to_string());
    }
    if let Some(remote) = connection.vsock.1 {
        let (cid, port) = (remote.cid.to_string(), remote.port.to_string());
        put("VSOCKREMOTECID", &cid);
        put("VSOCKREMOTEPORT", &port);
        // As systemd writes it.
        let address = format!("{}{cid}", vsock::PREFIX);
        for name in ["REMOTE_ADDR", "REMOTE_HOST"] {
            put(name, &address);
        }
        put("REMOTE_PORT", &port);
    }
    if let Some(path) = &connection.path {
        put("UNIXLOCALPATH", path);
    }
    if let Some((pid, uid, gid)) = connection.credentials {
        put("UNIXREMOTEPID", &pid.to_string());
        put("UNIXREMOTEEUID", &uid.to_string());
        put("UNIXREMOTEEGID", &gid.to_string());
    }
    if let Some(fronted) = &connection.fronted {
        if let Some(Address::Inet(via)) = fronted.via {
            put("PROXY_ADDR", written(&mut text, |out| push_host(out, &via)));
            put("PROXY_PORT", written(&mut text, |out| push_number(out, via.port().into())));
        }
        for (fact, value) in &fronted.facts {
            put(fact.variable(), value);
        }
    }
}

/// What has been written, into memory that is used again.
fn written(text: &mut String, write: impl FnOnce(&mut String)) -> &str {
    text.clear();
    write(text);
    text
}

/// Bytes of the longest address that most have: IPv4-mapped ones do not come here.
const LONGEST_IP: usize = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".len();

const TCP_LOCAL: (&str, &str) = ("TCPLOCALIP", "TCPLOCALPORT");
const TCP_REMOTE: (&str, &str) = ("TCPREMOTEIP", "TCPREMOTEPORT");
const UDP_LOCAL: (&str, &str) = ("UDPLOCALIP", "UDPLOCALPORT");
const UDP_REMOTE: (&str, &str) = ("UDPREMOTEIP", "UDPREMOTEPORT");
