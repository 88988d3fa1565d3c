//! Upgrades with clients in their handshakes: none of them is lost.

use nix::sys::signal::{Signal, kill};

use crate::common::control::{status, upgrade};
use crate::common::daemon::as_pid;
use crate::common::tls::{behind_tls, python, site};
use crate::common::{Setup, free_port, procs};

#[test]
fn who_is_in_his_handshake_goes_over_upgrades_and_is_served() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, "/bin/cat cat", "    tls_timeout = 1m\n");
    let daemon = Setup::new().controlled().copied().start_in(folder, &text);
    let script = r"
import subprocess
plain = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=50)
into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = context().wrap_bio(into, out)
def until(what):
    while True:
        try: return what()
        except ssl.SSLWantReadError:
            plain.sendall(out.read())
            data = plain.recv(65536)
            assert data, 'it is given up'
            into.write(data)
until(tls.do_handshake)
# Its last words are still here: for its worker it is in the middle.
for _ in range(2):
    subprocess.run([sys.argv[2], 'upgrade', '--control', sys.argv[3]], check=True, stdout=subprocess.DEVNULL)
tls.write(b'hello')
plain.sendall(out.read())
assert until(lambda: tls.read(5)) == b'hello'
print('good')
";
    let (program, control) =
        (daemon.folder.name("oxinetd"), daemon.control().display().to_string());
    let words = [&port.to_string(), program.as_str(), control.as_str()];
    assert_eq!(python(&daemon.folder, script, &words).trim(), "good");
    assert!(daemon.said("refused").is_empty(), "{}", daemon.log.text());
    daemon.wait_count(1, |line| line.about("ended", port));
}

#[test]
fn upgrades_under_a_load_of_handshakes_fail_none() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, "/bin/cat cat", "");
    let daemon = Setup::new().controlled().copied().start_in(folder, &text);
    let script = r"
import subprocess
failed, done, stop = [], [0], False
def load(old):
    shared = context(old=old)
    while not stop:
        try:
            plain = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=50)
            with shared.wrap_socket(plain) as it:
                it.sendall(b'hello'); assert it.recv(5) == b'hello'
                it.unwrap()
            done[0] += 1
        except Exception as error: failed.append(repr(error))
threads = [threading.Thread(target=load, args=(n % 2 == 0,)) for n in range(6)]
for it in threads: it.start()
deadline = time.monotonic() + 50
for _ in range(6):
    before = done[0]
    while done[0] < before + 10 and not failed and time.monotonic() < deadline: time.sleep(0.01)
    subprocess.run([sys.argv[2], 'upgrade', '--control', sys.argv[3]], check=True, stdout=subprocess.DEVNULL)
stop = True
for it in threads: it.join()
print(failed[:3], len(failed))
";
    let (program, control) =
        (daemon.folder.name("oxinetd"), daemon.control().display().to_string());
    let words = [&port.to_string(), program.as_str(), control.as_str()];
    assert_eq!(python(&daemon.folder, script, &words).trim(), "[] 0");
    assert!(daemon.said("refused").is_empty(), "{}", daemon.log.text());
}

#[test]
fn deaths_of_workers_are_counted_over_an_upgrade() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, "/bin/cat cat", "");
    let daemon = Setup::new().controlled().copied().start_in(folder, &text);
    let comes = "it = connect(sys.argv[1]); it.sendall(b'x'); print(it.recv(1) == b'x')";
    assert_eq!(python(&daemon.folder, comes, &[&port.to_string()]).trim(), "True");
    let worker = *procs::front_workers(daemon.pid()).first().unwrap();
    kill(as_pid(worker), Signal::SIGKILL).unwrap();
    daemon.wait_log(|line| line.is("worker-died"));
    upgrade(&daemon);
    assert_eq!(status(&daemon, None)["front_worker_deaths"], 1);
}
