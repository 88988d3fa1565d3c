//! Programs that want a terminal, as people use them: in a real terminal (tmux), through the
//! telnet of Debian and through socat.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::common::needs::search_path;
use crate::common::{
    Daemon, Folder, Setup, free_port, need_program, own_line, procs, shell, wait_until,
};

/// A window of a real terminal, in which somebody has started a client.
struct Window {
    socket: PathBuf,
    _folder: Folder,
}

impl Window {
    /// None, and a loud skip, where there is no such program.
    #[track_caller]
    fn open(columns: u16, rows: u16, client: &str) -> Option<Self> {
        let first = client.split(' ').next().unwrap();
        if !need_program("tmux") || !need_program(first) {
            return None;
        }
        let folder = Folder::new();
        // What it shows stays to be looked at when the client has ended.
        let text = "set-option -g remain-on-exit on\nset-option -g default-shell /bin/sh\n";
        let settings = folder.write("settings", text);
        let settings = settings.to_str().unwrap();
        let window = Self { socket: folder.at("tmux"), _folder: folder };
        let size = [columns.to_string(), rows.to_string()];
        let new = ["-f", settings, "new-session", "-d", "-x", &size[0], "-y", &size[1], client];
        window.tmux(&new);
        Some(window)
    }

    #[track_caller]
    fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.env_clear().env("PATH", search_path()).env("LANG", "C.UTF-8").env("HOME", "/");
        let output = command.arg("-S").arg(&self.socket).args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn types(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// `Enter`, `C-c`, `Up`.
    fn presses(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn enters(&self, line: &str) {
        self.types(line);
        self.presses("Enter");
    }

    fn resize(&self, columns: u16, rows: u16) {
        let size = [columns.to_string(), rows.to_string()];
        self.tmux(&["resize-window", "-x", &size[0], "-y", &size[1]]);
    }

    fn shown(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until its program has ended. tmux does not always write that into the window.
    #[track_caller]
    fn is_over(&self) {
        wait_until("the end of the program in the window", || {
            self.tmux(&["display-message", "-p", "#{pane_dead}"]).trim() == "1"
        });
    }

    #[track_caller]
    fn shows(&self, what: &str) {
        self.shows_when(what, |shown| shown.contains(what));
    }

    #[track_caller]
    fn shows_when(&self, what: &str, is_shown: impl Fn(&str) -> bool) {
        let mut last = String::new();
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(what, || {
                last = self.shown();
                is_shown(&last)
            });
        }));
        assert!(seen.is_ok(), "{what:?} is not shown, but:\n{last}");
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(&self.socket).arg("kill-server").output();
    }
}

/// A service for telnet.
fn in_telnet(port: u16, program: &str) -> String {
    own_line(port, program) + "    telnet = yes\n"
}

fn telnet(port: u16, columns: u16, rows: u16) -> Option<Window> {
    Window::open(columns, rows, &format!("telnet 127.0.0.1 {port}"))
}

/// Whether bash waits for a line, and keys are the shell's again.
fn is_at_prompt(shown: &str) -> bool {
    let last = shown.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    last.starts_with("bash-") && last.trim_end().ends_with(['$', '#'])
}

/// A command for a shell whose output is seen when keys are no longer the shell's: between its
/// own commands they may still be, and it loses them.
fn in_front(command: &str) -> String {
    format!("sh -c '{command}; exec sleep 1000'")
}

/// Whether keys are those of a job of this shell (proc_pid_stat(5): pgrp and tpgid).
fn has_job_in_front(shell: u32) -> bool {
    let fields = procs::stat(shell).unwrap_or_default();
    fields.len() > 5 && fields[2] != fields[5]
}

/// A line of the window that is just this.
fn line(wanted: &str) -> impl Fn(&str) -> bool {
    move |shown| shown.lines().any(|line| line.trim_end() == wanted)
}

