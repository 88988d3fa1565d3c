//! Whoever answers at a control socket need not be a server of ours: what it says drives no
//! terminal and ends no program with a panic.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::process::Output;
use std::thread;

use crate::common::Folder;
use crate::common::daemon::command;

/// What `oxinetd ARGUMENTS` makes of an answer.
fn shown(answer: &'static str, arguments: &[&str]) -> Output {
    let folder = Folder::new();
    let socket = folder.at("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let _ = client.read(&mut [0; 4096]).unwrap();
        client.write_all(answer.as_bytes()).unwrap();
    });
    let output = command(&[]).args(arguments).arg("--control").arg(&socket).output().unwrap();
    server.join().unwrap();
    output
}

#[test]
fn an_age_beyond_all_time_is_shown() {
    let answer = r#"{"total":1,"running":1,"peers":[{"n":1,"address":"-","service":"a/tcp",
        "pid":null,"state":"running","age":1e300}]}"#;
    let output = shown(answer, &["peers"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("a/tcp"), "{output:?}");
}

#[test]
fn no_answer_drives_the_terminal() {
    for (answer, arguments) in [
        (r#"{"error":"no \u001b[2J"}"#, ["status", "x"].as_slice()),
        (r#"{"done":"stopped \u001b[2J"}"#, &["stop", "x"]),
        (r#"{"upgraded":"\u001b[2J","from":"1","pid":3}"#, &["upgrade"]),
        (
            r#"{"reloaded":true,"diagnostics":[{"severity":"error","text":"\u001b[2J"}],
                "kept":0,"opened":0,"closed":0,"updated":0}"#,
            &["reload"],
        ),
    ] {
        let output = shown(answer, arguments);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains("?[2J") && !said.contains('\x1b'), "{arguments:?}: {said:?}");
    }
}
