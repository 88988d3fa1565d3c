//! Files that are something else: a program, a unit of systemd, a crontab. One thing is said of
//! all of it, what it looks like, and nothing of its lines.

use std::io::{self, ErrorKind};

use super::alignment::{is_short_field, is_type};
use crate::config::diagnostic::reading::Foreign;
use crate::config::text::source::{is_blank, is_comment};

/// How a service is written.
const FORM: &str = "a service is a line `SERVICE TYPE PROTOCOL wait|nowait USER PROGRAM ARGUMENTS`, \
    such as `8080 stream tcp nowait - date date`";
const RUN: &str = "name a file of services; to attach a program to a port: \
    `oxinetd run 8080 -- ./PROGRAM`";

/// How files begin that are no text, or no text of ours.
const BEGINNINGS: [(&[u8], Foreign); 11] = [
    (b"\x7fELF", no("it is a program (ELF), no file of services", RUN)),
    (b"\x1f\x8b", no("it is compressed (gzip)", "unpack it first: `gunzip`")),
    (b"BZh", no("it is compressed (bzip2)", "unpack it first: `bunzip2`")),
    (b"\xfd7zXZ", no("it is compressed (xz)", "unpack it first: `unxz`")),
    (b"\x28\xb5\x2f\xfd", no("it is compressed (zstd)", "unpack it first: `unzstd`")),
    (b"PK\x03\x04", no("it is an archive (zip)", "unpack it first: `unzip`")),
    (b"\xff\xfe", UTF_16),
    (b"\xfe\xff", UTF_16),
    (
        b"-----BEGIN ",
        no("it is a certificate or a key", "a line of services names it: `tls = CERT KEY`"),
    ),
    (b"%PDF", no("it is a document (PDF), no file of services", FORM)),
    (b"\x89PNG", no("it is a picture, no file of services", FORM)),
];

const UTF_16: Foreign =
    no("it is a text in UTF-16", "save it as UTF-8: `iconv -f utf-16 -t utf-8 FILE`");
const NO_TEXT: Foreign = no("it is no text, and no file of services", FORM);
const MAC: Foreign = no(
    "its lines end with CR alone, as on an old Mac",
    "let them end with LF: `tr '\\r' '\\n' <FILE >NEW`",
);
const SCRIPT: Foreign = no("it is a script, no file of services", RUN);
const UNIT: Foreign = no(
    "it is a unit of systemd, no file of services",
    "what a socket unit and its service say together is one line here, such as \
     `8080 stream tcp nowait - date date`",
);
const STUNNEL: Foreign = no(
    "it is a configuration of stunnel, no file of services",
    "each of its sections is a line here, with `tls = CERT KEY` indented below it; `connect` is \
     `redirect`",
);
const SECTIONS: Foreign = no("it has sections like TOML or INI, and no services", FORM);
const CRONTAB: Foreign = no("it is a crontab, no file of services", FORM);
const NGINX: Foreign = no("it is a configuration of nginx, no file of services", FORM);
const WRAPPERS: Foreign = no(
    "it has rules of TCP wrappers, and no services",
    "who may connect is said of each service: `only_from` and `no_access`; or put \
     `/usr/sbin/tcpd` in front, as the program",
);
const YAML: Foreign = no("it is YAML, no file of services", FORM);
const PORTS: Foreign =
    no("it is a list of ports, as /etc/services", "name a file of services, as /etc/inetd.conf");
const MARKDOWN: Foreign = no("it is Markdown, no file of services", FORM);
const HAPROXY: Foreign = no("it is a configuration of HAProxy, no file of services", FORM);
const XML: Foreign = no("it is XML or HTML, no file of services", FORM);
const JSON: Foreign = no("it is JSON, no file of services", FORM);
const NOTHING: Foreign = no("no line of it is a service", FORM);

/// So much of a file that is no text is looked at.
const START: usize = 8192;
/// So many lines without a service are none of ours.
const MANY: usize = 5;

