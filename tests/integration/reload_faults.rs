//! Reloads that must not succeed, or not for every service: the old goes on.

use std::fs;

use nix::sys::signal::Signal;

use crate::common::load::Load;
use crate::common::{Daemon, Folder, Setup, free_port, free_ports, read_all, tcp, tcp_line};

#[test]
fn a_broken_file_changes_nothing_and_every_error_is_logged() {
    let ports = free_ports(2);
    let (old, new) = (ports[0], ports[1]);
    let daemon = Daemon::start(&tcp_line(old, "/bin/echo echo old"));
    let load = Load::start(old, "old\n");
    let broken = tcp_line(new, "/bin/echo echo new")
        + "first-fault stream tpc nowait - /bin/cat cat\n"
        + &format!("{old} stream tcp sometimes - /bin/cat cat\n");
    let mark = daemon.log.mark();
    let line = daemon.reload_in_vain(&broken);
    assert!(line.number("errors").unwrap() >= 2, "{}", line.raw);
    let errors = daemon.log.all_after(mark, |line| line.raw.contains("error: "));
    let errors: Vec<&str> = errors.iter().map(|line| line.raw.as_str()).collect();
    assert!(errors.iter().any(|line| line.contains("inetd.conf:2:")), "{errors:?}");
    assert!(errors.iter().any(|line| line.contains("inetd.conf:3:")), "{errors:?}");
    load.wait_more(5);
    let _ = load.finish();
    let address = std::net::SocketAddr::new("127.0.0.1".parse().unwrap(), new);
    assert!(crate::common::clients::try_tcp(address).is_err(), "nothing of the new file holds");
}

#[test]
fn a_corrected_file_is_taken_after_a_broken_one() {
    let port = free_port();
    let daemon = Daemon::start(&tcp_line(port, "/bin/echo echo old"));
    let _ = daemon.reload_in_vain("nonsense\n");
    assert_eq!(read_all(tcp(port)), "old\n");
    let _ = daemon.reload(&tcp_line(port, "/bin/echo echo new"));
    assert_eq!(read_all(tcp(port)), "new\n");
}

#[test]
fn a_file_that_is_gone_changes_nothing() {
    let port = free_port();
    let mut daemon = Daemon::start(&tcp_line(port, "/bin/echo echo old"));
    fs::remove_file(&daemon.file).unwrap();
    let mark = daemon.log.mark();
    daemon.signal(Signal::SIGHUP);
    let _ = daemon.wait_after(mark, |line| line.is("reload-refused"));
    assert!(daemon.log.text().contains("inetd.conf"), "the log names the file");
    assert_eq!(read_all(tcp(port)), "old\n");
    daemon.stop();
}

/// The process that reads would take all memory there is, or wait for ever.
#[test]
fn a_file_without_an_end_is_refused_at_a_reload_and_at_the_start() {
    let port = free_port();
    let folder = Folder::new();
    folder.link("zero", "/dev/zero");
    folder.write("conf.d/good", "# nothing\n");
    nix::unistd::mkfifo(&folder.at("conf.d/fifo"), nix::sys::stat::Mode::from_bits_truncate(0o644))
        .unwrap();
    let good = tcp_line(port, "/bin/echo echo old");
    let text = good.clone() + ".include zero\n.include conf.d/*\n";
    let daemon = Setup::new().start_in(folder, &text);
    let not_read = |mark, name: &str| {
        daemon
            .log
            .all_after(mark, |line| line.raw.contains("cannot read") && line.raw.contains(name))
    };
    assert_eq!((not_read(0, "zero").len(), not_read(0, "fifo").len()), (1, 1));
    assert_eq!(read_all(tcp(port)), "old\n", "the rest is served");
    let _ = daemon.reload_in_vain(&text);
    let _ = daemon.reload(&good);
    let mark = daemon.log.mark();
    fs::remove_file(&daemon.file).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &daemon.file).unwrap();
    daemon.signal(Signal::SIGHUP);
    let _ = daemon.wait_after(mark, |line| line.is("reload-refused"));
    let said = not_read(mark, "it is not a regular file");
    assert_eq!(said.len(), 1, "{}", daemon.log.text());
    assert_eq!(read_all(tcp(port)), "old\n");
}

