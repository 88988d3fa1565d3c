//! Unix sockets: streams, datagrams, sequenced packets; their files' owner, mode and life.

use std::fs::{self, Permissions};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process;

use crate::common::clients::{Packets, echo_once};
use crate::common::control::upgrade;
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, me, need_root, read_all, shell, tcp, tcp_line,
};

fn start(folder: Folder, line: &str) -> Daemon {
    Setup::new().start_in(folder, line)
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

#[test]
fn a_stream_socket_in_the_file_system_is_served() {
    let folder = Folder::new();
    let path = folder.name("s");
    let mut daemon = start(folder, &format!("{path} stream unix nowait - /bin/cat cat\n"));
    assert_eq!(echo_once(connect(Path::new(&path)), "local"), "local");
    let line = daemon.wait_log(|line| line.is("accepted"));
    assert_eq!(line.get("service"), Some(path.as_str()), "{}", line.raw);
    daemon.stop();
}

/// Whoever may write to the folder of a socket (its service's user, it may be) can put a link
/// to anything in its place.
#[test]
fn what_has_taken_the_place_of_a_socket_keeps_its_owner_and_mode() {
    let folder = Folder::new();
    let (path, victim) = (folder.at("s"), folder.write("victim", "secret\n"));
    fs::set_permissions(&victim, Permissions::from_mode(0o600)).unwrap();
    let line = |mode: &str| {
        format!("{} stream unix nowait - /bin/cat cat\n    socket_mode = {mode}\n", path.display())
    };
    let mut daemon = Setup::new().controlled().start_in(folder, &line("0600"));
    let mode = |path: &Path| path.symlink_metadata().unwrap().mode() & 0o777;
    let _ = daemon.reload(&line("0660"));
    assert_eq!(mode(&path), 0o660);
    fs::remove_file(&path).unwrap();
    symlink(&victim, &path).unwrap();
    let mark = daemon.log.mark();
    let _ = daemon.reload(&line("0666"));
    let said = daemon.wait_after(mark, |line| line.is("trouble"));
    let error = "something else has taken the place of the socket";
    assert_eq!(said.get("error"), Some(error), "{}", said.raw);
    upgrade(&daemon);
    assert_eq!(mode(&victim), 0o600);
    assert_eq!(fs::read_link(&path).unwrap(), victim);
    daemon.stop();
    assert_eq!(fs::read_link(&path).unwrap(), victim, "not ours to unlink");
}

#[test]
fn a_deleted_path_is_made_again_by_a_reload_but_over_nothing_else() {
    let folder = Folder::new();
    let path = folder.at("s");
    let line = format!("{} stream unix nowait - /bin/cat cat\n", path.display());
    let daemon = start(folder, &line);
    let first = connect(&path);
    assert_eq!(echo_once(&first, "before"), "before");
    fs::rename(&path, daemon.folder.at("moved")).unwrap();
    let said = daemon.reload(&line);
    let numbers = ["kept", "opened", "closed"].map(|key| said.number(key).unwrap());
    assert_eq!(numbers, [0, 1, 1], "{}", said.raw);
    assert_eq!(echo_once(connect(&path), "new"), "new");
    assert_eq!(echo_once(&first, "still"), "still");
    fs::rename(&path, daemon.folder.at("moved again")).unwrap();
    fs::write(&path, "precious").unwrap();
    let mark = daemon.log.mark();
    let said = daemon.reload(&line);
    assert_eq!((said.number("kept"), said.number("closed")), (Some(1), Some(0)), "{}", said.raw);
    let trouble = daemon.wait_after(mark, |line| line.is("trouble"));
    assert_eq!(trouble.get("call"), Some("bind"), "{}", trouble.raw);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let moved = daemon.folder.at("moved again");
    assert_eq!(echo_once(connect(&moved), "the old one"), "the old one");
}

#[test]
fn sequenced_packets_keep_their_boundaries() {
    let folder = Folder::new();
    let path = folder.at("packets");
    let line = format!("{} seqpacket unix nowait - /bin/cat cat\n", path.display());
    let _daemon = start(folder, &line);
    let client = Packets::connect(&path).unwrap();
    assert_eq!(client.ask("one"), "one");
    assert_eq!(client.ask("two"), "two");
}

#[test]
fn a_datagram_socket_is_handed_to_the_program_with_what_waits_in_it() {
    let folder = Folder::new();
    let (path, out) = (folder.name("d"), folder.open_folder("out").join("got"));
    let script = shell(&format!("head -c 5 > {}", out.display()));
    let line = format!("{path} dgram unix wait {} {script}\n", me());
    let daemon = start(folder, &line);
    let client = UnixDatagram::unbound().unwrap();
    client.send_to(b"hello", &path).unwrap();
    let _ = daemon.wait_log(|line| line.is("ended"));
    assert_eq!(fs::read_to_string(&out).unwrap(), "hello");
    client.send_to(b"again", &path).unwrap();
    let _ = daemon.wait_count(2, |line| line.is("ended"));
    assert_eq!(fs::read_to_string(&out).unwrap(), "again");
}

#[test]
fn an_abstract_name_is_served_and_leaves_no_file() {
    let name = format!("oxinetd-test-{}-{}", process::id(), free_port());
    let mut daemon = Daemon::start(&format!("@{name} stream unix nowait - /bin/cat cat\n"));
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let stream = UnixStream::connect_addr(&address).unwrap();
    assert_eq!(echo_once(stream, "abstract"), "abstract");
    daemon.stop();
    assert!(UnixStream::connect_addr(&address).is_err());
}

#[test]
fn the_mode_of_the_socket_file_is_what_the_attribute_says() {
    let folder = Folder::new();
    let (private, public) = (folder.name("private"), folder.name("public"));
    let text = format!(
        "{private} stream unix nowait - /bin/cat cat\n\
         {public} stream unix nowait - /bin/cat cat\n    socket_mode = 0666\n"
    );
    let _daemon = start(folder, &text);
    assert_eq!(fs::metadata(&private).unwrap().mode() & 0o7777, 0o600, "the default");
    assert_eq!(fs::metadata(&public).unwrap().mode() & 0o7777, 0o666);
}

#[test]
fn the_owner_of_the_socket_file_is_what_the_attributes_say() {
    if !need_root() {
        return;
    }
    let folder = Folder::new();
    let path = folder.name("owned");
    let text = format!(
        "{path} stream unix nowait root /bin/cat cat\n    socket_user = nobody\n    socket_group = daemon\n    socket_mode = 0660\n"
    );
    let _daemon = start(folder, &text);
    let facts = fs::metadata(&path).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    let group = nix::unistd::Group::from_name("daemon").unwrap().unwrap().gid.as_raw();
    assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o777), (nobody, group, 0o660));
}

