//! Completion in the shells knows what the program knows, and so do the pages that it prints.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::common::control::controlled;
use crate::common::daemon::{BINARY, command};
use crate::common::needs::search_path;
use crate::common::{Daemon, Folder, free_port, need_program, tcp_line};

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
    assert_eq!(offered(&["stop", "--dr"], &[]), ["--drain", "--drain-delay"]);
    assert!(offered(&["check", "--strict", "x"], &[]).is_empty(), "files are bash's own");
    assert!(offered(&["run", "8080", "--", "che"], &[]).is_empty(), "the program is nobody's");
}

#[test]
fn bash_is_offered_the_services_of_a_running_server() {
    if !need_program("bash") {
        return;
    }
    let (daemon, label) = findable();
    let folder = daemon.folder.path().to_str().unwrap();
    assert_eq!(offered(&["stop", ""], &[("RUNTIME_DIRECTORY", folder)]), [label]);
}

/// A server that the program finds by itself in `$RUNTIME_DIRECTORY`, the folder, and its service.
fn findable() -> (Daemon, String) {
    let port = free_port();
    let daemon = controlled(&tcp_line(port, "/bin/cat cat"));
    std::os::unix::fs::symlink(daemon.control(), daemon.folder.at("oxinetd.sock")).unwrap();
    (daemon, format!("{port}/tcp"))
}

/// What a shell says that is given this to read, with `oxinetd` in its `PATH`.
fn read_by(shell: &mut Command, text: &str) -> Output {
    let binaries = Path::new(BINARY).parent().unwrap().display().to_string();
    let pipes = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let pipes = pipes.env("PATH", format!("{binaries}:{}", search_path())).env("LC_ALL", "C.UTF-8");
    let mut running = pipes.spawn().unwrap();
    running.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    running.wait_with_output().unwrap()
}

/// What is on a terminal at which these keys are pressed, in an interactive shell.
fn at_a_terminal(shell: &str, keys: &str) -> String {
    let folder = Folder::new();
    folder.write("mine.conf", "");
    let mut script = Command::new("timeout");
    script.args(["60", "script", "-qec", shell, "/dev/null"]).current_dir(folder.path());
    script.env("TERM", "dumb").env("HOME", folder.path());
    String::from_utf8_lossy(&read_by(&mut script, keys).stdout).into_owned()
}

/// The script that the program prints.
fn script_of(shell: &str) -> String {
    let output = command(&[]).args(["completions", shell]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let script = String::from_utf8(output.stdout).unwrap();
    for hidden in ["try-upgrade", "read-stderr", "release-groups", "make-certificate"] {
        assert!(!script.contains(hidden), "{shell}: {hidden}");
    }
    script
}

#[test]
fn at_the_key_of_bash_the_line_is_completed() {
    if !need_program("bash") || !need_program("script") {
        return;
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/completion/oxinetd");
    assert_eq!(script_of("bash"), fs::read_to_string(file).unwrap());
    let keys = "PS1=\n. <(oxinetd completions bash)\noxinetd compl\tzs\t| head -n 1\nexit\n";
    let said = at_a_terminal("bash --norc --noprofile -i", keys);
    assert!(said.contains("#compdef oxinetd"), "{said}");
}

#[test]
fn at_the_key_of_zsh_the_line_is_completed() {
    if !need_program("zsh") || !need_program("script") {
        return;
    }
    script_of("zsh");
    let (daemon, label) = findable();
    let folder = daemon.folder.path().display();
    let keys = format!(
        "PS1=; autoload -U compinit; compinit -D; export RUNTIME_DIRECTORY={folder}\n\
         . <(oxinetd completions zsh)\n\
         oxinetd compl\tba\t| tail -n 1\n\
         oxinetd min\tother\n\
         oxinetd stat\t{}\t\n\
         exit\n",
        &label[..2]
    );
    let said = at_a_terminal("zsh -f -i", &keys);
    assert!(said.contains("complete -o default -F _oxinetd oxinetd"), "{said}");
    // Only what was completed has the rest of the name.
    assert!(said.contains(&label), "{said}");
    assert!(said.contains("mine.conf"), "{said}");
}

#[test]
fn fish_is_offered_commands_options_files_and_services() {
    if !need_program("fish") {
        return;
    }
    let script = script_of("fish");
    let (daemon, label) = findable();
    daemon.folder.write("script.fish", &script);
    daemon.folder.write("mine.conf", "");
    let offered = |line: &str| -> Vec<String> {
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "--private"]).env("RUNTIME_DIRECTORY", daemon.folder.path());
        fish.env("HOME", daemon.folder.path()).current_dir(daemon.folder.path());
        let output = read_by(&mut fish, &format!("source script.fish\ncomplete -C '{line}'\n"));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    };
    assert_eq!(offered("oxinetd comp"), ["completions"]);
    assert_eq!(offered("oxinetd completions "), ["bash", "fish", "zsh"]);
    assert_eq!(offered("oxinetd run --ud"), ["--udp"]);
    assert_eq!(offered("oxinetd --dae"), ["--daemon"]);
    assert_eq!(offered("oxinetd stop "), [label]);
    assert_eq!(offered("oxinetd mine"), ["mine.conf"]);
    assert_eq!(offered("oxinetd check mine"), ["mine.conf"]);
}

#[test]
fn manual_pages_are_printed_for_man() {
    for (words, file) in [
        (&["man"][..], "oxinetd.8"),
        (&["man", "oxinetd"], "oxinetd.8"),
        (&["man", "oxinetd.conf"], "oxinetd.conf.5"),
        (&["man", "5"], "oxinetd.conf.5"),
    ] {
        let output = command(&[]).args(words).output().unwrap();
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/man").join(file);
        assert_eq!(output.stdout, fs::read(page).unwrap(), "{words:?}");
        if !need_program("man") {
            continue;
        }
        let mut man = Command::new("man");
        man.args(["-l", "--warnings", "-Tutf8", "-"]).env("MANWIDTH", "80");
        let shown = read_by(&mut man, &String::from_utf8(output.stdout).unwrap());
        assert!(shown.status.success() && shown.stderr.is_empty(), "{shown:?}");
        assert!(shown.stdout.len() > 2000, "{words:?}");
    }
}
