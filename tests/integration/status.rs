//! `oxinetd status`: what a running server tells of its services, to people and to programs.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::common::clients::{read_to_any_end, udp_ask};
use crate::common::control::{controlled, refused, status, status_of_port};
use crate::common::daemon::command;
use crate::common::log::Log;
use crate::common::needs::search_path;
use crate::common::process::Process;
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, ask, free_port, need_program, read_all, read_line, tcp,
    tcp_line, udp, wait_for, wait_until,
};

#[test]
fn the_status_counts_what_each_service_has_done() {
    let (date, refusing, missing, echo) = (free_port(), free_port(), free_port(), free_port());
    let folder = Folder::new();
    let program = folder.copy_of("/bin/true", "gone");
    let text = tcp_line(date, "/bin/sh sh -c 'exit 7'")
        + &tcp_line(refusing, "/bin/date date")
        + "    no_access = 127.0.0.1\n"
        + &crate::common::own_line(missing, &format!("{program} gone"))
        + &format!("127.0.0.1:{echo} stream tcp nowait - internal echo\n");
    let daemon = controlled(&text);
    for _ in 0..3 {
        assert_eq!(read_all(tcp(date)), "");
    }
    assert_eq!(read_to_any_end(tcp(refusing)), "");
    std::fs::remove_file(&program).unwrap();
    assert_eq!(read_to_any_end(tcp(missing)), "");
    let mut talk = tcp(echo);
    talk.write_all(b"hello\n").unwrap();
    assert_eq!(read_line(&mut talk), "hello\n");
    daemon.wait_childless();

    let found = wait_for("the ends to be counted", || {
        let found = status_of_port(&daemon, date);
        (found["exits"] == json!({"7": 3})).then_some(found)
    });
    assert_eq!((&found["accepted"], &found["state"]), (&json!(3), &json!("listening")));
    assert_eq!(found["addresses"], json!([format!("127.0.0.1:{date}")]));
    assert!(found["origin"].as_str().unwrap().ends_with("inetd.conf:1"), "{found}");
    assert!(found["run_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(status_of_port(&daemon, refusing)["refused"], json!({"access": 1}));
    let failed = status_of_port(&daemon, missing);
    assert_eq!((&failed["failed"], &failed["exits"]), (&json!(1), &json!({})));
    let message = failed["last_error"]["message"].as_str().unwrap();
    assert!(message.starts_with("exec: /"), "{message}");
    assert!(message.contains(": No such file"), "{message}");
    let found = status_of_port(&daemon, echo);
    assert_eq!((&found["running"], &found["server"]), (&json!(1), &json!("internal")));

    let all = status(&daemon, None);
    assert_eq!(all["pid"], json!(daemon.pid()));
    assert_eq!((&all["state"], &all["conversations"]), (&json!("serving"), &json!(1)));
    assert_eq!(
        (&all["accepted"], &all["refused"], &all["failed"]),
        (&json!(5), &json!(1), &json!(1))
    );
}

#[test]
fn the_log_says_how_many_programs_there_may_be_as_the_status_does() {
    // A copy of each connection is kept, or not.
    for linger in ["auto", "no"] {
        let line = tcp_line(free_port(), "/bin/cat cat") + &format!("    linger = {linger}\n");
        let daemon = Setup::new().controlled().after("ulimit -n 500").start(&line);
        let said = daemon.wait_log(|line| line.is("spawning"));
        let most = status(&daemon, None)["max_children"].as_i64();
        assert_eq!(said.number("max_children").map(i64::from), most, "{linger}: {}", said.raw);
    }
}

#[test]
fn the_status_is_a_table_for_people() {
    let port = free_port();
    let daemon = controlled(&tcp_line(port, "/bin/cat cat"));
    let client = tcp(port);
    let pid = daemon.accepted(port, 1)[0];
    let table = daemon.answer(&["status"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[0].starts_with("oxinetd ") && lines[0].contains(&format!("pid {}", daemon.pid()))
    );
    assert!(lines[3].starts_with("SERVICE ") && lines[3].contains("RUNNING"), "{table}");
    let words: Vec<&str> = lines[4].split_whitespace().collect();
    let (label, address) = (format!("{port}/tcp"), format!("127.0.0.1:{port}"));
    assert_eq!(words, [&label, &address, "listening", "1", "1", "0", "0"]);

    let one = daemon.answer(&["status", &port.to_string()]);
    let peer = client.local_addr().unwrap();
    assert!(one.contains("state: listening\n"), "{one}");
    assert!(one.lines().any(|line| line.contains(&format!("{peer}  {label}  {pid}"))), "{one}");
    let peers = daemon.answer(&["peers"]);
    assert!(peers.contains("1 since the start, 1 now") && peers.contains(&peer.to_string()));
}

#[test]
fn datagrams_that_were_answered_are_counted() {
    let port = free_port();
    let daemon = controlled(&format!("127.0.0.1:{port} dgram udp wait - internal echo\n"));
    let client = udp(port);
    for _ in 0..3 {
        assert_eq!(udp_ask(&client, "hello"), "hello");
    }
    let found = &status(&daemon, None)["services"][0];
    assert_eq!((&found["service"], &found["accepted"]), (&json!(format!("{port}/udp")), &json!(3)));
}

#[test]
fn the_status_names_what_this_machine_lacks() {
    let (port, missing) = (free_port(), free_port());
    let text = tcp_line(port, "/bin/date date");
    let daemon = controlled(&(text.clone() + &tcp_line(missing, "/nowhere/at/all x")));
    assert_eq!(status(&daemon, None)["not_served"], json!([format!("{missing}/tcp")]));
    let shown = daemon.answer(&["status"]);
    assert!(shown.contains("\nNOT SERVED  WHY\n"), "{shown}");
    let why = format!(
        "\n{missing}/tcp   {}:2: there is no program `/nowhere/at/all`\n",
        daemon.file.display()
    );
    assert!(shown.contains(&why), "{shown}");
    for name in [format!("{missing}/tcp"), missing.to_string()] {
        let (code, said) = refused(&daemon, &["start", &name]);
        assert_eq!((code, said.contains(&format!("{name} is not served"))), (1, true), "{said}");
    }
    daemon.reload(&text);
    assert_eq!(status(&daemon, None)["not_served"], json!([]));
    assert!(refused(&daemon, &["status", &missing.to_string()]).1.contains("there is no service"));
}

#[test]
fn a_service_that_goes_on_as_it_was_is_said_to() {
    let port = free_port();
    let daemon = controlled(&tcp_line(port, "/bin/echo echo old"));
    let goes_on = format!("warning: {port}/tcp is running and goes on as it was");
    let said = || {
        let lines = daemon.said("configuration");
        lines.iter().filter(|line| line.raw.contains(&goes_on)).count()
    };
    daemon.folder.write("inetd.conf", &tcp_line(port, "/nowhere/at/all x"));
    let answer = daemon.answer(&["reload"]);
    assert!(answer.contains(&format!("\n{goes_on}\n")), "{answer}");
    let _ = daemon.wait_log(|line| line.is("reloaded"));
    assert_eq!(said(), 1, "{}", daemon.log.text());
    assert_eq!(read_all(tcp(port)), "old\n");
    assert_eq!(status(&daemon, None)["not_served"], json!([]));
    let _ = daemon.reload(&tcp_line(port, "/bin/echo echo new"));
    assert_eq!(said(), 1, "{}", daemon.log.text());
}

#[test]
fn the_status_is_data_with_a_schema() {
    if !need_program("jsonschema") {
        return;
    }
    let port = free_port();
    let daemon = controlled(&(tcp_line(port, "/bin/cat cat") + "    instances = 1\n"));
    let _client = tcp(port);
    daemon.accepted(port, 1);
    let text = daemon.answer(&["status", "--json"]);
    let file = daemon.folder.write("status.json", &text);
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/status.schema.json");
    let valid = |file: &std::path::Path| {
        let mut check = Command::new("jsonschema");
        check.env("PATH", search_path()).arg("-i").arg(file).arg(schema);
        check.output().unwrap().status.success()
    };
    assert!(valid(&file), "{text}");
    let mut wrong: Value = serde_json::from_str(&text).unwrap();
    wrong["services"][0]["state"] = json!("happy");
    assert!(!valid(&daemon.folder.write("wrong.json", &wrong.to_string())));

    let mut one = status(&daemon, Some(&format!("{port}/tcp")));
    assert_eq!(one["peers"][0]["state"], json!("running"));
    // A service has no schema of its own: it is one of the whole.
    let mut whole: Value = serde_json::from_str(&text).unwrap();
    whole["services"][0] = one.take();
    assert!(valid(&daemon.folder.write("one.json", &whole.to_string())));
}

#[test]
fn a_status_longer_than_any_buffer_comes_whole_to_a_slow_reader() {
    let ports: Vec<u16> = (0..40).map(|_| free_port()).collect();
    let mut text = String::new();
    for port in &ports {
        for host in 1..=25 {
            text += &format!("127.0.0.{host}:{port} stream tcp nowait - internal discard\n");
        }
    }
    let daemon = controlled(&text);
    let mut stream = UnixStream::connect(daemon.control()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"status\n").unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 1000];
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            length => answer.extend_from_slice(&buffer[..length]),
        }
        // Others are served between two of its portions.
        if answer.len() % 50_000 < 1000 {
            assert_eq!(status(&daemon, Some(&format!("{}/tcp", ports[0])))["running"], json!(0));
        }
    }
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["services"].as_array().unwrap().len(), 1000);
}

