//! What a test needs of the machine; without it the test is skipped loudly.
//!
//! A skip is a line `SKIPPED #N name: reason` on standard error, past the test
//! harness's capture, and a line in the file that `OXINETD_TESTS_SKIPPED` names. With
//! `OXINETD_TESTS_NO_SKIP=1` it is a failure. Being an ordinary user and having a
//! kernel without some feature are neither a failure nor in that file: `tests/run`
//! runs everything as root besides, or says it could not.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{SocketAddrV6, TcpListener};
use std::panic::Location;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::ifaddrs::getifaddrs;

static SKIPPED: AtomicU32 = AtomicU32::new(0);

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// False, and a loud skip, if the tests do not run as root.
#[track_caller]
pub(crate) fn need_root() -> bool {
    is_root() || not_as_this_user("needs root")
}

/// Says that the test cannot run as this user, though it can as another; always false.
#[track_caller]
pub(crate) fn not_as_this_user(reason: &str) -> bool {
    say_skip(&format!("{}: {reason}\n", test_name()));
    false
}

/// Says that the test cannot run on this kernel, which no installation changes;
/// always false, and no failure even where nothing may be skipped.
#[track_caller]
pub(crate) fn kernel_lacks(what: &str) -> bool {
    say_skip(&format!("{}: the kernel here lacks {what}\n", test_name()));
    false
}

/// Says that the machine was too busy for the test to see what it looks for; no failure even
/// where nothing may be skipped.
#[track_caller]
pub(crate) fn too_busy(what: &str) {
    say_skip(&format!("{}: the machine is too busy for {what}\n", test_name()));
}

/// False, and a loud skip, if `program` is not in `PATH` (or its sbin folders).
#[track_caller]
pub(crate) fn need_program(program: &str) -> bool {
    find_program(program).is_some() || skip(&format!("needs the program {program}"))
}

/// False, and a loud skip, if this machine has no IPv6 on its loopback.
#[track_caller]
pub(crate) fn need_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok() || skip("needs IPv6")
}

/// A link-local IPv6 address of this machine as text with the name of its interface, and as
/// an address of port 0; none, and a loud skip, if no interface has one.
#[track_caller]
pub(crate) fn need_link_local() -> Option<(String, SocketAddrV6)> {
    let found = getifaddrs().unwrap().find_map(|interface| {
        let address = SocketAddrV6::from(*interface.address?.as_sockaddr_in6()?);
        let is_ours = address.ip().is_unicast_link_local() && TcpListener::bind(address).is_ok();
        is_ours.then(|| (format!("[{}%{}]", address.ip(), interface.interface_name), address))
    });
    if found.is_none() {
        let _ = skip("needs an interface with a link-local IPv6 address");
    }
    found
}

/// Records that the test cannot run here; always false.
#[track_caller]
pub(crate) fn skip(reason: &str) -> bool {
    let strict = env::var_os("OXINETD_TESTS_NO_SKIP").is_some_and(|value| value == "1");
    assert!(!strict, "OXINETD_TESTS_NO_SKIP: {reason}");
    note_skip(reason);
    false
}

/// Whether this machine lets the test have so many descriptors.
pub(crate) fn may_open(count: u64) -> bool {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < count && hard >= count {
        setrlimit(Resource::RLIMIT_NOFILE, count, hard).unwrap();
    }
    hard >= count || skip(&format!("needs {count} descriptors"))
}

/// Where `program` is.
pub(crate) fn find_program(program: &str) -> Option<PathBuf> {
    let path = search_path();
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// `PATH` with the folders of daemons, which an ordinary user's lacks.
pub(crate) fn search_path() -> String {
    let own = env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
    format!("{own}:/usr/local/sbin:/usr/sbin:/sbin")
}

#[track_caller]
fn note_skip(reason: &str) {
    let line = format!("{}: {reason}\n", test_name());
    say_skip(&line);
    if let Some(file) = env::var_os("OXINETD_TESTS_SKIPPED")
        && let Ok(mut file) = OpenOptions::new().append(true).create(true).open(file)
    {
        let _ = file.write_all(line.as_bytes());
    }
}

fn say_skip(line: &str) {
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let _ = io::stderr().write_all(format!("SKIPPED #{count} {line}").as_bytes());
}

/// The test harness names the thread after the test, except with one test thread.
#[track_caller]
fn test_name() -> String {
    match thread::current().name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => Location::caller().to_string(),
    }
}
