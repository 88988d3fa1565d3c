//! Programs that were written for inetd, with the clients that people use.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::needs::{find_program, not_as_this_user, search_path, skip};
use crate::common::{
    Daemon, Folder, Setup, free_port, is_root, me, need_program, need_root, own_line, shell,
    tcp_line,
};

/// Runs a client, with a deadline, and gives what it said.
#[track_caller]
fn client(folder: &Path, words: &[&str]) -> Output {
    let output = Command::new("timeout")
        .arg("60")
        .args(words)
        .current_dir(folder)
        .env("PATH", search_path())
        .env("LANG", "C")
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {}\n{said}", output.status);
    output
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A tree with a few levels, an empty file, a big one and odd names.
fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("a/b/c d")).unwrap();
    fs::write(root.join("a/empty"), "").unwrap();
    fs::write(root.join("a/b/text"), "some text\n").unwrap();
    fs::write(root.join("a/b/c d/odd name"), "odd\n").unwrap();
    let big: Vec<u8> =
        (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(root.join("big"), big).unwrap();
}

#[track_caller]
fn assert_same_trees(left: &Path, right: &Path) {
    let output = Command::new("diff").arg("-r").args([left, right]).output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
}

#[test]
fn git_clones_from_and_pushes_to_git_daemon() {
    if !need_program("git") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let top = folder.path().to_owned();
    client(&top, &["git", "init", "-q", "--bare", "-b", "main", "srv/project.git"]);
    client(&top, &["git", "init", "-q", "-b", "main", "work"]);
    make_tree(&top.join("work/tree"));
    let identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"];
    client(&top.join("work"), &["git", "add", "."]);
    let mut commit = vec!["git"];
    commit.extend(identity);
    commit.extend(["commit", "-q", "-m", "A tree"]);
    client(&top.join("work"), &commit);
    let served = top.join("srv");
    let program = format!(
        "git git daemon --inetd --export-all --enable=receive-pack --base-path={0} {0}",
        served.display()
    );
    let daemon = Setup::new().start_in(folder, &own_line(port, &program));
    let url = format!("git://127.0.0.1:{port}/project.git");
    client(&top.join("work"), &["git", "push", "-q", &url, "main"]);
    client(&top, &["git", "clone", "-q", &url, "copy"]);
    assert_same_trees(&top.join("work/tree"), &top.join("copy/tree"));
    assert!(daemon.accepted(port, 2).len() >= 2);
}

#[test]
fn rsync_copies_a_tree_there_and_back() {
    if !need_program("rsync") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let top = folder.path().to_owned();
    make_tree(&top.join("tree"));
    fs::create_dir(top.join("module")).unwrap();
    let user = if is_root() { "uid = root\ngid = root\n" } else { "" };
    let text = format!(
        "use chroot = no\n{user}[module]\n    path = {}\n    read only = no\n",
        top.join("module").display()
    );
    let config = folder.write("rsyncd.conf", &text);
    let program = format!("rsync rsync --daemon --config={}", config.display());
    let _daemon = Setup::new().start_in(folder, &own_line(port, &program));
    let url = format!("rsync://127.0.0.1:{port}/module/");
    client(&top, &["rsync", "-a", "tree/", &url]);
    assert_same_trees(&top.join("tree"), &top.join("module"));
    client(&top, &["rsync", "-a", &url, "back/"]);
    assert_same_trees(&top.join("tree"), &top.join("back"));
}

