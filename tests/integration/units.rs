//! The units for systemd: it understands them, they keep to their promises, and the
//! server works under what they take away. No systemd runs here, but its tools do.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::daemon::BINARY;
use crate::common::procs::nicer_by;
use crate::common::{Folder, Setup, free_port, need_program, need_root, read_all, shell, tcp};

const ANALYZE: &str = "systemd-analyze";
const SERVICE: &str = "oxinetd.service";
const SOCKET: &str = "oxinetd.socket";

/// The exposure that is left, in tenths of the points of `systemd-analyze security`:
/// programs run as other users, on the network, from homes, and store files.
const EXPOSURE: &str = "--threshold=60";

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn unit(name: &str) -> String {
    read(&format!("etc/systemd/{name}"))
}

/// The values of a directive, in order.
fn values<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

fn analyze(arguments: &[&str]) -> Output {
    Command::new(ANALYZE).args(arguments).env("SYSTEMD_LOG_TARGET", "console").output().unwrap()
}

fn version() -> u32 {
    let said = analyze(&["--version"]).stdout;
    let said = String::from_utf8(said).unwrap();
    said.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn systemd_understands_the_units() {
    if !need_program(ANALYZE) {
        return;
    }
    let folder = Folder::new();
    let text = unit(SERVICE);
    assert_eq!(values(&text, "ExecStart"), ["/usr/sbin/oxinetd /etc/inetd.conf"]);
    assert_eq!(values(&text, "ExecStopPost"), ["-/usr/sbin/oxinetd release-groups"]);
    assert_eq!(values(&text, "ExecReload"), ["/usr/sbin/oxinetd reload"]);
    // It is not installed here.
    let here = folder.copy_of(BINARY, "oxinetd");
    let service = folder.write(SERVICE, &text.replace("/usr/sbin/oxinetd", &here));
    let socket = folder.write(SOCKET, &unit(SOCKET));
    let paths = [service.to_str().unwrap(), socket.to_str().unwrap()];
    let output = analyze(&[&["verify", "--man=no"], &paths[..]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let about_us = said.lines().filter(|line| line.contains("oxinetd"));
    // Groups beside the server's are for newer ones.
    let known = |line: &&str| {
        version() < 254 && line.ends_with("'DelegateSubgroup' in section [Service], ignoring.")
    };
    let complaints: Vec<&str> = about_us.filter(|line| !known(line)).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// What the documents have somebody write with `systemctl edit`.
fn drop_in_of_the_readme() -> String {
    let (readme, manual) = (read("README.md"), read("etc/man/oxinetd.8").replace("\\-", "-"));
    let text = crate::docs::plain_block(&readme, "[Service]\nExecStart=\n").to_owned();
    assert!(manual.contains(&format!(".Bd -literal -offset indent\n{text}.Ed\n")), "{text}");
    text
}

#[test]
fn the_drop_in_for_a_page_and_metrics_is_one_that_systemd_understands() {
    if !need_program(ANALYZE) {
        return;
    }
    let folder = Folder::new();
    let here = folder.copy_of(BINARY, "oxinetd");
    let with_ours = |text: &str| text.replace("/usr/sbin/oxinetd", &here);
    let service = folder.write(SERVICE, &with_ours(&unit(SERVICE)));
    fs::create_dir(folder.at("oxinetd.service.d")).unwrap();
    folder.write("oxinetd.service.d/page.conf", &with_ours(&drop_in_of_the_readme()));
    let output = analyze(&["verify", "--man=no", service.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("ExecStart"), "{said}");
}

#[test]
fn the_drop_in_for_a_page_and_metrics_starts_a_server_that_has_both() {
    let (folder, port) = (Folder::new(), free_port());
    let file = folder.write("inetd.conf", "");
    let text = drop_in_of_the_readme();
    let line = values(&text, "ExecStart").pop().unwrap().to_owned();
    let line = line.strip_prefix("/usr/sbin/oxinetd ").unwrap();
    let words = line.split(' ').map(|word| match word {
        "/run/oxinetd/page" => folder.name("page"),
        "9717" => port.to_string(),
        "/etc/inetd.conf" => file.display().to_string(),
        word => word.to_owned(),
    });
    let words: Vec<String> = words.chain(["--control", "none"].map(str::to_owned)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let daemon = Setup::new().run_in(folder, &words);
    let page = daemon.wait_log(|line| line.is("page"));
    assert_eq!(page.get("address"), Some(&*daemon.folder.name("page")));
    let metrics = daemon.wait_log(|line| line.is("metrics"));
    assert!(metrics.raw.contains(&format!(":{port}")), "{}", metrics.raw);
}

#[test]
fn the_unit_leaves_no_more_exposed_than_programs_need() {
    if !need_program(ANALYZE) {
        return;
    }
    let folder = Folder::new();
    let service = folder.write(SERVICE, &unit(SERVICE));
    let service = service.to_str().unwrap();
    let output = analyze(&["security", "--no-pager", "--offline=true", EXPOSURE, service]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{message}");
    assert!(said.contains("Overall exposure level"), "{said}\n{message}");
}

#[test]
fn what_the_unit_does_not_forbid_is_said_there() {
    let text = unit(SERVICE);
    let comments: String = text.lines().filter(|line| line.starts_with('#')).collect();
    for directive in [
        "User=",
        "NoNewPrivileges=",
        "RestrictSUIDSGID=",
        "RestrictNamespaces=",
        "MemoryDenyWriteExecute=",
        "SystemCallArchitectures=",
        "ProtectHome=",
        "ProtectSystem=full",
        "ProtectProc=",
        "ProcSubset=",
        "PrivateTmp=",
        "PrivateDevices=",
        "PrivateUsers=",
        "PrivateNetwork=",
        "IPAddressDeny=",
        "ProtectControlGroups=",
    ] {
        let set = text.lines().any(|line| line.starts_with(directive));
        assert!(!set && comments.contains(directive), "{directive}");
    }
}

/// `127.0.0.1:50013 stream` for each service of the example configuration.
fn example_sockets() -> Vec<String> {
    let example = read("etc/inetd.conf");
    let lines = example.lines().filter(|line| !line.starts_with(['#', ' ']) && !line.is_empty());
    let fields = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    lines.map(fields).collect()
}

#[test]
fn every_socket_of_the_example_is_a_service_of_the_example() {
    let (text, services) = (unit(SOCKET), example_sockets());
    let mut count = 0;
    for (directive, kind) in [("ListenStream", "stream"), ("ListenDatagram", "dgram")] {
        for address in values(&text, directive) {
            let socket = format!("{address} {kind}");
            assert!(services.contains(&socket), "{socket} is not among {services:#?}");
            count += 1;
        }
    }
    assert!(count >= 3, "only {count} sockets");
}

/// As setpriv(1) takes them: `-sys_admin,-sys_boot`.
fn without_capabilities(unit: &str) -> String {
    let lists = values(unit, "CapabilityBoundingSet");
    let names = lists.iter().flat_map(|list| list.strip_prefix('~').unwrap().split_whitespace());
    let words: Vec<String> = names
        .map(|name| format!("-{}", name.strip_prefix("CAP_").unwrap().to_lowercase()))
        .collect();
    assert!(words.len() > 20, "{words:?}");
    words.join(",")
}

#[test]
fn the_server_does_everything_with_the_capabilities_of_the_unit() {
    if !need_root() || !need_program("setpriv") {
        return;
    }
    let port = free_port();
    let script = shell("id -u; nice; pwd");
    let text = format!("127.0.0.1:{port} stream tcp nowait nobody {script}\n")
        + "    nice = -3\n    chroot = /\n    capabilities = none\n    rlimit_files = 100\n"
        + "    read_only = ? /\n";
    let set = without_capabilities(&unit(SERVICE));
    let words = ["setpriv", "--bounding-set", &set, "--inh-caps", &set];
    let daemon = Setup::new().under(&words).start(&text);
    let uid = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid;
    let nice = nicer_by(-3);
    assert_eq!(read_all(tcp(port)), format!("{uid}\n{nice}\n/\n"), "{}", daemon.log.text());
}
