//! A build without TLS has everything but that, and says so where it is asked for.

use crate::common::daemon::command;
use crate::common::{Folder, me};

#[test]
fn a_line_with_tls_is_a_mistake_and_it_is_said_how_to_have_it() {
    let folder = Folder::new();
    folder.write("site.pem", include_str!("tls_files/site.pem"));
    folder.write("site.key", include_str!("tls_files/site.key"));
    let line =
        format!("8443 stream tcp nowait {} /bin/date date\n    tls = site.pem site.key\n", me());
    let file = folder.write("conf", &line);
    let output = command(&[]).arg("check").arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("site.pem`: this program was built without TLS"), "{said}");
    assert!(said.contains("build it with its default features"), "{said}");
}

#[test]
fn run_with_tls_says_that_it_was_built_without() {
    let words = ["run", "--tls", "self-signed", "127.0.0.1:0", "--", "date"];
    let output = command(&[]).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--tls: this program was built without TLS"), "{said}");
}
