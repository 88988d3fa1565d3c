//! A reload while somebody is in the handshake, or waits for a place: the rules of now count.

use crate::common::tls::{behind_tls, make_certificate, make_certificate_by, python, site};
use crate::common::{Daemon, Setup, free_ports, shell};

/// What the scripts begin with: a client that has all of its handshake ready and keeps its last
/// words back, so that its worker is still in it.
const BEGINNING: &str = r"
import subprocess
class Late:
    def __init__(self, port, **how):
        self.plain = socket.create_connection(('127.0.0.1', int(port)), timeout=50)
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context(**how).wrap_bio(self.into, self.out)
        self.old = how.get('old', False)
        flights = 0
        while True:
            try:
                self.tls.do_handshake()
                return
            except ssl.SSLWantReadError: pass
            # The second flight of an old one is its last but for what it only takes.
            said, flights = self.out.read(), flights + 1
            if self.old and flights > 1:
                self.out.write(said)
                return
            self.plain.sendall(said)
            data = self.plain.recv(65536)
            assert data
            self.into.write(data)
    def goes_on(self):
        'What the program says, or nothing.'
        said = b''
        try:
            self.plain.sendall(self.out.read())
            while True:
                data = self.plain.recv(65536)
                if not data: return said
                self.into.write(data)
                try:
                    if self.old: self.tls.do_handshake()
                    while True:
                        piece = self.tls.read(65536)
                        if not piece: break
                        said += piece
                except ssl.SSLWantReadError: pass
        except (OSError, ssl.SSLError): return said
def reload():
    subprocess.run([sys.argv[1], 'reload', '--control', sys.argv[2]], check=True, stdout=subprocess.DEVNULL)
";

const ENV: &str = "echo began; env";

/// Runs a script: the file of the configuration and another one, to be moved to its place, and
/// then the ports.
#[track_caller]
fn run(daemon: &Daemon, script: &str, ports: &[u16]) -> String {
    let control = daemon.control().display().to_string();
    let [now, then] = ["inetd.conf", "then.conf"].map(|it| daemon.folder.name(it));
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let mut words = vec![crate::common::daemon::BINARY, &control, &now, &then];
    words.extend(ports.iter().map(String::as_str));
    python(&daemon.folder, &format!("{BEGINNING}\n{script}"), &words)
}

/// A service with a client whose handshake is begun before a reload and ended after it.
#[derive(Debug)]
struct Case {
    /// What stands on its lines before.
    then: String,
    /// And after; none if it is gone.
    now: Option<String>,
    /// Whether the client shows a certificate, or is an old one.
    client: &'static str,
    /// Why it is refused.
    refused: Option<&'static str>,
}

/// With certificates by the first of two authorities.
fn cases([one, other]: &[String; 2]) -> Vec<Case> {
    let ask = |who: &str, by: &str| format!("    tls_client = {who}\n    tls_ca = {by}\n");
    let line = |attribute: &str| format!("    {attribute}\n");
    let [asks, requires] = ["ask", "require"].map(|who| ask(who, one));
    let plain = String::new();
    let case = |then: &String, now: Option<String>, client, refused| Case {
        then: then.clone(),
        now,
        client,
        refused,
    };
    vec![
        case(&plain, Some(requires.clone()), "none", Some("certificate_required")),
        case(&asks, Some(requires.clone()), "none", Some("certificate_required")),
        case(&asks, Some(requires.clone()), "shown", None),
        case(&requires, Some(ask("require", other)), "shown", Some("unknown_ca")),
        case(&requires, Some(plain.clone()), "shown", None),
        case(&plain, Some(asks.clone()), "none", None),
        case(&plain, Some(line("tls_versions = 1.3")), "old", Some("protocol_version")),
        case(&plain, Some(line("only_from = 192.0.2.1")), "none", Some("access")),
        case(&plain, Some(line("pty = yes")), "none", Some("closed")),
        case(&plain, None, "none", Some("gone")),
        case(&plain, Some(line("idle_timeout = 1h")), "none", None),
    ]
}

impl Case {
    /// What the client is told, if that is anything.
    fn told(&self) -> &'static str {
        let asks = self.now.as_ref().is_some_and(|now| now.contains("tls_ca"));
        match (self.refused, asks, self.client) {
            (Some(_), ..) => "",
            (None, true, "shown") => "began SSL_CLIENT_VERIFY=SUCCESS",
            (None, true, _) => "began SSL_CLIENT_VERIFY=NONE",
            (None, false, _) => "began",
        }
    }

    /// Whether the log says why it was refused, and nothing of a program.
    #[track_caller]
    fn is_refused(&self, daemon: &Daemon, port: u16) {
        if let Some(why) = self.refused {
            let refused = daemon.wait_log(|line| line.about("refused", port));
            let word = refused.get("alert").or_else(|| refused.get("reason"));
            assert_eq!(word, Some(why), "{self:?}: {}", refused.raw);
        }
        assert!(daemon.log.all_after(0, |line| line.about("accepted", port)).is_empty());
    }
}