/// `status --watch` on a terminal of this size, until these words are there.
#[track_caller]
fn watched(daemon: &Daemon, locale: &str, size: &str, wanted: impl Fn(&str) -> bool) -> String {
    let command = format!(
        "stty {size}; exec {} status --watch=1 --control {}",
        crate::common::daemon::BINARY,
        daemon.control().display()
    );
    let mut script = Command::new("script");
    script.args(["--quiet", "--command", &command, "/dev/null"]).env_clear();
    script.envs([("PATH", search_path().as_str()), ("TERM", "xterm"), ("LANG", locale)]);
    script.env("SHELL", "/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut watching = script.spawn().unwrap();
    let mut screens = watching.stdout.take().unwrap();
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    let found = wait_for("the words", || {
        let length = screens.read(&mut buffer).unwrap();
        seen.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&seen).into_owned();
        assert_ne!(length, 0, "{text}");
        // Somebody comes between two looks.
        wanted(&text).then_some(text)
    });
    watching.kill().unwrap();
    watching.wait().unwrap();
    found
}

#[test]
fn on_a_terminal_there_are_plots_of_what_came_between_two_looks() {
    if !need_program("script") {
        return;
    }
    let ports: Vec<u16> = (0..30).map(|_| free_port()).collect();
    let lines: String = ports.iter().map(|port| tcp_line(*port, "internal discard")).collect();
    let daemon = controlled(&lines);
    for (locale, highest, others) in [("C.UTF-8", '▇', ['#', '…']), ("C", '#', ['▇', '▁'])]
    {
        let seen = watched(&daemon, locale, "cols 100 rows 20", |seen| {
            drop(tcp(ports[0]));
            seen.contains(highest) && seen.matches("\x1b[H").count() > 2
        });
        assert!(!others.iter().any(|other| seen.contains(*other)), "{seen}");
        assert_eq!(seen.matches("\x1b[2J").count(), 1, "it is cleared once: {seen}");
        // Nothing is wrapped, and nothing is pushed out above.
        let screen = seen.split("\x1b[H").nth(2).unwrap();
        let lines: Vec<&str> = screen.split("\x1b[K\r\n").collect();
        assert!(lines.len() <= 20 && lines.iter().all(|it| it.chars().count() <= 103), "{screen}");
        assert!(lines.iter().any(|line| line.contains("accepted a second: ")), "{screen}");
        assert!(lines.iter().any(|line| line.starts_with("... and ")), "{screen}");
    }
}

