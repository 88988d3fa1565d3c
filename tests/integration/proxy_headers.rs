//! `proxy_protocol`: what a header says becomes the client, and what follows it is the
//! program's.

use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::os::unix::net::UnixStream;

use crate::common::clients::{echo_once, read_to_any_end, tcp_from};
use crate::common::{
    DEADLINE, Daemon, Folder, Setup, free_port, free_ports, me, need_ipv6, read_all, read_line,
    shell, tcp, tcp_line, tcp6,
};

/// Attributes of a service behind a proxy on this machine.
pub(crate) const BEHIND: &str = "    proxy_protocol = require\n    proxy_from = 127.0.0.1 ::1\n";

/// Says who the client is, then what it says.
pub(crate) const WHO: &str = "echo $PROTO $REMOTE_ADDR $REMOTE_PORT $TCPLOCALIP $TCPLOCALPORT \
                              $PROXY_ADDR; exec cat";

/// A header of version 1.
pub(crate) fn line(client: &str, port: u16) -> Vec<u8> {
    format!("PROXY TCP4 {client} 198.51.100.2 {port} 443\r\n").into_bytes()
}

/// One of version 2, with these bytes behind its head.
pub(crate) fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, family], &length, rest].concat()
}

/// What stands behind the head: 192.0.2.9:2 has connected to 198.51.100.2:443.
pub(crate) const ENDS: &[u8] = &[192, 0, 2, 9, 198, 51, 100, 2, 0, 2, 1, 0xbb];

fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

/// Sends a header and what follows, says that this was all, and reads the answer.
#[track_caller]
pub(crate) fn say(port: u16, header: &[u8], more: &str) -> String {
    let mut client = tcp(port);
    client.write_all(&[header, more.as_bytes()].concat()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    read_all(client)
}

#[test]
fn the_program_sees_the_client_that_is_named_and_every_byte_behind_the_header() {
    let port = free_port();
    let daemon = Daemon::start(&(tcp_line(port, &shell(WHO)) + BEHIND));
    for (header, said) in [
        (line("192.0.2.1", 7), "TCP 192.0.2.1 7 198.51.100.2 443 127.0.0.1"),
        (
            b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n".to_vec(),
            "TCP 2001:db8::1 56324 2001:db8::2 443 127.0.0.1",
        ),
        (binary(0x21, 0x11, ENDS), "TCP 192.0.2.9 2 198.51.100.2 443 127.0.0.1"),
        (
            binary(0x21, 0x11, &[ENDS, &extension(4, &[b'x'; 2000])].concat()),
            "TCP 192.0.2.9 2 198.51.100.2 443 127.0.0.1",
        ),
    ] {
        let more = "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\nhello\n".repeat(1000);
        assert_eq!(say(port, &header, &more), format!("{said}\n{more}"));
    }
    let line = daemon.wait_log(|line| line.about("accepted", port));
    assert_eq!(line.get("peer"), Some("192.0.2.1:7"));
    assert!(line.get("via").unwrap().starts_with("127.0.0.1:"), "{}", line.raw);
    assert!(daemon.said("refused").is_empty());
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let port = free_port();
    let daemon = Daemon::start(&(tcp_line(port, &shell(WHO)) + BEHIND));
    for header in [line("192.0.2.1", 2), binary(0x21, 0x11, ENDS)] {
        let mut client = tcp(port);
        client.set_nodelay(true).unwrap();
        for byte in header {
            client.write_all(&[byte]).unwrap();
            // Another connection goes through the loop before the next byte comes.
            assert_eq!(say(port, b"PROXY UNKNOWN\r\n", "").lines().count(), 1);
        }
        client.write_all(b"hello\n").unwrap();
        let said = read_line(&client);
        assert!(said.starts_with("TCP 192.0.2."), "{said}");
        assert_eq!(read_line(&client), "hello\n");
    }
    assert!(daemon.said("refused").is_empty());
}

#[test]
fn a_sender_that_speaks_for_itself_or_does_not_know_is_the_client() {
    let port = free_port();
    let daemon = Daemon::start(&(tcp_line(port, &shell(WHO)) + BEHIND));
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 1.2.3.4 1.2.3.4 1 1\r\n".to_vec(),
        binary(0x20, 0, b""),
        binary(0x20, 0x11, ENDS),
        binary(0x21, 0, b"what ever"),
        binary(0x21, 0x31, &[b'/'; 216]),
    ] {
        let mut client = tcp(port);
        let own = client.local_addr().unwrap();
        client.write_all(&header).unwrap();
        let said = format!("TCP 127.0.0.1 {} 127.0.0.1 {port}\n", own.port());
        assert_eq!(read_line(&client), said);
        let line = daemon.wait_log(|line| line.get("peer") == Some(&own.to_string()));
        assert!(line.is("accepted") && line.get("via").is_none(), "{}", line.raw);
    }
}

