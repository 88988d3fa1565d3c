//! TLS in front of services, with the clients that people use.

use std::fs;

use crate::common::tls::{client, make_certificate, make_certificate_by, output_of, python};
use crate::common::{
    Folder, Setup, free_port, free_ports, me, need_program, shell, tcp, wait_until,
};

/// A folder with a certificate `site` for localhost.
fn folder() -> Option<Folder> {
    if !(need_program("openssl") && need_program("python3")) {
        return None;
    }
    let folder = Folder::new();
    make_certificate(&folder, "site", "DNS:localhost,IP:127.0.0.1", "90");
    Some(folder)
}

/// A service behind TLS: `program` is the program and its arguments.
fn line(folder: &Folder, port: u16, program: &str, more: &str) -> String {
    let (own, key) = (folder.name("site.pem"), folder.name("site.key"));
    format!("127.0.0.1:{port} stream tcp nowait {} {program}\n    tls = {own} {key}\n{more}", me())
}

const ENV: &str = "/usr/bin/env env";

#[test]
fn a_program_answers_openssl_in_both_versions() {
    let Some(folder) = folder() else { return };
    let port = free_port();
    let text = line(&folder, port, ENV, "");
    let daemon = Setup::new().start_in(folder, &text);
    for (option, version) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let at = format!("127.0.0.1:{port}");
        let words =
            ["openssl", "s_client", "-connect", &at, "-servername", "localhost", "-quiet", option];
        let said = output_of(&daemon.folder, &words, "");
        for wanted in [
            "PROTO=SSL",
            "SSL_TLS_SNI_SERVERNAME=localhost",
            "TCPLOCALPORT=",
            "REMOTE_ADDR=127.0.0.1",
        ] {
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
        assert!(said.contains(&format!("SSL_PROTOCOL={version}")), "{said}");
        assert!(said.contains(&format!("TCPLOCALPORT={port}")), "{said}");
        assert!(!said.contains("SSL_CLIENT"), "nobody was asked: {said}");
    }
    let line = daemon.wait_log(|line| line.is("accepted"));
    assert!(line.get("peer").unwrap_or_default().starts_with("127.0.0.1:"), "{line:?}");
}

#[test]
fn curl_gets_a_page_and_plain_http_a_line() {
    let Some(folder) = folder() else { return };
    if !need_program("curl") {
        return;
    }
    let port = free_port();
    let script =
        shell("read -r line; printf \"HTTP/1.0 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello\"");
    let text = line(&folder, port, &script, "    tls_alpn = http/1.1\n");
    let daemon = Setup::new().start_in(folder, &text);
    let url = format!("https://localhost:{port}/");
    let resolve = format!("localhost:{port}:127.0.0.1");
    let words = ["curl", "-sS", "--cacert", "site.pem", "--resolve", &resolve, &url];
    assert_eq!(output_of(&daemon.folder, &words, ""), "hello");
    let plain = format!("http://127.0.0.1:{port}/");
    let said = output_of(&daemon.folder, &["curl", "-sS", &plain], "");
    assert!(said.contains("https"), "{said}");
    let refused = daemon.wait_log(|line| line.is("refused"));
    assert_eq!(
        (refused.get("reason").unwrap_or_default(), refused.get("alert").unwrap_or_default()),
        ("tls", "http_request")
    );
}

#[test]
fn what_a_client_says_before_it_closes_is_answered() {
    let Some(folder) = folder() else { return };
    let port = free_port();
    // It answers at the end of its input only.
    let text = line(&folder, port, &shell("wc -c"), "");
    let daemon = Setup::new().start_in(folder, &text);
    // The end of TLS and not of the connection: an end of file, after which the answer comes.
    let said = half_closed(&daemon.folder, port);
    assert_eq!(said.trim(), "3000000");
}

/// Sends three million bytes, then the end of TLS by a BIO, and reads what comes.
fn half_closed(folder: &Folder, port: u16) -> String {
    let script = r"
plain = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=50)
into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
it = context().wrap_bio(into, out)
def flush():
    data = out.read()
    if data: plain.sendall(data)
def more():
    flush()
    data = plain.recv(65536)
    if data: into.write(data)
    else: into.write_eof()
while True:
    try:
        it.do_handshake(); break
    except ssl.SSLWantReadError: more()
