//! The documents do what they say: README, the example configuration, the examples of the help.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::clients::{read_line, udp_ask};
use crate::common::daemon::{BINARY, command};
use crate::common::needs::{find_program, search_path};
use crate::common::ports::is_listening;
use crate::common::tls::make_certificate;
use crate::common::{
    Daemon, Folder, ask, free_port, is_root, need_program, read_all, tcp, udp, wait_until,
};

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(project(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The ```sh blocks of a Markdown file.
fn shell_blocks(text: &str) -> Vec<String> {
    let parts = text.split("```sh\n").skip(1);
    parts.map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

/// The ports that the documents name, as (theirs, ours): nobody else's tests or
/// connections can be in the way.
pub(crate) fn own_ports(texts: &[&str]) -> Vec<(String, String)> {
    let named = (50_000..50_200u16).chain([8080, 8443, 8730, 9418, 2222, 2323, 6969, 7777]);
    let named = named.map(|port| port.to_string());
    let named = named.filter(|port| texts.iter().any(|text| text.contains(port.as_str())));
    named.map(|port| (port, free_port().to_string())).collect()
}

/// Each whole number at a time: one port may stand inside another.
pub(crate) fn with_ports(text: &str, ports: &[(String, String)]) -> String {
    let git = text.replace("git://127.0.0.1/", "git://127.0.0.1:9418/");
    let mut out = String::new();
    let mut rest = git.as_str();
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let number = &rest[start..];
        let length = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        let (number, after) = number.split_at(length);
        let ours = ports.iter().find(|(theirs, _)| theirs == number);
        out += &rest[..start];
        out += ours.map_or(number, |(_, ours)| ours);
        rest = after;
    }
    out + rest
}

#[test]
fn ports_are_put_in_as_whole_numbers() {
    let ports = [("50003", "28730"), ("8730", "28748")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(with_ports("nc 50003 8730 18730 x", &ports), "nc 28730 28748 18730 x");
}

/// Runs a block as a reader would, in `folder`; what it says on standard output and error.
fn run_block(block: &str, folder: &Path) -> (String, String) {
    let tidy = "trap '[ -z \"${!:-}\" ] || kill $! 2>/dev/null || :' EXIT";
    let binaries = Path::new(BINARY).parent().unwrap().display().to_string();
    let output = Command::new("timeout")
        .args(["60", "sh", "-euc", &format!("{tidy}\n{block}")])
        .env("PATH", format!("{binaries}:{}", search_path()))
        .env("RUST_LOG", "info")
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}\n{block}\n{said}", output.status);
    (String::from_utf8_lossy(&output.stdout).into_owned(), said)
}

/// What the blocks of README run, and Debian's package of it.
const TOOLS: [(&str, &str); 15] = [
    ("nc", "netcat-openbsd"),
    ("ps", "procps"),
    ("cal", "ncal"),
    ("curl", "curl"),
    ("git", "git"),
    ("rsync", "rsync"),
    ("ssh-keyscan", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("sshd", "openssh-server"),
    ("tftp", "tftp-hpa"),
    ("in.tftpd", "tftpd-hpa"),
    ("socat", "socat"),
    ("telnet", "inetutils-telnet"),
    ("openssl", "openssl"),
    ("systemd-socket-activate", "systemd"),
];

#[test]
fn the_readme_lists_the_packages_that_its_blocks_need() {
    let (readme, runs) = (read("README.md"), read("tests/run"));
    let list = readme.split("apt install").nth(1).unwrap().split("```").next().unwrap();
    let listed: BTreeSet<&str> = list.split_whitespace().filter(|word| *word != "\\").collect();
    assert_eq!(listed, TOOLS.iter().map(|(_, package)| *package).collect());
    for (tool, package) in TOOLS {
        assert!(runs.contains(&format!(":{package}")), "tests/run installs no {package} ({tool})");
    }
}

#[test]
fn every_shell_block_of_the_readme_works() {
    if !TOOLS.iter().all(|(tool, _)| need_program(tool)) {
        return;
    }
    let (readme, example) = (read("README.md"), read("etc/inetd.conf"));
    let ports = own_ports(&[&readme, &example]);
    let folder = Folder::new();
    folder.write("etc/inetd.conf", &with_ports(&example, &ports));
    let mut count = 0;
    for block in shell_blocks(&readme) {
        // These run for as long as the reader likes, for minutes, or run this test.
        if ["cargo run", "cargo bench", "tests/run"].iter().any(|own| block.starts_with(own)) {
            continue;
        }
        if block.starts_with("# as root") && !is_root() {
            continue;
        }
        let block = with_ports(&block, &ports);
        // The server of the block before has its time to go.
        wait_until("the ports to be free", || {
            !ports.iter().any(|(_, ours)| is_listening(ours.parse().unwrap()))
        });
        let (_, said) = run_block(&block, folder.path());
        for bad in [" ERROR ", "not-listening"] {
            assert!(!said.contains(bad), "{block}\n{said}");
        }
        for stored in said.split("storing in ").skip(1) {
            let _ = fs::remove_file(stored.split('"').next().unwrap());
        }
        count += 1;
    }
    assert!(count >= 3, "only {count} blocks were found");
}

/// A ``` block of a Markdown file without a language that begins with these words.
pub(crate) fn plain_block<'a>(text: &'a str, begins: &str) -> &'a str {
    let start = text.find(&format!("\n```\n{begins}")).expect(begins) + "\n```\n".len();
    text[start..].split("```").next().unwrap()
}