#[test]
fn what_a_proxy_says_of_tls_is_in_the_environment() {
    let port = free_port();
    let script = "echo $PROTO; env | grep ^SSL_ | sort";
    let daemon = Daemon::start(&(tcp_line(port, &shell(script)) + BEHIND));
    let inner = [
        &[7, 0, 0, 0, 0][..],
        &extension(0x21, b"TLSv1.3"),
        &extension(0x22, b"Jane Doe"),
        &extension(0x23, b"TLS_AES_128_GCM_SHA256"),
    ];
    let with = |name: &[u8]| {
        let list = [extension(1, b"h2"), extension(2, name), extension(0x20, &inner.concat())];
        binary(0x21, 0x11, &[ENDS, &list.concat()].concat())
    };
    let rest = "SSL_CLIENT_S_DN_CN=Jane Doe\nSSL_CLIENT_VERIFY=SUCCESS\nSSL_PROTOCOL=TLSv1.3\n";
    let first = "SSL\nSSL_ALPN=h2\nSSL_CIPHER=TLS_AES_128_GCM_SHA256\n";
    let said = say(port, &with(b"a.example"), "");
    assert_eq!(said, format!("{first}{rest}SSL_TLS_SNI_SERVERNAME=a.example\n"));
    // The log says the same, by the word of the proxy.
    let accepted = daemon.wait_log(|line| line.about("accepted", port));
    for (key, value) in [
        ("tls", Some("TLSv1.3")),
        ("server_name", Some("a.example")),
        ("common_name", Some("Jane Doe")),
        ("subject", None),
    ] {
        assert_eq!(accepted.get(key), value, "{}", accepted.raw);
    }
    for bad in [b"a.example\nLD_PRELOAD=/x".as_slice(), b"$(id)", &[b'a'; 254], b"\xff", b""] {
        assert_eq!(say(port, &with(bad), ""), format!("{first}{rest}"), "{bad:?}");
    }
    assert_eq!(say(port, &binary(0x21, 0x11, ENDS), ""), "TCP\n");
}

#[test]
fn who_may_connect_to_a_unix_socket_may_name_a_client() {
    let folder = Folder::new();
    let path = folder.name("socket");
    let script = shell("echo $PROTO $REMOTE_ADDR $TCPLOCALIP $UNIXREMOTEPID $PROXY_ADDR; exec cat");
    let text =
        format!("{path} stream unix nowait {} {script}\n    proxy_protocol = require\n", me());
    let daemon = Setup::new().start_in(folder, &text);
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let (header, more) = (line("192.0.2.1", 7), b"hello\n");
    client.write_all(&header[..20]).unwrap();
    client.write_all(&[&header[20..], more].concat()).unwrap();
    assert_eq!(read_line(&client), "TCP 192.0.2.1 198.51.100.2\n");
    assert_eq!(read_line(&client), "hello\n");
    let said = daemon.wait_log(|line| line.is("accepted"));
    let via = format!("unix:pid={},uid={}", std::process::id(), nix::unistd::geteuid());
    assert_eq!((said.get("peer"), said.get("via")), (Some("192.0.2.1:7"), Some(via.as_str())));
}

