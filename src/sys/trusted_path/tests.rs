//! The rule in trees of names that nobody has made, and in some that are there.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Just;

use super::rule::{FileFacts, FileKind, Trust};
use super::walk::{Tree, WalkEnd, walk};
use super::{ParentDirectory, open_to_read};

const TRUST: Trust = Trust { user: 0, group: None, outside: None };

/// Absolute paths and what is there.
#[derive(Debug, Clone, Default)]
struct Names(BTreeMap<PathBuf, (FileFacts, OsString)>);

fn facts(kind: FileKind, uid: u32, mode: u32) -> FileFacts {
    FileFacts { kind, uid, gid: 0, mode, names: 1, read_only: false }
}

impl Names {
    fn directory(mut self, path: &str, uid: u32, mode: u32) -> Self {
        self.0.insert(path.into(), (facts(FileKind::Directory, uid, mode), OsString::new()));
        self
    }

    fn link(mut self, path: &str, uid: u32, target: &str) -> Self {
        self.0.insert(path.into(), (facts(FileKind::Link, uid, 0o777), target.into()));
        self
    }

    fn file(mut self, path: &str, uid: u32) -> Self {
        self.0.insert(path.into(), (facts(FileKind::File, uid, 0o644), OsString::new()));
        self
    }

    fn leads(&self, path: &str) -> Result<(PathBuf, bool), String> {
        let end = walk(self, &TRUST, Path::new(path), false);
        let end: WalkEnd<PathBuf> = end.map_err(|error| error.to_string())?;
        assert!(!path.starts_with('/') || end.node == end.path, "{path}: {:?}", end.path);
        Ok((end.node, end.exposed.is_some()))
    }
}

impl Tree for Names {
    type Node = PathBuf;

    fn root(&self) -> io::Result<PathBuf> {
        Ok("/".into())
    }

    fn here(&self) -> io::Result<PathBuf> {
        Ok("/".into())
    }

    fn enter(&self, from: &PathBuf, name: &OsStr, _: bool) -> io::Result<PathBuf> {
        let path = match name.to_str() {
            Some("..") => from.parent().unwrap_or(from).to_owned(),
            _ => from.join(name),
        };
        if self.0.contains_key(&path) { Ok(path) } else { Err(Errno::ENOENT.into()) }
    }

    fn facts<'a>(&self, node: &'a PathBuf) -> &'a FileFacts {
        // The tree of a test lives as long as the test.
        let facts = self.0.get(node).map(|known| known.0.clone());
        Box::leak(Box::new(facts.unwrap()))
    }

    fn target(&self, link: &PathBuf) -> io::Result<OsString> {
        Ok(self.0[link].1.clone())
    }

    fn jump(&self, _: &PathBuf, _: &OsStr) -> io::Result<Option<PathBuf>> {
        Ok(None)
    }
}

fn machine() -> Names {
    Names::default()
        .directory("/", 0, 0o755)
        .directory("/etc", 0, 0o755)
        .file("/etc/secret", 0)
        .directory("/tmp", 0, 0o1777)
        .directory("/open", 0, 0o777)
        .directory("/home", 0, 0o755)
        .directory("/home/u", 1, 0o755)
        .file("/home/u/motd", 1)
}

#[test]
fn links_of_root_are_followed_where_nobody_else_may_write() {
    let names = machine()
        .link("/etc/live", 0, "../etc/./secret")
        .link("/etc/to-user", 0, "/home/u/motd")
        .link("/tmp/mine", 0, "/etc/secret")
        .link("/etc/round", 0, "round");
    assert_eq!(names.leads("/etc/live"), Ok(("/etc/secret".into(), false)));
    assert_eq!(names.leads("/etc/to-user"), Ok(("/home/u/motd".into(), true)));
    assert_eq!(names.leads("/tmp/mine"), Ok(("/etc/secret".into(), false)));
    assert_eq!(names.leads("../../etc/secret"), Ok(("/etc/secret".into(), false)));
    assert!(names.leads("/etc/round").unwrap_err().contains("Too many"));
    assert!(names.leads("/etc/secret/x").unwrap_err().contains("Not a directory"));
}

#[test]
fn links_of_others_are_refused_by_name() {
    let names = machine()
        .link("/home/u/link", 1, "/etc/secret")
        .link("/home/u/roots", 0, "/etc/secret")
        .link("/tmp/theirs", 1, "/etc/secret")
        .link("/open/roots", 0, "/etc/secret")
        .link("/etc/first", 0, "/home/u/link");
    for (path, why) in [
        ("/home/u/link", "`/home/u/link` is not followed: user 1 has made it"),
        ("/home/u/roots", "`/home/u/roots` is not followed: user 1 can write to `/home/u`"),
        ("/tmp/theirs", "`/tmp/theirs` is not followed: user 1 has made it"),
        ("/open/roots", "`/open/roots` is not followed: everybody can write to `/open`"),
        ("/etc/first", "`/home/u/link` is not followed: user 1 has made it"),
        ("/home/u/../../etc/../open/roots", "user 1 can write to `/home/u`"),
    ] {
        let said = names.leads(path).unwrap_err();
        assert!(said.contains(why), "{path}: {said}");
    }
}