const fn no(what: &'static str, help: &'static str) -> Foreign {
    Foreign { what, help }
}

/// The bytes of a file that may have services.
///
/// # Errors
/// What else it is.
pub(in crate::config) fn refused(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    match foreign(&bytes) {
        Some(foreign) => Err(io::Error::new(ErrorKind::InvalidData, foreign)),
        None => Ok(bytes),
    }
}

fn foreign(bytes: &[u8]) -> Option<Foreign> {
    let known = BEGINNINGS.into_iter().find(|(start, _)| bytes.starts_with(start));
    if let Some((_, foreign)) = known {
        return Some(foreign);
    }
    let start = bytes.get(..START).unwrap_or(bytes);
    let count = |is: fn(&u8) -> bool| start.iter().filter(|byte| is(byte)).count();
    // Half of what is written so are NUL bytes, if it is of this part of the world.
    if count(|byte| *byte == 0) > start.len() / 3 && is_every_second(start) {
        return Some(UTF_16);
    }
    if count(|byte| *byte < 0x20 && !b"\t\n\r\x0b\x0c\x1b".contains(byte)) > start.len() / 20 + 1 {
        return Some(NO_TEXT);
    }
    if !bytes.contains(&b'\n') && bytes.trim_ascii_end().contains(&b'\r') {
        return Some(MAC);
    }
    of_text(&String::from_utf8_lossy(bytes))
}

/// Whether the NUL bytes are every second one.
fn is_every_second(start: &[u8]) -> bool {
    let nul = |offset: usize| start.iter().skip(offset).step_by(2).filter(|it| **it == 0).count();
    let (even, odd) = (nul(0), nul(1));
    even.min(odd) * 8 < even.max(odd)
}

/// What a text is in which nothing is ours.
fn of_text(text: &str) -> Option<Foreign> {
    if let Some(sure) = of_sure_signs(text) {
        return Some(sure);
    }
    let lines = || text.trim_start_matches('\u{feff}').lines().filter(|line| !is_comment(line));
    if lines().next().is_none() || lines().any(is_ours) {
        return None;
    }
    let first = lines().next().unwrap_or_default().trim();
    let is = |known: fn(&str) -> bool| lines().any(|line| known(line.trim()));
    let is_script = text.starts_with("#!/");
    match () {
        () if is_script => Some(SCRIPT),
        () if first.starts_with('<') => Some(XML),
        () if is_json(first) && text.contains("\":") => Some(JSON),
        () if is(|line| UNITS.contains(&line)) => Some(UNIT),
        () if is(is_section) && is(is_of_stunnel) => Some(STUNNEL),
        () if is(is_section) => Some(SECTIONS),
        () if is(is_time) => Some(CRONTAB),
        () if is(is_of_nginx) => Some(NGINX),
        () if is(is_rule) => Some(WRAPPERS),
        () if first == "---" || first.starts_with("%YAML") => Some(YAML),
        () if are_keys(lines()) => Some(YAML),
        () if is(is_port) => Some(PORTS),
        () if lines().filter(|line| !line.starts_with(is_blank)).count() >= MANY => Some(NOTHING),
        () => None,
    }
}

/// What no file of services has, whatever else is in it.
fn of_sure_signs(text: &str) -> Option<Foreign> {
    let is_haproxy = |line: &str| {
        let mut words = line.split(' ');
        let is_part = words.next().is_some_and(|it| ["frontend", "backend"].contains(&it));
        is_part && words.count() == 1
    };
    match () {
        () if text.lines().any(|line| line.starts_with("```")) => Some(MARKDOWN),
        () if text.lines().any(is_haproxy) => Some(HAPROXY),
        () => None,
    }
}