#[test]
fn services_of_the_servers_own_are_behind_it_too() {
    let ports = free_ports(3);
    let (echo, day, mux) = (ports[0], ports[1], ports[2]);
    let text = tcp_line(echo, "internal echo")
        + BEHIND
        + &tcp_line(day, "internal daytime")
        + BEHIND
        + &tcp_line(mux, "internal tcpmux")
        + BEHIND
        + &format!("tcpmux/+who stream tcp nowait - {}\n", shell(WHO));
    let daemon = Daemon::start(&text);
    let mut client = tcp(echo);
    client.write_all(&line("192.0.2.1", 7)).unwrap();
    assert_eq!(echo_once(client, "hello"), "hello");
    assert!(say(day, &binary(0x21, 0x11, ENDS), "").contains(':'));
    let mut client = tcp(mux);
    client.write_all(&[line("192.0.2.1", 7), b"who\r\nhello\n".to_vec()].concat()).unwrap();
    assert!(read_line(&client).starts_with('+'));
    assert_eq!(read_line(&client), "TCP 192.0.2.1 7 198.51.100.2 443 127.0.0.1\n");
    assert_eq!(read_line(&client), "hello\n");
    for port in [echo, day, mux] {
        let line = daemon.wait_log(|line| line.about("accepted", port));
        assert!(line.get("peer").unwrap().starts_with("192.0.2."), "{}", line.raw);
        assert!(line.get("via").unwrap().starts_with("127.0.0.1:"), "{}", line.raw);
    }
}

