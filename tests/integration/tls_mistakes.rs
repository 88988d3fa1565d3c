//! Certificates and keys that cannot be used, and settings that do not fit together: what was
//! found in which file, and what helps. What the messages say to run is run here.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use crate::common::daemon::BINARY;
use crate::common::needs::is_root;
use crate::common::tls::{client, make_certificate, make_certificate_by, output_of, python, site};
use crate::common::{Folder, Setup, free_ports, me, need_program, need_root, wait_until};

fn folder() -> Option<Folder> {
    let folder = site(&[])?;
    make_certificate(&folder, "other", "DNS:other.example", "90");
    Some(folder)
}

/// Runs lines of a shell in the folder, each of which has to succeed.
#[track_caller]
fn run(folder: &Folder, script: &str) {
    let words = ["sh", "-ec", &format!("exec 2>&1; umask 077; {script}")];
    let output = client(folder, &words, "secret\nsecret\n");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{script}: {said}");
}

/// What `check` says of a service with these attributes, and its exit status.
fn check(folder: &Folder, attributes: &str) -> (Option<i32>, String) {
    let attributes: String = attributes.lines().map(|line| format!("    {line}\n")).collect();
    let file = folder.write(
        "check.conf",
        &format!("8443 stream tcp nowait {} /bin/cat cat\n{attributes}", me()),
    );
    let output = client(folder, &[BINARY, "check", &file.display().to_string()], "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    // Names are told from the root on.
    (output.status.code(), said.replace(&folder.name(""), ""))
}

/// It is an error, and these words are said of it.
#[track_caller]
fn is_error(folder: &Folder, attributes: &str, wanted: &[&str]) -> String {
    let (status, said) = check(folder, attributes);
    assert_eq!(status, Some(1), "{attributes}: {said}");
    for wanted in wanted {
        assert!(said.contains(wanted), "{attributes}: {wanted}: {said}");
    }
    assert_eq!(said.matches("error:").count(), 1, "{attributes}: {said}");
    said
}

#[track_caller]
fn is_warning(folder: &Folder, attributes: &str, wanted: &[&str]) {
    let (status, said) = check(folder, attributes);
    assert_eq!(status, Some(0), "{attributes}: {said}");
    for wanted in wanted {
        assert!(said.contains(wanted), "{attributes}: {wanted}: {said}");
    }
    assert_eq!(said.matches("warning:").count(), 1, "{attributes}: {said}");
}

/// Runs what a message says in backticks that begins so.
#[track_caller]
fn run_what_helps(folder: &Folder, said: &str, begins: &str) {
    let words = said.split('`').find(|words| words.starts_with(begins));
    let words = words.unwrap_or_else(|| panic!("nothing helps: {said}"));
    let words = words.replace(" KEY ", " site.key ");
    let password = match &words {
        words if words.contains("pkcs12") => " -passin pass:",
        words if words.contains(".plain") => " -passin pass:secret",
        _ => "",
    };
    run(folder, &format!("{words}{password}"));
}

#[test]
fn a_certificate_in_another_form_is_called_what_it_is_and_made_the_right_one() {
    let Some(folder) = folder() else { return };
    run(
        &folder,
        "openssl x509 -in site.pem -outform DER -out 'a der'
         openssl req -new -key site.key -subj /CN=x -addext subjectAltName=DNS:x -out csr
         openssl crl2pkcs7 -nocrl -certfile site.pem -out p7
         openssl crl2pkcs7 -nocrl -certfile site.pem -outform DER -out p7der
         openssl pkcs12 -export -in site.pem -inkey site.key -passout pass: -out p12
         openssl x509 -in site.pem -trustout -out trusted",
    );
    for (name, wanted) in [
        ("'a der'", "it is a certificate as DER, not as PEM"),
        ("csr", "it is a request for a certificate (CSR), and no certificate"),
        ("p7", "it is certificates in PKCS#7"),
        ("p7der", "it is certificates in PKCS#7, not as PEM"),
        ("p12", "it is a key and its certificate in PKCS#12"),
        ("trusted", "it is a certificate in a form of OpenSSL's own"),
    ] {
        let plain = name.trim_matches('\'');
        let said = is_error(&folder, &format!("tls = {name} site.key"), &[wanted, plain]);
        run_what_helps(&folder, &said, "openssl ");
        let made = format!("'{plain}.pem'");
        let (status, said) = check(&folder, &format!("tls = {made} site.key"));
        assert_eq!(status, Some(0), "{name}: {said}");
        assert!(said.contains("0 errors, 0 warnings"), "{name}: {said}");
        // Who makes the certificates of clients is a file of the same kind.
        let more = format!("tls = site.pem site.key\ntls_client = require\ntls_ca = {name}");
        is_error(&folder, &more, &[wanted, plain]);
    }
}

#[test]
fn a_key_in_another_form_is_called_what_it_is_and_made_the_right_one() {
    let Some(folder) = folder() else { return };
    run(
        &folder,
        "openssl pkey -in site.key -outform DER -out der
         openssl pkcs12 -export -in site.pem -inkey site.key -passout pass: -out p12
         openssl pkcs8 -topk8 -in site.key -passout pass:secret -out pkcs8
         openssl ec -in site.key -aes128 -passout pass:secret -out old
         openssl pkey -in site.key -pubout -out public
         openssl ecparam -name prime256v1 -out curve
         openssl req -new -key site.key -subj /CN=x -out csr
         openssl ecparam -name secp256k1 -genkey -noout -out k1
         openssl req -new -x509 -key k1 -subj /CN=k1 -addext subjectAltName=DNS:k1 -out k1.pem",
    );
    for (name, wanted, made) in [
        ("der", "it is a key as DER, not as PEM", Some("der.pem")),
        ("p12", "it is a key and its certificate in PKCS#12", Some("p12.key")),
        ("pkcs8", "the key is encrypted", Some("pkcs8.plain")),
        ("old", "the key is encrypted", Some("old.plain")),
        ("public", "it is a public key", None),
        ("curve", "there is no key in it, but the name of a curve", None),
        ("csr", "it is a request for a certificate (CSR), and no key", None),
        ("other.pem", "it is a certificate, and no key", None),
    ] {
        let said = is_error(&folder, &format!("tls = site.pem {name}"), &[wanted, name]);
        let Some(made) = made else { continue };
        run_what_helps(&folder, &said, "openssl ");
        let (status, said) = check(&folder, &format!("tls = site.pem {made}"));
        assert!(status == Some(0) && said.contains("0 errors, 0 warnings"), "{name}: {said}");
    }
    is_error(&folder, "tls = k1.pem k1", &["a key of a kind or size that TLS is not spoken with"]);
}

#[test]
fn files_that_do_not_belong_together_are_told() {
    let Some(folder) = folder() else { return };
    make_certificate_by(&folder, "other", "leaf", "/CN=leaf");
    run(
        &folder,
        "cat other.pem leaf.pem >backwards
         cat leaf.pem other.pem >forwards
         cat leaf.pem site.pem >foreign
         mkdir live && cp leaf.pem live/cert.pem && cp forwards live/fullchain.pem
         openssl req -new -key site.key -subj /CN=v1 -out csr
         openssl x509 -req -in csr -signkey site.key -out v1.pem
         openssl req -new -x509 -key site.key -subj /CN=localhost -out unnamed",
    );
    let swapped = "`site.key` is the key, and `site.pem` the certificate";
    let said = is_error(&folder, "tls = site.key site.pem", &[swapped]);
    assert!(said.contains("write `tls = site.pem site.key`"), "{said}");
    let said = is_error(
        &folder,
        "tls = site.pem leaf.key",
        &["`leaf.key`: it is the key of another certificate", "openssl x509 -in site.pem"],
    );
    run_what_helps(&folder, &said, "openssl x509");
    let first = "put the service's own certificate first";
    is_error(&folder, "tls = backwards leaf.key", &["a certificate that is not the first", first]);
    // As certbot has them.
    run(
        &folder,
        "mkdir archive && cp forwards archive/1.pem && cp leaf.key archive/1.key
         ln -s ../archive/1.pem live/linked.pem; ln -s ../archive/1.key live/linked.key",
    );
    let (_, said) = check(&folder, "tls = live/linked.pem live/linked.key");
    assert!(said.contains("0 errors, 0 warnings"), "{said}");
    run(&folder, "cat site.pem site.key >both");
    let (_, said) = check(&folder, "tls = both both");
    assert!(said.contains("0 errors, 0 warnings"), "{said}");
    let (_, said) = check(&folder, "tls = forwards leaf.key");
    assert!(said.contains("0 errors, 0 warnings"), "{said}");
    is_warning(&folder, "tls = unnamed site.key", &["`unnamed` names no host"]);
    is_warning(&folder, "tls = foreign leaf.key", &["certificate 2 in `foreign` is not of who"]);
    is_warning(&folder, "tls = live/cert.pem leaf.key", &["name the file beside it that has them"]);
    is_error(
        &folder,
        "tls = v1.pem site.key",
        &["`v1.pem`: it is a certificate of X.509 version 1"],
    );
}

#[test]
fn files_that_hold_nothing_of_use_or_that_others_read_are_told() {
    let Some(folder) = folder() else { return };
    run(
        &folder,
        "head -c 200 site.pem >cut
         : >empty; echo hello >text; mkdir folder; chmod 644 other.key",
    );
    for (name, wanted) in [
        ("cut", "it is cut off or damaged"),
        ("empty", "it is empty"),
        ("text", "`-----BEGIN "),
        ("folder", "cannot read `folder`: it is a directory"),
        ("no/such", "cannot read `no/such`: No such file or directory"),
    ] {
        is_error(&folder, &format!("tls = {name} site.key"), &[wanted]);
        is_error(&folder, &format!("tls = site.pem {name}"), &[wanted]);
        let more = format!("tls = site.pem site.key\ntls_client = ask\ntls_ca = {name}");
        is_error(&folder, &more, &[wanted]);
    }
    is_warning(
        &folder,
        "tls = other.pem other.key",
        &["others than its owner", "chmod 600 other.key"],
    );
    fs::set_permissions(folder.at("site.key"), Permissions::from_mode(0o000)).unwrap();
    if !is_root() {
        let wanted = ["cannot read `site.key`: Permission denied", "let the server's user read it"];
        is_error(&folder, "tls = site.pem site.key", &wanted);
    }
}

#[test]
fn a_certificate_out_of_its_time_is_a_warning() {
    let Some(folder) = folder() else { return };
    if !need_program("python3") {
        return;
    }
    // Its times are the only ones in it; nobody looks at who has signed it here.
    let script = r"
import re
der = ssl.PEM_cert_to_DER_cert(open('site.pem').read())
times = re.findall(rb'\d{12}Z', der)
assert len(times) == 2, times
for name, at, time in (('later', 0, b'490101000000Z'), ('ended', 1, b'200101000000Z')):
    open(name, 'w').write(ssl.DER_cert_to_PEM_cert(der.replace(times[at], time)))
";
    python(&folder, script, &[]);
    make_certificate(&folder, "soon", "DNS:soon", "2");
    for (name, key, wanted) in [
        ("later", "site.key", "`later` is not good yet, but in "),
        ("ended", "site.key", "`ended` has expired, "),
        ("soon.pem", "soon.key", "`soon.pem` expires in "),
    ] {
        is_warning(
            &folder,
            &format!("tls = {name} {key}"),
            &[&format!("the certificate {wanted}")],
        );
        let more = format!("tls = site.pem site.key\ntls_client = require\ntls_ca = {name}");
        is_warning(&folder, &more, &[&format!("the authority {wanted}")]);
    }
}

#[test]
fn who_makes_no_certificates_is_no_authority() {
    let Some(folder) = folder() else { return };
    make_certificate_by(&folder, "other", "leaf", "/CN=leaf");
    run(
        &folder,
        "cat leaf.pem other.pem >chain; cat other.pem leaf.pem >turned
         openssl req -new -x509 -key site.key -subj /CN=me -addext basicConstraints=critical,CA:FALSE -out me.pem",
    );
    let ca = |name: &str| format!("tls = site.pem site.key\ntls_client = require\ntls_ca = {name}");
    for (name, wanted) in [
        ("leaf.pem", "certificate 1 in `leaf.pem` is no authority's (CA:FALSE)"),
        ("chain", "certificate 1 in `chain` is no authority's"),
        ("turned", "certificate 2 in `turned` is no authority's"),
    ] {
        is_warning(&folder, &ca(name), &[wanted]);
    }
    // One that has made himself can be let in by that.
    for name in ["other.pem", "me.pem"] {
        let (status, said) = check(&folder, &ca(name));
        assert!(status == Some(0) && said.contains("0 warnings"), "{name}: {said}");
    }
}

#[test]
fn settings_that_keep_nobody_out_are_errors_and_others_warnings() {
    let Some(folder) = folder() else { return };
    let tls = "tls = site.pem site.key\n";
    for (attributes, wanted) in [
        ("tls_client = require", "`tls_client` keeps nobody from `8443`: there is no `tls`"),
        ("tls_client = ask\ntls_ca = site.pem", "keeps nobody from `8443`"),
        (&*format!("{tls}tls_client = require"), "`tls_client` needs `tls_ca`"),
        ("tls_ca = site.pem", "`tls_ca` keeps nobody out"),
        (&*format!("{tls}tls_ca = site.pem\ntls_client = yes"), "did you mean `require`?"),
        ("tls site.pem site.key", "`tls` without `=` is read as an argument"),
        (&*format!("{tls}tls_ca = site.pem"), "`tls_ca` keeps nobody out"),
    ] {
        is_error(&folder, attributes, &[wanted]);
    }
    for (attributes, wanted) in [
        (&*format!("{tls}tls_client = no\ntls_ca = site.pem"), "`tls_ca` has no effect"),
        ("tls_versions = 1.3", "`tls_versions` has no effect: there is no `tls`"),
        ("tls_alpn = h2", "`tls_alpn` has no effect: there is no `tls`"),
        ("tls_timeout = 1s", "`tls_timeout` has no effect: there is no `tls`"),
        ("front_workers = own", "`front_workers` has no effect: there is no `tls`"),
        ("proxy_from = 127.0.0.1", "`proxy_from` has no effect: `proxy_protocol` is `no`"),
        ("proxy_timeout = 1s", "`proxy_timeout` has no effect: `proxy_protocol` is `no`"),
        ("proxy_send = v1", "`proxy_send` has no effect: there is no `redirect`"),
        ("pty_size = 80x24", "`pty_size` has no effect: there is no terminal"),
        ("term = xterm", "`term` has no effect: there is no terminal"),
        ("pty = no\ntelnet = yes", "`pty = no` has no effect: with `telnet`"),
    ] {
        is_warning(&folder, attributes, &[wanted]);
    }
    let (_, said) = check(&folder, "pty = yes\nfront_workers = own");
    assert!(said.contains("0 warnings"), "{said}");
    // Said for all: whoever has no TLS is as open as if it were not said, unless he says so.
    let defaults = ".defaults\n    tls_client = require\n    tls_ca = site.pem\n";
    let check = |more: &str| {
        let text = format!("{defaults}8080 stream tcp nowait {} /bin/cat cat\n{more}", me());
        let file = folder.write("all.conf", &text).display().to_string();
        let output = client(&folder, &[BINARY, "check", &file], "");
        String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout)
    };
    let said = check("");
    assert!(said.contains("`tls_client` keeps nobody from `8080`"), "{said}");
    for more in ["    tls_client = no\n", "    tls = site.pem site.key\n"] {
        let said = check(more);
        assert!(said.contains("0 errors, 0 warnings"), "{more}: {said}");
    }
}

