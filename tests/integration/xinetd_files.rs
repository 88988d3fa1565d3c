//! What people have in xinetd.conf: each `tests/xinetd/NAME.conf` is imported on a
//! machine of fixed facts and must give exactly `NAME.inetd`, which in turn means
//! the same. After a wanted change, `UPDATE_GOLDEN=1` writes the new texts; look at
//! each before it is kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::fake::FakeLookup;
use crate::golden::{cases_in, differs};
use oxinetd::config::model::{Config, Service};
use oxinetd::config::{import, load};
use proptest::prelude::*;

/// A machine with the users and services that the files want.
fn machine(text: &str) -> FakeLookup {
    let mut fake = FakeLookup::with_file("/etc/xinetd.conf", text);
    fake.users.extend([
        ("nagios", 201, 201),
        ("backup", 34, 34),
        ("svn", 203, 203),
        ("lp", 7, 7),
        ("haproxy", 204, 204),
    ]);
    fake.groups.extend([
        ("nagios", 201),
        ("backup", 34),
        ("svn", 203),
        ("lp", 7),
        ("haproxy", 204),
    ]);
    fake.services.extend([
        (["rsync"].as_slice(), 873, "tcp"),
        (["ssh"].as_slice(), 22, "tcp"),
        (["printer", "spooler"].as_slice(), 515, "tcp"),
        (["amanda"].as_slice(), 10080, "tcp"),
        (["cvspserver"].as_slice(), 2401, "tcp"),
        (["nrpe"].as_slice(), 5666, "tcp"),
    ]);
    let files = [
        ("/etc/busy", "421 busy\r\n"),
        ("/etc/banner_fail", "later\n"),
        (
            "/etc/xinetd.extra",
            "service time\n{\n\ttype = INTERNAL\n\tsocket_type = stream\n\twait = no\n}\n",
        ),
        (
            "/etc/xinetd.d/b",
            "# second\nservice daytime\n{\n\ttype = INTERNAL\n\tsocket_type = stream\n\twait = no\n}\n# left\n",
        ),
        (
            "/etc/xinetd.d/B",
            "# first\nservice echo\n{\n\ttype = INTERNAL\n\tsocket_type = stream\n\twait = no\n\tinstances = 1\n}\n",
        ),
        ("/etc/xinetd.d/b.rpmsave", "nonsense\n"),
        ("/etc/xinetd.d/b~", "nonsense\n"),
        ("/etc/xinetd.d/.hidden", "nonsense\n"),
    ];
    for (path, text) in files {
        fake.files.insert(PathBuf::from(path), text.as_bytes().to_vec());
    }
    fake
}

/// The programs of a text, so that the same services are served from both.
fn with_programs(mut fake: FakeLookup, text: &str) -> FakeLookup {
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    fake.programs.extend(words.map(PathBuf::from));
    fake
}

fn services(config: &Config) -> Vec<Service> {
    let all = config.services.iter().chain(&config.disabled);
    let mut all: Vec<Service> = all.map(|service| (**service).clone()).collect();
    // A line has another place, and one name of a block, which its label may say.
    for service in &mut all {
        let said = service.label.split_once('/').map(|(name, _)| name.into());
        let id = service.id.take().or(said);
        (service.origin, service.id, service.name) = (Default::default(), id, None);
    }
    all.sort_by(|a, b| (&a.label, &a.sockets).cmp(&(&b.label, &b.sockets)));
    all
}

/// The imported text, after it was read back and compared.
fn imported(text: &str) -> Result<String, String> {
    let fake = with_programs(machine(text), text);
    let xinetd = load(Path::new("/etc/xinetd.conf"), &[], &fake);
    let printed = import(Path::new("/etc/xinetd.conf"), &fake).text;
    let mut fake = fake;
    fake.files.insert("/etc/inetd.conf".into(), printed.clone().into_bytes());
    let inetd = load(Path::new("/etc/inetd.conf"), &[], &fake);
    if inetd.diagnostics.iter().any(|one| one.severity.name() == "error") {
        return Err(format!("{printed}\n{:#?}", inetd.diagnostics));
    }
    let (before, after) = (services(&xinetd.config), services(&inetd.config));
    if before == after { Ok(printed) } else { Err(format!("{before:#?}\n{printed}\n{after:#?}")) }
}

