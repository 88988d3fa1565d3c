//! Each option of the other servers, and what it becomes.

use std::path::Path;

use super::{CompatName, CompatRequest, CompatServices, Log, Pid, read};
use crate::config::fake::FakeLookup;
use crate::config::{Dialect, Named, load_all};

fn asked(name: CompatName, line: &str) -> Result<CompatRequest, String> {
    read(name, line.split_whitespace().map(Into::into))
}

fn served(name: CompatName, line: &str) -> CompatServices {
    match asked(name, line) {
        Ok(CompatRequest::Serve(served)) => served,
        other => panic!("{line}: {other:?}"),
    }
}

fn inetd(line: &str) -> CompatServices {
    served(CompatName::Inetd, line)
}

fn xinetd(line: &str) -> CompatServices {
    served(CompatName::Xinetd, line)
}

fn paths(served: &CompatServices) -> Vec<&Path> {
    served.files.iter().map(|file| file.path.as_path()).collect()
}

fn named(path: &str) -> Pid {
    Pid::Named(path.into())
}

#[test]
fn the_last_component_is_the_name_exactly() {
    for (argv0, name) in [
        ("inetd", Some(CompatName::Inetd)),
        ("/usr/sbin/xinetd", Some(CompatName::Xinetd)),
        ("./inetd", Some(CompatName::Inetd)),
        ("/usr/sbin/inetutils-inetd", Some(CompatName::Gnu)),
        ("openbsd-inetd", Some(CompatName::Inetd)),
        ("in.inetd", None),
        ("inetd.real", None),
        ("oxinetd", None),
        ("", None),
        ("/", None),
    ] {
        assert_eq!(CompatName::of(argv0.as_ref()), name, "{argv0}");
    }
}

#[test]
fn inetd_alone_goes_to_the_background_with_the_usual_files() {
    let served = inetd("");
    assert_eq!(paths(&served), ["/etc/inetd.conf", "/etc/inetd.d"].map(Path::new));
    assert_eq!(served.files.iter().map(|file| file.optional).collect::<Vec<_>>(), [false, true]);
    assert_eq!(served.pid_file, Pid::Usual("/run/inetd.pid".into()));
    assert_eq!(served.log, Log::Usual);
    assert!(!served.foreground && !served.debug && !served.needs_services);
    assert_eq!(served.defaults, ["passenv=*", "stderr=socket", "linger=no"]);
    assert!(served.notes.is_empty());
}

#[test]
fn inetd_stays_in_the_foreground_in_every_familys_words() {
    for line in ["-d", "-i", "-f", "-fe", "--debug", "-E -i"] {
        assert!(inetd(line).foreground, "{line}");
    }
    let debugging = inetd("-d");
    assert!(debugging.debug && debugging.log == Log::Stderr);
    assert_eq!(debugging.pid_file, Pid::None);
    assert!(matches!(inetd("-i").pid_file, Pid::Usual(_)));
    let logged = inetd("-e");
    assert!(logged.log == Log::Stderr && !logged.foreground);
}

#[test]
fn the_name_says_what_protocols_mean() {
    assert_eq!(served(CompatName::Gnu, "-d").dialect, Dialect::Gnu);
    assert_eq!(inetd("-d").dialect, Dialect::OpenBsd);
    assert_eq!(xinetd("-d").dialect, Dialect::Own);
}

#[test]
fn inetds_limits_become_defaults_and_0_is_none() {
    let all = inetd("-q 7 -R 30 -a 127.0.0.1 -c3 -C 60 -s2 -E");
    assert_eq!(
        all.defaults,
        [
            "bind=127.0.0.1",
            "backlog=7",
            "instances=3",
            "per_source=2",
            "rate=30/minute",
            "source_rate=60/minute",
            "passenv=*",
            "stderr=socket",
            "linger=no"
        ]
    );
    assert_eq!(inetd("--rate=5").defaults, inetd("--rate 5").defaults);
    let none = inetd("-R0 -c 0 -C 0 -s 0").defaults;
    assert_eq!(none.len(), 7);
    let limits = none.iter().filter(|one| one.ends_with("=unlimited"));
    assert_eq!(limits.count(), 4, "{none:?}");
    let last = ["rate=2/minute", "passenv=*", "stderr=socket", "linger=no"];
    assert_eq!(inetd("-R 1 -R 2").defaults, last);
}

