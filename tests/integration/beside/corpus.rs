//! Files as they are published, for each server: what it serves of them is served here.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fake::FakeLookup;
use oxinetd::config::{Loaded, load};

use super::{Files, Twins};
use crate::common::peers::Peer;

/// Where the services stand that tell configurations apart.
const MARKS: u16 = 61_000;

/// What is different on purpose, and told in the manual: a file, and a part of the difference.
const ON_PURPOSE: [(&str, &str); 51] = [
    ("unix.conf", "unix /run/report.sock: there \"not there\""),
    ("families_pair.conf", "tcp 7126: there \"not there\""),
    ("families_pair_4_6.conf", "there \"not there\""),
    ("openbsd_stock.conf", "there \"not there\""),
    ("logging.conf", "tcp 7070: there \"not there\""),
    ("unknown_attributes.conf", "here limit nproc: 4000 4000"),
    ("wrong_lines.conf", "tcp 7154: there argv: <c>"),
    ("wrong_lines.conf", "tcp 7155: there argv: <d>"),
    ("access_shapes.conf", "tcp 7042"),
    ("access_prefixes.conf", "tcp 7301"),
    ("access_prefixes.conf", "tcp 7302"),
    ("access_prefixes.conf", "tcp 7305: there \"\""),
    ("access_prefixes.conf", "tcp 7306"),
    ("defaults_junk.conf", "there \"not there\", here"),
    ("nsca.conf", "tcp 5667"),
    ("amanda_client.conf", "groups: 14 15, here groups: 14"),
    ("amanda_dgram.conf", "groups: 14 16, here groups: 14"),
    ("brace_forgotten.conf", "there \"not there\", here"),
    ("spelling_one_line.conf", "there \"not there\", here"),
    ("ctf_pwn.conf", "limit cpu: -1 -1, here limit cpu: 20 20"),
    ("ctf_python.conf", "there \"not there\", here"),
    ("defaults_last.conf", "tcp 7078"),
    ("distcc.conf", "there nice: "),
    ("hosts.conf", "tcp 7060"),
    ("hosts.conf", "tcp 7061: there \"\""),
    ("redirect_name.conf", "tcp 8080"),
    ("redirect_to_own.conf", "tcp 8007: there \"\""),
    ("junk_between.conf", "tcp 7074"),
    ("pop_imap.conf", "tcp 993: there \"\""),
    ("spelling_bom.conf", "there \"not there\", here"),
    ("spelling_brace_behind.conf", "there \"not there\", here"),
    // What ran before of a service that is wrong now goes on.
    ("spelling_empty_values.conf", "tcp 7005: there \"not there\", here argv"),
    ("spelling_comments.conf", "tcp 7004: there \"not there\", here"),
    ("spelling_crlf.conf", "tcp 7005: there \"not there\", here"),
    ("spelling_glued_right.conf", "tcp 7001"),
    ("spelling_mixed.conf", "tcp 7002"),
    ("sshd_limits.conf", "tcp 22: there \"not there\""),
    ("suse_caps", "tcp 37: there \"not there\""),
    ("svnserve_unlisted.conf", "there \"not there\""),
    ("swat.conf", "tcp 901: there \"\""),
    ("tcpmux.conf", "tcp 1: there"),
    ("buffers.conf", "tcp 7164: there \"not there\""),
    ("gnu_folder", "there \"not there\""),
    ("internals.conf", "udp 7: there \"silent\""),
    ("spelling_continuation.conf", "tcp 7138"),
    ("spelling_crlf.conf", "there argv: "),
    ("spelling_quotes.conf", "there argv: "),
    ("tftp_embedded.conf", "there \"\", here \"not there\""),
    ("users.conf", "there gid: 0 0"),
    ("bracket_addresses.conf", "there \"not there\""),
    ("default_address.conf", "tcp 7117: there \"not there\""),
];

/// The same in every file: what cannot be started, where others listen and close, and a
/// datagram that is lost while a program ends.
const ANYWHERE: [&str; 2] = ["there \"\", here \"not there\"", "there \"silent\", here argv: "];

/// What GNU's inetd does not serve after a reload: the default address that the file before it
/// ends with still holds there.
const AFTER_ADDRESS: [&str; 1] = ["families_each.conf"];

/// The files of one server: a configuration is a file, or a folder that stands for /etc.
pub(super) fn cases(peer: Peer) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder(peer));
    let mut cases: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_none_or(|end| end != "txt"));
    cases.sort();
    cases
}