#[test]
fn nobody_is_served_without_the_tls_that_was_meant() {
    let Some(folder) = folder() else { return };
    let ports = free_ports(2);
    let text = |names: &str| {
        let line =
            |port: u16| format!("127.0.0.1:{port} stream tcp nowait {} /bin/cat cat\n", me());
        line(ports[0]) + &line(ports[1]) + &format!("    tls = {names}\n")
    };
    // At start, the other service is served.
    let daemon = Setup::new().controlled().start_in(folder, &text("sit.pem site.key"));
    let refused = |port: u16| std::net::TcpStream::connect(("127.0.0.1", port)).is_err();
    assert!(!refused(ports[0]) && refused(ports[1]));
    let said = daemon.wait_log(|line| line.is("configuration"));
    assert!(said.raw.contains("sit.pem`: No such file or directory"), "{}", said.raw);
    assert!(daemon.answer(&["status"]).contains("sit.pem"), "{}", daemon.answer(&["status"]));
    // A reload with a bad one changes nothing at all, and says so.
    let _ = daemon.reload(&text("site.pem site.key"));
    wait_until("it is served", || !refused(ports[1]));
    let shown = || {
        let at = format!("127.0.0.1:{}", ports[1]);
        let words = ["openssl", "s_client", "-connect", &at, "-CAfile", "site.pem"];
        output_of(&daemon.folder, &words, "")
    };
    assert!(shown().contains("CN = site"), "{}", shown());
    for bad in ["sit.pem site.key", "site.pem other.key", "other.pem site.key"] {
        daemon.folder.write("inetd.conf", &text(bad));
        let output = daemon.ask(&["reload"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("not reloaded: 1 error; everything is as it was"), "{said}");
        assert!(shown().contains("CN = site"), "{}", shown());
    }
}

#[test]
fn a_service_does_not_run_as_the_user_of_what_stands_in_front_of_it() {
    let Some(folder) = folder() else { return };
    if !need_root() {
        return;
    }
    let ports = free_ports(2);
    let (own, key) = (folder.name("site.pem"), folder.name("site.key"));
    let text = format!(
        "127.0.0.1:{} stream tcp nowait nobody /bin/cat cat\n    tls = {own} {key}\n\
         127.0.0.1:{} stream tcp nowait daemon /bin/cat cat\n",
        ports[0], ports[1]
    );
    let file = folder.write("check.conf", &text).display().to_string();
    for (user, wrong) in [("nobody", ports[0]), ("daemon", ports[1])] {
        let words = [BINARY, "--front-user", user, &file];
        let output = client(&folder, &[&words[..], &["--strict"]].concat(), "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let wanted = format!("`{wrong}/tcp` runs as the user of what stands in front of services");
        assert!(said.contains(&wanted), "{said}");
    }
    for (user, wanted) in [("no-such", "there is no user `no-such`"), ("root", "root may do")] {
        let words = [BINARY, "--front-user", user, "--strict", &file];
        let output = client(&folder, &words, "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(wanted), "{said}");
    }
    // Without --strict the others are served, and that one is not.
    let daemon = Setup::new().arg("--front-user").arg("daemon").start_in(folder, &text);
    let is_served = |port: u16| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(is_served(ports[0]) && !is_served(ports[1]));
    drop(daemon);
}

#[test]
fn run_says_what_it_cannot_mean() {
    let Some(folder) = folder() else { return };
    for (words, wanted) in [
        ("--tls site.pem", "write the files of a certificate and its key, as `site.pem,site.key`"),
        ("--tls site.key,site.pem", "`site.key` is the key, and `site.pem` the certificate"),
        ("--tls site.pem,other.key", "`other.key`: it is the key of another certificate"),
        ("--tls sit.pem,site.key", "cannot read `sit.pem`: No such file or directory"),
        ("--tls site.pem,site.key -o tls='other.pem other.key'", "`--tls` has said which"),
        ("--tls self-signed -o tls='other.pem other.key'", "`--tls` has said which"),
        ("--tls site.pem,site.key --udp", "`tls` cannot be: datagrams are no connection"),
        (
            "--tls site.pem,site.key --udp",
            "help: serve it on a stream (without `--udp`); without `tls`, everybody on the way",
        ),
        (
            "--tls site.pem,site.key -o wait=yes",
            "help: write `-o wait=no`, for a program that talks",
        ),
        ("--tls site.pem,site.key -o tls_client=require", "`tls_client` needs `tls_ca`"),
        ("--tls site.pem,site.key -o tls_ca=site.pem", "`tls_ca` keeps nobody out"),
        ("-o tls_client=require", "`tls_client` keeps nobody from `0`: there is no `tls`"),
        ("--pty --udp", "`pty` cannot be: a terminal is for streams"),
        ("--telnet -o wait=yes", "`telnet` cannot be: with `wait`"),
    ] {
        let script = format!("exec {BINARY} run {words} 0 -- cat");
        let output = client(&folder, &["sh", "-c", &script], "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = said.replace(&folder.name(""), "");
        assert!(!output.status.success() && said.contains(wanted), "{words}: {said}");
    }
    // What adds a certificate is served; and what has no effect is told.
    let (pair, other) = (
        format!("{},{}", folder.name("site.pem"), folder.name("site.key")),
        format!("tls+={} {}", folder.name("other.pem"), folder.name("other.key")),
    );
    for (words, wanted) in [
        (&["-o", &*other][..], None),
        (&["--pty", "-o", "pty=no"], Some("`pty` is said twice")),
        (&["--telnet", "-o", "pty=no"], Some("`pty = no` has no effect")),
    ] {
        let words = [&["run", "--tls", &pair], words, &["127.0.0.1:0", "--", "cat"]].concat();
        let daemon = Setup::new().run(&words);
        let said = daemon.said("configuration");
        assert_eq!(said.len(), usize::from(wanted.is_some()), "{words:?}: {said:?}");
        let has = |wanted| said.iter().any(|line| line.raw.contains(wanted));
        assert!(wanted.is_none_or(has), "{words:?}: {said:?}");
    }
}
