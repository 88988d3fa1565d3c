//! What people see.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::control::answer::ReportedFinding;
use crate::control::statistics::LastError;

fn echo() -> ServiceStatus {
    ServiceStatus {
        service: "echo/tcp".to_owned(),
        id: None,
        origin: "inetd.conf:3".to_owned(),
        addresses: vec!["0.0.0.0:7".to_owned(), "[::]:7".to_owned()],
        server: "internal".to_owned(),
        state: "listening".to_owned(),
        stopped: None,
        limits: Vec::new(),
        waiting: None,
        running: 2,
        accepted: 100,
        refused: BTreeMap::from([("access".to_owned(), 2), ("rate".to_owned(), 10)]),
        failed: 0,
        exits: BTreeMap::new(),
        run_seconds: 1.5,
        stderr_dropped: 0,
        tls_certificate_expiry: None,
        last_error: None,
        peers: None,
        others: Vec::new(),
    }
}

fn server(services: Vec<ServiceStatus>) -> Status {
    Status {
        version: "0.1.0".to_owned(),
        pid: 123,
        state: "serving".to_owned(),
        drain_left: None,
        started: 0,
        uptime: 7380,
        running: 0,
        max_children: 500,
        conversations: 2,
        lingering: 0,
        left_behind: None,
        accepted: 100,
        refused: 12,
        failed: 0,
        log_dropped: 0,
        log_error: None,
        configured: 0,
        reload_refused: None,
        limits: Vec::new(),
        front_worker_deaths: 0,
        gone: BTreeMap::new(),
        not_served: Vec::new(),
        reasons: std::collections::BTreeMap::new(),
        ids: std::collections::BTreeMap::new(),
        services,
    }
}

#[test]
fn a_certificate_that_ends_soon_is_trouble() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let now = i64::try_from(now).unwrap();
    let row = |left: Option<i64>| {
        let ends = left.map(|left| now + left);
        super::status(&server(vec![ServiceStatus { tls_certificate_expiry: ends, ..echo() }]), None)
    };
    assert!(row(Some(-90_000)).contains("its certificate ended 1d 1h ago"));
    assert!(row(Some(86_400 * 5 + 60)).contains("its certificate ends in 5d 0h"));
    assert!(!row(Some(86_400 * 20)).contains("certificate"));
    assert!(!row(None).contains("certificate"));
}

#[test]
fn what_is_left_is_told_if_there_is_any() {
    let left = Status { lingering: 3, left_behind: Some(1), ..server(Vec::new()) };
    let text = super::status(&left, None);
    assert!(text.contains("2 conversations, 3 lingering, 1 left behind; 100"), "{text}");
    let nobody = super::status(&Status { left_behind: Some(0), ..server(Vec::new()) }, None);
    assert!(nobody.contains("2 conversations; 100"), "{nobody}");
}

#[test]
fn what_holds_clients_back_is_told_with_how_many_wait() {
    let resting = ServiceStatus {
        state: "resting".to_owned(),
        limits: vec!["instances".to_owned(), "cps".to_owned()],
        waiting: Some(3),
        ..echo()
    };
    let text = super::status(&server(vec![resting.clone()]), None);
    assert!(text.contains(" resting (instances, cps; 3 waiting) "), "{text}");
    let text = super::service(&ServiceStatus { waiting: None, ..resting }, None);
    assert!(text.contains("       state: resting (instances, cps)\n"), "{text}");
    // Who is refused stands elsewhere.
    let refusing = ServiceStatus { limits: vec!["access".to_owned()], ..echo() };
    assert!(super::status(&server(vec![refusing]), None).contains(" listening  "));
    let all = Status { limits: vec!["max_children".to_owned()], ..server(Vec::new()) };
    assert!(
        super::status(&all, None).contains("0 of 500 programs (max_children is reached), 2 conv")
    );
}

#[test]
fn a_server_that_drains_says_for_how_long() {
    let status =
        Status { state: "draining".to_owned(), drain_left: Some(95), ..server(Vec::new()) };
    let text = super::status(&status, None);
    assert!(text.contains(", draining, 1m 35s left, started 2h 3m ago\n"), "{text}");
}

#[test]
fn whoever_services_serve_that_are_gone_is_told() {
    let gone = BTreeMap::from([("7/tcp".to_owned(), 2), ("9/tcp".to_owned(), 1)]);
    let text = super::status(&Status { gone, ..server(Vec::new()) }, None);
    assert!(
        text.contains("\nstill served of services that were taken out: 7/tcp 2, 9/tcp 1\n"),
        "{text}"
    );
}

