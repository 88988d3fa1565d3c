//! Whether somebody may connect to a unix socket, by modes and owners alone: what else may
//! decide it (lists, capabilities, a security module) is left to the moment.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use crate::config::model::Account;

/// Why it may not; none if it may, or if there is no such socket now.
pub(super) fn why_not(path: &Path, account: &Account) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let socket = path.metadata().ok().filter(|it| it.file_type().is_socket())?;
    for directory in path.ancestors().skip(1) {
        if !allows(&directory.metadata().ok()?, account, 0o1) {
            return Some(format!("it may not enter {}", directory.display()));
        }
    }
    let shown = || {
        format!(
            "its mode is {:04o}, its owner {}:{}",
            socket.mode() & 0o7777,
            socket.uid(),
            socket.gid()
        )
    };
    (!allows(&socket, account, 0o2)).then(shown)
}

fn allows(facts: &Metadata, account: &Account, wanted: u32) -> bool {
    let is_member = |gid| gid == account.gid || account.groups.contains(&gid);
    let shift = match (facts.uid() == account.uid, is_member(facts.gid())) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    facts.mode() >> shift & wanted != 0
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn modes_of_the_socket_and_of_its_directories_decide() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let other = Account { uid: 54_321, gid: 54_321, ..Account::default() };
        assert_eq!(why_not(&path, &other), None, "there is none");
        let _listener = UnixListener::bind(&path).unwrap();
        set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        assert!(why_not(&path, &other).is_some_and(|why| why.contains("may not enter")));
        set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
        assert!(why_not(&path, &other).is_some_and(|why| why.contains("mode is 0660")));
        let gid = path.metadata().unwrap().gid();
        let member = Account { groups: vec![gid], ..other };
        assert_eq!(why_not(&path, &member), None);
    }
}
