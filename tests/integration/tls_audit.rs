//! Who was here, behind TLS: the log and the lists of those who are say which version it is,
//! which name was asked for, and who has shown which certificate. And which certificate it is
//! that the server shows, since a reload.

use serde_json::{Value, json};

use crate::common::tls::{
    behind_tls, make_certificate, make_certificate_by, output_of, python, site,
};
use crate::common::{Daemon, Setup, free_port, free_ports, tcp_line};

/// Services that take a certificate: a program, a built-in one and a relay.
struct Scene {
    daemon: Daemon,
    ports: Vec<u16>,
}

/// A name that would be two fields, and drive a terminal, if it were written as it is.
const SUBJECT: &str = "/O=A \"B\"/CN=Alice pid=1";
const TOLD: &str = "CN=Alice pid=1,O=A \\\"B\\\"";

/// The same as the log has it: what would end the value is escaped.
fn quoted() -> String {
    TOLD.replace('\\', "\\\\").replace('"', "\\\"")
}

impl Scene {
    #[track_caller]
    fn set() -> Option<Self> {
        let folder = site(&["python3"])?;
        make_certificate(&folder, "ca", "DNS:ca", "90");
        make_certificate_by(&folder, "ca", "alice", SUBJECT);
        let ports = free_ports(4);
        let asks = format!("    tls_client = ask\n    tls_ca = {}\n", folder.name("ca.pem"));
        let program = behind_tls(&folder, ports[0], "/bin/cat cat", &asks);
        let builtin = behind_tls(&folder, ports[1], "internal echo", &asks);
        let relay = format!("{asks}    redirect = 127.0.0.1 {}\n", ports[3]);
        let relay = behind_tls(&folder, ports[2], "internal", &relay);
        let text = program + &builtin + &relay + &tcp_line(ports[3], "internal echo");
        let daemon = Setup::new().controlled().copied().start_in(folder, &text);
        Some(Self { daemon, ports })
    }

