//! Clients behind TLS whose program has ended, and who take nothing of what it has left: they are
//! few where their source may have few programs, and nobody else is turned away for them.

use crate::common::control::status;
use crate::common::tls::{behind_tls, python, site};
use crate::common::{Daemon, Setup, free_port, free_ports, need_root, procs, wait_until};

/// What the scripts begin with: a client of whose answer his own system takes next to nothing.
const BEGINNING: &str = r"
shared = context()
def takes_nothing(port, own='127.0.0.1'):
    it = socket.socket()
    it.settimeout(50)
    it.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    it.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 500)
    it.bind((own, 0))
    it.connect(('127.0.0.1', int(port)))
    it = shared.wrap_socket(it)
    # His program has said something, and ends.
    if it.recv(1) != b'\0': raise OSError('refused')
    return it
def rest_of(it):
    try: return len(read_all(it))
    except (OSError, ssl.SSLError): return None
";

/// More than two systems take that do not want any, and less than the pair of sockets does.
const MUCH: &str = "/usr/bin/head head -c 120000 /dev/zero";

#[track_caller]
fn run(daemon: &Daemon, script: &str, ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let control = daemon.control().display().to_string();
    let mut words = vec![crate::common::daemon::BINARY, &control];
    words.extend(ports.iter().map(String::as_str));
    python(&daemon.folder, &format!("{BEGINNING}\n{script}"), &words)
}

#[test]
fn a_source_has_few_where_it_may_have_few_programs() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let more = "    per_source = 2\n    sndbuf = 8k\n";
    let text = behind_tls(&folder, port, MUCH, more);
    let setup = Setup::new().controlled().arg("--front-workers").arg("1");
    let daemon = setup.start_in(folder, &text);
    let script = r"
import json, subprocess
def lingering():
    said = subprocess.run([sys.argv[1], 'status', '--json', '--control', sys.argv[2]], check=True, capture_output=True)
    return json.loads(said.stdout)['lingering']
other = takes_nothing(sys.argv[3], '127.0.0.2')
crowd = []
while len(crowd) < 12:
    # Who comes again before the end of the last program is one too many.
    try: crowd.append(takes_nothing(sys.argv[3]))
    except (OSError, ssl.SSLError): pass
deadline = time.monotonic() + 25
while lingering() != 9: assert time.monotonic() < deadline, lingering()
# Of the crowd the first have gone, and lack something. The other one has it all.
print(rest_of(other), rest_of(crowd[0]) == 119999, rest_of(crowd[-1]))
";
    assert_eq!(run(&daemon, script, &[port]).trim(), "119999 False 119999");
    daemon.wait_count(13, |line| line.about("ended", port));
    wait_until("nobody to linger", || status(&daemon, None)["lingering"] == 0);
    if need_root() {
        let worker = *procs::front_workers(daemon.pid()).first().unwrap();
        wait_until("all to be gone", || procs::descriptors(worker) < 20);
    }
}

/// A worker has two descriptors for each client, and no more than it may have.
#[test]
fn where_descriptors_are_few_they_turn_nobody_else_away() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(2);
    let text = behind_tls(&folder, ports[0], MUCH, "")
        + &behind_tls(&folder, ports[1], "/bin/cat cat", "");
    let setup = Setup::new().controlled().after("ulimit -n 64").arg("--front-workers").arg("1");
    let daemon = setup.start_in(folder, &text);
    let script = r"
crowd = []
for _ in range(6):
    crowd.extend(takes_nothing(sys.argv[3]) for _ in range(8))
    it = connect(sys.argv[4])
    it.sendall(b'x'); assert it.recv(1) == b'x'
    it.unwrap()
print('good')
";
    assert_eq!(run(&daemon, script, &ports).trim(), "good");
    let refused = daemon.said("refused");
    assert!(refused.is_empty() && daemon.said("trouble").is_empty(), "{}", daemon.log.text());
}