#[test]
fn watching_shows_it_again_until_nobody_looks() {
    let port = free_port();
    let daemon = controlled(&tcp_line(port, "/bin/date date"));
    let mut asking = command(&[]);
    asking.args(["status", "--watch=1", "--control"]).arg(daemon.control());
    let mut watching = asking.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut screens = watching.stdout.take().unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while seen.matches("listening").count() < 3 {
        let length = screens.read(&mut buffer).unwrap();
        assert_ne!(length, 0, "{seen}");
        seen += &String::from_utf8_lossy(&buffer[..length]);
    }
    assert_eq!(seen.matches("SERVICE ").count(), seen.matches("listening").count());
    assert!(!seen.contains('\x1b') && seen.contains("A SECOND"), "{seen}");
    drop(screens);
    let status = wait_for("it to end", || watching.try_wait().unwrap());
    assert!(status.success());
}

#[test]
fn who_watches_a_server_is_told_that_it_has_gone_and_sees_the_next_one() {
    let (folder, port) = (Folder::new(), free_port());
    let (control, file) =
        (folder.name("control"), folder.write("conf", &tcp_line(port, "internal echo")));
    let watch = ["status", "--watch=1", "--control", &control];
    // There was none that could have gone.
    let output = command(&[]).args(watch).output().unwrap();
    assert_eq!(output.status.code(), Some(71), "{output:?}");
    let start = || {
        let mut server = command(&[]);
        server.arg(&file).args(["--control", &control]);
        let server = Process::start(server.stdin(Stdio::null()).stderr(Stdio::null()));
        wait_until("it can be asked", || {
            let mut asking = command(&[]);
            asking.args(["status", "--control", &control]).output().unwrap().status.success()
        });
        server
    };
    let mut server = start();
    let mut watching = command(&[]);
    watching.args(watch).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut watching = Process::start(&mut watching);
    let seen = Log::follow(watching.0.stdout.take().unwrap());
    let shows = |mark: usize, words: &str| {
        seen.wait(mark, 1, |line| line.raw.contains(words));
        seen.mark()
    };
    let mark = shows(0, "listening");
    server.stop();
    let mark = shows(mark, &format!("the server has gone (asking the server at {control}: "));
    let mut server = start();
    shows(mark, "listening");
    server.stop();
    assert!(watching.0.try_wait().unwrap().is_none(), "it waits still");
}

