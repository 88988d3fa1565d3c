//! Several servers of the same services on machines of their own, with HAProxy in front of
//! them: one after the other is drained and started anew, or gets another program, and no
//! client notices; and where one dies, the others' clients do not.
//!
//! What HAProxy reads is what `etc/haproxy` has, with the addresses of here.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::common::clients::{read_to_any_end, tcp_from};
use crate::common::control::{status, upgrade};
use crate::common::daemon::command;
use crate::common::load::Load;
use crate::common::needs::search_path;
use crate::common::nets::{Net, need_nets};
use crate::common::{DEADLINE, Daemon, Folder, Setup, need_program, tcp, wait_until};

const ECHO: u16 = 7007;
const HELLO: u16 = 7008;

const SERVICES: &str = ".defaults\n    proxy_protocol = require\n    proxy_from = 10.77.0.0/16\n\
                        \x20   no_access = 192.0.2.66\n\
                        7007 stream tcp nowait - internal  echo\n\
                        7008 stream tcp nowait - /bin/echo echo hello\n";

/// Who comes besides those of HAProxy's own machine. The second may not.
const CLIENTS: [&str; 2] = ["192.0.2.65", "192.0.2.66"];

const NAMES: [&str; 3] = ["one", "two", "three"];

/// HAProxy on a machine, and three others with a server each.
struct Site {
    front: Net,
    backs: Vec<Net>,
    daemons: Vec<Daemon>,
    haproxy: Child,
    folder: Folder,
}

fn server_in(net: &Net) -> Daemon {
    let words = net.enter();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let setup = Setup::new().under(&words).controlled().arg("--metrics").arg("*:9100");
    setup.start(SERVICES)
}

impl Site {
    fn new() -> Self {
        let front = Net::new();
        for client in CLIENTS {
            assert!(front.ip(&["address", "add", &format!("{client}/32"), "dev", "lo"]));
        }
        let backs: Vec<Net> = NAMES.iter().map(|_| Net::new()).collect();
        let folder = Folder::new();
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/haproxy/haproxy.cfg");
        let mut text = fs::read_to_string(shipped).unwrap();
        for (index, back) in backs.iter().enumerate() {
            let prefix = format!("10.77.{index}");
            assert!(front.cable(back, &prefix));
            let address = format!("192.0.2.1{}:", index + 1);
            assert!(text.contains(&address), "{text}");
            text = text.replace(&address, &format!("{prefix}.2:"));
        }
        let socket = folder.name("haproxy");
        let text =
            text.replace("/run/haproxy/admin.sock", &socket).replace("inter 1s", "inter 100ms");
        assert!(text.contains("inter 100ms"), "{text}");
        let file = folder.write("haproxy.cfg", &text);
        let daemons = backs.iter().map(server_in).collect();
        let enter = front.enter();
        let mut haproxy = Command::new(&enter[0]);
        haproxy.env("PATH", search_path()).args(&enter[1..]).args(["haproxy", "-db", "-f"]);
        let haproxy = haproxy.arg(file).stdout(Stdio::null()).spawn().unwrap();
        let site = Self { front, backs, daemons, haproxy, folder };
        NAMES.iter().for_each(|name| site.wait_for(name, "UP"));
        site
    }

    /// A column of what HAProxy says of a server of one of its sections.
    fn column(&self, (section, server): (&str, &str), name: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.folder.at("haproxy")).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        stream.write_all(format!("show stat {section} -1 -1\n").as_bytes()).ok()?;
        let mut table = String::new();
        stream.read_to_string(&mut table).ok()?;
        let head: Vec<&str> = table.lines().next()?.trim_start_matches("# ").split(',').collect();
        let at = |name: &str| head.iter().position(|word| *word == name);
        let (own, wanted) = (at("svname")?, at(name)?);
        let rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let row = rows.into_iter().find(|row| row.get(own) == Some(&server))?;
        row.get(wanted).map(|word| (*word).to_owned())
    }

    /// Waits until HAProxy thinks so of a server, for each of its services.
    fn wait_for(&self, server: &str, status: &str) {
        let thinks = |section: &&str| {
            self.column((section, server), "status").is_some_and(|it| it.starts_with(status))
        };
        wait_until(&format!("haproxy to think {status} of {server}"), || {
            ["hello", "echo"].iter().all(thinks)
        });
    }

    /// Connections that servers have not taken, so that another one had to.
    fn taken_elsewhere(&self) -> Vec<String> {
        let counts = |server: (&str, &str)| {
            ["econ", "wretr", "wredis"].map(|column| self.column(server, column).unwrap())
        };
        let servers = NAMES.iter().flat_map(|name| [("hello", *name), ("echo", *name)]);
        servers.flat_map(counts).filter(|count| count != "0").collect()
    }

    fn load(&self) -> Load {
        self.front.inside(|| Load::start(HELLO, "hello\n"))
    }

    /// A session that one of the servers has.
    fn connect(&self) -> TcpStream {
        let mut session = self.front.inside(|| tcp(ECHO));
        assert!(answers(&mut session));
        session
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.haproxy.kill();
        let _ = self.haproxy.wait();
    }
}

