//! The image and the manifest of etc/container and etc/kubernetes: what they name is
//! there, and in a root folder with nothing else in it the server is process 1.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::daemon::{BINARY, command};
use crate::common::needs::skip;
use crate::common::{
    Daemon, Folder, Setup, ask, free_ports, need_program, need_root, read_all, tcp,
};

const IMAGE: &str = "etc/container/Containerfile";
const MANIFEST: &str = "etc/kubernetes/oxinetd.yaml";
/// The ports that both name.
const PORTS: [&str; 4] = ["7007", "7013", "7001", "9100"];

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(project(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The instructions of a Containerfile, each with the rest of its line.
fn instructions() -> Vec<(String, String)> {
    let text = read(IMAGE).replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let parts = lines.filter_map(|line| line.split_once(' '));
    parts.map(|(word, rest)| (word.to_owned(), rest.trim().to_owned())).collect()
}

/// What follows an instruction that is there once, or the last time it is there.
fn last(instruction: &str) -> String {
    let found = instructions().into_iter().rfind(|(word, _)| word == instruction);
    found.unwrap_or_else(|| panic!("no {instruction}")).1
}

fn list(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// The value of a key in the manifest that is a list on one line.
fn list_of(key: &str) -> Vec<String> {
    let text = read(MANIFEST);
    let prefix = format!("{key}: [");
    let line = text.lines().map(str::trim).find(|line| line.starts_with(&prefix)).unwrap();
    list(&line[key.len() + 1..])
}

/// The file in the ConfigMap.
fn mounted_file() -> String {
    let text = read(MANIFEST);
    let lines = text.lines().skip_while(|line| line.trim() != "inetd.conf: |").skip(1);
    let block = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    block.map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(""))).collect()
}

/// The same text with ports that nobody else uses, in the order of [`PORTS`].
fn with_ports(text: &str, ports: &[u16]) -> String {
    let marked = PORTS
        .iter()
        .enumerate()
        .fold(text.to_owned(), |text, (index, port)| text.replace(port, &format!("<{index}>")));
    let each = ports.iter().enumerate();
    each.fold(marked, |text, (index, port)| text.replace(&format!("<{index}>"), &port.to_string()))
}

fn words(list: &[String], change: impl Fn(&str) -> String) -> Vec<String> {
    list.iter().map(|word| change(word)).collect()
}

/// The status line of an answer to GET.
fn status_of(port: u16, path: &str) -> String {
    let mut client = tcp(port);
    write!(client, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    read_all(client).lines().next().unwrap_or_default().to_owned()
}

/// All services of image and manifest, and that the server is healthy.
#[track_caller]
fn answers(ports: &[u16]) {
    assert_eq!(ask(ports[0], "echo"), "echo");
    assert!(read_all(tcp(ports[1])).contains(':'), "a time of day");
    assert!(read_all(tcp(ports[2])).starts_with("oxinetd "));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(status_of(ports[3], path), "HTTP/1.1 200 OK", "{path}");
    }
}

fn started(setup: Setup, folder: Folder, arguments: &[String]) -> Daemon {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    setup.run_in(folder, &arguments)
}

#[test]
fn what_the_image_copies_is_there_and_what_it_runs_is_an_oxinetd_that_serves() {
    for (_, rest) in instructions().iter().filter(|(word, _)| word == "COPY") {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (_, sources) = words.split_last().unwrap();
        for source in sources.iter().filter(|_| !rest.starts_with("--from=")) {
            assert!(project(source).exists(), "{source}");
        }
    }
    assert_eq!(list(&last("ENTRYPOINT")), ["/bin/oxinetd"]);
    let exposed = last("EXPOSE");
    let mut exposed: Vec<&str> = exposed.split(' ').collect();
    exposed.sort_unstable();
    let (mut ports, folder) = (PORTS, Folder::new());
    ports.sort_unstable();
    assert_eq!(exposed, ports);

    let ports = free_ports(4);
    let text = read("etc/container/inetd.conf").replace("/bin/oxinetd", BINARY);
    let file = folder.write("inetd.conf", &with_ports(&text, &ports)).display().to_string();
    let mut arguments = words(&list(&last("CMD")), |word| {
        with_ports(&word.replace("/etc/inetd.conf", &file), &ports)
    });
    arguments.extend(["--control", "none"].map(str::to_owned));
    let mut daemon = started(Setup::new(), folder, &arguments);
    answers(&ports);
    daemon.stop();
}

#[test]
fn what_the_manifest_mounts_and_runs_serves_and_its_hook_ends_it_with_0() {
    let (ports, folder) = (free_ports(4), Folder::new());
    let text = mounted_file();
    assert!(text.contains("7007 stream"), "{text}");
    let text = with_ports(&text.replace("/bin/oxinetd", BINARY), &ports);
    let file = folder.write("inetd.conf", &text).display().to_string();
    let socket = folder.name("oxinetd.sock");
    let own = |word: &str| {
        let word = word.replace("/run/oxinetd.sock", &socket);
        with_ports(&word.replace("/etc/oxinetd/inetd.conf", &file), &ports)
    };
    let mut daemon = started(Setup::new(), folder, &words(&list_of("args"), own));
    answers(&ports);

    let hook = words(&list_of("command"), own);
    assert_eq!(hook[0], "/bin/oxinetd");
    let output = command(&[]).args(&hook[1..]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let status = daemon.wait_exit();
    assert!(status.success(), "{status}");
}

#[test]
fn the_manifests_ports_and_probes_are_those_of_the_server() {
    let text = read(MANIFEST);
    let values = |key: &str| -> Vec<String> {
        let keyed = text.lines().filter_map(|line| line.trim().strip_prefix(key));
        keyed.map(|value| value.trim().to_owned()).collect()
    };
    let of_containers = values("containerPort:");
    assert_eq!(of_containers, PORTS);
    let conf = mounted_file();
    for port in &PORTS[..3] {
        assert!(conf.lines().any(|line| line.starts_with(port)), "{port}");
    }
    assert_eq!(values("path:"), ["/readyz", "/healthz"]);
    assert_eq!(values("prometheus.io/port:"), ["\"9100\""]);
    let names = values("- name:");
    for target in values("targetPort:") {
        assert!(names.contains(&target), "{target}");
    }
}

/// A root folder as the Containerfile makes it, with the static binary that `tests/run`
/// has built, and what every runtime adds: /proc and /dev/null. None without them.
fn image() -> Option<Folder> {
    if !need_root() || !need_program("unshare") || !need_program("cc") {
        return None;
    }
    let named = std::env::var_os("OXINETD_STATIC").filter(|name| !name.is_empty());
    let Some(binary) = named else {
        skip("needs a static binary, which tests/run builds and names in OXINETD_STATIC");
        return None;
    };
    let folder = Folder::new();
    let mut copies = instructions();
    let last_stage = copies.iter().rposition(|(word, _)| word == "FROM").unwrap();
    copies.drain(..=last_stage);
    for (_, rest) in copies.iter().filter(|(word, _)| word == "COPY") {
        if let Some(owner) = rest.strip_prefix("--from=build --chown=") {
            make_folders(&folder, owner);
            continue;
        }
        let (sources, target) = rest.rsplit_once(' ').unwrap();
        let sources: Vec<PathBuf> = match sources.strip_prefix("--from=build ") {
            Some(_) => vec![binary.clone().into()],
            None => sources.split(' ').map(project).collect(),
        };
        let target = folder.name(target.trim_start_matches('/'));
        run("mkdir", &["-p", target.rsplit_once('/').unwrap().0]);
        let sources = sources.iter().map(|source| source.to_str().unwrap());
        let arguments: Vec<&str> = sources.chain([target.as_str()]).collect();
        run("cp", &arguments);
    }
    run("mkdir", &[&folder.name("proc"), &folder.name("dev")]);
    run("mknod", &["-m", "666", &folder.name("dev/null"), "c", "1", "3"]);
    Some(folder)
}

/// The folders that the first stage makes, and that are copied as they are: `OWNER FROM /`.
fn make_folders(folder: &Folder, copy: &str) {
    let words: Vec<&str> = copy.split(' ').collect();
    let [owner, from, "/"] = words[..] else { panic!("{copy}") };
    let made = instructions()
        .into_iter()
        .find_map(|(_, rest)| Some(rest.split_once(&format!("mkdir -p {from}/"))?.1.to_owned()));
    let made = made.unwrap_or_else(|| panic!("nobody makes {from}"));
    run("mkdir", &["-p", &folder.name(&made)]);
    run("chown", &[owner, &folder.name(&made)]);
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

/// A program linked statically, to be served: it leaves an orphan that ends once it is
/// one, or says who it is.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (argc > 1) {
        pid_t own = getpid();
        if (fork() == 0) {
            while (getppid() == own) usleep(1000);
            _exit(0);
        }
        puts("left");
        return 0;
    }
    gid_t groups[16];
    int count = getgroups(16, groups);
    printf("%d %d", getuid(), getgid());
    for (int i = 0; i < count; i++) printf(" %d", groups[i]);
    puts("");
    return 0;
}
"#;

fn add_program(folder: &Folder) {
    let source = folder.write("program.c", PROGRAM).display().to_string();
    run("cc", &["-static", "-o", &folder.name("bin/program"), &source]);
}

/// Process 1 in the folder as its root, as a runtime would start it.
fn process_one(folder: &Folder, user: &str) -> Vec<String> {
    let (uid, gid) = user.split_once(':').unwrap();
    let root = format!("--root={}", folder.path().display());
    let words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", &root];
    let user = ["--setgid", gid, "--setuid", uid];
    words.into_iter().chain(user).map(str::to_owned).collect()
}

fn setup(folder: &Folder, user: &str) -> Setup {
    let under = process_one(folder, user);
    let under: Vec<&str> = under.iter().map(String::as_str).collect();
    Setup::new().under(&under).program("/bin/oxinetd")
}

#[test]
fn in_an_empty_root_folder_the_image_serves_as_process_one_and_reaps_orphans() {
    let Some(folder) = image() else { return };
    add_program(&folder);
    let ports = free_ports(5);
    let text = with_ports(&read("etc/container/inetd.conf"), &ports);
    let more = format!("{} stream tcp nowait - /bin/program program orphan\n", ports[4]);
    folder.write("etc/inetd.conf", &(text + &more));
    let setup = setup(&folder, &last("USER"));
    let arguments = words(&list(&last("CMD")), |word| with_ports(word, &ports));
    let mut daemon = started(setup, folder, &arguments);
    assert_eq!(daemon.said("ready")[0].number("pid"), Some(1));
    assert!(daemon.said("configuration").is_empty(), "{}", daemon.log.text());
    answers(&ports);
    // As somebody who executes a program in the container.
    assert!(daemon.said("no-control").is_empty(), "{}", daemon.log.text());
    let root = daemon.folder.path().to_str().unwrap().to_owned();
    let user = format!("--userspec={}", last("USER"));
    let asked = Command::new("chroot").args([&user, &root, "/bin/oxinetd", "status"]).output();
    let asked = asked.unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    for _ in 0..20 {
        assert_eq!(read_all(tcp(ports[4])), "left\n");
    }
    let _ = daemon.wait_count(20, |line| line.about("ended", ports[4]));
    daemon.wait_childless();
    daemon.stop();
}

#[test]
fn users_groups_and_services_are_looked_up_in_three_files() {
    let Some(folder) = image() else { return };
    add_program(&folder);
    let port = free_ports(1)[0];
    folder.write("etc/passwd", "root:x:0:0::/:/\nalice:x:1000:1000::/:/\n");
    folder.write("etc/group", "root:x:0:\nalice:x:1000:\nextra:x:50:alice\nmain:x:60:\n");
    folder.write("etc/services", &format!("hello {port}/tcp\n"));
    folder.write(
        "etc/inetd.conf",
        "127.0.0.1:hello stream tcp nowait alice:main /bin/program program\n",
    );
    let mut daemon = started(setup(&folder, "0:0"), folder, &[]);
    assert_eq!(read_all(tcp(port)), "1000 60 50 60\n");
    assert!(daemon.said("configuration").is_empty(), "{}", daemon.log.text());
    daemon.stop();
}

#[test]
fn a_container_whose_configuration_is_wrong_ends_with_1() {
    let Some(folder) = image() else { return };
    folder.write("etc/inetd.conf", "nonsense\n");
    let under = process_one(&folder, &last("USER"));
    let output = Command::new("timeout")
        .arg("25")
        .args(under)
        .arg("/bin/oxinetd")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}
