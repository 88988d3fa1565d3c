//! `linger`: a client gets all of the answer, whatever the program has left unread.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};

use crate::common::clients::{echo_once, read_to_any_end, reset};
use crate::common::control::{controlled, status, upgrade};
use crate::common::daemon::as_pid;
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, free_ports, need_program, own_line, procs,
    read_all, read_line, shell, tcp, tcp_line, wait_until,
};
use crate::urgent::send_urgent;

/// Answers a request.
const PAGE: &str = r#"printf "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhere\n""#;

/// Waits until the client has sent something, and ends without reading it.
fn unread(then: &str) -> String {
    // bash(1) looks whether there is something, and takes none of it.
    format!("/bin/bash bash -c 'until read -t 0; do sleep 0.01; done; {then}'")
}

/// All that comes until the end, which is no reset.
#[track_caller]
fn whole(mut stream: TcpStream) -> usize {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("the connection is reset");
    all.len()
}

#[test]
fn curl_gets_the_page_of_a_program_that_reads_nothing() {
    if !need_program("curl") {
        return;
    }
    let port = free_port();
    // Before curl has sent its request it would not expect an answer.
    let _daemon = Daemon::start(&tcp_line(port, &unread(PAGE)));
    for _ in 0..20 {
        let url = format!("http://127.0.0.1:{port}/");
        let output = Command::new("curl")
            .args(["-sS", "--noproxy", "*", "--max-time", "60", &url])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "here\n");
    }
}

#[test]
fn a_long_answer_arrives_whole_though_something_is_unread() {
    let ports = free_ports(2);
    let long = unread("head -c 3000000 /dev/zero");
    let text = tcp_line(ports[0], &long)
        + &tcp_line(ports[1], &shell("exec head -c 3000000 /dev/zero"))
        + "    linger = yes\n";
    let daemon = controlled(&text);
    for port in &ports {
        let mut client = tcp(*port);
        client.write_all(b"a request that nobody reads\n").unwrap();
        // One that still sends while it is sent the answer.
        let mut sender = client.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            (0..64).try_for_each(|_| sender.write_all(&[b'x'; 4096])).is_ok()
                && sender.shutdown(Shutdown::Write).is_ok()
        });
        assert_eq!(whole(client), 3_000_000);
        assert!(sending.join().unwrap(), "what it sends is taken");
    }
    daemon.wait_childless();
}

#[test]
fn an_answer_that_waits_to_be_sent_arrives_though_the_client_goes_on_sending() {
    let port = free_port();
    let text = tcp_line(port, &shell("exec head -c 2000000 /dev/zero")) + "    sndbuf = 2m\n";
    let daemon = Daemon::start(&text);
    let mut client = tcp(port);
    // Nothing has come from the client when the program ends.
    let _ = daemon.wait_log(|line| line.about("ended", port));
    for _ in 0..32 {
        client.write_all(&[b'x'; 4096]).unwrap();
    }
    assert_eq!(whole(client), 2_000_000);
}

#[test]
fn a_client_on_a_unix_socket_gets_the_whole_answer_too() {
    let folder = Folder::new();
    let path = folder.open_folder("sockets").join("here");
    let text = format!(
        "{} stream unix nowait - {}\n    socket_mode = 0666\n",
        path.display(),
        unread("echo here")
    );
    let _daemon = Setup::new().start_in(folder, &text);
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.write_all(b"?").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the connection is reset");
    assert_eq!(answer, "here\n");
}

#[test]
fn an_urgent_byte_that_is_not_read_does_not_cost_the_answer() {
    let port = free_port();
    let script = "read -r -N 3 asked; echo $asked here";
    let _daemon = Daemon::start(&tcp_line(port, &format!("/bin/bash bash -c '{script}'")));
    for says_no_more in [false, true] {
        let client = tcp(port);
        send_urgent(&client, b"abc!");
        if says_no_more {
            client.shutdown(Shutdown::Write).unwrap();
        }
        assert_eq!(whole(client), "abc here\n".len());
    }
}

#[test]
fn whoever_still_uses_the_connection_keeps_it() {
    // In the program's group; in a group of its own; in a session of its own, with nothing
    // that leads to the program.
    let leftovers = [
        "cat &",
        "set -m; cat & set +m",
        "(setsid cat 2>/dev/null &)",
        "(setsid sh -c \"cat 2>/dev/null &\" 2>/dev/null &)",
        // The child of one that has come to the server, and that has let it go itself.
        "(setsid sh -c \"cat >&3 2>/dev/null & exec </dev/null >/dev/null 2>&1 3<&-; wait\" &)",
    ];
    let ports = free_ports(u16::try_from(leftovers.len()).unwrap());
    let services = ports.iter().zip(leftovers).map(|(port, left)| {
        tcp_line(*port, &unread(&format!("exec 3<&0; {}", left.replace("cat", "cat <&3"))))
    });
    let daemon = Daemon::start(&services.collect::<String>());
    for port in &ports {
        let mut client = tcp(*port);
        client.write_all(b"unread\n").unwrap();
        assert_eq!(read_line(&client), "unread\n");
        let _ = daemon.wait_log(|line| line.about("ended", *port));
        for round in 0..20 {
            let text = format!("{round} to and fro\n");
            assert_eq!(echo_once(&client, &text), text);
        }
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&client), "");
    }
}