    /// Runs a script that knows the ports, and `ask(WORDS)`, which is `oxinetd WORDS --json`.
    #[track_caller]
    fn run(&self, script: &str) -> String {
        let daemon = &self.daemon;
        let (program, control) = (daemon.folder.name("oxinetd"), daemon.control());
        let whole = format!(
            r"
import json, subprocess
program, control = sys.argv[1:3]
def told(*words): return subprocess.run([program, *words, '--control', control], check=True, stdout=subprocess.PIPE, text=True).stdout
def ask(*words): return json.loads(told(*words, '--json'))
def works(it):
    it.sendall(b'x'); assert it.recv(1) == b'x'
{script}"
        );
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        let words = [program, control.display().to_string()].into_iter().chain(ports);
        let words: Vec<String> = words.collect();
        python(&daemon.folder, &whole, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

#[test]
fn who_has_shown_a_certificate_is_named_by_the_log_and_while_he_is_here() {
    let Some(scene) = Scene::set() else { return };
    let port = scene.ports[0];
    let said = scene.run(
        r"
it = connect(sys.argv[3], 'localhost', cert='alice.pem', key='alice.key')
works(it)
first = ask('peers')['peers']
table = told('peers')
told('upgrade')
works(it)
[again] = ask('status', sys.argv[3] + '/tcp')['peers']
assert again['tls'] == first[0]['tls'], again
old = connect(sys.argv[3], old=True)
works(old)
both = ask('peers')['peers']
it.close(); old.close()
print(json.dumps({'tls': [peer['tls'] for peer in both], 'table': table}))
",
    );
    let said: Value = serde_json::from_str(&said).unwrap();
    let alice = json!({"version": "TLSv1.3", "server_name": "localhost", "subject": TOLD});
    assert_eq!(said["tls"], json!([alice, {"version": "TLSv1.2"}]));
    let table = said["table"].as_str().unwrap();
    let row = format!("  TLSv1.3 server_name=localhost subject={TOLD}\n");
    assert!(table.contains("  TLS\n") && table.ends_with(&row), "{table}");
    let accepted = scene.daemon.wait_count(2, |line| line.about("accepted", port));
    let facts = |at: usize| ["tls", "server_name", "subject"].map(|key| accepted[at].get(key));
    assert_eq!(facts(0), [Some("TLSv1.3"), Some("localhost"), Some(&*quoted())]);
    assert_eq!(facts(1), [Some("TLSv1.2"), None, None]);
    // Nobody is here any more of whom that could be said.
    scene.daemon.wait_count(2, |line| line.about("ended", port));
    let peers: Value = serde_json::from_str(&scene.daemon.answer(&["peers", "--json"])).unwrap();
    assert_eq!(peers["peers"][0]["tls"], Value::Null, "{peers}");
}

#[test]
fn clients_of_built_in_services_and_relays_are_named_too() {
    let Some(scene) = Scene::set() else { return };
    let said = scene.run(
        r"
for port in sys.argv[4:6]:
    it = connect(port, cert='alice.pem', key='alice.key')
    works(it)
    [peer] = [peer for peer in ask('peers')['peers'] if peer['state'] == 'running' and peer['service'] == port + '/tcp']
    print(peer['tls']['subject'])
    it.close()
",
    );
    assert_eq!(said, format!("{TOLD}\n{TOLD}\n"));
    for port in &scene.ports[1..3] {
        let line = scene.daemon.wait_log(|line| line.about("accepted", *port));
        assert_eq!(line.get("subject"), Some(&*quoted()), "{}", line.raw);
    }
}

#[test]
fn a_client_of_whom_nothing_is_to_be_logged_is_not_named() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, "/bin/true true", "    log_on_success = PID\n");
    let daemon = Setup::new().start_in(folder, &text);
    let script = "read_all(connect(sys.argv[1], 'localhost'))";
    let _ = python(&daemon.folder, script, &[&port.to_string()]);
    let accepted = daemon.wait_log(|line| line.about("accepted", port));
    assert!(accepted.raw.contains(" pid=") && !accepted.raw.contains("TLS"), "{}", accepted.raw);
}

#[test]
fn a_reload_that_brings_another_certificate_says_which_is_served_now_and_until_when() {
    let Some(folder) = site(&[]) else { return };
    make_certificate(&folder, "other", "DNS:other.example", "90");
    let ports = free_ports(2);
    let other = format!("    tls += {} {}\n", folder.name("other.pem"), folder.name("other.key"));
    // Two services show the same.
    let text = behind_tls(&folder, ports[0], "/bin/cat cat", &other)
        + &behind_tls(&folder, ports[1], "internal echo", "");
    let daemon = Setup::new().start_in(folder, &text);
    let _ = daemon.reload(&text);
    assert!(daemon.said("certificate").is_empty(), "nothing is new: {}", daemon.log.text());

    make_certificate(&daemon.folder, "site", "DNS:localhost,IP:127.0.0.1", "60");
    let _ = daemon.reload(&(text.clone() + &tcp_line(free_port(), "/bin/true true")));
    let [said] = &daemon.said("certificate")[..] else { panic!("{}", daemon.log.text()) };
    assert_eq!(said.get("file"), Some(&*daemon.folder.name("site.pem")));
    assert_eq!(said.get("names"), Some("localhost,127.0.0.1"));
    let openssl = |what: &[&str]| {
        let words = [&["openssl", "x509", "-noout", "-in", "site.pem"], what].concat();
        let said = output_of(&daemon.folder, &words, "");
        said.trim().split_once('=').unwrap().1.to_owned()
    };
    assert_eq!(said.get("fingerprint"), Some(&*openssl(&["-fingerprint", "-sha256"])));
    let until = ["date", "-u", "-d", &openssl(&["-enddate"]), "+%Y-%m-%dT%H:%M:%SZ"];
    assert_eq!(said.get("until"), Some(output_of(&daemon.folder, &until, "").trim()));

    // One that is refused is not served, and is not told of.
    make_certificate(&daemon.folder, "third", "DNS:third.example", "60");
    std::fs::copy(daemon.folder.at("third.pem"), daemon.folder.at("site.pem")).unwrap();
    let _ = daemon.reload_in_vain(&text);
    assert_eq!(daemon.said("certificate").len(), 1, "{}", daemon.log.text());
}
