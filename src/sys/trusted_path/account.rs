//! The user and the group that are the server's own, found once. From /etc/passwd and
//! /etc/group alone: a name service may have to be waited for.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::ops::Range;
use std::sync::OnceLock;

use nix::unistd::{getegid, geteuid};

use super::rule::Trust;

/// The largest database that is looked at.
const MOST: u64 = 16 << 20;

/// Whom this process trusts.
pub(crate) fn trust() -> &'static Trust {
    static TRUST: OnceLock<Trust> = OnceLock::new();
    TRUST.get_or_init(find)
}

fn find() -> Trust {
    let (user, gid) = (geteuid().as_raw(), getegid().as_raw());
    let has_own_group = || Some(is_private(user, gid, &text("/etc/passwd")?, &text("/etc/group")?));
    let group = (user != 0 && has_own_group() == Some(true)).then_some(gid);
    let overflow = text("/proc/sys/kernel/overflowuid");
    let outside = text("/proc/self/uid_map").and_then(|map| outside(&map, &overflow?));
    Trust { user, group, outside }
}

/// All of a file, nothing if there is none; none if that cannot be told. What the rest of it
/// would have said is not to be guessed.
fn text(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    match File::open(path).map(|file| file.take(MOST.saturating_add(1)).read_to_end(&mut bytes)) {
        Ok(Ok(read)) if u64::try_from(read).is_ok_and(|read| read <= MOST) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        _ => return None,
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
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

/// Whoever is not in this user name space, by the number as which its files show him: of the
/// system, which may be somebody's in it.
fn outside(map: &str, overflow: &str) -> Option<u32> {
    let overflow: u32 = overflow.trim().parse().ok()?;
    let is_inside = |line: &str| range_of(line).is_none_or(|ids| ids.contains(&overflow.into()));
    let inside = map.is_empty() || map.lines().any(is_inside);
    (!inside).then_some(overflow)
}

/// The numbers of a line of `uid_map`: the first, that outside, and how many.
fn range_of(line: &str) -> Option<Range<u64>> {
    let mut numbers = line.split_whitespace().map(str::parse::<u64>);
    let (first, _, count) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(first..first.saturating_add(count))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let outside = |map| outside(map, "65534\n");
        assert_eq!(outside("         0          0 4294967295\n"), None);
        assert_eq!(outside("0 1000 1\n"), Some(65_534));
        assert_eq!(outside("0 1000 1\n1 100000 65536\n"), None);
        assert_eq!(outside(""), None);
    }

    #[test]
    fn nobody_is_trusted_for_what_cannot_be_read() {
        for map in ["0 1000\n", "0 1000 x\n", "0 1000 1\n1 -1 65536\n", "\n"] {
            assert_eq!(outside(map, "65534\n"), None, "{map}");
        }
        assert_eq!(outside("0 1000 1\n", ""), None);
        assert_eq!(outside("0 1000 1\n", "nobody\n"), None);
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(name("file"), "line\n").unwrap();
        std::os::unix::fs::symlink(name("loop"), name("loop")).unwrap();
        assert_eq!(text(&name("file")).as_deref(), Some("line\n"));
        assert_eq!(text(&name("missing")).as_deref(), Some(""));
        assert_eq!(text(&name("loop")), None);
        assert_eq!(text(folder.path().to_str().unwrap()), None, "a folder");
        let long = File::create(name("long")).unwrap();
        long.set_len(MOST).unwrap();
        assert!(text(&name("long")).is_some());
        long.set_len(MOST + 1).unwrap();
        assert_eq!(text(&name("long")), None, "it would be cut off");
    }
}
