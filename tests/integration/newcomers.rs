//! What is put where it does not belong: options of `run` in a file, files of others in the place
//! of ours, endpoints of the server where a service listens. Each is told what it is, and nothing
//! is open that was to be narrowed.

use std::fs;
use std::net::TcpStream;
use std::process::Stdio;

use crate::common::daemon::command;
use crate::common::{Daemon, Folder, Setup, free_port, free_ports, me, own_line};

/// Runs `oxinetd ARGUMENTS` in a folder to its end: status, and all that it says.
fn told(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = command(&["timeout".to_owned(), "25".to_owned()]);
    let command = command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), out + &String::from_utf8_lossy(&output.stderr))
}

fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[test]
fn what_was_to_narrow_a_service_and_is_not_understood_leaves_nothing_open() {
    let lines = [
        "    --tls site.pem,site.key",
        "    --tls self-signed",
        "    -o only_from=192.0.2.1",
        "    --only-from 192.0.2.1",
        "    onlyfrom 192.0.2.1",
        "    allow 192.0.2.1",
        "    deny from all",
        "only_from 192.0.2.1",
        "deny 127.0.0.1",
    ];
    let ports = free_ports(10);
    let line = |port: &u16| own_line(*port, "/bin/cat cat");
    let text: String =
        ports.iter().zip(lines).map(|(port, more)| format!("{}{more}\n", line(port))).collect();
    let last = &ports[lines.len()];
    let daemon = Daemon::start(&(text + &line(last)));
    assert!(is_open(*last), "{}", daemon.log.text());
    for (port, more) in ports.iter().zip(lines) {
        assert!(!is_open(*port), "{more}: {}", daemon.log.text());
    }
    let errors = daemon.said("configuration");
    assert_eq!(errors.len(), lines.len(), "{}", daemon.log.text());
}

#[test]
fn a_file_of_somebody_else_is_one_mistake() {
    let folder = Folder::new();
    let _ = folder.copy_of("/bin/cat", "program");
    for (name, bytes) in [
        ("packed", &b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..]),
        ("wide", b"\xff\xfe8\x000\x008\x000\0\n\0"),
        ("mac", b"8080 stream tcp nowait - cat\r8081 stream tcp nowait - cat\r"),
        ("x.service", b"[Unit]\nDescription=x\n[Service]\nExecStart=/bin/cat\n"),
        ("x.yaml", b"services:\n  - name: x\n    port: 80\n"),
        ("cron", b"*/5 * * * * root /bin/cat\n"),
        ("stunnel.conf", b"pid = /x\n[x]\naccept = 443\nconnect = 80\n"),
        ("nginx.conf", b"events {\n}\nhttp {\n    server {\n        listen 80;\n    }\n}\n"),
    ] {
        fs::write(folder.at(name), bytes).unwrap();
    }
    let port = free_port();
    for (name, wanted) in [
        ("program", "it is a program (ELF)"),
        ("packed", "it is compressed (gzip)"),
        ("wide", "it is a text in UTF-16"),
        ("mac", "its lines end with CR alone"),
        ("x.service", "it is a unit of systemd"),
        ("x.yaml", "it is YAML"),
        ("cron", "it is a crontab"),
        ("stunnel.conf", "it is a configuration of stunnel"),
        ("nginx.conf", "it is a configuration of nginx"),
    ] {
        let (status, text) = told(&folder, &["check", name]);
        assert_eq!(status, Some(1), "{name}: {text}");
        let wanted = format!("cannot read `{name}`: {wanted}");
        assert!(text.contains(&wanted) && text.len() < 1000, "{name}: {text}");
        assert!(text.contains("help: ") && text.contains("1 error, 0 warnings"), "{name}: {text}");
        let (status, text) = told(&folder, &[name]);
        assert_eq!(status, Some(1), "{name}: {text}");
        assert!(text.contains(&wanted) && text.ends_with("nothing to serve\n"), "{name}: {text}");
        // And where it is included, nothing of the rest is lost.
        folder.write("conf", &format!(".include {name}\n{}", own_line(port, "/bin/cat cat")));
        let (status, text) = told(&folder, &["check", "conf"]);
        assert_eq!(status, Some(1), "{name}: {text}");
        assert!(text.contains(&wanted) && text.contains("conf: 1 service, 1 error"), "{text}");
    }
    fs::create_dir(folder.at("some.d")).unwrap();
    folder.write("conf", ".include some.d\n");
    let (status, text) = told(&folder, &["check", "conf"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("`some.d/*.conf`"), "{text}");
}

#[test]
fn a_service_where_the_server_itself_listens_is_told() {
    let (folder, port) = (Folder::new(), free_port());
    let path = folder.name("socket");
    let services =
        own_line(port, "/bin/cat cat") + &format!("{path} stream unix nowait {} /bin/cat\n", me());
    folder.write("conf", &services);
    let number = port.to_string();
    for (option, endpoint, label) in [
        ("--metrics", &*number, format!("conf:1: `{port}/tcp`")),
        ("--page", &number, format!("conf:1: `{port}/tcp`")),
        ("--control", &path, format!("conf:2: `{path}`")),
    ] {
        let wanted = format!("{label} cannot listen: `{option} {endpoint}` is there");
        let (status, text) = told(&folder, &["check", option, endpoint, "conf"]);
        assert_eq!(status, Some(0), "{text}");
        assert!(text.contains(&wanted) && text.contains("0 errors, 1 warning"), "{text}");
        let (status, _) = told(&folder, &["check", "--strict", option, endpoint, "conf"]);
        assert_eq!(status, Some(1), "{option}");
    }
    let (status, text) = told(&folder, &["--metrics", &number, "--page", &number, "conf"]);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains(&format!("that is where `--metrics {number}` is")), "{text}");
    // The server says it before it is found out, and serves the rest.
    let daemon = Setup::new().arg("--metrics").arg(&number).start_in(folder, &services);
    let said = daemon.wait_log(|line| line.is("configuration"));
    let wanted = format!("`{port}/tcp` cannot listen: `--metrics {port}` is there");
    assert!(said.raw.contains(&wanted), "{}", said.raw);
    assert!(daemon.folder.at("socket").exists());
}
