//! What is not served is named, with the reason, wherever somebody may look: by `check`, at
//! the start, at a reload, by `status`. One mistake may cost many services something.

use serde_json::json;

use crate::common::clients::is_closed;
use crate::common::control::{refused, status};
use crate::common::daemon::command;
use crate::common::{Daemon, Folder, Setup, free_ports, own_line, read_all, tcp, tcp_line};

const HI: &str = "/bin/echo echo hi";

/// A block of xinetd's.
fn block(name: &str, port: u16, more: &str) -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    format!(
        "service {name}\n{{\ntype = UNLISTED\nport = {port}\nsocket_type = stream\nwait = no\n\
         user = {user}\nserver = /bin/echo\nserver_args = hi\n{more}}}\n"
    )
}

fn check(text: &str) -> (Option<i32>, String) {
    let folder = Folder::new();
    let file = folder.write("conf", text);
    let output = command(&[]).arg("check").arg(file).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// As inetd, in the foreground, with a control socket, which has the usual place for others.
fn as_inetd(text: &str) -> Daemon {
    let folder = Folder::new();
    let file = folder.write("inetd.conf", text).display().to_string();
    let pid = folder.name("pid");
    Setup::new().named("inetd").run_in(folder, &["-i", "-p", &pid, &file])
}

#[test]
fn a_misspelt_default_names_everybody_whom_it_costs() {
    let ports = free_ports(3);
    let lines: Vec<String> = ports.iter().map(|port| tcp_line(*port, HI)).collect();
    let text = format!("{}.defaults\n    per_sorce = 10\n{}{}", lines[0], lines[1], lines[2]);
    let costs = format!("{}/tcp and {}/tcp take this, and cannot be served", ports[1], ports[2]);
    let (code, said) = check(&text);
    assert_eq!((code, said.contains(&costs)), (Some(1), true), "{said}");
    assert!(said.ends_with(": 1 service, 2 not served, 1 error, 1 warning\n"), "{said}");

    let daemon = Setup::new().controlled().start(&text);
    let said = daemon.said("configuration");
    assert_eq!(said.iter().filter(|line| line.raw.contains(&costs)).count(), 1, "{said:?}");
    assert_eq!(read_all(tcp(ports[0])), "hi\n");
    assert!(is_closed(ports[1]));
    let told = status(&daemon, None);
    let label = |port: u16| format!("{port}/tcp");
    assert_eq!(told["not_served"], json!([label(ports[1]), label(ports[2])]));
    let why = format!("{}:3: unknown attribute `per_sorce`", daemon.file.display());
    assert_eq!(told["reasons"][label(ports[2])], json!(why));
    let (_, said) = refused(&daemon, &["status", &label(ports[1])]);
    assert!(said.contains(&format!("is not served: {why}")), "{said}");
    // A reload says the same, is refused, and takes nothing away.
    let line = daemon.reload_in_vain(&text);
    assert_eq!(line.number("errors"), Some(1), "{}", line.raw);
    assert_eq!(read_all(tcp(ports[0])), "hi\n");
    let _ = daemon.reload(&text.replace("sorce", "source"));
    assert_eq!(status(&daemon, None)["not_served"], json!([]));
    assert_eq!(read_all(tcp(ports[2])), "hi\n");
}

#[test]
fn in_the_place_of_inetd_it_costs_nobody_anything_unless_it_says_who_may_connect() {
    let ports = free_ports(2);
    let line = own_line(ports[0], HI);
    let first = own_line(ports[1], HI);
    let mut daemon = as_inetd(&format!(".defaults\n    per_sorce = 10\n{line}"));
    assert_eq!(read_all(tcp(ports[0])), "hi\n");
    let said = daemon.said("configuration");
    assert!(said.iter().any(|line| line.raw.contains("did you mean `per_source`")), "{said:?}");
    // What is running goes on as it was where that is not known any more.
    let mark = daemon.log.mark();
    daemon.rewrite(&format!(".defaults\n    only_form = 10.0.0.0/8\n{line}"));
    let _ = daemon.wait_after(mark, |line| line.is("reloaded"));
    let cost = format!("{}/tcp takes this, and cannot be served", ports[0]);
    let goes_on = format!("{}/tcp is running and goes on as it was", ports[0]);
    for wanted in [cost, goes_on] {
        let _ = daemon.wait_after(mark, |line| line.raw.contains(&wanted));
    }
    daemon.stop();
    let daemon = as_inetd(&format!("{first}.defaults\n    only_form = 10.0.0.0/8\n{line}"));
    assert_eq!(read_all(tcp(ports[1])), "hi\n");
    assert!(is_closed(ports[0]), "{}", daemon.log.text());
}

#[test]
fn what_xinetds_defaults_say_wrong_of_who_may_connect_names_whom_it_costs() {
    let ports = free_ports(2);
    let sure = "only_from = 127.0.0.1\nno_access = 192.0.2.1\n";
    let text = "defaults\n{\nno_acess = 127.0.0.1\n}\n".to_owned()
        + &block("unsure", ports[0], "")
        + &block("sure", ports[1], sure);
    let daemon = Setup::new().controlled().start(&text);
    assert_eq!(read_all(tcp(ports[1])), "hi\n");
    assert!(is_closed(ports[0]));
    let wanted = format!(":3:1: warning: {}/tcp takes this, and cannot be served", ports[0]);
    assert!(daemon.log.text().contains(&wanted), "{}", daemon.log.text());
    let (_, said) = refused(&daemon, &["status", "unsure"]);
    assert!(said.contains("unsure is not served: ") && said.contains(":3: `no_acess`"), "{said}");
}

#[test]
fn a_service_of_xinetds_is_known_by_its_name() {
    let ports = free_ports(2);
    let text = block("hello", ports[0], "") + &block("other", ports[1], "id = second\n");
    let daemon = Setup::new().controlled().start(&text);
    let shown = daemon.answer(&["status"]);
    assert!(shown.contains(&format!("{}/tcp (hello)  ", ports[0])), "{shown}");
    assert!(shown.contains(&format!("{}/tcp (second) ", ports[1])), "{shown}");
    let one = status(&daemon, Some("hello"));
    assert_eq!(
        (&one["id"], &one["origin"]),
        (&json!("hello"), &json!(format!("{}:1", daemon.file.display())))
    );
    assert_eq!(daemon.answer(&["stop", "second"]), format!("stopped {}/tcp\n", ports[1]));
    assert!(is_closed(ports[1]) && !is_closed(ports[0]));
    assert_eq!(daemon.answer(&["start", "second"]), format!("started {}/tcp\n", ports[1]));
    assert_eq!(read_all(tcp(ports[1])), "hi\n");
    assert!(refused(&daemon, &["stop", "another"]).1.contains("there is no service"));
}

#[test]
fn a_service_that_was_never_open_is_not_said_to_go_on() {
    let ports = free_ports(1);
    let taken = std::net::TcpListener::bind(("127.0.0.1", ports[0])).unwrap();
    let daemon = Setup::new().controlled().start(&tcp_line(ports[0], HI));
    daemon.folder.write("inetd.conf", &tcp_line(ports[0], "/no/such program"));
    let said = daemon.answer(&["reload"]);
    assert!(!said.contains("goes on as it was"), "{said}");
    assert!(said.contains(&format!("{}/tcp is not open: it is tried again", ports[0])), "{said}");
    drop(taken);
}

#[test]
fn import_says_on_standard_error_what_it_left_out_and_counts_as_check_does() {
    let ports = free_ports(3);
    let text = block("one", ports[0], "")
        + &block("two", ports[1], "disable = yes\nnice = x\n")
        + &block("three", ports[2], "only_from = host.example.org\n");
    let folder = Folder::new();
    let file = folder.write("conf", &text);
    let run = |what: &str| command(&[]).arg(what).arg(&file).output().unwrap();
    let (checked, imported) = (run("check"), run("import"));
    assert_eq!((checked.status.code(), imported.status.code()), (Some(1), Some(1)));
    let said = String::from_utf8(imported.stderr).unwrap();
    let counts = format!("{}: 1 service, 1 off, 1 not served, 1 error, ", file.display());
    assert!(said.contains(&counts), "{said}");
    assert!(String::from_utf8(checked.stdout).unwrap().contains(&counts));
    assert!(said.contains(": error: ") && said.contains("host.example.org"), "{said}");
    assert!(!String::from_utf8(imported.stdout).unwrap().contains(&ports[2].to_string()));
}
