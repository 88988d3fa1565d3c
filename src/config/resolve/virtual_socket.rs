//! Services on virtual sockets: `vsock:[CID:]PORT`.

use super::endpoint::{EndpointReader, ServiceField};
use super::resolver::Resolver;
use crate::config::model::Attributes;
use crate::config::syntax::entry::Entry;
use crate::config::text::words::Word;
use crate::net::vsock::{self, VsockAddress, is_vsock};

impl EndpointReader<'_> {
    /// `vsock:PORT`, `vsock:CID:PORT`; systemd writes `vsock::PORT` for the first one.
    pub(super) fn vsock(&mut self, word: &Word) -> Option<ServiceField> {
        let rest = word.text.get(vsock::PREFIX.len()..).unwrap_or_default();
        let (cid, port) = rest.rsplit_once(':').unwrap_or(("", rest));
        let cid = if matches!(cid, "" | "*") { Some(vsock::ANY) } else { vsock::number(cid) };
        let port = vsock::number(port).filter(|port| *port != 0 || self.any_port);
        if let (Some(cid), Some(port)) = (cid, port) {
            return Some(ServiceField::Vsock(VsockAddress { cid, port }, word.text.clone()));
        }
        let ports = if self.any_port { "0, which is any free one," } else { "1" };
        self.report.error(&word.span, "this is not the address of a virtual socket").help(format!(
            "write `vsock:PORT` or `vsock:CID:PORT`: numbers, a port from {ports} to 4294967294"
        ));
        None
    }
}