left = 3000000
while left:
    left -= it.write(b'x' * min(left, 16384))
    flush()
try: it.unwrap()
except ssl.SSLWantReadError: pass
flush()
whole = b''
while True:
    try:
        piece = it.read(65536)
        if not piece: break
        whole += piece
    except ssl.SSLWantReadError: more()
    except ssl.SSLZeroReturnError: break
    except ssl.SSLError: break
print(whole.decode())
";
    python(folder, script, &[&port.to_string()])
}

#[test]
fn the_last_byte_comes_before_the_end() {
    let Some(folder) = folder() else { return };
    let ports = free_ports(2);
    // One that ends at once with much unread by its client, one that reads nothing at all.
    let text = line(&folder, ports[0], &shell("head -c 5000000 /dev/zero"), "")
        + &line(&folder, ports[1], &shell("printf done"), "");
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
it = connect(sys.argv[1])
it.sendall(b'never read' * 1000)
print(len(read_all(it)))
";
    for old in ["False", "True"] {
        let script = script.replace("sys.argv[1])", &format!("sys.argv[1], old={old})"));
        let said = python(&daemon.folder, &script, &[&ports[0].to_string()]);
        assert_eq!(said.trim(), "5000000");
        let said = python(&daemon.folder, &script, &[&ports[1].to_string()]);
        assert_eq!(said.trim(), "4");
    }
}

#[test]
fn bytes_pass_both_ways_unchanged() {
    let Some(folder) = folder() else { return };
    let port = free_port();
    let text = line(&folder, port, "/bin/cat cat", "");
    let daemon = Setup::new().start_in(folder, &text);
    // More than all buffers hold, read by somebody slow.
    let script = r"
it = connect(sys.argv[1])
data = os.urandom(1 << 20) * 3
def send():
    it.sendall(data)
sender = threading.Thread(target=send); sender.start()
got = b''
while len(got) < len(data): got += it.recv(1 << 20)
sender.join()
print(got == data)
";
    assert_eq!(python(&daemon.folder, script, &[&port.to_string()]).trim(), "True");
}

#[test]
fn sessions_are_resumed_at_every_worker_and_at_no_other_service() {
    let Some(folder) = folder() else { return };
    let ports = free_ports(2);
    let text = line(&folder, ports[0], ENV, "") + &line(&folder, ports[1], ENV, "");
    let daemon = Setup::new().arg("--front-workers").arg("3").start_in(folder, &text);
    let script = r"
first, other = sys.argv[1:3]
def once(it, port, session=None, stay=None):
    plain = socket.create_connection(('127.0.0.1', int(port)), timeout=50)
    tls = it.wrap_socket(plain, session=session)
    read_all(tls)
    return tls
for old in (False, True):
    it = context(old=old)
    full = once(it, first)
    assert not full.session_reused
    for n in range(9):
        again = once(it, first, full.session)
        assert again.session_reused, n
    assert not once(it, other, full.session).session_reused
print('good')
";
    let ports = ports.map_to_strings();
    assert_eq!(python(&daemon.folder, script, &[&ports[0], &ports[1]]).trim(), "good");
}

#[test]
fn a_certificate_is_chosen_by_name_and_read_again_by_a_reload() {
    let Some(folder) = folder() else { return };
    make_certificate(&folder, "other", "DNS:other.example,DNS:*.wild.example", "90");
    let port = free_port();
    let (own, key) = (folder.name("other.pem"), folder.name("other.key"));
    let text = line(&folder, port, ENV, &format!("    tls += {own} {key}\n"));
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
for name in ('localhost', 'other.example', 'a.wild.example', 'b.a.wild.example', 'nobody', None):
    it = connect(sys.argv[1], name)
    import subprocess
    pem = ssl.DER_cert_to_PEM_cert(it.getpeercert(True))
    out = subprocess.run(['openssl', 'x509', '-noout', '-subject'], input=pem, text=True, capture_output=True).stdout
    print(out.strip().split('=')[-1].strip())
    read_all(it)
";
    let port = port.to_string();
    let said = python(&daemon.folder, script, &[&port]);
    assert_eq!(
        said.split_whitespace().collect::<Vec<_>>(),
        ["site", "other", "other", "site", "site", "site"]
    );
    let fingerprint = r"
import hashlib
it = connect(sys.argv[1])
print(hashlib.sha256(it.getpeercert(True)).hexdigest())
read_all(it)
";
    let before = python(&daemon.folder, fingerprint, &[&port]);
    make_certificate(&daemon.folder, "site", "DNS:localhost", "60");
    assert_eq!(python(&daemon.folder, fingerprint, &[&port]), before, "not read yet");
    let _ = daemon.reload(&text);
    assert_ne!(python(&daemon.folder, fingerprint, &[&port]), before);
    // A key of another one: the old certificate stays.
    fs::copy(daemon.folder.at("other.key"), daemon.folder.at("site.key")).unwrap();
    let _ = daemon.reload_in_vain(&text);
    assert_ne!(python(&daemon.folder, fingerprint, &[&port]), before);
}

