//! TLS in front of services, with the clients that people use.

use std::fs;

use crate::common::tls::{
    behind_tls, client, make_certificate, make_certificate_by, output_of, python, site,
};
use crate::common::{
    Folder, Setup, free_port, free_ports, me, need_program, shell, tcp, wait_until,
};

const ENV: &str = "/usr/bin/env env";

#[test]
fn a_program_answers_openssl_in_both_versions() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, ENV, "");
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
    let Some(folder) = site(&["python3"]) else { return };
    if !need_program("curl") {
        return;
    }
    let port = free_port();
    let script =
        shell("read -r line; printf \"HTTP/1.0 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello\"");
    let text = behind_tls(&folder, port, &script, "    tls_alpn = http/1.1\n");
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
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    // It answers at the end of its input only.
    let text = behind_tls(&folder, port, &shell("wc -c"), "");
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
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(2);
    // One that ends at once with much unread by its client, one that reads nothing at all.
    let text = behind_tls(&folder, ports[0], &shell("head -c 5000000 /dev/zero"), "")
        + &behind_tls(&folder, ports[1], &shell("printf done"), "");
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
fn a_program_ends_for_its_client_while_the_server_stands_still() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let script = shell("echo begun; read -r line; echo \"$line\"");
    let text = behind_tls(&folder, port, &script, "");
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
import signal
it, server = connect(sys.argv[1]), int(sys.argv[2])
assert it.recv(64) == b'begun\n'
os.kill(server, signal.SIGSTOP)
try:
    while open(f'/proc/{server}/stat').read().rsplit(')', 1)[1].split()[0] != 'T': time.sleep(0.01)
    it.sendall(b'go on\n')
    print(read_all(it))
finally: os.kill(server, signal.SIGCONT)
";
    let arguments = [port.to_string(), daemon.pid().to_string()];
    let said = python(&daemon.folder, script, &[&arguments[0], &arguments[1]]);
    assert_eq!(said.trim(), r"b'go on\n'");
    daemon.wait_log(|line| line.is("ended"));
}

#[test]
fn bytes_pass_both_ways_unchanged() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, "/bin/cat cat", "");
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
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(2);
    let text = behind_tls(&folder, ports[0], ENV, "") + &behind_tls(&folder, ports[1], ENV, "");
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
fn sessions_are_resumed_after_a_reload_and_an_upgrade() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, ENV, "");
    let daemon = Setup::new().controlled().copied().start_in(folder, &text);
    let port = port.to_string();
    for old in ["-tls1_3", "-tls1_2"] {
        let ticket = format!("ticket{old}");
        let ask = |how: &str| {
            let to = format!("127.0.0.1:{port}");
            let words = ["openssl", "s_client", "-connect", &to, old, "-ign_eof", how, &ticket];
            output_of(&daemon.folder, &words, "")
        };
        assert!(ask("-sess_out").contains("New, "));
        for act in ["reload", "upgrade"] {
            daemon.answer(&[act]);
            assert!(ask("-sess_in").contains("Reused, "), "{old} after {act}");
        }
    }
}