#[test]
fn sshd_runs_a_command_and_scp_copies_a_file() {
    if !["sshd", "ssh", "scp", "ssh-keygen"].into_iter().all(need_program) {
        return;
    }
    if is_root() && fs::create_dir_all("/run/sshd").is_err() {
        skip("needs /run/sshd");
        return;
    }
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap();
    if user.shell.ends_with("nologin") || user.shell.ends_with("false") {
        not_as_this_user("needs a user who may log in");
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let top = folder.path().to_owned();
    for key in ["host", "user"] {
        client(&top, &["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key]);
    }
    let text = format!(
        "HostKey {0}/host\nAuthorizedKeysFile {0}/user.pub\nStrictModes no\nUsePAM no\n\
         PidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n\
         Subsystem sftp internal-sftp\n",
        top.display()
    );
    let config = folder.write("sshd_config", &text);
    let sshd = find_program("sshd").unwrap();
    let program = format!("{} sshd -i -f {}", sshd.display(), config.display());
    let line = own_line(port, &program);
    let _daemon = Setup::new().start_in(folder, &line);
    let (host, port_word) = (format!("{}@127.0.0.1", user.name), port.to_string());
    let options = ["-F", "/dev/null", "-i", "user", "-o", "StrictHostKeyChecking=no", "-o"];
    let options = [&options[..], &["UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]].concat();
    let ssh =
        [&["ssh", "-p", &port_word][..], &options, &[&host, "echo over ssh; exit 0"]].concat();
    assert_eq!(text_of(&client(&top, &ssh)), "over ssh\n");
    make_tree(&top.join("tree"));
    let remote = format!("{host}:{}", top.join("copied").display());
    let scp = [&["scp", "-q", "-r", "-P", &port_word][..], &options, &["tree", &remote]].concat();
    client(&top, &scp);
    assert_same_trees(&top.join("tree"), &top.join("copied"));
}

#[test]
fn tftpd_hands_out_and_takes_files() {
    if !need_root() || !["in.tftpd", "tftp"].into_iter().all(need_program) {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let top = folder.path().to_owned();
    let served = folder.open_folder("tftpboot");
    let letters: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    fs::write(served.join("letters"), &letters).unwrap();
    fs::write(top.join("upload"), &letters).unwrap();
    let tftpd = find_program("in.tftpd").unwrap();
    let line = format!(
        "127.0.0.1:{port} dgram udp wait root {} in.tftpd --create --timeout 1 --secure {}\n",
        tftpd.display(),
        served.display()
    );
    let daemon = Setup::new().start_in(folder, &line);
    let port_word = port.to_string();
    let transfer = |direction: &str, from: &str, to: &str| {
        client(&top, &["tftp", "-m", "binary", "127.0.0.1", &port_word, "-c", direction, from, to]);
    };
    transfer("get", "letters", "fetched");
    assert_eq!(fs::read_to_string(top.join("fetched")).unwrap(), letters);
    transfer("put", "upload", "stored");
    crate::common::wait_until("the upload to be complete", || {
        fs::read_to_string(served.join("stored")).is_ok_and(|text| text == letters)
    });
    // It ends after its timeout, and the socket is watched again.
    let _ = daemon.wait_log(|line| line.about("ended", port));
    transfer("get", "letters", "again");
    assert_eq!(fs::read_to_string(top.join("again")).unwrap(), letters);
}

const HTTP: &str = "#!/bin/sh\n\
    read -r method path version\n\
    while IFS= read -r line && [ \"${#line}\" -gt 1 ]; do :; done\n\
    printf 'HTTP/1.0 200 OK\\r\\nContent-Type: text/plain\\r\\n\\r\\n'\n\
    echo \"$method $path from $REMOTE_ADDR\"\n";

#[test]
fn curl_gets_a_page_from_a_shell_script() {
    if !need_program("curl") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let top = folder.path().to_owned();
    let program = folder.script("http.sh", HTTP);
    let _daemon = Setup::new().start_in(folder, &own_line(port, &program));
    let url = format!("http://127.0.0.1:{port}/page");
    for _ in 0..10 {
        let output = client(&top, &["curl", "-sS", "--noproxy", "*", "--max-time", "30", &url]);
        assert_eq!(text_of(&output), "GET /page from 127.0.0.1\n");
    }
}

/// What `nc` gets from a service with this program, after sending `input`.
fn by_nc(program: &str, input: &str) -> String {
    let port = free_port();
    let _daemon = Daemon::start(&tcp_line(port, program));
    let folder = Folder::new();
    folder.write("input", input);
    let script = format!("nc -N 127.0.0.1 {port} < input");
    text_of(&client(folder.path(), &["sh", "-c", &script]))
}

#[test]
fn nc_shows_the_date_the_calendar_and_the_processes_and_cat_echoes() {
    if !["nc", "cal", "ps", "date"].into_iter().all(need_program) {
        return;
    }
    let year = text_of(&Command::new("date").arg("+%Y").output().unwrap());
    assert!(by_nc("date date -R", "").contains(year.trim()));
    let wanted = Command::new("cal").arg("2026").env("LANG", "C").output().unwrap();
    assert_eq!(by_nc("cal cal 2026", ""), text_of(&wanted));
    assert!(by_nc("ps ps ax", "").contains("PID"));
    assert_eq!(by_nc("cat cat", "to and fro\n"), "to and fro\n");
    assert_eq!(by_nc(&shell("tr a-z A-Z"), "loud\n"), "LOUD\n");
}

#[test]
fn socat_talks_to_a_datagram_service() {
    if !need_program("socat") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let line = format!("127.0.0.1:{port} dgram udp nowait {} /bin/cat cat\n", me());
    let _daemon = Daemon::start(&line);
    let script =
        format!("printf datagram | socat -t 10 - UDP:127.0.0.1:{port},shut-none | head -c 8");
    assert_eq!(text_of(&client(folder.path(), &["sh", "-c", &script])), "datagram");
}