/// The services of the table in the README are those of the file that its server has.
#[test]
fn the_services_of_the_readme_are_those_of_the_example_configuration() {
    let (readme, example) = (read("README.md"), read("etc/inetd.conf"));
    let rows = plain_block(&readme, "oxinetd 0.1.0, pid ").lines().skip(4);
    let mut count = 0;
    for row in rows {
        let words: Vec<&str> = row.split_whitespace().collect();
        let (port, protocol) = words[0].split_once('/').unwrap();
        assert_eq!(words[1], format!("127.0.0.1:{port}"), "{row}");
        let is_it = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().take(3).collect();
            fields.first() == Some(&words[1]) && fields.last() == Some(&protocol)
        };
        assert!(example.lines().any(is_it), "{row}");
        count += 1;
    }
    assert!(count > 0);
}

/// The lines of the log in the README have the keys that the manual gives them.
#[test]
fn the_log_of_the_readme_is_what_is_written() {
    let (readme, manual) = (read("README.md"), read("etc/man/oxinetd.8"));
    let known: Vec<&str> = manual.lines().filter_map(|line| line.strip_prefix(".It Li ")).collect();
    let sample = plain_block(&readme, "ready pid=");
    for line in sample.lines() {
        let keys = line.split(' ').map(|word| match word.split_once('=') {
            Some((key, _)) => format!("{key}="),
            None => word.to_owned(),
        });
        let keys = keys.collect::<Vec<String>>().join(" ");
        assert!(known.contains(&keys.as_str()), "{line}: {keys}");
    }
    let services = read("etc/inetd.conf").lines().filter(|line| line.starts_with("127.")).count();
    let ready = format!("services={services} listeners={services}");
    assert!(sample.contains(&ready), "{ready}");
}

#[test]
fn programs_are_given_what_they_expect() {
    if !["curl", "nc"].into_iter().all(need_program) {
        return;
    }
    let said = said_in_section("What programs expect");
    let [http, lines] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!(http, "hello\n");
    // A CR that is left would be a part of the word, and of `exit`.
    let answers = lines.lines().filter(|line| line.trim_end() == "hello");
    assert_eq!(answers.count(), 1, "{lines:?}");
}

#[test]
fn what_stands_in_front_does_what_the_readme_says() {
    if !["telnet", "socat", "openssl", "nc"].into_iter().all(need_program) {
        return;
    }
    let said = said_in_section("TLS");
    let [date, capitals, alice] = said.as_slice() else { panic!("{said:?}") };
    assert!(date.contains(':') && date.lines().count() == 1, "{date}");
    assert!(capitals.contains("1 service, 0 errors, 0 warnings"), "{capitals}");
    assert!(capitals.contains("HELLO\n") && capitals.contains("AGAIN\n"), "{capitals}");
    assert_eq!(alice, "hello CN=alice\n");
    let said = said_in_section("Terminals");
    let [telnet, shell] = said.as_slice() else { panic!("{said:?}") };
    for said in [telnet, shell] {
        assert_eq!(said.matches("/dev/pts/").count(), 1, "{said}");
    }
    let said = said_in_section("Behind a proxy");
    assert_eq!(said, ["192.0.2.1\n"]);
}