#[test]
fn a_certificate_is_chosen_by_name_and_read_again_by_a_reload() {
    let Some(folder) = site(&["python3"]) else { return };
    make_certificate(&folder, "other", "DNS:other.example,DNS:*.wild.example", "90");
    let port = free_port();
    let (own, key) = (folder.name("other.pem"), folder.name("other.key"));
    let text = behind_tls(&folder, port, ENV, &format!("    tls += {own} {key}\n"));
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
    let Some(folder) = site(&["python3"]) else { return };
    make_certificate(&folder, "ca", "DNS:ca", "90");
    make_certificate(&folder, "stranger", "DNS:stranger", "90");
    make_certificate_by(&folder, "ca", "alice", "/C=DE/O=Example, Inc/CN=Alice");
    let ports = free_ports(3);
    let ca = folder.name("ca.pem");
    let asks = format!("    tls_ca = {ca}\n    tls_client = ask\n");
    let requires = format!("    tls_ca = {ca}\n    tls_client = require\n");
    let mut text = behind_tls(&folder, ports[0], ENV, &asks);
    text.extend(ports[1..].iter().map(|port| behind_tls(&folder, *port, ENV, &requires)));
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
def said(it): return read_all(it).decode()
for port in sys.argv[1:3]:
    for old in (False, True):
        text = said(connect(port, cert='alice.pem', key='alice.key', old=old))
        for wanted in ('SSL_CLIENT_VERIFY=SUCCESS', 'SSL_CLIENT_S_DN=CN=Alice,O=Example\\, Inc,C=DE', 'SSL_CLIENT_I_DN=CN=ca', 'SSL_CLIENT_SHA256='):
            assert wanted in text, (wanted, text)
assert 'SSL_CLIENT_VERIFY=NONE' in said(connect(sys.argv[1]))
for port, how in ((2, {}), (3, {'cert': 'stranger.pem', 'key': 'stranger.key'})):
    try:
        text = said(connect(sys.argv[port], **how))
        assert not text, text
    except (ssl.SSLError, ConnectionError):
        pass
print('good')
";
    let ports = ports.map_to_strings();
    let arguments: Vec<&str> = ports.iter().map(String::as_str).collect();
    assert_eq!(python(&daemon.folder, script, &arguments).trim(), "good");
    // A stranger's own certificate is no client's, but an authority's.
    let own = "certificate_is_authority";
    for (port, alert) in [(&ports[1], "certificate_required"), (&ports[2], own)] {
        let label = format!("{port}/tcp");
        let is_it =
            |line: &crate::common::Line| line.is("refused") && line.get("service") == Some(&label);
        let refused = daemon.wait_log(is_it);
        assert_eq!((refused.get("reason"), refused.get("alert")), (Some("tls"), Some(alert)));
    }
}

#[test]
fn the_log_says_why_there_was_no_handshake_and_who_has_said_so() {
    let Some(folder) = site(&["python3"]) else { return };
    make_certificate(&folder, "ca", "DNS:ca", "90");
    make_certificate(&folder, "stranger", "DNS:stranger", "90");
    make_certificate_by(&folder, "ca", "alice", "/CN=Alice");
    make_certificate_by(&folder, "stranger", "bob", "/CN=Bob");
    folder.write(
        "ca.conf",
        "[ca]\ndefault_ca=it\n[it]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\n\
         policy=any\nx509_extensions=client\n[any]\ncommonName=supplied\n[client]\nextendedKeyUsage=clientAuth\n",
    );
    folder.write("index", "");
    folder.write("serial", "77\n");
    let script = "openssl req -new -key alice.key -subj /CN=Late -out late.csr && \
                  openssl ca -batch -config ca.conf -startdate 200101000000Z -enddate 210101000000Z \
                  -in late.csr -cert ca.pem -keyfile ca.key -out late.pem && \
                  openssl x509 -req -in late.csr -CA ca.pem -CAkey ca.key -set_serial 78 -out old.pem && \
                  openssl x509 -in old.pem -noout -text";
    let made = output_of(&folder, &["sh", "-c", script], "");
    // As openssl makes them where nothing else is said; newer ones do not.
    let (old, why) = match made.contains("Version: 1 ") {
        true => ("old", "certificate_version"),
        false => ("ca", "certificate_is_authority"),
    };
    let ports = free_ports(11);
    let asks = format!("    tls_client = require\n    tls_ca = {}\n", folder.name("ca.pem"));
    let clients = [
        ("", "", "unknown_ca", "-verify_return_error -CAfile ca.pem", true),
        ("    tls_versions = 1.3\n", "", "protocol_version", "-tls1_2", false),
        ("    tls_versions = 1.2\n", "", "protocol_version", "-tls1_3", false),
        ("    tls_alpn = h2\n", "", "no_application_protocol", "-alpn http/1.1", false),
        (&asks, "", "certificate_required", "", false),
        (&asks, "bob", "unknown_ca", "", false),
        (&asks, "late", "certificate_expired", "", false),
        (&asks, old, why, "", false),
        (&asks, "stranger", "certificate_is_authority", "", false),
        ("", "", "http_request", "GET / HTTP/1.0", false),
        ("", "", "proxy_header", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2", false),
    ];
    let lines = ports.iter().zip(clients).map(|(port, it)| behind_tls(&folder, *port, ENV, it.0));
    let text: String = lines.collect();
    let daemon = Setup::new().start_in(folder, &text);
    for (port, (_, own, wanted, how, by_client)) in ports.iter().zip(clients) {
        if how.contains(' ') && !how.starts_with('-') {
            let script = "import socket, sys; it = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); it.sendall(sys.argv[2].encode() + b'\\r\\n\\r\\n'); it.recv(1000)";
            client(&daemon.folder, &["python3", "-c", script, &port.to_string(), how], "");
        } else {
            let key = if ["late", "old"].contains(&own) { "alice" } else { own };
            let own = match own {
                "" => String::new(),
                own => format!("-cert {own}.pem -key {key}.key"),
            };
            let script = format!("openssl s_client -connect 127.0.0.1:{port} -quiet {how} {own}");
            client(&daemon.folder, &["sh", "-c", &script], "");
        }
        let said = daemon.wait_log(|line| line.about("refused", *port));
        let words = (said.get("reason"), said.get("alert"), said.get("by"));
        let by = by_client.then_some("client");
        assert_eq!(words, (Some("tls"), Some(wanted), by), "{how}: {}", said.raw);
    }
    assert!(daemon.said("accepted").is_empty());
}

#[test]
fn garbage_and_silence_cost_no_program() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let more = "    tls_timeout = 1s\n    instances = 1\n";
    let text = behind_tls(&folder, port, ENV, more);
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
    daemon.said_times(1, "accepted");
}