#[test]
fn bash_has_job_control_and_knows_the_window() {
    if !need_program("bash") {
        return;
    }
    let port = free_port();
    let daemon = Daemon::start(&in_telnet(port, "bash bash --norc --noprofile"));
    let Some(window) = telnet(port, 100, 30) else { return };
    window.shows("bash-");
    let shell = daemon.accepted(port, 1)[0];
    window.enters("stty size");
    window.shows_when("30 100", line("30 100"));
    window.resize(120, 40);
    window.enters("stty size; echo resi\"\"zed");
    window.shows_when("40 120", line("40 120"));
    // From then on keys are no longer the shell's.
    window.enters(&in_front("echo be\"\"gun"));
    window.shows_when("begun", line("begun"));
    window.presses("C-z");
    window.shows("Stopped");
    window.shows_when("a prompt", is_at_prompt);
    window.enters("jobs; echo kn\"\"own");
    window.shows_when("known", line("known"));
    window.enters("fg");
    wait_until("the job to be in front again", || has_job_in_front(shell));
    window.presses("C-c");
    window.shows_when("a prompt", is_at_prompt);
    window.enters("echo status=$?");
    window.shows_when("status=130", line("status=130"));
    window.enters("exit");
    window.shows("Connection closed by foreign host.");
}

#[test]
fn vim_edits_a_file() {
    if !need_program("vim") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let file = folder.write("text", "first\n");
    let _daemon =
        Daemon::start(&in_telnet(port, &format!("vim vim -u NONE -N {}", file.display())));
    let Some(window) = telnet(port, 80, 24) else { return };
    window.shows_when("first", line("first"));
    window.types("osecond");
    window.shows("INSERT");
    window.presses("Escape");
    // What is marked with a tilde are lines after the end: of the whole window.
    window.resize(90, 33);
    window.shows_when("30 lines after the end", |shown| {
        shown.lines().filter(|line| line.starts_with('~')).count() == 30
    });
    window.enters(":wq");
    window.shows("Connection closed by foreign host.");
    assert_eq!(fs::read_to_string(file).unwrap(), "first\nsecond\n");
}

#[test]
fn top_fills_the_window_and_ends_when_it_is_told() {
    if !need_program("top") {
        return;
    }
    let port = free_port();
    let _daemon = Daemon::start(&in_telnet(port, "top top -s"));
    let Some(window) = telnet(port, 90, 20) else { return };
    window.shows("load average");
    window.shows("COMMAND");
    window.presses("q");
    window.shows("Connection closed by foreign host.");
}

#[test]
fn python_has_a_prompt_with_history_and_is_interrupted() {
    if !need_program("python3") {
        return;
    }
    let port = free_port();
    let arguments =
        ["run", "--telnet", &port.to_string(), "--", "python3", "-q"].map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let _daemon = Setup::new().env("HOME", "/").run(&arguments);
    let Some(window) = telnet(port, 80, 24) else { return };
    window.shows(">>>");
    window.enters("6 * 7");
    window.shows_when("42", line("42"));
    window.presses("Up");
    window.shows_when("the line before", |shown| shown.matches("6 * 7").count() == 2);
    window.enters(" + 1");
    window.shows_when("43", line("43"));
    window.types("half a line");
    window.presses("C-c");
    window.shows("KeyboardInterrupt");
    window.presses("C-d");
    window.shows("Connection closed by foreign host.");
}

#[test]
fn less_pages_through_a_file() {
    if !need_program("less") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    let text: String = (1..=500).map(|number| format!("line {number}\n")).collect();
    let file = folder.write("text", &text);
    let _daemon = Daemon::start(&in_telnet(port, &format!("less less {}", file.display())));
    let Some(window) = telnet(port, 80, 24) else { return };
    window.shows_when("line 23", line("line 23"));
    window.presses("Space");
    window.shows_when("line 46", line("line 46"));
    window.types("G");
    window.shows_when("line 500", line("line 500"));
    window.types("q");
    window.shows("Connection closed by foreign host.");
}

