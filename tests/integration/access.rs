//! Who may connect: lists of addresses, on every kind of socket.

use std::net::{Ipv4Addr, TcpStream};

use crate::common::clients::{echo_once, read_to_any_end, tcp_from, udp_ask, udp_from, udp_read};
use crate::common::files::wait_text;
use crate::common::{
    Daemon, Folder, Setup, free_port, me, need_ipv6, need_program, read_all, shell, tcp, tcp_line,
    tcp6, udp, wait_until,
};

const CAT: &str = "/bin/cat cat";
const FRIEND: Ipv4Addr = Ipv4Addr::LOCALHOST;
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

fn served(client: &TcpStream) -> bool {
    echo_once(client, "?") == "?"
}

fn refused(client: TcpStream) -> bool {
    read_to_any_end(client).is_empty()
}

#[test]
fn the_most_specific_rule_decides_and_the_log_names_who_was_refused() {
    let port = free_port();
    let text = tcp_line(port, CAT)
        + "    only_from = 127.0.0.0/8\n    no_access = 127.0.0.{8,9}\n    only_from += 127.0.0.8/32\n";
    let daemon = Daemon::start(&text);
    assert!(served(&tcp_from(FRIEND, port)));
    let stranger = tcp_from(OTHER, port);
    let own = stranger.local_addr().unwrap().to_string();
    assert!(refused(stranger));
    let line = daemon.wait_log(|line| line.about("refused", port));
    assert_eq!((line.get("reason"), line.get("peer")), (Some("access"), Some(own.as_str())));
    // Of two equal rules the refusing one counts.
    assert!(refused(tcp_from(Ipv4Addr::new(127, 0, 0, 8), port)));
    assert_eq!(daemon.accepted(port, 1).len(), 1);
}

#[test]
fn defaults_hold_and_an_entry_adds_to_them_and_takes_from_them() {
    let (one, two, three) = (free_port(), free_port(), free_port());
    let text = String::from(".defaults\n    only_from = 127.0.0.1\n")
        + &tcp_line(one, CAT)
        + &tcp_line(two, CAT)
        + "    only_from += 127.0.0.9\n"
        + &tcp_line(three, CAT)
        + "    only_from += 127.0.0.9\n    only_from -= 127.0.0.1\n";
    let _daemon = Daemon::start(&text);
    assert!(served(&tcp_from(FRIEND, one)) && refused(tcp_from(OTHER, one)));
    assert!(served(&tcp_from(FRIEND, two)) && served(&tcp_from(OTHER, two)));
    assert!(refused(tcp_from(FRIEND, three)) && served(&tcp_from(OTHER, three)));
}

#[test]
fn a_file_of_addresses_is_read_again_at_a_reload_and_a_wrong_one_changes_nothing() {
    let (port, folder) = (free_port(), Folder::new());
    folder.write("friends", "# who may\n127.0.0.1   # this machine\n");
    let text = tcp_line(port, CAT) + "    only_from = @friends\n";
    let daemon = Setup::new().start_in(folder, &text);
    assert!(served(&tcp_from(FRIEND, port)) && refused(tcp_from(OTHER, port)));
    daemon.folder.write("friends", "127.0.0.9\n");
    let line = daemon.reload(&text);
    assert_eq!((line.number("updated"), line.number("kept")), (Some(1), Some(1)));
    assert!(refused(tcp_from(FRIEND, port)) && served(&tcp_from(OTHER, port)));
    daemon.folder.write("friends", "127.0.0.1\nlocalhost\n");
    let _ = daemon.reload_in_vain(&text);
    let line = daemon.wait_log(|line| line.is("configuration"));
    assert!(line.raw.contains("friends:2:1: error:"), "{}", line.raw);
    assert!(refused(tcp_from(FRIEND, port)) && served(&tcp_from(OTHER, port)));
}

#[test]
fn a_service_whose_list_is_not_there_goes_on_as_it_was() {
    let (port, folder) = (free_port(), Folder::new());
    folder.write("friends", "127.0.0.1\n");
    let text = tcp_line(port, CAT) + "    only_from = @friends\n";
    let daemon = Setup::new().start_in(folder, &text);
    std::fs::remove_file(daemon.folder.at("friends")).unwrap();
    let _ = daemon.reload(&text);
    assert!(served(&tcp_from(FRIEND, port)) && refused(tcp_from(OTHER, port)));
}

