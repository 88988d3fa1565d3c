//! System calls that fail for good: what fails is named, with what it was for, and nothing goes
//! round in circles.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::daemon::BINARY;
use crate::common::needs::kernel_lacks;
use crate::common::strace::Strace;
use crate::common::{
    Daemon, Folder, Setup, free_port, me, need_program, procs, read_all, tcp, tcp_line,
};

/// What the server says when every call of this name fails, from the given one on.
fn refusal(call: &str, when: &str) -> String {
    let folder = Folder::new();
    let file = folder.write("inetd.conf", &tcp_line(free_port(), "/bin/echo echo x"));
    let inject = format!("inject={call}:error=EPERM:when={when}");
    let output = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject])
        .args([BINARY, file.to_str().unwrap(), "--control", "none"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_call_without_which_there_is_no_server_is_named() {
    if !need_program("strace") {
        return;
    }
    let calls = ["signalfd4", "timerfd_create", "epoll_create1", "pipe2", "prlimit64", "getgroups"];
    for call in calls {
        let said = refusal(call, "1+");
        if said.contains("ptrace") || said.contains("PTRACE") {
            let _ = kernel_lacks("ptrace of other processes");
            return;
        }
        let last = said.lines().last().unwrap_or_default();
        assert!(last.contains(call), "{call}: {said}");
        assert!(last.contains("Operation not permitted"), "{call}: {said}");
    }
}

/// Nobody can be accepted, whatever the reason: that is told, others are served, and it costs
/// nothing. When it is over, whoever has waited is served.
#[test]
fn a_listener_that_can_accept_nobody_is_told_of_and_rests() {
    if !need_program("strace") {
        return;
    }
    let port = free_port();
    let daemon = Daemon::start(&tcp_line(port, "/bin/echo echo here"));
    let options = ["-e", "trace=accept4", "-e", "inject=accept4:error=EOPNOTSUPP"];
    let Some(strace) = Strace::attach(daemon.pid(), &options) else { return };
    let client = tcp(port);
    let said = daemon.wait_log(|line| line.is("trouble"));
    assert_eq!(said.get("call"), Some("accept"), "{}", said.raw);
    assert!(said.get("error").unwrap().contains("not supported"), "{}", said.raw);
    let before = procs::cpu_time(daemon.pid());
    std::thread::sleep(Duration::from_secs(1));
    let cost = procs::cpu_time(daemon.pid()) - before;
    assert!(cost < Duration::from_millis(500), "{cost:?}");
    drop(strace);
    assert_eq!(read_all(client), "here\n");
    daemon.said_times(1, "trouble");
}

/// A socket of the service manager's, which somebody else has and shuts down.
#[test]
fn a_listener_that_is_shut_down_goes_round_in_no_circle() {
    let Some(python) = Some("python3").filter(|it| need_program(it)) else { return };
    let folder = Folder::new();
    let port = free_port();
    // Gives a listening socket to the server, keeps a copy, and shuts it down when told so.
    let script = format!(
        "import os, socket, sys\n\
         s = socket.socket(); s.setsockopt(1, 2, 1); s.bind(('127.0.0.1', {port})); s.listen()\n\
         if os.fork():\n\
         \x20   if s.fileno() == 3: os.set_inheritable(3, True)\n\
         \x20   else: os.dup2(s.fileno(), 3)\n\
         \x20   os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n\
         \x20   os.execv(sys.argv[1], sys.argv[1:])\n\
         os.dup2(os.open('/dev/null', os.O_RDWR), 2)\n\
         for _ in range(6000):\n\
         \x20   if os.path.exists('{go}'): break\n\
         \x20   import time; time.sleep(0.01)\n\
         s.shutdown(2)\n",
        go = folder.name("go")
    );
    let script = folder.write("gives.py", &script);
    let line = format!("127.0.0.1:{port} stream tcp nowait {} /bin/echo echo here\n", me());
    let mut daemon =
        Setup::new().under(&[python, script.to_str().unwrap()]).start_in(folder, &line);
    assert_eq!(read_all(tcp(port)), "here\n");
    let _ = daemon.folder.write("go", "");
    let said = daemon.wait_log(|line| line.is("renewed") || line.is("trouble"));
    assert_eq!(said.get("reason"), Some("it listens no more"), "{}", said.raw);
    let before = procs::cpu_time(daemon.pid());
    std::thread::sleep(Duration::from_secs(1));
    let cost = procs::cpu_time(daemon.pid()) - before;
    assert!(cost < Duration::from_millis(500), "{cost:?}");
    daemon.stop();
}