/// What the blocks of a section of the README say on standard output.
fn said_in_section(name: &str) -> Vec<String> {
    let readme = read("README.md");
    let section = readme.split(&format!("\n## {name}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let (ports, folder) = (own_ports(&[section]), Folder::new());
    let blocks = shell_blocks(section);
    // So long a client stays that would leave at the end of its input: nobody reads the README
    // on a machine that is as busy as one that runs all tests.
    let patient = |block: &String| with_ports(block, &ports).replace("sleep 2 |", "sleep 20 |");
    blocks.iter().map(|block| run_block(&patient(block), folder.path()).0).collect()
}

/// The same as lines of a configuration.
#[test]
fn what_the_manual_page_gives_programs_is_right() {
    let page = read("etc/man/oxinetd.conf.5");
    let section = page.split(".Ss What some programs expect besides\n").nth(1).unwrap();
    let section = section.split("\n.Sh ").next().unwrap();
    let blocks = section.split(".Bd -literal\n").skip(1);
    let lines: Vec<&str> = blocks.map(|block| block.split(".Ed").next().unwrap()).collect();
    let text = lines.concat().replace("\\e", "\\").replace("nowait root", "nowait -");
    assert!(lines.len() == 2 && text.contains(r"s/\r$//"), "{text}");
    let folder = Folder::new();
    let file = folder.write("lines", &text);
    let output = command(&[]).arg("check").arg(file).env("PATH", search_path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    // This machine may lack the programs.
    assert!(output.status.success() && said.contains("2 services, 0 errors"), "{said}");
}

#[test]
fn the_example_configuration_checks_without_a_complaint() {
    let output = command(&[]).arg("check").arg(project("etc/inetd.conf")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("0 errors, 0 warnings") && said.lines().count() == 1, "{said}");
}

#[test]
fn what_is_commented_out_in_the_example_configuration_can_be_taken_in_all_together() {
    if cfg!(not(feature = "tls")) || !need_program("openssl") {
        return;
    }
    let folder = Folder::new();
    for name in ["site", "clients"] {
        make_certificate(&folder, name, "DNS:localhost", "90");
    }
    let example = read("etc/inetd.conf")
        .replace("www.example.org http", "127.0.0.1 80")
        .replace("/etc/ssl/", &folder.name(""));
    let (before, after) = example.split_once("# Commented out").unwrap();
    let line = |line: &str| match line.strip_prefix('#') {
        Some(entry) if entry.starts_with("    ") || !entry.starts_with([' ', '-']) => {
            entry.to_owned() + "\n"
        }
        _ => "\n".to_owned(),
    };
    let taken_in: String = after.lines().skip(1).map(line).collect();
    assert!(taken_in.contains(" bwrap ") && taken_in.contains("cpu_max"), "{taken_in}");
    let file = folder.write("inetd.conf", &(before.to_owned() + &taken_in));
    let output = command(&[]).arg("check").arg(file).output().unwrap();
    // This machine may lack programs and users.
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(" 0 errors, "), "{said}");
}

#[test]
fn every_service_of_the_example_configuration_answers() {
    let example = read("etc/inetd.conf");
    let text = with_ports(&example, &own_ports(&[&example]));
    let daemon = Daemon::start(&text);
    assert!(daemon.said("not-listening").is_empty(), "{}", daemon.log.text());
    let services: Vec<&str> = text.lines().filter(|line| line.starts_with("127.0.0.1:")).collect();
    assert!(services.len() >= 6, "{services:?}");
    for line in services {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port: u16 = words[0].rsplit(':').next().unwrap().parse().unwrap();
        if words[1] == "dgram" {
            assert!(!udp_ask(&udp(port), "hello, datagram, hello, hello").is_empty(), "{line}");
        } else if line.contains("exec cat") {
            collects(&daemon, port);
        } else {
            let mut client = tcp(port);
            let _ = client.write_all(b"hello\n");
            let _ = client.shutdown(Shutdown::Write);
            assert!(!read_any(client).is_empty(), "{line}");
        }
    }
}

/// A program that does not read what we send may reset the connection after its answer.
fn read_any(mut client: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = client.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The collector says in the log where it stores what it gets.
fn collects(daemon: &Daemon, port: u16) {
    let mut client = tcp(port);
    client.write_all(b"for the collector\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(client), "");
    let line = daemon.wait_log(|line| line.about("stderr", port));
    let path = line.get("line").unwrap().trim_start_matches("storing in ").to_owned();
    assert_eq!(fs::read_to_string(&path).unwrap(), "for the collector\n");
    fs::remove_file(path).unwrap();
}

#[test]
fn the_examples_of_the_help_are_a_language_that_check_understands() {
    let output = command(&[]).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let folder = Folder::new();
    let lines: String = text
        .lines()
        .map(str::trim)
        .filter(|line| line.contains(" stream tcp "))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(!lines.is_empty(), "the help shows what a line looks like");
    let file = folder.write("example", &lines);
    let output = command(&[]).arg("check").arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The table for those who come from other programs: their line, and ours.
fn lines_of_others(readme: &str) -> Vec<(String, String)> {
    let table = readme.split("| theirs | ours |\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let cells = |row: &str| -> (String, String) {
        let parts: Vec<&str> = row.split('`').collect();
        let [_, theirs, _, ours, _] = parts[..] else { panic!("{row}") };
        (theirs.to_owned(), ours.to_owned())
    };
    table.lines().skip(1).map(cells).collect()
}

/// What a client gets who says hello to whatever this line starts, in the folder.
fn answer_of(line: &str, port: u16, folder: &Folder) -> String {
    let binaries = Path::new(BINARY).parent().unwrap().display().to_string();
    let mut server = Command::new("setsid")
        .args(["sh", "-c", &format!("exec {line}")])
        .env("PATH", format!("{binaries}:{}", search_path()))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut answer = String::new();
    wait_until(line, || {
        answer = said_to(line, port, folder).unwrap_or_default();
        !answer.is_empty()
    });
    // With all that it has started.
    let group = format!("-{}", server.id());
    assert!(Command::new("kill").args(["-KILL", "--", &group]).status().unwrap().success());
    server.wait().unwrap();
    let _ = fs::remove_file(folder.at("s.sock"));
    answer
}

fn said_to(line: &str, port: u16, folder: &Folder) -> Option<String> {
    if line.contains("UDP") || line.contains("--udp") {
        let client = udp(port);
        client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        client.send(b"hello\n").ok()?;
        let mut bytes = [0; 100];
        let length = client.recv(&mut bytes).ok()?;
        return Some(String::from_utf8_lossy(&bytes[..length]).into_owned());
    }
    if line.contains("s.sock") {
        let mut client = UnixStream::connect(folder.at("s.sock")).ok()?;
        client.write_all(b"hello\n").ok()?;
        client.shutdown(Shutdown::Write).ok()?;
        return Some(read_any(client));
    }
    let mut client = TcpStream::connect(("127.0.0.1", port)).ok()?;
    client.write_all(b"hello\n").ok()?;
    if line.starts_with("ncat") {
        return Some(read_line(&client));
    }
    client.shutdown(Shutdown::Write).ok()?;
    Some(read_any(client))
}

/// A client that has said all is told nothing more by ncat, and without that `tr` says nothing.
fn loses_answers(line: &str) -> bool {
    line.starts_with("ncat") && line.contains("tr ")
}

/// What others do, ours do. Theirs are tried where they are.
#[test]
fn the_lines_for_those_who_come_from_others_do_the_same() {
    if !need_program("socat") || !need_program("setsid") {
        return;
    }
    let readme = read("README.md");
    let (echo, folder) = (free_port(), Folder::new());
    let _target = Daemon::start(&format!("127.0.0.1:{echo} stream tcp nowait - internal echo\n"));
    let mut tried = 0;
    for (theirs, ours) in lines_of_others(&readme) {
        let answers = [&theirs, &ours].map(|line| {
            let program = line.split(' ').next().unwrap();
            if program != "oxinetd" && (find_program(program).is_none() || loses_answers(line)) {
                return None;
            }
            let port = free_port();
            let ports = [("50007", echo), ("8080", port), ("7777", port)]
                .map(|(theirs, ours)| (theirs.to_owned(), ours.to_string()));
            Some(answer_of(&with_ports(line, &ports), port, &folder))
        });
        let [answer, Some(ours_said)] = answers else { panic!("{ours}") };
        let wanted = match theirs {
            _ if theirs.contains("tr a-z A-Z") => "HELLO\n",
            _ if theirs.contains("echo $") => "127.0.0.1\n",
            _ => "hello\n",
        };
        assert_eq!(ours_said, wanted, "{ours}");
        if let Some(answer) = answer {
            assert_eq!(answer, wanted, "{theirs}");
            tried += 1;
        }
    }
    assert!(tried >= 6, "only {tried} of others' lines");
}

#[test]
fn the_line_for_those_who_come_from_socket_units_is_served() {
    let readme = read("README.md");
    let block = plain_block(&readme, "127.0.0.1:50108 stream");
    let port = free_port();
    let ports = [("50108".to_owned(), port.to_string())];
    // An ordinary user cannot become nobody.
    let text = with_ports(block, &ports).replace("nowait nobody", "nowait -");
    let daemon = Daemon::start(&text);
    assert_eq!(ask(port, "hello"), "hello");
    assert!(daemon.said("configuration").is_empty(), "{}", daemon.log.text());
}
