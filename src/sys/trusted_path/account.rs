//! The user and the group that are the server's own, found once. From /etc/passwd and
//! /etc/group alone: a name service may have to be waited for.

use std::fs::File;
use std::io::Read as _;
use std::sync::OnceLock;

use nix::unistd::{getegid, geteuid};

use super::rule::Trust;

/// The largest database that is looked at.
const MOST: u64 = 16 << 20;

/// Whom this process trusts.
#[must_use]
pub(crate) fn trust() -> &'static Trust {
    static TRUST: OnceLock<Trust> = OnceLock::new();
    TRUST.get_or_init(find)
}

fn find() -> Trust {
    let (user, gid) = (geteuid().as_raw(), getegid().as_raw());
    let is_private =
        || user != 0 && is_private(user, gid, &text("/etc/passwd"), &text("/etc/group"));
    let group = is_private().then_some(gid);
    Trust { user, group, outside: outside(&text("/proc/self/uid_map")) }
}

fn text(path: &str) -> String {
    let mut bytes = Vec::new();
    let _ = File::open(path).map(|file| file.take(MOST).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a group is there for one user: it has his name, and no other member. With a umask
/// of 002 all his files can be written by it. One that the file does not know (of a
/// directory service) has his number, then.
fn is_private(user: u32, group: u32, users: &str, groups: &str) -> bool {
    let name = line_of(user, users).map(|fields| fields[0]);
    match (name, line_of(group, groups)) {
        (Some(name), Some([group, _, _, members])) => {
            group == name && members.split(',').all(|it| it.is_empty() || it == name)
        }
        (_, None) => user == group,
        (None, Some([_, _, _, members])) => user == group && members.is_empty(),
    }
}

/// The first four fields of the line with this number in the third.
fn line_of(number: u32, lines: &str) -> Option<[&str; 4]> {
    lines.lines().find_map(|line| {
        let mut fields = line.split(':').map(str::trim);
        let fields = [fields.next()?, fields.next()?, fields.next()?, fields.next()?];
        (fields[2].parse() == Ok(number)).then_some(fields)
    })
}

/// Whoever is not in this user name space, by the number as which its files show him.
fn outside(map: &str) -> Option<u32> {
    let overflow: u32 = text("/proc/sys/kernel/overflowuid").trim().parse().ok()?;
    let is_inside = |line: &str| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some((first..first.saturating_add(count)).contains(&overflow.into()))
    };
    let inside = map.is_empty() || map.lines().filter_map(is_inside).any(|inside| inside);
    (!inside).then_some(overflow)
}

#[cfg(test)]
mod tests {
    use crate::sys::trusted_path::account::*;

    #[test]
    fn a_private_group_is_that_of_one_user() {
        let users = "root:x:0:0::/:\nme:x:1000:1001::/home/me:\nyou:x:1002:100::/:\n";
        let groups = "root:x:0:\nusers:x:100:\nme:x:1001:\nyou:x:1002:me\nmix:x:1003:you\n";
        for (user, group, wanted) in [
            (1000, 1001, true),
            (1000, 100, false),
            (1002, 100, false),
            (1002, 1002, false),
            (1003, 1003, false),
            (5000, 5000, true),
            (5000, 100, false),
        ] {
            assert_eq!(is_private(user, group, users, groups), wanted, "{user} {group}");
        }
    }

    #[test]
    fn a_name_space_knows_who_is_in_it() {
        assert_eq!(outside("         0          0 4294967295\n"), None);
        assert_eq!(outside("0 1000 1\n"), Some(65_534));
        assert_eq!(outside("0 1000 1\n1 100000 65536\n"), None);
        assert_eq!(outside(""), None);
    }
}