#[test]
fn what_holds_clients_back_and_how_many_wait_can_be_seen() {
    let (full, free) = (free_port(), free_port());
    let text =
        tcp_line(full, "/bin/cat cat") + "    instances = 1\n" + &tcp_line(free, "/bin/cat cat");
    let daemon = controlled(&text);
    let clients: Vec<_> = (0..4).map(|_| tcp(full)).collect();
    let _ = daemon.wait_log(|line| line.about("limit-begin", full));
    let one = status_of_port(&daemon, full);
    assert_eq!((&one["limits"], &one["waiting"]), (&json!(["instances"]), &json!(3)), "{one}");
    assert_eq!(one["state"], json!("resting"));
    let other = status_of_port(&daemon, free);
    assert_eq!((&other["limits"], &other["waiting"]), (&Value::Null, &Value::Null), "{other}");
    assert!(daemon.answer(&["status"]).contains(" resting (instances; 3 waiting) "));
    drop(clients);
    wait_until("everybody to be served", || {
        let one = status_of_port(&daemon, full);
        (&one["state"], &one["running"], &one["waiting"])
            == (&json!("listening"), &json!(0), &Value::Null)
    });
}

#[test]
fn so_can_the_limit_that_all_services_have() {
    let (port, other) = (free_port(), free_port());
    let text = tcp_line(port, "/bin/cat cat") + &tcp_line(other, "internal echo");
    let daemon = Setup::new().controlled().arg("--max-children").arg("1").start(&text);
    let _clients = [tcp(port), tcp(port), tcp(other)];
    let _ = daemon.wait_log(|line| line.is("limit-begin"));
    let all = status(&daemon, None);
    assert_eq!(all["limits"], json!(["max_children"]), "{all}");
    let one = status_of_port(&daemon, port);
    assert_eq!((&one["limits"], &one["waiting"]), (&json!(["max_children"]), &json!(1)), "{one}");
    assert_eq!(status_of_port(&daemon, other)["limits"], Value::Null);
    assert!(daemon.answer(&["status"]).contains("1 of 1 programs (max_children is reached), "));
}

#[test]
fn a_reload_that_was_refused_can_be_seen_until_one_holds() {
    let (port, metrics) = (free_port(), free_port());
    let text = tcp_line(port, "/bin/cat cat");
    let daemon = Setup::new().controlled().arg("--metrics").arg(&metrics.to_string()).start(&text);
    let holds = || {
        let samples = ask(metrics, "GET /metrics HTTP/1.0\r\n\r\n");
        let sample = |name: &str| {
            let found = samples.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            found.unwrap_or_else(|| panic!("{samples}")).parse::<u64>().unwrap()
        };
        let when = sample("oxinetd_config_last_reload_success_timestamp_seconds");
        assert_eq!(json!(when), status(&daemon, None)["configured"]);
        (sample("oxinetd_config_last_reload_successful"), when)
    };
    let first = holds();
    assert!(first.0 == 1 && first.1 > 1_700_000_000, "{first:?}");
    assert_eq!(status(&daemon, None)["reload_refused"], Value::Null);
    let _ = daemon.reload_in_vain(&(text.clone() + "nonsense\n82 strem tcp nowait - cat\n"));
    assert_eq!(holds(), (0, first.1));
    let refused = status(&daemon, None)["reload_refused"]["message"].clone();
    let refused = refused.as_str().unwrap();
    assert!(refused.ends_with("; and 1 more"), "{refused}");
    assert!(refused.contains("inetd.conf:2:9: error: "), "{refused}");
    let shown = daemon.answer(&["status"]);
    let line = shown.lines().find(|line| line.starts_with("the last reload was refused "));
    assert!(line.is_some_and(|line| line.ends_with(refused)), "{shown}");
    let _ = daemon.reload(&text);
    assert_eq!(holds().0, 1);
    assert_eq!(status(&daemon, None)["reload_refused"], Value::Null);
}