/// The first bytes that the target of a relay with these attributes gets from a client that
/// says `header` and `hello`, up to that.
fn told(attributes: &str, header: &[u8]) -> (Vec<u8>, std::net::SocketAddr, u16) {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (port, to) = (free_port(), target.local_addr().unwrap().port());
    let text = tcp_line(port, "internal") + &format!("    redirect = 127.0.0.1 {to}\n{attributes}");
    let _daemon = Daemon::start(&text);
    let mut client = tcp(port);
    client.write_all(&[header, b"hello\n"].concat()).unwrap();
    let (mut server, _) = target.accept().unwrap();
    server.set_read_timeout(Some(DEADLINE)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut said = Vec::new();
    std::io::Read::read_to_end(&mut server, &mut said).unwrap();
    server.write_all(b"welcome\n").unwrap();
    drop(server);
    let own = client.local_addr().unwrap();
    assert_eq!(read_all(client), "welcome\n");
    let end = said.len() - b"hello\n".len();
    assert_eq!(&said[end..], b"hello\n");
    said.truncate(end);
    (said, own, port)
}

#[test]
fn a_relay_tells_its_target_who_the_client_is() {
    assert_eq!(told("", b"").0, b"");
    let (said, own, port) = told("    proxy_send = v1\n", b"");
    let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {port}\r\n", own.port());
    assert_eq!(said, line.as_bytes());
    let (said, own, port) = told("    proxy_send = v2\n", b"");
    let ports = [own.port().to_be_bytes(), port.to_be_bytes()].concat();
    let ends = [&[127, 0, 0, 1, 127, 0, 0, 1], ports.as_slice()].concat();
    assert_eq!(said, binary(0x21, 0x11, &ends));
}

#[test]
fn a_relay_behind_a_proxy_tells_its_target_what_it_has_been_told() {
    for (version, header) in [("v1", line("192.0.2.9", 2)), ("v2", binary(0x21, 0x11, ENDS))] {
        let attributes = format!("{BEHIND}    proxy_send = {version}\n");
        assert_eq!(told(&attributes, &binary(0x21, 0x11, ENDS)).0, header);
    }
    let inner = [&[7, 0, 0, 0, 0][..], &extension(0x21, b"TLSv1.3"), &extension(0x22, b"Jane")];
    let list = [extension(2, b"a.example"), extension(0x20, &inner.concat())].concat();
    let header = binary(0x21, 0x11, &[ENDS, &list].concat());
    let attributes = format!("{BEHIND}    proxy_send = v2\n");
    let text = String::from_utf8_lossy(&told(&attributes, &header).0).into_owned();
    for part in ["a.example", "TLSv1.3", "Jane"] {
        assert!(text.contains(part), "{text:?}");
    }
}

#[test]
fn clients_over_ipv6_and_of_run_are_named_too() {
    if !need_ipv6() {
        return;
    }
    let port = free_port();
    let options = ["-o", "proxy_protocol=require", "-o", "proxy_from=::1"];
    let arguments = [&["run"], options.as_slice(), &[&format!("[::1]:{port}"), "--", "sh", "-c"]];
    let _daemon = Setup::new().run(&[arguments.concat().as_slice(), &[WHO]].concat());
    let mut client = tcp6(port);
    client.write_all(&line("192.0.2.1", 7)).unwrap();
    assert_eq!(read_line(&client), "TCP 192.0.2.1 7 198.51.100.2 443 ::1\n");
}

#[test]
fn accept_serves_those_who_are_no_proxies_as_who_they_are() {
    let port = free_port();
    let attributes = "    proxy_protocol = accept\n    proxy_from = 127.0.0.2\n";
    let daemon = Daemon::start(&(tcp_line(port, &shell(WHO)) + attributes));
    // Whatever they say is for the program.
    let header = String::from_utf8(line("192.0.2.1", 7)).unwrap();
    let said = say(port, header.as_bytes(), "hello\n");
    let (first, rest) = said.split_once('\n').unwrap();
    assert!(first.starts_with("TCP 127.0.0.1 "), "{said}");
    assert_eq!(rest, format!("{header}hello\n"));
    let mut proxy = tcp_from(Ipv4Addr::new(127, 0, 0, 2), port);
    proxy.write_all(header.as_bytes()).unwrap();
    assert_eq!(read_line(&proxy), "TCP 192.0.2.1 7 198.51.100.2 443 127.0.0.2\n");
    let mut plain = tcp_from(Ipv4Addr::new(127, 0, 0, 2), port);
    plain.write_all(b"hello\n").unwrap();
    assert_eq!(read_to_any_end(plain), "");
    assert_eq!(daemon.wait_log(|line| line.is("refused")).get("reason"), Some("proxy"));
}

/// A server that is itself the program of another one, or has been started by one.
#[test]
fn what_another_server_has_said_of_a_connection_is_not_passed_on() {
    let said = [
        ("REMOTE_ADDR", "203.0.113.1"),
        ("TCPREMOTEIP", "203.0.113.1"),
        ("PROTO", "SSL"),
        ("PROXY_ADDR", "203.0.113.2"),
        ("PROXY_PORT", "1"),
        ("SSL_CLIENT_VERIFY", "SUCCESS"),
        ("SSL_CLIENT_S_DN_CN", "root"),
        ("SSL_CERT_FILE", "/kept"),
    ];
    let setup = || said.iter().fold(Setup::new(), |setup, (name, value)| setup.env(name, value));
    let (port, other) = (free_port(), free_port());
    let text = tcp_line(port, "/usr/bin/env env") + BEHIND + "    passenv = *\n";
    let _daemon = setup().start(&text);
    let address = format!("127.0.0.1:{other}");
    let _run = setup().run(&["run", &address, "--", "/usr/bin/env"]);
    for (port, header, client) in
        [(port, line("192.0.2.1", 7), "192.0.2.1"), (other, Vec::new(), "127.0.0.1")]
    {
        let said = say(port, &header, "");
        let mut lines: Vec<&str> = said.lines().collect();
        let ours = ["SSL_", "PRO", "REMOTE_ADDR", "TCPREMOTEIP"];
        lines.retain(|line| ours.iter().any(|start| line.starts_with(start)));
        lines.retain(|line| !line.starts_with("PROXY_PORT") || header.is_empty());
        lines.sort_unstable();
        let (address, ip) = (format!("REMOTE_ADDR={client}"), format!("TCPREMOTEIP={client}"));
        let mut wanted = vec!["PROTO=TCP", &address, "SSL_CERT_FILE=/kept", &ip];
        if !header.is_empty() {
            wanted.insert(1, "PROXY_ADDR=127.0.0.1");
        }
        assert_eq!(lines, wanted);
    }
}