#[test]
fn inetds_pid_file_may_be_glued_or_not_and_is_left_out_without_a_name() {
    for line in ["-p /run/x", "-p/run/x", "-dp/run/x", "-d -p /run/x", "--pidfile=/run/x"] {
        assert_eq!(inetd(line).pid_file, named("/run/x"), "{line}");
    }
    for line in ["-p", "-p -i", "--pidfile", "--pidfile x.conf", "-p --"] {
        assert_eq!(inetd(line).pid_file, Pid::None, "{line}");
    }
    assert_eq!(paths(&inetd("-p /run/x my.conf")), [Path::new("my.conf")]);
    assert_eq!(paths(&inetd("--pidfile my.conf")), [Path::new("my.conf")]);
    // To GNU's a word of its own is a configuration.
    assert_eq!(served(CompatName::Gnu, "-p my.conf").pid_file, Pid::None);
    assert_eq!(paths(&served(CompatName::Gnu, "-p my.conf")), [Path::new("my.conf")]);
}

#[test]
fn inetd_takes_several_files_before_between_and_after_options() {
    let served = inetd("a.conf -i folder -R5 -- -c.conf");
    assert_eq!(paths(&served), ["a.conf", "folder", "-c.conf"].map(Path::new));
    assert!(served.files.iter().all(|file| file.pattern == "*" && !file.optional));
}

#[test]
fn what_inetd_cannot_do_here_is_said_once() {
    assert_eq!(inetd("-l -wW").notes.len(), 1);
    assert!(inetd("-l").notes[0].contains("only_from"));
    assert_eq!(inetd("--environment").notes.len(), 0);
    assert!(inetd("--resolve").notes[0].contains("--resolve"));
}

#[test]
fn wrong_usage_is_named() {
    for (name, line, part) in [
        (CompatName::Inetd, "-x", "-x"),
        (CompatName::Inetd, "-dx", "-x"),
        (CompatName::Inetd, "-R", "-R needs a value"),
        (CompatName::Inetd, "-R many", "many"),
        (CompatName::Inetd, "-R -1", "-1"),
        (CompatName::Inetd, "-q 0", "from 1"),
        (CompatName::Inetd, "-c 99999999999", "99999999999"),
        (CompatName::Inetd, "--pid", "--pid"),
        (CompatName::Inetd, "--debug=2", "--debug"),
        (CompatName::Xinetd, "-x", "-x"),
        (CompatName::Xinetd, "/etc/xinetd.conf", "/etc/xinetd.conf"),
        (CompatName::Xinetd, "-f", "-f needs a value"),
        (CompatName::Xinetd, "-limit lots", "lots"),
        (CompatName::Xinetd, "-syslog mail", "mail"),
        (CompatName::Xinetd, "-filelog /x -syslog daemon", "exclude"),
    ] {
        let wrong = asked(name, line).unwrap_err();
        assert!(wrong.contains(part), "{line}: {wrong}");
    }
}

#[test]
fn help_and_version_are_asked_for_in_each_ones_way() {
    for line in ["-h", "--help", "-?", "--usage", "-d -h"] {
        assert_eq!(asked(CompatName::Inetd, line), Ok(CompatRequest::Help), "{line}");
    }
    for line in ["-V", "--version"] {
        assert_eq!(asked(CompatName::Inetd, line), Ok(CompatRequest::Version), "{line}");
    }
    assert_eq!(asked(CompatName::Xinetd, "-version"), Ok(CompatRequest::Version));
    assert_eq!(asked(CompatName::Xinetd, "-d -help"), Ok(CompatRequest::Help));
}

#[test]
fn xinetd_needs_services_unless_it_is_to_stay() {
    let served = xinetd("");
    assert_eq!(paths(&served), [Path::new("/etc/xinetd.conf")]);
    assert!(served.needs_services && !served.foreground);
    assert_eq!((served.pid_file, served.log), (Pid::None, Log::Usual));
    assert!(!xinetd("-stayalive").needs_services && !xinetd("-stayalive").foreground);
    assert!(!xinetd("-dontfork").needs_services && xinetd("-dontfork").foreground);
}

