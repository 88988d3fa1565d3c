//! What somebody hears whose server does not start, or would serve less than was meant.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use crate::common::clients::Packets;
use crate::common::daemon::command;
use crate::common::{
    Daemon, Folder, Setup, free_port, need_ipv6, need_program, read_all, tcp, tcp_line, wait_until,
};

/// Runs `oxinetd ARGUMENTS` in a folder to its end: status, and what it says.
fn told(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = command(&["timeout".to_owned(), "25".to_owned()]);
    let command = command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), out + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn why_nothing_is_served_is_said_however_little_is_logged() {
    let folder = Folder::new();
    folder.write("conf", "hello\n");
    folder.write("lacking", "127.0.0.1:50001 stream tcp nowait - /no/such/program program\n");
    for level in ["off", "error", "oxinetd=error", "mio=info", "info"] {
        let variables = [("RUST_LOG", level)];
        let (status, text) = told(&folder, &["conf"], &variables);
        assert_eq!(status, Some(1), "{level}: {text}");
        assert_eq!(text.matches("the field `type` is missing").count(), 1, "{level}: {text}");
        assert!(text.ends_with("oxinetd: nothing to serve\n"), "{level}: {text}");
        let line = ["run", "127.0.0.1:0", "--", "/no/such/program"];
        let (status, text) = told(&folder, &line, &variables);
        assert_eq!(status, Some(1), "{level}: {text}");
        assert_eq!(text.matches("there is no program").count(), 1, "{level}: {text}");
    }
}

#[test]
fn a_log_that_nobody_takes_is_said_in_the_foreground_too() {
    let folder = Folder::new();
    folder.write("conf", "hello\n");
    let log = format!("syslog,{}", folder.name("nobody"));
    for arguments in
        [&["--log", &log, "conf"][..], &["run", "--log", &log, "no.port", "--", "date"]]
    {
        let (_, text) = told(&folder, arguments, &[]);
        assert!(text.contains("nobody takes the log at"), "{arguments:?}: {text}");
    }
}

#[test]
fn a_directory_without_a_file_that_is_meant_is_told() {
    let folder = Folder::new();
    folder.write("conf.d/other", &tcp_line(free_port(), "/bin/date date"));
    std::fs::create_dir(folder.at("empty")).unwrap();
    for (name, wanted) in [
        ("conf.d", "only files whose names end in `.conf` are read: `other.conf` would be"),
        ("empty", "put files there whose names end in `.conf`"),
    ] {
        let (status, text) = told(&folder, &["check", name], &[]);
        assert_eq!(status, Some(0), "{text}");
        assert!(text.contains("nothing is served from the directory"), "{text}");
        assert!(text.contains(wanted) && text.contains("1 warning"), "{text}");
    }
    let (_, text) = told(&folder, &["import", "empty"], &[]);
    assert!(!text.contains("nothing is served"), "{text}");
}