/// Whether a line is one of a file of services, right or nearly so, or of a file of xinetd's.
fn is_ours(line: &str) -> bool {
    if line.starts_with('.') {
        return true;
    }
    let words = || line.split_whitespace();
    let first = words().next().unwrap_or_default().trim_end_matches('{').to_ascii_lowercase();
    let is_known = ["service", "defaults", "include", "includedir"].contains(&first.as_str());
    let is_of_xinetd = is_known && !line.trim_end().ends_with(';');
    let is_of_netbsd = || {
        let is_switch = |word: &str| ["on", "off"].contains(&word.trim_end_matches(';'));
        words().nth(1).is_some_and(is_switch) && line.contains(['=', ';'])
    };
    let fields = || words().take(5).filter(|word| is_short_field(word)).count();
    let has_fields = || fields() > 1 || words().nth(1).is_some_and(is_type);
    is_of_xinetd || !line.starts_with(is_blank) && (has_fields() || is_of_netbsd())
}

const UNITS: [&str; 5] = ["[Unit]", "[Service]", "[Socket]", "[Install]", "[Timer]"];

fn is_json(first: &str) -> bool {
    first.starts_with('{') || first == "[" || first.starts_with("[{")
}

/// `[name]`, as in a file of TOML.
fn is_section(line: &str) -> bool {
    let name = line.trim_start_matches('[').strip_suffix(']').unwrap_or_default();
    let name = name.trim_end_matches(']');
    line.starts_with('[') && !name.is_empty() && !name.contains([':', '[', ','])
}

fn is_of_stunnel(line: &str) -> bool {
    let name = line.split_once('=').map_or("", |(name, _)| name.trim());
    ["accept", "connect", "exec", "execArgs", "client"].contains(&name)
}

/// When cron runs something.
fn is_time(line: &str) -> bool {
    let of_time =
        |word: &str| word.bytes().all(|byte| byte.is_ascii_digit() || b"*/,-".contains(&byte));
    let words: Vec<&str> = line.split_whitespace().take(6).collect();
    let times = words.iter().take_while(|word| of_time(word)).count();
    let named = ["@reboot", "@hourly", "@daily", "@weekly", "@monthly", "@yearly"];
    let is_named = words.first().is_some_and(|first| named.contains(first));
    is_named || times == 5 && words.len() == 6 && words.iter().any(|word| word.starts_with('*'))
}

fn is_of_nginx(line: &str) -> bool {
    let name = line.split([' ', '\t', '{']).next().unwrap_or_default();
    let known = ["http", "events", "server", "location", "upstream", "stream", "mail"];
    line.ends_with('{') && known.contains(&name)
}

/// `sshd: ALL`.
fn is_rule(line: &str) -> bool {
    line.split_once(':').is_some_and(|(who, whom)| who.trim() == "ALL" || whom.trim() == "ALL")
}

/// `key: value` and items of lists on all lines, with something below them.
fn are_keys<'a>(lines: impl Iterator<Item = &'a str> + Clone) -> bool {
    let is_top = |line: &&str| !line.starts_with(is_blank);
    let is_key = |line: &str| {
        if line.trim_end() == "---" {
            return true;
        }
        let is_value = |rest: &str| rest.is_empty() || rest.starts_with(is_blank);
        let key = line.split_once(':').filter(|(_, rest)| is_value(rest)).map(|(key, _)| key);
        line.starts_with("- ") || key.is_some_and(|key| !key.is_empty() && !key.contains(is_blank))
    };
    let several = lines.clone().nth(1).is_some();
    several && lines.clone().any(|line| is_top(&line)) && lines.filter(is_top).all(is_key)
}

/// `http 80/tcp`.
fn is_port(line: &str) -> bool {
    let second = line.split_whitespace().nth(1).unwrap_or_default();
    let (port, protocol) = second.split_once('/').unwrap_or_default();
    port.parse::<u16>().is_ok() && ["tcp", "udp"].contains(&protocol)
}

#[cfg(test)]
mod tests {
    use super::foreign;