/// Whether a session goes on.
fn answers(session: &mut TcpStream) -> bool {
    let mut answer = [0; 5];
    session.write_all(b"here\n").is_ok()
        && session.read_exact(&mut answer).is_ok()
        && answer == *b"here\n"
}

fn stop(daemon: &Daemon, words: &[&str]) -> Child {
    let mut asking = command(&[]);
    asking.arg("stop").args(words).arg("--control").arg(daemon.control());
    asking.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

#[test]
fn rules_and_the_log_are_about_clients_and_not_about_haproxy() {
    if !need_nets() || !need_program("haproxy") {
        return;
    }
    let site = Site::new();
    let to = |client: &str| {
        let from: Ipv4Addr = client.parse().unwrap();
        site.front.inside(|| read_to_any_end(tcp_from(from, HELLO)))
    };
    let [one, other] = CLIENTS;
    for _ in NAMES {
        assert_eq!(to(one), "hello\n");
        assert_eq!(to(other), "");
    }
    let said = |word: &str| {
        let lines = site.daemons.iter().flat_map(|daemon| daemon.said(word));
        lines.map(|line| line.get("peer").unwrap().rsplit_once(':').unwrap().0.to_owned()).collect()
    };
    wait_until("all to be in the log", || {
        let served: Vec<String> = said("accepted");
        let refused: Vec<String> = said("refused");
        !refused.is_empty() && served == [one; 3] && refused.iter().all(|it| it == other)
    });
}

#[test]
fn servers_are_drained_and_started_anew_one_after_the_other_and_no_client_notices() {
    if !need_nets() || !need_program("haproxy") {
        return;
    }
    let mut site = Site::new();
    let mut session = site.connect();
    let load = site.load();
    load.wait_more(50);
    for (index, name) in NAMES.iter().enumerate() {
        // The delay lasts until HAProxy has heard it, however slow this machine is.
        let asking = stop(&site.daemons[index], &["--drain=3600", "--drain-delay", "1h"]);
        site.wait_for(name, "DOWN");
        load.wait_more(20);
        let is_there = status(&site.daemons[index], None)["conversations"] != 0;
        let second = stop(&site.daemons[index], &["--drain=3600"]);
        if is_there {
            // It has the one session, which goes on, and it ends when that does.
            assert!(answers(&mut session));
            session = site.connect();
        }
        assert!(site.daemons[index].wait_exit().success());
        for mut asking in [asking, second] {
            assert!(asking.wait().unwrap().success());
        }
        site.daemons[index] = server_in(&site.backs[index]);
        site.wait_for(name, "UP");
        load.wait_more(20);
    }
    load.finish();
    assert_eq!(site.taken_elsewhere(), Vec::<String>::new());
}

#[test]
fn servers_get_another_program_one_after_the_other_and_no_client_notices() {
    if !need_nets() || !need_program("haproxy") {
        return;
    }
    let site = Site::new();
    let mut sessions: Vec<TcpStream> = (0..6).map(|_| site.connect()).collect();
    let load = site.load();
    load.wait_more(50);
    for daemon in &site.daemons {
        upgrade(daemon);
        load.wait_more(30);
    }
    load.finish();
    assert_eq!(site.taken_elsewhere(), Vec::<String>::new());
    assert!(sessions.iter_mut().all(answers));
    for (daemon, name) in site.daemons.iter().zip(NAMES) {
        daemon.said_times(1, "upgraded");
        assert_eq!(
            site.column(("hello", name), "chkdown").as_deref(),
            Some("0"),
            "{name} was not ready"
        );
    }
}

#[test]
fn where_one_dies_its_own_sessions_are_lost_and_no_others() {
    if !need_nets() || !need_program("haproxy") {
        return;
    }
    let mut site = Site::new();
    let mut sessions: Vec<TcpStream> = (0..9).map(|_| site.connect()).collect();
    let held = |daemon: &Daemon| status(daemon, None)["conversations"].as_u64().unwrap();
    let counts: Vec<u64> = site.daemons.iter().map(held).collect();
    assert_eq!(counts, [3, 3, 3], "as balanced");
    site.daemons[1].signal(Signal::SIGKILL);
    let _ = site.daemons[1].wait_exit();
    // Who comes now is another one's, whether HAProxy has heard of it or not.
    let load = site.load();
    load.wait_more(30);
    site.wait_for("two", "DOWN");
    load.wait_more(30);
    load.finish();
    let alive = sessions.iter_mut().map(answers).filter(|lives| *lives).count();
    assert_eq!(alive, 6);
    site.daemons[1] = server_in(&site.backs[1]);
    site.wait_for("two", "UP");
}