/// Of these services the first leaves so many processes behind for each client, which have
/// nothing of his connection, and the second answers without reading.
fn leaving_and_answering(ports: &[u16], number: usize) -> String {
    let away = "</dev/null >/dev/null 2>&1";
    let script =
        format!("for i in $(seq {number}); do (setsid sleep 600 {away} &); done; echo left");
    tcp_line(ports[0], &shell(&script)) + &tcp_line(ports[1], &unread("echo here"))
}

/// A client whose program has been started.
fn started(daemon: &Daemon, port: u16, clients: usize) -> TcpStream {
    let client = tcp(port);
    let _ = daemon.accepted(port, clients);
    client
}

/// He gets the answer of a program that does not read what he says.
#[track_caller]
fn is_answered(mut client: TcpStream) {
    client.write_all(b"a request that nobody reads\n").unwrap();
    assert_eq!(whole(client), "here\n".len());
}

/// Whoever has been left behind so far, when so many have come to the server.
fn wait_left(daemon: &Daemon, number: usize) -> Vec<u32> {
    let left = || {
        let command = |pid| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let sleeps = |pid: &u32| command(*pid) == b"sleep\x00600\x00";
        procs::children(daemon.pid()).into_iter().filter(sleeps).collect::<Vec<_>>()
    };
    wait_until("all have come to the server", || left().len() == number);
    left()
}

fn end(pid: u32) {
    kill(as_pid(pid), Signal::SIGKILL).unwrap();
}

#[test]
fn what_others_leave_behind_all_the_time_is_no_matter() {
    let ports = free_ports(2);
    let daemon = Daemon::start(&leaving_and_answering(&ports, 1));
    for round in 1..=20 {
        let client = started(&daemon, ports[1], round);
        // It is younger than the program.
        assert_eq!(read_all(tcp(ports[0])), "left\n");
        let _ = wait_left(&daemon, round);
        is_answered(client);
    }
    wait_left(&daemon, 20).into_iter().for_each(end);
}

#[test]
fn so_it_is_with_many_of_them_before_and_after_the_program_was_started() {
    let (ports, each) = (free_ports(2), 70);
    let daemon = Daemon::start(&leaving_and_answering(&ports, each));
    let leave = || assert_eq!(read_all(tcp(ports[0])), "left\n");
    let clients = [started(&daemon, ports[1], 1), {
        leave();
        let _ = wait_left(&daemon, each);
        started(&daemon, ports[1], 2)
    }];
    for client in clients {
        is_answered(client);
    }
    let client = started(&daemon, ports[1], 3);
    leave();
    let _ = wait_left(&daemon, each * 2);
    is_answered(client);
    wait_left(&daemon, each * 2).into_iter().for_each(end);
}

#[test]
fn threads_that_go_on_when_the_first_has_ended_keep_it() {
    if !need_program("python3") {
        return;
    }
    let port = free_port();
    let script = "import ctypes, os, threading\n\
        def echo():\n  \
          while data := os.read(0, 4096): os.write(0, data)\n  \
          os._exit(0)\n\
        if os.fork(): os._exit(0)\n\
        os.setsid()\n\
        threading.Thread(target=echo).start()\n\
        ctypes.CDLL(None).pthread_exit(None)\n";
    let folder = Folder::new();
    let path = folder.open_folder("script").join("threads");
    std::fs::write(&path, script).unwrap();
    let line = unread(&format!("exec python3 {}", path.display()));
    let daemon = Setup::new().start_in(folder, &tcp_line(port, &line));
    let mut client = tcp(port);
    client.write_all(b"unread\n").unwrap();
    assert_eq!(read_line(&client), "unread\n");
    let _ = daemon.wait_log(|line| line.about("ended", port));
    for round in 0..20 {
        let text = format!("{round} to and fro\n");
        assert_eq!(echo_once(&client, &text), text);
    }
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&client), "");
}

#[test]
fn what_has_lost_its_parent_is_reaped_when_it_ends() {
    let port = free_port();
    let daemon = Daemon::start(&tcp_line(port, &shell("(sleep 0.2 &) ; echo here")));
    for _ in 0..3 {
        assert_eq!(read_all(tcp(port)), "here\n");
    }
    wait_until("nobody is left", || procs::children(daemon.pid()).is_empty());
}

