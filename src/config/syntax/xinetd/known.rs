//! xinetd's attributes, and what each is to us: most are lines of the one table.

use crate::config::attribute;
use crate::config::diagnostic::suggest::nearest;

/// What becomes of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A line of the table that means the same.
    Same,
    /// The line of the table with this name.
    Named(&'static str),
    /// A field of the entry, or what chooses one.
    Field,
    /// `enabled` and `disabled`.
    Lists,
    /// Read, and said to have no effect: why.
    Ignored(&'static str),
}

/// One attribute of xinetd.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Its name.
    pub(super) name: &'static str,
    /// What becomes of it.
    pub(super) kind: Kind,
    /// Whether it can be said many times, with `+=` and `-=`.
    pub(super) list: bool,
    /// Whether `defaults` can have it.
    pub(super) in_defaults: bool,
}

const fn one(name: &'static str, kind: Kind) -> Known {
    Known { name, kind, list: false, in_defaults: false }
}

const fn default(name: &'static str, kind: Kind) -> Known {
    Known { name, kind, list: false, in_defaults: true }
}

const fn list(name: &'static str) -> Known {
    Known { name, kind: Kind::Same, list: true, in_defaults: true }
}

/// All of xinetd.conf(5).
const KNOWN: [Known; 47] = [
    one("id", Kind::Field),
    one("type", Kind::Field),
    one("flags", Kind::Field),
    one("socket_type", Kind::Field),
    one("protocol", Kind::Field),
    one("port", Kind::Field),
    one("wait", Kind::Field),
    one("user", Kind::Field),
    one("server", Kind::Field),
    one("server_args", Kind::Field),
    one("disable", Kind::Same),
    Known { list: true, ..default("disabled", Kind::Lists) },
    Known { list: true, ..default("enabled", Kind::Lists) },
    list("only_from"),
    list("no_access"),
    list("log_on_success"),
    list("log_on_failure"),
    list("passenv"),
    Known { list: true, ..one("env", Kind::Same) },
    one("access_times", Kind::Same),
    default("instances", Kind::Same),
    default("per_source", Kind::Same),
    default("cps", Kind::Same),
    default("max_load", Kind::Same),
    default("umask", Kind::Same),
    default("groups", Kind::Same),
    default("banner", Kind::Same),
    default("banner_success", Kind::Same),
    default("banner_fail", Kind::Same),
    default("bind", Kind::Named("interface")),
    default("interface", Kind::Named("interface")),
    default("v6only", Kind::Field),
    one("group", Kind::Same),
    one("nice", Kind::Same),
    one("redirect", Kind::Same),
    one("rlimit_as", Kind::Same),
    one("rlimit_cpu", Kind::Same),
    one("rlimit_data", Kind::Same),
    one("rlimit_stack", Kind::Same),
    one("rlimit_files", Kind::Same),
    one(
        "rlimit_rss",
        Kind::Ignored("Linux has no limit on resident memory; `rlimit_as` is one that works"),
    ),
    default("log_type", Kind::Same),
    one("mdns", Kind::Ignored("no service is announced by multicast DNS")),
    one(
        "deny_time",
        Kind::Ignored("nobody is banned; `source_rate` and `cps` slow attackers down"),
    ),
    one("rpc_version", Kind::Field),
    one("rpc_number", Kind::Field),
    one(
        "libwrap",
        Kind::Ignored(
            "hosts.allow and hosts.deny are not asked; put `/usr/sbin/tcpd` in front with `flags = NAMEINARGS`, or say with `only_from` who may connect",
        ),
    ),
];

/// xinetd's own with any number of words, beside the lists.
const MANY: [&str; 5] = ["server_args", "log_type", "access_times", "type", "flags"];

/// How many words xinetd wants its value to have; it ignores a line that has another number.
pub(super) fn words_of(name: &str) -> Option<usize> {
    let known = KNOWN.iter().find(|known| known.name == name)?;
    let counted = !known.list && !MANY.contains(&name);
    counted.then_some(if matches!(name, "redirect" | "cps") { 2 } else { 1 })
}

/// Whether an attribute, or the one that a misspelt name is near to, says who may connect.
pub(super) fn says_who(name: &str) -> bool {
    const WHO: [&str; 3] = ["only_from", "no_access", "access_times"];
    WHO.contains(&name) || nearest(name, all_names()).is_some_and(|near| WHO.contains(&near))
}

fn all_names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.name).chain(attribute::names())
}

/// The attribute of this name: xinetd's, or one that only this server has.
pub(super) fn find(name: &str) -> Option<Known> {
    let known = KNOWN.iter().find(|known| known.name == name).copied();
    known.or_else(|| {
        let ours = attribute::find(name)?;
        Some(Known { name: ours.name, kind: Kind::Same, list: ours.list, in_defaults: true })
    })
}

/// Whether xinetd does not know it and nobody is safer for it.
pub(super) fn only_ours_and_harmless(name: &str) -> bool {
    const HARMLESS: [&str; 14] = [
        "at_limit",
        "backlog",
        "keepalive",
        "kill_after",
        "nodelay",
        "on_stop",
        "rate",
        "rcvbuf",
        "rlimit_core",
        "rlimit_fsize",
        "rlimit_nproc",
        "sndbuf",
        "stderr",
        "timeout",
    ];
    HARMLESS.contains(&name)
}

/// What to say of a name that no attribute has.
pub(super) fn help_for_unknown(name: &str) -> String {
    match nearest(name, all_names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "oxinetd.conf(5) lists all attributes of xinetd.conf".to_owned(),
    }
}