/// Some tree: what is in it, whose it is, who may write.
fn trees() -> impl Strategy<Value = Names> {
    let place = prop_oneof![Just("/a"), Just("/b"), Just("/a/x"), Just("/a/y"), Just("/b/x")];
    let target =
        prop_oneof![Just("/a"), Just("/b/x"), Just("x"), Just("../b"), Just("y"), Just("/a/x/z")];
    let mode = prop_oneof![Just(0o755), Just(0o777), Just(0o1777)];
    let one = (place, 0..3_u8, 0..2_u32, mode, target);
    vec(one, 1..8).prop_map(|all| {
        let tree = Names::default().directory("/", 0, 0o755);
        all.into_iter().fold(tree, |tree, (place, kind, uid, mode, target)| match kind {
            0 => tree.directory(place, uid, mode),
            1 => tree.link(place, uid, target),
            _ => tree.file(place, uid),
        })
    })
}

proptest! {
    /// Whatever another user turns his links to, and makes of what stands where he may write:
    /// he gets an error, or leads nobody anywhere else.
    #[test]
    fn others_lead_nobody_astray(
        tree in trees(),
        path in "(/[abxy]|/[ab]/[xyz]|/[ab]/[xyz]/z)",
        elsewhere in any::<bool>(),
    ) {
        let target = if elsewhere { "/b" } else { "/a/x" };
        let mut turned = tree.clone();
        for (path, (facts, to)) in &mut turned.0 {
            let parent = path.parent().and_then(|parent| tree.0.get(parent));
            let his = facts.uid == 1
                || parent.is_some_and(|(parent, _)| TRUST.replacer(parent).is_some());
            if facts.kind == FileKind::Link && his {
                *to = target.into();
            }
        }
        if let Ok(before) = tree.leads(&path) {
            prop_assert_eq!(turned.leads(&path), Ok(before));
        } else {
            prop_assert!(turned.leads(&path).is_err());
        }
    }
}

#[test]
fn own_links_are_followed_and_only_files_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("file"), "text").unwrap();
    std::fs::create_dir(at("..data")).unwrap();
    std::fs::write(at("..data/file"), "inner").unwrap();
    symlink("..data/file", at("config")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let read = |path: &Path| {
        let opened = open_to_read(path).map_err(|error| error.to_string())?;
        assert_eq!(opened.exposed, None);
        Ok::<_, String>(io::read_to_string(opened.file).unwrap())
    };
    assert_eq!(read(&at("file")), Ok("text".to_owned()));
    assert_eq!(read(&at("config")), Ok("inner".to_owned()));
    assert_eq!(read(Path::new("/dev/null")), Ok(String::new()));
    assert_eq!(read(&at("fifo")), Err("it is not a regular file".to_owned()));
    assert_eq!(read(Path::new("/dev/zero")), Err("it is not a regular file".to_owned()));
    assert_eq!(read(folder.path()), Err("it is a directory".to_owned()));
    assert!(read(&at("none")).unwrap_err().contains("No such file"));
}

#[test]
fn what_others_can_write_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("file"), "").unwrap();
    std::fs::set_permissions(at("file"), Permissions::from_mode(0o666)).unwrap();
    let exposed = open_to_read(&at("file")).unwrap().exposed.unwrap();
    assert_eq!((exposed.path, exposed.by.to_string()), (at("file"), "everybody".to_owned()));
    std::fs::set_permissions(at("file"), Permissions::from_mode(0o644)).unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let exposed = open_to_read(&at("file")).unwrap().exposed.unwrap();
    assert_eq!(exposed.path, folder.path());
}

#[test]
fn a_second_name_of_a_private_file_is_refused_where_others_make_names() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("file"), "").unwrap();
    std::fs::set_permissions(at("file"), Permissions::from_mode(0o600)).unwrap();
    std::fs::hard_link(at("file"), at("second")).unwrap();
    assert!(open_to_read(&at("second")).is_ok());
    for mode in [0o777, 0o1777] {
        std::fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        let said = open_to_read(&at("second")).unwrap_err().to_string();
        assert!(said.contains("more names than this one"), "{said}");
        let place = ParentDirectory::of(&at("second")).unwrap();
        assert!(place.open(nix::fcntl::OFlag::O_RDWR, 0o644).is_err());
    }
}
