//! `log_type = FILE`: the lines about a service in a file of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::common::daemon::BINARY;
use crate::common::{
    Daemon, Folder, Line, Setup, free_port, own_line, read_all, shell, tcp, tcp_line, wait_until,
};

const YES: &str = "/bin/echo echo yes";

/// The lines of a file, none if it is not there.
fn lines(path: &Path) -> Vec<Line> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| Line { raw: line.to_owned() }).collect()
}

fn count(path: &Path, wanted: impl Fn(&Line) -> bool) -> usize {
    lines(path).iter().filter(|line| wanted(line)).count()
}

/// Has one more client served, until the file has the end of its program.
fn serve_into(path: &Path, port: u16) {
    let before = count(path, |line| line.about("ended", port));
    assert_eq!(read_all(tcp(port)), "yes\n");
    wait_until("the end in the file", || count(path, |line| line.about("ended", port)) > before);
}

/// The numbers under which the daemon has a file open.
fn numbers_of(daemon: &Daemon, path: &Path) -> Vec<u32> {
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    open.flatten()
        .filter(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == path))
        .map(|entry| entry.file_name().to_str().unwrap().parse().unwrap())
        .collect()
}

fn with_type(line: &str, log_type: &str) -> String {
    format!("{line}    log_type = {log_type}\n")
}

#[test]
fn lines_of_the_service_are_in_the_file_and_not_in_the_log() {
    let (port, other, folder) = (free_port(), free_port(), Folder::new());
    let path = folder.at("own.log");
    let line = tcp_line(port, &shell("echo grumble >&2; echo yes"));
    let refusing = format!("{}    only_from =\n", tcp_line(other, YES));
    let kind = format!("FILE {}", path.display());
    let text = with_type(&line, &kind) + &with_type(&refusing, &kind);
    let mut daemon = Setup::new().start_in(folder, &text);
    serve_into(&path, port);
    let _ = read_all(tcp(other));
    wait_until("the refusal", || count(&path, |line| line.about("limit-begin", other)) == 1);
    let all = lines(&path);
    let words: Vec<&str> = all.iter().map(Line::word).collect();
    assert_eq!(words, ["accepted", "stderr", "ended", "refused", "limit-begin"]);
    assert_eq!(all[1].get("line"), Some("grumble"));
    assert!(all.iter().all(|line| line.raw.starts_with("20")));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7137, 0);
    daemon.stop();
    let said = |line: &Line| words.contains(&line.word());
    assert!(daemon.log.all_after(0, said).is_empty());
    assert!(!daemon.said("listening").is_empty());
}

#[test]
fn failures_and_ends_of_built_in_services_go_there_too() {
    let (failing, echo, folder) = (free_port(), free_port(), Folder::new());
    let path = folder.at("own.log");
    let program = folder.write("program", "no script\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let text = format!(
        ".defaults\n    log_type = FILE {}\n{}127.0.0.1:{echo} stream tcp nowait - internal echo\n",
        path.display(),
        own_line(failing, &format!("{0} {0}", program.display())),
    );
    let _daemon = Setup::new().start_in(folder, &text);
    let _ = read_all(tcp(failing));
    drop(tcp(echo));
    wait_until("both", || {
        count(&path, |line| line.about("failed", failing)) == 1
            && count(&path, |line| line.about("closed", echo)) == 1
    });
}

#[test]
fn two_services_share_a_file_and_a_third_says_that_it_has_none() {
    let [one, two, three] = [free_port(), free_port(), free_port()];
    let folder = Folder::new();
    let path = folder.at("shared.log");
    let kind = format!("FILE {}", path.display());
    let text = format!(".defaults\n    log_type = {kind}\n")
        + &tcp_line(one, YES)
        + &with_type(&tcp_line(two, YES), &kind)
        + &with_type(&tcp_line(three, YES), "SYSLOG daemon info");
    let daemon = Setup::new().start_in(folder, &text);
    for port in [one, two, one] {
        serve_into(&path, port);
    }
    assert_eq!(read_all(tcp(three)), "yes\n");
    let _ = daemon.wait_log(|line| line.about("ended", three));
    assert_eq!(count(&path, |line| line.is("accepted")), 3);
    let numbers = numbers_of(&daemon, &path);
    let is_out_of_the_way = matches!(numbers[..], [16..64]);
    assert!(is_out_of_the_way, "above what comes and goes, in a small table: {numbers:?}");
    // Nobody names it any more.
    let _ = daemon.reload(&tcp_line(one, YES));
    assert_eq!(read_all(tcp(one)), "yes\n");
    let _ = daemon.wait_log(|line| line.about("ended", one));
    assert_eq!(numbers_of(&daemon, &path), [0u32; 0]);
}