/// Who comes to the port of this machine would reach the one or the other.
#[test]
fn run_serves_both_families_or_says_which_is_taken() {
    if !need_ipv6() {
        return;
    }
    let port = free_port();
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let line = ["run", &port.to_string(), "--", "/bin/date"];
    let (status, text) = told(&Folder::new(), &line, &[]);
    assert_eq!(status, Some(71), "{text}");
    let wanted = format!("cannot listen on 127.0.0.1:{port}: Address already in use");
    assert!(text.contains(&wanted), "{text}");
    drop(other);
    // A process that is being started for another test may have a copy of it for a moment.
    wait_until("the port to be free", || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    let _daemon = Setup::new().run(&line);
    assert!(!read_all(tcp(port)).is_empty());
}

#[test]
fn words_of_others_are_told_from_ours() {
    let folder = Folder::new();
    folder.write("x.conf", &tcp_line(free_port(), "/bin/date date"));
    for (arguments, wanted) in [
        (&["run", "tcp:8080", "--", "date"][..], "write `8080`"),
        (&["run", "udp:53", "--", "date"], "write `--udp 53`"),
        (&["run", "ps.sock", "--", "date"], "write `./ps.sock`"),
        (&["-f", "x.conf"], "a FILE stands alone: `oxinetd FILE`"),
        (&["serve"], "`oxinetd FILE` serves a file"),
        (&["serve", "x.conf"], "`oxinetd FILE` serves a file"),
        (&["restart"], "`oxinetd reload` reads the configuration again"),
    ] {
        let (status, text) = told(&folder, arguments, &[]);
        assert_eq!(status, Some(2), "{arguments:?}: {text}");
        assert!(text.contains(wanted), "{arguments:?}: {text}");
    }
    let (_, text) = told(&folder, &["start", "x.conf", "--control", "nobody"], &[]);
    assert!(text.contains("to serve the file x.conf: `oxinetd x.conf`"), "{text}");
}

#[test]
fn who_has_no_session_hears_where_a_server_of_his_would_be_asked() {
    if !need_program("setpriv") {
        return;
    }
    let mut words = vec!["timeout".to_owned(), "25".to_owned()];
    if crate::common::is_root() {
        let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        words.extend(user.map(str::to_owned));
    }
    let output = command(&words).args(["start", "nothing-of-this-name"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("XDG_RUNTIME_DIR is not set"), "{text}");
}

#[test]
fn a_wildcard_beside_one_of_its_addresses_is_told_by_check() {
    let (folder, port) = (Folder::new(), free_port());
    let date = "stream tcp nowait - /bin/date date\n";
    folder.write("conf", &format!("127.0.0.1:{port} {date}{port} {date}"));
    let (status, text) = told(&folder, &["check", "conf"], &[]);
    assert_eq!(status, Some(0), "{text}");
    let wanted = format!("`0.0.0.0:{port} tcp` cannot be had beside `127.0.0.1:{port} tcp`");
    assert!(text.contains(&wanted) && text.contains("1 warning"), "{text}");
    // And so it is.
    let daemon = Daemon::start(&format!("127.0.0.1:{port} {date}{port} {date}"));
    let line = daemon.wait_log(|line| line.is("not-listening"));
    assert_eq!(line.get("address"), Some(&*format!("0.0.0.0:{port}")), "{}", line.raw);
}

/// A server that is to take the place of another, and cannot, is no client of the other.
#[test]
fn a_path_that_is_taken_is_found_out_without_a_connection() {
    let folder = Folder::new();
    if !kernel_tells(&folder) {
        return;
    }
    let names = ["stream", "seqpacket", "wait"].map(|name| folder.name(name));
    let [stream, packets, wait] = &names;
    let text = format!(
        "{stream} stream unix nowait - /bin/cat cat\n    max_clients = 1\n\
         {packets} seqpacket unix nowait - /bin/cat cat\n\
         {wait} stream unix wait - /bin/sleep sleep 600\n"
    );
    let daemon = Setup::new().controlled().start_in(folder, &text);
    for path in &names {
        let (status, said) = told(&daemon.folder, &["run", path, "--", "/bin/date"], &[]);
        assert_eq!(status, Some(71), "{said}");
        assert!(said.contains("another server answers on this path"), "{said}");
    }
    assert_eq!(daemon.count_peers(), (0, 0), "{}", daemon.log.text());
    assert!(daemon.said("accepted").is_empty(), "{}", daemon.log.text());
    // Whom the one client is kept for is served.
    let client = Packets::connect(Path::new(packets)).unwrap();
    assert_eq!(client.ask("one"), "one");
    let client = std::os::unix::net::UnixStream::connect(stream).unwrap();
    assert_eq!(crate::common::clients::echo_once(client, "one"), "one");
}

/// Whether a server that is asked by nobody but the kernel is found, which `ss` can tell: it
/// asks the same.
fn kernel_tells(folder: &Folder) -> bool {
    let path = folder.at("known");
    let _listener = UnixListener::bind(&path).unwrap();
    if !need_program("ss") {
        return false;
    }
    let output = std::process::Command::new("ss").args(["-lx"]).output().unwrap();
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    listed.contains(path.to_str().unwrap())
        || crate::common::needs::skip("needs a kernel that tells of unix sockets")
}