#[test]
fn a_reload_that_was_refused_is_told() {
    let refused = Some(LastError { time: 0, message: "f:3:1: error: no".to_owned() });
    let text = super::status(&Status { reload_refused: refused, ..server(Vec::new()) }, None);
    let line = text.lines().find(|line| line.starts_with("the last reload was refused ")).unwrap();
    assert!(line.ends_with(" ago: f:3:1: error: no"), "{text}");
}

#[test]
fn a_status_is_a_table() {
    let expected = "\
oxinetd 0.1.0, pid 123, serving for 2h 3m
0 of 500 programs, 2 conversations; 100 accepted, 12 refused, 0 failed

SERVICE   ADDRESS       STATE      RUNNING  ACCEPTED  REFUSED                 FAILED  ERROR
echo/tcp  0.0.0.0:7 +1  listening        2       100  12 (access 2, rate 10)       0
";
    assert_eq!(status(&server(vec![echo()]), None), expected);
}

#[test]
fn who_watches_sees_what_came_since_the_last_look() {
    use crate::control::history::{History, Pen};

    let mut history = History::default();
    for (at, accepted) in [(0, 100), (2, 100), (4, 108)] {
        let service = ServiceStatus { accepted, ..echo() };
        let status = Status { accepted, ..server(vec![service]) };
        history.see(Duration::from_secs(at), &status);
    }
    let seen = |pen, width| WatchedRates { history: &history, pen, width };
    let shown = status(&server(vec![echo()]), Some(seen(Pen::Blocks, 4)));
    let expected = "\
oxinetd 0.1.0, pid 123, serving for 2h 3m
0 of 500 programs, 2 conversations; 100 accepted, 12 refused, 0 failed
accepted a second: 4.0   ▁▇

SERVICE   ADDRESS       STATE      RUNNING  ACCEPTED  A SECOND    REFUSED                 FAILED  ERROR
echo/tcp  0.0.0.0:7 +1  listening        2       100    4.0   ▁▇  12 (access 2, rate 10)       0
";
    assert_eq!(shown, expected);
    let long = ServiceStatus { service: "/run/".to_owned() + &"x".repeat(40), ..echo() };
    let shown = status(&server(vec![long.clone()]), Some(seen(Pen::Ascii, 4)));
    assert!(shown.contains(&format!("\n/run/{}...  0.0", "x".repeat(16))), "{shown}");
    assert!(status(&server(vec![long]), Some(seen(Pen::Ascii, 0))).contains(&"x".repeat(40)));
    let shown = service(&echo(), Some(seen(Pen::Ascii, 3)));
    assert!(shown.contains("    a second:   4.0  _#\n"), "{shown}");
    let shown = service(&echo(), Some(seen(Pen::Ascii, 0)));
    assert!(shown.contains("    a second:   4.0 \n"), "{shown}");
}

#[test]
fn a_log_that_lacks_lines_is_told_of_elsewhere() {
    let shown = status(&Status { log_dropped: 12, ..server(Vec::new()) }, None);
    assert!(shown.contains(" 0 failed\n12 lines of the log lost, which nobody took\n\nSERVICE"));
}

#[test]
fn what_is_not_served_is_said_below() {
    let not_served = vec!["a/tcp".to_owned(), "b/tcp".to_owned()];
    let reasons = [("b/tcp".to_owned(), "f:1: no".to_owned())].into();
    let ids = [("a/tcp".to_owned(), "a".to_owned()), ("b/tcp".to_owned(), "c".to_owned())].into();
    let shown = status(&Status { not_served, reasons, ids, ..server(Vec::new()) }, None);
    assert!(shown.ends_with("\nNOT SERVED  WHY\na/tcp\nb/tcp (c)   f:1: no\n"), "{shown}");
}

#[test]
fn nothing_drives_the_terminal() {
    let error = LastError { time: 0, message: "\x1b[2J\n".to_owned() };
    let nasty = ServiceStatus { last_error: Some(error), ..echo() };
    let shown = status(&server(vec![nasty.clone()]), None) + &service(&nasty, None);
    assert!(shown.contains("?[2J?") && !shown.contains('\x1b'), "{shown}");
}

