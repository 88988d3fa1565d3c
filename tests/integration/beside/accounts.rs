//! Who and what a machine knows that has everything installed: the accounts, services and hosts
//! that published configurations name.

use std::fs;

use crate::common::rooted::Root;

/// Users and their groups of the same name, with a number each.
pub(crate) const USERS: [&str; 46] = [
    "root",
    "daemon",
    "bin",
    "sys",
    "nobody",
    "nogroup",
    "tty",
    "mail",
    "news",
    "uucp",
    "operator",
    "ftp",
    "games",
    "lp",
    "backup",
    "amandabackup",
    "amanda",
    "nagios",
    "svn",
    "cvs",
    "git",
    "gitdaemon",
    "vnc",
    "ctf",
    "pwn",
    "mysql",
    "postgres",
    "telnetd",
    "identd",
    "nrpe",
    "check_mk",
    "haproxy",
    "proxy",
    "ntop",
    "bacula",
    "zabbix",
    "munin",
    "tftp",
    "rsync",
    "guest",
    "me",
    "ident",
    "cyrus",
    "leafnode",
    "hacluster",
    "www-data",
];

/// Services of the database: a name and its other names, a port, the protocols.
const SERVICES: &str = "
tcpmux 1 tcp|echo 7 both|discard 9 both sink null|systat 11 tcp users|daytime 13 both|netstat 15 tcp|qotd 17 tcp quote|chargen 19 both ttytst source|ftp-data 20 tcp|ftp 21 tcp|ssh 22 tcp|telnet 23 tcp|smtp 25 tcp mail|time 37 both timserver|whois 43 tcp|tftp 69 udp|gopher 70 tcp|finger 79 tcp|http 80 tcp www|pop2 109 tcp|pop3 110 tcp pop-3|sunrpc 111 both|auth 113 tcp ident tap|sftp 115 tcp|nntp 119 tcp|ntp 123 udp|netbios-ns 137 udp|netbios-ssn 139 tcp|imap2 143 tcp imap|snmp 161 udp|https 443 tcp|imap3 220 tcp|exec 512 tcp|biff 512 udp comsat|login 513 tcp|who 513 udp|shell 514 tcp cmd|syslog 514 udp|printer 515 tcp spooler|talk 517 udp|ntalk 518 udp|uucp 540 tcp uucpd|klogin 543 tcp|kshell 544 tcp|rsync 873 tcp|swat 901 tcp|telnets 992 tcp|imaps 993 tcp|pop3s 995 tcp|ms-sql-s 1433 tcp|ingreslock 1524 tcp|kx 2111 tcp|cvspserver 2401 tcp|mysql 3306 tcp|mysqlchk 9200 tcp|svn 3690 tcp|nrpe 5666 tcp|nsca 5667 tcp|postgresql 5432 tcp|xmltec-xmlmail 9091 tcp|check_mk 6556 tcp|check-mk-agent 6556 tcp|vnc 5900 tcp|vnc-server 5901 tcp|amanda 10080 both|amandaidx 10082 tcp|amidxtape 10083 tcp|kamanda 10081 tcp|bacula-fd 9102 tcp|munin 4949 tcp|zabbix_agent 10050 tcp|git 9418 tcp|nbd 10809 tcp|distcc 3632 tcp|sane-port 6566 tcp|fax 4557 tcp|hylafax 4559 tcp|csync2 30865 tcp|ndtp 2010 tcp|skkserv 1178 tcp|isdnlog 20011 tcp|bootps 67 udp|nut 3493 tcp|leafnode 1119 tcp|proxy 3128 tcp|ftps 990 tcp|ntop 3000 tcp|ncftp 2121 tcp|krb_prop 754 tcp|eklogin 2105 tcp|supfilesrv 871 tcp|eppc 3031 tcp|chessd 5000 tcp|fsp 21 udp|bootp 67 udp|qmail 2525 tcp|uptime 6000 tcp";

/// Hosts that have an address here.
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n10.0.0.1 server.example.org server\n192.168.1.10 lan.example.org lan\n10.0.0.1 both.example.org\nfd00::1 both.example.org\n";

/// A banner that files name.
const BANNER: &str = "Authorized users only.\n";

/// Writes all of it into a root.
pub(crate) fn write(root: &Root) {
    root.write("etc/passwd", passwd().as_bytes());
    root.write("etc/group", group().as_bytes());
    root.write("etc/services", services().as_bytes());
    root.write("etc/protocols", b"ip 0 IP\ntcp 6 TCP\nudp 17 UDP\n");
    root.write("etc/hosts", HOSTS.as_bytes());
    root.write("etc/host.conf", b"multi on\n");
    root.write(
        "etc/nsswitch.conf",
        b"passwd: files\ngroup: files\nhosts: files\nservices: files\n",
    );
    root.write("etc/issue.net", BANNER.as_bytes());
    root.write("etc/banner", BANNER.as_bytes());
}

/// Takes the configuration of before out of it.
pub(crate) fn clear(root: &Root) {
    for path in ["etc/xinetd.conf", "etc/inetd.conf"] {
        let _ = fs::remove_file(root.at(path));
    }
    for path in ["etc/xinetd.d", "etc/inetd.d"] {
        let _ = fs::remove_dir_all(root.at(path));
    }
}

fn number(index: usize) -> usize {
    if USERS[index] == "nobody" { 65534 } else { index }
}

fn passwd() -> String {
    let line = |(index, name): (usize, &&str)| {
        let number = number(index);
        format!("{name}:x:{number}:{number}::/:/bin/sh\n")
    };
    USERS.iter().enumerate().map(line).collect()
}

/// Everybody has a group, and some are in one more.
fn group() -> String {
    let line = |(index, name): (usize, &&str)| {
        let more = if *name == "news" { "nagios,me" } else { "" };
        format!("{name}:x:{}:{more}\n", number(index))
    };
    USERS.iter().enumerate().map(line).collect::<String>() + "wheel:x:90:\nkmem:x:91:\n"
}

fn services() -> String {
    let mut text = String::new();
    for entry in SERVICES.split('|') {
        let words: Vec<&str> = entry.split_whitespace().collect();
        let [name, port, protocol, aliases @ ..] = words.as_slice() else { continue };
        let protocols: &[&str] = if *protocol == "both" { &["tcp", "udp"] } else { &[protocol] };
        for protocol in protocols {
            text += &format!("{name}\t{port}/{protocol}\t{}\n", aliases.join(" "));
        }
    }
    text
}