fn cases() -> Vec<PathBuf> {
    cases_in("tests/xinetd")
}

#[test]
fn every_file_is_imported_as_written_down_and_means_the_same() {
    let mut wrong = Vec::new();
    for case in cases() {
        let text = fs::read_to_string(&case).unwrap();
        let actual = match imported(&text) {
            Ok(actual) => actual,
            Err(difference) => {
                wrong.push(format!("{}: another model: {difference}", case.display()));
                continue;
            }
        };
        wrong.extend(differs(&case.with_extension("inetd"), &actual));
    }
    assert!(wrong.is_empty(), "{}\n(UPDATE_GOLDEN=1 writes the new texts)", wrong.join("\n"));
    assert!(cases().len() >= 30, "{}", cases().len());
}

#[test]
fn a_directory_is_imported_as_includedir_reads_it() {
    let text = import(Path::new("/etc/xinetd.d"), &machine("")).text;
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what} in {text}"));
    assert!(at("# first") < at("# second"), "{text}");
    assert!(!text.contains("nonsense"), "{text}");
}

#[test]
fn thousands_of_services_with_a_note_each_are_imported_in_seconds() {
    let block = |n: u32| {
        format!(
            "service s{n}\n{{\n type = UNLISTED\n port = {n}\n socket_type = stream\n wait = no\n user = root\n server = /bin/cat\n bogus = 1\n}}\n"
        )
    };
    let text: String = (1..=3000).map(block).collect();
    let begun = Instant::now();
    let imported = import(Path::new("/etc/xinetd.conf"), &machine(&text));
    assert_eq!(imported.config.services.len(), 3000);
    assert!(imported.text.matches("# note: ").count() >= 3000);
    // Looking for the place of each note in all of them took minutes.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn defaults_of_the_command_line_win_over_what_xinetd_takes_for_granted() {
    let text = "service daytime\n{\n socket_type = stream\n wait = no\n user = root\n server = /bin/cat\n}\n";
    let read = |defaults: &[&str]| {
        let defaults: Vec<String> = defaults.iter().map(|text| (*text).to_owned()).collect();
        let loaded = load(Path::new("/etc/xinetd.conf"), &defaults, &machine(text));
        services(&loaded.config)[0].attributes.clone()
    };
    assert_eq!(read(&[]).limits.instances, None);
    assert_eq!(read(&["instances=7"]).limits.instances, Some(7));
    assert_eq!(read(&["stderr=socket"]).process.stderr, oxinetd::config::model::StderrTo::Socket);
}

#[test]
fn rules_of_the_command_line_are_rules_that_interception_would_enforce() {
    let text = "service tftp\n{\n socket_type = dgram\n wait = yes\n user = root\n server = /bin/cat\n flags = INTERCEPT\n}\n";
    let served = |defaults: &[String]| {
        let loaded = load(Path::new("/etc/xinetd.conf"), defaults, &machine(text));
        (loaded.config.services.len(), loaded.config.withheld.len())
    };
    assert_eq!(served(&[]), (1, 0));
    assert_eq!(served(&["only_from=10.0.0.0/8".to_owned()]), (0, 1));
}

#[test]
fn rules_of_tcp_wrappers_are_spoken_of_once_where_there_are_any() {
    let text = "service echo\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n}\nservice time\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n}\n";
    let warnings = |text: &str, rules: &str| {
        let mut fake = machine(text);
        fake.files.insert("/etc/hosts.deny".into(), rules.as_bytes().to_vec());
        load(Path::new("/etc/xinetd.conf"), &[], &fake).diagnostics.len()
    };
    assert_eq!(warnings(text, "# nothing\n\n"), 0);
    assert_eq!(warnings(text, "ALL: ALL\n"), 1);
    let quiet = text.replace("wait = no", "wait = no\n flags = NOLIBWRAP");
    assert_eq!(warnings(&quiet, "ALL: ALL\n"), 0);
}

