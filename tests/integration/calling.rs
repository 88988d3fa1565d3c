//! What services are called by those who start, stop and ask for them.

use crate::common::clients::is_closed;
use crate::common::control::{controlled, refused, status};
use crate::common::daemon::command;
use crate::common::{Folder, Setup, free_port, free_ports, me, tcp_line};

/// A service of xinetd's, with whatever more stands in it.
fn block(name: &str, more: &str, port: u16) -> String {
    let user = me();
    format!(
        "service {name}\n{{\ntype = UNLISTED\n{more}port = {port}\nbind = 127.0.0.1\n\
         socket_type = stream\nprotocol = tcp\nwait = no\nuser = {user}\nserver = /bin/cat\n}}\n"
    )
}

#[test]
fn a_service_that_runs_is_not_said_to_be_started() {
    let (one, other) = (free_port(), free_port());
    let daemon = controlled(&(tcp_line(one, "/bin/cat cat") + &tcp_line(other, "/bin/cat cat")));
    let label = format!("{one}/tcp");
    let runs = format!("{label} is running already\n");
    assert_eq!(daemon.answer(&["start", &label]), runs);
    let _ = daemon.answer(&["stop", &label]);
    assert_eq!(daemon.answer(&["start", &label]), format!("started {label}\n"));
    assert_eq!(daemon.answer(&["start", &label]), runs);
}

#[test]
fn some_of_a_name_may_be_started_while_others_run() {
    let ports = free_ports(2);
    // Two of one id are meant together.
    let daemon =
        controlled(&(block("x", "id = twice\n", ports[0]) + &block("x", "id = twice\n", ports[1])));
    let label = format!("{}/tcp", ports[0]);
    let _ = daemon.answer(&["stop", &label]);
    let other = format!("{}/tcp", ports[1]);
    let said = daemon.answer(&["start", "twice"]);
    assert_eq!(said, format!("started {label}; {other} is running already\n"));
}

#[test]
fn a_service_that_is_not_served_is_known_by_all_its_names() {
    let ports = free_ports(4);
    let lacking = |text: String| text.replace("/bin/cat", "/no/such/program");
    let wrong = |text: String| text.replace("= stream", "= strem");
    let text = block("good", "", ports[0])
        + &lacking(block("hello", "id = greeting\n", ports[1]))
        + &wrong(block("mistaken", "id = wrong\n", ports[2]))
        + &lacking(block("plain", "", ports[3]));
    let daemon = controlled(&text);
    for (name, why) in [
        ("hello", "there is no program"),
        ("greeting", "there is no program"),
        ("mistaken", "unknown socket type"),
        ("wrong", "unknown socket type"),
        ("plain", "there is no program"),
    ] {
        let (_, said) = refused(&daemon, &["status", name]);
        assert!(said.contains(&format!("{name} is not served")) && said.contains(why), "{said}");
    }
    let shown = daemon.answer(&["status"]);
    for (port, id) in [(ports[1], "greeting"), (ports[2], "wrong"), (ports[3], "plain")] {
        assert!(shown.contains(&format!("{port}/tcp ({id})")), "{shown}");
    }
}

#[test]
fn what_is_imported_keeps_its_name_and_a_line_can_have_one() {
    let ports = free_ports(4);
    let folder = Folder::new();
    let text = block("hello", "", ports[0])
        + &block("twice", "id = other\n", ports[1])
        + &block("lacking", "", ports[2]).replace("/bin/cat", "/no/such/program");
    let file = folder.write("xinetd.conf", &text);
    let output = command(&[]).arg("import").arg(&file).output().unwrap();
    let imported = String::from_utf8(output.stdout).unwrap();
    let own = tcp_line(ports[3], "/bin/cat cat") + "    id = 'of my own'\n";
    let daemon = Setup::new().controlled().start_in(folder, &(imported + &own));
    for (name, port) in [("hello", ports[0]), ("other", ports[1]), ("of my own", ports[3])] {
        let label = format!("{port}/tcp");
        assert_eq!(daemon.answer(&["stop", name]), format!("stopped {label}\n"));
        assert_eq!(status(&daemon, Some(name))["service"], serde_json::json!(label));
        assert!(daemon.answer(&["status"]).contains(&format!("{label} ({name})")));
    }
    let (_, said) = refused(&daemon, &["status", "lacking"]);
    assert!(said.contains("lacking is not served"), "{said}");
}

#[test]
fn the_status_of_a_name_is_of_all_that_have_it() {
    let port = free_port();
    let user = me();
    let text = format!(
        "127.0.0.1:{port} stream tcp nowait {user} internal echo\n\
         127.0.0.1:{port} dgram udp wait {user} internal echo\n"
    );
    let daemon = controlled(&text);
    let name = port.to_string();
    let shown = daemon.answer(&["status", &name]);
    for label in [format!("service: {port}/tcp\n"), format!("service: {port}/udp\n")] {
        assert!(shown.contains(&label), "{shown}");
    }
    let data = status(&daemon, Some(&name));
    assert_eq!(data["service"], serde_json::json!(format!("{port}/tcp")));
    assert_eq!(data["others"][0]["service"], serde_json::json!(format!("{port}/udp")));
    let one = status(&daemon, Some(&format!("{port}/udp")));
    assert!(one.get("others").is_none(), "{one}");
}

#[test]
fn a_service_of_xinetd_is_known_by_its_name_where_that_is_one_service() {
    let ports = free_ports(4);
    let text = block("hello", "id = greeting\n", ports[0])
        + &block("twice", "id = one\n", ports[1])
        + &block("twice", "id = two\n", ports[2])
        + &block("another", "", ports[3]);
    let daemon = controlled(&text);
    let label = format!("{}/tcp", ports[0]);
    assert_eq!(daemon.answer(&["stop", "another"]), format!("stopped {}/tcp\n", ports[3]));
    assert_eq!(daemon.answer(&["stop", "hello"]), format!("stopped {label}\n"));
    assert!(is_closed(ports[0]));
    assert_eq!(daemon.answer(&["start", "hello"]), format!("started {label}\n"));
    assert!(daemon.answer(&["status", "hello"]).contains(&label));
    assert_eq!(daemon.answer(&["start", "greeting"]), format!("{label} is running already\n"));
    for command in ["stop", "start", "status"] {
        let (_, said) = refused(&daemon, &[command, "twice"]);
        assert!(said.contains("twice is several services: one, two"), "{command}: {said}");
    }
    assert!(!is_closed(ports[1]) && !is_closed(ports[2]));
    let _ = daemon.answer(&["stop", "two"]);
    assert!(!is_closed(ports[1]) && is_closed(ports[2]));
}
