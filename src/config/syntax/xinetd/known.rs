//! xinetd's attributes, and what each is to us: most are lines of the one table.

use crate::config::attribute;
use crate::config::diagnostic::suggest::{did_you_mean, nearest};

/// What becomes of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversion {
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
pub(super) struct KnownAttribute {
    /// Its name.
    pub(super) name: &'static str,
    /// What becomes of it.
    pub(super) kind: Conversion,
    /// Whether it can be said many times, with `+=` and `-=`.
    pub(super) list: bool,
    /// Whether `defaults` can have it.
    pub(super) in_defaults: bool,
}

const fn one(name: &'static str, kind: Conversion) -> KnownAttribute {
    KnownAttribute { name, kind, list: false, in_defaults: false }
}

const fn default(name: &'static str, kind: Conversion) -> KnownAttribute {
    KnownAttribute { name, kind, list: false, in_defaults: true }
}

const fn list(name: &'static str) -> KnownAttribute {
    KnownAttribute { name, kind: Conversion::Same, list: true, in_defaults: true }
}

/// All of xinetd.conf(5).
const KNOWN: [KnownAttribute; 47] = [
    one("id", Conversion::Field),
    one("type", Conversion::Field),
    one("flags", Conversion::Field),
    one("socket_type", Conversion::Field),
    one("protocol", Conversion::Field),
    one("port", Conversion::Field),
    one("wait", Conversion::Field),
    one("user", Conversion::Field),
    one("server", Conversion::Field),
    one("server_args", Conversion::Field),
    one("disable", Conversion::Same),
    KnownAttribute { list: true, ..default("disabled", Conversion::Lists) },
    KnownAttribute { list: true, ..default("enabled", Conversion::Lists) },
    list("only_from"),
    list("no_access"),
    list("log_on_success"),
    list("log_on_failure"),
    list("passenv"),
    KnownAttribute { list: true, ..one("env", Conversion::Same) },
    one("access_times", Conversion::Same),
    default("instances", Conversion::Same),
    default("per_source", Conversion::Same),
    default("cps", Conversion::Same),
    default("max_load", Conversion::Same),
    default("umask", Conversion::Same),
    default("groups", Conversion::Same),
    default("banner", Conversion::Same),
    default("banner_success", Conversion::Same),
    default("banner_fail", Conversion::Same),
    default("bind", Conversion::Named("interface")),
    default("interface", Conversion::Named("interface")),
    default("v6only", Conversion::Field),
    one("group", Conversion::Same),
    one("nice", Conversion::Same),
    one("redirect", Conversion::Same),
    one("rlimit_as", Conversion::Same),
    one("rlimit_cpu", Conversion::Same),
    one("rlimit_data", Conversion::Same),
    one("rlimit_stack", Conversion::Same),
    one("rlimit_files", Conversion::Same),
    one(
        "rlimit_rss",
        Conversion::Ignored("Linux has no limit on resident memory; `rlimit_as` is one that works"),
    ),
    default("log_type", Conversion::Same),
    one("mdns", Conversion::Ignored("no service is announced by multicast DNS")),
    one(
        "deny_time",
        Conversion::Ignored("nobody is banned; `source_rate` and `cps` slow attackers down"),
    ),
    one("rpc_version", Conversion::Field),
    one("rpc_number", Conversion::Field),
    one(
        "libwrap",
        Conversion::Ignored(
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

/// The attribute that a name is, or that a misspelt one is near to, where that says who may
/// connect, when or where, or narrows something that xinetd cannot.
pub(super) fn who(name: &str) -> Option<&'static str> {
    const WHO: [&str; 5] = ["only_from", "no_access", "access_times", "bind", "interface"];
    let is_xinetds = |name: &str| KNOWN.iter().any(|known| known.name == name);
    nearest(name, all_names())
        .filter(|name| WHO.contains(name) || (!is_xinetds(name) && attribute::narrows(name)))
}

/// The list of services that are on or off which a name is, or is near to.
pub(super) fn which(name: &str) -> Option<&'static str> {
    nearest(name, ["enabled", "disabled"]).filter(|_| name != "disable")
}

fn all_names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.name).chain(attribute::names())
}

/// The attribute of this name: xinetd's, or one that only this server has.
pub(super) fn find(name: &str) -> Option<KnownAttribute> {
    let known = KNOWN.iter().find(|known| known.name == name).copied();
    known.or_else(|| {
        let ours = attribute::find(name)?;
        Some(KnownAttribute {
            name: ours.name,
            kind: Conversion::Same,
            list: ours.list,
            in_defaults: true,
        })
    })
}

/// What to say of a name that no attribute has.
pub(super) fn help_for_unknown(name: &str) -> String {
    did_you_mean(name, all_names(), || {
        "oxinetd.conf(5) lists all attributes of xinetd.conf".to_owned()
    })
}