fn folder(peer: Peer) -> &'static str {
    match peer {
        Peer::Xinetd => "xinetd",
        Peer::OpenBsd | Peer::Gnu => "inetd",
    }
}

/// The files of a case, where they are on a machine.
pub(super) fn files(peer: Peer, case: &Path) -> Files {
    if case.is_file() {
        return vec![(peer.configuration().to_owned(), fs::read(case).unwrap())];
    }
    let mut files = Files::new();
    let mut folders = vec![case.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(case).unwrap().to_str().unwrap();
                files.push((format!("etc/{name}"), fs::read(&path).unwrap()));
            }
        }
    }
    files.sort_by_key(|(name, _)| name != peer.configuration());
    files
}

/// Whether the service that tells configurations apart can stand in front of it.
fn can_be_marked(files: &Files) -> bool {
    let text = String::from_utf8_lossy(&files[0].1);
    !text.starts_with('\u{feff}') && !text.contains("enabled")
}

pub(super) fn name(case: &Path) -> String {
    case.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Every `of`-th case from the `from`-th: at its start, and in the place of the one before it.
fn compare(peer: Peer, from: usize, of: usize) {
    let Some(twins) = Twins::of(peer) else { return };
    let mut wrong = Vec::new();
    let cases = cases(peer);
    for (index, case) in cases.iter().enumerate().filter(|(index, _)| index % of == from) {
        let (own, next) = (files(peer, case), files(peer, &cases[(index + 1) % cases.len()]));
        let mark = if can_be_marked(&own) { MARKS } else { 0 };
        let mut pair = twins.start(&own, mark);
        let mut check = |pair: &super::Pair<'_>, case: &Path, when: &str| {
            let name = name(case);
            let known = |difference: &str| {
                ANYWHERE.iter().any(|part| difference.contains(part))
                    || ON_PURPOSE
                        .iter()
                        .any(|(file, part)| *file == name && difference.contains(part))
            };
            let found = pair.differences(&known);
            wrong.extend(
                found
                    .iter()
                    .filter(|difference| !known(difference))
                    .map(|difference| format!("{name} {when}: {difference}")),
            );
        };
        check(&pair, case, "at the start");
        let next_name = name(&cases[(index + 1) % cases.len()]);
        let is_kept = peer == Peer::Gnu && AFTER_ADDRESS.contains(&next_name.as_str());
        if mark != 0 && can_be_marked(&next) && !is_kept {
            pair.reload(&next);
            check(&pair, &cases[(index + 1) % cases.len()], "after a reload");
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_xinetd_serves_of_published_files_is_served() {
    compare(Peer::Xinetd, 0, 2);
}

#[test]
fn what_xinetd_serves_of_more_published_files_is_served() {
    compare(Peer::Xinetd, 1, 2);
}

#[test]
fn what_openbsds_inetd_serves_of_published_files_is_served() {
    compare(Peer::OpenBsd, 0, 1);
}

#[test]
fn what_gnus_inetd_serves_of_published_files_is_served() {
    compare(Peer::Gnu, 0, 1);
}

/// A machine with the files of a case, and neither the programs nor the users.
fn read(peer: Peer, case: &Path) -> Loaded {
    let files = files(peer, case);
    let at = |name: &str| PathBuf::from(format!("/{name}"));
    let first = at(&files[0].0);
    let files = files.into_iter().map(|(name, bytes)| (at(&name), bytes));
    let fake = FakeLookup { files: files.collect(), ..FakeLookup::default() };
    load(&first, &[], &fake)
}

#[test]
fn stock_files_of_which_nothing_is_on_give_no_warning() {
    let stock = |case: &PathBuf| name(case).contains("_stock");
    let of = |peer| cases(peer).into_iter().filter(stock).map(move |case| (peer, case));
    let all: Vec<(Peer, PathBuf)> = of(Peer::Xinetd).chain(of(Peer::OpenBsd)).collect();
    assert!(all.len() >= 4, "{all:?}");
    for (peer, case) in all.iter().filter(|(_, case)| name(case) != "openbsd_stock.conf") {
        let loaded = read(*peer, case);
        assert!(loaded.diagnostics.is_empty(), "{}: {:?}", name(case), loaded.diagnostics);
        assert!(loaded.config.services.is_empty(), "{}", name(case));
    }
}

#[test]
fn there_are_many_published_files() {
    let count = cases(Peer::Xinetd).len() + cases(Peer::OpenBsd).len();
    assert!(count >= 120, "{count}");
}