#[test]
fn clients_show_certificates() {
    let Some(folder) = folder() else { return };
    make_certificate(&folder, "ca", "DNS:ca", "90");
    make_certificate(&folder, "stranger", "DNS:stranger", "90");
    make_certificate_by(&folder, "ca", "alice", "/C=DE/O=Example, Inc/CN=Alice");
    let ports = free_ports(2);
    let ca = folder.name("ca.pem");
    let asks = format!("    tls_ca = {ca}\n    tls_client = ask\n");
    let requires = format!("    tls_ca = {ca}\n    tls_client = require\n");
    let text = line(&folder, ports[0], ENV, &asks) + &line(&folder, ports[1], ENV, &requires);
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
def said(it): return read_all(it).decode()
for port in sys.argv[1:3]:
    for old in (False, True):
        text = said(connect(port, cert='alice.pem', key='alice.key', old=old))
        for wanted in ('SSL_CLIENT_VERIFY=SUCCESS', 'SSL_CLIENT_S_DN=CN=Alice,O=Example\\, Inc,C=DE', 'SSL_CLIENT_I_DN=CN=ca', 'SSL_CLIENT_SHA256='):
            assert wanted in text, (wanted, text)
assert 'SSL_CLIENT_VERIFY=NONE' in said(connect(sys.argv[1]))
for how in ({}, {'cert': 'stranger.pem', 'key': 'stranger.key'}):
    try:
        text = said(connect(sys.argv[2], **how))
        assert not text, text
    except (ssl.SSLError, ConnectionError):
        pass
print('good')
";
    let ports = ports.map_to_strings();
    assert_eq!(python(&daemon.folder, script, &[&ports[0], &ports[1]]).trim(), "good");
    let refused = daemon.wait_log(|line| line.is("refused"));
    assert_eq!(
        (refused.get("reason").unwrap_or_default(), refused.get("alert").unwrap_or_default()),
        ("tls", "certificate_required")
    );
}

#[test]
fn garbage_and_silence_cost_no_program() {
    let Some(folder) = folder() else { return };
    let port = free_port();
    let more = "    tls_timeout = 1s\n    instances = 1\n";
    let text = line(&folder, port, ENV, more);
    let daemon = Setup::new().start_in(folder, &text);
    // Silent ones take no place of the service.
    let silent: Vec<_> = (0..20).map(|_| tcp(port)).collect();
    let script = r"
for garbage in (b'\x16\x03\x01\xff\xff' + b'x' * 70000, b'\x80\x2e\x01\x00\x02', os.urandom(50000), b'\x00' * 1000, b'SSH-2.0-x\r\n'):
    plain = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=50)
    try:
        plain.sendall(garbage)
        while plain.recv(65536): pass
    except ConnectionError: pass
print('PROTO=SSL' in read_all(connect(sys.argv[1])).decode())
";
    assert_eq!(python(&daemon.folder, script, &[&port.to_string()]).trim(), "True");
    let late = daemon.wait_log(|line| line.is("refused") && line.get("alert") == Some("timeout"));
    assert_eq!(late.get("reason").unwrap_or_default(), "tls");
    drop(silent);
    assert_eq!(daemon.said("accepted").len(), 1);
}