#[test]
fn socat_is_a_client_of_a_terminal_without_a_protocol() {
    if !need_program("bash") {
        return;
    }
    let port = free_port();
    let service =
        own_line(port, "bash bash --norc --noprofile") + "    pty = yes\n    term = tmux\n";
    let _daemon = Daemon::start(&service);
    let client = format!("socat -,raw,echo=0 TCP:127.0.0.1:{port}");
    let Some(window) = Window::open(100, 30, &client) else { return };
    window.shows("bash-");
    window.enters("stty size; stty rows 30 cols 100; stty size; echo $TERM");
    window.shows_when("24 80", line("24 80"));
    window.shows_when("30 100", line("30 100"));
    window.shows_when("tmux", line("tmux"));
    // From then on keys are no longer the shell's.
    window.enters("echo be\"\"gun; cat");
    window.shows_when("begun", line("begun"));
    window.enters("typed");
    window.shows_when("what is typed, twice", |shown| {
        shown.lines().filter(|line| line.trim_end() == "typed").count() == 2
    });
    window.presses("C-c");
    window.shows_when("a prompt", is_at_prompt);
    window.enters("echo status=$?");
    window.shows_when("status=130", line("status=130"));
    window.enters("exit");
    window.is_over();
}

#[test]
fn htop_shows_its_keys_and_goes_when_it_is_told() {
    if !need_program("htop") {
        return;
    }
    let port = free_port();
    let _daemon = Daemon::start(&in_telnet(port, "htop htop"));
    let Some(window) = telnet(port, 100, 30) else { return };
    window.shows("F10Quit");
    window.resize(110, 40);
    // The keys stand in the last line of the window.
    window.shows_when("the keys at the bottom", |shown| {
        shown.lines().nth(39).is_some_and(|line| line.contains("F10Quit"))
    });
    window.types("q");
    window.shows("Connection closed by foreign host.");
}

#[test]
fn whoever_loses_his_own_terminal_ends_what_runs_on_the_other_one() {
    if !need_program("bash") {
        return;
    }
    let port = free_port();
    let daemon = Daemon::start(&in_telnet(port, "bash bash --norc --noprofile"));
    let Some(window) = telnet(port, 100, 30) else { return };
    window.shows("bash-");
    window.enters(&in_front("echo be\"\"gun"));
    window.shows_when("begun", line("begun"));
    let pid = daemon.accepted(port, 1)[0];
    let jobs = crate::common::procs::children(pid);
    drop(window);
    daemon.wait_log(|line| line.about("ended", port));
    wait_until("its job to be gone", || {
        !jobs.is_empty() && jobs.iter().all(|pid| !crate::common::procs::is_alive(*pid))
    });
}

#[test]
fn a_shell_behind_tls_hears_keys() {
    if !need_program("bash") || !need_program("openssl") {
        return;
    }
    let (port, folder) = (free_port(), Folder::new());
    crate::common::tls::make_certificate(&folder, "site", "DNS:localhost", "90");
    let (own, key) = (folder.name("site.pem"), folder.name("site.key"));
    let more = format!("    pty = yes\n    term = tmux\n    tls = {own} {key}\n");
    let text = own_line(port, "bash bash --norc --noprofile") + &more;
    let _daemon = Setup::new().start_in(folder, &text);
    let client = format!("socat -,raw,echo=0 OPENSSL:127.0.0.1:{port},verify=0");
    let Some(window) = Window::open(100, 30, &client) else { return };
    window.shows("bash-");
    window.enters(&in_front("echo be\"\"gun $SSL_PROTOCOL"));
    window.shows_when("begun", line("begun TLSv1.3"));
    window.presses("C-c");
    window.shows_when("a prompt", is_at_prompt);
    window.enters("echo status=$?");
    window.shows_when("status=130", line("status=130"));
    window.presses("Up");
    window.shows_when("the line before", |shown| shown.matches("echo status").count() == 2);
    window.presses("C-u");
    window.enters("exit");
    window.is_over();
}

#[test]
fn the_commands_of_telnet_interrupt_and_throw_away() {
    let port = free_port();
    let script = "trap \"echo caught\" INT; echo ready; \
                  while :; do read -r line && echo got=$line; done";
    let _daemon = Daemon::start(&in_telnet(port, &shell(script)));
    let Some(window) = telnet(port, 80, 24) else { return };
    window.shows("ready");
    for (number, command) in ["ip", "synch", "ao"].into_iter().enumerate() {
        window.presses("C-]");
        let is_asked = |shown: &str| shown.matches("telnet>").count() == number + 1;
        window.shows_when("its own prompt", is_asked);
        window.enters(&format!("send {command}"));
        if command == "ip" {
            window.shows("caught");
        }
        window.enters(&format!("after-{command}"));
        let answer = format!("got=after-{command}");
        window.shows_when(&answer, line(&answer));
    }
}
