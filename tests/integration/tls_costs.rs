//! What a client behind TLS costs its worker, in system calls.

use crate::common::procs::front_workers;
use crate::common::strace::Strace;
use crate::common::tls::{behind_tls, python, site};
use crate::common::{Setup, free_port, need_program, need_root};

/// Clients that are looked at.
const CLIENTS: usize = 8;

/// Call, how often for a client at most, what for.
const BUDGET: [(&str, usize, &str); 4] = [
    ("recvmsg", 2, "the client, and that there is no other"),
    ("epoll_ctl", 2, "both of its descriptors, which never lack room"),
    ("sendto", 3, "the handshake, the answer, the end, if that does not come with the answer"),
    ("sendmsg", 2, "that it may have its program, and that it is over"),
];

#[test]
fn a_worker_is_told_of_nothing_that_it_does_not_wait_for() {
    // Nobody else looks into a worker.
    if !need_root() || !need_program("strace") {
        return;
    }
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, "/bin/echo echo hello", "");
    let daemon = Setup::new().arg("--front-workers").arg("1").start_in(folder, &text);
    let come = |count: usize| {
        let script = "for _ in range(int(sys.argv[2])): assert read_all(connect(sys.argv[1])) == b'hello\\n'";
        python(&daemon.folder, script, &[&port.to_string(), &count.to_string()]);
    };
    // The first one's worker is told what the service is.
    come(1);
    let workers = front_workers(daemon.pid());
    let [worker] = workers.iter().collect::<Vec<_>>()[..] else { panic!("{workers:?}") };
    let calls = BUDGET.map(|(call, ..)| call).join(",");
    let Some(strace) = Strace::attach(*worker, &["-e", &format!("trace={calls}")]) else { return };
    come(CLIENTS);
    let text = strace.finish();
    for (call, each, why) in BUDGET {
        let count = text.lines().filter(|line| line.starts_with(&format!("{call}("))).count();
        // What the first one has left to do may come to it.
        assert!(
            count <= each * (CLIENTS + 1),
            "{call}: {count}, and has {each} each: {why}\n{text}"
        );
        assert!(count >= CLIENTS, "{call}: not all is seen\n{text}");
    }
}