#[test]
fn built_in_services_and_relays_are_behind_it_too() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(4);
    let echo = format!("127.0.0.1:{}", ports[3]);
    let (own, key) = (folder.name("site.pem"), folder.name("site.key"));
    let echo = format!("{echo} stream tcp nowait {} internal echo\n    tls = {own} {key}\n", me());
    let target =
        format!("127.0.0.1:{} stream tcp nowait {} /usr/bin/tr tr a-z A-Z\n", ports[2], me());
    let relay = format!("    redirect = 127.0.0.1 {}\n", ports[2]);
    let text = echo + &target + &behind_tls(&folder, ports[1], "internal", &relay);
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
for old in (False, True):
    it = connect(sys.argv[1], old=old)
    for text in (b'hello', b'y' * 100000):
        it.sendall(text)
        got = b''
        while len(got) < len(text): got += it.recv(65536)
        assert got == text
    it.unwrap().close()
print('good')
";
    assert_eq!(python(&daemon.folder, script, &[&ports[3].to_string()]).trim(), "good");
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
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(2);
    let more = "    front_workers = own\n";
    let text = behind_tls(&folder, ports[0], "/bin/cat cat", "")
        + &behind_tls(&folder, ports[1], "/bin/cat cat", more);
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
dead = min(workers)[0]
os.kill(dead, signal.SIGKILL)
alive = 0
for it in (shared, own):
    try:
        it.sendall(b'y'); alive += it.recv(1) == b'y'
    except (OSError, ssl.SSLError): pass
assert alive == 1, alive
deadline = time.monotonic() + 30
# Whoever comes before the server knows is given to it, and goes with it.
while os.path.exists(f'/proc/{dead}'): assert time.monotonic() < deadline; time.sleep(0.01)
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
fn a_worker_of_a_service_that_has_gone_goes_with_its_last_client() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(2);
    let stays = format!("127.0.0.1:{} stream tcp nowait {} /bin/date date\n", ports[1], me());
    let own = behind_tls(&folder, ports[0], "/bin/cat cat", "    front_workers = own\n");
    let daemon = Setup::new().start_in(folder, &(own + &stays));
    let script = r"
import subprocess
pid, file, text = int(sys.argv[2]), sys.argv[3], sys.argv[4]
def workers():
    said = subprocess.run(['ps', '-o', 'args=', '--ppid', str(pid)], capture_output=True, text=True)
    return said.stdout.count('front-worker')
