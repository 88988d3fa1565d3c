//! An upgrade that cannot be: whatever is wrong with the other program or with the
//! configuration, the one that runs goes on, and whoever asked is told why.

use std::path::Path;
use std::process::{Child, Stdio};

use nix::sys::signal::Signal;

use crate::common::clients::echo_once;
use crate::common::daemon::{BINARY, command};
use crate::common::files::wait_text;
use crate::common::{
    Daemon, Folder, Setup, free_port, procs, read_all, read_line, shell, tcp, tcp_line, wait_until,
};
use crate::loading::{hang, reader_of};

fn copied(text: &str) -> Daemon {
    Setup::new().controlled().copied().start(text)
}

/// Why an upgrade is refused.
#[track_caller]
fn refused(daemon: &Daemon) -> String {
    let mark = daemon.log.mark();
    let output = daemon.ask(&["upgrade"]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{words}");
    let _ = daemon.wait_after(mark, |line| line.is("upgrade-refused"));
    assert!(words.ends_with("not upgraded: the server goes on as it was\n"), "{words}");
    words
}

#[test]
fn a_bad_program_is_not_executed() {
    let port = free_port();
    let daemon = copied(&tcp_line(port, "internal echo"));
    let mut client = tcp(port);
    assert_eq!(echo_once(&mut client, "before"), "before");
    let before = procs::descriptors(daemon.pid());
    for (script, mode, why) in [
        ("#!/bin/sh\necho something is missing\nexit 1\n", 0o755, "something is missing"),
        ("#!/bin/sh\nexit 7\n", 0o755, "exit status: 7"),
        ("#!/bin/sh\nexit 0\n", 0o755, "exit status: 0"),
        ("#!/bin/sh\necho hello\nexit 0\n", 0o755, "does not know how to take over"),
        ("#!/bin/sh\nkill -9 $$\n", 0o755, "signal: 9"),
        ("#!/no/such/shell\n", 0o755, "No such file"),
        ("\u{7f}ELF garbage\n", 0o755, "Exec format error"),
        ("#!/bin/sh\nexit 0\n", 0o644, "Permission denied"),
    ] {
        daemon.replace(script, mode);
        let words = refused(&daemon);
        assert!(words.contains(why), "{script:?}: {words}");
        assert_eq!(echo_once(&mut client, "after"), "after");
    }
    // Whoever asks hears all of it, the log its beginning.
    daemon
        .replace("#!/bin/sh\nfor i in $(seq 999); do echo \"it is wrong\"; done; exit 1\n", 0o755);
    assert_eq!(refused(&daemon).matches("it is wrong").count(), 999);
    let lines = daemon.said("upgrade-refused");
    assert!(lines.iter().all(|line| line.raw.len() < 2500), "{}", daemon.log.text());
    std::fs::remove_file(daemon.folder.at("oxinetd")).unwrap();
    assert!(refused(&daemon).contains("No such file"));
    assert_eq!(echo_once(tcp(port), "new"), "new");
    daemon.wait_childless();
    wait_until("as many descriptors as before", || procs::descriptors(daemon.pid()) <= before);
    // What is put there at last is executed.
    let _ = daemon.folder.copy_of(BINARY, "oxinetd");
    assert!(daemon.answer(&["upgrade"]).starts_with("upgraded"));
    assert_eq!(echo_once(&mut client, "still"), "still");
}

#[test]
fn a_bad_configuration_is_not_gone_on_with() {
    let port = free_port();
    let good = tcp_line(port, "internal echo");
    let daemon = copied(&good);
    let mut client = tcp(port);
    daemon.folder.write("inetd.conf", &format!("{good}nonsense stream tcp nowait\n"));
    let words = refused(&daemon);
    let place = format!("{}:2", daemon.file.display());
    assert!(words.contains(&place) && words.contains("configuration has errors"), "{words}");
    assert_eq!(echo_once(&mut client, "still"), "still");
    daemon.folder.write("inetd.conf", &good);
    assert!(daemon.answer(&["upgrade"]).starts_with("upgraded"));
    assert_eq!(echo_once(&mut client, "still"), "still");
}

#[test]
fn what_is_served_and_could_not_be_again_stands_against_it() {
    let (folder, port) = (Folder::new(), free_port());
    let program = folder.copy_of("/bin/cat", "own");
    let text = crate::common::own_line(port, &format!("{program} own"));
    let daemon = Setup::new().controlled().start_in(folder, &text);
    let mut client = tcp(port);
    assert_eq!(echo_once(&mut client, "hello"), "hello");
    std::fs::remove_file(&program).unwrap();
    let words = refused(&daemon);
    assert!(words.contains(&format!("{port}/tcp")), "{words}");
    assert_eq!(echo_once(&mut client, "still"), "still");
}

/// As one that is older, or another, would see it.
#[test]
fn a_state_that_the_program_does_not_understand_stands_against_it() {
    let port = free_port();
    let daemon = copied(&tcp_line(port, "internal echo"));
    let mut client = tcp(port);
    for (change, why) in [
        ("sed 's/\"format\":1,/\"format\":2,/'", "the state has format 2, and 1 is understood"),
        ("sed 's/\"services\"/\"others\"/'", "missing field `services`"),
        ("head -c 100", "EOF while parsing"),
        ("echo senseless", "expected value"),
    ] {
        let trial = format!("if [ \"$1\" = try-upgrade ]; then {change} | {BINARY} \"$@\"; fi");
        daemon.replace(&format!("#!/bin/sh\n{trial}\n"), 0o755);
        let words = refused(&daemon);
        assert!(words.contains(why), "{words}");
        assert_eq!(echo_once(&mut client, "after"), "after");
        assert_eq!(echo_once(tcp(port), "new"), "new");
    }
    assert!(daemon.said("upgraded").is_empty());
}

/// A program that answers a trial as the real one does and then does `otherwise`.
fn promising(otherwise: &str) -> String {
    format!("#!/bin/sh\nif [ \"$1\" = try-upgrade ]; then exec {BINARY} \"$@\"; fi\n{otherwise}\n")
}

#[test]
fn a_program_that_fails_in_spite_of_its_trial_goes_back_to_the_one_before() {
    let ports = crate::common::free_ports(2);
    let script = shell("echo in; read line; echo $line; exit 5");
    let text = tcp_line(ports[0], "internal echo") + &tcp_line(ports[1], &script);
    let mut daemon = copied(&text);
    let (mut client, program) = (tcp(ports[0]), tcp(ports[1]));
    assert_eq!(echo_once(&mut client, "before"), "before");
    assert_eq!(read_line(&program), "in\n");
    let before = daemon.folder.at("before");
    std::fs::rename(daemon.folder.at("oxinetd"), &before).unwrap();
    // It fails where nothing has been taken over yet; the program on disk is another one
    // than that to which it goes back.
    for (more, why) in [
        ("--metrics nonsense", "metrics endpoint nonsense"),
        ("--log file:/no/such/folder/log", "log file /no/such/folder/log"),
        ("--no-such-option", "unexpected argument"),
    ] {
        daemon.replace(&promising(&format!("exec {BINARY} \"$@\" {more}")), 0o755);
        let words = refused(&daemon);
        assert!(words.contains(why), "{words}");
        assert_eq!(echo_once(&mut client, "after"), "after");
        assert_eq!(echo_once(tcp(ports[0]), "new"), "new");
    }
    assert!(daemon.said("upgraded").is_empty());
    assert_eq!(exe(&daemon), before);
    let name = std::fs::read_to_string(format!("/proc/{}/comm", daemon.pid())).unwrap();
    assert_eq!(name, "oxinetd\n");
    assert_eq!(daemon.answer(&["status", "--json"]).matches("\"accepted\": 1").count(), 1);
    drop(program);
    let ended = daemon.wait_log(|line| line.about("ended", ports[1]));
    assert_eq!(ended.get("status"), Some("5"));
    std::fs::rename(&before, daemon.folder.at("oxinetd")).unwrap();
    assert!(daemon.answer(&["upgrade"]).starts_with("upgraded"));
    assert_eq!(echo_once(&mut client, "last"), "last");
    daemon.stop();
}

/// An editor replaces it, at a bad time: the program that fails has taken it away.
#[test]
fn a_configuration_that_is_away_for_a_moment_on_the_way_back_closes_nothing() {
    let port = free_port();
    let daemon = copied(&tcp_line(port, "internal echo"));
    let mut client = tcp(port);
    assert_eq!(echo_once(&mut client, "before"), "before");
    let away = daemon.folder.at("away");
    let take = format!("mv {} {}", daemon.file.display(), away.display());
    daemon.replace(&promising(&format!("{take}; exec {BINARY} \"$@\" --no-such-option")), 0o755);
    let listening = daemon.said("listening").len();
    let asking = asking(&daemon);
    let _ = daemon.wait_log(|line| line.is("configuration"));
    std::fs::rename(away, &daemon.file).unwrap();
    let output = asking.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(echo_once(&mut client, "after"), "after");
    assert_eq!(echo_once(tcp(port), "new"), "new");
    assert_eq!(daemon.said("listening").len(), listening);
}

fn exe(daemon: &Daemon) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/{}/exe", daemon.pid())).unwrap()
}

