//! The short fields of a line: type, protocol, wait. Each dialect's additions
//! become settings, as if they stood below the line.

use crate::config::attribute::quantity::{digits, size};
use crate::config::diagnostic::report::Report;
use crate::config::diagnostic::suggest::{did_you_mean, nearest, one_of};
use crate::config::model::SocketType;
use crate::config::model::protocol::{Families, Protocol};
use crate::config::syntax::entry::{Entry, Setting};
use crate::config::text::words::Word;

/// The names there are, and what each means.
const PROTOCOLS: [(&str, Protocol); 11] = [
    ("tcp", Protocol::Tcp(Families::Both)),
    ("udp", Protocol::Udp(Families::Both)),
    ("unix", Protocol::Unix),
    ("vsock", Protocol::Vsock),
    ("tcp4", Protocol::Tcp(Families::V4)),
    ("tcp6", Protocol::Tcp(Families::V6)),
    ("udp4", Protocol::Udp(Families::V4)),
    ("udp6", Protocol::Udp(Families::V6)),
    ("tcp46", Protocol::Tcp(Families::Both)),
    ("udp46", Protocol::Udp(Families::Both)),
    ("tcp6only", Protocol::Tcp(Families::V6)),
];

/// The fields of one entry as they are read, with what they imply.
pub(super) struct Fields<'a> {
    pub(super) report: &'a mut Report,
    /// What fields say that attributes can say too.
    pub(super) implied: Vec<Setting>,
}

impl Fields<'_> {
    /// `stream`, `stream,MAX`, `stream:FILTER`.
    pub(super) fn socket_type(&mut self, word: &Word) -> Option<SocketType> {
        let end = word.text.find([',', ':']).unwrap_or(word.text.len());
        let name = word.text.get(..end).unwrap_or("");
        let socket_type = match name.to_ascii_lowercase().as_str() {
            "stream" => Some(SocketType::Stream),
            "dgram" => Some(SocketType::Dgram),
            "seqpacket" => Some(SocketType::SeqPacket),
            _ => {
                self.unknown_type(word, name);
                None
            }
        };
        let rest = word.text.get(end..).unwrap_or("");
        let (maximum, filter) = match rest.find(':') {
            Some(at) => (rest.get(..at).unwrap_or(""), Some(end + at)),
            None => (rest, None),
        };
        if let Some(number) = maximum.strip_prefix(',') {
            let part = word.slice(end + 1..end + 1 + number.len());
            self.number("instances", &part, "stream,2", "");
        }
        if let Some(at) = filter {
            self.report
                .warning(
                    &word.part(at..word.text.len()),
                    "accept filters are FreeBSD's and NetBSD's: ignored",
                )
                .help("a client that is silent takes one of `instances` and of `per_source`");
        }
        socket_type
    }

    fn unknown_type(&mut self, word: &Word, name: &str) {
        let span = word.part(0..name.len());
        let known = ["stream", "dgram", "seqpacket"];
        match name {
            "raw" => self
                .report
                .error(&span, "socket type `raw` is not supported")
                .help("no service needs it: a program that speaks raw IP opens its socket itself"),
            "rdm" => self.report.error(&span, "socket type `rdm` is not supported").help(
                "no protocol of this system has it; there are `stream`, `dgram` and `seqpacket`",
            ),
            _ => {
                let help = one_of(name, known);
                self.report.error(&span, format!("unknown socket type `{name}`")).help(help);
            }
        }
    }

    /// `tcp`, `tcp,sndbuf=64k,rcvbuf=1m`.
    pub(super) fn protocol(&mut self, word: &Word) -> Option<Protocol> {
        let mut start = 0;
        let mut protocol = None;
        for (index, part) in word.text.split(',').enumerate() {
            let piece = word.slice(start..start + part.len());
            if index == 0 {
                protocol = self.protocol_name(&piece);
            } else {
                self.buffer(&piece);
            }
            start += part.len() + 1;
        }
        protocol
    }

    fn protocol_name(&mut self, word: &Word) -> Option<Protocol> {
        let name = word.text.as_str();
        let is_known = |(known, _): &&(&str, _)| known.eq_ignore_ascii_case(name);
        if let Some((_, protocol)) = PROTOCOLS.iter().find(is_known) {
            return Some(*protocol);
        }
        let reason = match name.split_once('/') {
            Some(("tcp", "ttcp")) => Some("T/TCP is gone from every system: write `tcp`"),
            Some((_, "faith")) => {
                Some("faith (IPv6-to-IPv4 relay) is gone from every system: write `tcp6`")
            }
            _ => None,
        };
        match reason {
            Some(reason) => {
                self.report
                    .error(&word.span, format!("protocol `{name}` is not supported"))
                    .help(reason);
            }
            None => {
                let help = one_of(name, PROTOCOLS.iter().map(|(name, _)| *name));
                self.report.error(&word.span, format!("unknown protocol `{name}`")).help(help);
            }
        }
        None
    }

    /// `sndbuf=64k`.
    fn buffer(&mut self, word: &Word) {
        let (name, value) = word.text.split_once('=').unwrap_or((&word.text, ""));
        let place = word.part((name.len() + 1).min(word.text.len())..word.text.len());
        match name {
            "sndbuf" | "rcvbuf" if size(value).is_some() => {
                self.implied.extend(Setting::implied(name, value, &place));
            }
            "sndbuf" | "rcvbuf" => {
                self.report
                    .error(&word.span, format!("`{}` is not a buffer size", word.text))
                    .help(format!("write `{name}=64k`"));
            }
            _ => {
                let help = did_you_mean(name, ["sndbuf", "rcvbuf"], || {
                    "there are `sndbuf=` and `rcvbuf=`".to_owned()
                });
                self.report.error(&word.span, format!("unknown socket option `{name}`")).help(help);
            }
        }
    }

    /// `wait`, `nowait.40`, `nowait:40`, `nowait/10/60/5`; true for `wait`.
    pub(super) fn wait(&mut self, word: &Word) -> Option<bool> {
        let end = word.text.find(['.', ':', '/']).unwrap_or(word.text.len());
        let name = word.text.get(..end).unwrap_or("");
        let wait = match name.to_ascii_lowercase().as_str() {
            "wait" => Some(true),
            "nowait" => Some(false),
            _ => {
                let help = did_you_mean(name, ["wait", "nowait"], || {
                    "there are `wait` (the program gets the socket itself) and `nowait` (a program for each connection)".to_owned()
                });
                let span = word.part(0..name.len());
                self.report
                    .error(&span, format!("`{name}` is neither `wait` nor `nowait`"))
                    .help(help);
                None
            }
        };
        if end == word.text.len() {
            return wait;
        }
        let rest = word.slice(end + 1..word.text.len());
        if word.text.as_bytes().get(end) == Some(&b'/') {
            self.freebsd_limits(&rest);
        } else {
            self.number("rate", &rest, "nowait.40", "/minute");
        }
        wait
    }

    /// `CHILDREN[/PER-IP-PER-MINUTE[/CHILDREN-PER-IP]]`.
    fn freebsd_limits(&mut self, word: &Word) {
        let names = [("instances", ""), ("source_rate", "/minute"), ("per_source", "")];
        let mut start = 0;
        for (index, part) in word.text.split('/').enumerate() {
            let piece = word.slice(start..start + part.len());
            match names.get(index) {
                Some((name, unit)) => self.number(name, &piece, "nowait/10/60/5", unit),
                None => {
                    self.report.error(&piece.span, "one limit too many").help(
                        "there are three: `nowait/CHILDREN/PER-IP-PER-MINUTE/CHILDREN-PER-IP`",
                    );
                    return;
                }
            }
            start += part.len() + 1;
        }
    }

    /// A number in a field that an attribute can say too; 0 is no limit.
    pub(super) fn number(&mut self, name: &str, word: &Word, example: &str, unit: &str) {
        let value = match digits(&word.text) {
            Some(0) => "unlimited".to_owned(),
            Some(number) if u32::try_from(number).is_ok() => format!("{number}{unit}"),
            _ => {
                let message = match word.text.as_str() {
                    "" => "a number is missing here".to_owned(),
                    text => format!("`{text}` is not a number"),
                };
                self.report
                    .error(&word.span, message)
                    .help(format!("write something like `{example}`, 0 for no limit"));
                return;
            }
        };
        self.implied.extend(Setting::implied(name, &value, &word.span));
    }
}

