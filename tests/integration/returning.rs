//! A service that a reload takes out while it serves somebody, and another puts back.

use serde_json::json;

use crate::common::clients::{echo_once, read_to_any_end};
use crate::common::control::{controlled, refused, status, status_of};
use crate::common::{Setup, ask, free_port, free_ports, tcp, tcp_line};

fn running(daemon: &crate::common::Daemon, label: &str) -> serde_json::Value {
    status_of(daemon, label)["running"].clone()
}

#[test]
fn whoever_it_still_serves_is_its_own_again() {
    for program in ["/bin/cat cat", "internal echo"] {
        let (port, metrics) = (free_port(), free_port());
        let (label, text) =
            (format!("{port}/tcp"), tcp_line(port, program) + "    instances = 2\n");
        let daemon =
            Setup::new().controlled().arg("--metrics").arg(&metrics.to_string()).start(&text);
        let old = tcp(port);
        assert_eq!(echo_once(&old, "x"), "x");
        let _ = daemon.reload("");
        let gone = status(&daemon, None);
        assert_eq!((&gone["services"], &gone["gone"]), (&json!([]), &json!({ &label: 1 })));
        let _ = daemon.reload(&text);
        assert_eq!(status(&daemon, None)["gone"], json!(null));
        assert_eq!(running(&daemon, &label), json!(1), "{program}");
        let samples = ask(metrics, "GET /metrics HTTP/1.0\r\n\r\n");
        let sample = samples.lines().find(|line| {
            line.starts_with("oxinetd_service_running{") && line.contains(&format!("\"{label}\""))
        });
        assert!(sample.is_some_and(|line| line.ends_with(" 1")), "{samples}");
        // Its limit counts both.
        let new = tcp(port);
        assert_eq!(echo_once(&new, "y"), "y");
        assert_eq!(running(&daemon, &label), json!(2), "{program}");
        let third = tcp(port);
        let _ = daemon.wait_log(|line| line.about("limit-begin", port));
        let one = status(&daemon, Some(&label));
        let peers = one["peers"].as_array().unwrap();
        let mut addresses: Vec<&str> =
            peers.iter().map(|peer| peer["address"].as_str().unwrap()).collect();
        let mut wanted = [&old, &new].map(|it| it.local_addr().unwrap().to_string());
        addresses.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(addresses, wanted);
        // The end of one that it had before makes room, and is counted.
        drop(old);
        assert_eq!(echo_once(&third, "z"), "z");
        assert_eq!(running(&daemon, &label), json!(2), "{program}");
        let said = daemon.answer(&["kill", &label]);
        assert!(said.starts_with("sent TERM to ") || said == "closed 2\n", "{said}");
        assert_eq!([new, third].map(read_to_any_end), ["", ""]);
    }
}

#[test]
fn another_service_of_its_name_is_another() {
    let port = free_port();
    let here = |host: &str| tcp_line(port, "/bin/cat cat").replace("127.0.0.1", host);
    let daemon = controlled(&here("127.0.0.1"));
    let old = tcp(port);
    assert_eq!(echo_once(&old, "x"), "x");
    let _ = daemon.reload("");
    let _ = daemon.reload(&here("127.0.0.2"));
    assert_eq!(running(&daemon, &format!("{port}/tcp")), json!(0));
    assert_eq!(echo_once(&old, "x"), "x");
}

#[test]
fn on_stop_holds_for_whoever_it_had_before() {
    let port = free_port();
    let text = tcp_line(port, "/bin/cat cat");
    let daemon = controlled(&text);
    let old = tcp(port);
    assert_eq!(echo_once(&old, "x"), "x");
    for text in ["", &text, ""] {
        let _ = daemon.reload(text);
        assert_eq!(echo_once(&old, "x"), "x");
    }
    // Nobody else's clients are meant by the name of one that is not there.
    let said = daemon.answer(&["kill", &format!("{port}/tcp")]);
    assert!(said.starts_with("sent TERM to "), "{said}");
    assert_eq!(read_to_any_end(old), "");
}

#[test]
fn a_service_is_ended_by_its_name_and_goes_on_taking_clients() {
    let ports = free_ports(2);
    let daemon =
        controlled(&(tcp_line(ports[0], "/bin/cat cat") + &tcp_line(ports[1], "internal echo")));
    let label = ports.iter().map(|port| format!("{port}/tcp")).collect::<Vec<_>>();
    let (code, said) = refused(&daemon, &["kill", &label[0]]);
    assert!(code == 1 && said.contains("serves nobody now"), "{said}");
    let (code, said) = refused(&daemon, &["kill", "nosuch"]);
    assert!(code == 1 && said.contains("there is no service \"nosuch\""), "{said}");
    let clients = [tcp(ports[0]), tcp(ports[0])];
    let other = tcp(ports[1]);
    for client in clients.iter().chain([&other]) {
        assert_eq!(echo_once(client, "x"), "x");
    }
    let mut pids = daemon.accepted(ports[0], 2);
    pids.sort_unstable();
    let said = daemon.answer(&["kill", &label[0]]);
    let mut told: Vec<u32> = said
        .trim_start_matches("sent TERM to ")
        .trim_end()
        .split(", ")
        .map(|pid| pid.parse().unwrap())
        .collect();
    told.sort_unstable();
    assert_eq!(told, pids);
    assert_eq!(clients.map(read_to_any_end), ["", ""]);
    assert_eq!(echo_once(&other, "y"), "y");
    assert_eq!(echo_once(tcp(ports[0]), "z"), "z");
    assert_eq!(daemon.answer(&["kill", &label[1]]), "closed 1\n");
    assert_eq!(read_to_any_end(other), "");
}