/// Asks without waiting.
fn asking(daemon: &Daemon) -> Child {
    let mut asking = command(&[]);
    asking.args(["upgrade", "--control"]).arg(daemon.control());
    asking.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A program that is tried out until a file is there, and the line that says it has begun.
fn patient(daemon: &Daemon, go: &Path) -> String {
    let begun = daemon.folder.name("begun");
    let wait = format!("while [ ! -e {} ]; do sleep 0.01; done", go.display());
    format!("#!/bin/sh\necho begun > {begun}.new; mv {begun}.new {begun}\n{wait}\nexit 1\n")
}

#[test]
fn one_at_a_time_and_everything_goes_on_meanwhile() {
    let port = free_port();
    let daemon = copied(&tcp_line(port, "internal echo"));
    let go = daemon.folder.at("go");
    daemon.replace(&patient(&daemon, &go), 0o755);
    let first = asking(&daemon);
    let _ = wait_text(&daemon.folder.at("begun"));
    assert!(refused(&daemon).contains("under way"));
    assert_eq!(echo_once(tcp(port), "hello"), "hello");
    let _ = daemon.reload(&tcp_line(port, "internal echo"));
    std::fs::write(&go, "").unwrap();
    let output = first.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    daemon.wait_childless();
}

#[test]
fn a_server_that_stops_does_not_wait_for_a_trial() {
    let port = free_port();
    let mut daemon = copied(&tcp_line(port, &shell("echo in; read line")));
    let client = tcp(port);
    assert_eq!(read_line(&client), "in\n");
    let go = daemon.folder.at("go");
    daemon.replace(&patient(&daemon, &go), 0o755);
    let first = asking(&daemon);
    let _ = wait_text(&daemon.folder.at("begun"));
    let drain = std::thread::scope(|scope| {
        let drain = scope.spawn(|| daemon.ask(&["stop", "--drain=60"]));
        let _ = daemon.wait_log(|line| line.is("draining"));
        drop(client);
        drain.join().unwrap()
    });
    assert!(drain.status.success());
    assert!(daemon.wait_exit().success());
    assert!(!first.wait_with_output().unwrap().status.success());
    // The script looks for this file.
    std::fs::write(&go, "").unwrap();
}

#[test]
fn a_server_that_is_told_to_stop_while_the_other_program_reads_stops() {
    let port = free_port();
    let program = tcp_line(port, &shell("echo in; read line")) + "    on_stop = terminate\n";
    let mut daemon = copied(&(program + ".include more*.conf\n"));
    let client = tcp(port);
    assert_eq!(read_line(&client), "in\n");
    let served = daemon.accepted(port, 1)[0];
    hang(&daemon.folder);
    let asker = asking(&daemon);
    // The trial comes to its end; what the program reads in our place does not.
    let pipe = reader_of(&daemon.folder);
    let others = || procs::children(daemon.pid()).into_iter().filter(|pid| *pid != served);
    let trial: Vec<u32> = others().collect();
    drop(pipe);
    wait_until("the trial to end", || !trial.iter().any(|pid| procs::is_alive(*pid)));
    let _pipe = reader_of(&daemon.folder);
    let reading: Vec<u32> = others().filter(|pid| !trial.contains(pid)).collect();
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait_exit().success(), "{}", daemon.log.text());
    assert_eq!(daemon.said("stopping")[0].get("signal"), Some("SIGTERM"));
    // The program that was there before has heard it, and ends what it has started.
    daemon.said_times(1, "upgrade-refused");
    assert_eq!(read_all(client), "");
    assert_eq!(reading.len(), 1);
    wait_until("both to end", || ![reading[0], served].into_iter().any(procs::is_alive));
    assert!(!asker.wait_with_output().unwrap().status.success());
}

#[test]
fn a_stray_variable_is_no_invitation() {
    let port = free_port();
    for value in ["", "7 8 1", "x", "3 4 99999999 why"] {
        let setup = Setup::new().env("OXINETD_HANDOVER", value);
        let mut daemon = setup.start(&tcp_line(port, &shell("echo ${OXINETD_HANDOVER-none}")));
        assert_eq!(crate::common::read_all(tcp(port)), "none\n");
        daemon.stop();
    }
}