/// A block that is right.
fn block() -> impl Strategy<Value = String> {
    let shape = prop_oneof![
        (1_u16..=60000, any::<bool>()).prop_map(|(port, wait)| {
            let wait = if wait { "yes" } else { "no" };
            format!("type = UNLISTED\nport = {port}\nsocket_type = stream\nwait = {wait}\nserver = /bin/cat\nuser = nobody")
        }),
        (1_u16..=60000).prop_map(|port| format!(
            "type = UNLISTED\nport = {port}\nsocket_type = dgram\nprotocol = udp\nwait = yes\nserver = /bin/cat\nserver_args = a \"b 'c #d\nuser = 1000"
        )),
        (1_u16..=60000).prop_map(|port| format!(
            "type = UNLISTED\nport = {port}\nsocket_type = stream\nwait = no\nredirect = 127.0.0.1 80"
        )),
        (1_u16..=60000).prop_map(|port| format!(
            "type = INTERNAL UNLISTED\nport = {port}\nsocket_type = stream\nwait = no"
        )),
        Just("type = TCPMUXPLUS UNLISTED\nsocket_type = stream\nwait = no\nserver = /usr/sbin/tcpd\nflags = NAMEINARGS\nserver_args = x y\nuser = root".to_owned()),
    ];
    (shape, prop::collection::vec(attribute(), 0..6)).prop_map(|(shape, attributes)| {
        let lines: String =
            shape.lines().chain(attributes).map(|line| format!("\t{line}\n")).collect();
        format!("{{\n{lines}}}\n")
    })
}

/// What can be said in any block.
fn attribute() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "instances = 7",
        "instances = UNLIMITED",
        "per_source = 3",
        "cps = 5 6",
        "max_load = 2.5",
        "groups = yes",
        "group = news",
        "umask = 077",
        "nice = 5",
        "env = A=1 B=\"x",
        "env += C=",
        "passenv =",
        "passenv = LANG TZ",
        "passenv += PATH",
        "rlimit_as = 64M",
        "rlimit_cpu = 5",
        "rlimit_files = 10",
        "only_from =",
        "only_from = 10.0.0.0 ::1",
        "only_from += 192.0.2.{1,2}",
        "no_access = 10.1.0.0/16",
        "no_access -= 10.1.0.0/16",
        "access_times = 8:00-18:00 20:00-21:00",
        "log_on_success = PID EXIT",
        "log_on_success += DURATION USERID",
        "log_on_success -= PID",
        "log_on_failure = HOST",
        "log_on_failure =",
        "banner = /etc/busy",
        "banner_fail = /etc/busy",
        "disable = yes",
        "disable = no",
        "bind = 127.0.0.1",
        "bind = ::",
        "interface = eth0",
        "flags = IPv4",
        "flags = NODELAY KEEPALIVE",
        "flags = REUSE NOLIBWRAP",
        "v6only = no",
        "v6only = yes",
        "stderr = socket",
        "log_type = SYSLOG daemon",
        "log_type = FILE /var/log/x 8388608 15728640",
        "deny_time = 5",
        "rlimit_rss = 5M",
    ])
}

fn defaults() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "instances = 30",
        "per_source = 10",
        "only_from = 10.0.0.0/8",
        "only_from = 192.0.2.1",
        "no_access = 10.9.0.0",
        "log_on_success = PID HOST",
        "log_on_failure = HOST",
        "cps = 25 30",
        "groups = yes",
        "umask = 002",
        "passenv = PATH",
        "bind = 192.0.2.1",
        "bind = ::",
        "v6only = no",
        "disabled = s1",
        "enabled = s0 s1",
        "banner_success = /etc/busy",
        "max_load = 9",
        "log_type = FILE /var/log/all 1m",
    ]);
    prop::collection::vec(line, 0..6).prop_map(|lines| {
        let lines: String = lines.iter().map(|line| format!("\t{line}\n")).collect();
        format!("defaults\n{{\n{lines}}}\n")
    })
}