#[test]
fn those_who_lose_their_parents_one_after_the_other_do_not_pile_up() {
    let port = free_port();
    let chain = "i=0; while [ $i -lt 300 ]; do (true &); i=$((i+1)); sleep 0.02; done";
    let script = format!("setsid sh -c '{chain}' </dev/null >/dev/null 2>&1 & echo $!");
    let folder = Folder::new();
    let path = folder.open_folder("script").join("chain");
    std::fs::write(&path, script).unwrap();
    let line = tcp_line(port, &format!("/bin/sh sh {}", path.display()));
    let daemon = Setup::new().start_in(folder, &line);
    let chain: u32 = read_all(tcp(port)).trim().parse().unwrap();
    let mut most = 0;
    wait_until("the chain to be at its end", || {
        most = procs::zombies(daemon.pid()).len().max(most);
        !procs::is_alive(chain)
    });
    assert!(most < 200, "{most} of 300 at a time");
}

#[test]
fn a_client_that_never_stops_sending_or_never_closes_is_let_go() {
    let ports = free_ports(2);
    let here = shell("echo here");
    let text = tcp_line(ports[0], &here) + "    linger = yes\n" + &tcp_line(ports[1], &here);
    let daemon = controlled(&(text + "    linger = yes\n"));
    let mut silent = tcp(ports[1]);
    assert_eq!(read_line(&silent), "here\n");
    let mut busy = tcp(ports[0]);
    let error = loop {
        if let Err(error) = busy.write_all(&[0; 65536]) {
            break error;
        }
    };
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    // It has been told that nothing more will come; what it says in the end is for nobody.
    wait_until("the silent one is let go", || silent.write_all(b"?").is_err());
    assert!(
        status(&daemon, None)["lingering"].is_null() || status(&daemon, None)["lingering"] == 0
    );
}

#[test]
fn those_who_linger_are_counted_and_go_on_over_a_reload_and_an_upgrade() {
    let port = free_port();
    let text = tcp_line(port, &shell("echo here")) + "    linger = yes\n    instances = 1\n";
    let daemon = controlled(&text);
    let clients: Vec<TcpStream> = (0..3).map(|_| tcp(port)).collect();
    for client in &clients {
        // The one instance is free for the next as soon as the program has ended.
        assert_eq!(read_line(client), "here\n");
    }
    wait_until("three linger", || status(&daemon, None)["lingering"] == 3);
    assert!(daemon.answer(&["status"]).contains("3 lingering"));
    let _ = daemon.reload(&text);
    upgrade(&daemon);
    assert_eq!(status(&daemon, None)["lingering"], 3);
    for mut client in clients {
        client.write_all(&[b'x'; 100_000]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&client), "");
    }
    wait_until("nobody lingers", || status(&daemon, None)["lingering"] == 0);
}

#[test]
fn a_program_that_runs_over_an_upgrade_is_closed_as_it_was_to_be() {
    let port = free_port();
    let script = unread("while [ ! -e $FLAG ]; do sleep 0.05; done; head -c 1000000 /dev/zero");
    let folder = Folder::new();
    let flag = folder.open_folder("flag").join("here");
    let text = tcp_line(port, &script) + &format!("    env = FLAG={}\n", flag.display());
    let daemon = Setup::new().controlled().start_in(folder, &text);
    let mut client = tcp(port);
    client.write_all(b"unread").unwrap();
    let _ = daemon.accepted(port, 1);
    upgrade(&daemon);
    std::fs::write(&flag, "").unwrap();
    assert_eq!(whole(client), 1_000_000);
}

#[test]
fn without_it_the_connection_is_the_programs_alone() {
    let ports = free_ports(2);
    let script = unread("exec 0<&- 1>&-; exec sleep 1000");
    let text = own_line(ports[0], &script) + "    linger = no\n    on_stop = terminate\n";
    let text = text + &own_line(ports[1], &script) + "    on_stop = terminate\n";
    let daemon = Daemon::start(&text);
    let (mut alone, mut kept) = (tcp(ports[0]), tcp(ports[1]));
    for client in [&mut alone, &mut kept] {
        client.write_all(b"unread").unwrap();
    }
    // Nobody has it any more, and it is reset; where the server has it, it is still there.
    assert_eq!(alone.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    kept.write_all(b"more").unwrap();
    let pid = daemon.accepted(ports[1], 1)[0];
    wait_until("it has closed it", || !Path::new(&format!("/proc/{pid}/fd/0")).exists());
    kept.write_all(b"still there").unwrap();
    end(pid);
    assert_eq!(read_all(&kept), "");
}

#[test]
fn a_client_that_breaks_off_leaves_nothing() {
    let port = free_port();
    let text = tcp_line(port, &shell("echo here")) + "    linger = yes\n";
    let daemon = controlled(&text);
    let before = procs::descriptors(daemon.pid());
    for _ in 0..20 {
        let client = tcp(port);
        assert_eq!(read_to_any_end(&client), "here\n");
        reset(client);
    }
    wait_until("nobody lingers", || status(&daemon, None)["lingering"] == 0);
    wait_until("nothing is left", || procs::descriptors(daemon.pid()) <= before + 2);
}