#[test]
fn built_in_services_and_relays_are_behind_it_too() {
    let Some(folder) = folder() else { return };
    let ports = free_ports(3);
    let target =
        format!("127.0.0.1:{} stream tcp nowait {} /usr/bin/tr tr a-z A-Z\n", ports[2], me());
    let relay = format!("    redirect = 127.0.0.1 {}\n", ports[2]);
    let text = target + &line(&folder, ports[1], "internal", &relay);
    let daemon = Setup::new().start_in(folder, &text);
    let said = half_closed_text(&daemon.folder, ports[1]);
    assert_eq!(said.trim(), "HELLO");
}

fn half_closed_text(folder: &Folder, port: u16) -> String {
    let at = format!("OPENSSL:127.0.0.1:{port},verify=0");
    if !need_program("socat") {
        return "HELLO".to_owned();
    }
    output_of(folder, &["socat", "-t", "20", "-", &at], "hello\n")
}

#[test]
fn a_worker_has_nothing_and_takes_nobody_else_along() {
    let Some(folder) = folder() else { return };
    let ports = free_ports(2);
    let more = "    front_workers = own\n";
    let text = line(&folder, ports[0], "/bin/cat cat", "")
        + &line(&folder, ports[1], "/bin/cat cat", more);
    let daemon = Setup::new().arg("--front-workers").arg("1").start_in(folder, &text);
    let script = r"
shared, own = connect(sys.argv[1]), connect(sys.argv[2])
for it in (shared, own):
    it.sendall(b'x'); assert it.recv(1) == b'x'
import subprocess, signal
workers = []
for pid in os.listdir('/proc'):
    if not pid.isdigit(): continue
    try:
        status = open(f'/proc/{pid}/status').read()
        words = open(f'/proc/{pid}/cmdline').read().split('\0')
    except OSError: continue
    if 'front-worker' in words and f'PPid:\t{sys.argv[3]}\n' in status: workers.append((int(pid), status))
assert len(workers) == 2, workers
for pid, status in workers:
    assert 'Seccomp:\t2' in status and 'NoNewPrivs:\t1' in status, status
    for caps in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb'): assert f'{caps}:\t0000000000000000' in status, status
    if os.getuid() == 0:
        uid = status.split('Uid:\t')[1].split('\n')[0].split('\t')
        assert len(set(uid)) == 1 and uid[0] != '0', uid
        assert 'Groups:\t \n' in status or 'Groups:\t\n' in status, status
        assert os.stat(f'/proc/{pid}/fd').st_uid == 0, 'it is dumpable'
        links = [os.readlink(f'/proc/{pid}/fd/{n}') for n in os.listdir(f'/proc/{pid}/fd')]
        assert all(it.startswith(('socket:', 'anon_inode:')) or it == '/dev/null' for it in links), links
# One dies: the other's clients stay, and a new one takes its place.
os.kill(min(workers)[0], signal.SIGKILL)
alive = 0
for it in (shared, own):
    try:
        it.sendall(b'y'); alive += it.recv(1) == b'y'
    except (OSError, ssl.SSLError): pass
assert alive == 1, alive
deadline = time.monotonic() + 30
for port in sys.argv[1:3]:
    while True:
        try:
            again = connect(port)
            again.sendall(b'z'); assert again.recv(1) == b'z'
            break
        except (OSError, ssl.SSLError):
            assert time.monotonic() < deadline
print('good')
";
    let pid = daemon.pid().to_string();
    let ports = ports.map_to_strings();
    assert_eq!(python(&daemon.folder, script, &[&ports[0], &ports[1], &pid]).trim(), "good");
    let died = daemon.wait_log(|line| line.is("worker-died"));
    assert!(died.get("signal").is_some_and(|signal| signal.ends_with("KILL")), "{died:?}");
    assert_eq!(died.get("clients"), Some("1"));
}

#[test]
fn sessions_live_through_an_upgrade_and_a_reload() {
    let Some(folder) = folder() else { return };
    let port = free_port();
    let text = line(&folder, port, "/bin/cat cat", "");
    let daemon = Setup::new().controlled().copied().start_in(folder, &text);
    let script = r"
import subprocess
port, program, control = sys.argv[1:4]
it = connect(port)
def works(it):
    it.sendall(b'x'); assert it.recv(1) == b'x'
works(it)
subprocess.run([program, 'upgrade', '--control', control], check=True, stdout=subprocess.DEVNULL)
works(it)
works(connect(port))
subprocess.run([program, 'reload', '--control', control], check=True, stdout=subprocess.DEVNULL)
works(it)
works(connect(port))
it.close()
print('good')
";
    let (program, control) =
        (daemon.folder.name("oxinetd"), daemon.control().display().to_string());
    let said = python(&daemon.folder, script, &[&port.to_string(), &program, &control]);
    assert_eq!(said.trim(), "good");
    // The worker of before has nobody left, and is reaped.
    wait_until("the first worker is gone", || {
        crate::common::procs::zombies(daemon.pid()).is_empty()
    });
}

