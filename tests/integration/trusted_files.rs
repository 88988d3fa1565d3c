//! Files that another user has a hand in: his links are not followed by a server that is
//! root, what he can write is told, and nobody waits for what he has put there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;

use crate::common::daemon::BINARY;
use crate::common::{
    Daemon, Folder, Setup, ask, free_port, need_program, need_root, own_line, tcp_line,
};

/// What only root may read.
const SECRET: &str = "10.9.8.7 s3cret stream\n";

/// False, and a loud skip, where the tests cannot be two users.
fn need_another_user() -> bool {
    need_root() && need_program("setpriv")
}

/// Runs a command as `nobody`, in the folder that is his.
#[track_caller]
fn as_nobody(folder: &Folder, script: &str) {
    let own = folder.at("theirs");
    if !own.exists() {
        fs::create_dir(&own).unwrap();
        let user = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        nix::unistd::chown(&own, Some(user.uid), Some(user.gid)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "sh", "-c", script]);
    assert!(command.current_dir(&own).status().unwrap().success(), "{script}");
}

/// A folder with a secret of root's.
fn folder() -> Folder {
    let folder = Folder::new();
    let secret = folder.write("secret", SECRET);
    fs::set_permissions(secret, Permissions::from_mode(0o600)).unwrap();
    folder
}

