//! What keeps services from being served: of each the reason, and what is said once and
//! costs several of them (a default, an address for many lines) with all whom it costs.

use std::rc::Rc;

use super::naming::list;
use super::outcome::EntryOutcome;
use super::resolver::Resolver;
use crate::config::diagnostic::Span;
use crate::config::diagnostic::cause::Cause;
use crate::config::diagnostic::report::Report;
use crate::config::model::{Config, NotServed, Withheld};
use crate::config::syntax::entry::Entry;
use crate::net::vsock::is_vsock;

/// What costs several services something, and those.
#[derive(Default)]
pub(super) struct Costs(Vec<(Cause, Vec<String>)>);

impl Costs {
    fn add(&mut self, cause: &Cause, label: &str) {
        let known = self.0.iter_mut().find(|(known, _)| is_same(&known.span, &cause.span));
        match known {
            Some((_, labels)) if labels.iter().any(|known| known == label) => {}
            Some((_, labels)) => labels.push(label.to_owned()),
            None => self.0.push((cause.clone(), vec![label.to_owned()])),
        }
    }

    /// A line for all that cost the same services something.
    pub(super) fn say(self, report: &mut Report) {
        for (spans, labels) in self.by_whom() {
            let (Some((first, others)), Some(listed)) = (spans.split_first(), list(&labels)) else {
                continue;
            };
            let take = if labels.len() == 1 { "takes" } else { "take" };
            report
                .warning(first, format!("{listed} {take} this, and cannot be served"))
                .also(others.to_vec())
                .help("correct it: it holds for all of them");
        }
    }

    fn by_whom(self) -> Vec<(Vec<Span>, Vec<String>)> {
        let mut all: Vec<(Vec<Span>, Vec<String>)> = Vec::new();
        for (cause, labels) in self.0 {
            match all.iter_mut().find(|(_, known)| *known == labels) {
                Some((spans, _)) => spans.push(cause.span),
                None => all.push((vec![cause.span], labels)),
            }
        }
        all
    }
}

impl Resolver<'_> {
    /// Why an entry is not served, if that is so; what has been found about it stands in the
    /// report from `mark` on.
    pub(super) fn reason(
        &mut self,
        entry: &Entry,
        outcome: &EntryOutcome,
        mark: usize,
        costs: &mut Costs,
    ) -> Option<String> {
        if !matches!(outcome, EntryOutcome::Nothing | EntryOutcome::Withheld(_)) {
            return None;
        }
        let found = self.report.since(mark).iter().filter(|one| one.costs_a_service());
        let found: Vec<Cause> = found.filter_map(Cause::of).collect();
        let label = entry.label();
        let shared = found.iter().filter(|cause| is_shared(entry, &cause.span));
        for cause in entry.because.iter().map(Rc::as_ref).chain(shared) {
            costs.add(cause, &label);
        }
        let first = entry.because.first().map(Rc::as_ref).or(entry.why.as_ref());
        first.or(found.first()).map(Cause::told)
    }
}

impl Config {
    /// Takes what is not served, and `why`; of one that gives way to another entry that has
    /// been said.
    pub(super) fn does_without(
        &mut self,
        entry: &Entry,
        outcome: EntryOutcome,
        why: Option<String>,
    ) {
        match outcome {
            EntryOutcome::Service(service) => self.services.push(service.into()),
            EntryOutcome::Disabled(service) => {
                self.off += 1;
                self.disabled.push(service.into());
            }
            EntryOutcome::Off => self.off += 1,
            EntryOutcome::Withheld(withheld) => {
                let why = why.unwrap_or_default();
                self.withheld.push(Withheld { why, ..withheld });
            }
            EntryOutcome::Nothing => {
                let names = (&entry.other_id(), &entry.name);
                self.left_out.extend(why.map(|why| NotServed::of(&entry.label(), names, why)));
            }
        }
    }
}

/// Whether a place is one that says something for other entries, too.
fn is_shared(entry: &Entry, span: &Span) -> bool {
    // What is said for others stands before them.
    let address = entry.default_address.iter().map(|word| word.span.clone());
    let address = address.filter(|place| place.end < entry.endpoint.span.start);
    // What nobody has written stands where the entry does.
    let written = entry.defaults.iter().filter(|it| !is_same(&it.name.span, &it.place));
    let defaults = written.map(|setting| Span {
        end: setting.place.end.max(setting.name.span.end),
        ..setting.name.span.clone()
    });
    address.chain(defaults).any(|place| {
        Rc::ptr_eq(&place.source, &span.source)
            && place.start <= span.start
            && span.end <= place.end
    })
}