#[test]
fn families_are_apart() {
    if !need_ipv6() {
        return;
    }
    let port = free_port();
    let text = format!("127.0.0.1,[::1]:{port} stream tcp nowait - {CAT}\n    only_from = ::/0\n");
    let _daemon = Daemon::start(&text);
    assert!(served(&tcp6(port)) && refused(tcp(port)));
}

#[test]
fn a_hundred_thousand_rules_are_read_and_asked() {
    let (port, folder) = (free_port(), Folder::new());
    let list: String = (0..100_000u32)
        .map(|n| format!("{}/32\n", Ipv4Addr::from_bits(0x0a00_0000 + n * 3)))
        .chain(["127.0.0.1\n".to_owned()])
        .collect();
    folder.write("friends", &list);
    let text = tcp_line(port, CAT) + "    only_from = @friends\n";
    let _daemon = Setup::new().start_in(folder, &text);
    assert!(served(&tcp_from(FRIEND, port)) && refused(tcp_from(OTHER, port)));
}

#[test]
fn datagrams_of_strangers_are_not_answered_by_built_in_services() {
    let port = free_port();
    let text =
        format!("127.0.0.1:{port} dgram udp wait - internal echo\n    no_access = 127.0.0.9\n");
    let daemon = Daemon::start(&text);
    let (stranger, friend) = (udp_from(OTHER, port), udp(port));
    stranger.send(b"stranger").unwrap();
    assert_eq!(udp_ask(&friend, "friend"), "friend");
    // Datagrams are answered in their order, so this one has been thrown away.
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv(&mut [0; 9]).is_err());
    let line = daemon.wait_log(|line| line.about("refused", port));
    assert_eq!(line.get("reason"), Some("access"));
}

#[test]
fn a_program_for_each_peer_is_started_for_friends_only() {
    let port = free_port();
    let text = format!(
        "127.0.0.1:{port} dgram udp nowait - /usr/bin/head head -c 2\n    only_from = 127.0.0.1\n"
    );
    let daemon = Daemon::start(&text);
    let (stranger, friend) = (udp_from(OTHER, port), udp(port));
    stranger.send(b"no").unwrap();
    friend.send(b"ok").unwrap();
    assert_eq!(udp_read(&friend), "ok");
    let _ = daemon.wait_log(|line| line.about("refused", port));
    assert_eq!(daemon.accepted(port, 1).len(), 1);
}

#[test]
fn a_waiting_program_is_not_started_by_datagrams_of_strangers() {
    let (port, folder) = (free_port(), Folder::new());
    let out = folder.open_folder("out").join("text");
    let script = shell(&format!("dd bs=64k count=1 of={} status=none", out.display()));
    let text =
        format!("127.0.0.1:{port} dgram udp wait {} {script}\n    only_from = 127.0.0.1\n", me());
    let daemon = Setup::new().start_in(folder, &text);
    let stranger = udp_from(OTHER, port);
    for _ in 0..200 {
        stranger.send(b"stranger\n").unwrap();
    }
    let _ = daemon.wait_log(|line| line.about("refused", port));
    udp(port).send(b"friend\n").unwrap();
    assert_eq!(wait_text(&out), "friend\n");
    assert_eq!(daemon.accepted(port, 1).len(), 1);
    let told = || {
        let lines = daemon.said("refused");
        lines.iter().map(|line| 1 + line.number("left_out").unwrap()).sum::<u32>()
    };
    wait_until("all of them counted", || told() == 200);
}

#[test]
fn a_waiting_program_that_accepts_by_itself_cannot_be_protected_and_that_is_said() {
    if !need_program("python3") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let script = folder.write(
        "accept.py",
        "import socket\ns, _ = socket.socket(fileno=0).accept()\ns.sendall(b'yes')\n",
    );
    let text = format!(
        "127.0.0.1:{port} stream tcp wait {} python3 python3 {}\n    no_access = 127.0.0.0/8\n",
        me(),
        script.display()
    );
    let daemon = Setup::new().start_in(folder, &text);
    let line = daemon.wait_log(|line| line.is("configuration"));
    assert!(line.raw.contains("`no_access` has no effect"), "{}", line.raw);
    assert_eq!(read_all(tcp(port)), "yes");
}