/// What each client is told in the end, a line each.
const AROUND_A_RELOAD: &str = r"
how = {'none': {}, 'shown': {'cert': 'client.pem', 'key': 'client.key'}, 'old': {'old': True}}
late = [Late(port, **how[kind]) for port, kind in zip(sys.argv[5:], kinds)]
os.rename(sys.argv[4], sys.argv[3])
# The certificate is another one, too, as where one is renewed: that is no other rule.
subprocess.run('openssl ecparam -name prime256v1 -genkey -noout -out new.key && openssl req -new -x509 -key new.key -subj /CN=new -days 60 -out new.pem && chmod 600 new.key && mv new.key site.key && mv new.pem site.pem', shell=True, check=True, stderr=subprocess.DEVNULL)
reload()
for it in late:
    said = it.goes_on().decode().splitlines() or ['']
    print(said[0], *sorted(it for it in said if it.startswith('SSL_CLIENT_V')))
";

#[test]
fn whose_handshake_was_begun_before_a_reload_is_judged_by_the_rules_of_now() {
    let Some(folder) = site(&["python3"]) else { return };
    for authority in ["one", "other"] {
        make_certificate(&folder, authority, "DNS:authority", "90");
    }
    make_certificate_by(&folder, "one", "client", "/CN=alice");
    let cases = cases(&["one.pem", "other.pem"].map(|it| folder.name(it)));
    let ports = free_ports(cases.len().try_into().unwrap());
    let line = |port: u16, more: &str| {
        behind_tls(&folder, port, &shell(ENV), &format!("    tls_timeout = 1m\n{more}"))
    };
    let all = || ports.iter().copied().zip(&cases);
    let text: String = all().map(|(port, case)| line(port, &case.then)).collect();
    let after = all().filter_map(|(port, case)| Some(line(port, case.now.as_ref()?)));
    folder.write("then.conf", &after.collect::<String>());
    let daemon = Setup::new().controlled().start_in(folder, &text);
    let kinds: Vec<&str> = cases.iter().map(|case| case.client).collect();
    let script = format!("kinds = '{}'.split()\n{AROUND_A_RELOAD}", kinds.join(" "));
    let said = run(&daemon, &script, &ports);
    let said: Vec<&str> = said.lines().map(str::trim).collect();
    assert_eq!(said.len(), cases.len(), "{said:?}");
    for ((port, case), said) in all().zip(said) {
        assert_eq!(said, case.told(), "{case:?}");
        if case.refused.is_some() {
            case.is_refused(&daemon, port);
        }
    }
}

/// A worker was told something else when they came: the one may be still for ever, the other for
/// very long.
#[test]
fn how_long_nothing_may_move_is_what_it_is_now() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(2);
    let line = |port: u16, more: &str| {
        behind_tls(&folder, port, "/bin/cat cat", &format!("    tls_timeout = 1m\n{more}"))
    };
    let soon = "    idle_timeout = 500ms\n";
    folder.write("then.conf", &(line(ports[0], soon) + &line(ports[1], soon)));
    let text = line(ports[0], "") + &line(ports[1], "    idle_timeout = 1h\n");
    let daemon = Setup::new().controlled().start_in(folder, &text);
    let script = r"
late = [Late(port) for port in sys.argv[5:]]
os.rename(sys.argv[4], sys.argv[3])
reload()
print([it.goes_on() for it in late])
";
    assert_eq!(run(&daemon, script, &ports).trim(), "[b'', b'']");
    for port in ports {
        let ended = daemon.wait_log(|line| line.about("timeout", port));
        assert_eq!(ended.get("reason"), Some("idle"), "{}", ended.raw);
    }
    assert!(daemon.said("worker-died").is_empty(), "{}", daemon.log.text());
}

#[test]
fn who_waits_for_a_place_is_judged_by_the_rules_of_now_when_there_is_one() {
    let Some(folder) = site(&["python3"]) else { return };
    make_certificate(&folder, "one", "DNS:authority", "90");
    let port = free_ports(1)[0];
    let one = "    instances = 1\n    tls_timeout = 1m\n";
    let then = format!("{one}    tls_client = require\n    tls_ca = {}\n", folder.name("one.pem"));
    folder.write("then.conf", &behind_tls(&folder, port, "/bin/cat cat", &then));
    let text = behind_tls(&folder, port, "/bin/cat cat", one);
    let daemon = Setup::new().controlled().start_in(folder, &text);
    let script = r"
# While there is no place the listener rests: who is to wait has come before.
late = Late(sys.argv[5])
first = connect(sys.argv[5])
first.sendall(b'x'); assert first.recv(1) == b'x'
late.plain.sendall(late.out.read())
# Whether he waits by now or not: there is no place for him before the reload.
os.rename(sys.argv[4], sys.argv[3])
reload()
first.unwrap()
print(late.goes_on())
";
    assert_eq!(run(&daemon, script, &[port]).trim(), "b''");
    let refused = daemon.wait_log(|line| line.about("refused", port));
    assert_eq!(refused.get("alert"), Some("certificate_required"), "{}", refused.raw);
    assert_eq!(daemon.accepted(port, 1).len(), 1);
}
