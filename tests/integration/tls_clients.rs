//! TLS with clients of all kinds: ncat, socat, curl behind a proxy, openssl's, Python's; and what
//! they may not do.

use crate::common::tls::{
    behind_tls, client, make_certificate, make_certificate_by, output_of, python, site,
};
use crate::common::{Daemon, Folder, Setup, free_port, free_ports, shell};

const ENV: &str = "/usr/bin/env env";

fn line(folder: &Folder, port: u16, program: &str, more: &[&str]) -> String {
    let more: String = more.iter().map(|it| format!("    {it}\n")).collect();
    behind_tls(folder, port, program, &more)
}

/// All that a client says, who may fail.
fn said_by(daemon: &Daemon, words: &[&str], input: &str) -> String {
    let output = client(&daemon.folder, words, input);
    [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat()
}

#[test]
fn ncat_talks_verifies_and_shows_a_certificate() {
    let Some(folder) = site(&["python3", "ncat"]) else { return };
    make_certificate(&folder, "ca", "DNS:ca", "90");
    make_certificate_by(&folder, "ca", "alice", "/CN=Alice");
    let ports = free_ports(2);
    let authority = format!("tls_ca = {}", folder.name("ca.pem"));
    let asks = ["tls_client = require", &authority, "tls_alpn = h2 test"];
    let answer = shell("read -r line; echo you said $line; /usr/bin/env");
    let text = line(&folder, ports[0], &answer, &[]) + &line(&folder, ports[1], ENV, &asks);
    let daemon = Setup::new().start_in(folder, &text);
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let said = output_of(&daemon.folder, &["ncat", "--ssl", "127.0.0.1", &ports[0]], "hello\n");
    assert!(said.starts_with("you said hello\n") && said.contains("SSL_PROTOCOL=TLSv1."), "{said}");
    let words = ["ncat", "--ssl-verify", "--ssl-trustfile", "site.pem", "localhost", &ports[0]];
    let said = output_of(&daemon.folder, &words, "hello\n");
    assert!(said.contains("SSL_TLS_SNI_SERVERNAME=localhost"), "{said}");
    let words = ["ncat", "--ssl", "--ssl-cert", "alice.pem", "--ssl-key", "alice.key"];
    let words = [&words[..], &["--ssl-alpn", "test", "127.0.0.1", &ports[1]]].concat();
    let said = output_of(&daemon.folder, &words, "");
    for wanted in ["SSL_CLIENT_S_DN=CN=Alice\n", "SSL_CLIENT_VERIFY=SUCCESS\n", "SSL_ALPN=test\n"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn curl_says_who_it_is_before_tls() {
    let Some(folder) = site(&["python3", "curl"]) else { return };
    let port = free_port();
    let page = "read -r line; printf \"HTTP/1.0 200 OK\\r\\n\\r\\n\"; /usr/bin/env";
    let more = ["proxy_protocol = require", "proxy_from = 127.0.0.1"];
    let text = line(&folder, port, &shell(page), &more);
    let daemon = Setup::new().start_in(folder, &text);
    let url = format!("https://localhost:{port}/");
    let resolve = format!("localhost:{port}:127.0.0.1");
    let words = ["curl", "-sS", "--cacert", "site.pem", "--resolve", &resolve];
    let with = [&words[..], &["--haproxy-protocol", &url]].concat();
    let said = output_of(&daemon.folder, &with, "");
    for wanted in ["PROTO=SSL\n", "REMOTE_ADDR=127.0.0.1\n", "PROXY_ADDR=127.0.0.1\n"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    // Who says nothing of the kind is refused.
    assert!(!client(&daemon.folder, &[&words[..], &[&url]].concat(), "").status.success());
    daemon.wait_log(|line| line.is("refused") && line.get("reason") == Some("proxy"));
}

#[test]
fn either_side_may_end_first() {
    let Some(folder) = site(&["python3", "socat"]) else { return };
    let ports = free_ports(2);
    let file = folder.name("come");
    // One answers at the end only, the other one says that it is done and reads on.
    let reader = format!(
        "import os, socket; it = socket.socket(fileno=os.dup(0)); it.sendall(b\"mine\"); \
         it.shutdown(socket.SHUT_WR); data = sys.stdin.buffer.read(); \
         open(\"{file}.new\", \"w\").write(str(len(data)) + \"\\n\"); os.rename(\"{file}.new\", \"{file}\")"
    );
    let python3 = crate::common::needs::find_program("python3").unwrap();
    let second = format!("{} python3 -c 'import sys; {reader}'", python3.display());
    let text =
        line(&folder, ports[0], &shell("wc -c"), &[]) + &line(&folder, ports[1], &second, &[]);
    let setup = Setup::new().env("HOME", "/");
    let daemon = setup.start_in(folder, &text);
    let at = format!("OPENSSL:127.0.0.1:{},verify=0", ports[0]);
    let long = "x".repeat(500_000);
    let said = output_of(&daemon.folder, &["socat", "-t", "50", "-", &at], &long);
    assert_eq!(said.trim(), "500000");
    let script = r"
it = connect(sys.argv[1])
assert read_all(it) == b'mine'
it.sendall(b'y' * 300000)
it.unwrap()
print('good')
";
    assert_eq!(python(&daemon.folder, script, &[&ports[1].to_string()]).trim(), "good");
    let come = crate::common::files::wait_text(&daemon.folder.at("come"));
    assert_eq!(come.trim(), "300000");
}

#[test]
fn certificates_of_clients_that_are_not_good_are_refused() {
    let Some(folder) = site(&["python3"]) else { return };
    for (authority, name) in [("ca", "alice"), ("other", "mallory")] {
        make_certificate(&folder, authority, &format!("DNS:{authority}"), "90");
        make_certificate_by(&folder, authority, name, &format!("/CN={name}"));
    }
    // Two that were good once, and will be.
    for (name, from, to) in [
        ("late", "20200101000000Z", "20210101000000Z"),
        ("early", "20900101000000Z", "20910101000000Z"),
    ] {
        folder.write(
            "ca.cnf",
            "[ca]\ndefault_ca=it\n[it]\ndatabase=index\nserial=number\nnew_certs_dir=.\ndefault_md=sha256\n\
             policy=any\nx509_extensions=ext\n[any]\ncommonName=supplied\n[ext]\nbasicConstraints=CA:FALSE\n\
             extendedKeyUsage=clientAuth\nsubjectAltName=DNS:client\n",
        );
        folder.write("index", "");
        folder.write("number", "1000\n");
        let words = ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj"];
        let (subject, key) = (format!("/CN={name}"), format!("{name}.key"));
        let words = [&words[..], &[&subject, "-keyout", &key, "-out", "csr"]].concat();
        let _ = output_of(&folder, &words, "");
        let words = ["openssl", "ca", "-batch", "-config", "ca.cnf", "-notext", "-in", "csr"];
        let (own, ca) = (format!("{name}.pem"), ["-cert", "ca.pem", "-keyfile", "ca.key"]);
        let times = ["-startdate", from, "-enddate", to, "-out", &own];
        let _ = output_of(&folder, &[&words[..], &ca, &times].concat(), "");
    }
    let ports = free_ports(2);
    let authority = format!("tls_ca = {}", folder.name("ca.pem"));
    let text = line(&folder, ports[0], ENV, &["tls_client = ask", &authority])
        + &line(&folder, ports[1], ENV, &["tls_client = require", &authority]);
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
def outcome(port, **how):
    try: return read_all(connect(port, **how)).decode() or 'nothing'
    except ssl.SSLError as error: return error.reason or 'nothing'
    except ConnectionError: return 'nothing'
for port in sys.argv[1:]:
    for old in (False, True):
        for name in ('mallory', 'late', 'early'):
            said = outcome(port, cert=name + '.pem', key=name + '.key', old=old)
            assert 'PROTO' not in said, (name, said)
        said = outcome(port, cert='alice.pem', key='alice.key', old=old)
        assert 'SSL_CLIENT_VERIFY=SUCCESS' in said and 'SSL_CLIENT_S_DN=CN=alice' in said, said
    said = outcome(port)
    assert ('PROTO=SSL' in said and 'SSL_CLIENT_VERIFY=NONE' in said) == (port == sys.argv[1]), said
print('good')
";
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    assert_eq!(python(&daemon.folder, script, &[&ports[0], &ports[1]]).trim(), "good");
    let refused = daemon.wait_log(|line| line.is("refused"));
    assert_eq!(refused.get("reason"), Some("tls"));
    daemon.said_times(5, "accepted");
}

#[test]
fn openssl_resumes_as_often_as_it_likes() {
    let Some(folder) = site(&["python3"]) else { return };
    let ports = free_ports(2);
    let text = line(&folder, ports[0], ENV, &[]) + &line(&folder, ports[1], ENV, &[]);
    let daemon = Setup::new().arg("--front-workers").arg("3").start_in(folder, &text);
    let at = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>();
    for version in ["-tls1_3", "-tls1_2"] {
        let words = |at: &'_ str, more: &[&'static str]| -> Vec<String> {
            let all = ["openssl", "s_client", "-ign_eof", version, "-connect", at];
            all.iter().chain(more).map(|it| (*it).to_owned()).collect()
        };
        let said = |at: &str, more: &[&'static str]| {
            let words = words(at, more);
            said_by(&daemon, &words.iter().map(String::as_str).collect::<Vec<_>>(), "")
        };
        let first = said(&at[0], &["-sess_out", "session"]);
        assert!(first.contains("\nNew, TLSv1."), "{first}");
        // More often than there are workers.
        for _ in 0..4 {
            let again = said(&at[0], &["-sess_in", "session"]);
            assert!(again.contains("\nReused, TLSv1.") && again.contains("PROTO=SSL"), "{again}");
        }
        let other = said(&at[1], &["-sess_in", "session"]);
        assert!(other.contains("\nNew, TLSv1.") && other.contains("PROTO=SSL"), "{other}");
    }
}

/// A session from elsewhere, or from before, is none: it was not asked who that client is.
#[test]
fn nobody_resumes_past_the_certificates_that_are_asked_for() {
    let Some(folder) = site(&["python3"]) else { return };
    make_certificate(&folder, "ca", "DNS:ca", "90");
    make_certificate_by(&folder, "ca", "alice", "/CN=Alice");
    let port = free_port();
    let authority = format!("tls_ca = {}", folder.name("ca.pem"));
    let open = line(&folder, port, ENV, &[]);
    let asking = line(&folder, port, ENV, &["tls_client = require", &authority]);
    let elsewhere = asking.replace("127.0.0.1", "127.0.0.2");
    let daemon = Setup::new().start_in(folder, &(open + &elsewhere));
    let said = |host: &str, version: &str, more: &[&str]| {
        let at = format!("{host}:{port}");
        let words = ["openssl", "s_client", "-ign_eof", version, "-connect", &at];
        said_by(&daemon, &[&words[..], more].concat(), "")
    };
    let versions = ["-tls1_3", "-tls1_2"];
    for version in versions {
        assert!(said("127.0.0.1", version, &["-sess_out", &version[1..]]).contains("PROTO=SSL"));
        let past = said("127.0.0.2", version, &["-sess_in", &version[1..]]);
        assert!(!past.contains("PROTO=SSL") && !past.contains("Reused"), "{past}");
        let shows = ["-cert", "alice.pem", "-key", "alice.key", "-sess_out", "alices"];
        assert!(said("127.0.0.2", version, &shows).contains("SSL_CLIENT_S_DN=CN=Alice"));
        // Whether he is somebody still is to be seen each time.
        if daemon.folder.at("alices").exists() {
            assert!(!said("127.0.0.2", version, &["-sess_in", "alices"]).contains("PROTO=SSL"));
        }
    }
    let _ = daemon.reload(&(asking + &elsewhere));
    for version in versions {
        let past = said("127.0.0.1", version, &["-sess_in", &version[1..]]);
        assert!(!past.contains("PROTO=SSL") && !past.contains("Reused"), "{past}");
    }
}

#[test]
fn what_is_not_offered_is_refused() {
    let Some(folder) = site(&["python3"]) else { return };
    let (new, old) = (["tls_versions = 1.3", "tls_alpn = one two"], ["tls_versions = 1.2"]);
    // A service each: refusals of one are a line a second.
    let cases: [(&[&str], &[&str], &str); 5] = [
        (&new, &["-tls1_2"], "protocol_version"),
        (&old, &["-tls1_3"], "protocol_version"),
        (&old, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "protocol_version"),
        (&new, &["-alpn", "three"], "no_application_protocol"),
        (&old, &["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"], "handshake_failure"),
    ];
    let ports = free_ports(5);
    let lines = ports.iter().zip(&cases).map(|(port, case)| line(&folder, *port, ENV, case.0));
    let text = lines.collect::<String>();
    let daemon = Setup::new().start_in(folder, &text);
    let said = |port: u16, more: &[&str]| {
        let at = format!("127.0.0.1:{port}");
        let words = ["openssl", "s_client", "-ign_eof", "-connect", &at];
        said_by(&daemon, &[&words[..], more].concat(), "")
    };
    for (port, (_, more, alert)) in ports.iter().zip(&cases) {
        let answer = said(*port, more);
        assert!(!answer.contains("PROTO="), "{more:?}: {answer}");
        let refused = daemon.wait_log(|line| line.about("refused", *port));
        assert_eq!(refused.get("alert"), Some(*alert), "{more:?}");
    }
    let answer = said(ports[0], &["-alpn", "three,two"]);
    assert!(
        answer.contains("SSL_ALPN=two\n") && answer.contains("SSL_PROTOCOL=TLSv1.3"),
        "{answer}"
    );
    let answer = said(ports[1], &[]);
    assert!(answer.contains("SSL_PROTOCOL=TLSv1.2"), "{answer}");
}

#[test]
fn a_record_that_is_wrong_ends_its_own_session_only() {
    let Some(folder) = site(&["python3"]) else { return };
    let port = free_port();
    let text = line(&folder, port, &shell("echo ready; wc -c >&2"), &["stderr = log"]);
    let daemon = Setup::new().start_in(folder, &text);
    let script = r"
good = connect(sys.argv[1])
for old in (False, True):
    for wrong in (b'\x17\x03\x03\x00\x40' + os.urandom(64), b'\x17\x03\x03\xff\xff' + b'x' * 65535, b'\x99\x03\x03\x00\x01x', b'\x16\x03\x03\x00\x04\x01\x00\x00\x00'):
        plain = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=50)
        it = context(old=old).wrap_socket(socket.socket(fileno=os.dup(plain.fileno())))
        assert it.recv(99) == b'ready\n'
        it.sendall(b'12345')
        plain.sendall(wrong)
        try:
            assert read_all(it) == b''
        except (ssl.SSLError, ConnectionError): pass
assert good.recv(99) == b'ready\n'
good.sendall(b'123'); good.unwrap()
print('good')
";
    assert_eq!(python(&daemon.folder, script, &[&port.to_string()]).trim(), "good");
    // The program has what came before, and then the end.
    let counted =
        |count: &'static str| move |line: &crate::common::Line| line.get("line") == Some(count);
    daemon.wait_count(8, counted("5"));
    daemon.wait_log(counted("3"));
    daemon.wait_count(9, |line| line.is("ended"));
    assert!(daemon.said("worker-died").is_empty(), "{}", daemon.log.text());
}
