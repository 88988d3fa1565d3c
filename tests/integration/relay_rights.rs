//! `redirect` to a unix socket: who connects, and what that one may reach.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{UnixCredentials, getsockopt, sockopt};

use crate::common::clients::{read_line, read_to_any_end};
use crate::common::control::upgrade;
use crate::common::daemon::{as_pid, command};
use crate::common::{
    Daemon, Folder, Setup, free_port, free_ports, is_root, me, need_root, procs, read_all, tcp,
    wait_for, wait_until,
};

const NOBODY: u32 = 65_534;

/// Relays `port` to a path or a name, as this user.
fn line(port: u16, user: &str, to: &str) -> String {
    format!("127.0.0.1:{port} stream tcp nowait {user} internal\n    redirect = {to}\n")
}

/// A listener that everybody may connect to.
fn open_to_all(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    listener
}

/// A listener for root alone, or for whoever runs the test; nobody is waited for.
fn secret(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Who has connected.
fn peer(stream: &UnixStream) -> UnixCredentials {
    getsockopt(stream, sockopt::PeerCredentials).unwrap()
}

/// Connects through a relay; who it was at the other end.
fn connects(port: u16, listener: &UnixListener) -> UnixCredentials {
    let client = tcp(port);
    let (mut server, _) = listener.accept().unwrap();
    let who = peer(&server);
    server.write_all(b"hello\n").unwrap();
    assert_eq!(read_line(&client), "hello\n");
    who
}

/// The process that connects for a daemon's relays.
fn connector(daemon: &Daemon) -> u32 {
    let is_one = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.ends_with(b"connect-for-relay\0")
    };
    wait_for("the connecting process", || procs::children(daemon.pid()).into_iter().find(is_one))
}

#[test]
fn whose_service_it_is_connects() {
    let folder = Folder::new();
    let path = folder.at("target");
    let listener = open_to_all(&path);
    let name = format!("oxinetd-test-relay-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let of_name = UnixListener::bind_addr(&address).unwrap();
    let (plain, own, group, abstract_one) = (free_port(), free_port(), free_port(), free_port());
    let target = path.to_str().unwrap();
    let mut text = line(plain, "-", target) + &line(own, me(), target);
    text += &line(abstract_one, "-", &format!("@{name}"));
    if is_root() {
        text += &line(group, "nobody:daemon", target);
    }
    let mut daemon = Daemon::start(&text);
    let of = |it: &UnixCredentials| (it.uid(), it.gid());
    let us = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let (user, itself) = (if is_root() { (NOBODY, NOBODY) } else { us }, daemon.pid());
    for _ in 0..3 {
        let who = connects(plain, &listener);
        assert_eq!(of(&who), user);
        assert_eq!(is_root(), u32::try_from(who.pid()).unwrap() != itself);
    }
    assert_eq!(of(&connects(abstract_one, &of_name)), user);
    let who = connects(own, &listener);
    assert_eq!((of(&who), u32::try_from(who.pid()).unwrap()), (us, itself));
    if is_root() {
        let daemons = connects(group, &listener);
        assert_eq!(of(&daemons), (NOBODY, 1));
        let status = fs::read_to_string(format!("/proc/{}/status", daemons.pid())).unwrap();
        let groups = procs::status_field(&status, "Groups");
        assert!(groups.split_whitespace().all(|gid| gid != "0"), "root's groups: {groups}");
        wait_until("the relays to be over", || daemon.count_peers() == (6, 0));
        let ports = daemon.said("failed");
        assert!(ports.is_empty(), "{ports:?}");
        assert_eq!(procs::descriptors(connector(&daemon)), 3, "nothing of the server's");
    }
    daemon.stop();
}

#[test]
fn a_path_that_its_user_swaps_reaches_nothing_but_what_is_the_users() {
    if !need_root() {
        return;
    }
    let folder = Folder::new();
    let theirs = folder.open_folder("theirs");
    let (path, real) = (theirs.join("target"), theirs.join("real"));
    let (victim, control) = (folder.at("victim"), folder.name("control"));
    let root_alone = secret(&victim);
    let listener = open_to_all(&real);
    let port = free_port();
    let daemon =
        Setup::new().controlled().start_in(folder, &line(port, "-", path.to_str().unwrap()));
    for target in [victim.to_str().unwrap(), &control] {
        symlink(target, &path).unwrap();
        assert_eq!(read_to_any_end(tcp(port)), "");
        fs::remove_file(&path).unwrap();
    }
    let failed = daemon.wait_count(2, |line| line.about("failed", port));
    let why: Vec<_> = failed.iter().filter_map(|line| line.get("error")).collect();
    assert!(why.iter().all(|why| why.contains("Permission denied")), "{why:?}");
    // Swapped all the time, it is theirs or nothing.
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let next = theirs.join("next");
            while !done.load(Ordering::Relaxed) {
                for target in [&real, &victim] {
                    symlink(target, &next).unwrap();
                    fs::rename(&next, &path).unwrap();
                }
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else { return };
                if done.load(Ordering::Relaxed) {
                    return;
                }
                assert_eq!(peer(&stream).uid(), NOBODY);
            }
        });
        for _ in 0..200 {
            let _ = read_to_any_end(tcp(port));
        }
        done.store(true, Ordering::Relaxed);
        let _ = UnixStream::connect(&real);
    });
    assert!(root_alone.accept().is_err(), "root's socket was reached");
}

