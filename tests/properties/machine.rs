//! The machine on which configurations are read: fixed facts, some of which a first line
//! can change, and files to include.

use std::path::PathBuf;

use crate::fake::FakeLookup;

/// A machine with these bytes as a file; `#! no-ipv6`, `#! no-landlock`, `#! user me`.
pub(super) fn with_file(path: &str, bytes: &[u8]) -> FakeLookup {
    let mut fake = FakeLookup::with_file(path, bytes);
    let files = [
        ("conf.d/good.conf", "8001 stream tcp nowait - cat\n"),
        ("conf.d/bad.conf", "8002 steam tcp nowait - cat\n"),
        ("loop.conf", ".include inetd.conf\n"),
        ("friends", "# who may\n10.0.0.0/8   # the office\n\n  ::1\n10.1.{2,3}\n"),
        ("hello", "Hello.\r\n"),
        ("/etc/busy", "421 busy\r\n"),
        ("/etc/xinetd.d/b", "service daytime\n{\n type = INTERNAL\n socket_type = stream\n}\n"),
    ];
    for (name, text) in files {
        fake.files.entry(PathBuf::from(name)).or_insert_with(|| text.into());
    }
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let asked = String::from_utf8_lossy(first);
    fake.ipv6 = !asked.contains("no-ipv6");
    fake.landlock = !asked.contains("no-landlock");
    fake.own_uid = if asked.contains("user me") { 1000 } else { 0 };
    fake
}