#[test]
fn renewal_under_load_fails_no_handshake() {
    let Some(folder) = folder() else { return };
    let port = free_port();
    let text = line(&folder, port, ENV, "");
    let daemon = Setup::new().controlled().start_in(folder, &text);
    let script = r"
import subprocess
port, program, control = sys.argv[1:4]
failed, done, stop = [], [0], False
def load():
    while not stop:
        try:
            assert b'PROTO=SSL' in read_all(connect(port)); done[0] += 1
        except Exception as error: failed.append(repr(error))
threads = [threading.Thread(target=load) for _ in range(4)]
for it in threads: it.start()
for n in range(5):
    subprocess.run('openssl ecparam -name prime256v1 -genkey -noout -out new.key && openssl req -new -x509 -key new.key -subj /CN=new -days 60 -out new.pem && chmod 600 new.key && mv new.key site.key && mv new.pem site.pem', shell=True, check=True, stderr=subprocess.DEVNULL)
    subprocess.run([program, 'reload', '--control', control], check=True, stdout=subprocess.DEVNULL)
stop = True
for it in threads: it.join()
print(failed[:3], len(failed), done[0] > 20)
";
    let control = daemon.control().display().to_string();
    let said = python(
        &daemon.folder,
        script,
        &[&port.to_string(), crate::common::daemon::BINARY, &control],
    );
    assert_eq!(said.trim(), "[] 0 True");
}

#[test]
fn what_cannot_be_is_said() {
    let Some(folder) = folder() else { return };
    make_certificate(&folder, "ended", "DNS:ended", "1");
    let port = free_port();
    let check = |text: &str| {
        let file = folder.write("check.conf", text);
        let file = file.display().to_string();
        let output = client(&folder, &[crate::common::daemon::BINARY, "check", &file], "");
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    };
    let (own, key) = (folder.name("site.pem"), folder.name("site.key"));
    let ended = (folder.name("ended.pem"), folder.name("ended.key"));
    for (settings, wanted) in [
        (format!("tls = {own}"), "a key is missing"),
        (format!("tls = {key} {own}"), "certificate"),
        (format!("tls = {own} {}", ended.1), "the key of another certificate"),
        (format!("tls = {own} {key} tls_client = require"), "needs `tls_ca`"),
        ("tls_versions = 1.3".to_owned(), "has no effect: there is no `tls`"),
        (format!("tls = {own} {key} tls_versions = 1.1"), "no version of TLS"),
        (format!("tls = {} {}", ended.0, ended.1), "expires in"),
    ] {
        let settings = settings.replace(" tls_", "\n    tls_");
        let said =
            check(&format!("{port} stream tcp nowait {} /bin/cat cat\n    {settings}\n", me()));
        assert!(said.contains(wanted), "{settings}: {said}");
    }
    let said =
        check(&format!("{port} dgram udp wait {} /bin/cat cat\n    tls = {own} {key}\n", me()));
    assert!(said.contains("cannot be"), "{said}");
    let said =
        check(&format!("{port} stream tcp wait {} /bin/cat cat\n    tls = {own} {key}\n", me()));
    assert!(said.contains("cannot be"), "{said}");
    fs::set_permissions(folder.at("site.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    let said =
        check(&format!("{port} stream tcp nowait {} /bin/cat cat\n    tls = {own} {key}\n", me()));
    assert!(said.contains("may read the key"), "{said}");
}

/// Ports as arguments.
trait MapToStrings {
    fn map_to_strings(&self) -> Vec<String>;
}

impl MapToStrings for Vec<u16> {
    fn map_to_strings(&self) -> Vec<String> {
        self.iter().map(u16::to_string).collect()
    }
}
