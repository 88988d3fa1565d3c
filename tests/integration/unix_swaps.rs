//! Unix sockets where others may write on the way to them: whatever they put there, at any
//! moment, the server makes nothing elsewhere and connects to nobody else.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::common::clients::echo_once;
use crate::common::{Daemon, Folder, Setup, me, wait_for};

/// While the work is done, a directory and a link to another change their places all the time.
fn while_swapping<T>(directory: &Path, link: &Path, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // An even number of times: each is where it was.
            while !done.load(Ordering::Relaxed) {
                for _ in 0..2 {
                    let exchange = RenameFlags::RENAME_EXCHANGE;
                    renameat2(AT_FDCWD, directory, AT_FDCWD, link, exchange).unwrap();
                }
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn lines(directory: &Path, names: impl IntoIterator<Item = u32>, argument: &str) -> String {
    let line = |name| {
        let path = directory.join(format!("s{name}"));
        format!("{} stream unix nowait {} /bin/cat cat{argument}\n", path.display(), me())
    };
    names.into_iter().map(line).collect()
}

fn serves(path: &Path) -> Option<()> {
    let stream = UnixStream::connect(path).ok()?;
    (echo_once(stream, "here") == "here").then_some(())
}

/// A directory, the link that takes its place, and where that leads.
fn places() -> (Folder, [PathBuf; 3]) {
    let folder = Folder::new();
    let open = folder.open_folder("open");
    let (directory, link, secret) = (open.join("d"), open.join("next"), folder.at("secret"));
    fs::create_dir(&directory).unwrap();
    fs::create_dir(&secret).unwrap();
    symlink(&secret, &link).unwrap();
    (folder, [directory, link, secret])
}

/// Opens and closes sockets again and again.
fn reload_often(daemon: &Daemon, directory: &Path) {
    for round in 0..20u32 {
        let names = (0..40).filter(|name| (name + round) % 2 == 0);
        let _ = daemon.reload(&lines(directory, names, ""));
    }
}

#[test]
fn a_directory_that_is_swapped_for_a_link_leads_no_socket_elsewhere() {
    let (folder, [directory, link, secret]) = places();
    let mut daemon = Setup::new().controlled().start_in(folder, &lines(&directory, [0], ""));
    assert_eq!(serves(&directory.join("s0")), Some(()));
    while_swapping(&directory, &link, || reload_often(&daemon, &directory));
    assert_eq!(names_in(&secret), [""; 0], "{}", daemon.log.text());
    let _ = daemon.reload(&lines(&directory, 0..3, " -u"));
    wait_for("the last one to be there", || serves(&directory.join("s2")));
    daemon.stop();
    assert_eq!(names_in(&secret), [""; 0]);
}

/// Whoever looks whether a socket is left over from another server connects to it.
#[test]
fn somebody_elses_socket_is_not_connected_to() {
    let (folder, [directory, link, secret]) = places();
    let others = UnixListener::bind(secret.join("s0")).unwrap();
    others.set_nonblocking(true).unwrap();
    let line = lines(&directory, [0], "");
    let mut daemon = Setup::new().controlled().start_in(folder, "");
    while_swapping(&directory, &link, || {
        for _ in 0..40 {
            let _ = daemon.reload(&line);
            let _ = daemon.reload("");
            // What somebody has left there.
            let stale = directory.join("s0");
            let _ = UnixListener::bind(&stale);
        }
    });
    assert!(others.accept().is_err(), "{}", daemon.log.text());
    assert!(fs::metadata(secret.join("s0")).unwrap().file_type().is_socket());
    let _ = daemon.reload(&lines(&directory, [0], " -u"));
    wait_for("it to be there", || serves(&directory.join("s0")));
    daemon.stop();
}

/// What a socket is called is what the file calls it, for everybody.
#[test]
fn such_a_socket_has_its_own_name() {
    let folder = Folder::new();
    let open = folder.open_folder("open");
    let directory = open.join("d");
    fs::create_dir(&directory).unwrap();
    let path = directory.join("s0");
    let mut daemon = Setup::new().start_in(folder, &lines(&directory, [0], ""));
    let stream = UnixStream::connect(&path).unwrap();
    assert_eq!(stream.peer_addr().unwrap().as_pathname(), Some(path.as_path()));
    assert_eq!(echo_once(stream, "here"), "here");
    daemon.stop();
    assert!(!path.exists(), "it is unlinked as any other");
}