#[test]
fn every_option_of_xinetd_has_its_place() {
    let line = "-f my.conf -pidfile /run/x -limit 20 -filelog /var/log/x -inetd_compat -reuse";
    let served = xinetd(line);
    assert_eq!(paths(&served), ["my.conf", "/etc/inetd.conf"].map(Path::new));
    assert!(served.files[1].optional && served.files[1].inherits);
    assert_eq!(served.pid_file, named("/run/x"));
    assert_eq!(served.max_children, Some(20));
    assert_eq!(xinetd("-limit 0").max_children, None);
    assert_eq!(served.log, Log::Target("file:/var/log/x".parse().unwrap()));
    assert_eq!(xinetd("-syslog local3").log, Log::Target("syslog:local3".parse().unwrap()));
    let notes = xinetd("-cc 60 -logprocs 5 -loop 10 -shutdownprocs 3").notes;
    assert_eq!(notes.len(), 3, "{notes:?}");
}

#[test]
fn xinetds_debug_mode_uses_the_terminal_and_writes_no_pid_file() {
    let served = xinetd("-d -filelog /x -pidfile /y");
    assert!(served.debug && served.foreground);
    assert_eq!((served.log, served.pid_file), (Log::Stderr, Pid::None));
}

fn machine(files: &[(&str, &str)]) -> FakeLookup {
    let files = files.iter().map(|(path, text)| (path.into(), text.as_bytes().to_vec()));
    FakeLookup { files: files.collect(), ..FakeLookup::default() }
}

const LINE: &str = "50002 stream tcp4 nowait root /bin/cat cat\n";

#[test]
fn the_largest_numbers_are_values_of_their_attributes() {
    let most = i32::MAX;
    let line = format!("-q {most} -R {most} -c {most} -C {most} -s {most} -a 127.0.0.1 x.conf");
    let CompatServices { files, defaults, .. } = inetd(&line);
    let loaded = load_all(&files, &defaults, &machine(&[("x.conf", LINE)]));
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    assert_eq!(loaded.config.services.len(), 1);
}

#[test]
fn several_files_are_one_configuration_and_findings_keep_their_file() {
    let files = [("a", LINE), ("b", "50003 stream tcp4 nowiat root /bin/cat cat\n"), ("c", LINE)];
    let all: Vec<Named> = files.iter().map(|(path, _)| Named::new(path)).collect();
    let loaded = load_all(&all, &[], &machine(&files));
    let said: Vec<String> = loaded.diagnostics.iter().map(|one| one.one_line()).collect();
    assert_eq!(loaded.config.services.len(), 1);
    assert!(said[0].starts_with("b:1:19:") && said[1].starts_with("c:1:1:"), "{said:?}");
}

#[test]
fn a_file_that_may_be_missing_is_no_error_and_one_that_must_not_is() {
    let optional = Named { optional: true, ..Named::new("missing") };
    let loaded = load_all(&[Named::new("a"), optional], &[], &machine(&[("a", LINE)]));
    assert!(loaded.diagnostics.is_empty() && loaded.config.services.len() == 1);
    let loaded = load_all(&[Named::new("missing")], &[], &machine(&[]));
    assert_eq!(loaded.diagnostics.len(), 1);
}

#[test]
fn the_defaults_of_xinetd_conf_hold_for_inetd_conf_too() {
    let defaults = "defaults\n{\n\tonly_from = 10.0.0.0/8\n}\n";
    let machine = machine(&[("/etc/xinetd.conf", defaults), ("/etc/inetd.conf", LINE)]);
    let CompatServices { files, defaults, .. } = xinetd("-inetd_compat");
    let loaded = load_all(&files, &defaults, &machine);
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    let service = &loaded.config.services[0];
    let inherited = format!("{:?}", service.attributes);
    assert!(inherited.contains("10.0.0.0"), "{inherited}");
}