#[test]
fn a_file_of_bytes_that_are_no_text_is_refused_without_a_panic() {
    let port = free_port();
    let daemon = Daemon::start(&tcp_line(port, "/bin/echo echo old"));
    let mark = daemon.log.mark();
    let noise: Vec<u8> = (0..4096u32).map(|number| (number * 7919 % 251) as u8).collect();
    fs::write(&daemon.file, noise).unwrap();
    daemon.signal(Signal::SIGHUP);
    let _ = daemon.wait_after(mark, |line| line.is("reload-refused"));
    assert_eq!(read_all(tcp(port)), "old\n");
}

#[test]
fn a_running_service_whose_program_is_gone_at_a_reload_goes_on() {
    let ports = free_ports(2);
    let folder = Folder::new();
    let program = folder.copy_of("/bin/echo", "own-echo");
    let line = tcp_line(ports[0], &format!("{program} own-echo here"));
    let daemon = Setup::new().start_in(folder, &line);
    assert_eq!(read_all(tcp(ports[0])), "here\n");
    fs::remove_file(&program).unwrap();
    let mark = daemon.log.mark();
    let _ = daemon.reload(&(line + &tcp_line(ports[1], "/bin/echo echo new")));
    let warnings = daemon.log.all_after(mark, |line| line.raw.contains("own-echo"));
    assert!(!warnings.is_empty(), "a warning names the program:\n{}", daemon.log.text());
    assert_eq!(read_all(tcp(ports[1])), "new\n", "the rest of the file holds");
    // Still listening; the program can come back at any time.
    fs::copy("/bin/true", daemon.folder.at("other")).unwrap();
    let _ = daemon.folder.copy_of("/bin/echo", "own-echo");
    assert_eq!(read_all(tcp(ports[0])), "here\n");
}

#[test]
fn a_missing_program_that_has_come_is_served_after_a_reload() {
    let port = free_port();
    let folder = Folder::new();
    let program = folder.name("later");
    let line = tcp_line(port, &format!("{program} later arrived"));
    let daemon = Setup::new().start_in(folder, &line);
    let address = std::net::SocketAddr::new("127.0.0.1".parse().unwrap(), port);
    assert!(crate::common::clients::try_tcp(address).is_err());
    let _ = daemon.folder.copy_of("/bin/echo", "later");
    let _ = daemon.reload(&line);
    assert_eq!(read_all(tcp(port)), "arrived\n");
}

#[test]
fn a_new_service_on_a_taken_port_is_reported_and_the_others_are_changed() {
    let ports = free_ports(2);
    let theirs = std::net::TcpListener::bind(("127.0.0.1", ports[1])).unwrap();
    let daemon = Daemon::start(&tcp_line(ports[0], "/bin/echo echo old"));
    let mark = daemon.log.mark();
    let text = tcp_line(ports[0], "/bin/echo echo new") + &tcp_line(ports[1], "/bin/echo echo x");
    let _ = daemon.reload(&text);
    let line = daemon.wait_after(mark, |line| line.about("not-listening", ports[1]));
    assert!(line.get("error").is_some(), "{}", line.raw);
    assert_eq!(read_all(tcp(ports[0])), "new\n");
    drop(theirs);
    let _ = daemon.wait_after(mark, |line| line.about("listening", ports[1]));
    assert_eq!(read_all(tcp(ports[1])), "x\n");
}

#[test]
fn two_lines_for_one_socket_are_an_error_at_a_reload() {
    let port = free_port();
    let line = tcp_line(port, "/bin/echo echo old");
    let daemon = Daemon::start(&line);
    let _ = daemon.reload_in_vain(&(line.clone() + &tcp_line(port, "/bin/echo echo twice")));
    assert_eq!(read_all(tcp(port)), "old\n");
}