/// Whether a protocol says which family it is for.
pub(super) fn has_one_family(word: &Word) -> bool {
    let name = word.text.split(',').next().unwrap_or_default();
    name.ends_with("only") || (name.ends_with(['4', '6']) && !name.ends_with("46"))
}

/// Whether a service would be registered with the port mapper (Sun RPC).
pub(super) fn is_rpc(word: &Word) -> bool {
    word.text.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("rpc/"))
}

/// The protocol that a misspelt one was probably meant to be.
pub(super) fn probably_meant(word: &Word) -> Option<Protocol> {
    let name = word.text.split(',').next().unwrap_or("");
    let near = nearest(name, PROTOCOLS.iter().map(|(name, _)| *name))?;
    PROTOCOLS.iter().find(|(name, _)| *name == near).map(|(_, protocol)| *protocol)
}

/// Type and protocol that do not go together.
pub(super) fn check_pair(
    entry: &Entry,
    socket_type: SocketType,
    protocol: Protocol,
    report: &mut Report,
) {
    let right = match (socket_type, protocol) {
        (SocketType::Stream, Protocol::Udp(_)) => {
            "UDP has no streams: write `dgram udp` or `stream tcp`"
        }
        (SocketType::Dgram, Protocol::Tcp(_)) => {
            "TCP has no datagrams: write `stream tcp` or `dgram udp`"
        }
        (SocketType::Dgram, Protocol::Vsock) => {
            "virtual sockets have no datagrams: write `stream vsock`, or `seqpacket vsock`"
        }
        (SocketType::SeqPacket, Protocol::Tcp(_) | Protocol::Udp(_)) => {
            "only unix and virtual sockets have sequenced packets: write `seqpacket unix`, or `stream tcp`"
        }
        _ => return,
    };
    let message =
        format!("`{}` does not go with `{}`", entry.socket_type.text, entry.protocol.text);
    report.error(&entry.protocol.span, message).help(right);
}
