//! Printers of what is no field of the attributes, or not as it is written there; None for the
//! default.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::definition::Shown;
use super::quantity::show_size;
use crate::config::model::{
    Action, Banner, Endpoint, Prefix, RelayTarget, Resource, Sought, StderrTo,
};
use crate::config::text::words::quote;
use crate::net::vsock;

pub(super) fn only_from(shown: &Shown<'_>) -> Option<String> {
    let access = &shown.service.attributes.access;
    access.only_from.as_deref().map(|list| items(list, &access.machines.0))
}

pub(super) fn no_access(shown: &Shown<'_>) -> Option<String> {
    let access = &shown.service.attributes.access;
    let (list, machines) = (&access.no_access, &access.machines.1);
    (!list.is_empty() || !machines.is_empty()).then(|| items(list, machines))
}

/// What differs from where it goes if nothing is said, which is the terminal if there is one.
pub(super) fn stderr(shown: &Shown<'_>) -> Option<String> {
    let attributes = &shown.service.attributes;
    match (attributes.process.stderr, attributes.front.has_terminal()) {
        (StderrTo::Log, false) | (StderrTo::Socket, true) => None,
        (StderrTo::Log, true) => Some("log".to_owned()),
        (StderrTo::Socket, false) => Some("socket".to_owned()),
        (StderrTo::Null, _) => Some("null".to_owned()),
    }
}

pub(super) fn proxy_from(shown: &Shown<'_>) -> Option<String> {
    let list = &shown.service.attributes.front.proxy_from;
    (!list.is_empty()).then(|| items(list, &BTreeSet::new()))
}

fn items(list: &[Prefix], machines: &BTreeSet<u32>) -> String {
    let machines = machines.iter().map(|cid| format!("{}{cid}", vsock::PREFIX));
    list.iter().map(ToString::to_string).chain(machines).collect::<Vec<_>>().join(" ")
}

/// Where the user has supplementary groups and the program has none.
pub(super) fn groups(shown: &Shown<'_>) -> Option<String> {
    let account = &shown.service.account;
    let lacks = account.switch
        && account.groups.is_empty()
        && !shown.lookup.groups_of(&account.name, account.gid).is_empty();
    lacks.then(|| "no".to_owned())
}

pub(super) fn rlimit(shown: &Shown<'_>, resource: Resource) -> Option<String> {
    let limits = &shown.service.attributes.process.rlimits;
    let (_, limit) = limits.iter().find(|(known, _)| *known == resource)?;
    // Seconds have no unit.
    let show: fn(u64) -> String =
        if resource == Resource::Cpu { |seconds| seconds.to_string() } else { show_size };
    Some(limit.map_or("unlimited".to_owned(), show))
}

/// The network device; addresses stand before the service.
pub(super) fn interface(shown: &Shown<'_>) -> Option<String> {
    let awaited = shown.service.awaited.iter().find(|it| it.what == Sought::HostOrDevice);
    let device = shown.service.sockets.first().and_then(|socket| socket.device.as_ref());
    let name = device.or(awaited.map(|awaited| &awaited.name))?;
    Some(quote(name.as_ref()))
}

/// `HOST PORT`, `/path` or `@name`.
pub(super) fn redirect(shown: &Shown<'_>) -> Option<String> {
    let Action::Relay(target) = &shown.service.action else { return None };
    Some(match target {
        RelayTarget::Inet { host, port, .. } => {
            format!("{} {port}", quote(host.as_ref()))
        }
        RelayTarget::Unix(Endpoint::Unix(path)) => quote(path.as_os_str()),
        RelayTarget::Unix(Endpoint::Abstract(name)) => {
            let mut word = OsString::from("@");
            word.push(OsStr::from_bytes(name));
            quote(&word)
        }
        RelayTarget::Unix(Endpoint::Vsock(address)) => address.to_string(),
        RelayTarget::Unix(Endpoint::Inet(address)) => {
            format!("{} {}", address.ip(), address.port())
        }
    })
}

/// What is not said by the label.
pub(super) fn id(shown: &Shown<'_>) -> Option<String> {
    let (label, id) = (&shown.service.label, shown.service.id.as_deref()?);
    let is_said = label.split_once('/').is_some_and(|(name, _)| name == id);
    (!is_said).then(|| quote(id.as_ref()))
}

pub(super) fn socket_user(shown: &Shown<'_>) -> Option<String> {
    let uid = shown.service.attributes.socket.user?;
    let name = shown.lookup.user_by_id(uid).map(|user| user.name);
    Some(name.map_or(uid.to_string(), |name| quote(name.as_ref())))
}

pub(super) fn socket_group(shown: &Shown<'_>) -> Option<String> {
    let gid = shown.service.attributes.socket.group?;
    let name = shown.lookup.group_name(gid);
    Some(name.map_or(gid.to_string(), |name| quote(name.as_ref())))
}

pub(super) fn banner(banner: Option<&Banner>) -> Option<String> {
    banner.map(|banner| quote(banner.path.as_os_str()))
}
