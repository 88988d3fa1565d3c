//! What a running server answers, as data: every field has its description in the schema and in
//! the manual page, and is what that says.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::common::clients::echo_once;
use crate::common::control::{controlled, status};
use crate::common::{DEADLINE, Daemon, free_ports, read_all, tcp, tcp_line};

fn project(name: &str) -> String {
    let path = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn schema() -> Value {
    serde_json::from_str(&project("etc/status.schema.json")).unwrap()
}

/// What is wrong with a value: as JSON Schema has it, as much of that as is used; and no field
/// may be there of which nothing is said.
struct Checker {
    schema: Value,
    wrong: Vec<String>,
}

impl Checker {
    #[track_caller]
    fn check(value: &Value, name: &str) {
        let schema = schema();
        let rule =
            if name.is_empty() { schema.clone() } else { schema["definitions"][name].clone() };
        let mut checker = Self { schema, wrong: Vec::new() };
        checker.look(value, &rule, name);
        assert_eq!(checker.wrong, Vec::<String>::new(), "{value:#}");
    }

    fn look(&mut self, value: &Value, rule: &Value, at: &str) {
        if let Some(name) = rule["$ref"].as_str() {
            let rule = self.schema.pointer(name.trim_start_matches('#')).unwrap().clone();
            return self.look(value, &rule, at);
        }
        if let Some(choices) = rule["oneOf"].as_array() {
            let choice = usize::from(!value.is_null());
            return self.look(value, &choices[choice], at);
        }
        let types: Vec<&str> = match &rule["type"] {
            Value::String(one) => vec![one],
            Value::Array(some) => some.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let is_of = |kind: &&str| match *kind {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "string" => value.is_string(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            _ => value.is_object(),
        };
        let is_one = rule["enum"].as_array().is_none_or(|all| all.contains(value));
        let least = rule["minimum"].as_f64();
        let is_enough = least.is_none_or(|least| value.as_f64().is_none_or(|it| it >= least));
        if !(types.is_empty() || types.iter().any(is_of)) || !is_one || !is_enough {
            self.wrong.push(format!("{at}: {value}"));
        }
        for one in value.as_array().into_iter().flatten() {
            self.look(one, &rule["items"], at);
        }
        self.look_into(value, rule, at);
    }

    fn look_into(&mut self, value: &Value, rule: &Value, at: &str) {
        let Some(fields) = value.as_object() else { return };
        for name in rule["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                self.wrong.push(format!("{at} lacks {name}"));
            }
        }
        for (name, field) in fields {
            let of_all = &rule["additionalProperties"];
            let known = rule["properties"].get(name).or(Some(of_all).filter(|it| it.is_object()));
            match known {
                Some(known) => self.look(field, known, &format!("{at}.{name}")),
                None => self.wrong.push(format!("{at}.{name} is not described")),
            }
        }
    }
}

/// What the control socket answers to a line: its first line.
fn answer(daemon: &Daemon, request: &str) -> Value {
    let mut stream = UnixStream::connect(daemon.control()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

/// Services in several states: with clients, stopped, full, wrong, named, missing.
fn busy() -> (Daemon, Vec<u16>, Vec<std::net::TcpStream>) {
    let ports = free_ports(6);
    let text = tcp_line(ports[0], "/bin/cat cat")
        + "    instances = 1\n    id = kitten\n"
        + &tcp_line(ports[1], "internal echo")
        + &tcp_line(ports[2], "/bin/cat cat")
        + &tcp_line(ports[3], "/nowhere/at/all x")
        + &tcp_line(ports[4], "/bin/sh sh -c 'exit 3'")
        + &tcp_line(ports[5], "/bin/cat cat")
        + "    only_from = 192.0.2.1\n";
    let daemon = controlled(&text);
    let clients = vec![tcp(ports[0]), tcp(ports[1])];
    for client in &clients {
        assert_eq!(echo_once(client, "x"), "x");
    }
    for port in [ports[4], ports[5]] {
        assert_eq!(read_all(tcp(port)), "");
    }
    let _ = daemon.wait_log(|line| line.about("ended", ports[4]));
    daemon.answer(&["stop", &format!("{}/tcp", ports[2])]);
    (daemon, ports, clients)
}

#[test]
fn what_is_answered_is_what_the_schema_describes() {
    let (daemon, ports, _clients) = busy();
    let whole = status(&daemon, None);
    Checker::check(&whole, "");
    assert_eq!(whole["services"].as_array().unwrap().len(), 5);
    for port in ports.iter().filter(|port| **port != ports[3]) {
        let one = status(&daemon, Some(&format!("{port}/tcp")));
        assert!(one["peers"].is_array(), "{one}");
        Checker::check(&one, "service");
    }
    let peers: Value = serde_json::from_str(&daemon.answer(&["peers", "--json"])).unwrap();
    Checker::check(&peers, "peers");
    assert_eq!((&peers["running"], peers["peers"].as_array().unwrap().len()), (&json!(2), 3));
}

#[test]
fn so_are_the_answers_of_the_control_socket() {
    let (daemon, ports, _clients) = busy();
    for (request, name) in [
        ("status".to_owned(), ""),
        (format!("status {}/tcp", ports[0]), "service"),
        ("peers".to_owned(), "peers"),
        ("reload".to_owned(), "reloaded"),
        ("upgrade".to_owned(), "upgraded"),
        (format!("start {}/tcp", ports[2]), "done"),
        (format!("kill {}/tcp", ports[1]), "done"),
        ("kill nobody".to_owned(), "refusal"),
        ("nonsense".to_owned(), "refusal"),
        ("stop --drain=0".to_owned(), "stopping"),
    ] {
        Checker::check(&answer(&daemon, &request), name);
    }
}

/// The names of all fields that the schema has.
fn described(rule: &Value, names: &mut BTreeSet<String>) {
    match rule {
        Value::Object(fields) => {
            let properties = fields.get("properties").and_then(Value::as_object);
            names.extend(properties.into_iter().flat_map(|it| it.keys().cloned()));
            fields.values().for_each(|it| described(it, names));
        }
        Value::Array(all) => all.iter().for_each(|it| described(it, names)),
        _ => {}
    }
}

#[test]
fn the_manual_page_has_every_field_and_no_other() {
    let text = project("etc/man/oxinetd.8");
    let section = text.split(".Sh STATUS AS DATA\n").nth(1).unwrap();
    let section = section.split("\n.Sh ").next().unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix(".Va "));
    let said: BTreeSet<String> = lines
        .flat_map(|line| line.split(' '))
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .map(str::to_owned)
        .collect();
    let mut names = BTreeSet::new();
    described(&schema(), &mut names);
    assert_eq!(said, names);
}