fn is_same(one: &Span, other: &Span) -> bool {
    Rc::ptr_eq(&one.source, &other.source) && (one.start, one.end) == (other.start, other.end)
}

impl Entry {
    /// What its service is called, as far as that can be told of one that may be wrong: as
    /// [`crate::config::model::Service::label`].
    pub(super) fn label(&self) -> String {
        let name = self.endpoint.text.as_str();
        if let Some(entry) = name.strip_prefix("tcpmux/") {
            return format!("tcpmux/{}", entry.trim_start_matches('+'));
        }
        if name.starts_with(['/', '@']) || is_vsock(name) {
            return name.to_owned();
        }
        // FreeBSD's `:user:group:mode:/path`.
        if let Some(path) = name.strip_prefix(':').and_then(|rest| rest.find(":/")) {
            return name.get(path + 2..).unwrap_or(name).to_owned();
        }
        let service = name.rsplit_once(':').map_or(name, |(_, service)| service);
        let protocol = self.protocol.text.split(',').next().unwrap_or_default();
        let protocol = match protocol {
            _ if protocol.starts_with("tcp") => "tcp",
            _ if protocol.starts_with("udp") => "udp",
            other => other,
        };
        format!("{service}/{protocol}")
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fake::FakeLookup;
    use crate::config::{Dialect, Loaded, Named, load, load_in_place};

    fn lookup(text: &str) -> FakeLookup {
        FakeLookup::with_file("/f", text)
    }

    fn messages(loaded: &Loaded) -> String {
        loaded.diagnostics.iter().map(|one| one.one_line() + "\n").collect()
    }

    fn not_served(loaded: &Loaded) -> Vec<(String, String)> {
        loaded.config.not_served().map(|one| (one.label, one.why)).collect()
    }

    fn served(loaded: &Loaded) -> Vec<&str> {
        loaded.config.services.iter().map(|it| it.label.as_str()).collect()
    }

    #[test]
    fn a_wrong_default_names_whom_it_costs() {
        let text = "80 stream tcp nowait - cat\n.defaults\n    per_sorce = 10\n\
            127.0.0.1:81 stream tcp nowait - cat\n82 dgram udp46 wait - cat\n/x stream unix nowait - cat\n";
        let loaded = load("/f".as_ref(), &[], &lookup(text));
        assert_eq!(served(&loaded), ["80/tcp"]);
        let why = "/f:3: unknown attribute `per_sorce`";
        let wanted = ["81/tcp", "82/udp", "/x"].map(|label| (label.to_owned(), why.to_owned()));
        assert_eq!(not_served(&loaded), wanted);
        let messages = messages(&loaded);
        let wanted = "/f:3:5: warning: 81/tcp, 82/udp and /x take this, and cannot be served";
        assert_eq!(messages.matches(wanted).count(), 1, "{messages}");
    }

    #[test]
    fn several_wrong_defaults_are_one_cost_with_every_place() {
        let text = ".defaults\n    per_sorce = 10\n    instances = x\n    log_on_success = A B C D\n\
            81 stream tcp nowait - cat\n82 stream tcp nowait - cat\n";
        let messages = messages(&load("/f".as_ref(), &[], &lookup(text)));
        let wanted = "/f:2:5: warning: 81/tcp and 82/tcp take this, and cannot be served; \
                      so at /f:3:17 and /f:4:22 (correct it";
        assert!(messages.contains(wanted), "{messages}");
        assert_eq!(
            (messages.matches("take this").count(), messages.matches("error:").count()),
            (1, 6)
        );
    }

    #[test]
    fn what_defaults_lack_here_and_wrong_addresses_name_whom_they_cost() {
        for (text, wanted) in [
            (".defaults\n group = nosuch\n", "/f:2:10: warning: 81/tcp and 82/tcp take this"),
            ("256.1.1.1:\n", "/f:1:1: warning: 81/tcp and 82/tcp take this"),
        ] {
            let text =
                format!("{text}81 stream tcp nowait root cat\n82 stream tcp nowait root cat\n");
            let loaded = load("/f".as_ref(), &[], &lookup(&text));
            assert!(messages(&loaded).contains(wanted), "{text}: {}", messages(&loaded));
            assert_eq!(not_served(&loaded).len(), 2, "{text}");
        }
    }

    #[test]
    fn in_the_place_of_inetd_a_wrong_default_costs_itself_unless_something_is_narrowed() {
        for (default, is_served) in [
            (".defaults\n    per_sorce = 10\n", true),
            (".defaults\n    timeout = soon\n", true),
            (".defaults\n    instances 10\n", true),
            (".defalts\n    instances = 10\n", true),
            (".defaults\n    only_form = 10.0.0.0/8\n", false),
            (".defaults\n    only_from = 10.0.0.0/33\n", false),
            (".defaults\n    only_from 10.0.0.0/8\n", false),
            (".defaults only_from = 10.0.0.0/8\n", false),
            (".defalts\n    only_from = 10.0.0.0/8\n", false),
            (".defaults\n    interfce = 127.0.0.1\n", false),
            (".defaults\n    no_new_prvis = yes\n", false),
        ] {
            let text = format!("{default}81 stream tcp nowait root cat\n");
            let loaded = load_in_place(&[Named::new("/f")], &[], Dialect::OpenBsd, &lookup(&text));
            assert_eq!(!served(&loaded).is_empty(), is_served, "{text}");
            assert_eq!(messages(&loaded).contains("81/tcp takes this"), !is_served, "{text}");
        }
    }

    #[test]
    fn settings_below_a_misspelt_directive_are_missed_by_those_below_them() {
        let text = ".defalts\n    only_from = 10.0.0.0/8\n81 stream tcp nowait root cat\n";
        let loaded = load("/f".as_ref(), &[], &lookup(text));
        assert_eq!(served(&loaded), Vec::<&str>::new());
        assert!(messages(&loaded).contains("81/tcp takes this"), "{}", messages(&loaded));
    }

    #[test]
    fn mistakes_of_xinetds_defaults_name_whom_they_cost() {
        let block = |name: &str, port: u16, more: &str| {
            format!(
                "service {name}\n{{\ntype = UNLISTED\nport = {port}\nsocket_type = stream\n\
                 wait = no\nuser = root\nserver = /bin/cat\n{more}}}\n"
            )
        };
        for default in ["only_form = 10.0.0.0", "no_access = 10.0.0.0/33", "only_from"] {
            let text = format!("defaults\n{{\n{default}\n}}\n")
                + &block("one", 81, "")
                + &block("two", 82, "only_from = 127.0.0.1\nno_access = 10.0.0.1\n");
            let loaded = load("/f".as_ref(), &[], &lookup(&text));
            assert_eq!(served(&loaded), ["82/tcp"], "{default}: {}", messages(&loaded));
            let wanted = "/f:3:";
            let messages = messages(&loaded);
            let line = messages.lines().find(|line| line.contains("81/tcp takes this")).unwrap();
            assert!(line.starts_with(wanted), "{default}: {messages}");
            assert!(not_served(&loaded)[0].1.starts_with("/f:3: "), "{:?}", not_served(&loaded));
        }
    }

    #[test]
    fn an_entry_is_called_what_it_would_be_called_if_it_were_right() {
        for (fields, label) in [
            ("127.0.0.1:80 stream tcp nowait - nosuch", "80/tcp"),
            ("[::1]:80 stream tcp6only nowait - nosuch", "80/tcp"),
            ("80 stream tcp4,sndbuf=1 nowait - nosuch", "80/tcp"),
            ("echo dgram udp46 wait - nosuch", "echo/udp"),
            ("tcpmux/+x stream tcp nowait - nosuch", "tcpmux/x"),
            (":root:root:0600:/a:b stream unix nowait - nosuch", "/a:b"),
            ("@x stream unix nowait - nosuch", "@x"),
        ] {
            for more in ["", "    instnces = 3\n"] {
                let text = format!("{fields}\n{more}");
                let loaded = load("/f".as_ref(), &[], &lookup(&text));
                let labels: Vec<String> = not_served(&loaded).into_iter().map(|it| it.0).collect();
                assert_eq!(labels, [label], "{text}: {}", messages(&loaded));
            }
        }
    }
}
