//! What is asked of name services, which may take any time to answer.

use std::ffi::CString;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use nix::unistd::{self, Gid, Group, Uid, User};
use serde::{Deserialize, Serialize};

/// A question to a name service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum NameQuestion {
    /// The user of this login name.
    User(String),
    /// The user with this number.
    UserById(u32),
    /// The number of the group of this name.
    Group(String),
    /// The name of the group with this number.
    GroupById(u32),
    /// The groups of a user with this main group.
    GroupsOf(String, u32),
    /// The addresses of a host.
    Host(String),
}

/// What was answered; of what is not there, nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum NameAnswer {
    /// Name, uid, gid, home, shell.
    User(Option<(String, u32, u32, String, String)>),
    /// A number.
    Number(Option<u32>),
    /// A name.
    Name(Option<String>),
    /// Groups by number.
    Groups(Vec<u32>),
    /// Addresses with their scopes, or why there is none.
    Host(Result<Vec<(IpAddr, u32)>, String>),
}

impl NameQuestion {
    /// Asks it, and waits.
    pub(super) fn ask(&self) -> NameAnswer {
        match self {
            // NSS takes a NUL for the end of the name.
            Self::User(name) | Self::Group(name) if name.contains('\0') => NameAnswer::User(None),
            Self::User(name) => user(User::from_name(name)),
            Self::UserById(uid) => user(User::from_uid(Uid::from_raw(*uid))),
            Self::Group(name) => {
                let group = Group::from_name(name).ok().flatten();
                NameAnswer::Number(group.map(|group| group.gid.as_raw()))
            }
            Self::GroupById(gid) => {
                let group = Group::from_gid(Gid::from_raw(*gid)).ok().flatten();
                NameAnswer::Name(group.map(|group| group.name))
            }
            Self::GroupsOf(user, gid) => NameAnswer::Groups(groups(user, *gid)),
            Self::Host(name) => NameAnswer::Host(addresses(name)),
        }
    }

    /// Whether it is one about hosts: those are often far away.
    pub(super) fn is_far(&self) -> bool {
        matches!(self, Self::Host(_))
    }
}

fn user(found: nix::Result<Option<User>>) -> NameAnswer {
    NameAnswer::User(found.ok().flatten().map(|user| {
        let home = user.dir.to_string_lossy().into_owned();
        let shell = user.shell.to_string_lossy().into_owned();
        (user.name, user.uid.as_raw(), user.gid.as_raw(), home, shell)
    }))
}

fn groups(user: &str, gid: u32) -> Vec<u32> {
    let found = CString::new(user).ok().and_then(|name| {
        let groups = unistd::getgrouplist(&name, Gid::from_raw(gid)).ok()?;
        Some(groups.into_iter().map(Gid::as_raw).collect())
    });
    found.unwrap_or_else(|| vec![gid])
}

fn addresses(name: &str) -> Result<Vec<(IpAddr, u32)>, String> {
    let found = (name, 0).to_socket_addrs().map_err(|error| error.to_string())?;
    let found: Vec<(IpAddr, u32)> = found.map(|address| (address.ip(), scope(&address))).collect();
    if found.is_empty() { Err("no address".to_owned()) } else { Ok(found) }
}

fn scope(address: &SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(v6) => v6.scope_id(),
    }
}
