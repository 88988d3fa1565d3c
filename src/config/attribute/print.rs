//! Printers of the table: a value of the model as it is written, None for the default.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use super::Shown;
use super::capability;
use super::quantity::show_size;
use crate::config::model::{
    Action, AtLimit, Attributes, Endpoint, Leftovers, Limit, Linger, OnStop, Paths, Rate,
    RelayTarget, Resource, Sought, StderrTo,
};
use crate::config::text::words::quote;

/// The value where it is not the default.
fn differing<'a, T: PartialEq>(
    shown: &Shown<'a>,
    default: &'a Attributes,
    get: impl Fn(&'a Attributes) -> T,
) -> Option<T> {
    let value = get(&shown.service.attributes);
    (value != get(default)).then_some(value)
}

pub(super) fn limit(shown: &Shown<'_>, get: fn(&Attributes) -> Limit) -> Option<String> {
    let value = differing(shown, &Attributes::default(), get)?;
    Some(value.map_or("unlimited".to_owned(), |limit| limit.to_string()))
}

pub(super) fn rate(shown: &Shown<'_>, get: fn(&Attributes) -> Option<Rate>) -> Option<String> {
    let Rate { count, per } = get(&shown.service.attributes)?;
    let unit = if per == Duration::from_secs(1) { "second" } else { "minute" };
    Some(format!("{count}/{unit}"))
}

/// Without the limit that there is where nothing is said.
pub(super) fn answer_rate(shown: &Shown<'_>) -> Option<String> {
    let default = Attributes::default();
    differing(shown, &default, |attributes| attributes.answer_rate)?;
    Some(rate(shown, |attributes| attributes.answer_rate).unwrap_or("unlimited".to_owned()))
}

pub(super) fn number<T: ToString + PartialEq>(
    shown: &Shown<'_>,
    get: fn(&Attributes) -> Option<T>,
) -> Option<String> {
    differing(shown, &Attributes::default(), get)?.map(|number| number.to_string())
}

pub(super) fn size_of(shown: &Shown<'_>, get: fn(&Attributes) -> Option<u32>) -> Option<String> {
    get(&shown.service.attributes).map(|size| show_size(size.into()))
}

pub(super) fn yes(shown: &Shown<'_>, get: fn(&Attributes) -> bool) -> Option<String> {
    get(&shown.service.attributes).then(|| "yes".to_owned())
}

pub(super) fn path(shown: &Shown<'_>, get: fn(&Attributes) -> Option<&Path>) -> Option<String> {
    let default = Attributes::default();
    let value = get(&shown.service.attributes);
    if value == get(&default) { None } else { value.map(|path| quote(path.as_os_str())) }
}

pub(super) fn at_limit(shown: &Shown<'_>) -> Option<String> {
    (shown.service.attributes.at_limit == AtLimit::Refuse).then(|| "refuse".to_owned())
}

pub(super) fn leftovers(shown: &Shown<'_>) -> Option<String> {
    (shown.service.attributes.leftovers == Leftovers::End).then(|| "end".to_owned())
}

pub(super) fn on_stop(shown: &Shown<'_>) -> Option<String> {
    (shown.service.attributes.on_stop == OnStop::Terminate).then(|| "terminate".to_owned())
}

pub(super) fn stderr(shown: &Shown<'_>) -> Option<String> {
    match shown.service.attributes.stderr {
        StderrTo::Log => None,
        StderrTo::Socket => Some("socket".to_owned()),
        StderrTo::Null => Some("null".to_owned()),
    }
}

pub(super) fn linger(shown: &Shown<'_>) -> Option<String> {
    match shown.service.attributes.linger {
        Linger::Auto => None,
        Linger::Yes => Some("yes".to_owned()),
        Linger::No => Some("no".to_owned()),
    }
}

pub(super) fn umask(shown: &Shown<'_>) -> Option<String> {
    let mask = differing(shown, &Attributes::default(), |attributes| attributes.umask)??;
    Some(format!("{mask:03o}"))
}

/// Names, `none`, or nothing for all.
pub(super) fn capabilities(shown: &Shown<'_>) -> Option<String> {
    let kept = differing(shown, &Attributes::default(), |a| a.capabilities)?;
    let names: Vec<String> = capability::names(kept).collect();
    Some(if names.is_empty() { "none".to_owned() } else { names.join(" ") })
}

/// Paths, after a `?` if need be.
pub(super) fn paths(paths: &Paths) -> Option<String> {
    let mark = paths.optional.then(|| "?".to_owned());
    let words = paths.list.iter().map(|path| quote(path.as_os_str()));
    let words: Vec<String> = mark.into_iter().chain(words).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Where the user has supplementary groups and the program has none.
pub(super) fn groups(shown: &Shown<'_>) -> Option<String> {
    let account = &shown.service.account;
    let lacks = account.switch
        && account.groups.is_empty()
        && !shown.lookup.groups_of(&account.name, account.gid).is_empty();
    lacks.then(|| "no".to_owned())
}

pub(super) fn env(shown: &Shown<'_>) -> Option<String> {
    let quoted = |(name, value): &(String, std::ffi::OsString)| {
        let mut word = std::ffi::OsString::from(name);
        word.push("=");
        word.push(value);
        quote(&word)
    };
    let words: Vec<String> = shown.service.attributes.env.iter().map(quoted).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

pub(super) fn passenv(shown: &Shown<'_>) -> Option<String> {
    let names = &shown.service.attributes.passenv;
    let words: Vec<String> = names.iter().map(|name| quote(name.as_ref())).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

pub(super) fn rlimit(shown: &Shown<'_>, resource: Resource) -> Option<String> {
    let limits = &shown.service.attributes.rlimits;
    let (_, limit) = limits.iter().find(|(known, _)| *known == resource)?;
    Some(limit.map_or("unlimited".to_owned(), show_size))
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

pub(super) fn socket_user(shown: &Shown<'_>) -> Option<String> {
    let uid = shown.service.attributes.socket_user?;
    let name = shown.lookup.user_by_id(uid).map(|user| user.name);
    Some(name.map_or(uid.to_string(), |name| quote(name.as_ref())))
}

pub(super) fn socket_group(shown: &Shown<'_>) -> Option<String> {
    let gid = shown.service.attributes.socket_group?;
    let name = shown.lookup.group_name(gid);
    Some(name.map_or(gid.to_string(), |name| quote(name.as_ref())))
}

pub(super) fn socket_mode(shown: &Shown<'_>) -> Option<String> {
    let mode = differing(shown, &Attributes::default(), |attributes| attributes.socket_mode)?;
    Some(format!("{mode:04o}"))
}