    fn what(bytes: &[u8]) -> Option<&'static str> {
        foreign(bytes).map(|it| it.what)
    }

    fn is(bytes: &[u8], wanted: &str) {
        let what = what(bytes).unwrap_or("a file of services");
        assert!(what.contains(wanted), "{:?}: {what}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn what_is_no_text_is_told_by_its_beginning() {
        is(b"\x7fELF\x02\x01\x01", "program");
        is(b"\x1f\x8b\x08\0abc", "gzip");
        is(b"\xff\xfe8\x000\0 \0", "UTF-16");
        is(b"8\x000\x008\x000\0 \0s\0t\0r\0e\0a\0m\0", "UTF-16");
        is(&[0_u8; 4000], "no text");
        let bytes: Vec<u8> = (0..=255).cycle().take(4000).collect();
        is(&bytes, "no text");
        is(b"# mine\r8080 stream tcp nowait - date\r", "CR alone");
        is(b"-----BEGIN CERTIFICATE-----\nMII\n", "certificate");
    }

    #[test]
    fn texts_of_others_are_told_by_what_only_they_have() {
        for (text, wanted) in [
            ("#!/bin/sh\nexec date\n", "script"),
            ("# x\n[Unit]\nDescription=x\n[Socket]\nListenStream=80\n", "systemd"),
            ("[Service]\nExecStart=/bin/date\n", "systemd"),
            ("; x\npid = /x\n[https]\naccept = 443\nconnect = 80\n", "stunnel"),
            ("[package]\nname = \"x\"\n", "TOML"),
            ("[[services]]\nport = 80\n", "TOML"),
            ("SHELL=/bin/sh\n*/5 * * * * root /bin/date\n", "crontab"),
            ("@reboot /bin/date\n", "crontab"),
            (
                "user www;\ninclude /x/*.conf;\nevents {\n}\nhttp {\n    server {\n    }\n}\n",
                "nginx",
            ),
            ("services:\n  web:\n    image: x\n", "YAML"),
            ("---\n- a\n", "YAML"),
            ("name: x\nport: 80\n", "YAML"),
            ("sshd: ALL\nin.ftpd: 10.\n", "wrappers"),
            ("{\n \"a\": 1\n}\n", "JSON"),
            ("<?xml version='1.0'?>\n", "XML"),
            ("apiVersion: v1\n---\nkind: x\n", "YAML"),
            ("echo 7/tcp # TCP\necho 7/udp\n", "list of ports"),
            ("global\ndefaults\n  mode tcp\nfrontend x\n", "HAProxy"),
            ("# x\n```\n8080 stream tcp nowait - date\n```\n", "Markdown"),
            ("It was\na dark\nand stormy\nnight\nin autumn\n", "no line of it"),
        ] {
            is(text.as_bytes(), wanted);
        }
    }

    #[test]
    fn what_has_a_line_of_ours_is_ours() {
        for text in [
            "",
            "# nothing\n",
            "hello\n",
            "8080 stream tcp nowait - date date\n",
            "8080 strem tpc nowait - date date\n",
            "[Unit]\n8080 stream tcp nowait - date\n",
            "localhost:\n8080 stream tcp nowait - date\n",
            "localhost:\n",
            "[::1]:\n",
            ".include conf.d/*.conf\n",
            ".defaults\n    instances = 5\n",
            "[::1]:80 on socktype = stream;\n",
            "http off;\n",
            "80 stream\n",
            "service x\n{\n}\n",
            "includedir /etc/xinetd.d\n",
            "only_from = 10.0.0.0/8\n",
            "\u{feff}80 stream tcp nowait - date\r\n",
            "80 stream tcp nowait - date \x1b[31m\n",
            "#! stream\n80 stream tcp nowait - date\n",
        ] {
            assert_eq!(what(text.as_bytes()), None, "{text:?}");
        }
    }
}