impl Resolver<'_> {
    /// Whether this machine has such sockets at all; `place` is what needs them.
    pub(super) fn check_vsock(&mut self, place: &Word) {
        if !self.lookup.has_vsock() {
            let message = "this machine has no virtual sockets (AF_VSOCK)";
            let help = "load its module, `modprobe vsock`; in a unit, RestrictAddressFamilies= has to name AF_VSOCK";
            self.lacks(&place.span, message, help);
        }
    }

    /// A list that names addresses alone: machines have none.
    pub(super) fn check_machines(&mut self, entry: &Entry, attributes: &Attributes) {
        let names = |list: &[crate::config::model::Prefix]| !list.is_empty();
        let nobody = attributes.access.only_from.as_deref().is_some_and(names);
        if nobody && attributes.access.machines.0.is_empty() && is_vsock(&entry.endpoint.text) {
            self.report
                .warning(&entry.endpoint.span, "`only_from` names no machine: nobody may connect")
                .help("a machine is `vsock:CID`: `only_from += vsock:2` is this one's host");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fake::FakeLookup;
    use crate::config::model::{Endpoint, SocketType};
    use crate::config::print::inetd_conf;
    use crate::config::{Loaded, load};
    use crate::net::vsock::{ANY, VsockAddress};

    fn loaded_where(text: &str, vsock: bool) -> Loaded {
        let fake = FakeLookup { vsock, ..FakeLookup::with_file("/f", text) };
        load("/f".as_ref(), &[], &fake)
    }

    fn loaded(text: &str) -> Loaded {
        loaded_where(text, true)
    }

    fn messages(loaded: &Loaded) -> String {
        loaded.diagnostics.iter().map(|it| it.one_line() + "\n").collect()
    }

    #[test]
    fn an_address_is_a_cid_and_a_port() {
        for (field, cid, port) in [
            ("vsock:5000", ANY, 5000),
            ("vsock:*:5000", ANY, 5000),
            ("vsock::5000", ANY, 5000),
            ("vsock:3:5000", 3, 5000),
            ("vsock:0:4294967294", 0, u32::MAX - 1),
        ] {
            let loaded = loaded(&format!("{field} stream vsock nowait - cat\n"));
            assert!(loaded.diagnostics.is_empty(), "{}", messages(&loaded));
            let service = &loaded.config.services[0];
            assert_eq!(service.label, field);
            let wanted = Endpoint::Vsock(VsockAddress { cid, port });
            assert_eq!(service.sockets[0].endpoint, wanted, "{field}");
        }
    }

    #[test]
    fn what_is_no_virtual_socket_is_named() {
        for (line, wanted) in [
            ("vsock:0 stream vsock", "a port from 1 to 4294967294"),
            ("vsock:host:1 stream vsock", "not the address of a virtual socket"),
            ("vsock:1:2:3 stream vsock", "not the address of a virtual socket"),
            ("vsock:4294967295 stream vsock", "not the address of a virtual socket"),
            ("vsock: stream vsock", "not the address of a virtual socket"),
            ("5000 stream vsock", "`5000` is not what `vsock` needs"),
            ("127.0.0.1:5000 stream vsock", "is not what `vsock` needs"),
            ("/run/x stream vsock", "`/run/x` is a unix socket"),
            ("vsock:5000 stream tcp", "is a virtual socket, `tcp` is not its protocol"),
            ("vsock:5000 stream unix", "is a virtual socket, `unix` is not its protocol"),
            ("vsock:5000 dgram vsock", "`dgram` does not go with `vsock`"),
        ] {
            let loaded = loaded(&format!("{line} nowait - cat\n"));
            assert!(
                loaded.has_errors() && messages(&loaded).contains(wanted),
                "{}",
                messages(&loaded)
            );
            assert!(loaded.config.services.is_empty());
        }
    }

    #[test]
    fn two_for_one_socket_are_one_too_many() {
        let text =
            "vsock:3:5000 stream vsock nowait - cat\nvsock:3:5000 seqpacket vsock nowait - cat\n";
        assert!(messages(&loaded(text)).contains("two entries for the same socket: vsock:3:5000"));
    }

    #[test]
    fn without_virtual_sockets_that_service_alone_is_not_served() {
        let text = "vsock:5000 stream vsock nowait - cat\n5001 stream tcp nowait - cat\n";
        let loaded = loaded_where(text, false);
        assert!(!loaded.has_errors());
        assert_eq!(loaded.config.services.len(), 1);
        assert_eq!(loaded.config.withheld[0].label, "vsock:5000");
        let messages = messages(&loaded);
        assert!(messages.contains("no virtual sockets (AF_VSOCK): not served"), "{messages}");
    }

    #[test]
    fn machines_are_in_lists_by_their_cid() {
        let text = "vsock:5000 seqpacket vsock nowait - cat\n    only_from = vsock:2 vsock:3 10.0.0.0/8\n    only_from -= vsock:3\n    no_access = vsock:9\n    per_source = 2\n";
        let first = loaded(text);
        assert!(first.diagnostics.is_empty(), "{}", messages(&first));
        let service = &first.config.services[0];
        assert_eq!(service.socket_type, SocketType::SeqPacket);
        let machines = &service.attributes.access.machines;
        assert!(machines.0.iter().eq(&[2]) && machines.1.iter().eq(&[9]));
        let printed = inetd_conf(&first.config, &FakeLookup::default());
        assert!(printed.contains("only_from = 10.0.0.0/8 vsock:2\n"), "{printed}");
        let again = loaded(&printed);
        assert_eq!(again.config.services[0].attributes, service.attributes);
        assert_eq!(again.config.services[0].sockets, service.sockets);
    }

    #[test]
    fn addresses_alone_are_nobody_who_comes_over_such_a_socket() {
        let text = "vsock:5000 stream vsock nowait - cat\n    only_from = 10.0.0.0/8\n";
        assert!(
            messages(&loaded(text)).contains("`only_from` names no machine: nobody may connect")
        );
        let wrong = "vsock:5000 stream vsock nowait - cat\n    only_from = vsock:host\n";
        assert!(messages(&loaded(wrong)).contains("`host` is not a CID"));
    }

    #[test]
    fn what_needs_to_see_bytes_move_is_an_error_for_programs() {
        let text = |program| {
            format!("vsock:5000 stream vsock nowait - {program}\n    idle_timeout = 5m\n")
        };
        assert!(loaded(&text("internal echo")).diagnostics.is_empty());
        let wrong = loaded(&text("cat"));
        assert!(
            wrong.has_errors() && messages(&wrong).contains("`idle_timeout` cannot be"),
            "{}",
            messages(&wrong)
        );
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let text = "vsock:5000 stream vsock nowait - cat\n    nodelay = yes\n    sndbuf = 64k\n    socket_mode = 0666\n";
        let messages = messages(&loaded(text));
        assert_eq!(messages.matches("has no effect").count(), 3, "{messages}");
    }
}
