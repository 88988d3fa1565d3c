//! What README says to write into the files of HAProxy, nginx and stunnel, with those.

use std::process::Command;

use crate::common::tls::{make_certificate, output_of};
use crate::common::{Daemon, Folder, need_program, read_line, tcp, wait_until};
use crate::docs::{own_ports, plain_block, read, with_ports};
use crate::proxy_peers::{haproxy, nginx, started};

/// The port of this test in the place of that of the README.
fn ours(ports: &[(String, String)], theirs: u16) -> u16 {
    let wanted = theirs.to_string();
    ports.iter().find(|(theirs, _)| *theirs == wanted).unwrap().1.parse().unwrap()
}

#[test]
fn haproxy_and_nginx_stand_in_front_as_the_readme_says() {
    if !need_program("haproxy") {
        return;
    }
    let readme = read("README.md");
    let ports = own_ports(&[&readme]);
    let block = |begins: &str| with_ports(plain_block(&readme, begins), &ports);
    let daemon = Daemon::start(&block("127.0.0.1:50107 stream"));
    assert!(daemon.said("configuration").is_empty(), "{}", daemon.log.text());
    let comes_through = |port: u16| {
        let client = tcp(port);
        let own = client.local_addr().unwrap();
        assert_eq!(read_line(&client), "127.0.0.1 through 127.0.0.1\n");
        daemon.wait_log(|line| line.get("peer") == Some(&own.to_string()));
    };
    let (folder, port) = (Folder::new(), ours(&ports, 50109));
    let _haproxy = haproxy(&folder, &block("listen clock"), port);
    comes_through(port);
    let inner = block("stream {");
    let inner = inner.trim().strip_prefix("stream {").unwrap().strip_suffix('}').unwrap();
    let port = ours(&ports, 50110);
    let Some(_nginx) = nginx(&folder, inner, port) else { return };
    comes_through(port);
}

#[test]
fn the_lines_for_those_who_come_from_stunnel_do_the_same() {
    if !["openssl", "socat", "stunnel"].into_iter().all(need_program) {
        return;
    }
    let (readme, folder) = (read("README.md"), Folder::new());
    make_certificate(&folder, "site", "DNS:localhost", "90");
    let names = folder.name("");
    // Each has ports of its own.
    let [theirs, ports] = [own_ports(&[&readme]), own_ports(&[&readme])];
    let target = format!("127.0.0.1:{} stream tcp nowait - internal echo\n", ours(&ports, 50007));
    let target_of_theirs =
        target.replace(&ours(&ports, 50007).to_string(), &ours(&theirs, 50007).to_string());
    let block = with_ports(plain_block(&readme, "127.0.0.1:50111 stream"), &ports);
    let text = target + &target_of_theirs + &block.replace("/etc/ssl/", &names);
    let daemon = Daemon::start(&text);
    assert!(daemon.said("configuration").is_empty(), "{}", daemon.log.text());
    let block = with_ports(plain_block(&readme, "[upper]"), &theirs);
    let text = "foreground = yes\npid =\nsyslog = no\ndebug = err\n".to_owned()
        + &block.replace("/etc/ssl/", &names);
    let file = folder.write("stunnel.conf", &text);
    let mut command = Command::new("stunnel");
    command.arg(file);
    let _stunnel = started(command, ours(&theirs, 50112));
    wait_until("its first section", || !crate::common::clients::is_closed(ours(&theirs, 50111)));
    for (port, wanted) in [(50111, "HELLO\n"), (50112, "hello\n")] {
        for ports in [&theirs, &ports] {
            let to = format!(
                "OPENSSL:127.0.0.1:{},cafile=site.pem,commonname=localhost",
                ours(ports, port)
            );
            let said = output_of(&folder, &["socat", "-t", "20", "-", &to], "hello\n");
            assert_eq!(said, wanted, "{port}");
        }
    }
}