#[test]
fn a_rotated_file_is_opened_anew_by_a_reload() {
    let (port, folder) = (free_port(), Folder::new());
    let (path, old) = (folder.at("own.log"), folder.at("own.log.1"));
    let text = with_type(&tcp_line(port, YES), &format!("FILE {}", path.display()));
    let daemon = Setup::new().start_in(folder, &text);
    serve_into(&path, port);
    fs::rename(&path, &old).unwrap();
    assert_eq!(read_all(tcp(port)), "yes\n");
    wait_until("the line in the renamed file", || count(&old, |line| line.is("ended")) == 2);
    assert!(!path.exists());
    let _ = daemon.reload(&text);
    serve_into(&path, port);
    assert_eq!((count(&old, |_| true), count(&path, |_| true)), (4, 2));
    // And by one that is refused.
    fs::rename(&path, &old).unwrap();
    let _ = daemon.reload_in_vain("nonsense\n");
    serve_into(&path, port);
    assert_eq!((count(&old, |_| true), count(&path, |_| true)), (2, 2));
}

#[test]
fn limits_are_said_once_and_lines_left_out_are_counted() {
    let (port, folder) = (free_port(), Folder::new());
    let path = folder.at("own.log");
    let text = with_type(&tcp_line(port, YES), &format!("FILE {} 200 600", path.display()));
    let daemon = Setup::new().start_in(folder, &text);
    for _ in 0..12 {
        assert_eq!(read_all(tcp(port)), "yes\n");
    }
    wait_until("all to have ended", || daemon.count_peers() == (12, 0));
    let written = lines(&path).len();
    assert!((3..24).contains(&written) && fs::metadata(&path).unwrap().len() <= 600);
    daemon.said_times(1, "log-file-large");
    daemon.said_times(1, "log-file-full");
    assert_eq!(daemon.said("log-file-full")[0].number("limit"), Some(600));
    assert!(daemon.said("log-file-resumed").is_empty());
    // As logrotate's copytruncate does it: no reload.
    fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    serve_into(&path, port);
    let resumed = daemon.wait_log(|line| line.is("log-file-resumed"));
    assert_eq!(resumed.number("left_out").map(|lines| lines as usize), Some(24 - written));
    assert!(daemon.said("accepted").is_empty());
}

#[test]
fn lines_that_a_stop_leaves_out_are_counted_too() {
    let (port, folder) = (free_port(), Folder::new());
    let path = folder.write("own.log", &"x".repeat(1000));
    let text = with_type(&tcp_line(port, YES), &format!("FILE {} 1k 1k", path.display()));
    let mut daemon = Setup::new().start_in(folder, &text);
    assert_eq!(read_all(tcp(port)), "yes\n");
    wait_until("it to have ended", || daemon.count_peers() == (1, 0));
    daemon.stop();
    let resumed = daemon.said("log-file-resumed");
    assert_eq!((resumed.len(), resumed[0].number("left_out")), (1, Some(2)));
}