#[test]
fn root_follows_a_link_only_where_nobody_else_can_have_put_it() {
    if !need_root() {
        return;
    }
    let folder = Folder::new();
    let open = folder.open_folder("open");
    let (path, good, bad) = (folder.at("target"), folder.at("link"), open.join("link"));
    let listener = UnixListener::bind(&path).unwrap();
    for link in [&good, &bad] {
        symlink(&path, link).unwrap();
    }
    let [follows, refuses] = free_ports(2).try_into().unwrap();
    let text = line(follows, "root", good.to_str().unwrap())
        + &line(refuses, "root", bad.to_str().unwrap());
    let daemon = Setup::new().start_in(folder, &text);
    assert_eq!(connects(follows, &listener).uid(), 0);
    assert_eq!(read_to_any_end(tcp(refuses)), "");
    let failed = daemon.wait_log(|line| line.about("failed", refuses));
    let why = failed.get("error").unwrap();
    assert!(why.contains("is not followed") && why.contains("/open"), "{why}");
}

#[test]
fn a_relay_does_not_control_its_own_server() {
    let folder = Folder::new();
    let port = free_port();
    let text = line(port, me(), &folder.name("control"));
    let daemon = Setup::new().controlled().start_in(folder, &text);
    let mut client = tcp(port);
    client.write_all(b"stop\n").unwrap();
    let answer = read_all(client);
    assert!(answer.contains("does not ask itself"), "{answer}");
    assert_eq!(daemon.ask(&["status"]).status.code(), Some(0), "others may");
}

#[test]
fn a_process_that_is_stopped_or_killed_costs_its_own_services_only() {
    if !need_root() {
        return;
    }
    let folder = Folder::new();
    let path = folder.at("target");
    let listener = open_to_all(&path);
    let [theirs, own] = free_ports(2).try_into().unwrap();
    let text =
        line(theirs, "-", path.to_str().unwrap()) + &line(own, "root", path.to_str().unwrap());
    let daemon = Setup::new().start_in(folder, &text);
    connects(theirs, &listener);
    let first = connector(&daemon);
    kill(as_pid(first), Signal::SIGSTOP).unwrap();
    wait_until("it to stop", || procs::state(first) == Some('T'));
    let waiting = tcp(theirs);
    let _ = daemon.wait_count(2, |line| line.about("accepted", theirs));
    for _ in 0..5 {
        assert_eq!(connects(own, &listener).uid(), 0);
    }
    // What it was asked is asked of the next one.
    kill(as_pid(first), Signal::SIGKILL).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    assert_eq!(peer(&server).uid(), NOBODY);
    server.write_all(b"late\n").unwrap();
    assert_eq!(read_line(&waiting), "late\n");
    // One that is not needed may go at any time.
    let second = connector(&daemon);
    assert_ne!(first, second);
    kill(as_pid(second), Signal::SIGKILL).unwrap();
    connects(theirs, &listener);
    assert!(procs::zombies(daemon.pid()).is_empty());
    assert!(daemon.said("failed").is_empty());
}

#[test]
fn an_upgrade_leaves_relays_of_users_as_they_are() {
    if !need_root() {
        return;
    }
    let folder = Folder::new();
    let path = folder.at("target");
    let listener = open_to_all(&path);
    let port = free_port();
    let text = line(port, "-", path.to_str().unwrap());
    let daemon = Setup::new().controlled().start_in(folder, &text);
    let client = tcp(port);
    let (mut server, _) = listener.accept().unwrap();
    // Whose connection has not come to the server by then is connected once more.
    server.write_all(b"before\n").unwrap();
    assert_eq!(read_line(&client), "before\n");
    upgrade(&daemon);
    server.write_all(b"as before\n").unwrap();
    assert_eq!(read_line(&client), "as before\n");
    assert_eq!(connects(port, &listener).uid(), NOBODY);
    wait_until("no zombies", || procs::zombies(daemon.pid()).is_empty());
}

#[test]
fn a_user_who_may_not_connect_is_a_warning() {
    if !need_root() {
        return;
    }
    let folder = Folder::new();
    let path = folder.at("target");
    let listener = secret(&path);
    let file = folder.write("inetd.conf", &line(1234, "-", path.to_str().unwrap()));
    let check = |file: &Path| command(&[]).arg("check").arg(file).output().unwrap();
    let output = check(&file);
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0));
    assert!(said.contains("`nobody` may not connect to"), "{said}");
    assert!(said.contains("mode is 0600"), "{said}");
    let file = folder.write("inetd.conf", &line(1234, "root", path.to_str().unwrap()));
    assert!(!String::from_utf8_lossy(&check(&file).stdout).contains("may not connect"));
    drop(listener);
}

#[test]
fn the_process_is_of_no_use_to_others() {
    let output = command(&[]).arg("connect-for-relay").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.stdout.is_empty() && said.starts_with("oxinetd: "), "{said}");
}