def until(what):
    deadline = time.monotonic() + 30
    while not what(): assert time.monotonic() < deadline; time.sleep(0.01)
def refused():
    try: socket.create_connection(('127.0.0.1', int(sys.argv[1]))).close()
    except OSError: return True
it = connect(sys.argv[1])
it.sendall(b'x'); assert it.recv(1) == b'x'
assert workers() == 1
open(file, 'w').write(text)
os.kill(pid, 1)
until(refused)
it.sendall(b'y'); assert it.recv(1) == b'y'
assert workers() == 1
it.close()
until(lambda: workers() == 0)
print('good')
";
    let (port, pid) = (ports[0].to_string(), daemon.pid().to_string());
    let file = daemon.folder.name("inetd.conf");
    let words = [port.as_str(), pid.as_str(), file.as_str(), stays.as_str()];
    assert_eq!(python(&daemon.folder, script, &words).trim(), "good");
}

#[test]
fn sessions_live_through_an_upgrade_and_a_reload() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, "/bin/cat cat", "");
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
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, ENV, "");
    let daemon = Setup::new().controlled().start_in(folder, &text);
    let script = r"
import subprocess, time
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
    before = done[0]
    while done[0] < before + 8 and not failed: time.sleep(0.01)
stop = True
for it in threads: it.join()
print(failed[:3], len(failed))
";
    let control = daemon.control().display().to_string();
    let said = python(
        &daemon.folder,
        script,
        &[&port.to_string(), crate::common::daemon::BINARY, &control],
    );
    assert_eq!(said.trim(), "[] 0");
}