#[test]
fn an_owner_that_is_said_no_more_is_the_server_again() {
    if !need_root() {
        return;
    }
    let folder = Folder::new();
    let (plain, shared) = (folder.at("plain"), folder.open_folder("shared"));
    nix::unistd::chown(&shared, None, Some(7.into())).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o2755)).unwrap();
    let paths = [plain, shared.join("s")];
    let text = |attributes: &str| -> String {
        let line = |path: &Path| format!("{} stream unix nowait root cat\n", path.display());
        paths.iter().map(|path| line(path) + attributes).collect()
    };
    let owners = || {
        let facts = paths.each_ref().map(|path| fs::metadata(path).unwrap());
        facts.map(|it| (it.uid(), it.gid(), it.mode() & 0o777))
    };
    let daemon = Setup::new().start_in(folder, &text(""));
    let at_first = owners();
    assert_eq!((at_first[0].0, at_first[1].1), (0, 7), "the folder gives its group");
    let attributes =
        "    socket_user = nobody\n    socket_group = daemon\n    socket_mode = 0660\n";
    let _ = daemon.reload(&text(attributes));
    assert!(owners().iter().all(|(uid, gid, mode)| *uid != 0 && *gid == 1 && *mode == 0o660));
    let _ = daemon.reload(&text(""));
    assert_eq!(owners(), at_first);
}

#[test]
fn freebsds_way_to_say_owner_and_mode_is_understood() {
    if !need_root() {
        return;
    }
    let folder = Folder::new();
    let path = folder.name("freebsd");
    let _daemon = start(
        folder,
        &format!(":nobody:daemon:0640:{path} stream unix nowait root /bin/cat cat\n"),
    );
    let facts = fs::metadata(&path).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    assert_eq!((facts.uid(), facts.mode() & 0o777), (nobody, 0o640));
}

#[test]
fn a_stale_socket_file_is_replaced() {
    let folder = Folder::new();
    let path = folder.at("stale");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "std leaves the file");
    let line = format!("{} stream unix nowait - /bin/cat cat\n", path.display());
    let _daemon = start(folder, &line);
    assert_eq!(echo_once(connect(&path), "new"), "new");
}

#[test]
fn a_file_that_is_no_socket_is_not_replaced() {
    let folder = Folder::new();
    let path = folder.write("letters", "precious\n");
    let port = free_port();
    let text = format!("{} stream unix nowait - /bin/cat cat\n", path.display())
        + &tcp_line(port, "/bin/echo echo served");
    let mut daemon = start(folder, &text);
    let line = daemon.wait_log(|line| line.is("not-listening"));
    assert_eq!(line.get("service"), path.to_str());
    assert_eq!(read_all(tcp(port)), "served\n", "the others are served");
    daemon.stop();
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious\n");
}

#[test]
fn a_socket_that_somebody_answers_is_not_replaced() {
    let folder = Folder::new();
    let path = folder.at("theirs");
    let theirs = UnixListener::bind(&path).unwrap();
    let before = fs::metadata(&path).unwrap().ino();
    let line = format!("{} stream unix nowait - /bin/cat cat\n", path.display());
    let mut daemon = start(folder, &line);
    let _ = daemon.wait_log(|line| line.is("not-listening"));
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    daemon.stop();
    assert!(path.exists(), "it is not ours to unlink");
    drop(theirs);
}

#[test]
fn the_socket_files_are_unlinked_at_the_end() {
    let folder = Folder::new();
    let (path, datagrams) = (folder.at("gone"), folder.at("gone-too"));
    let text = format!(
        "{} stream unix nowait - /bin/cat cat\n{} dgram unix wait {} /bin/cat cat\n",
        path.display(),
        datagrams.display(),
        me()
    );
    let mut daemon = start(folder, &text);
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    assert!(fs::metadata(&datagrams).unwrap().file_type().is_socket());
    daemon.stop();
    assert!(!path.exists() && !datagrams.exists());
}

#[test]
fn a_removed_service_unlinks_its_socket_file_and_a_kept_one_does_not() {
    let folder = Folder::new();
    let (kept, removed) = (folder.at("kept"), folder.at("removed"));
    let line = |path: &Path| format!("{} stream unix nowait - /bin/cat cat\n", path.display());
    let daemon = start(folder, &(line(&kept) + &line(&removed)));
    let before = fs::metadata(&kept).unwrap().ino();
    let _ = daemon.reload(&line(&kept));
    assert!(!removed.exists());
    assert_eq!(fs::metadata(&kept).unwrap().ino(), before);
    assert_eq!(echo_once(connect(&kept), "still"), "still");
}