/// Everything that `oxinetd check` prints.
fn check(file: &Path) -> String {
    let output = Command::new(BINARY).arg("check").arg(file).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn a_banner_that_its_owner_makes_a_link_of_is_not_sent() {
    if !need_another_user() {
        return;
    }
    let (port, folder) = (free_port(), folder());
    as_nobody(&folder, "echo hello > motd");
    let text = own_line(port, "/bin/cat cat") + "    banner = theirs/motd\n";
    let daemon = Setup::new().start_in(folder, &text);
    assert_eq!(ask(port, ""), "hello\n", "what is in it is his to say");
    as_nobody(&daemon.folder, "ln -sf ../secret motd");
    let mark = daemon.log.mark();
    let _ = daemon.reload(&text);
    let line = daemon.wait_after(mark, |line| line.raw.contains("theirs/motd"));
    assert!(line.raw.contains("is not followed"), "{}", line.raw);
    assert_eq!(ask(port, ""), "", "the service goes on without it");
    assert!(check(&daemon.file).contains("has made it"));
}

#[test]
fn no_link_of_another_leads_to_a_file_of_the_configuration() {
    if !need_another_user() {
        return;
    }
    let folder = folder();
    as_nobody(&folder, "ln -s ../secret link; mkdir d; ln -s ../../secret d/x.conf; ln -s d e");
    as_nobody(&folder, "ln -s ../../secret d/x");
    let line = tcp_line(free_port(), "/bin/cat cat");
    let block = format!(
        "service x\n{{\n type = UNLISTED\n port = {}\n socket_type = stream\n wait = no\n user = root\n server = /bin/cat\n}}\n",
        free_port()
    );
    for text in [
        line.clone() + "    banner = theirs/link\n",
        line.clone() + "    banner_success = theirs/e/x\n",
        line.clone() + "    banner_fail = theirs/d/x\n",
        line.clone() + "    only_from = @theirs/link\n",
        line.clone() + "    no_access = 10.0.0.1 @theirs/e/x\n",
        line.clone() + ".include theirs/link\n",
        line.clone() + ".include theirs/d/*.conf\n",
        block.clone() + "include theirs/link\n",
        block.clone() + "includedir theirs/d\n",
    ] {
        let said = check(&folder.write("inetd.conf", &text));
        assert!(said.contains("is not followed: user "), "{text}: {said}");
        assert!(!said.contains("s3cret") && !said.contains("10.9.8.7"), "{text}: {said}");
    }
    for named in ["theirs/link", "theirs/d"] {
        let said = check(&folder.at(named));
        assert!(said.contains("is not followed: user "), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_link_of_another_in_a_sticky_folder_is_refused_and_ones_own_is_followed() {
    if !need_another_user() {
        return;
    }
    let folder = folder();
    let shared = folder.open_folder("shared");
    fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
    as_nobody(&folder, "ln -s ../secret ../shared/theirs");
    folder.write("real.conf", &tcp_line(free_port(), "/bin/cat cat"));
    folder.link("shared/own", "../real.conf");
    let said = check(&shared.join("own"));
    assert!(said.contains("1 service, 0 errors, 0 warnings"), "{said}");
    assert!(check(&shared.join("theirs")).contains("has made it"));
    fs::set_permissions(&shared, Permissions::from_mode(0o777)).unwrap();
    assert!(check(&shared.join("own")).contains("everybody can write to"));
}

/// A ConfigMap of Kubernetes and certbot's `live` are links, and their files change under
/// them.
#[test]
fn links_of_ones_own_are_followed_and_read_anew() {
    let (port, folder) = (free_port(), Folder::new());
    let line = |text: &str| tcp_line(port, &format!("/bin/echo echo {text}"));
    for version in ["one", "two"] {
        folder.write(&format!("map/..{version}/inetd.conf"), &line(version));
    }
    folder.link("map/..data", "..one");
    folder.link("map/inetd.conf", "..data/inetd.conf");
    folder.link("live", folder.at("map").to_str().unwrap());
    let daemon = Setup::new().start_in(folder, ".include live/inetd.conf\n");
    assert_eq!(ask(port, ""), "one\n");
    daemon.folder.link("map/new", "..two");
    fs::rename(daemon.folder.at("map/new"), daemon.folder.at("map/..data")).unwrap();
    let mark = daemon.log.mark();
    daemon.signal(Signal::SIGHUP);
    let _ = daemon.wait_after(mark, |line| line.is("reloaded"));
    assert_eq!(ask(port, ""), "two\n");
    assert!(check(&daemon.file).ends_with("1 service, 0 errors, 0 warnings\n"));
}

/// Its mode is 0777, and nobody can write to it.
#[test]
fn a_config_map_that_is_mounted_read_only_is_read_through_its_links() {
    if !need_root() || !need_program("unshare") {
        return;
    }
    let folder = Folder::new();
    folder.write("map/..one/inetd.conf", &tcp_line(free_port(), "/bin/cat cat"));
    folder.open_folder("map");
    folder.link("map/..data", "..one");
    let file = folder.link("map/inetd.conf", "..data/inetd.conf");
    assert!(check(&file).contains("everybody can write to"));
    let map = folder.name("map");
    let mount = format!("mount --bind {map} {map} && mount -o remount,ro,bind {map}");
    let script = format!("{mount} && exec {BINARY} check {map}/inetd.conf");
    let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(said.contains("1 service, 0 errors, 0 warnings"), "{said}");
}

#[test]
fn what_others_can_write_is_a_warning_for_each_cause() {
    let folder = Folder::new();
    let folder = &folder;
    let text = tcp_line(free_port(), "/bin/cat cat") + ".include conf.d/*\n";
    for name in ["a", "b"] {
        folder.write(&format!("conf.d/{name}"), &tcp_line(free_port(), "/bin/cat cat"));
    }
    let file = folder.write("inetd.conf", &text);
    let mode = |path: &Path, mode: u32| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    let said = check(&file);
    assert!(said.contains("3 services, 0 errors, 0 warnings"), "{said}");
    mode(&file, 0o666);
    mode(&folder.at("conf.d"), 0o777);
    let said = check(&file);
    let wanted = format!("everybody can write to `{}`", file.display());
    assert!(said.contains(&wanted) && said.contains("3 services, 0 errors, 2 warnings"), "{said}");
    let daemon = Setup::new().start_in(Folder::new(), &format!(".include {}\n", file.display()));
    let lines = daemon.log.all_after(0, |line| line.raw.contains("everybody can write"));
    assert_eq!(lines.len(), 2, "{}", daemon.log.text());
}

#[test]
fn a_file_of_another_group_or_user_is_a_warning_by_name() {
    if !need_root() {
        return;
    }
    let folder = Folder::new();
    let file = folder.write("inetd.conf", &tcp_line(free_port(), "/bin/cat cat"));
    let daemon = nix::unistd::Group::from_name("daemon").unwrap().unwrap().gid;
    nix::unistd::chown(&file, None, Some(daemon)).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
    assert!(check(&file).contains("group `daemon` can write to"));
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    nix::unistd::chown(&file, Some(nobody.uid), None).unwrap();
    assert!(check(&file).contains("user `nobody` can write to"), "{}", check(&file));
}

#[test]
fn nobody_waits_for_a_fifo_that_another_has_put_there() {
    if !need_another_user() {
        return;
    }
    let (port, folder) = (free_port(), folder());
    as_nobody(&folder, "mkfifo pipe");
    let text = tcp_line(port, "/bin/echo echo on")
        + &tcp_line(free_port(), "/bin/cat cat")
        + "    banner = theirs/pipe\n"
        + &tcp_line(free_port(), "/bin/cat cat")
        + "    only_from = @theirs/pipe\n.include theirs/pipe\n";
    let daemon = Setup::new().start_in(folder, &text);
    assert_eq!(ask(port, ""), "on\n");
    let lines = daemon.log.all_after(0, |line| line.raw.contains("it is not a regular file"));
    assert_eq!(lines.len(), 3, "{}", daemon.log.text());
}

/// He makes a file and a link of it in turn, and each is opened as what it was found to be.
#[test]
fn a_link_is_not_followed_whenever_it_is_put_there() {
    if !need_another_user() {
        return;
    }
    let folder = folder();
    as_nobody(&folder, "echo mine > motd");
    let (done, path) = (AtomicBool::new(false), folder.at("theirs/motd"));
    let (new, secret) = (folder.at("theirs/new"), folder.at("secret"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::os::unix::fs::symlink(&secret, &new).unwrap();
                std::os::unix::fs::lchown(&new, Some(65_534), Some(65_534)).unwrap();
                fs::rename(&new, &path).unwrap();
                fs::write(&new, "mine\n").unwrap();
                fs::rename(&new, &path).unwrap();
            }
        });
        let mut read = 0;
        for _ in 0..20_000 {
            if let Ok(opened) = oxinetd::under_test::sys::open_to_read(&path) {
                assert_eq!(std::io::read_to_string(opened.file).unwrap(), "mine\n");
                read += 1;
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(read > 0, "it was a file at times");
    });
}

/// A folder in `theirs` that he has made a link of, to where root's files are.
fn astray(folder: &Folder) -> PathBuf {
    fs::create_dir(folder.at("roots")).unwrap();
    as_nobody(folder, "ln -s ../roots d");
    folder.at("theirs/d")
}

#[track_caller]
fn stays_empty(daemon: &Daemon) {
    let made: Vec<_> = fs::read_dir(daemon.folder.at("roots")).unwrap().collect();
    assert!(made.is_empty(), "{made:?}");
}

#[test]
fn nothing_is_written_where_a_link_of_another_leads() {
    if !need_another_user() {
        return;
    }
    let (port, folder) = (free_port(), folder());
    let astray = astray(&folder);
    let text = format!(
        "{}    log_type = FILE {}\n{} stream unix nowait root /bin/cat cat\n",
        own_line(port, "/bin/echo echo on"),
        astray.join("log").display(),
        astray.join("socket").display()
    );
    let daemon = Setup::new().start_in(folder, &text);
    assert_eq!(ask(port, ""), "on\n");
    let _ = daemon.wait_log(|line| line.is("not-listening") && line.raw.contains("not followed"));
    let _ = daemon.wait_log(|line| line.is("log-file-failed") && line.raw.contains("not followed"));
    let made = astray.join("made").display().to_string();
    for (option, value) in [("--pid-file", ""), ("--log", "file:"), ("--control", "")] {
        let mut command = Command::new("timeout");
        command.args(["20", BINARY]).arg(&daemon.file).args([option, &format!("{value}{made}")]);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("is not followed: user "), "{option}: {said}");
    }
    stays_empty(&daemon);
}

/// As where fs.protected_hardlinks is off: root makes the name here.
#[test]
fn a_second_name_of_a_file_in_the_folder_of_another_is_not_touched() {
    if !need_another_user() {
        return;
    }
    let (port, folder) = (free_port(), folder());
    as_nobody(&folder, "true");
    fs::write(folder.at("number"), "7\n").unwrap();
    for (name, to) in [("secret", "motd"), ("secret", "log"), ("number", "pid")] {
        fs::hard_link(folder.at(name), folder.at("theirs").join(to)).unwrap();
    }
    let text = own_line(port, "/bin/cat cat") + "    banner = theirs/motd\n";
    let log = format!("    log_type = FILE {}\n", folder.name("theirs/log"));
    let file = folder.write("inetd.conf", &(text + &own_line(free_port(), "/bin/cat cat") + &log));
    assert!(check(&file).contains("has more names than this one"), "{}", check(&file));
    let mut command = Command::new("timeout");
    command.args(["20", BINARY]).arg(&file).arg("--pid-file").arg(folder.at("theirs/pid"));
    let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(said.contains("several names"), "{said}");
    assert_eq!(fs::read_to_string(folder.at("number")).unwrap(), "7\n");
    let daemon = Setup::new().start_in(folder, &fs::read_to_string(&file).unwrap());
    let _ =
        daemon.wait_log(|line| line.is("log-file-failed") && line.raw.contains("several names"));
    assert_eq!(fs::metadata(daemon.folder.at("secret")).unwrap().size(), SECRET.len() as u64);
}

/// As where fs.protected_regular is off.
#[test]
fn what_another_has_made_beforehand_in_a_folder_of_everybody_is_not_written() {
    if !need_another_user() {
        return;
    }
    let (port, folder) = (free_port(), folder());
    as_nobody(&folder, "echo 1 >pid; : >log; chmod 644 pid log");
    let theirs = folder.at("theirs");
    nix::unistd::chown(&theirs, Some(0.into()), None).unwrap();
    fs::set_permissions(&theirs, Permissions::from_mode(0o1777)).unwrap();
    let log = format!("    log_type = FILE {}\n", folder.name("theirs/log"));
    let file = folder.write("inetd.conf", &(own_line(port, "/bin/echo echo on") + &log));
    for (option, value) in [("--pid-file", "theirs/pid"), ("--log", "theirs/log")] {
        let value = folder.name(value);
        let value = if option == "--log" { format!("file:{value}") } else { value };
        let mut command = Command::new("timeout");
        let output = command.args(["20", BINARY]).arg(&file).args([option, &value]).output();
        let said = String::from_utf8(output.unwrap().stderr).unwrap();
        assert!(said.contains("in a directory of everybody"), "{option}: {said}");
    }
    let daemon = Setup::new().start_in(folder, &fs::read_to_string(&file).unwrap());
    assert_eq!(ask(port, ""), "on\n");
    let _ = daemon
        .wait_log(|line| line.is("log-file-failed") && line.raw.contains("directory of everybody"));
    assert_eq!(fs::read_to_string(daemon.folder.at("theirs/pid")).unwrap(), "1\n");
    assert_eq!(fs::read_to_string(daemon.folder.at("theirs/log")).unwrap(), "");
}

/// Whoever may read the pid file may lock it as one who reads.
#[test]
fn a_reader_of_the_pid_file_keeps_nobody_from_starting() {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;
    let (port, folder) = (free_port(), Folder::new());
    let path = folder.write("pid", "999999999\n");
    let reader = fs::File::open(&path).unwrap();
    reader.try_lock().unwrap();
    let kind = libc::c_short::try_from(libc::F_RDLCK).unwrap();
    let whole = libc::flock { l_type: kind, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(&reader, FcntlArg::F_OFD_SETLK(&whole)).unwrap();
    let setup = Setup::new().controlled().arg("--pid-file").arg(path.to_str().unwrap());
    let mut daemon = setup.start_in(folder, &tcp_line(port, "/bin/echo echo on"));
    let pid = || fs::read_to_string(&path).unwrap().trim().to_owned();
    assert_eq!(pid(), daemon.pid().to_string());
    crate::common::control::upgrade(&daemon);
    let other = fs::File::open(&path).unwrap();
    assert!(fcntl(&other, FcntlArg::F_OFD_SETLK(&whole)).is_err(), "an upgrade keeps the lock");
    let mut second = Command::new("timeout");
    second.args(["20", BINARY]).arg(&daemon.file).args(["--control", "none", "--pid-file"]);
    let said = String::from_utf8(second.arg(&path).output().unwrap().stderr).unwrap();
    assert!(said.contains(&format!("held by a running server, pid {}", pid())), "{said}");
    daemon.stop();
    assert!(!path.exists());
}
