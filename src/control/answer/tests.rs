//! The answers beside their description in `etc/status.schema.json`.

use super::*;

fn status() -> Status {
    Status {
        version: "1".to_owned(),
        pid: 2,
        state: "serving".to_owned(),
        drain_left: Some(18),
        started: 3,
        uptime: 4,
        running: 5,
        max_children: 6,
        conversations: 7,
        lingering: 12,
        left_behind: Some(13),
        accepted: 8,
        refused: 9,
        failed: 10,
        log_dropped: 11,
        log_error: Some(LastError { time: 17, message: "l".to_owned() }),
        configured: 15,
        reload_refused: Some(LastError { time: 16, message: "m".to_owned() }),
        limits: vec!["max_children".to_owned()],
        front_worker_deaths: 14,
        gone: [("x".to_owned(), 19)].into(),
        not_served: vec!["x".to_owned()],
        reasons: [("x".to_owned(), "y".to_owned())].into(),
        ids: [("x".to_owned(), "z".to_owned())].into(),
        services: Vec::new(),
    }
}

#[test]
fn a_status_in_pieces_is_a_status() {
    let (before, after) = around_services(&status());
    assert_eq!(read::<Status>(&[&before, after].concat()), Ok(status()));
}

fn service() -> ServiceStatus {
    let tls = Encryption {
        version: Some("TLSv1.3".into()),
        server_name: Some("a".into()),
        subject: Some("CN=b".into()),
        common_name: Some("c".into()),
        fingerprint: Some("d".into()),
    };
    let peer = PeerStatus {
        n: 1,
        address: "127.0.0.1:2".to_owned(),
        service: "3/tcp".to_owned(),
        pid: Some(4),
        state: "running".to_owned(),
        age: Some(0.5),
        tls: Some(Box::new(tls)),
    };
    let bare = ServiceStatus {
        service: "3/tcp".to_owned(),
        id: None,
        origin: "f:1".to_owned(),
        addresses: vec!["127.0.0.1:3".to_owned()],
        server: "/bin/cat".to_owned(),
        state: "stopped".to_owned(),
        stopped: None,
        limits: Vec::new(),
        waiting: None,
        running: 1,
        accepted: 2,
        refused: [("rate".to_owned(), 3)].into(),
        failed: 4,
        exits: [("0".to_owned(), 5)].into(),
        run_seconds: 6.5,
        stderr_dropped: 7,
        tls_certificate_expiry: None,
        last_error: None,
        peers: None,
        others: Vec::new(),
    };
    ServiceStatus {
        id: Some("x".to_owned()),
        stopped: Some("command".to_owned()),
        limits: vec!["instances".to_owned()],
        waiting: Some(10),
        tls_certificate_expiry: Some(8),
        last_error: Some(LastError { time: 9, message: "m".to_owned() }),
        peers: Some(vec![peer]),
        others: vec![bare.clone()],
        ..bare
    }
}

/// What each of the answers has, by the name of its description.
fn answers() -> Vec<(&'static str, serde_json::Value)> {
    let of = |answer: &dyn Fn() -> Vec<u8>| serde_json::from_slice(&answer()).unwrap();
    let peers = service().peers.unwrap();
    let finding = ReportedFinding { severity: "error".to_owned(), text: "t".to_owned() };
    let reloaded = Reloaded {
        reason: Some("r".to_owned()),
        diagnostics: vec![finding.clone()],
        ..Reloaded::default()
    };
    let upgraded = Upgraded { upgraded: "1".to_owned(), from: "0".to_owned(), pid: 1 };
    let stopping = Stopping { stopping: true, running: 1, drain: Some(2), delay: Some(3) };
    vec![
        ("", of(&|| line(&Status { services: vec![service()], ..status() }))),
        ("service", of(&|| line(&service()))),
        ("failure", of(&|| line(&service().last_error))),
        ("peer", of(&|| line(&service().peers.unwrap()[0]))),
        ("tls", of(&|| line(&service().peers.unwrap()[0].tls))),
        ("peers", of(&|| line(&PeersAnswer { total: 1, running: 1, peers: peers.clone() }))),
        ("reloaded", of(&|| line(&reloaded))),
        ("finding", of(&|| line(&finding))),
        ("upgraded", of(&|| line(&upgraded))),
        ("stopping", of(&|| line(&stopping))),
        ("done", of(&|| line(&Done { done: "d".to_owned() }))),
        ("refusal", of(&|| line(&RequestRefusal { error: "e".to_owned() }))),
    ]
}

/// The part of the schema that describes it.
fn described<'a>(schema: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let definitions = &schema["definitions"];
    match name {
        "" => schema,
        "tls" => &definitions["peer"]["properties"][name],
        _ => &definitions[name],
    }
}

#[test]
fn the_schema_has_every_field_and_no_other() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/status.schema.json");
    let schema: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    for (name, answer) in answers() {
        let names = |value: &serde_json::Value| -> std::collections::BTreeSet<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        let described = described(&schema, name);
        assert_eq!(names(&answer), names(&described["properties"]), "{name}");
        let required = described["required"].as_array();
        let missing = required
            .into_iter()
            .flatten()
            .find(|it| answer[it.as_str().unwrap()] == serde_json::Value::Null);
        assert_eq!(missing, None, "{name}");
    }
}

#[test]
fn a_refusal_is_an_error() {
    let refusal = line(&RequestRefusal { error: "no".to_owned() });
    assert_eq!(read::<Done>(&refusal), Err("no".to_owned()));
    assert!(read::<Done>(b"nonsense").is_err());
}