#[test]
fn check_says_what_cannot_be_behind_tls() {
    let Some(folder) = site(&["python3"]) else { return };
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
    // Said for all services: whoever believes it of this one is told.
    let all = format!(".defaults\n    tls = {own} {key}\n");
    let said = check(&format!("{all}{port} stream tcp wait {} /bin/cat cat\n", me()));
    assert!(said.contains(&format!("`tls` has no effect on `{port}`")), "{said}");
    fs::set_permissions(folder.at("site.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    let said =
        check(&format!("{port} stream tcp nowait {} /bin/cat cat\n    tls = {own} {key}\n", me()));
    assert!(said.contains("may read the key"), "{said}");
}

#[test]
fn run_makes_a_certificate_on_the_spot() {
    if !(need_program("openssl") && need_program("curl")) {
        return;
    }
    let folder = Folder::new();
    let control = folder.name("control");
    let script = "read -r line; printf 'HTTP/1.0 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello'";
    let words = ["run", "--tls", "self-signed", "--control", &control];
    let words = [&words[..], &["127.0.0.1:0", "--", "sh", "-c", script]].concat();
    let mut daemon = Setup::new().copied().run_in(folder, &words);
    let said = |mark: usize| {
        let line = daemon.wait_count(mark, |line| line.is("certificate")).pop().unwrap();
        line.get("fingerprint").unwrap().to_owned()
    };
    let port = daemon.wait_log(|line| line.is("listening")).get("address").unwrap().to_owned();
    let port: u16 = port.rsplit(':').next().unwrap().parse().unwrap();
    let first = said(1);
    assert_eq!(fingerprint_at(&daemon.folder, port), first);
    let url = format!("https://localhost:{port}/");
    let resolve = format!("localhost:{port}:127.0.0.1");
    assert_eq!(output_of(&daemon.folder, &["curl", "-sSk", &url], ""), "hello");
    // It names this machine, and is its own authority.
    let words = ["curl", "-sS", "--cacert", "shown.pem", "--resolve", &resolve, &url];
    assert_eq!(output_of(&daemon.folder, &words, ""), "hello");
    // A reload keeps it, and an upgrade makes another.
    let ask = |what: &str| daemon.answer(&[what]);
    assert!(ask("reload").contains("0 opened, 0 closed; 0 services changed"));
    assert_eq!(fingerprint_at(&daemon.folder, port), first);
    let _ = ask("upgrade");
    let second = said(2);
    assert_ne!(first, second);
    assert_eq!(fingerprint_at(&daemon.folder, port), second);
    daemon.stop();
}

#[test]
fn a_certificate_is_made_where_nobody_can_wait_for_it() {
    if !need_program("openssl") {
        return;
    }
    // Whoever has started it leaves SIGCHLD ignored, and standard input closed.
    let words = ["run", "--tls", "self-signed", "127.0.0.1:0", "--", "date"];
    let daemon = Setup::new().after("trap '' CHLD; exec <&-").run(&words);
    let made = daemon.wait_log(|line| line.is("certificate"));
    let address = daemon.wait_log(|line| line.is("listening")).get("address").unwrap().to_owned();
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    assert_eq!(made.get("fingerprint"), Some(&*fingerprint_at(&daemon.folder, port)));
}

/// Of the certificate that a server shows, which is `shown.pem` then.
#[track_caller]
fn fingerprint_at(folder: &Folder, port: u16) -> String {
    let at = format!("127.0.0.1:{port}");
    let shown = output_of(folder, &["openssl", "s_client", "-connect", &at], "");
    folder.write("shown.pem", &shown);
    let words = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", "shown.pem"];
    let said = output_of(folder, &words, "");
    said.trim().rsplit('=').next().unwrap().to_owned()
}

#[test]
fn run_takes_the_files_of_a_certificate() {
    let Some(folder) = site(&["python3"]) else { return };
    // Names with a space.
    fs::copy(folder.at("site.pem"), folder.at("a site.pem")).unwrap();
    let (own, key) = (folder.name("a site.pem"), folder.name("site.key"));
    let (pair, option) = (format!("{own},{key}"), format!("tls='{own}' {key}"));
    for said in [["--tls", &pair], ["-o", &option]] {
        let words = [&["run"], &said[..], &["127.0.0.1:0", "--", "env"]].concat();
        let mut daemon = Setup::new().run(&words);
        let port = daemon.wait_log(|line| line.is("listening")).get("address").unwrap().to_owned();
        let words = ["openssl", "s_client", "-connect", &port, "-CAfile", "site.pem", "-quiet"];
        let words = [&words[..], &["-verify_return_error"]].concat();
        let said = output_of(&folder, &words, "");
        assert!(said.contains("SSL_PROTOCOL=TLSv1.3"), "{said}");
        daemon.stop();
    }
    for (said, wanted) in [
        ("site.pem", "`self-signed`"),
        (",site.key", "`self-signed`"),
        ("/no/such.pem,/no/such.key", "cannot read `/no/such.pem`"),
    ] {
        let words = [crate::common::daemon::BINARY, "run", "--tls", said, "127.0.0.1:0"];
        let output = client(&folder, &[&words[..], &["--", "cat"]].concat(), "");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(wanted), "{said}: {text}");
    }
}

#[test]
fn the_end_of_a_certificate_and_deaths_of_workers_are_told() {
    let Some(folder) = site(&["python3"]) else { return };
    make_certificate(&folder, "later", "DNS:later.example", "900");
    let ports = free_ports(2);
    let more = format!("    tls += {} {}\n", folder.name("later.pem"), folder.name("later.key"));
    let text = behind_tls(&folder, ports[0], "/bin/cat cat", &more)
        + &format!("127.0.0.1:{} stream tcp nowait {} /bin/cat cat\n", ports[1], me());
    let metrics = folder.name("metrics");
    let daemon = Setup::new().controlled().arg("--metrics").arg(&metrics).start_in(folder, &text);
    let words = ["openssl", "x509", "-noout", "-enddate", "-in", "site.pem"];
    let end = output_of(&daemon.folder, &words, "");
    let end = end.trim().trim_start_matches("notAfter=");
    let end = output_of(&daemon.folder, &["date", "-d", end, "+%s"], "");
    let service = format!("{}/tcp", ports[0]);
    let json = daemon.answer(&["status", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let ends: Vec<_> = json["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["tls_certificate_expiry"])
        .collect();
    assert_eq!(ends[0].to_string(), end.trim());
    assert!(ends[1].is_null());
    let shown = daemon.answer(&["status", &service]);
    // Within the second in which it was made, or later.
    let is_told = |time: &str| shown.contains(&format!("certificate: ends in {time}\n"));
    assert!(is_told("89d 23h") || is_told("90d 0h"), "{shown}");
    let counters = || {
        use std::io::Write as _;
        let mut stream = std::os::unix::net::UnixStream::connect(&metrics).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        crate::common::read_all(stream)
    };
    let text = counters();
    let all: Vec<_> =
        text.lines().filter(|line| line.starts_with("oxinetd_service_tls_cert")).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].contains(&service) && all[0].ends_with(&format!(" {}", end.trim())), "{all:?}");
    assert!(text.contains("\noxinetd_front_worker_deaths_total 0\n"));
    // A worker is there when somebody has come.
    let script = "it = connect(sys.argv[1]); it.sendall(b'x'); print(it.recv(1) == b'x')";
    assert_eq!(python(&daemon.folder, script, &[&ports[0].to_string()]).trim(), "True");
    let worker = *crate::common::procs::front_workers(daemon.pid()).first().unwrap();
    nix::sys::signal::kill(
        crate::common::daemon::as_pid(worker),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let _ = daemon.wait_log(|line| line.is("worker-died"));
    wait_until("it is counted", || counters().contains("\noxinetd_front_worker_deaths_total 1\n"));
}

#[test]
fn nobody_renegotiates() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = behind_tls(&folder, port, "/bin/cat cat", "");
    let daemon = Setup::new().start_in(folder, &text);
    // It reads its orders when the handshake is over.
    let script = r"
import subprocess
words = ['openssl', 's_client', '-connect', f'127.0.0.1:{sys.argv[1]}', '-tls1_2']
it = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
said = b''
while b'Verify return code' not in said:
    piece = it.stdout.read1()
    assert piece, said
    said += piece
it.stdin.write(b'R\n'); it.stdin.flush()
rest = it.stdout.read()
it.wait()
assert b'RENEGOTIATING' in rest, rest
print('no renegotiation' in rest.decode() or 'handshake failure' in rest.decode(), rest)
";
    let said = python(&daemon.folder, script, &[&port.to_string()]);
    assert!(said.starts_with("True"), "{said}");
    // Others are served.
    let script = "it = connect(sys.argv[1]); it.sendall(b'x'); print(it.recv(1) == b'x')";
    assert_eq!(python(&daemon.folder, script, &[&port.to_string()]).trim(), "True");
}

#[test]
fn a_proxy_header_comes_before_tls() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let more = "    proxy_protocol = require\n    proxy_from = 127.0.0.1\n";
    let text = behind_tls(&folder, port, ENV, more);
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
head = b'PROXY TCP4 192.0.2.1 198.51.100.2 7 443\r\n'
new = bytes.fromhex('0d0a0d0a000d0a515549540a2111000cc0000201c6336402000701bb')
for header in (head, new):
    plain = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=50)
    # Header and handshake may come together.
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    it = context().wrap_bio(into, out)
    try: it.do_handshake()
    except ssl.SSLWantReadError: pass
    plain.sendall(header + out.read())
    said = b''
    while True:
        data = plain.recv(65536)
        into.write(data) if data else into.write_eof()
        try:
            it.do_handshake()
            plain.sendall(out.read())
            while True:
                piece = it.read(65536)
                if not piece: break
                said += piece
            break
        except ssl.SSLWantReadError: plain.sendall(out.read())
        except ssl.SSLZeroReturnError: break
    said = said.decode().splitlines()
    for wanted in ('PROTO=SSL', 'REMOTE_ADDR=192.0.2.1', 'REMOTE_PORT=7', 'TCPLOCALPORT=443', 'PROXY_ADDR=127.0.0.1'):
        assert wanted in said, (wanted, said)
print('good')
";
    assert_eq!(python(&daemon.folder, script, &[&port.to_string()]).trim(), "good");
    let line = daemon.wait_log(|line| line.is("accepted"));
    assert_eq!(line.get("peer"), Some("192.0.2.1:7"));
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
