//! `proxy_protocol` and `proxy_send` with those who speak it: HAProxy, nginx and curl.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::clients::is_closed;
use crate::common::needs::{search_path, skip};
use crate::common::ports::is_listening;
use crate::common::process::Process;
use crate::common::{
    Daemon, Folder, free_port, free_ports, need_program, read_all, read_line, shell, tcp, tcp_line,
    wait_until,
};
use crate::proxy_headers::{BEHIND, WHO};

const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A program in the foreground, when it listens on `port`; without anything said.
pub(crate) fn started(mut command: Command, port: u16) -> Process {
    command.env("PATH", search_path()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut process = Process::start(command.stderr(Stdio::null()));
    wait_until("the other server to listen", || {
        assert_eq!(process.0.try_wait().unwrap(), None, "{command:?} has ended");
        is_listening(port)
    });
    process
}

/// HAProxy with these sections, of which one listens on `port`.
pub(crate) fn haproxy(folder: &Folder, sections: &str, port: u16) -> Process {
    let head = "defaults\n  mode tcp\n  \
                timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n";
    let file = folder.write("haproxy.cfg", &format!("{head}{sections}"));
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    started(command, port)
}

/// nginx, where it can relay streams.
pub(crate) fn nginx(folder: &Folder, stream: &str, port: u16) -> Option<Process> {
    if !need_program("nginx") || !Path::new(MODULE).exists() && !skip("needs libnginx-mod-stream") {
        return None;
    }
    let name = |name: &str| folder.name(name);
    let text = format!(
        "load_module {MODULE};\ndaemon off;\nmaster_process off;\nworker_processes 1;\n\
         pid {};\nerror_log {} warn;\nevents {{ worker_connections 64; }}\nstream {{\n{stream}}}\n",
        name("nginx.pid"),
        name("nginx.log")
    );
    let file = folder.write("nginx.conf", &text);
    let mut command = Command::new("nginx");
    command.args(["-p", folder.path().to_str().unwrap(), "-e", &name("nginx.log")]);
    command.arg("-c").arg(file);
    Some(started(command, port))
}

/// Comes to a proxy in front of a service that says who the client is.
#[track_caller]
fn comes_through(daemon: &Daemon, front: u16, port: u16) {
    let client = tcp(front);
    let own = client.local_addr().unwrap();
    let said = read_line(&client);
    assert_eq!(said, format!("TCP 127.0.0.1 {} 127.0.0.1 {front} 127.0.0.1\n", own.port()));
    let line = daemon.wait_log(|line| line.get("peer") == Some(&own.to_string()));
    assert!(line.about("accepted", port) && line.get("via").is_some(), "{}", line.raw);
}

#[test]
fn haproxy_says_who_the_client_is_in_both_versions() {
    if !need_program("haproxy") {
        return;
    }
    let ports = free_ports(3);
    let (port, one, two) = (ports[0], ports[1], ports[2]);
    let daemon = Daemon::start(&(tcp_line(port, &shell(WHO)) + BEHIND));
    let folder = Folder::new();
    let section = |name: &str, front: u16, how: &str| {
        format!("listen {name}\n  bind 127.0.0.1:{front}\n  server s 127.0.0.1:{port} {how}\n")
    };
    let sections = section("one", one, "send-proxy")
        + &section("two", two, "send-proxy-v2 proxy-v2-options crc32c");
    let _haproxy = haproxy(&folder, &sections, two);
    wait_until("the first section", || !is_closed(one));
    comes_through(&daemon, one, port);
    comes_through(&daemon, two, port);
}

#[test]
fn the_checks_of_haproxy_are_its_own_connections() {
    if !need_program("haproxy") {
        return;
    }
    let ports = free_ports(2);
    let (port, front) = (ports[0], ports[1]);
    let daemon = Daemon::start(&(tcp_line(port, "/bin/echo echo served") + BEHIND));
    let folder = Folder::new();
    let section = format!(
        "listen one\n  bind 127.0.0.1:{front}\n  option tcp-check\n  tcp-check expect string served\n\
         \x20 server s 127.0.0.1:{port} check inter 100ms send-proxy-v2 check-send-proxy\n"
    );
    let _haproxy = haproxy(&folder, &section, front);
    let checks = daemon.wait_count(3, |line| line.about("accepted", port));
    for line in checks {
        let peer = line.get("peer").unwrap();
        assert!(peer.starts_with("127.0.0.1:") && line.get("via").is_none(), "{}", line.raw);
    }
    assert_eq!(read_all(tcp(front)), "served\n");
    assert!(daemon.said("refused").is_empty(), "{}", daemon.log.text());
}

/// A certificate with its key, of itself; where they are.
fn certificate(folder: &Folder, name: &str, subject: &str) -> String {
    let (key, file) = (folder.name("key"), folder.name("certificate"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    command.args(["-nodes", "-days", "2", "-subj", subject, "-keyout", &key, "-out", &file]);
    assert!(command.output().unwrap().status.success());
    let text = std::fs::read_to_string(&key).unwrap() + &std::fs::read_to_string(&file).unwrap();
    folder.write(name, &text).to_str().unwrap().to_owned()
}

#[test]
fn what_haproxy_knows_of_tls_is_in_the_environment() {
    if !need_program("haproxy") || !need_program("openssl") {
        return;
    }
    let ports = free_ports(2);
    let (port, front) = (ports[0], ports[1]);
    let script = "echo $PROTO $REMOTE_ADDR; env | grep ^SSL_ | sort; echo end";
    let _daemon = Daemon::start(&(tcp_line(port, &shell(script)) + BEHIND));
    let folder = Folder::new();
    let server = certificate(&folder, "server.pem", "/CN=a.example");
    let client = certificate(&folder, "client.pem", "/CN=Jane Doe");
    let section = format!(
        "listen one\n  bind 127.0.0.1:{front} ssl crt {server} ca-file {client} verify optional \
         alpn h2,ours ssl-min-ver TLSv1.3\n\
         \x20 server s 127.0.0.1:{port} send-proxy-v2-ssl-cn \
         proxy-v2-options ssl,cert-cn,ssl-cipher,authority,crc32c\n"
    );
    let _haproxy = haproxy(&folder, &section, front);
    let ask = |more: &[&str]| {
        let address = format!("127.0.0.1:{front}");
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-connect", &address, "-servername", "a.example"]);
        command.args(["-alpn", "ours"]).args(more).stdin(Stdio::null()).stderr(Stdio::null());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let said = ask(&["-cert", &client, "-key", &client]);
    for line in [
        "SSL 127.0.0.1",
        "SSL_ALPN=ours",
        "SSL_CLIENT_S_DN_CN=Jane Doe",
        "SSL_CLIENT_VERIFY=SUCCESS",
        "SSL_PROTOCOL=TLSv1.3",
        "SSL_TLS_SNI_SERVERNAME=a.example",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    assert!(said.contains("\nSSL_CIPHER=TLS_"), "{said}");
    let said = ask(&[]);
    assert!(said.contains("\nSSL_CLIENT_VERIFY=NONE\n"), "{said}");
    assert!(!said.contains("SSL_CLIENT_S_DN_CN"), "{said}");
}

#[test]
fn nginx_says_who_the_client_is() {
    let ports = free_ports(2);
    let (port, front) = (ports[0], ports[1]);
    let daemon = Daemon::start(&(tcp_line(port, &shell(WHO)) + BEHIND));
    let folder = Folder::new();
    let stream = format!(
        "server {{ listen 127.0.0.1:{front}; proxy_pass 127.0.0.1:{port}; proxy_protocol on; }}\n"
    );
    let Some(_nginx) = nginx(&folder, &stream, front) else { return };
    comes_through(&daemon, front, port);
}

#[test]
fn curl_says_who_it_is() {
    if !need_program("curl") {
        return;
    }
    let port = free_port();
    let script = "while read line && [ ${#line} -gt 1 ]; do :; done; \
                  printf \"HTTP/1.0 200 OK\\r\\n\\r\\n$REMOTE_ADDR $PROXY_ADDR\\n\"";
    let daemon = Daemon::start(&(tcp_line(port, &shell(script)) + BEHIND));
    let address = format!("http://127.0.0.1:{port}/");
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--haproxy-protocol", &address])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "127.0.0.1 127.0.0.1\n", "{output:?}");
    assert!(daemon.wait_log(|line| line.is("accepted")).get("via").is_some());
}

/// A relay that tells `to` who the client is.
fn relay(port: u16, to: u16, version: &str) -> String {
    tcp_line(port, "internal")
        + &format!("    redirect = 127.0.0.1 {to}\n    proxy_send = {version}\n")
}

/// Both versions to one proxy, which leads back to a service of ours that says who the client
/// is in its eyes; where to the client has connected, only if it `passes_on` that.
#[track_caller]
fn is_told_to(passes_on: bool, start: impl Fn(&Folder, u16, u16) -> Option<Process>) {
    let ports = free_ports(4);
    let (one, two, proxy, port) = (ports[0], ports[1], ports[2], ports[3]);
    let text = relay(one, proxy, "v1")
        + &relay(two, proxy, "v2")
        + &tcp_line(port, &shell("echo $REMOTE_ADDR $REMOTE_PORT $TCPLOCALPORT"))
        + BEHIND;
    let daemon = Daemon::start(&text);
    let folder = Folder::new();
    let Some(_proxy) = start(&folder, proxy, port) else { return };
    for front in [one, two] {
        let client = tcp(front);
        let own = client.local_addr().unwrap().port();
        let to = if passes_on { front } else { proxy };
        assert_eq!(read_all(client), format!("127.0.0.1 {own} {to}\n"));
    }
    assert!(daemon.said("failed").is_empty());
}

#[test]
fn haproxy_is_told_who_the_client_is() {
    if !need_program("haproxy") {
        return;
    }
    is_told_to(true, |folder, proxy, port| {
        let section = format!(
            "listen one\n  bind 127.0.0.1:{proxy} accept-proxy\n\
             \x20 server s 127.0.0.1:{port} send-proxy-v2\n"
        );
        Some(haproxy(folder, &section, proxy))
    });
}

#[test]
fn nginx_is_told_who_the_client_is() {
    is_told_to(false, |folder, proxy, port| {
        let stream = format!(
            "server {{ listen 127.0.0.1:{proxy} proxy_protocol; \
             set_real_ip_from 127.0.0.1; proxy_pass 127.0.0.1:{port}; proxy_protocol on; }}\n"
        );
        nginx(folder, &stream, proxy)
    });
}
