//! Certificates for tests, and clients that speak TLS.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::files::Folder;
use super::me;
use super::needs::{need_program, search_path};

/// A folder with a certificate `site` for localhost, if openssl and these programs are there.
pub(crate) fn site(programs: &[&str]) -> Option<Folder> {
    // Each that is missing is told of.
    if ["openssl"].iter().chain(programs).filter(|program| !need_program(program)).count() > 0 {
        return None;
    }
    let folder = Folder::new();
    make_certificate(&folder, "site", "DNS:localhost,IP:127.0.0.1", "90");
    Some(folder)
}

/// A service behind TLS with that certificate: `program` is the program and its arguments.
pub(crate) fn behind_tls(folder: &Folder, port: u16, program: &str, more: &str) -> String {
    let (own, key) = (folder.name("site.pem"), folder.name("site.key"));
    format!("127.0.0.1:{port} stream tcp nowait {} {program}\n    tls = {own} {key}\n{more}", me())
}

/// Makes `NAME.pem` and `NAME.key` in the folder: a certificate for these names by itself.
#[track_caller]
pub(crate) fn make_certificate(folder: &Folder, name: &str, names: &str, days: &str) {
    let subject = format!("/CN={name}");
    let names = format!("subjectAltName={names}");
    openssl(
        folder.path(),
        &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &format!("{name}.key")],
    );
    openssl(
        folder.path(),
        &[
            "req",
            "-new",
            "-x509",
            "-key",
            &format!("{name}.key"),
            "-subj",
            &subject,
            "-addext",
            &names,
            "-days",
            days,
            "-out",
            &format!("{name}.pem"),
        ],
    );
    openssl(folder.path(), &["version"]);
    super::files::private(&folder.at(&format!("{name}.key")));
}

/// Makes `NAME.pem` and `NAME.key`, made by the authority `BY`.
#[track_caller]
pub(crate) fn make_certificate_by(folder: &Folder, by: &str, name: &str, subject: &str) {
    let (key, request, own) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
    openssl(folder.path(), &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &key]);
    openssl(folder.path(), &["req", "-new", "-key", &key, "-subj", subject, "-out", &request]);
    folder.write(
        "client.ext",
        "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\nsubjectAltName=DNS:client\n",
    );
    openssl(
        folder.path(),
        &[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &format!("{by}.pem"),
            "-CAkey",
            &format!("{by}.key"),
            "-CAcreateserial",
            "-extfile",
            "client.ext",
            "-days",
            "30",
            "-out",
            &own,
        ],
    );
}

#[track_caller]
fn openssl(folder: &Path, words: &[&str]) {
    let output = Command::new("openssl")
        .args(words)
        .current_dir(folder)
        .env("PATH", search_path())
        .env("HOME", folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "openssl {words:?}: {said}");
}

/// Runs a client in the folder, with a deadline; what it is told is `input`.
#[track_caller]
pub(crate) fn client(folder: &Folder, words: &[&str], input: &str) -> Output {
    use std::io::Write as _;

    let mut child = Command::new("timeout")
        .arg("240")
        .args(words)
        .current_dir(folder.path())
        .env("PATH", search_path())
        .env("LANG", "C")
        .env("HOME", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A client that ends at once reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// What a client says on its standard output; it has to succeed.
#[track_caller]
pub(crate) fn output_of(folder: &Folder, words: &[&str], input: &str) -> String {
    let output = client(folder, words, input);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {}\n{said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What every script in Python begins with: `connect(port, ...)` gives a socket of TLS.
const PYTHON: &str = r"
import os, socket, ssl, sys, threading, time
def context(cert=None, key=None, old=False):
    it = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    it.check_hostname = False
    it.verify_mode = ssl.CERT_NONE
    if cert: it.load_cert_chain(cert, key)
    if old: it.maximum_version = ssl.TLSVersion.TLSv1_2
    return it
def connect(port, name=None, **how):
    plain = socket.create_connection(('127.0.0.1', int(port)), timeout=50)
    return context(**how).wrap_socket(plain, server_hostname=name)
def read_all(it):
    whole = b''
    while True:
        piece = it.recv(65536)
        if not piece: return whole
        whole += piece
";

/// Runs a script in Python with these arguments (`sys.argv[1]` …); what it prints.
#[track_caller]
pub(crate) fn python(folder: &Folder, script: &str, arguments: &[&str]) -> String {
    let whole = format!("{PYTHON}\n{script}");
    let words = [&["python3", "-c", &whole][..], arguments].concat();
    output_of(folder, &words, "")
}
