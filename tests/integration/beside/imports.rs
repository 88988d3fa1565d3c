//! What `import` prints of published files: it serves what the file itself serves, and is the
//! same on a machine that has none of what the file names.

use std::path::Path;

use super::{accounts, corpus, put_programs, settle};
use crate::common::daemon::BINARY;
use crate::common::peers::Peer;
use crate::common::rooted::{Root, Running};
use crate::common::{need_program, need_root, wait_until};

const PLACE: &str = "/usr/sbin/oxinetd";

/// Files of which something is different once they are imported, and why it has to be.
const ON_PURPOSE: [(&str, &str); 0] = [];

/// None where nothing is left to serve.
fn start(root: &Root, file: &str) -> Option<Running> {
    let (_, found, last) = root.run(&format!("check {file}"));
    if (found + &last).contains(" 0 services") {
        return None;
    }
    let server = root.start(&format!("{file} --control none"));
    wait_until("the server to be ready", || server.said().contains("ready "));
    Some(server)
}

/// A machine with nobody but root and nobody, and no services, hosts, banners or programs.
fn bare() -> Root {
    let root = Root::new(Path::new(BINARY), PLACE);
    root.write("etc/passwd", b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n");
    root.write("etc/group", b"root:x:0:\nnogroup:x:65534:\n");
    root
}

/// What is not the same of one case.
fn compare(peer: Peer, case: &Path, [direct, imported, bare]: [&Root; 3]) -> Vec<String> {
    let files = corpus::files(peer, case);
    let file = format!("/{}", files[0].0);
    for root in [direct, imported, bare] {
        accounts::clear(root);
        files.iter().for_each(|(path, bytes)| root.write(path, bytes));
    }
    [direct, imported].into_iter().for_each(|root| put_programs(root, &files));
    let (_, text, said) = imported.run(&format!("import {file}"));
    let (_, elsewhere, said_elsewhere) = bare.run(&format!("import {file}"));
    let mut wrong = Vec::new();
    if counts(&said) != counts(&said_elsewhere) {
        wrong.push(format!("on a bare machine: {said_elsewhere}\n{text}\nand\n{elsewhere}"));
    }
    accounts::clear(imported);
    imported.write("etc/imported.conf", text.as_bytes());
    let (is_right, _, findings) = imported.run("check /etc/imported.conf");
    if !is_right {
        wrong.push(format!("check: {findings}\n{text}\n{said}"));
    }
    let servers = (start(direct, &file), start(imported, "/etc/imported.conf"));
    let (Some(one), Some(other)) = servers else { return wrong };
    let differences =
        settle([(direct, &one), (imported, &other)], 0, &without_ports, &|difference| {
            ON_PURPOSE
                .iter()
                .any(|(file, part)| *file == corpus::name(case) && difference.contains(part))
        });
    if !differences.is_empty() {
        wrong.push(format!("{}\n{text}", differences.join("\n")));
    }
    wrong
}

/// Every client has a port of its own.
fn without_ports(text: &str) -> String {
    let lines =
        text.lines().filter(|line| !line.contains("REMOTEPORT=") && !line.contains("REMOTE_PORT="));
    lines.collect::<Vec<_>>().join("\n")
}

/// How many services and errors there are, which is said at the end; warnings are about the
/// machine.
fn counts(said: &str) -> String {
    let last = said.lines().last().unwrap_or_default();
    last.rsplit_once(", ").map_or(last, |(counted, _)| counted).to_owned()
}

fn compare_all(peer: Peer, from: usize, of: usize) {
    if !need_root() || !["unshare", "ip", "chroot", "cc"].into_iter().all(need_program) {
        return;
    }
    let full = || {
        let root = Root::new(Path::new(BINARY), PLACE);
        accounts::write(&root);
        root
    };
    let (direct, imported, bare) = (full(), full(), bare());
    let mut wrong = Vec::new();
    for case in corpus::cases(peer).iter().skip(from).step_by(of) {
        let found = compare(peer, case, [&direct, &imported, &bare]);
        wrong.extend(found.into_iter().map(|one| format!("{}: {one}", corpus::name(case))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imported_files_of_xinetd_serve_the_same() {
    compare_all(Peer::Xinetd, 0, 2);
}

#[test]
fn more_imported_files_of_xinetd_serve_the_same() {
    compare_all(Peer::Xinetd, 1, 2);
}

#[test]
fn imported_files_of_inetd_serve_the_same() {
    compare_all(Peer::OpenBsd, 0, 1);
}
