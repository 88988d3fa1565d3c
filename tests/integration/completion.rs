//! Completion in bash knows what the program knows.

use std::process::Command;

use crate::common::control::controlled;
use crate::common::daemon::{BINARY, command};
use crate::common::{free_port, need_program, tcp_line};

/// What bash would offer after these words, of which the last one is begun.
fn offered(words: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/completion/oxinetd");
    let script = ". \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _oxinetd; \
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-uc", script, "bash", file, BINARY]).args(words);
    let output = bash.envs(environment.iter().copied()).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_is_offered_every_command_and_option() {
    if !need_program("bash") {
        return;
    }
    let help = command(&[]).arg("-h").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: Vec<&str> =
        commands.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(commands.len() > 8, "{commands:?}");
    assert_eq!(offered(&[""], &[]), commands);
    assert_eq!(offered(&["che"], &[]), ["check"]);
    let options = offered(&["--"], &[]);
    for option in ["--daemon", "--pid-file", "--log", "--control", "--help"] {
        assert!(options.iter().any(|it| it == option), "{option}: {options:?}");
    }
    assert_eq!(offered(&["run", "--ud"], &[]), ["--udp"]);
    assert_eq!(offered(&["stop", "--dr"], &[]), ["--drain"]);
    assert!(offered(&["check", "--strict", "x"], &[]).is_empty(), "files are bash's own");
    assert!(offered(&["run", "8080", "--", "che"], &[]).is_empty(), "the program is nobody's");
}

#[test]
fn bash_is_offered_the_services_of_a_running_server() {
    if !need_program("bash") {
        return;
    }
    let port = free_port();
    let daemon = controlled(&tcp_line(port, "/bin/cat cat"));
    // Where the program looks by itself.
    std::os::unix::fs::symlink(daemon.control(), daemon.folder.at("oxinetd.sock")).unwrap();
    let folder = daemon.folder.path().to_str().unwrap();
    let found = offered(&["stop", ""], &[("RUNTIME_DIRECTORY", folder)]);
    assert_eq!(found, [format!("{port}/tcp")]);
}