#[test]
fn a_reload_drives_no_terminal_and_keeps_its_lines() {
    let text = "error: \x1b[2J\n --> f:1:1\n".to_owned();
    let finding = ReportedFinding { severity: "error".to_owned(), text };
    let shown = reloaded(&Reloaded { diagnostics: vec![finding], ..Reloaded::default() });
    assert!(shown.starts_with("error: ?[2J\n --> f:1:1\n\n"), "{shown}");
}

#[test]
fn any_age_is_a_span() {
    for (seconds, text) in [(-1.0, "0s"), (61.5, "1m 1s"), (f64::NAN, "0s")] {
        assert_eq!(age(seconds), text);
    }
    assert!(age(1e300).ends_with('h'));
}

#[test]
fn one_service_has_its_peers() {
    let peer = PeerStatus {
        n: 1,
        address: "127.0.0.1:4711".to_owned(),
        service: "echo/tcp".to_owned(),
        pid: None,
        state: "running".to_owned(),
        age: Some(61.5),
        tls: None,
    };
    let shown = service(&ServiceStatus { peers: Some(vec![peer.clone()]), ..echo() }, None);
    assert!(shown.contains("   addresses: 0.0.0.0:7, [::]:7\n"), "{shown}");
    let row = "1  127.0.0.1:4711  echo/tcp  -    running  1m 1s\n";
    assert!(shown.ends_with(row), "{shown}");
    assert!(!shown.contains("TLS"), "{shown}");
    let tls = Encryption {
        version: Some("TLSv1.3".into()),
        subject: Some("CN=a\u{1b}".into()),
        ..Encryption::default()
    };
    let encrypted = PeerStatus { tls: Some(Box::new(tls)), ..peer.clone() };
    let shown = service(&ServiceStatus { peers: Some(vec![encrypted, peer]), ..echo() }, None);
    assert!(shown.contains("  AGE    TLS\n"), "{shown}");
    assert!(shown.contains("  1m 1s  TLSv1.3 subject=CN=a?\n"), "{shown}");
    assert!(shown.ends_with(row), "{shown}");
}

#[test]
fn ends_of_programs_are_told_with_how_many() {
    let exits = BTreeMap::from([("0".to_owned(), 12), ("SIGTERM".to_owned(), 1)]);
    let shown = service(&ServiceStatus { exits, ..echo() }, None);
    assert!(shown.contains("       exits: status 0: 12, SIGTERM: 1\n"), "{shown}");
}

#[test]
fn a_reload_says_what_changed_or_why_not() {
    let answer = Reloaded { reloaded: true, kept: 1, opened: 2, ..Reloaded::default() };
    assert_eq!(
        reloaded(&answer),
        "reloaded: 1 socket kept, 2 opened, 0 closed; 0 services changed\n"
    );
    let finding = ReportedFinding { severity: "error".to_owned(), text: "error: no\n".to_owned() };
    let answer = Reloaded { diagnostics: vec![finding], ..Reloaded::default() };
    let expected = "error: no\n\nnot reloaded: 1 error; everything is as it was\n";
    assert_eq!(reloaded(&answer), expected);
}

#[test]
fn spans_have_two_units() {
    for (seconds, text) in [(0, "0s"), (59, "59s"), (200, "3m 20s"), (7500, "2h 5m")] {
        assert_eq!(span(Duration::from_secs(seconds)), text);
    }
    assert_eq!(span(Duration::from_secs(86_400 * 3 + 3600 * 4)), "3d 4h");
}

#[test]
fn the_screen_in_the_readme_is_what_people_see() {
    let service = |label: &str, state: &str, running, accepted| ServiceStatus {
        service: label.to_owned(),
        addresses: vec![format!("127.0.0.1:{}", label.split('/').next().unwrap())],
        state: state.to_owned(),
        running,
        accepted,
        refused: BTreeMap::new(),
        ..echo()
    };
    let date = ServiceStatus {
        refused: BTreeMap::from([("per_source".to_owned(), 12)]),
        ..service("50013/tcp", "listening", 0, 1280)
    };
    let screen = Status {
        pid: 4711,
        uptime: 7500,
        running: 1,
        max_children: 6649,
        conversations: 1,
        accepted: 1312,
        refused: 12,
        ..server(vec![
            service("50007/tcp", "listening", 1, 25),
            service("50008/tcp", "listening", 1, 7),
            service("50008/udp", "listening", 0, 0),
            date,
        ])
    };
    let readme = include_str!("../../README.md");
    let shown = status(&screen, None);
    assert!(readme.contains(&shown), "{shown}");
}