#[test]
fn what_cannot_be_opened_is_said_and_lines_come_to_the_log() {
    let folder = Folder::new();
    nix::unistd::mkfifo(&folder.at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("elsewhere", folder.at("link")).unwrap();
    let wrong = ["no/folder/x.log", "fifo", "link"].map(|name| folder.name(name));
    let paths = [wrong[0].as_str(), &wrong[1], &wrong[2], "/dev/null"];
    let ports = [free_port(), free_port(), free_port(), free_port()];
    let text: String = ports
        .iter()
        .zip(paths)
        .map(|(port, path)| with_type(&tcp_line(*port, YES), &format!("FILE {path}")))
        .collect();
    let daemon = Setup::new().start_in(folder, &text);
    for port in ports.iter().chain(&ports) {
        assert_eq!(read_all(tcp(*port)), "yes\n");
    }
    let _ = daemon.wait_count(8, |line| line.is("ended"));
    let failed = daemon.said("log-file-failed");
    assert_eq!(failed.len(), 4);
    assert!(paths.iter().all(|path| failed.iter().any(|line| line.get("file") == Some(path))));
    // The next reload opens it.
    fs::create_dir_all(Path::new(paths[0]).parent().unwrap()).unwrap();
    let _ = daemon.reload(&text);
    serve_into(Path::new(paths[0]), ports[0]);
}

#[test]
fn a_full_disk_is_said_once_and_lines_come_to_the_log() {
    let (port, folder) = (free_port(), Folder::new());
    let path = folder.at("own.log");
    let text = with_type(&tcp_line(port, YES), &format!("FILE {}", path.display()));
    // No file may grow, as on a full disk.
    let limit = "ulimit -f 0";
    let daemon = Setup::new().after(limit).start_in(folder, &text);
    for _ in 0..3 {
        assert_eq!(read_all(tcp(port)), "yes\n");
    }
    let _ = daemon.wait_count(3, |line| line.about("ended", port));
    daemon.said_times(1, "log-file-failed");
}

/// A service of xinetd that answers "yes".
fn block(port: u16, more: &str) -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    format!(
        "service s{port}\n{{\ntype = UNLISTED\nport = {port}\nsocket_type = stream\nwait = no\nuser = {user}\nserver = /bin/echo\nserver_args = yes\n{more}\n}}\n"
    )
}

#[test]
fn log_type_of_xinetd_is_honoured() {
    let ([port, other, third], folder) = ([free_port(), free_port(), free_port()], Folder::new());
    let (all, own) = (folder.at("all.log"), folder.at("own.log"));
    let defaults = format!(
        "defaults\n{{\nlog_type = FILE {} 1m\nlog_on_success = HOST EXIT\n}}\n",
        all.display()
    );
    let text = defaults
        + &block(port, "")
        + &block(other, &format!("log_type = file {} 0", own.display()))
        + &block(third, "log_type = syslog Daemon INFO");
    let file = folder.write("xinetd.conf", &text);
    let check = Command::new(BINARY).arg("check").arg(&file).output().unwrap();
    let said = [check.stdout, check.stderr].concat();
    assert!(check.status.success() && !String::from_utf8_lossy(&said).contains("log_type"));
    let daemon = Setup::new().start_in(folder, &text);
    serve_into(&all, port);
    serve_into(&own, other);
    assert_eq!((lines(&all).len(), lines(&own).len()), (2, 2));
    assert!(daemon.said("accepted").is_empty());
    assert_eq!(read_all(tcp(third)), "yes\n");
    let _ = daemon.wait_log(|line| line.about("ended", third));
}

#[test]
fn of_two_in_the_defaults_of_xinetd_the_first_counts_as_the_warning_says() {
    let folder = Folder::new();
    let defaults = "defaults\n{\nlog_type = FILE /first\nlog_type = FILE /second\n}\n";
    let file = folder.write("xinetd.conf", &(defaults.to_owned() + &block(free_port(), "")));
    let import = Command::new(BINARY).arg("import").arg(&file).output().unwrap();
    let printed = String::from_utf8(import.stdout).unwrap();
    assert!(printed.contains("said twice") && printed.contains("log_type = FILE /first\n"));
}

#[test]
fn the_end_of_a_limit_is_said_of_its_service_and_where_its_beginning_was() {
    for after in ["", "internal echo"] {
        let (port, folder) = (free_port(), Folder::new());
        let path = folder.at("own.log");
        let line = |program: &str| tcp_line(port, program) + "    instances = 1\n";
        let kind = format!("FILE {}", path.display());
        let daemon = Setup::new().start_in(folder, &with_type(&line("/bin/cat cat"), &kind));
        let (_first, _second) = (tcp(port), tcp(port));
        wait_until("the limit", || count(&path, |line| line.about("limit-begin", port)) == 1);
        let text = if after.is_empty() { String::new() } else { line(after) };
        let _ = daemon.reload(&text);
        let ends = count(&path, |line| line.about("limit-end", port));
        assert_eq!(ends, 1, "{after}: {}", daemon.log.text());
        assert_eq!(daemon.said("limit-end").len(), 0, "{}", daemon.log.text());
        assert!(numbers_of(&daemon, &path).is_empty(), "and then it is closed");
    }
}
