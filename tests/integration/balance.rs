//! The books balance: whatever clients, programs, reloads and upgrades do, each start has its
//! one end in the log, the counters say the same, and nothing is left of anybody.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown, TcpStream};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::common::clients::{echo_once, read_to_any_end, reset, tcp_from, udp_ask};
use crate::common::control::{controlled, status, upgrade};
use crate::common::daemon::as_pid;
use crate::common::{
    Line, free_ports, me, procs, read_line, shell, tcp, tcp_line, udp, wait_until,
};

/// Ports by what is there.
struct Ports<'a>(&'a [u16]);

impl Ports<'_> {
    /// What echoes, by a program, the server, a relay to each, and behind tcpmux.
    fn echoes(&self) -> &[u16] {
        &self.0[..4]
    }

    fn text(&self) -> String {
        let &[cat, echo, to_cat, to_echo, mux, few, shells, peers, ..] = self.0 else { panic!() };
        let relay =
            |port, to| tcp_line(port, "internal") + &format!("    redirect = 127.0.0.1 {to}\n");
        let few = tcp_line(few, "/bin/cat cat") + "    per_source = 1\n";
        tcp_line(cat, "/bin/cat cat")
            + &tcp_line(echo, "internal echo")
            + &relay(to_cat, cat)
            + &relay(to_echo, echo)
            + &tcp_line(mux, "internal tcpmux")
            + "tcpmux/+cat stream tcp nowait - /bin/cat cat\n"
            + &few
            + &tcp_line(shells, &shell("read word rest; $word $rest"))
            + &format!(
                "127.0.0.1:{peers} dgram udp nowait {} dd dd bs=64 count=1 status=none\n",
                me()
            )
    }
}

/// Clients who stay, and those who come and go in all ways.
fn visit(ports: &Ports<'_>) -> Vec<TcpStream> {
    let &[.., mux, few, shells, peers] = &ports.0[..8] else { panic!() };
    let mut stay = Vec::new();
    for port in ports.echoes() {
        let client = || {
            let client = tcp(*port);
            assert_eq!(echo_once(&client, "hello"), "hello");
            client
        };
        client().shutdown(Shutdown::Write).unwrap();
        reset(client());
        let _ = client().write_all(&[b'x'; 100_000]);
        stay.push(client());
    }
    for name in ["cat", "cat", "none"] {
        let client = tcp(mux);
        writeln!(&client, "{name}\r").unwrap();
        let _ = read_line(&client);
        if name == "cat" {
            assert_eq!(echo_once(&client, "hello"), "hello");
        }
    }
    stay.push(tcp_from(Ipv4Addr::new(127, 0, 0, 9), few));
    assert_eq!(echo_once(stay.last().unwrap(), "hello"), "hello");
    assert_eq!(read_to_any_end(tcp_from(Ipv4Addr::new(127, 0, 0, 9), few)), "");
    for words in ["exit 3", "kill -9 $$", "echo line >&2", "exec /no/such/program"] {
        let client = tcp(shells);
        writeln!(&client, "eval {words}").unwrap();
        let _ = read_to_any_end(client);
    }
    assert_eq!(udp_ask(&udp(peers), "hello"), "hello");
    stay
}

/// Those who have begun and not ended; panics where one has no beginning.
fn balance(lines: &[Line]) -> HashMap<String, i32> {
    let mut open: HashMap<String, i32> = HashMap::new();
    for line in lines {
        let change = match line.word() {
            "accepted" => 1,
            "ended" | "closed" => -1,
            _ => continue,
        };
        let [service, peer, pid] = ["service", "peer", "pid"].map(|key| line.get(key));
        let who = format!("{} {} {}", service.unwrap(), peer.unwrap(), pid.unwrap_or("-"));
        let count = open.entry(who).or_default();
        *count += change;
        assert!((0..=1).contains(count), "{}", line.raw);
    }
    open.retain(|_, count| *count != 0);
    open
}

#[test]
fn every_start_has_its_end_and_nothing_is_left() {
    let numbers = free_ports(9);
    let ports = Ports(&numbers);
    let (text, other) = (ports.text(), tcp_line(numbers[8], "/bin/cat cat"));
    let daemon = controlled(&text);
    drop(visit(&ports));
    daemon.wait_childless();
    upgrade(&daemon);
    let before = procs::descriptors(daemon.pid());
    for round in 0..3 {
        let stay = visit(&ports);
        let _ = daemon.reload(&(text.clone() + &other));
        let on_another = tcp(numbers[8]);
        assert_eq!(echo_once(&on_another, "hello"), "hello");
        let pid = daemon.accepted(numbers[8], round + 1).pop().unwrap();
        let _ = daemon.reload(&text);
        upgrade(&daemon);
        for client in &stay {
            assert_eq!(echo_once(client, "still"), "still");
        }
        kill(as_pid(pid), Signal::SIGKILL).unwrap();
        assert_eq!(read_to_any_end(on_another), "");
        drop(stay);
        daemon.wait_childless();
        wait_until("everybody to be gone", || status(&daemon, None)["conversations"] == 0);
    }
    wait_until("everybody's end", || balance(&daemon.log.all_after(0, |_| true)).is_empty());
    let all = status(&daemon, None);
    let accepted = daemon.said("accepted").len();
    assert_eq!((&all["accepted"], &all["running"]), (&accepted.into(), &0.into()), "{all}");
    assert_eq!((&all["refused"], &all["failed"]), (&4.into(), &0.into()), "{all}");
    for service in all["services"].as_array().unwrap() {
        let label = service["service"].as_str().unwrap();
        let said = |word| {
            let is = |line: &Line| line.is(word) && line.get("service") == Some(label);
            daemon.log.all_after(0, is).len()
        };
        assert_eq!(service["accepted"], said("accepted"), "{service}");
        let exits = service["exits"].as_object().unwrap().values();
        let exits: u64 = exits.filter_map(Value::as_u64).sum();
        assert_eq!(exits, u64::try_from(said("ended")).unwrap(), "{service}");
    }
    wait_until("as many descriptors as before", || procs::descriptors(daemon.pid()) <= before);
    assert!(daemon.said("trouble").is_empty());
}