#[test]
fn entries_of_tcpmux_have_rules_of_their_own() {
    let port = free_port();
    let text = format!(
        "127.0.0.1:{port} stream tcp nowait - internal tcpmux\n\
         tcpmux/+open stream tcp nowait - /bin/echo echo yes\n\
         tcpmux/+shut stream tcp nowait - /bin/echo echo yes\n    no_access = 127.0.0.1\n"
    );
    let daemon = Daemon::start(&text);
    let ask = |name: &str| crate::common::ask(port, &format!("{name}\r\n"));
    assert!(ask("open").ends_with("yes\n"));
    assert!(ask("shut").starts_with('-'));
    let line = daemon.wait_log(|line| line.is("refused"));
    assert_eq!((line.get("service"), line.get("reason")), (Some("tcpmux/shut"), Some("access")));
}

/// Lines after which nobody is left who may connect.
const NOBODY: [&str; 5] = [
    "only_from -= 127.0.0.1",
    "only_from = 127.0.0.1\nonly_from -= 127.0.0.1",
    "only_from =",
    "only_from = @nobody",
    "only_from +=",
];

fn folder_with_nobody() -> Folder {
    let folder = Folder::new();
    folder.write("nobody", "# nobody yet\n");
    folder
}

#[test]
fn a_list_that_ends_empty_lets_nobody_in() {
    let open = free_port();
    let ports = NOBODY.map(|_| free_port());
    let entries = NOBODY
        .iter()
        .zip(ports)
        .map(|(lines, port)| tcp_line(port, CAT) + "    " + &lines.replace('\n', "\n    ") + "\n");
    let text = entries.collect::<String>() + &tcp_line(open, CAT) + "    no_access -= 127.0.0.1\n";
    let daemon = Setup::new().start_in(folder_with_nobody(), &text);
    for (port, lines) in ports.into_iter().zip(NOBODY) {
        assert!(refused(tcp_from(FRIEND, port)), "{lines}");
        let line = daemon.wait_log(|line| line.about("refused", port));
        assert_eq!(line.get("reason"), Some("access"), "{lines}");
    }
    assert!(served(&tcp_from(FRIEND, open)));
}

#[test]
fn defaults_that_end_empty_let_nobody_in_who_is_not_added() {
    let (none, one) = (free_port(), free_port());
    let text = String::from(".defaults\n    only_from -= 127.0.0.1\n")
        + &tcp_line(none, CAT)
        + &tcp_line(one, CAT)
        + "    only_from += 127.0.0.1\n";
    let daemon = Daemon::start(&text);
    assert!(refused(tcp_from(FRIEND, none)) && served(&tcp_from(FRIEND, one)));
    let told = daemon.wait_log(|line| line.is("configuration"));
    assert!(told.raw.contains("`only_from` is empty: nobody may connect"), "{}", told.raw);
}

#[test]
fn a_list_of_xinetd_that_ends_empty_lets_nobody_in() {
    let ports = NOBODY.map(|_| free_port());
    let block = |lines: &str, port: u16| {
        let lines = lines.replace("only_from = @nobody", "only_from =");
        format!(
            "service s{port}\n{{\ntype = UNLISTED\nport = {port}\nsocket_type = stream\nprotocol = tcp\nwait = no\nuser = {}\nserver = /bin/cat\nflags = NOLIBWRAP\n{lines}\n}}\n",
            me()
        )
    };
    let open = free_port();
    let text: String = NOBODY.iter().zip(ports).map(|(lines, port)| block(lines, port)).collect();
    let text = text + &block("", open);
    let daemon = Setup::new().start(&text);
    for (port, lines) in ports.into_iter().zip(NOBODY) {
        assert!(refused(tcp_from(FRIEND, port)), "{lines}");
    }
    assert!(served(&tcp_from(FRIEND, open)));
    drop(daemon);
    // The same by way of `defaults`.
    let defaults = "defaults\n{\nonly_from -= 127.0.0.1\n}\n".to_owned();
    let text = defaults + &block("", ports[0]) + &block("only_from += 127.0.0.1", open);
    let _daemon = Setup::new().start(&text);
    assert!(refused(tcp_from(FRIEND, ports[0])) && served(&tcp_from(FRIEND, open)));
}