proptest! {
    #[test]
    fn what_is_imported_means_the_same(
        defaults in defaults(),
        blocks in prop::collection::vec(block(), 1..4),
    ) {
        let named = |(index, block): (usize, &String)| {
            let name = if block.contains("INTERNAL") { "echo".to_owned() } else { format!("s{index}") };
            format!("# comment {index}\nservice {name}\n{block}")
        };
        let text: String =
            std::iter::once(defaults).chain(blocks.iter().enumerate().map(named)).collect();
        if let Err(difference) = imported(&text) {
            return Err(TestCaseError::fail(format!("{text}\n{difference}")));
        }
    }

    #[test]
    fn any_blocks_are_read_without_harm(
        pieces in prop::collection::vec(piece(), 0..60),
    ) {
        let fake = machine(&format!("service x\n{{\n{}", pieces.concat()));
        for diagnostic in load(Path::new("/etc/xinetd.conf"), &[], &fake).diagnostics {
            let spans = diagnostic.span.iter().chain(diagnostic.related.iter().map(|it| &it.0));
            for span in spans {
                prop_assert!(span.source.text.get(span.start..span.end).is_some(), "{:?}", diagnostic);
            }
        }
        for line in import(Path::new("/etc/xinetd.conf"), &fake).text.lines() {
            prop_assert!(!line.contains('\r'));
        }
    }
}

fn piece() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "service",
        "defaults",
        "include",
        "includedir",
        "{",
        "}",
        "\n",
        "\n",
        " ",
        " ",
        "\t",
        "=",
        "+=",
        "-=",
        " = ",
        "type",
        "flags",
        "port",
        "server",
        "server_args",
        "wait",
        "yes",
        "no",
        "stream",
        "dgram",
        "tcp",
        "user",
        "root",
        "INTERNAL",
        "UNLISTED",
        "echo",
        "8080",
        "/bin/cat",
        "only_from",
        "10.0.0.0",
        "#",
        "ä",
        "日本",
        "\r",
        "\0",
        "/etc/xinetd.conf",
        "/etc/xinetd.d",
        "id",
        "disable",
        "::",
        "bind",
        "TCPMUX",
        "RPC",
        "redirect",
    ]);
    prop_oneof![9 => words.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)]
}

#[test]
fn names_that_this_machine_does_not_know_are_written_as_they_are() {
    let text = "service svn\n{\n socket_type = stream\n wait = no\n user = nosuch\n group = none\n server = /usr/bin/svnserve\n bind = nowhere\n}\nservice rsync\n{\n port = 873\n socket_type = stream\n wait = no\n user = root\n redirect = nowhere 873\n bind = localhost\n}\n";
    let mut fake = machine(text);
    fake.services.clear();
    let imported = import(Path::new("/etc/xinetd.conf"), &fake);
    assert_eq!(
        (imported.config.services.len(), imported.has_errors()),
        (2, false),
        "{}",
        imported.text
    );
    for wanted in [
        "\nsvn stream tcp nowait nosuch:none /usr/bin/svnserve svnserve\n",
        "    interface = nowhere\n",
        "\nrsync stream tcp nowait",
        "    interface = localhost\n",
        "    redirect = nowhere 873\n",
    ] {
        assert!(imported.text.contains(wanted), "{wanted}: {}", imported.text);
    }
}

#[test]
fn a_wrong_value_of_what_xinetd_does_not_know_costs_its_line() {
    let read = |line: &str| {
        let text = format!(
            "service echo\n{{\n type = INTERNAL\n socket_type = stream\n wait = no\n {line}\n}}\n"
        );
        let loaded = load(Path::new("/etc/xinetd.conf"), &[], &machine(&text));
        (loaded.config.services.len(), loaded.diagnostics.len())
    };
    for line in ["timeout = 30", "rate = 5", "stderr = syslog", "keepalive = maybe"] {
        assert_eq!(read(line), (1, 1), "{line}");
    }
    // What confines is not left out.
    assert_eq!(read("no_new_privs = maybe"), (0, 1));
}
